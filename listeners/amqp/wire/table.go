package wire

import (
	"encoding/binary"
	"fmt"
	"math"
)

// MaxNesting is how deep tables and arrays may nest, the outermost counted.
const MaxNesting = 32

// Table is a field table (AMQP 4.2.5.5): ordered, and names may repeat.
type Table []Field

// Field is one entry of a Table. Value is one of
//
//	nil        void             V
//	bool       boolean          t
//	int8       signed octet     b
//	uint8      octet            B
//	int16      signed short     s   (U is read as int16 too)
//	uint16     short            u
//	int32      signed long      I
//	uint32     long             i
//	int64      signed long long l   (L is read as int64 too)
//	float32    float            f
//	float64    double           d
//	Decimal    decimal          D
//	string     long string      S   (bytes, need not be UTF-8)
//	[]byte     byte array       x
//	Timestamp  timestamp        T
//	Array      array            A
//	Table      table            F
//
// in RabbitMQ's reading of the tags. For writing, int is taken for int64.
type Field struct {
	Name  string
	Value any
}

// Array is an ordered list of values of the kinds a Field can have.
type Array []any

// Decimal is Value / 10^Scale.
type Decimal struct {
	Scale uint8
	Value int32
}

// Timestamp is POSIX time, in seconds by the specification; some clients send
// milliseconds, so it is passed through as it is.
type Timestamp uint64

// Get returns the first value called name, as RabbitMQ's lookups do.
func (t Table) Get(name string) (any, bool) {
	for i := range t {
		if t[i].Name == name {
			return t[i].Value, true
		}
	}
	return nil, false
}

// AppendTable appends t with its length. Values of other types than [Field]
// lists are a fault in the program and panic.
func AppendTable(dst []byte, t Table) []byte {
	start := len(dst)
	dst = append(dst, 0, 0, 0, 0)
	for i := range t {
		dst = appendField(dst, &t[i])
	}
	return patchLength(dst, start)
}

func appendField(dst []byte, f *Field) []byte {
	dst = appendShortstr(dst, f.Name)
	return AppendValue(dst, f.Value)
}

// AppendValue appends a tagged field value. See [AppendTable].
func AppendValue(dst []byte, v any) []byte {
	switch v := v.(type) {
	case nil:
		return append(dst, 'V')
	case bool:
		return append(dst, 't', bit(v, 0))
	case int8:
		return append(dst, 'b', byte(v))
	case uint8:
		return append(dst, 'B', v)
	case int16:
		return appendShort(append(dst, 's'), uint16(v))
	case uint16:
		return appendShort(append(dst, 'u'), v)
	case int32:
		return appendLong(append(dst, 'I'), uint32(v))
	case uint32:
		return appendLong(append(dst, 'i'), v)
	case int64:
		return appendLonglong(append(dst, 'l'), uint64(v))
	case int:
		return appendLonglong(append(dst, 'l'), uint64(v))
	case float32:
		return appendLong(append(dst, 'f'), math.Float32bits(v))
	case float64:
		return appendLonglong(append(dst, 'd'), math.Float64bits(v))
	case Decimal:
		return appendLong(append(dst, 'D', v.Scale), uint32(v.Value))
	case string:
		return appendLongstr(append(dst, 'S'), v)
	case []byte:
		dst = appendLong(append(dst, 'x'), uint32(len(v)))
		return append(dst, v...)
	case Timestamp:
		return appendLonglong(append(dst, 'T'), uint64(v))
	case Array:
		return appendArray(append(dst, 'A'), v)
	case Table:
		return AppendTable(append(dst, 'F'), v)
	}
	panic(fmt.Sprintf("wire: %T is not a field value", v))
}

// appendArray appends a with its length, which AMQP counts in bytes.
func appendArray(dst []byte, a Array) []byte {
	start := len(dst)
	dst = append(dst, 0, 0, 0, 0)
	for _, v := range a {
		dst = AppendValue(dst, v)
	}
	return patchLength(dst, start)
}

func patchLength(dst []byte, start int) []byte {
	binary.BigEndian.PutUint32(dst[start:], uint32(len(dst)-start-4))
	return dst
}

// RawTable is an encoded table without its length: the entries one after the
// other. AMQPLAIN responses have this form too.
type RawTable []byte

// RawArray is an encoded array without its length.
type RawArray []byte

// RawValue is one encoded field value.
type RawValue struct {
	Tag  byte
	Data []byte // the value without tag; for S, x, A and F also without length
}

// Decode decodes the whole table; the result does not alias it.
func (t RawTable) Decode() (Table, error) {
	v, err := decodeTable(t, 1)
	if err != nil {
		return nil, err
	}
	return v, nil
}

// Next returns the first entry and what follows it. ok is false at the end,
// and where the table is malformed.
func (t RawTable) Next() (name []byte, v RawValue, rest RawTable, ok bool) {
	name, v, after, err := nextField(t)
	if err != nil || len(t) == 0 {
		return nil, RawValue{}, nil, false
	}
	return name, v, after, true
}

// Lookup returns the first entry called name.
func (t RawTable) Lookup(name string) (RawValue, bool) {
	for {
		n, v, rest, ok := t.Next()
		if !ok {
			return RawValue{}, false
		}
		if string(n) == name {
			return v, true
		}
		t = rest
	}
}

// Next returns the first element and what follows it. ok is false at the end,
// and where the array is malformed.
func (a RawArray) Next() (v RawValue, rest RawArray, ok bool) {
	v, after, err := nextValue(a)
	if err != nil {
		return RawValue{}, nil, false
	}
	return v, after, true
}

// Decode decodes the value; the result does not alias it.
func (v RawValue) Decode() (any, error) {
	x, err := v.decode(0)
	if err != nil {
		return nil, err
	}
	return x, nil
}

// nextField cuts the entry at the head of b. b must not be empty.
func nextField(b []byte) (name []byte, v RawValue, rest []byte, err *Error) {
	if len(b) == 0 || len(b) < 1+int(b[0]) {
		return nil, v, nil, errTruncated
	}
	n := 1 + int(b[0])
	name = b[1:n:n]
	v, rest, err = nextValue(b[n:])
	return name, v, rest, err
}

// nextValue cuts the tagged value at the head of b.
func nextValue(b []byte) (v RawValue, rest []byte, err *Error) {
	if len(b) == 0 {
		return v, nil, errTruncated
	}
	tag, b := b[0], b[1:]
	size := 0
	switch tag {
	case 'V':
	case 't', 'b', 'B':
		size = 1
	case 's', 'u', 'U':
		size = 2
	case 'I', 'i', 'f':
		size = 4
	case 'D':
		size = 5
	case 'l', 'L', 'd', 'T':
		size = 8
	case 'S', 'x', 'A', 'F':
		if len(b) < 4 {
			return v, nil, errTruncated
		}
		n := binary.BigEndian.Uint32(b)
		if b = b[4:]; uint64(n) > uint64(len(b)) {
			return v, nil, errTruncated
		}
		size = int(n)
	default:
		return v, nil, errFieldType
	}
	if size > len(b) {
		return v, nil, errTruncated
	}
	return RawValue{tag, b[:size:size]}, b[size:], nil
}

// checkTable checks that b is a well-formed table body at the given depth.
func checkTable(b []byte, depth int) *Error {
	if depth > MaxNesting {
		return errNesting
	}
	for len(b) > 0 {
		_, v, rest, err := nextField(b)
		if err == nil {
			err = v.check(depth)
		}
		if err != nil {
			return err
		}
		b = rest
	}
	return nil
}

func checkArray(b []byte, depth int) *Error {
	if depth > MaxNesting {
		return errNesting
	}
	for len(b) > 0 {
		v, rest, err := nextValue(b)
		if err == nil {
			err = v.check(depth)
		}
		if err != nil {
			return err
		}
		b = rest
	}
	return nil
}

func (v RawValue) check(depth int) *Error {
	switch v.Tag {
	case 'F':
		return checkTable(v.Data, depth+1)
	case 'A':
		return checkArray(v.Data, depth+1)
	}
	return nil
}

func decodeTable(b []byte, depth int) (Table, *Error) {
	if depth > MaxNesting {
		return nil, errNesting
	}
	if len(b) == 0 {
		return nil, nil
	}
	var t Table
	for len(b) > 0 {
		name, raw, rest, err := nextField(b)
		if err != nil {
			return nil, err
		}
		v, err := raw.decode(depth)
		if err != nil {
			return nil, err
		}
		t = append(t, Field{string(name), v})
		b = rest
	}
	return t, nil
}

func decodeArray(b []byte, depth int) (Array, *Error) {
	if depth > MaxNesting {
		return nil, errNesting
	}
	var a Array
	for len(b) > 0 {
		raw, rest, err := nextValue(b)
		if err != nil {
			return nil, err
		}
		v, err := raw.decode(depth)
		if err != nil {
			return nil, err
		}
		a = append(a, v)
		b = rest
	}
	return a, nil
}

// decode relies on nextValue having sized Data by Tag.
func (v RawValue) decode(depth int) (any, *Error) {
	b := v.Data
	switch v.Tag {
	case 't':
		return b[0] != 0, nil
	case 'b':
		return int8(b[0]), nil
	case 'B':
		return b[0], nil
	case 's', 'U':
		return int16(binary.BigEndian.Uint16(b)), nil
	case 'u':
		return binary.BigEndian.Uint16(b), nil
	case 'I':
		return int32(binary.BigEndian.Uint32(b)), nil
	case 'i':
		return binary.BigEndian.Uint32(b), nil
	case 'l', 'L':
		return int64(binary.BigEndian.Uint64(b)), nil
	case 'f':
		return math.Float32frombits(binary.BigEndian.Uint32(b)), nil
	case 'd':
		return math.Float64frombits(binary.BigEndian.Uint64(b)), nil
	case 'D':
		return Decimal{b[0], int32(binary.BigEndian.Uint32(b[1:]))}, nil
	case 'S':
		return string(b), nil
	case 'x':
		return append([]byte{}, b...), nil
	case 'T':
		return Timestamp(binary.BigEndian.Uint64(b)), nil
	case 'A':
		return decodeArrayValue(b, depth)
	case 'F':
		return decodeTableValue(b, depth)
	case 'V':
		return nil, nil
	}
	return nil, errFieldType
}

// An empty array or table inside another is still one, not void, so these two
// return a typed value where decodeArray and decodeTable return nil slices.
func decodeArrayValue(b []byte, depth int) (any, *Error) {
	a, err := decodeArray(b, depth+1)
	return a, err
}

func decodeTableValue(b []byte, depth int) (any, *Error) {
	t, err := decodeTable(b, depth+1)
	return t, err
}
