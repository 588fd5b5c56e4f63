package persistence

import "math/bits"

// spanSize is how many sequence numbers one span covers.
const spanSize = 4096

// span tells which of spanSize consecutive messages are settled.
type span struct {
	base  uint64 // sequence number / spanSize
	count int32  // settled ones
	dirty bool   // differs from its metadata row
	bits  *[spanSize / 64]uint64
}

func (p *span) full() bool { return p.count == spanSize }

// settledSet is the set of settled sequence numbers above a lane's head. It
// takes at most about one bit per message, and next to nothing where whole
// spans are settled: a stuck message at the head costs little however much
// passes it.
type settledSet struct {
	spans []span // by base
}

// find returns the position of the span for base, or where it would be.
func (s *settledSet) find(base uint64) (int, bool) {
	lo, hi := 0, len(s.spans)
	if hi > 0 && s.spans[hi-1].base <= base { // settlements mostly arrive at the end
		if s.spans[hi-1].base == base {
			return hi - 1, true
		}
		return hi, false
	}
	for lo < hi {
		mid := (lo + hi) / 2
		if s.spans[mid].base < base {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return lo, lo < len(s.spans) && s.spans[lo].base == base
}

func (s *settledSet) has(seq uint64) bool {
	i, ok := s.find(seq / spanSize)
	if !ok {
		return false
	}
	p := &s.spans[i]
	return p.bits == nil || p.bits[seq%spanSize/64]>>(seq%64)&1 != 0
}

// add settles [first, end).
func (s *settledSet) add(first, end uint64) {
	for first < end {
		base := first / spanSize
		stop := min(end, (base+1)*spanSize)
		i, ok := s.find(base)
		if !ok {
			s.spans = append(s.spans, span{})
			copy(s.spans[i+1:], s.spans[i:])
			s.spans[i] = span{base: base, bits: new([spanSize / 64]uint64)}
		}
		s.spans[i].add(first%spanSize, first%spanSize+stop-first)
		first = stop
	}
}

func (p *span) add(lo, hi uint64) {
	if p.bits == nil {
		return
	}
	for lo < hi {
		word, from := lo/64, lo%64
		n := min(hi-lo, 64-from)
		mask := ^uint64(0) >> (64 - n) << from
		p.count += int32(bits.OnesCount64(mask &^ p.bits[word]))
		p.bits[word] |= mask
		lo += n
	}
	p.dirty = true
	if p.full() {
		p.bits = nil
	}
}

// recount sets count from the bits, and drops the bits of a full span.
func (p *span) recount() {
	for _, w := range p.bits {
		p.count += int32(bits.OnesCount64(w))
	}
	if p.full() {
		p.bits = nil
	}
}

// nextUnset returns the first unsettled sequence number in [seq, end), or end.
func (s *settledSet) nextUnset(seq, end uint64) uint64 {
	i, ok := s.find(seq / spanSize)
	for seq < end && ok {
		p := &s.spans[i]
		if p.bits != nil {
			if at := p.scan(seq%spanSize, ^uint64(0)); at < spanSize {
				return min(end, p.base*spanSize+at)
			}
		}
		seq = (p.base + 1) * spanSize
		i++
		ok = i < len(s.spans) && s.spans[i].base == seq/spanSize
	}
	return min(seq, end)
}

// nextSet returns the first settled sequence number in [seq, end), or end.
func (s *settledSet) nextSet(seq, end uint64) uint64 {
	i, _ := s.find(seq / spanSize)
	for ; i < len(s.spans) && s.spans[i].base*spanSize < end; i++ {
		p := &s.spans[i]
		seq = max(seq, p.base*spanSize)
		if p.bits == nil {
			return min(seq, end)
		}
		if at := p.scan(seq%spanSize, 0); at < spanSize {
			return min(end, p.base*spanSize+at)
		}
		seq = (p.base + 1) * spanSize
	}
	return end
}

// scan returns the first position from at on whose bit, xored with invert, is
// set.
func (p *span) scan(at, invert uint64) uint64 {
	word := at / 64
	w := (p.bits[word] ^ invert) >> (at % 64) << (at % 64)
	for w == 0 {
		word++
		if word == uint64(len(p.bits)) {
			return spanSize
		}
		w = p.bits[word] ^ invert
	}
	return word*64 + uint64(bits.TrailingZeros64(w))
}

// count returns how many of [first, end) are settled.
func (s *settledSet) count(first, end uint64) uint64 {
	var n uint64
	i, _ := s.find(first / spanSize)
	for ; i < len(s.spans) && s.spans[i].base*spanSize < end; i++ {
		p := &s.spans[i]
		lo := max(first, p.base*spanSize) - p.base*spanSize
		hi := min(end, (p.base+1)*spanSize) - p.base*spanSize
		if p.bits == nil {
			n += hi - lo
			continue
		}
		for lo < hi {
			k := min(hi-lo, 64-lo%64)
			n += uint64(bits.OnesCount64(p.bits[lo/64] >> (lo % 64) << (64 - k)))
			lo += k
		}
	}
	return n
}

// dropBelow forgets spans that end at or below head.
func (s *settledSet) dropBelow(head uint64) {
	k := 0
	for k < len(s.spans) && (s.spans[k].base+1)*spanSize <= head {
		k++
	}
	if k == 0 {
		return
	}
	n := copy(s.spans, s.spans[k:])
	clear(s.spans[n:])
	s.spans = s.spans[:n]
}
