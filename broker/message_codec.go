package broker

import (
	"encoding/binary"
	"unsafe"
)

// maxNoteItems bounds lists inside stored notes, so that corrupt bytes cannot
// ask for more memory than their length.
const maxNoteItems = 1 << 16

// Flags of stored notes.
const (
	noteStripTTL = 1 << iota
	noteGroupClose
	noteSchedule
	noteOccurrence
)

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
	dst = appendStrings(dst, d.RoutingKeys)
	return appendString(dst, d.Cause)
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
		flags |= noteStripTTL
	}
	if n.GroupClose {
		flags |= noteGroupClose
	}
	if n.Schedule != nil {
		flags |= noteSchedule
	}
	if n.Occurrence != 0 {
		flags |= noteOccurrence
	}
	dst = append(dst, flags)
	dst = binary.AppendVarint(dst, n.DeliverAt)
	dst = appendString(dst, n.GroupID)
	dst = appendString(dst, n.DedupID)
	dst = appendString(dst, n.ReplyTo)
	dst = appendString(dst, n.StreamFilter)
	if x := n.Schedule; x != nil {
		dst = appendString(dst, x.Cron)
		dst = binary.AppendVarint(dst, x.Delay)
		dst = binary.AppendVarint(dst, x.Period)
		dst = binary.AppendVarint(dst, int64(x.Repeat))
	}
	if n.Occurrence != 0 {
		dst = binary.AppendUvarint(dst, uint64(n.Occurrence))
	}
	return dst
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

func (d *decoder) death(version byte) *Death {
	reason := DeathReason(d.byte())
	if reason == 0 {
		return nil
	}
	x := &Death{
		Reason: reason, Queue: d.string(), Exchange: d.string(), Count: d.varint(), Time: d.varint(),
		OriginalExpiration: d.varint(), RoutingKeys: d.strings(),
	}
	if version >= 3 {
		x.Cause = d.string()
	}
	return x
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
		death := d.death(version)
		if death == nil {
			d.bad = true
			return nil
		}
		n.Deaths = append(n.Deaths, *death)
	}
	n.FirstDeath = d.death(version)
	n.LastDeath = d.death(version)
	n.KeepKeys = d.strings()
	if version >= 2 {
		n.DropHeaders = d.strings()
	} else if name := d.string(); name != "" {
		n.DropHeaders = []string{name}
	}
	flags := d.byte()
	n.StripTTL = flags&noteStripTTL != 0
	n.GroupClose = flags&noteGroupClose != 0
	n.DeliverAt = d.varint()
	n.GroupID = d.string()
	n.DedupID = d.string()
	n.ReplyTo = d.string()
	n.StreamFilter = d.string()
	if flags&noteSchedule != 0 {
		n.Schedule = &Schedule{Cron: d.string(), Delay: d.varint(), Period: d.varint(), Repeat: int32(d.varint())}
	}
	if flags&noteOccurrence != 0 {
		n.Occurrence = uint32(d.uvarint())
	}
	return n
}
