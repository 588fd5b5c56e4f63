package broker

// maxDedup bounds the ids a queue remembers; beyond it the oldest are
// forgotten early.
const maxDedup = 1 << 20

// dedupTable remembers the deduplication ids of a queue for its window.
type dedupTable struct {
	known map[string]int64 // id -> Unix ms at which it was seen
	order []dedupEntry     // by time; a ring would save nothing, it is cut in steps
	head  int
}

type dedupEntry struct {
	id string
	at int64
}

// seen reports whether id came within the last window ms, and remembers it if
// not.
func (d *dedupTable) seen(now, window int64, id string) bool {
	d.forget(now - window)
	if _, ok := d.known[id]; ok {
		return true
	}
	if d.known == nil {
		d.known = make(map[string]int64)
	}
	id = string(append([]byte(nil), id...)) // it may alias a message
	d.known[id] = now
	d.order = append(d.order, dedupEntry{id, now})
	return false
}

// forget drops what is not younger than the given time.
func (d *dedupTable) forget(until int64) {
	for d.head < len(d.order) && (d.order[d.head].at <= until || len(d.order)-d.head > maxDedup) {
		delete(d.known, d.order[d.head].id)
		d.order[d.head].id = ""
		d.head++
	}
	if d.head > 1024 && d.head > len(d.order)/2 {
		d.order = append([]dedupEntry(nil), d.order[d.head:]...)
		d.head = 0
	}
}
