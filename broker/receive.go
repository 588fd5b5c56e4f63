package broker

// ReceiveOptions describe a Receive.
type ReceiveOptions struct {
	Max      int   // most messages
	Deadline int64 // Unix ms at which the leases run out; 0: never; not after now: at once

	// InFlight, if not 0, is the most messages the queue may have unsettled.
	InFlight int
	// Fair has message groups of a queue without LeaseGroups take turns.
	Fair bool

	keep bool // the store keeps the leases
}

// Taken is a message that Take handed out.
type Taken struct {
	Msg         *Message
	Lease       Lease
	Place       Place
	Count       uint32 // how often it was handed out before
	First       int64  // Unix ms at which it was for the first time, as far as memory goes
	Since       int64  // Unix ms at which it is now
	Redelivered bool
}

// Waiter waits for a queue to have something for a receiver. It belongs to one
// queue at a time.
type Waiter struct {
	// Wake is called once, on any goroutine and without locks, when the queue
	// may have a message for a receiver, or is gone.
	Wake func(t *Turn)

	queue      *Queue
	prev, next *Waiter
	on         bool
}

// waiters are who waits, oldest first.
type waiters struct {
	first, last *Waiter
	n           int
}

func (l *waiters) add(w *Waiter) {
	w.on, w.prev, w.next = true, l.last, nil
	if l.last != nil {
		l.last.next = w
	} else {
		l.first = w
	}
	l.last = w
	l.n++
}

func (l *waiters) remove(w *Waiter) {
	if w.prev != nil {
		w.prev.next = w.next
	} else {
		l.first = w.next
	}
	if w.next != nil {
		w.next.prev = w.prev
	} else {
		l.last = w.prev
	}
	w.on, w.prev, w.next = false, nil, nil
	l.n--
}

// Receive takes messages without a subscription: their leases belong to nobody
// and any session may settle them with their token. It returns at once what is
// in memory, appended to buf; if that is nothing, Await tells when to try
// again. With message groups by lease, messages of one group go together and
// in order.
func (q *Queue) Receive(t *Turn, o ReceiveOptions, buf []Delivery) []Delivery {
	taken, _ := q.Take(t, o, nil)
	for i := range taken {
		x := &taken[i]
		buf = append(buf, Delivery{
			Queue: q, Msg: x.Msg, Lease: x.Lease, Count: x.Count, Redelivered: x.Redelivered, Offset: -1,
		})
	}
	return buf
}

// Take is Receive with what a service needs to know of the messages. full says
// that the bound on unsettled messages kept some back.
func (q *Queue) Take(t *Turn, o ReceiveOptions, buf []Taken) (list []Taken, full bool) {
	q.mu.Lock()
	list, full = q.take(t, o, buf)
	q.leave(t)
	return list, full
}

// take is Take under the lock.
func (q *Queue) take(t *Turn, o ReceiveOptions, buf []Taken) (list []Taken, full bool) {
	q.lastUsed = t.Now
	q.lapseDue(t)
	q.batch++
	x := q.groups.index
	if q.groups.on {
		x = q.index(o.Fair)
	}
	start := len(buf)
	for range o.Max {
		if o.InFlight > 0 && q.ledger.n >= o.InFlight {
			full = q.ready > 0
			break
		}
		l, i := q.receivable(t, x)
		if l == nil {
			break
		}
		buf = append(buf, q.takeOne(t, l, i, &o))
	}
	if o.Deadline != 0 && o.Deadline <= t.Now {
		q.lapseNow(buf[start:])
		q.notify()
	}
	return buf, full
}

func (q *Queue) takeOne(t *Turn, l *lane, i int, o *ReceiveOptions) Taken {
	e := q.cut(l, i)
	q.stats.Got++
	if e.first == 0 {
		e.first = t.Now
	}
	q.lentOut(l.level, &e, q.batch)
	msg := e.msg
	q.slim(&e)
	lease, p := q.ledger.lend(e, l.level, nil, nil)
	p.since, p.nonce = t.Now, lease.nonce()
	q.leasedAt(p, lease)
	if o.Deadline > t.Now {
		q.setDeadline(p, lease, o.Deadline)
		if o.keep {
			q.keep(p)
		}
	}
	return Taken{
		Msg: msg, Lease: lease, Place: Place{uint16(l.level), e.seq, e.sub}, Count: e.count, First: e.first, Since: t.Now, Redelivered: e.redelivered,
	}
}

// lapseNow ends leases that were given for no time at all.
func (q *Queue) lapseNow(list []Taken) {
	for i := range list {
		if j, p := q.ledger.get(list[i].Lease); p != nil {
			gone := q.takeLease(j)
			q.comeBack(&gone, Failed, true)
			q.putBack() // one by one: groups go to the end in the order in which they were taken
		}
	}
}

func (q *Queue) receivable(t *Turn, x *groupIndex) (*lane, int) {
	if x != nil && !q.paused && !q.closed {
		return q.indexCandidate(t, x, q.batch)
	}
	return q.candidate(t)
}

// Await calls w.Wake once when the queue may have a message for a receiver or
// is gone, perhaps before it returns. A receiver that finds nothing waits
// again.
func (q *Queue) Await(t *Turn, w *Waiter) {
	q.mu.Lock()
	w.queue = q
	if q.closed {
		q.calls = append(q.calls, w.Wake)
	} else {
		q.waiters.add(w)
		if l, _ := q.receivable(t, q.groups.index); l != nil {
			q.notify()
		}
	}
	q.leave(t)
}

// Cancel ends the wait. It reports whether Wake will not be called.
func (w *Waiter) Cancel() bool {
	q := w.queue
	if q == nil {
		return false
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if !w.on {
		return false
	}
	q.waiters.remove(w)
	return true
}

// notify wakes the oldest waiter for every ready message, more or less: one
// that finds nothing waits again.
func (q *Queue) notify() {
	if q.waiters.n == 0 || q.ready == 0 || q.paused {
		return
	}
	if x := q.groups.index; x != nil && !x.some() && q.lanes[0].cold.count == 0 {
		return
	}
	for n := q.ready; n > 0 && q.waiters.first != nil; n-- {
		w := q.waiters.first
		q.waiters.remove(w)
		q.calls = append(q.calls, w.Wake)
	}
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

// Holds reports whether a lease is not settled and did not run out.
func (q *Queue) Holds(lease Lease) bool {
	_, ok := q.PlaceOf(lease)
	return ok
}

// Remove settles the message at a place as accepted, ready or leased by
// whomever, or in the store alone. It reports false if there is no such message.
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

// Token names a delivery of Take: by its lease, and by its place when that has
// run out. It is good in every life of the broker if the lease is in the store.
type Token struct {
	Lease Lease
	Place Place
	Since int64 // Taken.Since
}

// RemoveAll settles deliveries of Take as accepted. With strict a lease that
// ran out settles nothing (SQS FIFO). ok gets, for each, whether there was
// something to settle; it must be as long as list. done, which may be nil, is
// called when that is durable.
func (q *Queue) RemoveAll(t *Turn, list []Token, strict bool, ok []bool, done func(t *Turn)) {
	q.mu.Lock()
	q.lastUsed = t.Now
	if strict {
		q.lapseDue(t)
	}
	some := false
	for i, x := range list {
		ok[i] = false
		if j, p := q.held(x); p != nil {
			gone := q.takeLease(j)
			q.conclude(&gone, Accepted)
			ok[i] = true
		} else if !strict && q.remove(x.Place) {
			q.stats.Acknowledged++
			ok[i] = true
		}
		some = some || ok[i]
	}
	if some {
		q.serve(t)
		q.notify()
	}
	if done != nil {
		// One batch settles and answers. A repeated delete waits, too: the first
		// may not be durable yet.
		b := &removal{stored: stored{broker: q.vhost.broker, done: done}}
		b.Settles = append(b.one[:0], q.out.Settles...)
		b.Then = &b.stored
		q.out.Settles = q.out.Settles[:0]
		q.vhost.broker.unstored.Add(1)
		q.eng.store.Append(&b.Batch)
	}
	q.leave(t)
}

// removal is the batch of a RemoveAll and who waits for it. Most remove one
// message.
type removal struct {
	Batch
	stored
	one [1]StoreSettle
}

// remove is Remove under the lock.
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
	if i := q.leaseAt(p); i >= 0 {
		if q.ledger.slots[i].prepared != nil {
			return false // its transaction decides
		}
		gone := q.takeLease(i)
		q.forget(l.level, &gone.entry)
		return true
	}
	if p.Sub == 0 && l.cold.count > 0 && p.Seq >= l.cold.from && p.Seq <= l.last {
		return q.removeCold(l, p.Seq)
	}
	return false
}

// removeCold settles a message that only the store has. It stays in the counts
// until the lane is read up to there, which begins at once.
func (q *Queue) removeCold(l *lane, seq uint64) bool {
	if _, twice := l.removed[seq]; twice {
		return false
	}
	if l.removed == nil {
		l.removed = make(map[uint64]struct{})
	}
	l.removed[seq] = struct{}{}
	q.settleStored(l.id, seq)
	q.load(l)
	return true
}

// dropRemoved takes what was removed while it was cold out of what a read
// brought, and out of the counts.
func (q *Queue) dropRemoved(l *lane, msgs []Stored, next uint64) []Stored {
	if len(l.removed) == 0 {
		return msgs
	}
	kept := msgs[:0]
	for _, m := range msgs {
		if _, gone := l.removed[m.Seq]; gone {
			l.cold.count--
			l.cold.bytes -= int64(len(m.Msg.Body))
			q.readyBytes -= int64(len(m.Msg.Body))
			continue
		}
		kept = append(kept, m)
	}
	for seq := range l.removed {
		if seq < next {
			delete(l.removed, seq)
		}
	}
	return kept
}

// leasedAt remembers where the lease of a message stands that nobody owns.
func (q *Queue) leasedAt(p *slot, lease Lease) {
	if q.leased == nil {
		q.leased = make(map[place]int32)
	}
	q.leased[place{int(p.level), p.seq, p.entry.sub}] = int32(uint64(lease) & leaseIndexMask)
}

// leaseAt returns the slot of the message at a place, -1 if it is not leased.
func (q *Queue) leaseAt(p Place) int32 {
	if i, ok := q.leased[place{int(p.Level), p.Seq, p.Sub}]; ok {
		return i
	}
	if q.ledger.n == len(q.leased) {
		return -1
	}
	for i := range q.ledger.slots { // somebody else's: rare
		s := &q.ledger.slots[i]
		if s.gen != 0 && s.level == p.Level && s.seq == p.Seq && s.entry.sub == p.Sub {
			return int32(i)
		}
	}
	return -1
}

// Extension is the outcome of Extend.
type Extension uint8

// The outcomes.
const (
	Extended Extension = iota
	NoMessage
	StaleLease
)

// Extend moves the deadline of a delivery of Take, in the store as well: that is
// durable when an empty StoreFacts that follows is. A deadline that is not after
// now gives the message back. With strict, a lease that ran out stays so;
// otherwise a message that is ready again is leased once more.
func (q *Queue) Extend(t *Turn, x Token, deadline int64, strict bool) Extension {
	q.mu.Lock()
	r := q.extend(t, x, deadline, strict)
	q.leave(t)
	return r
}

func (q *Queue) extend(t *Turn, x Token, deadline int64, strict bool) Extension {
	if q.closed || q.stream != nil || int(x.Place.Level) >= len(q.lanes) {
		return NoMessage
	}
	if strict {
		q.lapseDue(t)
	}
	i, p := q.held(x)
	if p == nil && strict {
		return StaleLease
	}
	if p == nil {
		if i = q.leaseAt(x.Place); i >= 0 {
			p = &q.ledger.slots[i]
			if p.hold != nil || p.prepared != nil {
				return NoMessage // another protocol's
			}
		}
	}
	if p != nil {
		if deadline <= t.Now {
			q.stats.Lapsed++
			gone := q.takeLease(i)
			q.comeBack(&gone, Failed, true)
			q.putBack()
			q.serve(t)
			q.notify()
			return Extended
		}
		q.setDeadline(p, p.lease(i), deadline)
		q.keep(p)
		return Extended
	}
	l := &q.lanes[x.Place.Level]
	j := l.find(x.Place.Seq, x.Place.Sub)
	if j < 0 {
		return NoMessage
	}
	if deadline > t.Now {
		e := q.cut(l, j)
		q.lentOut(l.level, &e, 0)
		q.slim(&e)
		lease, p := q.ledger.lend(e, l.level, nil, nil)
		q.leasedAt(p, lease)
		q.setDeadline(p, lease, deadline)
		p.unseen, p.since, p.nonce = true, x.Since, x.Lease.nonce()
		q.keep(p)
	}
	return Extended
}

// lentOut tells the groups that an entry goes out.
func (q *Queue) lentOut(level int, e *entry, batch uint64) {
	if x := q.groups.index; x != nil {
		x.lent(e, batch)
	} else if q.groups.on {
		q.groups.lent(&q.cfg, e.msg, batch)
	}
}

// broughtBack undoes lentOut.
func (q *Queue) broughtBack(e *entry) {
	if x := q.groups.index; x != nil {
		x.returned(e)
	} else if q.groups.on {
		q.groups.returned(e.msg)
	}
}

// Clear drops everything: ready, delayed and leased messages, and the ids that
// deduplication remembers.
func (q *Queue) Clear(t *Turn, done func(t *Turn)) {
	q.mu.Lock()
	if q.stream == nil && !q.closed {
		for i := range q.lanes {
			q.purgeLane(&q.lanes[i])
		}
		for i := range q.ledger.slots {
			if q.ledger.slots[i].gen != 0 {
				gone := q.takeLease(int32(i))
				q.forget(int(gone.level), &gone.entry)
			}
		}
		q.clearDelayed()
		q.forgetAllIDs()
		if q.groups.index != nil {
			q.groups.index.emptied()
		}
		q.serve(t)
	}
	q.leave(t)
	if done != nil {
		q.vhost.broker.StoreFacts(nil, done)
	}
}

// clearDelayed drops the messages that are not due.
func (q *Queue) clearDelayed() {
	d := &q.delay
	for d.heap.len() > 0 {
		x := d.heap.pop()
		q.memory -= int64(x.memory())
	}
	if q.durable && d.last > 0 {
		q.out.Trims = append(q.out.Trims, StoreTrim{Lane: d.id, Before: d.last + 1})
	}
	last := d.last
	d.clear()
	d.last, d.floor = last, last+1
}

// Has reports whether the message at a place is in the queue, ready or leased.
// It says no of what only the store has.
func (q *Queue) Has(p Place) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed || q.stream != nil || int(p.Level) >= len(q.lanes) {
		return false
	}
	l := &q.lanes[p.Level]
	return l.find(p.Seq, p.Sub) >= 0 || q.leaseAt(p) >= 0
}

// Nudge wakes who waits, if there is something: a receiver that was woken and
// did not take anything calls it.
func (q *Queue) Nudge(t *Turn) {
	q.mu.Lock()
	q.notify()
	q.leave(t)
}
