package crash

import (
	"fmt"
	"sync"
)

// state is what the ledger knows of one message.
type state struct {
	confirmed bool // the broker took responsibility
	copies    int  // deliveries seen
	tx        int64
}

// transaction is one tx.commit and its messages.
type transaction struct {
	ids       []string
	committed bool // commit-ok arrived
}

// ledger records the fate of every message by id. Safe for concurrent use.
type ledger struct {
	mu           sync.Mutex
	messages     map[string]*state
	transactions map[int64]*transaction
	strangers    []string // delivered, never published
	seen         int      // messages delivered at least once
	silent       int      // publishes that a live connection never answered
}

func newLedger() *ledger {
	return &ledger{messages: map[string]*state{}, transactions: map[int64]*transaction{}}
}

// publish records an attempt; it must come before the bytes leave.
func (l *ledger) publish(id string, tx int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.messages[id] = &state{tx: tx}
	if tx == 0 {
		return
	}
	if l.transactions[tx] == nil {
		l.transactions[tx] = &transaction{}
	}
	l.transactions[tx].ids = append(l.transactions[tx].ids, id)
}

func (l *ledger) confirm(id string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.messages[id].confirmed = true
}

func (l *ledger) commit(tx int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.transactions[tx].committed = true
}

func (l *ledger) deliver(id string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.messages[id]
	if s == nil {
		l.strangers = append(l.strangers, id)
		return
	}
	if s.copies++; s.copies == 1 {
		l.seen++
	}
}

// unanswered records publishes without a confirm on a connection that lived.
func (l *ledger) unanswered(n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.silent += n
}

// backlog is how many published messages have not been seen yet.
func (l *ledger) backlog() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.messages) - l.seen
}

// report is the account of a finished run.
type report struct {
	published, confirmed, delivered int
	lost                            []string // confirmed, never delivered
	strangers                       []string
	torn                            []string // transactions only partly there
	duplicates                      int      // deliveries beyond the first of a message
	unconfirmed                     int      // delivered although the confirm was lost with the connection
	commits, undecided              int      // transactions answered, and not answered
	unanswered                      int      // no confirm although the connection lived
}

func (l *ledger) account() report {
	l.mu.Lock()
	defer l.mu.Unlock()
	r := report{strangers: l.strangers, unanswered: l.silent}
	for id, s := range l.messages {
		r.published++
		if s.confirmed {
			r.confirmed++
		}
		switch {
		case s.copies == 0 && s.confirmed:
			r.lost = append(r.lost, id)
		case s.copies > 0:
			r.delivered++
			r.duplicates += s.copies - 1
			if !s.confirmed && s.tx == 0 {
				r.unconfirmed++
			}
		}
	}
	for n, tx := range l.transactions {
		there := 0
		for _, id := range tx.ids {
			if l.messages[id].copies > 0 {
				there++
			}
		}
		if tx.committed {
			r.commits++
		} else {
			r.undecided++
		}
		if there != len(tx.ids) && (there != 0 || tx.committed) {
			r.torn = append(r.torn, fmt.Sprintf("transaction %d (committed %v): %d of %d", n, tx.committed, there, len(tx.ids)))
		}
	}
	return r
}

func (r report) String() string {
	return fmt.Sprintf("published=%d confirmed=%d delivered=%d lost=%d strangers=%d torn=%d duplicates=%d unconfirmed-but-kept=%d commits=%d commits-undecided=%d unanswered=%d",
		r.published, r.confirmed, r.delivered, len(r.lost), len(r.strangers), len(r.torn), r.duplicates, r.unconfirmed, r.commits, r.undecided, r.unanswered)
}
