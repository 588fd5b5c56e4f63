package perf

import "sync"

// window tracks the publishes of one producer that wait for confirmation:
// when each was sent, and how many there are.
type window struct {
	mu          sync.Mutex
	limit       int
	resume      int     // room at which a waiting producer is woken
	sent        []int64 // send time in ns by sequence number modulo its length; 0 when settled
	low, next   uint64  // sequence numbers not settled lie in [low, next)
	outstanding int
	closed      bool
	wake        chan struct{}
}

func newWindow(limit, batch int) *window {
	size := 1
	for size < 2*limit {
		size *= 2
	}
	return &window{
		limit:  limit,
		resume: min(batch, max(1, limit/4)),
		sent:   make([]int64, size),
		low:    1, next: 1, // the first publish on a channel has number 1
		wake: make(chan struct{}, 1),
	}
}

func (w *window) roomLocked() int {
	ring := len(w.sent) - int(w.next-w.low)
	return min(w.limit-w.outstanding, ring)
}

// room waits until there is room again, if it was used up, and returns how
// many messages may be published, at least one. ok is false when the window
// was closed.
func (w *window) room() (n int, ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	n = w.roomLocked()
	for waited := n <= 0; waited && n < w.resume && !w.closed; n = w.roomLocked() {
		w.mu.Unlock()
		<-w.wake
		w.mu.Lock()
	}
	return n, !w.closed
}

// publish notes that n messages are being sent, the first at now, the others
// step ns apart. There must be room.
func (w *window) publish(n int, now, step int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := range int64(n) {
		w.sent[w.next&uint64(len(w.sent)-1)] = now + i*step
		w.next++
	}
	w.outstanding += n
}

// settle takes a confirmation and returns how many messages it settled. Their
// latencies go to h unless it is nil.
func (w *window) settle(tag uint64, multiple bool, now int64, h *histogram) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	if tag >= w.next {
		return 0
	}
	first := tag
	if multiple {
		first = w.low
	}
	n := 0
	for seq := max(first, w.low); seq <= tag; seq++ {
		at := &w.sent[seq&uint64(len(w.sent)-1)]
		if *at == 0 {
			continue
		}
		if h != nil {
			h.add(now-*at, 1)
		}
		*at = 0
		n++
	}
	for w.low < w.next && w.sent[w.low&uint64(len(w.sent)-1)] == 0 {
		w.low++
	}
	w.outstanding -= n
	if w.roomLocked() >= w.resume {
		w.signal()
	}
	return n
}

func (w *window) signal() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// close wakes a waiting producer for good.
func (w *window) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
	w.signal()
}
