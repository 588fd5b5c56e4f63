package broker

import (
	"strings"
	"unicode/utf8"
)

// BodyKind is what a body is for protocols that tell texts from bytes.
type BodyKind uint8

// The kinds of bodies.
const (
	BytesBody BodyKind = iota
	TextBody           // valid UTF-8
)

// BodyConverter is a Converter of a protocol whose messages say what their body
// is, or whose bodies have a form that consumers of other protocols cannot
// read. The same rules hold as for Properties; the result may alias the
// message's Body.
type BodyConverter interface {
	Converter
	Body(m *Message) ([]byte, BodyKind, error)
}

// MapConverter is a Converter of a protocol that has messages whose body is a
// map of names to values. The same rules hold as for Properties.
type MapConverter interface {
	Converter
	Map(m *Message) (fields Table, isMap bool)
}

// Map returns the fields of a message whose body is a map, in their order, and
// whether it is one.
func (b *Broker) Map(m *Message) (fields Table, isMap bool) {
	if int(m.Format) >= formatCount {
		return nil, false
	}
	c, ok := b.options.Converters[m.Format].(MapConverter)
	if !ok {
		return nil, false
	}
	return c.Map(m)
}

// Body is the body of a message for a consumer of another protocol than the
// message came by. A body that cannot be translated is given as it is.
func (b *Broker) Body(m *Message) []byte {
	c := b.bodyConverter(m)
	if c == nil {
		return m.Body
	}
	body, _, err := c.Body(m)
	if err != nil {
		return m.Body
	}
	return body
}

// TypedBody is Body together with its kind: what the protocol says, else text
// if the content type is that of one and the bytes are.
func (b *Broker) TypedBody(m *Message) ([]byte, BodyKind) {
	if c := b.bodyConverter(m); c != nil {
		body, kind, err := c.Body(m)
		if err != nil {
			return m.Body, BytesBody
		}
		return body, kind
	}
	p, err := b.Properties(m)
	if err != nil || p == nil || !TextType(p.ContentType) || p.ContentEncoding != "" || !utf8.Valid(m.Body) {
		return m.Body, BytesBody
	}
	return m.Body, TextBody
}

func (b *Broker) bodyConverter(m *Message) BodyConverter {
	if int(m.Format) >= formatCount {
		return nil
	}
	c, _ := b.options.Converters[m.Format].(BodyConverter)
	return c
}

// TextType reports whether a media type is that of a text: text/*, JSON, XML.
func TextType(media string) bool {
	media, _, _ = strings.Cut(strings.ToLower(media), ";")
	media = strings.TrimSpace(media)
	if strings.HasPrefix(media, "text/") {
		return true
	}
	switch media {
	case "application/json", "application/xml", "application/javascript", "application/x-www-form-urlencoded", "application/yaml":
		return true
	}
	return strings.HasPrefix(media, "application/") && (strings.HasSuffix(media, "+json") || strings.HasSuffix(media, "+xml"))
}
