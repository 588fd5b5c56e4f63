package mqtt

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/hermodmq/hermod/listeners/mqtt/wire"
)

func TestMQTT28QoS(t *testing.T) {
	each(t, all, func(t *testing.T, v wire.Version) {
		for pub := range byte(3) {
			for sub := range byte(3) {
				topic := unique("t")
				r := dial(t, v, unique("s"))
				r.sub(topic, wire.Options(sub))
				p := dial(t, v, unique("p"))
				p.publish(topic, "m", pub)
				if got := r.want("m")[0]; got.QoS != min(pub, sub) || string(got.Topic) != topic {
					t.Errorf("published at %d, subscribed at %d: got QoS %d on %q", pub, sub, got.QoS, got.Topic)
				}
				r.silent()
			}
		}
	})
	r := dial(t, wire.V5, unique("c"))
	r.send([]byte{0x32, 6, 0, 1, 'a', 0, 0, 0})
	r.dropped(wire.ProtocolError)
}

func TestMQTT29Topics(t *testing.T) {
	send := func(topic string) *raw {
		r := dial(t, wire.V5, unique("c"))
		p := wire.Publish{Topic: []byte(topic)}
		r.send(p.Append(nil, r.v))
		return r
	}
	send("a/+").dropped(wire.TopicNameInvalid)
	send("a/#").dropped(wire.TopicNameInvalid)
	send("a\x00b").dropped(wire.MalformedPacket)
	send("a\xff").dropped(wire.MalformedPacket)
	send("").dropped(wire.ProtocolError)
	for _, topic := range []string{strings.Repeat("x", 65535), "\ufeffbom/" + unique("t"), "/", "//a//", " ", "a.b/c*d"} {
		r := dial(t, wire.V5, unique("c"))
		r.sub(topic[:min(len(topic), 60000)], 0)
		if len(topic) < 60000 {
			r.publish(topic, "m", 0)
			if got := r.want("m")[0]; string(got.Topic) != topic {
				t.Errorf("%q came back as %q", topic, got.Topic)
			}
			continue
		}
		r.publish(topic, "m", 1)
	}
}

func TestMQTT30Retained(t *testing.T) {
	topic := unique("r")
	p := dial(t, wire.V5, unique("p"))
	watch := dial(t, wire.V5, unique("w"))
	watch.sub(topic, 0)
	p.publish(topic, "one", 1, retained)
	p.publish(topic, "two", 0, retained)
	p.publish(topic, "live", 1)
	for _, m := range watch.want("one", "two", "live") {
		if m.Retain {
			t.Errorf("%q came live with RETAIN", m.Payload)
		}
	}
	late := dial(t, wire.V311, unique("l"))
	late.sub(topic, 1)
	if m := late.want("two")[0]; !m.Retain {
		t.Error("retained message without RETAIN")
	}
	p.publish(topic, "", 1, retained)
	watch.want("")
	late = dial(t, wire.V5, unique("l"))
	late.sub(topic, 1)
	late.silent()
}

func TestMQTT31RetainAsPublished(t *testing.T) {
	topic := unique("r")
	r := dial(t, wire.V5, unique("s"))
	r.sub(topic, wire.RetainAsPublished)
	p := dial(t, wire.V311, unique("p"))
	p.publish(topic, "kept", 0, retained)
	p.publish(topic, "plain", 0)
	got := r.want("kept", "plain")
	if !got[0].Retain || got[1].Retain {
		t.Errorf("RETAIN %v and %v", got[0].Retain, got[1].Retain)
	}
}

func TestMQTT32Properties(t *testing.T) {
	list := wire.Properties(nil).AppendUser("b", "1").AppendNumber(wire.PayloadFormat, 1).
		AppendText(wire.ContentType, "text/größe").AppendUser("a", "2").AppendText(wire.ResponseTopic, "re/ply.x").
		AppendText(wire.CorrelationData, "\x00\xff\x01").AppendUser("b", "1").AppendUser("", "")
	topic := unique("t")
	r := dial(t, wire.V5, unique("s"))
	r.sub(topic, 2)
	p := dial(t, wire.V5, unique("p"))
	for qos := range byte(3) {
		p.publish(topic, "m", qos, props(list))
		if got := r.want("m")[0]; !bytes.Equal(got.Props, list) {
			t.Errorf("QoS %d: properties\n% x, want\n% x", qos, got.Props, list)
		}
	}
}

func TestMQTT33Expiry(t *testing.T) {
	topic, id := unique("t"), unique("s")
	dial(t, wire.V5, id, keep, expiry(1000)).subAndBye(topic, 1)
	p := dial(t, wire.V5, unique("p"))
	short := wire.Properties(nil).AppendNumber(wire.MessageExpiry, 1)
	long := wire.Properties(nil).AppendNumber(wire.MessageExpiry, 100)
	p.publish(topic, "short", 1, props(short))
	p.publish(topic, "long", 1, props(long))
	p.publish(topic, "ever", 1, props(wire.Properties(nil).AppendNumber(wire.MessageExpiry, 0)))
	p.publish(topic+"/r", "short", 1, retained, props(short))
	eventually(t, "the retained message expires", func() bool {
		r := dial(t, wire.V5, unique("r"))
		r.sub(topic+"/r", 0)
		_, _, err := r.read(quietTime)
		return err != nil
	})
	r := dial(t, wire.V5, id, keep, expiry(1000))
	got := r.want("long", "ever")
	if left := got[0].Props.Number(wire.MessageExpiry, 0); left == 0 || left >= 100 {
		t.Errorf("message expiry %d of 100 after more than a second", left)
	}
	if _, ok := got[1].Props.Find(wire.MessageExpiry); ok {
		t.Error("a message without expiry got one")
	}
}

func (r *raw) subAndBye(filter string, o wire.Options) {
	r.t.Helper()
	r.sub(filter, o)
	r.bye()
}

func TestMQTT34ForbiddenProperties(t *testing.T) {
	for _, list := range []wire.Properties{
		wire.Properties(nil).AppendText(wire.ResponseTopic, "a/+"),
		wire.Properties(nil).AppendNumber(wire.SubscriptionID, 7),
	} {
		r := dial(t, wire.V5, unique("c"))
		p := wire.Publish{Topic: []byte("a"), Props: list}
		r.send(p.Append(nil, r.v))
		r.dropped(wire.ProtocolError)
	}
}

func TestMQTT35NoSubscribers(t *testing.T) {
	p := dial(t, wire.V5, unique("p"))
	for qos := byte(1); qos < 3; qos++ {
		if got := p.publish(unique("nobody"), "m", qos); got != wire.NoMatchingSubscribers {
			t.Errorf("QoS %d: reason 0x%02X, want 0x10", qos, byte(got))
		}
	}
	if got := p.publish("$SYS/x", "m", 1); got != wire.NotAuthorized {
		t.Errorf("publish to $SYS: 0x%02X", byte(got))
	}
}

func TestMQTT36Unauthorised(t *testing.T) {
	b := startOwn(t)
	for _, args := range [][]string{{"add_user", "meek", "pw"}, {"set_permissions", "-p", "/", "meek", ".*", "^mqtt-", ".*"}} {
		_, err := b.CTL(args...)
		must(t, err)
	}
	r := dialTo(t, b, wire.V5, "five", login("meek", "pw"))
	if got := r.publish("t", "m", 1); got != wire.NotAuthorized {
		t.Errorf("PUBACK 0x%02X, want 0x87", byte(got))
	}
	r.ping()
	r = dialTo(t, b, wire.V311, "three", login("meek", "pw"))
	p := wire.Publish{Topic: []byte("t"), QoS: 1, PacketID: 1}
	r.send(p.Append(nil, r.v))
	r.closed()
}

func TestMQTT37Order(t *testing.T) {
	topic, id := unique("t"), unique("s")
	dial(t, wire.V5, id, keep, expiry(1000)).subAndBye(topic, 2)
	p := dial(t, wire.V5, unique("p"))
	var want []string
	for i := range 300 {
		want = append(want, fmt.Sprint(i))
		p.publish(topic, want[i], 2)
	}
	r := dial(t, wire.V5, id, keep, expiry(1000), number(wire.ReceiveMaximum, 7))
	for _, m := range r.want(want...) {
		if m.Dup {
			t.Fatalf("%s came with DUP at its first sending", m.Payload)
		}
	}
}

func TestMQTT38IdentifierSpaces(t *testing.T) {
	topic := unique("t")
	r := dial(t, wire.V5, unique("c"))
	r.sub(topic, 1)
	r.pids = 0
	p := wire.Publish{Topic: []byte(topic), Payload: []byte("a"), QoS: 1, PacketID: 1}
	r.send(p.Append(nil, r.v))
	var got wire.Publish
	for seen := 0; seen < 2; seen++ {
		h, body, err := r.read(wait)
		must(t, err)
		if h.Type == wire.PUBLISH {
			got, err = wire.DecodePublish(h, body, r.v, true)
			must(t, err)
		}
	}
	p.Topic, p.PacketID = []byte(unique("other")), got.PacketID
	r.send(p.Append(nil, r.v))
	r.ackOf(wire.PUBACK, got.PacketID)
	r.answer(wire.PUBACK, got.PacketID)
	r.ping()
}

func TestMQTT39DuplicateQoS2(t *testing.T) {
	each(t, two, func(t *testing.T, v wire.Version) {
		topic, id := unique("t"), unique("p")
		watch := dial(t, wire.V5, unique("w"))
		watch.sub(topic, 2)
		options := []func(*wire.Connect){keep}
		if v == wire.V5 {
			options = append(options, expiry(1000))
		}
		r := dial(t, v, id, options...)
		p := wire.Publish{Topic: []byte(topic), Payload: []byte("once"), QoS: 2, PacketID: 9}
		for range 3 {
			r.send(p.Append(nil, v))
			if a := r.ackOf(wire.PUBREC, 9); a.Reason.Failed() {
				t.Fatalf("PUBREC 0x%02X", byte(a.Reason))
			}
			p.Dup = true
		}
		r.cut()
		r = dial(t, v, id, options...)
		r.send(p.Append(nil, v))
		r.ackOf(wire.PUBREC, 9)
		r.answer(wire.PUBREL, 9)
		r.ackOf(wire.PUBCOMP, 9)
		p.Dup, p.Payload = false, []byte("next")
		r.send(p.Append(nil, v))
		r.ackOf(wire.PUBREC, 9)
		watch.want("once", "next")
		watch.silent()
	})
}

func TestMQTT40UnknownIdentifiers(t *testing.T) {
	r := dial(t, wire.V5, unique("c"))
	r.answer(wire.PUBREL, 77)
	if a := r.ackOf(wire.PUBCOMP, 77); a.Reason != wire.PacketIDNotFound {
		t.Errorf("PUBCOMP 0x%02X", byte(a.Reason))
	}
	r.answer(wire.PUBREC, 78)
	if a := r.ackOf(wire.PUBREL, 78); a.Reason != wire.PacketIDNotFound {
		t.Errorf("PUBREL 0x%02X", byte(a.Reason))
	}
	r.answer(wire.PUBACK, 79)
	r.ping()

	topic := unique("t")
	r.sub(topic, 2)
	dial(t, wire.V5, unique("p")).publish(topic, "refused", 2)
	m := r.take()
	a := wire.Ack{Type: wire.PUBREC, PacketID: m.PacketID, Reason: wire.QuotaExceeded}
	r.send(a.Append(nil, r.v))
	r.silent()
}

func TestMQTT41ReleaseAfterReceived(t *testing.T) {
	topic, id := unique("t"), unique("s")
	options := []func(*wire.Connect){keep, expiry(1000)}
	r := dial(t, wire.V5, id, options...)
	r.sub(topic, 2)
	dial(t, wire.V5, unique("p")).publish(topic, "m", 2)
	m := r.take()
	r.answer(wire.PUBREC, m.PacketID)
	r.ackOf(wire.PUBREL, m.PacketID)
	r.cut()
	r = dial(t, wire.V5, id, options...)
	r.ackOf(wire.PUBREL, m.PacketID)
	r.answer(wire.PUBCOMP, m.PacketID)
	r.silent()
}

func TestMQTT42ClientReceiveMaximum(t *testing.T) {
	topic := unique("t")
	r := dial(t, wire.V5, unique("s"), number(wire.ReceiveMaximum, 3))
	r.sub(topic, 1)
	r.sub(topic+"/zero", 0)
	p := dial(t, wire.V5, unique("p"))
	for i := range 10 {
		p.publish(topic, fmt.Sprint(i), 1)
	}
	var open []uint16
	for i := range 3 {
		m := r.take()
		if string(m.Payload) != fmt.Sprint(i) {
			t.Fatalf("message %d is %q", i, m.Payload)
		}
		open = append(open, m.PacketID)
	}
	r.silent()
	r.ping()
	for i := 3; i < 10; i++ {
		r.answer(wire.PUBACK, open[0])
		m := r.take()
		if string(m.Payload) != fmt.Sprint(i) {
			t.Fatalf("message %d is %q", i, m.Payload)
		}
		open = append(open[1:], m.PacketID)
		r.silent()
	}
}

func TestMQTT43ServerReceiveMaximum(t *testing.T) {
	b := startOwn(t, "mqtt.receive_maximum=2")
	r := dialTo(t, b, wire.V5, "p")
	if got := r.ack.Props.Number(wire.ReceiveMaximum, 0); got != 2 {
		t.Errorf("advertises %d", got)
	}
	for pid := uint16(1); pid <= 3; pid++ {
		p := wire.Publish{Topic: []byte("t"), QoS: 2, PacketID: pid}
		r.send(p.Append(nil, r.v))
		if pid < 3 {
			r.ackOf(wire.PUBREC, pid)
		}
	}
	r.dropped(wire.ReceiveMaximumExceeded)
	r = dialTo(t, b, wire.V5, "q")
	for range 10 {
		r.publish("t", "m", 1)
		r.publish("t", "m", 2)
	}
}

func TestMQTT46QueueLimit(t *testing.T) {
	b := startOwn(t)
	_, err := b.CTL("set_policy", "limit", "^mqtt-subscription-.*qos1", `{"max-length":3,"overflow":"reject-publish"}`, "--apply-to", "queues")
	must(t, err)
	dialTo(t, b, wire.V5, "slow", keep, expiry(1000)).subAndBye("t", 1)
	p := dialTo(t, b, wire.V5, "p")
	for i := range 5 {
		got := p.publish("t", fmt.Sprint(i), 1)
		if want := wire.Reason(0); i >= 3 {
			want = wire.QuotaExceeded
			if got != want {
				t.Errorf("message %d: 0x%02X", i, byte(got))
			}
		} else if got != want {
			t.Errorf("message %d: 0x%02X", i, byte(got))
		}
	}
	dialTo(t, b, wire.V5, "slow", keep, expiry(1000)).want("0", "1", "2")
}

func TestMQTT47InboundAliases(t *testing.T) {
	a, b := unique("a"), unique("b")
	r := dial(t, wire.V5, unique("s"))
	r.sub(a, 0)
	r.sub(b, 0)
	p := dial(t, wire.V5, unique("p"))
	alias := func(n uint32) func(*wire.Publish) {
		return props(wire.Properties(nil).AppendNumber(wire.TopicAlias, n))
	}
	p.publish(a, "1", 0, alias(1))
	p.publish("", "2", 0, alias(1))
	p.publish(b, "3", 0, alias(1))
	p.publish("", "4", 0, alias(1))
	got := r.want("1", "2", "3", "4")
	if string(got[1].Topic) != a || string(got[3].Topic) != b {
		t.Errorf("topics %q and %q", got[1].Topic, got[3].Topic)
	}
	for n, want := range map[uint32]wire.Reason{0: wire.TopicAliasInvalid, 60000: wire.TopicAliasInvalid, 5: wire.ProtocolError} {
		p := dial(t, wire.V5, unique("p"))
		topic := ""
		if n != 5 {
			topic = a
		}
		p.publish(topic, "x", 0, alias(n))
		p.dropped(want)
	}
}

func TestMQTT48OutboundAliases(t *testing.T) {
	topic := unique("t")
	r := dial(t, wire.V5, unique("s"), number(wire.TopicAliasMaximum, 1))
	r.sub(topic+"/#", 0)
	p := dial(t, wire.V5, unique("p"))
	p.publish(topic+"/a", "1", 0)
	p.publish(topic+"/a", "2", 0)
	p.publish(topic+"/b", "3", 0)
	got := r.want("1", "2", "3")
	if got[0].Props.Number(wire.TopicAlias, 0) != 1 || string(got[0].Topic) != topic+"/a" {
		t.Errorf("first: %q % x", got[0].Topic, got[0].Props)
	}
	if got[1].Props.Number(wire.TopicAlias, 0) != 1 || len(got[1].Topic) != 0 {
		t.Errorf("second: %q % x", got[1].Topic, got[1].Props)
	}
	if _, ok := got[2].Props.Find(wire.TopicAlias); ok || string(got[2].Topic) != topic+"/b" {
		t.Errorf("third: %q % x", got[2].Topic, got[2].Props)
	}
}

func TestMQTT79InflightPauses(t *testing.T) {
	topic := unique("t")
	r := dial(t, wire.V5, unique("s"))
	r.sub(topic, 1)
	p := dial(t, wire.V5, unique("p"))
	var many []byte
	const total = 3000 // more than mqtt.inflight
	for i := range total {
		m := wire.Publish{Topic: []byte(topic), Payload: []byte(fmt.Sprint(i)), QoS: 1, PacketID: uint16(i + 1)}
		many = m.Append(many, p.v)
	}
	p.send(many)
	for i := range total {
		p.ackOf(wire.PUBACK, uint16(i+1))
	}
	var ids []uint16
	for i := range total {
		if i == 2048 {
			r.silent()
			for _, id := range ids {
				r.answer(wire.PUBACK, id)
			}
			ids = nil
		}
		m := r.take()
		if string(m.Payload) != fmt.Sprint(i) {
			t.Fatalf("message %d is %q", i, m.Payload)
		}
		ids = append(ids, m.PacketID)
	}
}

func TestMQTT4ConnectTimeout(t *testing.T) {
	if testing.Short() {
		t.Skip("takes 30 seconds")
	}
	t.Parallel()
	r := rawTo(t, shared, wire.V5)
	_, _, err := r.read(40 * time.Second)
	if err == nil || timedOut(err) {
		t.Errorf("connection without CONNECT: %v", err)
	}
}
