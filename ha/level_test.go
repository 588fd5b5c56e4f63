package ha

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/hermodmq/hermod/persistence"
	"github.com/hermodmq/hermod/persistence/vfs"
)

// agreements records what OnAgreed tells, and lets the recorder's log reach it.
type agreements struct {
	got   *recorder
	calls atomic.Int32
}

func (a *agreements) tell(level uint32) {
	a.calls.Add(1)
	a.got.level.Store(level)
}

// hears waits until the leader has heard of n members, as many of them known to
// be reachable.
func (m *member) hears(n, reachable int) {
	m.t.Helper()
	until(m.t, "news of the members", func() bool {
		st := m.log.Status()
		answer := 0
		for _, o := range st.Nodes {
			if o.Reachable {
				answer++
			}
		}
		return len(st.Nodes) == n && answer == reachable
	})
}

// TestALevelIsReachedWhenAllMembersKnowIt: a member of an older program holds it
// back, also while it is away; when the last one was upgraded, it is reached.
func TestALevelIsReachedWhenAllMembersKnowIt(t *testing.T) {
	c := newCluster(t, 3, nil)
	c.start()
	leader := c.leader()
	leader.hears(3, 3)
	other := c.nodes[0]
	if other == leader {
		other = c.nodes[1]
	}
	other.stop()
	other.change = func(o *Options) { o.level = -1 }
	leader.hears(3, 2)
	a := &agreements{got: leader.got}
	leader.log.OnAgreed(a.tell)
	none := func(when string) {
		t.Helper()
		leader.log.agree()
		if n := a.calls.Load(); n != 0 {
			t.Fatalf("%d agreements %s", n, when)
		}
	}
	none("while a member is away")
	other.start(c.addrs, newRecorder(0))
	leader.hears(3, 3)
	none("with an older member")
	other.stop()
	leader.hears(3, 2)
	none("while an older member is away")
	if got := leader.log.Status().Reached; got != 0 {
		t.Errorf("level %d", got)
	}
	other.change = nil
	other.start(c.addrs, newRecorder(0))
	until(t, "an agreement", func() bool { return a.got.Level() == persistence.FormatLevel })
	for _, n := range c.nodes {
		until(t, "word of it at "+n.name, func() bool { return n.log.Status().Reached == persistence.FormatLevel })
	}
	if n := a.calls.Load(); n != 1 {
		t.Errorf("agreed %d times", n)
	}
}

// TestAloneANodeAgrees: with a port for peers, and without one at once.
func TestAloneANodeAgrees(t *testing.T) {
	c := newCluster(t, 1, nil)
	c.start()
	a := &agreements{got: c.leader().got}
	c.nodes[0].log.OnAgreed(a.tell)
	until(t, "the level, with a port for peers", func() bool { return a.got.Level() == persistence.FormatLevel })
	c.nodes[0].stop()

	opts, _ := testOptions(vfs.NewMem())
	a.got = newRecorder(0)
	l := openLog(t, opts, a.got)
	l.OnAgreed(a.tell)
	if got := a.got.Level(); got != persistence.FormatLevel {
		t.Errorf("level %d on a single node", got)
	}
	must(t, l.Close())
}

// TestATooOldProgramIsNotLetIn: not by its own insight, by hand or not, and not
// by the leader, should it have none.
func TestATooOldProgramIsNotLetIn(t *testing.T) {
	c := newCluster(t, 2, func(o *Options) {
		if o.NodeID == "n2" {
			o.level = -1
		}
	})
	first, second := c.nodes[0], c.nodes[1]
	first.start([]string{first.addr}, newRecorder(0))
	first.got.level.Store(persistence.FormatLevel)
	if c.leader() != first {
		t.Fatal("somebody else leads")
	}
	second.start(c.addrs, newRecorder(0))
	select {
	case err := <-second.started:
		if !errors.Is(err, ErrLevel) || !strings.Contains(err.Error(), "start a newer one") {
			t.Errorf("it starts with %v", err)
		}
	case <-time.After(deadline):
		t.Fatal("it goes on trying")
	}
	if err := second.log.Greet(first.addr); !errors.Is(err, ErrLevel) {
		t.Errorf("by hand: %v", err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	defer cancel()
	var reply joinReply
	err := second.peers.call(ctx, first.addr, "join", joinRequest{Name: "n2", Address: second.addr, Empty: true}, &reply)
	if err == nil || !strings.Contains(err.Error(), `node "n2" is refused`) || !strings.Contains(err.Error(), "start a newer one") {
		t.Errorf("the leader answers %v, %+v", err, reply)
	}
	if _, in := server(first.log.servers(), "n2"); in {
		t.Error("it is a member")
	}
	if st, _ := server(first.log.servers(), "n1"); st.Suffrage != raft.Voter {
		t.Errorf("n1 is %v", st)
	}
}
