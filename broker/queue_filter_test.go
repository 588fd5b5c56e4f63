package broker

import (
	"math/rand/v2"
	"strings"
	"testing"
)

// filterWorld is a queue and what its consumers get.
type filterWorld struct {
	t    *testing.T
	turn Turn
	v    *VHost
	got  map[*Subscription][]Delivery

	store *MemoryStore // stored messages, in little memory; nil: transient ones
}

// settleStore carries out what the store was given until nothing follows.
func (w *filterWorld) settleStore() {
	if w.store != nil {
		for range 50 {
			w.store.Commit(&w.turn, -1)
		}
	}
}

func (w *filterWorld) Deliver(_ *Turn, d Delivery)             { w.got[d.Sub] = append(w.got[d.Sub], d) }
func (w *filterWorld) GetResult(*Turn, uint64, Delivery, bool) {}
func (w *filterWorld) Receipt(*Turn, uint64, bool)             {}
func (w *filterWorld) Cancelled(*Turn, *Subscription)          {}

func newFilterWorld(t *testing.T, stored bool) (*filterWorld, *Session) {
	t.Helper()
	w := &filterWorld{t: t, turn: Turn{Now: 1}, got: map[*Subscription][]Delivery{}}
	store := NewMemoryStore()
	if stored {
		w.store = store.Manual()
	}
	b, err := New(Options{Store: store, Now: 1, PasswordCost: 4})
	if err != nil {
		t.Fatal(err)
	}
	if stored {
		b.SetHotMemory(0, 3*entryBytes, 4*entryBytes)
	}
	if err := b.Recover(&w.turn); err != nil {
		t.Fatal(err)
	}
	w.settleStore()
	w.v = b.VHost("/")
	s := w.v.OpenSession(nil, w)
	if _, err := s.DeclareQueue(&w.turn, QueueDeclare{Name: "q", Durable: stored, Args: Table{{Name: "x-max-priority", Value: int32(2)}}}, nil); err != nil {
		t.Fatal(err)
	}
	return w, s
}

func (w *filterWorld) publish(s *Session, body string) {
	w.t.Helper()
	m := &Message{RoutingKey: "q", Body: []byte(body), TTL: NoTTL, Persistent: w.store != nil}
	if _, err := s.Publish(&w.turn, Publish{Msg: m}); err != nil {
		w.t.Fatal(err)
	}
	w.settleStore()
}

// subscribe starts a consumer of the messages that begin with prefix.
func (w *filterWorld) subscribe(s *Session, prefix string, prefetch int) *Subscription {
	w.t.Helper()
	o := SubscribeOptions{Queue: "q", Tag: randomName(), Prefetch: prefetch}
	if prefix != "" {
		o.Filter = func(m *Message, _ Past) bool { return strings.HasPrefix(string(m.Body), prefix) }
	}
	sub, err := s.Subscribe(&w.turn, o)
	if err != nil {
		w.t.Fatal(err)
	}
	w.settleStore()
	return sub
}

func (w *filterWorld) bodies(sub *Subscription) string {
	var list []string
	for _, d := range w.got[sub] {
		list = append(list, string(d.Msg.Body))
	}
	return strings.Join(list, " ")
}

func TestFilters(t *testing.T) {
	w, s := newFilterWorld(t, false)
	a := w.subscribe(s, "a", 2)
	for _, body := range []string{"x1", "a1", "x2", "a2", "a3", "b1"} {
		w.publish(s, body)
	}
	if got := w.bodies(a); got != "a1 a2" {
		t.Fatalf("a got %q", got)
	}
	b := w.subscribe(s, "b", 0)
	if got := w.bodies(b); got != "b1" {
		t.Fatalf("b got %q", got)
	}
	// Credit brings the next that is wanted; what comes back is offered first.
	s.Settle(&w.turn, a.Queue, []Lease{w.got[a][1].Lease}, Failed)
	if got := w.bodies(a); got != "a1 a2 a2" {
		t.Fatalf("after a failure a got %q", got)
	}
	s.Settle(&w.turn, a.Queue, []Lease{w.got[a][0].Lease, w.got[a][2].Lease}, Accepted)
	if got := w.bodies(a); got != "a1 a2 a2 a3" {
		t.Fatalf("after settling a got %q", got)
	}
	rest := w.subscribe(s, "", 0)
	if got := w.bodies(rest); got != "x1 x2" {
		t.Fatalf("the rest is %q", got)
	}
	// Without filters the queue is as any other.
	s.Unsubscribe(&w.turn, a)
	s.Unsubscribe(&w.turn, b)
	w.publish(s, "a9")
	if got := w.bodies(rest); got != "x1 x2 a9" {
		t.Fatalf("the rest is %q", got)
	}
}

// TestFiltersSeeThePast: a filter is told of earlier deliveries, by the queue and
// by a browser, wherever the message is.
func TestFiltersSeeThePast(t *testing.T) {
	for _, stored := range []bool{false, true} {
		w, s := newFilterWorld(t, stored)
		for _, body := range []string{"fresh", "released", "failed", "failed twice"} {
			w.publish(s, body)
		}
		first := w.subscribe(s, "", 4)
		for i, outcomes := range [][]Outcome{{Unsent}, {Released}, {Failed}, {Failed, Failed}} {
			for range outcomes {
				d := w.got[first][len(w.got[first])-1]
				for _, x := range w.got[first] { // the latest delivery of the i-th message
					if x.Msg != nil && string(x.Msg.Body) == []string{"fresh", "released", "failed", "failed twice"}[i] {
						d = x
					}
				}
				s.Settle(&w.turn, first.Queue, []Lease{d.Lease}, outcomes[0])
				w.settleStore()
			}
		}
		q := first.Queue
		q.Pause(&w.turn)
		for _, d := range w.got[first] {
			s.Settle(&w.turn, q, []Lease{d.Lease}, Unsent)
		}
		s.Unsubscribe(&w.turn, first)
		w.settleStore()
		pasts := map[string]Past{"fresh": {}, "released": {0, true}, "failed": {1, true}, "failed twice": {2, true}}
		for body, past := range pasts {
			wants := func(_ *Message, p Past) bool { return p == past }
			if got := w.browse(s, wants); got != body {
				t.Errorf("stored %v: a browser of %v sees %q, want %q", stored, past, got, body)
			}
			sub, err := s.Subscribe(&w.turn, SubscribeOptions{Queue: "q", Tag: body, Prefetch: 4, Filter: wants})
			if err != nil {
				t.Fatal(err)
			}
			q.Resume(&w.turn)
			w.settleStore()
			if got := w.bodies(sub); got != body {
				t.Errorf("stored %v: a consumer of %v got %q, want %q", stored, past, got, body)
			}
		}
	}
}

func (w *filterWorld) browse(s *Session, wants Filter) string {
	w.t.Helper()
	b, err := s.Browse(&w.turn, "q", wants)
	if err != nil {
		w.t.Fatal(err)
	}
	var bodies []string
	for end := false; !end; w.settleStore() {
		b.Next(&w.turn, 10, func(_ *Turn, list []Delivery, last bool) {
			for _, d := range list {
				bodies = append(bodies, string(d.Msg.Body))
			}
			end = last
		})
	}
	return strings.Join(bodies, " ")
}

func TestFilterRefusedByStreams(t *testing.T) {
	w, s := newFilterWorld(t, false)
	if _, err := s.DeclareQueue(&w.turn, QueueDeclare{Name: "st", Durable: true, Args: Table{{Name: "x-queue-type", Value: "stream"}}}, nil); err != nil {
		t.Fatal(err)
	}
	_, err := s.Subscribe(&w.turn, SubscribeOptions{Queue: "st", Tag: "t", Prefetch: 1, Filter: func(*Message, Past) bool { return true }})
	if e, ok := err.(*Error); !ok || e.Kind != NotImplemented {
		t.Errorf("got %v", err)
	}
}

// TestFiltersRandom: whatever consumers do, each gets only what it wants, and
// in the end nothing that somebody wants is left.
func TestFiltersRandom(t *testing.T) {
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 1))
		w, s := newFilterWorld(t, seed%2 == 1)
		prefixes := []string{"a", "b", "ab"}
		var subs []*Subscription
		wanted := map[*Subscription]string{}
		published, accepted := 0, 0
		settle := func(sub *Subscription, o Outcome) {
			list := w.got[sub]
			if len(list) == 0 {
				return
			}
			i := r.IntN(len(list))
			d := list[i]
			w.got[sub] = append(append([]Delivery(nil), list[:i]...), list[i+1:]...)
			if o == Accepted {
				accepted++
			}
			s.Settle(&w.turn, d.Queue, []Lease{d.Lease}, o)
			w.settleStore()
		}
		for range 200 {
			switch k := r.IntN(10); {
			case k < 5:
				w.publish(s, []string{"a", "b", "ab", "x"}[r.IntN(4)])
				published++
			case k == 5 && len(subs) < 5:
				p := prefixes[r.IntN(len(prefixes))]
				sub := w.subscribe(s, p, r.IntN(3))
				subs, wanted[sub] = append(subs, sub), p
			case len(subs) > 0:
				sub := subs[r.IntN(len(subs))]
				if k == 6 && len(subs) > 1 && len(w.got[sub]) == 0 {
					s.Unsubscribe(&w.turn, sub)
					for i := range subs {
						if subs[i] == sub {
							subs = append(subs[:i], subs[i+1:]...)
							break
						}
					}
					continue
				}
				settle(sub, []Outcome{Accepted, Failed, Released}[r.IntN(3)])
			}
			for sub, list := range w.got {
				for _, d := range list {
					if !strings.HasPrefix(string(d.Msg.Body), wanted[sub]) {
						t.Fatalf("seed %d: %q went to who wants %q", seed, d.Msg.Body, wanted[sub])
					}
				}
			}
		}
		for _, sub := range []*Subscription{w.subscribe(s, "a", 0), w.subscribe(s, "b", 0)} {
			subs, wanted[sub] = append(subs, sub), "-"
		}
		for again := true; again; {
			again = false
			for _, sub := range subs {
				for len(w.got[sub]) > 0 {
					settle(sub, Accepted)
					again = true
				}
			}
		}
		last := w.subscribe(s, "", 0)
		for _, d := range w.got[last] {
			if string(d.Msg.Body) != "x" {
				t.Fatalf("seed %d: %q was left behind", seed, d.Msg.Body)
			}
		}
		if total := accepted + len(w.got[last]); total != published {
			t.Fatalf("seed %d: %d messages of %d", seed, total, published)
		}
	}
}

// TestFiltersLookOnce: consumers of different messages of a deep queue do not
// look at those of the others again and again.
func TestFiltersLookOnce(t *testing.T) {
	w, s := newFilterWorld(t, false)
	const each = 1000
	prefixes := []string{"a", "b", "c"}
	for _, p := range prefixes {
		for range each {
			w.publish(s, p)
		}
	}
	looks := 0
	var subs []*Subscription
	for _, p := range prefixes {
		sub, err := s.Subscribe(&w.turn, SubscribeOptions{Queue: "q", Tag: p, Prefetch: 10, Filter: func(m *Message, _ Past) bool {
			looks++
			return string(m.Body) == p
		}})
		if err != nil {
			t.Fatal(err)
		}
		subs = append(subs, sub)
	}
	for i := range each {
		for j, sub := range subs {
			if len(w.got[sub]) <= i {
				t.Fatalf("consumer %d got %d messages", j, len(w.got[sub]))
			}
			sub.Written(&w.turn, 1, w.got[sub][i].Msg.Size())
			s.Settle(&w.turn, sub.Queue, []Lease{w.got[sub][i].Lease}, Accepted)
		}
	}
	if most := 30 * each * len(prefixes); looks > most {
		t.Errorf("filters ran %d times for %d messages, want at most %d", looks, each*len(prefixes), most)
	} else {
		t.Logf("filters ran %d times for %d messages", looks, each*len(prefixes))
	}
}
