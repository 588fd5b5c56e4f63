package delivery

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/hermodmq/hermod/broker"
)

func tags(list []Unsettled[int]) []uint64 {
	var out []uint64
	for _, u := range list {
		out = append(out, u.Tag)
	}
	return out
}

// TestLedgerAgainstAModel compares random histories with a plain map, and
// checks that memory follows the live entries.
func TestLedgerAgainstAModel(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	q := new(broker.Queue)
	l := new(Ledger[int])
	var live []uint64
	tag := uint64(0)
	for range 20000 {
		i := 0
		if len(live) > 0 {
			i = rng.IntN(len(live))
		}
		switch step := rng.IntN(100); {
		case step < 60:
			tag += 1 + uint64(rng.IntN(3))
			l.Add(Unsettled[int]{Tag: tag, Queue: q, Data: int(tag % 3)})
			live = append(live, tag)
		case len(live) == 0:
			continue
		case step < 97:
			at, ok := l.Find(live[i])
			if !ok || l.At(at).Tag != live[i] {
				t.Fatalf("%d is not found", live[i])
			}
			if got := l.Take(nil, at); len(got) != 1 || got[0].Tag != live[i] {
				t.Fatalf("take %d: %v", live[i], tags(got))
			}
			if _, ok := l.Find(live[i]); ok {
				t.Fatalf("%d is found after it was taken", live[i])
			}
			live = slices.Delete(live, i, i+1)
		case step < 99:
			at, _ := l.Find(live[i])
			if got := tags(l.TakeUpTo(nil, at+1)); !slices.Equal(got, live[:i+1]) {
				t.Fatalf("take up to %d: %v, want %v", live[i], got, live[:i+1])
			}
			live = slices.Delete(live, 0, i+1)
		default:
			at, _ := l.Find(live[i])
			var want []uint64
			rest := live[:0:0]
			for j, tag := range live {
				if j <= i && tag%3 == 1 {
					want = append(want, tag)
				} else {
					rest = append(rest, tag)
				}
			}
			if got := tags(l.TakeWhere(nil, at+1, func(u *Unsettled[int]) bool { return u.Data == 1 })); !slices.Equal(got, want) {
				t.Fatalf("take of the ones up to %d: %v, want %v", live[i], got, want)
			}
			live = rest
		}
		if l.Len() != len(live) {
			t.Fatalf("live = %d, want %d", l.Len(), len(live))
		}
		if len(l.list)-l.head > 4*len(live)+65 {
			t.Fatalf("%d entries kept for %d live ones", len(l.list)-l.head, len(live))
		}
	}
}

func TestLedgerRestores(t *testing.T) {
	l, q := new(Ledger[int]), new(broker.Queue)
	for tag := range uint64(4) {
		l.Add(Unsettled[int]{Tag: tag + 1, Queue: q})
	}
	at, _ := l.Find(2)
	taken := l.TakeUpTo(nil, at+1)
	l.Add(Unsettled[int]{Tag: 5, Queue: q})
	l.Restore(taken)
	if got, want := tags(l.TakeUpTo(nil, l.End())), []uint64{1, 2, 3, 4, 5}; !slices.Equal(got, want) {
		t.Errorf("restored %v, want %v", got, want)
	}
}
