package mqtt

import (
	"bytes"
	"strings"
	"unicode/utf8"
	"unsafe"

	"github.com/hermodmq/hermod/broker"
	"github.com/hermodmq/hermod/broker/topic"
	"github.com/hermodmq/hermod/listeners/delivery"
	"github.com/hermodmq/hermod/listeners/mqtt/wire"
)

// appendKey appends the routing key of a topic.
func appendKey[S ~string | ~[]byte](dst []byte, name S) []byte { return topic.Slashes(dst, name) }

// publishable refuses topics that belong to the server: $SYS and $share.
func publishable(name string) bool {
	return !strings.HasPrefix(name, "$SYS/") && name != "$SYS" && !strings.HasPrefix(name, "$share/")
}

// onPublish takes a message (section 3.3).
func (c *conn) onPublish(h wire.Header, body []byte) error {
	p, err := wire.DecodePublish(h, body, c.version, false)
	if err != nil {
		return err
	}
	c.traffic.publishReceived++
	if err := c.resolveAlias(&p); err != nil {
		return err
	}
	if bytes.Count(p.Topic, []byte{'/'}) >= c.opt.MaxTopicLevels {
		return refuse(wire.TopicNameInvalid, "topic has too many levels")
	}
	switch {
	case p.QoS > c.opt.maxQoS():
		return refuse(wire.QoSNotSupported, "QoS is not supported") // [MQTT-3.2.2-11]
	case p.Retain && c.opt.NoRetain:
		return refuse(wire.RetainNotSupported, "retained messages are not supported") // [MQTT-3.2.2-14]
	case !c.published.more(c.turn.Now, c.opt.PublishRate):
		return refuse(wire.MessageRateTooHigh, "more messages per second than allowed")
	}
	if p.QoS > 0 {
		if c.receiving >= int(c.opt.ReceiveMaximum) {
			return refuse(wire.ReceiveMaximumExceeded, "receive maximum exceeded")
		}
		c.receiving++
	}
	if p.QoS == 2 {
		if _, again := c.session.received[p.PacketID]; again {
			c.receiving--
			c.acks.push(wire.Ack{Type: wire.PUBREC, PacketID: p.PacketID}, 0)
			return nil
		}
	}
	err = c.take(&p)
	c.congested()
	if err != nil {
		return c.refusePublish(&p, err)
	}
	return nil
}

// resolveAlias replaces an alias by its topic and learns new ones (3.3.2.3.4).
func (c *conn) resolveAlias(p *wire.Publish) error {
	v, ok := p.Props.Find(wire.TopicAlias)
	if !ok {
		return nil
	}
	alias := int(v.Number)
	if alias > int(c.opt.TopicAliases) {
		return refuse(wire.TopicAliasInvalid, "topic alias exceeds the maximum")
	}
	for len(c.aliases) < alias {
		c.aliases = append(c.aliases, "")
	}
	if len(p.Topic) > 0 {
		c.aliases[alias-1] = string(p.Topic)
		return nil
	}
	known := c.aliases[alias-1]
	if known == "" {
		return refuse(wire.ProtocolError, "topic alias is not known")
	}
	p.Topic = []byte(known)
	return nil
}

// refusePublish answers a message that was not taken.
func (c *conn) refusePublish(p *wire.Publish, why error) error {
	reason := reasonOf(why)
	if c.version != wire.V5 && !c.opt.KeepRefused {
		return refuse(reason, "publish refused")
	}
	a := wire.Ack{Type: wire.PUBACK, PacketID: p.PacketID, Reason: reason}
	a.Props = c.explain(why)
	switch p.QoS {
	case 2:
		a.Type = wire.PUBREC
		fallthrough
	case 1:
		c.acks.push(a, 0)
	}
	return nil
}

// explain is the reason string of an error for a client that wants them.
func (c *conn) explain(err error) wire.Properties {
	if c.version != wire.V5 || !c.problems {
		return nil
	}
	text := ""
	if e, ok := err.(*wire.Error); ok {
		text = e.Text
	} else if e, ok := err.(*broker.Error); ok {
		text = e.Text
	}
	if text == "" || !valid(text) {
		return nil
	}
	return wire.Properties(nil).AppendText(wire.ReasonString, text)
}

// errQueueFull is the verdict of a queue that takes no more.
var errQueueFull = &wire.Error{Code: wire.QuotaExceeded, Text: "a queue is full"}

// take gives a message to the core and queues its acknowledgement. An error says
// that the message was refused and nothing was queued.
func (c *conn) take(p *wire.Publish) error {
	s := c.session
	if p.Topic[0] == '$' && !publishable(string(p.Topic)) {
		return refuse(wire.NotAuthorized, "topic belongs to the server")
	}
	if c.opt.CheckPayload && p.Props.Number(wire.PayloadFormat, 0) == 1 && !utf8.Valid(p.Payload) {
		return refuse(wire.PayloadFormatInvalid, "payload is not UTF-8")
	}
	m := c.message(p)
	pub := broker.Publish{Exchange: exchange, Msg: m}
	if p.QoS > 0 {
		// The verdicts may come before Publish returns: the entry is first.
		pub.Receipt = c.acks.push(wire.Ack{Type: wire.PUBACK, PacketID: p.PacketID}, 1)
	}
	if p.QoS == 2 && s.durable {
		pub.Facts = []broker.Definition{s.receivedFact(p.PacketID)}
	}
	r, err := c.publisher().Publish(&c.turn, pub)
	if err != nil {
		if p.QoS > 0 {
			c.acks.pop()
		}
		return err
	}
	number := pub.Receipt
	pending := 0
	if r.Pending {
		pending++
	}
	if p.QoS == 2 {
		s.noteReceived(p.PacketID)
		if !r.Routed && s.durable {
			c.broker.StoreFacts(pub.Facts, c.whenStored(number))
			pending++
		}
	}
	refused := r.Rejected && !r.Pending
	if p.Retain {
		var done func(*broker.Turn)
		if p.QoS > 0 {
			done = c.whenStored(number)
			pending++
		}
		if err := retain(&c.turn, s.host, string(p.Topic), m, done); err != nil {
			refused = true
			pending--
		}
	}
	if p.QoS > 0 {
		a := c.acks.at(number)
		if p.QoS == 2 {
			a.ack.Type = wire.PUBREC
		}
		a.waits += pending - 1
		if refused {
			a.refuse(c)
		} else if !r.Routed && c.version == wire.V5 {
			a.ack.Reason = wire.NoMatchingSubscribers
		}
	}
	return nil
}

// pop takes back the acknowledgement that was pushed last.
func (q *ackQueue) pop() { q.list = q.list[:len(q.list)-1] }

// message makes the core's message of a PUBLISH: routing key, properties and
// payload are one allocation, with the message itself if they are short.
func (c *conn) message(p *wire.Publish) *broker.Message {
	m, buf := delivery.NewMessage(len(p.Topic) + nativeHeader + len(p.Props) + len(p.Payload))
	buf = appendKey(buf[:0], p.Topic)
	k := len(buf)
	buf = appendNative(buf, p.QoS, p.Retain, c.session.hash, p.Props)
	n := len(buf)
	buf = append(buf, p.Payload...)
	m.Exchange = exchange
	m.RoutingKey = unsafe.String(unsafe.SliceData(buf), k)
	m.Native, m.Body = buf[k:n:n], buf[n:len(buf):len(buf)]
	m.Format, m.Persistent = broker.FormatMQTT, p.QoS > 0
	m.TTL, m.Received = expiryOf(p.Props), c.turn.Now
	return m
}

// onAck carries out one of the four acknowledgements.
func (c *conn) onAck(t wire.Type, body []byte) error {
	a, err := wire.DecodeAck(t, body, c.version)
	if err != nil {
		return err
	}
	switch t {
	case wire.PUBACK:
		c.onPuback(&a)
	case wire.PUBREC:
		c.onPubrec(&a)
	case wire.PUBREL:
		c.onPubrel(&a)
	case wire.PUBCOMP:
		c.onPubcomp(&a)
	}
	c.pump()
	return nil
}

// onPubrel ends the receipt of a QoS 2 message; PUBCOMP leaves when that is
// durable.
func (c *conn) onPubrel(a *wire.Ack) {
	s := c.session
	answer := wire.Ack{Type: wire.PUBCOMP, PacketID: a.PacketID}
	if _, have := s.received[a.PacketID]; !have {
		answer.Reason = wire.PacketIDNotFound
		c.receiving++ // flushAcks counts it down
		c.acks.push(answer, 0)
		return
	}
	delete(s.received, a.PacketID)
	if !s.durable {
		c.acks.push(answer, 0)
		return
	}
	number := c.acks.push(answer, 1)
	c.broker.StoreFacts([]broker.Definition{s.receivedGone(a.PacketID)}, c.whenStored(number))
}
