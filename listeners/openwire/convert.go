package openwire

import (
	"bytes"
	"compress/zlib"
	"encoding/base64"
	"encoding/binary"
	"io"
	"math"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/hermodmq/hermod/broker"
	"github.com/hermodmq/hermod/listeners/openwire/wire"
)

// Converter reads the messages that arrived over OpenWire for other protocols.
// It implements broker.Converter and broker.BodyConverter for
// broker.FormatOpen.
type Converter struct{}

var _ broker.BodyConverter = Converter{}

// Properties that stand for something other protocols have a place for.
const (
	propContentType     = "content-type"
	propContentEncoding = "content-encoding"
	propAppID           = "app-id"
	propGroupID         = "JMSXGroupID"
	propGroupSeq        = "JMSXGroupSeq"
	propUserID          = "JMSXUserID"
)

// Properties implements broker.Converter.
func (Converter) Properties(m *broker.Message) (*broker.Properties, error) {
	n, ok := viewOf(m)
	if !ok {
		return nil, errNative
	}
	w, err := n.decode(nil)
	if err != nil {
		return nil, err
	}
	p := &broker.Properties{
		CorrelationID: valid(w.CorrelationID),
		ReplyTo:       valid(w.ReplyTo.Name),
		ReplyTopic:    w.ReplyTo.IsTopic(),
		MessageID:     valid(w.MessageID.String()),
		Type:          valid(w.JMSType),
		UserID:        valid(w.UserID),
		Timestamp:     w.Timestamp / 1000,
		ContentType:   mediaType(n.kind),
	}
	properties, err := wire.ParseMap(w.Properties)
	if err != nil {
		return p, nil // what its sender garbled is nobody else's trouble
	}
	for _, e := range properties {
		switch e.Name {
		case propContentType:
			p.ContentType, _ = e.Value.(string)
		case propContentEncoding:
			p.ContentEncoding, _ = e.Value.(string)
		case propAppID:
			p.AppID, _ = e.Value.(string)
		default:
			p.Headers = append(p.Headers, broker.Field{Name: valid(e.Name), Value: valueOut(e.Value)})
		}
	}
	if w.GroupID != "" {
		p.Headers = append(p.Headers, broker.Field{Name: propGroupID, Value: valid(w.GroupID)})
	}
	if w.GroupSequence != 0 {
		p.Headers = append(p.Headers, broker.Field{Name: propGroupSeq, Value: w.GroupSequence})
	}
	return p, nil
}

// mediaType is what a body is after Body translated it.
func mediaType(kind wire.Type) string {
	switch kind {
	case wire.TypeTextMessage:
		return "text/plain"
	case wire.TypeMapMessage, wire.TypeStreamMessage:
		return "application/json"
	case wire.TypeObjectMessage:
		return "application/x-java-serialized-object"
	}
	return ""
}

// valid replaces what is no text outside of Java.
func valid(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }

// valueOut is a primitive as a header.
func valueOut(v wire.Primitive) broker.Value {
	switch v := v.(type) {
	case wire.Char:
		return valid(string(rune(v)))
	case string:
		return valid(v)
	case wire.Map:
		t := make(broker.Table, len(v))
		for i := range v {
			t[i] = broker.Field{Name: valid(v[i].Name), Value: valueOut(v[i].Value)}
		}
		return t
	case wire.List:
		a := make(broker.Array, len(v))
		for i := range v {
			a[i] = valueOut(v[i])
		}
		return a
	case []byte:
		return bytes.Clone(v)
	}
	return v
}

// Body implements broker.BodyConverter: texts as UTF-8, maps and streams as
// JSON, everything decompressed.
func (Converter) Body(m *broker.Message) ([]byte, broker.BodyKind, error) {
	n, ok := viewOf(m)
	if !ok {
		return nil, broker.BytesBody, errNative
	}
	body := m.Body
	if n.flags&nativeText != 0 {
		if n.flags&nativeLone != 0 {
			body = bytes.ToValidUTF8(body, []byte("\uFFFD"))
		}
		return body, broker.TextBody, nil
	}
	if n.flags&nativeNull != 0 {
		body = nil
	} else if n.flags&nativeCompressed != 0 {
		var err error
		if body, err = inflate(n.kind, body); err != nil {
			return nil, broker.BytesBody, err
		}
	}
	switch n.kind {
	case wire.TypeTextMessage:
		return textOut(body)
	case wire.TypeMapMessage:
		v, err := wire.ParseMap(body)
		return appendJSON(nil, v), broker.TextBody, err
	case wire.TypeStreamMessage:
		v, err := wire.ParseStream(body)
		return appendJSON(nil, v), broker.TextBody, err
	}
	return body, broker.BytesBody, nil
}

// textOut is the text in the content of a text message.
func textOut(content []byte) ([]byte, broker.BodyKind, error) {
	if len(content) == 0 {
		return nil, broker.TextBody, nil // null
	}
	if len(content) < 4 || int64(binary.BigEndian.Uint32(content)) != int64(len(content)-4) {
		return nil, broker.BytesBody, errNative
	}
	s, err := wire.DecodeUTF(content[4:])
	return []byte(valid(s)), broker.TextBody, err
}

// maxInflated bounds what a compressed body may become, in bytes; it is
// ActiveMQ's bound.
const maxInflated = 100 << 20

// inflate decompresses content. Only a bytes message says how long it is; it
// is not believed before the bytes are there.
func inflate(kind wire.Type, content []byte) ([]byte, error) {
	if kind == wire.TypeBytesMessage {
		if len(content) < 4 {
			return nil, errNative
		}
		content = content[4:]
	}
	z, err := zlib.NewReader(bytes.NewReader(content))
	if err != nil {
		return nil, err
	}
	out, err := io.ReadAll(io.LimitReader(z, maxInflated+1))
	if err != nil {
		return nil, err
	}
	if len(out) > maxInflated {
		return nil, errNative
	}
	return out, nil
}

// appendJSON appends a primitive in JSON: maps in their order, bytes in base64,
// numbers that JSON cannot write as texts.
func appendJSON(dst []byte, v wire.Primitive) []byte {
	switch v := v.(type) {
	case bool:
		return strconv.AppendBool(dst, v)
	case int8:
		return strconv.AppendInt(dst, int64(v), 10)
	case int16:
		return strconv.AppendInt(dst, int64(v), 10)
	case int32:
		return strconv.AppendInt(dst, int64(v), 10)
	case int64:
		return strconv.AppendInt(dst, v, 10)
	case float32:
		return appendJSONFloat(dst, float64(v), 32)
	case float64:
		return appendJSONFloat(dst, v, 64)
	case wire.Char:
		return appendJSONString(dst, string(rune(v)))
	case string:
		return appendJSONString(dst, v)
	case []byte:
		return append(base64.StdEncoding.AppendEncode(append(dst, '"'), v), '"')
	case wire.Map:
		dst = append(dst, '{')
		for i := range v {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = append(appendJSONString(dst, v[i].Name), ':')
			dst = appendJSON(dst, v[i].Value)
		}
		return append(dst, '}')
	case wire.List:
		dst = append(dst, '[')
		for i := range v {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = appendJSON(dst, v[i])
		}
		return append(dst, ']')
	}
	return append(dst, "null"...)
}

func appendJSONFloat(dst []byte, f float64, bits int) []byte {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return append(strconv.AppendFloat(append(dst, '"'), f, 'g', -1, bits), '"')
	}
	return strconv.AppendFloat(dst, f, 'g', -1, bits)
}

func appendJSONString(dst []byte, s string) []byte {
	const hex = "0123456789abcdef"
	dst = append(dst, '"')
	for i := 0; i < len(s); {
		c := s[i]
		switch {
		case c == '"' || c == '\\':
			dst = append(dst, '\\', c)
		case c == '\n':
			dst = append(dst, `\n`...)
		case c == '\t':
			dst = append(dst, `\t`...)
		case c == '\r':
			dst = append(dst, `\r`...)
		case c < ' ' || c == 0x7f:
			dst = append(dst, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		case c < utf8.RuneSelf:
			dst = append(dst, c)
		default:
			r, n := utf8.DecodeRuneInString(s[i:])
			dst = utf8.AppendRune(dst, r) // U+FFFD for what is none
			i += n
			continue
		}
		i++
	}
	return append(dst, '"')
}
