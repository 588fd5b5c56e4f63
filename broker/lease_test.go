package broker_test

import (
	"fmt"
	"testing"

	"github.com/hermodmq/hermod/broker"
	"github.com/hermodmq/hermod/broker/brokertest"
)

// lent is a world with a queue of n messages, numbered from 0, all with a
// group if the queue is FIFO: even or odd.
func lent(t *testing.T, n int, fifo bool) (*brokertest.World, *broker.Queue) {
	w := newWorld(t)
	var args []broker.Field
	if fifo {
		args = []broker.Field{{Name: "x-lease-groups", Value: true}}
	}
	q := declare(t, w, "q", true, args...)
	c := w.Client("c", nil)
	for i := range n {
		change := persistent
		if fifo {
			change = func(m *broker.Message) {
				m.Persistent, m.Notes = true, &broker.Notes{GroupID: []string{"even", "odd"}[i%2]}
			}
		}
		publish(t, w, c.Session, "q", fmt.Sprint(i), change)
	}
	w.Store.Commit(w.Turn, -1)
	return w, q
}

func lend(t *testing.T, w *brokertest.World, q *broker.Queue, n int, ms int64) []broker.Taken {
	t.Helper()
	durable := false
	list, _, stored := q.Lend(w.Turn, broker.ReceiveOptions{Max: n, Deadline: w.Turn.Now + ms}, nil, func(*broker.Turn) { durable = true })
	w.Store.Commit(w.Turn, -1)
	if stored != durable || stored != (len(list) > 0) {
		t.Fatalf("%d messages, stored %v, durable %v", len(list), stored, durable)
	}
	return list
}

// again crashes the broker and takes what it finds, reading as long as it has to.
func again(t *testing.T, w *brokertest.World) *broker.Queue {
	t.Helper()
	if err := w.Crash(0, nil); err != nil {
		t.Fatal(err)
	}
	return w.VHost().Queue("q")
}

func takeAll(w *brokertest.World, q *broker.Queue, n int) []broker.Taken {
	var all []broker.Taken
	for tries := 0; tries < 4; tries++ {
		list, _ := q.Take(w.Turn, broker.ReceiveOptions{Max: n - len(all), Deadline: w.Turn.Now + 1_000_000}, nil)
		if all = append(all, list...); len(list) == 0 {
			w.Store.Commit(w.Turn, -1)
		}
	}
	return all
}

func remove(w *brokertest.World, q *broker.Queue, strict bool, tokens ...broker.Token) []bool {
	ok := make([]bool, len(tokens))
	q.RemoveAll(w.Turn, tokens, strict, ok, nil)
	w.Store.Commit(w.Turn, -1)
	return ok
}

// SQS-67: after a crash a message that was received stays invisible until its
// deadline, counts its receives, and goes by the handle it was received with.
func TestLeasesSurviveACrash(t *testing.T) {
	for _, fifo := range []bool{false, true} {
		w, q := lent(t, 6, fifo)
		first := lend(t, w, q, 3, 600_000)
		late := lend(t, w, q, 1, 60_000)
		q = again(t, w)
		if ready, out, _ := q.Counts(); ready != 2 || out != 4 {
			t.Errorf("fifo %v: %d ready, %d in flight, want 2 and 4", fifo, ready, out)
		}
		if ok := remove(w, q, fifo, token(first[0])); !ok[0] {
			t.Errorf("fifo %v: the old handle does not delete", fifo)
		}
		if got := q.Extend(w.Turn, token(first[1]), w.Turn.Now+300_000, fifo); got != broker.Extended {
			t.Errorf("fifo %v: the old handle does not extend: %v", fifo, got)
		}
		w.Store.Commit(w.Turn, -1)
		q = again(t, w) // with the changes
		w.Advance(59_000)
		if _, out, _ := q.Counts(); out != 3 {
			t.Errorf("fifo %v: %d in flight, want 3", fifo, out)
		}
		w.Advance(2_000)
		if _, out, _ := q.Counts(); out != 2 {
			t.Errorf("fifo %v: %d in flight after the shortest deadline, want 2", fifo, out)
		}
		if late[0].Count != 0 {
			t.Errorf("count %d", late[0].Count)
		}
		w.Advance(250_000) // the one that was shortened
		w.Advance(300_000)
		want := map[string]uint32{string(first[1].Msg.Body): 1, string(first[2].Msg.Body): 1, string(late[0].Msg.Body): 1}
		all := takeAll(w, q, 10)
		for _, x := range all {
			if x.Count != want[string(x.Msg.Body)] || x.Count > 0 && !x.Redelivered {
				t.Errorf("fifo %v: message %s has count %d, redelivered %v", fifo, x.Msg.Body, x.Count, x.Redelivered)
			}
			if x.Count == 1 && x.First != first[0].First {
				t.Errorf("fifo %v: message %s was received first at %d", fifo, x.Msg.Body, x.First)
			}
		}
		if len(all) != 5 {
			t.Errorf("fifo %v: %d messages came back, want 5", fifo, len(all))
		}
	}
}

// The group of a message that was received before the crash stays locked, also
// for messages that come later, until that one is gone.
func TestFifoStaysLockedOverACrash(t *testing.T) {
	w, q := lent(t, 2, true)
	list := lend(t, w, q, 2, 600_000)
	q = again(t, w)
	c := w.Client("c", nil)
	publish(t, w, c.Session, "q", "later", func(m *broker.Message) { m.Persistent, m.Notes = true, &broker.Notes{GroupID: "even"} })
	w.Store.Commit(w.Turn, -1)
	if got := takeAll(w, q, 10); len(got) != 0 {
		t.Fatalf("%q of a locked group", words(got))
	}
	if ok := remove(w, q, true, token(list[0])); !ok[0] {
		t.Fatal("the old handle does not delete")
	}
	if got := words(takeAll(w, q, 10)); got != "later" {
		t.Errorf("%q after the delete", got)
	}
}

// A handle of an earlier lease is as stale after a crash as before.
func TestStaleHandlesStayStale(t *testing.T) {
	w, q := lent(t, 1, true)
	old := lend(t, w, q, 1, 1_000)
	w.Advance(1_500)
	w.Store.Commit(w.Turn, -1)
	fresh := lend(t, w, q, 1, 600_000)
	q = again(t, w)
	if ok := remove(w, q, true, token(old[0])); ok[0] {
		t.Error("the stale handle deletes")
	}
	if got := q.Extend(w.Turn, token(old[0]), w.Turn.Now+1, true); got != broker.StaleLease {
		t.Errorf("the stale handle extends: %v", got)
	}
	if ok := remove(w, q, true, token(fresh[0])); !ok[0] {
		t.Error("the fresh handle does not delete")
	}
	w.Advance(700_000)
	if s := q.Stats(); s.Ready+s.Unsettled != 0 || s.Memory != 0 {
		t.Errorf("%+v is left", s)
	}
}

// A lease is over when its time is, not when the next tick comes.
func TestLeasesEndBetweenTicks(t *testing.T) {
	w, q := lent(t, 1, true)
	for _, use := range []func(x broker.Token){
		func(x broker.Token) {
			if ok := remove(w, q, true, x); ok[0] {
				t.Error("the handle deletes")
			}
		},
		func(x broker.Token) {
			if got := q.Extend(w.Turn, x, w.Turn.Now+1_000, true); got != broker.StaleLease {
				t.Errorf("the handle extends: %v", got)
			}
		},
		func(broker.Token) {},
	} {
		x := token(lend(t, w, q, 1, 1_000)[0])
		w.Turn.Now += 1_000
		use(x)
	}
	if s := q.Stats(); s.Unsettled != 1 {
		t.Fatalf("%+v", s)
	}
	if list := lend(t, w, q, 1, 1_000); list[0].Count != 3 {
		t.Errorf("received %d times before", list[0].Count)
	}
}

// A deadline that passed while the broker was down is over at once, and the
// count knows.
func TestDeadlinesPassWhileDown(t *testing.T) {
	w, q := lent(t, 3, false)
	lend(t, w, q, 2, 5_000)
	w.Turn.Now += 60_000
	q = again(t, w)
	w.Advance(100)
	all := takeAll(w, q, 10)
	if len(all) != 3 {
		t.Fatalf("%d messages, want 3", len(all))
	}
	for _, x := range all {
		if want := uint32(1); string(x.Msg.Body) != "2" && (x.Count != want || !x.Redelivered) {
			t.Errorf("message %s has count %d, redelivered %v", x.Msg.Body, x.Count, x.Redelivered)
		}
	}
	w.Store.Commit(w.Turn, -1)
	if err := w.Crash(0, nil); err != nil { // those leases were Take's: nothing is kept
		t.Fatal(err)
	}
	if ready, out, _ := w.VHost().Queue("q").Counts(); ready != 3 || out != 0 {
		t.Errorf("%d ready, %d in flight", ready, out)
	}
}

// What a client that hung up did not see is there again, uncounted.
func TestGiveBack(t *testing.T) {
	w, q := lent(t, 2, true)
	list := lend(t, w, q, 2, 600_000)
	q.GiveBack(w.Turn, list)
	w.Store.Commit(w.Turn, -1)
	for range 2 {
		got := takeAll(w, q, 2)
		if words(got) != "0 1" || got[0].Count != 0 {
			t.Fatalf("%q, count %d", words(got), got[0].Count)
		}
		q = again(t, w)
	}
}

// Purging, deleting and dead-lettering leave no lease behind.
func TestLeasesEndWithTheirMessages(t *testing.T) {
	w, q := lent(t, 8, false)
	list := lend(t, w, q, 4, 600_000)
	q = again(t, w)
	remove(w, q, false, token(list[0]))
	q.Clear(w.Turn, nil)
	w.Store.Commit(w.Turn, -1)
	if s := q.Stats(); s.Ready+s.Unsettled != 0 || s.Memory != 0 {
		t.Errorf("%+v is left after Clear", s)
	}
	q = again(t, w)
	if ready, out, _ := q.Counts(); ready+out != 0 {
		t.Errorf("%d ready, %d in flight after Clear and a crash", ready, out)
	}
}

// Far more in flight than fits in memory: places are kept, messages are not.
func TestManyLeasesOverACrash(t *testing.T) {
	const n = 20_000
	w, q := lent(t, n, false)
	var tokens []broker.Token
	for len(tokens) < n/2 {
		for _, x := range lend(t, w, q, 10, 600_000) {
			tokens = append(tokens, token(x))
		}
	}
	q = again(t, w)
	if ready, out, _ := q.Counts(); ready != n/2 || out != n/2 {
		t.Fatalf("%d ready, %d in flight", ready, out)
	}
	for i := 0; i < len(tokens); i += 2 {
		if ok := remove(w, q, false, tokens[i]); !ok[0] {
			t.Fatalf("handle %d does not delete", i)
		}
	}
	w.Advance(601_000)
	seen := make(map[string]bool)
	for {
		list := takeAll(w, q, 1000)
		if len(list) == 0 {
			break
		}
		for _, x := range list {
			if seen[string(x.Msg.Body)] {
				t.Fatalf("%s twice", x.Msg.Body)
			}
			seen[string(x.Msg.Body)] = true
		}
	}
	if len(seen) != n/2+n/4 {
		t.Errorf("%d messages, want %d", len(seen), n/2+n/4)
	}
}

// A node that takes over may have a clock of its own. Nobody waits longer for a
// message than its receiver was promised at most, however far the clock is
// behind, and what was extended keeps its extension.
func TestLeasesOfAClockAheadEndInTime(t *testing.T) {
	const behind = 600_000
	for _, fifo := range []bool{false, true} {
		w, q := lent(t, 3, fifo)
		lend(t, w, q, 1, 30_000)
		long := lend(t, w, q, 1, 30_000)
		if got := q.Extend(w.Turn, token(long[0]), w.Turn.Now+90_000, fifo); got != broker.Extended {
			t.Fatalf("fifo %v: not extended: %v", fifo, got)
		}
		w.Store.Commit(w.Turn, -1)
		w.Turn.Now -= behind
		q = again(t, w)
		for _, step := range []struct {
			ms  int64
			out int
		}{{29_000, 2}, {2_000, 1}, {58_000, 1}, {2_000, 0}} {
			w.Advance(step.ms)
			if _, out, _ := q.Counts(); out != step.out {
				t.Errorf("fifo %v: %d in flight at this time, want %d", fifo, out, step.out)
			}
		}
	}
}
