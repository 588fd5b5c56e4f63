package ha

import (
	"context"
	"net"
	"testing"
	"time"
)

// With timers that never fire, only the end of the leader's process can make
// the others elect a new one.
func TestALeaderThatIsGoneIsMissedAtOnce(t *testing.T) {
	c := newCluster(t, 3, func(o *Options) { o.ElectionTimeout = 10 * deadline })
	c.start()
	l := c.leader()
	c.voters(3)
	propose(t, l.log, 0, 10, 1000)
	for _, m := range c.nodes {
		m.got.wait(t, 10)
	}
	l.stop()
	next := c.leader()
	propose(t, next.log, 10, 20, 1000)
	for _, m := range c.nodes {
		if m != l {
			checkSequence(t, m.got.wait(t, 20), 0)
		}
	}
	// The one that comes back is no leader any more, and follows.
	got := newRecorder(0)
	l.start(c.addrs, got)
	checkSequence(t, got.wait(t, 20), 0)
}

// Broken connections alone depose nobody.
func TestALeaderThatAnswersIsNotSucceeded(t *testing.T) {
	c := newCluster(t, 3, nil)
	c.start()
	l := c.leader()
	c.voters(3)
	term := l.log.Status().Term
	for _, m := range c.nodes {
		if m == l {
			continue
		}
		until(t, "a leader known to "+m.name, func() bool { return m.log.Status().Leader == l.name })
		for _, nc := range inbound(m.peers) {
			_ = nc.Close()
		}
		m.log.succeed()
		if reply := m.log.parting(context.Background(), l.addr); reply.Gone {
			t.Errorf("%s takes the leader for gone", m.name)
		}
	}
	propose(t, l.log, 0, 10, 1000)
	for _, m := range c.nodes {
		checkSequence(t, m.got.wait(t, 10), 0)
	}
	if st := l.log.Status(); st.Role != Leader || st.Term != term {
		t.Errorf("role %s, term %d, want the leader of term %d", st.Role, st.Term, term)
	}
}

func inbound(p *Peers) (list []net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for nc := range p.open {
		list = append(list, nc)
	}
	return list
}

// One node alone may be the one that is cut off: it needs a majority that
// misses the leader, too.
func TestOneNodeAloneCallsNoElection(t *testing.T) {
	c := newCluster(t, 3, func(o *Options) { o.ElectionTimeout = 10 * deadline })
	c.start()
	l := c.leader()
	c.voters(3)
	var others []*member
	for _, m := range c.nodes {
		if m != l {
			until(t, "a leader known to "+m.name, func() bool { return m.log.Status().Leader == l.name })
			others = append(others, m)
		}
	}
	others[1].stop()
	l.stop()
	others[0].log.succeed()
	if st := others[0].log.Status(); st.Role != Follower {
		t.Errorf("it is a %s, want a follower that waits", st.Role)
	}
}

func TestTheOneThatHasMostGoesFirst(t *testing.T) {
	list := []partingReply{ // best first
		{Name: "n3", LastTerm: 3, LastIndex: 5},
		{Name: "n1", LastTerm: 2, LastIndex: 8},
		{Name: "n2", LastTerm: 2, LastIndex: 8},
		{Name: "n0", LastTerm: 2, LastIndex: 7},
		{Name: "a", LastTerm: 9, LastIndex: 9, Witness: true},
	}
	for i, a := range list {
		for j, b := range list {
			if got := a.before(b); got != (i < j) {
				t.Errorf("%+v before %+v: %v", a, b, got)
			}
		}
	}
}

func TestElectionTimeoutIsBounded(t *testing.T) {
	o := Options{Dir: "/log", NodeID: "n1", ElectionTimeout: time.Millisecond}
	if err := o.setDefaults(); err == nil {
		t.Error("a millisecond was taken")
	}
}
