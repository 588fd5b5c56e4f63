package broker

import (
	"strings"
	"sync"

	"github.com/hermodmq/hermod/broker/topic"
)

// Limits of the retained messages of a virtual host, unless configured. Setting
// one beyond them is refused; replacing and removing always works within them.
const (
	DefaultMaxRetained      = 5_000_000
	DefaultMaxRetainedBytes = 1 << 30
)

// retainedKind is the kind of the definitions that keep retained messages.
// Their key is the virtual host's name, a zero byte and the topic.
const retainedKind = "retained"

// retained keeps the last message published to a topic for those who subscribe
// later. The zero value is empty.
type retained struct {
	mu     sync.RWMutex
	topics topic.Names[*Message]
	bytes  int64

	expiring int          // messages with a TTL
	swept    topic.Search // how far looking for expired ones has come
}

// SetRetained keeps m as the last message of a topic; nil removes it. done
// (which may be nil) runs when that is durable: at commit for persistent
// messages, before SetRetained returns for others. Error: Exhausted.
func (v *VHost) SetRetained(t *Turn, name string, m *Message, done func(*Turn)) error {
	r, o := &v.retained, &v.broker.options
	r.mu.Lock()
	old, _ := r.topics.Get(name)
	if m != nil {
		bytes, count := r.bytes+retainedSize(name, m), r.topics.Len()
		if old != nil {
			bytes -= retainedSize(name, old)
			count--
		}
		if bytes > o.MaxRetainedBytes || count >= o.MaxRetained {
			r.mu.Unlock()
			return errf(Exhausted, "too many retained messages in vhost '%s'", v.name)
		}
	}
	r.set(name, old, m)
	// Under the lock, so that the store's order is that of the memory.
	waits := v.storeRetained(name, old, m, done)
	r.mu.Unlock()
	if !waits && done != nil {
		done(t)
	}
	return nil
}

// set replaces old by m, either of which may be nil. r.mu is held.
func (r *retained) set(name string, old, m *Message) {
	if old != nil {
		r.bytes -= retainedSize(name, old)
		if old.TTL >= 0 {
			r.expiring--
		}
	}
	if m == nil {
		r.topics.Delete(name)
		return
	}
	r.topics.Put(name, m)
	r.bytes += retainedSize(name, m)
	if m.TTL >= 0 {
		r.expiring++
	}
}

// storeRetained records a change in the store if one of the two is there.
func (v *VHost) storeRetained(name string, old, m *Message, done func(*Turn)) bool {
	persistent := m != nil && m.Persistent
	if !persistent && (old == nil || !old.Persistent) {
		return false
	}
	d := Definition{Kind: retainedKind, Key: v.name + "\x00" + name, Delete: !persistent}
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

func retainedSize(name string, m *Message) int64 { return int64(len(name) + m.Size() + entryBytes) }

// Retained returns the last message of a topic, nil if there is none or it
// expired.
func (v *VHost) Retained(t *Turn, name string) *Message {
	v.retained.mu.RLock()
	m, _ := v.retained.topics.Get(name)
	v.retained.mu.RUnlock()
	if m == nil || retainedExpired(t, m) {
		return nil
	}
	return m
}

// FindRetained goes on with a search for the retained messages whose topics
// match the search's filter: it looks at most messages and calls f with each
// that matches, in the order of their topics. It returns how many it looked at.
// f must not change retained messages.
func (v *VHost) FindRetained(t *Turn, s *topic.Search, most int, f func(name string, m *Message)) int {
	v.retained.mu.RLock()
	defer v.retained.mu.RUnlock()
	return v.retained.topics.Step(s, most, func(name string, m *Message) {
		if !retainedExpired(t, m) {
			f(name, m)
		}
	})
}

// RetainedCount returns how many retained messages there are and the bytes they
// take.
func (v *VHost) RetainedCount() (n int, bytes int64) {
	v.retained.mu.RLock()
	defer v.retained.mu.RUnlock()
	return v.retained.topics.Len(), v.retained.bytes
}

// sweepSize is how many retained messages of a virtual host a Tick looks at for
// expired ones.
const sweepSize = 1000

// sweepRetained removes retained messages that have expired, some with each
// call.
func (v *VHost) sweepRetained(t *Turn) {
	r := &v.retained
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.expiring == 0 {
		return
	}
	if r.swept.Done() {
		r.swept = topic.Search{}
	}
	type dead struct {
		name string
		m    *Message
	}
	var list []dead
	r.topics.Step(&r.swept, sweepSize, func(name string, m *Message) {
		if retainedExpired(t, m) {
			list = append(list, dead{name, m})
		}
	})
	for _, d := range list {
		r.set(d.name, d.m, nil)
		v.storeRetained(d.name, d.m, nil, nil)
	}
}

func retainedExpired(t *Turn, m *Message) bool { return m.TTL >= 0 && m.Received+m.TTL <= t.Now }

// recoverRetained takes over one definition of kind retainedKind. Its key and
// value are the store's.
func (b *Broker) recoverRetained(key string, value []byte) error {
	host, name, ok := strings.Cut(key, "\x00")
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
	r.set(name, nil, m)
	return nil
}
