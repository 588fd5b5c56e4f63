package wire

import "bytes"

// Version is a version of the protocol.
type Version uint8

// The versions in order of age.
const (
	V10 Version = iota
	V11
	V12
)

// String is the form used in headers.
func (v Version) String() string {
	switch v {
	case V10:
		return "1.0"
	case V11:
		return "1.1"
	}
	return "1.2"
}

// Command is what a client's frame asks for.
type Command uint8

// The client commands. Unknown is any other word.
const (
	Unknown Command = iota
	Connect         // CONNECT and STOMP
	Send
	Subscribe
	Unsubscribe
	Ack
	Nack
	Begin
	Commit
	Abort
	Disconnect
)

// commandOf recognises a command without allocating.
func commandOf(word []byte) Command {
	switch string(word) {
	case "CONNECT", "STOMP":
		return Connect
	case "SEND":
		return Send
	case "SUBSCRIBE":
		return Subscribe
	case "UNSUBSCRIBE":
		return Unsubscribe
	case "ACK":
		return Ack
	case "NACK":
		return Nack
	case "BEGIN":
		return Begin
	case "COMMIT":
		return Commit
	case "ABORT":
		return Abort
	case "DISCONNECT":
		return Disconnect
	}
	return Unknown
}

// Header is one header line.
type Header struct {
	Name  []byte
	Value []byte
}

// Frame is one frame. Everything in it aliases the input of the parser, is
// valid until the next call of [Parser.Next] and may be changed by its user.
type Frame struct {
	Command   Command
	Word      []byte // the command as it was written
	Headers   []Header
	Body      []byte
	HasLength bool // content-length was given
}

// Get returns the first value called name (STOMP 1.2, Repeated Header
// Entries), nil if there is none.
func (f *Frame) Get(name string) []byte {
	v, _ := f.Lookup(name)
	return v
}

// Lookup is Get that tells an empty value from none.
func (f *Frame) Lookup(name string) ([]byte, bool) {
	for i := range f.Headers {
		if string(f.Headers[i].Name) == name {
			return f.Headers[i].Value, true
		}
	}
	return nil, false
}

// Decode turns the headers into what they mean in version v: 1.0 knows no
// escapes but drops leading blanks of values, trailing ones too if trim is
// set; later versions resolve escapes, of which 1.1 knows one less. It must be
// called once per frame, and not for CONNECT of 1.1 and later, whose headers
// are never escaped. The error is [ErrEscape].
func (f *Frame) Decode(v Version, trim bool) error {
	for i := range f.Headers {
		h := &f.Headers[i]
		if v == V10 {
			h.Value = bytes.TrimLeft(h.Value, " \t")
			if trim {
				h.Value = bytes.TrimRight(h.Value, " \t")
			}
			continue
		}
		var err error
		if h.Name, err = unescape(h.Name, v); err != nil {
			return err
		}
		if h.Value, err = unescape(h.Value, v); err != nil {
			return err
		}
	}
	return nil
}

// unescape resolves escapes in place.
func unescape(b []byte, v Version) ([]byte, error) {
	n := bytes.IndexByte(b, '\\')
	if n < 0 {
		return b, nil
	}
	for i := n; i < len(b); i++ {
		c := b[i]
		if c == '\\' {
			if i++; i == len(b) {
				return nil, ErrEscape
			}
			switch b[i] {
			case 'n':
				c = '\n'
			case 'c':
				c = ':'
			case '\\':
				c = '\\'
			case 'r':
				if v < V12 {
					return nil, ErrEscape
				}
				c = '\r'
			default:
				return nil, ErrEscape
			}
		}
		b[n] = c
		n++
	}
	return b[:n], nil
}
