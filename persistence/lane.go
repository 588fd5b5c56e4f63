package persistence

import (
	"slices"
	"sort"

	"github.com/hermodmq/hermod/broker"
)

// extent is a run of messages of one lane in one block of a segment. The block
// holds every message of [first, first+span) that was not settled when it was
// written. 32 bytes, pointer-free: this is what a backlog costs in memory.
type extent struct {
	first  uint64
	seg    uint32
	off    uint32
	size   uint32 // of the block in the file
	body   uint32 // bytes of the bodies
	timed  uint32 // lowest expiry in Unix seconds, rounded down, plus one; 0: none
	n      uint16 // messages
	spanM1 uint16 // sequence numbers covered, minus one
}

// extentSpanMax bounds how many sequence numbers an extent covers.
const extentSpanMax = 1 << 16

func (e *extent) end() uint64 { return e.first + uint64(e.spanM1) + 1 }

func timedSeconds(expiry int64) uint32 {
	if expiry == 0 {
		return 0
	}
	return uint32(min(max(expiry/1000, 0)+1, 1<<32-1))
}

// mayExpire tells whether e can hold a message that expires at or before t.
func (e *extent) mayExpire(t int64) bool {
	return e.timed != 0 && int64(e.timed-1)*1000 <= t
}

// lane is the state of one lane. Sequence numbers below head are settled, those
// from next on are not assigned. Extents, the frozen and the active ring follow
// each other in sequence order.
type lane struct {
	id   uint64
	head uint64
	next uint64
	settledSet
	count   uint64 // unsettled messages
	extents []extent
	mem     [2]ring
	counts  map[uint64]uint32            // how often messages came back; nil for most lanes
	leases  map[uint64]broker.StoreLease // that did not end; nil for most lanes

	listed      [2]bool // in the lanes of that memory table
	dirty       bool    // in table.dirty
	dropped     bool
	countsDirty bool
	leasesDirty bool
	spanRows    bool // the metadata may hold span rows
	countRow    bool // the metadata may hold a count row
	leaseRow    bool // the metadata may hold a lease row
}

// table is the state that the log's facts add up to, except definitions.
type table struct {
	lanes    map[uint64]*lane
	last     *lane // of the last lookup: batches often go to one lane
	nextLane uint64
	dropped  idSet

	mem      [2]*memtable // mem[gen&1] is active, the other one frozen or nil
	gen      int
	segments map[uint32]*segment

	dirty []*lane // changed since the last checkpoint
}

func newTable() *table {
	return &table{
		lanes: map[uint64]*lane{}, nextLane: 1, segments: map[uint32]*segment{},
		mem: [2]*memtable{{}, nil},
	}
}

func (t *table) active() *memtable { return t.mem[t.gen&1] }

func (t *table) lookup(id uint64) *lane {
	if t.last != nil && t.last.id == id {
		return t.last
	}
	l := t.lanes[id]
	if l != nil {
		t.last = l
	}
	return l
}

// lane returns the lane for a publish, making it if it is new; nil if it was
// dropped.
func (t *table) lane(id uint64) *lane {
	if l := t.lookup(id); l != nil {
		return l
	}
	if t.dropped.has(id) {
		return nil
	}
	l := &lane{id: id, head: 1, next: 1}
	t.lanes[id], t.last = l, l
	t.nextLane = max(t.nextLane, id+1)
	return l
}

func (t *table) touch(l *lane) {
	if !l.dirty {
		l.dirty = true
		t.dirty = append(t.dirty, l)
	}
}

// publish gives a message of lane l its sequence number.
func (t *table) publish(l *lane, r ref) uint64 {
	seq := l.next
	l.next++
	l.count++
	g := t.gen & 1
	m := t.mem[g]
	if !l.listed[g] {
		l.listed[g] = true
		m.lanes = append(m.lanes, l)
	}
	l.mem[g].push(seq, r)
	m.chunks[r.chunk].live++
	t.touch(l)
	return seq
}

// settle removes [first, end) from l and returns how many were unsettled.
func (t *table) settle(l *lane, first, end uint64) uint64 {
	first, end = max(first, l.head), min(end, l.next)
	if first >= end {
		return 0
	}
	var n uint64
	for seq := l.nextUnset(first, end); seq < end; {
		stop := l.nextSet(seq, end)
		t.release(l, seq, stop)
		n += stop - seq
		seq = l.nextUnset(stop, end)
	}
	if n == 0 {
		return 0
	}
	l.count -= n
	l.countsDirty = forgetIn(l.counts, first, end) || l.countsDirty
	l.leasesDirty = forgetIn(l.leases, first, end) || l.leasesDirty
	if first > l.head {
		l.add(first, end)
	} else {
		l.head = l.nextUnset(end, l.next)
		l.dropBelow(l.head)
		l.mem[0].dropBelow(l.head)
		l.mem[1].dropBelow(l.head)
		l.popExtents()
	}
	t.touch(l)
	return n
}

func (l *lane) popExtents() {
	k := 0
	for k < len(l.extents) && l.extents[k].end() <= l.head {
		k++
	}
	l.extents = l.extents[k:]
	if len(l.extents) == 0 {
		l.extents = nil
	}
}

// forgetIn deletes the entries of [first, end) and reports whether there were
// any.
func forgetIn[V any](m map[uint64]V, first, end uint64) bool {
	before := len(m)
	if before == 0 {
		return false
	}
	if end-first < uint64(before) {
		for seq := first; seq < end; seq++ {
			delete(m, seq)
		}
	} else {
		for seq := range m {
			if seq >= first && seq < end {
				delete(m, seq)
			}
		}
	}
	return len(m) != before
}

// release frees what [first, end) of l, all unsettled until now, occupies.
func (t *table) release(l *lane, first, end uint64) {
	for g := range t.mem {
		r := &l.mem[g]
		if r.len() == 0 {
			continue
		}
		lo, hi := max(first, r.base), min(end, r.end())
		for seq := lo; seq < hi; seq++ {
			t.mem[g].release(r.at(seq))
		}
	}
	n := len(l.extents)
	if n == 0 || first >= l.extents[n-1].end() {
		return
	}
	for i := l.findExtent(first); i < n && l.extents[i].first < end; i++ {
		e := &l.extents[i]
		k := min(end, e.end()) - max(first, e.first)
		t.segments[e.seg].release(e, k)
	}
}

// findExtent returns the index of the first extent that ends above seq.
func (l *lane) findExtent(seq uint64) int {
	if len(l.extents) > 0 && l.extents[0].end() > seq {
		return 0
	}
	return sort.Search(len(l.extents), func(i int) bool { return l.extents[i].end() > seq })
}

// unsettled returns how many of e's range are unsettled.
func (l *lane) unsettled(first, end uint64) uint64 {
	first = max(first, l.head)
	if first >= end {
		return 0
	}
	return end - first - l.settledSet.count(first, end)
}

// drop removes a lane for good.
func (t *table) drop(id uint64) {
	t.nextLane = max(t.nextLane, id+1)
	if l := t.lanes[id]; l != nil {
		t.settle(l, l.head, l.next)
		l.dropped = true
		t.touch(l)
		delete(t.lanes, id)
		t.last = nil
	}
	t.dropped.add(id)
}

// idSet is a set of numbers as sorted ranges: ids of dropped lanes, which are
// mostly consecutive.
type idSet struct {
	ranges []idRange
	dirty  bool
}

type idRange struct{ first, last uint64 }

func (s *idSet) find(id uint64) int {
	return sort.Search(len(s.ranges), func(i int) bool { return s.ranges[i].last >= id })
}

func (s *idSet) has(id uint64) bool {
	i := s.find(id)
	return i < len(s.ranges) && s.ranges[i].first <= id
}

func (s *idSet) add(id uint64) {
	i := s.find(id)
	if i < len(s.ranges) && s.ranges[i].first <= id {
		return
	}
	s.dirty = true
	joinsLeft := i > 0 && s.ranges[i-1].last+1 == id
	joinsRight := i < len(s.ranges) && s.ranges[i].first == id+1
	switch {
	case joinsLeft && joinsRight:
		s.ranges[i-1].last = s.ranges[i].last
		s.ranges = slices.Delete(s.ranges, i, i+1)
	case joinsLeft:
		s.ranges[i-1].last = id
	case joinsRight:
		s.ranges[i].first = id
	default:
		s.ranges = slices.Insert(s.ranges, i, idRange{id, id})
	}
}
