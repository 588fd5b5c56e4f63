package broker_test

import (
	"strconv"
	"strings"
	"testing"

	"github.com/hermodmq/hermod/broker"
	"github.com/hermodmq/hermod/broker/brokertest"
)

func windowOf(ms int64) broker.Field { return broker.Field{Name: "x-dedup-window", Value: ms} }

// dedupFacts counts what the store remembers of deduplication.
func dedupFacts(t *testing.T, w *brokertest.World) (n int) {
	t.Helper()
	w.Store.Commit(w.Turn, -1)
	rec, err := w.Store.Recover()
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range rec.Definitions {
		if d.Kind == "dedup" {
			n++
		}
	}
	return n
}

// A restart within the window refuses duplicates of what it kept, and takes
// again what it lost.
func TestDeduplicationSurvivesRestart(t *testing.T) {
	w := newWorld(t)
	w.Held = true
	declare(t, w, "q", true, windowOf(5000))
	c := w.Client("c", nil)
	long := strings.Repeat("long", 1000)
	publish(t, w, c.Session, "q", "one", dedup("x"), persistent)
	publish(t, w, c.Session, "q", "two", dedup(long), persistent)
	w.Store.Commit(w.Turn, -1)
	publish(t, w, c.Session, "q", "lost", dedup("z"), persistent)
	publish(t, w, c.Session, "q", "transient", dedup("t"))
	w.Turn.Now += 2000
	if err := w.Crash(0, nil); err != nil {
		t.Fatal(err)
	}
	q := w.VHost().Queue("q")
	c = w.Client("c", nil)
	for _, id := range []string{"x", long, "z", "t"} {
		publish(t, w, c.Session, "q", id, dedup(id), persistent)
	}
	w.Store.Commit(w.Turn, -1)
	if s := q.Stats(); s.Ready != 4 || s.Duplicates != 2 {
		t.Errorf("ready %d, duplicates %d; want 4, 2", s.Ready, s.Duplicates)
	}
	w.Advance(3100) // the window of the first two is over
	publish(t, w, c.Session, "q", "again", dedup("x"), persistent)
	w.Store.Commit(w.Turn, -1)
	if s := q.Stats(); s.Ready != 5 {
		t.Errorf("ready %d after the window", s.Ready)
	}
	if n := dedupFacts(t, w); n != 3 {
		t.Errorf("the store remembers %d ids, want x, z and t", n)
	}
}

// The store forgets ids when their window is over or their queue is gone or
// cleared.
func TestDeduplicationIsForgotten(t *testing.T) {
	w := newWorld(t)
	declare(t, w, "q", true, windowOf(1000))
	c := w.Client("c", nil)
	for i := range 100 {
		publish(t, w, c.Session, "q", "m", dedup(strconv.Itoa(i)), persistent)
	}
	if n := dedupFacts(t, w); n != 100 {
		t.Fatalf("%d ids, want 100", n)
	}
	w.Advance(2500)
	if n := dedupFacts(t, w); n != 0 {
		t.Errorf("%d ids after the window", n)
	}
	for range 2 {
		publish(t, w, c.Session, "q", "m", dedup("1"), persistent)
		w.Store.Commit(w.Turn, -1)
		q := w.VHost().Queue("q")
		q.Clear(w.Turn, nil)
		if s := q.Stats(); s.Duplicates != 0 || dedupFacts(t, w) != 0 {
			t.Errorf("%d ids of a queue that was cleared: %+v", dedupFacts(t, w), s)
		}
	}
	publish(t, w, c.Session, "q", "m", dedup("1"), persistent)
	w.Store.Commit(w.Turn, -1)
	if _, err := c.Session.DeleteQueue(w.Turn, "q", false, false, nil); err != nil {
		t.Fatal(err)
	}
	if n := dedupFacts(t, w); n != 0 {
		t.Errorf("%d ids of a queue that is gone", n)
	}
}

// The receipt of a duplicate does not come before the first copy is safe.
func TestDuplicateReceiptWaits(t *testing.T) {
	w := newWorld(t)
	w.Held = true
	declare(t, w, "q", true, windowOf(1000))
	c := w.Client("c", nil)
	for range 2 {
		if r := publish(t, w, c.Session, "q", "m", dedup("1"), persistent); !r.Pending {
			t.Errorf("%+v", r)
		}
	}
	w.Store.Commit(w.Turn, 1)
	if n := len(c.Sink.Take()); n != 1 {
		t.Errorf("%d receipts after the first commit", n)
	}
	w.Store.Commit(w.Turn, -1)
	if e := c.Sink.Take(); len(e) != 1 || !e[0].OK {
		t.Errorf("%+v", e)
	}
}

// Dead letters are not publishes: two with the same id both reach a queue with
// a window.
func TestDeadLettersAreNotDeduplicated(t *testing.T) {
	w := newWorld(t)
	dead := declare(t, w, "dead", true, windowOf(5000))
	q := declare(t, w, "q", true,
		broker.Field{Name: "x-dead-letter-exchange", Value: ""}, broker.Field{Name: "x-dead-letter-routing-key", Value: "dead"})
	c := w.Client("c", nil)
	publish(t, w, c.Session, "q", "a", dedup("1"), persistent)
	publish(t, w, c.Session, "q", "b", dedup("1"), persistent)
	w.Store.Commit(w.Turn, -1)
	for _, d := range q.Receive(w.Turn, broker.ReceiveOptions{Max: 2}, nil) {
		c.Session.Settle(w.Turn, q, []broker.Lease{d.Lease}, broker.Rejected)
	}
	w.Store.Commit(w.Turn, -1)
	if s := dead.Stats(); s.Ready != 2 || s.Duplicates != 0 {
		t.Errorf("%+v", s)
	}
}
