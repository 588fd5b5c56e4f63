package broker

// admission is the answer of admit.
type admission struct {
	refused   bool       // by the overflow policy
	duplicate bool       // its deduplication id was seen before
	origin    string     // Notes.Origin of the message that had it
	fact      Definition // what the store must remember with the message; its Kind is "" if nothing
}

// admit decides whether a message may enter. With reserve the place is kept
// until enqueue. Deduplication is for publishers that publish twice: what the
// broker itself moves (published is false), dead letters above all, is neither
// refused nor remembered, for a refusal would lose it.
func (q *Queue) admit(t *Turn, m *Message, published, reserve bool) (a admission) {
	if q.full(m) {
		q.stats.Rejected++
		if q.cfg.Overflow == RejectPublishDLX && q.cfg.DeadLetterSet {
			q.layOut([]corpse{{entry: entry{msg: m, sub: 1}, reason: DeathMaxLen}})
		}
		return admission{refused: true}
	}
	if published && q.cfg.DedupWindow > 0 && m.Notes != nil && m.Notes.DedupID != "" {
		if a.duplicate, a.origin, a.fact = q.duplicate(t, m, reserve && q.stores(m)); a.duplicate {
			q.stats.Duplicates++
			return a
		}
	}
	if reserve {
		q.reserved++
		q.reservedBytes += int64(len(m.Body))
	}
	return a
}

// full reports whether the overflow policy refuses m. A consumer that could
// take the message at once lets it pass.
func (q *Queue) full(m *Message) bool { return q.fullFor(len(m.Body)) }

// fullFor is full for a body of n bytes.
func (q *Queue) fullFor(body int) bool {
	if q.cfg.Overflow == DropHead || q.ready+q.reserved == 0 && q.consumers.listed > 0 && !q.paused {
		return false
	}
	if n := q.cfg.MaxLength; n >= 0 && int64(q.ready+q.reserved) >= n {
		return true
	}
	n := q.cfg.MaxLengthBytes
	return n >= 0 && q.readyBytes+q.reservedBytes+int64(body) > n
}

func (q *Queue) unreserve(m *Message) {
	q.reserved--
	q.reservedBytes -= int64(len(m.Body))
}

// enqueue takes a new message in. seq is its sequence number in the store, 0
// for a transient one. Caller holds the lock.
func (q *Queue) enqueue(t *Turn, level int, m *Message, seq uint64, expiry int64) {
	if q.closed {
		return
	}
	q.stats.Published++
	if q.stream != nil {
		q.stream.append(t, m, seq)
		return
	}
	l := &q.lanes[level]
	e := entry{msg: m, seq: seq, expiry: expiry}
	if seq != 0 {
		l.last = seq
	} else {
		l.sub++
		e.seq, e.sub = l.last, l.sub
	}
	if m.Notes != nil && m.Notes.GroupID != "" {
		q.groups.on = true
	}
	if q.ready == 0 && q.direct(t, level, &e) {
		return
	}
	q.put(t, l, e)
	if q.consumers.listed > 0 || len(q.getters) > 0 {
		q.serve(t)
	}
	q.trim(t)
	q.notify()
}

// direct hands an entry that nothing stands before to a consumer.
func (q *Queue) direct(t *Turn, level int, e *entry) bool {
	if q.consumers.listed == 0 || q.paused || q.groups.on || q.consumers.filters > 0 {
		return false
	}
	if e.expiry != 0 && e.expiry <= t.Now && q.expiry(t, e.msg) != t.Now {
		return false // a TTL of 0 means: now or never
	}
	sub, shared := q.consumers.pickOf(e.msg)
	if sub == nil {
		return false
	}
	q.memory += int64(e.memory())
	q.deliver(t, *e, level, sub, shared)
	return true
}

// put adds the newest entry of a lane to the ready ones.
func (q *Queue) put(t *Turn, l *lane, e entry) {
	q.ready++
	q.readyBytes += int64(len(e.msg.Body))
	if e.stored() && (l.cold.count > 0 || !q.roomy()) {
		l.chill(e.seq, len(e.msg.Body), e.expiry)
		if e.expiry != 0 && l.cold.sweep == 0 {
			l.cold.sweep = max(e.expiry, t.Now+sweepEvery)
			q.schedule(l.cold.sweep)
		}
		return
	}
	q.memory += int64(e.memory())
	l.push(e)
	if l.cold.count == 0 {
		q.watch(l.level, &e)
	}
}

// roomy reports whether a stored message may stay in memory, too.
func (q *Queue) roomy() bool {
	return q.memory < q.eng.minimum || q.eng.memory.Load() < q.eng.budget
}

// over reports whether the queue holds more ready messages than it may.
func (q *Queue) over() bool {
	return q.cfg.MaxLength >= 0 && int64(q.ready) > q.cfg.MaxLength ||
		q.cfg.MaxLengthBytes >= 0 && q.readyBytes > q.cfg.MaxLengthBytes
}

// trim drops from the head what is over the length limit.
func (q *Queue) trim(t *Turn) {
	if q.stream != nil || q.cfg.Overflow != DropHead {
		return
	}
	for q.over() {
		l, e := q.head(t)
		if e == nil {
			return // loading; loaded comes back here
		}
		gone := q.pop(l)
		q.bury(l.level, gone, DeathMaxLen)
	}
}

// bury ends an entry that was taken out of its lane: dead-lettered if the
// queue has a target for that, dropped otherwise.
func (q *Queue) bury(level int, e entry, reason DeathReason) {
	q.buryAs(corpse{entry: e, level: level, reason: reason})
}

func (q *Queue) buryAs(c corpse) {
	q.stats.died(c.reason)
	if !q.cfg.deadLetters(&c) {
		q.dropped(&c.entry, c.reason)
		q.forget(c.level, &c.entry)
		return
	}
	if c.thin {
		q.thin--
	}
	q.dead = append(q.dead, c)
}
