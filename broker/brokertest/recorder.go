package brokertest

import (
	"sync"

	"github.com/hermodmq/hermod/broker"
)

// Event is one call of a Sink.
type Event struct {
	Kind     EventKind
	Delivery broker.Delivery // Delivered, Got
	OK       bool            // Got: there was a message; Receipt: accepted
	ID       uint64          // Got: ref; Receipt: id
	Sub      *broker.Subscription
}

// EventKind names the method of Sink that was called.
type EventKind uint8

// The kinds of events.
const (
	Delivered EventKind = iota
	Got
	Receipt
	Cancelled
)

// Recorder is a Sink that remembers what it is told. It is safe for concurrent
// use.
type Recorder struct {
	// Hook, if not nil, sees every event as it happens, under the locks the
	// sink is called with.
	Hook func(t *broker.Turn, e Event)

	mu     sync.Mutex
	events []Event
}

// Take returns the events since the last Take.
func (r *Recorder) Take() []Event {
	r.mu.Lock()
	defer r.mu.Unlock()
	list := r.events
	r.events = nil
	return list
}

func (r *Recorder) add(t *broker.Turn, e Event) {
	if r.Hook != nil {
		r.Hook(t, e)
	}
	r.mu.Lock()
	r.events = append(r.events, e)
	r.mu.Unlock()
}

// Deliver implements broker.Sink.
func (r *Recorder) Deliver(t *broker.Turn, d broker.Delivery) {
	r.add(t, Event{Kind: Delivered, Delivery: d, Sub: d.Sub})
}

// GetResult implements broker.Sink.
func (r *Recorder) GetResult(t *broker.Turn, ref uint64, d broker.Delivery, ok bool) {
	r.add(t, Event{Kind: Got, Delivery: d, OK: ok, ID: ref})
}

// Receipt implements broker.Sink.
func (r *Recorder) Receipt(t *broker.Turn, id uint64, accepted bool) {
	r.add(t, Event{Kind: Receipt, OK: accepted, ID: id})
}

// Cancelled implements broker.Sink.
func (r *Recorder) Cancelled(t *broker.Turn, sub *broker.Subscription) {
	r.add(t, Event{Kind: Cancelled, Sub: sub})
}
