package broker

import "hash/maphash"

// Publish routes a message and gives it to the queues it reaches. Messages
// that must survive go to the store and become visible when they are
// committed; the others at once, but never before older ones of the session.
// Errors: NotFound (exchange), Denied. Unroutable is no error.
func (s *Session) Publish(t *Turn, p Publish) (PublishResult, error) {
	m := p.Msg
	if p.Exchange == "" && isReplyName(m.RoutingKey) {
		return s.publishReply(t, m), nil
	}
	if s.tx != nil {
		if err := s.tx.count(s.broker, m); err != nil {
			return PublishResult{}, err
		}
	}
	queues, at, err := s.route(t, &p)
	if err != nil {
		return PublishResult{}, err
	}
	if s.tx != nil && s.rt.pictured {
		s.tx.pictures = append(s.tx.pictures, m)
	}
	if len(queues) == 0 {
		return PublishResult{}, nil
	}
	if n := m.Notes; n != nil && n.DeliverAt > at {
		at = n.DeliverAt
	}
	if at <= t.Now {
		at = 0
	}
	if s.tx != nil {
		s.tx.publish(m, queues, at)
		return PublishResult{Routed: true}, nil
	}
	if s.inflight.Load() == 0 && len(p.Facts) == 0 && !anyStores(queues, m) {
		r := PublishResult{Routed: true}
		for _, q := range queues {
			if q.accept(t, m, at) {
				r.Rejected = true
			}
		}
		return r, nil
	}
	return s.publishPlanned(t, &p, queues, at), nil
}

// AfterPublishes says whether earlier publishes of the session are not visible
// yet. If so, f runs on the store's goroutine when all of them are; if not,
// never. It lets a client that asks about a queue see what it has published.
func (s *Session) AfterPublishes(t *Turn, f func(t *Turn)) (waits bool) {
	if s.inflight.Load() == 0 {
		return false
	}
	s.broker.afterCommits(t, f)
	return true
}

func anyStores(queues []*Queue, m *Message) bool {
	for _, q := range queues {
		if q.stores(m) {
			return true
		}
	}
	return false
}

// publishPlanned publishes by way of the store, for durability or for order.
func (s *Session) publishPlanned(t *Turn, p *Publish, queues []*Queue, at int64) PublishResult {
	plan := s.broker.engine.newPlan(s)
	for _, q := range queues {
		if plan.offer(t, p.Msg, q, at, true) {
			plan.refused = true
		}
	}
	plan.batch.Definitions = append(plan.batch.Definitions, p.Facts...)
	// The receipt of a duplicate waits like that of the message it repeats,
	// which may be on its way to the store.
	if len(plan.puts)+len(p.Facts) == 0 && !plan.duplicate {
		refused := plan.refused
		plan.recycle()
		return PublishResult{Routed: true, Rejected: refused}
	}
	// If all that is left are duplicates, their receipt still waits: the
	// messages they repeat may not be durable yet.
	plan.receipt = p.Receipt
	r := PublishResult{Routed: true, Pending: p.Receipt != 0, Duplicate: plan.duplicate, Origin: plan.origin}
	s.inflight.Add(1)
	plan.run(t, true)
	return r
}

// accept takes a transient message in at once.
func (q *Queue) accept(t *Turn, m *Message, at int64) (refused bool) {
	if m = q.formed(t, m); m == nil {
		return false
	}
	q.mu.Lock()
	if q.gated.Load() {
		if a := q.admit(t, m, true, false); a.refused || a.duplicate {
			q.leave(t)
			return a.refused
		}
	}
	if at != 0 || q.schedules {
		q.postpone(t, m, 0, at)
	} else {
		q.enqueue(t, q.level(m), m, 0, q.expiry(t, m))
	}
	q.leave(t)
	return false
}

// routeCache remembers where the last messages of a session went.
type routeCache struct {
	seed   maphash.Seed
	slots  *[routeSlots]routeSlot // nil until the first publish
	latest *routeSlot             // of the last publish that found its route here
}

const routeSlots = 16

type routeSlot struct {
	topology uint64 // at which queues were found; 0: not known
	hash     uint64 // of what was last seen here
	exchange *Exchange
	key      string
	queues   []*Queue
}

// maxCachedKey bounds the keys worth remembering.
const maxCachedKey = 128

// route finds the exchange, checks the right to write to it and returns the
// queues, valid until the next call, and the time before which the message is
// held back there by what it is routed by. What is routed later goes to the
// schedule.
func (s *Session) route(t *Turn, p *Publish) ([]*Queue, int64, error) {
	v, m := s.vhost, p.Msg
	s.rt.tentative, s.rt.pictured = s.tx != nil, false
	if m.Notes != nil && m.Notes.DeliverAt > t.Now {
		return s.routeAnew(t, p, nil, 0)
	}
	topology := v.topology.Load()
	if slot := s.routes.latest; slot != nil && slot.leads(topology, p) {
		return slot.queues, 0, s.checkWrite(slot.exchange, m)
	}
	slot := s.routes.slot(p.Exchange, m.RoutingKey)
	if slot.leads(topology, p) {
		s.routes.latest = slot
		return slot.queues, 0, s.checkWrite(slot.exchange, m)
	}
	return s.routeAnew(t, p, slot, topology)
}

// routeAnew is route for what is not in the cache. slot, unless it is nil, is
// where it may be remembered.
func (s *Session) routeAnew(t *Turn, p *Publish, slot *routeSlot, topology uint64) ([]*Queue, int64, error) {
	v, m := s.vhost, p.Msg
	ex := v.exchange(p.Exchange)
	if ex == nil {
		return nil, 0, v.noExchange(p.Exchange)
	}
	if err := s.checkWrite(ex, m); err != nil {
		return nil, 0, err
	}
	if at := s.heldUntil(t, ex, p); at != 0 {
		if q := v.schedule(t); q != nil {
			s.rt.queues = append(s.rt.queues[:0], q)
			return s.rt.queues, at, nil
		}
	}
	v.route(&s.rt, ex, m, p.ExtraKeys)
	if slot != nil && s.rt.keyOnly && len(p.ExtraKeys) == 0 && len(m.RoutingKey) <= maxCachedKey {
		slot.remember(topology, s.routes.hash(p.Exchange, m.RoutingKey), ex, m.RoutingKey, s.rt.queues)
	}
	return s.rt.queues, s.rt.deliverAt, nil
}

// leads reports whether the slot holds the route of p.
func (r *routeSlot) leads(topology uint64, p *Publish) bool {
	return r.topology == topology && len(p.ExtraKeys) == 0 && r.key == p.Msg.RoutingKey && r.exchange.name == p.Exchange
}

func (c *routeCache) hash(exchange, key string) uint64 {
	return maphash.String(c.seed, key) ^ uint64(len(exchange))*0x9e3779b97f4a7c15
}

func (c *routeCache) slot(exchange, key string) *routeSlot {
	if c.slots == nil {
		c.slots = new([routeSlots]routeSlot)
		c.seed = maphash.MakeSeed()
	}
	return &c.slots[c.hash(exchange, key)%routeSlots]
}

// remember takes a route at its second sight: keys that never come back cost
// no copy.
func (r *routeSlot) remember(topology, hash uint64, ex *Exchange, key string, queues []*Queue) {
	if r.hash != hash {
		r.hash = hash
		return
	}
	if r.key != key {
		r.key = string(append([]byte(nil), key...)) // key may alias a message
	}
	r.topology, r.exchange = topology, ex
	r.queues = append(r.queues[:0], queues...)
}
