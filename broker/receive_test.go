package broker_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/hermodmq/hermod/broker"
)

func group(id string) func(*broker.Message) {
	return func(m *broker.Message) { m.Notes = &broker.Notes{GroupID: id} }
}

func dedup(id string) func(*broker.Message) {
	return func(m *broker.Message) { m.Notes = &broker.Notes{DedupID: id} }
}

func bodies(list []broker.Delivery) string {
	var words []string
	for _, d := range list {
		words = append(words, string(d.Msg.Body))
	}
	return strings.Join(words, " ")
}

// A lease without owner is settled by anybody with its token, once.
func TestReceiveLeasesBelongToNobody(t *testing.T) {
	w := newWorld(t)
	q := declare(t, w, "q", true)
	a, b := w.Client("a", nil), w.Client("b", nil)
	publish(t, w, a.Session, "q", "one", persistent)
	w.Store.Commit(w.Turn, -1)
	got := q.Receive(w.Turn, broker.ReceiveOptions{Max: 10, Deadline: w.Turn.Now + 1000}, nil)
	if bodies(got) != "one" {
		t.Fatalf("received %q", bodies(got))
	}
	w.Leave(a)
	lease := []broker.Lease{got[0].Lease}
	b.Session.Settle(w.Turn, q, lease, broker.Accepted)
	b.Session.Settle(w.Turn, q, lease, broker.Failed)
	if s := q.Stats(); s.Ready != 0 || s.Unsettled != 0 || s.Memory != 0 {
		t.Errorf("after the settlement: %+v", s)
	}
}

func TestExtendLease(t *testing.T) {
	w := newWorld(t)
	q := declare(t, w, "q", false)
	c := w.Client("c", nil)
	publish(t, w, c.Session, "q", "one")
	got := q.Receive(w.Turn, broker.ReceiveOptions{Max: 1, Deadline: w.Turn.Now + 1000}, nil)
	if !q.ExtendLease(w.Turn, got[0].Lease, w.Turn.Now+5000) {
		t.Fatal("the lease is stale at once")
	}
	w.Advance(2000)
	if n := q.Stats().Unsettled; n != 1 {
		t.Errorf("%d unsettled before the extended deadline, want 1", n)
	}
	w.Advance(4000)
	if s := q.Stats(); s.Unsettled != 0 || s.Ready != 1 || s.Lapsed != 1 {
		t.Errorf("after the deadline: %+v", s)
	}
	if q.ExtendLease(w.Turn, got[0].Lease, w.Turn.Now+5000) {
		t.Error("a lease that ran out was extended")
	}
}

// Await calls once per need, and not after it was cancelled.
func TestAwait(t *testing.T) {
	w := newWorld(t)
	q := declare(t, w, "q", false)
	c := w.Client("c", nil)
	first, second := 0, 0
	q.Await(w.Turn, &broker.Waiter{Wake: func(*broker.Turn) { first++ }})
	waiter := &broker.Waiter{Wake: func(*broker.Turn) { second++ }}
	q.Await(w.Turn, waiter)
	publish(t, w, c.Session, "q", "one")
	if first != 1 || second != 0 {
		t.Errorf("one message woke %d, %d; want 1, 0", first, second)
	}
	if !waiter.Cancel() || waiter.Cancel() {
		t.Error("the second wait was not there to be cancelled")
	}
	q.Await(w.Turn, &broker.Waiter{Wake: func(*broker.Turn) { second += 10 }})
	if second != 10 {
		t.Error("a message was ready and nobody told the waiter")
	}
}

// What waits in the store alone is loaded for a receiver.
func TestAwaitLoads(t *testing.T) {
	w := newWorld(t)
	declare(t, w, "q", true)
	publish(t, w, w.Client("c", nil).Session, "q", "one", persistent)
	w.Store.Commit(w.Turn, -1)
	if err := w.Crash(0, nil); err != nil {
		t.Fatal(err)
	}
	w.Held = true
	q := w.VHost().Queue("q")
	woken := false
	q.Await(w.Turn, &broker.Waiter{Wake: func(*broker.Turn) { woken = true }})
	if woken {
		t.Fatal("woken before anything is in memory")
	}
	w.Store.Commit(w.Turn, -1)
	if !woken {
		t.Fatal("not woken when the message was loaded")
	}
	if got := q.Receive(w.Turn, broker.ReceiveOptions{Max: 1}, nil); bodies(got) != "one" {
		t.Errorf("received %q", bodies(got))
	}
}

// SEMANTICS section 7: on a queue with leased groups no message goes while an
// earlier one of its group is unsettled, except together with it.
func TestLeaseGroups(t *testing.T) {
	w := newWorld(t)
	q := declare(t, w, "q", false)
	broker.Configure(q, w.Turn, func(c *broker.QueueConfig) { c.LeaseGroups = true })
	c := w.Client("c", nil)
	for _, m := range []string{"a1", "a2", "b1", "a3", "b2"} {
		publish(t, w, c.Session, "q", m, group(m[:1]))
	}
	receive := func(n int) []broker.Delivery {
		return q.Receive(w.Turn, broker.ReceiveOptions{Max: n}, nil)
	}
	first := receive(2)
	if bodies(first) != "a1 a2" {
		t.Fatalf("first batch %q, want a1 a2", bodies(first))
	}
	second := receive(10)
	if bodies(second) != "b1 b2" {
		t.Fatalf("second batch %q, want b1 b2: group a is out", bodies(second))
	}
	c.Session.Settle(w.Turn, q, []broker.Lease{first[1].Lease}, broker.Accepted)
	if got := receive(1); len(got) != 0 {
		t.Errorf("received %q while a1 is unsettled", bodies(got))
	}
	c.Session.Settle(w.Turn, q, []broker.Lease{first[0].Lease}, broker.Failed)
	if got := receive(10); bodies(got) != "a1 a3" {
		t.Errorf("received %q, want a1 a3", bodies(got))
	}
}

func TestDeduplication(t *testing.T) {
	w := newWorld(t)
	q := declare(t, w, "q", true)
	broker.Configure(q, w.Turn, func(c *broker.QueueConfig) { c.DedupWindow = 1000 })
	c := w.Client("c", nil)
	for range 3 {
		publish(t, w, c.Session, "q", "one", dedup("x"))
		publish(t, w, c.Session, "q", "two", dedup("y"), persistent)
	}
	w.Store.Commit(w.Turn, -1)
	if s := q.Stats(); s.Ready != 2 || s.Duplicates != 4 {
		t.Errorf("ready %d, duplicates %d; want 2, 4", s.Ready, s.Duplicates)
	}
	w.Advance(1100)
	publish(t, w, c.Session, "q", "one", dedup("x"))
	if n := q.Stats().Ready; n != 3 {
		t.Errorf("ready %d after the window, want 3", n)
	}
}

// A delivery limit on a lease that ran out is looked at when somebody wants
// the message next (SEMANTICS section 4): a late success is not punished.
func TestLazyDeliveryLimit(t *testing.T) {
	w := newWorld(t)
	declare(t, w, "dead", false)
	q := declare(t, w, "q", false,
		broker.Field{Name: "x-dead-letter-exchange", Value: ""}, broker.Field{Name: "x-dead-letter-routing-key", Value: "dead"})
	broker.Configure(q, w.Turn, func(c *broker.QueueConfig) { c.DeliveryLimit = 0 })
	c := w.Client("c", nil)
	publish(t, w, c.Session, "q", "one")
	q.Receive(w.Turn, broker.ReceiveOptions{Max: 1, Deadline: w.Turn.Now + 100}, nil)
	w.Advance(200)
	if s := q.Stats(); s.Ready != 1 {
		t.Errorf("ready %d after the lease ran out, want 1", s.Ready)
	}
	if got := q.Receive(w.Turn, broker.ReceiveOptions{Max: 1}, nil); len(got) != 0 {
		t.Errorf("received %q beyond the limit", bodies(got))
	}
	if n := w.VHost().Queue("dead").Stats().Ready; n != 1 {
		t.Errorf("%d dead-lettered, want 1", n)
	}
}

// The consumer timeout returns the one delivery and leaves the rest alone.
func TestConsumerTTL(t *testing.T) {
	w := newWorld(t)
	q := declare(t, w, "q", false)
	broker.Configure(q, w.Turn, func(c *broker.QueueConfig) { c.ConsumerTTL = 1000 })
	c := w.Client("c", nil)
	if _, err := c.Session.Subscribe(w.Turn, broker.SubscribeOptions{Queue: "q", Tag: "c", Prefetch: 1}); err != nil {
		t.Fatal(err)
	}
	publish(t, w, c.Session, "q", "one")
	w.Turn.Now += 1100
	w.Broker.Tick(w.Turn)
	var log []string
	for _, e := range c.Sink.Take() {
		log = append(log, fmt.Sprintf("%s redelivered=%v", e.Delivery.Msg.Body, e.Delivery.Redelivered))
	}
	if got := strings.Join(log, ", "); got != "one redelivered=false, one redelivered=true" {
		t.Errorf("deliveries: %s", got)
	}
}

// A message can be removed by its place when its lease ran out: ready again,
// or leased to somebody else; never twice (SEMANTICS section 4).
func TestRemoveByPlace(t *testing.T) {
	w := newWorld(t)
	q := declare(t, w, "q", true)
	c := w.Client("c", nil)
	for i := range 4 {
		publish(t, w, c.Session, "q", fmt.Sprint(i), func(m *broker.Message) { m.Persistent = i%2 == 0 })
	}
	w.Store.Commit(w.Turn, -1)
	got := q.Receive(w.Turn, broker.ReceiveOptions{Max: 4, Deadline: w.Turn.Now + 100}, nil)
	var places []broker.Place
	for _, d := range got {
		p, ok := q.PlaceOf(d.Lease)
		if !ok {
			t.Fatalf("no place for %s", d.Msg.Body)
		}
		places = append(places, p)
	}
	w.Advance(200)
	if _, ok := q.PlaceOf(got[0].Lease); ok {
		t.Error("a stale lease has a place")
	}
	if !q.Remove(w.Turn, places[1]) || q.Remove(w.Turn, places[1]) {
		t.Error("a ready message was not removed once")
	}
	again := q.Receive(w.Turn, broker.ReceiveOptions{Max: 2}, nil)
	if bodies(again) != "0 2" {
		t.Fatalf("received %q, want 0 2", bodies(again))
	}
	if !q.Remove(w.Turn, places[0]) || q.Remove(w.Turn, places[0]) {
		t.Error("a leased message was not removed once")
	}
	c.Session.Settle(w.Turn, q, []broker.Lease{again[0].Lease, again[1].Lease}, broker.Released)
	if got := q.Receive(w.Turn, broker.ReceiveOptions{Max: 9}, nil); bodies(got) != "2 3" {
		t.Errorf("received %q, want 2 3", bodies(got))
	}
	w.Store.Commit(w.Turn, -1)
	if err := w.Crash(0, nil); err != nil {
		t.Fatal(err)
	}
	if n := w.VHost().Queue("q").Stats().Ready; n != 1 {
		t.Errorf("%d messages after a restart, want 1", n)
	}
}
