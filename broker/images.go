package broker

import (
	"slices"
	"strings"
	"sync"

	"github.com/hermodmq/hermod/broker/topic"
)

// ImagePolicy says how many of the last messages of a topic are kept for
// subscribers who come later and ask for them.
type ImagePolicy struct {
	Pattern  string // of the topic's key, with the wildcards * and #
	Messages int    // at most so many; 0: as many as Age allows
	Age      int64  // ms; older ones are not shown; 0: no bound
}

// images are the last messages of the topics of a virtual host for which there
// is a policy: whatever TopicExchange routed, by whichever protocol and whether
// or not anybody wanted it. They are in memory only.
type images struct {
	policies []ImagePolicy // immutable

	mu    sync.RWMutex // a leaf, taken with the exchange's lock held
	past  map[string][]*Message
	bytes int
}

// maxImages bounds the topics of a virtual host whose last messages are kept,
// maxImageBytes those messages.
const (
	maxImages     = 10_000
	maxImageBytes = 64 << 20
)

// policy is the first that matches a topic; nil for none.
func (x *images) policy(key string) *ImagePolicy {
	for i := range x.policies {
		if topic.Match(x.policies[i].Pattern, key) {
			return &x.policies[i]
		}
	}
	return nil
}

// keep remembers a message as the last of its topic, and of those before it
// what the policy says.
func (x *images) keep(p *ImagePolicy, m *Message) {
	x.mu.Lock()
	defer x.mu.Unlock()
	key := m.RoutingKey
	list, have := x.past[key]
	if !have {
		if len(x.past) >= maxImages {
			return
		}
		key = strings.Clone(key) // it may alias the message
	}
	drop := 0
	for drop < len(list) && (p.Messages > 0 && len(list)-drop >= p.Messages || p.past(list[drop], m.Received) || x.bytes+m.Size() > maxImageBytes) {
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
		x.past = make(map[string][]*Message)
	}
	x.past[key] = list
}

// keepAll keeps what a transaction has published.
func (x *images) keepAll(list []*Message) {
	for _, m := range list {
		if p := x.policy(m.RoutingKey); p != nil {
			x.keep(p, m)
		}
	}
}

// past reports whether a message is older than the policy shows them.
func (p *ImagePolicy) past(m *Message, now int64) bool { return p.Age > 0 && m.Received+p.Age <= now }

// BindImages is Bind of a queue to TopicExchange that returns the last messages
// of the topics it binds, those of each topic in their order, as far as they have
// not expired. They are older than everything that comes to the queue by the new
// binding, and with that nothing is missing.
func (s *Session) BindImages(t *Turn, b Binding) (list []*Message, err error) {
	if err := s.checkBind(&b); err != nil {
		return nil, err
	}
	v := s.vhost
	err = v.change(t, nil, func(c *change) error {
		c.added = func() { list = v.images.matching(t, b.Key) }
		return v.bind(c, b, s.conn)
	})
	return list, err
}

// matching lists the images of the topics that a pattern stands for.
func (x *images) matching(t *Turn, pattern string) (list []*Message) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	for key, past := range x.past {
		if !topic.Match(pattern, key) {
			continue
		}
		p := x.policy(key)
		for _, m := range past {
			if !p.past(m, t.Now) && (m.TTL < 0 || m.Received+m.TTL > t.Now) {
				list = append(list, m)
			}
		}
	}
	return list
}

// picture keeps the message being routed as an image of its topic. In a
// transaction that is left to its commit. The read lock of TopicExchange is
// held: whoever binds a queue either gets the message there, or finds the image.
func (rt *routing) picture() {
	x := &rt.vhost.images
	p := x.policy(rt.msg.RoutingKey)
	if p == nil {
		return
	}
	if n := rt.msg.Notes; n != nil && n.DeliverAt != 0 {
		return // nobody may see it yet
	}
	rt.keyOnly = false // each message has to come by here
	if rt.pictured = true; !rt.tentative {
		x.keep(p, rt.msg)
	}
}
