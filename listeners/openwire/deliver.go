package openwire

import (
	"strings"

	"github.com/hermodmq/hermod/broker"
	"github.com/hermodmq/hermod/listeners/delivery"
	"github.com/hermodmq/hermod/listeners/openwire/wire"
)

// lent is what a consumer's ledger knows of an unsettled delivery.
type lent struct {
	part       *part
	persistent bool
	seen       *wire.Message // what advisories tell of it; nil if nobody listened
}

// part is one subscription of a consumer.
type part struct {
	delivery.Account
	cons  *consumer
	queue wire.Destination // what its messages' destination is; null on topics
}

// deliver takes a message for a consumer: onto the wire, or aside while the
// client cannot take it.
func (c *conn) deliver(d *broker.Delivery) {
	p, ok := d.Sub.Data.(*part)
	switch {
	case !ok:
		return
	case p.cons.closed:
		c.collect(d.Queue, d.Lease, broker.Unsent)
	case len(p.cons.held) > 0 || p.cons.stopped || c.choked():
		p.cons.held = append(p.cons.held, *d)
		c.hold(p.cons)
	default:
		c.dispatch(p, d)
	}
}

// fullCheck is how many bytes of deliveries are written before the link is
// asked again whether it is full.
const fullCheck = 64 << 10

// choked says that the client is too slow for more deliveries.
func (c *conn) choked() bool {
	if !c.full && c.unseen >= fullCheck {
		c.unseen = 0
		c.write()
		c.full = c.link.Full()
	}
	return c.full
}

// hold remembers that a consumer has deliveries waiting for the link.
func (c *conn) hold(cons *consumer) {
	if !cons.holding {
		cons.holding = true
		c.holding = append(c.holding, cons)
	}
}

// unhold writes what was held back, as far as the link takes it.
func (c *conn) unhold() {
	list := c.holding
	c.holding = nil
	for _, cons := range list {
		cons.holding = false
		c.release(cons)
	}
	c.settleDeliveries()
}

// release writes a consumer's held deliveries.
func (c *conn) release(cons *consumer) {
	if c.state != running {
		return
	}
	if cons.browse != nil {
		c.showNext(cons)
		return
	}
	n := 0
	for n < len(cons.held) && !cons.stopped && !c.choked() {
		d := &cons.held[n]
		c.dispatch(d.Sub.Data.(*part), d)
		n++
	}
	rest := copy(cons.held, cons.held[n:])
	clear(cons.held[rest:])
	cons.held = cons.held[:rest]
	if rest == 0 {
		cons.held = nil
		return
	}
	if !cons.stopped {
		c.hold(cons)
	}
}

// dispatch writes a delivery, unless the consumer passes over the message.
func (c *conn) dispatch(p *part, d *broker.Delivery) {
	cons, m := p.cons, d.Msg
	size := m.Size()
	image := d.Offset == delivery.Image
	if cons.passes != nil && !cons.passes(m, arrived) {
		if d.Lease != 0 {
			c.collect(d.Queue, d.Lease, broker.Accepted)
		}
		if !image {
			c.owed.Wrote(&p.Account, size)
		}
		return
	}
	c.put(p, d, d.Lease != 0 || image)
	if !image {
		c.owed.Wrote(&p.Account, size)
	}
	if cons.pulls > 0 {
		c.pulled(cons)
	}
}

// put writes a delivery. If it is counted, the client acknowledges it.
func (c *conn) put(p *part, d *broker.Delivery, counted bool) {
	cons, m := p.cons, d.Msg
	x := dispatch{
		Consumer: cons.id, Sequence: c.server.hub.sequence.Add(1), Now: c.turn.Now, GroupFirst: d.GroupFirst,
		Redelivered: redeliveries(d.Past()),
	}
	p.address(&x, m)
	seen := c.tellDispatched(d, &x)
	if counted {
		cons.ledger.Add(delivery.Unsettled[lent]{
			Data: lent{part: p, persistent: m.Persistent, seen: seen}, Tag: uint64(x.Sequence), Queue: d.Queue, Lease: d.Lease,
		})
	}
	before := len(c.buffer())
	c.out = appendDispatch(c.out, c.format, c.broker, &x, m)
	c.unseen += len(c.out) - before
}

// arrived is the past of every message for a subscription to topics: what it
// wants is decided once, as its messages arrive. A redelivery must not make it
// drop one that it took.
var arrived broker.Past

// redeliveries is the redeliveryCounter of a message: JMS knows no delivery
// that does not count.
func redeliveries(p broker.Past) int32 {
	n := int32(min(p.Count, 1<<30))
	if p.Redelivered && n == 0 {
		return 1
	}
	return n
}

// address says which destination a consumer sees.
func (p *part) address(x *dispatch, m *broker.Message) {
	if !p.queue.IsNull() {
		x.Destination = p.queue
		if m.Exchange == broker.TopicExchange {
			x.Original = wire.Destination{Kind: wire.TypeTopic, Name: m.RoutingKey} // a virtual topic's
		}
		return
	}
	cons := p.cons
	if m.RoutingKey != cons.lastTopic.Name {
		cons.lastTopic = topicOf(strings.Clone(m.RoutingKey))
	}
	x.Destination = cons.lastTopic
}

// topicOf is a topic by its name. Names of temporary ones begin like the ids of
// connections.
func topicOf(name string) wire.Destination {
	if strings.HasPrefix(name, "ID:") {
		return wire.Destination{Kind: wire.TypeTempTopic, Name: name}
	}
	return wire.Destination{Kind: wire.TypeTopic, Name: name}
}

// queueOf is a queue by its name.
func queueOf(name string) wire.Destination {
	if strings.HasPrefix(name, "ID:") {
		return wire.Destination{Kind: wire.TypeTempQueue, Name: name}
	}
	return wire.Destination{Kind: wire.TypeQueue, Name: name}
}

// settleDeliveries returns the credit of what was written, unless the client
// is too slow: then it waits for Drained.
func (c *conn) settleDeliveries() {
	if !c.owed.Any() || c.state == over {
		return
	}
	c.unseen = 0
	c.write()
	if c.full = c.link.Full(); !c.full {
		c.owed.Repay(&c.turn)
	}
}
