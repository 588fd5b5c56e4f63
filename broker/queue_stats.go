package broker

// QueueCounters count what happened in a queue since it was made or
// recovered.
type QueueCounters struct {
	Published    uint64
	Rejected     uint64 // by overflow policy
	Duplicates   uint64
	Delivered    uint64 // to consumers
	Got          uint64 // by Get and Receive
	Acknowledged uint64 // settled as accepted, or by being sent
	Redelivered  uint64
	Requeued     uint64
	Lapsed       uint64 // leases that ran out
	Expired      uint64 // dead-lettered or dropped, by reason
	OverLength   uint64
	Refused      uint64 // settled as rejected
	OverLimit    uint64 // delivery limit
	ReadErrors   uint64
}

func (c *QueueCounters) died(r DeathReason) {
	switch r {
	case DeathExpired:
		c.Expired++
	case DeathMaxLen:
		c.OverLength++
	case DeathRejected:
		c.Refused++
	case DeathDeliveryLimit:
		c.OverLimit++
	}
}

// QueueStats is a snapshot of a queue.
type QueueStats struct {
	QueueCounters
	Ready        int
	ReadyBytes   int64 // of bodies
	Unsettled    int
	Delayed      int
	Consumers    int
	Memory       int64 // bytes of messages in memory
	InMemory     int   // messages in memory: ready ones and unsettled ones
	Paused       bool
	LastUsed     int64 // Unix ms
	SingleActive string
}

// Stats returns a snapshot of the queue.
func (q *Queue) Stats() QueueStats {
	q.mu.Lock()
	defer q.mu.Unlock()
	s := QueueStats{
		QueueCounters: q.stats, Ready: q.ready, ReadyBytes: q.readyBytes, Unsettled: q.ledger.n,
		Delayed: q.delay.len(), Consumers: len(q.consumers.list), Memory: q.memory, Paused: q.paused,
		LastUsed: q.lastUsed, InMemory: q.ledger.n - q.thin,
	}
	for i := range q.lanes {
		l := &q.lanes[i]
		s.InMemory += l.hot.len() - l.holes + l.late.len()
	}
	if q.stream != nil {
		s.InMemory += q.stream.tail.len()
	}
	if q.consumers.single && q.consumers.active != nil {
		s.SingleActive = q.consumers.active.Tag
	}
	return s
}

// Subscriptions returns the consumers of the queue in order of arrival.
func (q *Queue) Subscriptions() []*Subscription {
	q.mu.Lock()
	defer q.mu.Unlock()
	return append([]*Subscription(nil), q.consumers.list...)
}

// Active reports whether sub is one that may get messages now: with a single
// active consumer all but one are not.
func (sub *Subscription) Active() bool {
	q := sub.Queue
	if q == nil {
		return true
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	return !sub.closed && (!q.consumers.single || q.consumers.active == sub)
}

// Unsettled is the number of deliveries to sub that are not settled.
func (sub *Subscription) Unsettled() int {
	q := sub.Queue
	if q == nil {
		return 0
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	return sub.unsettled
}
