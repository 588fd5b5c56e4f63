package broker

import (
	"crypto/sha256"
	"slices"
	"strconv"
	"strings"
)

// Bounds of deduplication. Ids beyond maxDedup per queue are forgotten early.
// Those beyond the stored bounds are remembered in memory only, so that a
// restart forgets them.
const (
	maxDedup       = 1 << 20 // ids a queue remembers
	maxDedupStored = 100_000 // of them in the store
	maxDedupTotal  = 500_000 // in the store for all queues together
	maxDedupID     = 128     // bytes of an id that is remembered as it is; longer ones by their digest
	dedupEvery     = 1000    // ms between two looks at what the store may forget
	dedupStep      = 10_000  // ids forgotten at a time
)

// dedupTable remembers the deduplication ids of a queue for its window. The
// ids of stored messages are definitions that commit with the message, so that
// a restart remembers both or neither.
type dedupTable struct {
	known  map[string]dedupKnown
	order  []dedupEntry // by time; a ring would save nothing, it is cut in steps
	head   int
	stored int // entries that the store has, too
}

// dedupKnown is what is known of an id.
type dedupKnown struct {
	at     int64  // Unix ms at which it was seen
	origin string // what the publisher of the first message with it wants to hear
}

type dedupEntry struct {
	id     string
	at     int64
	origin string
	stored bool
}

// dedupID is the form in which an id is remembered; it may alias a message.
func dedupID(id string) string {
	if len(id) <= maxDedupID {
		return id
	}
	sum := sha256.Sum256([]byte(id))
	return "\x00sha256:" + string(sum[:])
}

// duplicate reports whether m's id came within the queue's window and
// remembers it if not. In the latter case, fact is what the store must remember
// together with m; its Kind is "" if nothing.
func (q *Queue) duplicate(t *Turn, m *Message, stored bool) (dup bool, origin string, fact Definition) {
	d := &q.dedup
	q.forgetIDs(t, dedupStep)
	id := m.Notes.DedupID
	if q.cfg.DedupGroups {
		id = m.Notes.GroupID + "\x00" + id
	}
	id = dedupID(id)
	// The table may hold what is too old: it is forgotten in steps.
	if k, ok := d.known[id]; ok && k.at > t.Now-q.cfg.DedupWindow {
		return true, k.origin, Definition{}
	} else if ok {
		q.forgetIDs(t, len(d.order))
	}
	stored = stored && d.stored < maxDedupStored && q.eng.dedup.Load() < maxDedupTotal
	d.add(dedupEntry{strings.Clone(id), t.Now, strings.Clone(m.Notes.Origin), stored})
	if !stored {
		return false, "", Definition{}
	}
	q.eng.dedup.Add(1)
	q.schedule(t.Now + q.cfg.DedupWindow)
	value := strconv.AppendInt(nil, t.Now, 10)
	if m.Notes.Origin != "" {
		value = append(append(value, ' '), m.Notes.Origin...)
	}
	return false, "", Definition{Kind: kindDedup, Key: q.dedupKey(id), Value: value}
}

func (d *dedupTable) add(e dedupEntry) {
	if d.known == nil {
		d.known = make(map[string]dedupKnown)
	}
	d.known[e.id] = dedupKnown{e.at, e.origin}
	d.order = append(d.order, e)
	if e.stored {
		d.stored++
	}
}

// dedupKey is the key of an id's definition. Lanes are never used again, so a
// queue of the same name does not inherit the ids.
func (q *Queue) dedupKey(id string) string {
	return vhostKey(strconv.FormatUint(uint64(q.base), 10), id)
}

// forgetIDs drops at most n ids that are not younger than the window, and
// those beyond the bound.
func (q *Queue) forgetIDs(t *Turn, n int) {
	d, until := &q.dedup, t.Now-q.cfg.DedupWindow
	for ; n > 0 && d.head < len(d.order); n-- {
		e := &d.order[d.head]
		if e.at > until && len(d.order)-d.head <= maxDedup {
			break
		}
		delete(d.known, e.id)
		if e.stored {
			q.out.Definitions = append(q.out.Definitions, Definition{Kind: kindDedup, Key: q.dedupKey(e.id), Delete: true})
			q.eng.dedup.Add(-1)
			d.stored--
		}
		*e = dedupEntry{}
		d.head++
	}
	if d.head > 1024 && d.head > len(d.order)/2 {
		d.order = slices.Clone(d.order[d.head:])
		d.head = 0
	}
}

// forgetAllIDs is for a queue that ends or is cleared.
func (q *Queue) forgetAllIDs() {
	d := &q.dedup
	for _, e := range d.order[d.head:] {
		if e.stored {
			q.out.Definitions = append(q.out.Definitions, Definition{Kind: kindDedup, Key: q.dedupKey(e.id), Delete: true})
		}
	}
	q.eng.dedup.Add(-int64(d.stored))
	q.dedup = dedupTable{}
}

// nextForget is when tick has to look at the ids again; 0: never.
func (q *Queue) nextForget(t *Turn) int64 {
	d := &q.dedup
	if d.stored == 0 {
		return 0
	}
	return max(d.order[d.head].at+q.cfg.DedupWindow, t.Now+dedupEvery)
}

// dedups gives queues the ids the store remembers.
func (r *recovery) dedups() {
	defs := r.byKind[kindDedup]
	if len(defs) == 0 {
		return
	}
	queues := make(map[string]*Queue)
	for _, v := range r.broker.vhosts.all() {
		for q := range v.meta {
			queues[strconv.FormatUint(uint64(q.base), 10)] = q
		}
	}
	found := make(map[*Queue][]dedupEntry)
	for _, d := range defs {
		key, err := splitKey(d.Key, 2)
		at, origin := int64(0), ""
		if err == nil {
			var word string
			word, origin, _ = strings.Cut(string(d.Value), " ")
			at, err = strconv.ParseInt(word, 10, 64)
		}
		if err != nil || queues[key[0]] == nil {
			r.orphans.remove(d.Kind, d.Key)
			continue
		}
		q := queues[key[0]]
		found[q] = append(found[q], dedupEntry{key[1], at, origin, true})
	}
	for q, list := range found {
		slices.SortFunc(list, func(a, b dedupEntry) int { return int(min(max(a.at-b.at, -1), 1)) })
		q.mu.Lock()
		for _, e := range list {
			q.dedup.add(e)
		}
		q.eng.dedup.Add(int64(len(list)))
		q.schedule(r.turn.Now)
		q.leave(r.turn)
	}
}
