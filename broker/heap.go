package broker

// timedHeap orders values by a time, earliest first.
type timedHeap[T any] struct {
	items []timedItem[T]
}

type timedItem[T any] struct {
	at int64
	v  T
}

func (h *timedHeap[T]) len() int { return len(h.items) }

// first is the earliest time; 0 if the heap is empty.
func (h *timedHeap[T]) first() int64 {
	if len(h.items) == 0 {
		return 0
	}
	return h.items[0].at
}

func (h *timedHeap[T]) push(at int64, v T) {
	h.items = append(h.items, timedItem[T]{at, v})
	i := len(h.items) - 1
	for i > 0 {
		up := (i - 1) / 2
		if h.items[up].at <= h.items[i].at {
			break
		}
		h.items[up], h.items[i] = h.items[i], h.items[up]
		i = up
	}
}

func (h *timedHeap[T]) pop() T {
	v := h.items[0].v
	last := len(h.items) - 1
	h.items[0] = h.items[last]
	h.items[last] = timedItem[T]{}
	h.items = h.items[:last]
	h.sink(0)
	return v
}

func (h *timedHeap[T]) sink(i int) {
	for {
		low := 2*i + 1
		if low >= len(h.items) {
			return
		}
		if right := low + 1; right < len(h.items) && h.items[right].at < h.items[low].at {
			low = right
		}
		if h.items[i].at <= h.items[low].at {
			return
		}
		h.items[i], h.items[low] = h.items[low], h.items[i]
		i = low
	}
}

// filter drops the items that keep refuses, in linear time.
func (h *timedHeap[T]) filter(keep func(at int64, v T) bool) {
	kept := h.items[:0]
	for _, it := range h.items {
		if keep(it.at, it.v) {
			kept = append(kept, it)
		}
	}
	clear(h.items[len(kept):])
	h.items = kept
	for i := len(kept)/2 - 1; i >= 0; i-- {
		h.sink(i)
	}
}
