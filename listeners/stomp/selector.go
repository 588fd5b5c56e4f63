package stomp

import (
	"github.com/hermodmq/hermod/broker"
	"github.com/hermodmq/hermod/broker/selector"
	"github.com/hermodmq/hermod/listeners/stomp/wire"
)

// skips reports whether the subscription wants nothing of a delivery of a queue
// of its own. That is decided once, as messages arrive: a redelivery must not
// make it drop one that it took.
func (src *source) skips(d *broker.Delivery) bool {
	return src.passes != nil && !src.passes(d.Msg, broker.Past{})
}

// choose finds out which messages a subscription wants: those that its selector
// selects and, if it is to get none of this connection's, that have not come by
// it since the first such wish.
func (c *conn) choose(w *wish) {
	b, s := c.broker, w.selector
	w.noLocal = string(w.frame.Get("activemq.noLocal")) == "true" || string(w.frame.Get("no-local")) == "true"
	if !w.noLocal {
		if s != nil {
			w.wants = func(m *broker.Message, past broker.Past) bool { return s.Matches(properties(b, m, past).lookup) }
		}
		return
	}
	if c.origin == "" {
		c.origin = randomText()[:originBytes]
	}
	origin := c.origin
	w.wants = func(m *broker.Message, past broker.Past) bool {
		return !sentBy(m, origin) && (s == nil || s.Matches(properties(b, m, past).lookup))
	}
}

// messageProperties is a message as a selector sees it.
type messageProperties struct {
	broker  *broker.Broker
	message *broker.Message
	past    broker.Past
	decoded *broker.Properties // of a message of another protocol, once it is needed
}

func properties(b *broker.Broker, m *broker.Message, past broker.Past) *messageProperties {
	return &messageProperties{broker: b, message: m, past: past}
}

// lookup finds a header of JMS or of the message's own.
func (p *messageProperties) lookup(name string) selector.Value {
	m := p.message
	switch name {
	case "JMSPriority":
		return selector.IntValue(p.priority())
	case "JMSDeliveryMode":
		if m.Persistent {
			return selector.StringValue("PERSISTENT")
		}
		return selector.StringValue("NON_PERSISTENT")
	case "JMSTimestamp":
		return selector.IntValue(m.Received)
	case "JMSExpiration":
		if m.TTL == broker.NoTTL {
			return selector.IntValue(0)
		}
		return selector.IntValue(m.Received + m.TTL)
	case "JMSRedelivered":
		return selector.BoolValue(p.past.Redelivered)
	case "JMSXDeliveryCount":
		return selector.IntValue(deliveries(p.past))
	case "JMSActiveMQBrokerInTime":
		return selector.IntValue(m.Received)
	case "JMSDestination":
		return jmsDestination(m)
	case "JMSType":
		return p.field("type")
	case "JMSCorrelationID":
		return p.field("correlation-id")
	case "JMSReplyTo":
		return p.field("reply-to")
	case "JMSMessageID":
		return p.field("amqp-message-id")
	case "JMSXUserID":
		return p.field("user-id")
	}
	return p.field(name)
}

// priority is that of the message as JMS has it: its default if the sender asked
// for none.
func (p *messageProperties) priority() int64 {
	m := p.message
	if m.Priority > 0 || m.Format == broker.FormatOpen {
		return int64(m.Priority)
	}
	if _, asked := lookupLine(lines(m), "priority"); asked {
		return 0
	}
	return defaultPriority
}

// deliveries counts a message's deliveries with the one to come, as JMS does:
// every one counts.
func deliveries(p broker.Past) int64 {
	if p.Redelivered {
		return max(int64(p.Count), 1) + 1
	}
	return 1
}

func jmsDestination(m *broker.Message) selector.Value {
	if m.Exchange == "" {
		return selector.StringValue("queue://" + m.RoutingKey)
	}
	return selector.StringValue("topic://" + m.RoutingKey)
}

// field finds a header by the name STOMP has for it.
func (p *messageProperties) field(name string) selector.Value {
	if p.message.Format == broker.FormatSTOMP {
		value, ok := lookupLine(lines(p.message), name)
		if !ok {
			return selector.Value{}
		}
		return selector.StringValue(string(wire.AppendUnescaped(nil, value)))
	}
	if p.decoded == nil {
		d, err := p.broker.Properties(p.message)
		if err != nil || d == nil {
			d = new(broker.Properties)
		}
		p.decoded = d
	}
	return foreignField(p.decoded, name)
}

func foreignField(d *broker.Properties, name string) selector.Value {
	text := ""
	switch name {
	case "content-type":
		text = d.ContentType
	case "content-encoding":
		text = d.ContentEncoding
	case "correlation-id":
		text = d.CorrelationID
	case "reply-to":
		text = d.ReplyTo
	case "amqp-message-id":
		text = d.MessageID
	case "type":
		text = d.Type
	case "user-id":
		text = d.UserID
	case "app-id":
		text = d.AppID
	default:
		v, ok := d.Headers.Get(name)
		if !ok {
			return selector.Value{}
		}
		return valueOf(v)
	}
	if text == "" {
		return selector.Value{}
	}
	return selector.StringValue(text)
}

// valueOf is a typed header as a selector compares it.
func valueOf(v broker.Value) selector.Value {
	switch v := v.(type) {
	case bool:
		return selector.BoolValue(v)
	case string:
		return selector.StringValue(v)
	case float32:
		return selector.FloatValue(float64(v))
	case float64:
		return selector.FloatValue(v)
	case broker.Timestamp:
		return selector.IntValue(int64(v))
	}
	if n, ok := broker.Int(v); ok {
		return selector.IntValue(n)
	}
	return selector.Value{}
}
