package broker

import "slices"

// consumers are the subscriptions of a queue. Those that may be able to take a
// message stand in rings, one per priority; one that turns out to be unable
// leaves its ring until something about it changes.
type consumers struct {
	list      []*Subscription // in order of arrival
	rings     []ring          // highest priority first
	listed    int             // in rings
	single    bool            // only active is ever listed
	quorum    bool            // single: the successor is chosen by priority
	active    *Subscription
	exclusive *Subscription
	filters   int    // subscriptions with a filter
	soles     int    // subscriptions that want everything
	wide      bool   // single because of soles
	epoch     uint64 // changes when a subscription is added
	relists   uint64 // changes when one is listed
	spread    spread
}

// ring is a circular list; next is whose turn it is.
type ring struct {
	priority int
	members  int // subscriptions of this priority, listed or not
	next     *Subscription
}

func (c *consumers) add(sub *Subscription) {
	c.list = append(c.list, sub)
	c.epoch++
	if sub.filter != nil {
		c.filters++
	}
	if sub.exclusive {
		c.exclusive = sub
	}
	c.spread.joined(sub)
	i, found := c.ring(sub.priority)
	if !found {
		c.rings = slices.Insert(c.rings, i, ring{priority: sub.priority})
	}
	c.rings[i].members++
	if c.single && c.active == nil {
		c.active = sub
	}
	if sub.sole {
		c.soles++
		c.chooseSole()
	}
	c.relist(sub)
}

// chooseSole lets the first of those who want everything have it, unless the
// queue has a single active consumer anyway.
func (c *consumers) chooseSole() {
	if c.single && !c.wide {
		return
	}
	if c.soles == 0 {
		if c.wide {
			c.wide = false
			c.setSingle(false)
		}
		return // only those that never wanted everything are left
	}
	var best *Subscription
	for _, sub := range c.list {
		if sub.sole && (best == nil || sub.priority > best.priority) {
			best = sub
		}
	}
	c.wide, c.single, c.active = true, true, best
	for _, sub := range c.list {
		if sub != best {
			c.unlist(sub)
		}
	}
	c.relist(best)
}

func (c *consumers) ring(priority int) (int, bool) {
	return slices.BinarySearchFunc(c.rings, priority, func(r ring, p int) int { return p - r.priority })
}

func (c *consumers) remove(sub *Subscription) {
	i := slices.Index(c.list, sub)
	if i < 0 {
		return
	}
	c.unlist(sub)
	c.list = slices.Delete(c.list, i, i+1)
	c.spread.left(sub)
	if sub.filter != nil {
		c.filters--
	}
	if c.exclusive == sub {
		c.exclusive = nil
	}
	if r, _ := c.ring(sub.priority); true {
		if c.rings[r].members--; c.rings[r].members == 0 {
			c.rings = slices.Delete(c.rings, r, r+1)
		}
	}
	if sub.sole {
		c.soles--
		c.chooseSole()
	}
	if c.active == sub {
		c.active = c.successor()
		if c.active != nil {
			c.relist(c.active)
		}
	}
}

// successor is the subscription that becomes the single active one: the oldest
// of all, on quorum queues the oldest of highest priority.
func (c *consumers) successor() *Subscription {
	var best *Subscription
	for _, sub := range c.list {
		if best == nil || c.quorum && sub.priority > best.priority {
			best = sub
		}
	}
	return best
}

// setSingle turns the single active consumer on or off. The one that becomes
// active is chosen like a successor; the others keep what they hold.
func (c *consumers) setSingle(on bool) {
	if c.wide {
		c.wide = !on // from now on it lasts
		return
	}
	if c.single == on {
		return
	}
	c.single, c.active = on, nil
	if on {
		c.active = c.successor()
		for _, sub := range c.list {
			if sub != c.active {
				c.unlist(sub)
			}
		}
		return
	}
	for _, sub := range c.list {
		c.relist(sub)
	}
	if c.soles > 0 {
		c.chooseSole()
	}
}

// relist puts sub at the end of its ring.
func (c *consumers) relist(sub *Subscription) {
	if sub.listed || sub.closed || c.single && c.active != sub {
		return
	}
	i, _ := c.ring(sub.priority)
	r := &c.rings[i]
	if r.next == nil {
		sub.prev, sub.next, r.next = sub, sub, sub
	} else {
		sub.next, sub.prev = r.next, r.next.prev
		sub.prev.next, sub.next.prev = sub, sub
	}
	sub.listed = true
	c.listed++
	c.relists++
}

func (c *consumers) unlist(sub *Subscription) {
	if !sub.listed {
		return
	}
	i, _ := c.ring(sub.priority)
	r := &c.rings[i]
	if sub.next == sub {
		r.next = nil
	} else {
		sub.prev.next, sub.next.prev = sub.next, sub.prev
		if r.next == sub {
			r.next = sub.next
		}
	}
	sub.prev, sub.next, sub.listed = nil, nil, false
	c.listed--
}

// pick chooses the subscription that gets the next message and borrows shared
// credit for it; nil if none can take one.
func (c *consumers) pick() (sub *Subscription, shared bool) {
	for i := range c.rings {
		for r := &c.rings[i]; r.next != nil; {
			sub := r.next
			if shared, ok := sub.able(); ok {
				r.next = sub.next
				return sub, shared
			}
			c.unlist(sub)
		}
	}
	return nil, false
}
