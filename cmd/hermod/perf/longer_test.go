package perf

import (
	"testing"
	"time"
)

// untilSeen repeats a measurement for longer and longer until enough says that
// everything expected was counted: a busy machine may let nothing happen in a
// short time. It returns the last result.
func untilSeen[T any](t *testing.T, measure func(time.Duration) (T, error), enough func(T) bool) T {
	t.Helper()
	for d := 50 * time.Millisecond; ; d *= 3 {
		r, err := measure(d)
		if err != nil {
			t.Fatal(err)
		}
		if enough(r) {
			return r
		}
		if d > 10*time.Second {
			t.Fatalf("not enough in %v: %+v", d, r)
		}
	}
}
