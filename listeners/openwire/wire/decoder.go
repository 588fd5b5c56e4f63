package wire

import "encoding/binary"

// sizePrefix is how many bytes the size of a frame takes; it does not count
// itself.
const sizePrefix = 4

// Decoder cuts a stream into frames and decodes them. It belongs to one
// connection and is not safe for concurrent use. The zero value reads frames
// of version 1 of any size.
type Decoder struct {
	Format
	MaxFrameSize int // without the size prefix; 0 = no limit

	names  map[string]string // modified UTF-8 to string, bounded
	recent [8]string         // of those, by a hash; only if both forms are the same

	// What arrives once per message is decoded in here.
	ack         MessageAck
	producerAck ProducerAck
	dispatch    MessageDispatch
	message     Message
}

// Decode decodes the frame at the head of b and returns how many bytes it
// took. n == 0 without an error: the frame is not complete, see [Need]. A nil
// structure with n > 0 is a frame of nothing, to be ignored.
//
// The structure is valid until the next call: MessageAck, ProducerAck,
// MessageDispatch and Message live in the Decoder, and the byte slices of all
// structures are part of b. Strings, ids and destinations can be kept.
func (d *Decoder) Decode(b []byte) (s Structure, n int, err error) {
	size, err := d.frameSize(b)
	if err != nil || len(b) < sizePrefix+size {
		return nil, 0, err
	}
	b = b[sizePrefix : sizePrefix+size]
	t := Type(b[0])
	if t == TypeNull {
		return nil, sizePrefix + size, nil
	}
	r := reader{Format: d.Format, b: b[1:], total: size - 1, d: d}
	if t == TypeWireFormatInfo {
		r.Format = InitialFormat
	}
	s = r.byType(t)
	if r.err == nil && len(r.b) != 0 {
		r.err = ErrTrailing
	}
	if r.err != nil {
		return nil, 0, r.err
	}
	return s, sizePrefix + size, nil
}

// Need is how many bytes the frame at the head of b has, with its prefix; 4
// when that is not known yet. It fails as Decode does.
func (d *Decoder) Need(b []byte) (int, error) {
	if len(b) < sizePrefix {
		return sizePrefix, nil
	}
	size, err := d.frameSize(b)
	return sizePrefix + size, err
}

func (d *Decoder) frameSize(b []byte) (int, error) {
	if len(b) < sizePrefix {
		return sizePrefix, nil
	}
	size := int64(int32(binary.BigEndian.Uint32(b)))
	if size < 1 {
		return 0, ErrFrameSize
	}
	if d.MaxFrameSize > 0 && size > int64(d.MaxFrameSize) {
		return 0, ErrFrameTooLarge
	}
	return int(size), nil
}

// remember keeps a string. When there are too many it forgets all: what is
// used often comes back at once.
func (d *Decoder) remember(encoded, s string) {
	if d.names == nil || len(d.names) >= maxNames {
		d.names = make(map[string]string, 16)
	}
	d.names[encoded] = s
}

func (r *reader) freshMessageAck() *MessageAck {
	if r.d == nil || r.depth > 0 {
		return new(MessageAck)
	}
	r.d.ack = MessageAck{}
	return &r.d.ack
}

func (r *reader) freshProducerAck() *ProducerAck {
	if r.d == nil || r.depth > 0 {
		return new(ProducerAck)
	}
	r.d.producerAck = ProducerAck{}
	return &r.d.producerAck
}

func (r *reader) freshMessageDispatch() *MessageDispatch {
	if r.d == nil || r.depth > 0 {
		return new(MessageDispatch)
	}
	r.d.dispatch = MessageDispatch{}
	return &r.d.dispatch
}

// freshMessage is the Decoder's message for the one that a frame has at the
// given depth.
func (r *reader) freshMessage(depth int) *Message {
	if r.d == nil || r.depth != depth {
		return new(Message)
	}
	r.d.message = Message{}
	return &r.d.message
}

// DecodeMessage decodes the fields of a message of the given kind, as
// [AppendFields] writes them and Message.Raw returns them. Byte slices of the
// result are part of b.
func DecodeMessage(b []byte, f Format, kind Type) (*Message, error) {
	if !kind.IsMessage() {
		return nil, ErrWrongType
	}
	m := new(Message)
	r := reader{Format: f, b: b, total: len(b)}
	r.fieldsMessage(m, kind)
	if r.err == nil && len(r.b) != 0 {
		r.err = ErrTrailing
	}
	if r.err != nil {
		return nil, r.err
	}
	return m, nil
}

// Raw is the message's fields as they were decoded, without its type; nil for
// one that was not decoded. [Message.Layout] tells where they stand.
func (s *Message) Raw() []byte { return s.raw }

// Layout tells where the fields of a decoded message stand in Raw.
func (s *Message) Layout() *Layout { return &s.layout }
