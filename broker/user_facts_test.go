package broker

import (
	"slices"
	"testing"
)

// TestUserFacts: the facts of a user go with the user, in one batch.
func TestUserFacts(t *testing.T) {
	for keep := range 2 {
		w := newFactWorld(t, NewMemoryStore().Manual())
		kind := FactKind("x")
		if err := w.b.AddUser(w.turn(), "alice", "pw", nil, nil); err != nil {
			t.Fatal(err)
		}
		w.b.StoreFacts([]Definition{fact("a", "alice"), fact("b", "bob")}, nil)
		w.commit()
		w.b.SetUserFacts(func(user string) (string, []string) {
			if user != "alice" {
				t.Errorf("asked for %s", user)
			}
			return kind, []string{"a"}
		})
		if err := w.b.DeleteUser(w.turn(), "alice", nil); err != nil {
			t.Fatal(err)
		}
		again := newFactWorld(t, w.store.Crash(keep).Manual())
		_, err := again.b.Renew("alice")
		want := [][]string{{"a=alice", "b=bob"}, {"b=bob"}}[keep]
		if got := again.keys(kind); !slices.Equal(got, want) || (err == nil) != (keep == 0) {
			t.Errorf("%d batches kept: facts %q, user %v", keep, got, err)
		}
	}
}
