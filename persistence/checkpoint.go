package persistence

import (
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"time"
)

const (
	// definitionBytesMax of changed definitions cause a checkpoint.
	definitionBytesMax = 16 << 20
	// installStep is how many lanes get their new extents under one lock.
	installStep = 4096
	// collectMax is how many messages are looked up under one lock.
	collectMax = 512
)

// needsCheckpoint tells whether it is time for one; s.mu is held. It also
// notes that memory is short, which Congested reports.
func (s *Store) needsCheckpoint() bool {
	full := s.table.active().pinned >= s.opts.MemtableSize
	if full && s.busy {
		s.memoryLow.Store(true)
		s.congested.Store(true)
	}
	return !s.flushing && (full || s.definitionBytes >= definitionBytesMax ||
		s.opts.Log.Size()-s.logBase.Load() >= s.opts.CheckpointBytes)
}

func (s *Store) requestCheckpoint() {
	select {
	case s.checkpointWish <- struct{}{}:
	default:
	}
}

// checkpointer is the goroutine that makes checkpoints when they are due.
func (s *Store) checkpointer() {
	defer s.background.Done()
	tick := time.NewTicker(s.opts.CheckpointInterval)
	defer tick.Stop()
	for {
		force := false
		select {
		case <-s.stopBackground:
			return
		case <-s.checkpointWish:
		case <-tick.C:
			force = true
		}
		s.mu.RLock()
		need := force || s.needsCheckpoint()
		s.mu.RUnlock()
		if !need || s.failed.Load() {
			continue
		}
		if err := s.checkpoint(true); err != nil {
			s.fail(err)
			return
		}
	}
}

// Checkpoint makes one now: everything applied so far no longer needs the log.
func (s *Store) Checkpoint() error {
	if s.failed.Load() {
		return ErrClosed
	}
	if err := s.checkpoint(true); err != nil {
		s.fail(err)
		return err
	}
	return nil
}

// checkpoint moves the state at the present log index to segments and
// metadata. compact says whether sparse segments are rewritten afterwards.
//
// The order makes every crash harmless. Segment files mean nothing until the
// metadata names them. Messages settled after the index but before they are
// written are left out: the metadata's rows still count them, and the replay
// of the log from the index settles them again.
func (s *Store) checkpoint(compact bool) error {
	s.checkpointMu.Lock()
	defer s.checkpointMu.Unlock()
	if s.failed.Load() {
		return ErrClosed
	}
	begin := s.opts.Clock()
	frozen, batch, applied := s.freeze()
	if frozen == nil {
		return s.copyDefinitions(begin, &metaBatch{}, !compact)
	}
	w := newSegmentWriter(s, applied)
	defer s.endCheckpoint()
	err := s.flushMessages(w, frozen)
	if err == nil {
		err = w.finish()
	}
	if err != nil {
		return fmt.Errorf("persistence: checkpoint at %d: %w", applied, err)
	}
	dead := s.deadSegments()
	for _, g := range w.segments {
		putSegment(batch, g)
	}
	for _, g := range dead {
		batch.delete(bucketSegments, segmentKey(g.id))
	}
	if err := s.commitMeta(batch); err != nil {
		return fmt.Errorf("persistence: checkpoint at %d: %w", applied, err)
	}
	s.checkpoints++
	s.checkpointed = applied
	s.install(frozen, w)
	if err := s.removeSegments(dead); err != nil {
		return err
	}
	if err := s.writeHint(applied); err != nil {
		return err
	}
	if err := s.cutLog(applied); err != nil {
		return err
	}
	s.noteCheckpoint(begin, w)
	if err := s.copyDefinitions(begin, batch, !compact); err != nil {
		return err
	}
	if compact {
		return s.compact()
	}
	return nil
}

// copyInterval is how often running checkpoints renew meta.copy.
const copyInterval = 10 * time.Minute

// copyDefinitions renews meta.copy if b changed what is in it.
func (s *Store) copyDefinitions(now time.Time, b *metaBatch, stopping bool) error {
	s.copyDue = s.copyDue || slices.ContainsFunc(b.ops, func(o metaOp) bool {
		return o.bucket == bucketDefinitions || o.bucket == bucketKeys ||
			o.bucket == bucketState && string(b.buf[o.off:o.off+int(o.key)]) == stateLevel
	})
	if s.opts.PlainMeta || !s.copyDue || !stopping && now.Sub(s.copied) < copyInterval {
		return nil
	}
	s.copyDue, s.copied = false, now
	return s.writeCopy()
}

// cutLog lets the log forget what the checkpoint has. While Log.Start replays,
// the log may not be able to yet: then the next checkpoint does it.
func (s *Store) cutLog(applied uint64) error {
	err := s.opts.Log.Cut(applied, s.opts.LogKeep)
	s.logBase.Store(s.opts.Log.Size())
	switch {
	case err == nil:
		return nil
	case s.starting.Load():
		s.log.Info("the log cannot be cut while it is replayed", "index", applied, "error", err)
		return nil
	}
	return fmt.Errorf("persistence: cut the log at %d: %w", applied, err)
}

// endCheckpoint lets publishers go on that waited for memory.
func (s *Store) endCheckpoint() {
	s.mu.Lock()
	s.busy = false
	s.memoryLow.Store(false)
	s.mu.Unlock()
	s.relieve()
}

func (s *Store) noteCheckpoint(begin time.Time, w *segmentWriter) {
	took := s.opts.Clock().Sub(begin)
	s.mu.Lock()
	s.stats.Checkpoints++
	s.stats.CheckpointTime = took
	s.mu.Unlock()
	s.log.Debug("checkpoint", "index", s.checkpointed, "segments", len(w.segments), "extents", len(w.extents), "took", took)
}

func (s *Store) commitMeta(b *metaBatch) error {
	b.sort()
	return s.watch.sync(func() error { return s.meta.commit(b) })
}

// freeze makes the active memory table the frozen one and captures the rows
// that changed, all at one log index. frozen is nil if nothing changed.
func (s *Store) freeze() (frozen *memtable, batch *metaBatch, applied uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.applied == s.checkpointed && len(s.table.dirty) == 0 && len(s.definitions) == 0 && !s.rebuilding {
		return nil, nil, 0
	}
	t := s.table
	frozen = t.active()
	t.gen++
	t.mem[t.gen&1] = &memtable{}
	s.flushing, s.busy = true, true
	batch = &metaBatch{}
	s.captureState(batch)
	t.capture(batch, s.keys)
	return frozen, batch, s.applied
}

// captureState adds what is not about lanes.
func (s *Store) captureState(b *metaBatch) {
	t := s.table
	b.putUint64(stateApplied, s.applied)
	b.putUint64(stateNextLane, t.nextLane)
	if t.dropped.dirty {
		var v []byte
		for _, r := range t.dropped.ranges {
			v = binary.LittleEndian.AppendUint64(v, r.first)
			v = binary.LittleEndian.AppendUint64(v, r.last)
		}
		b.put(bucketState, []byte(stateDropped), v)
		t.dropped.dirty = false
	}
	for _, name := range slices.Sorted(maps.Keys(s.definitions)) {
		s.putDefinition(b, []byte(name), s.definitions[name])
	}
	s.committing = s.definitions // until the metadata has them
	s.definitions, s.definitionBytes = map[string][]byte{}, 0
	for _, id := range s.newKeys {
		b.put(bucketKeys, binary.BigEndian.AppendUint32(nil, id), s.keys.wrapped(id))
	}
	s.newKeys = nil
	if s.levelDirty {
		putLevel(b, s.level.Load())
		s.levelDirty = false
	}
	if s.rebuilding && s.replayDone {
		b.delete(bucketState, []byte(stateRebuilt))
	}
}

// Definition rows: the key is 'p' and the name, or 'h' and a digest of it if
// it is long or secret; the value is 'p' and the record body, or 'e' and the
// sealed body.
const plainNameMax = 1024

func (s *Store) putDefinition(b *metaBatch, name, body []byte) {
	key := s.definitionKey(name)
	if s.keys.enabled() && len(name) <= plainNameMax {
		b.delete(bucketDefinitions, append([]byte{'p'}, name...)) // from before encryption was turned on
	}
	if body[0]&definitionDelete != 0 {
		b.delete(bucketDefinitions, key)
		return
	}
	if s.keys.enabled() {
		b.put(bucketDefinitions, key, s.keys.sealValue([]byte{'e'}, body))
		return
	}
	b.put(bucketDefinitions, key, append([]byte{'p'}, body...))
}

func (s *Store) definitionKey(name []byte) []byte {
	switch {
	case s.keys.enabled():
		return append([]byte{'h'}, s.keys.hideName(name)...)
	case len(name) > plainNameMax:
		return append([]byte{'h'}, digest(name)...)
	}
	return append([]byte{'p'}, name...)
}

// capture adds the rows of the lanes that changed since the last checkpoint.
func (t *table) capture(b *metaBatch, keys *keyring) {
	for _, l := range t.dirty {
		l.dirty = false
		key := laneKey(l.id)
		if l.dropped {
			b.delete(bucketLanes, key)
			b.deleteRange(bucketSpans, key, laneKey(l.id+1))
			b.delete(bucketCounts, key)
			b.delete(bucketLeases, key)
			continue
		}
		b.beginPut(bucketLanes, key)
		b.buf = appendLaneRow(b.buf, l)
		b.endPut()
		if l.spanRows {
			b.deleteRange(bucketSpans, key, spanKey(l.id, l.head/spanSize))
			l.spanRows = len(l.spans) > 0
		}
		for i := range l.spans {
			if p := &l.spans[i]; p.dirty {
				b.put(bucketSpans, spanKey(l.id, p.base), spanRow(p))
				p.dirty, l.spanRows = false, true
			}
		}
		if l.countsDirty {
			l.captureCounts(b, key)
		}
		if l.leasesDirty {
			l.captureLeases(b, key, keys)
		}
	}
	clear(t.dirty)
	t.dirty = t.dirty[:0]
}

const (
	laneRowVersion  = 1
	countRowVersion = 1
	leaseRowPlain   = 1
	leaseRowSealed  = 2
	spanRowFull     = 1
	spanRowBits     = 2
)

func appendLaneRow(dst []byte, l *lane) []byte {
	dst = append(dst, laneRowVersion)
	dst = binary.LittleEndian.AppendUint64(dst, l.head)
	return binary.LittleEndian.AppendUint64(dst, l.next)
}

func spanRow(p *span) []byte {
	if p.bits == nil {
		return []byte{spanRowFull}
	}
	v := make([]byte, 1, 1+spanSize/8)
	v[0] = spanRowBits
	for _, w := range p.bits {
		v = binary.LittleEndian.AppendUint64(v, w)
	}
	return v
}

func (l *lane) captureCounts(b *metaBatch, key []byte) {
	l.countsDirty = false
	if len(l.counts) == 0 {
		l.counts = nil
		b.row(bucketCounts, key, nil, &l.countRow)
		return
	}
	v := make([]byte, 1, 1+12*len(l.counts))
	v[0] = countRowVersion
	for seq, n := range l.counts {
		v = binary.LittleEndian.AppendUint64(v, seq)
		v = binary.LittleEndian.AppendUint32(v, n)
	}
	b.row(bucketCounts, key, v, &l.countRow)
}

func (l *lane) captureLeases(b *metaBatch, key []byte, keys *keyring) {
	l.leasesDirty = false
	if len(l.leases) == 0 {
		l.leases = nil
		b.row(bucketLeases, key, nil, &l.leaseRow)
		return
	}
	row := make([]byte, 1, 1+48*len(l.leases))
	row[0] = leaseRowPlain
	for _, x := range l.leases {
		row = appendLeaseBody(row, &x)
	}
	if keys.enabled() { // groups are the publishers'
		row = keys.sealValue([]byte{leaseRowSealed}, row[1:])
	}
	b.row(bucketLeases, key, row, &l.leaseRow)
}

// row makes a lane's row of a bucket be v, or not be if v is nil. there tells,
// before and after, whether there is one.
func (b *metaBatch) row(bucket byte, key, v []byte, there *bool) {
	switch {
	case v != nil:
		b.put(bucket, key, v)
	case *there:
		b.delete(bucket, key)
	}
	*there = v != nil
}

// flushMessages writes what is unsettled in the frozen memory table.
func (s *Store) flushMessages(w *segmentWriter, frozen *memtable) error {
	sortLanes(frozen.lanes)
	g := (s.table.gen & 1) ^ 1 // only checkpoints, which exclude each other, change gen
	var found []pick
	for _, l := range frozen.lanes {
		for seq, more := uint64(0), true; more; {
			s.mu.RLock()
			found, seq, more = s.table.collect(found[:0], l, g, seq)
			s.mu.RUnlock()
			for i := range found {
				if err := w.add(l, &found[i]); err != nil {
					return err
				}
			}
		}
	}
	clear(found[:cap(found)])
	return nil
}

// pick is a message found in a memory table or a block.
type pick struct {
	seq    uint64
	expiry int64
	body   uint32
	count  uint32
	from   origin
	data   []byte
	where  place  // of the bytes, if not in data yet
	size   uint64 // of the bytes
}

// collect appends unsettled messages of l in memory table g from seq on, and
// returns where to go on and whether there is more.
func (t *table) collect(out []pick, l *lane, g int, seq uint64) ([]pick, uint64, bool) {
	r := &l.mem[g]
	if r.len() == 0 {
		return out, seq, false
	}
	end := r.end()
	for seq = l.nextUnset(max(seq, r.base), end); seq < end; seq = l.nextUnset(seq, end) {
		if len(out) == collectMax {
			return out, seq, true
		}
		v := r.at(seq)
		out = append(out, pick{
			seq: seq, expiry: v.expiry, body: v.body, from: origin{v.chunk, v.off, 0}, data: t.mem[g].bytes(v),
		})
		seq++
	}
	return out, seq, false
}

// install replaces the frozen memory table by the extents written from it.
func (s *Store) install(frozen *memtable, w *segmentWriter) {
	s.mu.Lock()
	s.committing = nil
	g := (s.table.gen & 1) ^ 1
	for _, seg := range w.segments {
		seg.born = s.checkpoints
		s.table.segments[seg.id] = seg
		s.stats.SegmentBytesWritten += seg.size
	}
	at := 0
	for i, l := range frozen.lanes {
		if i%installStep == installStep-1 {
			s.mu.Unlock()
			s.mu.Lock()
		}
		for ; at < len(w.extents) && w.extents[at].lane == l; at++ {
			s.table.addExtent(l, &w.extents[at].extent)
		}
		l.mem[g] = ring{}
		l.listed[g] = false
	}
	s.table.mem[g] = nil
	s.flushing = false
	s.memoryLow.Store(false)
	s.flushed.Broadcast()
	s.mu.Unlock()
	s.relieve()
}

// addExtent gives l a new last extent unless all of it is settled by now.
func (t *table) addExtent(l *lane, e *extent) {
	live := l.unsettled(e.first, e.end())
	if l.dropped || live == 0 {
		return
	}
	l.extents = append(l.extents, *e)
	t.segments[e.seg].count(e, live)
}

// deadSegments lists segments without an unsettled message.
func (s *Store) deadSegments() []*segment {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var dead []*segment
	for _, g := range s.table.segments {
		if g.live == 0 {
			dead = append(dead, g)
		}
	}
	return dead
}

const segmentRowVersion = 1

func putSegment(b *metaBatch, g *segment) {
	v := []byte{segmentRowVersion}
	v = binary.LittleEndian.AppendUint64(v, uint64(g.size))
	b.put(bucketSegments, segmentKey(g.id), v)
}
