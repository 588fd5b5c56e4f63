package persistence

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"sync"

	"github.com/hermodmq/hermod/broker"
	"github.com/hermodmq/hermod/persistence/vfs"
)

const (
	lockName      = "lock"
	corruptSuffix = ".corrupt"

	// footerReaders open segments in parallel.
	footerReaders = 4
)

// Open opens the store of a directory: metadata and the footers of segments.
// The log is opened by Recover.
//
// It refuses data it does not understand or that is damaged: ErrFormat,
// ErrWrongKey, ErrKeyRequired, *CorruptionError (see Options.Quarantine and
// Rebuild).
func Open(o Options) (*Store, error) {
	s, err := newStore(o)
	if err != nil {
		return nil, err
	}
	if err := s.open(); err != nil {
		_ = s.releaseFiles()
		return nil, err
	}
	return s, nil
}

func (s *Store) open() error {
	o := &s.opts
	if err := o.FS.MkdirAll(o.Dir, 0o700); err != nil {
		return fmt.Errorf("persistence: %w", err)
	}
	var err error
	if s.lock, err = o.FS.Lock(path.Join(o.Dir, lockName)); err != nil {
		return fmt.Errorf("persistence: %s is in use: %w", o.Dir, err)
	}
	if o.PlainMeta {
		s.meta, err = openPlainMeta(o.FS, o.Dir)
	} else {
		s.meta, err = openBoltMeta(o.Dir, false)
	}
	if err != nil {
		return err
	}
	if err := s.loadState(); err != nil {
		return err
	}
	if err := s.loadLanes(); err != nil {
		return err
	}
	return s.loadSegments()
}

// loadState reads format, keys and counters, and writes the first row of a new
// directory.
func (s *Store) loadState() error {
	state := map[string][]byte{}
	err := s.meta.load(bucketState, func(k, v []byte) error {
		state[string(k)] = slices.Clone(v)
		return nil
	})
	if err != nil {
		return err
	}
	b := &metaBatch{}
	if v, ok := state[stateFormat]; !ok {
		// Opening would remove segments that no row names.
		if lost, err := hasSegments(s.opts.FS, s.opts.Dir); err != nil || lost {
			return cmp.Or(err, ErrMetadataLost)
		}
		b.put(bucketState, []byte(stateFormat), binary.LittleEndian.AppendUint32(nil, metaFormat))
	} else if err := s.loadFormat(v, state[stateLevel]); err != nil {
		return err
	}
	r := reader{b: append(append(state[stateApplied], state[stateNextLane]...), 0)}
	if len(state[stateApplied]) == 8 && len(state[stateNextLane]) == 8 {
		s.applied = r.uint64()
		s.table.nextLane = max(r.uint64(), 1)
		s.checkpointed = s.applied
	}
	for r := (reader{b: state[stateDropped]}); len(r.b) >= 16; {
		s.table.dropped.ranges = append(s.table.dropped.ranges, idRange{r.uint64(), r.uint64()})
	}
	_, s.rebuilding = state[stateRebuilt]
	if v := state[stateNameKey]; len(v) == 4 {
		s.keys.nameKey = binary.LittleEndian.Uint32(v)
	}
	if err := s.loadKeys(b); err != nil {
		return err
	}
	if len(b.ops) == 0 {
		return nil
	}
	return s.meta.commit(b)
}

// loadFormat checks that this program knows what is stored.
func (s *Store) loadFormat(format, level []byte) error {
	r := reader{b: format}
	switch v := r.uint32(); {
	case r.bad:
		return &CorruptionError{File: "meta", Reason: "format row"}
	case v == metaFormat:
		return nil
	case v != metaFormatLevels:
		return formatError("metadata", int(v))
	}
	r = reader{b: level}
	reached := r.uint32()
	if r.bad {
		return &CorruptionError{File: "meta", Reason: "level row"}
	}
	if err := s.reach(reached); err != nil {
		return err
	}
	s.levelDirty = false
	return nil
}

func hasSegments(fs vfs.FS, dir string) (bool, error) {
	names, err := fs.ReadDir(dir)
	if err != nil {
		return false, fmt.Errorf("persistence: %w", err)
	}
	return slices.ContainsFunc(names, func(name string) bool { _, ok := segmentIDOf(name); return ok }), nil
}

// loadKeys unwraps the data keys and makes the first one if encryption was
// just turned on.
func (s *Store) loadKeys(b *metaBatch) error {
	err := s.meta.load(bucketKeys, s.keys.addRow)
	if err != nil || s.keys.master == nil {
		return err
	}
	if s.keys.nameKey != 0 && s.keys.has(s.keys.nameKey) {
		s.keys.current = s.keys.nameKey
		return nil
	}
	if err := s.keys.create(); err != nil {
		return err
	}
	id := s.keys.current
	s.keys.nameKey = id
	b.put(bucketKeys, binary.BigEndian.AppendUint32(nil, id), s.keys.wrapped(id))
	b.put(bucketState, []byte(stateNameKey), binary.LittleEndian.AppendUint32(nil, id))
	return nil
}

func (s *Store) loadLanes() error {
	t := s.table
	err := s.meta.load(bucketLanes, func(k, v []byte) error {
		if len(k) != 8 || len(v) != 17 {
			return &CorruptionError{File: "meta", Reason: "lane row"}
		}
		if v[0] != laneRowVersion {
			return formatError("lane row", int(v[0]))
		}
		l := &lane{id: binary.BigEndian.Uint64(k), head: binary.LittleEndian.Uint64(v[1:]), next: binary.LittleEndian.Uint64(v[9:])}
		if l.head == 0 || l.head > l.next {
			return &CorruptionError{File: "meta", Lane: l.id, Reason: "lane row"}
		}
		l.count = l.next - l.head
		t.lanes[l.id] = l
		return nil
	})
	if err == nil {
		err = s.meta.load(bucketSpans, t.loadSpan)
	}
	if err == nil {
		err = s.meta.load(bucketCounts, t.loadCounts)
	}
	if err == nil {
		err = s.meta.load(bucketLeases, s.loadLeases)
	}
	return err
}

func (t *table) loadSpan(k, v []byte) error {
	if len(k) != 16 || len(v) == 0 {
		return &CorruptionError{File: "meta", Reason: "span row"}
	}
	l := t.lanes[binary.BigEndian.Uint64(k)]
	if l == nil {
		return nil
	}
	l.spanRows = true
	p := span{base: binary.BigEndian.Uint64(k[8:]), count: spanSize}
	switch {
	case v[0] == spanRowFull && len(v) == 1:
	case v[0] == spanRowBits && len(v) == 1+spanSize/8:
		p.count, p.bits = 0, new([spanSize / 64]uint64)
		for i := range p.bits {
			p.bits[i] = binary.LittleEndian.Uint64(v[1+8*i:])
		}
		p.recount()
	default:
		return formatError("span row", int(v[0]))
	}
	l.spans = append(l.spans, p)
	end := (p.base + 1) * spanSize
	l.count -= min(l.settledSet.count(max(l.head, p.base*spanSize), min(end, l.next)), l.count)
	l.dropBelow(l.head)
	return nil
}

func (t *table) loadCounts(k, v []byte) error {
	if len(k) != 8 || len(v) == 0 || (len(v)-1)%12 != 0 {
		return &CorruptionError{File: "meta", Reason: "count row"}
	}
	if v[0] != countRowVersion {
		return formatError("count row", int(v[0]))
	}
	l := t.lanes[binary.BigEndian.Uint64(k)]
	if l == nil {
		return nil
	}
	l.countRow = true
	l.counts = make(map[uint64]uint32, len(v)/12)
	for r := (reader{b: v[1:]}); len(r.b) > 0; {
		seq := r.uint64()
		l.counts[seq] = r.uint32()
	}
	return nil
}

func (s *Store) loadLeases(k, v []byte) error {
	if len(k) != 8 || len(v) == 0 {
		return &CorruptionError{File: "meta", Reason: "lease row"}
	}
	rows := v[1:]
	switch v[0] {
	case leaseRowPlain:
	case leaseRowSealed:
		var err error
		if rows, err = s.keys.openValue(rows); err != nil {
			return err
		}
	default:
		return formatError("lease row", int(v[0]))
	}
	l := s.table.lanes[binary.BigEndian.Uint64(k)]
	if l == nil {
		return nil
	}
	l.leaseRow = true
	l.leases = map[uint64]broker.StoreLease{}
	r := reader{b: rows}
	for len(r.b) > 0 && !r.bad {
		x := r.lease()
		l.leases[x.Seq] = x
	}
	if r.bad {
		return &CorruptionError{File: "meta", Lane: l.id, Reason: "lease row"}
	}
	return nil
}

// opened is the outcome of opening one segment.
type opened struct {
	id    uint32
	seg   *segment
	table []byte
	err   error
}

// loadSegments opens what the metadata names and removes what it does not.
func (s *Store) loadSegments() error {
	var list []*opened
	err := s.meta.load(bucketSegments, func(k, v []byte) error {
		if len(k) != 8 || len(v) != 9 {
			return &CorruptionError{File: "meta", Reason: "segment row"}
		}
		if v[0] != segmentRowVersion {
			return formatError("segment row", int(v[0]))
		}
		list = append(list, &opened{id: uint32(binary.BigEndian.Uint64(k))})
		return nil
	})
	if err != nil {
		return err
	}
	if err := s.removeOrphans(list); err != nil {
		return err
	}
	s.openAll(list)
	quarantined := false
	for _, o := range list {
		if o.err != nil {
			err = errors.Join(err, s.quarantine(o))
			quarantined = true
			continue
		}
		s.table.segments[o.id] = o.seg
		s.table.addFooter(o.seg, o.table)
		o.table = nil
	}
	if err != nil {
		return err
	}
	for _, l := range s.table.lanes {
		byFirst := func(a, b extent) int { return cmp.Compare(a.first, b.first) }
		if !slices.IsSortedFunc(l.extents, byFirst) {
			slices.SortFunc(l.extents, byFirst)
		}
	}
	if quarantined {
		return s.opts.FS.SyncDir(s.opts.Dir)
	}
	return nil
}

// removeOrphans removes segment files that no transaction ever named, or no
// longer names.
func (s *Store) removeOrphans(list []*opened) error {
	names, err := s.opts.FS.ReadDir(s.opts.Dir)
	if err != nil {
		return fmt.Errorf("persistence: %w", err)
	}
	known := map[uint32]bool{}
	for _, o := range list {
		known[o.id] = true
		s.nextSegment = max(s.nextSegment, o.id+1)
	}
	for _, name := range names {
		// The id of a quarantined file is not used again, or its successor
		// could not be told from it.
		id, ok := segmentIDOf(strings.TrimSuffix(name, corruptSuffix))
		if ok {
			s.nextSegment = max(s.nextSegment, id+1)
		}
		if !ok || known[id] || strings.HasSuffix(name, corruptSuffix) {
			continue
		}
		s.log.Info("removing an unfinished segment", "file", name)
		if err := s.opts.FS.Remove(path.Join(s.opts.Dir, name)); err != nil {
			return fmt.Errorf("persistence: %w", err)
		}
	}
	return nil
}

// openAll opens segments in parallel.
func (s *Store) openAll(list []*opened) {
	var wg sync.WaitGroup
	next := make(chan *opened)
	for range min(footerReaders, len(list)) {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for o := range next {
				o.seg, o.table, o.err = openSegment(s.opts.FS, path.Join(s.opts.Dir, segmentName(o.id)), o.id, s.keys)
			}
		}()
	}
	for _, o := range list {
		next <- o
	}
	close(next)
	wg.Wait()
}

// quarantine sets a segment aside that cannot be opened, or refuses to.
func (s *Store) quarantine(o *opened) error {
	var corrupt *CorruptionError
	if !errors.As(o.err, &corrupt) {
		return o.err
	}
	s.log.Error("corrupt segment", "file", corrupt.File, "offset", corrupt.Offset, "reason", corrupt.Reason)
	s.stats.CorruptSegments++
	if !s.opts.Quarantine {
		return fmt.Errorf("%w; restore the file, or start with quarantine on to go on without its messages", o.err)
	}
	name := path.Join(s.opts.Dir, segmentName(o.id))
	if err := s.opts.FS.Rename(name, name+corruptSuffix); err != nil {
		return fmt.Errorf("persistence: set %s aside: %w", segmentName(o.id), err)
	}
	b := &metaBatch{}
	b.delete(bucketSegments, segmentKey(o.id))
	return s.meta.commit(b)
}

// addFooter adds the extents of a segment to the lanes.
func (t *table) addFooter(g *segment, rows []byte) {
	for ; len(rows) > 0; rows = rows[footerRowSize:] {
		var f footerRow
		f.get(rows)
		l := t.last
		if l == nil || l.id != f.lane {
			if l = t.lanes[f.lane]; l == nil {
				continue
			}
			t.last = l
		}
		e := f.extent(g.id)
		t.addExtent(l, &e)
	}
}
