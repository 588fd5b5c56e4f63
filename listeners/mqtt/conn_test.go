package mqtt

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/hermodmq/hermod/broker"
	"github.com/hermodmq/hermod/listeners/mqtt/wire"
)

// TestMQTT24AckAfterCommit: PUBACK and PUBREC wait for the store, and keep the
// order of the publishes even where later ones have nothing to wait for.
func TestMQTT24AckAfterCommit(t *testing.T) {
	w := newWorld(t, Options{})
	s := w.connect(wire.V5, "s", lasting)
	s.subscribe("t", 2)
	p := w.connect(wire.V5, "p", lasting)
	w.held = true
	first := p.publish("t", "a", 1)
	second := p.publish("t", "b", 2)
	third := p.publish("nobody", "c", 1)
	p.quiet()
	w.held = false
	for _, want := range []struct {
		t   wire.Type
		pid uint16
	}{{wire.PUBACK, first}, {wire.PUBREC, second}, {wire.PUBACK, third}} {
		if a, err := wire.DecodeAck(want.t, p.expect(want.t), p.v); err != nil || a.PacketID != want.pid {
			t.Errorf("%s for %d, want %d: %v", want.t, a.PacketID, want.pid, err)
		}
	}
}

// TestMQTT39SentAfterStore: the identifier of a QoS 2 message is durable before
// the message leaves, and PUBREC before PUBREL.
func TestMQTT39SentAfterStore(t *testing.T) {
	w := newWorld(t, Options{})
	s := w.connect(wire.V5, "s", lasting)
	s.subscribe("t", 2)
	p := w.connect(wire.V5, "p")
	p.publish("t", "m", 2)
	p.expect(wire.PUBREC)
	m := s.message()
	w.held = true
	s.ack(wire.PUBREC, m.PacketID)
	s.quiet()
	w.held = false
	s.expect(wire.PUBREL)
}

func TestMQTT13KeepAliveExact(t *testing.T) {
	w := newWorld(t, Options{})
	c := w.connect(wire.V5, "c", func(p *wire.Connect) { p.KeepAlive = 10 })
	for range 10 {
		w.tick(14 * time.Second)
		c.p.Send(wire.AppendPingreq(nil))
		c.expect(wire.PINGRESP)
	}
	w.tick(16 * time.Second)
	if d, err := wire.DecodeDisconnect(c.expect(wire.DISCONNECT), c.v); err != nil || d.Reason != wire.KeepAliveTimeout {
		t.Errorf("DISCONNECT %+v, %v", d, err)
	}
	if !c.p.EOF() {
		t.Error("connection is open")
	}
}

func TestMQTT4NoConnect(t *testing.T) {
	w := newWorld(t, Options{})
	c := w.open(wire.V5)
	w.tick(29 * time.Second)
	if c.p.EOF() {
		t.Fatal("closed early")
	}
	w.tick(2 * time.Second)
	if !c.p.EOF() {
		t.Error("open after 31 s without CONNECT")
	}
}

// TestMQTT45Slowloris: a packet that never ends does not keep a connection.
func TestMQTT45Slowloris(t *testing.T) {
	w := newWorld(t, Options{})
	c := w.connect(wire.V311, "c")
	c.p.Send([]byte{0x30, 100, 0, 1})
	for range 70 {
		w.tick(time.Second)
	}
	if !c.p.EOF() {
		t.Error("an unfinished packet keeps the connection")
	}
}

func TestMQTT20ExpiryByClock(t *testing.T) {
	w := newWorld(t, Options{SessionExpiryMax: 50})
	s := w.connect(wire.V5, "s", lasting)
	s.subscribe("t", 1)
	s.p.HangUp(nil)
	w.tick(49 * time.Second)
	if all, _ := w.v.Sessions(); all != 1 {
		t.Errorf("%d sessions before the expiry", all)
	}
	w.tick(2 * time.Second)
	if all, _ := w.v.Sessions(); all != 0 {
		t.Errorf("%d sessions after the expiry", all)
	}
	w.commit()
	if kinds := w.b.TakeFacts(kindSession); len(kinds) != 0 {
		t.Errorf("facts %v", kinds)
	}
}

// TestMQTT46SlowQoS0: a client that does not read loses QoS 0 messages and
// nobody's memory grows without bound.
func TestMQTT46SlowQoS0(t *testing.T) {
	w := newWorld(t, Options{BufferQoS0: 50})
	s := w.connect(wire.V311, "s")
	s.subscribe("t", 0)
	s.p.Window(0)
	p := w.connect(wire.V311, "p")
	payload := make([]byte, 10_000)
	for i := range 2000 {
		p.publish("t", fmt.Sprintf("%04d%s", i, payload), 0)
	}
	if used := w.b.MemoryUsed(); used > 4<<20 {
		t.Errorf("%d bytes are held for a client that does not read", used)
	}
	s.p.Window(-1)
	last := ""
	n := 0
	w.until("the newest message", func() bool {
		for {
			h, body, ok := s.next()
			if !ok {
				return last == "1999"
			}
			m, err := wire.DecodePublish(h, body, s.v, true)
			if err != nil || string(m.Payload[:4]) <= last {
				t.Fatalf("message %q after %q: %v", m.Payload[:4], last, err)
			}
			last = string(m.Payload[:4])
			n++
		}
	})
	if n == 2000 {
		t.Error("nothing was dropped: the test shows nothing")
	}
}

// TestMQTT25RecoverFacts hands the facts of one server to the next.
func TestMQTT25RecoverFacts(t *testing.T) {
	w := newWorld(t, Options{})
	s := w.connect(wire.V5, "s", lasting, func(p *wire.Connect) { p.Will = &wire.Will{Topic: "w", Payload: []byte("x")} })
	s.subscribe("a/+", 2)
	s.subscribe("$share/g/b", 1)
	w.commit()
	sess := s.c.session
	fact := sess.fact()
	again := NewServer(w.b, Options{})
	if !again.recoverSession(w.turn(), fact) {
		t.Fatal("the fact is refused")
	}
	got := again.sessions[sess.key]
	if got == nil || len(got.subs) != 2 || got.subs["$share/g/b"].group == nil || got.will == nil || got.willAt == 0 {
		t.Errorf("recovered %+v", got)
	}
	if again.recoverSession(w.turn(), broker.Definition{Key: "no such\x00x", Value: fact.Value}) ||
		again.recoverSession(w.turn(), broker.Definition{Key: fact.Key, Value: []byte("{")}) {
		t.Error("facts of nobody are taken")
	}
	for _, key := range []string{"", "a", "\x00\x00\x01", "x\x00y\x00\x00\x01"} {
		_, _, ok := splitPidKey(key)
		if ok != (key == "x\x00y\x00\x00\x01") {
			t.Errorf("splitPidKey(%q): %v", key, ok)
		}
	}
}

func TestPublishAllocations(t *testing.T) {
	w := newWorld(t, Options{})
	s := w.connect(wire.V311, "s")
	s.subscribe("a/b", 0)
	p := w.connect(wire.V311, "p")
	m := wire.Publish{Topic: []byte("a/b"), Payload: make([]byte, 100)}
	body := m.Append(nil, p.v)[2:]
	h := wire.Header{Type: wire.PUBLISH}
	c := p.c
	run := func() {
		if err := c.onPublish(h, body); err != nil {
			t.Fatal(err)
		}
		s.c.readMail()
		s.c.repay()
		s.c.out = s.c.out[:0]
	}
	for range 100 {
		run()
	}
	// The message with its buffer is one; what the transport grows is not ours.
	if n := testing.AllocsPerRun(200, run); n > 3 {
		t.Errorf("%v allocations for a message of QoS 0 from client to client", n)
	}
}

func TestRemaining(t *testing.T) {
	for _, tt := range []struct {
		ttl, waited int64
		want        uint32
	}{{broker.NoTTL, 5, 0}, {10_000, 0, 10}, {10_000, 999, 10}, {10_000, 1001, 9}, {10_000, 9999, 1}, {10_000, 20_000, 1}} {
		m := &broker.Message{TTL: tt.ttl, Received: 1000}
		if got := remaining(m, 1000+tt.waited); got != tt.want {
			t.Errorf("%d ms of %d: %d, want %d", tt.waited, tt.ttl, got, tt.want)
		}
	}
}

func TestOutbox(t *testing.T) {
	var b outbox
	for range maxIDs {
		o := b.make()
		o.state = published
		o.pid = b.nextID()
		b.add(o)
	}
	if id := b.nextID(); id != 0 {
		t.Fatalf("identifier %d although all are in use", id)
	}
	b.remove(b.byID[500])
	if id := b.nextID(); id != 500 {
		t.Errorf("identifier %d, want the only free one", id)
	}
	last := uint16(0)
	b.each(func(o *outgoing) {
		if o.pid <= last {
			t.Fatalf("%d after %d", o.pid, last)
		}
		last = o.pid
	})
}

// TestMQTT58Index: many subscriptions match as few do.
func TestMQTT58Index(t *testing.T) {
	few := &session{srv: &Server{}, subs: map[string]*subscription{}}
	many := &session{srv: &Server{}, subs: map[string]*subscription{}}
	for i := range 2 * manySubscriptions {
		many.add(&subscription{filter: fmt.Sprint("other/", i), match: fmt.Sprint("other/", i)})
	}
	filters := []string{"#", "+", "+/#", "a/#", "a/+", "a/b", "$x/#", "$x/+", "/", "+/+", "a.b/c", "*/c"}
	for _, f := range filters {
		few.add(&subscription{filter: f, match: f})
		many.add(&subscription{filter: f, match: f})
	}
	if few.index != nil || many.index == nil {
		t.Fatal("the test compares nothing")
	}
	match := func(s *session, name string) []string {
		var list []string
		for _, sub := range s.matching(string(appendKey(nil, name))) {
			list = append(list, sub.filter)
		}
		slices.Sort(list)
		return list
	}
	for range 2 {
		for _, name := range []string{"a", "a/b", "a/b/c", "/", "$x", "$x/y", "$y/z", "a.b/c", "*/c", "b/c"} {
			if one, other := match(few, name), match(many, name); !slices.Equal(one, other) {
				t.Errorf("%q: %v without index, %v with", name, one, other)
			}
		}
		for _, f := range filters[:4] {
			if few.subs[f] != nil {
				few.remove(few.subs[f])
				many.remove(many.subs[f])
			}
		}
	}
}

// TestTimersAreBounded: sessions that come and go leave no timers behind.
func TestTimersAreBounded(t *testing.T) {
	w := newWorld(t, Options{})
	s := w.v.newSession(sessionKey{"/", "s"}, w.b.VHost("/"))
	w.v.sessions[s.key] = s
	s.present, s.expiry = true, 1000
	for i := range 10 * spareTimers {
		s.ended = int64(i + 1)
		w.v.schedule(s)
	}
	if n := len(w.v.timers); n > 2*spareTimers {
		t.Errorf("%d timers for one session", n)
	}
}
