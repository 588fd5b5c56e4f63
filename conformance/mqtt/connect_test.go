package mqtt

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/hermodmq/hermod/listeners/mqtt/wire"
)

func TestMQTT1Versions(t *testing.T) {
	each(t, all, func(t *testing.T, v wire.Version) {
		r := dial(t, v, unique("c"))
		r.ping()
		r.bye()
	})
}

func TestMQTT2UnknownProtocol(t *testing.T) {
	r := rawTo(t, shared, wire.V311)
	r.send([]byte("\x10\x0e\x00\x04HTTP\x04\x02\x00\x00\x00\x02id"))
	r.closed()
	r = rawTo(t, shared, wire.V5)
	r.send([]byte("\x10\x0f\x00\x04MQTT\x06\x02\x00\x00\x00\x00\x02id"))
	if _, body := r.expect(wire.CONNACK); body[1] != 0x84 {
		t.Errorf("CONNACK % x, want 0x84", body)
	}
	r.closed()
	r = rawTo(t, shared, wire.V311)
	r.send([]byte("\x10\x0e\x00\x04MQTT\x02\x02\x00\x00\x00\x02id"))
	if _, body := r.expect(wire.CONNACK); body[1] != 1 {
		t.Errorf("CONNACK % x, want 0x01", body)
	}
	r.closed()
	r = rawTo(t, shared, wire.V5)
	r.send([]byte("\x10\x0f\x00\x04MQTT\x05\x03\x00\x00\x00\x00\x02id"))
	if _, body := r.expect(wire.CONNACK); body[1] != 0x81 {
		t.Errorf("CONNACK % x, want 0x81 for the reserved flag", body)
	}
	r.closed()
}

func TestMQTT3FirstPacket(t *testing.T) {
	r := rawTo(t, shared, wire.V5)
	r.send(wire.AppendPingreq(nil))
	r.closed()

	topic := unique("will")
	watch := dial(t, wire.V5, unique("w"))
	watch.sub(topic, 0)
	r = dial(t, wire.V5, unique("c"), withWill(wire.Will{Topic: topic, Payload: []byte("gone")}))
	p := wire.Connect{Version: wire.V5, ClientID: "x"}
	r.send(p.Append(nil))
	r.dropped(wire.ProtocolError)
	watch.want("gone")
}

func TestMQTT4UnauthenticatedSize(t *testing.T) {
	r := rawTo(t, shared, wire.V5)
	r.send([]byte{0x10, 0xff, 0xff, 0xff, 0x7f, 0, 4})
	r.closed()
}

func TestMQTT5EmptyClientID(t *testing.T) {
	if a := rawTo(t, shared, wire.V31).hello(""); a.Reason != wire.V3IDRejected {
		t.Errorf("3.1: CONNACK %d", a.Reason)
	}
	if a := rawTo(t, shared, wire.V311).hello("", keep); a.Reason != wire.V3IDRejected {
		t.Errorf("3.1.1 without clean session: CONNACK %d", a.Reason)
	}
	dial(t, wire.V311, "").ping()
	if id := dial(t, wire.V5, "").ack.Props.Text(wire.AssignedClientID); id == "" {
		t.Error("5.0: no identifier assigned")
	}
	if v, ok := dial(t, wire.V5, unique("own")).ack.Props.Find(wire.AssignedClientID); ok {
		t.Errorf("5.0: identifier %q assigned to a client that has one", v.Data)
	}
}

func TestMQTT6LongClientID(t *testing.T) {
	r := dial(t, wire.V311, unique(strings.Repeat("x", 60_000)))
	topic := unique("t")
	r.sub(topic, 1)
	r.publish(topic, "m", 0)
	r.want("m")
	r = rawTo(t, shared, wire.V5)
	if a := r.hello("\xff\xfe"); a.Reason != wire.ClientIDNotValid {
		t.Errorf("CONNACK 0x%02X for an identifier that is not UTF-8", byte(a.Reason))
	}
}

func TestMQTT7Credentials(t *testing.T) {
	r := rawTo(t, shared, wire.V311)
	r.send([]byte("\x10\x10\x00\x04MQTT\x04\x42\x00\x00\x00\x01a\x00\x01p"))
	r.closed()
	dial(t, wire.V311, unique("u"), login("guest", "guest")).ping()
	topic := unique("t")
	watch := dial(t, wire.V5, unique("w"))
	watch.sub(topic, 1)
	dial(t, wire.V5, unique("e"), withWill(wire.Will{Topic: topic, QoS: 1})).cut()
	watch.want("")
}

func TestMQTT8WillFlags(t *testing.T) {
	for _, flags := range []byte{0x1e, 0x0a, 0x22} { // QoS 3; QoS without will; retain without will
		r := rawTo(t, shared, wire.V5)
		r.send(append([]byte("\x10\x0f\x00\x04MQTT\x05"), flags, 0, 0, 0, 0, 2, 'i', 'd'))
		if _, body := r.expect(wire.CONNACK); body[1] != 0x81 {
			t.Errorf("flags %02x: CONNACK % x", flags, body)
		}
		r.closed()
	}
}

func TestMQTT9BadLogin(t *testing.T) {
	if a := rawTo(t, shared, wire.V311).hello("a", login("guest", "wrong")); a.Reason != wire.V3BadCredentials {
		t.Errorf("3.1.1: CONNACK %d, want 4", a.Reason)
	}
	if a := rawTo(t, shared, wire.V5).hello("a", login("nobody", "x")); a.Reason != wire.BadUserNameOrPassword {
		t.Errorf("5.0: CONNACK 0x%02X, want 0x86", byte(a.Reason))
	}
	if a := rawTo(t, shared, wire.V5).hello("a", login("novhost:guest", "guest")); a.Reason != wire.NotAuthorized {
		t.Errorf("vhost that does not exist: CONNACK 0x%02X, want 0x87", byte(a.Reason))
	}
	if a := rawTo(t, shared, wire.V311).hello("a", login("novhost:guest", "guest")); a.Reason != wire.V3NotAuthorized {
		t.Errorf("vhost that does not exist: CONNACK %d, want 5", a.Reason)
	}
}

func TestMQTT10SessionPresent(t *testing.T) {
	each(t, two, func(t *testing.T, v wire.Version) {
		id := unique("s")
		options := []func(*wire.Connect){keep}
		if v == wire.V5 {
			options = append(options, expiry(1000))
		}
		steps := []struct {
			clean bool
			want  bool
		}{{false, false}, {false, true}, {true, false}, {false, v == wire.V5}}
		for i, s := range steps {
			o := append([]func(*wire.Connect){}, options...)
			if s.clean {
				o = append(o, clean)
			}
			r := dial(t, v, id, o...)
			if r.ack.SessionPresent != s.want {
				t.Errorf("step %d: session present %v", i, r.ack.SessionPresent)
			}
			r.bye()
		}
	})
}

func TestMQTT11Connack(t *testing.T) {
	p := dial(t, wire.V5, unique("c"), expiry(1<<31)).ack.Props
	if got := p.Number(wire.SessionExpiry, 0); got != 100000 {
		t.Errorf("session expiry %d, want the server's bound", got)
	}
	if p.Number(wire.TopicAliasMaximum, 0) == 0 || p.Number(wire.MaximumPacketSize, 0) == 0 || p.Number(wire.MaximumQoS, 2) != 2 {
		t.Errorf("properties % x", p)
	}
	for _, id := range []wire.Property{wire.RetainAvailable, wire.WildcardAvailable, wire.SubIDAvailable, wire.SharedSubAvailable} {
		if p.Number(id, 1) != 1 {
			t.Errorf("property 0x%02X is off", byte(id))
		}
	}
}

func TestMQTT12ServerKeepAlive(t *testing.T) {
	b := startOwn(t, "mqtt.max_keepalive=60")
	if got := dialTo(t, b, wire.V5, "a").ack.Props.Number(wire.ServerKeepAlive, 0); got != 60 {
		t.Errorf("server keep alive %d, want 60", got)
	}
	if v, ok := dialTo(t, b, wire.V5, "b", keepAlive(10)).ack.Props.Find(wire.ServerKeepAlive); ok {
		t.Errorf("server keep alive %d for a client with a shorter one", v.Number)
	}
	dialTo(t, b, wire.V311, "c").ping()
}

func TestMQTT13KeepAlive(t *testing.T) {
	topic := unique("will")
	watch := dial(t, wire.V5, unique("w"))
	watch.sub(topic, 0)
	r := dial(t, wire.V5, unique("k"), keepAlive(1), withWill(wire.Will{Topic: topic, Payload: []byte("gone")}))
	began := time.Now()
	r.dropped(wire.KeepAliveTimeout)
	if d := time.Since(began); d < 1400*time.Millisecond {
		t.Errorf("closed after %v of 1.5 s", d)
	}
	watch.want("gone")
}

func TestMQTT14ProblemInformation(t *testing.T) {
	r := dial(t, wire.V5, unique("c"), number(wire.RequestProblemInfo, 0))
	p := wire.Publish{Topic: []byte(unique("nobody")), QoS: 1, PacketID: 1}
	r.send(p.Append(nil, r.v))
	if a := r.ackOf(wire.PUBACK, 1); len(a.Props) != 0 {
		t.Errorf("PUBACK with properties % x", a.Props)
	}
}

func TestMQTT16Properties(t *testing.T) {
	connect := func(props []byte) []byte {
		body := append([]byte("\x00\x04MQTT\x05\x02\x00\x00"), byte(len(props)))
		body = append(append(body, props...), 0, 1, 'a')
		return append([]byte{0x10, byte(len(body))}, body...)
	}
	for _, tt := range []struct {
		name  string
		props []byte
		want  byte
	}{
		{"twice", []byte{0x21, 0, 1, 0x21, 0, 1}, 0x82},
		{"not in CONNECT", []byte{0x23, 0, 1}, 0x82},
		{"unknown", []byte{0x7f, 0}, 0x81},
		{"truncated", []byte{0x21, 0}, 0x81},
		{"receive maximum 0", []byte{0x21, 0, 0}, 0x82},
		{"maximum packet size 0", []byte{0x27, 0, 0, 0, 0}, 0x82},
		{"flag 2", []byte{0x17, 2}, 0x82},
	} {
		r := rawTo(t, shared, wire.V5)
		r.send(connect(tt.props))
		if _, body := r.expect(wire.CONNACK); body[1] != tt.want {
			t.Errorf("%s: CONNACK % x, want %02x", tt.name, body, tt.want)
		}
		r.closed()
	}
}

func TestMQTT67ServerPackets(t *testing.T) {
	for _, b := range [][]byte{{0x20, 3, 0, 0, 0}, {0x90, 4, 0, 1, 0, 0}, {0xb0, 4, 0, 1, 0, 0}, {0xd0, 0}} {
		r := dial(t, wire.V5, unique("c"))
		r.send(b)
		r.dropped(wire.ProtocolError)
	}
}

func TestMQTT68FixedHeader(t *testing.T) {
	for name, b := range map[string][]byte{
		"PINGREQ flags":      {0xc1, 0},
		"PINGREQ content":    {0xc0, 1, 0},
		"SUBSCRIBE flags":    {0x80, 6, 0, 1, 0, 0, 1, 'a'},
		"PUBREL flags":       {0x60, 2, 0, 1},
		"trailing bytes":     {0x40, 5, 0, 1, 0, 0, 0},
		"remaining length":   {0x30, 0xff, 0xff, 0xff, 0xff, 1},
		"type 0":             {0x00, 0},
		"PUBLISH QoS 3":      {0x36, 6, 0, 1, 'a', 0, 1, 0},
		"PUBLISH QoS 0, DUP": {0x38, 4, 0, 1, 'a', 0},
	} {
		t.Run(name, func(t *testing.T) {
			r := dial(t, wire.V5, unique("c"))
			r.send(b)
			r.dropped(wire.MalformedPacket)
		})
	}
}

func TestMQTT77Fragments(t *testing.T) {
	topic := unique("t")
	r := dial(t, wire.V5, unique("c"))
	r.sub(topic, 0)
	p := wire.Publish{Topic: []byte(topic), Payload: []byte("split")}
	for _, b := range p.Append(nil, r.v) {
		r.send([]byte{b})
	}
	r.want("split")
	var many []byte
	for range 1000 {
		many = p.Append(many, r.v)
	}
	r.send(many)
	for range 1000 {
		r.want("split")
	}
}

func TestMQTT78LargePayload(t *testing.T) {
	topic := unique("t")
	r := dial(t, wire.V5, unique("c"))
	r.sub(topic, 1)
	big := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	for _, payload := range []string{string(big), ""} {
		p := wire.Publish{Topic: []byte(topic), Payload: []byte(payload), QoS: 1, PacketID: r.pid()}
		r.send(p.Append(nil, r.v))
		for acked, got := false, false; !acked || !got; {
			h, body, err := r.read(wait)
			must(t, err)
			switch h.Type {
			case wire.PUBACK:
				acked = true
			case wire.PUBLISH:
				m, err := wire.DecodePublish(h, body, r.v, true)
				must(t, err)
				got = string(m.Payload) == payload
				r.answer(wire.PUBACK, m.PacketID)
			}
		}
	}
}

func TestMQTT44TooLarge(t *testing.T) {
	b := startOwn(t, "mqtt.max_packet_size=4KiB")
	r := dialTo(t, b, wire.V5, "big")
	if got := r.ack.Props.Number(wire.MaximumPacketSize, 0); got != 4096 {
		t.Errorf("advertises %d", got)
	}
	r.send([]byte{0x30, 0x81, 0x20}) // 4097 bytes announced
	r.dropped(wire.PacketTooLarge)

	topic := unique("t")
	small := dial(t, wire.V5, unique("small"), number(wire.MaximumPacketSize, 100))
	small.sub(topic, 1)
	p := dial(t, wire.V5, unique("p"))
	p.publish(topic, strings.Repeat("x", 200), 1)
	p.publish(topic, "fits", 1)
	small.want("fits")
}
