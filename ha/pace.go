package ha

import (
	"sync/atomic"

	"github.com/hashicorp/raft"

	"github.com/hermodmq/hermod/persistence"
)

// pace knows whether proposed entries are still to be written. Raft writes and
// syncs on the goroutine that also hands over what is committed, and chooses at
// random between the two when both wait: an entry that is proposed during a
// sync holds up the answers to those that the sync was for, and misses what
// arrives until its own turn.
type pace struct {
	proposed, written atomic.Int64
	bell              chan struct{} // of room for one
}

// stored says that entries are written and synced.
func (p *pace) stored(logs []*raft.Log) {
	n := int64(0)
	for _, l := range logs {
		if l.Type == raft.LogCommand {
			n++
		}
	}
	p.written.Add(n)
	select {
	case p.bell <- struct{}{}:
	default:
	}
}

var _ persistence.PacedLog = (*Log)(nil)

// Pace implements persistence.PacedLog. In a cluster the way to the other nodes
// is worth filling, and it does not wait.
func (l *Log) Pace() {
	if l.opts.Stream != nil {
		return
	}
	for l.pace.written.Load() < l.pace.proposed.Load() {
		select {
		case <-l.pace.bell:
		case <-l.failed:
			return
		case <-l.done:
			return
		}
	}
}
