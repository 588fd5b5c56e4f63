package delivery

import "github.com/hermodmq/hermod/broker"

// Account counts the deliveries of a subscription that were written and whose
// credit the core has not got back.
type Account struct {
	Sub   *broker.Subscription
	owes  bool // in the list of those who owe
	count int
	bytes int
}

// Owed are the accounts of a connection that owe the core something.
type Owed struct{ list []*Account }

// Any reports whether something is owed.
func (o *Owed) Any() bool { return len(o.list) > 0 }

// Wrote notes a delivery of size bytes (Message.Size).
func (o *Owed) Wrote(a *Account, size int) {
	a.count++
	a.bytes += size
	if !a.owes {
		a.owes = true
		o.list = append(o.list, a)
	}
}

// Repay returns the credit of everything that was written.
func (o *Owed) Repay(t *broker.Turn) {
	for i, a := range o.list {
		o.list[i] = nil
		n, bytes := a.count, a.bytes
		a.owes, a.count, a.bytes = false, 0, 0
		a.Sub.Written(t, n, bytes)
	}
	o.list = o.list[:0]
}
