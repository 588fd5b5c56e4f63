package broker

import (
	"slices"
)

// groupIndex finds the next message of a queue by its group, whatever the
// number of messages that must wait: by lease, so that no message goes while
// an earlier one of its group is out (SQS FIFO), or fairly, so that groups take
// turns and those that hold much step back (SQS fair queues). It knows the hot
// entries of the queue's only lane; entries that left the lane by other ways
// are found out when their turn comes.
type groupIndex struct {
	fair   bool
	groups map[string]*messageGroup
	turns  groupList // groups that have something to give, in the order of their turns
	noisy  groupList // fair only: groups that hold too much
	out    int       // leased messages of all groups
	picks  uint

	current *messageGroup // the group that the Receive called batch is taking from
	batch   uint64
}

// messageGroup is the messages of one group.
type messageGroup struct {
	name  string
	ready []place // ascending, from head on
	head  int
	out   []outPlace // leased ones, ascending

	list       *groupList
	prev, next *messageGroup
}

type outPlace struct {
	place
	batch uint64 // the Receive that took it; 0: something else
}

type groupList struct{ first, last *messageGroup }

func (l *groupList) add(g *messageGroup) {
	g.list, g.prev, g.next = l, l.last, nil
	if l.last != nil {
		l.last.next = g
	} else {
		l.first = g
	}
	l.last = g
}

func (g *messageGroup) unlist() {
	l := g.list
	if l == nil {
		return
	}
	if g.prev != nil {
		g.prev.next = g.next
	} else {
		l.first = g.next
	}
	if g.next != nil {
		g.next.prev = g.prev
	} else {
		l.last = g.prev
	}
	g.list, g.prev, g.next = nil, nil, nil
}

// A group of a fair queue steps back if it holds noisyCount messages and a
// tenth of all that are out; one turn in noisyTurn is for those all the same.
const (
	noisyCount = 30
	noisyShare = 10
	noisyTurn  = 8
)

// groupLookAhead bounds the entries in memory of a queue whose groups are all
// out, in search of one that is not.
const groupLookAhead = 1 << 18

func comparePlaces(a, b place) int {
	switch {
	case a.seq != b.seq:
		if a.seq < b.seq {
			return -1
		}
		return 1
	case a.sub < b.sub:
		return -1
	case a.sub > b.sub:
		return 1
	}
	return 0
}

func (e *entry) place() place { return place{seq: e.seq, sub: e.sub} }

func (x *groupIndex) group(name string) *messageGroup {
	g := x.groups[name]
	if g == nil {
		g = &messageGroup{name: name}
		x.groups[name] = g
	}
	return g
}

// add takes a hot entry in.
func (x *groupIndex) add(e *entry) {
	g := x.group(groupOf(e.msg))
	p := e.place()
	if n := len(g.ready); n == g.head || comparePlaces(g.ready[n-1], p) < 0 {
		g.ready = append(g.ready, p)
	} else if i, found := slices.BinarySearchFunc(g.ready[g.head:], p, comparePlaces); !found {
		if i == 0 && g.head > 0 {
			g.head--
			g.ready[g.head] = p
		} else {
			g.ready = slices.Insert(g.ready, g.head+i, p)
		}
	}
	x.update(g)
}

// drop forgets the first ready place of g.
func (g *messageGroup) drop() {
	g.head++
	if g.head == len(g.ready) {
		g.ready, g.head = g.ready[:0], 0
	} else if g.head > 64 && g.head > len(g.ready)/2 {
		g.ready = append(g.ready[:0], g.ready[g.head:]...)
		g.head = 0
	}
}

// forget removes a place from the ready ones, if it is there.
func (g *messageGroup) forget(p place) {
	if g.head < len(g.ready) && g.ready[g.head] == p {
		g.drop()
		return
	}
	if i, found := slices.BinarySearchFunc(g.ready[g.head:], p, comparePlaces); found {
		g.ready = slices.Delete(g.ready, g.head+i, g.head+i+1)
	}
}

// open reports whether the next message of g may go to the Receive called
// batch.
func (x *groupIndex) open(g *messageGroup, batch uint64) bool {
	if g.head == len(g.ready) {
		return false
	}
	if x.fair {
		return true
	}
	for i := range g.out {
		o := &g.out[i]
		if comparePlaces(o.place, g.ready[g.head]) > 0 {
			return true
		}
		if batch == 0 || o.batch != batch {
			return false
		}
	}
	return true
}

// update puts g where it belongs; a group that stays in its list keeps its turn.
func (x *groupIndex) update(g *messageGroup) {
	var want *groupList
	if x.open(g, 0) {
		want = &x.turns
		if x.fair && g.name != "" && len(g.out) >= noisyCount && len(g.out)*noisyShare > x.out {
			want = &x.noisy
		}
	}
	if g.list != want {
		g.unlist()
		if want != nil {
			want.add(g)
		}
	}
	if g.head == len(g.ready) && len(g.out) == 0 && g != x.current {
		delete(x.groups, g.name)
	}
}

// lent notes that an entry went out.
func (x *groupIndex) lent(e *entry, batch uint64) {
	g := x.group(groupOf(e.msg))
	p := e.place()
	g.forget(p)
	i, _ := slices.BinarySearchFunc(g.out, p, func(o outPlace, p place) int { return comparePlaces(o.place, p) })
	g.out = slices.Insert(g.out, i, outPlace{p, batch})
	x.out++
	x.current, x.batch = g, batch
	g.unlist() // its turn is over
	x.update(g)
}

// returned undoes lent, whatever became of the entry.
func (x *groupIndex) returned(e *entry) {
	g := x.groups[groupOf(e.msg)]
	if g == nil {
		return
	}
	i, found := slices.BinarySearchFunc(g.out, e.place(), func(o outPlace, p place) int { return comparePlaces(o.place, p) })
	if !found {
		return
	}
	g.out = slices.Delete(g.out, i, i+1)
	x.out--
	x.update(g)
}

// next is the group whose turn it is.
func (x *groupIndex) next(batch uint64) *messageGroup {
	if g := x.current; g != nil && batch != 0 && x.batch == batch && !x.fair && x.open(g, batch) {
		return g
	}
	if g := x.current; g != nil && g.head == len(g.ready) && len(g.out) == 0 {
		delete(x.groups, g.name)
	}
	x.current = nil
	if x.picks++; x.noisy.first != nil && (x.turns.first == nil || x.picks%noisyTurn == 0) {
		return x.noisy.first
	}
	return x.turns.first
}

// some reports whether a message may go now.
func (x *groupIndex) some() bool { return x.turns.first != nil || x.noisy.first != nil }

// emptied forgets all ready entries: they were purged.
func (x *groupIndex) emptied() {
	for _, g := range x.groups {
		g.ready, g.head = nil, 0
		x.update(g)
	}
}

// index makes sure that the queue has an index if its groups need one.
func (q *Queue) index(fair bool) *groupIndex {
	if len(q.lanes) != 1 || q.stream != nil {
		return nil
	}
	lease := q.cfg.LeaseGroups
	if x := q.groups.index; x != nil && (x.fair == !lease) {
		return x
	}
	if !lease && !fair {
		return nil
	}
	x := &groupIndex{fair: !lease, groups: make(map[string]*messageGroup)}
	q.groups.index = x
	l := &q.lanes[0]
	for i := range l.hot.len() {
		if e := l.hot.at(i); !e.hole() {
			x.add(e)
		}
	}
	for i := range q.ledger.slots {
		if s := &q.ledger.slots[i]; s.gen != 0 {
			x.lent(&s.entry, 0)
		}
	}
	x.current = nil
	return x
}

// indexCandidate finds the message whose turn it is.
func (q *Queue) indexCandidate(t *Turn, x *groupIndex, batch uint64) (*lane, int) {
	l := &q.lanes[0]
	for g := x.next(batch); g != nil; g = x.next(batch) {
		p := g.ready[g.head]
		i := l.find(p.seq, p.sub)
		if i < 0 {
			g.drop()
			x.update(g)
			continue
		}
		e := l.hot.at(i)
		if reason := q.unfit(t, e); reason != 0 {
			g.drop()
			x.update(g)
			q.bury(0, q.cut(l, i), reason)
			continue
		}
		if e.thin {
			q.fill(l, i)
			return nil, 0
		}
		return l, i
	}
	if l.cold.count > 0 && l.hot.len()-l.holes < groupLookAhead {
		q.slimAll(l)
		q.load(l)
	}
	return nil, 0
}

// slimAll lets go of the messages of hot entries that have to wait, if memory
// is short: what is searched for is behind them.
func (q *Queue) slimAll(l *lane) {
	if q.roomy() || l.reading {
		return
	}
	for i := range l.hot.len() {
		e := l.hot.at(i)
		if e.hole() || e.thin || !e.stored() {
			continue
		}
		before := e.memory()
		q.slim(e)
		l.bytes += e.memory() - before
		if q.roomy() {
			return
		}
	}
}

// dispatchIndexed delivers the message whose turn it is; false if there is
// none, or nobody to take it.
func (q *Queue) dispatchIndexed(t *Turn, x *groupIndex) bool {
	l, i := q.indexCandidate(t, x, 0)
	if l == nil {
		return false
	}
	sub, shared := q.consumers.pick()
	if sub == nil {
		return false
	}
	if sub.NoAck { // nothing is lent
		g := x.groups[groupOf(l.hot.at(i).msg)]
		g.forget(l.hot.at(i).place())
		g.unlist()
		x.update(g)
	}
	q.deliver(t, q.cut(l, i), l.level, sub, shared)
	return true
}
