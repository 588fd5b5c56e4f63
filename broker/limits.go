package broker

import "sync"

// limitSet holds the limits of a virtual host or user by their names; a
// missing or negative one is no bound. Guarded by whoever has it.
type limitSet struct {
	values map[string]int64
}

// The names of limits.
const (
	LimitConnections = "max-connections"
	LimitQueues      = "max-queues"
	LimitChannels    = "max-channels"
)

func (l *limitSet) get(name string) (int64, bool) {
	if l == nil {
		return 0, false
	}
	n, ok := l.values[name]
	return n, ok && n >= 0
}

func (l *limitSet) set(name string, n int64) {
	if l.values == nil {
		l.values = make(map[string]int64)
	}
	l.values[name] = n
}

// roomForQueue checks the limit of queues. v.mu is held.
func (v *VHost) roomForQueue() error {
	if limit, ok := v.limits.get(LimitQueues); ok && int64(len(v.meta)) >= limit {
		return errf(Precondition, "cannot declare queue in vhost '%s': queue limit in vhost '%s' (%d) is reached",
			v.name, v.name, limit)
	}
	return nil
}

// connections is the register of open connections.
type connections struct {
	mu     sync.Mutex
	next   uint64
	byID   map[uint64]*Connection
	byUser map[string]int
	// channels counts sessions by user, for the limit on them.
	channels map[string]int
}

func (r *connections) init() {
	r.byID = make(map[uint64]*Connection)
	r.byUser = make(map[string]int)
	r.channels = make(map[string]int)
}

// admit checks the limits on connections and registers c.
func (r *connections) admit(c *Connection) error {
	b, v, user := c.broker, c.vhost, c.options.User.Name
	v.mu.Lock()
	vhostLimit, vhostLimited := v.limits.get(LimitConnections)
	v.mu.Unlock()
	userLimit, userLimited := b.auth.limit(user, LimitConnections)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.next++
	c.id = r.next
	if c.options.Hidden {
		return nil
	}
	switch limit := b.options.MaxConnections; {
	case limit > 0 && len(r.byID) >= limit:
		return limitf(NotAllowed, "connection refused: node connection limit (%d) is reached", limit)
	case vhostLimited && v.connected.Load() >= vhostLimit:
		return limitf(NotAllowed, "access to vhost '%s' refused for user '%s': connection limit (%d) is reached",
			v.name, user, vhostLimit)
	case userLimited && int64(r.byUser[user]) >= userLimit:
		return limitf(NotAllowed, "connection refused for user '%s': user connection limit (%d) is reached",
			user, userLimit)
	}
	r.byID[c.id] = c
	r.byUser[user]++
	v.connected.Add(1)
	return nil
}

func (r *connections) leave(c *Connection) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.byID[c.id] != c {
		return
	}
	delete(r.byID, c.id)
	user := c.options.User.Name
	if r.byUser[user]--; r.byUser[user] <= 0 {
		delete(r.byUser, user)
	}
	c.vhost.connected.Add(-1)
}

func (r *connections) all() []*Connection {
	r.mu.Lock()
	defer r.mu.Unlock()
	list := make([]*Connection, 0, len(r.byID))
	for _, c := range r.byID {
		list = append(list, c)
	}
	return list
}

// AllowSession checks the limits on channels before a listener opens another
// session for c. Errors are NotAllowed.
func (c *Connection) AllowSession() error {
	c.mu.Lock()
	open := len(c.sessions)
	c.mu.Unlock()
	if limit := c.broker.options.MaxChannels; limit > 0 && open >= limit {
		return errf(NotAllowed, "number of channels opened (%d) has reached the maximum (%d)", open, limit)
	}
	user := c.User().Name
	limit, ok := c.broker.auth.limit(user, LimitChannels)
	if !ok {
		return nil
	}
	r := &c.broker.conns
	r.mu.Lock()
	used := r.channels[user]
	r.mu.Unlock()
	if int64(used) >= limit {
		return errf(NotAllowed, "number of channels opened for user '%s' has reached the maximum allowed user limit of (%d)",
			user, limit)
	}
	return nil
}

func (r *connections) countSession(c *Connection, n int) {
	if c.options.Hidden {
		return
	}
	user := c.options.User.Name
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.channels[user] += n; r.channels[user] <= 0 {
		delete(r.channels, user)
	}
}

func (a *auth) limit(user, name string) (int64, bool) {
	a.mu.RLock()
	defer a.mu.RUnlock()
	return a.limits[user].get(name)
}
