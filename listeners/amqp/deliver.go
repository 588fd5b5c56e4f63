package amqp

import (
	"github.com/hermodmq/hermod/broker"
	"github.com/hermodmq/hermod/listeners/amqp/wire"
)

// deliver takes a message for a consumer: onto the wire, or aside while the
// client cannot take it.
func (ch *channel) deliver(d *broker.Delivery) {
	cons, ok := d.Sub.Data.(*consumer)
	switch {
	case !ok:
		return
	case cons.cancelled && d.Lease != 0:
		ch.unsend(d)
	case !cons.cancelled && (!cons.started || len(cons.held) > 0 || ch.conn.choked()):
		cons.held = append(cons.held, *d)
		if cons.started {
			ch.conn.hold(cons)
		}
	default:
		ch.writeDelivery(cons, d)
	}
}

// unsend gives a delivery back that never left.
func (ch *channel) unsend(d *broker.Delivery) {
	if d.Queue != nil && d.Lease != 0 {
		ch.session.Settle(&ch.conn.turn, d.Queue, []broker.Lease{d.Lease}, broker.Unsent)
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
		cons.release()
	}
	c.settleDeliveries()
}

// release writes a consumer's held deliveries once it has started. Those of a
// cancelled consumer go back, unless they count as settled: then they must
// leave whatever the link says.
func (cons *consumer) release() {
	ch := cons.ch
	if ch.ended {
		cons.held = nil
		return
	}
	if !cons.started {
		return
	}
	c := ch.conn
	n := 0
	for n < len(cons.held) && (cons.cancelled || !c.choked()) {
		d := &cons.held[n]
		n++
		if cons.cancelled && d.Lease != 0 {
			ch.unsend(d)
			continue
		}
		ch.writeDelivery(cons, d)
	}
	rest := copy(cons.held, cons.held[n:])
	clear(cons.held[rest:])
	cons.held = cons.held[:rest]
	if rest == 0 {
		cons.held = nil
		return
	}
	c.hold(cons)
}

// writeDelivery puts a basic.deliver into the output.
func (ch *channel) writeDelivery(cons *consumer, d *broker.Delivery) {
	c, m := ch.conn, d.Msg
	tag := ch.issue(d)
	raw := c.properties(d)
	c.out = wire.AppendDeliver(c.buffer(), ch.id, cons.tag, tag, d.Redelivered, m.Exchange, m.RoutingKey, raw, c.broker.Body(m), c.frameMax)
	size := m.Size()
	c.unseen += size + wire.FrameOverhead
	c.owed.Wrote(&cons.account, size)
}

// writeGet puts a basic.get-ok into the output.
func (ch *channel) writeGet(d *broker.Delivery) {
	if ch.ended {
		return
	}
	c, m := ch.conn, d.Msg
	tag := ch.issue(d)
	raw := c.properties(d)
	c.out = wire.AppendGetOk(c.buffer(), ch.id, tag, d.Redelivered, m.Exchange, m.RoutingKey, uint32(max(d.Remaining, 0)), raw, c.broker.Body(m), c.frameMax)
}

// issue gives a delivery its tag and, if it has to be settled, an entry in the
// ledger.
func (ch *channel) issue(d *broker.Delivery) uint64 {
	ch.lastTag++
	if d.Lease != 0 {
		ch.ledger.Add(unsettled{Tag: ch.lastTag, Queue: d.Queue, Lease: d.Lease})
	}
	return ch.lastTag
}

// settleDeliveries returns the credit of what was written, unless the client
// is too slow: then it waits for Drained.
func (c *conn) settleDeliveries() {
	if !c.owed.Any() {
		return
	}
	c.unseen = 0
	c.write()
	if c.full = c.link.Full(); !c.full {
		c.owed.Repay(&c.turn)
	}
}

// properties returns the property list to send with a delivery. Most are the
// bytes the publisher sent; the result is valid until the next call.
func (c *conn) properties(d *broker.Delivery) []byte {
	m := d.Msg
	counted := d.Count > 0 && d.Queue != nil && d.Queue.ShowsCount()
	if m.Format == broker.FormatAMQP091 && m.Notes == nil && !counted && d.Offset < 0 {
		return m.Native
	}
	raw := m.Native
	if m.Format != broker.FormatAMQP091 {
		raw = c.foreign(m)
	}
	var p patch
	p.note(m)
	if counted {
		p.set = append(p.set, wire.Field{Name: "x-delivery-count", Value: int64(d.Count)})
	}
	if d.Offset >= 0 {
		p.set = append(p.set, wire.Field{Name: "x-stream-offset", Value: d.Offset})
	}
	return p.apply(raw)
}

// patch is what has to change in a property list before it is sent.
type patch struct {
	set      []wire.Field
	remove   []string
	replyTo  string
	stripTTL bool
}

// deathHeaders are those the broker writes about dead letters; a client's own
// of these names are replaced.
var deathHeaders = []string{
	"x-death", "x-first-death-exchange", "x-first-death-queue", "x-first-death-reason",
	"x-last-death-exchange", "x-last-death-queue", "x-last-death-reason",
}

// note collects the changes that a message's notes ask for.
func (p *patch) note(m *broker.Message) {
	n := m.Notes
	if n == nil {
		return
	}
	p.replyTo, p.stripTTL = n.ReplyTo, n.StripTTL
	p.remove = append(p.remove, n.DropHeaders...)
	if len(n.Deaths) == 0 {
		return
	}
	p.remove = append(p.remove, deathHeaders...)
	deaths := make(wire.Array, len(n.Deaths))
	for i := range n.Deaths {
		deaths[i] = deathTable(&n.Deaths[i])
	}
	p.set = append(p.set, wire.Field{Name: "x-death", Value: deaths})
	p.death("x-first-death-", n.FirstDeath)
	p.death("x-last-death-", n.LastDeath)
}

func (p *patch) death(prefix string, d *broker.Death) {
	if d != nil {
		p.set = append(p.set,
			wire.Field{Name: prefix + "exchange", Value: d.Exchange},
			wire.Field{Name: prefix + "queue", Value: d.Queue},
			wire.Field{Name: prefix + "reason", Value: d.Reason.String()})
	}
}

// deathTable is one entry of x-death in RabbitMQ's form.
func deathTable(d *broker.Death) wire.Table {
	keys := make(wire.Array, len(d.RoutingKeys))
	for i, k := range d.RoutingKeys {
		keys[i] = k
	}
	t := wire.Table{
		{Name: "count", Value: d.Count},
		{Name: "reason", Value: d.Reason.String()},
		{Name: "queue", Value: d.Queue},
		{Name: "time", Value: wire.Timestamp(d.Time / 1000)},
		{Name: "exchange", Value: d.Exchange},
		{Name: "routing-keys", Value: keys},
	}
	if d.OriginalExpiration != broker.NoTTL {
		t = append(t, wire.Field{Name: "original-expiration", Value: itoa(int(d.OriginalExpiration))})
	}
	return t
}

// apply returns the changed property list. Lists were checked on arrival; one
// that cannot be read is sent as it is.
func (p *patch) apply(raw []byte) []byte {
	if len(p.set)+len(p.remove) > 0 {
		if out, err := wire.PatchHeaders(raw, p.set, p.remove); err == nil {
			raw = out
		}
	}
	if p.stripTTL {
		if out, err := wire.ClearProperty(raw, wire.PropExpiration); err == nil {
			raw = out
		}
	}
	if p.replyTo != "" {
		if out, err := wire.SetProperty(raw, wire.PropReplyTo, p.replyTo); err == nil {
			raw = out
		}
	}
	return raw
}
