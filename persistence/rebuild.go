package persistence

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path"
	"path/filepath"
	"slices"

	"github.com/hermodmq/hermod/persistence/vfs"
)

// Rebuild makes new metadata from segment footers when the old is lost or
// corrupt, which it sets aside as meta.db.corrupt. Definitions and keys are
// taken from the old file as far as it can be read, else from the copy that
// every clean stop and, now and then, a checkpoint leaves in meta.copy.
//
// No stored message is lost, but what was settled or how often a message was
// delivered is not in the segments: messages may come back that were settled.
// Damaged segments are set aside as *.corrupt and reported. An encrypted
// directory needs the master key (ErrKeyRequired).
func Rebuild(o JournalOptions) (*Report, error) {
	report := &Report{}
	s, err := newStore(Options{Dir: o.Dir, Log: noLog{}, MasterKey: o.MasterKey, KeyWrapper: o.KeyWrapper, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		return nil, err
	}
	defer func() { _ = s.releaseFiles() }()
	if s.lock, err = s.opts.FS.Lock(path.Join(o.Dir, lockName)); err != nil {
		return nil, fmt.Errorf("persistence: %s is in use: %w", o.Dir, err)
	}
	r := &rebuilder{s: s, report: report, batch: &metaBatch{}}
	if err := r.salvage(); err != nil {
		return nil, err
	}
	if err := r.loadSegments(); err != nil {
		return nil, err
	}
	if err := r.writeLeftovers(); err != nil {
		return nil, err
	}
	if err := r.settleGaps(); err != nil {
		return nil, err
	}
	return report, r.commit()
}

// noLog stands in where no log is needed.
type noLog struct{}

func (noLog) Start(Applier) error     { return ErrClosed }
func (noLog) Propose([]byte) error    { return ErrClosed }
func (noLog) Cut(uint64, int64) error { return nil }
func (noLog) Size() int64             { return 0 }
func (noLog) Close() error            { return nil }

type rebuilder struct {
	s       *Store
	report  *Report
	batch   *metaBatch
	applied uint64
	left    []leftover // extents that overlap newer ones
}

type leftover struct {
	lane *lane
	extent
}

// salvage copies definitions, keys and the lane counter from what is left of
// the old metadata.
func (r *rebuilder) salvage() error {
	old, err := openBoltMeta(r.s.opts.Dir, true)
	if err == nil {
		if err = requireFormat(old); err == nil {
			err = r.take(old)
		}
		_ = old.close()
	}
	if err == nil {
		return nil
	}
	r.batch = &metaBatch{}
	if !errors.Is(err, fs.ErrNotExist) {
		if nerr := r.report.note(err); nerr != nil {
			return nerr
		}
	}
	copied, err := openCopy(r.s.opts.FS, r.s.opts.Dir)
	if err == nil {
		err = r.take(copied)
	}
	return r.report.note(err)
}

// requireFormat tells a metadata file that was in use from an empty one.
func requireFormat(m metadata) error {
	err := error(&CorruptionError{File: boltName, Reason: "no format row"})
	lerr := m.load(bucketState, func(k, _ []byte) error {
		if string(k) == stateFormat {
			err = nil
		}
		return nil
	})
	return cmp.Or(lerr, err)
}

// take copies the rows that segments cannot replace.
func (r *rebuilder) take(m metadata) (err error) {
	defer func() { // bbolt panics on some damage
		if p := recover(); p != nil {
			err = &CorruptionError{File: boltName, Reason: fmt.Sprint(p)}
		}
	}()
	err = copyRows(m, r.batch)
	if err != nil {
		return err
	}
	for i := range r.batch.ops {
		o, key, value := r.batch.op(i)
		switch {
		case o.bucket == bucketKeys && r.s.keys.master != nil:
			if err := r.s.keys.addRow(key, value); err != nil {
				return err
			}
			r.s.keys.current = binary.BigEndian.Uint32(key)
		case o.bucket == bucketState && string(key) == stateNextLane && len(value) == 8:
			r.s.table.nextLane = binary.LittleEndian.Uint64(value)
		case o.bucket == bucketState && string(key) == stateLevel && len(value) == 4:
			if err := r.s.reach(binary.LittleEndian.Uint32(value)); err != nil {
				return err
			}
		}
	}
	return nil
}

// copyRows puts the rows into b that exist nowhere else than in metadata.
func copyRows(m metadata, b *metaBatch) error {
	for _, bucket := range []byte{bucketDefinitions, bucketKeys} {
		err := m.load(bucket, func(k, v []byte) error {
			b.put(bucket, k, v)
			return nil
		})
		if err != nil {
			return err
		}
	}
	return m.load(bucketState, func(k, v []byte) error {
		switch string(k) {
		case stateNextLane, stateDropped, stateNameKey, stateLevel:
			b.put(bucketState, k, v)
		}
		return nil
	})
}

// loadSegments opens all segments, newest first: where extents overlap, the
// newer one was made from the older.
func (r *rebuilder) loadSegments() error {
	s := r.s
	var ids []uint32
	err := eachSegment(s.opts.FS, s.opts.Dir, func(id uint32) error {
		ids = append(ids, id)
		s.nextSegment = max(s.nextSegment, id+1)
		return nil
	})
	if err != nil {
		return err
	}
	var keys *keyring
	if s.keys.master != nil {
		keys = s.keys
	}
	for _, id := range slices.Backward(ids) {
		name := path.Join(s.opts.Dir, segmentName(id))
		g, table, err := openSegment(s.opts.FS, name, id, keys)
		if err != nil {
			if err := r.report.note(err); err != nil {
				return err
			}
			if err := s.opts.FS.Rename(name, name+corruptSuffix); err != nil {
				return fmt.Errorf("persistence: %w", err)
			}
			continue
		}
		if keys == nil && g.sealed() {
			_ = g.unpin()
			return ErrKeyRequired
		}
		r.addSegment(g, table)
	}
	return nil
}

func (r *rebuilder) addSegment(g *segment, table []byte) {
	s := r.s
	s.table.segments[g.id] = g
	r.report.Segments++
	r.report.Bytes += g.size
	if g.last {
		r.applied = max(r.applied, g.applied)
	}
	for ; len(table) > 0; table = table[footerRowSize:] {
		var f footerRow
		f.get(table)
		r.report.Blocks++
		r.report.Messages += uint64(f.n)
		l := s.table.lane(f.lane)
		if l == nil {
			continue
		}
		e := f.extent(g.id)
		l.next = max(l.next, e.end())
		at, _ := slices.BinarySearchFunc(l.extents, e.first, func(x extent, first uint64) int { return cmp.Compare(x.end()-1, first) })
		if at < len(l.extents) && l.extents[at].first < e.end() {
			r.left = append(r.left, leftover{l, e})
			continue
		}
		l.extents = slices.Insert(l.extents, at, e)
		g.count(&e, uint64(e.spanM1)+1)
	}
}

// writeLeftovers copies the messages of overlapped extents that no newer
// extent covers into a segment of their own: a compaction may have been cut
// short.
func (r *rebuilder) writeLeftovers() error {
	slices.SortStableFunc(r.left, func(a, b leftover) int {
		return cmp.Or(cmp.Compare(a.lane.id, b.lane.id), cmp.Compare(a.first, b.first))
	})
	w := newSegmentWriter(r.s, 0)
	var last uint64
	for i := range r.left {
		x := &r.left[i]
		if i == 0 || r.left[i-1].lane != x.lane {
			last = 0
		}
		b, err := r.s.table.segments[x.seg].readBlock(x.lane.id, &x.extent)
		if err != nil {
			if err := r.report.note(err); err != nil {
				return err
			}
			continue
		}
		for it := b.iter(); it.step(); {
			at := x.lane.findExtent(it.seq)
			if it.seq <= last || at < len(x.lane.extents) && x.lane.extents[at].first <= it.seq {
				continue
			}
			if it.seq != last+1 {
				if err := w.endBlock(); err != nil {
					return err
				}
			}
			p := it.pick(&x.extent)
			p.from = origin{x.seg, uint32(i), uint32(it.seq)} // copied, not shared: this is rare
			if err := w.addFrom(r.s.table.segments[x.seg], x.lane, &p); err != nil {
				return err
			}
			last = it.seq
		}
	}
	if err := w.finish(); err != nil {
		return err
	}
	for _, g := range w.segments {
		r.s.table.segments[g.id] = g
	}
	for i := range w.extents {
		x := &w.extents[i]
		x.lane.extents = append(x.lane.extents, x.extent)
		r.s.table.segments[x.seg].count(&x.extent, uint64(x.spanM1)+1)
	}
	return nil
}

// settleGaps makes settled what no segment holds.
func (r *rebuilder) settleGaps() error {
	t := r.s.table
	for _, l := range t.lanes {
		slices.SortFunc(l.extents, func(a, b extent) int { return cmp.Compare(a.first, b.first) })
		l.count = l.next - 1
		t.touch(l)
		at := uint64(1)
		extents := l.extents
		for i := range extents {
			e := &extents[i]
			t.settle(l, at, e.first)
			at = e.end()
			if uint64(e.n) == uint64(e.spanM1)+1 {
				continue
			}
			if err := r.settleHoles(l, e); err != nil {
				return err
			}
		}
	}
	return nil
}

// sealed tells whether blocks are encrypted.
func (g *segment) sealed() bool {
	var head [segmentHeaderSize]byte
	_, err := g.file.ReadAt(head[:], 0)
	return err == nil && binary.LittleEndian.Uint32(head[12:])&segmentEncrypted != 0
}

func (r *rebuilder) settleHoles(l *lane, e *extent) error {
	b, err := r.s.table.segments[e.seg].readBlock(l.id, e)
	if err != nil {
		return r.report.note(err)
	}
	at := e.first
	for it := b.iter(); it.step(); at = it.seq + 1 {
		r.s.table.settle(l, at, it.seq)
	}
	return nil
}

// commit sets the old metadata aside and writes the new.
func (r *rebuilder) commit() error {
	s, b := r.s, r.batch
	dir := s.opts.Dir
	err := os.Rename(filepath.Join(dir, boltName), filepath.Join(dir, boltName+corruptSuffix))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("persistence: %w", err)
	}
	putLevel(b, s.level.Load())
	b.put(bucketState, []byte(stateRebuilt), []byte{1})
	b.putUint64(stateApplied, max(r.applied, readHint(s.opts.FS, dir)))
	b.putUint64(stateNextLane, s.table.nextLane)
	for _, g := range s.table.segments {
		putSegment(b, g)
	}
	s.table.capture(b, s.keys)
	if s.meta, err = openBoltMeta(dir, false); err != nil {
		return err
	}
	return s.meta.commit(b)
}

// The hint is the log index of the last checkpoint, for Rebuild: the log does
// not go back further. 8 bytes and a checksum; docs/format/README.md.
const hintName = "applied"

// writeHint is called between the commit of a checkpoint and the cut of the
// log.
func (s *Store) writeHint(applied uint64) error {
	b := binary.LittleEndian.AppendUint64(nil, applied)
	b = binary.LittleEndian.AppendUint32(b, crc32.Checksum(b, castagnoli))
	f, err := s.opts.FS.OpenFile(path.Join(s.opts.Dir, hintName), os.O_RDWR|os.O_CREATE, 0o600)
	if err == nil {
		_, err = f.WriteAt(b, 0)
		if err == nil {
			err = s.watch.sync(f.Sync)
		}
		if cerr := f.Close(); err == nil {
			err = cerr
		}
	}
	if err != nil {
		return fmt.Errorf("persistence: write %s: %w", hintName, err)
	}
	return nil
}

// readHint returns the hint, 0 if it is missing or torn.
func readHint(fsys vfs.FS, dir string) uint64 {
	f, err := fsys.Open(path.Join(dir, hintName))
	if err != nil {
		return 0
	}
	defer f.Close()
	var b [12]byte
	if _, err := f.ReadAt(b[:], 0); err != nil && !errors.Is(err, io.EOF) || crc32.Checksum(b[:8], castagnoli) != binary.LittleEndian.Uint32(b[8:]) {
		return 0
	}
	return binary.LittleEndian.Uint64(b[:])
}

const (
	copyName    = "meta.copy"
	copySizeMax = 32 << 20
)

// openCopy opens the copy of the rows that segments cannot replace.
func openCopy(fsys vfs.FS, dir string) (metadata, error) {
	return openPlainFile(fsys, dir, copyName)
}

// writeCopy leaves a copy of the rows that segments cannot replace, unless
// they are too many.
func (s *Store) writeCopy() error {
	b := &metaBatch{}
	if err := copyRows(s.meta, b); err != nil {
		return err
	}
	if len(b.buf) > copySizeMax {
		return nil
	}
	m := &plainMeta{fs: s.opts.FS, dir: s.opts.Dir, name: copyName, rows: map[string][]byte{}}
	return s.watch.sync(func() error { return m.commit(b) })
}
