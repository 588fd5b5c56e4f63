package broker

import "slices"

// corpse is a message that a queue gives up.
type corpse struct {
	entry
	level  int
	reason DeathReason
	cause  string // see Death.Cause
	to     string // see Rejection.To
}

// Rejection says what becomes of deliveries that a consumer gives up.
type Rejection struct {
	// To is the queue the messages go to if no argument and no policy of their
	// own queue says where; it is made if it is missing. "" leaves that to the
	// queue.
	To    string
	Cause string // see Death.Cause
}

// Reject is Settle with outcome Rejected that says why, and where to. It must
// not be used in a transaction.
func (s *Session) Reject(t *Turn, q *Queue, leases []Lease, r Rejection) {
	q.mu.Lock()
	for _, lease := range leases {
		i, p := q.ledger.get(lease)
		if p == nil || p.hold != nil && p.hold.session != s || p.prepared != nil {
			continue
		}
		done := q.takeLease(i)
		if q.stream != nil {
			q.conclude(&done, Accepted)
			continue
		}
		q.buryAs(corpse{entry: done.entry, level: int(done.level), reason: DeathRejected, cause: r.Cause, to: r.To})
	}
	q.putBack()
	q.serve(t)
	q.trim(t)
	q.notify()
	q.leave(t)
}

// deadLetters reports whether the configuration sends a dead message anywhere.
func (cfg *QueueConfig) deadLetters(c *corpse) bool {
	if c.reason == DeathExpired && cfg.DropExpired {
		return false
	}
	return c.to != "" || cfg.DeadLetterSet || cfg.fallback(c) != ""
}

// fallback is the queue that gets a dead message which nothing else is
// configured for, "" if it is dropped.
func (cfg *QueueConfig) fallback(c *corpse) string {
	if cfg.DeadLetterFallback == "" || c.reason == DeathMaxLen || !c.thin && !c.msg.Persistent {
		return ""
	}
	return cfg.DeadLetterFallback
}

// deadLetterQueue finds the queue that gets dead letters by name, or makes it.
func (v *VHost) deadLetterQueue(t *Turn, name string) *Queue {
	if q := v.queue(name); q != nil {
		return q
	}
	err := v.change(t, nil, func(c *change) error {
		_, err := v.declareQueue(c, QueueDeclare{Name: name, Durable: true}, nil)
		return err
	})
	if err != nil {
		v.broker.log.Warn("a queue for dead letters cannot be made", "vhost", v.name, "queue", name, "error", err)
	}
	return v.queue(name)
}

// layOut has leave dead-letter messages whose memory q does not count.
func (q *Queue) layOut(dead []corpse) {
	if q.closed {
		return // they went with its lanes
	}
	for i := range dead {
		q.memory += int64(dead[i].memory())
	}
	q.dead = append(q.dead, dead...)
}

// buryAll dead-letters what q gave up, and what others add meanwhile, so that
// dead letters leave in the order in which their messages stood. They count as
// q's memory until then: publishers that are faster than this meet the memory
// limit. It is called with the lock and gives it up.
func (q *Queue) buryAll(t *Turn) {
	q.burying = true
	for len(q.dead)+len(q.buried) > 0 {
		dead, buried, cfg := q.dead, q.buried, q.cfg
		q.dead, q.buried = nil, nil
		q.mu.Unlock()
		memory := int64(0)
		for i := range dead {
			memory += int64(dead[i].memory())
		}
		q.deadLetter(t, &cfg, dead)
		for _, f := range buried {
			f(t)
		}
		q.mu.Lock()
		if !q.closed {
			q.memory -= memory
		}
	}
	q.burying = false
	q.report()
	q.mu.Unlock()
}

// deadLetter publishes what q gave up to its dead-letter exchange and settles
// it in q, both in one batch, so that a crash neither loses nor doubles it. It
// is called without any lock, by one goroutine at a time but for messages that
// had to be read back.
func (q *Queue) deadLetter(t *Turn, cfg *QueueConfig, dead []corpse) {
	dead = q.exhume(cfg, dead)
	rt := q.eng.routes.Get().(*routing)
	for len(dead) > 0 {
		n := min(len(dead), planLimit)
		p := q.eng.newPlan(nil)
		for i := range dead[:n] {
			q.deadLetterOne(t, cfg, p, rt, &dead[i])
		}
		// Transient ones must not overtake those on their way to the store.
		ordered := q.burials.Add(1) > 1
		p.done = func(*Turn, error) { q.burials.Add(-1) }
		p.run(t, ordered)
		dead = dead[n:]
	}
	q.eng.routes.Put(rt)
}

// Burying reports whether dead letters of the queue are on their way to the
// store: what the caller appends to it now is durable after them. Those that
// another goroutine has yet to append are not reported for sure.
func (q *Queue) Burying() bool { return q.burials.Load() > 0 }

// deadLetterOne adds one message to a plan. Without an exchange, or when
// nothing matches, it is dropped.
func (q *Queue) deadLetterOne(t *Turn, cfg *QueueConfig, p *plan, rt *routing, c *corpse) {
	if c.stored() {
		p.batch.Settles = append(p.batch.Settles, StoreSettle{q.base + LaneID(c.level), c.seq, 1})
	}
	kept := q.offerDead(t, cfg, p, rt, c)
	q.vhost.deaths.tell(t, Dead{Queue: q, Msg: c.msg, Reason: c.reason, Kept: kept})
}

// offerDead reports whether some queue takes the message.
func (q *Queue) offerDead(t *Turn, cfg *QueueConfig, p *plan, rt *routing, c *corpse) (kept bool) {
	v := q.vhost
	if !cfg.DeadLetterSet {
		to := c.to
		if to == "" {
			to = cfg.fallback(c)
		}
		return q.deadLetterTo(t, p, to, c)
	}
	ex := v.exchange(cfg.DeadLetterExchange)
	if ex == nil {
		return false
	}
	m := q.deadMessage(t, cfg, c)
	var extra []string
	if m.Notes != nil {
		extra = m.Notes.KeepKeys
	}
	v.route(rt, ex, m, extra)
	for _, target := range rt.queues {
		if c.reason != DeathRejected && cyclic(m.Notes.Deaths, target.name) {
			continue
		}
		if !p.offer(t, m, target, 0, false) {
			kept = true
		}
	}
	return kept
}

// deadLetterTo adds one message to a plan for a queue of that name; "" drops
// it, and so does the queue it comes from.
func (q *Queue) deadLetterTo(t *Turn, p *plan, to string, c *corpse) (kept bool) {
	if to == "" || to == q.name {
		return false
	}
	target := q.vhost.deadLetterQueue(t, to)
	if target == nil {
		return false
	}
	cfg := QueueConfig{DeadLetterKey: to, DeadLetterKeySet: true}
	return !p.offer(t, q.deadMessage(t, &cfg, c), target, 0, false)
}

// deadMessage is the message as it leaves q for the dead-letter exchange.
func (q *Queue) deadMessage(t *Turn, cfg *QueueConfig, c *corpse) *Message {
	old := c.msg
	m := *old
	n := Notes{}
	if old.Notes != nil {
		n = *old.Notes
	}
	n.DeliverAt = 0
	d := Death{
		Queue: q.name, Exchange: old.Exchange, Reason: c.reason, Count: 1, Time: t.Now,
		RoutingKeys: append([]string{old.RoutingKey}, n.KeepKeys...), OriginalExpiration: old.TTL,
		Cause: c.cause,
	}
	n.Deaths = recordDeath(n.Deaths, d)
	n.LastDeath = &n.Deaths[0]
	if n.FirstDeath == nil {
		n.FirstDeath = &d
	}
	if old.TTL != NoTTL {
		n.StripTTL = true // or it would expire again at once
		m.TTL = NoTTL
	}
	m.Exchange = cfg.DeadLetterExchange
	if cfg.DeadLetterKeySet {
		m.RoutingKey = cfg.DeadLetterKey
		if len(n.KeepKeys) > 0 { // the header would route it anew, and RabbitMQ takes it off, too
			n.DropHeaders = append(slices.Clone(n.DropHeaders), headerCC)
		}
		n.KeepKeys = nil
	}
	m.Notes = &n
	return &m
}

// headerCC is the header of AMQP that Notes.KeepKeys came in.
const headerCC = "CC"

// recordDeath returns the history with d in front: a new entry, or the one of
// the same queue and reason counted up.
func recordDeath(deaths []Death, d Death) []Death {
	i := slices.IndexFunc(deaths, func(x Death) bool { return x.Queue == d.Queue && x.Reason == d.Reason })
	if i >= 0 {
		cause := d.Cause
		d = deaths[i]
		d.Count++
		d.Cause = cause
	}
	list := make([]Death, 0, len(deaths)+1)
	list = append(list, d)
	for j := range deaths {
		if j != i && len(list) < maxDeaths {
			list = append(list, deaths[j])
		}
	}
	return list
}

// maxDeaths bounds a message's history.
const maxDeaths = 256

// cyclic reports whether a message with this history would come back to a
// queue without anybody having rejected it on the way: it would go round for
// ever.
func cyclic(deaths []Death, queue string) bool {
	for i := range deaths {
		if deaths[i].Reason == DeathRejected {
			return false
		}
		if deaths[i].Queue == queue {
			return true
		}
	}
	return false
}
