package ha

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path"
	"slices"
	"time"

	"github.com/hashicorp/raft"
	"github.com/hashicorp/raft-wal/segment"
	"github.com/hashicorp/raft-wal/types"

	"github.com/hermodmq/hermod/persistence/vfs"
)

// The segment format of raft-wal: a file header of 32 bytes, then frames of an
// 8-byte header, a payload and padding to 8 bytes. A batch is some entry
// frames, at the end of a segment an index frame, and a commit frame with the
// CRC32C of everything since the last one.
const (
	fileHeaderLen  = 32
	frameHeaderLen = 8
	segmentMagic   = 0x58eb6b0d

	frameEntry  = 1
	frameIndex  = 2
	frameCommit = 3
)

// scan verifies the segments before raft-wal opens them and repairs what a
// crash leaves behind. See the package comment for why raft-wal is not enough.
type scan struct {
	fs      vfs.FS
	dir     string
	lenient bool // the last run used ConfirmOS: a damaged tail is a torn one
	logger  *slog.Logger

	after uint64   // entries up to here are in the checkpoint
	last  entryPos // the last entry seen
	found contents
}

type entryPos struct{ index, term uint64 }

// contents is what NewRaft and the size account need to know of the entries
// after the manifest, so that nothing has to be read a second time.
type contents struct {
	first   uint64          // index of the first entry; 0: none
	terms   []entryPos      // the first entry of each term
	configs map[uint64]bool // indexes of configuration entries
	marks   []mark          // of the sizes of entries
	bytes   int64
}

// run scans the segments that hold entries after s.after, and returns the state
// that raft-wal shall open. changed says that it differs from state.
func (s *scan) run(state types.PersistentState) (_ types.PersistentState, changed bool, _ error) {
	s.found.configs = map[uint64]bool{}
	for i, info := range state.Segments {
		if i > 0 && info.BaseIndex != state.Segments[i-1].MaxIndex+1 {
			return state, false, fmt.Errorf("%w: no entry %d: segment %s does not follow the one before",
				ErrCorrupt, state.Segments[i-1].MaxIndex+1, segment.FileName(info))
		}
		if !info.SealTime.IsZero() {
			if info.MaxIndex > s.after {
				if err := s.sealed(info); err != nil {
					return state, false, err
				}
			}
			s.last.index = info.MaxIndex
			continue
		}
		if i != len(state.Segments)-1 {
			return state, false, fmt.Errorf("%w: segment %s is open and not the last", ErrCorrupt, segment.FileName(info))
		}
		sealedAt, err := s.tail(info)
		if err != nil {
			return state, false, err
		}
		if sealedAt > 0 {
			return s.finishRotation(state, sealedAt), true, nil
		}
	}
	return state, false, nil
}

// finishRotation records that the tail is sealed, and a new tail: what raft-wal
// was about to do when the process died.
func (s *scan) finishRotation(state types.PersistentState, indexStart uint64) types.PersistentState {
	state.Segments = slices.Clone(state.Segments)
	tail := &state.Segments[len(state.Segments)-1]
	tail.SealTime = time.Now()
	tail.MaxIndex = s.last.index
	tail.IndexStart = indexStart
	next := types.SegmentInfo{
		ID:         state.NextSegmentID,
		BaseIndex:  tail.MaxIndex + 1,
		MinIndex:   tail.MaxIndex + 1,
		SizeLimit:  tail.SizeLimit,
		Codec:      codecID,
		CreateTime: time.Now(),
	}
	state.Segments = append(state.Segments, next)
	state.NextSegmentID++
	return state
}

// sealed verifies a segment that the meta file calls complete.
func (s *scan) sealed(info types.SegmentInfo) error {
	r, err := s.open(info, os.O_RDONLY)
	if err != nil {
		return fmt.Errorf("%w: segment %s: %w", ErrCorrupt, segment.FileName(info), err)
	}
	defer r.f.Close()
	for off := int64(0); ; {
		b, err := r.batch(off, s.last.term)
		if err != nil {
			return s.corrupt(info, off, err)
		}
		s.take(b, info)
		off = b.end
		if b.indexStart > 0 {
			if uint64(b.indexStart) != info.IndexStart || r.next-1 < info.MaxIndex {
				return s.corrupt(info, off, errors.New("its end is not where the meta file says"))
			}
			return nil
		}
	}
}

// tail verifies the segment that was being written, cuts a torn end, and makes
// the rest durable. It returns where the index starts if the segment turns out
// to be sealed.
func (s *scan) tail(info types.SegmentInfo) (sealedAt uint64, err error) {
	s.last.index = info.BaseIndex - 1 // entries that were there, if not cut since
	r, err := s.open(info, os.O_RDWR)
	if errors.Is(err, fs.ErrNotExist) {
		return 0, nil // created, never synced: raft-wal makes it anew
	}
	if err != nil {
		return 0, err
	}
	defer r.f.Close()
	for off := int64(0); ; {
		b, err := r.batch(off, s.last.term)
		switch {
		case err == nil:
			s.take(b, info)
			off = b.end
			if b.indexStart > 0 {
				return uint64(b.indexStart), s.settle(r.f)
			}
		case errors.Is(err, errNoBatch):
			if err := s.cut(r, info, off, err); err != nil {
				return 0, err
			}
			return 0, s.settle(r.f)
		default:
			return 0, err
		}
	}
}

// settle makes durable what may so far only be in the page cache: entries are
// applied as soon as raft has them.
func (s *scan) settle(f vfs.File) error {
	if err := f.Sync(); err != nil {
		return err
	}
	return s.fs.SyncDir(s.dir)
}

// cut ends the segment at off, unless a whole batch behind it shows that this
// is no torn end: the next batch is only written when the last one is synced.
func (s *scan) cut(r *segmentReader, info types.SegmentInfo, off int64, why error) error {
	later, err := r.laterBatch(off, s.last.term)
	if err != nil {
		return err
	}
	switch {
	case later == 0:
		if r.written(off) {
			// Torn by a crash before it was acknowledged, or damaged since:
			// nothing tells which.
			s.logger.Warn("the log's last batch is not whole and is cut", "segment", segment.FileName(info),
				"offset", off, "last entry", s.last.index, "why", why)
		}
		return r.zero(off, min(off+4096, r.size))
	case s.lenient:
		s.logger.Warn("log cut where a power failure lost entries that were not synced (confirm was os)",
			"segment", segment.FileName(info), "offset", off, "last entry", s.last.index)
		return r.zero(off, r.size)
	}
	return s.corrupt(info, off, fmt.Errorf("%w, but entries follow at %d", why, later))
}

func (s *scan) corrupt(info types.SegmentInfo, off int64, why error) error {
	return fmt.Errorf("%w: segment %s at offset %d, after entry %d: %w",
		ErrCorrupt, segment.FileName(info), off, s.last.index, why)
}

// take notes the entries of a valid batch.
func (s *scan) take(b batch, info types.SegmentInfo) {
	for _, e := range b.entries {
		if info.MaxIndex > 0 && e.index > info.MaxIndex {
			continue // cut off by raft, which replaced it in the next segment
		}
		s.last = entryPos{e.index, e.term}
		if e.index <= s.after {
			continue
		}
		if n := len(s.found.terms); n == 0 || s.found.terms[n-1].term != e.term {
			s.found.terms = append(s.found.terms, entryPos{e.index, e.term})
		}
		if e.typ == raft.LogConfiguration {
			s.found.configs[e.index] = true
		}
		s.found.bytes += e.size
		s.found.marks = addMark(s.found.marks, e.index, s.found.bytes)
		if s.found.first == 0 {
			s.found.first = e.index
		}
	}
}

// segmentReader reads batches of one segment in order.
type segmentReader struct {
	f    vfs.File
	info types.SegmentInfo
	size int64
	next uint64 // index of the next entry

	window []byte // bytes of the file from start
	start  int64
}

func (s *scan) open(info types.SegmentInfo, flag int) (*segmentReader, error) {
	f, err := s.fs.OpenFile(path.Join(s.dir, segment.FileName(info)), flag, 0)
	if err != nil {
		return nil, err
	}
	size, err := f.Size()
	if err != nil {
		_ = f.Close() // the size's error is the one that matters
		return nil, err
	}
	return &segmentReader{f: f, info: info, size: size, next: info.BaseIndex}, nil
}

// scanWindow is how much is read at a time.
const scanWindow = 1 << 20

// errNoBatch: no whole batch of this segment starts here.
var errNoBatch = errors.New("no valid batch")

// at returns n bytes of the file at off, valid until the next call.
func (r *segmentReader) at(off, n int64) ([]byte, error) {
	if off < 0 || n < 0 || n > r.size-off {
		return nil, fmt.Errorf("%w: end of file", errNoBatch)
	}
	if off < r.start || off+n > r.start+int64(len(r.window)) {
		want := min(max(n, scanWindow), r.size-off)
		r.window = slices.Grow(r.window[:0], int(want))[:want]
		r.start = off
		if _, err := r.f.ReadAt(r.window, off); err != nil && err != io.EOF {
			r.window = r.window[:0]
			return nil, err
		}
	}
	return r.window[off-r.start:][:n], nil
}

type batch struct {
	entries    []batchEntry
	end        int64
	indexStart int64 // of the index array; 0: the batch does not seal
}

type batchEntry struct {
	index, term uint64
	typ         raft.LogType
	size        int64
}

// batch reads the batch at off: 0, or behind a commit frame. Its entries must
// be those of this segment that come next, in a term not before minTerm.
// An error that is not errNoBatch is the disk's.
func (r *segmentReader) batch(off int64, minTerm uint64) (batch, error) {
	var b batch
	var sum uint32
	next := r.next
	if off == 0 {
		head, err := r.at(0, fileHeaderLen)
		if err != nil {
			return b, err
		}
		if !r.ownHeader(head) {
			return b, fmt.Errorf("%w: file header of another segment", errNoBatch)
		}
		sum = crc32.Checksum(head, castagnoli)
		off = fileHeaderLen
	}
	for {
		head, err := r.at(off, frameHeaderLen)
		if err != nil {
			return b, err
		}
		kind, length := head[0], int64(binary.LittleEndian.Uint32(head[4:]))
		if head[1]|head[2]|head[3] != 0 {
			return b, fmt.Errorf("%w: no frame at %d", errNoBatch, off)
		}
		if kind == frameCommit {
			if uint32(length) != sum || len(b.entries)+int(b.indexStart) == 0 {
				return b, fmt.Errorf("%w: wrong checksum at %d", errNoBatch, off)
			}
			b.end = off + frameHeaderLen
			r.next = next
			return b, nil
		}
		if kind != frameEntry && kind != frameIndex || b.indexStart > 0 {
			return b, fmt.Errorf("%w: no frame at %d", errNoBatch, off)
		}
		frame, err := r.at(off, frameHeaderLen+(length+7)&^7)
		if err != nil {
			return b, err
		}
		if kind == frameIndex {
			b.indexStart = off + frameHeaderLen
		} else {
			t, err := parseTrailer(frame[frameHeaderLen:][:length])
			if err != nil || t.index != next || t.segment != r.info.ID || t.term < minTerm {
				return b, fmt.Errorf("%w: no entry %d at %d", errNoBatch, next, off)
			}
			b.entries = append(b.entries, batchEntry{t.index, t.term, t.typ, int64(len(frame))})
			minTerm = t.term
			next++
		}
		sum = crc32.Update(sum, castagnoli, frame)
		off += int64(len(frame))
	}
}

func (r *segmentReader) ownHeader(b []byte) bool {
	return binary.LittleEndian.Uint64(b) == segmentMagic &&
		binary.LittleEndian.Uint64(b[8:]) == r.info.BaseIndex &&
		binary.LittleEndian.Uint64(b[16:]) == r.info.ID &&
		binary.LittleEndian.Uint64(b[24:]) == codecID
}

// written reports whether what is at off, which begins no whole batch, is
// anything but room that was never used.
func (r *segmentReader) written(off int64) bool {
	off = max(off, fileHeaderLen)
	head, err := r.at(off, min(4096, r.size-off))
	return err == nil && slices.ContainsFunc(head, func(b byte) bool { return b != 0 })
}

// laterBatch looks behind off for a commit frame that a valid batch of this
// segment follows, and returns that batch's offset, or 0.
func (r *segmentReader) laterBatch(off int64, minTerm uint64) (int64, error) {
	next := r.next
	defer func() { r.next = next }()
	// Message data can look like commit frames followed by long entries: the
	// budget keeps such data from making this quadratic.
	budget := 4 * r.size
	for c := max(off, fileHeaderLen) &^ 7; c+frameHeaderLen <= r.size && budget > 0; c += frameHeaderLen {
		head, err := r.at(c, frameHeaderLen)
		if err != nil {
			return 0, err
		}
		if head[0] != frameCommit || head[1]|head[2]|head[3] != 0 {
			continue
		}
		first, ok, err := r.peek(c+frameHeaderLen, next, minTerm)
		if err != nil {
			return 0, err
		}
		if !ok {
			continue
		}
		r.next = first.index
		b, err := r.batch(c+frameHeaderLen, minTerm)
		if err == nil {
			return c + frameHeaderLen, nil
		}
		if !errors.Is(err, errNoBatch) {
			return 0, err
		}
		budget -= max(b.end-c, scanWindow)
	}
	return 0, nil
}

// peek reads the trailer of the entry frame at off, if it is one of this
// segment with an index after the given one.
func (r *segmentReader) peek(off int64, after, minTerm uint64) (trailer, bool, error) {
	none := func(err error) (trailer, bool, error) {
		if err == io.EOF {
			err = nil
		}
		return trailer{}, false, err
	}
	// Not through the window, which stays where laterBatch searches.
	var head [frameHeaderLen]byte
	if _, err := r.f.ReadAt(head[:], off); err != nil {
		return none(err)
	}
	length := int64(binary.LittleEndian.Uint32(head[4:]))
	if head[0] != frameEntry || head[1]|head[2]|head[3] != 0 || length < trailerLen {
		return none(nil)
	}
	var end [trailerLen]byte
	if _, err := r.f.ReadAt(end[:], off+frameHeaderLen+length-trailerLen); err != nil {
		return none(err)
	}
	t, err := parseTrailer(end[:])
	if err != nil || t.segment != r.info.ID || t.index <= after || t.term < minTerm {
		return none(nil)
	}
	return t, true, nil
}

// zero overwrites the file from off to end with zeros.
func (r *segmentReader) zero(off, end int64) error {
	r.window = nil
	chunk := make([]byte, min(scanWindow, max(end-off, 0)))
	for off < end {
		n, err := r.f.WriteAt(chunk[:min(int64(len(chunk)), end-off)], off)
		if err != nil {
			return err
		}
		off += int64(n)
	}
	return nil
}
