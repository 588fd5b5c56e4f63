package broker_test

import (
	"fmt"
	"testing"

	"github.com/hermodmq/hermod/broker"
	"github.com/hermodmq/hermod/broker/brokertest"
)

func newWorld(t *testing.T) *brokertest.World {
	t.Helper()
	w, err := brokertest.NewWorld(nil)
	if err != nil {
		t.Fatal(err)
	}
	w.Held = true
	return w
}

func declare(t *testing.T, w *brokertest.World, name string, durable bool, args ...broker.Field) *broker.Queue {
	t.Helper()
	q, err := w.Queue(name, durable, args)
	if err != nil {
		t.Fatal(err)
	}
	w.Store.Commit(w.Turn, -1)
	return q
}

func publish(t *testing.T, w *brokertest.World, s *broker.Session, key, body string, change ...func(*broker.Message)) broker.PublishResult {
	t.Helper()
	m := w.Message(key, body)
	for _, f := range change {
		f(m)
	}
	r, err := s.Publish(w.Turn, broker.Publish{Msg: m, Receipt: 1})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func persistent(m *broker.Message) { m.Persistent = true }

// AMQP-80: a consumer whose socket does not take anything stops getting
// deliveries at the window, however much prefetch it asked for.
func TestWindowBoundsTheMailbox(t *testing.T) {
	w := newWorld(t)
	declare(t, w, "q", false)
	c := w.Client("c", nil)
	sub, err := c.Session.Subscribe(w.Turn, broker.SubscribeOptions{Queue: "q", Tag: "c", NoAck: true})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 600 {
		publish(t, w, c.Session, "q", fmt.Sprint(i))
	}
	if n := len(c.Sink.Take()); n != 256 {
		t.Errorf("%d deliveries posted, want 256", n)
	}
	sub.Written(w.Turn, 100, 0)
	if n := len(c.Sink.Take()); n != 100 {
		t.Errorf("%d deliveries posted after 100 were written, want 100", n)
	}
	sub.Written(w.Turn, 256, 1<<30)
	if n := len(c.Sink.Take()); n != 244 {
		t.Errorf("%d deliveries posted, want the 244 that were left", n)
	}
}

func TestWindowBoundsBytes(t *testing.T) {
	w := newWorld(t)
	declare(t, w, "q", false)
	c := w.Client("c", nil)
	if _, err := c.Session.Subscribe(w.Turn, broker.SubscribeOptions{Queue: "q", Tag: "c", NoAck: true}); err != nil {
		t.Fatal(err)
	}
	for range 20 {
		publish(t, w, c.Session, "q", string(make([]byte, 64<<10)))
	}
	if n := len(c.Sink.Take()); n != 4 {
		t.Errorf("%d deliveries of 64 KiB posted, want 4", n)
	}
}
