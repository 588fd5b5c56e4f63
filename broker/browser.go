package broker

import "slices"

// Browser shows the messages that were in a queue when it was opened, each at
// most once and in order, and takes none: ready ones and those that others hold
// unsettled, in memory or only in the store. Messages that are settled before
// it comes to them may be missing; expired and delayed ones are not shown.
//
// A Browser is used by one goroutine at a time, that of then included; its filter
// runs there.
type Browser struct {
	queue *Queue
	wants Filter    // nil: all
	lanes []browsed // highest priority first
}

// browsed is what is left to be shown of one lane.
type browsed struct {
	id    LaneID
	hot   []entry // in memory, in order; those of which only the store has the message are thin
	from  uint64  // stored messages from here to last were not in memory
	last  uint64
	after []entry // those in memory that come behind or between the stored ones
}

// browseMax bounds the messages of a lane that are remembered when a browser is
// opened.
const browseMax = 1 << 20

// Browse opens a browser. wants says which messages are to be shown; it must
// not change. Errors as Subscribe; streams are NotImplemented.
func (s *Session) Browse(t *Turn, queue string, wants Filter) (*Browser, error) {
	q, err := s.readable(queue)
	if err != nil {
		return nil, err
	}
	if q.stream != nil {
		return nil, errf(NotImplemented, "browsing is not supported by stream queues %s", q.vhost.queueText(q.name))
	}
	b := &Browser{queue: q, wants: wants}
	q.mu.Lock()
	leased := make(map[int][]entry)
	for i := range q.ledger.slots {
		if p := &q.ledger.slots[i]; p.gen != 0 {
			leased[int(p.level)] = append(leased[int(p.level)], p.entry)
		}
	}
	for i := len(q.lanes) - 1; i >= 0; i-- {
		b.lanes = append(b.lanes, q.lanes[i].snapshot(leased[i]))
	}
	q.lastUsed = t.Now
	q.mu.Unlock()
	return b, nil
}

// snapshot lists what a lane has. leased are the entries of it that are out.
func (l *lane) snapshot(leased []entry) browsed {
	b := browsed{id: l.id, hot: leased, last: l.last}
	for i := 0; i < l.hot.len() && len(b.hot) < browseMax; i++ {
		if e := l.hot.at(i); !e.hole() {
			b.hot = append(b.hot, *e)
		}
	}
	slices.SortFunc(b.hot, compareEntries)
	if l.cold.count == 0 {
		return b
	}
	b.from = l.cold.from
	b.hot = slices.DeleteFunc(b.hot, func(e entry) bool { return e.stored() && e.seq >= b.from }) // withheld ones
	for i := 0; i < l.late.len() && len(b.after) < browseMax; i++ {
		b.after = append(b.after, *l.late.at(i))
	}
	return b
}

// Next shows up to n messages (> 0) more. then runs exactly once, before Next
// returns or on a goroutine of the store; end says that these were the last
// ones. Messages that are not wanted count: the list may be empty before the
// end. Next must not be called again before then ran.
func (b *Browser) Next(t *Turn, n int, then func(t *Turn, list []Delivery, end bool)) {
	var list []Delivery
	for len(b.lanes) > 0 {
		l := &b.lanes[0]
		for len(l.hot) > 0 && n > 0 {
			if e := &l.hot[0]; e.thin {
				if len(list) > 0 {
					then(t, list, false)
					return
				}
				b.read(l, e.seq, b.thinRun(l, n), n, then)
				return
			} else if list = b.show(t, list, e.msg, e); true {
				l.hot[0] = entry{}
				l.hot = l.hot[1:]
				n--
			}
		}
		switch {
		case n == 0:
			then(t, list, b.ended())
			return
		case l.from != 0 && l.from <= l.last:
			to := l.last
			if len(l.after) > 0 && l.after[0].seq < to {
				to = l.after[0].seq
			}
			if to >= l.from {
				if len(list) > 0 {
					then(t, list, false)
					return
				}
				b.read(l, l.from, to, n, then)
				return
			}
			fallthrough
		case len(l.after) > 0:
			l.hot, l.after = l.after[:1:1], l.after[1:]
		default:
			b.lanes = b.lanes[1:]
		}
	}
	then(t, list, true)
}

func (b *Browser) ended() bool {
	for i := range b.lanes {
		if l := &b.lanes[i]; len(l.hot)+len(l.after) > 0 || l.from != 0 && l.from <= l.last {
			return false
		}
	}
	return true
}

// thinRun is the last sequence number of the thin entries at the head of a
// lane that are read back together.
func (b *Browser) thinRun(l *browsed, n int) uint64 {
	to := l.hot[0].seq
	for i := 1; i < len(l.hot) && i < n && l.hot[i].thin && l.hot[i].seq-to <= fillGap; i++ {
		to = l.hot[i].seq
	}
	return to
}

// read asks the store for messages of a lane and shows them.
func (b *Browser) read(l *browsed, from, to uint64, n int, then func(*Turn, []Delivery, bool)) {
	q := b.queue
	q.eng.store.Read(&ReadRequest{
		Lane: l.id, From: from, To: to, Max: n, MaxBytes: q.eng.load,
		Then: func(t *Turn, msgs []Stored, next uint64, err error) {
			if next <= from { // not now, or never: do not stand still
				next = to + 1
			}
			next = min(next, to+1)
			var list []Delivery
			thin := len(l.hot) > 0
			for i := range msgs {
				m := &msgs[i]
				e := entry{msg: m.Msg, seq: m.Seq, expiry: m.Expiry, count: m.Count, redelivered: m.Count > 0}
				if thin {
					// Only what was in the snapshot: others in the range were there, but
					// not thin, and have their own place in the list.
					for len(l.hot) > 0 && l.hot[0].seq < m.Seq && l.hot[0].thin {
						l.hot = l.hot[1:]
					}
					if len(l.hot) == 0 || l.hot[0].seq != m.Seq || !l.hot[0].thin {
						continue
					}
					e.count, e.redelivered = l.hot[0].count, l.hot[0].redelivered
					l.hot = l.hot[1:]
				}
				list = b.show(t, list, m.Msg, &e)
			}
			if thin {
				for len(l.hot) > 0 && l.hot[0].thin && l.hot[0].seq < next {
					l.hot = l.hot[1:]
				}
			} else {
				l.from = next
			}
			then(t, list, b.ended())
		},
	})
}

// show appends a message if it is to be shown.
func (b *Browser) show(t *Turn, list []Delivery, m *Message, e *entry) []Delivery {
	if e.expiry != 0 && e.expiry <= t.Now || b.wants != nil && !b.wants(m, e.past()) {
		return list
	}
	d := Delivery{Queue: b.queue, Msg: m, Count: e.count, Redelivered: e.redelivered, Offset: -1}
	if e.stored() {
		d.Seq = e.seq
	}
	return append(list, d)
}
