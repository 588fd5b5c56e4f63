package broker

import (
	"sync"
	"sync/atomic"
)

// Session is one conversation of a client: an AMQP channel, a STOMP
// connection, an MQTT session. Its methods are called by one goroutine at a
// time, the loop that owns the connection; its Sink is called from any.
type Session struct {
	access access

	broker *Broker
	vhost  *VHost
	conn   *Connection
	number atomic.Int64 // the protocol's; 0: none
	sink   Sink

	rt     routing
	routes routeCache
	tx     *transaction

	inflight atomic.Int64 // publishes given to the store whose commit was not handled yet
	closed   atomic.Bool
	stopped  atomic.Bool // the client asked for no deliveries (channel.flow)

	shared credit // of all subscriptions that have no credit of their own

	held atomic.Int64 // leases of the session on all queues

	mu      sync.Mutex // guards subs against goroutines that return shared credit
	subs    []*Subscription
	turn    int                 // whose turn among subs it is to be woken first
	holds   map[*Queue]*hold    // owner's goroutine only
	holdMax int                 // number of holds at which those not needed are forgotten
	fanIns  map[*FanIn]struct{} // owner's goroutine only
}

// OpenSession starts a session of c whose deliveries and receipts go to sink. c
// is nil for sessions of the broker's own services, which may do everything.
func (v *VHost) OpenSession(c *Connection, sink Sink) *Session {
	s := &Session{broker: v.broker, vhost: v, conn: c, sink: sink, holds: make(map[*Queue]*hold)}
	c.addSession(s)
	return s
}

// SetNumber tells operators the number by which the protocol knows the session:
// an AMQP channel. Sessions without one are numbered by the listing.
func (s *Session) SetNumber(n int) { s.number.Store(int64(n)) }

// VHost returns the virtual host the session works in.
func (s *Session) VHost() *VHost { return s.vhost }

// Connection returns the connection the session belongs to.
func (s *Session) Connection() *Connection { return s.conn }

// hold returns the list of what s holds unsettled on q.
func (s *Session) hold(q *Queue) *hold {
	if h := s.holds[q]; h != nil {
		return h
	}
	if len(s.holds) >= max(s.holdMax, maxIdleHolds) {
		s.forgetHolds()
		s.holdMax = 2 * len(s.holds)
	}
	h := &hold{session: s, head: -1, tail: -1}
	s.holds[q] = h
	return h
}

// maxIdleHolds bounds the queues a session remembers before it looks for ones
// it can forget.
const maxIdleHolds = 1024

func (s *Session) forgetHolds() {
	for q, h := range s.holds {
		q.mu.Lock()
		if h.n+h.subs+h.gets == 0 {
			delete(s.holds, q)
		}
		q.mu.Unlock()
	}
}

// SetSharedCredit bounds the unsettled deliveries of all the session's
// subscriptions together, those that exist included; 0 lifts the bound. Those
// of a FanIn have a bound of their own.
func (s *Session) SetSharedCredit(t *Turn, n int) {
	s.setCredit(t, &s.shared, n)
}

// setCredit changes the bound of a credit of the session.
func (s *Session) setCredit(t *Turn, c *credit, n int) {
	if c.limit.Load() == 0 && n > 0 {
		// Deliveries that are out already count from now on. Nothing goes out
		// while they are counted.
		const barrier = 1 << 40
		c.used.Add(barrier)
		c.limit.Store(int64(n))
		for q, h := range s.holds {
			q.mu.Lock()
			c.used.Add(q.ledger.share(h, c))
			q.mu.Unlock()
		}
		c.used.Add(-barrier)
	}
	c.limit.Store(int64(max(n, 0)))
	s.wakeAll(t, c)
}

// SetFlow stops (active false) or restarts deliveries to all subscriptions.
func (s *Session) SetFlow(t *Turn, active bool) {
	s.stopped.Store(!active)
	if active {
		s.wakeAll(t, nil)
	}
}

// wakeAll offers what is ready to the session's subscriptions again, beginning
// with another one each time, so that little shared credit goes round: to those
// that share c, or to all if c is nil. It may be called from any goroutine that
// holds no lock.
func (s *Session) wakeAll(t *Turn, c *credit) {
	s.mu.Lock()
	var subs []*Subscription
	if n := len(s.subs); n > 0 {
		s.turn = (s.turn + 1) % n
		subs = append(append(make([]*Subscription, 0, n), s.subs[s.turn:]...), s.subs[:s.turn]...)
	}
	s.mu.Unlock()
	for _, sub := range subs {
		if sub.Queue != nil && (c == nil || sub.credit == c) {
			sub.Queue.wake(t, sub)
		}
	}
}

// overheld reports whether the session has as many deliveries unsettled as the
// broker allows: it has no credit then, whatever its client asked for.
func (s *Session) overheld() bool { return s.held.Load() >= s.broker.engine.unsettled }

// letGo counts a lease that ended and tells whether subscriptions may be
// waiting for that.
func (s *Session) letGo() (wake bool) { return s.held.Add(-1) == s.broker.engine.unsettled-1 }

// Close ends the session: its subscriptions end, an open transaction is rolled
// back and every lease it holds is released.
func (s *Session) Close(t *Turn) {
	if s.closed.Swap(true) {
		return
	}
	s.endTransaction(nil)
	for f := range s.fanIns {
		f.unwatch()
	}
	s.fanIns = nil
	for {
		s.mu.Lock()
		n := len(s.subs)
		if n == 0 {
			s.mu.Unlock()
			break
		}
		sub := s.subs[n-1]
		s.mu.Unlock()
		s.Unsubscribe(t, sub)
	}
	for q, h := range s.holds {
		q.releaseAll(t, h)
	}
	clear(s.holds)
	s.conn.removeSession(s)
}
