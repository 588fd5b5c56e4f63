package broker_test

import (
	"strconv"
	"testing"

	"github.com/hermodmq/hermod/broker"
	"github.com/hermodmq/hermod/broker/brokertest"
)

// manyQueues makes a world with n idle queues.
func manyQueues(t testing.TB, n int) *brokertest.World {
	t.Helper()
	w, err := brokertest.NewWorld(nil)
	if err != nil {
		t.Fatal(err)
	}
	s := w.VHost().OpenSession(nil, &brokertest.Recorder{})
	for i := range n {
		if _, err := s.DeclareQueue(w.Turn, broker.QueueDeclare{Name: "q" + strconv.Itoa(i)}, nil); err != nil {
			t.Fatal(err)
		}
	}
	return w
}

// Timers are exact to a Tick however many queues there are.
func TestTimersOfManyQueues(t *testing.T) {
	w := manyQueues(t, 12_000)
	s := w.VHost().OpenSession(nil, &brokertest.Recorder{})
	for i := range 64 {
		publish(t, w, s, "q"+strconv.Itoa(i), "m", func(m *broker.Message) { m.TTL = int64(50 + 100*(i%4)) })
	}
	for tick := range 4 {
		w.Advance(100)
		for i := range 64 {
			want := 0
			if i%4 > tick {
				want = 1
			}
			if n := w.VHost().Queue("q" + strconv.Itoa(i)).Stats().Ready; n != want {
				t.Fatalf("tick %d: queue %d has %d ready, want %d", tick, i, n, want)
			}
		}
	}
}

// A queue that is deleted before its time comes is not kept by its timer, and a
// new one of its name has its own.
func TestTimerOfDeletedQueue(t *testing.T) {
	w := newWorld(t)
	for range 3 {
		declare(t, w, "q", false)
		s := w.VHost().OpenSession(nil, &brokertest.Recorder{})
		publish(t, w, s, "q", "m", func(m *broker.Message) { m.TTL = 1000 })
		w.Turn.Now += 500
		w.Broker.Tick(w.Turn)
		if n, err := s.DeleteQueue(w.Turn, "q", false, false, nil); n != 1 || err != nil {
			t.Fatalf("deleted with %d messages, %v", n, err)
		}
		if n := broker.Timers(w.Broker); n != 0 {
			t.Errorf("%d timers without a queue", n)
		}
	}
}

// BenchmarkTickIdle is the cost of a Tick when nothing is due.
func BenchmarkTickIdle(b *testing.B) {
	w := manyQueues(b, 100_000)
	s := w.VHost().OpenSession(nil, &brokertest.Recorder{})
	for i := range 1000 {
		m := w.Message("q"+strconv.Itoa(i), "m")
		m.TTL = 3_600_000
		if _, err := s.Publish(w.Turn, broker.Publish{Msg: m}); err != nil {
			b.Fatal(err)
		}
	}
	b.ResetTimer()
	for range b.N {
		w.Turn.Now++
		w.Broker.Tick(w.Turn)
	}
}
