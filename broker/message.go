package broker

import (
	"encoding/binary"
	"errors"
)

// Format names the protocol form that Message.Native holds.
type Format uint8

// The forms a message can arrive in. Values are part of the stored format:
// never renumber.
const (
	FormatNone    Format = 0 // body only
	FormatAMQP091 Format = 1 // Native is property flags + property list of the content header, verbatim
	FormatMQTT    Format = 2
	FormatSTOMP   Format = 3
	FormatOpen    Format = 4 // OpenWire
	FormatAWS     Format = 5
	formatCount          = 6
)

// NoTTL says that a message carries no expiration of its own.
const NoTTL = int64(-1)

// Message is one published message. It is immutable once it was handed to
// Session.Publish and is shared by all queues it is routed to, by deliveries
// and by the store. Exchange, RoutingKey, Native and Body may alias one
// buffer.
type Message struct {
	Exchange   string
	RoutingKey string

	Native []byte // properties in the form of Format, byte-exact as they came
	Body   []byte

	Format     Format
	Persistent bool
	Priority   uint8 // as the publisher asked; queues clamp
	TTL        int64 // per-message expiration in ms counted from entering a queue; NoTTL if none
	Received   int64 // Unix ms at which the broker accepted it

	// Notes holds what few messages have; nil for most.
	Notes *Notes
}

// Notes are the broker's annotations of a message: history of dead-lettering
// and features that only some publishers use. Immutable like the message.
type Notes struct {
	Deaths       []Death // newest first, one per (queue, reason)
	FirstDeath   *Death
	LastDeath    *Death
	KeepKeys     []string // extra routing keys (CC) that dead-lettering keeps
	DropHeaders  []string // headers to remove on delivery (BCC; CC of a dead letter with a new key)
	StripTTL     bool     // the expiration property is to be removed on delivery
	DeliverAt    int64    // Unix ms before which no consumer may see it; 0 = at once
	GroupID      string
	DedupID      string
	ReplyTo      string // replaces the reply-to property on delivery (direct reply)
	StreamFilter string

	// Origin is remembered with DedupID, and told to those who publish the
	// same id again. It is not stored with the message.
	Origin string

	GroupClose bool      // the message is the last of its group: the next one may go to another consumer
	Schedule   *Schedule // of a delayed message that comes more than once; nil for most
	Occurrence uint32    // which one this is of a message that comes more than once, from 1; 0: it comes once
}

// Schedule says when a delayed message comes again. Immutable.
type Schedule struct {
	Cron   string // five fields, broker/cron; "": none
	Delay  int64  // ms from a time that Cron gave to the first occurrence
	Period int64  // ms between occurrences
	Repeat int32  // how many more follow the next one; negative: without end
}

// Death is one entry of a message's dead-letter history.
type Death struct {
	Queue              string
	Exchange           string
	Reason             DeathReason
	Count              int64
	Time               int64 // first death for this (queue, reason), Unix ms
	RoutingKeys        []string
	OriginalExpiration int64 // ms; NoTTL if it had none

	// Cause is what the consumer who gave the message up said about it, or the
	// broker's own words for protocols that tell them; "" for none.
	Cause string
}

// DeathReason says why a message was dead-lettered.
type DeathReason uint8

// The reasons; their String is the protocols' word.
const (
	DeathRejected DeathReason = iota + 1
	DeathExpired
	DeathMaxLen
	DeathDeliveryLimit
)

// String returns the word RabbitMQ uses in x-death.
func (r DeathReason) String() string {
	switch r {
	case DeathRejected:
		return "rejected"
	case DeathExpired:
		return "expired"
	case DeathMaxLen:
		return "maxlen"
	case DeathDeliveryLimit:
		return "delivery_limit"
	}
	return "unknown"
}

// Size is the number of bytes the message counts for in memory and credit
// accounting: names, properties and body.
func (m *Message) Size() int {
	return len(m.RoutingKey) + len(m.Native) + len(m.Body)
}

// Properties is the neutral view of a message's properties, decoded on demand.
type Properties struct {
	ContentType     string
	ContentEncoding string
	CorrelationID   string
	ReplyTo         string // the name of a queue, or what its sender meant
	ReplyTopic      bool   // ReplyTo is a key of TopicExchange
	MessageID       string
	Type            string
	UserID          string
	AppID           string
	Timestamp       int64 // POSIX seconds; 0 if none
	Headers         Table
}

// Converter turns a native form into the neutral view. It must be safe for
// concurrent use and must not retain its argument.
type Converter interface {
	Properties(m *Message) (*Properties, error)
}

// The stored form of a message: version, flags, then fields in fixed order,
// all lengths as uvarint. docs/format/message.md draws it.
const (
	messageVersion    = 3
	messageVersionMin = 1 // version 1 had one header to drop, version 2 no causes and schedules
)

const (
	flagPersistent = 1 << iota
	flagTTL
	flagNotes
)

// ErrMessageFormat reports bytes that are not a stored message.
var ErrMessageFormat = errors.New("broker: malformed stored message")

// AppendBinary appends the stored form of m, which DecodeMessage reads.
func (m *Message) AppendBinary(dst []byte) []byte {
	var flags byte
	if m.Persistent {
		flags |= flagPersistent
	}
	if m.TTL != NoTTL {
		flags |= flagTTL
	}
	if m.Notes != nil {
		flags |= flagNotes
	}
	dst = append(dst, messageVersion, flags, byte(m.Format), m.Priority)
	dst = binary.AppendVarint(dst, m.Received)
	if flags&flagTTL != 0 {
		dst = binary.AppendVarint(dst, m.TTL)
	}
	dst = appendString(dst, m.Exchange)
	dst = appendString(dst, m.RoutingKey)
	if flags&flagNotes != 0 {
		dst = m.Notes.append(dst)
	}
	dst = binary.AppendUvarint(dst, uint64(len(m.Native)))
	dst = append(dst, m.Native...)
	dst = binary.AppendUvarint(dst, uint64(len(m.Body)))
	return append(dst, m.Body...)
}

// DecodeMessage reads what AppendBinary wrote. The result aliases b. It never
// panics and never allocates more than a constant times len(b).
func DecodeMessage(b []byte) (*Message, error) {
	d := decoder{b: b}
	version := d.byte()
	if version < messageVersionMin || version > messageVersion {
		return nil, ErrMessageFormat
	}
	flags := d.byte()
	m := &Message{Persistent: flags&flagPersistent != 0, TTL: NoTTL}
	m.Format = Format(d.byte())
	m.Priority = d.byte()
	m.Received = d.varint()
	if flags&flagTTL != 0 {
		m.TTL = d.varint()
	}
	m.Exchange = d.string()
	m.RoutingKey = d.string()
	if flags&flagNotes != 0 {
		m.Notes = d.notes(version)
	}
	m.Native = d.bytes()
	m.Body = d.bytes()
	if d.bad || len(d.b) != 0 || m.Format >= formatCount {
		return nil, ErrMessageFormat
	}
	return m, nil
}
