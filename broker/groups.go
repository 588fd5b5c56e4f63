package broker

import "math"

// groupTable keeps messages of one group together: sticky, so that a group
// goes to one consumer until that one leaves, or by lease (SQS FIFO), so that
// no message goes out while an earlier one of its group is unsettled.
type groupTable struct {
	on     bool                         // a message with a group was seen
	owners *[groupBuckets]*Subscription // sticky: by hash of the group
	began  map[uint64]*Subscription     // sticky: whom a group's messages go to, by hash of the group
	out    map[string]groupLease        // unsettled messages by group; unused with an index
	index  *groupIndex                  // of queues with one lane, once it is needed
}

type groupLease struct {
	n     int
	batch uint64 // the Receive that took the latest
}

// groupBuckets bounds the sticky assignments of a queue: groups with the same
// hash share a consumer. groupScan bounds how far behind blocked messages a
// deliverable one is looked for. groupsBegun bounds the groups whose first
// message for a consumer is told apart from the others.
const (
	groupBuckets = 1024
	groupScan    = 1024
	groupsBegun  = 16 << 10
)

func groupOf(m *Message) string {
	if m == nil || m.Notes == nil {
		return ""
	}
	return m.Notes.GroupID
}

func (g *groupTable) bucket(group string) **Subscription {
	if g.owners == nil {
		g.owners = new([groupBuckets]*Subscription)
	}
	return &g.owners[groupHash(group)%groupBuckets]
}

// groupHash is FNV-1a, the same in every process: which groups share a bucket is
// not left to chance.
func groupHash(group string) uint64 {
	h := uint64(14695981039346656037)
	for i := range len(group) {
		h = (h ^ uint64(group[i])) * 1099511628211
	}
	return h
}

// assign has the groups of a free bucket stick to sub.
func assign(owner **Subscription, sub *Subscription) {
	if *owner == nil && sub != nil {
		*owner = sub
		sub.groups++
	}
}

// begin notes that sub gets a message of a sticky group. It reports whether
// that is the first one since the group came to sub. A message that closes its
// group sets the group free.
func (g *groupTable) begin(m *Message, sub *Subscription) (first bool) {
	group := m.Notes.GroupID
	owner := g.bucket(group)
	assign(owner, sub)
	key := groupHash(group)
	first = g.began[key] != sub
	if m.Notes.GroupClose {
		// Others of the same bucket are free, too: that costs them nothing but
		// another consumer.
		(*owner).groups--
		*owner = nil
		delete(g.began, key)
		return first
	}
	if first {
		if len(g.began) >= groupsBegun {
			clear(g.began)
		}
		if g.began == nil {
			g.began = make(map[uint64]*Subscription)
		}
		g.began[key] = sub
	}
	return first
}

// lent notes that a message went out.
func (g *groupTable) lent(cfg *QueueConfig, m *Message, batch uint64) {
	group := groupOf(m)
	if group == "" || !cfg.LeaseGroups {
		return
	}
	if g.out == nil {
		g.out = make(map[string]groupLease)
	}
	g.out[group] = groupLease{g.out[group].n + 1, batch}
}

// returned undoes lent.
func (g *groupTable) returned(m *Message) {
	group := groupOf(m)
	l, ok := g.out[group]
	if !ok {
		return
	}
	if l.n--; l.n == 0 {
		delete(g.out, group)
		return
	}
	g.out[group] = l
}

// left frees the groups that stuck to sub.
func (g *groupTable) left(sub *Subscription) {
	if g.owners == nil {
		return
	}
	sub.groups = 0
	for i := range g.owners {
		if g.owners[i] == sub {
			g.owners[i] = nil
		}
	}
	for key, owner := range g.began {
		if owner == sub {
			delete(g.began, key)
		}
	}
}

// blocked reports whether the lease rule keeps a group's next message back from
// the Receive called batch.
func (g *groupTable) blocked(group string, batch uint64) bool {
	l, ok := g.out[group]
	return ok && (batch == 0 || l.batch != batch)
}

// groupCandidate finds the first message in memory that the lease rule lets
// go, for a receiver that is no subscription.
func (q *Queue) groupCandidate(t *Turn, batch uint64) (*lane, int) {
	if x := q.index(false); x != nil {
		return q.indexCandidate(t, x, batch)
	}
	s := q.scan(t, groupScan, math.MaxInt, false)
	for e := s.next(); e != nil; e = s.next() {
		if q.groups.blocked(groupOf(e.msg), batch) {
			continue
		}
		if e.thin {
			s.fill()
			return nil, 0
		}
		return s.lane, s.i
	}
	return nil, 0
}

// dispatchGrouped delivers the first message that the group rule lets some
// consumer take; false if there is none.
func (q *Queue) dispatchGrouped(t *Turn) bool {
	if q.cfg.LeaseGroups {
		if x := q.index(false); x != nil {
			return q.dispatchIndexed(t, x)
		}
	}
	s := q.scan(t, groupScan, math.MaxInt, false)
	for e := s.next(); e != nil; e = s.next() {
		if e.thin {
			s.fill()
			return false
		}
		sub, shared, more := q.consumerFor(e)
		if sub != nil {
			s.deliver(sub, shared)
			return true
		}
		if !more {
			return false
		}
	}
	return false
}

// consumerFor chooses who gets an entry that may be of a group. more is false if
// nobody can take anything.
func (q *Queue) consumerFor(e *entry) (sub *Subscription, shared, more bool) {
	group := groupOf(e.msg)
	if group == "" {
		sub, shared = q.consumers.pick()
		return sub, shared, sub != nil
	}
	if q.cfg.LeaseGroups {
		if q.groups.blocked(group, 0) {
			return nil, false, true
		}
		sub, shared = q.consumers.pick()
		return sub, shared, sub != nil
	}
	owner := q.groups.bucket(group)
	if *owner == nil {
		sub, shared, _ = q.consumers.pickFree(e)
		assign(owner, sub)
		return sub, shared, sub != nil
	}
	if !(*owner).listed {
		return nil, false, true
	}
	shared, ok := (*owner).able()
	if !ok {
		q.consumers.unlist(*owner)
		return nil, false, q.consumers.listed > 0
	}
	return *owner, shared, true
}
