package broker

import "slices"

// cursor is where a subscription reads a stream.
type cursor struct {
	next    uint64 // sequence number of the next message
	spec    offsetSpec
	ready   bool     // next is known
	reading bool     // a read for it is under way
	chunk   []Stored // read ahead; its first one is at next or later

	filters    []string // values of Notes.StreamFilter that are wanted; nil: all
	unfiltered bool     // and messages without one, too
}

// offsetSpec says where to start.
type offsetSpec struct {
	kind  offsetKind
	value int64 // offset, or Unix ms
}

type offsetKind uint8

const (
	offsetNext offsetKind = iota
	offsetFirst
	offsetLast
	offsetAt
	offsetTime
	offsetAgo // value is ms before now
)

// newCursor reads a consumer's options for a stream.
func (s *stream) newCursor(o *SubscribeOptions) (*cursor, error) {
	text := s.q.vhost.queueText(s.q.name)
	if o.NoAck {
		return nil, errf(NotImplemented, "automatic acknowledgement not supported by stream %s", text)
	}
	if o.Prefetch <= 0 {
		return nil, errf(Precondition, "consumer prefetch count is not set for stream %s", text)
	}
	c := new(cursor)
	if v, ok := o.Args.Get("x-stream-offset"); ok {
		if c.spec, ok = parseOffset(v); !ok {
			return nil, errf(Precondition, "invalid arg 'x-stream-offset' for %s: invalid offset", text)
		}
	}
	if v, ok := o.Args.Get("x-stream-filter"); ok {
		if c.filters, ok = parseFilters(v); !ok {
			return nil, errf(Precondition, "invalid arg 'x-stream-filter' for %s: invalid filter", text)
		}
	}
	if v, ok := o.Args.Get("x-stream-match-unfiltered"); ok {
		c.unfiltered, _ = v.(bool)
	}
	return c, nil
}

func parseOffset(v Value) (offsetSpec, bool) {
	switch x := v.(type) {
	case Timestamp:
		return offsetSpec{offsetTime, int64(min(uint64(x), 1<<50)) * 1000}, true
	case string:
		switch x {
		case "first":
			return offsetSpec{kind: offsetFirst}, true
		case "last":
			return offsetSpec{kind: offsetLast}, true
		case "next":
			return offsetSpec{kind: offsetNext}, true
		}
		ms, ok := parseAge(x)
		return offsetSpec{offsetAgo, ms}, ok
	}
	n, ok := Int(v)
	return offsetSpec{offsetAt, n}, ok && n >= 0
}

func parseFilters(v Value) ([]string, bool) {
	switch x := v.(type) {
	case string:
		return []string{x}, true
	case Array:
		var list []string
		for _, e := range x {
			text, ok := e.(string)
			if !ok {
				return nil, false
			}
			list = append(list, text)
		}
		return list, len(list) > 0
	}
	return nil, false
}

// wants applies the consumer's filter.
func (c *cursor) wants(m *Message) bool {
	if c.filters == nil {
		return true
	}
	if m.Notes == nil || m.Notes.StreamFilter == "" {
		return c.unfiltered
	}
	return slices.Contains(c.filters, m.Notes.StreamFilter)
}

// start puts a new subscription's cursor where its offset says.
func (s *stream) start(t *Turn, sub *Subscription) {
	c := sub.cursor
	c.ready = true
	switch c.spec.kind {
	case offsetNext:
		c.next = s.last + 1
	case offsetFirst:
		c.next = s.first
	case offsetLast:
		c.next = max(s.last, s.first)
	case offsetAt:
		// An offset beyond the end waits for it.
		c.next = max(uint64(c.spec.value)+1, s.first)
	case offsetTime:
		c.ready = false
		s.seek(sub, c.spec.value, s.first, s.last+1)
	case offsetAgo:
		c.ready = false
		s.seek(sub, t.Now-c.spec.value, s.first, s.last+1)
	}
}

// seek finds the first message not older than a time by halving [lo, hi).
func (s *stream) seek(sub *Subscription, time int64, lo, hi uint64) {
	c := sub.cursor
	for lo < hi && s.tail.len() > 0 {
		mid := lo + (hi-lo)/2
		if mid < s.tail.at(0).seq {
			break
		}
		if s.tail.at(int(mid-s.tail.at(0).seq)).msg.Received >= time {
			hi = mid
		} else {
			lo = mid + 1
		}
	}
	if lo >= hi {
		c.next, c.ready = max(lo, s.first), true
		return
	}
	mid := lo + (hi-lo)/2
	s.read(mid, hi-1, 1, func(t *Turn, msgs []Stored, _ uint64) {
		switch {
		case sub.closed:
			return
		case len(msgs) == 0: // retention was faster: what is left is newer
			lo = hi
		case msgs[0].Msg.Received >= time:
			hi = mid
		default:
			lo = msgs[0].Seq + 1
		}
		s.seek(sub, time, lo, hi)
		s.feed(t, sub)
	})
}

// dispatch feeds every subscription that can take something.
func (s *stream) dispatch(t *Turn) {
	if s.q.paused || s.q.closed {
		return
	}
	for _, sub := range s.q.consumers.list {
		if sub.listed {
			s.feed(t, sub)
		}
	}
}

// feed delivers to one subscription what it has credit for.
func (s *stream) feed(t *Turn, sub *Subscription) {
	c := sub.cursor
	for c.ready && sub.listed && !s.q.paused {
		c.next = max(c.next, s.first)
		if c.next > s.last {
			return
		}
		m, ok := s.message(c)
		if !ok {
			s.readAhead(sub)
			return
		}
		if !c.wants(m) {
			c.next++
			continue
		}
		shared, ok := sub.able()
		if !ok {
			s.q.consumers.unlist(sub)
			return
		}
		s.deliver(t, sub, m, shared)
		c.next++
	}
}

// message is the one at c, if it is in memory.
func (s *stream) message(c *cursor) (*Message, bool) {
	for len(c.chunk) > 0 && c.chunk[0].Seq < c.next {
		c.chunk = c.chunk[1:]
	}
	if len(c.chunk) > 0 && c.chunk[0].Seq == c.next {
		return c.chunk[0].Msg, true
	}
	c.chunk = nil
	if s.tail.len() > 0 && c.next >= s.tail.at(0).seq {
		return s.tail.at(int(c.next - s.tail.at(0).seq)).msg, true
	}
	return nil, false
}

func (s *stream) readAhead(sub *Subscription) {
	c := sub.cursor
	if c.reading {
		return
	}
	c.reading = true
	from := c.next
	s.read(from, s.last, loadCount, func(t *Turn, msgs []Stored, next uint64) {
		c.reading = false
		if sub.closed {
			return
		}
		if len(msgs) == 0 && next > from {
			c.next = max(c.next, next) // unreadable, or trimmed: not this consumer's fault
			s.feed(t, sub)
			return
		}
		if len(msgs) == 0 {
			if c.next == from && s.first <= from {
				// The store does not have what it should: look again later
				// rather than spin.
				s.q.calls = append(s.q.calls, func(t *Turn) { s.q.retryLater(t) })
			}
			return
		}
		// Trimmed meanwhile: go on where messages are.
		c.next = max(c.next, msgs[0].Seq)
		c.chunk = append([]Stored(nil), msgs...)
		s.feed(t, sub)
	})
}

// retryLater makes the next tick dispatch.
func (q *Queue) retryLater(t *Turn) {
	q.mu.Lock()
	q.schedule(t.Now + loadRetry)
	q.leave(t)
}

func (s *stream) deliver(t *Turn, sub *Subscription, m *Message, shared bool) {
	q, c := s.q, sub.cursor
	e := entry{msg: m, seq: c.next}
	q.memory += int64(e.memory())
	q.stats.Delivered++
	sub.unsettled++
	d := Delivery{Sub: sub, Queue: q, Msg: m, Offset: int64(c.next - 1)}
	d.Lease = q.lend(t, e, 0, sub, sub.hold, shared)
	sub.posted.Add(1)
	sub.postedBytes.Add(int64(m.Size()))
	sub.session.sink.Deliver(t, d)
}
