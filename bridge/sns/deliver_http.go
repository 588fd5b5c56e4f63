package sns

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	defaultContentType = "text/plain; charset=UTF-8"
	userAgent          = "Amazon Simple Notification Service Agent"
	maxAnswer          = 64 << 10 // bytes of a response that are read
)

// newClient makes the client of HTTP endpoints. It follows no redirects, uses
// no proxy, and connects to no address that is not allowed: the check is on
// the address that is dialled, so that a name cannot change in between.
func newClient(o *HTTPOptions) *http.Client {
	dialer := &net.Dialer{
		Timeout: o.Timeout, KeepAlive: 30 * time.Second,
		Control: func(_, address string, _ syscall.RawConn) error {
			ap, err := netip.ParseAddrPort(address)
			if err != nil || !o.allows(ap.Addr().Unmap()) {
				return &net.AddrError{Err: "address is not allowed", Addr: address}
			}
			return nil
		},
	}
	return &http.Client{
		Timeout:       o.Timeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			DialContext: dialer.DialContext, MaxIdleConnsPerHost: courierLimit, MaxConnsPerHost: 4 * courierLimit, IdleConnTimeout: 60 * time.Second,
			TLSHandshakeTimeout: o.Timeout, ResponseHeaderTimeout: o.Timeout, MaxResponseHeaderBytes: 64 << 10, DisableCompression: true,
			TLSClientConfig: &tls.Config{RootCAs: o.Roots, MinVersion: tls.VersionTLS12},
		},
	}
}

// allows reports whether endpoints may be at an address.
func (o *HTTPOptions) allows(a netip.Addr) bool {
	for _, p := range o.Deny {
		if p.Contains(a) {
			return false
		}
	}
	if len(o.Allow) == 0 {
		return true
	}
	for _, p := range o.Allow {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// checkURL reports whether a URL can be an endpoint of a protocol.
func checkURL(text, scheme string) bool {
	u, err := url.Parse(text)
	return err == nil && strings.EqualFold(u.Scheme, scheme) && u.Hostname() != "" && len(text) <= 2048 && headerText(text)
}

// post sends one request and says what became of it. A client error other than
// 429 is final.
func (s *Service) post(endpoint string, body []byte, header map[string]string) *failure {
	ctx, cancel := context.WithTimeout(s.context, s.opt.HTTP.Timeout)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, "POST", endpoint, bytes.NewReader(body))
	if err != nil {
		return permanent("InvalidEndpoint", err.Error())
	}
	if u := r.URL.User; u != nil {
		password, _ := u.Password()
		r.SetBasicAuth(u.Username(), password)
		r.URL.User = nil
	}
	r.Header.Set("User-Agent", userAgent)
	r.Header.Set("Accept-Encoding", "gzip,deflate")
	r.Header.Set("Connection", "Keep-Alive")
	for name, value := range header {
		r.Header[name] = []string{value}
	}
	a, err := s.client.Do(r)
	if err != nil {
		var refused *net.AddrError
		if errors.As(err, &refused) {
			return permanent("AddressNotAllowed", refused.Error())
		}
		return temporary("EndpointUnavailable", reason(err))
	}
	defer a.Body.Close()
	_, _ = io.CopyN(io.Discard, a.Body, maxAnswer)
	switch {
	case a.StatusCode >= 200 && a.StatusCode < 300:
		return nil
	case a.StatusCode >= 400 && a.StatusCode < 500 && a.StatusCode != 429:
		return permanent(strconv.Itoa(a.StatusCode), "The endpoint answered "+a.Status)
	}
	return temporary(strconv.Itoa(a.StatusCode), "The endpoint answered "+a.Status)
}

// reason is an error without the URL, which may hold credentials.
func reason(err error) string {
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err
	}
	return fmt.Sprint(err)
}

func (s *Service) deliverHTTP(t *topic, sub *subscription, n *notice) *failure {
	h := map[string]string{
		"x-amz-sns-message-type": "Notification", "x-amz-sns-message-id": n.id.String(),
		"x-amz-sns-topic-arn": t.ARN, "x-amz-sns-subscription-arn": sub.ARN, "Content-Type": sub.effective(t).contentType(),
	}
	text := n.textFor(sub.Protocol)
	if sub.raw {
		h["x-amz-sns-rawdelivery"] = "true"
		return s.post(sub.Endpoint, []byte(text), h)
	}
	return s.post(sub.Endpoint, s.envelope(t, sub, n, text), h)
}
