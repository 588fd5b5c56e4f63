package message

import (
	"math"
	"strconv"
	"strings"

	"github.com/hermodmq/hermod/broker"
)

// The attributes with a meaning of their own. Those of the JMS library of SQS
// are understood, so that its clients and JMS clients of the broker meet.
const (
	// EncodingName says, with the value base64, that a body is bytes which its
	// text holds in base64.
	EncodingName   = "Hermod.Encoding"
	encodingBase64 = "base64"

	jmsTypeName        = "JMS_SQSMessageType"
	jmsCorrelationName = "JMS_SQSCorrelationID"
	jmsReplyName       = "JMS_SQSReplyToQueueName"
	contentTypeName    = "Content-Type"
	typeName           = "JMSType"
)

// Headers other protocols know fields of messages by.
const (
	groupHeader = "JMSXGroupID"
	dedupHeader = "x-deduplication-id"
)

// Converter reads the attributes of messages that arrived over SQS or SNS. It
// implements broker.Converter for broker.FormatAWS.
type Converter struct{}

var _ broker.Converter = Converter{}

// Properties implements broker.Converter.
func (Converter) Properties(m *broker.Message) (*broker.Properties, error) {
	c, err := Parse(m)
	if err != nil {
		return nil, err
	}
	p := &broker.Properties{ContentType: "text/plain; charset=utf-8", MessageID: c.ID.String(), Timestamp: m.Received / 1000}
	if c.Encoded {
		p.ContentType = "application/octet-stream"
	}
	for i := range c.Attributes {
		a := &c.Attributes[i]
		switch a.Name {
		case jmsCorrelationName:
			p.CorrelationID = string(a.Value)
		case jmsReplyName:
			p.ReplyTo = string(a.Value)
		case contentTypeName:
			p.ContentType = string(a.Value)
		case typeName:
			p.Type = string(a.Value)
		case EncodingName:
			if !c.Encoded {
				p.Headers = append(p.Headers, broker.Field{Name: a.Name, Value: valueOf(a)})
			}
		default:
			p.Headers = append(p.Headers, broker.Field{Name: a.Name, Value: valueOf(a)})
		}
	}
	if n := m.Notes; n != nil {
		if n.GroupID != "" {
			p.Headers = append(p.Headers, broker.Field{Name: groupHeader, Value: n.GroupID})
		}
		if n.DedupID != "" {
			p.Headers = append(p.Headers, broker.Field{Name: dedupHeader, Value: n.DedupID})
		}
	}
	return p, nil
}

// valueOf is an attribute as a typed header. A number whose label says nothing
// is an integer or a double if that loses nothing, else its text.
func valueOf(a *Attribute) broker.Value {
	s := string(a.Value)
	kind, label, _ := strings.Cut(a.Type, ".")
	switch kind {
	case "Binary":
		return append([]byte(nil), a.Value...)
	case "Number":
	default:
		return s
	}
	n, err := strconv.ParseInt(s, 10, 64)
	whole := err == nil
	switch {
	case label == "int" && whole && n == int64(int32(n)):
		return int32(n)
	case label == "short" && whole && n == int64(int16(n)):
		return int16(n)
	case label == "byte" && whole && n == int64(int8(n)):
		return int8(n)
	case label == "Boolean" && (s == "0" || s == "1"):
		return s == "1"
	case label == "float":
		if f, err := strconv.ParseFloat(s, 32); err == nil {
			return float32(f)
		}
	case whole && label != "double":
		return n
	}
	if f, err := strconv.ParseFloat(s, 64); err == nil && !math.IsInf(f, 0) && (label == "double" || digits(s) <= 15) {
		return f
	}
	return s
}

func digits(s string) (n int) {
	for i := range len(s) {
		if s[i] >= '0' && s[i] <= '9' {
			n++
		}
	}
	return n
}
