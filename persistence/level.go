package persistence

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/hermodmq/hermod/broker"
)

// A format level names the kinds of records that a program knows. What a log
// holds may be read by programs of other versions: nodes of a cluster are
// upgraded one after another. A kind of record is therefore written only when
// the log has reached the level it came with, and the log reaches a level, for
// good, by a record that says so, which is written once all who read the log
// know that level. ADR 0045.
const (
	// LevelBase is that of programs from before levels, which tell none.
	LevelBase uint32 = iota
	// LevelLeases adds leases and levels themselves.
	LevelLeases

	// FormatLevel is what this program knows.
	FormatLevel = LevelLeases
)

// levelOf is the level that a log must have reached before a kind of record is
// written to it.
func levelOf(kind byte) uint32 {
	switch kind {
	case recordLease, recordLevel:
		return LevelLeases
	}
	return LevelBase
}

// SharedLog is a Log that programs of other versions may read, too.
type SharedLog interface {
	Log

	// OnAgreed sets what is told of the level that all readers know, whenever it
	// may be more than the log has reached. It is called once Start has
	// returned; f is called from then on, also before OnAgreed returns.
	OnAgreed(f func(level uint32))
}

// Leveled is an Applier that knows which level the log has reached.
type Leveled interface {
	Applier
	Level() uint32
}

var _ Leveled = (*Store)(nil)

// Level implements Leveled: the level reached by what has been applied.
func (s *Store) Level() uint32 { return s.level.Load() }

// agree lets the log rise to its readers' level. The store leads.
func (s *Store) agree() {
	s.batcher.begin(s.level.Load())
	if shared, ok := s.opts.Log.(SharedLog); ok {
		shared.OnAgreed(s.raise)
		return
	}
	s.raise(s.opts.level())
}

// raise appends the record of a new level and writes what came with it from
// there on.
func (s *Store) raise(level uint32) {
	added := s.batcher.raise(min(level, s.opts.level()))
	if added == 0 {
		return
	}
	s.pending.Add(added)
	s.log.Info("all readers of the log know a new format level: older programs are refused from now on", "level", level)
}

// applyLevel applies the record of a level.
func (s *Store) applyLevel(r *reader) error {
	level := r.uvarint()
	if r.bad || level > math.MaxUint32 {
		return errShortRecord
	}
	return s.reach(uint32(level))
}

// reach notes a level that the log or the metadata has reached.
func (s *Store) reach(level uint32) error {
	if level > s.opts.level() {
		return fmt.Errorf("%w: it has reached format level %d and this program knows %d: it was written by a newer program", ErrFormat, level, s.opts.level())
	}
	if level > s.level.Load() {
		s.level.Store(level)
		s.levelDirty = true
	}
	return nil
}

// putLevel adds the rows of a level. The format row keeps programs away that
// know no levels.
func putLevel(b *metaBatch, level uint32) {
	format := uint32(metaFormat)
	if level > LevelBase {
		format = metaFormatLevels
		b.put(bucketState, []byte(stateLevel), binary.LittleEndian.AppendUint32(nil, level))
	}
	b.put(bucketState, []byte(stateFormat), binary.LittleEndian.AppendUint32(nil, format))
}

func appendLevel(dst []byte, level uint32) []byte {
	start := len(dst)
	return endRecord(binary.AppendUvarint(beginRecord(dst, recordLevel), uint64(level)), start)
}

// begin sets the level that the log has reached.
func (q *batcher) begin(level uint32) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.level = level
}

// raise appends the record of a level unless the log has reached it, and
// returns the bytes added.
func (q *batcher) raise(level uint32) int64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.stopped || level <= q.level {
		return 0
	}
	q.level = level
	if q.cur == nil {
		q.cur = q.newEntry(0)
	}
	e := q.cur
	before := len(e.data)
	e.data = appendLevel(e.data, level)
	e.records++
	added := int64(len(e.data) - before)
	e.size += added
	q.wake()
	return added
}

// leases are those of b that may be written. Below their level they live as
// long as the process, as they did before they were records.
func (q *batcher) leases(b *broker.Batch) []broker.StoreLease {
	if q.level < levelOf(recordLease) {
		return nil
	}
	return b.Leases
}
