package ha

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"slices"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
)

// codecID names our encoding of entries in segment headers; raft-wal leaves
// numbers from 1<<16 to its users.
const codecID = 1<<16 + 1

// An entry in a segment is its data, its extensions and a trailer of
// little-endian integers:
//
//	magic u16 | version u8 | type u8 | extensions length u32 |
//	index u64 | term u64 | segment id u64 | appended at, Unix ns, i64
//
// The index and the segment tell an entry from the remains of an earlier use
// of the same file. The commit frame's CRC covers all of it.
const (
	trailerMagic   = 0x484c
	trailerVersion = 1
	trailerLen     = 40
)

type trailer struct {
	typ        raft.LogType
	extensions uint32
	index      uint64
	term       uint64
	segment    uint64
	appended   int64
}

// parseTrailer reads the end of an encoded entry.
func parseTrailer(entry []byte) (trailer, error) {
	if len(entry) < trailerLen {
		return trailer{}, fmt.Errorf("%w: entry of %d bytes", ErrCorrupt, len(entry))
	}
	b := entry[len(entry)-trailerLen:]
	if binary.LittleEndian.Uint16(b) != trailerMagic || b[2] != trailerVersion {
		return trailer{}, fmt.Errorf("%w: entry with unknown trailer %x", ErrCorrupt, b[:4])
	}
	t := trailer{
		typ:        raft.LogType(b[3]),
		extensions: binary.LittleEndian.Uint32(b[4:]),
		index:      binary.LittleEndian.Uint64(b[8:]),
		term:       binary.LittleEndian.Uint64(b[16:]),
		segment:    binary.LittleEndian.Uint64(b[24:]),
		appended:   int64(binary.LittleEndian.Uint64(b[32:])),
	}
	if uint64(t.extensions) > uint64(len(entry)-trailerLen) {
		return trailer{}, fmt.Errorf("%w: entry %d with extensions longer than itself", ErrCorrupt, t.index)
	}
	return t, nil
}

// codec implements raft-wal's Codec. Its scratch memory makes encoding one copy
// and no allocation; raft-wal copies once more into its write buffer.
type codec struct {
	segment atomic.Uint64 // id of the segment that appends go to
	scratch []byte        // of the current StoreLogs; only its goroutine encodes
}

// maxScratch is the scratch memory kept between batches: enough for a full one
// of entries of 256 KiB.
const maxScratch = 8 << 20

func (c *codec) ID() uint64 { return codecID }

// reset readies the scratch memory for the next batch.
func (c *codec) reset(logs []*raft.Log) {
	if cap(c.scratch) > maxScratch {
		c.scratch = nil
	}
	size := 0
	for _, l := range logs {
		size += len(l.Data) + len(l.Extensions) + trailerLen
	}
	c.scratch = slices.Grow(c.scratch[:0], size)
}

func (c *codec) Encode(l *raft.Log, w io.Writer) error {
	var appended int64
	if !l.AppendedAt.IsZero() {
		appended = l.AppendedAt.UnixNano()
	}
	start := len(c.scratch)
	b := slices.Grow(c.scratch, len(l.Data)+len(l.Extensions)+trailerLen)
	b = append(append(b, l.Data...), l.Extensions...)
	b = binary.LittleEndian.AppendUint16(b, trailerMagic)
	b = append(b, trailerVersion, byte(l.Type))
	b = binary.LittleEndian.AppendUint32(b, uint32(len(l.Extensions)))
	b = binary.LittleEndian.AppendUint64(b, l.Index)
	b = binary.LittleEndian.AppendUint64(b, l.Term)
	b = binary.LittleEndian.AppendUint64(b, c.segment.Load())
	b = binary.LittleEndian.AppendUint64(b, uint64(appended))
	c.scratch = b
	entry := b[start:len(b):len(b)]
	// raft-wal only takes the buffer's bytes: give it ours instead of a copy.
	if buf, ok := w.(*bytes.Buffer); ok && buf.Len() == 0 {
		*buf = *bytes.NewBuffer(entry)
		return nil
	}
	_, err := w.Write(entry)
	return err
}

// Decode implements Codec. The data is a copy: raft-wal reuses b.
func (c *codec) Decode(b []byte, l *raft.Log) error {
	t, err := parseTrailer(b)
	if err != nil {
		return err
	}
	data := len(b) - trailerLen - int(t.extensions)
	*l = raft.Log{Index: t.index, Term: t.term, Type: t.typ, Data: slices.Clone(b[:data:data])}
	if t.extensions > 0 {
		l.Extensions = slices.Clone(b[data : len(b)-trailerLen])
	}
	if t.appended != 0 {
		l.AppendedAt = time.Unix(0, t.appended)
	}
	return nil
}
