package wire

import "encoding/binary"

const (
	maxDepth      = 16   // structures inside each other
	maxCauses     = 64   // exceptions that caused each other
	maxNames      = 1024 // strings a Decoder keeps
	maxNameLength = 256
)

// reader reads fields in the loose encoding. Its first error sticks; reads
// after one return zero values.
type reader struct {
	Format
	b     []byte // what is left
	total int    // length of what it began with
	err   error
	depth int
	d     *Decoder // for memory and names; may be nil
}

func (r *reader) fail(err error) {
	if r.err == nil {
		r.err = err
	}
	r.b = nil
}

// offset is how many bytes were read.
func (r *reader) offset() int32 { return int32(r.total - len(r.b)) }

func (r *reader) take(n int) []byte {
	if uint(n) > uint(len(r.b)) {
		r.fail(ErrTruncated)
		return nil
	}
	v := r.b[:n:n]
	r.b = r.b[n:]
	return v
}

func (r *reader) uint8() uint8 {
	if len(r.b) < 1 {
		r.fail(ErrTruncated)
		return 0
	}
	v := r.b[0]
	r.b = r.b[1:]
	return v
}

// bool reads 0 or 1; other values, which Java takes for true, could not be
// passed on as they are.
func (r *reader) bool() bool {
	v := r.uint8()
	if v > 1 {
		r.fail(ErrBool)
	}
	return v == 1
}

func (r *reader) byte() int8 { return int8(r.uint8()) }

func (r *reader) short() int {
	if v := r.take(2); v != nil {
		return int(binary.BigEndian.Uint16(v))
	}
	return 0
}

func (r *reader) int() int32 {
	if v := r.take(4); v != nil {
		return int32(binary.BigEndian.Uint32(v))
	}
	return 0
}

func (r *reader) long() int64 {
	if v := r.take(8); v != nil {
		return int64(binary.BigEndian.Uint64(v))
	}
	return 0
}

func (r *reader) const8() (v [8]byte) {
	copy(v[:], r.take(8))
	return v
}

func (r *reader) header(h *Header) {
	h.CommandID = r.int()
	h.ResponseRequired = r.bool()
}

// str reads a string. It sets bit in flags when the string is present and
// empty.
func (r *reader) str(flags *uint8, bit uint8) string {
	return r.text(r.rawString(flags, bit))
}

// name reads a string of those that come again and again: one the Decoder has
// met before costs no allocation, and one of the latest no more than a
// comparison.
func (r *reader) name(flags *uint8, bit uint8) string {
	v := r.rawString(flags, bit)
	if r.d == nil || len(v) == 0 || len(v) > maxNameLength {
		return r.text(v)
	}
	recent := &r.d.recent[(len(v)+int(v[len(v)-1])+int(v[len(v)/2]))%len(r.d.recent)]
	if *recent == string(v) {
		return *recent
	}
	s, ok := r.d.names[string(v)]
	if !ok {
		if s = r.text(v); r.err != nil {
			return ""
		}
		r.d.remember(string(v), s)
	}
	if s == string(v) {
		*recent = s
	}
	return s
}

func (r *reader) rawString(flags *uint8, bit uint8) []byte {
	if !r.bool() {
		return nil
	}
	v := r.take(r.short())
	if len(v) == 0 {
		*flags |= bit
	}
	return v
}

func (r *reader) text(v []byte) string {
	if len(v) == 0 {
		return ""
	}
	s, err := DecodeUTF(v)
	if err != nil {
		r.fail(err)
	}
	return s
}

func (r *reader) length() int {
	n := r.int()
	if n < 0 {
		r.fail(ErrTruncated)
		return 0
	}
	return int(n)
}

// bytes reads bytes, which alias the input; nil is null.
func (r *reader) bytes() []byte {
	if !r.bool() {
		return nil
	}
	return r.take(r.length())
}

func (r *reader) byteString(flags *uint8, bit uint8) string {
	if !r.bool() {
		return ""
	}
	v := r.take(r.length())
	if len(v) == 0 {
		*flags |= bit
	}
	return string(v)
}

// nested reads presence and type of a nested structure that must be of type t.
// The caller counts depth down when it is done.
func (r *reader) nested(t Type) bool {
	if !r.bool() {
		return false
	}
	if Type(r.uint8()) != t {
		r.fail(ErrWrongType)
		return false
	}
	return r.down()
}

func (r *reader) down() bool {
	if r.depth >= maxDepth {
		r.fail(ErrDepth)
		return false
	}
	r.depth++
	return true
}

// any reads a nested structure of any type.
func (r *reader) any() Structure {
	if !r.bool() {
		return nil
	}
	t := Type(r.uint8())
	if !r.down() {
		return nil
	}
	s := r.byType(t)
	r.depth--
	if r.err != nil {
		return nil
	}
	return s
}

func (r *reader) byType(t Type) Structure {
	switch {
	case t.IsMessage():
		m := r.freshMessage(0)
		r.fieldsMessage(m, t)
		return m
	case t.IsDestination():
		return r.fieldsDestination(t)
	case t == TypeLocalTransactionID, t == TypeXATransactionID:
		return r.fieldsTransactionID(t)
	}
	return r.structure(t)
}

func (r *reader) message() *Message {
	if !r.bool() {
		return nil
	}
	t := Type(r.uint8())
	if !t.IsMessage() {
		r.fail(ErrWrongType)
		return nil
	}
	if !r.down() {
		return nil
	}
	m := r.freshMessage(1)
	r.fieldsMessage(m, t)
	r.depth--
	return m
}

func (r *reader) fieldsMessage(m *Message, t Type) {
	m.Kind = t
	outer := r.total
	r.total = len(r.b) // offsets count from here
	m.raw = r.b
	m.decode(r)
	if r.err != nil {
		return
	}
	m.raw = m.raw[:len(m.raw)-len(r.b)]
	r.total = outer
}

func (r *reader) array() []Structure {
	if !r.bool() {
		return nil
	}
	n := r.short()
	if n > len(r.b) {
		r.fail(ErrTruncated)
		return nil
	}
	v := make([]Structure, 0, min(n, 32))
	for range n {
		v = append(v, r.any())
		if r.err != nil {
			return nil
		}
	}
	return v
}

func (r *reader) throwable() *Throwable {
	var first *Throwable
	next := &first
	for n := 0; r.bool(); n++ {
		if n == maxCauses {
			r.fail(ErrDepth)
			return nil
		}
		t := new(Throwable)
		t.ClassName = r.str(&t.flags, 1)
		t.Message = r.str(&t.flags, 2)
		*next, next = t, &t.Cause
		if !r.StackTrace {
			return first
		}
		t.Trace = r.trace()
	}
	return first
}

func (r *reader) trace() []TraceElement {
	const least = 3 + 4 // bytes of an element
	n := r.short()
	if n > len(r.b)/least {
		r.fail(ErrTruncated)
		return nil
	}
	v := make([]TraceElement, n)
	for i := range v {
		e := &v[i]
		e.Class = r.str(&e.flags, 1)
		e.Method = r.str(&e.flags, 2)
		e.File = r.str(&e.flags, 4)
		e.Line = r.int()
	}
	return v
}

func (s *Message) decodeBlob(r *reader) {
	if s.Kind != TypeBlobMessage {
		return
	}
	b := new(Blob)
	b.RemoteURL = r.str(&b.flags, 1)
	b.MimeType = r.str(&b.flags, 2)
	b.DeletedByBroker = r.bool()
	s.Blob = b
}
