package wire

import (
	"bytes"
	"errors"
	"reflect"
	"strings"
	"testing"
)

// sample is a packet and how to read it back.
type sample struct {
	name    string
	version Version
	bytes   []byte // golden where it is given
	packet  any
}

func user(pairs ...string) Properties {
	var p Properties
	for i := 0; i < len(pairs); i += 2 {
		p = p.AppendUser(pairs[i], pairs[i+1])
	}
	return p
}

// samples cover the fifteen packet types in the versions that have them.
var samples = []sample{
	{"connect 3.1", V31, []byte("\x10\x10\x00\x06MQIsdp\x03\x02\x00\x0a\x00\x02id"), Connect{Version: V31, CleanStart: true, KeepAlive: 10, ClientID: "id"}},
	{"connect 3.1.1", V311, []byte("\x10\x20\x00\x04MQTT\x04\xec\x00\x00\x00\x02id\x00\x01w\x00\x02hi\x00\x03bob\x00\x04pass"), Connect{
		Version: V311, ClientID: "id", Will: &Will{Topic: "w", Payload: []byte("hi"), QoS: 1, Retain: true},
		HasUsername: true, Username: "bob", HasPassword: true, Password: []byte("pass")}},
	{"connect 5", V5, nil, Connect{Version: V5, ClientID: "id", CleanStart: true,
		Props: user("a", "b").AppendNumber(SessionExpiry, 7).AppendNumber(ReceiveMaximum, 3),
		Will:  &Will{Topic: "w", Payload: []byte{}, Props: Properties(nil).AppendNumber(WillDelay, 5).AppendText(ContentType, "x")}}},
	{"connack 3", V311, []byte{0x20, 2, 1, 0}, Connack{SessionPresent: true}},
	{"connack 5", V5, []byte{0x20, 6, 0, 0x87, 3, 0x13, 0, 60}, Connack{Reason: NotAuthorized, Props: Properties(nil).AppendNumber(ServerKeepAlive, 60)}},
	{"publish 0", V311, []byte("\x30\x06\x00\x03a/bx"), Publish{Topic: []byte("a/b"), Payload: []byte("x")}},
	{"publish 1", V311, []byte("\x3b\x08\x00\x03a/b\x00\x09x"), Publish{Topic: []byte("a/b"), Payload: []byte("x"), QoS: 1, Dup: true, Retain: true, PacketID: 9}},
	{"publish 5", V5, nil, Publish{Topic: []byte("a/b"), Payload: bytes.Repeat([]byte{7}, 200), QoS: 2, PacketID: 65535, Props: user("k", "v", "k", "w").AppendNumber(MessageExpiry, 1)}},
	{"publish alias", V5, []byte("\x30\x06\x00\x00\x03\x23\x00\x01"), Publish{Topic: []byte{}, Payload: []byte{}, Props: Properties(nil).AppendNumber(TopicAlias, 1)}},
	{"puback", V5, []byte{0x40, 2, 0, 1}, Ack{Type: PUBACK, PacketID: 1}},
	{"puback reason", V5, []byte{0x40, 3, 0, 1, 0x10}, Ack{Type: PUBACK, PacketID: 1, Reason: NoMatchingSubscribers}},
	{"pubrec props", V5, nil, Ack{Type: PUBREC, PacketID: 1, Reason: QuotaExceeded, Props: user("a", "b")}},
	{"pubrel", V311, []byte{0x62, 2, 0, 5}, Ack{Type: PUBREL, PacketID: 5}},
	{"pubcomp", V5, []byte{0x70, 3, 0, 5, 0x92}, Ack{Type: PUBCOMP, PacketID: 5, Reason: PacketIDNotFound}},
	{"subscribe 3", V311, []byte("\x82\x09\x00\x01\x00\x01a\x01\x00\x00\x02"), nil},
	{"subscribe", V5, nil, Subscribe{PacketID: 3, Props: Properties(nil).AppendNumber(SubscriptionID, 300), Filters: []Filter{{"a/#", 0x2D}, {"b", 0}}}},
	{"suback", V5, []byte{0x90, 5, 0, 1, 0, 2, 0x87}, Suback{Type: SUBACK, PacketID: 1, Codes: []Reason{2, NotAuthorized}}},
	{"unsubscribe", V5, []byte("\xa2\x06\x00\x01\x00\x00\x01a"), Unsubscribe{PacketID: 1, Filters: []string{"a"}}},
	{"unsuback 3", V311, []byte{0xb0, 2, 0, 1}, Suback{Type: UNSUBACK, PacketID: 1}},
	{"unsuback 5", V5, []byte{0xb0, 4, 0, 1, 0, 0x11}, Suback{Type: UNSUBACK, PacketID: 1, Codes: []Reason{NoSubscriptionExisted}}},
	{"disconnect 3", V311, []byte{0xe0, 0}, Disconnect{}},
	{"disconnect 5", V5, nil, Disconnect{Reason: SessionTakenOver, Props: Properties(nil).AppendText(ReasonString, "why")}},
	{"auth", V5, nil, Auth{Reason: ContinueAuthentication, Props: Properties(nil).AppendText(AuthMethod, "m").AppendText(AuthData, "d")}},
	{"auth success", V5, []byte{0xf0, 0}, Auth{}},
	{"pingreq", V311, []byte{0xc0, 0}, nil},
	{"pingresp", V311, []byte{0xd0, 0}, nil},
}

func encode(p any, v Version) []byte {
	switch p := p.(type) {
	case Connect:
		return p.Append(nil)
	case Connack:
		return p.Append(nil, v)
	case Publish:
		return p.Append(nil, v)
	case Ack:
		return p.Append(nil, v)
	case Subscribe:
		return p.Append(nil, v)
	case Suback:
		return p.Append(nil, v)
	case Unsubscribe:
		return p.Append(nil, v)
	case Disconnect:
		return p.Append(nil, v)
	case Auth:
		return p.Append(nil)
	}
	return nil
}

func decode(h Header, body []byte, v Version) (any, error) {
	switch h.Type {
	case CONNECT:
		return DecodeConnect(body)
	case CONNACK:
		return DecodeConnack(body, v)
	case PUBLISH:
		return DecodePublish(h, body, v, true)
	case PUBACK, PUBREC, PUBREL, PUBCOMP:
		return DecodeAck(h.Type, body, v)
	case SUBSCRIBE:
		return DecodeSubscribe(body, v)
	case SUBACK, UNSUBACK:
		return DecodeSuback(h.Type, body, v)
	case UNSUBSCRIBE:
		return DecodeUnsubscribe(body, v)
	case DISCONNECT:
		return DecodeDisconnect(body, v)
	case AUTH:
		return DecodeAuth(body, v)
	}
	return nil, nil
}

// same compares packets by what they encode to, and field by field except for
// empty against nil slices.
func same(a, b any, v Version) bool {
	return reflect.TypeOf(a) == reflect.TypeOf(b) && bytes.Equal(encode(a, v), encode(b, v))
}

func TestRoundTrip(t *testing.T) {
	for _, s := range samples {
		t.Run(s.name, func(t *testing.T) {
			packet := s.bytes
			if s.packet != nil {
				packet = encode(s.packet, s.version)
			}
			if s.bytes != nil && !bytes.Equal(packet, s.bytes) {
				t.Errorf("encoded as % x, want % x", packet, s.bytes)
			}
			if packet == nil {
				return
			}
			h, body, n, _, err := Next(packet, 0)
			if err != nil || n != len(packet) {
				t.Fatalf("Next took %d of %d: %v", n, len(packet), err)
			}
			got, err := decode(h, body, s.version)
			if s.packet == nil {
				return
			}
			if err != nil || !same(got, s.packet, s.version) {
				t.Errorf("decoded %+v, %v; want %+v", got, err, s.packet)
			}
		})
	}
}

// TestPrefixes: every proper prefix of a packet needs more, and what is needed
// is never less than what is missing from the header nor more than the packet.
func TestPrefixes(t *testing.T) {
	for _, s := range samples {
		packet := s.bytes
		if s.packet != nil {
			packet = encode(s.packet, s.version)
		}
		for i := range packet {
			_, _, n, need, err := Next(packet[:i], 0)
			if n != 0 || err != nil || need <= i || need > max(len(packet), 2) {
				t.Errorf("%s: %d of %d bytes: n %d, need %d, %v", s.name, i, len(packet), n, need, err)
			}
		}
	}
}

// TestTruncatedBodies: a body that ends early is malformed, never a panic.
func TestTruncatedBodies(t *testing.T) {
	for _, s := range samples {
		if s.packet == nil {
			continue
		}
		packet := encode(s.packet, s.version)
		h, body, _, _, _ := Next(packet, 0)
		for i := range body {
			got, err := decode(h, body[:i], s.version)
			var e *Error
			if err != nil && !errors.As(err, &e) {
				t.Errorf("%s: %d bytes: %v", s.name, i, err)
			}
			if err == nil && same(got, s.packet, s.version) {
				t.Errorf("%s: %d of %d bytes mean the same", s.name, i, len(body))
			}
		}
	}
}

func TestNextLimits(t *testing.T) {
	if _, _, _, _, err := Next([]byte{0x30, 0x80, 0x80, 0x80, 0x80, 1}, 0); err == nil {
		t.Error("five bytes of remaining length are taken")
	}
	if _, _, _, _, err := Next([]byte{0x30, 0x80, 0x80, 0x01}, 100); err != ErrTooLarge {
		t.Errorf("a packet above the limit: %v", err)
	}
	if _, _, _, need, err := Next([]byte{0x30, 98}, 100); err != nil || need != 100 {
		t.Errorf("a packet at the limit: need %d, %v", need, err)
	}
	if _, _, _, _, err := Next([]byte{0, 0}, 0); err == nil {
		t.Error("type 0 is taken")
	}
}

func TestReasonsOfErrors(t *testing.T) {
	tests := []struct {
		name    string
		version Version
		packet  string
		want    Reason
	}{
		{"publish twice the same property", V5, "\x30\x09\x00\x01a\x04\x01\x00\x01\x00x", ProtocolError},
		{"publish with receive maximum", V5, "\x30\x08\x00\x01a\x03\x21\x00\x01x", ProtocolError},
		{"publish with unknown property", V5, "\x30\x06\x00\x01a\x01\x00x", MalformedPacket},
		{"property runs over its block", V5, "\x30\x06\x00\x01a\x01\x01x", MalformedPacket},
		{"block longer than the packet", V5, "\x30\x04\x00\x01a\x09", MalformedPacket},
		{"payload format 2", V5, "\x30\x07\x00\x01a\x02\x01\x02x", ProtocolError},
		{"content type not UTF-8", V5, "\x30\x08\x00\x01a\x04\x03\x00\x01\xff", MalformedPacket},
		{"subscription identifier too long", V5, "\x82\x09\x00\x01\x06\x0b\xff\xff\xff\xff\x01", MalformedPacket},
		{"subscription identifier padded", V5, "\x82\x0a\x00\x01\x03\x0b\x81\x00\x00\x01a\x00", MalformedPacket},
		{"wildcard in topic", V311, "\x30\x03\x00\x01#", TopicNameInvalid},
		{"NUL in topic", V311, "\x30\x03\x00\x01\x00", MalformedPacket},
		{"surrogate in topic", V311, "\x30\x05\x00\x03\xed\xa0\x80", MalformedPacket},
		{"packet identifier 0", V311, "\x32\x05\x00\x01a\x00\x00", ProtocolError},
		{"QoS 3 subscription", V311, "\x82\x06\x00\x01\x00\x01a\x03", MalformedPacket},
		{"3.1.1 with options", V311, "\x82\x06\x00\x01\x00\x01a\x04", MalformedPacket},
		{"puback with reason of pubrel", V5, "\x40\x03\x00\x01\x92", MalformedPacket},
		{"disconnect with reason of suback", V5, "\xe0\x01\x01", MalformedPacket},
		{"auth in 3.1.1", V311, "\xf0\x00", MalformedPacket},
	}
	for _, tt := range tests {
		h, body, n, _, err := Next([]byte(tt.packet), 0)
		if err != nil || n != len(tt.packet) {
			t.Errorf("%s: the test's packet is wrong: took %d of %d, %v", tt.name, n, len(tt.packet), err)
			continue
		}
		_, err = decode(h, body, tt.version)
		var e *Error
		if !errors.As(err, &e) || e.Code != tt.want {
			t.Errorf("%s: %v, want 0x%02X", tt.name, err, byte(tt.want))
		}
	}
}

func TestForwarded(t *testing.T) {
	p := user("a", "1").AppendNumber(MessageExpiry, 5).AppendNumber(TopicAlias, 2).AppendText(ContentType, "x").
		AppendNumber(SubscriptionID, 9).AppendNumber(WillDelay, 3).AppendUser("a", "2")
	want := user("a", "1").AppendText(ContentType, "x").AppendUser("a", "2")
	if got := p.AppendForwarded([]byte("x")); string(got) != "x"+string(want) {
		t.Errorf("got % x, want % x", got, want)
	}
}

func TestV3Codes(t *testing.T) {
	for r, want := range map[Reason]byte{Success: 0, UnsupportedProtocolVersion: 1, ClientIDNotValid: 2, ServerBusy: 3, BadUserNameOrPassword: 4, NotAuthorized: 5} {
		if got := r.V3(); got != want {
			t.Errorf("0x%02X is %d, want %d", byte(r), got, want)
		}
	}
}

func TestFilters(t *testing.T) {
	for f, want := range map[string]bool{
		"": false, "#": true, "+": true, "a/#": true, "#/a": false, "a#": false, "a/+/b": true, "a/b+": false, "/": true, "+/+/#": true, "//#": true,
	} {
		if got := ValidFilter(f); got != want {
			t.Errorf("ValidFilter(%q) = %v", f, got)
		}
	}
	for f, want := range map[string][2]bool{
		"$share/g/a": {true, true}, "$share/g": {true, false}, "$share//a": {true, false}, "$share/g/": {true, false},
		"$share/+/a": {true, false}, "$shared/g/a": {false, false}, "a": {false, false}, "$share/g//": {true, true},
	} {
		if _, _, shared, ok := Share(f); shared != want[0] || shared && ok != want[1] {
			t.Errorf("Share(%q) = %v, %v", f, shared, ok)
		}
	}
}

func TestMatch(t *testing.T) {
	for _, tt := range []struct {
		filter, topic string
		want          bool
	}{
		{"a/b", "a/b", true}, {"a/b", "a", false}, {"a", "a/b", false}, {"a/#", "a", true}, {"a/#", "a/b/c", true}, {"a/#", "ab", false},
		{"#", "a/b", true}, {"#", "$x", false}, {"+/b", "$x/b", false}, {"$x/#", "$x/b", true}, {"+", "", true}, {"/+", "/x", true},
		{"+/+", "/", true}, {"a/+/c", "a//c", true}, {"+/#", "a", true}, {"a/+", "a", false}, {"a/+/#", "a/b", true}, {"A", "a", false},
	} {
		if got := Match(tt.filter, tt.topic); got != tt.want {
			t.Errorf("Match(%q, %q) = %v", tt.filter, tt.topic, got)
		}
	}
}

func TestPublishAllocatesNothing(t *testing.T) {
	p := Publish{Topic: []byte("a/b/c"), Payload: make([]byte, 100), QoS: 1, PacketID: 3, Props: user("a", "b")}
	buf := p.Append(nil, V5)
	n := testing.AllocsPerRun(100, func() {
		buf = p.Append(buf[:0], V5)
		h, body, _, _, _ := Next(buf, 0)
		if _, err := DecodePublish(h, body, V5, false); err != nil {
			t.Fatal(err)
		}
	})
	if n != 0 {
		t.Errorf("%v allocations per packet", n)
	}
}

func FuzzDecode(f *testing.F) {
	for _, s := range samples {
		packet := s.bytes
		if s.packet != nil {
			packet = encode(s.packet, s.version)
		}
		f.Add(packet, byte(s.version))
	}
	f.Fuzz(func(t *testing.T, packet []byte, v byte) {
		version := V31 + Version(v%3)
		h, body, n, need, err := Next(packet, 1<<20)
		if err != nil || n == 0 {
			if err == nil && need <= len(packet) {
				t.Fatalf("%d bytes need %d", len(packet), need)
			}
			return
		}
		p, err := decode(h, body, version)
		if err != nil || p == nil {
			return
		}
		if c, ok := p.(Connect); ok {
			version = c.Version
		}
		// What was understood is written and understood again alike.
		again := encode(p, version)
		h2, body2, _, _, err := Next(again, 0)
		if err != nil {
			t.Fatalf("% x became % x: %v", packet[:n], again, err)
		}
		q, err := decode(h2, body2, version)
		if err != nil || !same(p, q, version) {
			t.Fatalf("%+v became %+v: %v", p, q, err)
		}
	})
}

func FuzzMatch(f *testing.F) {
	f.Add("a/+/#", "a/b/c")
	f.Fuzz(func(t *testing.T, filter, topic string) {
		if !ValidFilter(filter) || !ValidTopicName([]byte(topic)) {
			return
		}
		levels := func(s string) []string { return strings.Split(s, "/") }
		want := naive(levels(filter), levels(topic)) && !(topic[0] == '$' && (filter[0] == '+' || filter[0] == '#'))
		if got := Match(filter, topic); got != want {
			t.Errorf("Match(%q, %q) = %v", filter, topic, got)
		}
	})
}

// naive is the definition: levels against levels.
func naive(f, l []string) bool {
	switch {
	case len(f) == 0:
		return len(l) == 0
	case f[0] == "#":
		return true
	case len(l) == 0:
		return false
	}
	return (f[0] == "+" || f[0] == l[0]) && naive(f[1:], l[1:])
}

func BenchmarkPublish(b *testing.B) {
	p := Publish{Topic: []byte("sensor/77/temperature/celsius/x"), Payload: make([]byte, 256), QoS: 1, PacketID: 3}
	buf := p.Append(nil, V5)
	b.ReportAllocs()
	for b.Loop() {
		buf = p.Append(buf[:0], V5)
		h, body, _, _, _ := Next(buf, 0)
		if _, err := DecodePublish(h, body, V5, false); err != nil {
			b.Fatal(err)
		}
	}
}
