package wire

// Subscribe is the SUBSCRIBE packet (section 3.8).
type Subscribe struct {
	PacketID uint16
	Props    Properties
	Filters  []Filter
}

// Filter is one subscription of a SUBSCRIBE.
type Filter struct {
	Name    string
	Options Options
}

// Options are the subscription options byte.
type Options byte

// Bits of Options above the QoS.
const (
	NoLocal           Options = 1 << 2
	RetainAsPublished Options = 1 << 3
)

// QoS is the highest QoS the subscriber wants.
func (o Options) QoS() byte { return byte(o) & subscriptionQoSMask }

// RetainHandling is 0: send retained messages, 1: only for a new subscription,
// 2: never.
func (o Options) RetainHandling() byte { return byte(o) >> 4 & 3 }

// minFilter is the least that a subscription takes on the wire; it bounds what
// is allocated before reading.
const minFilter = 3

// DecodeSubscribe reads the body of a SUBSCRIBE. Filters are valid UTF-8 but not
// checked further: a bad one is refused by itself.
func DecodeSubscribe(body []byte, v Version) (Subscribe, error) {
	r := reader{b: body}
	s := Subscribe{PacketID: r.packetID()}
	if v == V5 {
		s.Props = r.properties(inSubscribe)
	}
	if r.err != nil {
		return s, r.err
	}
	if len(r.b) == 0 {
		return s, errNoFilters
	}
	s.Filters = make([]Filter, 0, min(len(r.b)/minFilter+1, 16))
	for len(r.b) > 0 {
		name := r.text()
		o := Options(r.byte())
		if r.err != nil {
			return s, r.err
		}
		if o.QoS() == 3 || v == V5 && (o&0xC0 != 0 || o.RetainHandling() == 3) || v == V311 && o&0xFC != 0 {
			return s, errOptions
		}
		if v != V5 {
			o &= subscriptionQoSMask
		}
		s.Filters = append(s.Filters, Filter{string(name), o})
	}
	return s, r.end()
}

// Append writes the packet.
func (s *Subscribe) Append(dst []byte, v Version) []byte {
	n := 2
	if v == V5 {
		n += blockSize(s.Props)
	}
	for _, f := range s.Filters {
		n += 3 + len(f.Name)
	}
	dst = appendUint16(appendHeader(dst, SUBSCRIBE, 2, n), s.PacketID)
	if v == V5 {
		dst = appendBlock(dst, s.Props)
	}
	for _, f := range s.Filters {
		dst = append(appendText(dst, f.Name), byte(f.Options))
	}
	return dst
}

// Unsubscribe is the UNSUBSCRIBE packet (section 3.10).
type Unsubscribe struct {
	PacketID uint16
	Props    Properties
	Filters  []string
}

// DecodeUnsubscribe reads the body of an UNSUBSCRIBE.
func DecodeUnsubscribe(body []byte, v Version) (Unsubscribe, error) {
	r := reader{b: body}
	u := Unsubscribe{PacketID: r.packetID()}
	if v == V5 {
		u.Props = r.properties(inUnsubscribe)
	}
	if r.err != nil {
		return u, r.err
	}
	if len(r.b) == 0 {
		return u, errNoFilters
	}
	for len(r.b) > 0 {
		u.Filters = append(u.Filters, string(r.text()))
	}
	return u, r.end()
}

// Append writes the packet.
func (u *Unsubscribe) Append(dst []byte, v Version) []byte {
	n := 2
	if v == V5 {
		n += blockSize(u.Props)
	}
	for _, f := range u.Filters {
		n += 2 + len(f)
	}
	dst = appendUint16(appendHeader(dst, UNSUBSCRIBE, 2, n), u.PacketID)
	if v == V5 {
		dst = appendBlock(dst, u.Props)
	}
	for _, f := range u.Filters {
		dst = appendText(dst, f)
	}
	return dst
}

// Suback is a SUBACK or UNSUBACK packet (sections 3.9, 3.11): a code per filter,
// in order.
type Suback struct {
	Type     Type
	PacketID uint16
	Props    Properties
	Codes    []Reason
}

// DecodeSuback reads the body of a SUBACK or UNSUBACK.
func DecodeSuback(t Type, body []byte, v Version) (Suback, error) {
	r := reader{b: body}
	s := Suback{Type: t, PacketID: r.packetID()}
	if v == V5 {
		s.Props = r.properties(inSuback&(1<<t) | inUnsuback&(1<<t))
	}
	if r.err != nil {
		return s, r.err
	}
	if t == UNSUBACK && v != V5 {
		return s, r.end()
	}
	s.Codes = make([]Reason, len(r.b))
	for i, c := range r.b {
		s.Codes[i] = Reason(c)
	}
	return s, nil
}

// Append writes the packet.
func (s *Suback) Append(dst []byte, v Version) []byte {
	n := 2
	if v == V5 {
		n += blockSize(s.Props)
	}
	codes := s.Codes
	if s.Type == UNSUBACK && v != V5 {
		codes = nil
	}
	dst = appendUint16(appendHeader(dst, s.Type, 0, n+len(codes)), s.PacketID)
	if v == V5 {
		dst = appendBlock(dst, s.Props)
	}
	for _, c := range codes {
		dst = append(dst, byte(c))
	}
	return dst
}
