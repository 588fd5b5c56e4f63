package mqtt

import (
	"testing"
	"time"

	"github.com/hermodmq/hermod/broker"
	"github.com/hermodmq/hermod/listeners/mqtt/wire"
	"github.com/hermodmq/hermod/listeners/transport"
)

// patience bounds every wait of these tests for another goroutine.
const patience = 20 * time.Second

// world is a broker, an event loop turned by hand, and clients on it.
type world struct {
	t     testing.TB
	b     *broker.Broker
	v     *Server
	m     *transport.Manual
	now   time.Time
	store *broker.MemoryStore
	held  bool // nothing is committed
}

func newWorld(t testing.TB, o Options) *world {
	t.Helper()
	now := time.Unix(1_700_000_000, 0)
	store := broker.NewMemoryStore().Manual()
	options := broker.Options{
		Store: store, Node: "node-1", Now: now.UnixMilli(),
		DefaultUser: "guest", DefaultPassword: "guest", PasswordCost: 4, Anonymous: "guest",
	}
	options.Converters[broker.FormatMQTT] = Converter{}
	b, err := broker.New(options)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Recover(&broker.Turn{Now: now.UnixMilli()}); err != nil {
		t.Fatal(err)
	}
	o.Anonymous = true
	return &world{t: t, b: b, v: NewServer(b, o), m: transport.NewManual(now), now: now, store: store}
}

func (w *world) turn() *broker.Turn { return &broker.Turn{Now: w.now.UnixMilli()} }

// commit has the store carry out everything it was given.
func (w *world) commit() {
	w.store.Commit(w.turn(), -1)
	w.m.Turn()
}

func (w *world) tick(d time.Duration) {
	w.now = w.now.Add(d)
	w.m.Tick(w.now)
	w.v.Tick(w.turn())
	w.m.Turn()
}

// until turns the loop until cond holds, which other goroutines may bring
// about.
func (w *world) until(what string, cond func() bool) {
	w.t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	again := time.NewTicker(200 * time.Microsecond)
	defer again.Stop()
	for {
		w.m.Turn()
		if !w.held {
			w.commit()
		}
		if cond() {
			return
		}
		select {
		case <-again.C:
		case <-deadline.C:
			w.t.Fatalf("did not happen in time: %s", what)
		}
	}
}

// client is the other end of a connection.
type client struct {
	w    *world
	p    *transport.Peer
	c    *conn
	v    wire.Version
	buf  []byte
	pids uint16
}

func (w *world) open(v wire.Version) *client {
	c := w.v.New().(*conn)
	return &client{w: w, c: c, p: w.m.Open(c, transport.Info{Listener: "mqtt"}), v: v}
}

// connect opens a connection and logs it in.
func (w *world) connect(v wire.Version, id string, options ...func(*wire.Connect)) *client {
	w.t.Helper()
	c := w.open(v)
	p := wire.Connect{Version: v, CleanStart: true, ClientID: id}
	for _, o := range options {
		o(&p)
	}
	c.p.Send(p.Append(nil))
	held := w.held
	w.held = false
	body := c.expect(wire.CONNACK)
	w.held = held
	if a, err := wire.DecodeConnack(body, v); err != nil || a.Reason != 0 {
		w.t.Fatalf("CONNACK %+v, %v", a, err)
	}
	return c
}

func lasting(p *wire.Connect) {
	p.CleanStart = false
	if p.Version == wire.V5 {
		p.Props = p.Props.AppendNumber(wire.SessionExpiry, 1000)
	}
}

// next returns the next packet if one has arrived.
func (c *client) next() (wire.Header, []byte, bool) {
	c.buf = append(c.buf, c.p.Output()...)
	h, body, n, _, err := wire.Next(c.buf, 0)
	if err != nil || n == 0 {
		return h, nil, false
	}
	c.buf = c.buf[n:]
	return h, append([]byte(nil), body...), true
}

func (c *client) expect(t wire.Type) []byte {
	c.w.t.Helper()
	var h wire.Header
	var body []byte
	c.w.until(t.String(), func() (ok bool) {
		h, body, ok = c.next()
		return ok
	})
	if h.Type != t {
		c.w.t.Fatalf("got %s % x, want %s", h.Type, body, t)
	}
	return body
}

// quiet checks that nothing has arrived, whatever the store does.
func (c *client) quiet() {
	c.w.t.Helper()
	c.w.m.Turn()
	if !c.w.held {
		c.w.commit()
	}
	if h, body, ok := c.next(); ok {
		c.w.t.Fatalf("unexpected %s % x", h.Type, body)
	}
}

func (c *client) subscribe(filter string, o wire.Options) {
	c.w.t.Helper()
	c.pids++
	p := wire.Subscribe{PacketID: c.pids, Filters: []wire.Filter{{Name: filter, Options: o}}}
	c.p.Send(p.Append(nil, c.v))
	held := c.w.held
	c.w.held = false
	body := c.expect(wire.SUBACK)
	c.w.held = held
	if a, err := wire.DecodeSuback(wire.SUBACK, body, c.v); err != nil || a.Codes[0].Failed() {
		c.w.t.Fatalf("SUBACK %+v, %v", a, err)
	}
}

func (c *client) publish(topic, payload string, qos byte) uint16 {
	p := wire.Publish{Topic: []byte(topic), Payload: []byte(payload), QoS: qos}
	if qos > 0 {
		c.pids++
		p.PacketID = c.pids
	}
	c.p.Send(p.Append(nil, c.v))
	return p.PacketID
}

func (c *client) message() wire.Publish {
	c.w.t.Helper()
	var m wire.Publish
	c.w.until("PUBLISH", func() bool {
		h, body, ok := c.next()
		if !ok {
			return false
		}
		if h.Type != wire.PUBLISH {
			c.w.t.Fatalf("got %s % x", h.Type, body)
		}
		var err error
		if m, err = wire.DecodePublish(h, body, c.v, true); err != nil {
			c.w.t.Fatal(err)
		}
		return true
	})
	return m
}

func (c *client) ack(t wire.Type, pid uint16) {
	a := wire.Ack{Type: t, PacketID: pid}
	c.p.Send(a.Append(nil, c.v))
}
