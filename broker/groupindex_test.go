package broker_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/hermodmq/hermod/broker"
	"github.com/hermodmq/hermod/broker/brokertest"
)

// fifo is a queue with the FIFO rule and messages in it, named group-message.
func fifo(t *testing.T, messages string) (w *brokertest.World, take func(n int, ms int64) []broker.Taken, q *broker.Queue) {
	w = newWorld(t)
	q = declare(t, w, "q", true)
	broker.Configure(q, w.Turn, func(c *broker.QueueConfig) { c.LeaseGroups = true })
	c := w.Client("c", nil)
	for _, m := range strings.Fields(messages) {
		publish(t, w, c.Session, "q", m, persistent, grouped(m))
	}
	w.Store.Commit(w.Turn, -1)
	return w, func(n int, ms int64) []broker.Taken {
		list, _ := q.Take(w.Turn, broker.ReceiveOptions{Max: n, Deadline: w.Turn.Now + ms}, nil)
		return list
	}, q
}

func grouped(m string) func(*broker.Message) {
	name, _, _ := strings.Cut(m, "-")
	return func(m *broker.Message) { m.Persistent, m.Notes = true, &broker.Notes{GroupID: name} }
}

func words(list []broker.Taken) string {
	var s []string
	for _, x := range list {
		s = append(s, string(x.Msg.Body))
	}
	return strings.Join(s, " ")
}

func token(x broker.Taken) broker.Token {
	return broker.Token{Lease: x.Lease, Place: x.Place, Since: x.Since}
}

// One receive takes as many messages as possible of the group at the head, then
// of the next.
func TestFifoTakesAGroupAsAWhole(t *testing.T) {
	_, take, _ := fifo(t, "1-a 2-a 1-b 1-c")
	if got := words(take(10, 1000)); got != "1-a 1-b 1-c 2-a" {
		t.Error(got)
	}
}

// After a receive the group goes to the end of the rotation.
func TestFifoGroupsRotate(t *testing.T) {
	_, take, _ := fifo(t, "1-a 1-b 2-a 2-b 3-a")
	if got := words(take(3, 0)); got != "1-a 1-b 2-a" {
		t.Error(got)
	}
	if got := words(take(10, 0)); got != "3-a 1-a 1-b 2-a 2-b" {
		t.Error(got)
	}
}

// With three in flight and one extended, only what stands before that one comes
// back.
func TestFifoExtension(t *testing.T) {
	for i, want := range []string{"", "1-foo", "1-foo 1-bar"} {
		w, take, q := fifo(t, "1-foo 1-bar 1-baz")
		list := take(10, 1000)
		if q.Extend(w.Turn, token(list[i]), w.Turn.Now+10_000, true) != broker.Extended {
			t.Fatal("not extended")
		}
		w.Advance(1500)
		if got := words(take(10, 1000)); got != want {
			t.Errorf("%s extended: %q, want %q", list[i].Msg.Body, got, want)
		}
	}
}

// A message given back is deliverable although a later one is out.
func TestFifoGivenBack(t *testing.T) {
	w, take, q := fifo(t, "1-a 1-b 1-c")
	list := take(2, 1000)
	q.Extend(w.Turn, token(list[0]), 0, true)
	if got := words(take(10, 1000)); got != "1-a" {
		t.Errorf("%q", got)
	}
}

// The last message in the way unlocks its group at once and wakes who waits.
func TestFifoUnlocks(t *testing.T) {
	w, take, q := fifo(t, "1-a 1-b")
	list := take(1, 1000)
	woken := 0
	q.Await(w.Turn, &broker.Waiter{Wake: func(*broker.Turn) { woken++ }})
	publish(t, w, w.Client("d", nil).Session, "q", "1-c", grouped("1-c"))
	w.Store.Commit(w.Turn, -1)
	if got := words(take(10, 1000)); got != "" || woken != 0 {
		t.Fatalf("%q while the group is locked, woken %d", got, woken)
	}
	ok := make([]bool, 1)
	q.RemoveAll(w.Turn, []broker.Token{token(list[0])}, true, ok, nil)
	if !ok[0] || woken != 1 {
		t.Fatalf("removed %v, woken %d", ok, woken)
	}
	if got := words(take(10, 1000)); got != "1-b 1-c" {
		t.Errorf("%q", got)
	}
	if got := words(take(1, 1000)); got != "" {
		t.Errorf("%q twice", got)
	}
}

// A late delete on a FIFO queue settles nothing; on a standard one it does.
func TestLateRemoval(t *testing.T) {
	for _, strict := range []bool{true, false} {
		w, take, q := fifo(t, "1-a")
		list := take(1, 1000)
		w.Advance(1500)
		ok := make([]bool, 1)
		q.RemoveAll(w.Turn, []broker.Token{token(list[0])}, strict, ok, nil)
		if ok[0] == strict {
			t.Errorf("strict %v: removed %v", strict, ok[0])
		}
	}
}

// However many messages wait behind their group, one of a free group is found,
// in memory or not.
func TestFifoLooksBehindLockedGroups(t *testing.T) {
	w := newWorldWith(t, func(b *broker.Broker) { b.SetHotMemory(1000, 1000, 2000) })
	q := declare(t, w, "q", true)
	broker.Configure(q, w.Turn, func(c *broker.QueueConfig) { c.LeaseGroups = true })
	c := w.Client("c", nil)
	for i := range 3000 {
		publish(t, w, c.Session, "q", fmt.Sprint("1-", i), grouped("1-"))
	}
	publish(t, w, c.Session, "q", "2-a", grouped("2-"))
	w.Store.Commit(w.Turn, -1)
	var got string
	for range 3000 {
		list, _ := q.Take(w.Turn, broker.ReceiveOptions{Max: 1, Deadline: w.Turn.Now + 100_000}, nil)
		got += " " + words(list)
		if strings.HasSuffix(got, "2-a") {
			break
		}
		w.Store.Commit(w.Turn, -1)
	}
	if got = strings.Join(strings.Fields(got), " "); got != "1-0 2-a" {
		t.Errorf("%q", got)
	}
	if m := q.Stats().Memory; m > 4000*200 {
		t.Errorf("%d bytes of memory", m)
	}
}

// Groups of a fair queue take turns; one that holds much steps back.
func TestFairGroups(t *testing.T) {
	w := newWorld(t)
	q := declare(t, w, "q", true)
	c := w.Client("c", nil)
	for i := range 200 {
		publish(t, w, c.Session, "q", fmt.Sprint("noisy-", i), grouped("noisy-"))
	}
	w.Store.Commit(w.Turn, -1)
	take := func(n int) string {
		list, _ := q.Take(w.Turn, broker.ReceiveOptions{Max: n, Deadline: w.Turn.Now + 100_000, Fair: true}, nil)
		return words(list)
	}
	for range 4 {
		take(10)
	}
	publish(t, w, c.Session, "q", "quiet-1", grouped("quiet-"))
	w.Store.Commit(w.Turn, -1)
	if got := take(2); !strings.Contains(got, "quiet-1") || !strings.Contains(got, "noisy") {
		t.Errorf("%q", got)
	}
}

// What only the store has can be settled by its place, once, and never comes.
func TestRemoveCold(t *testing.T) {
	w := newWorld(t)
	q := declare(t, w, "q", true)
	c := w.Client("c", nil)
	for i := range 5 {
		publish(t, w, c.Session, "q", fmt.Sprint(i), persistent)
	}
	w.Store.Commit(w.Turn, -1)
	list, _ := q.Take(w.Turn, broker.ReceiveOptions{Max: 5, Deadline: w.Turn.Now + 1000}, nil)
	if err := w.Crash(0, nil); err != nil {
		t.Fatal(err)
	}
	q = w.VHost().Queue("q")
	place := list[2].Place
	if !q.Remove(w.Turn, place) || q.Remove(w.Turn, place) {
		t.Error("not removed once")
	}
	w.Store.Commit(w.Turn, -1)
	if ready, _, _ := q.Counts(); ready != 4 {
		t.Errorf("%d ready, want 4", ready)
	}
	again, _ := q.Take(w.Turn, broker.ReceiveOptions{Max: 5}, nil)
	if got := words(again); got != "0 1 3 4" {
		t.Errorf("%q", got)
	}
}

// Clear drops what is ready, delayed and leased, for good.
func TestClear(t *testing.T) {
	w := newWorld(t)
	q := declare(t, w, "q", true)
	c := w.Client("c", nil)
	for i := range 3 {
		publish(t, w, c.Session, "q", fmt.Sprint(i), persistent, func(m *broker.Message) {
			if i == 2 {
				m.Notes = &broker.Notes{DeliverAt: w.Turn.Now + 1000}
			}
		})
	}
	w.Store.Commit(w.Turn, -1)
	q.Take(w.Turn, broker.ReceiveOptions{Max: 1}, nil)
	done := false
	q.Clear(w.Turn, func(*broker.Turn) { done = true })
	w.Store.Commit(w.Turn, -1)
	s := q.Stats()
	if !done || s.Ready+s.Unsettled+s.Delayed != 0 || s.Memory != 0 {
		t.Errorf("done %v: %+v", done, s)
	}
	if err := w.Crash(0, nil); err != nil {
		t.Fatal(err)
	}
	w.Advance(2000)
	if s := w.VHost().Queue("q").Stats(); s.Ready+s.Delayed != 0 {
		t.Errorf("after a restart: %+v", s)
	}
}

// A duplicate hears what the first message left for it, also after a restart.
func TestDuplicateHearsItsOrigin(t *testing.T) {
	w := newWorld(t)
	declare(t, w, "q", true, broker.Field{Name: "x-dedup-window", Value: int64(300_000)})
	send := func(origin string) broker.PublishResult {
		c := w.Client(origin, nil)
		r, err := c.Session.Publish(w.Turn, broker.Publish{Receipt: 1, Msg: &broker.Message{
			RoutingKey: "q", Body: []byte("b"), TTL: broker.NoTTL, Persistent: true, Notes: &broker.Notes{DedupID: "x", Origin: origin},
		}})
		if err != nil {
			t.Fatal(err)
		}
		w.Store.Commit(w.Turn, -1)
		return r
	}
	if r := send("first"); r.Duplicate {
		t.Error("the first is a duplicate")
	}
	if r := send("second"); !r.Duplicate || r.Origin != "first" {
		t.Errorf("%+v", r)
	}
	if err := w.Crash(0, nil); err != nil {
		t.Fatal(err)
	}
	if r := send("third"); !r.Duplicate || r.Origin != "first" {
		t.Errorf("after a restart: %+v", r)
	}
}

func TestMove(t *testing.T) {
	w := newWorld(t)
	a, b := declare(t, w, "a", true), declare(t, w, "b", true)
	c := w.Client("c", nil)
	for i := range 5 {
		publish(t, w, c.Session, "a", fmt.Sprint(i), persistent)
	}
	w.Store.Commit(w.Turn, -1)
	moved, more := 0, false
	a.Move(w.Turn, 3, func(m *broker.Message) (*broker.Message, *broker.Queue) {
		n := *m
		n.RoutingKey = "b"
		return &n, b
	}, func(_ *broker.Turn, n int, rest bool) { moved, more = n, rest })
	w.Store.Commit(w.Turn, -1)
	list, _ := b.Take(w.Turn, broker.ReceiveOptions{Max: 9}, nil)
	if moved != 3 || !more || words(list) != "0 1 2" {
		t.Errorf("moved %d, more %v: %q", moved, more, words(list))
	}
}

func newWorldWith(t *testing.T, setup func(b *broker.Broker)) *brokertest.World {
	t.Helper()
	w, err := brokertest.NewWorld(setup)
	if err != nil {
		t.Fatal(err)
	}
	return w
}
