package openwire

import (
	"strings"
	"sync"
	"sync/atomic"

	"github.com/hermodmq/hermod/broker"
	"github.com/hermodmq/hermod/broker/topic"
	"github.com/hermodmq/hermod/listeners/openwire/wire"
	"github.com/hermodmq/hermod/listeners/transport"
)

// hub is where connections know of each other: who has which id, which
// temporary destinations there are, and who wants to hear of all that. Its
// lock is held for a moment and never while the core is called.
type hub struct {
	brokerID wire.BrokerID
	producer wire.ProducerID // of advisories
	sequence atomic.Int64    // brokerSequenceId: rises over restarts, too
	advised  atomic.Int64

	mu      sync.Mutex
	rooms   map[string]*community
	brokers Cluster
}

// community is the connections in one virtual host. Guarded by hub.mu.
type community struct {
	members  map[wire.ConnectionID]*member
	clients  map[string]*member // by client id
	arrivals map[wire.ConnectionID]*conn

	temps     map[wire.Destination]wire.ConnectionID
	consumers map[wire.ConsumerID]*wire.ConsumerInfo
	producers map[wire.ProducerID]*wire.ProducerInfo
	counts    map[wire.Destination]*headcount

	listeners []*listener
	curious   int // of them, those who want to hear of more than temporary destinations

	vhost   *broker.VHost
	inboxes map[string]*inbox // of consumers of topics, by queue
	unwatch func()            // ends telling of what the core does by itself; nil if nobody asks for it

	watched atomic.Uint32 // families of advisories that listeners may want; read without hub.mu
}

// inbox is the queue of a consumer of topics.
type inbox struct {
	consumer  wire.ConsumerID
	discarded int32 // messages for which it had no room
}

// member is a connection as others see it.
type member struct {
	conn     *conn
	link     *transport.Conn
	info     *wire.ConnectionInfo // without its password
	clientID string
	peer     string
}

// headcount is how many are interested in a destination.
type headcount struct{ consumers, producers int }

// listener is a consumer of advisories.
type listener struct {
	conn     *conn
	consumer wire.ConsumerID
	patterns []string // of topics, in words
	curious  bool     // about more than temporary destinations
	families family   // that the patterns may stand for
}

func (h *hub) init(t *broker.Turn) {
	h.brokerID = wire.BrokerID{Value: "ID:hermod-" + randomText() + "-0:1"}
	h.producer = wire.ProducerID{ConnectionID: h.brokerID.Value, Value: 1}
	h.sequence.Store(t.Now << 20)
	h.rooms = make(map[string]*community)
}

// room returns the community of a virtual host. h.mu is held.
func (h *hub) room(v *broker.VHost) *community {
	r := h.rooms[v.Name()]
	if r == nil || r.vhost != v {
		r = &community{
			vhost: v, inboxes: make(map[string]*inbox),
			members: make(map[wire.ConnectionID]*member), clients: make(map[string]*member), arrivals: make(map[wire.ConnectionID]*conn),
			temps: make(map[wire.Destination]wire.ConnectionID), consumers: make(map[wire.ConsumerID]*wire.ConsumerInfo),
			producers: make(map[wire.ProducerID]*wire.ProducerInfo), counts: make(map[wire.Destination]*headcount),
		}
		h.rooms[v.Name()] = r
	}
	return r
}

// enter registers a connection that has logged in. wait says that another one
// with its id has to leave first; then the event eventEnter follows.
func (h *hub) enter(c *conn) (wait bool, err error) {
	info := c.login
	h.mu.Lock()
	defer h.mu.Unlock()
	r := h.room(c.core.VHost())
	if old := r.members[info.ConnectionID]; old != nil {
		if earlier := r.arrivals[info.ConnectionID]; earlier != nil && earlier != c {
			earlier.link.Post(transport.Event{Kind: eventEnter}) // it comes too late itself
		}
		r.arrivals[info.ConnectionID] = c
		old.link.Post(transport.Event{Kind: eventTakeover})
		return true, nil
	}
	if other := r.clients[info.ClientID]; other != nil && info.ClientID != "" {
		return false, refuse(classClientID, "Broker: %s - Client: %s already connected from tcp://%s", c.opt.Broker, info.ClientID, other.peer)
	}
	m := &member{conn: c, link: c.link.Target(), info: withoutPassword(info), clientID: info.ClientID, peer: c.link.Info().RemoteString()}
	r.members[info.ConnectionID] = m
	if info.ClientID != "" {
		r.clients[info.ClientID] = m
	}
	delete(r.arrivals, info.ConnectionID)
	c.room = r
	return false, nil
}

// leave undoes everything a connection has registered.
func (h *hub) leave(c *conn) {
	r := c.room
	h.mu.Lock()
	m := r.members[c.id]
	if m == nil || m.conn != c {
		h.mu.Unlock()
		return
	}
	delete(r.members, c.id)
	if r.clients[m.clientID] == m {
		delete(r.clients, m.clientID)
	}
	arrival := r.arrivals[c.id]
	delete(r.arrivals, c.id)
	kept := r.listeners[:0]
	for _, l := range r.listeners {
		if l.conn != c {
			kept = append(kept, l)
		} else if l.curious {
			r.curious--
		}
	}
	clear(r.listeners[len(kept):])
	r.listeners = kept
	h.rewatch(r)
	h.mu.Unlock()
	for id := range c.producers {
		h.removeProducer(c, id)
	}
	for d := range c.temps {
		h.removeTemp(c, d)
	}
	h.advise(&c.turn, r, &advice{topic: adviceConnection, data: &wire.RemoveInfo{ObjectID: c.id, LastDeliveredSequenceID: wire.LastDeliveredUnset}})
	if arrival != nil {
		arrival.link.Post(transport.Event{Kind: eventEnter})
	}
}

// addTemp makes a temporary destination known. It reports false if another
// connection has one of that name.
func (h *hub) addTemp(c *conn, d wire.Destination) bool {
	h.mu.Lock()
	owner, have := c.room.temps[d]
	if have && owner != c.id {
		h.mu.Unlock()
		return false
	}
	c.room.temps[d] = c.id
	h.mu.Unlock()
	h.advise(&c.turn, c.room, tempAdvice(c.id, d, wire.DestinationAdd))
	return true
}

func (h *hub) removeTemp(c *conn, d wire.Destination) {
	h.mu.Lock()
	owner, have := c.room.temps[d]
	if !have || owner != c.id {
		h.mu.Unlock()
		return
	}
	delete(c.room.temps, d)
	h.mu.Unlock()
	h.advise(&c.turn, c.room, tempAdvice(c.id, d, wire.DestinationRemove))
}

// tempOwner tells whose a temporary destination is.
func (h *hub) tempOwner(r *community, d wire.Destination) (owner wire.ConnectionID, known bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	owner, known = r.temps[d]
	return owner, known
}

func (r *community) count(d wire.Destination) *headcount {
	n := r.counts[d]
	if n == nil {
		n = new(headcount)
		r.counts[d] = n
	}
	return n
}

// tidy forgets a destination that interests nobody. h.mu is held.
func (r *community) tidy(d wire.Destination) {
	if n := r.counts[d]; n != nil && n.consumers+n.producers <= 0 {
		delete(r.counts, d)
	}
}

// addConsumer and the three that follow keep the counts that advisories tell.
func (h *hub) addConsumer(c *conn, info *wire.ConsumerInfo, queue string) {
	h.mu.Lock()
	if queue != "" {
		c.room.inboxes[queue] = &inbox{consumer: info.ConsumerID}
	}
	if c.room.consumers[info.ConsumerID] == nil {
		c.room.count(info.Destination).consumers++
	}
	c.room.consumers[info.ConsumerID] = info
	n := c.room.count(info.Destination).consumers
	h.mu.Unlock()
	h.advise(&c.turn, c.room, consumerAdvice(info.Destination, info, n))
}

func (h *hub) removeConsumer(c *conn, id wire.ConsumerID, queue string) {
	h.mu.Lock()
	delete(c.room.inboxes, queue)
	info := c.room.consumers[id]
	if info == nil {
		h.mu.Unlock()
		return
	}
	delete(c.room.consumers, id)
	count := c.room.count(info.Destination)
	count.consumers--
	n := count.consumers
	c.room.tidy(info.Destination)
	h.mu.Unlock()
	h.advise(&c.turn, c.room, consumerAdvice(info.Destination, &wire.RemoveInfo{ObjectID: id}, n))
}

func (h *hub) addProducer(c *conn, info *wire.ProducerInfo) {
	if info.Destination.IsNull() {
		return
	}
	h.mu.Lock()
	if c.room.producers[info.ProducerID] == nil {
		c.room.count(info.Destination).producers++
	}
	c.room.producers[info.ProducerID] = info
	n := c.room.count(info.Destination).producers
	h.mu.Unlock()
	h.advise(&c.turn, c.room, producerAdvice(info.Destination, info, n))
}

func (h *hub) removeProducer(c *conn, id wire.ProducerID) {
	h.mu.Lock()
	info := c.room.producers[id]
	if info == nil {
		h.mu.Unlock()
		return
	}
	delete(c.room.producers, id)
	count := c.room.count(info.Destination)
	count.producers--
	n := count.producers
	c.room.tidy(info.Destination)
	h.mu.Unlock()
	h.advise(&c.turn, c.room, producerAdvice(info.Destination, &wire.RemoveInfo{ObjectID: id}, n))
}

// consumersOf is how many read a destination.
func (h *hub) consumersOf(r *community, d wire.Destination) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	if n := r.counts[d]; n != nil {
		return n.consumers
	}
	return 0
}

// listen adds a consumer of advisories and tells it what there is already.
func (h *hub) listen(c *conn, id wire.ConsumerID, patterns []string) {
	l := &listener{conn: c, consumer: id, patterns: patterns, families: familiesOf(patterns)}
	for _, p := range patterns {
		l.curious = l.curious || p != adviceTempQueue && p != adviceTempTopic
	}
	var list []*advice
	h.mu.Lock()
	r := c.room
	for _, other := range r.listeners {
		if other.conn == c && other.consumer == id {
			h.mu.Unlock()
			return // said twice, after a failover
		}
	}
	r.listeners = append(r.listeners, l)
	if l.curious {
		r.curious++
	}
	h.rewatch(r)
	for d, owner := range r.temps {
		list = append(list, tempAdvice(owner, d, wire.DestinationAdd))
	}
	for id, m := range r.members {
		if id != c.id {
			list = append(list, &advice{topic: adviceConnection, data: m.info})
		}
	}
	for _, info := range r.consumers {
		list = append(list, consumerAdvice(info.Destination, info, r.count(info.Destination).consumers))
	}
	for _, info := range r.producers {
		list = append(list, producerAdvice(info.Destination, info, r.count(info.Destination).producers))
	}
	h.mu.Unlock()
	if l.wants(adviceQueue) {
		for _, name := range c.core.VHost().QueuesMatching("#") {
			list = append(list, destinationAdvice(wire.Destination{Kind: wire.TypeQueue, Name: name}, wire.DestinationAdd))
		}
	}
	for _, a := range list {
		if l.wants(a.topic) {
			c.inbox.Tell(&c.turn, &note{kind: noteAdvice, rare: &rare{advice: a, consumer: id}})
		}
	}
}

// deafen undoes listen.
func (h *hub) deafen(c *conn, id wire.ConsumerID) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for i, l := range c.room.listeners {
		if l.conn == c && l.consumer == id {
			c.room.listeners = append(c.room.listeners[:i:i], c.room.listeners[i+1:]...)
			if l.curious {
				c.room.curious--
			}
			h.rewatch(c.room)
			return
		}
	}
}

func (l *listener) wants(name string) bool {
	for _, p := range l.patterns {
		if topic.Match(p, name) {
			return true
		}
	}
	return false
}

// advise tells all who listen.
func (h *hub) advise(t *broker.Turn, r *community, a *advice) {
	if r == nil {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if r.curious == 0 && a.topic != adviceTempQueue && a.topic != adviceTempTopic {
		return
	}
	for _, l := range r.listeners {
		if l.wants(a.topic) && (a.family == 0 || l.families&a.family != 0) {
			l.conn.inbox.Tell(t, &note{kind: noteAdvice, rare: &rare{advice: a, consumer: l.consumer}})
		}
	}
}

// isAdvisory reports whether a topic is one the broker speaks on.
func isAdvisory(name string) bool { return strings.HasPrefix(name, advisoryPrefix) }
