package broker

import "slices"

// corpse is a message that a queue gives up.
type corpse struct {
	entry
	level  int
	reason DeathReason
}

// deadLetter publishes what q gave up to its dead-letter exchange and settles
// it in q, both in one batch, so that a crash neither loses nor doubles it. It
// is called without any lock.
func (q *Queue) deadLetter(t *Turn, cfg *QueueConfig, dead []corpse) {
	dead = q.exhume(cfg, dead)
	rt := q.eng.routes.Get().(*routing)
	for len(dead) > 0 {
		n := min(len(dead), planLimit)
		p := q.eng.newPlan(nil)
		for i := range dead[:n] {
			q.deadLetterOne(t, cfg, p, rt, &dead[i])
		}
		p.run(t, false)
		dead = dead[n:]
	}
	q.eng.routes.Put(rt)
}

// deadLetterOne adds one message to a plan. Without an exchange, or when
// nothing matches, it is dropped.
func (q *Queue) deadLetterOne(t *Turn, cfg *QueueConfig, p *plan, rt *routing, c *corpse) {
	if c.stored() {
		p.batch.Settles = append(p.batch.Settles, StoreSettle{q.base + LaneID(c.level), c.seq, 1})
	}
	v := q.vhost
	ex := v.exchange(cfg.DeadLetterExchange)
	if ex == nil {
		return
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
		p.offer(t, m, target, 0, false)
	}
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
		d = deaths[i]
		d.Count++
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
