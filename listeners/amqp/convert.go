package amqp

import (
	"strconv"

	"github.com/hermodmq/hermod/broker"
	"github.com/hermodmq/hermod/listeners/amqp/wire"
)

// tableIn makes the core's table of the codec's; both keep order and the
// widths of numbers.
func tableIn(t wire.Table) broker.Table {
	if t == nil {
		return nil
	}
	out := make(broker.Table, len(t))
	for i := range t {
		out[i] = broker.Field{Name: t[i].Name, Value: valueIn(t[i].Value)}
	}
	return out
}

func valueIn(v any) broker.Value {
	switch v := v.(type) {
	case wire.Decimal:
		return broker.Decimal{Scale: v.Scale, Value: v.Value}
	case wire.Timestamp:
		return broker.Timestamp(v)
	case wire.Table:
		return append(broker.Table{}, tableIn(v)...)
	case wire.Array:
		out := make(broker.Array, len(v))
		for i := range v {
			out[i] = valueIn(v[i])
		}
		return out
	}
	return v
}

// tableOut is the way back.
func tableOut(t broker.Table) wire.Table {
	if t == nil {
		return nil
	}
	out := make(wire.Table, len(t))
	for i := range t {
		out[i] = wire.Field{Name: t[i].Name, Value: valueOut(t[i].Value)}
	}
	return out
}

// valueOut maps every kind of broker.Value; what is none becomes void, so that
// a fault elsewhere cannot stop a delivery.
func valueOut(v broker.Value) any {
	switch v := v.(type) {
	case broker.Decimal:
		return wire.Decimal{Scale: v.Scale, Value: v.Value}
	case broker.Timestamp:
		return wire.Timestamp(v)
	case broker.Table:
		return append(wire.Table{}, tableOut(v)...)
	case broker.Array:
		out := make(wire.Array, len(v))
		for i := range v {
			out[i] = valueOut(v[i])
		}
		return out
	case bool, int8, uint8, int16, uint16, int32, uint32, int64, float32, float64, string, []byte:
		return v
	}
	return nil
}

// Converter reads the properties of messages that arrived over AMQP 0-9-1. It
// implements broker.Converter for broker.FormatAMQP091.
type Converter struct{}

var _ broker.Converter = Converter{}

// Properties implements broker.Converter.
func (Converter) Properties(m *broker.Message) (*broker.Properties, error) {
	p, err := wire.ParseProperties(m.Native)
	if err != nil {
		return nil, err
	}
	return &broker.Properties{
		ContentType:     p.ContentType,
		ContentEncoding: p.ContentEncoding,
		CorrelationID:   p.CorrelationID,
		ReplyTo:         p.ReplyTo,
		MessageID:       p.MessageID,
		Type:            p.Type,
		UserID:          p.UserID,
		AppID:           p.AppID,
		Timestamp:       int64(p.Timestamp),
		Headers:         tableIn(p.Headers),
	}, nil
}

// foreign makes the property list of a message that arrived over another
// protocol.
func (c *conn) foreign(m *broker.Message) []byte {
	w := wire.Properties{Priority: m.Priority}
	if m.Persistent {
		w.DeliveryMode = 2
	}
	if m.TTL != broker.NoTTL {
		w.Expiration = strconv.FormatInt(m.TTL, 10)
	}
	if p, err := c.broker.Properties(m); err == nil && p != nil {
		w.ContentType = p.ContentType
		w.ContentEncoding = p.ContentEncoding
		w.Headers = tableOut(p.Headers)
		w.CorrelationID = p.CorrelationID
		w.ReplyTo = p.ReplyTo
		w.MessageID = p.MessageID
		w.Type = p.Type
		w.UserID = p.UserID
		w.AppID = p.AppID
		if p.Timestamp > 0 {
			w.Timestamp = wire.Timestamp(p.Timestamp)
		}
	}
	c.patched = w.Append(c.patched[:0])
	return c.patched
}
