package ha

import (
	"cmp"
	"errors"
	"fmt"

	"github.com/hashicorp/raft"

	"github.com/hermodmq/hermod/persistence"
)

// Format levels (persistence.FormatLevel) on a cluster: every node tells what
// its program knows with its status, and when it asks to join. The leader tells
// the Applier the level that all members know, which the Applier makes a fact of
// the log. From then on a node that knows less is not let in. A member that
// does not answer may come back as any program: it holds the level where it is.

// ErrLevel: this program is too old for what the cluster has written.
var ErrLevel = errors.New("this program is too old for the cluster")

// knows is the format level of this program.
func (o *Options) knows() uint32 {
	if o.level < 0 {
		return persistence.LevelBase
	}
	return cmp.Or(uint32(o.level), persistence.FormatLevel)
}

var _ persistence.SharedLog = (*Log)(nil)

// OnAgreed implements persistence.SharedLog.
func (l *Log) OnAgreed(f func(level uint32)) {
	l.members.mu.Lock()
	l.members.onAgreed = f
	l.members.mu.Unlock()
	l.agree()
}

// reached is the level of the log as far as this node knows: what it has
// applied, has brought about as the leader, or was told by the leader.
func (l *Log) reached() uint32 {
	l.members.mu.Lock()
	defer l.members.mu.Unlock()
	level := l.members.level
	if l.members.leveled != nil {
		level = max(level, l.members.leveled.Level())
	}
	return level
}

// agree tells the Applier when all members know more than the log has reached.
func (l *Log) agree() {
	l.members.mu.Lock()
	f := l.members.onAgreed
	l.members.mu.Unlock()
	if f == nil || l.known(l.servers()) <= l.reached() {
		return
	}
	// Nobody may join between the look at the members and the new level. A change
	// under way may wait for a quorum: there is another round after it.
	if !l.members.changing.TryLock() {
		return
	}
	defer l.members.changing.Unlock()
	level := l.known(l.servers())
	if level <= l.reached() {
		return
	}
	f(level)
	l.members.toldLevel(level)
}

// known is the level that all members know, LevelBase if one did not answer the
// last poll.
func (l *Log) known(servers []raft.Server) uint32 {
	least := l.opts.knows()
	for _, s := range servers {
		if string(s.ID) == l.opts.NodeID {
			continue
		}
		st, ok := l.members.get(string(s.ID))
		if !ok || !st.Reachable {
			return persistence.LevelBase
		}
		least = min(least, st.Level)
	}
	return least
}

// toldLevel notes a level of the cluster.
func (m *members) toldLevel(level uint32) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.level = max(m.level, level)
}

// fits refuses to join a cluster that this program is too old for.
func (o *Options) fits(r helloReply) error {
	if known := o.knows(); known < r.Reached {
		return tooOld(r.Reached, known)
	}
	return nil
}

func tooOld(reached, known uint32) error {
	return fmt.Errorf("%w, which has reached format level %d; it knows %d: start a newer one", ErrLevel, reached, known)
}

func (m *members) setApplier(a persistence.Applier) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.leveled, _ = a.(persistence.Leveled)
}
