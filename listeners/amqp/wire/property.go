package wire

import (
	"encoding/binary"
	"fmt"
	"math/bits"
)

// Property names a property of class basic by its flag bit.
type Property uint16

// The properties, in the order their values follow the flags (AMQP 1.8.1).
const (
	PropContentType Property = 1 << (15 - iota)
	PropContentEncoding
	PropHeaders
	PropDeliveryMode
	PropPriority
	PropCorrelationID
	PropReplyTo
	PropExpiration
	PropMessageID
	PropTimestamp
	PropType
	PropUserID
	PropAppID
	PropClusterID

	flagContinues Property = 1 // another flag word follows
	flagsKnown             = ^Property(3)
)

const propertyCount = 14

// index is the property's place in the list.
func (p Property) index() int { return bits.LeadingZeros16(uint16(p)) }

func (p Property) single() bool {
	return bits.OnesCount16(uint16(p&flagsKnown)) == 1 && p&^flagsKnown == 0
}

// RawProperties finds the properties in a raw property list: flag words and
// values as they came. It refers to the list and copies nothing.
type RawProperties struct {
	Flags Property // the properties that are present

	raw  []byte
	list int // where the values begin
	at   [propertyCount]span
}

// span is where an encoded value, with its length if it has one, lies in raw.
type span struct{ lo, hi uint32 }

// Decode indexes raw, replacing what p held. It checks the whole list, tables
// included, and allocates nothing.
func (p *RawProperties) Decode(raw []byte) error {
	*p = RawProperties{raw: raw}
	if err := p.index(); err != nil {
		return err
	}
	return nil
}

func (p *RawProperties) index() *Error {
	flags, pos, err := readFlags(p.raw)
	if err != nil {
		return err
	}
	p.Flags, p.list = flags, pos
	for left := uint16(flags); left != 0; {
		i := bits.LeadingZeros16(left)
		left &^= 1 << (15 - i)
		n, err := propertySize(Property(1)<<(15-i), p.raw[pos:])
		if err != nil {
			return err
		}
		p.at[i] = span{uint32(pos), uint32(pos + n)}
		pos += n
	}
	if pos != len(p.raw) {
		return errTrailing
	}
	return nil
}

// readFlags reads the flag words. Basic needs one; more are taken if they are
// empty, since no property lives there.
func readFlags(raw []byte) (flags Property, n int, err *Error) {
	for {
		if len(raw)-n < 2 {
			return 0, 0, errTruncated
		}
		word := Property(binary.BigEndian.Uint16(raw[n:]))
		if n == 0 {
			flags = word & flagsKnown
		} else if word&^flagContinues != 0 {
			return 0, 0, errUnknownProp
		}
		if word&2 != 0 {
			return 0, 0, errUnknownProp
		}
		n += 2
		if word&flagContinues == 0 {
			return flags, n, nil
		}
	}
}

// propertySize returns the length of the encoded value of p at the head of b,
// after checking it.
func propertySize(p Property, b []byte) (int, *Error) {
	n := 0
	switch p {
	case PropDeliveryMode, PropPriority:
		n = 1
	case PropTimestamp:
		n = 8
	case PropHeaders:
		if len(b) < 4 {
			return 0, errTruncated
		}
		size := binary.BigEndian.Uint32(b)
		if uint64(size) > uint64(len(b)-4) {
			return 0, errTruncated
		}
		n = 4 + int(size)
		return n, checkTable(b[4:n], 1)
	default:
		if len(b) < 1 {
			return 0, errTruncated
		}
		n = 1 + int(b[0])
	}
	if n > len(b) {
		return 0, errTruncated
	}
	return n, nil
}

// Has says whether the property is present.
func (p *RawProperties) Has(x Property) bool { return p.Flags&x != 0 }

// Raw returns the list p was decoded from.
func (p *RawProperties) Raw() []byte { return p.raw }

// encoded returns the encoded value of x, nil if it is absent.
func (p *RawProperties) encoded(x Property) []byte {
	if !p.Has(x) {
		return nil
	}
	s := p.at[x.index()]
	return p.raw[s.lo:s.hi:s.hi]
}

// Shortstr returns the value of a shortstr property, nil if it is absent. It
// aliases the list and need not be UTF-8.
func (p *RawProperties) Shortstr(x Property) []byte {
	if b := p.encoded(x); b != nil {
		return b[1:]
	}
	return nil
}

func (p *RawProperties) octet(x Property) uint8 {
	if b := p.encoded(x); b != nil {
		return b[0]
	}
	return 0
}

// DeliveryMode returns 2 for persistent, 1 for transient, 0 if absent.
func (p *RawProperties) DeliveryMode() uint8 { return p.octet(PropDeliveryMode) }

// Priority returns the priority, 0 if absent.
func (p *RawProperties) Priority() uint8 { return p.octet(PropPriority) }

// CorrelationID returns the property as [RawProperties.Shortstr] does.
func (p *RawProperties) CorrelationID() []byte { return p.Shortstr(PropCorrelationID) }

// ReplyTo returns the property as [RawProperties.Shortstr] does.
func (p *RawProperties) ReplyTo() []byte { return p.Shortstr(PropReplyTo) }

// Expiration returns the property as [RawProperties.Shortstr] does: digits, if
// the client is sane.
func (p *RawProperties) Expiration() []byte { return p.Shortstr(PropExpiration) }

// MessageID returns the property as [RawProperties.Shortstr] does.
func (p *RawProperties) MessageID() []byte { return p.Shortstr(PropMessageID) }

// UserID returns the property as [RawProperties.Shortstr] does.
func (p *RawProperties) UserID() []byte { return p.Shortstr(PropUserID) }

// Timestamp returns the timestamp, 0 if absent.
func (p *RawProperties) Timestamp() Timestamp {
	if b := p.encoded(PropTimestamp); b != nil {
		return Timestamp(binary.BigEndian.Uint64(b))
	}
	return 0
}

// Headers returns the headers table, nil if it is absent.
func (p *RawProperties) Headers() RawTable {
	if b := p.encoded(PropHeaders); b != nil {
		return RawTable(b[4:])
	}
	return nil
}

// Properties are the properties of class basic, decoded.
type Properties struct {
	// Flags are the properties present. Append also writes properties that
	// are not flagged but not zero, so that a literal needs no Flags.
	Flags Property

	ContentType     string
	ContentEncoding string
	Headers         Table
	DeliveryMode    uint8 // 2 is persistent
	Priority        uint8
	CorrelationID   string
	ReplyTo         string
	Expiration      string // milliseconds in decimal digits
	MessageID       string
	Timestamp       Timestamp
	Type            string
	UserID          string
	AppID           string
	ClusterID       string
}

// ParseProperties decodes a raw property list; the result does not alias it.
func ParseProperties(raw []byte) (Properties, error) {
	var p RawProperties
	if err := p.Decode(raw); err != nil {
		return Properties{}, err
	}
	headers, err := p.Headers().Decode()
	if err != nil {
		return Properties{}, err
	}
	text := func(x Property) string { return string(p.Shortstr(x)) }
	return Properties{
		Flags:           p.Flags,
		ContentType:     text(PropContentType),
		ContentEncoding: text(PropContentEncoding),
		Headers:         headers,
		DeliveryMode:    p.DeliveryMode(),
		Priority:        p.Priority(),
		CorrelationID:   text(PropCorrelationID),
		ReplyTo:         text(PropReplyTo),
		Expiration:      text(PropExpiration),
		MessageID:       text(PropMessageID),
		Timestamp:       p.Timestamp(),
		Type:            text(PropType),
		UserID:          text(PropUserID),
		AppID:           text(PropAppID),
		ClusterID:       text(PropClusterID),
	}, nil
}

// Append appends the raw property list.
func (p *Properties) Append(dst []byte) []byte {
	start := len(dst)
	flags := p.Flags & flagsKnown
	dst = append(dst, 0, 0)
	text := func(x Property, s string) {
		if s != "" || flags&x != 0 {
			flags |= x
			dst = appendShortstr(dst, s)
		}
	}
	text(PropContentType, p.ContentType)
	text(PropContentEncoding, p.ContentEncoding)
	if len(p.Headers) > 0 || flags&PropHeaders != 0 {
		flags |= PropHeaders
		dst = AppendTable(dst, p.Headers)
	}
	if p.DeliveryMode != 0 || flags&PropDeliveryMode != 0 {
		flags |= PropDeliveryMode
		dst = append(dst, p.DeliveryMode)
	}
	if p.Priority != 0 || flags&PropPriority != 0 {
		flags |= PropPriority
		dst = append(dst, p.Priority)
	}
	text(PropCorrelationID, p.CorrelationID)
	text(PropReplyTo, p.ReplyTo)
	text(PropExpiration, p.Expiration)
	text(PropMessageID, p.MessageID)
	if p.Timestamp != 0 || flags&PropTimestamp != 0 {
		flags |= PropTimestamp
		dst = appendLonglong(dst, uint64(p.Timestamp))
	}
	text(PropType, p.Type)
	text(PropUserID, p.UserID)
	text(PropAppID, p.AppID)
	text(PropClusterID, p.ClusterID)
	binary.BigEndian.PutUint16(dst[start:], uint16(flags))
	return dst
}

// appendPropertyValue appends the encoded value of a property. A value of
// another type than the property's is a fault in the program and panics.
func appendPropertyValue(dst []byte, x Property, value any) []byte {
	switch v := value.(type) {
	case uint8:
		if x == PropDeliveryMode || x == PropPriority {
			return append(dst, v)
		}
	case Timestamp:
		if x == PropTimestamp {
			return appendLonglong(dst, uint64(v))
		}
	case Table:
		if x == PropHeaders {
			return AppendTable(dst, v)
		}
	case string:
		if x&(PropDeliveryMode|PropPriority|PropTimestamp|PropHeaders) == 0 {
			return appendShortstr(dst, v)
		}
	}
	panic(fmt.Sprintf("wire: %T is no value for property %#04x", value, uint16(x)))
}
