package openwire

import (
	"net"
	"testing"
	"time"

	"github.com/hermodmq/hermod/broker"
	"github.com/hermodmq/hermod/listeners/openwire/wire"
	"github.com/hermodmq/hermod/listeners/transport"
)

// patience bounds every wait of these tests for another goroutine.
const patience = 20 * time.Second

// world is a broker, an event loop turned by hand, and clients on it.
type world struct {
	t      testing.TB
	b      *broker.Broker
	server *Server
	m      *transport.Manual
	now    time.Time
	store  *broker.MemoryStore
	held   bool // nothing is committed
	opt    Options
	images []broker.ImagePolicy
}

func newWorld(t testing.TB, o Options, images ...broker.ImagePolicy) *world {
	t.Helper()
	w := &world{t: t, now: time.Unix(1_700_000_000, 0), store: broker.NewMemoryStore().Manual(), opt: o, images: images}
	if w.opt.DefaultUser == "" {
		w.opt.DefaultUser, w.opt.DefaultPassword = "guest", "guest"
	}
	w.start()
	return w
}

// start makes a broker over the store: after a crash, another one.
func (w *world) start() {
	w.t.Helper()
	w.m = transport.NewManual(w.now)
	options := broker.Options{
		Store: w.store, Node: "node-1", Now: w.now.UnixMilli(), MaxMessageSize: 1 << 20,
		DefaultUser: "guest", DefaultPassword: "guest", PasswordCost: 4, Images: w.images,
	}
	options.Converters[broker.FormatOpen] = Converter{}
	b, err := broker.New(options)
	if err != nil {
		w.t.Fatal(err)
	}
	if err := b.Recover(w.turn()); err != nil {
		w.t.Fatal(err)
	}
	w.b = b
	w.server = NewServer(w.turn(), b)
}

func (w *world) turn() *broker.Turn { return &broker.Turn{Now: w.now.UnixMilli()} }

// tick moves the clock and ticks everything.
func (w *world) tick(d time.Duration) {
	w.now = w.now.Add(d)
	w.b.Tick(w.turn())
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
			w.store.Commit(w.turn(), -1)
			w.m.Turn()
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

// client is the other end of one connection.
type client struct {
	w        *world
	t        testing.TB
	peer     *transport.Peer
	format   wire.Format
	in       []byte
	inbox    []wire.Structure // what came and was not expected yet
	id       wire.ConnectionID
	commands int32
	sent     int64
}

func (w *world) dial() *client {
	w.t.Helper()
	p := w.m.Open(w.server.New(w.opt)(), transport.Info{
		Listener: "openwire",
		Local:    &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 61616},
		Remote:   &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 40000},
	})
	return &client{w: w, t: w.t, peer: p, format: wire.InitialFormat}
}

// greet is dial with the negotiation.
func (w *world) greet() *client {
	w.t.Helper()
	c := w.dial()
	ours := wire.Options{Version: wire.MaxVersion, MaxFrameSize: 1 << 30, MaxInactivity: 30_000}
	c.peer.Send(wire.Append(nil, wire.InitialFormat, ours.Info()))
	expect[*wire.WireFormatInfo](c)
	c.format = wire.Format{Version: wire.MaxVersion}
	expect[*wire.BrokerInfo](c)
	return c
}

// open is greet with a login; change may alter what is said there.
func (w *world) open(id string, change func(*wire.ConnectionInfo)) *client {
	w.t.Helper()
	c := w.greet()
	c.id = wire.ConnectionID{Value: id}
	info := &wire.ConnectionInfo{ConnectionID: c.id, ClientID: "client-" + id}
	if change != nil {
		change(info)
	}
	c.call(info)
	return c
}

// post sends a command that wants no answer.
func (c *client) post(s wire.Command) int32 {
	c.commands++
	s.Head().CommandID = c.commands
	c.peer.Send(wire.Append(nil, c.format, s))
	return c.commands
}

// ask sends a command that wants an answer.
func (c *client) ask(s wire.Command) int32 {
	s.Head().ResponseRequired = true
	return c.post(s)
}

// call is ask with a good answer.
func (c *client) call(s wire.Command) {
	c.t.Helper()
	id := c.ask(s)
	for {
		switch r := c.next().(type) {
		case *wire.Response:
			if r.CorrelationID == id {
				return
			}
		case *wire.ExceptionResponse:
			c.t.Fatalf("%T was refused: %s: %s", s, r.Exception.ClassName, r.Exception.Message)
		default:
			c.inbox = append(c.inbox, r)
		}
	}
}

// refused is ask with an exception as the answer.
func (c *client) refused(s wire.Command, class string) *wire.Throwable {
	c.t.Helper()
	c.ask(s)
	r := expect[*wire.ExceptionResponse](c)
	if r.Exception.ClassName != class {
		c.t.Fatalf("%T: %s: %s, want %s", s, r.Exception.ClassName, r.Exception.Message, class)
	}
	return r.Exception
}

// next is the next structure from the broker.
func (c *client) next() wire.Structure {
	c.t.Helper()
	var s wire.Structure
	c.w.until("a frame arrives", func() bool {
		s = c.poll()
		return s != nil || c.peer.EOF()
	})
	if s == nil {
		c.t.Fatal("connection closed while a frame was expected")
	}
	return s
}

// poll is next for what has arrived already; nil if there is nothing.
func (c *client) poll() wire.Structure {
	c.in = append(c.in, c.peer.Output()...)
	d := wire.Decoder{Format: c.format}
	s, n, err := d.Decode(c.in)
	if err != nil {
		c.t.Fatalf("broker sent garbage: %v", err)
	}
	c.in = append([]byte(nil), c.in[n:]...)
	return s
}

// expect returns the next structure of a type, keeping the others.
func expect[T wire.Structure](c *client) T {
	c.t.Helper()
	for i, s := range c.inbox {
		if x, ok := s.(T); ok {
			c.inbox = append(c.inbox[:i], c.inbox[i+1:]...)
			return x
		}
	}
	for {
		s := c.next()
		if x, ok := s.(T); ok {
			return x
		}
		c.inbox = append(c.inbox, s)
	}
}

// quiet checks that no message comes.
func (c *client) quiet() {
	c.t.Helper()
	c.w.m.Turn()
	c.w.store.Commit(c.w.turn(), -1)
	c.w.m.Turn()
	for s := c.poll(); s != nil; s = c.poll() {
		c.inbox = append(c.inbox, s)
	}
	for _, s := range c.inbox {
		if d, ok := s.(*wire.MessageDispatch); ok {
			c.t.Fatalf("a message came: %v", bodyText(d))
		}
	}
}

func (c *client) consumerID(n int64) wire.ConsumerID {
	return wire.ConsumerID{ConnectionID: c.id.Value, SessionID: 1, Value: n}
}

func queueNamed(name string) wire.Destination {
	return wire.Destination{Kind: wire.TypeQueue, Name: name}
}

// consume starts a consumer of a queue.
func (c *client) consume(n int64, d wire.Destination, change func(*wire.ConsumerInfo)) {
	c.t.Helper()
	info := &wire.ConsumerInfo{ConsumerID: c.consumerID(n), Destination: d, PrefetchSize: 1000}
	if change != nil {
		change(info)
	}
	c.call(info)
}

// message is a text message of the client's only producer.
func (c *client) message(d wire.Destination, text string) *wire.Message {
	c.sent++
	p := wire.ProducerID{ConnectionID: c.id.Value, SessionID: 1, Value: 1}
	content := append([]byte{0, 0, 0, byte(len(text))}, text...)
	return &wire.Message{
		Kind: wire.TypeTextMessage, ProducerID: p, Destination: d, Persistent: true, Priority: 4, Content: content,
		MessageID: wire.MessageID{ProducerID: p, ProducerSequenceID: c.sent},
	}
}

func (c *client) send(d wire.Destination, texts ...string) {
	c.t.Helper()
	for _, text := range texts {
		c.call(c.message(d, text))
	}
}

func bodyText(d *wire.MessageDispatch) string {
	if d.Message == nil || len(d.Message.Content) < 4 {
		return ""
	}
	return string(d.Message.Content[4:])
}

// receive returns the next messages and checks their texts.
func (c *client) receive(texts ...string) []*wire.MessageDispatch {
	c.t.Helper()
	var list []*wire.MessageDispatch
	for _, want := range texts {
		d := expect[*wire.MessageDispatch](c)
		if got := bodyText(d); got != want {
			c.t.Fatalf("got %q, want %q", got, want)
		}
		list = append(list, d)
	}
	return list
}

// ack is an acknowledgement of a range.
func (c *client) ack(kind int8, list ...*wire.MessageDispatch) *wire.MessageAck {
	return &wire.MessageAck{
		ConsumerID: list[0].ConsumerID, Destination: list[0].Destination, AckType: kind, MessageCount: int32(len(list)),
		FirstMessageID: list[0].Message.MessageID, LastMessageID: list[len(list)-1].Message.MessageID,
	}
}

// ready is how many messages wait in a queue and how many are out.
func (w *world) depth(queue string) (ready, unsettled int) {
	q := w.b.VHost("/").Queue(queue)
	if q == nil {
		return 0, 0
	}
	s := q.Stats()
	return s.Ready, s.Unsettled
}
