package broker

// A Lease is the index of a slot in its low bits and the slot's generation
// above, so that it is never valid twice.
const (
	leaseIndexBits = 28
	leaseIndexMask = 1<<leaseIndexBits - 1
)

// slot is one unsettled delivery.
type slot struct {
	entry
	gen      uint64        // 0 while free
	sub      *Subscription // nil: taken by a get or a receive
	hold     *hold         // who must settle it; nil: whoever has the token
	deadline int64         // Unix ms; 0: none
	since    int64         // Unix ms at which Take handed it out; 0: something else did
	prev     int32         // neighbours in hold; next is the free list's, too
	next     int32
	level    uint16
	unseen   bool // nobody was given the message: the lease only hides it
	shared   bool // counts against its subscription's shared credit
	kept     bool // the store has the lease
	nonce    uint32

	// prepared is the transaction whose outcome decides about the delivery; until
	// then nobody else settles it.
	prepared *prepared
}

// hold is the list of what one session has unsettled on one queue, in order of
// delivery. It is guarded by the queue's lock.
type hold struct {
	session    *Session
	head, tail int32
	n          int
	subs       int // open subscriptions of the session on the queue
	gets       int // its getters that wait
}

// ledger is a queue's unsettled deliveries. Slots are reused; generations are
// not.
type ledger struct {
	slots []slot
	free  int32 // head of the free list plus one; 0: empty
	n     int
	gen   uint64 // last one given
}

// lend adds a delivery and returns its token.
func (g *ledger) lend(e entry, level int, sub *Subscription, h *hold) (Lease, *slot) {
	i := g.free - 1
	if i >= 0 {
		g.free = g.slots[i].next
	} else {
		i = int32(len(g.slots))
		g.slots = append(g.slots, slot{})
	}
	g.n++
	g.gen++
	p := &g.slots[i]
	*p = slot{entry: e, gen: g.gen, sub: sub, hold: h, level: uint16(level), prev: -1, next: -1}
	if h != nil {
		g.link(h, i)
	}
	return p.lease(i), p
}

func (p *slot) lease(i int32) Lease { return Lease(p.gen<<leaseIndexBits | uint64(i)) }

func (g *ledger) link(h *hold, i int32) {
	p := &g.slots[i]
	p.prev = h.tail
	if h.tail >= 0 {
		g.slots[h.tail].next = i
	} else {
		h.head = i
	}
	h.tail = i
	h.n++
}

// get returns the slot of a lease, nil if it is stale.
func (g *ledger) get(l Lease) (int32, *slot) {
	i := uint64(l) & leaseIndexMask
	if l == 0 || i >= uint64(len(g.slots)) {
		return -1, nil
	}
	p := &g.slots[i]
	if p.gen == 0 || p.gen&(1<<(64-leaseIndexBits)-1) != uint64(l)>>leaseIndexBits {
		return -1, nil
	}
	return int32(i), p
}

// take removes slot i and returns what it held.
func (g *ledger) take(i int32) slot {
	p := &g.slots[i]
	s := *p
	if s.hold != nil {
		g.unlink(i)
	}
	*p = slot{next: g.free}
	g.free = i + 1
	g.n--
	if g.n == 0 && len(g.slots) > 4096 {
		g.slots, g.free = nil, 0 // generations go on, so old tokens stay stale
	}
	return s
}

// unlink takes slot i off its hold.
func (g *ledger) unlink(i int32) {
	p := &g.slots[i]
	h := p.hold
	if p.prev >= 0 {
		g.slots[p.prev].next = p.next
	} else {
		h.head = p.next
	}
	if p.next >= 0 {
		g.slots[p.next].prev = p.prev
	} else {
		h.tail = p.prev
	}
	p.prev, p.next = -1, -1
	h.n--
}

// share makes every delivery to a subscription of h that shares c count against
// it and returns how many did not before.
func (g *ledger) share(h *hold, c *credit) (n int64) {
	for i := h.head; i >= 0; i = g.slots[i].next {
		if p := &g.slots[i]; p.sub != nil && p.sub.credit == c && !p.shared {
			p.shared = true
			n++
		}
	}
	return n
}
