package persistence

import (
	"errors"
	"fmt"
	"sync"

	"github.com/hermodmq/hermod/broker"
)

const (
	// Blocks a reader keeps, because small requests come back to the block of
	// the last one.
	cachedBlocks    = 8
	cachedBlockSize = 256 << 10
)

// readWorker serves the reads of some lanes, in order.
type readWorker struct {
	s    *Store
	turn broker.Turn

	mu      sync.Mutex
	work    sync.Cond
	queue   []*broker.ReadRequest
	stopped bool

	cache  [cachedBlocks]cachedBlock
	victim int
	found  []pick
	msgs   []broker.Stored
}

type cachedBlock struct {
	seg, off uint32
	block    *block
}

// Read implements broker.Store. Messages alias the block they were read from,
// up to 64 KiB.
//
// If the block at From is damaged, the answer is a *CorruptionError, no
// messages, and a next behind the block: the unsettled messages from From to
// next-1 are lost. Asking again gives the same answer; the caller settles them
// to get rid of them and goes on at next.
func (s *Store) Read(r *broker.ReadRequest) {
	w := s.readers[uint64(r.Lane)%uint64(len(s.readers))]
	w.mu.Lock()
	w.queue = append(w.queue, r)
	if len(w.queue) == 1 {
		w.work.Signal()
	}
	w.mu.Unlock()
}

func newReadWorker(s *Store) *readWorker {
	w := &readWorker{s: s}
	w.work.L = &w.mu
	s.setBells(&w.turn)
	return w
}

func (w *readWorker) stop() {
	w.mu.Lock()
	w.stopped = true
	w.work.Signal()
	w.mu.Unlock()
}

func (w *readWorker) run() {
	defer w.s.background.Done()
	var batch []*broker.ReadRequest
	for {
		w.mu.Lock()
		for len(w.queue) == 0 && !w.stopped {
			w.work.Wait()
		}
		if len(w.queue) == 0 {
			w.mu.Unlock()
			return
		}
		batch, w.queue = w.queue, batch[:0]
		w.mu.Unlock()
		for i, r := range batch {
			w.turn.Now = w.s.opts.Clock().UnixMilli()
			w.serve(r)
			batch[i] = nil
			w.s.flushBells(&w.turn)
		}
	}
}

func (w *readWorker) serve(r *broker.ReadRequest) {
	c := cursor{w: w, r: r, seq: max(r.From, 1), left: max(r.Max, 1), bytes: r.MaxBytes}
	err := c.run()
	if err != nil {
		w.s.readFailed(err)
	}
	r.Then(&w.turn, w.msgs, c.seq, err)
	clear(w.msgs)
	w.msgs = w.msgs[:0]
}

// readFailed makes a failed read known.
func (s *Store) readFailed(err error) {
	var corrupt *CorruptionError
	if errors.As(err, &corrupt) {
		s.reportCorruption(corrupt)
		return
	}
	s.log.Error("read failed", "error", err)
}

func (s *Store) reportCorruption(e *CorruptionError) {
	s.log.Error("corrupt data", "file", e.File, "offset", e.Offset, "lane", e.Lane, "first", e.First, "last", e.Last, "reason", e.Reason)
	s.mu.Lock()
	s.stats.CorruptBlocks++
	s.mu.Unlock()
}

// cursor is a running read: seq is where it goes on.
type cursor struct {
	w     *readWorker
	r     *broker.ReadRequest
	seq   uint64
	left  int
	bytes int
}

// run reads until the request is satisfied or the lane ends.
func (c *cursor) run() error {
	s := c.w.s
	for c.left > 0 {
		s.mu.RLock()
		l := s.table.lanes[uint64(c.r.Lane)]
		if l == nil {
			s.mu.RUnlock()
			return nil
		}
		end := l.next
		if c.r.To != 0 {
			end = min(end, addClamped(c.r.To, 1))
		}
		c.seq = max(c.seq, min(l.head, end))
		if c.seq >= end {
			s.mu.RUnlock()
			return nil
		}
		if c.seq = l.nextUnset(c.seq, end); c.seq >= end {
			s.mu.RUnlock()
			return nil
		}
		i := l.findExtent(c.seq)
		if i == len(l.extents) {
			more := c.takeMemory(l, end)
			s.mu.RUnlock()
			if err := c.decode(); err != nil || !more {
				return err
			}
			continue
		}
		e := l.extents[i]
		if e.first > c.seq { // nothing is stored in between
			c.seq = min(e.first, end)
			s.mu.RUnlock()
			continue
		}
		if c.r.ExpiredBefore != 0 && !e.mayExpire(c.r.ExpiredBefore) {
			c.seq = min(e.end(), end)
			s.mu.RUnlock()
			continue
		}
		g := s.table.segments[e.seg]
		g.pin()
		s.mu.RUnlock()
		behind, err := c.readExtent(g, l, &e, end)
		if uerr := g.unpin(); uerr != nil {
			s.log.Warn("cannot release a segment", "segment", segmentName(g.id), "error", uerr)
		}
		if err != nil {
			if len(c.w.msgs) == 0 {
				c.seq = behind
				return err
			}
			return nil // what was found first; the next read meets the error
		}
	}
	return nil
}

// wants tells whether a message is asked for.
func (c *cursor) wants(expiry int64) bool {
	return c.r.ExpiredBefore == 0 || expiry != 0 && expiry <= c.r.ExpiredBefore
}

// fits takes room for a message; false means that the request is satisfied.
func (c *cursor) fits(size int) bool {
	if c.left == 0 || c.r.MaxBytes > 0 && size > c.bytes && c.taken() > 0 {
		c.left = 0
		return false
	}
	c.left--
	c.bytes -= size
	return true
}

func (c *cursor) taken() int { return len(c.w.msgs) + len(c.w.found) }

// takeMemory finds messages in the memory tables; s.mu is held for reading. It
// returns false at the end of the lane.
func (c *cursor) takeMemory(l *lane, end uint64) bool {
	t := c.w.s.table
	g := t.gen & 1
	for _, at := range [2]int{g ^ 1, g} {
		r := &l.mem[at]
		if r.len() == 0 || c.seq >= r.end() {
			continue
		}
		if c.r.ExpiredBefore != 0 && (r.timed == 0 || r.timed > c.r.ExpiredBefore) {
			c.seq = min(r.end(), end)
			continue
		}
		stop := min(r.end(), end)
		looked := 0
		for seq := l.nextUnset(max(c.seq, r.base), stop); seq < stop; seq = l.nextUnset(seq, stop) {
			c.seq = seq
			if looked++; looked > 8*collectMax || len(c.w.found) == collectMax {
				return true // let writers in
			}
			v := r.at(seq)
			if c.wants(v.expiry) {
				if !c.fits(int(v.size)) {
					return false
				}
				c.w.found = append(c.w.found, pick{seq: seq, expiry: v.expiry, count: l.counts[seq], data: t.mem[at].bytes(v)})
			}
			seq++
			c.seq = seq
		}
		c.seq = max(c.seq, stop)
	}
	c.seq = max(c.seq, end)
	return false
}

// readExtent reads the block of e and takes what is wanted. behind says where
// to go on after an error.
func (c *cursor) readExtent(g *segment, l *lane, e *extent, end uint64) (behind uint64, err error) {
	b, err := c.w.block(g, l.id, e)
	if err != nil {
		return min(e.end(), end), err
	}
	if !c.takeBlock(l, e, b, end) {
		return min(e.end(), end), e.corrupt(l.id, "block index")
	}
	for i := range c.w.found {
		p := &c.w.found[i]
		if p.where.size == 0 {
			continue
		}
		if err := c.w.borrow(g, l, e, p); err != nil {
			// Only this message is lost.
			c.w.found = c.w.found[:i]
			if derr := c.decode(); derr != nil {
				return c.seq, derr
			}
			c.seq = p.seq
			return p.seq + 1, err
		}
	}
	err = c.decode()
	return c.seq, err
}

// takeBlock finds messages in a block; false if its index is broken.
func (c *cursor) takeBlock(l *lane, e *extent, b *block, end uint64) bool {
	s := c.w.s
	it := b.iter()
	stop := min(e.end(), end)
	s.mu.RLock()
	for it.step() {
		if it.seq >= stop {
			break
		}
		if it.seq < c.seq || it.seq < l.head || l.has(it.seq) || !c.wants(it.expiry) {
			continue
		}
		if !c.fits(int(it.size)) {
			c.seq = it.seq
			break
		}
		p := it.pick(e)
		p.count = l.counts[it.seq]
		c.w.found = append(c.w.found, p)
		c.seq = it.seq + 1
	}
	s.mu.RUnlock()
	if it.index.bad {
		clear(c.w.found)
		c.w.found = c.w.found[:0]
		return false
	}
	if c.left > 0 {
		c.seq = max(c.seq, stop)
	}
	return true
}

// decode turns what was found into messages.
func (c *cursor) decode() error {
	w := c.w
	defer func() {
		clear(w.found)
		w.found = w.found[:0]
	}()
	for i := range w.found {
		p := &w.found[i]
		m, err := broker.DecodeMessage(p.data)
		if err != nil {
			c.seq = p.seq + 1
			return fmt.Errorf("lane %d message %d: %w", c.r.Lane, p.seq, err)
		}
		w.msgs = append(w.msgs, broker.Stored{Seq: p.seq, Expiry: p.expiry, Count: p.count, Msg: m})
	}
	return nil
}

// block reads the block of e, from the cache if it was read just now.
func (w *readWorker) block(g *segment, lane uint64, e *extent) (*block, error) {
	if b := w.cached(e.seg, e.off); b != nil {
		return b, nil
	}
	b, err := g.readBlock(lane, e)
	if err == nil {
		w.keep(e.seg, e.off, e.size, b)
	}
	return b, err
}

// borrow fetches the bytes of p from the block they are in.
func (w *readWorker) borrow(g *segment, l *lane, e *extent, p *pick) error {
	b := w.cached(g.id, p.where.off)
	if b == nil {
		var err error
		if b, err = g.readBlockAt(p.where.off, p.where.size); err != nil {
			var corrupt *CorruptionError
			if errors.As(err, &corrupt) {
				corrupt.Lane, corrupt.First, corrupt.Last = l.id, p.seq, p.seq
			}
			return err
		}
		w.keep(g.id, p.where.off, p.where.size, b)
	}
	if p.data = p.where.borrowed(b, p.size); p.data == nil {
		return &CorruptionError{
			File: segmentName(g.id), Offset: int64(e.off), Lane: l.id, First: p.seq, Last: p.seq, Reason: "message lies outside its block",
		}
	}
	return nil
}

func (w *readWorker) cached(seg, off uint32) *block {
	for i := range w.cache {
		if c := &w.cache[i]; c.block != nil && c.seg == seg && c.off == off {
			return c.block
		}
	}
	return nil
}

func (w *readWorker) keep(seg, off, size uint32, b *block) {
	if size <= cachedBlockSize {
		w.cache[w.victim] = cachedBlock{seg, off, b}
		w.victim = (w.victim + 1) % cachedBlocks
	}
}
