package stomp

import (
	"strings"

	"github.com/hermodmq/hermod/broker"
	"github.com/hermodmq/hermod/listeners/stomp/wire"
)

// form is how a map is written for clients of ActiveMQ that ask for it in the
// header transformation.
type form uint8

const (
	formNone form = iota
	formJSON
	formXML
)

// formOf reads the header transformation of SUBSCRIBE (jms-map-json, jms-json,
// jms-map-xml, jms-xml) or of SEND.
func formOf(v []byte) form {
	switch strings.ToLower(string(v)) {
	case "jms-map-json", "jms-json":
		return formJSON
	case "jms-map-xml", "jms-xml":
		return formXML
	}
	return formNone
}

// names of a form: the value of the header transformation, the media type.
func (f form) names() (transformation, media string) {
	if f == formXML {
		return "jms-map-xml", "application/xml"
	}
	return "jms-map-json", "application/json"
}

func (f form) parse(body []byte) (broker.Table, error) {
	if len(body) > maxMapBytes {
		return nil, errMapSize
	}
	if f == formXML {
		return parseMapXML(body)
	}
	return parseMapJSON(body)
}

func (f form) append(dst []byte, t broker.Table) []byte {
	if f == formXML {
		return appendMapXML(dst, t)
	}
	return appendMapJSON(dst, t)
}

var _ broker.MapConverter = Converter{}

// Map implements broker.MapConverter: maps that a client sent with the header
// transformation.
func (Converter) Map(m *broker.Message) (fields broker.Table, isMap bool) {
	if kindOf(m) != bodyMap {
		return nil, false
	}
	v, _ := lookupLine(lines(m), "transformation")
	t, err := formOf(v).parse(m.Body)
	return t, err == nil
}

// transform is the body of a message in the form a consumer asked for, and the
// headers that go with it; ok is false for what is not a map, or too large.
func (c *conn) transform(cons *consumer, m *broker.Message, native []byte) (headers, body []byte, ok bool) {
	if m.Size() > maxMapBytes {
		return nil, nil, false
	}
	if m.Format == broker.FormatSTOMP {
		if v, _ := lookupLine(native, "transformation"); formOf(v) == cons.form {
			return nil, nil, false // as it was sent
		}
	}
	fields, isMap := c.broker.Map(m)
	if !isMap {
		return nil, nil, false
	}
	transformation, media := cons.form.names()
	headers = wire.AppendPlainHeader(nil, "transformation", transformation)
	headers = wire.AppendPlainHeader(headers, "content-type", media)
	for rest := native; ; {
		name, _, after, more := wire.NextLine(rest)
		if !more {
			return headers, cons.form.append(nil, fields), true
		}
		if s := string(name); s != "transformation" && s != "content-type" {
			headers = append(headers, rest[:len(rest)-len(after)]...)
		}
		rest = after
	}
}

// receiveMap makes the message that is being read a map if its sender says that
// it is one and it is. JMS consumers of another get the text, and are told why,
// as by ActiveMQ.
func (c *conn) receiveMap(t *traits, transformation, body []byte) {
	t.kind = bodyText
	f := formOf(transformation)
	if f == formNone {
		c.native = wire.AppendLine(c.native, "transformation-error", "only maps are transformed: jms-map-json, jms-map-xml")
		return
	}
	if _, err := f.parse(body); err != nil {
		c.native = wire.AppendLine(c.native, "transformation-error", err.Error())
		return
	}
	t.kind = bodyMap
}
