package mqtt

import (
	"bytes"
	"testing"

	"github.com/mochi-mqtt/server/v2/packets"

	"github.com/hermodmq/hermod/listeners/mqtt/wire"
)

// decode reads a packet with our codec and reports whether it is valid as one
// that a client may send.
func decode(h wire.Header, body []byte, v wire.Version) (any, error) {
	if h.Type != wire.CONNECT {
		if err := h.CheckFlags(v); err != nil {
			return nil, err
		}
	}
	switch h.Type {
	case wire.PUBLISH:
		return wire.DecodePublish(h, body, v, true)
	case wire.PUBACK, wire.PUBREC, wire.PUBREL, wire.PUBCOMP:
		return wire.DecodeAck(h.Type, body, v)
	case wire.SUBSCRIBE:
		return wire.DecodeSubscribe(body, v)
	case wire.UNSUBSCRIBE:
		return wire.DecodeUnsubscribe(body, v)
	case wire.CONNECT:
		return wire.DecodeConnect(body)
	}
	return nil, nil
}

// other reads a packet with the other implementation.
func other(t *testing.T, h wire.Header, body []byte, v wire.Version) (p packets.Packet, err error) {
	t.Helper()
	defer func() {
		if recover() != nil {
			err = packets.ErrMalformedPacket // it panics on some truncated packets
		}
	}()
	p = packets.Packet{ProtocolVersion: byte(v)}
	p.FixedHeader.Remaining = len(body)
	if err := p.FixedHeader.Decode(byte(h.Type)<<4 | h.Flags); err != nil {
		return p, err
	}
	body = bytes.Clone(body)
	switch h.Type {
	case wire.PUBLISH:
		err = p.PublishDecode(body)
	case wire.PUBACK:
		err = p.PubackDecode(body)
	case wire.PUBREC:
		err = p.PubrecDecode(body)
	case wire.PUBREL:
		err = p.PubrelDecode(body)
	case wire.PUBCOMP:
		err = p.PubcompDecode(body)
	case wire.SUBSCRIBE:
		err = p.SubscribeDecode(body)
	case wire.UNSUBSCRIBE:
		err = p.UnsubscribeDecode(body)
	case wire.CONNECT:
		err = p.ConnectDecode(body)
	}
	return p, err
}

// compare checks that a packet which both accept means the same to both. Each
// refuses some that the other takes: we are stricter, it has faults.
func compare(t *testing.T, packet []byte, v wire.Version) {
	h, body, n, _, err := wire.Next(packet, 1<<20)
	if err != nil || n == 0 || h.Type > wire.UNSUBSCRIBE || h.Type == wire.CONNACK || h.Type == wire.SUBACK {
		return
	}
	ours, err := decode(h, body, v)
	if err != nil {
		return
	}
	theirs, err := other(t, h, body, v)
	if err != nil {
		return // it refuses some of what the specification allows
	}
	switch o := ours.(type) {
	case wire.Publish:
		if string(o.Topic) != theirs.TopicName || !bytes.Equal(o.Payload, theirs.Payload) || o.PacketID != theirs.PacketID ||
			o.QoS != theirs.FixedHeader.Qos || o.Retain != theirs.FixedHeader.Retain || o.Dup != theirs.FixedHeader.Dup {
			t.Errorf("% x: %+v and %+v", packet[:n], o, theirs)
		}
		if u := theirs.Properties.User; v == wire.V5 && !sameUsers(o.Props, u) {
			t.Errorf("% x: user properties differ: %+v", packet[:n], u)
		}
	case wire.Ack:
		if o.PacketID != theirs.PacketID || v == wire.V5 && byte(o.Reason) != theirs.ReasonCode {
			t.Errorf("% x: %+v and %+v", packet[:n], o, theirs)
		}
	case wire.Subscribe:
		if len(o.Filters) != len(theirs.Filters) || o.PacketID != theirs.PacketID {
			t.Fatalf("% x: %+v and %+v", packet[:n], o, theirs.Filters)
		}
		for i, f := range o.Filters {
			if g := theirs.Filters[i]; f.Name != g.Filter || f.Options.QoS() != g.Qos {
				t.Errorf("% x: %+v and %+v", packet[:n], f, g)
			}
		}
	case wire.Connect:
		c := theirs.Connect
		if o.ClientID != c.ClientIdentifier || o.Username != string(c.Username) || !bytes.Equal(o.Password, c.Password) ||
			o.KeepAlive != c.Keepalive || o.CleanStart != c.Clean || (o.Will != nil) != c.WillFlag {
			t.Errorf("% x: %+v and %+v", packet[:n], o, c)
		}
	}
}

func sameUsers(p wire.Properties, list []packets.UserProperty) bool {
	i := 0
	for v, rest, ok := p.Next(); ok; v, rest, ok = rest.Next() {
		if v.ID != wire.UserProperty {
			continue
		}
		if i >= len(list) || list[i].Key != string(v.Name) || list[i].Val != string(v.Data) {
			return false
		}
		i++
	}
	return i == len(list)
}

// TestMQTT16OtherCodec compares the codecs on the other's own test vectors.
func TestMQTT16OtherCodec(t *testing.T) {
	for _, group := range packets.TPacketData {
		for _, tt := range group {
			for _, v := range all {
				compare(t, tt.RawBytes, v)
			}
		}
	}
}

func FuzzOtherCodec(f *testing.F) {
	for _, group := range packets.TPacketData {
		for _, tt := range group {
			f.Add(tt.RawBytes, byte(5))
			f.Add(tt.RawBytes, byte(4))
		}
	}
	f.Fuzz(func(t *testing.T, packet []byte, v byte) { compare(t, packet, wire.Version(3+v%3)) })
}
