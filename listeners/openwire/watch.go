package openwire

import (
	"strings"

	"github.com/hermodmq/hermod/broker"
	"github.com/hermodmq/hermod/listeners/delivery"
	"github.com/hermodmq/hermod/listeners/openwire/wire"
)

// family is a kind of advisory about messages and their flow. These are made
// only while somebody listens to one of their family, and cost nothing else.
type family uint32

const (
	toldDelivered family = 1 << iota // a destination took a message
	toldDispatched
	toldConsumed
	toldDead
	toldExpired
	toldNoConsumer
	toldSlowConsumer
	toldFastProducer
	toldFull
	toldDiscarded
)

// families are the words behind the prefix of each family's topics; then come
// the kind and the name of the destination.
var families = map[family]string{
	toldDelivered: "MessageDelivered", toldDispatched: "MessageDispatched", toldConsumed: "MessageConsumed", toldDead: "MessageDLQd",
	toldExpired: "Expired", toldNoConsumer: "NoConsumer", toldSlowConsumer: "SlowConsumer", toldFastProducer: "FastProducer", toldFull: "FULL",
	toldDiscarded: "MessageDiscarded",
}

// perMessage are the families that tell of every message. Whoever listens to
// everything, ActiveMQ.Advisory.>, does not mean these: they have to be named.
const perMessage = toldDelivered | toldDispatched | toldConsumed

// familiesOf are those that have topics which one of the patterns, in words of
// the core, may stand for.
func familiesOf(patterns []string) (all family) {
	for _, p := range patterns {
		for f, word := range families {
			pattern, words := strings.Split(p, "."), strings.Split(advisoryPrefix+word, ".")
			if leads(pattern, words) && (f&perMessage == 0 || len(pattern) >= len(words) && pattern[len(words)-1] == word) {
				all |= f
			}
		}
	}
	return all
}

// leads reports whether a pattern may stand for topics that begin with words.
func leads(pattern, words []string) bool {
	for i, w := range words {
		switch {
		case i == len(pattern):
			return false
		case pattern[i] == "#":
			return true
		case pattern[i] != "*" && pattern[i] != w:
			return false
		}
	}
	return true
}

// rewatch notes what anybody listens to. hub.mu is held.
func (h *hub) rewatch(r *community) {
	var all family
	for _, l := range r.listeners {
		all |= l.families
	}
	r.watched.Store(uint32(all))
	switch {
	case all&ofDeaths != 0 && r.unwatch == nil:
		r.unwatch = r.vhost.WatchDeaths(func(t *broker.Turn, d broker.Dead) { h.tellDead(t, r, d) })
	case all&ofDeaths == 0 && r.unwatch != nil:
		r.unwatch()
		r.unwatch = nil
	}
}

// ofDeaths are the families that tell of what the core does by itself.
const ofDeaths = toldDead | toldExpired | toldDiscarded

// tellDead makes the advisories about a message that a queue gave up, by
// whatever protocol it came or was rejected.
func (h *hub) tellDead(t *broker.Turn, r *community, dead broker.Dead) {
	if dead.Msg == nil {
		return // dropped unread: there is nothing to tell of
	}
	d := queueOf(dead.Queue.Name())
	temp := wire.Destination{Kind: wire.TypeTempQueue, Name: d.Name}
	if _, known := h.tempOwner(r, temp); known {
		d = temp
	}
	if dead.Queue.Private() && dead.Msg.Exchange == broker.TopicExchange {
		d = topicOf(dead.Msg.RoutingKey)
	}
	told := func(f family, more ...wire.Entry) {
		if r.watched.Load()&uint32(f) != 0 {
			h.tellOf(t, r, f, d, outline(dead.Msg, d, h.sequence.Add(1)), more...)
		}
	}
	if dead.Reason == broker.DeathExpired {
		told(toldExpired)
	}
	if dead.Kept {
		told(toldDead)
	} else if dead.Reason == broker.DeathMaxLen {
		told(toldDiscarded, h.discarded(r, dead.Queue.Name())...)
	}
}

// discarded counts a message that was dropped for want of room in the queue of
// a consumer of topics, and says whose it was and how many there were.
func (h *hub) discarded(r *community, queue string) []wire.Entry {
	h.mu.Lock()
	defer h.mu.Unlock()
	x := r.inboxes[queue]
	if x == nil {
		return nil
	}
	x.discarded++
	return []wire.Entry{{Name: "consumerId", Value: x.consumer.String()}, {Name: "discardedCount", Value: x.discarded}}
}

// watched reports whether somebody may listen to advisories of a family.
func (c *conn) watched(f family) bool {
	return c.room != nil && c.room.watched.Load()&uint32(f) != 0
}

// tell makes an advisory of a family about a destination.
func (c *conn) tell(f family, d wire.Destination, data wire.Structure, properties ...wire.Entry) {
	c.server.hub.tell(&c.turn, c.room, f, d, data, properties)
}

func (h *hub) tell(t *broker.Turn, r *community, f family, d wire.Destination, data wire.Structure, properties []wire.Entry) {
	h.advise(t, r, &advice{family: f, topic: advisoryTopic(f, d), data: data, properties: properties})
}

// tellOf makes an advisory about a message.
func (c *conn) tellOf(f family, d wire.Destination, m *wire.Message) {
	c.server.hub.tellOf(&c.turn, c.room, f, d, m)
}

func (h *hub) tellOf(t *broker.Turn, r *community, f family, d wire.Destination, m *wire.Message, more ...wire.Entry) {
	h.tell(t, r, f, d, m, append(more,
		wire.Entry{Name: "orignalMessageId", Value: m.MessageID.String()}, // both so spelled by ActiveMQ
		wire.Entry{Name: "orignalDestination", Value: m.Destination.String()}))
}

// outline is a message without its body.
func outline(m *broker.Message, d wire.Destination, sequence int64) *wire.Message {
	if n, ok := viewOf(m); ok {
		if w, err := n.decode(nil); err == nil {
			w.Content, w.Destination = nil, d
			return w
		}
	}
	return &wire.Message{Kind: wire.TypeMessage, Destination: d, MessageID: messageID("", sequence), Persistent: m.Persistent}
}

// tellSent makes the advisories about a message that was sent to a destination.
func (c *conn) tellSent(m *broker.Message, d wire.Destination) {
	if c.watched(toldDelivered) {
		c.tellOf(toldDelivered, d, outline(m, d, 0))
	}
	if d.Kind != wire.TypeTempQueue && !m.Persistent && c.watched(toldNoConsumer) && !c.consumed(d) { // of persistent ones ActiveMQ tells nobody
		c.showUnread(m, d)
	}
}

// showUnread passes a message that nobody consumes on to those who listen for such.
func (c *conn) showUnread(m *broker.Message, d wire.Destination) {
	n, ok := viewOf(m)
	if !ok {
		return
	}
	w, err := n.decode(m.Body)
	if err != nil {
		return
	}
	c.server.hub.advise(&c.turn, c.room, &advice{family: toldNoConsumer, topic: advisoryTopic(toldNoConsumer, d), message: w})
}

// advisoryTopic is where advisories of a family about a destination go. That some
// families do not tell temporary destinations from others is ActiveMQ's.
func advisoryTopic(f family, d wire.Destination) string {
	kind := kindWord(d)
	if f&(toldExpired|toldNoConsumer) == 0 && (d.Kind == wire.TypeTempQueue || d.Kind == wire.TypeTempTopic) {
		kind = "Temp" + kind
	}
	return advisoryPrefix + families[f] + "." + kind + d.Name
}

// consumed reports whether anybody consumes from a destination, by any protocol as
// far as it is a queue.
func (c *conn) consumed(d wire.Destination) bool {
	if !d.IsTopic() {
		q := c.core.VHost().Queue(d.Name)
		return q != nil && q.Stats().Consumers > 0
	}
	return c.server.hub.consumersOf(c.room, d) > 0
}

// keptFor are the families for which an outline is kept with a delivery.
const keptFor = toldConsumed | toldExpired

// tellDispatched makes the advisories about a delivery, and returns what those
// about its end will tell; nil if nobody listens.
func (c *conn) tellDispatched(d *broker.Delivery, x *dispatch) *wire.Message {
	if !c.watched(keptFor | toldDispatched) {
		return nil
	}
	seen := outline(d.Msg, x.Destination, x.Sequence)
	if c.watched(toldDispatched) {
		c.tellOf(toldDispatched, x.Destination, seen)
	}
	return seen
}

// tellSlow tells, once until it has caught up, of each consumer whose window is
// full while messages wait. It looks now and then: a window that was full for a
// moment is not worth telling.
func (c *conn) tellSlow() {
	if !c.watched(toldSlowConsumer) {
		return
	}
	for _, cons := range c.consumers {
		held := cons.ledger.Len()
		switch full := cons.sub != nil && cons.prefetch > 1 && held >= cons.prefetch; {
		case full && !cons.slow && cons.sub.Queue.Stats().Ready > 0:
			cons.slow = true
			d := cons.dest
			if d.IsTopic() && !cons.lastTopic.IsNull() {
				d = cons.lastTopic
			}
			c.tell(toldSlowConsumer, d, &wire.ConsumerInfo{ConsumerID: cons.id, Destination: cons.dest, PrefetchSize: int32(cons.prefetch)},
				wire.Entry{Name: "consumerId", Value: cons.id.String()})
		case held < cons.prefetch/2:
			cons.slow = false
		}
	}
}

// tellEnd makes the advisory about the end of a delivery.
func (c *conn) tellEnd(f family, u *delivery.Unsettled[lent]) {
	if m := u.Data.seen; m != nil && c.watched(f) {
		c.tellOf(f, m.Destination, m)
	}
}

// tellFull makes the advisories about a destination without room and the
// producer that has to wait.
func (c *conn) tellFull(p *producer, d wire.Destination) {
	if c.watched(toldFull) {
		c.tell(toldFull, d, nil, wire.Entry{Name: "usageName", Value: "memory"})
	}
	if c.watched(toldFastProducer) {
		c.tell(toldFastProducer, d, &wire.ProducerInfo{ProducerID: p.id, Destination: d, WindowSize: p.window},
			wire.Entry{Name: "producerId", Value: p.id.String()})
	}
}
