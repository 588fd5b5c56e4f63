package broker

import (
	"math"
	"math/rand/v2"
)

// Spread is how the consumers of a queue share its messages. The subscription
// that was made last with another one than SpreadTurns decides; a queue with a
// single active consumer, one whose consumers have filters and one with message
// groups go by their own rules.
type Spread uint8

// The ways to share.
const (
	SpreadTurns  Spread = iota // consumers take turns
	SpreadRandom               // chance decides
	SpreadHash                 // messages with the same SpreadKey go to the same consumer
)

// spread is the choice of a queue that shares its messages by chance or by
// hash. Under the queue's lock, like consumers.
type spread struct {
	way    Spread
	key    func(*Message) uint64
	asking int // subscriptions that are not SpreadTurns

	// By hash: who gets a bucket, of all subscriptions the one whose number and
	// the bucket's make the highest hash (rendezvous hashing). Only the buckets of
	// a subscription that comes or goes change hands.
	owners *[spreadBuckets]*Subscription
}

// spreadBuckets is how finely keys are told apart. spreadTries is how many
// consumers are tried by chance before one that can is looked for.
const (
	spreadBuckets = 1024
	spreadTries   = 8
)

// joined takes note of a new subscription.
func (p *spread) joined(sub *Subscription) {
	if sub.spread != SpreadTurns {
		p.asking++
		p.way, p.key = sub.spread, sub.spreadKey
	}
	if p.owners == nil {
		return
	}
	for i, owner := range p.owners {
		if owner != nil && weight(i, sub) > weight(i, owner) {
			p.owners[i] = sub
		}
	}
}

// left takes note of the end of a subscription.
func (p *spread) left(sub *Subscription) {
	if sub.spread != SpreadTurns {
		if p.asking--; p.asking == 0 {
			*p = spread{}
		}
	}
	if p.owners == nil {
		return
	}
	for i, owner := range p.owners {
		if owner == sub {
			p.owners[i] = nil
		}
	}
}

func weight(bucket int, sub *Subscription) uint64 { return mix(sub.spreadID ^ mix(uint64(bucket)+1)) }

// owner is the subscription that gets m; there is at least one subscription.
func (c *consumers) owner(m *Message) *Subscription {
	p := &c.spread
	if p.owners == nil {
		p.owners = new([spreadBuckets]*Subscription)
	}
	i := int(mix(p.key(m)) % spreadBuckets)
	if p.owners[i] == nil {
		for _, sub := range c.list {
			if p.owners[i] == nil || weight(i, sub) > weight(i, p.owners[i]) {
				p.owners[i] = sub
			}
		}
	}
	return p.owners[i]
}

// way is how messages are shared now.
func (c *consumers) way() Spread {
	if c.single {
		return SpreadTurns
	}
	return c.spread.way
}

// pickOf is pick for a message that is next.
func (c *consumers) pickOf(m *Message) (sub *Subscription, shared bool) {
	switch c.way() {
	case SpreadRandom:
		return c.pickAny()
	case SpreadHash:
		sub, shared, _ = c.take(c.owner(m))
		return sub, shared
	}
	return c.pick()
}

// pickAny is pick by chance among the subscriptions of the highest priority
// that can take a message.
func (c *consumers) pickAny() (sub *Subscription, shared bool) {
	for range spreadTries {
		sub := c.list[rand.IntN(len(c.list))]
		if !sub.listed || len(c.rings) > 1 && !c.foremost(sub) {
			continue
		}
		if shared, ok := sub.able(); ok {
			return sub, shared
		}
		c.unlist(sub)
	}
	return c.pick()
}

// foremost reports whether no subscription of a higher priority is listed.
func (c *consumers) foremost(sub *Subscription) bool {
	for i := range c.rings {
		if c.rings[i].next != nil {
			return c.rings[i].priority == sub.priority
		}
	}
	return false
}

// dispatchHashed delivers the first message whose consumer can take it; false
// if there is none. Messages whose consumer cannot hold up others only beyond
// groupScan of them.
func (q *Queue) dispatchHashed(t *Turn) bool {
	s := q.scan(t, groupScan, math.MaxInt, false)
	for e := s.next(); e != nil; e = s.next() {
		if e.thin {
			s.fill()
			return false
		}
		if sub, shared, _ := q.consumers.take(q.consumers.owner(e.msg)); sub != nil {
			s.deliver(sub, shared)
			return true
		}
		if q.consumers.listed == 0 {
			return false
		}
	}
	return false
}
