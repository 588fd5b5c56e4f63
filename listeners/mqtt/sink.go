package mqtt

import (
	"sync"

	"github.com/hermodmq/hermod/broker"
	"github.com/hermodmq/hermod/listeners/transport"
)

// Events a connection gets through its mailbox.
const (
	eventInbox    uint32 = iota + 1 // receipts or deliveries wait
	eventLogin                      // P is a *loginResult
	eventSys                        // P is a []sysValue: the $SYS topics of now
	eventAuth                       // P is an *authResult
	eventAdmit                      // the session is stored
	eventGranted                    // the session is this connection's now
	eventTakeover                   // another connection wants the session
	eventClose                      // A is a broker.Kind, P a *string: an operator closes the connection
	eventEnd                        // an operator ends the session
	eventAlarm                      // A is the alarms in force
	eventRelief                     // the store takes publishes again
	eventSuback                     // P is a *pendingSuback whose subscriptions are durable
	eventRetained                   // looking for retained messages goes on
	eventSend                       // P is a []*outgoing that may be sent: their identifiers are durable
)

// receipt is the verdict on one step of a publish.
type receipt struct {
	number   uint64
	accepted bool
}

// verdicts are what the core has to say about a connection's publishes. Any
// goroutine may append.
type verdicts struct {
	mu     sync.Mutex
	closed bool
	rung   bool
	list   []receipt
	spare  []receipt // the loop's
}

const keepVerdicts = 1024

func (c *conn) verdict(t *broker.Turn, number uint64, accepted bool) {
	v := &c.verdicts
	v.mu.Lock()
	if v.closed {
		v.mu.Unlock()
		return
	}
	v.list = append(v.list, receipt{number, accepted})
	rung := v.rung
	v.rung = true
	v.mu.Unlock()
	if !rung {
		ring(t, c.link.Target())
	}
}

func (v *verdicts) take() []receipt {
	v.mu.Lock()
	list := v.list
	v.list, v.spare = v.spare, nil
	v.rung = false
	v.mu.Unlock()
	return list
}

func (v *verdicts) giveBack(list []receipt) {
	if cap(list) <= keepVerdicts {
		v.spare = list[:0]
	}
}

func (v *verdicts) close() {
	v.mu.Lock()
	v.closed, v.list = true, nil
	v.mu.Unlock()
}

// ring tells a connection that something waits for it.
func ring(t *broker.Turn, to *transport.Conn) {
	ev := transport.Event{Kind: eventInbox}
	if batch, ok := t.Bells.(*transport.Batch); ok && batch != nil {
		batch.Add(to, ev)
		return
	}
	to.Post(ev)
}

// publisher is a connection as the core sees it: it publishes and declares with
// its user's rights and consumes nothing.
type publisher conn

var _ broker.Sink = (*publisher)(nil)

// Deliver implements broker.Sink.
func (p *publisher) Deliver(*broker.Turn, broker.Delivery) {}

// GetResult implements broker.Sink.
func (p *publisher) GetResult(*broker.Turn, uint64, broker.Delivery, bool) {}

// Receipt implements broker.Sink.
func (p *publisher) Receipt(t *broker.Turn, id uint64, accepted bool) {
	(*conn)(p).verdict(t, id, accepted)
}

// Cancelled implements broker.Sink.
func (p *publisher) Cancelled(*broker.Turn, *broker.Subscription) {}

// mailbox is where the core leaves deliveries for a session. Any goroutine may
// append, under the lock of the queue, so that the order is the queue's; the loop
// of the connection that owns the session empties it.
type mailbox struct {
	mu        sync.Mutex
	owner     *transport.Conn // nil while nobody owns the session
	rung      bool
	cancelled bool // the broker ended a subscription
	list      []broker.Delivery
	spare     []broker.Delivery // the owner's
}

const keepDeliveries = 512

// consumer is a session as the core sees it.
type consumer session

var _ broker.Sink = (*consumer)(nil)

// Deliver implements broker.Sink.
func (s *consumer) Deliver(t *broker.Turn, d broker.Delivery) {
	m := &s.mail
	m.mu.Lock()
	m.list = append(m.list, d)
	m.ring(t)
}

// ring releases the lock and rings the owner if nobody has yet.
func (m *mailbox) ring(t *broker.Turn) {
	owner := m.owner
	if m.rung {
		owner = nil
	}
	m.rung = true
	m.mu.Unlock()
	if owner != nil {
		ring(t, owner)
	}
}

// GetResult implements broker.Sink.
func (s *consumer) GetResult(*broker.Turn, uint64, broker.Delivery, bool) {}

// Receipt implements broker.Sink.
func (s *consumer) Receipt(*broker.Turn, uint64, bool) {}

// Cancelled implements broker.Sink.
func (s *consumer) Cancelled(t *broker.Turn, _ *broker.Subscription) {
	s.mail.mu.Lock()
	s.mail.cancelled = true
	s.mail.ring(t)
}

// open directs deliveries to a connection.
func (m *mailbox) open(to *transport.Conn) {
	m.mu.Lock()
	m.owner, m.rung, m.cancelled = to, false, false
	m.mu.Unlock()
}

// close ends open.
func (m *mailbox) close() {
	m.mu.Lock()
	m.owner = nil
	m.mu.Unlock()
}

func (m *mailbox) take() (list []broker.Delivery, cancelled bool) {
	m.mu.Lock()
	list, cancelled = m.list, m.cancelled
	m.list, m.spare = m.spare, nil
	m.rung = false
	m.mu.Unlock()
	return list, cancelled
}

func (m *mailbox) giveBack(list []broker.Delivery) {
	clear(list)
	if cap(list) <= keepDeliveries {
		m.spare = list[:0]
	}
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
