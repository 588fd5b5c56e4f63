package broker_test

import (
	"strconv"
	"testing"

	"github.com/hermodmq/hermod/broker"
	"github.com/hermodmq/hermod/broker/brokertest"
)

func streamQueue(t *testing.T, w *brokertest.World, args ...broker.Field) *broker.Queue {
	t.Helper()
	return declare(t, w, "s", true, append(args, broker.Field{Name: "x-queue-type", Value: "stream"})...)
}

// readStream subscribes with a prefetch and settles until nothing more comes.
func readStream(t *testing.T, w *brokertest.World, name string, offset broker.Value) (offsets []int64) {
	t.Helper()
	c := w.Client(name, nil)
	if _, err := c.Session.Subscribe(w.Turn, broker.SubscribeOptions{
		Queue: "s", Tag: name, Prefetch: 20, Args: broker.Table{{Name: "x-stream-offset", Value: offset}},
	}); err != nil {
		t.Fatal(err)
	}
	for {
		w.Store.Commit(w.Turn, -1)
		w.Write()
		if len(c.Open) == 0 {
			return offsets
		}
		open := c.Open
		c.Open = nil
		for _, d := range open {
			if string(d.Msg.Body) != strconv.FormatInt(d.Offset, 10) {
				t.Fatalf("body %s at offset %d", d.Msg.Body, d.Offset)
			}
			offsets = append(offsets, d.Offset)
			c.Session.Settle(w.Turn, d.Queue, []broker.Lease{d.Lease}, broker.Accepted)
		}
	}
}

// AMQP-53: every consumer reads all of a stream that is far bigger than what
// memory keeps, from wherever it wants, before and after a restart.
func TestStreamIsReadFromTheStore(t *testing.T) {
	w := newWorld(t)
	streamQueue(t, w)
	const n = 30_000
	for i := range n {
		if i == n/2 {
			w.Turn.Now += 3_600_000
		}
		publish(t, w, w.Client("p", nil).Session, "s", strconv.Itoa(i))
		if i%64 == 0 {
			w.Store.Commit(w.Turn, -1)
		}
	}
	w.Store.Commit(w.Turn, -1)
	for round := range 2 {
		for i, x := range []struct {
			offset broker.Value
			first  int
		}{
			{"first", 0}, {int64(1000), 1000}, {int64(n - 5), n - 5}, {"last", n - 1}, {"next", n},
			{broker.Timestamp(w.Turn.Now/1000 - 60), n / 2}, {"30m", n / 2}, {"2h", 0}, {int32(5), 5},
		} {
			got := readStream(t, w, "c"+strconv.Itoa(round*100+i), x.offset)
			if len(got) != n-x.first {
				t.Errorf("round %d, offset %v: %d messages, want %d", round, x.offset, len(got), n-x.first)
				continue
			}
			for j, o := range got {
				if o != int64(x.first+j) {
					t.Fatalf("offset %d follows %d", o, got[max(j-1, 0)])
				}
			}
		}
		if err := w.Crash(0, nil); err != nil {
			t.Fatal(err)
		}
		w.Held = true
	}
}

// Retention by age drops what is old, after a restart, too, and a reader that
// was further back goes on with what is left.
func TestStreamAge(t *testing.T) {
	w := newWorld(t)
	streamQueue(t, w, broker.Field{Name: "x-max-age", Value: "1h"})
	p := w.Client("p", nil)
	for i := range 10_000 {
		publish(t, w, p.Session, "s", strconv.Itoa(i))
	}
	w.Store.Commit(w.Turn, -1)
	w.Turn.Now += 2 * 3_600_000
	if err := w.Crash(0, nil); err != nil {
		t.Fatal(err)
	}
	w.Held = true
	for i := range 5 {
		publish(t, w, w.Client("p", nil).Session, "s", strconv.Itoa(10_000+i))
	}
	w.Store.Commit(w.Turn, -1)
	for range 300 {
		w.Turn.Now += 1000
		w.Broker.Tick(w.Turn)
		w.Store.Commit(w.Turn, -1)
	}
	q := w.VHost().Queue("s")
	if n := q.Stats().Ready; n > 1000 || n < 5 {
		t.Errorf("%d messages are kept, want few but the new ones", n)
	}
	got := readStream(t, w, "c", int64(3))
	if len(got) != q.Stats().Ready || got[len(got)-1] != 10_004 {
		t.Errorf("read %d of %d, up to %d", len(got), q.Stats().Ready, got[len(got)-1])
	}
}

// A consumer that does not settle holds its prefetch and no more; the others
// are not held up.
func TestStreamCredit(t *testing.T) {
	w := newWorld(t)
	q := streamQueue(t, w)
	p := w.Client("p", nil)
	lazy := w.Client("lazy", nil)
	for _, o := range []broker.SubscribeOptions{{Tag: "a", Prefetch: 3}, {Tag: "b", Prefetch: 7}} {
		o.Queue = "s"
		if _, err := lazy.Session.Subscribe(w.Turn, o); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 20 {
		publish(t, w, p.Session, "s", strconv.Itoa(i))
	}
	w.Store.Commit(w.Turn, -1)
	w.Write()
	if len(lazy.Open) != 10 {
		t.Fatalf("%d unsettled, want 3 + 7", len(lazy.Open))
	}
	lazy.Session.Settle(w.Turn, q, []broker.Lease{lazy.Open[0].Lease}, broker.Failed)
	if n := len(lazy.Sink.Take()); n != 1 {
		t.Errorf("one settlement gave %d deliveries", n)
	}
	w.Leave(lazy)
	if s := q.Stats(); s.Unsettled != 0 || s.Ready != 20 {
		t.Errorf("after it left: %+v", s)
	}
}
