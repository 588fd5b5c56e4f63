package broker_test

import (
	"testing"

	"github.com/hermodmq/hermod/broker"
)

// A single active consumer can be turned on and off while consumers are there.
func TestSingleActiveLive(t *testing.T) {
	w := newWorld(t)
	q := declare(t, w, "q", false)
	a, b := w.Client("a", nil), w.Client("b", nil)
	take(t, w, a, "q")
	take(t, w, b, "q")
	single := func(on bool) { broker.Configure(q, w.Turn, func(c *broker.QueueConfig) { c.SingleActive = on }) }
	p := w.Client("p", nil)
	for step, want := range []struct{ a, b int }{{2, 2}, {6, 2}, {8, 4}} {
		single(step == 1)
		for range 4 {
			publish(t, w, p.Session, "q", "m")
		}
		pump(w)
		if len(a.Open) != want.a || len(b.Open) != want.b {
			t.Errorf("step %d: a has %d, b has %d; want %+v", step, len(a.Open), len(b.Open), want)
		}
	}
	single(true)
	w.Leave(a)
	pump(w)
	if st := q.Stats(); st.Ready != 0 || len(b.Open) != 12 || st.SingleActive != "q" {
		t.Errorf("after the active one left, b has %d: %+v", len(b.Open), st)
	}
}
