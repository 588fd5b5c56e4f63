package wire

import "encoding/binary"

// ClassBasic is the only class with content.
const ClassBasic = 60

// headerFixed is class, weight and body size.
const headerFixed = 12

// Header is a content header frame's payload (AMQP 2.3.5.2).
type Header struct {
	ClassID  uint16
	BodySize uint64   // as announced; for the caller to bound before it collects a body
	Flags    Property // the properties present
	Raw      []byte   // flag words and values, verbatim; aliases the payload
}

// ParseHeader decodes a content header and checks that its property list is
// well formed: what it accepts, the rest of this package can read. Another
// class than basic or a weight give UnexpectedFrame; a bad list FrameError, or
// SyntaxError for flags and field types that do not exist and for tables
// nested deeper than MaxNesting.
func ParseHeader(payload []byte) (Header, error) {
	var p RawProperties
	return DecodeHeader(payload, &p)
}

// DecodeHeader is ParseHeader and leaves the index of the properties in p. It
// allocates nothing.
func DecodeHeader(payload []byte, p *RawProperties) (Header, error) {
	if len(payload) < headerFixed+2 {
		return Header{}, errorf(FrameError, "content header of %d bytes", len(payload))
	}
	h := Header{
		ClassID:  binary.BigEndian.Uint16(payload),
		BodySize: binary.BigEndian.Uint64(payload[4:]),
		Raw:      payload[headerFixed:len(payload):len(payload)],
	}
	if h.ClassID != ClassBasic {
		return Header{}, errorf(UnexpectedFrame, "expected content header for class %d, got one for class %d instead", ClassBasic, h.ClassID)
	}
	if weight := binary.BigEndian.Uint16(payload[2:]); weight != 0 {
		return Header{}, errorf(UnexpectedFrame, "content header of weight %d", weight)
	}
	*p = RawProperties{raw: h.Raw}
	if err := p.index(); err != nil {
		return Header{}, errorf(err.Code, "cannot decode content header: %s", err.Text)
	}
	h.Flags = p.Flags
	return h, nil
}

// AppendHeader appends a content header frame with the given raw property
// list. It cannot be split, so it may exceed the peer's frame_max, as
// RabbitMQ's do.
func AppendHeader(dst []byte, channel uint16, bodySize uint64, raw []byte) []byte {
	dst = appendFrameHead(dst, FrameHeader, channel, headerFixed+len(raw))
	dst = append(dst, 0, ClassBasic, 0, 0)
	dst = appendLonglong(dst, bodySize)
	dst = append(dst, raw...)
	return append(dst, frameEnd)
}
