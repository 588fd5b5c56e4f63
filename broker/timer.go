package broker

// watch makes sure that a hot entry with an expiry leaves in time. Entries
// under a queue's uniform TTL expire in their order, so that looking at the
// heads suffices; the others are indexed.
func (q *Queue) watch(level int, e *entry) {
	if x := q.groups.index; x != nil {
		x.add(e)
	}
	if e.expiry == 0 {
		return
	}
	if e.ownTTL() || q.disorderly {
		q.timed.push(e.expiry, place{level, e.seq, e.sub})
		if q.timed.len() > q.timedMax {
			q.timed.filter(func(_ int64, p place) bool { return q.lanes[p.level].find(p.seq, p.sub) >= 0 })
			q.timedMax = max(1024, 2*q.timed.len())
		}
	}
	q.schedule(e.expiry)
}

// disorder indexes every hot entry: the TTL changed, and expiry does not
// follow order any more.
func (q *Queue) disorder() {
	if q.disorderly {
		return
	}
	q.disorderly = true
	for i := range q.lanes {
		l := &q.lanes[i]
		for j := range l.hot.len() {
			if e := l.hot.at(j); !e.hole() && e.expiry != 0 && !e.ownTTL() {
				q.timed.push(e.expiry, place{i, e.seq, e.sub})
			}
		}
	}
	q.timedMax = max(1024, 2*q.timed.len())
}

// schedule makes tick look at the queue at the given time or earlier.
func (q *Queue) schedule(at int64) {
	if q.due == 0 || at < q.due {
		at = max(at, 1)
		q.due = at
		q.eng.timers.set(q, at)
	}
}

// tick does what is due. Its caller took the queue out of the timers.
func (q *Queue) tick(t *Turn) {
	q.mu.Lock()
	if q.closed {
		q.mu.Unlock()
		return
	}
	q.due = 0
	q.expire(t)
	q.lapse(t)
	q.tickDelay(t)
	for i := range q.lanes {
		q.tickCold(t, &q.lanes[i])
	}
	if q.stream != nil {
		q.stream.tick(t)
	}
	q.tickStranded(t)
	q.forgetIDs(t, dedupStep)
	q.tickIdle(t)
	q.reschedule(t)
	q.serve(t)
	q.trim(t)
	q.notify()
	q.leave(t)
}

// expire buries what expired in memory.
func (q *Queue) expire(t *Turn) {
	for q.timed.len() > 0 && q.timed.first() <= t.Now {
		p := q.timed.pop()
		l := &q.lanes[p.level]
		if i := l.find(p.seq, p.sub); i >= 0 {
			q.bury(p.level, q.cut(l, i), DeathExpired)
		}
	}
	for i := range q.lanes {
		l := &q.lanes[i]
		for e := l.front(); e != nil && e.expiry != 0 && e.expiry <= t.Now; e = l.front() {
			q.bury(i, q.cut(l, 0), DeathExpired)
		}
	}
}

// setDeadline makes a lease run out at the given time.
func (q *Queue) setDeadline(p *slot, lease Lease, at int64) {
	p.deadline = at
	q.deadlines.push(at, lease)
	if q.deadlines.len() > q.leaseMax {
		q.deadlines.filter(func(at int64, l Lease) bool {
			_, p := q.ledger.get(l)
			return p != nil && p.deadline == at
		})
		q.leaseMax = max(1024, 2*q.deadlines.len())
	}
	q.schedule(at)
}

// lapse returns the messages whose lease ran out.
func (q *Queue) lapse(t *Turn) {
	for q.deadlines.len() > 0 && q.deadlines.first() <= t.Now {
		at := q.deadlines.first()
		i, p := q.ledger.get(q.deadlines.pop())
		if p == nil || p.deadline != at {
			continue // settled, or extended
		}
		q.stats.Lapsed++
		gone := q.takeLease(i)
		if q.stream != nil {
			q.conclude(&gone, Released)
			continue
		}
		q.comeBack(&gone, Failed, true)
	}
	q.putBack()
}

// lapseDue is lapse for who asks between two ticks: what ran out has run out.
// The tick that comes tells those who wait.
func (q *Queue) lapseDue(t *Turn) {
	if q.deadlines.len() > 0 && q.deadlines.first() <= t.Now {
		q.lapse(t)
	}
}

func (q *Queue) tickCold(t *Turn, l *lane) {
	if l.retry != 0 && l.retry <= t.Now {
		l.retry = 0
	}
	if l.cold.count > 0 && l.cold.sweep != 0 && l.cold.sweep <= t.Now {
		q.sweep(t, l)
	}
}

// tickIdle lets a queue go that nobody used for its x-expires.
func (q *Queue) tickIdle(t *Turn) {
	if q.lastUsed == 0 {
		q.lastUsed = t.Now // new: nobody told it the time before
	}
	if q.cfg.Expires >= 0 && len(q.consumers.list) == 0 && t.Now-q.lastUsed >= q.cfg.Expires {
		q.vanish = true
	}
}

// reschedule finds the next time at which something is due.
func (q *Queue) reschedule(t *Turn) {
	at := func(when int64) {
		if when != 0 {
			q.schedule(when)
		}
	}
	at(q.timed.first())
	at(q.deadlines.first())
	at(q.delay.next())
	at(q.retryDead)
	at(q.nextForget(t))
	for i := range q.lanes {
		l := &q.lanes[i]
		if e := l.front(); e != nil {
			at(e.expiry)
		}
		at(l.retry)
		if l.cold.count > 0 {
			at(l.cold.sweep)
		}
	}
	if q.cfg.Expires >= 0 && len(q.consumers.list) == 0 && !q.vanish {
		q.schedule(q.lastUsed + q.cfg.Expires)
	}
}
