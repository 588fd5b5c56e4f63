package stomp

import (
	"github.com/hermodmq/hermod/broker"
	"github.com/hermodmq/hermod/listeners/transport"
)

// Events a connection gets through its mailbox.
const (
	eventInbox    uint32 = iota + 1 // something is in the inbox
	eventLogin                      // P is a *loginResult
	eventClose                      // P is a *string: an operator closes the connection
	eventAlarm                      // A is the alarms in force
	eventRelief                     // the store takes publishes again
	eventBrowsed                    // P is a *browsed
	eventAppeared                   // P is an *appeared: a queue that wildcards stand for was made
)

// noteKind says what a note tells.
type noteKind uint8

const (
	noteDeliver   noteKind = iota
	noteCancelled          // delivery.Sub has ended
	noteReply              // reply ref may be sent; ok unless the core refused
)

// note is one thing the core has to tell.
type note struct {
	kind     noteKind
	ok       bool
	ref      uint64
	delivery broker.Delivery
}

// receipt is the verdict on one publish.
type receipt struct {
	ref      uint64
	accepted bool
}

// sink is a connection as the core's session sees it.
type sink conn

var _ broker.Sink = (*sink)(nil)

// Deliver implements broker.Sink.
func (s *sink) Deliver(t *broker.Turn, d broker.Delivery) {
	s.inbox.Tell(t, &note{kind: noteDeliver, delivery: d})
}

// GetResult implements broker.Sink. Nobody gets.
func (s *sink) GetResult(*broker.Turn, uint64, broker.Delivery, bool) {}

// Receipt implements broker.Sink.
func (s *sink) Receipt(t *broker.Turn, id uint64, accepted bool) {
	s.inbox.Receipt(t, receipt{ref: id, accepted: accepted})
}

// Cancelled implements broker.Sink.
func (s *sink) Cancelled(t *broker.Turn, sub *broker.Subscription) {
	s.inbox.Tell(t, &note{kind: noteCancelled, delivery: broker.Delivery{Sub: sub}})
}

// control is a connection as an operator reaches it, from any goroutine.
type control conn

var _ broker.Control = (*control)(nil)

// Close implements broker.Control.
func (c *control) Close(_ broker.Kind, text string) {
	c.link.Post(transport.Event{Kind: eventClose, P: &text})
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
		c.fail(&problem{message: "Connection closed", detail: *ev.P.(*string) + "\n", fatal: true})
	case eventAlarm:
		if c.alarms = broker.Alarm(ev.A); c.alarms == 0 {
			c.resume(whyAlarm)
		}
	case eventRelief:
		c.resume(whyStore)
	case eventBrowsed:
		c.browsed(ev.P.(*browsed))
	case eventAppeared:
		c.join(ev.P.(*appeared))
	}
	c.flushSettles()
}

// readInbox carries out what the core has told.
func (c *conn) readInbox() {
	notes, receipts := c.inbox.Take()
	for i := range receipts {
		c.answered(receipts[i].ref, receipts[i].accepted)
	}
	for i := range notes {
		n := &notes[i]
		if c.state != running && c.state != leaving {
			break
		}
		switch n.kind {
		case noteDeliver:
			c.deliver(&n.delivery)
		case noteCancelled:
			c.cancelled(n.delivery.Sub)
		case noteReply:
			c.answered(n.ref, n.ok)
		}
	}
	c.inbox.GiveBack(notes, receipts)
	c.settleDeliveries()
}
