package openwire

import (
	"strings"
	"sync"

	"github.com/hermodmq/hermod/broker"
	"github.com/hermodmq/hermod/broker/topic"
)

// images are the last messages of topics, for consumers that begin later and
// ask for it. They are in memory only.
type images struct {
	mu   sync.RWMutex
	last map[image]*broker.Message
}

type image struct{ vhost, topic string }

// maxImages bounds the topics whose last message is kept.
const maxImages = 10_000

// keep remembers a message as the last of its topic.
func (x *images) keep(vhost string, m *broker.Message) {
	x.mu.Lock()
	defer x.mu.Unlock()
	key := image{vhost, m.RoutingKey}
	if _, have := x.last[key]; !have {
		if len(x.last) >= maxImages {
			return
		}
		key.topic = strings.Clone(key.topic)
	}
	if x.last == nil {
		x.last = make(map[image]*broker.Message)
	}
	x.last[key] = m
}

// matching are the last messages of the topics that a pattern stands for.
func (x *images) matching(vhost, pattern string) []*broker.Message {
	x.mu.RLock()
	defer x.mu.RUnlock()
	var list []*broker.Message
	for key, m := range x.last {
		if key.vhost == vhost && topic.Match(pattern, key.topic) {
			list = append(list, m)
		}
	}
	return list
}

// keepImage remembers a message that was sent to a topic of those whose last
// message is kept.
func (c *conn) keepImage(m *broker.Message) {
	if matches(c.opt.LastImage, m.RoutingKey) {
		c.server.images.keep(c.core.VHost().Name(), m)
	}
}

// showImages gives a retroactive consumer the last messages of its topics.
func (c *conn) showImages(cons *consumer, topics []broker.Destination) {
	p := cons.sub.Data.(*part)
	for _, t := range topics {
		for _, m := range c.server.images.matching(c.core.VHost().Name(), t.Pattern()) {
			if m.TTL >= 0 && m.Received+m.TTL <= c.turn.Now || cons.passes != nil && !cons.passes(m) {
				continue
			}
			c.put(p, &broker.Delivery{Queue: cons.sub.Queue, Msg: m, Offset: -1}, true)
		}
	}
}
