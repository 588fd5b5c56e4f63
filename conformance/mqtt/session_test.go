package mqtt

import (
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/hermodmq/hermod/listeners/mqtt/wire"
)

// lasting are the options of a session that outlives its connection.
func lasting(v wire.Version) []func(*wire.Connect) {
	if v == wire.V5 {
		return []func(*wire.Connect){keep, expiry(1000)}
	}
	return []func(*wire.Connect){keep}
}

func TestMQTT17CleanSession(t *testing.T) {
	each(t, []wire.Version{wire.V31, wire.V311}, func(t *testing.T, v wire.Version) {
		topic, id := unique("t"), unique("s")
		p := dial(t, wire.V5, unique("p"))
		dial(t, v, id).subAndBye(topic, 1)
		p.publish(topic, "lost", 1)
		r := dial(t, v, id, keep)
		r.sub(topic, 1)
		r.cut()
		p.publish(topic, "kept", 1)
		r = dial(t, v, id, keep)
		r.want("kept")
		r.bye()
		dial(t, v, id).bye()
		p.publish(topic, "lost", 1)
		dial(t, v, id, keep).silent()
	})
}

func TestMQTT18SessionExpiry(t *testing.T) {
	topic, id := unique("t"), unique("s")
	p := dial(t, wire.V5, unique("p"))
	dial(t, wire.V5, id, keep).subAndBye(topic, 1) // expiry 0
	if got := p.publish(topic, "lost", 1); got != wire.NoMatchingSubscribers {
		t.Errorf("a session of expiry 0 is still there: 0x%02X", byte(got))
	}
	dial(t, wire.V5, id, clean, expiry(1000)).subAndBye(topic, 1)
	p.publish(topic, "kept", 1)
	r := dial(t, wire.V5, id, keep)
	r.want("kept")
	r.bye()
	if dial(t, wire.V5, id, keep).ack.SessionPresent {
		t.Error("a session resumed with expiry 0 outlived its connection")
	}
}

func TestMQTT19DisconnectExpiry(t *testing.T) {
	id := unique("s")
	leave := func(r *raw, seconds uint32) {
		d := wire.Disconnect{Props: wire.Properties(nil).AppendNumber(wire.SessionExpiry, seconds)}
		r.send(d.Append(nil, r.v))
	}
	r := dial(t, wire.V5, id)
	leave(r, 100)
	r.dropped(wire.ProtocolError)
	r = dial(t, wire.V5, id, expiry(1000))
	leave(r, 0)
	r.closed()
	if dial(t, wire.V5, id, keep).ack.SessionPresent {
		t.Error("session is there after DISCONNECT with expiry 0")
	}
}

func TestMQTT20Expiry(t *testing.T) {
	topic, id, will := unique("t"), unique("s"), unique("will")
	watch := dial(t, wire.V5, unique("w"))
	watch.sub(will, 0)
	delayed := wire.Will{Topic: will, Payload: []byte("over"), Props: wire.Properties(nil).AppendNumber(wire.WillDelay, 1000)}
	r := dial(t, wire.V5, id, expiry(1), withWill(delayed))
	r.sub(topic, 1)
	r.cut()
	watch.want("over")
	eventually(t, "the queue goes", func() bool {
		return !slices.Contains(queues(t, shared), "mqtt-subscription-"+id+"qos1")
	})
	if dial(t, wire.V5, id, keep).ack.SessionPresent {
		t.Error("session is there after its expiry")
	}
}

func TestMQTT21Takeover(t *testing.T) {
	each(t, two, func(t *testing.T, v wire.Version) {
		topic, id := unique("t"), unique("s")
		old := dial(t, v, id, lasting(v)...)
		old.sub(topic, 1)
		p := dial(t, wire.V5, unique("p"))
		p.publish(topic, "a", 1)
		m := old.take()
		fresh := dial(t, v, id, lasting(v)...)
		old.dropped(wire.SessionTakenOver)
		if !fresh.ack.SessionPresent {
			t.Error("session not present")
		}
		again := fresh.take()
		if !again.Dup || again.PacketID != m.PacketID {
			t.Errorf("redelivered with DUP %v, identifier %d instead of %d", again.Dup, again.PacketID, m.PacketID)
		}
		fresh.answer(wire.PUBACK, again.PacketID)
		p.publish(topic, "b", 1)
		fresh.want("b")
		fresh.silent()
	})
}

func TestMQTT21TakeoverLosesNothing(t *testing.T) {
	topic, id := unique("t"), unique("s")
	r := dial(t, wire.V5, id, lasting(wire.V5)...)
	r.sub(topic, 1)
	const total = 300
	var wg sync.WaitGroup
	wg.Go(func() {
		p := dial(t, wire.V5, unique("p"))
		for i := range total {
			p.publish(topic, fmt.Sprint(i), 1)
		}
	})
	next := 0
	for next < total {
		h, body, err := r.read(wait)
		if err != nil || h.Type != wire.PUBLISH {
			t.Fatalf("got %s, %v", h.Type, err)
		}
		m, err := wire.DecodePublish(h, body, r.v, true)
		must(t, err)
		var n int
		_, err = fmt.Sscan(string(m.Payload), &n)
		must(t, err)
		if n > next || n < next && !m.Dup {
			t.Fatalf("message %d while %d is due", n, next)
		}
		next = max(next, n+1)
		r.answer(wire.PUBACK, m.PacketID)
		if next%40 == 0 && n == next-1 {
			r = dial(t, wire.V5, id, lasting(wire.V5)...)
		}
	}
	wg.Wait()
}

func TestMQTT22TakeoverWill(t *testing.T) {
	will := func(topic string, delay uint32) func(*wire.Connect) {
		return withWill(wire.Will{Topic: topic, Payload: []byte("w"), Props: wire.Properties(nil).AppendNumber(wire.WillDelay, delay)})
	}
	for _, tt := range []struct {
		name   string
		delay  uint32
		expiry uint32
		clean  bool
		sent   bool
	}{
		{"no delay", 0, 1000, false, true},
		{"delay, resumed", 1000, 1000, false, false},
		{"delay, clean start", 1000, 1000, true, true},
		{"delay, no expiry", 1000, 0, false, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			topic, id := unique("will"), unique("s")
			watch := dial(t, wire.V5, unique("w"))
			watch.sub(topic, 0)
			dial(t, wire.V5, id, keep, expiry(tt.expiry), will(topic, tt.delay))
			start := keep
			if tt.clean {
				start = clean
			}
			dial(t, wire.V5, id, start, expiry(1000))
			if tt.sent {
				watch.want("w")
			}
			watch.silent()
		})
	}
}

func TestMQTT23Resume(t *testing.T) {
	topic, id := unique("t"), unique("s")
	r := dial(t, wire.V5, id, lasting(wire.V5)...)
	r.sub(topic, 2)
	p := dial(t, wire.V5, unique("p"))
	p.publish(topic, "one", 1)
	p.publish(topic, "two", 2)
	p.publish(topic, "three", 2)
	one, two, three := r.take(), r.take(), r.take()
	r.answer(wire.PUBREC, two.PacketID)
	r.ackOf(wire.PUBREL, two.PacketID)
	r.bye()
	p.publish(topic, "four", 1)
	r = dial(t, wire.V5, id, append(lasting(wire.V5), number(wire.ReceiveMaximum, 3))...)
	r.ackOf(wire.PUBREL, two.PacketID)
	for _, want := range []wire.Publish{one, three} {
		if m := r.take(); !m.Dup || m.PacketID != want.PacketID || string(m.Payload) != string(want.Payload) {
			t.Errorf("redelivered %q, identifier %d, DUP %v", m.Payload, m.PacketID, m.Dup)
		}
	}
	r.silent() // three are in flight
	r.answer(wire.PUBCOMP, two.PacketID)
	if m := r.take(); m.Dup || string(m.Payload) != "four" {
		t.Errorf("got %q, DUP %v", m.Payload, m.Dup)
	}
}

func TestMQTT24NoResend(t *testing.T) {
	topic := unique("t")
	r := dial(t, wire.V5, unique("s"))
	r.sub(topic, 1)
	dial(t, wire.V5, unique("p")).publish(topic, "m", 1)
	r.take()
	r.silent()
	r.ping()
}

// TestMQTT25Kill kills the broker and looks at everything that must survive.
func TestMQTT25Kill(t *testing.T) {
	b := startOwn(t)
	o := lasting(wire.V5)
	s := dialTo(t, b, wire.V5, "sub", o...)
	s.sub("t/#", 2, wire.Properties(nil).AppendNumber(wire.SubscriptionID, 42))
	p := dialTo(t, b, wire.V5, "pub", append(o, withWill(wire.Will{
		Topic: "t/will", Payload: []byte("will"), QoS: 1, Props: wire.Properties(nil).AppendNumber(wire.WillDelay, 1)}))...)
	p.publish("t/r", "retained", 1, retained)
	s.want("retained")
	half := wire.Publish{Topic: []byte("t/2"), Payload: []byte("inflight"), QoS: 2, PacketID: 99}
	p.send(half.Append(nil, p.v))
	p.ackOf(wire.PUBREC, 99)
	first := s.take() // QoS 2, not acknowledged
	p.publish("t/2", "received", 2)
	second := s.take()
	s.answer(wire.PUBREC, second.PacketID)
	s.ackOf(wire.PUBREL, second.PacketID)
	s.cut()
	p.publish("t/1", "queued", 1)

	b.Kill()
	must(t, b.Restart())

	p = dialTo(t, b, wire.V5, "pub2")
	if r := dialTo(t, b, wire.V5, "other"); r != nil {
		r.sub("t/r", 1)
		r.want("retained")
	}
	s = dialTo(t, b, wire.V5, "sub", o...)
	if !s.ack.SessionPresent {
		t.Fatal("session is gone")
	}
	s.ackOf(wire.PUBREL, second.PacketID)
	s.answer(wire.PUBCOMP, second.PacketID)
	m := s.take()
	if string(m.Payload) != "inflight" || m.PacketID != first.PacketID || !m.Dup {
		t.Errorf("got %q, identifier %d instead of %d, DUP %v", m.Payload, m.PacketID, first.PacketID, m.Dup)
	}
	s.answer(wire.PUBREC, m.PacketID)
	s.released(m.PacketID)
	s.answer(wire.PUBCOMP, m.PacketID)
	if got := s.want("queued")[0]; got.Props.Number(wire.SubscriptionID, 0) != 42 {
		t.Errorf("subscription identifier is lost: % x", got.Props)
	}
	s.want("will")
	p.publish("t/x", "live", 2)
	s.want("live")
	s.silent()

	r := dialTo(t, b, wire.V5, "pub", o...) // its identifier 99 is known still
	half.Dup = true
	r.send(half.Append(nil, r.v))
	r.ackOf(wire.PUBREC, 99)
	r.answer(wire.PUBREL, 99)
	r.ackOf(wire.PUBCOMP, 99)
	s.silent()
}

func TestMQTT26ChangeOfVersion(t *testing.T) {
	topic, id := unique("t"), unique("s")
	dial(t, wire.V311, id, keep).subAndBye(topic, 1)
	p := dial(t, wire.V5, unique("p"))
	p.publish(topic, "a", 1)
	r := dial(t, wire.V5, id, lasting(wire.V5)...)
	if !r.ack.SessionPresent {
		t.Error("session of 3.1.1 is not present in 5.0")
	}
	r.want("a")
	r.bye()
	p.publish(topic, "b", 1)
	r = dial(t, wire.V311, id, keep)
	if !r.ack.SessionPresent {
		t.Error("session of 5.0 is not present in 3.1.1")
	}
	r.want("b")
}

func TestMQTT27Flapping(t *testing.T) {
	id := unique("s")
	for range 100 {
		switch got := rawTo(t, shared, wire.V5).hello(id, lasting(wire.V5)...).Reason; got {
		case wire.Success, wire.ConnectionRateExceeded:
		default:
			t.Fatalf("CONNACK 0x%02X", byte(got))
		}
	}
	var last *raw
	eventually(t, "the last one gets in", func() bool {
		last = rawTo(t, shared, wire.V5)
		return last.hello(id, lasting(wire.V5)...).Reason == wire.Success
	})
	last.ping()
}

func TestMQTT62Will(t *testing.T) {
	topic := unique("will")
	watch := dial(t, wire.V5, unique("w"))
	watch.sub(topic, 1)
	will := withWill(wire.Will{Topic: topic, Payload: []byte("w"), QoS: 1})
	each(t, two, func(t *testing.T, v wire.Version) {
		watch.t = t
		dial(t, v, unique("c"), will).cut()
		watch.want("w")
		dial(t, v, unique("c"), will).bye()
		watch.silent()
		r := dial(t, v, unique("c"), will)
		r.send([]byte{0x82, 0})
		watch.want("w")
	})
	watch.t = t
	r := dial(t, wire.V5, unique("c"), will)
	d := wire.Disconnect{Reason: wire.DisconnectWithWill}
	r.send(d.Append(nil, r.v))
	r.closed()
	watch.want("w")
}

func TestMQTT63WillDelay(t *testing.T) {
	topic, id := unique("will"), unique("s")
	watch := dial(t, wire.V5, unique("w"))
	watch.sub(topic, 1)
	delayed := func(seconds uint32) func(*wire.Connect) {
		return withWill(wire.Will{Topic: topic, Payload: []byte("w"), QoS: 1, Props: wire.Properties(nil).AppendNumber(wire.WillDelay, seconds)})
	}
	dial(t, wire.V5, id, keep, expiry(1000), delayed(1)).cut()
	watch.silent()
	watch.want("w")
	dial(t, wire.V5, id, keep, expiry(1000), delayed(1000)).cut()
	dial(t, wire.V5, id, keep, expiry(1000)).bye() // back in time
	watch.silent()
	dial(t, wire.V5, id, keep, expiry(1000), delayed(1000)).cut()
	dial(t, wire.V5, id, clean).bye() // ends the session
	watch.want("w")
	watch.silent()
}

func TestMQTT64WillProperties(t *testing.T) {
	topic := unique("will")
	watch := dial(t, wire.V5, unique("w"))
	watch.sub(topic, wire.RetainAsPublished|1)
	list := wire.Properties(nil).AppendText(wire.ContentType, "x/y").AppendUser("k", "v").AppendUser("k", "w")
	dial(t, wire.V5, unique("c"), withWill(wire.Will{
		Topic: topic, Payload: []byte("w"), QoS: 1, Retain: true,
		Props: append(wire.Properties(nil).AppendNumber(wire.WillDelay, 0), list...),
	})).cut()
	if m := watch.want("w")[0]; string(m.Props) != string(list) || !m.Retain {
		t.Errorf("will with properties % x, RETAIN %v", m.Props, m.Retain)
	}
	late := dial(t, wire.V311, unique("l"))
	late.sub(topic, 1)
	late.want("w")
	late.publish(topic, "", 0, retained)

	b := startOwn(t)
	for _, args := range [][]string{{"add_user", "meek", "pw"}, {"set_permissions", "-p", "/", "meek", ".*", ".*", ".*"},
		{"set_topic_permissions", "-p", "/", "meek", "amq.topic", "^free", ".*"}} {
		_, err := b.CTL(args...)
		must(t, err)
	}
	r := rawTo(t, b, wire.V5)
	if a := r.hello("x", login("meek", "pw"), withWill(wire.Will{Topic: "secret"})); a.Reason != wire.NotAuthorized {
		t.Errorf("will on a forbidden topic: CONNACK 0x%02X", byte(a.Reason))
	}
}

func TestMQTT65Shutdown(t *testing.T) {
	b := startOwn(t)
	r := dialTo(t, b, wire.V5, "c")
	done := make(chan error, 1)
	go func() { done <- b.Stop(wait) }()
	r.dropped(wire.ServerShuttingDown)
	must(t, <-done)
}
