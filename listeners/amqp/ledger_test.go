package amqp

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/hermodmq/hermod/broker"
)

func tags(list []unsettled) []uint64 {
	var out []uint64
	for _, u := range list {
		out = append(out, u.tag)
	}
	return out
}

func filledLedger(q *broker.Queue, tags ...uint64) *ledger {
	l := new(ledger)
	for _, tag := range tags {
		l.add(unsettled{tag: tag, queue: q, lease: broker.Lease(tag)})
	}
	return l
}

func TestLedgerTakes(t *testing.T) {
	q := new(broker.Queue)
	for _, c := range []struct {
		name     string
		held     []uint64
		tag      uint64
		multiple bool
		want     []uint64
		text     string
	}{
		{"one", []uint64{1, 2, 3}, 2, false, []uint64{2}, ""},
		{"up to", []uint64{1, 2, 3}, 2, true, []uint64{1, 2}, ""},
		{"all", []uint64{1, 2, 3}, 0, true, []uint64{1, 2, 3}, ""},
		{"all of nothing", nil, 0, true, nil, ""},
		{"with gaps", []uint64{2, 5, 9}, 5, true, []uint64{2, 5}, ""},
		{"in a gap", []uint64{2, 5, 9}, 4, false, nil, "PRECONDITION_FAILED - unknown delivery tag 4"},
		{"zero", []uint64{1}, 0, false, nil, "PRECONDITION_FAILED - unknown delivery tag 0"},
		{"too high", []uint64{1}, 2, true, nil, "PRECONDITION_FAILED - unknown delivery tag 2"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := filledLedger(q, c.held...).take(nil, c.tag, c.multiple)
			text := ""
			if err != nil {
				text = err.Error()
			}
			if !slices.Equal(tags(got), c.want) || text != c.text {
				t.Errorf("took %v, error %q", tags(got), text)
			}
		})
	}
}

func TestLedgerRefusesASecondAck(t *testing.T) { // AMQP-25
	l := filledLedger(new(broker.Queue), 1, 2, 3)
	if _, err := l.take(nil, 2, false); err != nil {
		t.Fatal(err)
	}
	if _, err := l.take(nil, 2, false); err == nil {
		t.Error("tag 2 taken twice")
	}
	if _, err := l.take(nil, 2, true); err == nil {
		t.Error("tag 2 taken twice, the second time with multiple")
	}
}

// TestLedgerAgainstAModel compares random histories with a plain map, and
// checks that memory follows the live entries.
func TestLedgerAgainstAModel(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	q := new(broker.Queue)
	l := new(ledger)
	var live []uint64
	tag := uint64(0)
	for range 20000 {
		switch rng.IntN(5) {
		case 0, 1, 2:
			tag += 1 + uint64(rng.IntN(3))
			l.add(unsettled{tag: tag, queue: q})
			live = append(live, tag)
		case 3:
			if len(live) == 0 {
				continue
			}
			i := rng.IntN(len(live))
			got, err := l.take(nil, live[i], false)
			if err != nil || len(got) != 1 || got[0].tag != live[i] {
				t.Fatalf("take %d: %v %v", live[i], tags(got), err)
			}
			live = slices.Delete(live, i, i+1)
		case 4:
			if len(live) == 0 || rng.IntN(20) != 0 {
				continue
			}
			i := rng.IntN(len(live))
			got, err := l.take(nil, live[i], true)
			if err != nil || !slices.Equal(tags(got), live[:i+1]) {
				t.Fatalf("take up to %d: %v, want %v, %v", live[i], tags(got), live[:i+1], err)
			}
			live = slices.Delete(live, 0, i+1)
		}
		if l.live != len(live) {
			t.Fatalf("live = %d, want %d", l.live, len(live))
		}
		if len(l.list)-l.head > 4*len(live)+65 {
			t.Fatalf("%d entries kept for %d live ones", len(l.list)-l.head, len(live))
		}
	}
}

func TestLedgerRestores(t *testing.T) {
	l := filledLedger(new(broker.Queue), 1, 2, 3, 4)
	taken, _ := l.take(nil, 2, true)
	l.add(unsettled{tag: 5, queue: new(broker.Queue)})
	l.restore(taken)
	got, _ := l.take(nil, 0, true)
	if want := []uint64{1, 2, 3, 4, 5}; !slices.Equal(tags(got), want) {
		t.Errorf("restored %v, want %v", tags(got), want)
	}
}
