package persistence

import (
	"fmt"
	"sync"
	"time"
)

// watch keeps an eye on the disk: free space, and syncs that hang.
type watch struct {
	s *Store

	mu       sync.Mutex
	started  time.Time // of the sync in flight, zero if none
	warned   bool
	syncs    uint64
	syncTime time.Duration
	syncMax  time.Duration

	low bool
}

func (w *watch) init(s *Store) { w.s = s }

// sync runs one sync of the checkpoint goroutine under the watchdog.
func (w *watch) sync(f func() error) error {
	begin := time.Now()
	w.mu.Lock()
	w.started, w.warned = begin, false
	w.mu.Unlock()
	err := f()
	took := time.Since(begin)
	w.mu.Lock()
	w.started = time.Time{}
	w.syncs++
	w.syncTime += took
	w.syncMax = max(w.syncMax, took)
	w.mu.Unlock()
	return err
}

func (w *watch) run() {
	defer w.s.background.Done()
	tick := time.NewTicker(w.s.opts.DiskPoll)
	defer tick.Stop()
	for {
		select {
		case <-w.s.stopBackground:
			return
		case <-tick.C:
		}
		w.checkSpace()
		w.checkStall(time.Now())
	}
}

// checkSpace compares the free space with Options.DiskLow.
func (w *watch) checkSpace() {
	o := &w.s.opts
	if o.DiskLow == 0 {
		return
	}
	free, err := o.FS.FreeBytes(o.Dir)
	if err != nil {
		w.s.log.Warn("cannot tell the free disk space", "error", err)
		return
	}
	low := free < o.DiskLow || w.low && free < o.DiskLow+o.DiskLow/4
	if low == w.low {
		return
	}
	w.mu.Lock()
	w.low = low
	w.mu.Unlock()
	if low {
		w.s.log.Error("disk space is low; publishers are held", "free", free, "limit", o.DiskLow)
		w.s.requestCheckpoint() // settled segments give space back
	} else {
		w.s.log.Info("disk space is enough again", "free", free)
	}
	if o.OnAlarm != nil {
		o.OnAlarm(low, free)
	}
}

// checkStall ends the process when a sync hangs: nobody else would notice, as
// the rest of the process goes on.
func (w *watch) checkStall(now time.Time) {
	w.mu.Lock()
	started, warned := w.started, w.warned
	age := now.Sub(started)
	warn := !started.IsZero() && !warned && age > w.s.opts.StallWarn
	if warn {
		w.warned = true
	}
	w.mu.Unlock()
	if warn {
		w.s.log.Error("the disk does not answer", "sync_in_flight", age)
	}
	if !started.IsZero() && age > w.s.opts.StallFatal {
		w.s.fail(fmt.Errorf("persistence: a sync of %s has not returned for %v", w.s.opts.Dir, age))
	}
}
