package delivery

import (
	"cmp"
	"slices"

	"github.com/hermodmq/hermod/broker"
)

// Unsettled is one delivery the client has to acknowledge. Data is the
// protocol's.
type Unsettled[T any] struct {
	Data  T
	Tag   uint64
	Queue *broker.Queue // nil once settled
	Lease broker.Lease
}

// Ledger holds unsettled deliveries by tag. Tags rise but need not be dense:
// deliveries that are settled by being sent leave no entry. The zero value is
// empty.
//
// Invariant: list[head:] is sorted by tag and begins with a live entry unless
// it is empty; live counts its live entries.
type Ledger[T any] struct {
	list []Unsettled[T]
	head int
	live int
}

// Len is the number of unsettled deliveries.
func (l *Ledger[T]) Len() int { return l.live }

// Cap is the number of entries there is room for.
func (l *Ledger[T]) Cap() int { return cap(l.list) }

// End is the index behind the last entry, for TakeUpTo.
func (l *Ledger[T]) End() int { return len(l.list) }

// At returns the entry at an index that Find gave, valid until the ledger
// changes.
func (l *Ledger[T]) At(i int) *Unsettled[T] { return &l.list[i] }

// Add appends a delivery; its tag must be greater than all before it.
func (l *Ledger[T]) Add(u Unsettled[T]) {
	if l.head > 0 && len(l.list) == cap(l.list) && l.head >= len(l.list)/2 {
		l.shift()
	}
	l.list = append(l.list, u)
	l.live++
}

// shift moves the entries to the front of the list.
func (l *Ledger[T]) shift() {
	n := copy(l.list, l.list[l.head:])
	clear(l.list[n:])
	l.list, l.head = l.list[:n], 0
}

// Find returns the index of tag's live entry.
func (l *Ledger[T]) Find(tag uint64) (int, bool) {
	window := l.list[l.head:]
	if len(window) == 0 || tag < window[0].Tag {
		return 0, false
	}
	i := len(window)
	if guess := tag - window[0].Tag; guess < uint64(len(window)) && window[guess].Tag == tag {
		i = int(guess)
	} else if at, ok := slices.BinarySearchFunc(window, tag, func(u Unsettled[T], t uint64) int { return cmp.Compare(u.Tag, t) }); ok {
		i = at
	}
	if i == len(window) || window[i].Queue == nil {
		return 0, false
	}
	return l.head + i, true
}

// Take removes the live entry at i and appends it to dst.
func (l *Ledger[T]) Take(dst []Unsettled[T], i int) []Unsettled[T] {
	dst = append(dst, l.list[i])
	l.forget(i)
	l.settleHead()
	return dst
}

// TakeUpTo removes the live entries before index end and appends them to dst in
// order.
func (l *Ledger[T]) TakeUpTo(dst []Unsettled[T], end int) []Unsettled[T] {
	for i := l.head; i < end; i++ {
		if l.list[i].Queue != nil {
			dst = append(dst, l.list[i])
			l.forget(i)
		}
	}
	l.settleHead()
	return dst
}

// TakeWhere is TakeUpTo for the entries that match.
func (l *Ledger[T]) TakeWhere(dst []Unsettled[T], end int, match func(*Unsettled[T]) bool) []Unsettled[T] {
	for i := l.head; i < end; i++ {
		if l.list[i].Queue != nil && match(&l.list[i]) {
			dst = append(dst, l.list[i])
			l.forget(i)
		}
	}
	l.settleHead()
	return dst
}

func (l *Ledger[T]) forget(i int) {
	l.list[i] = Unsettled[T]{Tag: l.list[i].Tag}
	l.live--
}

// settleHead restores the invariant after entries were settled, and keeps
// settled entries from outnumbering live ones for long.
func (l *Ledger[T]) settleHead() {
	for l.head < len(l.list) && l.list[l.head].Queue == nil {
		l.head++
	}
	switch n := len(l.list) - l.head; {
	case n == 0:
		l.reset()
	case n > 64 && l.live < n/4:
		kept := slices.DeleteFunc(l.list[l.head:], func(u Unsettled[T]) bool { return u.Queue == nil })
		l.list = l.list[:l.head+len(kept)]
		l.shift()
	}
}

// ledgerKeep is how many entries of memory an empty ledger keeps.
const ledgerKeep = 2048

func (l *Ledger[T]) reset() {
	if cap(l.list) > ledgerKeep {
		l.list = nil
	}
	l.list, l.head, l.live = l.list[:0], 0, 0
}

// Restore puts entries back that were taken, as a rolled back transaction
// does.
func (l *Ledger[T]) Restore(taken []Unsettled[T]) {
	all := append(slices.Clone(l.list[l.head:]), taken...)
	all = slices.DeleteFunc(all, func(u Unsettled[T]) bool { return u.Queue == nil })
	slices.SortFunc(all, func(a, b Unsettled[T]) int { return cmp.Compare(a.Tag, b.Tag) })
	l.list, l.head, l.live = all, 0, len(all)
}

// ByQueue calls settle once per queue with the leases of taken, in order.
// leases is scratch; it is returned for the next time. taken is reordered.
func ByQueue[T any](taken []Unsettled[T], leases []broker.Lease, settle func(q *broker.Queue, leases []broker.Lease)) []broker.Lease {
	if len(taken) > 1 && slices.ContainsFunc(taken[1:], func(u Unsettled[T]) bool { return u.Queue != taken[0].Queue }) {
		slices.SortStableFunc(taken, func(a, b Unsettled[T]) int { return cmp.Compare(a.Queue.Name(), b.Queue.Name()) })
	}
	for len(taken) > 0 {
		q := taken[0].Queue
		leases = leases[:0]
		n := 0
		for n < len(taken) && taken[n].Queue == q {
			leases = append(leases, taken[n].Lease)
			n++
		}
		settle(q, leases)
		taken = taken[n:]
	}
	return leases
}
