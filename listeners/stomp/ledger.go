package stomp

import (
	"cmp"
	"slices"

	"github.com/hermodmq/hermod/broker"
)

// unsettled is one delivery the client has to acknowledge.
type unsettled struct {
	tag   uint64
	cons  *consumer
	queue *broker.Queue // nil once settled
	lease broker.Lease
}

// ledger holds a connection's unsettled deliveries by tag.
//
// Invariant: list[head:] is sorted by tag and begins with a live entry unless
// it is empty; live counts its live entries.
type ledger struct {
	list []unsettled
	head int
	live int
}

// add appends a delivery; its tag must be greater than all before it.
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
	i, ok := slices.BinarySearchFunc(window, tag, func(u unsettled, t uint64) int { return cmp.Compare(u.tag, t) })
	if !ok || window[i].queue == nil {
		return 0, false
	}
	return l.head + i, true
}

// take removes the entry at i and appends it to dst.
func (l *ledger) take(dst []unsettled, i int) []unsettled {
	dst = append(dst, l.list[i])
	l.list[i] = unsettled{tag: l.list[i].tag}
	l.live--
	l.settleHead()
	return dst
}

// takeWhere removes the live entries up to index end that match and appends
// them to dst in order.
func (l *ledger) takeWhere(dst []unsettled, end int, match func(*unsettled) bool) []unsettled {
	for i := l.head; i <= end && i < len(l.list); i++ {
		if l.list[i].queue != nil && match(&l.list[i]) {
			dst = append(dst, l.list[i])
			l.list[i] = unsettled{tag: l.list[i].tag}
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
const ledgerKeep = 1024

func (l *ledger) reset() {
	if cap(l.list) > ledgerKeep {
		l.list = nil
	}
	l.list, l.head, l.live = l.list[:0], 0, 0
}

// restore puts entries back that were taken.
func (l *ledger) restore(taken []unsettled) {
	all := append(slices.Clone(l.list[l.head:]), taken...)
	all = slices.DeleteFunc(all, func(u unsettled) bool { return u.queue == nil })
	slices.SortFunc(all, func(a, b unsettled) int { return cmp.Compare(a.tag, b.tag) })
	l.list, l.head, l.live = all, 0, len(all)
}
