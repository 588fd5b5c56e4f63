package broker

// settle concludes leases that session s holds; stale ones are passed over.
func (q *Queue) settle(t *Turn, s *Session, leases []Lease, o Outcome) {
	for _, lease := range leases {
		i, p := q.ledger.get(lease)
		if p == nil || p.hold != nil && p.hold.session != s || p.prepared != nil {
			continue
		}
		done := q.takeLease(i)
		q.conclude(&done, o)
	}
	q.putBack()
	q.serve(t)
	q.trim(t)
	q.notify()
}

// takeLease ends a lease and gives back the credit it held.
func (q *Queue) takeLease(i int32) slot {
	p := q.ledger.take(i)
	q.broughtBack(&p.entry)
	if p.hold == nil && q.leased != nil {
		delete(q.leased, place{int(p.level), p.seq, p.entry.sub})
	}
	if p.hold != nil && p.hold.session.letGo() {
		q.wakeLater(wakeUp{session: p.hold.session})
	}
	if p.sub != nil {
		p.sub.unsettled--
		if p.shared {
			// The session decides who gets the credit next: were the one who gave it
			// back listed here, it would have it again before any other.
			q.giveShared(p.sub)
		} else {
			q.consumers.relist(p.sub)
		}
	}
	return p
}

// detach takes a lease from whoever holds it: it waits for the outcome of a
// prepared transaction and costs no credit any more.
func (q *Queue) detach(i int32) {
	p := q.ledger.slots[i]
	q.ledger.unlink(i)
	if p.hold.session.letGo() {
		q.wakeLater(wakeUp{session: p.hold.session})
	}
	if p.sub != nil {
		p.sub.unsettled--
		if p.shared {
			q.giveShared(p.sub)
		}
	}
	x := &q.ledger.slots[i]
	x.hold, x.sub, x.shared = nil, nil, false
}

// conclude decides what becomes of a message whose lease ended (SEMANTICS
// section 4).
func (q *Queue) conclude(p *slot, o Outcome) {
	if q.stream != nil {
		q.stats.Acknowledged++
		q.release(&p.entry)
		return
	}
	switch o {
	case Accepted:
		q.stats.Acknowledged++
		q.forget(int(p.level), &p.entry)
	case Rejected:
		q.bury(int(p.level), p.entry, DeathRejected)
	default:
		q.comeBack(p, o, false)
	}
}

// comeBack readies a message for its old place. lazy leaves one that reached
// the delivery limit in the queue until somebody wants it.
func (q *Queue) comeBack(p *slot, o Outcome, lazy bool) {
	e, level := p.entry, int(p.level)
	if o != Unsent {
		e.redelivered = true
		q.stats.Requeued++
	}
	if !p.unseen && (o == Failed || o == Released && q.kind == KindQuorum) {
		e.count++
		if e.stored() && (q.cfg.DeliveryLimit >= 0 || q.cfg.KeepCounts || q.kind == KindQuorum || p.kept) {
			q.out.Counts = append(q.out.Counts, StoreCount{q.base + LaneID(level), e.seq, e.count})
		}
		if !lazy && q.cfg.DeliveryLimit >= 0 && int64(e.count) > int64(q.cfg.DeliveryLimit) {
			q.bury(level, e, DeathDeliveryLimit)
			return
		}
	} else if p.kept {
		q.endKept(p)
	}
	l := &q.lanes[level]
	if _, is := l.withheld[e.seq]; is && e.stored() && l.cold.count > 0 && e.seq >= l.cold.from {
		q.unhide(l, &e)
		return
	}
	l.back = append(l.back, e)
	q.ready++
	q.readyBytes += e.body()
}

// putBack moves what came back to its old places.
func (q *Queue) putBack() {
	for i := range q.lanes {
		l := &q.lanes[i]
		if len(l.back) == 0 {
			continue
		}
		for j := range l.back {
			q.watch(i, &l.back[j])
		}
		l.restore(l.back)
		clear(l.back)
		l.back = l.back[:0]
		if cap(l.back) > 1024 {
			l.back = nil
		}
	}
}

// releaseAll ends everything a closing session has on the queue.
func (q *Queue) releaseAll(t *Turn, h *hold) {
	q.mu.Lock()
	kept := q.getters[:0]
	for _, g := range q.getters {
		if g.hold != h {
			kept = append(kept, g)
		}
	}
	q.getters, h.gets = kept, 0
	if h.n > 0 {
		for h.head >= 0 {
			if q.ledger.slots[h.head].prepared != nil {
				q.detach(h.head)
				continue
			}
			p := q.takeLease(h.head)
			q.conclude(&p, Released)
		}
		q.putBack()
	}
	q.serve(t)
	q.trim(t)
	q.notify()
	q.leave(t)
}
