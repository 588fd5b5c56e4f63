package persistence

import (
	"bytes"
	"fmt"
	"math"
	"slices"

	"github.com/hermodmq/hermod/broker"
)

// staged is an entry whose batch goes on in the next one.
type staged struct {
	header entryHeader
	data   []byte
}

// Applied implements Applier.
func (s *Store) Applied() uint64 {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.applied
}

// Apply implements Applier: it adds the facts of committed entries to the
// table and tells the committers of those that this process proposed.
func (s *Store) Apply(entries []Entry) {
	if s.failed.Load() {
		return
	}
	t := &s.commitTurn
	t.Now = s.opts.Clock().UnixMilli()
	for i := range entries {
		if err := s.applyEntry(t, &entries[i]); err != nil {
			s.fail(err)
			return
		}
	}
	s.flushBells(t)
	s.relieve()
}

func (s *Store) applyEntry(t *broker.Turn, e *Entry) error {
	h, data, err := openEntry(e.Index, e.Data, s.keys)
	if err != nil {
		return err
	}
	mine := h.epoch == s.epoch
	if len(s.staged) > 0 && s.staged[0].header.epoch != h.epoch {
		s.staged = nil // its proposer died in the middle: that batch never happened
	}
	if h.flags&entryMore != 0 {
		s.staged = append(s.staged, staged{h, data})
		return s.committed(t, &h, mine)
	}
	s.seqs = s.seqs[:0]
	s.mu.Lock()
	s.waitForMemory()
	err = s.applyParts(append(s.staged, staged{h, data}), mine)
	s.staged = nil
	s.applied = e.Index
	s.stats.Entries++
	need := s.needsCheckpoint()
	s.mu.Unlock()
	if err != nil {
		return fmt.Errorf("persistence: entry %d of the log: %w", e.Index, err)
	}
	if need {
		s.requestCheckpoint()
	}
	return s.committed(t, &h, mine)
}

// applyParts adds the records of the entries of a batch, nearly always one.
func (s *Store) applyParts(parts []staged, mine bool) error {
	for len(parts) > 0 {
		data, records, n := parts[0].data, parts[0].header.records, 1
		for n < len(parts) && parts[n-1].header.flags&entrySplit != 0 {
			n++
		}
		if n > 1 {
			data, records = joinParts(parts[:n])
		}
		if err := s.applyRecords(data, records, mine); err != nil {
			return err
		}
		parts = parts[n:]
	}
	return nil
}

// joinParts makes one entry of those over which a record is split.
func joinParts(parts []staged) (data []byte, records uint32) {
	size := entryHeaderSize
	for i := range parts {
		size += len(parts[i].data) - entryHeaderSize
		records += parts[i].header.records
	}
	data = make([]byte, entryHeaderSize, size)
	for i := range parts {
		data = append(data, parts[i].data[entryHeaderSize:]...)
	}
	return data, records
}

// waitForMemory holds the log back while a flush is behind by a whole memory
// table. Publishers were stopped long before, by Congested.
func (s *Store) waitForMemory() {
	for s.flushing && s.table.active().pinned > 2*s.opts.MemtableSize && !s.failed.Load() {
		s.flushed.Wait()
	}
}

// committed finishes an own entry: sequence numbers into the batches, then the
// committers in order.
func (s *Store) committed(t *broker.Turn, h *entryHeader, mine bool) error {
	if !mine {
		return nil
	}
	e := s.batcher.committed(h.number)
	if e == nil {
		return fmt.Errorf("persistence: entry %d of this process committed out of turn", h.number)
	}
	s.pending.Add(-e.size)
	for i := range e.waits {
		w := &e.waits[i]
		at := int(w.first)
		for j := range w.batch.Publishes {
			targets := w.batch.Publishes[j].Targets
			for k := range targets {
				targets[k].Seq = s.seqs[at]
				at++
			}
		}
		w.batch.Then.Committed(t)
	}
	s.batcher.recycle(e)
	return nil
}

// applyRecords adds the records of one entry. s.mu is held.
func (s *Store) applyRecords(data []byte, records uint32, mine bool) error {
	r := reader{b: data[entryHeaderSize:]}
	chunk := int64(-1)
	for ; records > 0; records-- {
		kind, body, err := r.record()
		if err != nil {
			return err
		}
		if kind == recordPublish {
			chunk, err = s.applyPublish(data, len(data)-len(r.b), body, chunk, mine)
		} else {
			err = s.applyOther(kind, body)
		}
		if err != nil {
			return err
		}
	}
	if chunk >= 0 {
		s.table.active().endChunk(uint32(chunk))
	}
	if len(r.b) != 0 {
		return fmt.Errorf("%d bytes behind the last record", len(r.b))
	}
	return nil
}

// applyPublish adds a message whose record ends at end of data; chunk is the
// number of data's chunk, -1 as long as it has none.
func (s *Store) applyPublish(data []byte, end int, body []byte, chunk int64, mine bool) (int64, error) {
	r := reader{b: body}
	count := r.uvarint()
	targets := r
	for i := uint64(0); i < count && !r.bad; i++ {
		r.uvarint()
		r.varint()
	}
	size := r.uvarint()
	if r.bad || count == 0 || size > math.MaxUint32 {
		return chunk, errShortRecord
	}
	v := ref{off: uint32(end - len(r.b)), size: uint32(len(r.b)), body: uint32(size)}
	for ; count > 0; count-- {
		id := targets.uvarint()
		v.expiry = targets.varint()
		l := s.table.lane(id)
		var seq uint64
		if l != nil {
			if chunk < 0 {
				chunk = int64(s.table.active().addChunk(data))
			}
			v.chunk = uint32(chunk)
			seq = s.table.publish(l, v)
		}
		if mine {
			s.seqs = append(s.seqs, seq)
		}
	}
	return chunk, nil
}

func (s *Store) applyOther(kind byte, body []byte) error {
	r := reader{b: body}
	switch kind {
	case recordSettle:
		id, first, count := r.uvarint(), r.uvarint(), r.uvarint()
		if r.bad {
			return errShortRecord
		}
		if l := s.table.lookup(id); l != nil && !s.rebuilding {
			s.table.settle(l, first, addClamped(first, count))
		}
	case recordCount:
		id, seq, count := r.uvarint(), r.uvarint(), r.uvarint()
		if r.bad || count > math.MaxUint32 {
			return errShortRecord
		}
		if l := s.table.lookup(id); l != nil && !s.rebuilding {
			s.table.setCount(l, seq, uint32(count))
		}
	case recordLease:
		x := r.lease()
		if r.bad {
			return errShortRecord
		}
		if l := s.table.lookup(uint64(x.Lane)); l != nil && !s.rebuilding {
			s.table.setLease(l, x)
		}
	case recordTrim:
		id, before, flags := r.uvarint(), r.uvarint(), r.byte()
		if r.bad {
			return errShortRecord
		}
		if flags&trimDrop != 0 {
			s.table.drop(id)
		} else if l := s.table.lookup(id); l != nil && !s.rebuilding {
			s.table.settle(l, l.head, before)
		}
	case recordDefinition:
		return s.applyDefinition(body)
	case recordKey:
		return s.applyKey(&r)
	case recordLevel:
		return s.applyLevel(&r)
	}
	return nil
}

func addClamped(a, b uint64) uint64 {
	if a+b < a {
		return math.MaxUint64
	}
	return a + b
}

func (t *table) setCount(l *lane, seq uint64, count uint32) {
	if seq < l.head || seq >= l.next || l.has(seq) {
		return
	}
	if l.counts == nil {
		l.counts = map[uint64]uint32{}
	}
	if count == 0 {
		delete(l.counts, seq)
	} else {
		l.counts[seq] = count
	}
	l.countsDirty = true
	if _, ok := l.leases[seq]; ok {
		delete(l.leases, seq)
		l.leasesDirty = true
	}
	t.touch(l)
}

func (t *table) setLease(l *lane, x broker.StoreLease) {
	if x.Seq < l.head || x.Seq >= l.next || l.has(x.Seq) {
		return
	}
	if x.Deadline == 0 {
		delete(l.leases, x.Seq)
	} else {
		if l.leases == nil {
			l.leases = map[uint64]broker.StoreLease{}
		}
		l.leases[x.Seq] = x
	}
	l.leasesDirty = true
	t.touch(l)
}

// applyDefinition remembers the record's body until the next checkpoint.
func (s *Store) applyDefinition(body []byte) error {
	name, ok := definitionName(body)
	if !ok {
		return errShortRecord
	}
	if old, ok := s.definitions[string(name)]; ok {
		s.definitionBytes -= int64(len(name) + len(old))
	}
	s.definitions[string(name)] = bytes.Clone(body)
	s.definitionBytes += int64(len(name) + len(body))
	return nil
}

// definitionName returns the part of a definition's body that names it: kind
// and key with their lengths.
func definitionName(body []byte) ([]byte, bool) {
	r := reader{b: body}
	r.byte()
	start := r.b
	r.take(r.uvarint())
	r.take(r.uvarint())
	return start[:len(start)-len(r.b)], !r.bad
}

// applyKey learns the data key of another process, or of this one before the
// metadata was lost.
func (s *Store) applyKey(r *reader) error {
	id := r.uint32()
	if r.bad {
		return errShortRecord
	}
	if s.keys.has(id) {
		return nil
	}
	if err := s.keys.add(id, r.b); err != nil {
		return err
	}
	s.newKeys = append(s.newKeys, id)
	return nil
}

// setBells gives t its place for wake-ups.
func (s *Store) setBells(t *broker.Turn) {
	if s.opts.NewBells != nil {
		t.Bells = s.opts.NewBells()
	}
}

func (s *Store) flushBells(t *broker.Turn) {
	if s.opts.FlushBells != nil {
		s.opts.FlushBells(t.Bells)
	}
}

// sortLanes orders lanes by id.
func sortLanes(lanes []*lane) {
	slices.SortFunc(lanes, func(a, b *lane) int {
		switch {
		case a.id < b.id:
			return -1
		case a.id > b.id:
			return 1
		}
		return 0
	})
}
