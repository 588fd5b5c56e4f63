package broker

import (
	"slices"
	"testing"
)

// factWorld is a broker on a store that commits when told, with a durable queue
// q and a session of the broker's own that consumes from it.
type factWorld struct {
	t     *testing.T
	store *MemoryStore
	b     *Broker
	s     *Session
	got   []Delivery
}

func newFactWorld(t *testing.T, store *MemoryStore) *factWorld {
	t.Helper()
	b, err := New(Options{Store: store, PasswordCost: 4})
	if err != nil {
		t.Fatal(err)
	}
	w := &factWorld{t: t, store: store, b: b}
	if err := b.Recover(w.turn()); err != nil {
		t.Fatal(err)
	}
	w.commit()
	w.s = b.VHost("/").OpenSession(nil, w)
	if _, err := w.s.DeclareQueue(w.turn(), QueueDeclare{Name: "q", Durable: true}, nil); err != nil {
		t.Fatal(err)
	}
	w.commit()
	return w
}

func (w *factWorld) turn() *Turn { return &Turn{Now: 1000} }
func (w *factWorld) commit()     { w.store.Commit(w.turn(), -1) }

func (w *factWorld) Deliver(_ *Turn, d Delivery)             { w.got = append(w.got, d) }
func (w *factWorld) GetResult(*Turn, uint64, Delivery, bool) {}
func (w *factWorld) Receipt(*Turn, uint64, bool)             {}
func (w *factWorld) Cancelled(*Turn, *Subscription)          {}

func (w *factWorld) keys(kind string) []string {
	var list []string
	for _, d := range w.b.TakeFacts(kind) {
		list = append(list, d.Key+"="+string(d.Value))
	}
	slices.Sort(list)
	return list
}

func (w *factWorld) publish(facts ...Definition) PublishResult {
	w.t.Helper()
	m := &Message{RoutingKey: "q", Body: []byte("m"), Persistent: true, TTL: NoTTL}
	r, err := w.s.Publish(w.turn(), Publish{Msg: m, Receipt: 1, Facts: facts})
	if err != nil {
		w.t.Fatal(err)
	}
	return r
}

func fact(key, value string) Definition {
	return Definition{Kind: FactKind("x"), Key: key, Value: []byte(value)}
}

// TestFactsSurvive: facts are what was stored last, and are handed over once.
func TestFactsSurvive(t *testing.T) {
	w := newFactWorld(t, NewMemoryStore().Manual())
	done := false
	w.b.StoreFacts([]Definition{fact("a", "1"), fact("b", "2")}, nil)
	w.b.StoreFacts([]Definition{fact("a", "3"), {Kind: FactKind("x"), Key: "b", Delete: true}, {Kind: FactKind("y"), Key: "c"}},
		func(*Turn) { done = true })
	if done {
		t.Error("done before the commit")
	}
	w.commit()
	if !done {
		t.Error("not done after the commit")
	}
	again := newFactWorld(t, w.store.Crash(0).Manual())
	if got := again.keys(FactKind("x")); !slices.Equal(got, []string{"a=3"}) {
		t.Errorf("recovered %v", got)
	}
	if got := again.keys(FactKind("x")); got != nil {
		t.Errorf("handed over twice: %v", got)
	}
}

// TestFactsWithMessages: a fact is there exactly if the publish or settlement is
// that it came with, whichever batch the crash cuts off behind.
func TestFactsWithMessages(t *testing.T) {
	for keep := range 3 {
		w := newFactWorld(t, NewMemoryStore().Manual())
		if _, err := w.s.Subscribe(w.turn(), SubscribeOptions{Queue: "q", Tag: "c"}); err != nil {
			t.Fatal(err)
		}
		if r := w.publish(fact("first", "")); !r.Pending {
			t.Fatalf("publish: %+v", r)
		}
		w.commit()
		if len(w.got) != 1 || w.got[0].Seq == 0 {
			t.Fatalf("delivered %+v", w.got)
		}
		d := w.got[0]
		w.s.SettleWith(w.turn(), d.Queue, []Lease{d.Lease}, Accepted, []Definition{fact("settled", "")})
		w.publish(fact("second", ""))
		again := newFactWorld(t, w.store.Crash(keep).Manual())
		want := [][]string{{"first="}, {"first=", "settled="}, {"first=", "second=", "settled="}}[keep]
		if got := again.keys(FactKind("x")); !slices.Equal(got, want) {
			t.Errorf("crash behind %d batches: facts %v, want %v", keep, got, want)
		}
		ready := again.b.VHost("/").queue("q").Stats().Ready
		if want := []int{1, 0, 1}[keep]; ready != want {
			t.Errorf("crash behind %d batches: %d messages, want %d", keep, ready, want)
		}
	}
}
