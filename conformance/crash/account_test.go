package crash

import "testing"

// TestAccount: the ledger sees each kind of damage. A suite that cannot fail
// proves nothing.
func TestAccount(t *testing.T) {
	l := newLedger()
	for _, id := range []string{"lost", "kept", "twice", "unconfirmed", "gone"} {
		l.publish(id, 0)
	}
	for _, id := range []string{"lost", "kept", "twice"} {
		l.confirm(id)
	}
	for _, id := range []string{"kept", "twice", "twice", "unconfirmed", "stranger"} {
		l.deliver(id)
	}
	for tx, ids := range map[int64][]string{1: {"a", "b"}, 2: {"c", "d"}, 3: {"e", "f"}, 4: {"g"}} {
		for _, id := range ids {
			l.publish(id, tx)
		}
	}
	for _, id := range []string{"a", "c", "d"} {
		l.deliver(id)
	}
	l.commit(2) // whole
	l.commit(4) // missing altogether
	l.unanswered(3)
	r := l.account()
	for _, c := range []struct {
		what      string
		got, want int
	}{
		{"published", r.published, 12},
		{"confirmed", r.confirmed, 3},
		{"lost", len(r.lost), 1},
		{"strangers", len(r.strangers), 1},
		{"torn (1: half there, 4: committed and missing)", len(r.torn), 2},
		{"duplicates", r.duplicates, 1},
		{"kept without a confirm", r.unconfirmed, 1},
		{"commits", r.commits, 2},
		{"undecided", r.undecided, 2},
		{"unanswered", r.unanswered, 3},
		{"backlog", l.backlog(), 12 - 6},
	} {
		if c.got != c.want {
			t.Errorf("%s = %d, want %d", c.what, c.got, c.want)
		}
	}
}
