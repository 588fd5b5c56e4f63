package broker

import (
	"encoding/binary"
	"unsafe"
)

// maxNoteItems bounds lists inside stored notes, so that corrupt bytes cannot
// ask for more memory than their length.
const maxNoteItems = 1 << 16

func appendString(dst []byte, s string) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(s)))
	return append(dst, s...)
}

func appendStrings(dst []byte, list []string) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(list)))
	for _, s := range list {
		dst = appendString(dst, s)
	}
	return dst
}

func (d *Death) append(dst []byte) []byte {
	if d == nil {
		return append(dst, 0)
	}
	dst = append(dst, byte(d.Reason))
	dst = appendString(dst, d.Queue)
	dst = appendString(dst, d.Exchange)
	dst = binary.AppendVarint(dst, d.Count)
	dst = binary.AppendVarint(dst, d.Time)
	dst = binary.AppendVarint(dst, d.OriginalExpiration)
	return appendStrings(dst, d.RoutingKeys)
}

func (n *Notes) append(dst []byte) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(n.Deaths)))
	for i := range n.Deaths {
		dst = n.Deaths[i].append(dst)
	}
	dst = n.FirstDeath.append(dst)
	dst = n.LastDeath.append(dst)
	dst = appendStrings(dst, n.KeepKeys)
	dst = appendStrings(dst, n.DropHeaders)
	var flags byte
	if n.StripTTL {
		flags = 1
	}
	dst = append(dst, flags)
	dst = binary.AppendVarint(dst, n.DeliverAt)
	dst = appendString(dst, n.GroupID)
	dst = appendString(dst, n.DedupID)
	dst = appendString(dst, n.ReplyTo)
	return appendString(dst, n.StreamFilter)
}

// decoder reads the stored form; bad latches the first violation.
type decoder struct {
	b   []byte
	bad bool
}

func (d *decoder) byte() byte {
	if len(d.b) == 0 {
		d.bad = true
		return 0
	}
	c := d.b[0]
	d.b = d.b[1:]
	return c
}

func (d *decoder) uvarint() uint64 {
	v, n := binary.Uvarint(d.b)
	if n <= 0 {
		d.bad, d.b = true, nil
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *decoder) varint() int64 {
	v, n := binary.Varint(d.b)
	if n <= 0 {
		d.bad, d.b = true, nil
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *decoder) bytes() []byte {
	n := d.uvarint()
	if n > uint64(len(d.b)) {
		d.bad, d.b = true, nil
		return nil
	}
	p := d.b[:n:n]
	d.b = d.b[n:]
	return p
}

// string aliases the buffer: messages are immutable and so are the blocks they
// are read from.
func (d *decoder) string() string {
	p := d.bytes()
	return unsafe.String(unsafe.SliceData(p), len(p))
}

func (d *decoder) strings() []string {
	n := d.uvarint()
	if n > maxNoteItems || n > uint64(len(d.b)) {
		d.bad = true
		return nil
	}
	var list []string
	for ; n > 0 && !d.bad; n-- {
		list = append(list, d.string())
	}
	return list
}

func (d *decoder) death() *Death {
	reason := DeathReason(d.byte())
	if reason == 0 {
		return nil
	}
	return &Death{
		Reason: reason, Queue: d.string(), Exchange: d.string(), Count: d.varint(), Time: d.varint(),
		OriginalExpiration: d.varint(), RoutingKeys: d.strings(),
	}
}

// notes reads notes of a stored message's version.
func (d *decoder) notes(version byte) *Notes {
	n := &Notes{}
	count := d.uvarint()
	if count > maxNoteItems || count > uint64(len(d.b)) {
		d.bad = true
		return nil
	}
	for ; count > 0 && !d.bad; count-- {
		death := d.death()
		if death == nil {
			d.bad = true
			return nil
		}
		n.Deaths = append(n.Deaths, *death)
	}
	n.FirstDeath = d.death()
	n.LastDeath = d.death()
	n.KeepKeys = d.strings()
	if version >= 2 {
		n.DropHeaders = d.strings()
	} else if name := d.string(); name != "" {
		n.DropHeaders = []string{name}
	}
	n.StripTTL = d.byte() == 1
	n.DeliverAt = d.varint()
	n.GroupID = d.string()
	n.DedupID = d.string()
	n.ReplyTo = d.string()
	n.StreamFilter = d.string()
	return n
}
