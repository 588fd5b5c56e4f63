package broker

// maxRoomWaits bounds those who wait for room in one queue.
const maxRoomWaits = 1 << 14

// AwaitRoom calls f once, without locks and on any goroutine, when the queue
// is not at its length limit, or is gone: a publish that it refused may be
// tried again. Whoever is called may find that others were faster.
func (q *Queue) AwaitRoom(t *Turn, f func(t *Turn)) {
	q.mu.Lock()
	if q.closed || len(q.rooms) >= maxRoomWaits {
		q.calls = append(q.calls, f)
	} else {
		q.rooms = append(q.rooms, f)
	}
	q.leave(t)
}

// HasRoom reports whether the queue would not refuse a message with n bytes of
// body for its length. That may have changed before the message arrives.
func (q *Queue) HasRoom(n int) bool {
	if !q.gated.Load() {
		return true
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	return !q.fullFor(n)
}

// announceRoom has leave call those who wait for room if there is some.
func (q *Queue) announceRoom() {
	if !q.closed && q.cfg.Overflow != DropHead {
		if n := q.cfg.MaxLength; n >= 0 && int64(q.ready+q.reserved) >= n {
			return
		}
		if n := q.cfg.MaxLengthBytes; n >= 0 && q.readyBytes+q.reservedBytes >= n {
			return
		}
	}
	q.calls = append(q.calls, q.rooms...)
	q.rooms = nil
}
