package broker

import (
	"cmp"
	"slices"
)

// entry is one message in one queue. (seq, sub) is its place in the lane:
// requeued entries go back to it.
//
// A thin entry is one whose message only the store has: it was delivered when
// memory had no room. msg is nil then, or holds nothing but the group.
type entry struct {
	msg    *Message // nil and not thin: a hole, left by an entry taken from the middle
	seq    uint64   // sequence number in the store; of a transient entry, that of the stored one it came after
	sub    uint64   // 0 for stored entries; orders the transient ones behind seq
	expiry int64    // Unix ms; 0: never
	count  uint32   // earlier failed deliveries
	size   uint32   // thin: bytes of the body

	first int64 // Unix ms at which Take handed it out for the first time; 0: never

	redelivered bool
	thin        bool
	timed       bool // thin: the message has a TTL of its own
}

func (e *entry) stored() bool { return e.sub == 0 }

func (e *entry) past() Past { return Past{e.count, e.redelivered} }

// memory is what the entry costs while it is held.
func (e *entry) memory() int {
	if e.thin {
		return entryBytes
	}
	return e.msg.Size() + entryBytes
}

// body is the number of bytes of the message's body.
func (e *entry) body() int64 {
	if e.thin {
		return int64(e.size)
	}
	return int64(len(e.msg.Body))
}

// ownTTL reports whether the message has a TTL of its own.
func (e *entry) ownTTL() bool {
	if e.thin {
		return e.timed
	}
	return e.msg.TTL >= 0
}

func (e *entry) hole() bool { return e.msg == nil && !e.thin }

func compareEntries(a, b entry) int {
	if c := cmp.Compare(a.seq, b.seq); c != 0 {
		return c
	}
	return cmp.Compare(a.sub, b.sub)
}

// lane is one sequence of ready messages: oldest first the hot ones, which are
// in memory, then the cold ones, which only the store holds, between and
// behind which the late ones belong.
//
// Invariants: every hot entry is older than cold.from; if nothing is cold,
// nothing is late; no entry at or above cold.from was ever delivered.
type lane struct {
	id    LaneID
	level int
	last  uint64 // sequence number of the newest stored message that was enqueued

	// Stored messages below it may have been delivered before the broker was
	// started.
	handed uint64

	sub   uint64 // last number given to a transient entry
	hot   entries
	holes int // of hot
	late  entries
	bytes int     // memory of hot
	back  []entry // on their way to restore; empty when the queue's lock is free

	cold struct {
		from  uint64 // first sequence number that is not in memory
		count int
		bytes int64 // of bodies
		timed bool  // some have an expiry
		sweep int64 // Unix ms of the next search for expired ones; 0: none
		// Sequence number at which a search that is not at its end goes on.
		resume uint64
	}
	reading bool                // a read or a sweep is under way
	retry   int64               // Unix ms at which a read that failed is tried again; 0: none did
	removed map[uint64]struct{} // cold messages that were settled
	epoch   uint32              // changes when what a read brings is no longer wanted

	unwanted filterMark
	returns  uint64 // how often entries came back to old places

	// withheld are stored messages that are leased although they were never in
	// memory: they belong to transactions that were prepared before a restart, or
	// were received before it and must not be seen yet.
	// They are not counted as cold, and what a read brings of them is passed
	// over. Those below cold.from are forgotten.
	withheld map[uint64]struct{}

	// returned are those of them that came back to the cold messages, with what
	// the store may not know yet when it reads them: count, first, redelivered.
	returned map[uint64]entry
}

// dropWithheld takes the withheld messages out of what a read brought.
func (l *lane) dropWithheld(msgs []Stored) []Stored {
	if len(l.withheld) == 0 {
		return msgs
	}
	kept := make([]Stored, 0, len(msgs))
	for i := range msgs {
		if _, is := l.withheld[msgs[i].Seq]; !is {
			kept = append(kept, msgs[i])
		}
	}
	return kept
}

// passWithheld forgets the withheld messages that no read can bring any more.
func (l *lane) passWithheld() {
	for seq := range l.withheld {
		if seq < l.cold.from {
			delete(l.withheld, seq)
		}
	}
	for seq := range l.returned {
		if seq < l.cold.from {
			delete(l.returned, seq)
		}
	}
}

// ready is the number of messages in the lane.
func (l *lane) ready() int { return l.hot.len() - l.holes + l.late.len() + l.cold.count }

// front returns the oldest hot entry, nil if there is none. It is valid until
// the lane changes.
func (l *lane) front() *entry {
	for l.hot.len() > 0 {
		e := l.hot.at(0)
		if !e.hole() {
			return e
		}
		l.hot.popFront()
		l.holes--
	}
	return nil
}

// pop removes what front returned.
func (l *lane) pop() entry {
	e := l.hot.popFront()
	l.bytes -= e.memory()
	return e
}

// cut removes the i-th hot entry, which must not be a hole.
func (l *lane) cut(i int) entry {
	if i == 0 {
		return l.pop()
	}
	e := *l.hot.at(i)
	h := l.hot.at(i)
	h.msg, h.thin = nil, false
	l.holes++
	l.bytes -= e.memory()
	if l.holes > 64 && l.holes > l.hot.len()/2 {
		l.compact()
	}
	return e
}

func (l *lane) compact() {
	var kept entries
	for i := range l.hot.len() {
		if e := l.hot.at(i); !e.hole() {
			kept.pushBack(*e)
		}
	}
	l.hot, l.holes = kept, 0
}

// push adds an entry that is newer than all others.
func (l *lane) push(e entry) {
	if l.cold.count > 0 {
		l.late.pushBack(e)
		return
	}
	l.hot.pushBack(e)
	l.bytes += e.memory()
}

// chill counts a stored entry that is newer than all others without keeping it.
func (l *lane) chill(seq uint64, body int, expiry int64) {
	if l.cold.count == 0 {
		l.cold.from = seq
	}
	l.cold.count++
	l.cold.bytes += int64(body)
	if expiry != 0 {
		l.cold.timed = true
	}
}

// find returns the index of a hot entry, -1 if it is not there.
func (l *lane) find(seq, sub uint64) int {
	i := l.search(entry{seq: seq, sub: sub})
	if i < l.hot.len() {
		if e := l.hot.at(i); e.seq == seq && e.sub == sub && !e.hole() {
			return i
		}
	}
	return -1
}

// search returns the index of the first hot entry that is not older than e.
func (l *lane) search(e entry) int {
	lo, hi := 0, l.hot.len()
	for lo < hi {
		mid := int(uint(lo+hi) >> 1)
		if compareEntries(*l.hot.at(mid), e) < 0 {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return lo
}

// restore puts entries back in their old places. back is sorted here.
func (l *lane) restore(back []entry) {
	l.unwanted = filterMark{}
	l.returns++
	slices.SortFunc(back, compareEntries)
	older := l.search(back[len(back)-1]) // hot entries to be merged with back
	merged := make([]entry, 0, older)
	for range older {
		if e := l.hot.popFront(); !e.hole() {
			merged = append(merged, e)
		} else {
			l.holes--
		}
	}
	i, j := len(merged)-1, len(back)-1
	for i >= 0 || j >= 0 {
		if j < 0 || i >= 0 && compareEntries(merged[i], back[j]) > 0 {
			l.hot.pushFront(merged[i])
			i--
			continue
		}
		l.hot.pushFront(back[j])
		l.bytes += back[j].memory()
		j--
	}
}

// loaded takes what a read from cold.from brought; next is where the following
// read begins. keep sees every entry that became hot.
func (l *lane) loaded(msgs []Stored, next uint64, keep func(e *entry)) {
	for i := range msgs {
		m := &msgs[i]
		l.mergeLate(m.Seq, keep)
		e := entry{msg: m.Msg, seq: m.Seq, expiry: m.Expiry, count: m.Count, redelivered: m.Count > 0 || m.Seq < l.handed}
		if r, ok := l.returned[m.Seq]; ok {
			e.count, e.first, e.redelivered = r.count, r.first, e.redelivered || r.redelivered
		}
		l.hot.pushBack(e)
		l.bytes += e.memory()
		l.cold.count--
		l.cold.bytes -= int64(len(m.Msg.Body))
		keep(&e)
	}
	l.cold.from = next
	l.mergeLate(next, keep)
	// What is behind next may all have expired and gone since.
	if next > l.last || l.cold.count <= 0 {
		l.thaw(keep)
	}
}

// mergeLate moves the late entries that belong before the stored message seq.
func (l *lane) mergeLate(seq uint64, keep func(e *entry)) {
	for l.late.len() > 0 && l.late.at(0).seq < seq {
		e := l.late.popFront()
		l.hot.pushBack(e)
		l.bytes += e.memory()
		keep(&e)
	}
}

// thaw ends the cold range: everything the lane has is in memory.
func (l *lane) thaw(keep func(e *entry)) {
	l.cold.count, l.cold.bytes, l.cold.timed, l.cold.sweep, l.cold.resume = 0, 0, false, 0, 0
	l.mergeLate(^uint64(0), keep)
}
