// Package message is the form in which messages of the AWS services live in
// the broker (broker.FormatAWS), and the view that those services give of
// messages that arrived over other protocols.
package message

import (
	"encoding/binary"
	"errors"
	"unsafe"

	"github.com/hermodmq/hermod/bridge/aws"
	"github.com/hermodmq/hermod/broker"
)

// Attribute is a message attribute. Type is String, Number or Binary, perhaps
// with a label behind a dot.
type Attribute struct {
	Name  string
	Type  string
	Value []byte
}

// Binary reports whether the value is bytes.
func (a *Attribute) Binary() bool {
	return len(a.Type) >= 6 && a.Type[:6] == "Binary"
}

// Content is what the native form of a message holds beside its body.
type Content struct {
	ID         aws.UUID
	Sequence   uint64   // on FIFO queues and topics, else 0
	Sender     string   // unique id of the user
	Trace      string   // AWSTraceHeader
	Digest     [16]byte // MD5 of the body as the sender wrote it; valid if Digested
	Digested   bool
	Encoded    bool // the sender wrote the body in base64; the broker has the bytes
	Unsigned   bool // the body is a notification whose signature is still to come
	Attributes []Attribute
}

const (
	version1     = 1
	flagEncoded  = 1
	flagDigested = 2
	flagUnsigned = 4
	maxCount     = 64 // attributes a stored message may have
)

// ErrFormat reports a native form that is none.
var ErrFormat = errors.New("message: malformed native form")

// AppendNative appends the native form. docs/format/message-aws.md describes it.
func (c *Content) AppendNative(dst []byte) []byte {
	flags := byte(0)
	if c.Encoded {
		flags = flagEncoded
	}
	if c.Digested {
		flags |= flagDigested
	}
	if c.Unsigned {
		flags |= flagUnsigned
	}
	dst = append(dst, version1, flags)
	dst = append(dst, c.ID[:]...)
	if c.Digested {
		dst = append(dst, c.Digest[:]...)
	}
	dst = binary.AppendUvarint(dst, c.Sequence)
	dst = appendText(dst, c.Sender)
	dst = appendText(dst, c.Trace)
	dst = binary.AppendUvarint(dst, uint64(len(c.Attributes)))
	for i := range c.Attributes {
		a := &c.Attributes[i]
		dst = appendText(dst, a.Name)
		dst = appendText(dst, a.Type)
		dst = binary.AppendUvarint(dst, uint64(len(a.Value)))
		dst = append(dst, a.Value...)
	}
	return dst
}

func appendText(dst []byte, s string) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(s))), s...)
}

// Parse reads the native form; the result aliases the message.
func Parse(m *broker.Message) (Content, error) {
	var c Content
	if m.Format != broker.FormatAWS {
		return c, ErrFormat
	}
	err := c.parse(m.Native)
	return c, err
}

// Unsigned reports whether the body of m is a notification whose signature is
// still to come.
func Unsigned(m *broker.Message) bool {
	return m.Format == broker.FormatAWS && len(m.Native) > 1 && m.Native[0] == version1 && m.Native[1]&flagUnsigned != 0
}

func (c *Content) parse(b []byte) error {
	if len(b) < 18 || b[0] != version1 {
		return ErrFormat
	}
	flags := b[1]
	c.Encoded, c.Unsigned = flags&flagEncoded != 0, flags&flagUnsigned != 0
	copy(c.ID[:], b[2:18])
	b = b[18:]
	if c.Digested = flags&flagDigested != 0; c.Digested {
		if len(b) < len(c.Digest) {
			return ErrFormat
		}
		b = b[copy(c.Digest[:], b):]
	}
	r := reader{b: b}
	c.Sequence = r.number()
	c.Sender = r.text()
	c.Trace = r.text()
	n := r.number()
	if r.bad || n > maxCount {
		return ErrFormat
	}
	if n > 0 {
		c.Attributes = make([]Attribute, n)
	}
	for i := range c.Attributes {
		c.Attributes[i] = Attribute{Name: r.text(), Type: r.text(), Value: r.bytes()}
	}
	if r.bad || len(r.b) > 0 {
		return ErrFormat
	}
	return nil
}

type reader struct {
	b   []byte
	bad bool
}

func (r *reader) number() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.b, r.bad = nil, true
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) bytes() []byte {
	n := r.number()
	if n > uint64(len(r.b)) {
		r.b, r.bad = nil, true
		return nil
	}
	p := r.b[:n:n]
	r.b = r.b[n:]
	return p
}

func (r *reader) text() string {
	p := r.bytes()
	return unsafe.String(unsafe.SliceData(p), len(p))
}
