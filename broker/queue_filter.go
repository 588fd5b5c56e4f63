package broker

// filterScan bounds how many messages that no subscription wants are looked
// behind for one that is wanted, and filterBytes how much memory of them is
// read ahead from the store.
const (
	filterScan  = 1 << 16
	filterBytes = 32 << 20
)

// filterMark says that no subscription wants the hot entries of a lane up to
// (seq, sub). It holds while no subscription is added and nothing comes back.
type filterMark struct {
	epoch    uint64 // of consumers; 0: no mark
	seq, sub uint64
}

// passedMark says that a subscription wants none of the hot entries of a lane up
// to (seq, sub). It holds while nothing comes back to the lane.
type passedMark struct {
	set      bool
	level    int
	returns  uint64 // of the lane
	seq, sub uint64
}

func (m *passedMark) place() entry { return entry{seq: m.seq, sub: m.sub} }

// of reports whether a mark holds for a lane.
func (m *passedMark) of(l *lane) bool { return m.set && m.level == l.level && m.returns == l.returns }

// passedBy is the index of the first hot entry of a lane that a listed
// subscription may want, as far as their marks say.
func (q *Queue) passedBy(l *lane) int {
	if q.groups.on { // who is passed over there may want a message at another time
		return 0
	}
	var first *passedMark
	for i := range q.consumers.rings {
		r := &q.consumers.rings[i]
		for sub := r.next; sub != nil; sub = sub.next {
			m := &sub.passed
			if !m.of(l) {
				return 0
			}
			if first == nil || compareEntries(m.place(), first.place()) < 0 {
				first = m
			}
			if sub.next == r.next {
				break
			}
		}
	}
	if first == nil {
		return 0
	}
	i := l.search(first.place())
	if i < l.hot.len() && compareEntries(*l.hot.at(i), first.place()) == 0 {
		i++
	}
	return i
}

// markPassed notes for every listed subscription that it wants nothing up to
// an entry's place in a lane.
func (q *Queue) markPassed(l *lane, last entry) {
	if q.groups.on {
		return
	}
	for i := range q.consumers.rings {
		r := &q.consumers.rings[i]
		for sub := r.next; sub != nil; sub = sub.next {
			if m := &sub.passed; !m.of(l) || compareEntries(m.place(), last) < 0 {
				*m = passedMark{set: true, level: l.level, returns: l.returns, seq: last.seq, sub: last.sub}
			}
			if sub.next == r.next {
				break
			}
		}
	}
}

// accepts reports whether the subscription's filter lets a message through.
func (sub *Subscription) accepts(e *entry) bool {
	return sub.filter == nil || sub.filter(e.msg, e.past())
}

// dispatchFiltered delivers the first message that some subscription wants and
// can take; false if there is none. Messages that nobody wants stay where they
// are and hold up nobody. What a subscription has passed over is not looked at
// again for it, so that a backlog of others' messages costs it nothing.
func (q *Queue) dispatchFiltered(t *Turn) bool {
	s := q.scan(t, filterScan, filterBytes, true)
	var behind *lane // where the walk passed entries over
	var last entry   // the place of the last of them
	relists := q.consumers.relists
	mark := func() {
		if behind != nil && relists == q.consumers.relists {
			q.markPassed(behind, last)
		}
	}
	for e := s.next(); e != nil; e = s.next() {
		if e.thin {
			mark()
			s.fill()
			return false
		}
		listed := q.consumers.listed
		sub, shared, wanted := q.consumerWanting(e, s.wanted)
		if sub != nil {
			mark()
			s.deliver(sub, shared)
			return true
		}
		behind, last = s.lane, entry{seq: e.seq, sub: e.sub}
		if s.wanted = s.wanted || wanted; !s.wanted {
			s.lane.unwanted = filterMark{q.consumers.epoch, e.seq, e.sub}
		}
		if q.consumers.listed == 0 {
			return false
		}
		if q.consumers.listed < listed {
			s.jump()
		}
	}
	mark()
	return false
}

// unmarked is the index of the first hot entry that somebody may want.
func (q *Queue) unmarked(l *lane) int {
	m := l.unwanted
	if m.epoch == 0 || m.epoch != q.consumers.epoch {
		return 0
	}
	i := l.search(entry{seq: m.seq, sub: m.sub})
	if i < l.hot.len() {
		if e := l.hot.at(i); e.seq == m.seq && e.sub == m.sub {
			i++
		}
	}
	return i
}

// consumerWanting chooses who gets an entry. wanted says, if nobody does, that
// some subscription would take it at another time; who knows already that one
// would is not told again.
func (q *Queue) consumerWanting(e *entry, known bool) (sub *Subscription, shared, wanted bool) {
	group := ""
	if q.groups.on {
		group = groupOf(e.msg)
	}
	switch {
	case group == "":
	case q.cfg.LeaseGroups:
		if q.groups.blocked(group, 0) {
			return nil, false, true
		}
	default:
		owner := q.groups.bucket(group)
		if *owner != nil && (*owner).accepts(e) {
			return q.consumers.take(*owner)
		}
		if *owner != nil {
			break
		}
		sub, shared, wanted = q.consumers.pickFree(e)
		assign(owner, sub)
		return sub, shared, wanted
	}
	return q.consumers.pickFor(e, known)
}

// take is pickFor for a message that only sub may get.
func (c *consumers) take(sub *Subscription) (_ *Subscription, shared, wanted bool) {
	if sub.listed {
		if shared, ok := sub.able(); ok {
			return sub, shared, true
		}
		c.unlist(sub)
	}
	return nil, false, true
}

// pickFor is pick among the subscriptions that want an entry.
func (c *consumers) pickFor(e *entry, known bool) (sub *Subscription, shared, wanted bool) {
	for i := range c.rings {
		r := &c.rings[i]
		for n := r.listed(); n > 0 && r.next != nil; n-- {
			sub := r.next
			if !sub.accepts(e) {
				r.next = sub.next
				continue
			}
			if shared, ok := sub.able(); ok {
				r.next = sub.next
				return sub, shared, true
			}
			c.unlist(sub)
		}
	}
	return nil, false, known || c.wantLater(e)
}

// wantLater reports whether a subscription that can take nothing now wants an
// entry.
func (c *consumers) wantLater(e *entry) bool {
	for _, sub := range c.list {
		if !sub.listed && sub.accepts(e) {
			return true
		}
	}
	return false
}

// pickFree is pickFor for the first message of a group: among those of the same
// priority it chooses who has the fewest groups, the round decides between
// equals. So late consumers get their share of new groups.
func (c *consumers) pickFree(e *entry) (sub *Subscription, shared, wanted bool) {
	for i := range c.rings {
		r := &c.rings[i]
		for sub := r.idlest(e); sub != nil; sub = r.idlest(e) {
			if shared, ok := sub.able(); ok {
				r.next = sub.next
				return sub, shared, true
			}
			c.unlist(sub)
		}
	}
	return nil, false, c.wantLater(e)
}

// idlest is the subscription in the ring that wants an entry and has the fewest
// groups, nil if none wants it.
func (r *ring) idlest(e *entry) (idlest *Subscription) {
	for sub := r.next; sub != nil; sub = sub.next {
		if (idlest == nil || sub.groups < idlest.groups) && sub.accepts(e) {
			idlest = sub
		}
		if sub.next == r.next {
			break
		}
	}
	return idlest
}

// listed counts the subscriptions in the ring.
func (r *ring) listed() int {
	n := 0
	for sub := r.next; sub != nil; sub = sub.next {
		if n++; sub.next == r.next {
			break
		}
	}
	return n
}
