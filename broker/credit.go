package broker

import "sync/atomic"

// credit bounds the unsettled deliveries of several subscriptions of a session
// together. Any goroutine may use it.
type credit struct {
	limit atomic.Int64 // 0: no bound
	used  atomic.Int64
}

// borrow takes one unit. counted tells whether it must be given back; ok is
// false if there is none left.
func (c *credit) borrow() (counted, ok bool) {
	for {
		limit := c.limit.Load()
		if limit == 0 {
			return false, true
		}
		used := c.used.Load()
		if used >= limit {
			return false, false
		}
		if c.used.CompareAndSwap(used, used+1) {
			return true, true
		}
	}
}

// left reports whether there is some, or no bound.
func (c *credit) left() bool {
	limit := c.limit.Load()
	return limit == 0 || c.used.Load() < limit
}
