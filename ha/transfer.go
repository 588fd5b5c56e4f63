package ha

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
)

// drainTimeout bounds how long a transfer waits for what is on its way.
const drainTimeout = 5 * time.Second

// turnover holds proposals back while leadership moves, so that none is on its
// way that raft would drop.
type turnover struct {
	gate   sync.RWMutex
	mu     sync.Mutex
	closed bool // the gate is held
}

func (t *turnover) enter() { t.gate.RLock() }
func (t *turnover) leave() { t.gate.RUnlock() }

// shut stops proposals; false if somebody else has.
func (t *turnover) shut() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return false
	}
	t.gate.Lock()
	t.closed = true
	return true
}

// open lets proposals through again.
func (t *turnover) open() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		t.gate.Unlock()
		t.closed = false
	}
}

// Transfer makes another node the leader: the one named, or with "" the voter
// that has most. It returns when that node leads; Fatal then hears of
// ErrLeadershipLost. Proposals wait meanwhile, and go on if it fails.
func (l *Log) Transfer(name string) error {
	if err := l.ready(); err != nil {
		return err
	}
	r := l.raft.Load()
	if r.State() != raft.Leader {
		return errors.New("ha: this node does not lead")
	}
	to, err := l.heir(name)
	if err != nil {
		return err
	}
	if !l.turnover.shut() {
		return errors.New("ha: leadership is moving already")
	}
	defer l.turnover.open()
	if err := r.Barrier(drainTimeout).Error(); err != nil {
		return fmt.Errorf("ha: transfer: %w", err)
	}
	if err := r.LeadershipTransferToServer(to.ID, to.Address).Error(); err != nil {
		return fmt.Errorf("ha: transfer to %s: %w", to.ID, err)
	}
	// Nothing may be proposed between here and the notice of it.
	if l.leading.Load() {
		<-l.failed
	}
	return nil
}

// heir chooses the next leader.
func (l *Log) heir(name string) (raft.Server, error) {
	var best raft.Server
	var most NodeStatus
	for _, s := range l.servers() {
		st, known := l.members.get(string(s.ID))
		if string(s.ID) == l.opts.NodeID || s.Suffrage != raft.Voter || name != "" && name != string(s.ID) {
			continue
		}
		if name == "" && (!known || !st.Reachable) {
			continue
		}
		if st.Witness {
			if name != "" {
				return best, fmt.Errorf("ha: %s cannot become the active node: %w", name, ErrWitness)
			}
			continue
		}
		if best.ID == "" || st.fitter(most) {
			best, most = s, st
		}
	}
	if best.ID == "" {
		return best, fmt.Errorf("ha: no voter to hand over to; members are %v", names(l.servers()))
	}
	return best, nil
}

// fitter says whether n should lead rather than o: one whose disk is nearly full
// would hold publishers, and the one that has more is ready sooner.
func (n NodeStatus) fitter(o NodeStatus) bool {
	if n.DiskLow != o.DiskLow {
		return o.DiskLow
	}
	return n.LastIndex > o.LastIndex
}

// commitStats sums up how long entries took from the leader's append to their
// application.
type commitStats struct {
	count atomic.Uint64
	nanos atomic.Int64
}

func (c *commitStats) add(d time.Duration) {
	c.count.Add(1)
	c.nanos.Add(int64(max(d, 0)))
}

// Commits is how many groups of entries were applied and how long all of them
// together took from the leader's append to that.
func (l *Log) Commits() (count uint64, total time.Duration) {
	return l.commits.count.Load(), time.Duration(l.commits.nanos.Load())
}
