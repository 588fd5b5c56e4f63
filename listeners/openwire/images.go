package openwire

import (
	"slices"
	"strings"
	"sync"

	"github.com/hermodmq/hermod/broker"
	"github.com/hermodmq/hermod/broker/topic"
)

// images are the last messages of topics, for consumers that begin later and
// ask for them. They are in memory only.
type images struct {
	mu    sync.RWMutex
	past  map[image][]*broker.Message // oldest first
	bytes int
}

type image struct{ vhost, topic string }

// maxImages bounds the topics whose last messages are kept, maxImageBytes those
// messages.
const (
	maxImages     = 10_000
	maxImageBytes = 64 << 20
)

// keep remembers a message as the last of its topic, and of those before it
// what a policy says.
func (x *images) keep(vhost string, m *broker.Message, r *Recovery, now int64) {
	x.mu.Lock()
	defer x.mu.Unlock()
	key := image{vhost, m.RoutingKey}
	list, have := x.past[key]
	if !have {
		if len(x.past) >= maxImages {
			return
		}
		key.topic = strings.Clone(key.topic)
	}
	drop := 0
	for drop < len(list) && (r.Messages > 0 && len(list)-drop >= r.Messages || r.past(list[drop], now) || x.bytes+m.Size() > maxImageBytes) {
		x.bytes -= list[drop].Size()
		drop++
	}
	list = slices.Delete(list, 0, drop)
	if x.bytes+m.Size() <= maxImageBytes {
		list = append(list, m)
		x.bytes += m.Size()
	}
	if len(list) == 0 {
		delete(x.past, key)
		return
	}
	if x.past == nil {
		x.past = make(map[image][]*broker.Message)
	}
	x.past[key] = list
}

// past reports whether a message is older than the policy keeps them.
func (r *Recovery) past(m *broker.Message, now int64) bool {
	return r.Age > 0 && m.Received+r.Age.Milliseconds() <= now
}

// matching are the kept messages of the topics that a pattern stands for, those
// of each topic in their order.
func (x *images) matching(vhost, pattern string) []*broker.Message {
	x.mu.RLock()
	defer x.mu.RUnlock()
	var list []*broker.Message
	for key, past := range x.past {
		if key.vhost == vhost && topic.Match(pattern, key.topic) {
			list = append(list, past...)
		}
	}
	return list
}

// recovery is the policy for a topic: the first that matches; nil for none.
func (o *Options) recovery(topic string) *Recovery {
	for i := range o.Recoveries {
		if matches([]string{o.Recoveries[i].Topic}, topic) {
			return &o.Recoveries[i]
		}
	}
	return nil
}

// keepImage remembers a message that was sent to a topic of those whose last
// messages are kept.
func (c *conn) keepImage(m *broker.Message) {
	if r := c.opt.recovery(m.RoutingKey); r != nil {
		c.server.images.keep(c.core.VHost().Name(), m, r, c.turn.Now)
	}
}

// imageOffset marks the delivery of a kept message, which the core does not
// know of.
const imageOffset = -1

// showImages gives a retroactive consumer the last messages of its topics.
func (c *conn) showImages(cons *consumer, topics []broker.Destination) {
	for _, t := range topics {
		for _, m := range c.server.images.matching(c.core.VHost().Name(), t.Pattern()) {
			r := c.opt.recovery(m.RoutingKey)
			if r == nil || r.past(m, c.turn.Now) || m.TTL >= 0 && m.Received+m.TTL <= c.turn.Now || cons.passes != nil && !cons.passes(m, arrived) {
				continue
			}
			c.deliver(&broker.Delivery{Sub: cons.sub, Queue: cons.sub.Queue, Msg: m, Offset: imageOffset})
		}
	}
}
