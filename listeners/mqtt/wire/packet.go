package wire

// Version is the protocol level of CONNECT.
type Version byte

// The versions this codec speaks.
const (
	V31  Version = 3
	V311 Version = 4
	V5   Version = 5
)

// Type is the control packet type of the fixed header (section 2.1.2).
type Type byte

// The packet types.
const (
	CONNECT Type = iota + 1
	CONNACK
	PUBLISH
	PUBACK
	PUBREC
	PUBREL
	PUBCOMP
	SUBSCRIBE
	SUBACK
	UNSUBSCRIBE
	UNSUBACK
	PINGREQ
	PINGRESP
	DISCONNECT
	AUTH
)

var typeNames = [...]string{"", "CONNECT", "CONNACK", "PUBLISH", "PUBACK", "PUBREC", "PUBREL", "PUBCOMP", "SUBSCRIBE",
	"SUBACK", "UNSUBSCRIBE", "UNSUBACK", "PINGREQ", "PINGRESP", "DISCONNECT", "AUTH"}

// String is the specification's name of the type.
func (t Type) String() string {
	if int(t) < len(typeNames) && t > 0 {
		return typeNames[t]
	}
	return "reserved"
}

// Header is the fixed header without the remaining length.
type Header struct {
	Type  Type
	Flags byte // the low four bits
}

// Next cuts the packet at the head of b. If it is not complete, n is 0 and need
// says how many bytes from the start of b are needed at least. A packet of more
// than limit bytes, header included, is refused as soon as its length is known,
// with ErrTooLarge.
func Next(b []byte, limit int) (h Header, body []byte, n, need int, err error) {
	if len(b) == 0 {
		return h, nil, 0, 2, nil
	}
	h = Header{Type(b[0] >> 4), b[0] & 0x0F}
	if h.Type == 0 {
		return h, nil, 0, 0, malformed("packet type 0")
	}
	length, shift := 0, 0
	for i := 1; ; i++ {
		if i > 4 {
			return h, nil, 0, 0, errVarint
		}
		if i >= len(b) {
			return h, nil, 0, len(b) + 1, nil
		}
		length |= int(b[i]&0x7F) << shift
		shift += 7
		if b[i]&0x80 == 0 {
			n = 1 + i
			break
		}
	}
	if limit > 0 && n+length > limit {
		return h, nil, 0, 0, ErrTooLarge
	}
	if len(b) < n+length {
		return h, nil, 0, n + length, nil
	}
	return h, b[n : n+length : n+length], n + length, 0, nil
}

// CheckFlags refuses reserved flags [MQTT-2.1.3-1]. MQTT 3.1 used them and its
// clients are let through.
func (h Header) CheckFlags(v Version) error {
	want := byte(0)
	switch h.Type {
	case PUBLISH:
		return nil
	case PUBREL, SUBSCRIBE, UNSUBSCRIBE:
		want = 2
	}
	if h.Flags != want && v != V31 {
		return errFlags
	}
	return nil
}

// appendHeader writes a fixed header for a body of n bytes.
func appendHeader(dst []byte, t Type, flags byte, n int) []byte {
	return appendVarint(append(dst, byte(t)<<4|flags), uint32(n))
}

func appendVarint(dst []byte, v uint32) []byte {
	for v >= 0x80 {
		dst = append(dst, byte(v)|0x80)
		v >>= 7
	}
	return append(dst, byte(v))
}

func varintSize(v uint32) int {
	switch {
	case v < 1<<7:
		return 1
	case v < 1<<14:
		return 2
	case v < 1<<21:
		return 3
	}
	return 4
}

func appendUint16(dst []byte, v uint16) []byte { return append(dst, byte(v>>8), byte(v)) }

func appendText[S ~string | ~[]byte](dst []byte, s S) []byte {
	if len(s) > maxStringLength {
		s = s[:maxStringLength]
	}
	return append(appendUint16(dst, uint16(len(s))), s...)
}

// appendBlock writes a property block with its length.
func appendBlock(dst []byte, p Properties) []byte {
	return append(appendVarint(dst, uint32(len(p))), p...)
}

func blockSize(p Properties) int { return varintSize(uint32(len(p))) + len(p) }

// AppendPingreq and AppendPingresp write the two packets without content.
func AppendPingreq(dst []byte) []byte { return append(dst, byte(PINGREQ)<<4, 0) }

// AppendPingresp answers a PINGREQ.
func AppendPingresp(dst []byte) []byte { return append(dst, byte(PINGRESP)<<4, 0) }
