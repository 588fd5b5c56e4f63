package transport

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/gobwas/ws"
)

// WebSocket makes a listener speak WebSocket (RFC 6455, version 13) between TLS and its sessions. The payload of data
// messages is the session's byte stream: packets may be split over frames and messages, or share them, anywhere. What a
// session appends between one [Link.Out] and its SetOut, or with one Write, leaves as one message. No extension is ever
// agreed to, so nothing is compressed.
type WebSocket struct {
	// Paths are the request paths that are served, such as /mqtt, without query; others get 404. Empty: all.
	Paths []string
	// Protocols are the subprotocols, the server's preference first. A client that offers none of them gets 400. With
	// an empty string among them a client may also offer nothing at all. Empty: none is ever selected.
	Protocols []string
	// Origins are the web origins whose pages may connect: scheme://host[:port] or null, compared as a whole; host or
	// *.host, with any scheme and port; host:port; or * for all. Others get 403. Empty: only pages whose host name is
	// that of the request, whatever the ports. Programs other than browsers send no origin and are always let in.
	//
	// Browsers let any page open any WebSocket, so this is what keeps foreign pages from using a visitor's network
	// position or client certificate. The default cannot tell a name that an attacker has pointed at this server
	// (DNS rebinding) from its own: list the origins where that matters.
	Origins []string
	// Text tells whether messages of a subprotocol are text. Text is then what is sent, except messages that are not
	// UTF-8, which leave as binary ones; received may be both. Otherwise, and with a nil Text, messages are binary
	// and a text message closes the connection with 1003. It is called on event loops.
	Text func(protocol string) bool
	// MaxMessage bounds in bytes what one message may add up to over its fragments; default the listener's MaxFrame.
	// It bounds no memory: the payload is handed on as it arrives.
	MaxMessage int
	// PingInterval is after how long without input the server sends a ping; default never. It keeps proxies from
	// closing quiet connections. Finding silent peers is left to the protocol above.
	PingInterval time.Duration
}

// maxRequestHead is the limit for an HTTP request's line and headers.
const maxRequestHead = 8 << 10

func (c *WebSocket) check() error {
	for _, p := range c.Paths {
		if !strings.HasPrefix(p, "/") {
			return fmt.Errorf("websocket path %q must begin with a slash", p)
		}
	}
	for _, p := range c.Protocols {
		if strings.ContainsFunc(p, func(r rune) bool { return r <= ' ' || r > '~' || strings.ContainsRune(`()<>@,;:\"/[]?={}`, r) }) {
			return fmt.Errorf("websocket subprotocol %q is not a token", p)
		}
	}
	for _, o := range c.Origins {
		if !validOrigin(o) {
			return fmt.Errorf("websocket origin %q is neither an origin nor a host", o)
		}
	}
	return nil
}

func validOrigin(o string) bool {
	if o == "*" || o == "null" {
		return true
	}
	if strings.Contains(o, "://") {
		_, ok := parseOrigin(o)
		return ok && !strings.Contains(o, "*")
	}
	host := strings.TrimPrefix(o, "*.")
	return host != "" && !strings.ContainsAny(host, "*/@ ")
}

// parseOrigin takes what RFC 6454 calls a serialized origin: scheme and host, nothing else.
func parseOrigin(s string) (*url.URL, bool) {
	u, err := url.Parse(s)
	if err != nil || u.Scheme == "" || u.Hostname() == "" {
		return nil, false
	}
	return u, strings.EqualFold(s, u.Scheme+"://"+u.Host)
}

// allows tells whether a page of origin may connect to host, the request's Host header.
func (c *WebSocket) allows(origin, host string) bool {
	u, ok := parseOrigin(origin)
	if len(c.Origins) == 0 {
		return ok && strings.EqualFold(u.Hostname(), (&url.URL{Host: host}).Hostname())
	}
	for _, o := range c.Origins {
		if o == "*" || strings.EqualFold(o, origin) {
			return true
		}
		if ok && (hostMatches(o, u.Hostname()) || hostMatches(o, u.Host)) {
			return true
		}
	}
	return false
}

func hostMatches(pattern, host string) bool {
	if domain, ok := strings.CutPrefix(pattern, "*"); ok { // *.host: the dot stays
		n := len(host) - len(domain)
		return n > 0 && strings.EqualFold(host[n:], domain)
	}
	return strings.EqualFold(pattern, host)
}

// upgradeRequest collects what the upgrader reports of a request and decides about it.
type upgradeRequest struct {
	cfg        *WebSocket
	host, path string
	origins    []string
	offered    []string
	protocol   string
}

// upgrade answers the request head, which ends in an empty line. The upgrader reads on behind that line if there is
// more, and forgets what it has read if there is less, so it gets exactly the head.
func (r *upgradeRequest) upgrade(head []byte) (response []byte, err error) {
	var buf bytes.Buffer
	u := ws.Upgrader{
		OnRequest:       r.request,
		OnHost:          func(v []byte) error { r.host = string(v); return nil },
		OnHeader:        r.header,
		ProtocolCustom:  r.offer,
		OnBeforeUpgrade: r.decide,
	}
	_, err = u.Upgrade(struct {
		io.Reader
		io.Writer
	}{bytes.NewReader(head), &buf})
	switch {
	case err != nil && buf.Len() == 0:
		return refusal(http.StatusBadRequest), fmt.Errorf("%w: %w", ErrUpgrade, err)
	case err != nil:
		err = fmt.Errorf("%w: %w", ErrUpgrade, err)
	}
	return buf.Bytes(), err
}

func (r *upgradeRequest) request(uri []byte) error {
	u, err := url.ParseRequestURI(string(uri))
	if err != nil {
		return reject(http.StatusBadRequest, "malformed request target")
	}
	if r.path = u.Path; len(r.cfg.Paths) > 0 && !slices.Contains(r.cfg.Paths, u.Path) {
		return reject(http.StatusNotFound, "no such path")
	}
	return nil
}

func (r *upgradeRequest) header(key, value []byte) error {
	if string(key) == "Origin" {
		r.origins = append(r.origins, string(value))
	}
	return nil
}

// offer reads a Sec-WebSocket-Protocol header, of which there may be several. It selects none: the choice is by our
// preference, so it has to wait for the last of them.
func (r *upgradeRequest) offer(value []byte) (string, bool) {
	for p := range strings.SplitSeq(string(value), ",") {
		if p = strings.Trim(p, " \t"); p != "" {
			r.offered = append(r.offered, p)
		}
	}
	return "", true
}

func (r *upgradeRequest) decide() (ws.HandshakeHeader, error) {
	for _, o := range r.origins {
		if !r.cfg.allows(o, r.host) {
			return nil, reject(http.StatusForbidden, "origin not allowed")
		}
	}
	for _, p := range r.cfg.Protocols {
		if p != "" && slices.Contains(r.offered, p) {
			r.protocol = p
			return ws.HandshakeHeaderString("Sec-WebSocket-Protocol: " + p + "\r\n"), nil
		}
	}
	if len(r.cfg.Protocols) > 0 && (len(r.offered) > 0 || !slices.Contains(r.cfg.Protocols, "")) {
		return nil, reject(http.StatusBadRequest, "no common subprotocol")
	}
	return ws.HandshakeHeaderString(""), nil
}

func reject(status int, reason string) error {
	return ws.RejectConnectionError(ws.RejectionStatus(status), ws.RejectionReason(reason),
		ws.RejectionHeader(ws.HandshakeHeaderString("Connection: close\r\n")))
}

// refusal is the answer to what is not HTTP enough for the upgrader to answer it.
func refusal(status int) []byte {
	return fmt.Appendf(nil, "HTTP/1.1 %d %s\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", status, http.StatusText(status))
}

// checkHead looks at a request head as far as it has arrived: other protocols that knock at the wrong port are answered
// without waiting for more. Bare line feeds are refused since not everybody who reads them agrees where a head ends.
func checkHead(p []byte) error {
	if p[0] < 'A' || p[0] > 'Z' {
		return errors.New("not an HTTP request")
	}
	for i, c := range p {
		if c == '\n' && p[i-1] != '\r' {
			return errors.New("line feed without carriage return")
		}
	}
	return nil
}
