package amqp

import (
	"context"
	"log/slog"
	"strings"

	"github.com/hermodmq/hermod/broker"
	"github.com/hermodmq/hermod/listeners/amqp/wire"
	"github.com/hermodmq/hermod/listeners/delivery"
	"github.com/hermodmq/hermod/listeners/transport"
)

// channel is one AMQP channel: a session of the core and what the protocol
// numbers by channel.
type channel struct {
	conn    *conn
	id      uint16
	session *broker.Session

	ended   bool // the session is closed; only close and close-ok mean anything
	crossed bool // the client's close met ours
	dirty   bool // in conn.dirty
	tx      bool
	returns []*broker.Message // unroutable, to be told when the open transaction commits

	publish  pendingPublish
	exchange string // the last one published to, so that its name is made once
	confirms confirms

	lastQueue string // that "" stands for
	prefetch  int    // for consumers to come
	shared    bool   // a prefetch for the whole channel is in force
	consumers map[string]*consumer
	reply     *consumer // of direct reply-to
	replyTo   string    // its address

	lastTag uint64 // delivery tag
	ledger  delivery.Ledger[struct{}]
	txTaken []unsettled // acknowledged in the open transaction

	// Acknowledgements of one queue and outcome are collected and given to the
	// core together, at the latest when what was received is carried out.
	settling delivery.Settles
	settles  bool // in conn.settlers

	replies []*reply // waiting, oldest first
	lastRef uint64
}

// channelFrame carries out a frame of a channel.
func (c *conn) channelFrame(f wire.Frame) error {
	ch := c.last
	if ch == nil || ch.id != f.Channel {
		if ch = c.channels[f.Channel]; ch == nil {
			return c.unopened(f)
		}
		c.last = ch
	}
	if ch.ended {
		return c.endedFrame(ch, f)
	}
	if err := ch.frame(f); err == errLater {
		return err
	} else if err != nil {
		c.raise(ch, err)
	}
	return nil
}

// raise ends the channel or the connection, as the code of err wants.
func (c *conn) raise(ch *channel, err error) {
	e := exceptionOf(err)
	if e.onChannel() {
		ch.fail(e)
		return
	}
	c.fail(e)
}

// unopened carries out a frame on a channel that does not exist.
func (c *conn) unopened(f wire.Frame) error {
	c.current = 0
	if f.Type == wire.FrameMethod {
		c.current, _ = wire.MethodIDOf(f.Payload)
	}
	switch c.current {
	case wire.IDChannelOpen:
		return c.openChannel(f)
	case wire.IDChannelCloseOk: // of a channel both sides closed at once
		return nil
	}
	c.fail(&exception{wire.ChannelError, "expected 'channel.open'"})
	return nil
}

func (c *conn) openChannel(f wire.Frame) error {
	if len(c.channels) >= int(c.channelMax) {
		c.fail(&exception{wire.NotAllowed, "number of channels opened (" + itoa(len(c.channels)) +
			") has reached the negotiated channel_max (" + itoa(int(c.channelMax)) + ")"})
		return nil
	}
	if _, err := wire.DecodeMethod(f.Payload); err != nil {
		c.fail(exceptionOf(err))
		return nil
	}
	ch := &channel{conn: c, id: f.Channel}
	ch.session = c.core.VHost().OpenSession(c.core, (*sink)(ch))
	ch.session.SetNumber(int(f.Channel))
	c.channels[f.Channel] = ch
	c.last = ch
	c.send(f.Channel, &wire.ChannelOpenOk{})
	return nil
}

// endedFrame discards everything on a channel we have closed until the client
// has agreed.
func (c *conn) endedFrame(ch *channel, f wire.Frame) error {
	if f.Type != wire.FrameMethod {
		return nil
	}
	switch id, _ := wire.MethodIDOf(f.Payload); id {
	case wire.IDChannelCloseOk:
		c.forgetChannel(ch)
	case wire.IDChannelClose:
		ch.crossed = true
		c.send(ch.id, &wire.ChannelCloseOk{})
	case wire.IDChannelOpen: // a client that counts its own close as enough
		if ch.crossed {
			c.forgetChannel(ch)
			c.current = id
			return c.openChannel(f)
		}
	}
	return nil
}

func (c *conn) forgetChannel(ch *channel) {
	delete(c.channels, ch.id)
	if c.last == ch {
		c.last = nil
	}
}

// frame carries out a frame of an open channel.
func (ch *channel) frame(f wire.Frame) error {
	switch f.Type {
	case wire.FrameMethod:
		id, err := wire.MethodIDOf(f.Payload)
		if err != nil {
			return err
		}
		switch ch.publish.expect {
		case expectHeader:
			return refuse(wire.UnexpectedFrame, "expected content header for class 60, got non content header frame instead")
		case expectBody:
			return refuse(wire.UnexpectedFrame, "expected content body, got non content body frame instead")
		}
		ch.conn.current = id
		return ch.method(id, f.Payload)
	case wire.FrameHeader:
		return ch.contentHeader(f.Payload)
	}
	return ch.contentBody(f.Payload)
}

// method carries out a method. Those that come once per message are decoded
// without allocating; before any other, collected acknowledgements count.
func (ch *channel) method(id wire.MethodID, payload []byte) error {
	switch id {
	case wire.IDBasicPublish:
		return ch.basicPublish(payload)
	case wire.IDBasicAck:
		var m wire.BasicAck
		if err := m.Decode(payload); err != nil {
			return err
		}
		return ch.settle(m.DeliveryTag, m.Multiple, broker.Accepted)
	case wire.IDBasicNack:
		var m wire.BasicNack
		if err := m.Decode(payload); err != nil {
			return err
		}
		return ch.settle(m.DeliveryTag, m.Multiple, requeued(m.Requeue))
	case wire.IDBasicReject:
		var m wire.BasicReject
		if err := m.Decode(payload); err != nil {
			return err
		}
		return ch.settle(m.DeliveryTag, false, requeued(m.Requeue))
	}
	ch.flushSettles()
	if ch.mustSeePublishes(id) {
		return errLater
	}
	m, err := wire.DecodeMethod(payload)
	if err != nil {
		return err
	}
	return ch.dispatch(m)
}

// mustSeePublishes pauses reading before a method whose answer tells what is in
// a queue, until what the channel has published before is in it: a client may
// publish a persistent message and get it in its next breath.
func (ch *channel) mustSeePublishes(id wire.MethodID) bool {
	switch id {
	case wire.IDBasicGet, wire.IDQueueDeclare, wire.IDQueuePurge, wire.IDQueueDelete:
	default:
		return false
	}
	link := ch.conn.link
	waits := ch.session.AfterPublishes(&ch.conn.turn, func(*broker.Turn) { link.Post(transport.Event{Kind: eventVisible}) })
	if waits {
		ch.conn.pause(whyOrder)
	}
	return waits
}

func requeued(again bool) broker.Outcome {
	if again {
		return broker.Failed
	}
	return broker.Rejected
}

// dispatch is the table of contents of the protocol.
func (ch *channel) dispatch(m wire.Method) error {
	switch m := m.(type) {
	case *wire.ChannelOpen:
		return refuse(wire.ChannelError, "second 'channel.open' seen")
	case *wire.ChannelFlow:
		return ch.channelFlow(m)
	case *wire.ChannelFlowOk:
		return nil
	case *wire.ChannelClose:
		return ch.channelClose()
	case *wire.ChannelCloseOk:
		return nil
	case *wire.AccessRequest:
		return ch.accessRequest()

	case *wire.ExchangeDeclare:
		return ch.exchangeDeclare(m)
	case *wire.ExchangeDelete:
		return ch.exchangeDelete(m)
	case *wire.ExchangeBind:
		return ch.exchangeBind(m)
	case *wire.ExchangeUnbind:
		return ch.exchangeUnbind(m)

	case *wire.QueueDeclare:
		return ch.queueDeclare(m)
	case *wire.QueueBind:
		return ch.queueBind(m)
	case *wire.QueueUnbind:
		return ch.queueUnbind(m)
	case *wire.QueuePurge:
		return ch.queuePurge(m)
	case *wire.QueueDelete:
		return ch.queueDelete(m)

	case *wire.BasicQos:
		return ch.basicQos(m)
	case *wire.BasicConsume:
		return ch.basicConsume(m)
	case *wire.BasicCancel:
		return ch.basicCancel(m)
	case *wire.BasicCancelOk:
		return nil
	case *wire.BasicGet:
		return ch.basicGet(m)
	case *wire.BasicRecover:
		return ch.basicRecover(m.Requeue, true)
	case *wire.BasicRecoverAsync:
		return ch.basicRecover(m.Requeue, false)

	case *wire.ConfirmSelect:
		return ch.confirmSelect(m)
	case *wire.TxSelect:
		return ch.txSelect()
	case *wire.TxCommit:
		return ch.txCommit()
	case *wire.TxRollback:
		return ch.txRollback()
	}
	return refuse(wire.CommandInvalid, "%s is not for servers or not for channel %d", m.ID(), ch.id)
}

// touch has the verdicts told at the end of the turn.
func (ch *channel) touch() {
	if !ch.dirty {
		ch.dirty = true
		ch.conn.dirty = append(ch.conn.dirty, ch)
	}
}

// fail ends the channel with a reason. Answers that are under way go first;
// whatever the client holds is released at once.
func (ch *channel) fail(e *exception) {
	c := ch.conn
	c.opt.Logger.Log(context.Background(), c.failureLevel(), "amqp channel failed", "peer", c.link.Info().RemoteString(), "user", c.userName(), "channel", ch.id, "code", e.code, "reason", e.text)
	ch.flushSettles()
	ch.flushConfirms()
	ch.end()
	for _, r := range ch.replies {
		if r.ref != 0 { // a get: its session is closed, nobody may answer
			r.ready, r.run, r.frame = true, nil, nil
		}
	}
	ch.answer(&wire.ChannelClose{ReplyCode: e.code, ReplyText: e.replyText(), ClassID: c.current.Class(), MethodID: c.current.Method()})
	ch.sendReplies()
}

// maxLoggedFailures bounds what one connection can put into the log.
const maxLoggedFailures = 16

func (c *conn) failureLevel() slog.Level {
	if c.failures++; c.failures > maxLoggedFailures {
		return slog.LevelDebug
	}
	return slog.LevelInfo
}

// end closes the channel's session and forgets what it was doing.
func (ch *channel) end() {
	ch.ended = true
	ch.session.Close(&ch.conn.turn)
	ch.conn.disassemble(&ch.publish)
	ch.publish = pendingPublish{}
	ch.confirms = confirms{}
	ch.consumers, ch.reply = nil, nil
	ch.ledger, ch.txTaken, ch.returns = delivery.Ledger[struct{}]{}, nil, nil
}

// channelClose is the client's goodbye. It waits for no answers: those the
// client has not seen it will not look at.
func (ch *channel) channelClose() error {
	c := ch.conn
	ch.flushConfirms()
	ch.end()
	ch.dropReplies()
	c.forgetChannel(ch)
	c.send(ch.id, &wire.ChannelCloseOk{})
	return nil
}

// channelFlow refuses to hold deliveries back by channel.flow; prefetch limits
// do that better.
func (ch *channel) channelFlow(m *wire.ChannelFlow) error {
	if !m.Active {
		return refuse(wire.NotImplemented, "active=false")
	}
	ch.answer(&wire.ChannelFlowOk{Active: true})
	return nil
}

// accessRequest answers old clients; tickets have meant nothing since 0-9-1.
func (ch *channel) accessRequest() error {
	ch.answer(&wire.AccessRequestOk{Ticket: 1})
	return nil
}

// answer sends a method behind the answers that are waiting.
func (ch *channel) answer(m wire.Method) {
	if len(ch.replies) == 0 {
		ch.conn.send(ch.id, m)
		return
	}
	ch.queueReply(&reply{ready: true, frame: wire.AppendMethod(nil, ch.id, m)})
}

// answerRun is answer for what can only be written when its turn has come.
func (ch *channel) answerRun(run func()) {
	if len(ch.replies) == 0 {
		run()
		return
	}
	ch.queueReply(&reply{ready: true, run: run})
}

func (ch *channel) queueReply(r *reply) {
	c := ch.conn
	ch.replies = append(ch.replies, r)
	c.waiting++
	if c.waiting >= c.opt.PendingReplies {
		c.pause(whyReplies)
	}
}

// promise prepares an answer that the store decides the time of. done goes to
// the core; if the core then refuses, the promise is simply dropped.
func (ch *channel) promise(nowait bool) (r *reply, done func(*broker.Turn)) {
	if nowait {
		return nil, nil
	}
	r = new(reply)
	return r, func(t *broker.Turn) { ch.answered(t, r) }
}

// keepPromise sends m as soon as the core has answered; r is nil for nowait.
func (ch *channel) keepPromise(r *reply, m wire.Method) {
	if r == nil {
		return
	}
	if !r.state.CompareAndSwap(0, replyQueued) {
		ch.answer(m)
		return
	}
	r.frame = wire.AppendMethod(nil, ch.id, m)
	ch.queueReply(r)
}

// sendReplies sends the answers whose turn has come.
func (ch *channel) sendReplies() {
	c := ch.conn
	for len(ch.replies) > 0 && ch.replies[0].ready {
		r := ch.replies[0]
		ch.replies[0] = nil
		ch.replies = ch.replies[1:]
		c.waiting--
		if r.frame != nil {
			c.out = append(c.buffer(), r.frame...)
		}
		if r.run != nil {
			r.run()
		}
	}
	if len(ch.replies) == 0 {
		ch.replies = nil
		if len(ch.confirms.news) > 0 {
			ch.touch()
		}
	}
	c.relieveReplies()
}

// relieveReplies reads on once few enough answers wait for the store.
func (c *conn) relieveReplies() {
	if c.waiting < (c.opt.PendingReplies+1)/2 {
		c.resume(whyReplies)
	}
}

func (ch *channel) dropReplies() {
	ch.conn.waiting -= len(ch.replies)
	ch.replies = nil
	ch.conn.relieveReplies()
}

// queueName resolves "" to the queue last declared on the channel.
func (ch *channel) queueName(name string) (string, error) {
	if name != "" {
		return stripName(name), nil
	}
	if ch.lastQueue == "" {
		return "", refuse(wire.NotFound, "no previously declared queue")
	}
	return ch.lastQueue, nil
}

// stripName removes carriage returns and line feeds, as RabbitMQ does, from
// the name of a queue or exchange.
func stripName(name string) string {
	if !strings.ContainsAny(name, "\r\n") {
		return name
	}
	return strings.Map(func(r rune) rune {
		if r == '\r' || r == '\n' {
			return -1
		}
		return r
	}, name)
}
