package amqp

import (
	"sync"
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
	most          int // notes or receipts taken at once since the last trim
}

// inboxKeep is how many notes or receipts of memory an idle inbox keeps,
// inboxBusy how many a busy one.
const (
	inboxKeep = 64
	inboxBusy = 4096
)

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
	b.most = max(b.most, len(notes), len(receipts))
	return notes, receipts
}

// trim gives back the memory of a burst that is over. The loop calls it now
// and then.
func (b *inbox) trim() {
	limit := max(inboxKeep, 4*b.most)
	b.most = 0
	if cap(b.spareNotes) > limit {
		b.spareNotes = nil
	}
	if cap(b.spareReceipts) > limit {
		b.spareReceipts = nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.notes) == 0 && cap(b.notes) > limit {
		b.notes = nil
	}
	if len(b.receipts) == 0 && cap(b.receipts) > limit {
		b.receipts = nil
	}
}

func (b *inbox) giveBack(notes []note, receipts []receipt) {
	clear(notes)
	clear(receipts)
	if cap(notes) <= inboxBusy {
		b.spareNotes = notes[:0]
	}
	if cap(receipts) <= inboxBusy {
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

func (c *conn) tellReceipt(t *broker.Turn, r receipt) {
	b := &c.inbox
	b.mu.Lock()
	if b.closed {
		b.mu.Unlock()
		return
	}
	b.receipts = append(b.receipts, r)
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

// sink is a channel as the core sees it.
type sink channel

var _ broker.Sink = (*sink)(nil)

// Deliver implements broker.Sink.
func (s *sink) Deliver(t *broker.Turn, d broker.Delivery) {
	s.conn.tell(t, &note{kind: noteDeliver, ch: (*channel)(s), delivery: d})
}

// GetResult implements broker.Sink.
func (s *sink) GetResult(t *broker.Turn, ref uint64, d broker.Delivery, ok bool) {
	s.conn.tell(t, &note{kind: noteGet, ch: (*channel)(s), ref: ref, delivery: d, ok: ok})
}

// Receipt implements broker.Sink.
func (s *sink) Receipt(t *broker.Turn, id uint64, accepted bool) {
	s.conn.tellReceipt(t, receipt{ch: (*channel)(s), number: id, accepted: accepted})
}

// Cancelled implements broker.Sink.
func (s *sink) Cancelled(t *broker.Turn, sub *broker.Subscription) {
	s.conn.tell(t, &note{kind: noteCancelled, ch: (*channel)(s), delivery: broker.Delivery{Sub: sub}})
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
	notes, receipts := c.inbox.take()
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
	c.inbox.giveBack(notes, receipts)
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
		ch.conn.tell(t, &note{kind: noteReady, ch: ch, reply: r})
	}
}
