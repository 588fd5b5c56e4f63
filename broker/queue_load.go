package broker

// sweepEvery is how often, in ms, the cold part of a lane is searched for
// expired messages; loadRetry how long after a read that failed another is
// tried.
const (
	sweepEvery = 1000
	sweepCount = 1024
	loadRetry  = 1000

	complainEvery = 60_000 // ms between two log lines of a queue about reads
)

// load asks the store for the next cold messages of a lane. One request per
// lane is under way at a time.
func (q *Queue) load(l *lane) {
	if l.reading || l.retry != 0 || q.closed {
		return
	}
	l.reading = true
	epoch, to := l.epoch, l.last
	q.reads = append(q.reads, &ReadRequest{
		Lane: l.id, From: l.cold.from, To: to, Max: loadCount, MaxBytes: q.eng.load,
		Then: func(t *Turn, msgs []Stored, next uint64, err error) {
			q.loaded(t, l, epoch, msgs, min(next, to+1), err)
		},
	})
}

// loaded takes a read's messages into memory; next is where the following read
// begins. The request was bounded by the newest message the queue knew: the
// store may have committed more whose enqueue is still to come.
func (q *Queue) loaded(t *Turn, l *lane, epoch uint32, msgs []Stored, next uint64, err error) {
	q.mu.Lock()
	if q.closed || l.epoch != epoch {
		q.mu.Unlock()
		return
	}
	l.reading = false
	if err != nil {
		q.readFailed(t, l.id, l.cold.from, next, err)
	}
	// Messages the store cannot read are left to it, unsettled: those behind
	// them must not wait for ever.
	if next <= l.cold.from {
		l.retry = t.Now + loadRetry
		q.schedule(l.retry)
		q.leave(t)
		return
	}
	msgs = l.dropWithheld(msgs)
	ready := l.ready()
	msgs = q.dropRemoved(l, msgs, next)
	bytes := l.cold.bytes
	hot := int64(0)
	l.loaded(msgs, next, func(e *entry) {
		if e.stored() {
			hot += int64(e.memory())
		}
		if e.msg.Notes != nil && e.msg.Notes.GroupID != "" {
			q.groups.on = true
		}
		q.watch(l.level, e)
	})
	l.passWithheld()
	q.memory += hot
	// If the store held less than was counted, the counts follow the store.
	q.ready += l.ready() - ready
	if l.cold.count == 0 {
		loaded := int64(0)
		for i := range msgs {
			loaded += int64(len(msgs[i].Msg.Body))
		}
		q.readyBytes += loaded - bytes
	}
	q.serve(t)
	q.trim(t)
	q.notify()
	q.leave(t)
}

// readFailed counts a read that failed and logs it, once per queue and period:
// messages in [from, next) of the lane cannot be read and stay, unsettled, in
// the store; if there are none, the read is tried again.
func (q *Queue) readFailed(t *Turn, id LaneID, from, next uint64, err error) {
	q.stats.ReadErrors++
	if q.complained != 0 && t.Now-q.complained < complainEvery {
		return
	}
	q.complained = t.Now
	text := "messages cannot be read and are passed over"
	if next <= from {
		text, next = "messages cannot be read yet", from+1
	}
	q.vhost.broker.log.Error(text, "vhost", q.vhost.name, "queue", q.name, "lane", uint64(id),
		"first", from, "last", next-1, "read_errors", q.stats.ReadErrors, "error", err)
}

// sweep searches the cold part of a lane for expired messages.
func (q *Queue) sweep(t *Turn, l *lane) {
	if l.reading {
		l.cold.sweep = t.Now + sweepEvery
		return
	}
	l.reading = true
	l.cold.sweep = 0
	q.sweepFrom(t, l, max(l.cold.from, l.cold.resume))
}

func (q *Queue) sweepFrom(t *Turn, l *lane, from uint64) {
	epoch := l.epoch
	q.reads = append(q.reads, &ReadRequest{
		Lane: l.id, From: from, To: l.last, Max: sweepCount, MaxBytes: q.eng.load, ExpiredBefore: t.Now,
		Then: func(t *Turn, msgs []Stored, next uint64, err error) { q.swept(t, l, epoch, from, msgs, next, err) },
	})
}

// swept buries what a search found; unless it is at the end it goes on when
// the store has forgotten that.
func (q *Queue) swept(t *Turn, l *lane, epoch uint32, from uint64, msgs []Stored, next uint64, err error) {
	q.mu.Lock()
	if q.closed || l.epoch != epoch {
		q.mu.Unlock()
		return
	}
	if err != nil {
		q.readFailed(t, l.id, from, next, err)
	}
	if err != nil && len(msgs) == 0 && next > from && next <= l.last {
		q.sweepFrom(t, l, next)
		q.leave(t)
		return
	}
	resume := uint64(0)
	if len(msgs) > 0 && next <= l.last {
		resume = next
	}
	l.cold.sweep, l.cold.resume = t.Now+sweepEvery, resume
	q.schedule(l.cold.sweep)
	msgs = l.dropWithheld(msgs)
	for i := range msgs {
		m := &msgs[i]
		l.cold.count--
		l.cold.bytes -= int64(len(m.Msg.Body))
		e := entry{msg: m.Msg, seq: m.Seq, expiry: m.Expiry, count: m.Count}
		q.unready(&e)
		q.memory += int64(e.memory())
		q.bury(l.level, e, DeathExpired)
	}
	if l.cold.count == 0 {
		l.thaw(func(e *entry) { q.watch(l.level, e) })
		l.cold.from = l.last + 1
	}
	if len(msgs) == 0 {
		l.reading = false
		q.serve(t)
		q.leave(t)
		return
	}
	// Until the store has forgotten them, a read would bring them again.
	q.buried = append(q.buried, func(*Turn) {
		q.eng.store.Append(&Batch{Then: after(func(t *Turn) { q.forgotten(t, l, epoch, resume) })})
	})
	q.leave(t)
}

// forgotten is told when what a search found is gone from the store.
func (q *Queue) forgotten(t *Turn, l *lane, epoch uint32, resume uint64) {
	q.mu.Lock()
	if !q.closed && l.epoch == epoch {
		l.reading = false
		q.serve(t) // before the search goes on: it must not keep consumers waiting
		q.trim(t)
		if resume != 0 && l.cold.count > 0 {
			l.cold.sweep = t.Now
			q.schedule(t.Now)
			if !l.reading {
				q.sweep(t, l)
			}
		}
	}
	q.leave(t)
}

// after is a function as a Committer.
type after func(t *Turn)

// Committed implements Committer.
func (f after) Committed(t *Turn) { f(t) }
