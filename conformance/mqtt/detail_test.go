package mqtt

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/hermodmq/hermod/listeners/mqtt/wire"
)

// MQTT-10: a refused CONNECT says that no session is present, also where there
// is one, and leaves it alone.
func TestMQTT10Refused(t *testing.T) {
	each(t, two, func(t *testing.T, v wire.Version) {
		id := unique("s")
		dial(t, v, id, lasting(v)...).subAndBye(unique("t"), 1)
		a := rawTo(t, shared, v).hello(id, append(lasting(v), login("guest", "wrong"))...)
		if a.Reason == 0 || a.SessionPresent {
			t.Errorf("CONNACK 0x%02X, session present %v", byte(a.Reason), a.SessionPresent)
		}
		if !dial(t, v, id, lasting(v)...).ack.SessionPresent {
			t.Error("the session is gone after a refused CONNECT")
		}
	})
}

// MQTT-13: any packet counts as a sign of life, and silence ends connections of
// MQTT 3, too, which hear no reason.
func TestMQTT13AnyPacket(t *testing.T) {
	each(t, all, func(t *testing.T, v wire.Version) {
		t.Parallel()
		r := dial(t, v, unique("k"), keepAlive(1))
		began := time.Now()
		for time.Since(began) < 3*time.Second { // twice the patience
			if _, _, err := r.read(500 * time.Millisecond); !timedOut(err) {
				t.Fatalf("after %v: %v", time.Since(began), err)
			}
			r.publish("nobody/listens", "x", 0)
		}
		r.ping()
		began = time.Now()
		r.dropped(wire.KeepAliveTimeout)
		if d := time.Since(began); d < 1300*time.Millisecond || d > 5*time.Second {
			t.Errorf("closed after %v of 1.5 s", d)
		}
	})
}

// MQTT-31: whoever speaks MQTT 3 gets live messages without RETAIN, whatever
// the publisher said.
func TestMQTT31Version3(t *testing.T) {
	each(t, []wire.Version{wire.V31, wire.V311}, func(t *testing.T, v wire.Version) {
		topic := unique("r")
		r := dial(t, v, unique("s"))
		r.sub(topic, 1)
		p := dial(t, wire.V5, unique("p"))
		p.publish(topic, "live", 1, retained)
		if r.want("live")[0].Retain {
			t.Error("a live message came with RETAIN")
		}
		p.publish(topic, "", 1, retained)
	})
}

// MQTT-36: what an MQTT 3 client may not publish can be acknowledged and dropped.
func TestMQTT36KeepRefused(t *testing.T) {
	b := startOwn(t, "mqtt.keep_refused=true")
	for _, args := range [][]string{{"add_user", "meek", "pw"}, {"set_permissions", "-p", "/", "meek", ".*", "^mqtt-", ".*"}} {
		_, err := b.CTL(args...)
		must(t, err)
	}
	watch := dialTo(t, b, wire.V5, "watch")
	watch.sub("#", 1)
	r := dialTo(t, b, wire.V311, "three", login("meek", "pw"))
	r.publish("t", "m", 1)
	r.publish("t", "m", 2)
	r.publish("t", "m", 0)
	r.ping()
	watch.silent()
}

// MQTT-40: MQTT 3 has no reasons: PUBCOMP for an identifier nobody knows is a
// plain one.
func TestMQTT40Version3(t *testing.T) {
	r := dial(t, wire.V311, unique("c"))
	r.answer(wire.PUBREL, 77)
	if a := r.ackOf(wire.PUBCOMP, 77); a.Reason != 0 {
		t.Errorf("PUBCOMP 0x%02X", byte(a.Reason))
	}
	r.answer(wire.PUBREC, 78)
	r.ackOf(wire.PUBREL, 78)
	r.answer(wire.PUBCOMP, 79)
	r.ping()
}

// MQTT-46: a subscriber of QoS 0 that does not read loses the oldest messages
// beyond its buffer, gets the newest when it reads again, and holds up nobody.
func TestMQTT46SlowQoS0(t *testing.T) {
	b := startOwn(t, "mqtt.qos0_buffer=10")
	slow, quick := dialTo(t, b, wire.V5, "slow"), dialTo(t, b, wire.V5, "quick")
	slow.sub("t", 0)
	quick.sub("done", 1)
	p := dialTo(t, b, wire.V5, "p")
	const total = 400
	body := strings.Repeat("x", 128<<10) // together more than sockets and buffers take
	for i := range total {
		p.publish("t", fmt.Sprintf("%04d%s", i, body), 0)
	}
	p.publish("done", "all", 1)
	quick.want("all")
	last, got := -1, 0
	for last < total-1 {
		var n int
		_, err := fmt.Sscanf(string(slow.take().Payload[:4]), "%04d", &n)
		must(t, err)
		if n <= last {
			t.Fatalf("message %d after %d", n, last)
		}
		last = n
		got++
	}
	if got == total {
		t.Error("nothing was dropped")
	}
	slow.silent()
}

// MQTT-48: without a topic alias maximum there are no aliases.
func TestMQTT48Never(t *testing.T) {
	for _, options := range [][]func(*wire.Connect){nil, {number(wire.TopicAliasMaximum, 0)}} {
		topic := unique("t")
		r := dial(t, wire.V5, unique("s"), options...)
		r.sub(topic, 1)
		p := dial(t, wire.V5, unique("p"))
		for range 3 {
			p.publish(topic, "m", 1)
			m := r.want("m")[0]
			if _, ok := m.Props.Find(wire.TopicAlias); ok || string(m.Topic) != topic {
				t.Errorf("topic %q, properties % x", m.Topic, m.Props)
			}
		}
	}
}

// MQTT-58: shared wildcards do not match topics that begin with $ either.
func TestMQTT58Shared(t *testing.T) {
	root := unique("m")
	r := dial(t, wire.V5, unique("s"))
	r.sub("$share/"+unique("g")+"/#", 1)
	r.sub("$share/"+unique("g")+"/+/"+root, 1)
	p := dial(t, wire.V5, unique("p"))
	p.publish("$x/"+root, "hidden", 1)
	p.publish("x/"+root, "seen", 1)
	r.want("seen", "seen")
	r.silent()
}

// MQTT-64: a will is checked again when it is published.
func TestMQTT64RightsLost(t *testing.T) {
	b := startOwn(t)
	rights := func(pattern string) {
		t.Helper()
		_, err := b.CTL("set_topic_permissions", "-p", "/", "meek", "amq.topic", pattern, ".*")
		must(t, err)
	}
	for _, args := range [][]string{{"add_user", "meek", "pw"}, {"set_permissions", "-p", "/", "meek", ".*", ".*", ".*"}} {
		_, err := b.CTL(args...)
		must(t, err)
	}
	watch := dialTo(t, b, wire.V5, "watch")
	watch.sub("will/#", 1)
	will := func(topic string) func(*wire.Connect) {
		return withWill(wire.Will{Topic: topic, Payload: []byte(topic), QoS: 1})
	}
	rights(`^will\.`)
	kept := dialTo(t, b, wire.V5, "kept", login("meek", "pw"), will("will/kept"))
	lost := dialTo(t, b, wire.V5, "lost", login("meek", "pw"), will("will/lost"))
	rights(`^will\.kept`)
	lost.cut()
	watch.silent()
	kept.cut()
	watch.want("will/kept")
	watch.silent()
}

// MQTT-71: version 2 of the PROXY protocol, and no connection without it.
func TestMQTT71Version2(t *testing.T) {
	b := startOwn(t, "listeners.mqtt.proxy_protocol=true")
	r := rawTo(t, b, wire.V5)
	header := []byte("\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c")
	r.send(append(header, 127, 0, 0, 1, 127, 0, 0, 1, 0x15, 0xb3, 0x07, 0x5b))
	if a := r.hello("proxied"); a.Reason != 0 {
		t.Fatalf("CONNACK 0x%02X", byte(a.Reason))
	}
	r.ping()
	bare := rawTo(t, b, wire.V5)
	p := wire.Connect{Version: wire.V5, CleanStart: true, ClientID: "bare"}
	bare.send(p.Append(nil))
	bare.closed()
}

// MQTT-75: the messages of a session can be dropped without ending it.
func TestMQTT75Purge(t *testing.T) {
	b := startOwn(t)
	dialTo(t, b, wire.V5, "off", lasting(wire.V5)...).subAndBye("t", 1)
	p := dialTo(t, b, wire.V5, "p")
	for i := range 10 {
		p.publish("t", fmt.Sprint(i), 1)
	}
	_, err := b.CTL("purge_queue", "mqtt-subscription-offqos1")
	must(t, err)
	p.publish("t", "fresh", 1)
	r := dialTo(t, b, wire.V5, "off", lasting(wire.V5)...)
	if !r.ack.SessionPresent {
		t.Error("the session is gone")
	}
	r.want("fresh")
	r.silent()
}

// MQTT-79: all 65,535 identifiers in flight: delivery pauses and goes on with
// the first that comes back.
func TestMQTT79AllIdentifiers(t *testing.T) {
	b := startOwn(t, "mqtt.inflight=65535")
	r := dialTo(t, b, wire.V5, "s")
	r.sub("t", 1)
	p := dialTo(t, b, wire.V5, "p")
	const total, most = 65_600, 65_535
	go func() { // acknowledgements are read below
		var many []byte
		for i := range total {
			m := wire.Publish{Topic: []byte("t"), QoS: 1, PacketID: uint16(i%30_000 + 1)}
			many = m.Append(many, p.v)
		}
		_, _ = p.c.Write(many)
	}()
	acked := make(chan error, 1)
	go func() {
		for range total {
			if h, _, err := p.read(wait); err != nil || h.Type != wire.PUBACK {
				acked <- fmt.Errorf("got %s, %v", h.Type, err)
				return
			}
		}
		acked <- nil
	}()
	seen := make(map[uint16]bool, most)
	for range most {
		m := r.take()
		if m.PacketID == 0 || seen[m.PacketID] {
			t.Fatalf("identifier %d twice", m.PacketID)
		}
		seen[m.PacketID] = true
	}
	must(t, <-acked)
	r.silent()
	r.ping()
	for _, id := range []uint16{777, 1, 65535} {
		r.answer(wire.PUBACK, id)
		if m := r.take(); m.PacketID != id {
			t.Errorf("identifier %d, want %d, the only free one", m.PacketID, id)
		}
		r.silent()
	}
}

// MQTT-82: the flags of UNSUBSCRIBE and PUBREL.
func TestMQTT82UnsubscribeAndRelease(t *testing.T) {
	unsubscribe, release := []byte{0xa0, 5, 0, 1, 0, 1, 'a'}, []byte{0x60, 2, 0, 1}
	for _, packet := range [][]byte{unsubscribe, release} {
		r := dial(t, wire.V311, unique("c"))
		r.send(packet)
		r.closed()
	}
	r := dial(t, wire.V31, unique("c"))
	r.send(append([]byte{0xaa}, unsubscribe[1:]...)) // DUP, as 3.1 allows
	r.expect(wire.UNSUBACK)
	r.send(append([]byte{0x6a}, release[1:]...))
	r.expect(wire.PUBCOMP)
}
