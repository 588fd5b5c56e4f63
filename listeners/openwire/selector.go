package openwire

import (
	"encoding/binary"

	"github.com/hermodmq/hermod/broker"
	"github.com/hermodmq/hermod/broker/selector"
	"github.com/hermodmq/hermod/listeners/openwire/wire"
)

// filterOf is the filter of a subscription with a selector.
func filterOf(b *broker.Broker, s *selector.Selector) broker.Filter {
	return func(m *broker.Message, past broker.Past) bool { return selects(b, s, m, past) }
}

// selects reports whether a selector accepts a message with its past.
func selects(b *broker.Broker, s *selector.Selector, m *broker.Message, past broker.Past) bool {
	n, ok := viewOf(m)
	if !ok {
		return s.Matches((&foreignFields{broker: b, message: m, past: past}).lookup)
	}
	f := nativeFields{native: n, message: m, past: past}
	return s.Matches(f.lookup)
}

// core are the headers that every message of the core has.
func core(m *broker.Message, past broker.Past, name string) (v selector.Value, ok bool) {
	switch name {
	case "JMSRedelivered":
		return selector.BoolValue(redeliveries(past) > 0), true
	case "JMSXDeliveryCount":
		return selector.IntValue(int64(redeliveries(past)) + 1), true
	case "JMSPriority":
		if m.Format != broker.FormatOpen && m.Priority == 0 {
			return selector.IntValue(jmsPriority), true
		}
		return selector.IntValue(int64(m.Priority)), true
	case "JMSDeliveryMode":
		if m.Persistent {
			return selector.StringValue("PERSISTENT"), true
		}
		return selector.StringValue("NON_PERSISTENT"), true
	case "JMSActiveMQBrokerInTime":
		return selector.IntValue(m.Received), true
	case "JMSActiveMQBrokerOutTime": // these two are known once a consumer is chosen
		return selector.IntValue(0), true
	case "JMSXGroupFirstForConsumer":
		return selector.BoolValue(false), true
	}
	return v, false
}

// nativeFields are the fields of a message that came by OpenWire, looked up in
// the marshalled form.
type nativeFields struct {
	native
	message *broker.Message
	past    broker.Past
	decoded *wire.Message // all of it, for what is rarely asked for
}

func (f *nativeFields) lookup(name string) selector.Value {
	if len(name) > 3 && name[:3] == "JMS" {
		if v, ok := core(f.message, f.past, name); ok {
			return v
		}
		if v, ok := f.header(name); ok {
			return v
		}
	}
	v, ok, err := wire.Property(f.properties(), name)
	if err != nil || !ok {
		return selector.Value{}
	}
	return primitive(v)
}

// header finds a header of JMS.
func (f *nativeFields) header(name string) (v selector.Value, ok bool) {
	switch name {
	case "JMSXGroupID", "JMSXGroupSeq", "JMSCorrelationID", "JMSExpiration", "JMSReplyTo", "JMSTimestamp", "JMSType":
		return f.described(name), true
	case "JMSDestination":
		w := walker{b: f.head[f.destinationAt:]}
		return address(w.destination()), true
	case "JMSMessageID", "JMSXUserID", "JMSXProducerTXID":
		return f.rare(name), true
	}
	return v, false
}

// described finds one of the fields that stand together behind groupAt.
func (f *nativeFields) described(name string) selector.Value {
	w := walker{b: f.head[f.groupAt:]}
	group := w.string()
	sequence := w.take(4)
	correlation := w.string()
	w.byte() // persistent
	expiration := w.long()
	w.byte() // priority
	replyKind, replyName := w.destination()
	timestamp := w.long()
	switch name {
	case "JMSXGroupID":
		return optional(group)
	case "JMSXGroupSeq":
		if sequence == nil {
			return selector.Value{}
		}
		return selector.IntValue(int64(int32(binary.BigEndian.Uint32(sequence))))
	case "JMSCorrelationID":
		return optional(correlation)
	case "JMSExpiration":
		return selector.IntValue(expiration)
	case "JMSReplyTo":
		return address(replyKind, replyName)
	case "JMSTimestamp":
		return selector.IntValue(timestamp)
	}
	return optional(w.string()) // JMSType
}

// rare finds what takes decoding.
func (f *nativeFields) rare(name string) selector.Value {
	if f.decoded == nil {
		w, err := f.decode(nil)
		if err != nil {
			return selector.Value{}
		}
		f.decoded = w
	}
	switch name {
	case "JMSMessageID":
		return selector.StringValue(f.decoded.MessageID.String())
	case "JMSXUserID":
		return nonEmpty(f.decoded.UserID)
	default: // JMSXProducerTXID
		tx := f.decoded.OriginalTransactionID
		if tx.IsNull() {
			tx = f.decoded.TransactionID
		}
		return nonEmpty(tx.String())
	}
}

func optional(b []byte) selector.Value {
	if b == nil {
		return selector.Value{}
	}
	return selector.StringValue(text(b))
}

func nonEmpty(s string) selector.Value {
	if s == "" {
		return selector.Value{}
	}
	return selector.StringValue(s)
}

func address(kind wire.Type, name []byte) selector.Value {
	if kind == wire.TypeNull {
		return selector.Value{}
	}
	return selector.StringValue(wire.Destination{Kind: kind, Name: text(name)}.String())
}

// primitive is a property as a selector compares it.
func primitive(v wire.Primitive) selector.Value {
	switch v := v.(type) {
	case bool:
		return selector.BoolValue(v)
	case int8:
		return selector.IntValue(int64(v))
	case int16:
		return selector.IntValue(int64(v))
	case int32:
		return selector.IntValue(int64(v))
	case int64:
		return selector.IntValue(v)
	case float32:
		return selector.FloatValue(float64(v))
	case float64:
		return selector.FloatValue(v)
	case string:
		return selector.StringValue(v)
	}
	return selector.Value{}
}

// foreignFields are the fields of a message of another protocol, as the
// message for JMS that is made of it has them.
type foreignFields struct {
	broker  *broker.Broker
	message *broker.Message
	past    broker.Past
	decoded *wire.Message
	props   wire.Map
}

func (f *foreignFields) lookup(name string) selector.Value {
	if v, ok := core(f.message, f.past, name); ok {
		return v
	}
	if f.decoded == nil {
		f.decode()
	}
	w := f.decoded
	switch name {
	case "JMSXGroupID":
		return nonEmpty(w.GroupID)
	case "JMSXGroupSeq":
		return selector.IntValue(int64(w.GroupSequence))
	case "JMSCorrelationID":
		return nonEmpty(w.CorrelationID)
	case "JMSExpiration":
		return selector.IntValue(w.Expiration)
	case "JMSReplyTo":
		return nonEmpty(w.ReplyTo.String())
	case "JMSTimestamp":
		return selector.IntValue(w.Timestamp)
	case "JMSType":
		return nonEmpty(w.JMSType)
	case "JMSDestination":
		return selector.StringValue(w.Destination.String())
	case "JMSMessageID":
		return selector.StringValue(w.MessageID.String())
	case "JMSXUserID":
		return nonEmpty(w.UserID)
	}
	v, _ := f.props.Get(name)
	return primitive(v)
}

func (f *foreignFields) decode() {
	m := f.message
	d := dispatch{Destination: wire.Destination{Kind: wire.TypeQueue, Name: m.RoutingKey}}
	if m.Exchange == broker.TopicExchange {
		d.Destination.Kind = wire.TypeTopic
	}
	w, props := foreignHead(f.broker, &d, m)
	f.decoded, f.props = w, props
}
