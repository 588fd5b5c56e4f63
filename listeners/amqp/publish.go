package amqp

import (
	"github.com/hermodmq/hermod/broker"
	"github.com/hermodmq/hermod/listeners/amqp/wire"
	"github.com/hermodmq/hermod/listeners/transport"
)

// basicPublish takes the method of a message; header and body follow.
func (ch *channel) basicPublish(payload []byte) error {
	if ch.conn.blocked() {
		return errLater
	}
	var m wire.PublishView
	if err := m.Decode(payload); err != nil {
		return err
	}
	if m.Immediate {
		return refuse(wire.NotImplemented, "immediate=true")
	}
	if string(m.Exchange) != ch.exchange {
		ch.exchange = string(m.Exchange)
	}
	p := &ch.publish
	p.expect = expectHeader
	p.mandatory = m.Mandatory
	p.exchange = ch.exchange
	p.key = append(p.key[:0], m.RoutingKey...)
	return nil
}

// contentHeader takes the properties of a message.
func (ch *channel) contentHeader(payload []byte) error {
	p := &ch.publish
	switch p.expect {
	case expectMethod:
		return refuse(wire.UnexpectedFrame, "expected method frame, got non method frame instead")
	case expectBody:
		return refuse(wire.UnexpectedFrame, "expected content body, got non content body frame instead")
	}
	var props wire.RawProperties
	h, err := wire.DecodeHeader(payload, &props)
	if err != nil {
		return err
	}
	if limit := ch.conn.broker.MaxMessageSize(); h.BodySize > uint64(limit) {
		if h.BodySize > maxDeclaredBody {
			return refuse(wire.FrameError, "content body of %d bytes announced", h.BodySize)
		}
		return refuse(wire.PreconditionFailed, "message size %d is larger than configured max size %d", h.BodySize, limit)
	}
	if err := p.traits.read(&props, ch.conn.user); err != nil {
		return err
	}
	p.size = int(h.BodySize)
	p.native = append(p.native[:0], h.Raw...)
	if p.size == 0 {
		p.start(0)
		return ch.assembled()
	}
	p.expect = expectBody
	return nil
}

// contentBody takes a piece of a message's body.
func (ch *channel) contentBody(payload []byte) error {
	p := &ch.publish
	switch p.expect {
	case expectMethod:
		return refuse(wire.UnexpectedFrame, "expected method frame, got non method frame instead")
	case expectHeader:
		return refuse(wire.UnexpectedFrame, "expected content header for class 60, got non content header frame instead")
	}
	complete, err := p.append(payload)
	if err != nil {
		return err
	}
	if !complete {
		return ch.conn.assemble(len(payload), p)
	}
	return ch.assembled()
}

// assembleMessages is how many messages of the greatest size a connection may
// have under way, spread over its channels.
const assembleMessages = 4

// assemble counts a piece of a body that is not complete.
func (c *conn) assemble(n int, p *pendingPublish) error {
	if limit := assembleMessages * c.broker.MaxMessageSize(); int64(c.assembling+n) > limit {
		return refuse(wire.ResourceError, "incomplete messages of more than %d bytes", limit)
	}
	if !c.broker.TakeIncomplete(n) {
		return refuse(wire.ResourceError, "incomplete messages of all connections take too much memory")
	}
	c.assembling += n
	p.counted += n
	return nil
}

// assembled completes what came frame by frame.
func (ch *channel) assembled() error {
	p := &ch.publish
	ch.conn.disassemble(p)
	m := p.message
	m.Exchange = p.exchange
	p.release()
	return ch.complete(m, p.mandatory)
}

// disassemble undoes assemble for all of a message.
func (c *conn) disassemble(p *pendingPublish) {
	c.broker.ReturnIncomplete(p.counted)
	c.assembling -= p.counted
	p.counted = 0
}

// wholePublish takes a message that lies in b as a whole, as nearly all do,
// without going through it frame by frame. It returns how many bytes it took,
// 0 if what is there is anything else.
func (c *conn) wholePublish(b []byte) int {
	ch := c.last
	if ch == nil || ch.ended || c.state != running || ch.publish.expect != expectMethod || c.alarms != 0 {
		return 0
	}
	var w wire.WholePublish
	n := c.slab.cut(&w, b, ch.id, c.frameMax)
	if n == 0 || w.Publish.Immediate || len(w.Body) > firstRoom || int64(len(w.Body)) > c.broker.MaxMessageSize() {
		return 0
	}
	t := &ch.publish.traits
	if err := t.read(&w.Properties, c.user); err != nil {
		return 0
	}
	c.current = wire.IDBasicPublish
	if string(w.Publish.Exchange) != ch.exchange {
		ch.exchange = string(w.Publish.Exchange)
	}
	if err := ch.complete(c.slab.message(&w, ch.exchange, n), w.Publish.Mandatory); err != nil {
		c.raise(ch, err)
	}
	return n
}

// complete gives a whole message to the core.
func (ch *channel) complete(m *broker.Message, mandatory bool) error {
	c := ch.conn
	t := &ch.publish.traits
	replyTo := ""
	if t.replyTo {
		if replyTo = ch.replyTo; replyTo == "" {
			return refuse(wire.PreconditionFailed, "fast reply consumer does not exist")
		}
	}
	m.Format = broker.FormatAMQP091
	m.Persistent, m.Priority, m.TTL = t.persistent, t.priority, t.ttl
	m.Received = c.turn.Now
	m.Notes = t.notes(c.turn.Now, replyTo)
	pub := broker.Publish{Exchange: m.Exchange, Msg: m, ExtraKeys: t.keys}

	if ch.confirms.on {
		pub.Receipt = ch.confirms.next()
	}
	res, err := ch.session.Publish(&c.turn, pub)
	if err != nil {
		return err
	}
	switch {
	case !mandatory || res.Routed:
	case ch.tx:
		ch.returns = append(ch.returns, m)
	default:
		ch.sendReturn(m)
	}
	if ch.confirms.on && !res.Pending {
		ch.decided(pub.Receipt, !res.Rejected)
	}
	c.published()
	return nil
}

// sendReturn gives an unroutable message back (AMQP 1.8.3.9).
func (ch *channel) sendReturn(m *broker.Message) {
	c := ch.conn
	c.out = wire.AppendReturn(c.buffer(), ch.id, wire.NoRoute, "NO_ROUTE", m.Exchange, m.RoutingKey, m.Native, m.Body, c.frameMax)
}

// decided notes the verdict on a publish, to be told at the end of the turn.
func (ch *channel) decided(number uint64, accepted bool) {
	v := taken
	if !accepted {
		v = refused
	}
	ch.confirms.decide(number, v)
	ch.touch()
}

// flushConfirms tells the verdicts, unless answers from before are waiting.
func (ch *channel) flushConfirms() {
	if len(ch.confirms.news) > 0 && len(ch.replies) == 0 {
		ch.conn.out = ch.confirms.append(ch.conn.buffer(), ch.id)
	}
}

// blocked stops a publisher before its next message while an alarm is in force,
// and tells it. Connections that only consume are left alone.
func (c *conn) blocked() bool {
	if c.alarms == 0 {
		return false
	}
	if c.client.blocked {
		c.send(0, &wire.ConnectionBlocked{Reason: c.alarms.String()})
	}
	c.pause(whyAlarm)
	return true
}

// published stops reading from a publisher while the store is congested. The
// message that brought it about still counts.
func (c *conn) published() {
	if c.paused&whyStore == 0 && c.broker.Congested() {
		c.pause(whyStore)
		link := c.link
		c.broker.OnRelief(func() { link.Post(transport.Event{Kind: eventRelief}) })
	}
}

// alarmsChanged lets a blocked publisher go on when the last alarm is over.
func (c *conn) alarmsChanged(a broker.Alarm) {
	c.alarms = a
	if a != 0 || c.paused&whyAlarm == 0 || c.state != running {
		return
	}
	if c.client.blocked {
		c.send(0, &wire.ConnectionUnblocked{})
	}
	c.resume(whyAlarm)
}

// forced ends the connection by order of an operator.
func (c *conn) forced(code broker.Kind, text string) {
	c.current = 0
	if code == broker.Internal {
		c.fail(&exception{wire.InternalError, text})
		return
	}
	c.fail(&exception{wire.ConnectionForced, text})
}
