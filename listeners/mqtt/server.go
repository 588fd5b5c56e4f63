package mqtt

import (
	"container/heap"
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strings"
	"sync"

	"github.com/hermodmq/hermod/broker"
	"github.com/hermodmq/hermod/broker/topic"
	"github.com/hermodmq/hermod/listeners/transport"
)

// Server keeps the sessions of all MQTT connections. Its methods may be called
// from any goroutine, Recover and Tick excepted.
type Server struct {
	broker *broker.Broker
	opt    Options

	mu       sync.Mutex
	sessions map[sessionKey]*session
	digested map[sessionKey]*session // while Recover runs: those whose key in the store has a digest
	timers   timers
	reaper   *conn // stands for Tick as the owner of a session
	connects pace

	counters counters
	sys      sysState
	watchers map[*conn]struct{} // connections that are told of $SYS topics

	groupsMu sync.Mutex // serialises changes of groups together with those of their queues
	groups   map[groupKey]*group
}

type sessionKey struct{ vhost, client string }

// NewServer makes the listener's state. Recover must run before the first
// client, and Tick about every 250 ms after it.
func NewServer(b *broker.Broker, o Options) *Server {
	v := &Server{
		broker: b, opt: o.withDefaults(),
		sessions: make(map[sessionKey]*session), groups: make(map[groupKey]*group),
		watchers: make(map[*conn]struct{}),
	}
	v.reaper = &conn{srv: v, opt: &v.opt}
	return v
}

// New is what a transport listener calls for every accepted connection.
func (v *Server) New() transport.Session {
	return &conn{srv: v, opt: &v.opt, broker: v.broker, limit: v.opt.MaxUnauthPacket}
}

// pace counts what happens within a second of Unix time.
type pace struct {
	second int64
	n      int
}

// more counts one and reports whether it is within the limit, 0 being none.
func (p *pace) more(now int64, limit int) bool {
	if second := now / 1000; second != p.second {
		p.second, p.n = second, 0
	}
	p.n++
	return limit <= 0 || p.n <= limit
}

// admits reports whether one more connection may be made now.
func (v *Server) admits(now int64) bool {
	if v.opt.ConnectRate <= 0 {
		return true
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.connects.more(now, v.opt.ConnectRate)
}

// claimed is the answer to a claim.
type claimed uint8

const (
	claimGranted claimed = iota // the session is the connection's now
	claimWaits                  // it will be: eventGranted says when
	claimRefused                // it has changed hands too often within this second
)

// claim gives the session of a client to c: at once, or with eventGranted when
// its owner has let go.
func (v *Server) claim(c *conn, key sessionKey, host *broker.VHost) claimed {
	v.mu.Lock()
	s := v.sessions[key]
	if s == nil || s.host != host {
		s = v.newSession(key, host)
		v.sessions[key] = s
	}
	if s.owner == nil {
		s.owner, c.session = c, s
		v.mu.Unlock()
		return claimGranted
	}
	if s.owner != v.reaper && v.opt.TakeoverRate > 0 && !s.takeovers.more(c.turn.Now, v.opt.TakeoverRate) {
		v.mu.Unlock()
		return claimRefused
	}
	c.session = s
	previous := s.next
	s.next = c
	owner := s.owner
	v.mu.Unlock()
	if previous != nil {
		previous.link.Post(transport.Event{Kind: eventTakeover})
	}
	if owner != v.reaper && previous == nil {
		owner.link.Post(transport.Event{Kind: eventTakeover})
	}
	return claimWaits
}

// release ends c's ownership of s, or its waiting for it, and hands s to who
// waits.
func (v *Server) release(s *session, c *conn) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if s.next == c {
		s.next = nil
	}
	if s.owner != c {
		return
	}
	s.owner, s.next = s.next, nil
	switch {
	case s.owner != nil:
		s.owner.link.Post(transport.Event{Kind: eventGranted})
	case !s.present:
		if v.sessions[s.key] == s {
			delete(v.sessions, s.key)
		}
	default:
		v.schedule(s)
	}
}

// successor tells the owner of s whether someone waits for it, and whether with
// clean start.
func (v *Server) successor(s *session) (waits, clean bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if s.next == nil {
		return false, false
	}
	return true, s.next.connect.CleanStart
}

// timer is the time at which a session without owner has something to do.
type timer struct {
	at int64
	s  *session
}

type timers []timer

func (h timers) Len() int           { return len(h) }
func (h timers) Less(i, j int) bool { return h[i].at < h[j].at }
func (h timers) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }

// Push implements heap.Interface.
func (h *timers) Push(x any) { *h = append(*h, x.(timer)) }

// Pop implements heap.Interface.
func (h *timers) Pop() any {
	old := *h
	last := old[len(old)-1]
	old[len(old)-1] = timer{}
	*h = old[:len(old)-1]
	return last
}

// schedule sets the timer of a session nobody owns. v.mu is held, or Recover is
// alone.
func (v *Server) schedule(s *session) {
	s.due = s.deadline()
	if s.willAt != 0 && (s.due == 0 || s.willAt < s.due) {
		s.due = s.willAt
	}
	if s.due != 0 {
		heap.Push(&v.timers, timer{s.due, s})
	}
	if len(v.timers) > 2*len(v.sessions)+spareTimers {
		v.timers = slices.DeleteFunc(v.timers, func(t timer) bool { return t.stale() })
		heap.Init(&v.timers)
	}
}

// spareTimers is how many timers may be stale before they are cleared out: a
// session leaves one behind each time it is resumed.
const spareTimers = 1024

// stale says that the session was resumed or ended since the timer was set.
func (t timer) stale() bool { return t.s.owner != nil || t.s.due != t.at || !t.s.present }

// Tick ends sessions that have expired and publishes wills whose delay is over.
func (v *Server) Tick(t *broker.Turn) {
	v.tickSys(t.Now)
	for {
		s := v.reap(t.Now)
		if s == nil {
			return
		}
		if s.willAt != 0 && s.willAt <= t.Now {
			s.publishWill(t, nil)
			s.save(t, nil)
		}
		if at := s.deadline(); at != 0 && at <= t.Now {
			s.end(t)
			v.counters.expired.Add(1)
		}
		v.release(s, v.reaper)
	}
}

// reap takes a session whose time has come.
func (v *Server) reap(now int64) *session {
	v.mu.Lock()
	defer v.mu.Unlock()
	for len(v.timers) > 0 && v.timers[0].at <= now {
		next := heap.Pop(&v.timers).(timer)
		if !next.stale() {
			next.s.owner = v.reaper
			return next.s
		}
	}
	return nil
}

// Sessions returns how many sessions there are and how many of them have a
// connection.
func (v *Server) Sessions() (all, connected int) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, s := range v.sessions {
		if s.owner != nil {
			connected++
		}
	}
	return len(v.sessions), connected
}

// group is a shared subscription: a queue from which its members compete.
type group struct {
	key     groupKey
	queue   string
	members int // sessions, connected or not
}

type groupKey struct{ vhost, name, filter string }

func (k groupKey) fact() string { return k.vhost + "\x00" + k.name + "\x00" + k.filter }

func (k groupKey) queueName() string {
	return queueName("mqtt-shared-", k.name+"-"+k.filter)
}

// queueName is prefix and rest, or a digest of rest where it is too long for
// the name of a queue.
func queueName(prefix, rest string) string {
	if len(rest) <= maxQueueName {
		return prefix + rest
	}
	sum := sha256.Sum256([]byte(rest))
	return prefix + "sha256-" + hex.EncodeToString(sum[:])
}

// maxQueueName leaves room in the 255 bytes of a queue's name.
const maxQueueName = 220

// join makes a session a member, and the queue if it is the first; d declares
// and binds with the rights of whoever asks.
func (v *Server) join(t *broker.Turn, k groupKey, d *broker.Session) (*group, error) {
	v.groupsMu.Lock()
	defer v.groupsMu.Unlock()
	g := v.groups[k]
	if g == nil {
		g = &group{key: k, queue: k.queueName()}
	}
	if err := g.declare(t, d, v); err != nil {
		return nil, err
	}
	if g.members == 0 {
		v.groups[k] = g
		v.broker.StoreFacts([]broker.Definition{{Kind: kindGroup, Key: k.fact()}}, nil)
	}
	g.members++
	return g, nil
}

// declare makes and binds the queue. One that is there keeps the limits it was
// made with.
func (g *group) declare(t *broker.Turn, d *broker.Session, v *Server) error {
	q := broker.QueueDeclare{Name: g.queue, Durable: true, Args: v.opt.queueArgs()}
	if v.opt.Shares == ShareSticky {
		q.Args = append(q.Args, broker.Field{Name: "x-single-active-consumer", Value: true})
	}
	if host := v.broker.VHost(g.key.vhost); host != nil {
		q.Passive = host.Queue(g.queue) != nil
	}
	if _, err := d.DeclareQueue(t, q, nil); err != nil {
		return err
	}
	return d.Bind(t, broker.Binding{
		Source: exchange, Destination: g.queue, Key: string(topic.Slashes(nil, g.key.filter)),
	}, nil)
}

// part ends a membership, and with the last one the queue.
func (v *Server) part(t *broker.Turn, g *group, d *broker.Session) {
	v.groupsMu.Lock()
	defer v.groupsMu.Unlock()
	if g.members--; g.members > 0 {
		return
	}
	delete(v.groups, g.key)
	v.broker.StoreFacts([]broker.Definition{{Kind: kindGroup, Key: g.key.fact(), Delete: true}}, nil)
	if _, err := d.DeleteQueue(t, g.queue, false, false, nil); err != nil {
		v.opt.Logger.Warn("mqtt: queue of a shared subscription is left", "queue", g.queue, "error", err)
	}
}

// recoverGroup removes the queue of a group whose members were all lost in a
// crash.
func (v *Server) recoverGroup(t *broker.Turn, d broker.Definition, drop func(broker.Definition)) {
	vhost, rest, _ := strings.Cut(d.Key, "\x00")
	name, filter, ok := strings.Cut(rest, "\x00")
	k := groupKey{vhost, name, filter}
	if v.groups[k] != nil {
		return
	}
	drop(d)
	if host := v.broker.VHost(vhost); ok && host != nil {
		s := host.OpenSession(nil, (*consumer)(&session{}))
		_, _ = s.DeleteQueue(t, k.queueName(), false, false, nil) // no error if it is not there
		s.Close(t)
	}
}
