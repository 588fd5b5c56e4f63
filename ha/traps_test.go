package ha

import (
	"context"
	"errors"
	"io"
	"net"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/hermodmq/hermod/persistence/vfs"
)

// Raft's pipelines can wedge: a follower that rejects entries is never sent
// any again and looks healthy. They are off, and a follower that answers late
// gets what it lacks by plain requests, each with a deadline.
func TestReplicationIsNotPipelined(t *testing.T) {
	c := newCluster(t, 2, nil)
	c.start()
	l := c.leader()
	c.voters(2)
	other := c.nodes[1]
	if other == l {
		other = c.nodes[0]
	}
	_, err := l.log.transport.AppendEntriesPipeline(raft.ServerID(other.name), raft.ServerAddress(other.addr))
	if !errors.Is(err, raft.ErrPipelineReplicationNotSupported) {
		t.Errorf("AppendEntriesPipeline = %v, want that there is none", err)
	}
}

// hangSyncs makes every sync wait until the function it returns is called.
func hangSyncs(s *switched) (release func()) {
	gate := make(chan struct{})
	s.set(vfs.InjectorFunc(func(op vfs.Op) vfs.Fault {
		if op.Kind == vfs.OpSync {
			return vfs.Fault{Wait: gate}
		}
		return vfs.Fault{}
	}))
	return func() { close(gate) }
}

// slowDisks gives every member of c a disk whose faults can be set.
func slowDisks(c *cluster) map[*member]*switched {
	disks := map[*member]*switched{}
	for _, m := range c.nodes {
		disks[m] = &switched{}
		m.fs = vfs.Faulty(m.fs, disks[m])
	}
	return disks
}

// Requests to a follower whose disk hangs run into their deadline and are
// repeated; its heartbeats go on. It keeps nobody else from committing and has
// everything soon after its disk is back.
func TestAFollowerWhoseDiskHangsCatchesUp(t *testing.T) {
	c := newCluster(t, 3, func(o *Options) { o.requestTimeout = 50 * time.Millisecond })
	disks := slowDisks(c)
	c.start()
	l := c.leader()
	c.voters(3)
	term := l.log.Status().Term
	var slow *member
	for _, m := range c.nodes {
		if m != l {
			slow = m
		}
	}
	release := hangSyncs(disks[slow])
	propose(t, l.log, 0, 200, 1000)
	for _, m := range c.nodes {
		if m != slow {
			m.got.wait(t, 200)
		}
	}
	until(t, "a lag that shows", func() bool {
		st, ok := l.log.members.get(slow.name)
		return ok && st.Reachable && st.Lag > 0
	})
	release()
	checkSequence(t, slow.got.wait(t, 200), 0)
	propose(t, l.log, 200, 300, 1000)
	checkSequence(t, slow.got.wait(t, 300), 0)
	if st := l.log.Status(); st.Role != Leader || st.Term != term {
		t.Errorf("role %s, term %d, want the leader of term %d", st.Role, st.Term, term)
	}
}

// slowLink forwards one connection to an address, a little at a time, and
// returns the address to dial.
func slowLink(t *testing.T, to string, perSecond int) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	done := make(chan struct{})
	var wg sync.WaitGroup
	forward := func(dst, src net.Conn) {
		defer dst.Close()
		defer src.Close()
		buf := make([]byte, 16<<10)
		for {
			n, err := src.Read(buf)
			if err != nil {
				return
			}
			select {
			case <-time.After(time.Duration(n) * time.Second / time.Duration(perSecond)):
			case <-done:
				return
			}
			if _, err := dst.Write(buf[:n]); err != nil {
				return
			}
		}
	}
	wg.Go(func() {
		in, err := ln.Accept()
		if err != nil {
			return
		}
		out, err := net.Dial("tcp", to)
		if err != nil {
			_ = in.Close()
			return
		}
		wg.Go(func() { forward(out, in) })
		forward(in, out)
	})
	t.Cleanup(func() {
		close(done)
		_ = ln.Close()
		wg.Wait()
	})
	return ln.Addr().String()
}

// A request that takes longer than the deadline that raft gave it gets through
// all the same: repeated from its beginning it never would.
func TestLargeRequestsPassSlowLinks(t *testing.T) {
	const size = 8 << 20
	var ends [2]*Peers
	for i := range ends {
		var err error
		ends[i], err = ListenPeers(PeerOptions{Bind: "127.0.0.1:0", Secret: testSecret, Logger: quiet})
		must(t, err)
	}
	link := slowLink(t, ends[1].Advertised(), size)
	t.Cleanup(func() { // before the link's
		for _, p := range ends {
			_ = p.Close()
		}
	})
	received := make(chan error, 1)
	go func() {
		c, err := ends[1].Accept()
		if err != nil {
			received <- err
			return
		}
		_, err = io.CopyN(io.Discard, c, size)
		if err == nil {
			_, err = c.Write([]byte("!"))
		}
		received <- err
	}()
	c, err := ends[0].Dial(raft.ServerAddress(link), deadline)
	must(t, err)
	defer c.Close()
	must(t, c.SetDeadline(time.Now().Add(300*time.Millisecond)))
	if _, err := c.Write(make([]byte, size)); err != nil {
		t.Fatalf("write: %v", err)
	}
	if _, err := c.Read(make([]byte, 1)); err != nil {
		t.Fatalf("read the answer: %v", err)
	}
	must(t, <-received)
}

// Raft's heartbeats go on while the leader's disk hangs, so that it would lead
// for ever and commit nothing. The guard ends it; another one goes on.
func TestALeaderWhoseDiskHangsGivesUp(t *testing.T) {
	c := newCluster(t, 3, func(o *Options) { o.StallAlarm, o.StallFatal = 10*time.Millisecond, 2*time.Second })
	disks := slowDisks(c)
	c.start()
	l := c.leader()
	c.voters(3)
	propose(t, l.log, 0, 20, 1000)
	for _, m := range c.nodes {
		m.got.wait(t, 20)
	}
	release := hangSyncs(disks[l])
	hung := make(chan error, 1)
	go func() {
		for {
			if err := l.log.Propose(payload(20, 1000)); err != nil {
				hung <- err
				return
			}
		}
	}()
	waitError(t, l.fatal, ErrStalled)
	if n := len(l.got.entries(t)); n != 20 {
		t.Errorf("it confirmed %d entries that are on no quorum", n-20)
	}
	_ = l.peers.Close() // Fatal ends the process
	next := c.leader2(l)
	propose(t, next.log, 20, 40, 1000)
	for _, m := range c.nodes {
		if m != l {
			checkSequence(t, m.got.wait(t, 40), 0)
		}
	}
	release()
	if err := <-hung; !errors.Is(err, ErrStalled) {
		t.Errorf("Propose = %v, want ErrStalled", err)
	}
}

// leader2 is leader for a cluster whose old leader is not stopped yet.
func (c *cluster) leader2(old *member) *member {
	c.t.Helper()
	var found *member
	until(c.t, "another leader", func() bool {
		for _, m := range c.nodes {
			if m == old {
				continue
			}
			select {
			case err := <-m.started:
				must(c.t, err)
				found = m
				return true
			default:
			}
		}
		return false
	})
	return found
}

// A node that was away while the log was cut is seeded, and the leader goes on
// committing and cutting all the time: what was sent must not be outdated by
// the time it has arrived, for ever.
func TestSeedingEndsWhileTheLogIsCut(t *testing.T) {
	c, lead, away := newForgetfulTrio(t)
	commit(t, lead.store, 0, 500)
	away.stop()
	commit(t, lead.store, 500, 2000)
	must(t, lead.store.Checkpoint())
	commit(t, lead.store, 2000, 3000)
	must(t, lead.store.Checkpoint())

	stop, stopped := make(chan struct{}), make(chan int)
	go func() {
		last := 3000
		for {
			select {
			case <-stop:
				stopped <- last
				return
			default:
				commit(t, lead.store, last, last+500)
				last += 500
				if err := lead.store.Checkpoint(); err != nil {
					t.Error(err)
				}
			}
		}
	}()
	away.stand()
	var from string
	select {
	case from = <-away.seeds:
	case <-time.After(deadline):
		t.Fatal("it is not told to be seeded")
	}
	if from != lead.addr {
		t.Errorf("it is seeded from %q, the leader is %q", from, lead.addr)
	}
	must(t, away.log.ReceiveSeed(context.Background(), from, filepath.Join(away.dir, "seed")))
	st := away.log.Status()
	if st.SeedBytes == 0 || st.SeedBytes != st.SeedTotal {
		t.Errorf("%d of %d bytes received, says the status", st.SeedBytes, st.SeedTotal)
	}
	away.stop()
	away.stand()
	until(t, "three voters that hold everything", func() bool { return lead.log.Status().Redundant == 3 })
	close(stop)
	last := <-stopped
	until(t, "all entries", func() bool { return away.log.Status().Applied >= lead.log.Status().LastIndex })

	// It has all of it: the others leave the stage to it.
	must(t, lead.log.Transfer(away.name))
	if next := c.waitActive(); next != away {
		t.Fatalf("%s leads, not %s", next.name, away.name)
	}
	away.mu.Lock()
	got := away.got
	away.mu.Unlock()
	if len(got.Lanes) != 1 || got.Lanes[0].Count != uint64(last) {
		t.Errorf("lanes = %+v, want %d messages", got.Lanes, last)
	}
	for _, n := range c.nodes {
		n.stop()
	}
}
