package broker

import (
	"slices"
	"sync"
	"sync/atomic"
)

// Dead is a message that a queue gave up, whoever brought that about.
type Dead struct {
	Queue  *Queue
	Msg    *Message // nil if it was dropped while only the store had it
	Reason DeathReason
	Kept   bool // it went on to dead letters; else it is gone
}

// deathWatch are those who want to hear of dead messages. While nobody does, a
// death costs one look at list.
type deathWatch struct {
	mu   sync.Mutex // serialises changes; a leaf
	list atomic.Pointer[[]*func(*Turn, Dead)]
}

// WatchDeaths has f called for every message that a queue of the virtual host
// gives up from now on, until stop: expired, rejected, beyond a limit of
// deliveries or length. It runs on any goroutine, without locks of the core,
// soon after the death but for dead letters before they are durable; it must not
// block.
func (v *VHost) WatchDeaths(f func(t *Turn, d Dead)) (stop func()) {
	w := &v.deaths
	w.change(func(list []*func(*Turn, Dead)) []*func(*Turn, Dead) { return append(list, &f) })
	return func() {
		w.change(func(list []*func(*Turn, Dead)) []*func(*Turn, Dead) {
			return slices.DeleteFunc(list, func(x *func(*Turn, Dead)) bool { return x == &f })
		})
	}
}

func (w *deathWatch) change(f func([]*func(*Turn, Dead)) []*func(*Turn, Dead)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	var list []*func(*Turn, Dead)
	if old := w.list.Load(); old != nil {
		list = slices.Clone(*old)
	}
	if list = f(list); len(list) == 0 {
		w.list.Store(nil)
		return
	}
	w.list.Store(&list)
}

func (w *deathWatch) watched() bool { return w.list.Load() != nil }

// tell is called without locks.
func (w *deathWatch) tell(t *Turn, d Dead) {
	if list := w.list.Load(); list != nil {
		for _, f := range *list {
			(*f)(t, d)
		}
	}
}

// dropped tells of an entry that q gives up and keeps nowhere, when the lock is
// free.
func (q *Queue) dropped(e *entry, reason DeathReason) {
	w := &q.vhost.deaths
	if !w.watched() {
		return
	}
	d := Dead{Queue: q, Msg: e.msg, Reason: reason}
	if e.thin {
		d.Msg = nil
	}
	q.calls = append(q.calls, func(t *Turn) { w.tell(t, d) })
}
