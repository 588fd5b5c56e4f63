package broker

// scan is a walk over the messages of a queue in the order of their delivery,
// for queues where others than the first may be next: those whose consumers have
// filters, share by hash, or are bound to groups. It buries what must not be
// delivered any more. Under the queue's lock; nothing else may take entries out
// while it lasts.
type scan struct {
	queue *Queue
	turn  *Turn
	limit int // messages of a lane that are looked at, and read ahead
	bytes int // and the memory they may take
	marks bool

	// Where the entry stands that next returned.
	lane  *lane // nil before the first
	level int
	i     int // among the hot ones

	n      int  // entries of the lane that next returned
	wanted bool // the caller's note that somebody wants one of them
}

// scan begins a walk. With marks it passes over what no subscription wants.
func (q *Queue) scan(t *Turn, limit, bytes int, marks bool) scan {
	return scan{queue: q, turn: t, limit: limit, bytes: bytes, marks: marks, level: len(q.lanes)}
}

// next returns the next entry, which may be thin, valid until the lane changes;
// nil at the end, or if what is next has to be loaded first: then the load is on
// its way. Behind a lane of which as much is in memory as may be, the walk goes
// on with lower priorities.
func (s *scan) next() *entry {
	for {
		if l := s.lane; l != nil {
			for s.i++; s.i < l.hot.len() && s.n < s.limit; s.i++ {
				e := l.hot.at(s.i)
				if e.hole() {
					continue
				}
				reason := s.queue.unfit(s.turn, e)
				if reason == 0 {
					s.n++
					return e
				}
				s.bury(e, reason)
			}
			if l.cold.count > 0 && l.hot.len()-l.holes < s.limit && l.bytes < s.bytes {
				s.queue.load(l)
				return nil
			}
		}
		if s.level == 0 {
			return nil
		}
		s.level--
		s.lane = &s.queue.lanes[s.level]
		s.i, s.n, s.wanted = -1, 0, false
		if s.marks {
			s.i = s.queue.unmarked(s.lane) - 1
			s.jump()
		}
	}
}

// jump passes over what no listed subscription wants, though another may.
func (s *scan) jump() {
	if i := s.queue.passedBy(s.lane); i > s.i+1 {
		s.i, s.wanted = i-1, true
	}
}

// bury ends the i-th entry and steps back, so that the next is the one behind it.
func (s *scan) bury(e *entry, reason DeathReason) {
	place := entry{seq: e.seq, sub: e.sub}
	s.queue.bury(s.level, s.queue.cut(s.lane, s.i), reason)
	s.i = s.lane.search(place) - 1 // indices may have moved; a hole that is left is passed over
}

// deliver hands the entry that next returned to a consumer.
func (s *scan) deliver(sub *Subscription, shared bool) {
	s.queue.deliver(s.turn, s.queue.cut(s.lane, s.i), s.level, sub, shared)
}

// fill has the entry that next returned read back from the store.
func (s *scan) fill() { s.queue.fill(s.lane, s.i) }
