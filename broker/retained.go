package broker

import (
	"strings"
	"sync"
)

// Limits of the retained messages of a virtual host. Setting one beyond them
// is refused; replacing and removing always works within them.
const (
	maxRetained      = 1 << 20
	maxRetainedBytes = 256 << 20
)

// retainedKind is the kind of the definitions that keep retained messages.
// Their key is the virtual host's name, a zero byte and the topic.
const retainedKind = "retained"

// retained keeps the last message published to a topic for those who subscribe
// later. The zero value is empty.
type retained struct {
	mu     sync.RWMutex
	topics map[string]*Message
	bytes  int64
}

// SetRetained keeps m as the last message of a topic; nil removes it. done
// (which may be nil) runs when that is durable: at commit for persistent
// messages, before SetRetained returns for others. Error: Exhausted.
func (v *VHost) SetRetained(t *Turn, topic string, m *Message, done func(*Turn)) error {
	r := &v.retained
	topic = strings.Clone(topic)
	r.mu.Lock()
	old := r.topics[topic]
	bytes := r.bytes
	if old != nil {
		bytes -= retainedSize(topic, old)
	}
	if m != nil {
		bytes += retainedSize(topic, m)
		if bytes > maxRetainedBytes || old == nil && len(r.topics) >= maxRetained {
			r.mu.Unlock()
			return errf(Exhausted, "too many retained messages in vhost '%s'", v.name)
		}
	}
	r.bytes = bytes
	switch {
	case m == nil:
		delete(r.topics, topic)
	case r.topics == nil:
		r.topics = map[string]*Message{topic: m}
	default:
		r.topics[topic] = m
	}
	// Under the lock, so that the store's order is that of the memory.
	waits := v.storeRetained(topic, old, m, done)
	r.mu.Unlock()
	if !waits && done != nil {
		done(t)
	}
	return nil
}

// storeRetained records a change in the store if one of the two is there.
func (v *VHost) storeRetained(topic string, old, m *Message, done func(*Turn)) bool {
	persistent := m != nil && m.Persistent
	if !persistent && (old == nil || !old.Persistent) {
		return false
	}
	d := Definition{Kind: retainedKind, Key: v.name + "\x00" + topic, Delete: !persistent}
	if persistent {
		d.Value = m.AppendBinary(nil)
	}
	b := &Batch{Definitions: []Definition{d}}
	if done != nil {
		b.Then = after(done)
	}
	v.broker.engine.store.Append(b)
	return done != nil
}

func retainedSize(topic string, m *Message) int64 { return int64(len(topic) + m.Size() + entryBytes) }

// Retained returns the last message of a topic, nil if there is none or it
// expired.
func (v *VHost) Retained(t *Turn, topic string) *Message {
	v.retained.mu.RLock()
	m := v.retained.topics[topic]
	v.retained.mu.RUnlock()
	if m == nil || retainedExpired(t, m) {
		return nil
	}
	return m
}

// MatchRetained calls f with every retained message whose topic match accepts,
// in no order, until f returns false. f must not change retained messages.
func (v *VHost) MatchRetained(t *Turn, match func(topic string) bool, f func(topic string, m *Message) bool) {
	v.retained.mu.RLock()
	defer v.retained.mu.RUnlock()
	for topic, m := range v.retained.topics {
		if match(topic) && !retainedExpired(t, m) && !f(topic, m) {
			return
		}
	}
}

func retainedExpired(t *Turn, m *Message) bool { return m.TTL >= 0 && m.Received+m.TTL <= t.Now }

// recoverRetained takes over one definition of kind retainedKind. Its key and
// value are the store's.
func (b *Broker) recoverRetained(key string, value []byte) error {
	host, topic, ok := strings.Cut(key, "\x00")
	v := b.VHost(host)
	if !ok || v == nil {
		return nil // its virtual host is gone
	}
	m, err := DecodeMessage(value)
	if err != nil {
		return err
	}
	r := &v.retained
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.topics == nil {
		r.topics = make(map[string]*Message)
	}
	r.topics[topic] = m
	r.bytes += retainedSize(topic, m)
	return nil
}
