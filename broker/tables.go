package broker

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"math"
	"slices"
	"strings"
	"unicode/utf8"
)

// maxTableDepth bounds nested tables and arrays of stored definitions.
const maxTableDepth = 32

// cloneTable copies what a listener's buffer may own.
func cloneTable(t Table) Table {
	if t == nil {
		return nil
	}
	c := make(Table, len(t))
	for i, f := range t {
		c[i] = Field{Name: strings.Clone(f.Name), Value: cloneValue(f.Value)}
	}
	return c
}

func cloneValue(v Value) Value {
	switch x := v.(type) {
	case string:
		return strings.Clone(x)
	case []byte:
		return slices.Clone(x)
	case Table:
		return cloneTable(x)
	case Array:
		a := make(Array, len(x))
		for i, e := range x {
			a[i] = cloneValue(e)
		}
		return a
	}
	return v
}

// canonicalTable is a text that two tables share exactly if they have the same
// fields in any order.
func canonicalTable(t Table) string {
	if len(t) == 0 {
		return ""
	}
	return string(appendTable(nil, t))
}

func appendTable(dst []byte, t Table) []byte {
	sorted := slices.Clone(t)
	slices.SortStableFunc(sorted, func(a, b Field) int { return strings.Compare(a.Name, b.Name) })
	dst = binary.AppendUvarint(dst, uint64(len(sorted)))
	for _, f := range sorted {
		dst = appendString(dst, f.Name)
		dst = appendValue(dst, f.Value)
	}
	return dst
}

func appendValue(dst []byte, v Value) []byte {
	if n, ok := Int(v); ok {
		return binary.AppendVarint(append(dst, 'l'), n)
	}
	switch x := v.(type) {
	case bool:
		if x {
			return append(dst, 't', 1)
		}
		return append(dst, 't', 0)
	case string:
		return appendString(append(dst, 'S'), x)
	case []byte:
		return appendString(append(dst, 'x'), string(x))
	case float32:
		return binary.BigEndian.AppendUint64(append(dst, 'd'), math.Float64bits(float64(x)))
	case float64:
		return binary.BigEndian.AppendUint64(append(dst, 'd'), math.Float64bits(x))
	case Decimal:
		return binary.BigEndian.AppendUint32(append(dst, 'D', x.Scale), uint32(x.Value))
	case Timestamp:
		return binary.BigEndian.AppendUint64(append(dst, 'T'), uint64(x))
	case Array:
		dst = binary.AppendUvarint(append(dst, 'A'), uint64(len(x)))
		for _, e := range x {
			dst = appendValue(dst, e)
		}
		return dst
	case Table:
		return appendTable(append(dst, 'F'), x)
	}
	return append(dst, 'V')
}

// jsonField is the stored form of a field: its type survives, unlike in the
// definitions that are exported.
type jsonField struct {
	Name  string          `json:"n,omitempty"`
	Type  string          `json:"t"`
	Value json.RawMessage `json:"v,omitempty"`
}

var errTable = errors.New("broker: malformed stored table")

// tableJSON renders t for a definition's value.
func tableJSON(t Table) []jsonField {
	if len(t) == 0 {
		return nil
	}
	out := make([]jsonField, len(t))
	for i, f := range t {
		out[i] = valueJSON(f.Value)
		out[i].Name = f.Name
	}
	return out
}

func valueJSON(v Value) jsonField {
	f := jsonField{Type: typeName(v)}
	var plain any
	switch x := v.(type) {
	case nil:
		return f
	case []byte:
		plain = base64.StdEncoding.EncodeToString(x)
	case string:
		plain = x
		if !utf8.ValidString(x) {
			f.Type, plain = "longstr64", base64.StdEncoding.EncodeToString([]byte(x))
		}
	case float32:
		plain = math.Float32bits(x)
	case float64:
		plain = math.Float64bits(x)
	case Decimal:
		plain = []int64{int64(x.Scale), int64(x.Value)}
	case Array:
		list := make([]jsonField, len(x))
		for i, e := range x {
			list[i] = valueJSON(e)
		}
		plain = list
	case Table:
		plain = tableJSON(x)
	default:
		plain = x
	}
	f.Value, _ = json.Marshal(plain)
	return f
}

// tableFromJSON reads what tableJSON wrote.
func tableFromJSON(fields []jsonField, depth int) (Table, error) {
	if len(fields) == 0 {
		return nil, nil
	}
	if depth > maxTableDepth {
		return nil, errTable
	}
	t := make(Table, len(fields))
	for i, f := range fields {
		v, err := valueFromJSON(f, depth)
		if err != nil {
			return nil, err
		}
		t[i] = Field{Name: f.Name, Value: v}
	}
	return t, nil
}

func decodeAs[T any](raw json.RawMessage) (Value, error) {
	var v T
	if err := json.Unmarshal(raw, &v); err != nil {
		return nil, errTable
	}
	return v, nil
}

func valueFromJSON(f jsonField, depth int) (Value, error) {
	switch f.Type {
	case "void":
		return nil, nil
	case "bool":
		return decodeAs[bool](f.Value)
	case "byte":
		return decodeAs[int8](f.Value)
	case "unsignedbyte":
		return decodeAs[uint8](f.Value)
	case "short":
		return decodeAs[int16](f.Value)
	case "unsignedshort":
		return decodeAs[uint16](f.Value)
	case "signedint":
		return decodeAs[int32](f.Value)
	case "unsignedint":
		return decodeAs[uint32](f.Value)
	case "long":
		return decodeAs[int64](f.Value)
	case "timestamp":
		return decodeAs[Timestamp](f.Value)
	case "longstr":
		return decodeAs[string](f.Value)
	case "longstr64", "binary", "float", "double", "decimal":
		return packedFromJSON(f)
	case "array", "table":
		return nestedFromJSON(f, depth+1)
	}
	return nil, errTable
}

func packedFromJSON(f jsonField) (Value, error) {
	switch f.Type {
	case "float":
		v, err := decodeAs[uint32](f.Value)
		if err != nil {
			return nil, err
		}
		return math.Float32frombits(v.(uint32)), nil
	case "double":
		v, err := decodeAs[uint64](f.Value)
		if err != nil {
			return nil, err
		}
		return math.Float64frombits(v.(uint64)), nil
	case "decimal":
		var pair [2]int64
		if json.Unmarshal(f.Value, &pair) != nil {
			return nil, errTable
		}
		return Decimal{Scale: uint8(pair[0]), Value: int32(pair[1])}, nil
	}
	var raw []byte
	if json.Unmarshal(f.Value, &raw) != nil {
		return nil, errTable
	}
	if f.Type == "longstr64" {
		return string(raw), nil
	}
	return raw, nil
}

func nestedFromJSON(f jsonField, depth int) (Value, error) {
	var list []jsonField
	if json.Unmarshal(f.Value, &list) != nil || depth > maxTableDepth {
		return nil, errTable
	}
	if f.Type == "table" {
		t, err := tableFromJSON(list, depth)
		return t, err
	}
	a := make(Array, len(list))
	for i, e := range list {
		v, err := valueFromJSON(e, depth)
		if err != nil {
			return nil, err
		}
		a[i] = v
	}
	return a, nil
}

// plainJSON renders a table as RabbitMQ's definitions and API do: an object
// with plain values. Types narrower than JSON's are lost.
func plainJSON(t Table) map[string]any {
	out := make(map[string]any, len(t))
	for _, f := range t {
		if _, dup := out[f.Name]; !dup {
			out[f.Name] = plainJSONValue(f.Value)
		}
	}
	return out
}

func plainJSONValue(v Value) any {
	switch x := v.(type) {
	case []byte:
		return string(x)
	case float32:
		return finite(float64(x))
	case float64:
		return finite(x)
	case Decimal:
		return float64(x.Value) / math.Pow10(int(x.Scale))
	case Timestamp:
		return uint64(x)
	case Array:
		list := make([]any, len(x))
		for i, e := range x {
			list[i] = plainJSONValue(e)
		}
		return list
	case Table:
		return plainJSON(x)
	}
	return v
}

// finite replaces what JSON cannot say.
func finite(f float64) any {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return nil
	}
	return f
}

// TableFromPlain reads arguments as RabbitMQ's definitions and API write them:
// integers become 64 bits wide, other numbers double. Fields are sorted by
// name. Nesting is bounded.
func TableFromPlain(m map[string]any) (Table, error) { return tableFromPlain(m, 0) }

func tableFromPlain(m map[string]any, depth int) (Table, error) {
	if depth > maxTableDepth {
		return nil, errf(Invalid, "arguments are nested too deeply")
	}
	names := make([]string, 0, len(m))
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	var t Table
	for _, name := range names {
		v, err := valueFromPlain(m[name], depth)
		if err != nil {
			return nil, err
		}
		t = append(t, Field{Name: name, Value: v})
	}
	return t, nil
}

func valueFromPlain(v any, depth int) (Value, error) {
	switch x := v.(type) {
	case nil, bool, string:
		return x, nil
	case int:
		return int64(x), nil
	case int64:
		return x, nil
	case float64:
		if x == math.Trunc(x) && math.Abs(x) < 1<<53 {
			return int64(x), nil
		}
		return x, nil
	case json.Number:
		if n, err := x.Int64(); err == nil {
			return n, nil
		}
		f, err := x.Float64()
		if err != nil {
			return nil, errf(Invalid, "bad number %q", x.String())
		}
		return f, nil
	case []any:
		if depth >= maxTableDepth {
			return nil, errf(Invalid, "arguments are nested too deeply")
		}
		a := make(Array, len(x))
		for i, e := range x {
			w, err := valueFromPlain(e, depth+1)
			if err != nil {
				return nil, err
			}
			a[i] = w
		}
		return a, nil
	case map[string]any:
		t, err := tableFromPlain(x, depth+1)
		return t, err
	}
	return nil, errf(Invalid, "unsupported argument type %T", v)
}
