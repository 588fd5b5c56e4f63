package broker

import (
	"strings"
	"sync"
)

// ReplyPrefix and a suffix the broker made up are the routing key under which
// a reply subscription is reached through the default exchange.
const ReplyPrefix = "amq.rabbitmq.reply-to."

// Bounds of what may wait in a mailbox for a slow reply consumer; beyond them
// replies are dropped, as they are when the consumer is gone.
const (
	maxReplies    = 1 << 16
	maxReplyBytes = 32 << 20
)

// replyBox orders the deliveries of a reply subscription, which has no queue.
type replyBox struct {
	mu     sync.Mutex
	suffix string
	closed bool
}

// SubscribeReplies starts direct reply-to: messages published to the default
// exchange with key ReplyPrefix+suffix go straight to this session's sink, as
// deliveries without queue and lease. A session has one at most.
func (s *Session) SubscribeReplies(_ *Turn, tag string) (*Subscription, string, error) {
	if s.tagged(tag) {
		return nil, "", errf(NotAllowed, "attempt to reuse consumer tag '%s'", tag)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, sub := range s.subs {
		if sub.reply != nil {
			return nil, "", errf(Precondition, "reply consumer already set")
		}
	}
	box := &replyBox{suffix: randomName()}
	sub := &Subscription{Tag: tag, NoAck: true, session: s, credit: &s.shared, reply: box}
	s.subs = append(s.subs, sub)
	s.broker.engine.replies.Store(box.suffix, sub)
	return sub, box.suffix, nil
}

func (r *replyBox) close(e *engine) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.closed = true
	e.replies.Delete(r.suffix)
}

// ReplyAddressExists reports whether a routing key reaches a reply consumer.
func (b *Broker) ReplyAddressExists(key string) bool {
	return b.replySubscription(key) != nil
}

func (b *Broker) replySubscription(key string) *Subscription {
	suffix, ok := strings.CutPrefix(key, ReplyPrefix)
	if !ok {
		return nil
	}
	v, ok := b.engine.replies.Load(suffix)
	if !ok {
		return nil
	}
	return v.(*Subscription)
}

// publishReply hands a message to a reply consumer.
func (s *Session) publishReply(t *Turn, m *Message) PublishResult {
	sub := s.broker.replySubscription(m.RoutingKey)
	if sub == nil {
		return PublishResult{}
	}
	box := sub.reply
	box.mu.Lock()
	defer box.mu.Unlock()
	if box.closed {
		return PublishResult{}
	}
	if sub.posted.Load() < maxReplies && sub.postedBytes.Load() < maxReplyBytes {
		sub.posted.Add(1)
		sub.postedBytes.Add(int64(m.Size()))
		sub.session.sink.Deliver(t, Delivery{Sub: sub, Msg: m, Offset: -1})
	}
	return PublishResult{Routed: true}
}
