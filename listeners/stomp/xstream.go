package stomp

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/hermodmq/hermod/broker"
)

// Maps of JMS as ActiveMQ writes them for STOMP: XStream's XML, in which every
// value is an element named after its type,
//
//	<map><entry><string>n</string><int>5</int></entry></map>
//
// and Jettison's mapping of that to JSON, which makes a list of what has the
// same name:
//
//	{"map":{"entry":[{"string":"n","int":5},{"string":["city","Belgrade"]}]}}
//
// Read are, beyond that, plain objects of JSON, which libraries send by the
// same name.

// errMap says that a body is no map in a form we read.
var errMap = errors.New("the body is no map")

// maxMapDepth bounds the nesting of maps and lists.
const maxMapDepth = 16

// element is a value in XStream's words.
type element struct {
	name  string
	text  string
	parts []element
}

// elementOf is v as an element.
func elementOf(v broker.Value) element {
	switch v := v.(type) {
	case nil:
		return element{name: "null"}
	case string:
		return element{name: "string", text: v}
	case bool:
		return element{name: "boolean", text: strconv.FormatBool(v)}
	case int8:
		return element{name: "byte", text: strconv.Itoa(int(v))}
	case int16:
		return element{name: "short", text: strconv.Itoa(int(v))}
	case int32:
		return element{name: "int", text: strconv.Itoa(int(v))}
	case float32:
		return element{name: "float", text: javaFloat(float64(v), 32)}
	case float64:
		return element{name: "double", text: javaFloat(v, 64)}
	case []byte:
		return element{name: "byte-array", text: base64.StdEncoding.EncodeToString(v)}
	case broker.Array:
		e := element{name: "list"}
		for _, item := range v {
			e.parts = append(e.parts, elementOf(item))
		}
		return e
	case broker.Table:
		e := element{name: "map"}
		for _, f := range v {
			e.parts = append(e.parts, element{name: "entry", parts: []element{{name: "string", text: f.Name}, elementOf(f.Value)}})
		}
		return e
	}
	if n, ok := broker.Int(v); ok {
		return element{name: "long", text: strconv.FormatInt(n, 10)}
	}
	return element{name: "string", text: valueText(v)}
}

// javaFloat is a number as Java writes it, where it matters.
func javaFloat(f float64, bits int) string {
	switch s := strconv.FormatFloat(f, 'g', -1, bits); s {
	case "+Inf":
		return "Infinity"
	case "-Inf":
		return "-Infinity"
	default:
		if strings.Trim(s, "-0123456789") == "" {
			s += ".0"
		}
		return s
	}
}

// value is the value that an element stands for.
func (e *element) value(depth int) (broker.Value, error) {
	if depth > maxMapDepth {
		return nil, errMap
	}
	number := func(bits int) (int64, error) { return strconv.ParseInt(strings.TrimSpace(e.text), 10, bits) }
	switch e.name {
	case "null":
		return nil, nil
	case "string", "char":
		return e.text, nil
	case "boolean":
		return strconv.ParseBool(strings.TrimSpace(e.text))
	case "byte":
		n, err := number(8)
		return int8(n), err
	case "short":
		n, err := number(16)
		return int16(n), err
	case "int":
		n, err := number(32)
		return int32(n), err
	case "long":
		return number(64)
	case "float":
		f, err := strconv.ParseFloat(strings.TrimSpace(e.text), 32)
		return float32(f), err
	case "double":
		return strconv.ParseFloat(strings.TrimSpace(e.text), 64)
	case "byte-array":
		return base64.StdEncoding.DecodeString(strings.Join(strings.Fields(e.text), ""))
	case "list", "linked-list":
		list := make(broker.Array, len(e.parts))
		for i := range e.parts {
			var err error
			if list[i], err = e.parts[i].value(depth + 1); err != nil {
				return nil, err
			}
		}
		return list, nil
	case "map", "linked-hash-map", "tree-map":
		return e.table(depth)
	}
	return nil, errMap
}

// table is the map that an element stands for.
func (e *element) table(depth int) (broker.Table, error) {
	t := make(broker.Table, 0, len(e.parts))
	for i := range e.parts {
		entry := &e.parts[i]
		if entry.name != "entry" || len(entry.parts) != 2 || entry.parts[0].name != "string" {
			return nil, errMap
		}
		v, err := entry.parts[1].value(depth + 1)
		if err != nil {
			return nil, err
		}
		t = append(t, broker.Field{Name: entry.parts[0].text, Value: v})
	}
	return t, nil
}

// appendMapXML appends a map as XStream's XML.
func appendMapXML(dst []byte, t broker.Table) []byte {
	e := elementOf(t)
	return e.appendXML(dst, 0)
}

func (e *element) appendXML(dst []byte, depth int) []byte {
	const indent = "                                                  "
	dst = append(dst, indent[:min(2*depth, len(indent))]...)
	dst = append(append(append(dst, '<'), e.name...), '>')
	if len(e.parts) == 0 {
		if e.text == "" {
			return append(dst[:len(dst)-1], "/>"...)
		}
		b := bytes.NewBuffer(dst)
		_ = xml.EscapeText(b, []byte(e.text)) // a buffer takes everything
		dst = b.Bytes()
	} else {
		for i := range e.parts {
			dst = e.parts[i].appendXML(append(dst, '\n'), depth+1)
		}
		dst = append(dst, '\n')
		dst = append(dst, indent[:min(2*depth, len(indent))]...)
	}
	return append(append(append(dst, "</"...), e.name...), '>')
}

// parseMapXML reads what appendMapXML writes.
func parseMapXML(body []byte) (broker.Table, error) {
	d := xml.NewDecoder(bytes.NewReader(body))
	for {
		tok, err := d.Token()
		if err != nil {
			return nil, errMap
		}
		start, ok := tok.(xml.StartElement)
		if !ok {
			continue
		}
		root, err := readElement(d, start.Name.Local, 0)
		if err != nil {
			return nil, errMap
		}
		if !strings.HasSuffix(root.name, "map") {
			return nil, errMap
		}
		return root.table(0)
	}
}

// readElement reads what is behind a start tag. An entry is a level of its own.
func readElement(d *xml.Decoder, name string, depth int) (element, error) {
	e := element{name: name}
	if depth > 2*maxMapDepth {
		return e, errMap
	}
	var text []byte
	for {
		tok, err := d.Token()
		if err != nil {
			return e, err
		}
		switch tok := tok.(type) {
		case xml.CharData:
			text = append(text, tok...)
		case xml.StartElement:
			part, err := readElement(d, tok.Name.Local, depth+1)
			if err != nil {
				return e, err
			}
			e.parts = append(e.parts, part)
		case xml.EndElement:
			if len(e.parts) == 0 {
				e.text = string(text)
			}
			return e, nil
		}
	}
}

// appendMapJSON appends a map as Jettison's JSON.
func appendMapJSON(dst []byte, t broker.Table) []byte {
	e := elementOf(t)
	return append(e.appendJSON(append(dst, `{"map":`...)), '}')
}

// appendJSON appends what stands behind an element's name.
func (e *element) appendJSON(dst []byte) []byte {
	switch e.name {
	case "map":
		if len(e.parts) == 0 {
			return append(dst, `""`...)
		}
		dst = append(dst, `{"entry":[`...)
		for i := range e.parts {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = e.parts[i].appendJSON(dst)
		}
		return append(dst, "]}"...)
	case "entry", "list":
		return appendGrouped(dst, e.parts)
	case "byte", "short", "int", "long", "boolean":
		return append(dst, e.text...)
	case "float", "double":
		if json.Valid([]byte(e.text)) {
			return append(dst, e.text...)
		}
	}
	return appendJSONText(dst, e.text)
}

// appendGrouped appends elements as an object that has a list for each name
// that comes more than once.
func appendGrouped(dst []byte, parts []element) []byte {
	var names []string
	groups := make(map[string][]*element)
	for i := range parts {
		name := parts[i].name
		if groups[name] == nil {
			names = append(names, name)
		}
		groups[name] = append(groups[name], &parts[i])
	}
	dst = append(dst, '{')
	for i, name := range names {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(appendJSONText(dst, name), ':')
		if group := groups[name]; len(group) == 1 {
			dst = group[0].appendJSON(dst)
		} else {
			dst = append(dst, '[')
			for j, e := range group {
				if j > 0 {
					dst = append(dst, ',')
				}
				dst = e.appendJSON(dst)
			}
			dst = append(dst, ']')
		}
	}
	return append(dst, '}')
}

func appendJSONText(dst []byte, s string) []byte {
	b, _ := json.Marshal(strings.ToValidUTF8(s, "\uFFFD")) // of a string never fails
	return append(dst, b...)
}

// parseMapJSON reads what appendMapJSON writes, and plain objects.
func parseMapJSON(body []byte) (broker.Table, error) {
	if !utf8.Valid(body) {
		return nil, errMap
	}
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	v, err := readJSON(d, 0)
	if err != nil {
		return nil, errMap
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, errMap
	}
	root, ok := v.(broker.Table)
	if !ok {
		return nil, errMap
	}
	if len(root) == 1 && root[0].Name == "map" {
		if e, ok := mappedElement("map", root[0].Value, 0); ok {
			if t, err := e.table(0); err == nil {
				return t, nil
			}
		}
	}
	return root, nil
}

// readJSON reads a value; objects keep their order.
func readJSON(d *json.Decoder, depth int) (broker.Value, error) {
	tok, err := d.Token()
	if err != nil {
		return nil, err
	}
	switch tok := tok.(type) {
	case json.Delim:
		if depth > 4*maxMapDepth {
			return nil, errMap
		}
		if tok == '{' {
			return readJSONObject(d, depth)
		}
		list := broker.Array{}
		for d.More() {
			v, err := readJSON(d, depth+1)
			if err != nil {
				return nil, err
			}
			list = append(list, v)
		}
		_, err := d.Token()
		return list, err
	case json.Number:
		if n, err := strconv.ParseInt(tok.String(), 10, 32); err == nil {
			return int32(n), nil // which JMS widens, and does not narrow
		}
		if n, err := tok.Int64(); err == nil {
			return n, nil
		}
		return tok.Float64()
	case string, bool:
		return tok, nil
	}
	return nil, nil
}

func readJSONObject(d *json.Decoder, depth int) (broker.Value, error) {
	t := broker.Table{}
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return nil, err
		}
		text, ok := name.(string)
		if !ok {
			return nil, errMap
		}
		v, err := readJSON(d, depth+1)
		if err != nil {
			return nil, err
		}
		t = append(t, broker.Field{Name: text, Value: v})
	}
	_, err := d.Token()
	return t, err
}

// mappedElement is the element that Jettison writes as v behind name.
func mappedElement(name string, v broker.Value, depth int) (e element, ok bool) {
	e.name = name
	if depth > 4*maxMapDepth {
		return e, false
	}
	switch v := v.(type) {
	case nil:
		return e, true
	case broker.Array: // an empty root may be one, and a single object in one
		if len(v) == 0 {
			return e, true
		}
		if len(v) > 1 || name != "map" {
			return e, false
		}
		return mappedElement(name, v[0], depth+1)
	case broker.Table:
		for _, f := range v {
			list, several := f.Value.(broker.Array)
			if !several {
				list = broker.Array{f.Value}
			}
			for _, item := range list {
				part, ok := mappedElement(f.Name, item, depth+1)
				if !ok {
					return e, false
				}
				e.parts = append(e.parts, part)
			}
		}
		return e, true
	}
	e.text = valueText(v)
	return e, true
}
