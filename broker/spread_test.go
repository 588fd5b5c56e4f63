package broker

import (
	"fmt"
	"hash/fnv"
	"testing"
)

func bodyKey(m *Message) uint64 {
	h := fnv.New64a()
	h.Write(m.Body[:1])
	return h.Sum64()
}

// spreadOver starts a consumer that shares by way; id tells it from others.
func (w *filterWorld) spreadOver(s *Session, way Spread, id uint64, prefetch int) *Subscription {
	w.t.Helper()
	o := SubscribeOptions{Queue: "q", Tag: randomName(), Prefetch: prefetch, Spread: way, SpreadKey: bodyKey, SpreadID: id}
	sub, err := s.Subscribe(&w.turn, o)
	if err != nil {
		w.t.Fatal(err)
	}
	w.settleStore()
	return sub
}

func (w *filterWorld) settleAll(s *Session, sub *Subscription) {
	list := w.got[sub]
	delete(w.got, sub) // settling brings more
	for _, d := range list {
		s.Settle(&w.turn, d.Queue, []Lease{d.Lease}, Accepted)
		sub.Written(&w.turn, 1, d.Msg.Size())
	}
	w.settleStore()
}

// owners tells who got which key, and fails if a key went to two consumers.
func (w *filterWorld) owners(subs ...*Subscription) map[byte]*Subscription {
	w.t.Helper()
	found := map[byte]*Subscription{}
	for _, sub := range subs {
		for _, d := range w.got[sub] {
			key := d.Msg.Body[0]
			if other := found[key]; other != nil && other != sub {
				w.t.Errorf("key %c went to two consumers", key)
			}
			found[key] = sub
		}
	}
	return found
}

const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"

func (w *filterWorld) publishLetters(s *Session, round int) {
	for _, c := range letters {
		w.publish(s, fmt.Sprintf("%c%d", c, round))
	}
}

func TestSpreadHash(t *testing.T) {
	for _, stored := range []bool{false, true} {
		t.Run(fmt.Sprint("stored ", stored), func(t *testing.T) {
			w, s := newFilterWorld(t, stored)
			a, b := w.spreadOver(s, SpreadHash, 1, 0), w.spreadOver(s, SpreadHash, 2, 0)
			w.publishLetters(s, 0)
			w.publishLetters(s, 1)
			two := w.owners(a, b)
			if len(two) != len(letters) || len(w.got[a]) < 20 || len(w.got[b]) < 20 {
				t.Fatalf("%d keys; %d and %d messages", len(two), len(w.got[a]), len(w.got[b]))
			}
			// Order within a key.
			for _, sub := range []*Subscription{a, b} {
				last := map[byte]byte{}
				for _, d := range w.got[sub] {
					if key := d.Msg.Body[0]; d.Msg.Body[1] < last[key] {
						t.Errorf("key %c out of order", key)
					} else {
						last[key] = d.Msg.Body[1]
					}
				}
			}
			w.settleAll(s, a)
			w.settleAll(s, b)

			// A third consumer takes keys over from both; none changes between them.
			c := w.spreadOver(s, SpreadHash, 3, 0)
			w.publishLetters(s, 2)
			three := w.owners(a, b, c)
			moved := 0
			for key, owner := range three {
				if owner == c {
					moved++
				} else if owner != two[key] {
					t.Errorf("key %c moved between those who stayed", key)
				}
			}
			if moved == 0 || moved > len(letters)/2 {
				t.Errorf("%d of %d keys moved to the new consumer", moved, len(letters))
			}
			w.settleAll(s, a)
			w.settleAll(s, b)
			w.settleAll(s, c)

			// When it goes, everything is as it was; what it held goes to the owners.
			w.publishLetters(s, 3)
			s.Unsubscribe(&w.turn, c)
			for _, d := range w.got[c] {
				s.Settle(&w.turn, d.Queue, []Lease{d.Lease}, Released)
			}
			delete(w.got, c)
			w.settleStore()
			for key, owner := range w.owners(a, b) {
				if owner != two[key] {
					t.Errorf("key %c did not come back", key)
				}
			}
			if n := len(w.got[a]) + len(w.got[b]); n != len(letters) {
				t.Errorf("%d of %d messages", n, len(letters))
			}
		})
	}
}

// A consumer without credit holds up its own keys only.
func TestSpreadHashWithoutCredit(t *testing.T) {
	w, s := newFilterWorld(t, false)
	a, b := w.spreadOver(s, SpreadHash, 1, 1), w.spreadOver(s, SpreadHash, 2, 0)
	for round := range 3 {
		w.publishLetters(s, round)
	}
	if len(w.got[a]) != 1 {
		t.Fatalf("%d messages for a prefetch of 1", len(w.got[a]))
	}
	keys := w.owners(a, b)
	if n := len(w.got[b]); n != 3*(len(keys)-1) {
		t.Fatalf("the other consumer got %d messages of %d keys", n, len(keys)-1)
	}
	got := 0
	for len(w.got[a]) > 0 {
		got += len(w.got[a])
		w.settleAll(s, a)
	}
	if got != 3*len(letters)-len(w.got[b]) {
		t.Errorf("%d messages after settling one by one", got)
	}
}

func TestSpreadRandom(t *testing.T) {
	w, s := newFilterWorld(t, false)
	subs := []*Subscription{w.spreadOver(s, SpreadRandom, 1, 0), w.spreadOver(s, SpreadRandom, 2, 0), w.spreadOver(s, SpreadRandom, 3, 5)}
	// Two in a row for one consumer: never if they take turns, often by chance.
	repeats, last := 0, (*Subscription)(nil)
	for range 6 {
		for _, c := range letters {
			before := len(w.got[subs[0]])
			w.publish(s, string(c))
			first := len(w.got[subs[0]]) > before
			if first && last == subs[0] {
				repeats++
			}
			if last = nil; first {
				last = subs[0]
			}
		}
		for _, sub := range subs[:2] {
			sub.Written(&w.turn, len(w.got[sub]), 0)
		}
	}
	if n := len(w.got[subs[2]]); n != 5 {
		t.Errorf("%d messages for a prefetch of 5", n)
	}
	a, b := len(w.got[subs[0]]), len(w.got[subs[1]])
	if a+b+5 != 6*len(letters) || a < 100 || b < 100 {
		t.Errorf("%d and %d messages", a, b)
	}
	if repeats == 0 {
		t.Error("two in a row never went to one consumer")
	}
	// Who leaves last takes the choice along.
	for _, sub := range subs {
		s.Unsubscribe(&w.turn, sub)
	}
	if way := w.v.Queue("q").consumers.spread.way; way != SpreadTurns {
		t.Errorf("the queue shares by %d with nobody there", way)
	}
}

// A single active consumer gets everything whatever the others wish.
func TestSpreadSingleActive(t *testing.T) {
	w, s := newFilterWorld(t, false)
	if _, err := s.DeclareQueue(&w.turn, QueueDeclare{Name: "one", Args: Table{{Name: "x-single-active-consumer", Value: true}}}, nil); err != nil {
		t.Fatal(err)
	}
	var subs []*Subscription
	for id := range uint64(2) {
		sub, err := s.Subscribe(&w.turn, SubscribeOptions{Queue: "one", Tag: randomName(), Spread: SpreadHash, SpreadKey: bodyKey, SpreadID: id})
		if err != nil {
			t.Fatal(err)
		}
		subs = append(subs, sub)
	}
	for _, c := range letters {
		if _, err := s.Publish(&w.turn, Publish{Msg: &Message{RoutingKey: "one", Body: []byte(string(c)), TTL: NoTTL}}); err != nil {
			t.Fatal(err)
		}
	}
	if len(w.got[subs[0]]) != len(letters) || len(w.got[subs[1]]) != 0 {
		t.Errorf("%d and %d messages", len(w.got[subs[0]]), len(w.got[subs[1]]))
	}
}
