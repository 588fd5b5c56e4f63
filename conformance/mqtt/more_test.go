package mqtt

import (
	"bytes"
	"fmt"
	"slices"
	"testing"

	"github.com/hermodmq/hermod/listeners/mqtt/wire"
)

// MQTT-16: properties in packets after CONNECT: twice, misplaced, unknown,
// truncated.
func TestMQTT16LaterPackets(t *testing.T) {
	publish := func(props ...byte) []byte {
		body := append([]byte{0, 1, 'a', byte(len(props))}, props...)
		return append([]byte{0x30, byte(len(body))}, body...)
	}
	for name, tt := range map[string]struct {
		packet []byte
		want   wire.Reason
	}{
		"content type twice":          {publish(3, 0, 1, 'x', 3, 0, 1, 'y'), wire.ProtocolError},
		"session expiry in PUBLISH":   {publish(0x11, 0, 0, 0, 1), wire.ProtocolError},
		"unknown property":            {publish(0x7e, 0), wire.MalformedPacket},
		"property cut off":            {publish(2, 0, 0), wire.MalformedPacket},
		"payload format 2":            {publish(1, 2), wire.ProtocolError},
		"text that is not UTF-8":      {publish(3, 0, 1, 0xff), wire.MalformedPacket},
		"block longer than packet":    {[]byte{0x30, 4, 0, 1, 'a', 9}, wire.MalformedPacket},
		"length of five bytes":        {[]byte{0x30, 9, 0, 1, 'a', 0xff, 0xff, 0xff, 0xff, 1, 0}, wire.MalformedPacket},
		"will delay in SUBSCRIBE":     {[]byte{0x82, 12, 0, 1, 5, 0x18, 0, 0, 0, 1, 0, 1, 'a', 0}, wire.ProtocolError},
		"property in UNSUBSCRIBE":     {[]byte{0xa2, 8, 0, 1, 2, 0x0b, 1, 0, 1, 'a'}, wire.ProtocolError},
		"reason of PUBACK unknown":    {[]byte{0x40, 3, 0, 1, 0x42}, wire.MalformedPacket},
		"reason of DISCONNECT":        {[]byte{0xe0, 1, 0x42}, wire.MalformedPacket},
		"session expiry in PUBACK":    {[]byte{0x40, 9, 0, 1, 0, 5, 0x11, 0, 0, 0, 1}, wire.ProtocolError},
		"SUBSCRIBE with identifier 0": {[]byte{0x82, 7, 0, 0, 0, 0, 1, 'a', 0}, wire.ProtocolError},
		"filter that is not UTF-8":    {[]byte{0x82, 7, 0, 1, 0, 0, 1, 0xff, 0}, wire.MalformedPacket},
	} {
		t.Run(name, func(t *testing.T) {
			if n := int(tt.packet[1]); n != len(tt.packet)-2 {
				tt.packet[1] = byte(len(tt.packet) - 2)
			}
			r := dial(t, wire.V5, unique("c"))
			r.send(tt.packet)
			r.dropped(tt.want)
		})
	}
}

// MQTT-18: 0xFFFFFFFF never expires; without a bound nothing is changed.
func TestMQTT18Never(t *testing.T) {
	b := startOwn(t, "mqtt.session_expiry_max=0")
	r := dialTo(t, b, wire.V5, "s", keep, expiry(1<<32-1))
	if v, ok := r.ack.Props.Find(wire.SessionExpiry); ok {
		t.Errorf("session expiry %d echoed although it is the one asked for", v.Number)
	}
	r.subAndBye("t", 1)
	must(t, b.Stop(wait))
	must(t, b.Restart())
	if !dialTo(t, b, wire.V5, "s", keep, expiry(1<<32-1)).ack.SessionPresent {
		t.Error("a session that never expires is gone after a restart")
	}
}

// MQTT-20, MQTT-63: expiry and will delay go on counting across a kill.
func TestMQTT20ExpiryAcrossRestart(t *testing.T) {
	b := startOwn(t)
	delayed := func(seconds uint32, text string) func(*wire.Connect) {
		return withWill(wire.Will{Topic: "will", Payload: []byte(text), QoS: 1, Props: wire.Properties(nil).AppendNumber(wire.WillDelay, seconds)})
	}
	dialTo(t, b, wire.V5, "watch", keep, expiry(1000)).subAndBye("will", 1)
	s := dialTo(t, b, wire.V5, "short", keep, expiry(2), delayed(1000, "with the session"))
	s.sub("t", 1)
	s.cut()
	dialTo(t, b, wire.V5, "long", keep, expiry(1000), delayed(2, "after its delay")).cut()
	b.Kill()
	must(t, b.Restart())
	watch := dialTo(t, b, wire.V5, "watch", keep, expiry(1000))
	got := []string{string(watch.recv().Payload), string(watch.recv().Payload)}
	slices.Sort(got)
	if !slices.Equal(got, []string{"after its delay", "with the session"}) {
		t.Errorf("wills %q", got)
	}
	eventually(t, "the queue goes", func() bool { return !slices.Contains(queues(t, b), "mqtt-subscription-shortqos1") })
	if dialTo(t, b, wire.V5, "short", keep).ack.SessionPresent {
		t.Error("the session is there after its expiry")
	}
}

// MQTT-33: what was sent before its expiry is sent again after it; a will has an
// expiry, too.
func TestMQTT33SentBeforeExpiry(t *testing.T) {
	topic, id := unique("t"), unique("s")
	soon := wire.Properties(nil).AppendNumber(wire.MessageExpiry, 1)
	r := dial(t, wire.V5, id, lasting(wire.V5)...)
	r.sub(topic, 1)
	p := dial(t, wire.V5, unique("p"))
	p.publish(topic, "sent", 1, props(soon))
	sent := r.take()
	r.cut()
	p.publish(topic, "waits", 1, props(soon))
	other := dial(t, wire.V5, unique("o"), keep, expiry(1000))
	other.sub(topic+"/x", 1)
	p.publish(topic+"/x", "short", 1, props(soon))
	first := other.take()
	if first.Props.Number(wire.MessageExpiry, 0) != 1 {
		t.Errorf("message expiry % x", first.Props)
	}
	eventually(t, "the retained message expires", func() bool { // a clock: the broker's own
		probe := unique("probe")
		p.publish(probe, "x", 1, retained, props(soon))
		for {
			r := dial(t, wire.V5, unique("r"))
			r.sub(probe, 0)
			if _, _, err := r.read(quietTime); err != nil {
				return true
			}
			_ = r.c.Close()
		}
	})
	r = dial(t, wire.V5, id, lasting(wire.V5)...)
	again := r.take()
	if string(again.Payload) != "sent" || again.PacketID != sent.PacketID || !again.Dup {
		t.Errorf("got %q, identifier %d, DUP %v, want the message in flight", again.Payload, again.PacketID, again.Dup)
	}
	r.answer(wire.PUBACK, again.PacketID)
	r.silent() // "waits" has expired
}

// MQTT-42: the receive maximum counts QoS 1 and 2 together, PUBREC with a
// failure gives back, QoS 0 is never held up.
func TestMQTT42Mixed(t *testing.T) {
	topic := unique("t")
	r := dial(t, wire.V5, unique("s"), number(wire.ReceiveMaximum, 2))
	r.sub(topic+"/+", 2)
	p := dial(t, wire.V5, unique("p"))
	p.publish(topic+"/1", "one", 1)
	p.publish(topic+"/2", "two", 2)
	p.publish(topic+"/2", "three", 2)
	one, two := r.take(), r.take()
	r.silent()
	zero := dial(t, wire.V5, unique("z"), number(wire.ReceiveMaximum, 1))
	zero.sub(topic+"/0", 0)
	zero.sub(topic+"/1", 1)
	p.publish(topic+"/1", "held", 1)
	held := zero.take()
	p.publish(topic+"/0", "free", 0)
	if m := zero.take(); string(m.Payload) != "free" {
		t.Errorf("got %q while the quota is used up", m.Payload)
	}
	zero.answer(wire.PUBACK, held.PacketID)
	failed := wire.Ack{Type: wire.PUBREC, PacketID: two.PacketID, Reason: wire.UnspecifiedError}
	if one.QoS == 2 {
		failed.PacketID = one.PacketID
	}
	r.send(failed.Append(nil, r.v))
	if m := r.take(); string(m.Payload) != "three" && string(m.Payload) != "held" {
		t.Errorf("got %q after a slot was given back", m.Payload)
	}
}

// MQTT-44: at QoS 2, retained and as a will, what is too large is as if sent.
func TestMQTT44TooLargeEverywhere(t *testing.T) {
	topic := unique("t")
	big := string(bytes.Repeat([]byte("x"), 300))
	p := dial(t, wire.V5, unique("p"))
	p.publish(topic+"/r", big, 1, retained)
	r := dial(t, wire.V5, unique("s"), number(wire.MaximumPacketSize, 150), number(wire.ReceiveMaximum, 1))
	r.sub(topic+"/#", 2)
	for qos := range byte(3) {
		p.publish(topic+"/m", big, qos)
		p.publish(topic+"/m", "fits", qos)
		r.want("fits")
	}
	r.silent()
	p.publish(topic+"/r", "", 1, retained)
}

// MQTT-47, MQTT-48: aliases end with the connection and never reach the store.
func TestMQTT47AliasesEnd(t *testing.T) {
	topic, id := unique("t"), unique("p")
	alias := props(wire.Properties(nil).AppendNumber(wire.TopicAlias, 1))
	dial(t, wire.V5, unique("s"), keep, expiry(1000)).sub(topic, 1)
	sub := unique("sub")
	dial(t, wire.V5, sub, append(lasting(wire.V5), number(wire.TopicAliasMaximum, 5))...).subAndBye(topic, 1)
	p := dial(t, wire.V5, id, lasting(wire.V5)...)
	p.publish(topic, "one", 1, alias)
	p.publish("", "two", 1, alias)
	p.cut()
	r := dial(t, wire.V5, sub, append(lasting(wire.V5), number(wire.TopicAliasMaximum, 5))...)
	got := r.want("one", "two")
	if string(got[0].Topic) != topic || len(got[1].Topic) != 0 || got[1].Props.Number(wire.TopicAlias, 0) != got[0].Props.Number(wire.TopicAlias, 0) {
		t.Errorf("%q % x, %q % x", got[0].Topic, got[0].Props, got[1].Topic, got[1].Props)
	}
	p = dial(t, wire.V5, id, lasting(wire.V5)...)
	m := wire.Publish{Props: wire.Properties(nil).AppendNumber(wire.TopicAlias, 1)}
	p.send(m.Append(nil, p.v))
	p.dropped(wire.ProtocolError)
}

// MQTT-60: PUBACK with a failure discards; a member that leaves gives back what
// it has not acknowledged; QoS 2 in flight stays with its session.
func TestMQTT60Unacknowledged(t *testing.T) {
	root := unique("sh")
	filter := "$share/g/" + root
	a := dial(t, wire.V5, unique("a"))
	a.sub(filter, 2)
	p := dial(t, wire.V5, unique("p"))
	p.publish(root, "refused", 1)
	m := a.take()
	b := dial(t, wire.V5, unique("b"))
	b.sub(filter, 2)
	refused := wire.Ack{Type: wire.PUBACK, PacketID: m.PacketID, Reason: wire.UnspecifiedError}
	a.send(refused.Append(nil, a.v))
	a.ping()
	b.silent() // [MQTT-4.8.2-6]
	for i := range 4 {
		p.publish(root, fmt.Sprint(i), 1)
	}
	var held []string
	for range 2 {
		held = append(held, string(a.take().Payload))
	}
	for range 2 {
		b.recv()
	}
	a.bye()
	b.want(held...)
	b.silent()
}

// MQTT-65: a codec's reason on DISCONNECT comes with a reason string, also for
// clients that want no problem information [MQTT-3.1.2-29].
func TestMQTT65ReasonString(t *testing.T) {
	r := dial(t, wire.V5, unique("c"), number(wire.RequestProblemInfo, 0))
	r.send([]byte{0x36, 6, 0, 1, 'a', 0, 1, 0})
	_, body := r.expect(wire.DISCONNECT)
	d, err := wire.DecodeDisconnect(body, r.v)
	must(t, err)
	if d.Reason != wire.MalformedPacket || d.Props.Text(wire.ReasonString) == "" {
		t.Errorf("DISCONNECT 0x%02X %q", byte(d.Reason), d.Props.Text(wire.ReasonString))
	}
	r.closed()
}

// MQTT-61: a sticky share serves one member until it goes, then another.
func TestMQTT61Sticky(t *testing.T) {
	b := startOwn(t, "mqtt.shared_strategy=sticky")
	members := []*raw{dialTo(t, b, wire.V5, "m0"), dialTo(t, b, wire.V5, "m1"), dialTo(t, b, wire.V5, "m2")}
	for _, m := range members {
		m.sub("$share/g/t", 1)
	}
	p := dialTo(t, b, wire.V5, "p")
	for i, m := range members {
		for n := range 5 {
			p.publish("t", fmt.Sprint(i, "-", n), 1)
			m.want(fmt.Sprint(i, "-", n))
		}
		for _, other := range members[i+1:] {
			other.silent()
		}
		m.bye()
	}
}
