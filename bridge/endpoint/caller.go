package endpoint

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/hermodmq/hermod/broker"
)

// Caller is who a call acts for: a user of the broker in the virtual host of
// an account. All methods may be called from any goroutine.
type Caller struct {
	User    *broker.User
	Account string // 12 digits
	VHost   *broker.VHost
	Key     string // access key id
	Local   bool   // nobody proved anything

	core   *broker.Broker
	role   string
	id     string
	system bool
	next   atomic.Uint32
	lanes  [callerLanes]lane
}

// callerLanes is how many sessions share the publishes of a caller.
const callerLanes = 4

type callerKey struct {
	user, account, role string
	local               bool
}

// lane is one session of a caller and the publishes that wait for their
// receipts.
type lane struct {
	mu      sync.Mutex
	session *broker.Session
	waits   []wait
	free    []uint32 // unused elements of waits
}

type wait struct {
	done   func(t *broker.Turn, r broker.PublishResult, accepted bool)
	result broker.PublishResult
}

var errNoUser = errors.New("no such user")

// caller finds the caller for a key, or makes one. The user must still exist
// and be allowed into the account's virtual host.
func (e *Endpoint) caller(k callerKey, key string) (*Caller, error) {
	v := e.VHostOf(k.account)
	if v == nil {
		return nil, fmt.Errorf("account %s has no virtual host", k.account)
	}
	user, err := e.core.Renew(k.user)
	if err != nil {
		return nil, errNoUser
	}
	if c, ok := e.callers.Load(k); ok && c.(*Caller).VHost == v && c.(*Caller).User.Name == user.Name {
		return c.(*Caller), nil
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	conn, err := e.core.Connect(&broker.Turn{Now: e.opt.Now().UnixMilli()}, broker.ConnectionOptions{
		User: user, VHost: v.Name(), Protocol: "AWS", Name: "aws:" + k.account + ":" + k.user, AuthMethod: "SigV4", Hidden: true,
	})
	if err != nil {
		return nil, err
	}
	c := &Caller{User: user, Account: strings.Clone(k.account), VHost: v, Key: strings.Clone(key), Local: k.local, core: e.core, role: k.role}
	c.id = uniqueID("AIDA", k.account+"/"+k.user)
	if k.role != "" {
		_, name, _ := strings.Cut(k.role, "/")
		c.id = uniqueID("AROA", k.account+"/"+k.role) + ":" + name
	}
	c.open(conn)
	e.callers.Store(k, c)
	return c, nil
}

// System is the caller of the services themselves in a virtual host: it may do
// everything.
func (e *Endpoint) System(v *broker.VHost) *Caller {
	k := callerKey{user: "\x00system", account: v.Name()}
	if c, ok := e.callers.Load(k); ok && c.(*Caller).VHost == v {
		return c.(*Caller)
	}
	c := &Caller{User: &broker.User{Name: "hermod"}, Account: e.AccountOf(v.Name()), VHost: v, core: e.core, system: true}
	c.id = uniqueID("AIDA", "hermod")
	c.open(nil)
	e.callers.Store(k, c)
	return c
}

func (c *Caller) open(conn *broker.Connection) {
	for i := range c.lanes {
		c.lanes[i].session = c.VHost.OpenSession(conn, &c.lanes[i])
	}
}

// ARN is the caller's name in policies.
func (c *Caller) ARN() string {
	if c.role != "" {
		return "arn:aws:sts::" + c.Account + ":assumed-role/" + c.role
	}
	return "arn:aws:iam::" + c.Account + ":user/" + c.User.Name
}

// UserID is the caller's unique and stable identifier.
func (c *Caller) UserID() string { return c.id }

// System reports whether the caller is the broker itself.
func (c *Caller) System() bool { return c.system }

func (c *Caller) lane() *lane { return &c.lanes[c.next.Add(1)%callerLanes] }

// Publish publishes with the caller's rights. done is called once unless an
// error is returned: at commit if the message is stored, else before Publish
// returns.
func (c *Caller) Publish(t *broker.Turn, p broker.Publish, done func(t *broker.Turn, accepted bool)) (broker.PublishResult, error) {
	return c.PublishFully(t, p, func(t *broker.Turn, _ broker.PublishResult, accepted bool) { done(t, accepted) })
}

// PublishFully is Publish whose done also gets the result.
func (c *Caller) PublishFully(t *broker.Turn, p broker.Publish, done func(t *broker.Turn, r broker.PublishResult, accepted bool)) (broker.PublishResult, error) {
	return c.publish(t, done, func(s *broker.Session, receipt uint64) (broker.PublishResult, error) {
		p.Receipt = receipt
		return s.Publish(t, p)
	})
}

// PublishAll publishes several messages as one: all of them are there or none.
func (c *Caller) PublishAll(t *broker.Turn, list []broker.Publish, done func(t *broker.Turn, r broker.PublishResult, accepted bool)) (broker.PublishResult, error) {
	return c.publish(t, done, func(s *broker.Session, receipt uint64) (broker.PublishResult, error) {
		return s.PublishAll(t, list, receipt)
	})
}

func (c *Caller) publish(
	t *broker.Turn, done func(*broker.Turn, broker.PublishResult, bool), f func(s *broker.Session, receipt uint64) (broker.PublishResult, error),
) (broker.PublishResult, error) {
	l := c.lane()
	l.mu.Lock()
	id := l.wait(done)
	r, err := f(l.session, uint64(id)+1)
	if err != nil || !r.Pending {
		l.take(id)
	} else {
		l.waits[id].result = r // the receipt cannot come before the lock is free
	}
	l.mu.Unlock()
	if err == nil && !r.Pending {
		done(t, r, !r.Rejected)
	}
	return r, err
}

// Do runs f with a session of the caller, which f must not keep.
func (c *Caller) Do(f func(s *broker.Session) error) error {
	l := c.lane()
	l.mu.Lock()
	defer l.mu.Unlock()
	return f(l.session)
}

// wait keeps done and returns where.
func (l *lane) wait(done func(*broker.Turn, broker.PublishResult, bool)) uint32 {
	if n := len(l.free); n > 0 {
		id := l.free[n-1]
		l.free = l.free[:n-1]
		l.waits[id].done = done
		return id
	}
	l.waits = append(l.waits, wait{done: done})
	return uint32(len(l.waits) - 1)
}

func (l *lane) take(id uint32) wait {
	w := l.waits[id]
	l.waits[id] = wait{}
	l.free = append(l.free, id)
	return w
}

// Receipt implements broker.Sink.
func (l *lane) Receipt(t *broker.Turn, id uint64, accepted bool) {
	l.mu.Lock()
	w := l.take(uint32(id - 1))
	l.mu.Unlock()
	if w.done != nil {
		w.done(t, w.result, accepted)
	}
}

// Deliver implements broker.Sink; the sessions have no subscriptions.
func (l *lane) Deliver(*broker.Turn, broker.Delivery) {}

// GetResult implements broker.Sink.
func (l *lane) GetResult(*broker.Turn, uint64, broker.Delivery, bool) {}

// Cancelled implements broker.Sink.
func (l *lane) Cancelled(*broker.Turn, *broker.Subscription) {}
