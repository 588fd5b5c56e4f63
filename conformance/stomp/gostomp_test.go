package stomp

import (
	"fmt"
	"testing"
	"time"

	"github.com/go-stomp/stomp/v3"

	"github.com/hermodmq/hermod/conformance/harness"
)

func gostomp(t *testing.T, b *harness.Broker, o ...func(*stomp.Conn) error) *stomp.Conn {
	t.Helper()
	c, err := stomp.Dial("tcp", b.Addr("stomp"), append([]func(*stomp.Conn) error{
		stomp.ConnOpt.Login("guest", "guest"), stomp.ConnOpt.Host("/"), stomp.ConnOpt.HeartBeat(5*time.Second, 5*time.Second),
		stomp.ConnOpt.UnsubscribeReceiptTimeout(5 * time.Second),
	}, o...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.MustDisconnect() })
	return c
}

// unsubscribe ends a subscription. The client may miss that its receipt came
// (it begins to wait without a lock); the subscription's channel tells.
func unsubscribe(t *testing.T, s *stomp.Subscription) {
	t.Helper()
	if err := s.Unsubscribe(); err == nil {
		return
	}
	select {
	case _, open := <-s.C:
		if open {
			t.Fatal("no receipt for UNSUBSCRIBE")
		}
	case <-time.After(patience):
		t.Fatal("no receipt for UNSUBSCRIBE")
	}
}

func nextOf(t *testing.T, s *stomp.Subscription) *stomp.Message {
	t.Helper()
	select {
	case m := <-s.C:
		if m == nil || m.Err != nil {
			t.Fatalf("subscription ended: %+v", m)
		}
		return m
	case <-time.After(patience):
		t.Fatal("no message")
	}
	return nil
}

// TestSTOMP41GoStomp drives the main chapters with a stock client.
func TestSTOMP41GoStomp(t *testing.T) {
	for _, dialect := range []string{"rabbitmq", "activemq"} {
		for _, version := range []stomp.Version{stomp.V10, stomp.V11, stomp.V12} {
			t.Run(fmt.Sprint(dialect, version), func(t *testing.T) {
				c := gostomp(t, sharedBroker(t, dialect), stomp.ConnOpt.AcceptVersion(version))
				if c.Version() != version {
					t.Fatalf("version %s", c.Version())
				}
				q := "/queue/" + unique(t)
				for _, mode := range []stomp.AckMode{stomp.AckAuto, stomp.AckClient, stomp.AckClientIndividual} {
					gostompMode(t, c, q, mode)
				}
				gostompTransaction(t, c, q)
			})
		}
	}
}

func gostompMode(t *testing.T, c *stomp.Conn, q string, mode stomp.AckMode) {
	t.Helper()
	s, err := c.Subscribe(q, mode)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 10 {
		if err := c.Send(q, "text/plain", []byte(fmt.Sprint(i)), stomp.SendOpt.Receipt, stomp.SendOpt.Header("k", "a:b")); err != nil {
			t.Fatal(err)
		}
		m := nextOf(t, s)
		if string(m.Body) != fmt.Sprint(i) || m.Header.Get("k") != "a:b" || m.ContentType != "text/plain" {
			t.Fatalf("got %q %v", m.Body, m.Header)
		}
		if mode != stomp.AckAuto {
			if err := c.Ack(m); err != nil {
				t.Fatal(err)
			}
		}
	}
	unsubscribe(t, s)
}

func gostompTransaction(t *testing.T, c *stomp.Conn, q string) {
	t.Helper()
	s, err := c.Subscribe(q, stomp.AckClient)
	if err != nil {
		t.Fatal(err)
	}
	for _, commit := range []bool{false, true} {
		tx, err := c.BeginWithError()
		if err != nil {
			t.Fatal(err)
		}
		if err := tx.Send(q, "text/plain", []byte(fmt.Sprint(commit))); err != nil {
			t.Fatal(err)
		}
		if commit {
			err = tx.Commit()
		} else {
			err = tx.Abort()
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	m := nextOf(t, s)
	if string(m.Body) != "true" {
		t.Fatalf("got %q", m.Body)
	}
	if err := c.Ack(m); err != nil {
		t.Fatal(err)
	}
	unsubscribe(t, s)
}
