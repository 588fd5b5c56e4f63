package wire

import (
	"encoding/binary"
	"math"
)

// The codes of primitive values: in properties, in bodies of map and stream
// messages and in the options of WireFormatInfo.
const (
	primNull      = 0
	primBool      = 1
	primByte      = 2
	primChar      = 3
	primShort     = 4
	primInt       = 5
	primLong      = 6
	primDouble    = 7
	primFloat     = 8
	primString    = 9
	primBytes     = 10
	primMap       = 11
	primList      = 12
	primBigString = 13
)

// Primitive is a value of a property or of a map or stream message: nil, bool,
// int8, Char, int16, int32, int64, float64, float32, string, []byte, Map or
// List.
type Primitive any

// Char is Java's char, a unit of UTF-16.
type Char uint16

// Map is a map of primitives in the order of the wire.
type Map []Entry

// Entry is a named primitive.
type Entry struct {
	Name  string
	Value Primitive
}

// List is a list of primitives.
type List []Primitive

// Get returns the value of a name; ok tells absence from null.
func (m Map) Get(name string) (v Primitive, ok bool) {
	for i := range m {
		if m[i].Name == name {
			return m[i].Value, true
		}
	}
	return nil, false
}

// Set replaces or adds a value.
func (m *Map) Set(name string, v Primitive) {
	for i := range *m {
		if (*m)[i].Name == name {
			(*m)[i].Value = v
			return
		}
	}
	*m = append(*m, Entry{name, v})
}

const (
	maxPrimitiveDepth = 32 // maps and lists inside each other
	bigString         = 8191
)

// ParseMap decodes a map of primitives, all of it. Byte slices of the result
// are part of b. Nil bytes and a null map are a nil Map.
func ParseMap(b []byte) (Map, error) {
	if b == nil {
		return nil, nil
	}
	p := primitives{b: b}
	m := p.entries(0)
	if p.err == nil && len(p.b) != 0 {
		p.err = ErrTrailing
	}
	if p.err != nil {
		return nil, p.err
	}
	return m, nil
}

// Property looks one property up in a marshalled map without decoding the
// others. Of several of one name the last counts, as it does for Java.
func Property(b []byte, name string) (v Primitive, ok bool, err error) {
	p := primitives{b: b}
	if b == nil {
		return nil, false, nil
	}
	var found []byte
	for range p.count() {
		key := p.take(p.short())
		start := p.b
		p.skip(0)
		if p.err != nil {
			return nil, false, p.err
		}
		if sameUTF(key, name) {
			found = start
		}
	}
	if found == nil {
		return nil, false, p.err
	}
	p = primitives{b: found}
	v = p.value(0)
	return v, p.err == nil, p.err
}

// sameUTF compares modified UTF-8 with a string.
func sameUTF(b []byte, s string) bool {
	if string(b) == s {
		return true
	}
	if PlainUTF(b) {
		return false
	}
	decoded, err := DecodeUTF(b)
	return err == nil && decoded == s
}

// ParseStream decodes the values of a stream message.
func ParseStream(b []byte) (List, error) {
	p := primitives{b: b}
	var l List
	for len(p.b) > 0 && p.err == nil {
		l = append(l, p.value(0))
	}
	if p.err != nil {
		return nil, p.err
	}
	return l, nil
}

// AppendMap appends a map of primitives; values of other types than those of
// [Primitive] are null. Strings among the values are in standard UTF-8: the
// Java client writes modified UTF-8 there, but does not read it.
func AppendMap(dst []byte, m Map) []byte {
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(m)))
	for i := range m {
		dst = appendShort(dst, m[i].Name, AppendUTF)
		dst = appendPrimitive(dst, m[i].Value, appendPlain)
	}
	return dst
}

// AppendPrimitive appends the code and the value of a primitive as it stands in
// a stream message, strings in modified UTF-8.
func AppendPrimitive(dst []byte, v Primitive) []byte { return appendPrimitive(dst, v, AppendUTF) }

func appendPlain(dst []byte, s string) []byte { return append(dst, s...) }

// appendShort appends a string of at most 65,535 bytes; more are cut off.
func appendShort(dst []byte, s string, form func([]byte, string) []byte) []byte {
	start := len(dst)
	dst = form(append(dst, 0, 0), s)
	if len(dst)-start-2 > math.MaxUint16 {
		dst = dst[:start+2+cutUTF(dst[start+2:], math.MaxUint16)]
	}
	binary.BigEndian.PutUint16(dst[start:], uint16(len(dst)-start-2))
	return dst
}

func appendPrimitive(dst []byte, v Primitive, form func([]byte, string) []byte) []byte {
	switch v := v.(type) {
	case bool:
		return append(dst, primBool, boolByte(v))
	case int8:
		return append(dst, primByte, byte(v))
	case Char:
		return binary.BigEndian.AppendUint16(append(dst, primChar), uint16(v))
	case int16:
		return binary.BigEndian.AppendUint16(append(dst, primShort), uint16(v))
	case int32:
		return binary.BigEndian.AppendUint32(append(dst, primInt), uint32(v))
	case int64:
		return binary.BigEndian.AppendUint64(append(dst, primLong), uint64(v))
	case float64:
		return binary.BigEndian.AppendUint64(append(dst, primDouble), math.Float64bits(v))
	case float32:
		return binary.BigEndian.AppendUint32(append(dst, primFloat), math.Float32bits(v))
	case string:
		return appendPrimitiveString(dst, v, form)
	case []byte:
		dst = binary.BigEndian.AppendUint32(append(dst, primBytes), uint32(len(v)))
		return append(dst, v...)
	case Map:
		return AppendMap(append(dst, primMap), v)
	case List:
		dst = binary.BigEndian.AppendUint32(append(dst, primList), uint32(len(v)))
		for i := range v {
			dst = appendPrimitive(dst, v[i], form)
		}
		return dst
	}
	return append(dst, primNull)
}

// appendPrimitiveString uses the form for long strings where Java's client
// does: from 8,191 characters (which are fewer than bytes) on.
func appendPrimitiveString(dst []byte, s string, form func([]byte, string) []byte) []byte {
	if len(s) < bigString {
		return appendShort(append(dst, primString), s, form)
	}
	dst = append(dst, primBigString, 0, 0, 0, 0)
	start := len(dst)
	dst = form(dst, s)
	binary.BigEndian.PutUint32(dst[start-4:], uint32(len(dst)-start))
	return dst
}

// primitives reads primitives; its first error sticks.
type primitives struct {
	b   []byte
	err error
}

func (p *primitives) fail(err error) {
	if p.err == nil {
		p.err = err
	}
	p.b = nil
}

func (p *primitives) take(n int) []byte {
	if uint(n) > uint(len(p.b)) {
		p.fail(ErrPrimitive)
		return nil
	}
	v := p.b[:n:n]
	p.b = p.b[n:]
	return v
}

func (p *primitives) byte() byte {
	if v := p.take(1); v != nil {
		return v[0]
	}
	return 0
}

func (p *primitives) short() int {
	if v := p.take(2); v != nil {
		return int(binary.BigEndian.Uint16(v))
	}
	return 0
}

func (p *primitives) int() int32 {
	if v := p.take(4); v != nil {
		return int32(binary.BigEndian.Uint32(v))
	}
	return 0
}

func (p *primitives) long() uint64 {
	if v := p.take(8); v != nil {
		return binary.BigEndian.Uint64(v)
	}
	return 0
}

// length reads a number of bytes.
func (p *primitives) length() int {
	n := p.int()
	if n < 0 {
		p.fail(ErrPrimitive)
		return 0
	}
	return int(n)
}

// count reads the number of entries of a map, -1 for null.
func (p *primitives) count() int {
	const least = 3 // bytes of an entry
	n := int(p.int())
	if n > len(p.b)/least || n < -1 {
		p.fail(ErrPrimitive)
		return 0
	}
	return n
}

func (p *primitives) string(n int) string {
	s, err := DecodeUTF(p.take(n))
	if err != nil {
		p.fail(err)
	}
	return s
}

func (p *primitives) entries(depth int) Map {
	n := p.count()
	if n < 0 {
		return nil
	}
	m := make(Map, 0, min(n, 64))
	for range n {
		name := p.string(p.short())
		m = append(m, Entry{name, p.value(depth)})
		if p.err != nil {
			return nil
		}
	}
	return m
}

func (p *primitives) list(depth int) List {
	n := p.length()
	if n > len(p.b) {
		p.fail(ErrPrimitive)
		return nil
	}
	l := make(List, 0, min(n, 64))
	for range n {
		l = append(l, p.value(depth))
		if p.err != nil {
			return nil
		}
	}
	return l
}

func (p *primitives) value(depth int) Primitive {
	if depth > maxPrimitiveDepth {
		p.fail(ErrDepth)
		return nil
	}
	switch p.byte() {
	case primNull:
		return nil
	case primBool:
		return p.byte() != 0
	case primByte:
		return int8(p.byte())
	case primChar:
		return Char(p.short())
	case primShort:
		return int16(p.short())
	case primInt:
		return p.int()
	case primLong:
		return int64(p.long())
	case primDouble:
		return math.Float64frombits(p.long())
	case primFloat:
		return math.Float32frombits(uint32(p.int()))
	case primString:
		return p.string(p.short())
	case primBigString:
		return p.string(p.length())
	case primBytes:
		return p.take(p.length())
	case primMap:
		return p.entries(depth + 1)
	case primList:
		return p.list(depth + 1)
	}
	p.fail(ErrPrimitive)
	return nil
}

// skip passes over a value without decoding it.
func (p *primitives) skip(depth int) {
	if depth > maxPrimitiveDepth {
		p.fail(ErrDepth)
		return
	}
	switch p.byte() {
	case primNull:
	case primBool, primByte:
		p.take(1)
	case primChar, primShort:
		p.take(2)
	case primInt, primFloat:
		p.take(4)
	case primLong, primDouble:
		p.take(8)
	case primString:
		p.take(p.short())
	case primBigString, primBytes:
		p.take(p.length())
	case primMap:
		for range p.count() {
			p.take(p.short())
			p.skip(depth + 1)
		}
	case primList:
		n := p.length()
		if n > len(p.b) {
			p.fail(ErrPrimitive)
		}
		for i := 0; i < n && p.err == nil; i++ {
			p.skip(depth + 1)
		}
	default:
		p.fail(ErrPrimitive)
	}
}
