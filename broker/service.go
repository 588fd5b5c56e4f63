package broker

// What services on top of the core need that protocols do not: settings of
// queues that change at run time, and rights without a subscription.

// ConfigureQueue has set change the configuration that q's arguments ask for,
// before policies, now and whenever it is computed; nil undoes it. set runs with
// locks held. The core does not store it: the service does and calls again after
// a restart.
func (v *VHost) ConfigureQueue(t *Turn, q *Queue, set func(*QueueConfig)) {
	v.mu.Lock()
	m := v.meta[q]
	if m == nil {
		v.mu.Unlock()
		return
	}
	m.service = set
	cfg := m.effective()
	v.mu.Unlock()
	q.configure(t, cfg)
}

// Queues returns the queues there are, in no order.
func (v *VHost) Queues() []*Queue { return v.queues.all() }

// ID is unique among all queues there ever were.
func (q *Queue) ID() uint64 { return uint64(q.base) }

// Owned reports whether the queue belongs to one connection.
func (q *Queue) Owned() bool { return q.owner != nil }

// Durable reports whether the queue survives a restart.
func (q *Queue) Durable() bool { return q.durable }

// Closed reports whether the queue was deleted.
func (q *Queue) Closed() bool { return q.ended.Load() }

// Config returns the effective configuration.
func (q *Queue) Config() QueueConfig { return q.config() }

// Args are the arguments the queue was declared with.
func (q *Queue) Args() Table { return q.args }

// Counts returns how many messages are ready, leased and delayed.
func (q *Queue) Counts() (ready, leased, delayed int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.ready, q.ledger.n, q.delay.len()
}

// Oldest is when the oldest ready message was received, Unix ms; 0 if none is in
// memory.
func (q *Queue) Oldest() (at int64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.stream != nil {
		return 0
	}
	for i := range q.lanes {
		if e := q.lanes[i].front(); e != nil && !e.thin && (at == 0 || e.msg.Received < at) {
			at = e.msg.Received
		}
	}
	return at
}

// MayConfigure checks the right to change a queue.
func (s *Session) MayConfigure(queue string) error { return s.allow(opConfigure, queue, false) }

// MayRead checks the right to receive from a queue.
func (s *Session) MayRead(queue string) error { return s.allow(opRead, queue, false) }

// MayWrite checks the right to publish to an exchange, "" being the default
// one.
func (s *Session) MayWrite(exchange string) error { return s.allow(opWrite, exchange, true) }

// Move takes up to n ready messages out of q and publishes what change makes of
// each to another queue; a nil target leaves it where it is for now, and ends
// the move. A message is in one of the two queues at every time, whatever
// happens. done is called at commit with how many were moved and whether q may
// have more in memory or in the store.
func (q *Queue) Move(t *Turn, n int, change func(*Message) (*Message, *Queue), done func(t *Turn, moved int, more bool)) {
	q.mu.Lock()
	p := q.eng.newPlan(nil)
	moved, blocked := 0, false
	for ; moved < n && !q.closed; moved++ {
		l, e := q.head(t)
		if e == nil || e.thin {
			if e != nil {
				q.fill(l, 0)
			}
			break
		}
		m, to := change(e.msg)
		if to == nil {
			blocked = true
			break
		}
		gone := q.pop(l)
		q.release(&gone)
		if gone.stored() {
			p.batch.Settles = append(p.batch.Settles, StoreSettle{l.id, gone.seq, 1})
		}
		p.add(m, to, put{stored: to.stores(m), level: to.level(m), expiry: to.expiry(t, m)})
	}
	q.stats.Acknowledged += uint64(moved)
	more := !blocked && !q.closed && q.ready > 0
	q.leave(t)
	if moved == 0 {
		p.recycle()
		done(t, 0, more)
		return
	}
	p.done = func(t *Turn, _ error) { done(t, moved, more) }
	p.run(t, true)
}
