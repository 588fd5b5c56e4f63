package perf

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

func sqsOptionsFor(t *testing.T, host, mode string) *sqsOptions {
	t.Helper()
	o := &sqsOptions{host: host, key: "k", secret: "s", region: "us-east-1", queue: "q", clients: 3, size: 10, batch: 1, mode: mode,
		term: term{duration: 50 * time.Millisecond, warmup: 10 * time.Millisecond}}
	if err := o.validate(); err != nil {
		t.Fatal(err)
	}
	return o
}

// A server that ends each connection with its answer, as small ones do, is
// measured like any other.
func TestSQSDialsAgain(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Connection", "close")
		switch strings.TrimPrefix(r.Header.Get("X-Amz-Target"), "AmazonSQS.") {
		case "CreateQueue":
			_, _ = io.WriteString(w, `{"QueueUrl":"http://h/000000000000/q"}`)
		case "ReceiveMessage":
			_, _ = io.WriteString(w, `{"Messages":[{"ReceiptHandle":"h"}]}`)
		default:
			_, _ = io.WriteString(w, "{}")
		}
	}))
	defer s.Close()
	host := s.Listener.Addr().String()
	for _, mode := range []string{"send", "round", "drain"} {
		o := sqsOptionsFor(t, host, mode)
		untilSeen(t, func(d time.Duration) (*sqsResult, error) {
			o.duration = d
			r, err := runSQS(t.Context(), o)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", mode, err)
			}
			return r, nil
		}, func(r *sqsResult) bool { return r.Messages > 0 })
	}
}

// One that answers nothing ends the run, or its end does.
func TestSQSGivesUp(t *testing.T) {
	for name, serve := range map[string]func(net.Conn){
		"closes": func(c net.Conn) { c.Close() },
		"waits":  func(net.Conn) {},
	} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		accepted := make(chan struct{}, 1)
		go func() {
			c, err := l.Accept()
			if err == nil {
				defer c.Close()
				serve(c)
				accepted <- struct{}{}
				<-ctx.Done()
			}
		}()
		go func() {
			_, err := runSQS(ctx, sqsOptionsFor(t, l.Addr().String(), "send"))
			done <- err
		}()
		<-accepted
		if name == "waits" {
			cancel()
		}
		select {
		case err := <-done:
			if err == nil {
				t.Errorf("%s: no error", name)
			}
		case <-time.After(time.Minute):
			t.Errorf("%s: goes on", name)
		}
		cancel()
		l.Close()
	}
}
