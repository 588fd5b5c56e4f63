package broker

import "sync"

// timers are the queues that have something to do at a certain time, earliest
// first, so that a Tick costs what is due and not what exists. A queue stands
// in it once at most. The lock is a leaf; it is taken when the next time of a
// queue becomes earlier, not for every message with a TTL.
type timers struct {
	mu   sync.Mutex
	heap []timer
}

type timer struct {
	at    int64 // Unix ms
	queue *Queue
}

// set makes q due at the given time instead of any other. Caller holds q.mu,
// or q is new.
func (x *timers) set(q *Queue, at int64) {
	x.mu.Lock()
	i := q.timer - 1
	if i < 0 {
		i = len(x.heap)
		x.heap = append(x.heap, timer{queue: q})
		q.timer = i + 1
	}
	x.heap[i].at = at
	x.sink(x.rise(i))
	x.mu.Unlock()
}

// remove forgets q.
func (x *timers) remove(q *Queue) {
	x.mu.Lock()
	if q.timer != 0 {
		x.cut(q.timer - 1)
	}
	x.mu.Unlock()
}

// take removes the queues that are due and appends them to buf.
func (x *timers) take(now int64, buf []*Queue) []*Queue {
	x.mu.Lock()
	for len(x.heap) > 0 && x.heap[0].at <= now {
		buf = append(buf, x.heap[0].queue)
		x.cut(0)
	}
	x.mu.Unlock()
	return buf
}

func (x *timers) cut(i int) {
	last := len(x.heap) - 1
	x.heap[i].queue.timer = 0
	if i != last {
		x.place(i, x.heap[last])
	}
	x.heap[last] = timer{}
	x.heap = x.heap[:last]
	if i != last {
		x.sink(x.rise(i))
	}
}

func (x *timers) place(i int, v timer) {
	x.heap[i] = v
	v.queue.timer = i + 1
}

func (x *timers) swap(i, j int) {
	v := x.heap[i]
	x.place(i, x.heap[j])
	x.place(j, v)
}

func (x *timers) rise(i int) int {
	for i > 0 && x.heap[i].at < x.heap[(i-1)/2].at {
		x.swap(i, (i-1)/2)
		i = (i - 1) / 2
	}
	return i
}

func (x *timers) sink(i int) {
	for {
		low := 2*i + 1
		if low >= len(x.heap) {
			return
		}
		if right := low + 1; right < len(x.heap) && x.heap[right].at < x.heap[low].at {
			low = right
		}
		if x.heap[i].at <= x.heap[low].at {
			return
		}
		x.swap(i, low)
		i = low
	}
}
