package delivery

import (
	"sync"

	"github.com/hermodmq/hermod/broker"
	"github.com/hermodmq/hermod/listeners/transport"
)

// Inbox is where the core leaves deliveries and other notes of type N, and
// receipts of type R, for a connection. Any goroutine may add, deliveries under
// their queue's lock, so that the order here is the order of the queue; the
// connection's loop empties it. One event in the loop's mailbox announces any
// number of notes. Its size is bounded by the windows of the subscriptions and
// by what the client has published.
type Inbox[N, R any] struct {
	mu       sync.Mutex
	closed   bool
	rung     bool
	notes    []N
	receipts []R

	owner *transport.Conn
	event transport.Event

	// The loop's: what was taken out last, to be used again.
	spareNotes    []N
	spareReceipts []R
	most          int // notes or receipts taken at once since the last trim
}

// inboxKeep is how many notes or receipts of memory an idle inbox keeps,
// inboxBusy how many a busy one.
const (
	inboxKeep = 64
	inboxBusy = 4096
)

// Open says whose inbox it is and by which kind of event its loop is told that
// something is in it. It comes before everything else.
func (b *Inbox[N, R]) Open(owner *transport.Conn, kind uint32) {
	b.owner, b.event = owner, transport.Event{Kind: kind}
}

// Close makes the inbox refuse everything; what is in it is dropped.
func (b *Inbox[N, R]) Close() {
	b.mu.Lock()
	b.closed = true
	b.notes, b.receipts = nil, nil
	b.mu.Unlock()
}

// Tell adds a note and announces it if nothing is announced yet.
func (b *Inbox[N, R]) Tell(t *broker.Turn, n *N) {
	b.mu.Lock()
	if b.closed {
		b.mu.Unlock()
		return
	}
	b.notes = append(b.notes, *n)
	b.unlock(t)
}

// Receipt adds a receipt and announces it if nothing is announced yet.
func (b *Inbox[N, R]) Receipt(t *broker.Turn, r R) {
	b.mu.Lock()
	if b.closed {
		b.mu.Unlock()
		return
	}
	b.receipts = append(b.receipts, r)
	b.unlock(t)
}

// unlock releases the lock and rings unless somebody has.
func (b *Inbox[N, R]) unlock(t *broker.Turn) {
	rung := b.rung
	b.rung = true
	b.mu.Unlock()
	if rung {
		return
	}
	if batch, ok := t.Bells.(*transport.Batch); ok && batch != nil {
		batch.Add(b.owner, b.event)
		return
	}
	b.owner.Post(b.event)
}

// Take empties the inbox. The slices are the caller's until GiveBack.
func (b *Inbox[N, R]) Take() (notes []N, receipts []R) {
	b.mu.Lock()
	notes, receipts = b.notes, b.receipts
	b.notes, b.receipts = b.spareNotes, b.spareReceipts
	b.rung = false
	b.mu.Unlock()
	b.spareNotes, b.spareReceipts = nil, nil
	b.most = max(b.most, len(notes), len(receipts))
	return notes, receipts
}

// GiveBack returns what Take gave, to be used again.
func (b *Inbox[N, R]) GiveBack(notes []N, receipts []R) {
	clear(notes)
	clear(receipts)
	if cap(notes) <= inboxBusy {
		b.spareNotes = notes[:0]
	}
	if cap(receipts) <= inboxBusy {
		b.spareReceipts = receipts[:0]
	}
}

// Trim gives back the memory of a burst that is over. The loop calls it now
// and then.
func (b *Inbox[N, R]) Trim() {
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
