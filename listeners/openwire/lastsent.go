package openwire

import (
	"encoding/binary"
	"strconv"
	"sync"

	"github.com/hermodmq/hermod/broker"
	"github.com/hermodmq/hermod/listeners/openwire/wire"
)

// A client that fails over sends again what it has no answer to. The number of
// the last durable message of each of its producers is stored in the batch of
// the message, so that after any failure the message is there and known, or
// neither.

// lastSent holds those numbers for the producers of clients that may come
// back.
type lastSent struct {
	mu    sync.Mutex
	known map[string]lastEntry
	order []string // by age, at least once each
}

type lastEntry struct {
	seq int64
	at  int64 // Unix ms
}

// maxLast bounds the producers that are remembered, and lastTime how long, in
// ms, without a message.
const (
	maxLast  = 100_000
	lastTime = 24 * 3600 * 1000
)

var factLast = broker.FactKind("openwire.producer")

// lastKey names a producer in the store.
func lastKey(vhost string, id wire.ProducerID) string {
	return vhost + "\x00" + id.ConnectionID + "\x00" + strconv.FormatInt(id.SessionID, 10) + "\x00" + strconv.FormatInt(id.Value, 10)
}

func (l *lastSent) recover(t *broker.Turn, b *broker.Broker) {
	l.known = make(map[string]lastEntry)
	var old []string
	for _, d := range b.TakeFacts(factLast) {
		if len(d.Value) != 16 {
			old = append(old, d.Key)
			continue
		}
		e := lastEntry{int64(binary.BigEndian.Uint64(d.Value)), int64(binary.BigEndian.Uint64(d.Value[8:]))}
		if e.at < t.Now-lastTime || len(l.known) >= maxLast {
			old = append(old, d.Key)
			continue
		}
		l.known[d.Key] = e
		l.order = append(l.order, d.Key)
	}
	l.forget(b, old)
}

func (l *lastSent) get(key string) (seq int64, known bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	e, known := l.known[key]
	return e.seq, known
}

// put remembers a number and returns the keys of producers that are forgotten
// for it.
func (l *lastSent) put(key string, e lastEntry) (old []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, have := l.known[key]; !have {
		l.order = append(l.order, key)
	}
	l.known[key] = e
	for len(l.order) > 0 {
		first := l.order[0]
		x, have := l.known[first]
		if have && len(l.known) <= maxLast && x.at > e.at-lastTime {
			break
		}
		l.order = l.order[1:]
		if first == key {
			l.order = append(l.order, key)
		} else if have {
			delete(l.known, first)
			old = append(old, first)
		}
	}
	return old
}

// forget drops producers that do not come back.
func (l *lastSent) forget(b *broker.Broker, keys []string) {
	if len(keys) == 0 {
		return
	}
	facts := make([]broker.Definition, 0, len(keys))
	l.mu.Lock()
	for _, key := range keys {
		delete(l.known, key)
		facts = append(facts, broker.Definition{Kind: factLast, Key: key, Delete: true})
	}
	if len(l.order) > 2*len(l.known)+1024 {
		kept := l.order[:0]
		for _, key := range l.order {
			if _, have := l.known[key]; have {
				kept = append(kept, key)
			}
		}
		l.order = kept
	}
	l.mu.Unlock()
	b.StoreFacts(facts, nil)
}

// repeats reports whether a message was stored already, before the client
// failed over.
func (p *producer) repeats(m *wire.Message) bool {
	return p.known && m.Persistent && m.TransactionID.IsNull() && m.MessageID.ProducerSequenceID <= p.lastSeq
}

// remember returns the facts that are stored with a message.
func (p *producer) remember(s *Server, seq, now int64) []broker.Definition {
	if p.key == "" {
		return nil
	}
	p.lastSeq, p.known = max(p.lastSeq, seq), true
	old := s.last.put(p.key, lastEntry{p.lastSeq, now})
	value := binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, uint64(p.lastSeq)), uint64(now))
	facts := []broker.Definition{{Kind: factLast, Key: p.key, Value: value}}
	for _, key := range old {
		facts = append(facts, broker.Definition{Kind: factLast, Key: key, Delete: true})
	}
	return facts
}
