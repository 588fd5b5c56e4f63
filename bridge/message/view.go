package message

import (
	"crypto/md5"
	"encoding/base64"
	"encoding/json"
	"strconv"
	"strings"
	"unicode"
	"unsafe"

	"github.com/hermodmq/hermod/bridge/aws"
	"github.com/hermodmq/hermod/broker"
)

// MaxAttributes is how many attributes a message shows.
const MaxAttributes = 10

// View is a message as the services show it.
type View struct {
	ID         aws.UUID // zero: the message came with none
	Sequence   uint64
	Sender     string
	Trace      string
	Body       []byte         // text; may alias the message
	Digest     [md5.Size]byte // of Body
	Unsigned   bool           // see Content
	Attributes []Attribute
}

// ViewOf is the view of a message of any protocol.
func ViewOf(b *broker.Broker, m *broker.Message) View {
	if m.Format == broker.FormatAWS {
		if c, err := Parse(m); err == nil {
			v := View{ID: c.ID, Sequence: c.Sequence, Sender: c.Sender, Trace: c.Trace, Body: m.Body, Unsigned: c.Unsigned, Attributes: c.Attributes}
			if c.Encoded {
				v.Body = base64.StdEncoding.AppendEncode(nil, m.Body)
			}
			if v.Digest = c.Digest; !c.Digested {
				v.Digest = md5.Sum(v.Body)
			}
			return v
		}
	}
	var v View
	body := b.Body(m)
	if text := unsafe.String(unsafe.SliceData(body), len(body)); aws.LegalText(text) {
		v.Body = body
	} else {
		v.Body = base64.StdEncoding.AppendEncode(nil, body)
		v.add(EncodingName, "String", encodingBase64)
	}
	v.Digest = md5.Sum(v.Body)
	p, err := b.Properties(m)
	if err != nil || p == nil {
		return v
	}
	if p.ContentType != "" && !strings.HasPrefix(p.ContentType, "text/plain") {
		v.add(contentTypeName, "String", p.ContentType)
	}
	v.add(jmsCorrelationName, "String", p.CorrelationID)
	v.add(jmsReplyName, "String", p.ReplyTo)
	v.add(typeName, "String", p.Type)
	for _, f := range p.Headers {
		v.header(f)
	}
	return v
}

// add shows an attribute if the services could have it and there is room.
func (v *View) add(name, kind, value string) {
	if value == "" || len(v.Attributes) >= MaxAttributes || !aws.LegalText(value) || CheckName(name) != "" {
		return
	}
	for i := range v.Attributes {
		if v.Attributes[i].Name == name {
			return
		}
	}
	v.Attributes = append(v.Attributes, Attribute{name, kind, []byte(value)})
}

// header shows a header; numbers carry the labels of the JMS library.
func (v *View) header(f broker.Field) {
	switch f.Name {
	case groupHeader, "JMSXGroupSeq", dedupHeader, "x-delay", "x-death", "CC", "BCC",
		"AMQ_SCHEDULED_DELAY", "AMQ_SCHEDULED_PERIOD", "AMQ_SCHEDULED_REPEAT", "AMQ_SCHEDULED_CRON":
		return
	}
	if strings.HasPrefix(f.Name, "x-first-death-") || strings.HasPrefix(f.Name, "x-last-death-") {
		return
	}
	number := func(kind string, n int64) { v.add(f.Name, "Number."+kind, strconv.FormatInt(n, 10)) }
	switch x := f.Value.(type) {
	case string:
		v.add(f.Name, "String", x)
	case bool:
		if x {
			number("Boolean", 1)
		} else {
			number("Boolean", 0)
		}
	case int8:
		number("byte", int64(x))
	case uint8:
		number("short", int64(x))
	case int16:
		number("short", int64(x))
	case uint16:
		number("int", int64(x))
	case int32:
		number("int", int64(x))
	case uint32:
		number("long", int64(x))
	case int64:
		number("long", x)
	case float32:
		v.add(f.Name, "Number.float", strconv.FormatFloat(float64(x), 'g', -1, 32))
	case float64:
		v.add(f.Name, "Number.double", strconv.FormatFloat(x, 'g', -1, 64))
	case broker.Timestamp:
		number("long", int64(min(x, 1<<62)))
	case broker.Decimal:
		v.add(f.Name, "Number", decimal(x))
	case []byte:
		if len(x) > 0 && len(v.Attributes) < MaxAttributes && CheckName(f.Name) == "" {
			v.Attributes = append(v.Attributes, Attribute{f.Name, "Binary", x})
		}
	case broker.Table, broker.Array:
		if text, err := json.Marshal(plain(x, 0)); err == nil {
			v.add(f.Name, "String.json", string(text))
		}
	}
}

func decimal(d broker.Decimal) string {
	s, sign := strconv.FormatInt(int64(d.Value), 10), ""
	if s[0] == '-' {
		s, sign = s[1:], "-"
	}
	if d.Scale == 0 {
		return sign + s
	}
	for len(s) <= int(d.Scale) {
		s = "0" + s
	}
	return sign + s[:len(s)-int(d.Scale)] + "." + s[len(s)-int(d.Scale):]
}

// plain is a value as encoding/json takes it.
func plain(v broker.Value, depth int) any {
	if depth > 16 {
		return nil
	}
	switch x := v.(type) {
	case broker.Table:
		m := make(map[string]any, len(x))
		for _, f := range x {
			m[f.Name] = plain(f.Value, depth+1)
		}
		return m
	case broker.Array:
		list := make([]any, len(x))
		for i, e := range x {
			list[i] = plain(e, depth+1)
		}
		return list
	case broker.Decimal:
		return json.Number(decimal(x))
	}
	return v
}

// CheckName returns what is wrong with the name of an attribute, "" if
// nothing. SQS takes letters and digits of every script, though its
// documentation has those of ASCII only.
func CheckName(name string) string {
	switch {
	case name == "" || len(name) > 256:
		return "length"
	case name[0] == '.' || name[len(name)-1] == '.' || strings.Contains(name, ".."):
		return "dots"
	}
	for _, c := range name {
		if c != '_' && c != '-' && c != '.' && !unicode.IsLetter(c) && !unicode.IsDigit(c) {
			return "characters"
		}
	}
	if lower := strings.ToLower(name); strings.HasPrefix(lower, "aws.") || strings.HasPrefix(lower, "amazon.") {
		return "prefix"
	}
	return ""
}

// Decode finds the bytes of a body that its attributes say is base64; ok is
// false if they do not, or if the text is not exactly what encoding the bytes
// gives.
func Decode(body string, list []Attribute) (raw []byte, ok bool) {
	encoded := false
	for i := range list {
		a := &list[i]
		encoded = encoded || a.Name == EncodingName && string(a.Value) == encodingBase64 || a.Name == jmsTypeName && string(a.Value) == "byte"
	}
	if !encoded {
		return nil, false
	}
	raw, err := base64.StdEncoding.Strict().DecodeString(body)
	if err != nil || len(body) != base64.StdEncoding.EncodedLen(len(raw)) {
		return nil, false
	}
	return raw, true
}
