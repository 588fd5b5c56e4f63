package persistence

import (
	"math/rand/v2"
	"testing"
)

// TestSettledSet compares the set with a plain array over several spans.
func TestSettledSet(t *testing.T) {
	const size = 5 * spanSize
	for seed := range uint64(20) {
		rnd := rand.New(rand.NewPCG(seed, 2))
		var set settledSet
		var want [size]bool
		low := uint64(0)
		for range 300 {
			first := low + rnd.Uint64N(size-low)
			end := min(size, first+1+rnd.Uint64N(1<<rnd.IntN(14)))
			set.add(first, end)
			for i := first; i < end; i++ {
				want[i] = true
			}
			if rnd.IntN(20) == 0 {
				for low < size-1 && want[low] {
					low++
				}
				set.dropBelow(low)
			}
			checkSettled(t, rnd, &set, want[:], low)
			if t.Failed() {
				t.Fatalf("seed %d", seed)
			}
		}
	}
}

func checkSettled(t *testing.T, rnd *rand.Rand, set *settledSet, want []bool, low uint64) {
	t.Helper()
	from := low + rnd.Uint64N(uint64(len(want))-low)
	to := from + rnd.Uint64N(uint64(len(want))-from+1)
	count, unset, firstSet := uint64(0), to, to
	for i := to; i > from; i-- {
		if want[i-1] {
			count++
			firstSet = i - 1
		} else {
			unset = i - 1
		}
	}
	if got := set.has(from); got != want[from] {
		t.Errorf("has(%d) = %v", from, got)
	}
	if got := set.count(from, to); got != count {
		t.Errorf("count(%d, %d) = %d, want %d", from, to, got, count)
	}
	if got := set.nextUnset(from, to); got != unset {
		t.Errorf("nextUnset(%d, %d) = %d, want %d", from, to, got, unset)
	}
	if got := set.nextSet(from, to); got != firstSet {
		t.Errorf("nextSet(%d, %d) = %d, want %d", from, to, got, firstSet)
	}
}

func TestIDSet(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 1))
	var set idSet
	want := map[uint64]bool{}
	for range 2000 {
		id := rnd.Uint64N(500)
		set.add(id)
		want[id] = true
		probe := rnd.Uint64N(501)
		if set.has(probe) != want[probe] {
			t.Fatalf("has(%d) = %v", probe, set.has(probe))
		}
	}
	for i := 1; i < len(set.ranges); i++ {
		if set.ranges[i-1].last+1 >= set.ranges[i].first {
			t.Fatalf("ranges %v are not joined", set.ranges)
		}
	}
}
