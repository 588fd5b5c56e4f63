package broker

import (
	"cmp"
	"math"
	"slices"
	"strings"
)

// Unsettled messages that the store has need not be in memory, too: whoever
// reads and never settles would fill it. When there is no room, the ledger
// keeps the place and what settling needs, and the message is read back if it
// is wanted once more.

// fillGap is how far apart, in sequence numbers, thin entries may be to be
// read back together.
const fillGap = 16

// slim lets go of the message of an entry that is being delivered if the store
// has it and memory has no room. On streams nothing but credit comes of
// settling: their messages are never wanted again.
func (q *Queue) slim(e *entry) {
	if !e.stored() || q.stream == nil && q.roomy() || len(e.msg.Body) > math.MaxUint32 {
		return
	}
	q.memory -= int64(e.msg.Size())
	q.thin++
	e.size, e.timed = uint32(len(e.msg.Body)), e.msg.TTL >= 0
	group := groupOf(e.msg)
	e.msg, e.thin = nil, true
	if group != "" && q.stream == nil {
		e.msg = &Message{Notes: &Notes{GroupID: strings.Clone(group)}}
	}
}

// fill reads back the messages of the thin entries from the j-th hot one on,
// as far as they are close together.
func (q *Queue) fill(l *lane, j int) {
	if l.reading || l.retry != 0 || q.closed {
		return
	}
	l.reading = true
	from := l.hot.at(j).seq
	to, bytes := from, int64(0)
	for n := 0; j < l.hot.len() && n < loadCount && bytes < int64(q.eng.load); j, n = j+1, n+1 {
		e := l.hot.at(j)
		if e.seq-to > fillGap {
			break
		}
		if e.thin {
			to = e.seq
			bytes += e.body()
		}
	}
	epoch := l.epoch
	q.reads = append(q.reads, &ReadRequest{
		Lane: l.id, From: from, To: to, Max: loadCount, MaxBytes: q.eng.load,
		Then: func(t *Turn, msgs []Stored, next uint64, err error) {
			q.filled(t, l, epoch, from, msgs, min(next, to+1), err)
		},
	})
}

// filled gives thin entries in [from, next) their messages. Those that the
// store cannot read leave the queue and stay in the store, as cold ones do.
func (q *Queue) filled(t *Turn, l *lane, epoch uint32, from uint64, msgs []Stored, next uint64, err error) {
	q.mu.Lock()
	if q.closed || l.epoch != epoch {
		q.mu.Unlock()
		return
	}
	l.reading = false
	if err != nil {
		q.readFailed(t, l.id, from, next, err)
	}
	if next <= from {
		l.retry = t.Now + loadRetry
		q.schedule(l.retry)
		q.leave(t)
		return
	}
	for i := range msgs {
		if j := l.find(msgs[i].Seq, 0); j >= 0 && l.hot.at(j).thin {
			e := l.hot.at(j)
			before := e.memory()
			e.msg, e.thin = msgs[i].Msg, false
			q.thin--
			l.bytes += e.memory() - before
			q.memory += int64(e.memory() - before)
		}
	}
	for j := l.search(entry{seq: from}); j < l.hot.len() && l.hot.at(j).seq < next; j++ {
		if e := l.hot.at(j); e.thin {
			gone := *e
			e.msg, e.thin = nil, false
			l.holes++
			l.bytes -= gone.memory()
			q.unready(&gone)
			q.release(&gone)
		}
	}
	q.serve(t)
	q.trim(t)
	q.notify()
	q.leave(t)
}

// exhume returns the corpses that have their message, and sees to it that the
// others are read back and dead-lettered. It is called without any lock.
func (q *Queue) exhume(cfg *QueueConfig, dead []corpse) []corpse {
	n := 0
	for i := range dead {
		if dead[i].thin {
			n++
		}
	}
	if n == 0 {
		return dead
	}
	thin, rest := make([]corpse, 0, n), make([]corpse, 0, len(dead)-n)
	for _, c := range dead {
		if c.thin {
			thin = append(thin, c)
		} else {
			rest = append(rest, c)
		}
	}
	slices.SortFunc(thin, func(a, b corpse) int { return cmp.Or(a.level-b.level, compareEntries(a.entry, b.entry)) })
	q.exhumeNext(*cfg, thin)
	return rest
}

// exhumeNext reads back the first corpses that are close together; the others
// follow. They are sorted by place.
func (q *Queue) exhumeNext(cfg QueueConfig, thin []corpse) {
	n, first := 1, &thin[0]
	for n < len(thin) && n < loadCount && thin[n].level == first.level && thin[n].seq-thin[n-1].seq <= fillGap {
		n++
	}
	from, to := first.seq, thin[n-1].seq
	q.eng.store.Read(&ReadRequest{
		Lane: q.base + LaneID(first.level), From: from, To: to, Max: loadCount, MaxBytes: q.eng.load,
		Then: func(t *Turn, msgs []Stored, next uint64, err error) {
			next = min(next, to+1)
			if q.ended.Load() {
				return
			}
			if err != nil {
				q.mu.Lock()
				q.readFailed(t, q.base+LaneID(thin[0].level), from, next, err)
				q.leave(t)
			}
			if next <= from {
				q.strand(t, thin)
				return
			}
			done := 0
			for done < n && thin[done].seq < next {
				done++
			}
			found := matched(thin[:done], msgs)
			if done < len(thin) {
				q.exhumeNext(cfg, thin[done:])
			}
			q.deadLetter(t, &cfg, found)
		},
	})
}

// matched gives corpses their messages, both in order, and returns those that
// got one.
func matched(thin []corpse, msgs []Stored) []corpse {
	found := thin[:0]
	for _, c := range thin {
		for len(msgs) > 0 && msgs[0].Seq < c.seq {
			msgs = msgs[1:]
		}
		if len(msgs) > 0 && msgs[0].Seq == c.seq {
			c.msg, c.thin = msgs[0].Msg, false
			found = append(found, c)
		}
	}
	return found
}

// strand keeps corpses that could not be read back until the next try.
func (q *Queue) strand(t *Turn, thin []corpse) {
	q.mu.Lock()
	if !q.closed {
		q.stranded = append(q.stranded, thin...)
		q.retryDead = t.Now + loadRetry
		q.schedule(q.retryDead)
	}
	q.leave(t)
}

func (q *Queue) tickStranded(t *Turn) {
	if q.retryDead != 0 && q.retryDead <= t.Now {
		q.layOut(q.stranded)
		q.stranded, q.retryDead = nil, 0
	}
}
