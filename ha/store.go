package ha

import (
	"errors"
	"fmt"
	"runtime"
	"sort"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
	wal "github.com/hashicorp/raft-wal"
)

// logStore is raft's view of raft-wal. It makes errors fatal, accounts for
// bytes, keeps truncation within what Cut allows, and answers NewRaft's reading
// of the whole log from the scan.
type logStore struct {
	*wal.WAL
	codec *codec
	gate  *gate
	fail  func(error)
	err   func() error // the error passed to fail, if any

	// replicating: raft reads the log for others, who must get entries that
	// cannot be applied before they have them.
	replicating func() bool

	scanned atomic.Pointer[contents] // while NewRaft reads the log

	pace  *pace
	mu    sync.Mutex
	marks []mark
	total int64  // bytes of all entries known
	cutAt int64  // total at the last Cut
	floor uint64 // raft may truncate up to here
	holds map[*hold]bool
}

// hold keeps entries after index from being truncated while somebody is seeded
// with the state at index.
type hold struct{ index uint64 }

// mark says how many bytes the entries up to index take.
type mark struct {
	index uint64
	bytes int64
}

// markEvery is the granularity of marks in bytes: they cost memory.
const markEvery = 64 << 10

// addMark appends a mark or moves the last one while it is close to the one
// before.
func addMark(marks []mark, index uint64, bytes int64) []mark {
	if n := len(marks); n >= 2 && bytes-marks[n-2].bytes < markEvery {
		marks[n-1] = mark{index, bytes}
		return marks
	}
	return append(marks, mark{index, bytes})
}

// StoreLog implements raft.LogStore.
func (s *logStore) StoreLog(l *raft.Log) error { return s.StoreLogs([]*raft.Log{l}) }

// StoreLogs implements raft.LogStore. raft would step down on an error, be
// elected again and retry; here the first error is the last.
func (s *logStore) StoreLogs(logs []*raft.Log) error {
	if err := s.err(); err != nil {
		return err
	}
	s.codec.reset(logs)
	if err := s.WAL.StoreLogs(logs); err != nil {
		err = fmt.Errorf("append to the log: %w", err)
		s.fail(err)
		return err
	}
	s.pace.stored(logs)
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range logs {
		s.total += int64(len(l.Data) + len(l.Extensions) + trailerLen + frameHeaderLen)
		s.marks = addMark(s.marks, l.Index, s.total)
	}
	return nil
}

// GetLog implements raft.LogStore. It waits while the Applier is far behind.
func (s *logStore) GetLog(index uint64, l *raft.Log) error {
	if c := s.scanned.Load(); c != nil {
		if term, ok := c.term(index); ok && !c.configs[index] {
			*l = raft.Log{Index: index, Term: term, Type: raft.LogNoop}
			return nil
		}
	}
	err := s.WAL.GetLog(index, l)
	if err == nil && l.Index != index {
		err = fmt.Errorf("%w: entry %d where %d should be", ErrCorrupt, l.Index, index)
	}
	switch {
	case err == nil:
		if l.Type == raft.LogCommand && !s.replicating() {
			s.gate.enter(index)
		}
	case !errors.Is(err, raft.ErrLogNotFound) && !errors.Is(err, wal.ErrClosed):
		return s.dead(fmt.Errorf("read entry %d of the log: %w", index, err))
	}
	return err
}

// Set implements raft.StableStore.
func (s *logStore) Set(key, value []byte) error {
	if err := s.WAL.Set(key, value); err != nil {
		return s.dead(err)
	}
	return nil
}

// SetUint64 implements raft.StableStore.
func (s *logStore) SetUint64(key []byte, value uint64) error {
	if err := s.WAL.SetUint64(key, value); err != nil {
		return s.dead(err)
	}
	return nil
}

// dead reports an error on which raft would panic. Within NewRaft, whose caller
// recovers, that is fine; from raft's goroutines it would take the process down
// before Fatal has its say, so that the goroutine ends here instead.
func (s *logStore) dead(err error) error {
	s.fail(err)
	if s.scanned.Load() == nil {
		runtime.Goexit()
	}
	return err
}

// term returns the term of a scanned entry.
func (c *contents) term(index uint64) (uint64, bool) {
	i := sort.Search(len(c.terms), func(i int) bool { return c.terms[i].index > index })
	if i == 0 {
		return 0, false
	}
	return c.terms[i-1].term, true
}

// DeleteRange implements raft.LogStore. From the front it stops at the floor.
func (s *logStore) DeleteRange(first, last uint64) error {
	oldest, err := s.FirstIndex()
	if err != nil {
		return err
	}
	s.mu.Lock()
	if oldest == 0 {
		s.mu.Unlock()
		return nil // an empty log
	}
	if first <= oldest {
		last = min(last, s.bottom())
	} else if i := s.upTo(first - 1); i < len(s.marks) {
		s.marks = s.marks[:i]
		s.total = s.bytesTo(first - 1)
	}
	s.mu.Unlock()
	if last < first {
		return nil
	}
	if err := s.WAL.DeleteRange(first, last); err != nil {
		err = fmt.Errorf("truncate the log: %w", err)
		s.fail(err)
		return err
	}
	return nil
}

// upTo is the number of marks up to index. The caller holds mu.
func (s *logStore) upTo(index uint64) int {
	return sort.Search(len(s.marks), func(i int) bool { return s.marks[i].index > index })
}

// bytesTo is the size of all entries up to index, to markEvery. The caller
// holds mu.
func (s *logStore) bytesTo(index uint64) int64 {
	if i := s.upTo(index); i > 0 {
		return s.marks[i-1].bytes
	}
	return min(s.cutAt, s.total)
}

// load takes over what the scan found.
func (s *logStore) load(c *contents) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.marks, s.total = c.marks, c.bytes
}

// bottom is the last entry that may be truncated. The caller holds mu.
func (s *logStore) bottom() uint64 {
	bottom := s.floor
	for h := range s.holds {
		bottom = min(bottom, h.index-1)
	}
	return bottom
}

// hold makes sure that the entries from index on stay. It fails if they are
// gone already.
func (s *logStore) hold(index uint64) (*hold, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if first, err := s.FirstIndex(); err != nil || first > index {
		return nil, fmt.Errorf("ha: entry %d is cut off the log: %w", index, errors.Join(err, ErrGap))
	}
	h := &hold{index}
	if s.holds == nil {
		s.holds = map[*hold]bool{}
	}
	s.holds[h] = true
	return h, nil
}

func (s *logStore) unhold(h *hold) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.holds, h)
}

// cut notes that entries up to index are in a checkpoint and lets raft truncate
// them, except the last keepBytes of the log. The entry at index itself stays:
// on a cluster raft names it to a follower who has been given the checkpoint,
// and would send that again if it were gone.
func (s *logStore) cut(index uint64, keepBytes int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cutAt = max(s.cutAt, s.bytesTo(index))
	floor := index - 1
	if keepBytes > 0 {
		enough := func(i int) bool { return s.total-s.marks[i].bytes < keepBytes }
		i := sort.Search(len(s.marks), enough)
		if i == 0 {
			floor = 0
		} else {
			floor = min(floor, s.marks[i-1].index)
		}
	}
	s.floor = max(s.floor, floor)
	// Marks below the floor serve nothing any more, except the last of them.
	if i := s.upTo(s.floor); i > 1 {
		s.marks = append(s.marks[:0:0], s.marks[i-1:]...)
	}
}

// extent is the first entry in the log, 0 if none, and the size of all that
// truncation does not take.
func (s *logStore) extent() (first uint64, size int64) {
	first, err := s.FirstIndex()
	if err != nil {
		first = 0
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return first, s.total - s.forgotten()
}

// forgotten is the size of all entries up to the floor, to markEvery, counted
// from the first known. The caller holds mu.
func (s *logStore) forgotten() int64 {
	if i := s.upTo(s.floor); i > 0 {
		return s.marks[i-1].bytes
	}
	return 0
}

// freed is how many bytes a cut at index that keeps keepBytes would free.
func (s *logStore) freed(index uint64, keepBytes int64) int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	var bytes int64
	if i := s.upTo(index); i > 0 {
		bytes = s.marks[i-1].bytes
	}
	return min(bytes, s.total-keepBytes) - s.forgotten()
}

// before is the last entry before the last keepBytes of the log; 0 if the log
// is no longer than that.
func (s *logStore) before(keepBytes int64) uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	i := sort.Search(len(s.marks), func(i int) bool { return s.total-s.marks[i].bytes < keepBytes })
	if i == 0 {
		return 0
	}
	return s.marks[i-1].index
}

// size is the number of bytes after the last Cut.
func (s *logStore) size() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.total - s.cutAt
}

// gateWidth is how many entries raft may have read that the Applier has not
// applied. It must exceed maxAppendEntries: raft hands over whole batches.
const gateWidth = 2 * maxAppendEntries

// gate keeps raft from reading the log into memory faster than it is applied.
type gate struct {
	mu      sync.Mutex
	cond    *sync.Cond
	read    uint64 // the last index counted
	applied uint64
	n       int
	closed  bool
}

func newGate() *gate {
	g := &gate{}
	g.cond = sync.NewCond(&g.mu)
	return g
}

// enter counts an entry read for the first time, and waits for room.
func (g *gate) enter(index uint64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if index <= g.read || index <= g.applied {
		return
	}
	if g.n >= gateWidth && !g.closed {
		g.wait()
	}
	g.read = index
	g.n++
}

// gatePatience bounds one wait: on a cluster raft also reads entries that are
// not committed, and those must not stand in the way for ever.
const gatePatience = time.Second

// wait returns when there is room, or patience ends. The caller holds mu.
func (g *gate) wait() {
	late := false
	timer := time.AfterFunc(gatePatience, func() {
		g.mu.Lock()
		late = true
		g.mu.Unlock()
		g.cond.Broadcast()
	})
	defer timer.Stop()
	for g.n >= gateWidth && !g.closed && !late {
		g.cond.Wait()
	}
}

// leave counts entries up to index as applied.
func (g *gate) leave(first, last uint64, entries int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.applied = last
	if first <= g.read && g.n > 0 {
		g.n = max(g.n-entries, 0)
		g.cond.Broadcast()
	}
}

// idle says that nothing read is waiting to be applied.
func (g *gate) idle() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.n == 0
}

func (g *gate) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed = true
	g.cond.Broadcast()
}
