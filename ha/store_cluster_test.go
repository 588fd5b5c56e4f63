package ha

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/hermodmq/hermod/broker"
	"github.com/hermodmq/hermod/persistence"
)

// storeNode is a node with a store on real files. Its folder outlives it.
type storeNode struct {
	t        testing.TB
	name     string
	dir      string
	addr     string
	contacts []string
	logKeep  int64 // 1: who lags behind a checkpoint has to be seeded

	peers  *Peers
	log    *Log
	store  *persistence.Store
	seeds  chan string // leaders that it is to be seeded from
	active chan error  // Recover returned

	mu    sync.Mutex
	fatal error
	got   *broker.Recovered
	said  bytes.Buffer // what it logged
}

// Write keeps what the node logs, for a test that fails.
func (n *storeNode) Write(b []byte) (int, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.said.Write(b)
}

func (n *storeNode) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(n, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// tell shows what the node logged, and why it ended.
func (n *storeNode) tell() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.t.Logf("%s: fatal: %v\n%s", n.name, n.fatal, n.said.Bytes())
}

func (n *storeNode) failed(err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.fatal = errors.Join(n.fatal, err)
}

// open installs a seed that has arrived and opens log and store.
func (n *storeNode) open() {
	n.t.Helper()
	logDir, storeDir := filepath.Join(n.dir, "log"), filepath.Join(n.dir, "store")
	must(n.t, InstallSeed(logDir, storeDir, filepath.Join(n.dir, "seed")))
	var err error
	n.peers, err = ListenPeers(PeerOptions{Bind: n.addr, Secret: testSecret, Logger: n.logger()})
	must(n.t, err)
	n.seeds, n.active = make(chan string, 1), make(chan error, 1)
	serial := 0
	n.log, err = Open(Options{
		Dir: logDir, NodeID: n.name, Logger: n.logger(), SegmentSize: 256 << 10, Peers: n.peers, Contacts: n.contacts, Fatal: n.failed, ElectionTimeout: patientElection,
		Seed: func(leader string) { n.seeds <- leader },
		Snapshot: func() (Snapshot, error) {
			serial++
			return n.store.Snapshot(filepath.Join(n.dir, fmt.Sprint("snapshot", serial)))
		},
	})
	must(n.t, err)
	n.store, err = persistence.Open(persistence.Options{
		Dir: storeDir, Log: n.log, Logger: n.logger(), Cluster: true, CheckpointInterval: time.Hour, LogKeep: n.logKeep,
		MemtableSize: 1 << 20, SegmentSize: 256 << 10, BlockSize: 4 << 10, EntrySize: 16 << 10, InFlightBytes: 1 << 20, Fatal: n.failed,
	})
	must(n.t, err)
}

// stand runs a node that is not meant to lead.
func (n *storeNode) stand() {
	n.open()
	store, active := n.store, n.active
	go func() {
		got, err := store.Recover()
		n.mu.Lock()
		n.got = got
		n.mu.Unlock()
		active <- err
	}()
}

func (n *storeNode) stop() {
	_ = n.store.Close() // a standby's Recover returns ErrClosed then
	_ = n.peers.Close()
}

// trio is a cluster of three nodes with stores.
type trio struct {
	t     testing.TB
	nodes []*storeNode
}

func newTrio(t testing.TB) *trio {
	c := &trio{t: t}
	dir := t.TempDir()
	var contacts []string
	for i := range 3 {
		n := &storeNode{t: t, name: fmt.Sprintf("n%d", i+1), dir: filepath.Join(dir, fmt.Sprint(i)), addr: freeAddress(t), logKeep: 1 << 30}
		must(t, os.MkdirAll(n.dir, 0o700))
		contacts = append(contacts, n.addr)
		c.nodes = append(c.nodes, n)
	}
	for _, n := range c.nodes {
		n.contacts = contacts
	}
	t.Cleanup(func() {
		for _, n := range c.nodes {
			if t.Failed() {
				n.tell()
			}
		}
	})
	return c
}

// newForgetfulTrio is a trio that is whole, whose logs keep nothing that is in a
// checkpoint, with its active node and one that may go away and be seeded.
func newForgetfulTrio(t testing.TB) (c *trio, lead, away *storeNode) {
	t.Helper()
	c = newTrio(t)
	for _, n := range c.nodes {
		n.logKeep = 1
		n.stand()
	}
	t.Cleanup(func() {
		for _, n := range c.nodes {
			n.stop()
		}
	})
	lead = c.waitActive()
	until(t, "three voters", func() bool { return lead.log.Status().Redundant == 3 })
	away = c.nodes[0]
	if away == lead {
		away = c.nodes[1]
	}
	return c, lead, away
}

// A standby that took over has every message, settlement and definition.
func TestAStandbyTakesOverWithTheWholeState(t *testing.T) {
	c := newTrio(t)
	for _, n := range c.nodes {
		n.stand()
	}
	first := c.waitActive()
	until(t, "three voters", func() bool { return first.log.Status().Redundant == 3 })
	commit(t, first.store, 0, 2000)
	must(t, first.store.Checkpoint())
	commit(t, first.store, 2000, 3000)
	done := make(chan struct{})
	first.store.Append(&broker.Batch{Settles: []broker.StoreSettle{{Lane: 1, First: 1, Count: 500}},
		Definitions: []broker.Definition{{Kind: "k", Key: "x", Value: []byte("y")}}, Then: told(done)})
	<-done
	first.stop()
	next := c.waitActive()
	defer func() {
		for _, n := range c.nodes {
			if n != first {
				n.stop()
			}
		}
	}()
	next.mu.Lock()
	defer next.mu.Unlock()
	if len(next.got.Lanes) != 1 || next.got.Lanes[0].Count != 2500 || next.got.Lanes[0].First != 501 || next.got.Lanes[0].Next != 3001 {
		t.Errorf("lanes = %+v, want 2500 messages from 501 on", next.got.Lanes)
	}
	if len(next.got.Definitions) != 1 || string(next.got.Definitions[0].Value) != "y" {
		t.Errorf("definitions = %+v", next.got.Definitions)
	}
}

type told chan struct{}

func (c told) Committed(*broker.Turn) { close(c) }

func commit(t testing.TB, s *persistence.Store, from, to int) {
	t.Helper()
	for from < to {
		done := make(chan struct{})
		b := &broker.Batch{Then: told(done)}
		for ; from < to && len(b.Publishes) < 100; from++ {
			b.Publishes = append(b.Publishes, broker.StorePublish{
				Msg: &broker.Message{RoutingKey: fmt.Sprint(from), Body: make([]byte, 1000)}, Targets: []broker.StoreTarget{{Lane: 1}}})
		}
		s.Append(b)
		select {
		case <-done:
		case <-time.After(deadline):
			t.Fatalf("a batch did not commit; the store stands at %+v", s.Stats())
		}
	}
}

// waitActive waits until one of the nodes has recovered. One that was deposed
// meanwhile starts anew, as its process would.
func (c *trio) waitActive() *storeNode {
	c.t.Helper()
	var found *storeNode
	until(c.t, "an active node", func() bool {
		for _, n := range c.nodes {
			select {
			case err := <-n.active:
				switch {
				case errors.Is(n.log.err(), ErrLeadershipLost):
					n.stop()
					n.stand()
				case err == nil:
					found = n
					return true
				}
			default:
			}
		}
		return false
	})
	return found
}
