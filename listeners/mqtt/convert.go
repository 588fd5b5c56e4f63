package mqtt

import (
	"encoding/binary"
	"hash/fnv"
	"strconv"
	"unicode/utf8"

	"github.com/hermodmq/hermod/broker"
	"github.com/hermodmq/hermod/broker/topic"
	"github.com/hermodmq/hermod/listeners/mqtt/wire"
)

// The native form of a message that came by MQTT: a byte with QoS and RETAIN as
// they were published, eight bytes that identify the publishing client, and the
// forwarded properties as raw bytes. The message expiry is the message's TTL.
const (
	nativeRetain = 4
	nativeHeader = 9
)

// clientHash identifies a publisher in a message, across restarts.
func clientHash(vhost, id string) uint64 {
	h := fnv.New64a()
	h.Write([]byte(vhost))
	h.Write([]byte{0})
	h.Write([]byte(id))
	return h.Sum64()
}

func appendNative(dst []byte, qos byte, retain bool, client uint64, props wire.Properties) []byte {
	if retain {
		qos |= nativeRetain
	}
	return props.AppendForwarded(binary.BigEndian.AppendUint64(append(dst, qos), client))
}

// view is what delivering needs to know of a message.
type view struct {
	qos    byte
	retain bool
	client uint64          // 0: not a client of ours
	props  wire.Properties // for MQTT 5; nil for other formats until foreign makes them
	native bool
}

func viewOf(m *broker.Message) view {
	if m.Format == broker.FormatMQTT && len(m.Native) >= nativeHeader {
		return view{
			qos: m.Native[0] & 3, retain: m.Native[0]&nativeRetain != 0,
			client: binary.BigEndian.Uint64(m.Native[1:]), props: wire.Properties(m.Native[nativeHeader:]), native: true,
		}
	}
	v := view{}
	if m.Persistent {
		v.qos = 1
	}
	return v
}

// Converter reads the properties of messages that arrived over MQTT. It
// implements broker.Converter for broker.FormatMQTT.
type Converter struct{}

var _ broker.Converter = Converter{}

// Properties implements broker.Converter: content type, correlation data,
// response topic (as the routing key that reaches it) and user properties as
// headers of text, in order.
func (Converter) Properties(m *broker.Message) (*broker.Properties, error) {
	p := &broker.Properties{}
	if len(m.Native) < nativeHeader {
		return p, nil
	}
	raw := wire.Properties(m.Native[nativeHeader:])
	for v, rest, ok := raw.Next(); ok; v, rest, ok = rest.Next() {
		switch v.ID {
		case wire.ContentType:
			p.ContentType = string(v.Data)
		case wire.CorrelationData:
			p.CorrelationID = string(v.Data)
		case wire.ResponseTopic:
			p.ReplyTo, p.ReplyTopic = string(topic.Slashes(nil, v.Data)), true
		case wire.UserProperty:
			p.Headers = append(p.Headers, broker.Field{Name: string(v.Name), Value: string(v.Data)})
		}
	}
	return p, nil
}

// foreign adds to dst the properties of a message that arrived over another
// protocol. What MQTT has no property for becomes a user property; what is no
// valid text is left out.
func foreign(dst wire.Properties, b *broker.Broker, m *broker.Message) wire.Properties {
	p, err := b.Properties(m)
	if err != nil || p == nil {
		return dst
	}
	text := func(id wire.Property, s string) {
		if s != "" && valid(s) {
			dst = dst.AppendText(id, s)
		}
	}
	user := func(name, value string) {
		if value != "" && valid(name) && valid(value) {
			dst = dst.AppendUser(name, value)
		}
	}
	text(wire.ContentType, p.ContentType)
	if reply := topic.Slashes(nil, p.ReplyTo); wire.ValidTopicName(reply) {
		text(wire.ResponseTopic, string(reply))
	}
	if p.CorrelationID != "" {
		dst = dst.AppendText(wire.CorrelationData, p.CorrelationID)
	}
	user("content-encoding", p.ContentEncoding)
	user("message-id", p.MessageID)
	user("type", p.Type)
	user("user-id", p.UserID)
	user("app-id", p.AppID)
	if p.Timestamp > 0 {
		user("timestamp", strconv.FormatInt(p.Timestamp, 10))
	}
	if m.Priority > 0 {
		user("priority", strconv.Itoa(int(m.Priority)))
	}
	for _, f := range p.Headers {
		if s, ok := textOf(f.Value); ok && valid(f.Name) && valid(s) {
			dst = dst.AppendUser(f.Name, s)
		}
	}
	return dst
}

func valid(s string) bool {
	if len(s) > 65535 || !utf8.ValidString(s) {
		return false
	}
	for i := range len(s) {
		if s[i] == 0 {
			return false
		}
	}
	return true
}

// textOf writes a header's value as text; nested values have none.
func textOf(v broker.Value) (string, bool) {
	switch v := v.(type) {
	case string:
		return v, true
	case []byte:
		return string(v), true
	case bool:
		return strconv.FormatBool(v), true
	case float32:
		return strconv.FormatFloat(float64(v), 'g', -1, 32), true
	case float64:
		return strconv.FormatFloat(v, 'g', -1, 64), true
	case broker.Timestamp:
		return strconv.FormatUint(uint64(v), 10), true
	}
	if n, ok := broker.Int(v); ok {
		return strconv.FormatInt(n, 10), true
	}
	return "", false
}

// remaining is the message expiry interval to send: what is left of the one the
// message came with, in seconds; 0 if it has none.
func remaining(m *broker.Message, now int64) uint32 {
	if m.TTL <= 0 {
		return 0
	}
	left := (m.Received+m.TTL-now)/1000 + 1
	if left > m.TTL/1000 {
		left = m.TTL / 1000
	}
	return uint32(max(left, 1))
}
