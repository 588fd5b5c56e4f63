package wire

import (
	"bytes"
	"encoding/binary"
	"unicode/utf8"
)

// reader reads a packet's body; the first violation stays in err.
type reader struct {
	b   []byte
	err *Error
}

func (r *reader) fail(e *Error) {
	if r.err == nil {
		r.err = e
	}
	r.b = nil
}

func (r *reader) take(n int) []byte {
	if n > len(r.b) {
		r.fail(errShort)
		return nil
	}
	p := r.b[:n:n]
	r.b = r.b[n:]
	return p
}

func (r *reader) byte() byte {
	if p := r.take(1); p != nil {
		return p[0]
	}
	return 0
}

func (r *reader) uint16() uint16 {
	if p := r.take(2); p != nil {
		return binary.BigEndian.Uint16(p)
	}
	return 0
}

func (r *reader) uint32() uint32 {
	if p := r.take(4); p != nil {
		return binary.BigEndian.Uint32(p)
	}
	return 0
}

// varint reads a variable byte integer in its shortest form [MQTT-1.5.5-1].
func (r *reader) varint() uint32 {
	v := uint32(0)
	for shift := 0; shift < 28; shift += 7 {
		c := r.byte()
		v |= uint32(c&0x7F) << shift
		if c&0x80 == 0 {
			if c == 0 && shift > 0 {
				r.fail(malformed("variable byte integer is longer than necessary"))
			}
			return v
		}
	}
	r.fail(errVarint)
	return 0
}

func (r *reader) binary() []byte { return r.take(int(r.uint16())) }

// text reads a string [MQTT-1.5.4-1, -2].
func (r *reader) text() []byte {
	p := r.binary()
	if !ValidText(p) {
		r.fail(errText)
		return nil
	}
	return p
}

// packetID reads a packet identifier, which is never 0 [MQTT-2.2.1-3].
func (r *reader) packetID() uint16 {
	id := r.uint16()
	if id == 0 && r.err == nil {
		r.fail(errPacketID)
	}
	return id
}

// properties reads and checks a property block.
func (r *reader) properties(where place) Properties {
	p := r.take(int(r.varint()))
	if r.err != nil {
		return nil
	}
	if err := check(p, where); err != nil {
		r.fail(err)
		return nil
	}
	return p
}

// end reports what went wrong, trailing bytes included.
func (r *reader) end() error {
	if r.err == nil && len(r.b) > 0 {
		r.err = errTrailing
	}
	if r.err != nil {
		return r.err
	}
	return nil
}

// ValidText reports whether p may be a string of MQTT: UTF-8 without NUL.
func ValidText(p []byte) bool { return bytes.IndexByte(p, 0) < 0 && utf8.Valid(p) }
