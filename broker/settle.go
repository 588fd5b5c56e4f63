package broker

// Settle concludes deliveries of q that this session got. Unknown and stale
// leases are ignored. In a transaction it takes effect at Commit.
func (s *Session) Settle(t *Turn, q *Queue, leases []Lease, o Outcome) {
	if len(leases) == 0 {
		return
	}
	if s.tx != nil {
		s.tx.settle(q, leases, o)
		return
	}
	q.mu.Lock()
	q.settle(t, s, leases, o)
	q.leave(t)
}
