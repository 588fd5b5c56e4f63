package stomp

import (
	"sync"

	"github.com/hermodmq/hermod/broker"
	"github.com/hermodmq/hermod/listeners/transport"
)

// Events a connection gets through its mailbox.
const (
	eventInbox  uint32 = iota + 1 // something is in the inbox
	eventLogin                    // P is a *loginResult
	eventClose                    // P is a *string: an operator closes the connection
	eventAlarm                    // A is the alarms in force
	eventRelief                   // the store takes publishes again
)

// noteKind says what a note tells.
type noteKind uint8

const (
	noteDeliver   noteKind = iota
	noteGet                // the answer to Session.Get of a browser, ok unless empty
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

// inbox is where the core leaves deliveries and receipts for a connection. Any
// goroutine may append, deliveries under their queue's lock, so that the order
// here is the order of the queue; the connection's loop empties it. One event
// in the loop's mailbox announces any number of notes.
type inbox struct {
	mu       sync.Mutex
	closed   bool
	rung     bool
	notes    []note
	receipts []receipt

	// The loop's: what was taken out last, to be used again.
	spareNotes    []note
	spareReceipts []receipt
}

// inboxKeep is how many notes or receipts of memory an idle inbox keeps.
const inboxKeep = 512

// close makes the inbox refuse everything; what is in it is dropped.
func (b *inbox) close() {
	b.mu.Lock()
	b.closed = true
	b.notes, b.receipts = nil, nil
	b.mu.Unlock()
}

// take empties the inbox. The slices are the caller's until giveBack.
func (b *inbox) take() (notes []note, receipts []receipt) {
	b.mu.Lock()
	notes, receipts = b.notes, b.receipts
	b.notes, b.receipts = b.spareNotes, b.spareReceipts
	b.rung = false
	b.mu.Unlock()
	b.spareNotes, b.spareReceipts = nil, nil
	return notes, receipts
}

func (b *inbox) giveBack(notes []note, receipts []receipt) {
	clear(notes)
	if cap(notes) <= inboxKeep {
		b.spareNotes = notes[:0]
	}
	if cap(receipts) <= inboxKeep {
		b.spareReceipts = receipts[:0]
	}
}

// tell appends a note and announces it if nothing is announced yet.
func (c *conn) tell(t *broker.Turn, n *note) {
	b := &c.inbox
	b.mu.Lock()
	if b.closed {
		b.mu.Unlock()
		return
	}
	b.notes = append(b.notes, *n)
	rung := b.rung
	b.rung = true
	b.mu.Unlock()
	if !rung {
		c.ring(t)
	}
}

func (c *conn) ring(t *broker.Turn) {
	ev := transport.Event{Kind: eventInbox}
	if batch, ok := t.Bells.(*transport.Batch); ok && batch != nil {
		batch.Add(c.link.Target(), ev)
		return
	}
	c.link.Post(ev)
}

// sink is a connection as the core's session sees it.
type sink conn

var _ broker.Sink = (*sink)(nil)

// Deliver implements broker.Sink.
func (s *sink) Deliver(t *broker.Turn, d broker.Delivery) {
	(*conn)(s).tell(t, &note{kind: noteDeliver, delivery: d})
}

// GetResult implements broker.Sink.
func (s *sink) GetResult(t *broker.Turn, ref uint64, d broker.Delivery, ok bool) {
	(*conn)(s).tell(t, &note{kind: noteGet, ref: ref, delivery: d, ok: ok})
}

// Receipt implements broker.Sink.
func (s *sink) Receipt(t *broker.Turn, id uint64, accepted bool) {
	b := &s.inbox
	b.mu.Lock()
	if b.closed {
		b.mu.Unlock()
		return
	}
	b.receipts = append(b.receipts, receipt{ref: id, accepted: accepted})
	rung := b.rung
	b.rung = true
	b.mu.Unlock()
	if !rung {
		(*conn)(s).ring(t)
	}
}

// Cancelled implements broker.Sink.
func (s *sink) Cancelled(t *broker.Turn, sub *broker.Subscription) {
	(*conn)(s).tell(t, &note{kind: noteCancelled, delivery: broker.Delivery{Sub: sub}})
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
	}
	c.flushSettles()
}

// readInbox carries out what the core has told.
func (c *conn) readInbox() {
	notes, receipts := c.inbox.take()
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
		case noteGet:
			c.browsed(n)
		case noteCancelled:
			c.cancelled(n.delivery.Sub)
		case noteReply:
			c.answered(n.ref, n.ok)
		}
	}
	c.inbox.giveBack(notes, receipts)
	c.settleDeliveries()
}
