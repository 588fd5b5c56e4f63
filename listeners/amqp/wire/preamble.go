package wire

// ProtocolHeader opens an AMQP 0-9-1 connection. A server that refuses a
// client's header answers with it and closes (AMQP 2.2.4).
const ProtocolHeader = "AMQP\x00\x00\x09\x01"

// Preamble says what a client opened its connection with.
type Preamble uint8

// The preambles. Only Preamble091 starts a connection; for the others see
// [Preamble.Refusal].
const (
	PreambleIncomplete Preamble = iota // not enough bytes to tell
	Preamble091                        // AMQP 0-9-1, or 0-9, which is taken for it
	Preamble10                         // AMQP 1.0, bare or with its TLS or SASL layer
	PreambleOther                      // AMQP in another version
	PreambleTLS                        // a TLS hello on a plain port
	PreambleHTTP                       // an HTTP request
	PreambleUnknown                    // none of these
)

// ParsePreamble looks at the first bytes of a connection. n is the number of
// bytes taken: 8 for the AMQP ones, else 0.
func ParsePreamble(b []byte) (p Preamble, n int) {
	if len(b) > 0 && b[0] == 0x16 {
		return PreambleTLS, 0
	}
	if len(b) < 4 {
		return PreambleIncomplete, 0
	}
	switch string(b[:4]) {
	case "AMQP":
	case "GET ", "HEAD", "POST", "PUT ", "DELE", "OPTI", "PATC", "CONN", "TRAC", "PRI ":
		return PreambleHTTP, 0
	default:
		return PreambleUnknown, 0
	}
	if len(b) < 8 {
		return PreambleIncomplete, 0
	}
	switch [4]byte(b[4:8]) {
	case [4]byte{0, 0, 9, 1}, [4]byte{1, 1, 0, 9}:
		return Preamble091, 8
	case [4]byte{0, 1, 0, 0}, [4]byte{2, 1, 0, 0}, [4]byte{3, 1, 0, 0}:
		return Preamble10, 8
	}
	return PreambleOther, 8
}

// Refusal returns what to write before closing; "" for a preamble that is
// welcome or needs more bytes, and for a TLS hello, which no answer of ours
// could help.
func (p Preamble) Refusal() string {
	switch p {
	case Preamble10, PreambleOther, PreambleUnknown:
		return ProtocolHeader
	case PreambleHTTP:
		return "HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Type: text/plain\r\nContent-Length: 25\r\n\r\nthis port speaks AMQP 0-9"
	}
	return ""
}

// String names the preamble for logs.
func (p Preamble) String() string {
	switch p {
	case PreambleIncomplete:
		return "incomplete"
	case Preamble091:
		return "AMQP 0-9-1"
	case Preamble10:
		return "AMQP 1.0"
	case PreambleOther:
		return "unsupported AMQP version"
	case PreambleTLS:
		return "TLS"
	case PreambleHTTP:
		return "HTTP"
	}
	return "unknown"
}
