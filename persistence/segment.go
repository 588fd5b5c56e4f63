package persistence

import (
	"crypto/cipher"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"sync/atomic"

	"github.com/hermodmq/hermod/persistence/vfs"
)

// A segment file is a header, blocks, a footer table with one row per block,
// and a trailer that seals it. docs/format/segment.md draws it. It is written
// once and never changed.
const (
	segmentMagic   = "HMDSEGM1"
	sealedMagic    = "HMDSEAL1"
	segmentVersion = 1

	segmentHeaderSize = 64
	blockHeaderSize   = 64
	footerRowSize     = 48
	trailerSize       = 48

	blockMagic       = 0x4b4c4248 // "HBLK"
	segmentEncrypted = 1 << 0
	blockBorrows     = 1 << 1 // index entries end with a place, for messages whose bytes are in another block
	trailerLast      = 1 << 0
)

func segmentName(id uint32) string { return fmt.Sprintf("%010d.seg", id) }

// segmentIDOf is the inverse of segmentName.
func segmentIDOf(name string) (uint32, bool) {
	var id uint32
	if _, err := fmt.Sscanf(name, "%010d.seg", &id); err != nil || segmentName(id) != name {
		return 0, false
	}
	return id, true
}

// segment is an open segment file. live and liveBytes are guarded by Store.mu.
type segment struct {
	id      uint32
	path    string
	fs      vfs.FS
	file    vfs.File
	size    int64
	applied uint64 // log index its checkpoint reached
	last    bool   // the last segment of its checkpoint or compaction
	aead    cipher.AEAD

	total     uint64 // sequence numbers its extents cover
	live      uint64 // unsettled ones among them
	dataBytes int64  // bytes of blocks
	liveBytes int64  // estimate, by the mean size of each extent's messages
	born      uint64 // checkpoint that wrote it
	broken    bool   // compaction met a corrupt block

	pins atomic.Int32 // the table's one and one per running read
	dead atomic.Bool  // remove the file with the last pin
}

func (g *segment) pin() { g.pins.Add(1) }

// unpin closes the file with the last pin, and removes it if the segment is
// dead. It may be called with Store.mu held: both are quick.
func (g *segment) unpin() error {
	if g.pins.Add(-1) != 0 {
		return nil
	}
	err := g.file.Close()
	if g.dead.Load() {
		if rerr := g.fs.Remove(g.path); err == nil {
			err = rerr
		}
	}
	return err
}

// release counts k messages of e as settled.
func (g *segment) release(e *extent, k uint64) {
	g.live -= min(k, g.live)
	g.liveBytes -= e.share(k)
}

// count adds e, of which live messages are unsettled.
func (g *segment) count(e *extent, live uint64) {
	g.live += live
	g.liveBytes += e.share(live)
}

// share estimates the bytes of k messages of e by their mean. Bytes that are
// kept once for several lanes count for each of them: as long as one needs
// them, they are not waste.
func (e *extent) share(k uint64) int64 {
	return int64(uint64(max(e.size, e.body)) * k / (uint64(e.spanM1) + 1))
}

// blockHeader is the decoded header of a block.
type blockHeader struct {
	lane, first uint64
	rawLen, len uint32 // payload and index, plain and as stored
	indexLen, n uint32
	timed       int64
	span        uint32
	flags       uint32
	bodies      uint64
}

func (h *blockHeader) put(b []byte) {
	le := binary.LittleEndian
	le.PutUint32(b, blockMagic)
	le.PutUint64(b[8:], h.lane)
	le.PutUint64(b[16:], h.first)
	le.PutUint32(b[24:], h.rawLen)
	le.PutUint32(b[28:], h.len)
	le.PutUint32(b[32:], h.indexLen)
	le.PutUint32(b[36:], h.n)
	le.PutUint64(b[40:], uint64(h.timed))
	le.PutUint32(b[48:], h.span)
	le.PutUint32(b[52:], h.flags)
	le.PutUint64(b[56:], h.bodies)
}

func (h *blockHeader) get(b []byte) {
	le := binary.LittleEndian
	h.lane, h.first = le.Uint64(b[8:]), le.Uint64(b[16:])
	h.rawLen, h.len = le.Uint32(b[24:]), le.Uint32(b[28:])
	h.indexLen, h.n = le.Uint32(b[32:]), le.Uint32(b[36:])
	h.timed = int64(le.Uint64(b[40:]))
	h.span, h.flags = le.Uint32(b[48:]), le.Uint32(b[52:])
	h.bodies = le.Uint64(b[56:])
}

// block is a checked, decrypted block: payload and the index behind it.
type block struct {
	header  blockHeader
	payload []byte
	index   []byte
}

// readBlock reads and checks the block of e.
func (g *segment) readBlock(lane uint64, e *extent) (*block, error) {
	b, err := g.readBlockAt(e.off, e.size)
	var corrupt *CorruptionError
	switch {
	case errors.As(err, &corrupt):
		corrupt.Lane, corrupt.First, corrupt.Last = lane, e.first, e.end()-1
	case err == nil && (b.header.lane != lane || b.header.first != e.first):
		err = e.corrupt(lane, "block belongs elsewhere")
	}
	return b, err
}

// corrupt is the error that says that e cannot be read.
func (e *extent) corrupt(lane uint64, reason string) error {
	return &CorruptionError{
		File: segmentName(e.seg), Offset: int64(e.off), Lane: lane, First: e.first, Last: e.end() - 1, Reason: reason,
	}
}

func (g *segment) readBlockAt(off, size uint32) (*block, error) {
	if int64(off)+int64(size) > g.size {
		return nil, g.corrupt(int64(off), "block lies outside the file")
	}
	buf := make([]byte, size)
	if _, err := g.file.ReadAt(buf, int64(off)); err != nil {
		return nil, fmt.Errorf("persistence: read %s at %d: %w", segmentName(g.id), off, err)
	}
	b, reason := g.openBlock(buf, int64(off))
	if reason != "" {
		return nil, g.corrupt(int64(off), reason)
	}
	return b, nil
}

const blockNeedsKey = "block is encrypted and there is no key"

// openBlock checks the bytes of one block; reason is empty if they are good.
func (g *segment) openBlock(buf []byte, off int64) (b *block, reason string) {
	if len(buf) < blockHeaderSize || binary.LittleEndian.Uint32(buf) != blockMagic {
		return nil, "block magic"
	}
	if crc32.Checksum(buf[8:], castagnoli) != binary.LittleEndian.Uint32(buf[4:]) {
		return nil, "block checksum"
	}
	b = &block{}
	b.header.get(buf)
	if int(b.header.len) != len(buf)-blockHeaderSize {
		return nil, "block length"
	}
	body := buf[blockHeaderSize:]
	if b.header.flags&segmentEncrypted != 0 {
		if g.aead == nil {
			return nil, blockNeedsKey
		}
		plain, err := g.aead.Open(nil, counterNonce(uint64(off)), body, buf[8:blockHeaderSize])
		if err != nil {
			return nil, "block does not decrypt"
		}
		body = plain
	}
	if int(b.header.rawLen) != len(body) || int(b.header.indexLen) > len(body) {
		return nil, "block lengths"
	}
	split := len(body) - int(b.header.indexLen)
	b.payload, b.index = body[:split:split], body[split:]
	return b, ""
}

// place says where in another block of the segment a message's bytes are: a
// large message that went to several lanes is kept once.
type place struct {
	off, size uint32 // the block
	inner     uint32 // in its payload
}

// borrowed takes size bytes at p from the block there.
func (p *place) borrowed(b *block, size uint64) []byte {
	end := uint64(p.inner) + size
	if end > uint64(len(b.payload)) {
		return nil
	}
	return b.payload[p.inner:end:end]
}

// blockIter walks over the messages of a block.
type blockIter struct {
	index   reader
	payload []byte
	next    uint64
	borrows bool

	seq    uint64
	data   []byte // nil if the bytes are elsewhere
	size   uint64
	body   uint64
	expiry int64
	where  place // size 0: in this block
}

func (b *block) iter() blockIter {
	return blockIter{
		index: reader{b: b.index}, payload: b.payload, next: b.header.first, borrows: b.header.flags&blockBorrows != 0,
	}
}

// step moves to the next message; false at the end or if the index is broken
// (index.bad).
func (it *blockIter) step() bool {
	if len(it.index.b) == 0 {
		return false
	}
	it.seq = it.next + it.index.uvarint()
	it.size = it.index.uvarint()
	it.body = it.index.uvarint()
	it.expiry = it.index.varint()
	it.next = it.seq + 1
	it.where, it.data = place{}, nil
	if it.borrows {
		it.where = it.index.place()
	}
	if it.where.size != 0 {
		return !it.index.bad
	}
	if it.index.bad || it.size > uint64(len(it.payload)) {
		it.index.bad = true
		return false
	}
	it.data = it.payload[:it.size:it.size]
	it.payload = it.payload[it.size:]
	return true
}

// place reads a place: the size of the block, 0 if there is none, its offset
// and the position in it.
func (r *reader) place() place {
	size := r.uvarint()
	if size == 0 {
		return place{}
	}
	off, inner := r.uvarint(), r.uvarint()
	if size > math.MaxUint32 || off > math.MaxUint32 || inner > math.MaxUint32 || size < blockHeaderSize {
		r.bad = true
	}
	return place{off: uint32(off), size: uint32(size), inner: uint32(inner)}
}

// footerRow is one row of the footer table.
type footerRow struct {
	lane   uint64
	first  uint64
	timed  int64
	bodies uint64
	off    uint32
	size   uint32
	n      uint32
	span   uint32
}

func (f *footerRow) append(dst []byte) []byte {
	le := binary.LittleEndian
	dst = le.AppendUint64(dst, f.lane)
	dst = le.AppendUint64(dst, f.first)
	dst = le.AppendUint64(dst, uint64(f.timed))
	dst = le.AppendUint64(dst, f.bodies)
	dst = le.AppendUint32(dst, f.off)
	dst = le.AppendUint32(dst, f.size)
	dst = le.AppendUint32(dst, f.n)
	return le.AppendUint32(dst, f.span)
}

func (f *footerRow) get(b []byte) {
	le := binary.LittleEndian
	f.lane, f.first = le.Uint64(b), le.Uint64(b[8:])
	f.timed = int64(le.Uint64(b[16:]))
	f.bodies = le.Uint64(b[24:])
	f.off, f.size = le.Uint32(b[32:]), le.Uint32(b[36:])
	f.n, f.span = le.Uint32(b[40:]), le.Uint32(b[44:])
}

func (f *footerRow) extent(seg uint32) extent {
	return extent{
		first: f.first, seg: seg, off: f.off, size: f.size, body: uint32(min(f.bodies, 1<<32-1)),
		timed: timedSeconds(f.timed), n: uint16(f.n), spanM1: uint16(f.span - 1),
	}
}

// openSegment opens a sealed segment, checks header, trailer and footer and
// returns its table. It reads no block. Without a keyring, blocks of an
// encrypted segment cannot be read.
func openSegment(fs vfs.FS, path string, id uint32, keys *keyring) (*segment, []byte, error) {
	file, err := fs.Open(path)
	if err != nil {
		return nil, nil, fmt.Errorf("persistence: segment %s: %w", segmentName(id), err)
	}
	g := &segment{id: id, path: path, fs: fs, file: file}
	g.pins.Store(1)
	table, err := g.load(keys)
	if err != nil {
		_ = file.Close()
		return nil, nil, err
	}
	return g, table, nil
}

func (g *segment) corrupt(off int64, reason string) error {
	return &CorruptionError{File: segmentName(g.id), Offset: off, Reason: reason}
}

func (g *segment) load(keys *keyring) ([]byte, error) {
	le := binary.LittleEndian
	var err error
	if g.size, err = g.file.Size(); err != nil {
		return nil, err
	}
	if g.size < segmentHeaderSize+trailerSize {
		return nil, g.corrupt(0, "file is too short")
	}
	var head [segmentHeaderSize]byte
	if _, err := g.file.ReadAt(head[:], 0); err != nil {
		return nil, fmt.Errorf("persistence: read %s: %w", segmentName(g.id), err)
	}
	if string(head[:8]) != segmentMagic || crc32.Checksum(head[:60], castagnoli) != le.Uint32(head[60:]) {
		return nil, g.corrupt(0, "header checksum")
	}
	if v := le.Uint32(head[8:]); v != segmentVersion {
		return nil, formatError("segment", int(v))
	}
	if le.Uint64(head[16:]) != uint64(g.id) {
		return nil, g.corrupt(0, "header names another segment")
	}
	g.applied = le.Uint64(head[24:])
	if le.Uint32(head[12:])&segmentEncrypted != 0 && keys != nil {
		keyID := le.Uint32(head[32:])
		if !keys.has(keyID) {
			return nil, ErrKeyRequired
		}
		g.aead = keys.segmentAEAD(keyID, head[40:40+saltSize])
	}
	return g.loadFooter()
}

func (g *segment) loadFooter() ([]byte, error) {
	le := binary.LittleEndian
	var tail [trailerSize]byte
	at := g.size - trailerSize
	if _, err := g.file.ReadAt(tail[:], at); err != nil {
		return nil, fmt.Errorf("persistence: read %s: %w", segmentName(g.id), err)
	}
	if string(tail[:8]) != sealedMagic || crc32.Checksum(tail[:44], castagnoli) != le.Uint32(tail[44:]) {
		return nil, g.corrupt(at, "footer is not sealed")
	}
	off, rows := int64(le.Uint64(tail[16:])), int64(le.Uint32(tail[24:]))
	if le.Uint64(tail[8:]) != uint64(g.id) || off < segmentHeaderSize || off+rows*footerRowSize != at {
		return nil, g.corrupt(at, "footer does not fit the file")
	}
	g.last = le.Uint32(tail[32:])&trailerLast != 0
	table := make([]byte, rows*footerRowSize)
	if _, err := g.file.ReadAt(table, off); err != nil {
		return nil, fmt.Errorf("persistence: read %s: %w", segmentName(g.id), err)
	}
	if crc32.Checksum(table, castagnoli) != le.Uint32(tail[28:]) {
		return nil, g.corrupt(off, "footer checksum")
	}
	g.total = 0
	for i := int64(0); i < rows; i++ {
		var f footerRow
		f.get(table[i*footerRowSize:])
		end := int64(f.off) + int64(f.size)
		if f.lane == 0 || f.first == 0 || f.n == 0 || f.n > f.span || f.span > extentSpanMax || f.size < blockHeaderSize || end > off {
			return nil, g.corrupt(off+i*footerRowSize, "footer row")
		}
		g.total += uint64(f.span)
	}
	g.dataBytes = off - segmentHeaderSize
	return table, nil
}
