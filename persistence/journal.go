package persistence

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"

	"github.com/hermodmq/hermod/broker"
	"github.com/hermodmq/hermod/persistence/vfs"
)

// JournalOptions name a data directory for the functions that look at one, or
// repair it, while no store has it open.
type JournalOptions struct {
	Dir string

	// MasterKey of an encrypted directory; without it checksums can be
	// verified, contents not read.
	MasterKey  []byte
	KeyWrapper KeyWrapper // in place of MasterKey
}

// Report is what Verify and Rebuild found.
type Report struct {
	Segments int
	Blocks   int
	Messages uint64 // stored in blocks, settled ones among them
	Bytes    int64
	Damage   []*CorruptionError
}

// Verify checks every byte of every segment, and that the metadata can be
// read. The error says that the work could not be done; damage is in the
// report.
func Verify(o JournalOptions) (*Report, error) {
	fs := vfs.OS()
	report := &Report{}
	keys, err := journalKeys(o, report)
	if err != nil {
		return nil, err
	}
	err = eachSegment(fs, o.Dir, func(id uint32) error {
		report.Segments++
		g, table, err := openSegment(fs, path.Join(o.Dir, segmentName(id)), id, keys)
		if err != nil {
			return report.note(err)
		}
		defer g.unpin()
		report.Bytes += g.size
		return g.eachBlock(table, func(f *footerRow, buf []byte) error {
			report.Blocks++
			report.Messages += uint64(f.n)
			return report.note(g.verifyBlock(f, buf, keys != nil))
		})
	})
	return report, err
}

// note puts damage into the report and returns every other error.
func (r *Report) note(err error) error {
	var corrupt *CorruptionError
	if errors.As(err, &corrupt) {
		r.Damage = append(r.Damage, corrupt)
		return nil
	}
	return err
}

// journalKeys returns the keyring of a directory, nil without a master key,
// and checks on the way that the metadata can be read at all.
func journalKeys(o JournalOptions, report *Report) (*keyring, error) {
	m, err := openBoltMeta(o.Dir, true)
	if err != nil {
		return nil, report.note(err)
	}
	defer m.close()
	for _, b := range buckets {
		if err := m.load(b, func(_, _ []byte) error { return nil }); err != nil {
			return nil, report.note(err)
		}
	}
	if len(o.MasterKey) == 0 && o.KeyWrapper == nil {
		return nil, nil
	}
	keys, err := newKeyring(o.MasterKey, o.KeyWrapper)
	if err != nil {
		return nil, err
	}
	return keys, m.load(bucketKeys, keys.addRow)
}

func eachSegment(fs vfs.FS, dir string, each func(id uint32) error) error {
	names, err := fs.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("persistence: %w", err)
	}
	for _, name := range names {
		if id, ok := segmentIDOf(name); ok {
			if err := each(id); err != nil {
				return err
			}
		}
	}
	return nil
}

func (g *segment) eachBlock(table []byte, each func(f *footerRow, buf []byte) error) error {
	for ; len(table) > 0; table = table[footerRowSize:] {
		var f footerRow
		f.get(table)
		buf := make([]byte, f.size)
		if _, err := g.file.ReadAt(buf, int64(f.off)); err != nil {
			return fmt.Errorf("persistence: read %s: %w", segmentName(g.id), err)
		}
		if err := each(&f, buf); err != nil {
			return err
		}
	}
	return nil
}

// verifyBlock checks a block against its row; open says whether its contents
// can be looked at.
func (g *segment) verifyBlock(f *footerRow, buf []byte, open bool) error {
	damage := &CorruptionError{
		File: segmentName(g.id), Offset: int64(f.off), Lane: f.lane, First: f.first, Last: f.first + uint64(f.span) - 1,
	}
	b, reason := g.openBlock(buf, int64(f.off))
	if reason == blockNeedsKey && !open {
		return nil
	}
	if damage.Reason = reason; reason != "" {
		return damage
	}
	n := uint32(0)
	it := b.iter()
	for it.step() {
		n++
		data := it.data
		if it.where.size != 0 {
			other, err := g.readBlockAt(it.where.off, it.where.size)
			if err != nil {
				damage.Reason = fmt.Sprintf("message %d: %v", it.seq, err)
				return damage
			}
			data = it.where.borrowed(other, it.size)
		}
		if _, err := broker.DecodeMessage(data); err != nil {
			damage.Reason = fmt.Sprintf("message %d: %v", it.seq, err)
			return damage
		}
	}
	if it.index.bad || n != f.n || b.header.lane != f.lane || b.header.first != f.first {
		damage.Reason = "block does not match the footer"
		return damage
	}
	return nil
}

// Dump writes what a data directory holds as text: metadata rows and blocks,
// one per line, without bodies. It stops at damage.
func Dump(o JournalOptions, w io.Writer) error {
	fs := vfs.OS()
	out := &printer{w: w}
	m, err := openBoltMeta(o.Dir, true)
	if err != nil {
		return err
	}
	defer m.close()
	for _, b := range buckets {
		err := m.load(b, func(k, v []byte) error {
			out.row(b, k, v)
			return out.err
		})
		if err != nil {
			return err
		}
	}
	return eachSegment(fs, o.Dir, func(id uint32) error {
		g, table, err := openSegment(fs, path.Join(o.Dir, segmentName(id)), id, nil)
		if err != nil {
			return err
		}
		defer g.unpin()
		out.printf("segment %s size %d index %d last %v\n", segmentName(id), g.size, g.applied, g.last)
		for ; len(table) > 0; table = table[footerRowSize:] {
			var f footerRow
			f.get(table)
			out.printf("  block at %d size %d lane %d first %d messages %d span %d bodies %d expiry %d\n",
				f.off, f.size, f.lane, f.first, f.n, f.span, f.bodies, f.timed)
		}
		return out.err
	})
}

// printer remembers the first error of its writer.
type printer struct {
	w   io.Writer
	err error
}

func (p *printer) printf(format string, args ...any) {
	if p.err == nil {
		_, p.err = fmt.Fprintf(p.w, format, args...)
	}
}

func (p *printer) row(bucket byte, k, v []byte) {
	be, le := binary.BigEndian, binary.LittleEndian
	switch {
	case bucket == bucketState && len(v) == 8:
		p.printf("state %s %d\n", k, le.Uint64(v))
	case bucket == bucketLanes && len(k) == 8 && len(v) == 17:
		p.printf("lane %d head %d next %d\n", be.Uint64(k), le.Uint64(v[1:]), le.Uint64(v[9:]))
	case bucket == bucketSpans && len(k) == 16 && len(v) > 0:
		p.printf("lane %d settled span from %d, row of %d bytes\n", be.Uint64(k), be.Uint64(k[8:])*spanSize, len(v))
	case bucket == bucketCounts && len(k) == 8:
		p.printf("lane %d delivery counts of %d messages\n", be.Uint64(k), (len(v)-1)/12)
	case bucket == bucketLeases && len(k) == 8:
		p.printf("lane %d leases, row of %d bytes\n", be.Uint64(k), len(v))
	case bucket == bucketSegments && len(k) == 8:
		p.printf("segment %s is named\n", segmentName(uint32(be.Uint64(k))))
	case bucket == bucketDefinitions && len(v) > 1 && v[0] == 'p':
		if d, ok := decodeDefinition(v[1:]); ok {
			p.printf("definition %q %q of %d bytes\n", d.Kind, d.Key, len(d.Value))
		}
	case bucket == bucketDefinitions:
		p.printf("definition, sealed, row of %d bytes\n", len(v))
	case bucket == bucketKeys && len(k) == 4:
		p.printf("data key %08x\n", be.Uint32(k))
	default:
		p.printf("%c %x of %d bytes\n", bucket, slices.Clip(k), len(v))
	}
}
