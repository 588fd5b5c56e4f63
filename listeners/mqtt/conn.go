package mqtt

import (
	"time"

	"github.com/hermodmq/hermod/broker"
	"github.com/hermodmq/hermod/listeners/mqtt/wire"
	"github.com/hermodmq/hermod/listeners/transport"
)

// state is how far a connection has come.
type state uint8

const (
	awaitingConnect state = iota
	authenticating        // the login runs off the loop; input waits
	challenged            // the client's turn in an exchange of enhanced authentication
	claiming              // another connection has to let go of the session
	running
	over // nothing is read any more
)

// Reasons to pause reading.
const (
	whyLogin uint8 = 1 << iota
	whyAlarm
	whyStore
)

// conn is one MQTT connection as a state machine. All its methods run on the loop
// that owns it, those of its verdicts excepted.
type conn struct {
	srv    *Server
	opt    *Options
	broker *broker.Broker
	link   transport.Link
	turn   broker.Turn
	state  state

	out    []byte // the link's output buffer while this turn writes to it
	before int    // its length before this turn wrote
	unseen int    // bytes of messages since the link was asked whether it is full
	full   bool   // the link takes no more messages until Drained
	paused uint8

	limit    int   // bytes of a packet the client may send
	heard    int64 // Unix ms of the last whole packet
	deadline int64 // Unix ms at which patience with state ends; 0: never
	grace    int64 // ms of silence after which the connection ends; 0: never
	partial  int64 // Unix ms since which a packet is incomplete; 0: none is
	needed   int   // bytes of that packet

	version  wire.Version
	connect  *wire.Connect // until the client is let in
	userName string        // with an authentication method only
	assigned bool          // the client id is ours
	clientID string
	asked    uint32 // session expiry the client wants, and
	expiry   uint32 // the one it gets
	core     *broker.Connection
	pub      *broker.Session
	auth     *authentication // nil without enhanced authentication
	session  *session
	present  bool // there was a session
	attached bool // the session is this connection's
	admitted bool // CONNACK accepted the client

	alarms    broker.Alarm
	verdicts  verdicts
	acks      ackQueue
	receiving int      // publishes of the client that are not acknowledged
	aliases   []string // topics by alias, as the client set them

	quota     int // messages of QoS 1 and 2 that may be sent now
	maxPacket int // bytes the client takes; 0: any
	outAlias  map[string]uint16
	aliasMax  uint16
	problems  bool    // the client wants reason strings
	wantsInfo bool    // and response information
	began     int64   // Unix ms of its start
	published pace    // messages of the client
	watches   bool    // $SYS topics
	traffic   traffic // not added to the server's counters yet
	looked    int     // retained messages looked at in this turn
	looking   bool    // an eventRetained is on its way

	pending   []broker.Delivery // wait for quota or link
	late      []*outgoing       // of a resumed session, wait for quota
	owed      []*feed           // deliveries handled whose credit is not returned
	settled   []broker.Lease    // of settledOn, to be accepted
	settledOn *broker.Queue
	targets   []target    // scratch of deliverCopies
	unstored  []*outgoing // whose identifiers have to be stored before they leave
	unsaved   []broker.Definition

	key   []byte          // scratch: routing key or topic
	props wire.Properties // scratch
	leave bool            // detach ran
}

// Start implements transport.Session.
func (c *conn) Start(l transport.Link) {
	c.link = l
	c.begin()
	c.heard, c.began = c.turn.Now, c.turn.Now
	c.deadline = c.turn.Now + c.opt.ConnectTimeout.Milliseconds()
}

// begin brings the turn's time and bells up to date.
func (c *conn) begin() {
	c.turn.Now = c.link.Now().UnixMilli()
	c.turn.Bells = c.link.Batch()
}

// Receive implements transport.Session. It stops early when reading pauses.
func (c *conn) Receive(p []byte) (n, need int, err error) {
	c.begin()
	c.partial = 0
	for n < len(p) && c.paused == 0 {
		if c.state == over {
			return len(p), 0, nil
		}
		h, body, size, more, cut := wire.Next(p[n:], c.limit)
		if cut != nil {
			err = c.broken(cut)
			n = len(p)
			break
		}
		if size == 0 {
			c.partial, c.needed, need = c.turn.Now, more, more
			break
		}
		c.heard = c.turn.Now
		n += size
		c.traffic.received++
		c.traffic.bytesReceived += int64(size)
		if err = c.packet(h, body); err != nil {
			err = c.broken(err)
			n = len(p)
			break
		}
	}
	c.finish()
	return n, need, err
}

// packet carries out one packet.
func (c *conn) packet(h wire.Header, body []byte) error {
	if c.state == awaitingConnect {
		if h.Type != wire.CONNECT {
			return errHangUp // [MQTT-3.1.0-1]
		}
		if h.Flags != 0 {
			return errHangUp
		}
		return c.onConnect(body)
	}
	if err := h.CheckFlags(c.version); err != nil {
		return err
	}
	if c.state == challenged && h.Type != wire.AUTH {
		if h.Type == wire.DISCONNECT {
			return errHangUp
		}
		return refuse(wire.ProtocolError, h.Type.String()+" before CONNACK") // [MQTT-4.12.0-4]
	}
	switch h.Type {
	case wire.PUBLISH:
		return c.onPublish(h, body)
	case wire.PUBACK, wire.PUBREC, wire.PUBREL, wire.PUBCOMP:
		return c.onAck(h.Type, body)
	case wire.SUBSCRIBE:
		return c.onSubscribe(body)
	case wire.UNSUBSCRIBE:
		return c.onUnsubscribe(body)
	case wire.PINGREQ:
		if len(body) != 0 {
			return refuse(wire.MalformedPacket, "PINGREQ with content")
		}
		c.out = wire.AppendPingresp(c.buffer())
		return nil
	case wire.DISCONNECT:
		return c.onDisconnect(body)
	case wire.AUTH:
		return c.onAuth(body)
	}
	return refuse(wire.ProtocolError, h.Type.String()+" from a client")
}

// broken ends the connection because of what the client sent.
func (c *conn) broken(err error) error {
	if err == errHangUp || c.state == awaitingConnect {
		c.detach(true)
		return errHangUp
	}
	text := "internal error"
	if e, ok := err.(*wire.Error); ok {
		text = e.Text
	} else if e, ok := err.(*broker.Error); ok {
		text = e.Text
	}
	if c.state == challenged {
		return c.refuseWith(reasonOf(err), text)
	}
	c.fail(reasonOf(err), text)
	return nil
}

// finish tells the core what a call from the transport has brought about. EndTurn
// calls nobody in the core, so that nothing comes back in a turn that is over.
func (c *conn) finish() {
	if c.state != running {
		return
	}
	c.storeSent()
	c.flushSettled()
	c.repay()
}

// EndTurn implements transport.Session.
func (c *conn) EndTurn() {
	if c.state == running {
		c.flushAcks()
	}
	c.write()
}

// buffer is where one packet goes; write gives it back to the link.
func (c *conn) buffer() []byte {
	if c.out == nil {
		c.out = c.link.Out()
		c.before = len(c.out)
	}
	c.traffic.sent++
	return c.out
}

func (c *conn) write() {
	if c.out != nil {
		c.traffic.bytesSent += int64(len(c.out) - c.before)
		c.link.SetOut(c.out)
		c.out = nil
	}
}

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

// fail ends a connection with a reason; its will is published.
func (c *conn) fail(code wire.Reason, text string) {
	if c.state == over {
		return
	}
	c.opt.Logger.Info("mqtt connection ended", "peer", c.link.Info().RemoteString(), "client", c.clientID, "reason", byte(code), "text", text)
	c.farewell(code, text)
	c.detach(true)
	c.hangUp()
}

// farewell writes a DISCONNECT, which MQTT 3 does not have from servers.
func (c *conn) farewell(code wire.Reason, text string) {
	if c.version != wire.V5 || c.state != running {
		return
	}
	c.srv.counters.refused[code].Add(1)
	d := wire.Disconnect{Reason: code}
	if code == wire.UseAnotherServer || code == wire.ServerMoved {
		d.Props = d.Props.AppendText(wire.ServerReference, c.opt.ServerReference)
	}
	if text != "" && valid(text) {
		d.Props = d.Props.AppendText(wire.ReasonString, text)
		if c.maxPacket > 0 && len(d.Append(nil, c.version)) > c.maxPacket {
			d.Props = nil
		}
	}
	c.out = d.Append(c.buffer(), c.version)
}

// hangUp closes the socket once everything written has left.
func (c *conn) hangUp() {
	c.state = over
	c.resume(whyLogin)
	c.resume(whyAlarm)
	c.resume(whyStore)
	c.write()
	c.link.CloseAfterFlush()
}

// detach ends what the connection has in the core and lets go of the session.
// abnormal says that its will is to be published.
func (c *conn) detach(abnormal bool) {
	if c.leave {
		return
	}
	c.leave = true
	c.unwatchSys()
	if c.attached {
		c.storeSent()
		c.flushSettled()
		c.suspend(abnormal)
	}
	c.srv.counters.add(&c.traffic)
	if c.admitted {
		c.srv.counters.byVersion[c.version].connected.Add(-1)
	}
	if c.session != nil {
		c.srv.release(c.session, c)
	}
	c.verdicts.close()
	if c.core != nil {
		c.core.Close(&c.turn)
	}
	c.state = over
	c.core, c.pub, c.session, c.attached = nil, nil, nil, false
	c.pending, c.late, c.owed, c.aliases, c.outAlias, c.acks = nil, nil, nil, nil, nil, ackQueue{}
}

// suspend puts the session to rest, or ends it.
func (c *conn) suspend(abnormal bool) {
	s := c.session
	s.suspend(&c.turn, c.pending)
	s.ended = c.turn.Now
	if !abnormal {
		s.will = nil
	}
	if s.will != nil {
		s.scheduleWill(c.turn.Now)
		waits, clean := c.srv.successor(s)
		if waits && !clean && s.willAt > c.turn.Now {
			s.will, s.willAt = nil, 0
		} else if s.willAt <= c.turn.Now {
			s.publishWill(&c.turn, c.pub)
		}
	}
	if s.expiry == 0 {
		s.end(&c.turn)
		return
	}
	s.save(&c.turn, nil)
}

// Closed implements transport.Session.
func (c *conn) Closed(error) {
	if c.link != nil {
		c.begin()
	}
	if c.link != nil || c.session != nil {
		c.detach(true)
	}
	c.state = over
	c.out = nil
}

// Drained implements transport.Session: the socket takes more again.
func (c *conn) Drained() {
	c.begin()
	c.full = false
	if c.state == running {
		c.pump()
		c.finish()
	}
}

// Drain implements transport.Session: the server shuts down. Wills are published
// as after any end that is not the client's wish.
func (c *conn) Drain() {
	c.begin()
	if c.state == running {
		c.fail(c.opt.leaving(), "server shutting down")
		return
	}
	c.detach(true)
	c.hangUp()
}

// leaving is the reason why clients have to go when the server does.
func (o *Options) leaving() wire.Reason {
	switch {
	case o.Moved:
		return wire.ServerMoved
	case o.ServerReference != "":
		return wire.UseAnotherServer
	}
	return wire.ServerShuttingDown
}

var _ transport.Leaver = (*conn)(nil)

// Leave implements transport.Leaver: another node is the active one. It has the
// session and the will, too; nothing is acknowledged here any more.
func (c *conn) Leave() {
	if c.state == running {
		c.farewell(c.opt.leaving(), "another node has taken over")
		c.write()
	}
}

// partialRate is how many bytes of a packet per millisecond are expected at
// least, beyond Options.PacketTimeout.
const partialRate = 16

// Tick implements transport.Session.
func (c *conn) Tick(time.Time) {
	if c.state == over {
		return
	}
	c.srv.counters.add(&c.traffic)
	c.begin()
	now := c.turn.Now
	switch {
	case c.deadline != 0 && now >= c.deadline:
		c.opt.Logger.Info("mqtt connection timed out before CONNECT", "peer", c.link.Info().RemoteString())
		c.detach(true)
		c.hangUp()
	case c.state != running:
	case c.opt.MaxConnectTime > 0 && now-c.began >= c.opt.MaxConnectTime.Milliseconds():
		c.fail(wire.MaximumConnectTime, "connection has lasted as long as it may")
	case c.paused != 0:
	case c.partial != 0:
		if now-c.partial > max(c.grace, c.opt.PacketTimeout.Milliseconds())+int64(c.needed)/partialRate {
			c.fail(wire.KeepAliveTimeout, "packet is not completed")
		}
	case c.grace != 0 && now-c.heard > c.grace:
		c.fail(wire.KeepAliveTimeout, "keep alive timeout")
	}
}

// Handle implements transport.Session.
func (c *conn) Handle(ev transport.Event) {
	if c.state == over {
		return
	}
	c.begin()
	switch ev.Kind {
	case eventInbox:
		c.readInbox()
	case eventLogin:
		c.loggedIn(ev.P.(*loginResult))
	case eventSys:
		if c.state == running {
			c.sendSys(ev.P.([]sysValue))
		}
	case eventAuth:
		c.authStepped(ev.P.(*authResult))
	case eventAdmit:
		c.admit()
	case eventGranted:
		c.granted()
	case eventTakeover:
		c.takenOver()
	case eventClose:
		c.fail(wire.AdministrativeAction, *ev.P.(*string))
	case eventEnd:
		if c.attached {
			c.session.expiry = 0
			c.fail(wire.AdministrativeAction, "session was ended by an operator")
		} else {
			c.detach(false)
			c.hangUp()
		}
	case eventAlarm:
		c.alarms = broker.Alarm(ev.A)
		if c.alarms == 0 {
			c.resume(whyAlarm)
		}
	case eventRelief:
		c.resume(whyStore)
	case eventSuback:
		if c.state == running {
			c.subscribed(ev.P.(*pendingSuback))
		}
	case eventRetained:
		c.looking = false
		if c.state == running {
			c.pump()
		}
	case eventSend:
		if c.state == running {
			c.sendStored(ev.P.([]*outgoing))
		}
	}
	c.finish()
}

// takenOver makes room for another connection with the same client id
// [MQTT-3.1.4-3].
func (c *conn) takenOver() {
	c.opt.Logger.Info("mqtt session taken over", "peer", c.link.Info().RemoteString(), "client", c.clientID)
	if c.state == running {
		c.farewell(wire.SessionTakenOver, "session taken over")
	}
	c.detach(true)
	c.hangUp()
}

// readInbox carries out what the core has told.
func (c *conn) readInbox() {
	list := c.verdicts.take()
	for _, r := range list {
		c.verdictFor(r)
	}
	c.verdicts.giveBack(list)
	if c.state == running && c.session != nil {
		c.readMail()
	}
}

// congested stops a publisher while the broker cannot take more.
func (c *conn) congested() {
	if c.alarms != 0 {
		c.pause(whyAlarm)
	}
	if c.paused&whyStore == 0 && c.broker.Congested() {
		c.pause(whyStore)
		link := c.link
		c.broker.OnRelief(func() { link.Post(transport.Event{Kind: eventRelief}) })
	}
}
