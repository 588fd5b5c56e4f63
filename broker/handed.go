package broker

import "encoding/json"

// Which stored messages were handed out is not written down as it happens: it
// would cost a fact per delivery. Instead a clean stop writes, per queue, how
// far deliveries had come ([Broker.Retire]). A broker that recovers without
// that, after a crash or a takeover, flags every message it finds: it may have
// been delivered before, and a flag too many is harmless where one too few is
// not. RabbitMQ's classic queues do the same.

const (
	kindHanded  = "handed"  // per queue: []uint64, a mark per lane
	kindRetired = "retired" // the marks are complete
)

// Retire is the last thing before the store is closed, when all sessions are
// closed: it stores what a clean stop knows. The facts are in the store's
// order when it returns.
func (b *Broker) Retire(t *Turn) {
	c := change{broker: b, turn: t}
	for _, v := range b.vhosts.all() {
		for _, q := range v.queues.all() {
			if marks := q.handed(); marks != nil {
				c.put(kindHanded, vhostKey(v.name, q.name), mustJSON(marks))
			}
		}
	}
	c.put(kindRetired, "", nil)
	c.store(nil)
}

// handed returns, per lane, the sequence number below which messages may have
// been delivered; nil if none was.
func (q *Queue) handed() []uint64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed || q.stream != nil {
		return nil
	}
	marks := make([]uint64, len(q.lanes))
	some := false
	mark := func(level int, e *entry) {
		if e.stored() && e.seq >= marks[level] {
			marks[level], some = e.seq+1, true
		}
	}
	for i := range q.lanes {
		l := &q.lanes[i]
		if l.cold.count > 0 && l.handed > l.cold.from {
			marks[i], some = l.handed, true // an earlier life's, and not looked at in this one
		}
		for j := range l.hot.len() {
			if e := l.hot.at(j); e.redelivered && !e.hole() {
				mark(i, e)
			}
		}
	}
	for i := range q.ledger.slots {
		if s := &q.ledger.slots[i]; s.gen != 0 && !s.kept { // the lease tells
			mark(int(s.level), &s.entry)
		}
	}
	if !some {
		return nil
	}
	return marks
}

// retirement is what a recovery found of the last clean stop. Its facts are
// used up: they go with the first batch, before anything can be delivered.
func (r *recovery) retirement() error {
	r.retired = len(r.byKind[kindRetired]) > 0
	r.handed = make(map[string][]uint64)
	for _, kind := range []string{kindRetired, kindHanded} {
		for _, d := range r.byKind[kind] {
			r.orphans.remove(kind, d.Key)
		}
	}
	if !r.retired {
		return nil
	}
	for _, d := range r.byKind[kindHanded] {
		var marks []uint64
		if err := json.Unmarshal(d.Value, &marks); err != nil {
			return err
		}
		r.handed[d.Key] = marks
	}
	return nil
}

// marks tells how far a queue's deliveries may have come: the mark of a lane
// whose newest message is last.
func (r *recovery) marks(key string) func(level int, last uint64) uint64 {
	marks := r.handed[key]
	return func(level int, last uint64) uint64 {
		switch {
		case !r.retired:
			return last + 1
		case level < len(marks):
			return marks[level]
		}
		return 0
	}
}
