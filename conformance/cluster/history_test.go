package cluster

import (
	"slices"
	"testing"
)

// TestHistorySeesEachKindOfDamage: a checker that cannot fail proves nothing.
func TestHistorySeesEachKindOfDamage(t *testing.T) {
	h := newHistory()
	for i, id := range []string{"lost", "kept", "twice", "unconfirmed", "early", "late", "gone", "settled"} {
		h.publish(id, "q", "p", i, 0)
	}
	for i, id := range []string{"tx1", "tx2"} {
		h.publish(id, "q", "t", i, 7)
	}
	h.publish("once", queueOnce, "m", 1, 0)
	h.deliver("once", queueOnce, false)
	h.deliver("once", queueOnce, true)
	for i, id := range []string{"tx3", "tx4"} {
		h.publish(id, "q", "t", i+2, 8)
	}
	for _, id := range []string{"lost", "kept", "twice", "late", "settled"} {
		h.confirm(id)
	}
	h.commit(7)
	for _, id := range []string{"kept", "twice", "unconfirmed", "late", "early", "stranger", "settled", "tx1", "tx3", "tx4"} {
		h.deliver(id, "q", false)
	}
	h.deliver("twice", "q", true)
	h.deliver("twice", "q", false)
	h.settle("settled")
	h.deliver("settled", "other", true)

	found, sum := h.account()
	for _, c := range []struct {
		what      string
		got, want []string
	}{
		{"lost", found.lost, []string{"lost", "tx2"}},
		{"strangers", found.strangers, []string{"stranger"}},
		{"resurrected", found.resurrected, []string{"settled"}},
		{"disorder", found.disorder, []string{"early: number 4 of p q after 5"}},
		{"unflagged", found.unflagged, []string{"twice from q"}},
		{"repeated", found.repeated, []string{"once"}},
		{"misled", found.misled, []string{"settled: published to q, came from other"}},
		{"torn", found.torn, []string{"transaction 7 (answered: true): 1 of 2"}},
	} {
		if !slices.Equal(c.got, c.want) {
			t.Errorf("%s = %q, want %q", c.what, c.got, c.want)
		}
	}
	want := summary{published: 13, confirmed: 7, delivered: 10, settled: 1, duplicates: 4, unconfirmed: 5, commits: 1, undecided: 1}
	if sum != want {
		t.Errorf("summary = %+v, want %+v", sum, want)
	}
	if n := len(found.violations()); n != 8 {
		t.Errorf("%d kinds of violations, want all 8: %q", n, found.violations())
	}
}
