package stomp

import (
	"time"

	"github.com/hermodmq/hermod/broker"
	"github.com/hermodmq/hermod/listeners/delivery"
	"github.com/hermodmq/hermod/listeners/stomp/wire"
	"github.com/hermodmq/hermod/listeners/transport"
)

// New returns what a transport listener calls for every accepted connection.
func New(b *broker.Broker, o Options) func() transport.Session {
	opt := o.withDefaults()
	return func() transport.Session {
		c := &conn{broker: b, opt: &opt}
		c.parser.Limits = opt.strangerLimits()
		return c
	}
}

// state is how far a connection has come.
type state uint8

const (
	awaitingConnect state = iota
	authenticating        // the login runs off the loop; input waits
	running
	leaving // DISCONNECT is taken; what came before it is being finished
	over    // nothing is read any more
)

// Reasons to pause reading.
const (
	whyLogin uint8 = 1 << iota
	whyAlarm
	whyStore
	whyReplies
)

// conn is one STOMP connection as a state machine. All its methods run on the
// loop that owns it, those of its inbox excepted.
type conn struct {
	broker *broker.Broker
	opt    *Options
	link   transport.Link
	turn   broker.Turn
	state  state

	out    []byte // the link's output buffer while this turn writes to it
	unseen int    // bytes of deliveries since the link was asked whether it is full
	full   bool   // the link takes no more deliveries until Drained
	paused uint8  // reasons why nothing is read

	parser   wire.Parser
	version  wire.Version
	id       string // of the session, as told to the client
	clientID string // of JMS, "" if none
	origin   string // marks its messages, "" before it has asked not to get them

	sendEvery int64 // ms between heart-beats of ours; 0: none
	hearEvery int64 // ms between those of the client; 0: none
	deadline  int64 // Unix ms at which patience with a stranger ends; 0: never
	heard     int64 // Unix ms of the last input
	spoke     int64 // Unix ms of the last output

	user    *broker.User
	hello   hello
	core    *broker.Connection
	session *broker.Session
	alarms  broker.Alarm

	consumers    map[string]*consumer // by key
	destinations map[string]*destination
	temps        map[string]string // queues of temporary destinations by their names here
	transactions map[string]*transaction
	txBytes      int

	lastTag  uint64
	ledger   delivery.Ledger[*consumer]
	replies  replies
	settling delivery.Settles
	browses  []*browse
	owed     delivery.Owed
	holding  []*consumer // consumers with deliveries held back
	inbox    delivery.Inbox[note, receipt]

	native  []byte // scratch for the headers of a message
	foreign []byte // scratch for those of messages of other protocols
	taken   []unsettled
}

// Start implements transport.Session.
func (c *conn) Start(l transport.Link) {
	c.link = l
	c.inbox.Open(l.Target(), eventInbox)
	c.begin()
	c.heard, c.spoke = c.turn.Now, c.turn.Now
	c.deadline = c.turn.Now + c.opt.HandshakeTimeout.Milliseconds()
}

// begin brings the turn's time and bells up to date.
func (c *conn) begin() {
	c.turn.Now = c.link.Now().UnixMilli()
	c.turn.Bells = c.link.Batch()
}

// Receive implements transport.Session. It stops early when reading pauses.
func (c *conn) Receive(p []byte) (n, need int, err error) {
	c.begin()
	c.heard = c.turn.Now
	for n < len(p) && c.paused == 0 {
		if c.state >= leaving {
			n, need = len(p), 0
			break
		}
		f, taken, more, err := c.parser.Next(p[n:])
		if err != nil {
			c.fail(problemOf(err))
			n, need = len(p), 0
			break
		}
		n, need = n+taken, more
		if taken == 0 {
			break
		}
		if f != nil {
			c.frame(f)
		}
	}
	c.flushSettles()
	return n, need, nil
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

// fail tells the client why and ends the connection.
func (c *conn) fail(p *problem) {
	if c.state == over {
		return
	}
	c.failWith(p, "", false)
}

func (c *conn) failWith(p *problem, receipt string, hasReceipt bool) {
	c.opt.Logger.Info("stomp connection failed", "peer", c.link.Info().RemoteString(), "user", c.userName(), "reason", p.message, "detail", p.detail)
	c.endSessions()
	c.out = p.append(c.buffer(), c.version, receipt, hasReceipt)
	c.hangUp()
}

// hangUp closes the socket once everything written has left.
func (c *conn) hangUp() {
	c.state = over
	c.write()
	c.link.CloseAfterFlush()
}

// endSessions ends what the connection has in the core: what the client has
// acknowledged so far counts, everything else it holds is released, its
// transactions are forgotten and its exclusive queues are gone.
func (c *conn) endSessions() {
	c.inbox.Close()
	c.flushSettles()
	if c.session != nil {
		c.session.Close(&c.turn)
		c.session = nil
	}
	if c.core != nil {
		c.core.Close(&c.turn)
		c.core = nil
	}
	c.consumers, c.destinations, c.temps, c.transactions = nil, nil, nil, nil
	c.holding, c.browses = nil, nil
	c.owed, c.ledger, c.replies = delivery.Owed{}, delivery.Ledger[*consumer]{}, replies{}
}

// Closed implements transport.Session.
func (c *conn) Closed(error) {
	if c.link != nil && c.state != over {
		c.begin()
		c.endSessions()
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
	c.browseAll()
	c.flushSettles()
}

// Drain implements transport.Session: the server shuts down.
func (c *conn) Drain() {
	c.begin()
	if c.state == awaitingConnect || c.state == authenticating {
		c.hangUp()
		return
	}
	c.fail(&problem{message: "Connection closed", detail: "The broker shuts down.\n", fatal: true})
}

var _ transport.Leaver = (*conn)(nil)

// Leave implements transport.Leaver: another node is the active one.
func (c *conn) Leave() {
	if c.state == running || c.state == leaving {
		p := problem{message: "Connection closed", detail: "Another node has taken over.\n", fatal: true}
		c.out = p.append(c.buffer(), c.version, "", false)
		c.write()
	}
}

// slack is how much earlier than promised a heart-beat is sent, in ms: ticks
// come a quarter of a second apart.
const slack = 300

// Tick implements transport.Session.
func (c *conn) Tick(time.Time) {
	if c.state == over {
		return
	}
	c.begin()
	c.inbox.Trim()
	if c.deadline != 0 && c.turn.Now >= c.deadline {
		c.opt.Logger.Info("stomp client did not log in in time", "peer", c.link.Info().RemoteString())
		c.hangUp()
		return
	}
	// Nothing is heard while nothing is read.
	if c.hearEvery != 0 && c.turn.Now-c.heard > 2*c.hearEvery && c.paused == 0 {
		c.opt.Logger.Info("stomp client sent no heart-beat", "peer", c.link.Info().RemoteString(), "user", c.userName())
		c.state = over
		c.endSessions()
		c.link.Close()
		return
	}
	if c.sendEvery != 0 && c.turn.Now-c.spoke >= max(c.sendEvery-slack, c.sendEvery/2) {
		c.out = append(c.buffer(), '\n')
	}
}

func (c *conn) userName() string {
	if c.user == nil {
		return ""
	}
	return c.user.Name
}
