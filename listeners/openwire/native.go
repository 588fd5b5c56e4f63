package openwire

import (
	"encoding/binary"
	"errors"
	"unicode/utf8"

	"github.com/hermodmq/hermod/broker"
	"github.com/hermodmq/hermod/listeners/openwire/wire"
)

// The native form of a message that came by OpenWire is its marshalled fields
// without the content, which is the message's body:
//
//	 0  version of this form
//	 1  kind: the data type of the message
//	 2  version of OpenWire the fields are in
//	 3  flags
//	 4  length of the head
//	 8  in the head: messageId.brokerSequenceId
//	12  in the head: destination
//	16  in the head: groupID
//	20  in the tail: redeliveryCounter
//	24  in the tail: brokerInTime
//	28  head: the fields before content
//	    tail: the fields behind content
//
// Places are offsets in four bytes; nowhere says that there is no such field.
// docs/format/message.md tells of it, too.
const (
	nativeForm   = 1
	nativeHeader = 28
	nowhere      = 1<<32 - 1
)

// Flags of the native form.
const (
	nativeNull       = 1 << iota // content is null
	nativeText                   // content is the body with its length, in modified UTF-8
	nativePlain                  // of nativeText: the body is the same in both forms of UTF-8
	nativeLone                   // of nativeText: the body has surrogates that stand alone
	nativeCompressed             // content is compressed
)

// errNative reports a native form that is none: of a damaged store.
var errNative = errors.New("openwire: malformed native form")

// native is a view of a native form.
type native struct {
	kind    wire.Type
	version int32
	flags   byte
	head    []byte
	tail    []byte

	sequenceAt, destinationAt, groupAt uint32 // in head
	countAt, inTimeAt                  uint32 // in tail
}

func viewOf(m *broker.Message) (n native, ok bool) {
	b := m.Native
	if m.Format != broker.FormatOpen || len(b) < nativeHeader || b[0] != nativeForm {
		return n, false
	}
	at := func(i int) uint32 { return binary.BigEndian.Uint32(b[i:]) }
	length := at(4)
	if uint64(length) > uint64(len(b)-nativeHeader) {
		return n, false
	}
	n = native{
		kind: wire.Type(b[1]), version: int32(b[2]), flags: b[3],
		head: b[nativeHeader : nativeHeader+length], tail: b[nativeHeader+length:],
		sequenceAt: at(8), destinationAt: at(12), groupAt: at(16), countAt: at(20), inTimeAt: at(24),
	}
	return n, n.kind.IsMessage() && n.fits()
}

// fits checks the places, so that a damaged store cannot make anybody panic.
func (n *native) fits() bool {
	in := func(at uint32, size int, b []byte) bool { return uint64(at)+uint64(size) <= uint64(len(b)) }
	return (n.sequenceAt == nowhere || in(n.sequenceAt, 8, n.head)) && in(n.destinationAt, 1, n.head) &&
		in(n.groupAt, 1, n.head) && in(n.countAt, 4, n.tail) && (n.inTimeAt == nowhere || in(n.inTimeAt, 16, n.tail))
}

// shape groups the versions in which messages have the same fields.
func shape(version int32) int {
	switch {
	case version >= 10:
		return 3
	case version >= 3:
		return 2
	}
	return int(min(version, 2)) - 1
}

// compatible reports whether the fields can go to a peer of a version as they
// are. A data structure inside could differ between versions that are equal
// for messages.
func (n *native) compatible(f wire.Format) bool {
	return n.version == f.Version || shape(n.version) == shape(f.Version) && !n.hasData()
}

// hasData reports whether the message carries a data structure, as advisories
// do.
func (n *native) hasData() bool {
	w := walker{b: n.tail}
	w.bytes()
	return w.byte() != 0
}

// properties are the marshalled properties; nil for none.
func (n *native) properties() []byte {
	w := walker{b: n.tail}
	return w.bytes()
}

// decode decodes all fields; content comes from the body.
func (n *native) decode(body []byte) (*wire.Message, error) {
	raw := make([]byte, 0, len(n.head)+1+len(n.tail))
	raw = append(raw, n.head...)
	raw = append(raw, 0) // content: null
	raw = append(raw, n.tail...)
	m, err := wire.DecodeMessage(raw, wire.Format{Version: n.version}, n.kind)
	if err != nil {
		return nil, err
	}
	if n.flags&nativeNull == 0 {
		m.Content = n.appendContent(make([]byte, 0, len(body)+4), body)
	}
	return m, nil
}

// appendContent appends the content that the body was made of.
func (n *native) appendContent(dst, body []byte) []byte {
	if n.flags&nativeText == 0 {
		return append(dst, body...)
	}
	return appendText(dst, body, n.flags&nativePlain != 0)
}

// appendText appends the content of a text message: its length and modified
// UTF-8.
func appendText(dst, text []byte, plain bool) []byte {
	dst = append(dst, 0, 0, 0, 0)
	start := len(dst)
	if plain {
		dst = append(dst, text...)
	} else {
		dst = wire.AppendUTF(dst, string(text))
	}
	binary.BigEndian.PutUint32(dst[start-4:], uint32(len(dst)-start))
	return dst
}

// body is the content as the body of a message of the core, and the flags that
// tell the way back. The result of a text that is not plain is a copy.
func bodyOf(m *wire.Message) (body []byte, flags byte) {
	if m.Compressed {
		flags |= nativeCompressed
	}
	if m.Content == nil {
		return nil, flags | nativeNull
	}
	if m.Kind != wire.TypeTextMessage || m.Compressed {
		return m.Content, flags
	}
	if len(m.Content) < 4 || int64(binary.BigEndian.Uint32(m.Content)) != int64(len(m.Content)-4) {
		return m.Content, flags
	}
	text := m.Content[4:]
	if wire.PlainUTF(text) {
		return text, flags | nativeText | nativePlain
	}
	decoded, err := wire.AppendDecodedUTF(make([]byte, 0, len(text)), text)
	if err != nil || string(wire.AppendUTF(nil, string(decoded))) != string(text) {
		return m.Content, flags // in a form that Java does not write
	}
	if !utf8.Valid(decoded) {
		flags |= nativeLone
	}
	return decoded, flags | nativeText
}

// walker passes over marshalled fields. Beyond the end everything is zero.
type walker struct{ b []byte }

func (w *walker) take(n int) []byte {
	if n < 0 || n > len(w.b) {
		w.b = nil
		return nil
	}
	v := w.b[:n:n]
	w.b = w.b[n:]
	return v
}

func (w *walker) byte() byte {
	if v := w.take(1); v != nil {
		return v[0]
	}
	return 0
}

func (w *walker) long() int64 {
	if v := w.take(8); v != nil {
		return int64(binary.BigEndian.Uint64(v))
	}
	return 0
}

// string is a string in modified UTF-8; nil is null.
func (w *walker) string() []byte {
	if w.byte() == 0 {
		return nil
	}
	n := w.take(2)
	if n == nil {
		return nil
	}
	return w.take(int(binary.BigEndian.Uint16(n)))
}

func (w *walker) bytes() []byte {
	if w.byte() == 0 {
		return nil
	}
	n := w.take(4)
	if n == nil {
		return nil
	}
	return w.take(int(int32(binary.BigEndian.Uint32(n))))
}

// destination is the kind of a destination, zero for null, and its name.
func (w *walker) destination() (kind wire.Type, name []byte) {
	if w.byte() == 0 {
		return 0, nil
	}
	kind = wire.Type(w.byte())
	return kind, w.string()
}

func text(b []byte) string {
	s, err := wire.DecodeUTF(b)
	if err != nil {
		return ""
	}
	return s
}
