package broker

// Leases of Take whose deadline is a promise are facts: nobody else gets the
// message before, not even after a crash or on another node, and the token is
// good there. Deliveries to subscriptions are not: they end with their
// connections, and so with the process.

// Lend is Take whose leases are in the store. If it returns stored, done is
// called when they are durable, on a goroutine of the store; otherwise there is
// nothing to wait for, and it is not called.
func (q *Queue) Lend(t *Turn, o ReceiveOptions, buf []Taken, done func(t *Turn)) (list []Taken, full, stored bool) {
	o.keep = true
	q.mu.Lock()
	list, full = q.take(t, o, buf)
	if stored = len(q.out.Leases) > 0; stored {
		q.appendLeases(done)
	}
	q.leave(t)
	return list, full, stored
}

// lending is the batch of a Lend and who waits for it. Most lend one message.
type lending struct {
	Batch
	stored
	one [1]StoreLease
}

func (q *Queue) appendLeases(done func(t *Turn)) {
	b := &lending{stored: stored{broker: q.vhost.broker, done: done}}
	b.Leases = append(b.one[:0], q.out.Leases...)
	b.Then = &b.stored
	q.out.Leases = q.out.Leases[:0]
	q.vhost.broker.unstored.Add(1)
	q.eng.store.Append(&b.Batch)
}

// GiveBack undoes deliveries of Take that nobody saw: they do not count.
func (q *Queue) GiveBack(t *Turn, list []Taken) {
	q.mu.Lock()
	for i := range list {
		if j, p := q.ledger.get(list[i].Lease); p != nil {
			gone := q.takeLease(j)
			gone.unseen = true
			q.comeBack(&gone, Unsent, true)
		}
	}
	q.putBack()
	q.serve(t)
	q.notify()
	q.leave(t)
}

// nonce is what of a lease the store keeps.
func (l Lease) nonce() uint32 { return uint32(l >> leaseIndexBits) }

// held returns the slot of a token's lease, nil if that is over.
func (q *Queue) held(x Token) (int32, *slot) {
	if i, p := q.ledger.get(x.Lease); p != nil && p.is(&x) {
		return i, p
	}
	if i, ok := q.leased[place{int(x.Place.Level), x.Place.Seq, x.Place.Sub}]; ok { // of a former process
		if p := &q.ledger.slots[i]; p.is(&x) {
			return i, p
		}
	}
	return -1, nil
}

func (p *slot) is(x *Token) bool {
	return p.prepared == nil && p.seq == x.Place.Seq && p.since == x.Since && p.nonce == x.Lease.nonce() && p.level == x.Place.Level && p.entry.sub == x.Place.Sub
}

// keep tells the store of a lease, or of its new deadline.
func (q *Queue) keep(p *slot) {
	if !p.stored() || !q.durable || q.stream != nil {
		return
	}
	p.kept = true
	x := StoreLease{
		Lane: q.base + LaneID(p.level), Seq: p.seq, Deadline: p.deadline, Since: p.since, First: p.first, Expiry: p.expiry,
		Nonce: p.nonce, Count: p.count, Size: uint32(p.body()), Unseen: p.unseen,
	}
	if q.cfg.LeaseGroups {
		if x.Group = groupOf(p.msg); len(x.Group) > maxLeaseGroup {
			x.Group = ""
		}
	}
	q.out.Leases = append(q.out.Leases, x)
}

// maxLeaseGroup bounds the group that is stored with a lease. Groups of SQS are
// shorter; one that is longer is free again after a restart.
const maxLeaseGroup = 1 << 10

// endKept tells the store that a lease is over, and that nothing came of it.
func (q *Queue) endKept(p *slot) {
	q.out.Leases = append(q.out.Leases, StoreLease{Lane: q.base + LaneID(p.level), Seq: p.seq})
}

// recoverLeases hides the messages of a lane whose leases are in the store.
// Those that ran out meanwhile come back with the first tick. The clock may be
// another node's than the one that lent: none is held for longer than its
// receiver had it at most.
func (q *Queue) recoverLeases(t *Turn, l *lane, list []StoreLease) {
	if len(list) > 0 && q.cfg.LeaseGroups {
		q.index(false)
	}
	for i := range list {
		x := &list[i]
		e := entry{
			seq: x.Seq, thin: true, size: x.Size, expiry: x.Expiry, timed: x.Expiry != 0, count: x.Count, first: x.First, redelivered: x.Count > 0,
		}
		if x.Group != "" {
			e.msg = &Message{Notes: &Notes{GroupID: x.Group}}
		}
		lease, p := q.hide(l, e)
		if p == nil {
			continue
		}
		p.since, p.nonce, p.unseen, p.kept = x.Since, x.Nonce, x.Unseen, true
		q.leasedAt(p, lease)
		q.lentOut(l.level, &p.entry, 0)
		q.setDeadline(p, lease, min(x.Deadline, t.Now+max(x.Deadline-x.Since, 0)))
	}
}

// hide makes a stored message that was never in memory a lease, if it is one;
// nil otherwise.
func (q *Queue) hide(l *lane, e entry) (Lease, *slot) {
	if _, twice := l.withheld[e.seq]; twice || l.cold.count == 0 || e.seq < l.cold.from || e.seq > l.last {
		return 0, nil
	}
	if l.withheld == nil {
		l.withheld = make(map[uint64]struct{})
	}
	l.withheld[e.seq] = struct{}{}
	l.cold.count--
	l.cold.bytes -= e.body()
	q.unready(&e)
	if l.cold.count == 0 {
		l.thaw(nil)
		l.cold.from = l.last + 1
	}
	q.memory += int64(e.memory())
	q.thin++
	return q.ledger.lend(e, l.level, nil, nil)
}

// unhide puts a withheld message back among the cold ones.
func (q *Queue) unhide(l *lane, e *entry) {
	delete(l.withheld, e.seq)
	q.release(e)
	l.cold.count++
	l.cold.bytes += e.body()
	if e.expiry != 0 {
		l.cold.timed = true
	}
	q.ready++
	q.readyBytes += e.body()
	if l.returned == nil {
		l.returned = make(map[uint64]entry)
	}
	l.returned[e.seq] = entry{count: e.count, first: e.first, redelivered: e.redelivered}
}
