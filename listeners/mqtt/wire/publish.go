package wire

// Publish is the PUBLISH packet (section 3.3). Its slices alias the input.
type Publish struct {
	Dup      bool
	QoS      byte
	Retain   bool
	PacketID uint16 // QoS 1 and 2 only
	Topic    []byte
	Props    Properties
	Payload  []byte
}

const (
	publishRetain = 1
	publishDup    = 8
)

// DecodePublish reads a PUBLISH that a client sent. fromServer allows what only
// a server may send: subscription identifiers.
func DecodePublish(h Header, body []byte, v Version, fromServer bool) (Publish, error) {
	p := Publish{Dup: h.Flags&publishDup != 0, QoS: h.Flags >> 1 & 3, Retain: h.Flags&publishRetain != 0}
	switch {
	case p.QoS == 3:
		return p, malformed("QoS 3")
	case p.QoS == 0 && p.Dup && v != V31:
		return p, malformed("DUP with QoS 0")
	}
	r := reader{b: body}
	p.Topic = r.text()
	if p.QoS > 0 {
		p.PacketID = r.packetID()
	}
	if v == V5 {
		p.Props = r.properties(inPublish)
	}
	if r.err != nil {
		return p, r.err
	}
	p.Payload = r.b
	return p, p.check(v, fromServer)
}

// check looks at what the fields say together.
func (p *Publish) check(v Version, fromServer bool) error {
	if len(p.Topic) > 0 {
		if !ValidTopicName(p.Topic) {
			return errTopicLevels
		}
	} else if _, ok := p.Props.Find(TopicAlias); !ok {
		return violated("empty topic without alias")
	}
	if v != V5 || len(p.Props) == 0 {
		return nil
	}
	for v, rest, ok := p.Props.Next(); ok; v, rest, ok = rest.Next() {
		switch {
		case v.ID == SubscriptionID && !fromServer:
			return violated("subscription identifier from a client")
		case v.ID == ResponseTopic && !ValidTopicName(v.Data):
			return violated("response topic with wildcards")
		case v.ID == TopicAlias && v.Number == 0:
			return &Error{TopicAliasInvalid, "topic alias 0"}
		}
	}
	return nil
}

// Size is the length of the whole packet that Append writes, given the length
// of the topic.
func (p *Publish) Size(v Version) int {
	n := p.remaining(v)
	return 1 + varintSize(uint32(n)) + n
}

func (p *Publish) remaining(v Version) int {
	n := 2 + len(p.Topic) + len(p.Payload)
	if p.QoS > 0 {
		n += 2
	}
	if v == V5 {
		n += blockSize(p.Props)
	}
	return n
}

// Append writes the packet. It allocates only to grow dst.
func (p *Publish) Append(dst []byte, v Version) []byte {
	flags := p.QoS << 1
	if p.Dup {
		flags |= publishDup
	}
	if p.Retain {
		flags |= publishRetain
	}
	dst = appendHeader(dst, PUBLISH, flags, p.remaining(v))
	dst = appendText(dst, p.Topic)
	if p.QoS > 0 {
		dst = appendUint16(dst, p.PacketID)
	}
	if v == V5 {
		dst = appendBlock(dst, p.Props)
	}
	return append(dst, p.Payload...)
}

// Ack is one of PUBACK, PUBREC, PUBREL and PUBCOMP (sections 3.4 to 3.7).
type Ack struct {
	Type     Type
	PacketID uint16
	Reason   Reason
	Props    Properties
}

// DecodeAck reads the body of an acknowledgement.
func DecodeAck(t Type, body []byte, v Version) (Ack, error) {
	r := reader{b: body}
	a := Ack{Type: t, PacketID: r.packetID()}
	if v != V5 || len(r.b) == 0 {
		return a, r.end()
	}
	a.Reason = Reason(r.byte())
	if len(r.b) > 0 {
		a.Props = r.properties(inAcks & (1 << t))
	}
	if r.err == nil && !a.known() {
		return a, errReasonCode
	}
	return a, r.end()
}

func (a *Ack) known() bool {
	if a.Type == PUBREL || a.Type == PUBCOMP {
		return a.Reason == Success || a.Reason == PacketIDNotFound
	}
	switch a.Reason {
	case Success, NoMatchingSubscribers, UnspecifiedError, ImplementationSpecificError, NotAuthorized,
		TopicNameInvalid, PacketIDInUse, QuotaExceeded, PayloadFormatInvalid:
		return true
	}
	return false
}

// Append writes the packet in its shortest form.
func (a *Ack) Append(dst []byte, v Version) []byte {
	flags := byte(0)
	if a.Type == PUBREL {
		flags = 2
	}
	switch {
	case v != V5 || a.Reason == Success && len(a.Props) == 0:
		return appendUint16(append(dst, byte(a.Type)<<4|flags, 2), a.PacketID)
	case len(a.Props) == 0:
		return append(appendUint16(append(dst, byte(a.Type)<<4|flags, 3), a.PacketID), byte(a.Reason))
	}
	dst = appendHeader(dst, a.Type, flags, 3+blockSize(a.Props))
	return appendBlock(append(appendUint16(dst, a.PacketID), byte(a.Reason)), a.Props)
}
