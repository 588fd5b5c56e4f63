package wire

import "encoding/binary"

// Property is the identifier of a property (section 2.2.2.2).
type Property byte

// The properties.
const (
	PayloadFormat       Property = 0x01
	MessageExpiry       Property = 0x02
	ContentType         Property = 0x03
	ResponseTopic       Property = 0x08
	CorrelationData     Property = 0x09
	SubscriptionID      Property = 0x0B
	SessionExpiry       Property = 0x11
	AssignedClientID    Property = 0x12
	ServerKeepAlive     Property = 0x13
	AuthMethod          Property = 0x15
	AuthData            Property = 0x16
	RequestProblemInfo  Property = 0x17
	WillDelay           Property = 0x18
	RequestResponseInfo Property = 0x19
	ResponseInfo        Property = 0x1A
	ServerReference     Property = 0x1C
	ReasonString        Property = 0x1F
	ReceiveMaximum      Property = 0x21
	TopicAliasMaximum   Property = 0x22
	TopicAlias          Property = 0x23
	MaximumQoS          Property = 0x24
	RetainAvailable     Property = 0x25
	UserProperty        Property = 0x26
	MaximumPacketSize   Property = 0x27
	WildcardAvailable   Property = 0x28
	SubIDAvailable      Property = 0x29
	SharedSubAvailable  Property = 0x2A
	propertyCount                = 0x2B
	none                kind     = 0
)

// kind is how a property's value is written.
type kind byte

const (
	kindFlag   kind = iota + 1 // a byte that is 0 or 1
	kindUint16                 // two bytes
	kindUint32                 // four bytes
	kindVarint                 // variable byte integer
	kindText                   // UTF-8 string
	kindBinary                 // bytes
	kindPair                   // two UTF-8 strings
)

// place is a set of packets in which a property may stand: a bit per packet
// type, bit 0 for the will in CONNECT.
type place uint16

const (
	inWill        place = 1
	inConnect     place = 1 << CONNECT
	inConnack     place = 1 << CONNACK
	inPublish     place = 1 << PUBLISH
	inSubscribe   place = 1 << SUBSCRIBE
	inSuback      place = 1 << SUBACK
	inUnsubscribe place = 1 << UNSUBSCRIBE
	inUnsuback    place = 1 << UNSUBACK
	inDisconnect  place = 1 << DISCONNECT
	inAuth        place = 1 << AUTH
	inAcks        place = 1<<PUBACK | 1<<PUBREC | 1<<PUBREL | 1<<PUBCOMP
	anywhere      place = 0xFFFF
)

type rule struct {
	kind    kind
	places  place
	nonZero bool // the value 0 is a protocol error
}

var rules = [propertyCount]rule{
	PayloadFormat:       {kindFlag, inPublish | inWill, false},
	MessageExpiry:       {kindUint32, inPublish | inWill, false},
	ContentType:         {kindText, inPublish | inWill, false},
	ResponseTopic:       {kindText, inPublish | inWill, false},
	CorrelationData:     {kindBinary, inPublish | inWill, false},
	SubscriptionID:      {kindVarint, inPublish | inSubscribe, true},
	SessionExpiry:       {kindUint32, inConnect | inConnack | inDisconnect, false},
	AssignedClientID:    {kindText, inConnack, false},
	ServerKeepAlive:     {kindUint16, inConnack, false},
	AuthMethod:          {kindText, inConnect | inConnack | inAuth, false},
	AuthData:            {kindBinary, inConnect | inConnack | inAuth, false},
	RequestProblemInfo:  {kindFlag, inConnect, false},
	WillDelay:           {kindUint32, inWill, false},
	RequestResponseInfo: {kindFlag, inConnect, false},
	ResponseInfo:        {kindText, inConnack, false},
	ServerReference:     {kindText, inConnack | inDisconnect, false},
	ReasonString:        {kindText, inConnack | inAcks | inSuback | inUnsuback | inDisconnect | inAuth, false},
	ReceiveMaximum:      {kindUint16, inConnect | inConnack, true},
	TopicAliasMaximum:   {kindUint16, inConnect | inConnack, false},
	TopicAlias:          {kindUint16, inPublish, false},
	MaximumQoS:          {kindFlag, inConnack, false},
	RetainAvailable:     {kindFlag, inConnack, false},
	UserProperty:        {kindPair, anywhere, false},
	MaximumPacketSize:   {kindUint32, inConnect | inConnack, true},
	WildcardAvailable:   {kindFlag, inConnack, false},
	SubIDAvailable:      {kindFlag, inConnack, false},
	SharedSubAvailable:  {kindFlag, inConnack, false},
}

// check validates a property block that stands at where.
func check(b []byte, where place) *Error {
	r := reader{b: b}
	seen := uint64(0)
	for len(r.b) > 0 {
		id := r.byte()
		if id >= propertyCount || rules[id].kind == none {
			return malformed("unknown property")
		}
		rule := &rules[id]
		bit := uint64(1) << id
		switch {
		case rule.places&where == 0:
			return violated("property does not belong to the packet")
		case seen&bit != 0 && Property(id) != UserProperty && (Property(id) != SubscriptionID || where != inPublish):
			return violated("property appears twice")
		}
		seen |= bit
		v := readValue(&r, rule.kind)
		switch {
		case r.err != nil:
			return r.err
		case rule.kind == kindFlag && v > 1:
			return violated("flag is neither 0 nor 1")
		case rule.nonZero && v == 0:
			return violated("value 0 is not allowed")
		}
	}
	return nil
}

// readValue reads over a value and returns it if it is a number.
func readValue(r *reader, k kind) uint32 {
	switch k {
	case kindFlag:
		return uint32(r.byte())
	case kindUint16:
		return uint32(r.uint16())
	case kindUint32:
		return r.uint32()
	case kindVarint:
		return r.varint()
	case kindText:
		r.text()
	case kindBinary:
		r.binary()
	case kindPair:
		r.text()
		r.text()
	}
	return 0
}

// Properties is a property block without its length. Those in decoded packets
// have been checked; the methods read anything without panicking.
type Properties []byte

// Value is one property. Number is set for numeric kinds, Data for strings and
// bytes, and Name and Data for user properties.
type Value struct {
	ID     Property
	Number uint32
	Name   []byte
	Data   []byte
	raw    []byte
}

// Next returns the first property and what follows it; ok is false at the end.
func (p Properties) Next() (v Value, rest Properties, ok bool) {
	if len(p) == 0 || p[0] >= propertyCount {
		return v, nil, false
	}
	r := reader{b: p[1:]}
	v.ID = Property(p[0])
	switch k := rules[v.ID].kind; k {
	case kindText, kindBinary:
		v.Data = r.binary()
	case kindPair:
		v.Name = r.binary()
		v.Data = r.binary()
	case none:
		return v, nil, false
	default:
		v.Number = readValue(&r, k)
	}
	if r.err != nil {
		return v, nil, false
	}
	v.raw = p[:len(p)-len(r.b)]
	return v, r.b, true
}

// Find returns the first property with that identifier.
func (p Properties) Find(id Property) (Value, bool) {
	for v, rest, ok := p.Next(); ok; v, rest, ok = rest.Next() {
		if v.ID == id {
			return v, true
		}
	}
	return Value{}, false
}

// Number returns a numeric property, or or if it is not there.
func (p Properties) Number(id Property, or uint32) uint32 {
	if v, ok := p.Find(id); ok {
		return v.Number
	}
	return or
}

// Text returns a string property, "" if it is not there.
func (p Properties) Text(id Property) string {
	v, _ := p.Find(id)
	return string(v.Data)
}

// AppendNumber adds a numeric property.
func (p Properties) AppendNumber(id Property, v uint32) Properties {
	p = append(p, byte(id))
	switch rules[id].kind {
	case kindFlag:
		return append(p, byte(v))
	case kindUint16:
		return binary.BigEndian.AppendUint16(p, uint16(v))
	case kindVarint:
		return appendVarint(p, v)
	}
	return binary.BigEndian.AppendUint32(p, v)
}

// AppendText adds a string or binary property, cut at 65535 bytes.
func (p Properties) AppendText(id Property, s string) Properties {
	return appendText(append(p, byte(id)), s)
}

// AppendUser adds a user property; both parts are cut at 65535 bytes.
func (p Properties) AppendUser(name, value string) Properties {
	return appendText(appendText(append(p, byte(UserProperty)), name), value)
}

// AppendForwarded adds to dst what a server hands on of the properties of a
// PUBLISH or a will: everything but what belongs to one hop or is kept elsewhere
// (topic alias, subscription identifiers, message expiry, will delay), in order.
func (p Properties) AppendForwarded(dst []byte) []byte {
	for v, rest, ok := p.Next(); ok; v, rest, ok = rest.Next() {
		switch v.ID {
		case TopicAlias, SubscriptionID, MessageExpiry, WillDelay:
		default:
			dst = append(dst, v.raw...)
		}
	}
	return dst
}
