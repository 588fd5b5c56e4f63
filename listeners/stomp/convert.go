package stomp

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/hermodmq/hermod/broker"
	"github.com/hermodmq/hermod/listeners/stomp/wire"
)

// The first byte of the native form of a message says what kind of body it has
// for JMS; header lines in canonical form follow. With hasOrigin in that byte
// there are 8 bytes between them that tell connections apart: messages of those
// that want none of their own carry them.
const (
	bodyText  = 't'
	bodyBytes = 'b'
	bodyMap   = 'm' // a text that is a map in one of the forms of transform.go

	hasOrigin   = 0x80
	originBytes = 8
)

// kindOf is the kind of body of a message that arrived over STOMP, else 0.
func kindOf(m *broker.Message) byte {
	if m.Format != broker.FormatSTOMP || len(m.Native) == 0 {
		return 0
	}
	return m.Native[0] &^ hasOrigin
}

// lines are the header lines of a message that arrived over STOMP.
func lines(m *broker.Message) []byte {
	if m.Format != broker.FormatSTOMP || len(m.Native) == 0 {
		return nil
	}
	if m.Native[0]&hasOrigin != 0 {
		return m.Native[min(1+originBytes, len(m.Native)):]
	}
	return m.Native[1:]
}

// sentBy reports whether a message came by the connection of that origin.
func sentBy(m *broker.Message, origin string) bool {
	return m.Format == broker.FormatSTOMP && len(m.Native) > originBytes && m.Native[0]&hasOrigin != 0 && string(m.Native[1:1+originBytes]) == origin
}

// Converter reads the headers of messages that arrived over STOMP. It
// implements broker.Converter for broker.FormatSTOMP.
type Converter struct{}

var _ broker.Converter = Converter{}

// Properties implements broker.Converter. Addresses of queues in reply-to
// become names of queues, as clients of other protocols understand them.
func (Converter) Properties(m *broker.Message) (*broker.Properties, error) {
	p := new(broker.Properties)
	for rest := lines(m); ; {
		name, value, after, ok := wire.NextLine(rest)
		if !ok {
			return p, nil
		}
		rest = after
		text := string(wire.AppendUnescaped(nil, value))
		switch string(name) {
		case "content-type":
			first(&p.ContentType, text)
		case "content-encoding":
			first(&p.ContentEncoding, text)
		case "correlation-id":
			first(&p.CorrelationID, text)
		case "reply-to":
			if p.ReplyTo == "" {
				p.ReplyTo, p.ReplyTopic = addressOf(text)
			}
		case "amqp-message-id":
			first(&p.MessageID, text)
		case "type":
			first(&p.Type, text)
		case "user-id":
			first(&p.UserID, text)
		case "app-id":
			first(&p.AppID, text)
		case "timestamp":
			if n, ok := wire.Number([]byte(text)); ok && p.Timestamp == 0 {
				p.Timestamp = seconds(n)
			}
		case "priority", "persistent", "expiration", "expires":
			// fields of the message
		default:
			key := string(wire.AppendUnescaped(nil, name))
			if _, repeated := p.Headers.Get(key); !repeated {
				p.Headers = append(p.Headers, broker.Field{Name: key, Value: text})
			}
		}
	}
}

func first(dst *string, v string) {
	if *dst == "" {
		*dst = v
	}
}

// seconds reads a timestamp that may be in milliseconds, as those of
// ActiveMQ's and JavaScript clients: values beyond the year 5138 in seconds
// are.
func seconds(n int64) int64 {
	if n >= 1e11 {
		return n / 1000
	}
	return n
}

// reserved are the headers of MESSAGE that are ours to say.
func reserved(name string) bool {
	switch name {
	case "subscription", "destination", "message-id", "redelivered", "ack", "content-length":
		return true
	}
	return false
}

// appendForeign appends, in canonical form, the headers of a message that
// arrived over another protocol.
func appendForeign(dst []byte, d Dialect, b *broker.Broker, m *broker.Message) []byte {
	p, err := b.Properties(m)
	if err != nil || p == nil {
		p = new(broker.Properties)
	}
	dst = appendField(dst, "content-type", p.ContentType)
	dst = appendField(dst, "content-encoding", p.ContentEncoding)
	dst = appendField(dst, "correlation-id", p.CorrelationID)
	dst = appendField(dst, "reply-to", replyAddress(d, p))
	dst = appendField(dst, "amqp-message-id", p.MessageID)
	dst = appendField(dst, "type", p.Type)
	dst = appendField(dst, "user-id", p.UserID)
	dst = appendField(dst, "app-id", p.AppID)
	if p.Timestamp != 0 {
		dst = wire.AppendNumber(dst, "timestamp", p.Timestamp)
	}
	if m.Priority != 0 {
		dst = wire.AppendNumber(dst, "priority", int64(m.Priority))
	}
	if m.Persistent {
		dst = wire.AppendPlainHeader(dst, "persistent", "true")
	}
	if m.TTL != broker.NoTTL {
		dst = wire.AppendNumber(dst, "expiration", m.TTL)
	}
	var drop []string
	if m.Notes != nil {
		drop = m.Notes.DropHeaders
	}
	for _, f := range p.Headers {
		if f.Name == "" || slices.Contains(drop, f.Name) || reserved(f.Name) {
			continue
		}
		dst = wire.AppendLine(dst, f.Name, valueText(f.Value))
	}
	return dst
}

// replyAddress is where a client of dialect d sends its answer to.
func replyAddress(d Dialect, p *broker.Properties) string {
	switch {
	case p.ReplyTopic:
		return string(appendName([]byte(topicPrefix), d, p.ReplyTo))
	case strings.HasPrefix(p.ReplyTo, "/"):
		return string(appendName([]byte(queuePrefix), d, p.ReplyTo))
	}
	return p.ReplyTo
}

func appendField(dst []byte, name, value string) []byte {
	if value == "" {
		return dst
	}
	return wire.AppendLine(dst, name, value)
}

// valueText is a typed header as STOMP's only type: numbers and truth values
// as they are written, bytes that are no text in base64, lists and tables in
// JSON.
func valueText(v broker.Value) string {
	switch v := v.(type) {
	case nil:
		return ""
	case string:
		return v
	case []byte:
		if utf8.Valid(v) && bytes.IndexByte(v, 0) < 0 {
			return string(v)
		}
		return base64.StdEncoding.EncodeToString(v)
	case bool:
		return strconv.FormatBool(v)
	case float32:
		return strconv.FormatFloat(float64(v), 'g', -1, 32)
	case float64:
		return strconv.FormatFloat(v, 'g', -1, 64)
	case broker.Timestamp:
		return strconv.FormatUint(uint64(v), 10)
	case broker.Decimal:
		return decimalText(v)
	case broker.Array, broker.Table:
		b, err := json.Marshal(jsonValue(v, 0))
		if err != nil {
			return ""
		}
		return string(b)
	}
	if n, ok := broker.Int(v); ok {
		return strconv.FormatInt(n, 10)
	}
	return fmt.Sprint(v)
}

func decimalText(d broker.Decimal) string {
	digits := strconv.FormatInt(int64(d.Value), 10)
	if d.Scale == 0 {
		return digits
	}
	return digits + "e-" + strconv.Itoa(int(d.Scale))
}

// maxJSONDepth bounds the nesting of tables that is shown.
const maxJSONDepth = 16

func jsonValue(v broker.Value, depth int) any {
	if depth > maxJSONDepth {
		return nil
	}
	switch v := v.(type) {
	case broker.Array:
		out := make([]any, len(v))
		for i := range v {
			out[i] = jsonValue(v[i], depth+1)
		}
		return out
	case broker.Table:
		out := make(map[string]any, len(v))
		for _, f := range v {
			out[f.Name] = jsonValue(f.Value, depth+1)
		}
		return out
	case nil, bool:
		return v
	}
	if n, ok := broker.Int(v); ok {
		return n
	}
	return valueText(v)
}
