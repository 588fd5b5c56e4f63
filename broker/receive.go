package broker

// ReceiveOptions describe a Receive.
type ReceiveOptions struct {
	Max      int   // most messages
	Deadline int64 // Unix ms at which the leases run out; 0: never
}

// waiter is told once that the queue may have something for a receiver.
type waiter struct {
	id   uint64
	call func(t *Turn)
}

// maxWaiters bounds the receivers that wait on one queue.
const maxWaiters = 1 << 14

// Receive takes messages without a subscription: their leases belong to nobody
// and any session may settle them with their token. It returns at once what is
// in memory, appended to buf; if that is nothing, Await tells when to try
// again. With message groups by lease, messages of one group go together and
// in order.
func (q *Queue) Receive(t *Turn, o ReceiveOptions, buf []Delivery) []Delivery {
	q.mu.Lock()
	q.lastUsed = t.Now
	q.batch++
	for range o.Max {
		l, i := q.receivable(t)
		if l == nil {
			break
		}
		e := q.cut(l, i)
		q.stats.Got++
		if q.groups.on {
			q.groups.lent(&q.cfg, e.msg, q.batch)
		}
		kept := e
		q.slim(&kept)
		lease, p := q.ledger.lend(kept, l.level, nil, nil)
		if o.Deadline != 0 {
			q.setDeadline(p, lease, o.Deadline)
		}
		buf = append(buf, Delivery{
			Queue: q, Msg: e.msg, Lease: lease, Count: e.count, Redelivered: e.redelivered, Remaining: q.ready, Offset: -1,
		})
	}
	q.leave(t)
	return buf
}

func (q *Queue) receivable(t *Turn) (*lane, int) {
	if q.groups.on && !q.paused && !q.closed {
		return q.groupCandidate(t, q.batch)
	}
	return q.candidate(t)
}

// Await calls f once, on any goroutine and without locks, when the queue may
// have a message for a receiver or is gone. The result ends the wait; it
// reports whether f will not be called.
func (q *Queue) Await(t *Turn, f func(t *Turn)) (cancel func() bool) {
	q.mu.Lock()
	q.waits++
	id := q.waits
	if q.closed || len(q.waiters) >= maxWaiters {
		q.calls = append(q.calls, f)
	} else {
		q.waiters = append(q.waiters, waiter{id, f})
		if l, _ := q.candidate(t); l != nil {
			q.notify()
		}
	}
	q.leave(t)
	return func() bool {
		q.mu.Lock()
		defer q.mu.Unlock()
		for i := range q.waiters {
			if q.waiters[i].id == id {
				q.waiters = append(q.waiters[:i], q.waiters[i+1:]...)
				return true
			}
		}
		return false
	}
}

// notify wakes the oldest waiter for every ready message, more or less: one
// that finds nothing waits again.
func (q *Queue) notify() {
	if len(q.waiters) == 0 || q.ready == 0 || q.paused {
		return
	}
	n := min(q.ready, len(q.waiters))
	for _, w := range q.waiters[:n] {
		q.calls = append(q.calls, w.call)
	}
	q.waiters = append(q.waiters[:0], q.waiters[n:]...)
}

// ExtendLease moves the deadline of a lease; 0 is none. It reports false if
// the lease is stale.
func (q *Queue) ExtendLease(t *Turn, lease Lease, deadline int64) bool {
	q.mu.Lock()
	_, p := q.ledger.get(lease)
	if p != nil {
		p.deadline = 0
		if deadline != 0 {
			q.setDeadline(p, lease, deadline)
		}
	}
	ok := p != nil
	q.leave(t)
	return ok
}

// Place identifies a message in its queue for as long as it is there, over all
// its leases: what a service needs that lets clients delete a message with the
// token of a lease that ran out. Stored messages keep it over restarts.
type Place struct {
	Level uint16 // priority
	Seq   uint64
	Sub   uint64 // 0: stored
}

// PlaceOf returns the place of a leased message; false if the lease is stale.
func (q *Queue) PlaceOf(lease Lease) (Place, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	_, p := q.ledger.get(lease)
	if p == nil {
		return Place{}, false
	}
	return Place{p.level, p.seq, p.entry.sub}, true
}

// Remove settles the message at a place as accepted, ready or leased by
// whomever. It reports false if memory has no such message: it is gone, or
// waits in the store.
func (q *Queue) Remove(t *Turn, p Place) bool {
	q.mu.Lock()
	ok := q.remove(p)
	if ok {
		q.stats.Acknowledged++
		q.serve(t)
		q.notify()
	}
	q.leave(t)
	return ok
}

func (q *Queue) remove(p Place) bool {
	if q.closed || q.stream != nil || int(p.Level) >= len(q.lanes) {
		return false
	}
	l := &q.lanes[p.Level]
	if i := l.find(p.Seq, p.Sub); i >= 0 {
		e := q.cut(l, i)
		q.forget(l.level, &e)
		return true
	}
	for i := range q.ledger.slots {
		s := &q.ledger.slots[i]
		if s.gen != 0 && s.level == p.Level && s.seq == p.Seq && s.entry.sub == p.Sub {
			gone := q.takeLease(int32(i))
			q.forget(l.level, &gone.entry)
			return true
		}
	}
	return false
}
