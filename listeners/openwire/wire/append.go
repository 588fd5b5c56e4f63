package wire

import (
	"encoding/binary"
	"math"
)

// Format is what two peers have negotiated about the form of frames.
type Format struct {
	Version    int32 // 1 to MaxVersion
	StackTrace bool  // throwables carry stack traces and causes
}

// MaxVersion is the newest version there is.
const MaxVersion = 12

// InitialFormat is that of WireFormatInfo, whatever is negotiated later.
var InitialFormat = Format{Version: 1}

// Append appends s as a frame.
func Append(dst []byte, f Format, s Structure) []byte {
	dst, start := Begin(dst, s.Type())
	a := appender{Format: f, b: dst}
	s.append(&a)
	return End(a.b, start)
}

// AppendFields appends the fields of s alone, without size and type.
func AppendFields(dst []byte, f Format, s Structure) []byte {
	a := appender{Format: f, b: dst}
	s.append(&a)
	return a.b
}

// AppendNested appends s as it stands inside another structure: presence, type
// and fields; nil as null.
func AppendNested(dst []byte, f Format, s Structure) []byte {
	a := appender{Format: f, b: dst}
	a.any(s)
	return a.b
}

// Begin begins a frame of the given type; the caller appends the fields and
// calls End with start.
func Begin(dst []byte, t Type) (_ []byte, start int) {
	return append(dst, 0, 0, 0, 0, byte(t)), len(dst)
}

// End writes the size of the frame that began at start.
func End(dst []byte, start int) []byte {
	binary.BigEndian.PutUint32(dst[start:], uint32(len(dst)-start-4))
	return dst
}

// AppendHeader appends the fields with which a command begins.
func AppendHeader(dst []byte, h Header) []byte {
	dst = binary.BigEndian.AppendUint32(dst, uint32(h.CommandID))
	return append(dst, boolByte(h.ResponseRequired))
}

// AppendConsumerID appends a ConsumerID as it stands inside another structure.
// Unlike AppendNested it does not allocate.
func AppendConsumerID(dst []byte, id ConsumerID) []byte {
	a := appender{b: dst}
	id.appendNested(&a)
	return a.b
}

// AppendDestination appends a Destination as it stands inside another
// structure.
func AppendDestination(dst []byte, d Destination) []byte {
	a := appender{b: dst}
	d.appendNested(&a)
	return a.b
}

// AppendString appends a string field; an empty one is null.
func AppendString(dst []byte, s string) []byte {
	a := appender{b: dst}
	a.str(s, false)
	return a.b
}

func boolByte(v bool) byte {
	if v {
		return 1
	}
	return 0
}

// appender writes fields in the loose encoding.
type appender struct {
	Format
	b []byte
}

func (a *appender) header(h *Header) {
	a.int(h.CommandID)
	a.bool(h.ResponseRequired)
}

func (a *appender) bool(v bool)      { a.b = append(a.b, boolByte(v)) }
func (a *appender) byte(v int8)      { a.b = append(a.b, byte(v)) }
func (a *appender) int(v int32)      { a.b = binary.BigEndian.AppendUint32(a.b, uint32(v)) }
func (a *appender) long(v int64)     { a.b = binary.BigEndian.AppendUint64(a.b, uint64(v)) }
func (a *appender) const8(v [8]byte) { a.b = append(a.b, v[:]...) }
func (a *appender) open(t Type)      { a.b = append(a.b, 1, byte(t)) }
func (a *appender) short(v int)      { a.b = binary.BigEndian.AppendUint16(a.b, uint16(v)) }
func (a *appender) message(m *Message) {
	if m == nil {
		a.bool(false)
		return
	}
	a.open(m.Kind)
	m.append(a)
}

// str writes a string; an empty one is null unless it is present. What exceeds
// the 65,535 bytes of the wire is cut off between two characters.
func (a *appender) str(s string, present bool) {
	if s == "" && !present {
		a.bool(false)
		return
	}
	a.b = append(a.b, 1, 0, 0)
	start := len(a.b)
	a.b = AppendUTF(a.b, s)
	if len(a.b)-start > math.MaxUint16 {
		a.b = a.b[:start+cutUTF(a.b[start:], math.MaxUint16)]
	}
	binary.BigEndian.PutUint16(a.b[start-2:], uint16(len(a.b)-start))
}

func (a *appender) bytes(v []byte) {
	if v == nil {
		a.bool(false)
		return
	}
	a.b = append(a.b, 1)
	a.int(int32(len(v)))
	a.b = append(a.b, v...)
}

func (a *appender) byteString(v string, present bool) {
	if v == "" && !present {
		a.bool(false)
		return
	}
	a.b = append(a.b, 1)
	a.int(int32(len(v)))
	a.b = append(a.b, v...)
}

// any writes a nested structure of any type. A null id or destination is null.
func (a *appender) any(s Structure) {
	if s == nil || s.Type() == TypeNull {
		a.bool(false)
		return
	}
	a.open(s.Type())
	s.append(a)
}

func (a *appender) array(v []Structure) {
	if v == nil {
		a.bool(false)
		return
	}
	v = v[:min(len(v), math.MaxInt16)]
	a.bool(true)
	a.short(len(v))
	for _, s := range v {
		a.any(s)
	}
}

func (a *appender) throwable(t *Throwable) {
	for ; t != nil; t = t.Cause {
		a.bool(true)
		a.str(t.ClassName, t.flags&1 != 0)
		a.str(t.Message, t.flags&2 != 0)
		if !a.StackTrace {
			return
		}
		trace := t.Trace[:min(len(t.Trace), math.MaxInt16)]
		a.short(len(trace))
		for i := range trace {
			e := &trace[i]
			a.str(e.Class, e.flags&1 != 0)
			a.str(e.Method, e.flags&2 != 0)
			a.str(e.File, e.flags&4 != 0)
			a.int(e.Line)
		}
	}
	a.bool(false)
}

func (s *Message) appendBlob(a *appender) {
	if s.Kind != TypeBlobMessage {
		return
	}
	var none Blob
	b := s.Blob
	if b == nil {
		b = &none
	}
	a.str(b.RemoteURL, b.flags&1 != 0)
	a.str(b.MimeType, b.flags&2 != 0)
	a.bool(b.DeletedByBroker)
}
