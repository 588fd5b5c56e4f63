package delivery

import "github.com/hermodmq/hermod/broker"

// Settles are acknowledgements of one queue and outcome on their way to the
// core: it gets them together.
type Settles struct {
	queue   *broker.Queue
	outcome broker.Outcome
	leases  []broker.Lease
}

// scratchKeep is how many entries of scratch a connection keeps.
const scratchKeep = 1024

// Collect adds one, giving s those of another queue or outcome first.
func (x *Settles) Collect(s *broker.Session, t *broker.Turn, q *broker.Queue, l broker.Lease, o broker.Outcome) {
	if x.queue != q || x.outcome != o {
		x.Flush(s, t)
		x.queue, x.outcome = q, o
	}
	x.leases = append(x.leases, l)
}

// Flush gives the core what was collected. s may be nil: then it is dropped.
func (x *Settles) Flush(s *broker.Session, t *broker.Turn) {
	if len(x.leases) == 0 {
		return
	}
	if s != nil {
		s.Settle(t, x.queue, x.leases, x.outcome)
	}
	x.queue = nil
	x.leases = x.leases[:0]
	if cap(x.leases) > scratchKeep {
		x.leases = nil
	}
}
