package openwire

import (
	"math"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/hermodmq/hermod/broker"
	"github.com/hermodmq/hermod/listeners/openwire/wire"
)

// brokerConnection is the connection in the ids of messages that did not come
// by OpenWire.
const brokerConnection = "ID:hermod-broker-0:1"

// messageID is the id of a message that has none of OpenWire's.
func messageID(view string, sequence int64) wire.MessageID {
	return wire.MessageID{
		TextView:           view,
		ProducerID:         wire.ProducerID{ConnectionID: brokerConnection, SessionID: 1, Value: 1},
		ProducerSequenceID: sequence,
		BrokerSequenceID:   sequence,
	}
}

// jmsPriority is the priority of JMS clients that do not ask for one.
const jmsPriority = 4

// foreign makes a message for JMS of one that arrived over another protocol: a
// map or text message where that protocol says that the body is a map or a
// text, else a bytes message.
func foreign(b *broker.Broker, d *dispatch, m *broker.Message) *wire.Message {
	w, properties := foreignHead(b, d, m)
	if fields, isMap := b.Map(m); isMap {
		w.Kind, w.Content = wire.TypeMapMessage, wire.AppendMap(nil, mapIn(fields))
		setProperties(w, properties)
		d.decorate(w, m)
		return w
	}
	body, kind := b.TypedBody(m)
	if kind == broker.TextBody {
		w.Kind = wire.TypeTextMessage
		w.Content = appendText(make([]byte, 0, 4+len(body)), body, wire.PlainUTF(body))
	} else {
		w.Content = body
	}
	setProperties(w, properties)
	d.decorate(w, m)
	return w
}

// foreignHead is all of a foreign message but its body, and its properties.
func foreignHead(b *broker.Broker, d *dispatch, m *broker.Message) (*wire.Message, wire.Map) {
	p, err := b.Properties(m)
	if err != nil || p == nil {
		p = new(broker.Properties)
	}
	w := &wire.Message{
		Kind:          wire.TypeBytesMessage,
		ProducerID:    wire.ProducerID{ConnectionID: brokerConnection, SessionID: 1, Value: 1},
		Destination:   d.Destination,
		MessageID:     messageID(p.MessageID, d.Sequence),
		CorrelationID: p.CorrelationID,
		Persistent:    m.Persistent,
		Priority:      jmsPriority,
		ReplyTo:       replyIn(p.ReplyTo, p.ReplyTopic),
		Timestamp:     m.Received,
		JMSType:       p.Type,
		UserID:        p.UserID,
		BrokerInTime:  m.Received,
	}
	if m.Priority > 0 {
		w.Priority = int8(min(m.Priority, 9))
	}
	if m.TTL != broker.NoTTL {
		w.Expiration = m.Received + m.TTL
	}
	if p.Timestamp > 0 {
		w.Timestamp = p.Timestamp * 1000
	}
	return w, propertiesIn(w, p, m.Notes)
}

// propertiesIn are the headers as properties; those that JMS has a field for
// go there.
func propertiesIn(w *wire.Message, p *broker.Properties, notes *broker.Notes) wire.Map {
	var properties wire.Map
	add := func(name, value string) {
		if value != "" {
			properties = append(properties, wire.Entry{Name: name, Value: value})
		}
	}
	add(propContentType, p.ContentType)
	add(propContentEncoding, p.ContentEncoding)
	add(propAppID, p.AppID)
	for _, f := range p.Headers {
		switch {
		case f.Name == "" || notes != nil && slices.Contains(notes.DropHeaders, f.Name):
		case f.Name == propGroupID:
			w.GroupID, _ = f.Value.(string)
		case f.Name == propGroupSeq:
			w.GroupSequence = sequenceIn(f.Value)
		case f.Name == propUserID:
			if s, ok := f.Value.(string); ok && w.UserID == "" {
				w.UserID = s
			}
		default:
			properties.Set(f.Name, valueIn(f.Value, 0))
		}
	}
	return properties
}

func sequenceIn(v broker.Value) int32 {
	n, ok := broker.Int(v)
	if s, text := v.(string); text {
		for _, c := range []byte(s) {
			if c < '0' || c > '9' || n > math.MaxInt32 {
				return 0
			}
			n = n*10 + int64(c-'0')
		}
		ok = true
	}
	if !ok || n > math.MaxInt32 || n < math.MinInt32 {
		return 0
	}
	return int32(n)
}

// maxTableDepth bounds the nesting of tables that is passed on.
const maxTableDepth = 8

// valueIn is a header as a primitive. Unsigned numbers take the next wider
// type; a timestamp is in milliseconds, as all times of JMS are.
func valueIn(v broker.Value, depth int) wire.Primitive {
	switch v := v.(type) {
	case bool, int8, int16, int32, int64, float32, float64, string:
		return v
	case uint8:
		return int16(v)
	case uint16:
		return int32(v)
	case uint32:
		return int64(v)
	case broker.Timestamp:
		return int64(min(uint64(v), math.MaxInt64/1000)) * 1000
	case broker.Decimal:
		return float64(v.Value) / math.Pow10(int(v.Scale))
	case []byte:
		if utf8.Valid(v) {
			return string(v)
		}
		return v
	}
	if depth >= maxTableDepth {
		return nil
	}
	switch v := v.(type) {
	case broker.Array:
		l := make(wire.List, len(v))
		for i := range v {
			l[i] = valueIn(v[i], depth+1)
		}
		return l
	case broker.Table:
		m := make(wire.Map, len(v))
		for i := range v {
			m[i] = wire.Entry{Name: v[i].Name, Value: valueIn(v[i].Value, depth+1)}
		}
		return m
	}
	return nil
}

// setProperties puts properties into a message; none at all are null.
func setProperties(w *wire.Message, properties wire.Map) {
	w.Properties = nil
	if len(properties) > 0 {
		w.Properties = wire.AppendMap(nil, properties)
	}
}

// replyIn is a reply address of another protocol as a destination: the name of
// a queue, an address in the words of ActiveMQ or STOMP, or a topic.
func replyIn(s string, topic bool) wire.Destination {
	switch {
	case s == "":
		return wire.Destination{}
	case topic:
		return wire.Destination{Kind: wire.TypeTopic, Name: s}
	}
	for _, p := range []struct {
		prefix string
		kind   wire.Type
	}{
		{"topic://", wire.TypeTopic}, {"queue://", wire.TypeQueue}, {"temp-queue://", wire.TypeTempQueue}, {"temp-topic://", wire.TypeTempTopic},
		{"/topic/", wire.TypeTopic}, {"/queue/", wire.TypeQueue}, {"/remote-temp-queue/", wire.TypeTempQueue}, {"/remote-temp-topic/", wire.TypeTempTopic},
	} {
		if name, ok := strings.CutPrefix(s, p.prefix); ok && name != "" {
			return wire.Destination{Kind: p.kind, Name: name}
		}
	}
	return wire.Destination{Kind: wire.TypeQueue, Name: s}
}
