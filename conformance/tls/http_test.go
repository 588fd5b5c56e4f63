package tls

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
)

// httpListeners are those that HTTP clients speak to, by what they are asked.
var httpListeners = map[string]func(c *http.Client, addr string) error{
	"metrics-tls": askMetrics,
	"aws-tls":     askSQS,
}

func askMetrics(c *http.Client, addr string) error {
	resp, err := c.Get("https://" + addr + "/metrics")
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || !strings.Contains(string(body), "\nhermod_store_log_bytes ") {
		return fmt.Errorf("%d bytes of metrics, %v", len(body), err)
	}
	return nil
}

// askSQS sends a large message and gets it back, over the version of HTTP that
// TLS negotiated.
func askSQS(c *http.Client, addr string) error {
	body := strings.Repeat("0123456789abcdef", 1<<13)
	for _, call := range []struct {
		action string
		in     map[string]any
		want   string
	}{
		{"CreateQueue", map[string]any{"QueueName": "tls"}, "QueueUrl"},
		{"SendMessage", map[string]any{"QueueUrl": "tls", "MessageBody": body}, "MessageId"},
		{"ReceiveMessage", map[string]any{"QueueUrl": "tls", "WaitTimeSeconds": 10, "VisibilityTimeout": 0}, body},
	} {
		raw, err := json.Marshal(call.in)
		if err != nil {
			return err
		}
		req, err := http.NewRequest("POST", "https://"+addr+"/", bytes.NewReader(raw))
		if err != nil {
			return err
		}
		req.Header.Set("Content-Type", "application/x-amz-json-1.0")
		req.Header.Set("X-Amz-Target", "AmazonSQS."+call.action)
		resp, err := c.Do(req)
		if err != nil {
			return err
		}
		text, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		want := 1
		if c.Transport.(*http.Transport).ForceAttemptHTTP2 {
			want = 2
		}
		if err != nil || resp.StatusCode != 200 || !strings.Contains(string(text), call.want) || resp.ProtoMajor != want {
			return fmt.Errorf("%s over %s: %d %.200s, %v", call.action, resp.Proto, resp.StatusCode, text, err)
		}
	}
	return nil
}

func httpClient(c *tls.Config, http2 bool) *http.Client {
	return &http.Client{Timeout: patience, Transport: &http.Transport{TLSClientConfig: c, ForceAttemptHTTP2: http2}}
}

// TestHTTPS: the listeners of HTTP over TLS, HTTP/1.1 and, where there is more
// than a page to ask for, HTTP/2, with and without client certificates.
func TestHTTPS(t *testing.T) {
	a := newAuthority(t)
	_, err := a.Issue("carol")
	must(t, err)
	for _, auth := range []string{"none", "require"} {
		b := start(t, a, "tls.client_auth="+auth)
		for name, ask := range httpListeners {
			for _, http2 := range []bool{false, true} {
				t.Run(fmt.Sprint(name, " client_auth=", auth, " http2=", http2), func(t *testing.T) {
					who := ""
					if auth == "require" {
						who = "carol"
						if err := ask(httpClient(config(t, a, ""), http2), b.Addr(name)); err == nil {
							t.Error("served without a certificate")
						}
					}
					must(t, ask(httpClient(config(t, a, who), http2), b.Addr(name)))
					if err := ask(httpClient(&tls.Config{ServerName: "localhost"}, http2), b.Addr(name)); err == nil {
						t.Error("served without trust")
					}
					if resp, err := http.Get("http://" + b.Addr(name) + "/metrics"); err == nil {
						resp.Body.Close()
						if resp.StatusCode == http.StatusOK {
							t.Error("served in the clear")
						}
					}
				})
			}
		}
	}
}
