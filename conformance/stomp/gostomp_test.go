package stomp

import (
	"fmt"
	"testing"
	"time"

	"github.com/go-stomp/stomp/v3"
	amqp "github.com/rabbitmq/amqp091-go"

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

// TestSTOMP41Retroactive: a stock client that asks for it gets the last messages
// of a topic, whoever sent them, before what is sent from then on.
func TestSTOMP41Retroactive(t *testing.T) {
	b := start(t, "activemq", "openwire.recovery=KEPT.>:2", "listeners.mqtt.address=off")
	c := gostomp(t, b)
	topic := "/topic/KEPT.a"
	send := func(bodies ...string) {
		t.Helper()
		for _, body := range bodies {
			if err := c.Send(topic, "text/plain", []byte(body), stomp.SendOpt.Receipt); err != nil {
				t.Fatal(err)
			}
		}
	}
	read := func(s *stomp.Subscription, bodies ...string) {
		t.Helper()
		for _, body := range bodies {
			m := nextOf(t, s)
			if string(m.Body) != body {
				t.Fatalf("got %q, want %q", m.Body, body)
			}
			if s.AckMode() == stomp.AckAuto {
				continue
			}
			if err := m.Conn.Ack(m); err != nil {
				t.Fatal(err)
			}
		}
	}
	subscribe := func(name string, mode stomp.AckMode, retroactive string) *stomp.Subscription {
		t.Helper()
		s, err := c.Subscribe(name, mode, stomp.SubscribeOpt.Header("activemq.retroactive", retroactive))
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	send("1", "2")
	publishTopic(t, b, "KEPT.a", "3 by AMQP")
	auto := subscribe(topic, stomp.AckAuto, "true")
	read(auto, "2", "3 by AMQP")
	single := subscribe("/topic/KEPT.*", stomp.AckClientIndividual, "true")
	read(single, "2", "3 by AMQP")
	plain := subscribe(topic, stomp.AckAuto, "false")
	tx := c.Begin()
	for _, body := range []string{"4", "5"} {
		if err := tx.Send(topic, "text/plain", []byte(body)); err != nil {
			t.Fatal(err)
		}
	}
	late := subscribe(topic, stomp.AckClient, "true")
	read(late, "2", "3 by AMQP")
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
	for _, s := range []*stomp.Subscription{auto, single, plain, late} {
		read(s, "4", "5")
	}
	if err := c.Send("/topic/OTHER", "text/plain", []byte("not kept"), stomp.SendOpt.Receipt); err != nil {
		t.Fatal(err)
	}
	other := subscribe("/topic/OTHER", stomp.AckAuto, "true")
	if err := c.Send("/topic/OTHER", "text/plain", []byte("live"), stomp.SendOpt.Receipt); err != nil {
		t.Fatal(err)
	}
	read(other, "live")
}

// publishTopic publishes over AMQP and waits until the broker has it.
func publishTopic(t *testing.T, b *harness.Broker, key, body string) {
	t.Helper()
	ch := channel(t, b)
	if err := ch.Confirm(false); err != nil {
		t.Fatal(err)
	}
	d, err := ch.PublishWithDeferredConfirm("amq.topic", key, false, false, amqp.Publishing{Body: []byte(body)})
	if err != nil {
		t.Fatal(err)
	}
	select {
	case <-d.Done():
	case <-time.After(patience):
		t.Fatal("no confirm")
	}
}
