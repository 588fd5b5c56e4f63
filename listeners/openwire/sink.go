package openwire

import (
	"github.com/hermodmq/hermod/broker"
	"github.com/hermodmq/hermod/listeners/openwire/wire"
	"github.com/hermodmq/hermod/listeners/transport"
)

// Events a connection gets through its mailbox.
const (
	eventInbox    uint32 = iota + 1 // something is in the inbox
	eventLogin                      // P is a *loginResult
	eventEnter                      // the connection with our id has left
	eventTakeover                   // a newer connection has our id
	eventClose                      // P is a *string: an operator closes the connection
	eventAlarm                      // A is the alarms in force
	eventRelief                     // there may be room for messages again
	eventRefresh                    // permissions changed
	eventCluster                    // the nodes of the cluster are others
)

// noteKind says what a note tells.
type noteKind uint8

const (
	noteDeliver   noteKind = iota
	noteCancelled          // delivery.Sub has ended
	noteCall               // call number ref, with ok
	noteAdvice             // advice for consumer
	noteBrowsed            // more for the browser of consumer
	noteAppeared           // queue name may belong to a wildcard of consumer
)

// note is one thing the core, or another connection, has to tell.
type note struct {
	kind     noteKind
	ok       bool
	ref      uint64
	delivery broker.Delivery
	rare     *rare // of notes that are no deliveries; nil for others
}

// rare is what only few notes carry.
type rare struct {
	consumer wire.ConsumerID
	advice   *advice
	name     string
	list     []broker.Delivery
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

// GetResult implements broker.Sink. Nothing is got here.
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

// Refresh implements broker.Control.
func (c *control) Refresh() { c.link.Post(transport.Event{Kind: eventRefresh}) }

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
	case eventEnter:
		c.enter()
	case eventTakeover:
		c.opt.Logger.Info("openwire connection is taken over", "peer", c.link.Info().RemoteString(), "user", c.userName())
		c.endSessions(wire.LastDeliveredUnknown)
		c.hangUp()
	case eventClose:
		c.send(&wire.ConnectionError{Exception: exceptionOf(refuse(classJMS, "%s", *ev.P.(*string))), ConnectionID: c.structureID()})
		c.endSessions(wire.LastDeliveredUnknown)
		c.hangUp()
	case eventAlarm:
		if c.alarms = broker.Alarm(ev.A); c.alarms == 0 {
			c.unpark(false)
		}
	case eventRefresh:
		for _, p := range c.producers {
			p.cache = target{}
		}
		if c.core != nil {
			c.core.Recheck(&c.turn)
		}
	case eventCluster:
		c.tellCluster()
	case eventRelief:
		c.waiting, c.stuck = false, nil
		c.unpark(false)
	}
	c.flushSettles()
}

// later returns the number under which f runs on this loop when a note with
// that number comes.
func (c *conn) later(f func(ok bool)) uint64 {
	c.lastCall++
	if c.calls == nil {
		c.calls = make(map[uint64]func(bool))
	}
	c.calls[c.lastCall] = f
	return c.lastCall
}

// called has the store report a call as done.
func (c *conn) called(ref uint64) func(*broker.Turn) {
	return func(t *broker.Turn) { c.inbox.Tell(t, &note{kind: noteCall, ref: ref, ok: true}) }
}

// readInbox carries out what the core has told.
func (c *conn) readInbox() {
	notes, receipts := c.inbox.Take()
	for i := range receipts {
		if c.state != running {
			break
		}
		c.received(receipts[i])
	}
	for i := range notes {
		n := &notes[i]
		if c.state != running {
			break
		}
		switch n.kind {
		case noteDeliver:
			c.deliver(&n.delivery)
		case noteCancelled:
			c.cancelled(n.delivery.Sub)
		case noteCall:
			if f := c.calls[n.ref]; f != nil {
				delete(c.calls, n.ref)
				f(n.ok)
			}
		case noteAdvice:
			c.sendAdvice(n.rare.advice, n.rare.consumer)
		case noteBrowsed:
			c.browsed(n)
		case noteAppeared:
			if cons := c.consumers[n.rare.consumer]; cons != nil && cons.fan != nil {
				cons.fan.Join(&c.turn, n.rare.name)
			}
		}
	}
	c.inbox.GiveBack(notes, receipts)
	c.settleDeliveries()
}
