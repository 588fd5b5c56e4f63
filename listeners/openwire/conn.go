package openwire

import (
	"time"

	"github.com/hermodmq/hermod/broker"
	"github.com/hermodmq/hermod/listeners/delivery"
	"github.com/hermodmq/hermod/listeners/openwire/wire"
	"github.com/hermodmq/hermod/listeners/transport"
)

// Server is what the connections of all OpenWire listeners of a broker share.
type Server struct {
	broker *broker.Broker
	hub    hub
	last   lastSent
}

// NewServer makes a server over a broker that has recovered. t is of the
// goroutine that calls it.
func NewServer(t *broker.Turn, b *broker.Broker) *Server {
	s := &Server{broker: b}
	s.hub.init(t)
	s.last.recover(t, b)
	return s
}

// New returns what a transport listener calls for every accepted connection.
func (s *Server) New(o Options) func() transport.Session {
	opt := o.withDefaults(s.broker.MaxMessageSize())
	return func() transport.Session {
		c := &conn{server: s, broker: s.broker, opt: &opt}
		c.decoder.MaxFrameSize = min(opt.MaxFrame, strangerFrame)
		return &socket{c}
	}
}

// state is how far a connection has come.
type state uint8

const (
	greeting       state = iota // waits for WireFormatInfo
	awaitingLogin               // waits for ConnectionInfo
	authenticating              // the login runs off the loop, or an older connection is leaving
	running
	leaving // nothing is carried out any more; closes soon
	over
)

// Reasons to pause reading.
const (
	whyLogin uint8 = 1 << iota
	whyParked
)

// strangerFrame bounds the frames of a client that has not logged in, in
// bytes.
const strangerFrame = 64 << 10

// conn is one OpenWire connection as a state machine. All its methods run on
// the loop that owns it, those of its inbox excepted.
type conn struct {
	server *Server
	broker *broker.Broker
	opt    *Options
	link   transport.Link
	turn   broker.Turn
	state  state

	out    []byte // the link's output buffer while this turn writes to it
	unseen int    // bytes of deliveries since the link was asked whether it is full
	full   bool   // the link takes no more deliveries until Drained
	paused uint8  // reasons why nothing is read

	decoder wire.Decoder
	format  wire.Format
	ours    wire.Options
	agreed  wire.Options

	removed   bool  // leaving, because the client said so
	successor *conn // has the socket now

	deadline int64 // Unix ms at which patience ends; 0: never
	heard    int64 // Unix ms of the last input
	arrived  int64 // bytes of input at the last tick
	spoke    int64 // Unix ms of the last output

	login     *wire.ConnectionInfo
	mechanism string
	id        wire.ConnectionID
	clientID  string
	survives  bool // the client fails over: what it has sent is remembered
	returned  bool // it has failed over

	manageable bool // it listens to ConnectionControl

	user    *broker.User
	core    *broker.Connection
	session *broker.Session
	room    *community
	alarms  broker.Alarm
	waiting bool // OnRelief was asked for

	consumers map[wire.ConsumerID]*consumer
	producers map[wire.ProducerID]*producer
	latest    *producer // of the last message
	temps     map[wire.Destination]struct{}

	transactions map[wire.TransactionID]*transaction
	prepared     map[wire.TransactionID]*transaction
	txBytes      int

	parked      [][]byte // frames of messages and what must not overtake them, until there is room
	parkedBytes int
	stuck       *broker.Queue // that the first of parked waits for
	forced      bool          // messages are taken though there is no room
	unparking   bool

	inbox    delivery.Inbox[note, receipt]
	settles  delivery.Settles
	owed     delivery.Owed
	holding  []*consumer // consumers with deliveries held back
	calls    map[uint64]func(ok bool)
	lastCall uint64
	taken    []delivery.Unsettled[lent]
}

// Start implements transport.Session.
func (c *conn) Start(l transport.Link) {
	c.link = l
	c.inbox.Open(l.Target(), eventInbox)
	c.begin()
	c.heard, c.spoke = c.turn.Now, c.turn.Now
	c.deadline = c.turn.Now + c.opt.HandshakeTimeout.Milliseconds()
	c.ours = wire.Options{
		Version: wire.MaxVersion, MaxFrameSize: int64(c.opt.MaxFrame), TCPNoDelay: true,
		MaxInactivity: c.opt.MaxInactivity.Milliseconds(), MaxInactivityInitialDelay: 10_000,
		ProviderName: "ActiveMQ", ProviderVersion: providerVersion, Platform: "Hermod",
	}
	c.format = wire.InitialFormat
	c.out = wire.Append(c.buffer(), c.format, c.ours.Info())
}

// providerVersion is the version of ActiveMQ whose manners these are.
const providerVersion = "5.18.0"

// begin brings the turn's time and bells up to date.
func (c *conn) begin() {
	c.turn.Now = c.link.Now().UnixMilli()
	c.turn.Bells = c.link.Batch()
}

// Receive implements transport.Session. It stops early when reading pauses.
func (c *conn) Receive(p []byte) (n, need int, err error) {
	c.begin()
	c.heard = c.turn.Now
	for n < len(p) && c.paused == 0 && c.successor == nil {
		if c.state == over {
			return len(p), 0, nil
		}
		s, taken, err := c.decoder.Decode(p[n:])
		if err != nil {
			c.violated(err)
			return len(p), 0, nil
		}
		if taken == 0 {
			if need, err = c.decoder.Need(p[n:]); err != nil {
				c.violated(err)
				return len(p), 0, nil
			}
			break
		}
		if s != nil {
			c.command(s, p[n:n+taken])
		}
		n += taken
	}
	c.flushSettles()
	return n, need, nil
}

// violated ends the connection of a client whose input is no OpenWire.
func (c *conn) violated(err error) {
	if c.state == leaving {
		c.hangUp()
		return
	}
	c.opt.Logger.Info("openwire protocol violated", "peer", c.link.Info().RemoteString(), "user", c.userName(), "reason", err)
	if c.state > greeting {
		c.out = wire.Append(c.buffer(), c.format, &wire.ConnectionError{Exception: exceptionOf(err), ConnectionID: c.structureID()})
	}
	c.endSessions(wire.LastDeliveredUnknown)
	c.hangUp()
}

func (c *conn) structureID() wire.Structure {
	if c.id.IsNull() {
		return nil
	}
	return c.id
}

// EndTurn implements transport.Session.
func (c *conn) EndTurn() { c.write() }

// buffer is where output goes; write gives it back to the link.
func (c *conn) buffer() []byte {
	if c.out == nil {
		c.out = c.link.Out()
	}
	return c.out
}

// write hands what is in the buffer to the link.
func (c *conn) write() {
	if c.out == nil {
		return
	}
	c.spoke = c.turn.Now
	c.link.SetOut(c.out)
	c.out = nil
}

// send appends a command.
func (c *conn) send(s wire.Structure) { c.out = wire.Append(c.buffer(), c.format, s) }

// respond answers a command if it wants an answer.
func (c *conn) respond(h *wire.Header) {
	if h.ResponseRequired {
		c.respondTo(h.CommandID)
	}
}

// respondTo answers the command with a number. It is what every durable message
// gets, and so written by hand.
func (c *conn) respondTo(id int32) {
	if c.state >= leaving {
		return
	}
	dst, start := wire.Begin(c.buffer(), wire.TypeResponse)
	dst = wire.AppendHeader(dst, wire.Header{})
	dst = append(dst, byte(id>>24), byte(id>>16), byte(id>>8), byte(id))
	c.out = wire.End(dst, start)
}

// fail tells the client that a command was refused: as its answer, or beside
// everything if it wants none.
func (c *conn) fail(h *wire.Header, err error) {
	if c.state >= leaving {
		return
	}
	t := exceptionOf(err)
	c.opt.Logger.Debug("openwire command refused", "peer", c.link.Info().RemoteString(), "user", c.userName(), "class", t.ClassName, "reason", t.Message)
	if h.ResponseRequired {
		c.send(&wire.ExceptionResponse{CorrelationID: h.CommandID, Exception: t})
		return
	}
	c.send(&wire.ConnectionError{Exception: t, ConnectionID: c.structureID()})
}

// pause stops reading for a reason until resume.
func (c *conn) pause(why uint8) {
	if c.paused&why == 0 {
		c.paused |= why
		c.link.Pause(why)
	}
}

func (c *conn) resume(why uint8) {
	if c.paused&why != 0 {
		c.paused &^= why
		c.heard = c.turn.Now
		c.link.Resume(why)
	}
}

// farewellTime is how long a client that was refused has to read why.
// goodbyeTime is how long one that is done has to close the connection: stock
// clients send ShutdownInfo after the answer to their RemoveInfo, and throw if
// the socket has closed before, so that a pause of a Java machine, or of an
// operating system, must not matter.
const (
	farewellTime = time.Second
	goodbyeTime  = 30 * time.Second
)

// leave ends the connection by and by: when the client closes it, at the
// latest after patience.
func (c *conn) leave(patience time.Duration) {
	c.state = leaving
	c.deadline = c.turn.Now + patience.Milliseconds()
}

// hangUp closes the socket once everything written has left.
func (c *conn) hangUp() {
	c.state = over
	c.write()
	c.link.CloseAfterFlush()
}

// endSessions ends what the connection has in the core. What it holds
// unsettled comes back; lastDelivered says what of that its application has
// seen, as in RemoveInfo.
func (c *conn) endSessions(lastDelivered int64) {
	c.unpark(true)
	c.inbox.Close()
	c.transactions, c.prepared = nil, nil
	for _, cons := range c.consumers {
		c.closeConsumer(cons, lastDelivered)
	}
	c.flushSettles()
	if c.session != nil {
		c.session.Close(&c.turn)
		c.session = nil
	}
	if c.core != nil {
		c.core.Close(&c.turn)
		c.core = nil
	}
	if c.room != nil {
		c.server.hub.leave(c)
		c.room = nil
	}
	c.consumers, c.producers, c.latest, c.temps = nil, nil, nil, nil
	c.holding, c.calls = nil, nil
	c.owed = delivery.Owed{}
	c.parked, c.parkedBytes = nil, 0
}

// Closed implements transport.Session.
func (c *conn) Closed(error) {
	if c.link != nil && c.state != over {
		c.begin()
		c.endSessions(wire.LastDeliveredUnknown)
	}
	c.state = over
	c.out = nil
}

// Drained implements transport.Session: the socket takes more again.
func (c *conn) Drained() {
	c.begin()
	c.full = false
	c.owed.Repay(&c.turn)
	c.unhold()
	c.flushSettles()
}

// Drain implements transport.Session: the server shuts down. Clients that fail
// over see the socket close and look for another broker.
func (c *conn) Drain() {
	c.begin()
	c.endSessions(wire.LastDeliveredUnknown)
	c.hangUp()
}

var _ transport.Leaver = (*conn)(nil)

// Leave implements transport.Leaver: another node is the active one. A client
// that fails over is reminded where the nodes are and finds the active one
// when the socket closes; an exception would only alarm its application. Others
// learn why they have to go.
func (c *conn) Leave() {
	if c.state != running {
		return
	}
	if c.survives {
		c.tellCluster()
	} else {
		t := exceptionOf(refuse(classJMS, "The broker is not the active one any more: another node has taken over"))
		c.send(&wire.ConnectionError{Exception: t, ConnectionID: c.structureID()})
	}
	c.write()
}

// slack is how much earlier than promised a sign of life is sent, in ms: ticks
// come a quarter of a second apart.
const slack = 300

// Tick implements transport.Session.
func (c *conn) Tick(time.Time) {
	if c.state == over {
		return
	}
	c.begin()
	if c.deadline != 0 && c.turn.Now >= c.deadline {
		if c.state < running {
			c.opt.Logger.Info("openwire client did not log in in time", "peer", c.link.Info().RemoteString())
		}
		c.hangUp()
		return
	}
	c.inbox.Trim()
	if c.state == greeting {
		return
	}
	c.expirePulls()
	c.tellSlow()
	limit := c.agreed.MaxInactivity
	if limit <= 0 {
		return
	}
	if n := c.link.Arrived(); n != c.arrived { // a frame that takes long to arrive is a sign of life
		c.arrived, c.heard = n, c.turn.Now
	}
	// Nothing is heard while nothing is read.
	if c.turn.Now-c.heard > limit+limit/2 && c.paused == 0 {
		c.opt.Logger.Info("openwire client is silent", "peer", c.link.Info().RemoteString(), "user", c.userName(), "ms", c.turn.Now-c.heard)
		c.endSessions(wire.LastDeliveredUnknown)
		c.state = over
		c.link.Close()
		return
	}
	if every := limit / 3; c.turn.Now-c.spoke >= max(every-slack, every/2) {
		c.send(&wire.KeepAliveInfo{})
	}
}

func (c *conn) flushSettles() { c.settles.Flush(c.session, &c.turn) }

func (c *conn) collect(q *broker.Queue, l broker.Lease, o broker.Outcome) {
	c.settles.Collect(c.session, &c.turn, q, l, o)
}

func (c *conn) userName() string {
	if c.user == nil {
		return ""
	}
	return c.user.Name
}
