package broker

// planLimit is the largest number of messages the core itself puts into one
// plan.
const planLimit = 256

// plan is a set of messages on their way into queues, together with what the
// store must remember in the same batch. Stored messages become visible at
// commit, and the transient ones of the plan with them, in order.
type plan struct {
	engine  *engine
	batch   Batch
	targets []StoreTarget
	starts  []int32 // of each of batch.Publishes in targets
	puts    []put
	message *Message // that the last of batch.Publishes is about; nil: a new one begins

	session   *Session // who published; nil for the core
	receipt   uint64
	refused   bool
	duplicate bool // a queue has a message already; it may not be durable yet
	origin    string
	done      func(t *Turn, err error)
}

// put is one message for one queue.
type put struct {
	queue    *Queue
	msg      *Message
	level    int
	expiry   int64
	at       int64  // Unix ms before which it must not be seen; 0: now
	moved    uint64 // its sequence number in the delay lane it comes from
	target   int32  // in plan.targets; valid if stored
	stored   bool
	reserved bool
}

func (e *engine) newPlan(s *Session) *plan {
	p := e.plans.Get().(*plan)
	p.engine, p.session = e, s
	return p
}

// add plans m for q as x says.
func (p *plan) add(m *Message, q *Queue, x put) {
	x.msg, x.queue = m, q
	if q.schedules && x.at == 0 {
		x.at = 1 // due at once
	}
	if x.stored {
		id, expiry := q.base+LaneID(x.level), x.expiry
		if x.at != 0 {
			id, expiry = q.delay.id, x.at
		}
		x.target = int32(len(p.targets))
		p.targets = append(p.targets, StoreTarget{Lane: id, Expiry: expiry})
		if p.message != m {
			p.message = m
			p.starts = append(p.starts, x.target)
			p.batch.Publishes = append(p.batch.Publishes, StorePublish{Msg: m})
		}
	}
	p.puts = append(p.puts, x)
}

// offer plans a publish of m to q, asking q's overflow policy and deduplication
// first. It reports whether q refused. See admit for published.
func (p *plan) offer(t *Turn, m *Message, q *Queue, at int64, published bool) (refused bool) {
	if formed := q.formed(t, m); formed != m {
		if m = formed; m == nil {
			return false
		}
		if m.Notes != nil && m.Notes.DeliverAt > max(at, t.Now) {
			at = m.Notes.DeliverAt
		}
	}
	x := put{stored: q.stores(m), level: q.level(m), at: at}
	if q.gated.Load() {
		q.mu.Lock()
		a := q.admit(t, m, published, true)
		q.leave(t)
		if a.duplicate {
			p.duplicate, p.origin = true, a.origin
		}
		if a.refused || a.duplicate {
			return a.refused
		}
		if a.fact.Kind != "" {
			p.batch.Definitions = append(p.batch.Definitions, a.fact)
		}
		x.reserved = true
	}
	x.expiry = q.expiry(t, m)
	p.add(m, q, x)
	return false
}

// run gives the plan to the store, or carries it out at once if nothing needs
// the store and the order is not at stake.
func (p *plan) run(t *Turn, ordered bool) {
	b := &p.batch
	if !ordered && len(b.Publishes)+len(b.Settles)+len(b.Trims)+len(b.Definitions) == 0 {
		p.Committed(t)
		return
	}
	// Targets are cut out of their array only now that it does not move any
	// more.
	end := len(p.targets)
	for i := len(b.Publishes) - 1; i >= 0; i-- {
		start := int(p.starts[i])
		b.Publishes[i].Targets = p.targets[start:end:end]
		end = start
	}
	b.Then = p
	p.engine.store.Append(b)
}

// Committed implements Committer: the messages become visible.
func (p *plan) Committed(t *Turn) {
	for i := range p.puts {
		x := &p.puts[i]
		q := x.queue
		q.mu.Lock()
		if x.reserved {
			q.unreserve(x.msg)
		}
		if x.moved != 0 {
			q.delay.left(x.moved)
		}
		seq := uint64(0)
		if x.stored {
			seq = p.targets[x.target].Seq
		}
		switch {
		case x.stored && seq == 0: // the lane went while the batch was on its way
		case x.at > t.Now:
			q.postpone(t, x.msg, seq, x.at)
		case x.at != 0 && (x.stored || q.schedules):
			q.postpone(t, x.msg, seq, x.at) // it is in the delay lane and has to move
		default:
			q.enqueue(t, x.level, x.msg, seq, x.expiry)
		}
		q.leave(t)
	}
	s, receipt, refused, done := p.session, p.receipt, p.refused, p.done
	p.recycle()
	if s != nil {
		s.inflight.Add(-1)
		if receipt != 0 && !s.closed.Load() {
			s.sink.Receipt(t, receipt, !refused)
		}
	}
	if done != nil {
		done(t, nil)
	}
}

func (p *plan) recycle() {
	e := p.engine
	if cap(p.puts) > planLimit {
		return
	}
	clear(p.puts)
	clear(p.batch.Publishes)
	clear(p.batch.Settles)
	clear(p.batch.Definitions)
	*p = plan{
		batch: Batch{
			Publishes: p.batch.Publishes[:0], Settles: p.batch.Settles[:0], Definitions: p.batch.Definitions[:0],
		},
		targets: p.targets[:0], starts: p.starts[:0], puts: p.puts[:0],
	}
	e.plans.Put(p)
}
