package amqp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/hermodmq/hermod/broker"
	"github.com/hermodmq/hermod/listeners/amqp/wire"
	"github.com/hermodmq/hermod/listeners/delivery"
	"github.com/hermodmq/hermod/listeners/transport"
)

// New returns what a transport listener calls for every accepted connection.
func New(b *broker.Broker, o Options) func() transport.Session {
	opt := o.withDefaults(b.Node())
	return func() transport.Session {
		return &conn{broker: b, opt: &opt, frameMax: initialFrameMax}
	}
}

// state is how far a connection has come.
type state uint8

const (
	awaitingHeader state = iota
	awaitingStartOk
	authenticating // the login runs off the loop; input waits
	refusing       // the login failed and the client would not understand why
	awaitingTuneOk
	awaitingOpen
	running
	closing // connection.close is sent, close-ok is awaited
	over    // nothing is read any more
)

// Reasons to pause reading.
const (
	whyLogin uint8 = 1 << iota
	whyAlarm
	whyStore
	whyReplies
	whyOrder
)

// conn is one AMQP connection as a state machine. All its methods run on the
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

	frameMax   uint32
	channelMax uint16
	heartbeat  int64 // ms; 0: none
	deadline   int64 // Unix ms at which patience with state ends; 0: never
	heard      int64 // Unix ms of the last input
	spoke      int64 // Unix ms of the last output

	client    clientProperties
	user      *broker.User
	mechanism string
	core      *broker.Connection
	current   wire.MethodID // the method being carried out, for close frames

	alarms broker.Alarm

	channels map[uint16]*channel
	last     *channel   // the channel of the latest frame
	waiting  int        // replies that wait for the store, on all channels
	dirty    []*channel // with verdicts to tell at the end of the turn
	settlers []*channel // with acknowledgements to give to the core
	owed     delivery.Owed
	holding  []*consumer // consumers with deliveries held back

	failures   int // channels that ended with a reason
	assembling int // bytes of bodies that are not complete, on all channels

	inbox delivery.Inbox[note, receipt]
	slab  slab // of the read that is being carried out

	patched []byte // scratch for rewritten property lists
	taken   []unsettled
	leases  []broker.Lease
}

var (
	// errHangUp ends a connection that deserves or understands no explanation.
	errHangUp = errors.New("amqp: connection ended")

	// errLater leaves the frame where it is: reading has paused, and the frame
	// comes again when it resumes.
	errLater = errors.New("amqp: frame out of turn")
)

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
		if taken := c.wholePublish(p[n:]); taken > 0 {
			n += taken
			continue
		}
		c.slab.drop()
		var taken int
		if taken, need, err = c.step(p[n:]); err != nil || taken == 0 {
			break
		}
		n += taken
	}
	c.slab = slab{}
	c.flushSettlers()
	return n, need, err
}

// step carries out the protocol header or frame at the head of b and returns
// how many bytes it took, or how many it would need.
func (c *conn) step(b []byte) (n, need int, err error) {
	switch c.state {
	case awaitingHeader:
		return c.preamble(b)
	case over:
		return len(b), 0, nil
	}
	f, n, need, err := wire.NextFrame(b, c.frameMax)
	if err != nil {
		return len(b), 0, c.broken(b, err)
	}
	if n == 0 {
		return 0, need, nil
	}
	if err := c.frame(f); err != errLater {
		return n, 0, err
	}
	return 0, 0, nil
}

// EndTurn implements transport.Session: it tells publishers what became of
// their messages and gives the link what the turn has written. It calls
// nobody in the core, so that nothing comes back in a turn that is over.
func (c *conn) EndTurn() {
	for i := 0; i < len(c.dirty); i++ {
		ch := c.dirty[i]
		c.dirty[i] = nil
		ch.dirty = false
		ch.flushConfirms()
	}
	c.dirty = c.dirty[:0]
	c.write()
}

// buffer is where output goes; write gives it back to the link.
func (c *conn) buffer() []byte {
	if c.out == nil {
		c.out = c.link.Out()
	}
	return c.out
}

// send writes a method at once.
func (c *conn) send(channel uint16, m wire.Method) {
	c.out = wire.AppendMethod(c.buffer(), channel, m)
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

// broken ends a connection whose input b cannot be cut into frames any more.
func (c *conn) broken(b []byte, err error) error {
	if c.state < awaitingTuneOk || c.state >= closing {
		return errHangUp
	}
	c.current = 0
	e := exceptionOf(err)
	if size := announced(b); e.code == wire.FrameError && size > c.frameMax {
		e.text = fmt.Sprintf("type %d, all octets = <<>>: {frame_too_large,%d,%d}", b[0], size, c.frameMax-wire.FrameOverhead)
	}
	c.fail(e)
	c.hangUp()
	return nil
}

// announced is the payload size in the frame head b begins with, 0 if there is
// none.
func announced(b []byte) uint32 {
	if len(b) < 7 {
		return 0
	}
	return binary.BigEndian.Uint32(b[3:])
}

// frame carries out one frame.
func (c *conn) frame(f wire.Frame) error {
	switch {
	case c.state == closing:
		return c.frameWhileClosing(f)
	case f.Type == wire.FrameHeartbeat:
		return nil
	case f.Channel != 0 && c.state == running:
		return c.channelFrame(f)
	}
	c.current = 0
	err := c.connectionFrame(f)
	if err == nil || err == errHangUp {
		return err
	}
	c.fail(exceptionOf(err))
	return nil
}

// connectionFrame carries out a frame of channel 0, or of any channel before
// the connection is open.
func (c *conn) connectionFrame(f wire.Frame) error {
	if f.Type != wire.FrameMethod {
		return refuse(wire.UnexpectedFrame, "expected method frame, got non method frame instead")
	}
	if f.Channel != 0 {
		return refuse(wire.ChannelError, "channel %d before connection.open", f.Channel)
	}
	id, err := wire.MethodIDOf(f.Payload)
	if err != nil {
		return err
	}
	c.current = id
	m, err := wire.DecodeMethod(f.Payload)
	if err != nil {
		return err
	}
	return c.connectionMethod(m)
}

// frameWhileClosing discards everything but the end of the handshake of
// closing.
func (c *conn) frameWhileClosing(f wire.Frame) error {
	if f.Type != wire.FrameMethod || f.Channel != 0 {
		return nil
	}
	switch id, _ := wire.MethodIDOf(f.Payload); id {
	case wire.IDConnectionCloseOk:
		c.hangUp()
	case wire.IDConnectionClose:
		c.send(0, &wire.ConnectionCloseOk{})
		c.hangUp()
	}
	return nil
}

// fail ends the connection with a reason.
func (c *conn) fail(e *exception) {
	if c.state >= closing {
		return
	}
	c.teardown()
	c.opt.Logger.Info("amqp connection failed", "peer", c.link.Info().RemoteString(), "user", c.userName(), "code", e.code, "reason", e.text)
	c.send(0, &wire.ConnectionClose{ReplyCode: e.code, ReplyText: e.replyText(), ClassID: c.current.Class(), MethodID: c.current.Method()})
	c.state = closing
	c.deadline = c.turn.Now + c.opt.CloseTimeout.Milliseconds()
}

// hangUp closes the socket once everything written has left.
func (c *conn) hangUp() {
	c.state = over
	c.write()
	c.link.CloseAfterFlush()
}

// teardown ends what the connection has in the core: what the client has
// acknowledged so far counts, everything else it holds is released, and its
// exclusive queues are gone when it returns.
func (c *conn) teardown() {
	for _, ch := range c.channels {
		ch.flushConfirms()
	}
	c.endSessions()
	c.forget()
	c.resume(whyLogin)
	c.resume(whyAlarm)
	c.resume(whyStore)
	c.resume(whyReplies)
	c.resume(whyOrder)
}

// endSessions is the part of teardown that concerns the core.
func (c *conn) endSessions() {
	c.inbox.Close()
	c.flushSettlers()
	for _, ch := range c.channels {
		ch.ended = true
	}
	if c.core != nil {
		c.core.Close(&c.turn)
		c.core = nil
	}
}

func (c *conn) forget() {
	c.broker.ReturnIncomplete(c.assembling)
	c.assembling = 0
	c.channels, c.last, c.core = nil, nil, nil
	c.dirty, c.holding, c.settlers = nil, nil, nil
	c.owed = delivery.Owed{}
}

// Closed implements transport.Session.
func (c *conn) Closed(error) {
	if c.link != nil && c.state < closing {
		c.begin()
		c.endSessions()
	}
	c.state = over
	c.out = nil
	c.forget()
}

// Drained implements transport.Session: the socket takes more again.
func (c *conn) Drained() {
	c.begin()
	c.full = false
	c.owed.Repay(&c.turn)
	c.unhold()
}

// Drain implements transport.Session: the server shuts down.
func (c *conn) Drain() {
	c.begin()
	c.current = 0
	if c.state < awaitingTuneOk {
		c.hangUp()
		return
	}
	c.fail(&exception{wire.ConnectionForced, "broker forced connection closure with reason 'shutdown'"})
}

var _ transport.Leaver = (*conn)(nil)

// Leave implements transport.Leaver: another node is the active one. Clients
// that recover do so after this code, as after any that is the server's.
func (c *conn) Leave() {
	if c.state >= awaitingTuneOk && c.state < closing {
		e := exception{wire.ConnectionForced, "broker forced connection closure with reason 'another node has taken over'"}
		c.send(0, &wire.ConnectionClose{ReplyCode: e.code, ReplyText: e.replyText()})
		c.write()
	}
}

// Tick implements transport.Session.
func (c *conn) Tick(time.Time) {
	if c.state == over {
		return
	}
	c.begin()
	c.inbox.Trim()
	if c.deadline != 0 && c.turn.Now >= c.deadline {
		c.opt.Logger.Info("amqp connection timed out", "peer", c.link.Info().RemoteString(), "state", c.state.String())
		c.hangUp()
		return
	}
	if c.heartbeat == 0 || c.state < awaitingOpen || c.state == closing {
		return
	}
	// Nothing is heard while nothing is read.
	if c.turn.Now-c.heard > 2*c.heartbeat && c.paused == 0 {
		c.opt.Logger.Info("amqp client sent no heartbeat", "peer", c.link.Info().RemoteString(), "user", c.userName())
		c.state = over
		c.endSessions()
		c.link.Close()
		return
	}
	if c.turn.Now-c.spoke >= c.heartbeat/2 {
		c.out = wire.AppendHeartbeat(c.buffer())
	}
}

// String names the state for logs.
func (s state) String() string {
	switch s {
	case awaitingHeader:
		return "protocol header"
	case awaitingStartOk:
		return "start"
	case authenticating, refusing:
		return "login"
	case awaitingTuneOk:
		return "tune"
	case awaitingOpen:
		return "open"
	case running:
		return "running"
	case closing:
		return "closing"
	}
	return "over"
}

func (c *conn) userName() string {
	if c.user == nil {
		return ""
	}
	return c.user.Name
}
