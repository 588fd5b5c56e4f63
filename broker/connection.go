package broker

import (
	"sync"
	"sync/atomic"
)

// Control is what a listener gives the core to reach a connection as a whole.
// Methods may be called from any goroutine and must not block.
type Control interface {
	// Close ends the connection by order of an operator or because the broker
	// cannot keep it; text is told to the client.
	Close(code Kind, text string)

	// Alarm says which alarms are in force now.
	Alarm(a Alarm)

	// Refresh says that permissions changed: cached decisions are stale.
	Refresh()
}

// ConnectionOptions describe a client that has logged in.
type ConnectionOptions struct {
	User     *User
	VHost    string
	Protocol string // "AMQP 0-9-1", "STOMP 1.2", ...
	Name     string // "127.0.0.1:5000 -> 127.0.0.1:5672"
	Peer     string // address
	PeerPort int
	Host     string // our side
	Port     int
	TLS      bool
	Client   Table // client properties

	ClientID   string // for topic permissions; "" if the protocol has none
	AuthMethod string
	ChannelMax int
	FrameMax   int
	Heartbeat  int // seconds

	Control Control // may be nil

	// Hidden connections are not listed, not limited and never closed by
	// operators: the management API acts through them.
	Hidden bool
}

// Connection is one client connection in one virtual host.
type Connection struct {
	id      uint64
	broker  *Broker
	vhost   *VHost
	options ConnectionOptions
	user    atomic.Pointer[User]
	since   int64 // Unix ms

	mu       sync.Mutex
	closed   bool
	sessions map[*Session]struct{}
	owned    map[*Queue]struct{} // exclusive queues
}

// Connect admits a client to a virtual host. Errors are NotAllowed.
func (b *Broker) Connect(t *Turn, o ConnectionOptions) (*Connection, error) {
	if o.User == nil {
		return nil, errf(NotAllowed, "access to vhost '%s' refused", o.VHost)
	}
	v := b.vhosts.get(o.VHost)
	if v == nil {
		return nil, errf(NotAllowed, "vhost %s not found", o.VHost)
	}
	if !b.auth.mayEnter(o.User.Name, o.VHost) {
		return nil, errf(NotAllowed, "access to vhost '%s' refused for user '%s'", o.VHost, o.User.Name)
	}
	o.Client = boundedClient(o.Client)
	c := &Connection{
		broker: b, vhost: v, options: o, since: t.Now,
		sessions: make(map[*Session]struct{}),
		owned:    make(map[*Queue]struct{}),
	}
	c.user.Store(o.User)
	if err := b.conns.admit(c); err != nil {
		return nil, err
	}
	// A virtual host that went between the look-up and the entry has closed
	// all connections it saw; this one it may have missed.
	if b.vhosts.get(o.VHost) != v {
		c.Close(t)
		return nil, errf(NotAllowed, "vhost %s not found", o.VHost)
	}
	return c, nil
}

// VHost is the virtual host the connection entered.
func (c *Connection) VHost() *VHost { return c.vhost }

// User is the user the connection acts for.
func (c *Connection) User() *User { return c.user.Load() }

// ID is unique per broker process.
func (c *Connection) ID() uint64 { return c.id }

// Name is the name the listener gave it.
func (c *Connection) Name() string { return c.options.Name }

// UpdateUser replaces the user after the client presented a new secret.
// Consumers on queues the user may not read any more are cancelled. u must
// have the same name.
func (c *Connection) UpdateUser(t *Turn, u *User) {
	c.user.Store(u)
	c.Recheck(t)
}

// Recheck ends the subscriptions on queues that the user may not read any
// more. The goroutine that owns the connection's sessions calls it, for example
// after Control.Refresh.
func (c *Connection) Recheck(t *Turn) {
	user := c.User()
	for _, s := range c.openSessions() {
		s.cancelUnreadable(t, func(q *Queue) bool {
			return c.broker.auth.allowed(user.Name, c.vhost.name, opRead, q.Name())
		})
	}
}

// cancelUnreadable ends the subscriptions on queues that fail the test.
func (s *Session) cancelUnreadable(t *Turn, readable func(*Queue) bool) {
	for _, sub := range s.subscriptions() {
		if sub.Queue != nil && !readable(sub.Queue) {
			s.Unsubscribe(t, sub)
			s.sink.Cancelled(t, sub)
		}
	}
}

func (c *Connection) openSessions() []*Session {
	c.mu.Lock()
	defer c.mu.Unlock()
	list := make([]*Session, 0, len(c.sessions))
	for s := range c.sessions {
		list = append(list, s)
	}
	return list
}

// addSession registers s; OpenSession calls it.
func (c *Connection) addSession(s *Session) {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, have := c.sessions[s]; !have && !c.closed {
		c.sessions[s] = struct{}{}
		c.broker.conns.countSession(c, 1)
	}
}

// removeSession undoes addSession; Session.Close calls it.
func (c *Connection) removeSession(s *Session) {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, have := c.sessions[s]; have {
		delete(c.sessions, s)
		c.broker.conns.countSession(c, -1)
	}
}

// own remembers an exclusive queue; false if the connection is closed.
func (c *Connection) own(q *Queue) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return false
	}
	c.owned[q] = struct{}{}
	return true
}

func (c *Connection) disown(q *Queue) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.owned, q)
}

// Close unregisters the connection, closes the sessions that are still open
// and deletes its exclusive queues before it returns. It may be called twice.
func (c *Connection) Close(t *Turn) {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return
	}
	c.closed = true
	var sessions []*Session
	for s := range c.sessions {
		sessions = append(sessions, s)
	}
	var owned []*Queue
	for q := range c.owned {
		owned = append(owned, q)
	}
	c.mu.Unlock()
	for _, s := range sessions {
		s.Close(t)
	}
	for _, q := range owned {
		c.vhost.removeQueue(t, q, nil)
	}
	c.broker.conns.leave(c)
}

// Bounds of what is remembered of a client's own description.
const (
	maxClientFields = 64
	maxClientBytes  = 16 << 10
)

// boundedClient keeps only as much of the client properties as an operator
// would read.
func boundedClient(t Table) Table {
	var kept Table
	size := 0
	for _, f := range t {
		size += len(f.Name) + valueSize(f.Value)
		if len(kept) == maxClientFields || size > maxClientBytes {
			break
		}
		kept = append(kept, f)
	}
	return kept
}

func valueSize(v Value) int {
	switch x := v.(type) {
	case string:
		return len(x)
	case []byte:
		return len(x)
	case Table:
		n := 0
		for _, f := range x {
			n += len(f.Name) + valueSize(f.Value)
		}
		return n
	case Array:
		n := 0
		for _, e := range x {
			n += valueSize(e)
		}
		return n
	}
	return 8
}
