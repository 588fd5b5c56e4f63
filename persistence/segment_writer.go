package persistence

import (
	"crypto/cipher"
	"crypto/rand"
	"encoding/binary"
	"hash/crc32"
	"path"

	"github.com/hermodmq/hermod/persistence/vfs"
)

const (
	writeBufferSize = 1 << 20
	// syncStep is how much is written between two syncs. One sync of a whole
	// segment would keep the log's syncs waiting behind it.
	syncStep = 8 << 20
)

// written is an extent on its way into the table.
type written struct {
	lane *lane
	extent
}

// segmentWriter writes messages, sorted by lane, into as many segments as they
// take. Files are complete and synced when finish returns, but count only once
// a metadata transaction names them.
type segmentWriter struct {
	s       *Store
	applied uint64

	file   vfs.File
	seg    *segment
	off    int64
	synced int64 // offset of the last sync
	buf    []byte
	footer []byte
	aead   cipher.AEAD

	// Where in the present segment the bytes of large messages are, so that
	// those of several lanes are written once.
	kept  map[origin]place
	fresh []origin // of the block being filled; their positions in inner
	inner []uint32
	apart bool // the block being filled refers to others of this segment

	lender cachedBlock // the last block of an old segment that messages were copied from

	lane  *lane
	block []byte // room for the header, then payload
	index []byte
	head  blockHeader
	last  uint64

	extents  []written
	segments []*segment
}

func newSegmentWriter(s *Store, applied uint64) *segmentWriter {
	return &segmentWriter{s: s, applied: applied}
}

// origin names the bytes of a message before they were written: a piece of a
// chunk of the memory table, or of a block of an older segment.
type origin struct{ a, b, c uint32 }

// shareMin is the size from which the bytes of a message are written once per
// segment however many lanes it went to. Smaller ones are copied, so that each
// lane is read from its own blocks.
const shareMin = 4 << 10

// add appends p to lane l. Lanes come one after the other, messages of a lane
// in order.
func (w *segmentWriter) add(l *lane, p *pick) error {
	seq, data := p.seq, p.data
	var where place
	if len(data) >= shareMin {
		where = w.kept[p.from]
	}
	if where.size != 0 {
		data = nil
	}
	if w.head.n > 0 && (w.lane != l || len(w.block)-blockHeaderSize+len(data)+len(w.index) > w.s.opts.BlockSize ||
		seq-w.head.first >= extentSpanMax || w.head.n == extentSpanMax-1) {
		if err := w.endBlock(); err != nil {
			return err
		}
		return w.add(l, p) // the next segment may have begun
	}
	if w.head.n == 0 {
		w.lane = l
		w.head = blockHeader{lane: l.id, first: seq}
		w.block = append(w.block[:0], make([]byte, blockHeaderSize)...)
		w.index = w.index[:0]
		w.last = seq - 1
	}
	w.index = binary.AppendUvarint(w.index, seq-w.last-1)
	w.index = binary.AppendUvarint(w.index, uint64(len(p.data)))
	w.index = binary.AppendUvarint(w.index, uint64(p.body))
	w.index = binary.AppendVarint(w.index, p.expiry)
	w.index = binary.AppendUvarint(w.index, uint64(where.size))
	if where.size != 0 {
		w.index = binary.AppendUvarint(w.index, uint64(where.off))
		w.index = binary.AppendUvarint(w.index, uint64(where.inner))
		w.apart = true
	} else if len(data) >= shareMin {
		w.fresh = append(w.fresh, p.from)
		w.inner = append(w.inner, uint32(len(w.block)-blockHeaderSize))
	}
	w.block = append(w.block, data...)
	w.last = seq
	w.head.n++
	w.head.bodies += uint64(p.body)
	if p.expiry != 0 && (w.head.timed == 0 || p.expiry < w.head.timed) {
		w.head.timed = p.expiry
	}
	return nil
}

// endBlock writes the block that is being filled, if any.
func (w *segmentWriter) endBlock() error {
	if w.head.n == 0 {
		return nil
	}
	size := int64(len(w.block) + len(w.index) + gcmOverhead)
	limit := w.s.opts.SegmentSize
	if len(w.kept) > 0 { // in the next segment they would have to be written again
		limit *= 2
	}
	if w.seg != nil && !w.apart && w.off > segmentHeaderSize && w.off+size > limit {
		if err := w.endSegment(false); err != nil {
			return err
		}
	}
	if w.seg == nil {
		if err := w.beginSegment(); err != nil {
			return err
		}
	}
	h := &w.head
	h.span = uint32(w.last-h.first) + 1
	h.indexLen = uint32(len(w.index))
	w.block = append(w.block, w.index...)
	h.rawLen = uint32(len(w.block) - blockHeaderSize)
	h.len = h.rawLen
	h.flags = blockBorrows
	if w.aead != nil {
		h.flags |= segmentEncrypted
		h.len += gcmOverhead
	}
	h.put(w.block)
	if w.aead != nil {
		body := w.block[blockHeaderSize:]
		w.block = w.aead.Seal(w.block[:blockHeaderSize], counterNonce(uint64(w.off)), body, w.block[8:blockHeaderSize])
	}
	binary.LittleEndian.PutUint32(w.block[4:], crc32.Checksum(w.block[8:], castagnoli))

	row := footerRow{
		lane: h.lane, first: h.first, timed: h.timed, bodies: h.bodies,
		off: uint32(w.off), size: uint32(len(w.block)), n: h.n, span: h.span,
	}
	w.footer = row.append(w.footer)
	w.seg.total += uint64(row.span)
	w.extents = append(w.extents, written{w.lane, row.extent(w.seg.id)})
	for i, from := range w.fresh {
		w.kept[from] = place{off: row.off, size: row.size, inner: w.inner[i]}
	}
	w.fresh, w.inner, w.apart = w.fresh[:0], w.inner[:0], false
	w.head.n = 0
	err := w.write(w.block)
	if cap(w.block) > 4<<20 { // one big message must not keep its room
		w.block = nil
	}
	return err
}

func (w *segmentWriter) beginSegment() error {
	id := w.s.newSegmentID()
	name := path.Join(w.s.opts.Dir, segmentName(id))
	file, err := w.s.opts.FS.Create(name)
	if err != nil {
		return err
	}
	w.file, w.off, w.synced, w.buf, w.footer, w.aead = file, 0, 0, w.buf[:0], w.footer[:0], nil
	w.kept = map[origin]place{}
	w.seg = &segment{id: id, path: name, fs: w.s.opts.FS, file: file, applied: w.applied}
	w.seg.pins.Store(1)
	le := binary.LittleEndian
	var head [segmentHeaderSize]byte
	copy(head[:], segmentMagic)
	le.PutUint32(head[8:], segmentVersion)
	le.PutUint64(head[16:], uint64(id))
	le.PutUint64(head[24:], w.applied)
	if keys := w.s.keys; keys.enabled() {
		le.PutUint32(head[12:], segmentEncrypted)
		le.PutUint32(head[32:], keys.current)
		if _, err := rand.Read(head[40 : 40+saltSize]); err != nil {
			return err
		}
		w.aead = keys.segmentAEAD(keys.current, head[40:40+saltSize])
		w.seg.aead = w.aead
	}
	le.PutUint32(head[60:], crc32.Checksum(head[:60], castagnoli))
	return w.write(head[:])
}

func (w *segmentWriter) write(b []byte) error {
	w.off += int64(len(b))
	if w.buf == nil {
		w.buf = make([]byte, 0, writeBufferSize)
	}
	if len(w.buf)+len(b) > cap(w.buf) {
		if err := w.flush(); err != nil {
			return err
		}
	}
	if len(b) >= cap(w.buf) {
		_, err := w.file.Write(b)
		return err
	}
	w.buf = append(w.buf, b...)
	return nil
}

func (w *segmentWriter) flush() error {
	if len(w.buf) == 0 {
		return nil
	}
	_, err := w.file.Write(w.buf)
	w.buf = w.buf[:0]
	if err == nil && w.off-w.synced >= syncStep {
		w.synced = w.off
		err = w.s.watch.sync(w.file.Sync)
	}
	return err
}

// endSegment seals the file. last says that nothing follows it: with that one,
// everything up to the log index in the header is in segments.
func (w *segmentWriter) endSegment(last bool) error {
	g := w.seg
	g.dataBytes = w.off - segmentHeaderSize
	le := binary.LittleEndian
	var tail [trailerSize]byte
	copy(tail[:], sealedMagic)
	le.PutUint64(tail[8:], uint64(g.id))
	le.PutUint64(tail[16:], uint64(w.off))
	le.PutUint32(tail[24:], uint32(len(w.footer)/footerRowSize))
	le.PutUint32(tail[28:], crc32.Checksum(w.footer, castagnoli))
	if last {
		le.PutUint32(tail[32:], trailerLast)
	}
	le.PutUint32(tail[44:], crc32.Checksum(tail[:44], castagnoli))
	if err := w.write(w.footer); err != nil {
		return err
	}
	if err := w.write(tail[:]); err != nil {
		return err
	}
	if err := w.flush(); err != nil {
		return err
	}
	g.size = w.off
	w.segments = append(w.segments, g)
	w.seg = nil
	return w.s.watch.sync(g.file.Sync)
}

// finish seals and syncs everything written, directory included.
func (w *segmentWriter) finish() error {
	if err := w.endBlock(); err != nil {
		return err
	}
	if w.seg != nil {
		if err := w.endSegment(true); err != nil {
			return err
		}
	}
	if len(w.segments) == 0 {
		return nil
	}
	return w.s.watch.sync(func() error { return w.s.opts.FS.SyncDir(w.s.opts.Dir) })
}
