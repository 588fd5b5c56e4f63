package broker

import (
	"fmt"
	"strconv"
	"strings"
)

// typeName is RabbitMQ's name of a field type.
func typeName(v Value) string {
	switch v.(type) {
	case nil:
		return "void"
	case bool:
		return "bool"
	case int8:
		return "byte"
	case uint8:
		return "unsignedbyte"
	case int16:
		return "short"
	case uint16:
		return "unsignedshort"
	case int32:
		return "signedint"
	case uint32:
		return "unsignedint"
	case int64:
		return "long"
	case float32:
		return "float"
	case float64:
		return "double"
	case Decimal:
		return "decimal"
	case string:
		return "longstr"
	case []byte:
		return "binary"
	case Timestamp:
		return "timestamp"
	case Array:
		return "array"
	case Table:
		return "table"
	}
	return "unknown"
}

// plainValue renders a value as RabbitMQ does between quotes: strings as they
// are, all else as an Erlang term.
func plainValue(v Value) string {
	switch x := v.(type) {
	case string:
		return x
	case []byte:
		return string(x)
	}
	return erlangValue(v)
}

// erlangValue renders a value as an Erlang term.
func erlangValue(v Value) string {
	switch x := v.(type) {
	case nil:
		return "undefined"
	case bool:
		return strconv.FormatBool(x)
	case string:
		return erlangBinary(x)
	case []byte:
		return erlangBinary(string(x))
	case float32:
		return strconv.FormatFloat(float64(x), 'f', -1, 32)
	case float64:
		return strconv.FormatFloat(x, 'f', -1, 64)
	case Decimal:
		return fmt.Sprintf("{%d,%d}", x.Scale, x.Value)
	case Timestamp:
		return strconv.FormatUint(uint64(x), 10)
	case Array:
		parts := make([]string, len(x))
		for i, e := range x {
			parts[i] = "{" + typeName(e) + "," + erlangValue(e) + "}"
		}
		return "[" + strings.Join(parts, ",") + "]"
	case Table:
		parts := make([]string, len(x))
		for i, f := range x {
			parts[i] = `{<<"` + f.Name + `">>,` + typeName(f.Value) + "," + erlangValue(f.Value) + "}"
		}
		return "[" + strings.Join(parts, ",") + "]"
	}
	if n, ok := Int(v); ok {
		return strconv.FormatInt(n, 10)
	}
	return "undefined"
}

func erlangBinary(s string) string {
	if s == "" {
		return "<<>>"
	}
	return `<<"` + s + `">>`
}

func term(reason string, n int64) string {
	return "{" + reason + "," + strconv.FormatInt(n, 10) + "}"
}
