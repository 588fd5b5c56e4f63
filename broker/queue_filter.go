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

// accepts reports whether the subscription's filter lets a message through.
func (sub *Subscription) accepts(e *entry) bool {
	return sub.filter == nil || sub.filter(e.msg, e.past())
}

// dispatchFiltered delivers the first message that some subscription wants and
// can take; false if there is none. Messages that nobody wants stay where they
// are and hold up nobody.
func (q *Queue) dispatchFiltered(t *Turn) bool {
	s := q.scan(t, filterScan, filterBytes, true)
	for e := s.next(); e != nil; e = s.next() {
		if e.thin {
			s.fill()
			return false
		}
		sub, shared, wanted := q.consumerWanting(e)
		if sub != nil {
			s.deliver(sub, shared)
			return true
		}
		if s.wanted = s.wanted || wanted; !s.wanted {
			s.lane.unwanted = filterMark{q.consumers.epoch, e.seq, e.sub}
		}
		if q.consumers.listed == 0 {
			return false
		}
	}
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
// some subscription would take it at another time.
func (q *Queue) consumerWanting(e *entry) (sub *Subscription, shared, wanted bool) {
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
	return q.consumers.pickFor(e)
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
func (c *consumers) pickFor(e *entry) (sub *Subscription, shared, wanted bool) {
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
	return nil, false, c.wantLater(e)
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
