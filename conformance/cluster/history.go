package cluster

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// message is what the history knows of one published message.
type message struct {
	queue     string
	publisher string // one connection's life: order is promised within it
	number    int    // in the publisher's order
	tx        int64  // 0: none

	confirmed bool
	settled   bool // its settlement was confirmed
	copies    int
}

// history records what clients did and saw. Safe for concurrent use. A call
// that announces something (publish) comes before the bytes leave; a call that
// reports something (confirm, settle) after the answer was read.
type history struct {
	mu       sync.Mutex
	messages map[string]*message
	last     map[string]int // publisher -> highest number delivered for the first time
	commits  map[int64]bool // transaction -> answered
	members  map[int64][]*message
	unseen   int // messages not delivered yet
	found    findings

	// returned: a flagged message may come late. It was delivered before, into a
	// connection that nobody read from any more, and comes when that has ended.
	returned bool

	// settledUpTo: what publishers of this number and lower ones published is
	// accounted for already; it may still come again.
	settledUpTo int64
}

// findings are violations, each told in words.
type findings struct {
	strangers   []string // delivered, never published
	resurrected []string // delivered after a confirmed settlement
	disorder    []string // first delivered after a later one of the same publisher
	misled      []string // delivered from another queue than it was published to
	lost        []string // confirmed, never delivered
	unflagged   []string // delivered again without saying so
	repeated    []string // twice in a queue that is promised exactly one copy
	torn        []string // transactions only partly there
}

// summary counts what is no violation.
type summary struct {
	published, confirmed, delivered, settled int
	duplicates                               int
	unconfirmed                              int // there although nobody was told
	commits, undecided                       int
}

func newHistory() *history {
	return &history{messages: map[string]*message{}, last: map[string]int{}, commits: map[int64]bool{}, members: map[int64][]*message{}}
}

// next is an empty history that follows h, all of whose publishers have numbers
// up to last.
func (h *history) next(last int64) *history {
	n := newHistory()
	n.settledUpTo, n.returned = last, h.returned
	return n
}

// earlier says that id belongs to an earlier history.
func (h *history) earlier(id string) bool {
	name, _, _ := strings.Cut(id, "-")
	n, err := strconv.ParseInt(strings.TrimLeft(name, "abcdefghijklmnopqrstuvwxyz"), 10, 64)
	return err == nil && n <= h.settledUpTo
}

func (h *history) publish(id, queue, publisher string, number int, tx int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	m := &message{queue: queue, publisher: publisher, number: number, tx: tx}
	h.messages[id] = m
	h.unseen++
	if tx != 0 {
		h.members[tx] = append(h.members[tx], m)
	}
}

func (h *history) confirm(id string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.messages[id].confirmed = true
}

func (h *history) commit(tx int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.commits[tx] = true
	for _, m := range h.members[tx] {
		m.confirmed = true
	}
}

// deliver records one arrival. flagged is what the protocol said of whether it
// may have come before.
func (h *history) deliver(id, queue string, flagged bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	m := h.messages[id]
	if m == nil && h.earlier(id) {
		return
	}
	if m == nil {
		h.found.strangers = append(h.found.strangers, id)
		return
	}
	if m.queue != queue {
		h.found.misled = append(h.found.misled, fmt.Sprintf("%s: published to %s, came from %s", id, m.queue, queue))
	}
	if m.settled {
		h.found.resurrected = append(h.found.resurrected, id)
	}
	m.copies++
	if m.copies > 1 {
		if queue == queueOnce {
			h.found.repeated = append(h.found.repeated, id)
		}
		// A QoS 1 publisher may send twice, and the second copy is a message of
		// its own to the broker.
		if !flagged && queue != queueMQTT {
			h.found.unflagged = append(h.found.unflagged, fmt.Sprintf("%s from %s", id, queue))
		}
		return
	}
	h.unseen--
	line := m.publisher + " " + queue
	if last, ok := h.last[line]; ok && last > m.number && !(h.returned && flagged) {
		h.found.disorder = append(h.found.disorder, fmt.Sprintf("%s: number %d of %s after %d", id, m.number, line, last))
	}
	h.last[line] = max(h.last[line], m.number)
}

// waiting names the queues with confirmed messages that did not arrive yet, but
// for those that nobody reads before the end; "" if there are none.
func (h *history) waiting() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	list := map[string]int{}
	for _, m := range h.messages {
		if m.confirmed && m.copies == 0 && m.queue != queueOnce {
			list[m.queue]++
		}
	}
	text := ""
	for _, q := range slices.Sorted(maps.Keys(list)) {
		text += fmt.Sprintf(" %s: %d", q, list[q])
	}
	return text
}

func (h *history) settle(id string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if m := h.messages[id]; m != nil {
		m.settled = true
	}
}

// backlog is how many published messages were not seen yet, an upper bound of
// what the queues hold.
func (h *history) backlog() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.unseen
}

// account judges a finished run, after everything was drained.
func (h *history) account() (findings, summary) {
	h.mu.Lock()
	defer h.mu.Unlock()
	found, sum := h.found, summary{}
	for id, m := range h.messages {
		sum.published++
		sum.duplicates += max(m.copies-1, 0)
		if m.settled {
			sum.settled++
		}
		if m.confirmed {
			sum.confirmed++
			if m.copies == 0 {
				found.lost = append(found.lost, id)
			}
		}
		if m.copies > 0 {
			sum.delivered++
			if !m.confirmed {
				sum.unconfirmed++
			}
		}
	}
	for _, tx := range slices.Sorted(maps.Keys(h.members)) {
		all, committed := h.members[tx], h.commits[tx]
		there := 0
		for _, m := range all {
			if m.copies > 0 {
				there++
			}
		}
		if committed {
			sum.commits++
		} else {
			sum.undecided++
		}
		if there != len(all) && (there != 0 || committed) {
			found.torn = append(found.torn, fmt.Sprintf("transaction %d (answered: %v): %d of %d", tx, committed, there, len(all)))
		}
	}
	slices.SortFunc(found.lost, func(a, b string) int { return cmp.Compare(h.messages[a].number, h.messages[b].number) })
	return found, sum
}

// violations lists what is wrong, a few examples of each kind; empty if
// nothing is.
func (f findings) violations() []string {
	var list []string
	for _, kind := range []struct {
		what string
		ids  []string
	}{
		{"confirmed messages lost", f.lost},
		{"messages that were never published", f.strangers},
		{"messages delivered again after their settlement was confirmed", f.resurrected},
		{"messages delivered again without the flag that says so", f.unflagged},
		{"messages twice where exactly one copy is promised", f.repeated},
		{"messages out of order", f.disorder},
		{"messages in a queue they were not sent to", f.misled},
		{"transactions torn apart", f.torn},
	} {
		if n := len(kind.ids); n > 0 {
			list = append(list, fmt.Sprintf("%d %s, such as %s", n, kind.what, strings.Join(kind.ids[:min(n, 8)], "; ")))
		}
	}
	return list
}

func (s summary) String() string {
	return fmt.Sprintf("published=%d confirmed=%d delivered=%d settled=%d duplicates=%d unconfirmed-but-kept=%d commits=%d commits-undecided=%d",
		s.published, s.confirmed, s.delivered, s.settled, s.duplicates, s.unconfirmed, s.commits, s.undecided)
}
