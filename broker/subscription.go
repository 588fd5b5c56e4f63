package broker

import "sync/atomic"

// Bounds of what may sit in a session's mailbox for one subscription.
const (
	windowCount = 256
	windowBytes = 256 << 10
)

// Subscription is a consumer: the right of a session to get messages of a
// queue. The exported fields are constant, Data excepted, which belongs to the
// listener.
type Subscription struct {
	Tag   string
	Queue *Queue // nil for a reply subscription
	NoAck bool
	Data  any

	session   *Session
	credit    *credit // shared with others: the session's, or that of a FanIn
	hold      *hold
	prefetch  atomic.Int64 // 0: no bound; negative: as many as are granted
	priority  int
	exclusive bool
	sole      bool
	args      Table
	filter    Filter // nil: wants all
	spread    Spread
	spreadKey func(*Message) uint64
	spreadID  uint64

	// Posted but not Written: bounds the mailbox.
	posted      atomic.Int64
	postedBytes atomic.Int64
	waiting     atomic.Bool // blocked by the window; Written must wake it

	// Under the queue's lock.
	unsettled  int
	granted    int // deliveries asked for and not made; see Grant
	closed     bool
	passed     passedMark
	groups     int  // buckets of message groups that stick to it
	listed     bool // in the ring of those that may get something
	prev, next *Subscription
	cursor     *cursor // streams only
	reply      *replyBox
}

// Session returns the session the subscription belongs to.
func (sub *Subscription) Session() *Session { return sub.session }

// Prefetch is the most unsettled deliveries the client wants; 0 is no bound.
func (sub *Subscription) Prefetch() int { return int(max(sub.prefetch.Load(), 0)) }

// Args are the consumer arguments as the client gave them.
func (sub *Subscription) Args() Table { return sub.args }

// Priority is the consumer priority (x-priority).
func (sub *Subscription) Priority() int { return sub.priority }

// Exclusive reports whether the subscription excludes all others.
func (sub *Subscription) Exclusive() bool { return sub.exclusive }

// SetPrefetch changes the most unsettled deliveries the client wants; 0 is no
// bound, and a negative number means that Grant asks for every one. What is out
// already stays so.
func (sub *Subscription) SetPrefetch(t *Turn, n int) {
	q := sub.Queue
	if q == nil {
		return
	}
	q.mu.Lock()
	sub.prefetch.Store(int64(n))
	sub.granted = 0
	if !sub.closed {
		q.consumers.relist(sub)
		q.dispatch(t)
	}
	q.leave(t)
}

// Grant asks for n deliveries more, if the prefetch is negative; settling them
// gives no credit. A negative n takes back what was granted and not used. It
// reports whether messages that could be delivered are still on their way from
// the store.
func (sub *Subscription) Grant(t *Turn, n int) (loading bool) {
	q := sub.Queue
	if q == nil {
		return false
	}
	q.mu.Lock()
	if sub.granted += n; n < 0 {
		sub.granted = 0
	}
	if !sub.closed && n > 0 {
		q.consumers.relist(sub)
		q.dispatch(t)
	}
	loading = sub.granted > 0 && q.loading()
	q.leave(t)
	return loading
}

// Written says that n deliveries of together bytes (Message.Size) have left
// for the socket: the window opens by as much. Any goroutine may call it.
func (sub *Subscription) Written(t *Turn, n, bytes int) {
	sub.posted.Add(-int64(n))
	sub.postedBytes.Add(-int64(bytes))
	if sub.waiting.Load() && sub.waiting.CompareAndSwap(true, false) && sub.Queue != nil {
		sub.Queue.wake(t, sub)
	}
}

func (sub *Subscription) windowFull() bool {
	return sub.posted.Load() >= windowCount || sub.postedBytes.Load() >= windowBytes
}

// able reports whether sub may get a message now, and borrows shared credit
// for it if so. Caller holds the queue's lock.
func (sub *Subscription) able() (shared, ok bool) {
	s := sub.session
	if n := sub.prefetch.Load(); n < 0 && sub.granted <= 0 || n > 0 && !sub.NoAck && int64(sub.unsettled) >= n || s.stopped.Load() {
		return false, false
	}
	if sub.windowFull() {
		// Written may have run between the check and the flag: look again.
		sub.waiting.Store(true)
		if sub.windowFull() || !sub.waiting.CompareAndSwap(true, false) {
			return false, false
		}
	}
	if sub.NoAck {
		return false, sub.credit.left() // takes none, but waits with the others
	}
	if s.overheld() {
		return false, false
	}
	return sub.credit.borrow()
}
