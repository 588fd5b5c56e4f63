package broker

// getter is a Session.Get that waits for a cold lane.
type getter struct {
	session *Session
	hold    *hold
	ref     uint64
	noAck   bool
}

// maxGetters bounds the Gets that wait on one queue.
const maxGetters = 1 << 14

// serve gives ready messages to whoever can take them.
func (q *Queue) serve(t *Turn) {
	for len(q.getters) > 0 {
		if !q.answer(t, q.getters[0]) {
			return
		}
		q.getters[0].hold.gets--
		q.getters = q.getters[1:]
	}
	q.dispatch(t)
}

// dispatch hands ready messages to consumers while both last.
func (q *Queue) dispatch(t *Turn) {
	if q.stream != nil {
		q.stream.dispatch(t)
		return
	}
	for q.ready > 0 && q.consumers.listed > 0 && !q.paused && !q.closed {
		if q.consumers.filters > 0 {
			if !q.dispatchFiltered(t) {
				return
			}
			continue
		}
		if q.groups.on {
			if !q.dispatchGrouped(t) {
				return
			}
			continue
		}
		if q.consumers.way() == SpreadHash {
			if !q.dispatchHashed(t) {
				return
			}
			continue
		}
		l, e := q.head(t)
		if e == nil {
			return
		}
		if e.thin {
			q.fill(l, 0)
			return
		}
		sub, shared := q.consumers.pickOf(e.msg)
		if sub == nil {
			return
		}
		q.deliver(t, q.pop(l), l.level, sub, shared)
	}
}

// head returns the message that is next, having buried what must not be
// delivered. It may be thin: then fill comes before its delivery. It is nil if
// there is none or its lane has to be loaded first, in which case the load is
// on its way.
func (q *Queue) head(t *Turn) (*lane, *entry) {
	for i := len(q.lanes) - 1; i >= 0; i-- {
		l := &q.lanes[i]
		for e := l.front(); e != nil; e = l.front() {
			reason := q.unfit(t, e)
			if reason == 0 {
				return l, e
			}
			q.bury(i, q.pop(l), reason)
		}
		if l.cold.count > 0 {
			q.load(l)
			return nil, nil
		}
	}
	return nil, nil
}

// unfit tells why a ready entry must not be delivered any more; 0 if it may.
// The delivery limit is looked at here, too, because a lease that ran out
// leaves its message where it was until somebody wants it.
func (q *Queue) unfit(t *Turn, e *entry) DeathReason {
	if e.expiry != 0 && e.expiry <= t.Now {
		return DeathExpired
	}
	if q.cfg.DeliveryLimit >= 0 && int64(e.count) > int64(q.cfg.DeliveryLimit) {
		return DeathDeliveryLimit
	}
	return 0
}

// pop takes the front of a lane and reads ahead if little is left.
func (q *Queue) pop(l *lane) entry {
	e := l.pop()
	q.unready(&e)
	if l.cold.count > 0 && l.bytes < q.eng.load/2 {
		q.load(l)
	}
	return e
}

// deliver hands an entry, which is in no lane any more, to a consumer.
func (q *Queue) deliver(t *Turn, e entry, level int, sub *Subscription, shared bool) {
	d := Delivery{Sub: sub, Queue: q, Msg: e.msg, Count: e.count, Redelivered: e.redelivered, Offset: -1}
	if e.stored() {
		d.Seq = e.seq
	}
	if q.groups.on && groupOf(e.msg) != "" && !q.cfg.LeaseGroups {
		d.GroupFirst = q.groups.begin(e.msg, sub)
	}
	sub.granted--
	q.stats.Delivered++
	if e.redelivered {
		q.stats.Redelivered++
	}
	if sub.NoAck {
		q.stats.Acknowledged++
		q.forget(level, &e)
	} else {
		sub.unsettled++
		d.Lease = q.lend(t, e, level, sub, sub.hold, shared)
	}
	sub.posted.Add(1)
	sub.postedBytes.Add(int64(e.msg.Size()))
	sub.session.sink.Deliver(t, d)
}

// lend makes an entry a lease.
func (q *Queue) lend(t *Turn, e entry, level int, sub *Subscription, h *hold, shared bool) Lease {
	q.lentOut(level, &e, 0)
	q.slim(&e)
	lease, p := q.ledger.lend(e, level, sub, h)
	p.shared = shared
	if h != nil {
		h.session.held.Add(1)
	}
	if q.cfg.ConsumerTTL >= 0 && sub != nil {
		q.setDeadline(p, lease, t.Now+q.cfg.ConsumerTTL)
	}
	return lease
}

// get answers a getter now or later.
func (q *Queue) get(t *Turn, g getter) {
	q.lastUsed = t.Now
	if len(q.getters) == 0 && !g.session.overheld() && q.answer(t, g) {
		return
	}
	if len(q.getters) >= maxGetters || g.session.overheld() {
		q.answerEmpty(t, g)
		return
	}
	g.hold.gets++
	q.getters = append(q.getters, g)
}

// answer gives a getter its result; false if it must wait for a load.
func (q *Queue) answer(t *Turn, g getter) bool {
	l, i := q.candidate(t)
	if l == nil {
		if q.loading() && !q.paused {
			return false
		}
		q.answerEmpty(t, g)
		return true
	}
	e := q.cut(l, i)
	d := Delivery{Queue: q, Msg: e.msg, Count: e.count, Redelivered: e.redelivered, Remaining: q.ready, Offset: -1}
	q.stats.Got++
	if g.noAck {
		q.stats.Acknowledged++
		q.forget(l.level, &e)
	} else {
		d.Lease = q.lend(t, e, l.level, nil, g.hold, false)
	}
	g.session.sink.GetResult(t, g.ref, d, true)
	return true
}

func (q *Queue) answerEmpty(t *Turn, g getter) {
	g.session.sink.GetResult(t, g.ref, Delivery{Queue: q, Offset: -1}, false)
}

// loading reports whether a read is under way that may bring what a getter
// wants. When it ends, the getters are served.
func (q *Queue) loading() bool {
	for i := len(q.lanes) - 1; i >= 0; i-- {
		if q.lanes[i].reading && q.ready > 0 {
			return true
		}
	}
	return false
}

// candidate returns the place of the message a getter would get; nil if there
// is none in memory.
func (q *Queue) candidate(t *Turn) (*lane, int) {
	if q.paused || q.closed {
		return nil, 0
	}
	if q.groups.on {
		return q.groupCandidate(t, 0)
	}
	l, e := q.head(t)
	if e == nil {
		return nil, 0
	}
	if e.thin {
		q.fill(l, 0)
		return nil, 0
	}
	return l, 0
}

// cut takes the i-th hot entry of a lane.
func (q *Queue) cut(l *lane, i int) entry {
	e := l.cut(i)
	q.unready(&e)
	if l.cold.count > 0 && l.bytes < q.eng.load/2 {
		q.load(l)
	}
	return e
}

// wake lists a subscription again that was passed over for want of credit or
// window.
func (q *Queue) wake(t *Turn, sub *Subscription) {
	q.mu.Lock()
	if !sub.closed {
		q.consumers.relist(sub)
		q.dispatch(t)
	}
	q.leave(t)
}
