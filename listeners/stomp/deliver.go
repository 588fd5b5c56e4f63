package stomp

import (
	"bytes"
	"strconv"

	"github.com/hermodmq/hermod/broker"
	"github.com/hermodmq/hermod/listeners/delivery"
	"github.com/hermodmq/hermod/listeners/stomp/wire"
)

// deliver takes a message for a consumer: onto the wire, or aside while the
// client cannot take it.
func (c *conn) deliver(d *broker.Delivery) {
	src, ok := d.Sub.Data.(*source)
	if !ok {
		return
	}
	cons := src.cons
	switch {
	case cons.cancelled && d.Lease != 0:
		c.collect(d.Queue, d.Lease, broker.Unsent)
	case !cons.cancelled && (!cons.started || len(cons.held) > 0 || c.choked()):
		cons.held = append(cons.held, *d)
		if cons.started {
			c.hold(cons)
		}
	default:
		c.writeDelivery(src, d)
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

// release writes a consumer's held deliveries once it has started. Those of a
// cancelled consumer go back, unless they count as settled: then they must
// leave whatever the link says.
func (c *conn) release(cons *consumer) {
	if c.state == over || !cons.started {
		return
	}
	n := 0
	for n < len(cons.held) && (cons.cancelled || !c.choked()) {
		d := &cons.held[n]
		n++
		if cons.cancelled && d.Lease != 0 {
			c.collect(d.Queue, d.Lease, broker.Unsent)
			continue
		}
		c.writeDelivery(d.Sub.Data.(*source), d)
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

// writeDelivery puts a MESSAGE into the output, unless the subscription's
// selector passes over the message.
func (c *conn) writeDelivery(src *source, d *broker.Delivery) {
	m, image := d.Msg, d.Offset == delivery.Image
	if src.skips(d) {
		if d.Lease != 0 {
			c.collect(d.Queue, d.Lease, broker.Accepted)
		}
	} else {
		c.lastTag++
		if d.Lease != 0 || image && src.cons.mode != ackAuto {
			c.ledger.Add(unsettled{Tag: c.lastTag, Data: src.cons, Queue: d.Queue, Lease: d.Lease})
		}
		c.appendMessage(src.cons, d, "")
		c.unseen += m.Size() + frameOverhead
	}
	if !image {
		c.owed.Wrote(&src.Account, m.Size())
	}
}

// showImages gives a subscription that asked for them the last messages of its
// topic, before anything that comes to its queue.
func (c *conn) showImages(src *source, images []*broker.Message) {
	for _, m := range images {
		c.deliver(&broker.Delivery{Sub: src.Sub, Queue: src.Sub.Queue, Msg: m, Offset: delivery.Image})
	}
}

// frameOverhead is about what the headers of MESSAGE take that a message does
// not carry.
const frameOverhead = 160

// appendMessage appends a MESSAGE numbered c.lastTag. browser is the value of
// a header of that name, "" for none.
func (c *conn) appendMessage(cons *consumer, d *broker.Delivery, browser string) {
	m := d.Msg
	dst := wire.AppendCommand(c.buffer(), "MESSAGE")
	dst = append(dst, cons.subscription...)
	dst = c.appendDestination(dst, cons, d)
	dst = append(dst, "message-id:"...)
	dst = append(dst, cons.prefix...)
	dst = strconv.AppendUint(dst, c.lastTag, 10)
	if d.Redelivered {
		dst = append(dst, "\nredelivered:true\n"...)
	} else {
		dst = append(dst, "\nredelivered:false\n"...)
	}
	if c.version == wire.V12 && cons.mode != ackAuto {
		dst = append(dst, "ack:"...)
		dst = append(dst, cons.prefix...)
		dst = strconv.AppendUint(dst, c.lastTag, 10)
		dst = append(dst, '\n')
	}
	if browser != "" {
		dst = wire.AppendPlainHeader(dst, "browser", browser)
	}
	native := c.lines(m)
	headers, body, transformed := []byte(nil), []byte(nil), false
	if cons.form != formNone {
		headers, body, transformed = c.transform(cons, m, native)
	}
	if transformed {
		native = headers
	} else {
		body = c.broker.Body(m)
	}
	dst = c.appendHeaders(dst, d, native)
	dst = wire.AppendNumber(dst, "content-length", int64(len(body)))
	c.out = wire.AppendBody(dst, body)
}

// appendDestination names where a message was sent to. ActiveMQ's clients are
// told the place of theirs, or the queue, that they read it from, and beside it
// the topic that fed that queue.
func (c *conn) appendDestination(dst []byte, cons *consumer, d *broker.Delivery) []byte {
	m := d.Msg
	dst = append(dst, "destination:"...)
	if c.opt.Dialect != ActiveMQ {
		return append(c.appendOrigin(dst, m), '\n')
	}
	switch {
	case cons.dest.kind == destTempQueue && m.Exchange == "":
		dst = wire.AppendEscaped(dst, c.version, cons.dest.text, false)
	case d.Queue != nil && m.Exchange == topicExchange && isVirtual(d.Queue.Name()):
		dst = wire.AppendEscaped(append(dst, queuePrefix...), c.version, d.Queue.Name(), false)
		dst = c.appendOrigin(append(dst, "\noriginal-destination:"...), m)
	default:
		dst = c.appendOrigin(dst, m)
	}
	return append(dst, '\n')
}

func isVirtual(queue string) bool {
	_, ok := broker.VirtualTopic(queue)
	return ok
}

func (c *conn) appendOrigin(dst []byte, m *broker.Message) []byte {
	start := len(dst)
	dst = appendOrigin(dst, c.opt.Dialect, m)
	if bytes.IndexByte(dst[start:], ':') >= 0 || bytes.ContainsAny(dst[start:], "\n\r\\\x00") {
		origin := bytes.Clone(dst[start:])
		dst = wire.AppendEscaped(dst[:start], c.version, origin, false)
	}
	return dst
}

// lines are the header lines of a message that arrived over whatever protocol,
// in canonical form, until the next call.
func (c *conn) lines(m *broker.Message) []byte {
	if m.Format == broker.FormatSTOMP {
		return lines(m)
	}
	c.foreign = appendForeign(c.foreign[:0], c.opt.Dialect, c.broker, m)
	native := c.foreign
	if cap(c.foreign) > nativeKeep {
		c.foreign = nil
	}
	return native
}

// appendHeaders appends the headers a message carries and what the broker has
// to say about it.
func (c *conn) appendHeaders(dst []byte, d *broker.Delivery, native []byte) []byte {
	m := d.Msg
	if c.opt.Dialect == ActiveMQ {
		dst = appendJMS(dst, m, native)
	}
	if n := m.Notes; n != nil && (n.StripTTL || n.ReplyTo != "" || len(n.Deaths) > 0) || c.opt.Dialect == ActiveMQ {
		dst = c.appendPatched(dst, m, native)
	} else if c.version == wire.V12 || bytes.IndexByte(native, '\\') < 0 {
		dst = append(dst, native...)
	} else {
		dst = c.appendLines(dst, native, func([]byte) bool { return true })
	}
	if d.Count > 0 && d.Queue != nil && d.Queue.ShowsCount() {
		dst = wire.AppendNumber(dst, "x-delivery-count", int64(d.Count))
	}
	if d.Offset >= 0 {
		dst = wire.AppendNumber(dst, "x-stream-offset", d.Offset)
	}
	return dst
}

func (c *conn) appendLines(dst, native []byte, keep func(name []byte) bool) []byte {
	for {
		name, value, rest, ok := wire.NextLine(native)
		if !ok {
			return dst
		}
		native = rest
		if keep(name) {
			dst = wire.AppendLineFor(dst, c.version, name, value)
		}
	}
}

// appendPatched appends the headers of a message that has notes, or that goes
// to a client of ActiveMQ, who is told some of them in another way.
func (c *conn) appendPatched(dst []byte, m *broker.Message, native []byte) []byte {
	n := m.Notes
	if n == nil {
		n = &noNotes
	}
	if n.ReplyTo != "" {
		dst = wire.AppendHeader(dst, c.version, "reply-to", n.ReplyTo)
	}
	dst = c.appendDeath(dst, "x-first-death-", n.FirstDeath)
	dst = c.appendDeath(dst, "x-last-death-", n.LastDeath)
	activemq := c.opt.Dialect == ActiveMQ
	return c.appendLines(dst, native, func(name []byte) bool {
		switch string(name) {
		case "reply-to":
			return n.ReplyTo == ""
		case "expiration":
			return !n.StripTTL
		case "expires":
			return !n.StripTTL && !activemq
		case "priority", "timestamp":
			return !activemq
		}
		return len(n.Deaths) == 0 || !bytes.HasPrefix(name, []byte("x-first-death-")) && !bytes.HasPrefix(name, []byte("x-last-death-"))
	})
}

var noNotes broker.Notes

func (c *conn) appendDeath(dst []byte, prefix string, d *broker.Death) []byte {
	if d == nil {
		return dst
	}
	dst = wire.AppendHeader(dst, c.version, prefix+"exchange", d.Exchange)
	dst = wire.AppendHeader(dst, c.version, prefix+"queue", d.Queue)
	return wire.AppendHeader(dst, c.version, prefix+"reason", d.Reason.String())
}

// defaultPriority is what JMS gives messages that ask for none.
const defaultPriority = 4

// appendJMS appends the headers that ActiveMQ's clients find in every message.
func appendJMS(dst []byte, m *broker.Message, native []byte) []byte {
	expires, priority := int64(0), int64(defaultPriority)
	if m.TTL != broker.NoTTL && (m.Notes == nil || !m.Notes.StripTTL) {
		expires = m.Received + m.TTL
	}
	if _, ok := lookupLine(native, "priority"); ok {
		priority = int64(m.Priority)
	}
	dst = wire.AppendNumber(dst, "expires", expires)
	dst = wire.AppendNumber(dst, "priority", priority)
	return wire.AppendNumber(dst, "timestamp", m.Received)
}

// lookupLine finds the value, still escaped, of the first line called name.
func lookupLine(native []byte, name string) ([]byte, bool) {
	for {
		n, value, rest, ok := wire.NextLine(native)
		if !ok {
			return nil, false
		}
		if string(n) == name {
			return value, true
		}
		native = rest
	}
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
