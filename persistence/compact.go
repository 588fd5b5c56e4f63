package persistence

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
)

const (
	// sparse: a segment is worth rewriting when less than 1/sparseFactor of
	// its bytes is unsettled.
	sparseFactor = 2
	// Segments below 1/smallFactor of the usual size are merged once there are
	// smallCount of them.
	smallFactor = 8
	smallCount  = 8
)

// removeSegments forgets segments that the metadata no longer names. Their
// files go when the last read has ended.
func (s *Store) removeSegments(dead []*segment) error {
	for _, g := range dead {
		lanes, err := g.lanes()
		if err != nil {
			s.log.Warn("cannot read the footer of a segment that is removed", "segment", segmentName(g.id), "error", err)
		}
		s.mu.Lock()
		for _, id := range lanes {
			if l := s.table.lanes[id]; l != nil {
				l.extents = slices.DeleteFunc(l.extents, func(e extent) bool { return e.seg == g.id })
			}
		}
		delete(s.table.segments, g.id)
		g.dead.Store(true)
		err = g.unpin()
		s.stats.SegmentsRemoved++
		s.mu.Unlock()
		if err != nil {
			return fmt.Errorf("persistence: remove %s: %w", segmentName(g.id), err)
		}
	}
	return nil
}

// lanes lists the lanes of a segment, sorted.
func (g *segment) lanes() ([]uint64, error) {
	table, err := g.loadFooter()
	if err != nil {
		return nil, err
	}
	var ids []uint64
	for ; len(table) > 0; table = table[footerRowSize:] {
		var f footerRow
		f.get(table)
		if len(ids) == 0 || ids[len(ids)-1] != f.lane {
			ids = append(ids, f.lane)
		}
	}
	slices.Sort(ids)
	return slices.Compact(ids), nil
}

// victims chooses the segments to rewrite, those with the least to copy first,
// and at most one segment's worth of copying.
func (s *Store) victims() []*segment {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var sparse, small []*segment
	for _, g := range s.table.segments {
		switch {
		case g.broken || g.born == s.checkpoints:
		case g.live == 0:
		case g.liveBytes*sparseFactor < g.dataBytes:
			sparse = append(sparse, g)
		case g.dataBytes*smallFactor < s.opts.SegmentSize:
			small = append(small, g)
		}
	}
	list := sparse
	if len(small) >= smallCount {
		list = append(list, small...)
	}
	slices.SortFunc(list, func(a, b *segment) int {
		return cmp.Or(cmp.Compare(a.liveBytes, b.liveBytes), cmp.Compare(a.id, b.id))
	})
	var sum int64
	for i, g := range list {
		if sum += g.liveBytes; sum > s.opts.SegmentSize && i > 0 {
			return list[:i]
		}
	}
	return list
}

// compact rewrites sparse segments, so that a few stuck messages do not hold
// the disk space of many settled ones. It runs behind a checkpoint, a segment's
// worth at a time, and stops as soon as the next checkpoint is due.
func (s *Store) compact() error {
	for {
		victims := s.victims()
		if len(victims) == 0 {
			return nil
		}
		if err := s.rewrite(victims); err != nil {
			return err
		}
		s.mu.RLock()
		stop := s.closed || s.needsCheckpoint()
		s.mu.RUnlock()
		if stop || s.failed.Load() {
			return nil
		}
	}
}

// rewrite copies what is unsettled in victims into new segments.
func (s *Store) rewrite(victims []*segment) error {
	chosen := map[uint32]*segment{}
	var lanes []uint64
	for _, g := range victims {
		ids, err := g.lanes()
		if err != nil {
			return s.compactionFailed(g, err)
		}
		chosen[g.id] = g
		lanes = append(lanes, ids...)
	}
	slices.Sort(lanes)
	lanes = slices.Compact(lanes)

	w := newSegmentWriter(s, s.checkpointed)
	for _, id := range lanes {
		if g, err := s.copyLane(w, id, chosen); err != nil {
			w.discard()
			return s.compactionFailed(g, err)
		}
	}
	if err := w.finish(); err != nil {
		return err
	}
	b := &metaBatch{}
	for _, g := range w.segments {
		putSegment(b, g)
	}
	for _, g := range victims {
		b.delete(bucketSegments, segmentKey(g.id))
	}
	if err := s.commitMeta(b); err != nil {
		return fmt.Errorf("persistence: compaction: %w", err)
	}
	s.installCompacted(w, lanes, chosen)
	return s.removeSegments(victims)
}

// compactionFailed decides whether err is fatal: a corrupt victim is reported
// and left alone from now on, a failed write ends the process.
func (s *Store) compactionFailed(g *segment, err error) error {
	var corrupt *CorruptionError
	if g == nil || !errors.As(err, &corrupt) {
		return err
	}
	s.reportCorruption(corrupt)
	s.mu.Lock()
	g.broken = true
	s.mu.Unlock()
	return nil
}

// copyLane copies the unsettled messages that lane id has in the chosen
// segments. An extent that stays where it is separates blocks: extents of a
// lane never overlap.
func (s *Store) copyLane(w *segmentWriter, id uint64, chosen map[uint32]*segment) (*segment, error) {
	s.mu.RLock()
	l := s.table.lanes[id]
	var list []extent
	if l != nil {
		list = slices.Clone(l.extents)
	}
	s.mu.RUnlock()
	apart := true
	for i := range list {
		e := &list[i]
		g := chosen[e.seg]
		if g == nil {
			apart = true
			continue
		}
		if apart {
			if err := w.endBlock(); err != nil {
				return nil, err
			}
			apart = false
		}
		if err := s.copyExtent(w, g, l, e); err != nil {
			return g, err
		}
	}
	return nil, nil
}

func (s *Store) copyExtent(w *segmentWriter, g *segment, l *lane, e *extent) error {
	s.mu.RLock()
	live := l.unsettled(e.first, e.end())
	s.mu.RUnlock()
	if live == 0 {
		return nil
	}
	b, err := g.readBlock(l.id, e)
	if err != nil {
		return err
	}
	var found []pick
	it := b.iter()
	inner := 0
	s.mu.RLock()
	for it.step() {
		p := it.pick(e)
		if p.data != nil {
			p.from.c = uint32(inner)
			inner += len(p.data)
		}
		if it.seq >= l.head && !l.has(it.seq) {
			found = append(found, p)
		}
	}
	s.mu.RUnlock()
	if it.index.bad {
		return e.corrupt(l.id, "block index")
	}
	for i := range found {
		if err := w.addFrom(g, l, &found[i]); err != nil {
			return err
		}
	}
	return nil
}

// pick is the present message of e's block. Its origin is where its bytes are.
func (it *blockIter) pick(e *extent) pick {
	p := pick{seq: it.seq, expiry: it.expiry, body: uint32(it.body), data: it.data, where: it.where, size: it.size}
	if p.from = (origin{e.seg, e.off, 0}); it.where.size != 0 {
		p.from = origin{e.seg, it.where.off, it.where.inner}
	}
	return p
}

// addFrom is add for a message of g whose bytes may be in another block.
func (w *segmentWriter) addFrom(g *segment, l *lane, p *pick) error {
	if p.where.size != 0 {
		if c := &w.lender; c.block == nil || c.seg != g.id || c.off != p.where.off {
			b, err := g.readBlockAt(p.where.off, p.where.size)
			if err != nil {
				return err
			}
			*c = cachedBlock{g.id, p.where.off, b}
		}
		if p.data = p.where.borrowed(w.lender.block, p.size); p.data == nil {
			return g.corrupt(int64(p.where.off), "message lies outside its block")
		}
	}
	return w.add(l, p)
}

// installCompacted swaps the extents of the victims for the new ones.
func (s *Store) installCompacted(w *segmentWriter, lanes []uint64, chosen map[uint32]*segment) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, seg := range w.segments {
		seg.born = s.checkpoints
		s.table.segments[seg.id] = seg
		s.stats.SegmentBytesWritten += seg.size
	}
	s.stats.Compactions++
	at := 0
	for _, id := range lanes {
		l := s.table.lanes[id]
		if l != nil {
			l.extents = slices.DeleteFunc(l.extents, func(e extent) bool { return chosen[e.seg] != nil })
		}
		for ; at < len(w.extents) && w.extents[at].lane.id == id; at++ {
			if l != nil {
				s.table.addExtent(l, &w.extents[at].extent)
			}
		}
		if l != nil {
			slices.SortFunc(l.extents, func(a, b extent) int { return cmp.Compare(a.first, b.first) })
			l.popExtents()
		}
	}
}

// discard removes what a writer that failed has written so far.
func (w *segmentWriter) discard() {
	if w.seg != nil {
		w.segments = append(w.segments, w.seg)
		w.seg = nil
	}
	for _, g := range w.segments {
		g.dead.Store(true)
		if err := g.unpin(); err != nil {
			w.s.log.Warn("cannot remove an unfinished segment", "segment", segmentName(g.id), "error", err)
		}
	}
}
