package persistence

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/hermodmq/hermod/broker"
)

// A record is one fact inside an entry: kind u8, version u8, length u32, body.
// Bodies are sequences of varints followed by bytes; docs/format/entry.md lists
// them. Values are part of the stored format: never renumber.
const (
	recordPublish    = 1
	recordSettle     = 2
	recordCount      = 3
	recordTrim       = 4
	recordDefinition = 5
	recordKey        = 6
	recordLease      = 7
	recordLevel      = 8

	recordVersion    = 1
	recordHeaderSize = 6
)

const (
	trimDrop         = 1 << 0
	definitionDelete = 1 << 0
	leaseUnseen      = 1 << 0
)

func formatError(what string, version int) error {
	return fmt.Errorf("%w: %s version or kind %d: this data was written by a newer program", ErrFormat, what, version)
}

func beginRecord(dst []byte, kind byte) []byte {
	return append(dst, kind, recordVersion, 0, 0, 0, 0)
}

// endRecord fills the length of the record that began at start.
func endRecord(dst []byte, start int) []byte {
	binary.LittleEndian.PutUint32(dst[start+2:], uint32(len(dst)-start-recordHeaderSize))
	return dst
}

func appendPublish(dst []byte, p *broker.StorePublish) []byte {
	start := len(dst)
	dst = beginRecord(dst, recordPublish)
	dst = binary.AppendUvarint(dst, uint64(len(p.Targets)))
	for i := range p.Targets {
		dst = binary.AppendUvarint(dst, uint64(p.Targets[i].Lane))
		dst = binary.AppendVarint(dst, p.Targets[i].Expiry)
	}
	dst = binary.AppendUvarint(dst, uint64(len(p.Msg.Body)))
	dst = p.Msg.AppendBinary(dst)
	return endRecord(dst, start)
}

func appendSettle(dst []byte, s *broker.StoreSettle) []byte {
	start := len(dst)
	dst = beginRecord(dst, recordSettle)
	dst = binary.AppendUvarint(dst, uint64(s.Lane))
	dst = binary.AppendUvarint(dst, s.First)
	dst = binary.AppendUvarint(dst, s.Count)
	return endRecord(dst, start)
}

func appendCount(dst []byte, c *broker.StoreCount) []byte {
	start := len(dst)
	dst = beginRecord(dst, recordCount)
	dst = binary.AppendUvarint(dst, uint64(c.Lane))
	dst = binary.AppendUvarint(dst, c.Seq)
	dst = binary.AppendUvarint(dst, uint64(c.Count))
	return endRecord(dst, start)
}

func appendLease(dst []byte, l *broker.StoreLease) []byte {
	start := len(dst)
	return endRecord(appendLeaseBody(beginRecord(dst, recordLease), l), start)
}

// appendLeaseBody writes times relative to the one at which the lease began:
// they are near it, or 0.
func appendLeaseBody(dst []byte, l *broker.StoreLease) []byte {
	var flags byte
	if l.Unseen {
		flags |= leaseUnseen
	}
	dst = append(dst, flags)
	dst = binary.AppendUvarint(dst, uint64(l.Lane))
	dst = binary.AppendUvarint(dst, l.Seq)
	dst = binary.AppendVarint(dst, l.Since)
	for _, at := range [...]int64{l.Deadline, l.First, l.Expiry} {
		dst = appendNear(dst, l.Since, at)
	}
	dst = binary.AppendUvarint(dst, uint64(l.Nonce))
	dst = binary.AppendUvarint(dst, uint64(l.Count))
	dst = binary.AppendUvarint(dst, uint64(l.Size))
	dst = binary.AppendUvarint(dst, uint64(len(l.Group)))
	return append(dst, l.Group...)
}

// appendNear writes 0 as 0 and another time as its distance from since, which
// leaves the 0 free.
func appendNear(dst []byte, since, at int64) []byte {
	if at == 0 {
		return append(dst, 0)
	}
	d := at - since
	if d >= 0 {
		d++
	}
	return binary.AppendVarint(dst, d)
}

// lease reads what appendLeaseBody wrote.
func (r *reader) lease() (l broker.StoreLease) {
	flags := r.byte()
	l.Unseen = flags&leaseUnseen != 0
	l.Lane, l.Seq, l.Since = broker.LaneID(r.uvarint()), r.uvarint(), r.varint()
	l.Deadline, l.First, l.Expiry = r.near(l.Since), r.near(l.Since), r.near(l.Since)
	l.Nonce, l.Count, l.Size = r.number32(), r.number32(), r.number32()
	if group := r.take(r.uvarint()); len(group) > 0 {
		l.Group = string(group)
	}
	return l
}

func (r *reader) near(since int64) int64 {
	d := r.varint()
	switch {
	case d == 0:
		return 0
	case d > 0:
		d--
	}
	return since + d
}

func (r *reader) number32() uint32 {
	v := r.uvarint()
	if v > math.MaxUint32 {
		r.bad = true
	}
	return uint32(v)
}

func appendTrim(dst []byte, t *broker.StoreTrim) []byte {
	start := len(dst)
	dst = beginRecord(dst, recordTrim)
	dst = binary.AppendUvarint(dst, uint64(t.Lane))
	dst = binary.AppendUvarint(dst, t.Before)
	var flags byte
	if t.Drop {
		flags = trimDrop
	}
	return endRecord(append(dst, flags), start)
}

func appendDefinition(dst []byte, d *broker.Definition) []byte {
	start := len(dst)
	return endRecord(appendDefinitionBody(beginRecord(dst, recordDefinition), d), start)
}

func appendDefinitionBody(dst []byte, d *broker.Definition) []byte {
	var flags byte
	if d.Delete {
		flags = definitionDelete
	}
	dst = append(dst, flags)
	dst = binary.AppendUvarint(dst, uint64(len(d.Kind)))
	dst = append(dst, d.Kind...)
	dst = binary.AppendUvarint(dst, uint64(len(d.Key)))
	dst = append(dst, d.Key...)
	return append(dst, d.Value...)
}

func appendKeyRecord(dst []byte, id uint32, wrapped []byte) []byte {
	start := len(dst)
	dst = beginRecord(dst, recordKey)
	dst = binary.LittleEndian.AppendUint32(dst, id)
	return endRecord(append(dst, wrapped...), start)
}

// reader walks over bytes that were checked by a checksum. It still trusts no
// length: bad latches the first violation.
type reader struct {
	b   []byte
	bad bool
}

func (r *reader) byte() byte {
	if len(r.b) == 0 {
		r.bad = true
		return 0
	}
	c := r.b[0]
	r.b = r.b[1:]
	return c
}

func (r *reader) uvarint() uint64 {
	// Most numbers fit one byte: lanes, counts, lengths of short bodies.
	if len(r.b) > 0 && r.b[0] < 0x80 {
		v := r.b[0]
		r.b = r.b[1:]
		return uint64(v)
	}
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.bad, r.b = true, nil
		return 0
	}
	r.b = r.b[n:]
	return v
}

func (r *reader) varint() int64 {
	v := r.uvarint()
	x := int64(v >> 1)
	if v&1 != 0 {
		x = ^x
	}
	return x
}

func (r *reader) take(n uint64) []byte {
	if n > uint64(len(r.b)) {
		r.bad, r.b = true, nil
		return nil
	}
	p := r.b[:n:n]
	r.b = r.b[n:]
	return p
}

func (r *reader) uint32() uint32 {
	p := r.take(4)
	if p == nil {
		return 0
	}
	return binary.LittleEndian.Uint32(p)
}

func (r *reader) uint64() uint64 {
	p := r.take(8)
	if p == nil {
		return 0
	}
	return binary.LittleEndian.Uint64(p)
}

// record reads the next record's kind and body.
func (r *reader) record() (byte, []byte, error) {
	kind, version := r.byte(), r.byte()
	length := r.uint32()
	if r.bad {
		return 0, nil, errShortRecord
	}
	if kind < recordPublish || kind > recordLevel {
		return 0, nil, formatError("record kind", int(kind))
	}
	if version != recordVersion {
		return 0, nil, formatError("record", int(version))
	}
	body := r.take(uint64(length))
	if r.bad {
		return 0, nil, errShortRecord
	}
	return kind, body, nil
}

var errShortRecord = fmt.Errorf("record is cut short")

func decodeDefinition(body []byte) (broker.Definition, bool) {
	r := reader{b: body}
	flags := r.byte()
	kind := r.take(r.uvarint())
	key := r.take(r.uvarint())
	if r.bad {
		return broker.Definition{}, false
	}
	return broker.Definition{Kind: string(kind), Key: string(key), Value: r.b, Delete: flags&definitionDelete != 0}, true
}
