package amqp

import (
	"cmp"
	"slices"

	"github.com/hermodmq/hermod/broker"
	"github.com/hermodmq/hermod/listeners/amqp/wire"
)

// unsettled is one delivery the client has to acknowledge.
type unsettled struct {
	tag   uint64
	queue *broker.Queue // nil once settled
	lease broker.Lease
}

// ledger holds a channel's unsettled deliveries by tag. Tags rise but need not
// be dense: deliveries that are settled by being sent leave no entry.
//
// Invariant: list[head:] is sorted by tag and begins with a live entry unless
// it is empty; live counts its live entries.
type ledger struct {
	list []unsettled
	head int
	live int
}

// add appends a delivery; tag must be greater than all before it.
func (l *ledger) add(u unsettled) {
	if l.head > 0 && len(l.list) == cap(l.list) && l.head >= len(l.list)/2 {
		l.shift()
	}
	l.list = append(l.list, u)
	l.live++
}

// shift moves the entries to the front of the list.
func (l *ledger) shift() {
	n := copy(l.list, l.list[l.head:])
	clear(l.list[n:])
	l.list, l.head = l.list[:n], 0
}

// find returns the index of tag's live entry.
func (l *ledger) find(tag uint64) (int, bool) {
	window := l.list[l.head:]
	if len(window) == 0 || tag < window[0].tag {
		return 0, false
	}
	i := len(window)
	if guess := tag - window[0].tag; guess < uint64(len(window)) && window[guess].tag == tag {
		i = int(guess)
	} else if at, ok := slices.BinarySearchFunc(window, tag, func(u unsettled, t uint64) int { return cmp.Compare(u.tag, t) }); ok {
		i = at
	}
	if i == len(window) || window[i].queue == nil {
		return 0, false
	}
	return l.head + i, true
}

// take removes the entry of tag, or with multiple all up to it (tag 0: all),
// and appends them to dst in order.
func (l *ledger) take(dst []unsettled, tag uint64, multiple bool) ([]unsettled, error) {
	if multiple && tag == 0 {
		return l.takeUpTo(dst, len(l.list)), nil
	}
	i, ok := l.find(tag)
	if !ok {
		return dst, refuse(wire.PreconditionFailed, "unknown delivery tag %d", tag)
	}
	if multiple {
		return l.takeUpTo(dst, i+1), nil
	}
	dst = append(dst, l.list[i])
	l.list[i].queue = nil
	l.live--
	l.settleHead()
	return dst, nil
}

func (l *ledger) takeUpTo(dst []unsettled, end int) []unsettled {
	for i := l.head; i < end; i++ {
		if l.list[i].queue != nil {
			dst = append(dst, l.list[i])
			l.list[i].queue = nil
			l.live--
		}
	}
	l.settleHead()
	return dst
}

// settleHead restores the invariant after entries were settled, and keeps
// settled entries from outnumbering live ones for long.
func (l *ledger) settleHead() {
	for l.head < len(l.list) && l.list[l.head].queue == nil {
		l.head++
	}
	switch n := len(l.list) - l.head; {
	case n == 0:
		l.reset()
	case n > 64 && l.live < n/4:
		kept := slices.DeleteFunc(l.list[l.head:], func(u unsettled) bool { return u.queue == nil })
		l.list = l.list[:l.head+len(kept)]
		l.shift()
	}
}

// ledgerKeep is how many entries of memory an empty ledger keeps.
const ledgerKeep = 2048

func (l *ledger) reset() {
	if cap(l.list) > ledgerKeep {
		l.list = nil
	}
	l.list, l.head, l.live = l.list[:0], 0, 0
}

// restore puts entries back that were taken, as a rolled back transaction
// does.
func (l *ledger) restore(taken []unsettled) {
	all := append(slices.Clone(l.list[l.head:]), taken...)
	all = slices.DeleteFunc(all, func(u unsettled) bool { return u.queue == nil })
	slices.SortFunc(all, func(a, b unsettled) int { return cmp.Compare(a.tag, b.tag) })
	l.list, l.head, l.live = all, 0, len(all)
}

// byQueue calls settle once per queue with the leases of taken, in order.
// leases is scratch; it is returned for the next time. taken is reordered.
func byQueue(taken []unsettled, leases []broker.Lease, settle func(q *broker.Queue, leases []broker.Lease)) []broker.Lease {
	if len(taken) > 1 && slices.ContainsFunc(taken[1:], func(u unsettled) bool { return u.queue != taken[0].queue }) {
		slices.SortStableFunc(taken, func(a, b unsettled) int { return cmp.Compare(a.queue.Name(), b.queue.Name()) })
	}
	for len(taken) > 0 {
		q := taken[0].queue
		leases = leases[:0]
		n := 0
		for n < len(taken) && taken[n].queue == q {
			leases = append(leases, taken[n].lease)
			n++
		}
		settle(q, leases)
		taken = taken[n:]
	}
	return leases
}
