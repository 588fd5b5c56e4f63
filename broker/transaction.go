package broker

// transaction collects the publishes and settlements of a session until Commit.
type transaction struct {
	publishes []txPublish
	settles   []txSettle
	pictures  []*Message // images of topics, once it is committed
	counted   int        // bytes accounted for with TakeIncomplete
}

// txOverhead is what a publish in a transaction takes besides its bytes.
const txOverhead = 256

// count accounts for one more message that waits for the commit, routable or
// not: what clients keep open has one bound, whole messages or not. The error
// is Exhausted.
func (x *transaction) count(b *Broker, m *Message) error {
	n := m.Size() + txOverhead
	if !b.TakeIncomplete(n) {
		return errf(Exhausted, "open transactions and incomplete messages of all connections take too much memory")
	}
	x.counted += n
	return nil
}

// endTransaction takes the open transaction, whose messages are accounted for
// elsewhere from now on, or nowhere, and puts next in its place.
func (s *Session) endTransaction(next *transaction) *transaction {
	x := s.tx
	if x != nil {
		s.broker.ReturnIncomplete(x.counted)
		x.counted = 0
	}
	s.tx = next
	return x
}

type txPublish struct {
	msg    *Message
	queues []*Queue
	at     int64
}

type txSettle struct {
	queue   *Queue
	leases  []Lease
	outcome Outcome
}

func (x *transaction) publish(m *Message, queues []*Queue, at int64) {
	x.publishes = append(x.publishes, txPublish{m, append([]*Queue(nil), queues...), at})
}

func (x *transaction) settle(q *Queue, leases []Lease, o Outcome) {
	x.settles = append(x.settles, txSettle{q, append([]Lease(nil), leases...), o})
}

// Begin puts the session into transaction mode: Publish and Settle are kept
// back until Commit.
func (s *Session) Begin() {
	if s.tx == nil {
		s.tx = new(transaction)
	}
}

// Commit carries out what was kept back, all of it or, if the broker dies
// first, nothing, and stays in transaction mode. done runs after the commit on
// a goroutine of the store.
func (s *Session) Commit(t *Turn, done func(t *Turn, err error)) {
	x := new(transaction)
	if s.tx != nil {
		x = s.endTransaction(new(transaction))
	}
	s.vhost.images.keepAll(x.pictures)
	p := s.broker.engine.newPlan(s)
	for _, pub := range x.publishes {
		p.message = nil // the same one twice is two publishes
		for _, q := range pub.queues {
			if p.offer(t, pub.msg, q, pub.at, true) {
				p.refused = true
			}
		}
	}
	// What is accepted or rejected goes into the same batch, dead letters
	// included. What comes back concerns memory only and follows the commit.
	thin := make([][]corpse, len(x.settles))
	for i, st := range x.settles {
		if st.outcome == Accepted || st.outcome == Rejected {
			thin[i] = st.queue.settleInto(t, s, p, st.leases, st.outcome)
		}
	}
	p.done = func(t *Turn, err error) {
		for i, st := range x.settles {
			q := st.queue
			q.mu.Lock()
			q.layOut(thin[i])
			if st.outcome != Accepted && st.outcome != Rejected {
				q.settle(t, s, st.leases, st.outcome)
			}
			q.leave(t)
		}
		done(t, err)
	}
	s.inflight.Add(1)
	p.run(t, true)
}

// settleInto ends leases like settle, with what the store must know going
// into p.
//
// Dead letters whose message has to be read back first cannot be in the batch:
// they are returned and die after the commit, each in a batch of its own.
func (q *Queue) settleInto(t *Turn, s *Session, p *plan, leases []Lease, o Outcome) (thin []corpse) {
	q.mu.Lock()
	cfg := q.cfg
	var dead []corpse
	for _, lease := range leases {
		i, sl := q.ledger.get(lease)
		if sl == nil || sl.hold != nil && sl.hold.session != s || sl.prepared != nil {
			continue
		}
		gone := q.takeLease(i)
		q.release(&gone.entry)
		c := corpse{entry: gone.entry, level: int(gone.level), reason: DeathRejected}
		switch {
		case o == Accepted || q.stream != nil:
			q.stats.Acknowledged++
		case cfg.deadLetters(&c):
			q.stats.died(DeathRejected)
			if c.thin {
				thin = append(thin, c)
			} else {
				dead = append(dead, c)
			}
			continue
		default:
			q.stats.died(DeathRejected)
			q.dropped(&c.entry, DeathRejected)
		}
		if gone.stored() && q.stream == nil {
			p.batch.Settles = append(p.batch.Settles, StoreSettle{q.base + LaneID(gone.level), gone.seq, 1})
		}
	}
	q.serve(t)
	q.leave(t)
	if len(dead) == 0 {
		return thin
	}
	rt := q.eng.routes.Get().(*routing)
	for i := range dead {
		q.deadLetterOne(t, &cfg, p, rt, &dead[i])
	}
	q.eng.routes.Put(rt)
	return thin
}

// Rollback forgets what was kept back. Deliveries settled in the transaction
// are unsettled again; they are not requeued.
func (s *Session) Rollback(*Turn) {
	if s.tx != nil {
		s.endTransaction(new(transaction))
	}
}
