package stomp

import (
	"encoding/base64"
	"errors"
	"strconv"
	"strings"

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

// errMapSize says that a body is too large to be read as a map.
var errMapSize = errors.New("a map of more than 128 KiB is not transformed")

// Bounds of maps: maps are read and written on event loops, and take many times
// their bytes meanwhile.
const (
	maxMapDepth = 16      // of maps and lists in each other
	maxMapBytes = 1 << 17 // of a message with a map: it is parsed on the event loop, into elements larger than their text
)

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
