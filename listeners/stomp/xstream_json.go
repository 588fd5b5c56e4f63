package stomp

import (
	"bytes"
	"encoding/json"
	"io"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/hermodmq/hermod/broker"
)

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
