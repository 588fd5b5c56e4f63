package ha

import (
	"errors"
	"log/slog"
	"sync"
	"testing"
	"time"
)

// Operations that are late are warned of, those that end are forgotten, and
// watches that are used again belong to one operation at a time.
func TestGuardWatchesOneOperationAtATime(t *testing.T) {
	g := &guard{alarm: 1, fatal: time.Hour, logger: slog.New(slog.DiscardHandler), fail: func(err error) { t.Error(err) }}
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for range 500 {
				if err := g.end(g.begin("write", "a"), "write", "a", nil); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
}

// The second time the timer goes off is the end, wherever it was used before.
func TestGuardEndsWhatHangs(t *testing.T) {
	failed := make(chan error, 1)
	g := &guard{alarm: time.Millisecond, fatal: 2 * time.Millisecond, logger: slog.New(slog.DiscardHandler), fail: func(err error) { failed <- err }}
	_ = g.end(g.begin("sync", "before"), "sync", "before", nil)
	w := g.begin("sync", "a")
	select {
	case err := <-failed:
		if !errors.Is(err, ErrStalled) || err.Error() != ErrStalled.Error()+": sync of a takes longer than 2ms" {
			t.Errorf("got %v", err)
		}
	case <-time.After(time.Minute):
		t.Fatal("an operation hangs and nobody says so")
	}
	_ = g.end(w, "sync", "a", nil)
}
