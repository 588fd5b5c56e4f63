package broker

// op is a kind of access.
type op uint8

const (
	opConfigure op = iota
	opWrite
	opRead
	opCount
)

func (o op) String() string {
	switch o {
	case opConfigure:
		return "configure"
	case opWrite:
		return "write"
	}
	return "read"
}

// access is a session's memory of the decisions about its user. It belongs to
// the session's goroutine and forgets everything when users or permissions
// change.
type access struct {
	version uint64
	user    *User
	known   map[accessKey]bool
	topics  *compiledTopics // topic permissions of the user in the vhost; nil: none
	last    *Exchange       // the exchange whose write check passed last
	strict  bool            // last needs a look at topic permissions for each message
}

type accessKey struct {
	op   op
	name string
}

// maxAccess bounds the remembered decisions of a session.
const maxAccess = 64

// refresh forgets what is stale.
func (s *Session) refresh() {
	a := &s.access
	version, user := s.broker.auth.version.Load(), s.conn.User()
	if a.version == version && a.user == user && a.known != nil {
		return
	}
	*a = access{version: version, user: user, known: make(map[accessKey]bool)}
	a.topics = s.broker.auth.topicsOf(user.Name, s.vhost.name)
}

func (s *Session) may(o op, name string) bool {
	s.refresh()
	key := accessKey{o, name}
	if ok, known := s.access.known[key]; known {
		return ok
	}
	if len(s.access.known) >= maxAccess {
		clear(s.access.known)
	}
	ok := s.broker.auth.allowed(s.access.user.Name, s.vhost.name, o, name)
	s.access.known[key] = ok
	return ok
}

// permissionName is the name under which permissions know a resource.
func permissionName(name string, exchange bool) string {
	if exchange && name == "" {
		return "amq.default"
	}
	return name
}

// allow checks one right to a queue or exchange.
func (s *Session) allow(o op, name string, exchange bool) error {
	if s.conn == nil {
		return nil // the broker's own session
	}
	name = permissionName(name, exchange)
	if s.may(o, name) {
		return nil
	}
	return s.refused(o.String(), name, exchange)
}

func (s *Session) refused(what, name string, exchange bool) error {
	text := s.vhost.queueText(name)
	if exchange {
		text = s.vhost.exchangeText(name)
	}
	return errf(Denied, "%s access to %s refused for user '%s'", what, text, s.conn.User().Name)
}

// allowAny checks what a passive declare needs: any right at all.
func (s *Session) allowAny(name string, exchange bool) error {
	if s.conn == nil {
		return nil
	}
	name = permissionName(name, exchange)
	if s.may(opRead, name) || s.may(opWrite, name) || s.may(opConfigure, name) {
		return nil
	}
	return s.refused("read", name, exchange)
}

// allowTopic checks a routing or binding key against the topic permissions,
// which exist for topic exchanges only.
func (s *Session) allowTopic(o op, x *Exchange, key string) error {
	if s.conn == nil || x == nil || !x.topical() {
		return nil
	}
	s.refresh()
	if s.access.topics.allows(o, x.displayName(), key, s.conn) {
		return nil
	}
	return errf(Denied, "%s access to topic '%s' in %s refused for user '%s'", o, key, x.text(), s.conn.User().Name)
}

// checkRead checks what consuming or getting from a queue needs.
func (s *Session) checkRead(q *Queue) error { return s.allow(opRead, q.Name(), false) }

// checkWrite checks what publishing m to ex needs. The usual case, the same
// exchange as last time, costs a few comparisons.
func (s *Session) checkWrite(ex *Exchange, m *Message) error {
	if s.conn == nil {
		return nil
	}
	s.refresh()
	if s.access.last != ex {
		if ex.internal {
			return errf(Denied, "cannot publish to internal %s", ex.text())
		}
		if err := s.allow(opWrite, ex.name, true); err != nil {
			return err
		}
		s.access.last = ex
		s.access.strict = ex.topical() && s.access.topics != nil
	}
	if s.access.strict {
		return s.allowTopic(opWrite, ex, m.RoutingKey)
	}
	return nil
}

// CheckSend checks what sending to a queue by its name needs where protocols
// know destinations and no exchanges: the right to write to the queue itself,
// beside what Publish checks. The answer holds until Control.Refresh.
func (s *Session) CheckSend(queue string) error { return s.allow(opWrite, queue, false) }

// CheckUserID checks a message's user-id property: it must name the user of
// the connection unless that one may impersonate others.
func (s *Session) CheckUserID(id string) error {
	u := s.conn.User()
	if id == u.Name || u.HasTag(TagImpersonator) {
		return nil
	}
	return errf(Precondition, "user_id property set to '%s' but authenticated user was '%s'", id, u.Name)
}
