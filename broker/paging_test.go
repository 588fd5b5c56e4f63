package broker_test

import (
	"fmt"
	"strconv"
	"testing"

	"github.com/hermodmq/hermod/broker"
	"github.com/hermodmq/hermod/broker/brokertest"
)

// scarce makes everything beyond a few messages go cold.
func scarce(b *broker.Broker) { b.SetHotMemory(0, 2000, 4000) }

func scarceWorld(t *testing.T) *brokertest.World {
	t.Helper()
	w, err := brokertest.NewWorld(scarce)
	if err != nil {
		t.Fatal(err)
	}
	w.Held = true
	return w
}

// fill publishes n persistent messages with their number as body.
func fill(t *testing.T, w *brokertest.World, key string, n int, change ...func(*broker.Message)) {
	t.Helper()
	s := w.VHost().OpenSession(nil, &brokertest.Recorder{})
	for i := range n {
		publish(t, w, s, key, strconv.Itoa(i), append(change, persistent)...)
		if i%64 == 63 {
			w.Store.Commit(w.Turn, -1)
		}
	}
	w.Store.Commit(w.Turn, -1)
	s.Close(w.Turn)
}

// A backlog costs next to nothing in memory, and is drained in order through a
// bounded one.
func TestBacklogStaysInTheStore(t *testing.T) {
	w := scarceWorld(t)
	q := declare(t, w, "q", true)
	const n = 20_000
	fill(t, w, "q", n)
	if s := q.Stats(); s.Ready != n || s.InMemory > 20 {
		t.Fatalf("ready %d, %d of them in memory", s.Ready, s.InMemory)
	}
	c := w.Client("c", nil)
	if _, err := c.Session.Subscribe(w.Turn, broker.SubscribeOptions{Queue: "q", Tag: "c", Prefetch: 50}); err != nil {
		t.Fatal(err)
	}
	next, most := 0, int64(0)
	for next < n {
		w.Store.Commit(w.Turn, -1)
		w.Write()
		if len(c.Open) == 0 {
			t.Fatalf("stuck at %d: %+v", next, q.Stats())
		}
		var leases []broker.Lease
		for _, d := range c.Open {
			if string(d.Msg.Body) != strconv.Itoa(next) {
				t.Fatalf("got %s, want %d", d.Msg.Body, next)
			}
			leases = append(leases, d.Lease)
			next++
		}
		c.Open = nil
		c.Session.Settle(w.Turn, q, leases, broker.Accepted)
		most = max(most, q.Stats().Memory)
	}
	if most > 200_000 { // all of them would be 3.3 MB
		t.Errorf("up to %d bytes were in memory", most)
	}
	w.Store.Commit(w.Turn, -1)
	if s := q.Stats(); s.Ready != 0 || s.Memory != 0 {
		t.Errorf("after the drain: %+v", s)
	}
}

// Purging takes what is in the store alone, spares what is unsettled, and is
// not undone by a read that was under way (AMQP-56).
func TestPurgeOfColdMessages(t *testing.T) {
	w := scarceWorld(t)
	q := declare(t, w, "q", true)
	fill(t, w, "q", 500)
	c := w.Client("c", nil)
	if err := c.Session.Get(w.Turn, "q", false, 1); err != nil {
		t.Fatal(err)
	}
	w.Write()
	for len(c.Open) < 20 { // until a read is under way
		if err := c.Session.Get(w.Turn, "q", false, 1); err != nil {
			t.Fatal(err)
		}
		w.Write()
		if w.Store.Pending() > 0 {
			break
		}
	}
	held := len(c.Open)
	n, err := c.Session.PurgeQueue(w.Turn, "q", nil)
	if err != nil || n != 500-held {
		t.Fatalf("purged %d, %v; want %d", n, err, 500-held)
	}
	w.Store.Commit(w.Turn, -1)
	if s := q.Stats(); s.Ready != 0 || s.Unsettled != held {
		t.Errorf("after the purge: %+v", s)
	}
	publish(t, w, c.Session, "q", "new", persistent)
	w.Store.Commit(w.Turn, -1)
	if err := w.Crash(0, scarce); err != nil {
		t.Fatal(err)
	}
	if n := w.VHost().Queue("q").Stats().Ready; n != held+1 {
		t.Errorf("%d messages after a restart, want the %d unsettled ones and the new one", n, held)
	}
}

// A length limit on a queue whose head is in the store alone drops that head.
func TestDropHeadOfColdMessages(t *testing.T) {
	w := scarceWorld(t)
	declare(t, w, "q", true)
	fill(t, w, "q", 300)
	if err := w.Crash(0, scarce); err != nil {
		t.Fatal(err)
	}
	w.Held = true
	q := w.VHost().Queue("q")
	broker.Configure(q, w.Turn, func(c *broker.QueueConfig) { c.MaxLength = 10 })
	w.Store.Commit(w.Turn, -1)
	c := w.Client("c", nil)
	for want := 290; want < 300; want++ {
		if err := c.Session.Get(w.Turn, "q", true, 1); err != nil {
			t.Fatal(err)
		}
		w.Store.Commit(w.Turn, -1)
		e := c.Sink.Take()
		if len(e) != 1 || !e[0].OK || string(e[0].Delivery.Msg.Body) != strconv.Itoa(want) {
			t.Fatalf("want %d, got %+v", want, e)
		}
	}
	if n := q.Stats().Ready; n != 0 {
		t.Errorf("%d are left", n)
	}
}

// Expired messages leave the cold part of a lane from between live ones, and
// dead-letter exactly once each.
func TestSweepOfColdMessages(t *testing.T) {
	w := scarceWorld(t)
	declare(t, w, "dead", true)
	q := declare(t, w, "q", true,
		broker.Field{Name: "x-dead-letter-exchange", Value: ""}, broker.Field{Name: "x-dead-letter-routing-key", Value: "dead"})
	s := w.VHost().OpenSession(nil, &brokertest.Recorder{})
	for i := range 4000 {
		publish(t, w, s, "q", strconv.Itoa(i), persistent, func(m *broker.Message) {
			if i%2 == 0 {
				m.TTL = 500
			}
		})
	}
	w.Store.Commit(w.Turn, -1)
	for range 50 {
		w.Turn.Now += 100
		w.Broker.Tick(w.Turn)
		w.Store.Commit(w.Turn, -1)
	}
	if st, dead := q.Stats(), w.VHost().Queue("dead").Stats(); st.Ready != 2000 || st.Expired != 2000 || dead.Ready != 2000 {
		t.Errorf("%d ready, %d expired, %d dead; want 2000 each", st.Ready, st.Expired, dead.Ready)
	}
	c := w.Client("c", nil)
	if _, err := c.Session.Subscribe(w.Turn, broker.SubscribeOptions{Queue: "q", Tag: "c", NoAck: true}); err != nil {
		t.Fatal(err)
	}
	next := 1
	for range 100 {
		w.Store.Commit(w.Turn, -1)
		for _, e := range c.Sink.Take() {
			if string(e.Delivery.Msg.Body) != strconv.Itoa(next) {
				t.Fatalf("got %s, want %d", e.Delivery.Msg.Body, next)
			}
			next += 2
			e.Sub.Written(w.Turn, 1, e.Delivery.Msg.Size())
		}
	}
	if next != 4001 {
		t.Errorf("drained up to %d", next)
	}
}

// Delayed messages that memory has no room for come when they are due all the
// same, each once, in the order of their times.
func TestDelayedBacklog(t *testing.T) {
	none := func(b *broker.Broker) { b.SetHotMemory(0, 0, 4000) }
	for i := range 4 {
		restart, memory := i%2 == 1, scarce
		if i >= 2 {
			memory = none
		}
		t.Run(fmt.Sprintf("restart=%v,none=%v", restart, i >= 2), func(t *testing.T) {
			w, err := brokertest.NewWorld(memory)
			if err != nil {
				t.Fatal(err)
			}
			w.Held = true
			declare(t, w, "q", true)
			s := w.VHost().OpenSession(nil, &brokertest.Recorder{})
			const n = 300
			for i := range n {
				at := w.Turn.Now + int64(i)*100 + 50
				publish(t, w, s, "q", strconv.Itoa(i), persistent, func(m *broker.Message) { m.Notes = &broker.Notes{DeliverAt: at} })
			}
			w.Store.Commit(w.Turn, -1)
			if restart {
				if err := w.Crash(0, memory); err != nil {
					t.Fatal(err)
				}
				w.Held = true
			}
			q := w.VHost().Queue("q")
			if st := q.Stats(); st.Delayed != n || st.Ready != 0 {
				t.Fatalf("%+v", st)
			}
			c := w.Client("c", nil)
			if _, err := c.Session.Subscribe(w.Turn, broker.SubscribeOptions{Queue: "q", Tag: "c", NoAck: true}); err != nil {
				t.Fatal(err)
			}
			next, late := 0, 0
			for range n + 120 {
				w.Turn.Now += 100
				w.Broker.Tick(w.Turn)
				w.Store.Commit(w.Turn, -1)
				for _, e := range c.Sink.Take() {
					i, _ := strconv.Atoi(string(e.Delivery.Msg.Body))
					due := brokertest.Start + int64(i)*100 + 50
					if w.Turn.Now < due {
						t.Fatalf("message %d came %d ms early", i, due-w.Turn.Now)
					}
					late = max(late, int(w.Turn.Now-due))
					next++
					e.Sub.Written(w.Turn, 1, e.Delivery.Msg.Size())
				}
			}
			if st := q.Stats(); next != n || st.Delayed != 0 || st.Memory != 0 {
				t.Errorf("%d of %d came: %+v", next, n, st)
			}
			if late > 200 {
				t.Errorf("one came %d ms late", late)
			}
		})
	}
}

// A get that finds its queue's messages in the store alone waits for them, and
// gets in the order they asked are answered in that order.
func TestGetsWaitForTheStore(t *testing.T) {
	w := scarceWorld(t)
	declare(t, w, "q", true)
	fill(t, w, "q", 3)
	if err := w.Crash(0, scarce); err != nil {
		t.Fatal(err)
	}
	w.Held = true
	c := w.Client("c", nil)
	for ref := range uint64(4) {
		if err := c.Session.Get(w.Turn, "q", true, ref); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(c.Sink.Take()); n != 0 {
		t.Fatalf("%d answers before the store read anything", n)
	}
	w.Store.Commit(w.Turn, -1)
	for ref, e := range c.Sink.Take() {
		if e.ID != uint64(ref) || e.OK != (ref < 3) || e.OK && string(e.Delivery.Msg.Body) != strconv.Itoa(ref) {
			t.Errorf("answer %d: %+v", ref, e)
		}
	}
}

// A session that leaves takes its waiting gets with it.
func TestGetOfAClosedSession(t *testing.T) {
	w := scarceWorld(t)
	declare(t, w, "q", true)
	fill(t, w, "q", 1)
	if err := w.Crash(0, scarce); err != nil {
		t.Fatal(err)
	}
	w.Held = true
	c := w.Client("c", nil)
	if err := c.Session.Get(w.Turn, "q", false, 1); err != nil {
		t.Fatal(err)
	}
	w.Leave(c)
	w.Store.Commit(w.Turn, -1)
	if s := w.VHost().Queue("q").Stats(); s.Ready != 1 || s.Unsettled != 0 {
		t.Errorf("%+v", s)
	}
}

// A queue that is deleted while reads and publishes are under way stays gone,
// and the publisher gets its receipt.
func TestDeleteWithWorkUnderWay(t *testing.T) {
	w := scarceWorld(t)
	declare(t, w, "q", true)
	fill(t, w, "q", 200)
	c := w.Client("c", nil)
	if _, err := c.Session.Subscribe(w.Turn, broker.SubscribeOptions{Queue: "q", Tag: "c", Prefetch: 30}); err != nil {
		t.Fatal(err)
	}
	publish(t, w, c.Session, "q", "last", persistent)
	if _, err := c.Session.DeleteQueue(w.Turn, "q", false, false, nil); err != nil {
		t.Fatal(err)
	}
	w.Store.Commit(w.Turn, -1)
	var receipts, cancelled int
	for _, e := range c.Sink.Take() {
		switch {
		case e.Kind == brokertest.Receipt && e.OK:
			receipts++
		case e.Kind == brokertest.Cancelled:
			cancelled++
		}
	}
	if receipts != 1 || cancelled != 1 {
		t.Errorf("%d receipts, %d cancellations; want 1, 1", receipts, cancelled)
	}
	if n := w.Broker.MemoryUsed(); n != 0 {
		t.Errorf("%d bytes stay in the account", n)
	}
	if err := w.Crash(0, scarce); err != nil {
		t.Fatal(err)
	}
	if w.VHost().Queue("q") != nil {
		t.Error("the queue is there again")
	}
}
