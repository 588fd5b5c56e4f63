package amqp

import (
	"sync/atomic"

	"github.com/hermodmq/hermod/broker"
	"github.com/hermodmq/hermod/listeners/transport"
)

// Events a connection gets through its mailbox.
const (
	eventInbox   uint32 = iota + 1 // something is in the inbox
	eventLogin                     // P is a *loginResult
	eventClose                     // A is a reply code, P a *string: an operator closes the connection
	eventAlarm                     // A is the alarms in force
	eventRelief                    // the store takes publishes again
	eventVisible                   // what was published is in its queues
)

// noteKind says what a note tells.
type noteKind uint8

const (
	noteDeliver   noteKind = iota
	noteGet                // the answer to Session.Get, ok unless empty
	noteCancelled          // delivery.Sub has ended
	noteReady              // reply may be sent
)

// note is one thing the core has to tell a channel.
type note struct {
	kind     noteKind
	ok       bool
	ref      uint64
	ch       *channel
	reply    *reply
	delivery broker.Delivery
}

// receipt is the verdict on one publish.
type receipt struct {
	ch       *channel
	number   uint64
	accepted bool
}

// sink is a channel as the core sees it.
type sink channel

var _ broker.Sink = (*sink)(nil)

// Deliver implements broker.Sink.
func (s *sink) Deliver(t *broker.Turn, d broker.Delivery) {
	s.conn.inbox.Tell(t, &note{kind: noteDeliver, ch: (*channel)(s), delivery: d})
}

// GetResult implements broker.Sink.
func (s *sink) GetResult(t *broker.Turn, ref uint64, d broker.Delivery, ok bool) {
	s.conn.inbox.Tell(t, &note{kind: noteGet, ch: (*channel)(s), ref: ref, delivery: d, ok: ok})
}

// Receipt implements broker.Sink.
func (s *sink) Receipt(t *broker.Turn, id uint64, accepted bool) {
	s.conn.inbox.Receipt(t, receipt{ch: (*channel)(s), number: id, accepted: accepted})
}

// Cancelled implements broker.Sink.
func (s *sink) Cancelled(t *broker.Turn, sub *broker.Subscription) {
	s.conn.inbox.Tell(t, &note{kind: noteCancelled, ch: (*channel)(s), delivery: broker.Delivery{Sub: sub}})
}

// control is a connection as an operator reaches it, from any goroutine.
type control conn

var _ broker.Control = (*control)(nil)

// Close implements broker.Control.
func (c *control) Close(code broker.Kind, text string) {
	c.link.Post(transport.Event{Kind: eventClose, A: uint64(code), P: &text})
}

// Alarm implements broker.Control.
func (c *control) Alarm(a broker.Alarm) {
	c.link.Post(transport.Event{Kind: eventAlarm, A: uint64(a)})
}

// Refresh implements broker.Control. Nothing is cached here.
func (c *control) Refresh() {}

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
	case eventClose:
		c.forced(broker.Kind(ev.A), *ev.P.(*string))
	case eventAlarm:
		c.alarmsChanged(broker.Alarm(ev.A))
	case eventRelief:
		c.resume(whyStore)
	case eventVisible:
		c.resume(whyOrder)
	}
}

// readInbox carries out what the core has told.
func (c *conn) readInbox() {
	notes, receipts := c.inbox.Take()
	for i := range receipts {
		r := &receipts[i]
		if !r.ch.ended {
			r.ch.decided(r.number, r.accepted)
		}
	}
	for i := range notes {
		n := &notes[i]
		if c.state != running {
			break
		}
		if n.ch.ended && n.kind != noteReady {
			continue // its session is closed, which released what it held
		}
		switch n.kind {
		case noteDeliver:
			n.ch.deliver(&n.delivery)
		case noteGet:
			n.ch.got(n)
		case noteCancelled:
			n.ch.cancelled(n.delivery.Sub)
		case noteReady:
			n.reply.ready = true
			n.ch.sendReplies()
		}
	}
	c.inbox.GiveBack(notes, receipts)
	c.settleDeliveries()
}

// reply is an answer that must not overtake those before it on its channel.
type reply struct {
	ready bool // the loop's: it may be sent when its turn comes
	ref   uint64
	frame []byte // what to send, or
	run   func() // how to

	// state settles the race between the core's answer and the loop's going
	// on: whoever comes second finds the other's mark.
	state atomic.Uint32
	err   error // of a commit; written before state
}

const (
	replyAnswered uint32 = 1
	replyQueued   uint32 = 2
)

// answered marks the reply as answered by the core, on any goroutine.
func (ch *channel) answered(t *broker.Turn, r *reply) {
	if !r.state.CompareAndSwap(0, replyAnswered) {
		ch.conn.inbox.Tell(t, &note{kind: noteReady, ch: ch, reply: r})
	}
}
