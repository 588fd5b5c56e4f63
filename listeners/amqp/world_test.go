package amqp

import (
	"crypto/tls"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/hermodmq/hermod/broker"
	"github.com/hermodmq/hermod/listeners/amqp/wire"
	"github.com/hermodmq/hermod/listeners/transport"
)

// patience bounds every wait of these tests for another goroutine.
const patience = 20 * time.Second

// world is a broker, an event loop turned by hand, and clients on it.
type world struct {
	t     testing.TB
	b     *broker.Broker
	m     *transport.Manual
	now   time.Time
	store *broker.MemoryStore
	held  bool // nothing is committed
	opt   Options
}

func newWorld(t testing.TB, o Options) *world {
	t.Helper()
	now := time.Unix(1_700_000_000, 0)
	store := broker.NewMemoryStore().Manual()
	b, err := broker.New(broker.Options{
		Store: store, Node: "node-1", Now: now.UnixMilli(), MaxMessageSize: 1 << 20,
		DefaultUser: "guest", DefaultPassword: "guest", PasswordCost: 4,
		Anonymous: "guest",
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Recover(&broker.Turn{Now: now.UnixMilli()}); err != nil {
		t.Fatal(err)
	}
	return &world{t: t, b: b, m: transport.NewManual(now), now: now, store: store, opt: o}
}

// commit has the store carry out n operations, all for -1.
func (w *world) commit(n int) {
	w.store.Commit(&broker.Turn{Now: w.now.UnixMilli()}, n)
	w.m.Turn()
}

// tick moves the clock and ticks every connection.
func (w *world) tick(d time.Duration) {
	w.now = w.now.Add(d)
	w.m.Tick(w.now)
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
			w.commit(-1)
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

// client is the other end of one connection: it sends what it is told, right
// or wrong.
type client struct {
	w        *world
	t        testing.TB
	peer     *transport.Peer
	in       []byte
	frameMax uint32
	beats    int // heartbeats skipped
}

func (w *world) dial() *client { return w.dialTLS(nil) }

func (w *world) dialTLS(state *tls.ConnectionState) *client {
	w.t.Helper()
	s := New(w.b, w.opt)()
	p := w.m.Open(s, transport.Info{
		Listener: "amqp",
		Local:    &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 5672},
		Remote:   &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 40000},
		TLS:      state,
	})
	return &client{w: w, t: w.t, peer: p, frameMax: 131072}
}

// goodClient are the properties of a client that understands everything.
var goodClient = wire.Table{
	{Name: "connection_name", Value: "tester"},
	{Name: "capabilities", Value: wire.Table{
		{Name: "authentication_failure_close", Value: true},
		{Name: "connection.blocked", Value: true},
		{Name: "consumer_cancel_notify", Value: true},
	}},
}

// start sends protocol header and login.
func (c *client) start(properties wire.Table, mechanism, response string) {
	c.t.Helper()
	c.raw([]byte(wire.ProtocolHeader))
	expect[*wire.ConnectionStart](c, 0)
	c.send(0, &wire.ConnectionStartOk{ClientProperties: properties, Mechanism: mechanism, Response: response, Locale: "en_US"})
}

// open is dial with the whole handshake.
func (w *world) open() *client {
	w.t.Helper()
	c := w.dial()
	c.start(goodClient, "PLAIN", "\x00guest\x00guest")
	tune := expect[*wire.ConnectionTune](c, 0)
	c.send(0, &wire.ConnectionTuneOk{ChannelMax: tune.ChannelMax, FrameMax: tune.FrameMax})
	c.send(0, &wire.ConnectionOpen{VirtualHost: "/"})
	expect[*wire.ConnectionOpenOk](c, 0)
	return c
}

// channel opens a channel on a new connection.
func (w *world) channel() *client {
	w.t.Helper()
	c := w.open()
	c.channel(1)
	return c
}

func (c *client) channel(n uint16) {
	c.t.Helper()
	c.send(n, &wire.ChannelOpen{})
	expect[*wire.ChannelOpenOk](c, n)
}

func (c *client) raw(b []byte) { c.peer.Send(b) }

func (c *client) send(channel uint16, m wire.Method) {
	c.raw(wire.AppendMethod(nil, channel, m))
}

// publish sends a message on channel 1.
func (c *client) publish(exchange, key, body string) {
	c.publishWith(exchange, key, false, wire.Properties{}, body)
}

func (c *client) publishWith(exchange, key string, mandatory bool, p wire.Properties, body string) {
	c.raw(wire.AppendPublish(nil, 1, exchange, key, mandatory, p.Append(nil), []byte(body), c.frameMax))
}

// declare makes a transient queue on channel 1.
func (c *client) declare(queue string, args wire.Table) {
	c.t.Helper()
	c.send(1, &wire.QueueDeclare{Queue: queue, Arguments: args})
	expect[*wire.QueueDeclareOk](c, 1)
}

// next returns the next frame that is no heartbeat.
func (c *client) next() wire.Frame {
	c.t.Helper()
	var frame wire.Frame
	c.w.until("a frame arrives", func() bool {
		for {
			c.in = append(c.in, c.peer.Output()...)
			f, n, _, err := wire.NextFrame(c.in, 0)
			if err != nil {
				c.t.Fatalf("broker sent garbage: %v", err)
			}
			if n == 0 {
				if c.peer.EOF() {
					c.t.Fatal("connection closed while a frame was expected")
				}
				return false
			}
			c.in = c.in[n:]
			if f.Type != wire.FrameHeartbeat {
				frame = f
				return true
			}
			c.beats++
		}
	})
	return frame
}

// expect reads the next frame, which must be a method of type M on channel.
func expect[M wire.Method](c *client, channel uint16) M {
	c.t.Helper()
	f := c.next()
	if f.Type != wire.FrameMethod {
		var want M
		c.t.Fatalf("frame type %d, want %T", f.Type, want)
	}
	m, err := wire.DecodeMethod(f.Payload)
	if err != nil {
		c.t.Fatal(err)
	}
	got, ok := m.(M)
	if !ok || f.Channel != channel {
		var want M
		c.t.Fatalf("got %s %+v on channel %d, want %T on %d", m.ID(), m, f.Channel, want, channel)
	}
	return got
}

// message is a method with content.
type message struct {
	props  wire.Properties
	body   string
	frames int
}

func (c *client) content(channel uint16) message {
	c.t.Helper()
	f := c.next()
	if f.Type != wire.FrameHeader || f.Channel != channel {
		c.t.Fatalf("frame type %d on channel %d, want a header on %d", f.Type, f.Channel, channel)
	}
	h, err := wire.ParseHeader(f.Payload)
	if err != nil {
		c.t.Fatal(err)
	}
	var m message
	if m.props, err = wire.ParseProperties(h.Raw); err != nil {
		c.t.Fatal(err)
	}
	for uint64(len(m.body)) < h.BodySize {
		f := c.next()
		if f.Type != wire.FrameBody || len(f.Payload) > wire.BodyMax(c.frameMax) {
			c.t.Fatalf("frame type %d of %d bytes in a body", f.Type, len(f.Payload))
		}
		m.body += string(f.Payload)
		m.frames++
	}
	return m
}

// delivery reads a basic.deliver on channel 1.
func (c *client) delivery() (*wire.BasicDeliver, message) {
	c.t.Helper()
	d := expect[*wire.BasicDeliver](c, 1)
	return d, c.content(1)
}

// consume starts a consumer with manual acks on channel 1.
func (c *client) consume(queue, tag string) {
	c.t.Helper()
	c.send(1, &wire.BasicConsume{Queue: queue, ConsumerTag: tag})
	expect[*wire.BasicConsumeOk](c, 1)
}

// get fetches a message on channel 1; ok is false if there is none.
func (c *client) get(queue string, noAck bool) (g *wire.BasicGetOk, m message, ok bool) {
	c.t.Helper()
	c.send(1, &wire.BasicGet{Queue: queue, NoAck: noAck})
	f := c.next()
	r, err := wire.DecodeMethod(f.Payload)
	if err != nil {
		c.t.Fatal(err)
	}
	if g, ok = r.(*wire.BasicGetOk); !ok {
		if _, empty := r.(*wire.BasicGetEmpty); !empty {
			c.t.Fatalf("get was answered by %s %+v", r.ID(), r)
		}
		return nil, message{}, false
	}
	return g, c.content(1), true
}

// barrier makes sure that nothing came before the answer to a harmless method
// on channel 1.
func (c *client) barrier() {
	c.t.Helper()
	c.send(1, &wire.AccessRequest{Realm: "/"})
	expect[*wire.AccessRequestOk](c, 1)
}

// ready is the number of ready messages of a queue, asked on channel 1.
func (c *client) ready(queue string) int {
	c.t.Helper()
	c.send(1, &wire.QueueDeclare{Queue: queue, Passive: true})
	return int(expect[*wire.QueueDeclareOk](c, 1).MessageCount)
}

// closed is what a close method said.
type closed struct {
	code  uint16
	text  string
	class uint16
	meth  uint16
}

func (c closed) String() string { return fmt.Sprintf("%d %s (%d.%d)", c.code, c.text, c.class, c.meth) }

// channelClosed reads a channel.close and agrees to it.
func (c *client) channelClosed(channel uint16) closed {
	c.t.Helper()
	m := expect[*wire.ChannelClose](c, channel)
	c.send(channel, &wire.ChannelCloseOk{})
	return closed{m.ReplyCode, m.ReplyText, m.ClassID, m.MethodID}
}

// connectionClosed reads a connection.close and agrees to it.
func (c *client) connectionClosed() closed {
	c.t.Helper()
	m := expect[*wire.ConnectionClose](c, 0)
	if !c.peer.EOF() {
		c.send(0, &wire.ConnectionCloseOk{})
	}
	c.eof()
	return closed{m.ReplyCode, m.ReplyText, m.ClassID, m.MethodID}
}

func (c *client) eof() {
	c.t.Helper()
	c.w.until("the connection is closed", c.peer.EOF)
}

func (c closed) want(t testing.TB, code uint16, text string, id wire.MethodID) {
	t.Helper()
	if c.code != code || !strings.Contains(c.text, text) || c.class != id.Class() || c.meth != id.Method() {
		t.Errorf("closed with %v, want %d %q (%s)", c, code, text, id)
	}
}
