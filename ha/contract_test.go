package ha

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/hermodmq/hermod/broker"
	"github.com/hermodmq/hermod/persistence"
	"github.com/hermodmq/hermod/persistence/storetest"
	"github.com/hermodmq/hermod/persistence/vfs"
)

// The contract of broker.Store holds for a cluster of three as for one node.
// Its restarts are restarts of all nodes; its power failures befall all nodes
// and the active one alone, in turns.
func TestStoreContractOnThreeNodes(t *testing.T) {
	storetest.Run(t, func(t *testing.T) storetest.Opened {
		r := newReplicas(t)
		return storetest.Opened{
			Store: r.open(), Slow: true,
			Reopen: func() broker.Store { r.startAll(); return &activeStore{replicas: r} },
			Crash:  func() broker.Store { r.crash(); return &activeStore{replicas: r} },
			Hold:   r.hold,
		}
	})
}

// contractInFlight is what a replica takes in before it is congested.
const contractInFlight = 1 << 20

// replica is a node with a store on a simulated disk.
type replica struct {
	name, addr string
	disk       *vfs.MemFS
	slow       *switched // its disk's faults
	peers      *Peers
	log        *Log
	store      *persistence.Store
	active     chan recovery
}

type recovery struct {
	got *broker.Recovered
	err error
}

// replicas are three of them.
type replicas struct {
	t       *testing.T
	nodes   []*replica
	addrs   []string
	active  *replica
	crashes int64

	mu       sync.Mutex
	failures []string
	ending   sync.WaitGroup // nodes that lost their power and wind down
}

func newReplicas(t *testing.T) *replicas {
	r := &replicas{t: t}
	for i := range 3 {
		n := &replica{name: fmt.Sprintf("n%d", i+1), addr: freeAddress(t), disk: vfs.NewMem()}
		r.nodes, r.addrs = append(r.nodes, n), append(r.addrs, n.addr)
	}
	t.Cleanup(func() {
		r.stopAll() // a test that failed half-way closed nothing
		r.ending.Wait()
		r.mu.Lock()
		defer r.mu.Unlock()
		if t.Failed() {
			t.Logf("failures of nodes, in order: %s", r.failures[max(0, len(r.failures)-12):])
		}
	})
	return r
}

func (r *replicas) note(n *replica, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failures = append(r.failures, fmt.Sprintf("%s after %d crashes: %v", n.name, r.crashes, err))
}

// open starts a new cluster and returns when it is whole.
func (r *replicas) open() broker.Store {
	r.t.Helper()
	for _, n := range r.nodes {
		r.start(n)
	}
	s := &activeStore{replicas: r}
	until(r.t, "three voters that know each other's format level", func() bool {
		for _, n := range r.nodes {
			if st := n.log.Status(); st.Redundant == 3 && st.Reached == persistence.FormatLevel {
				return true
			}
		}
		return false
	})
	return s
}

func (r *replicas) start(n *replica) {
	r.t.Helper()
	n.peers, n.log, n.store = nil, nil, nil
	var err error
	n.peers, err = ListenPeers(PeerOptions{Bind: n.addr, Secret: testSecret, Logger: quiet})
	must(r.t, err)
	n.slow = &switched{}
	disk := vfs.Faulty(n.disk, n.slow)
	ignore := func(err error) { r.note(n, err) } // a node that loses its power or the lead fails
	n.log, err = Open(Options{
		Dir: "log", FS: disk, NodeID: n.name, Logger: quiet, SegmentSize: 256 << 10,
		Peers: n.peers, Contacts: r.addrs, Fatal: ignore, ElectionTimeout: patientElection,
	})
	must(r.t, err)
	n.store, err = persistence.Open(persistence.Options{
		Dir: "store", FS: disk, PlainMeta: true, Log: n.log, Logger: quiet, Cluster: true, CheckpointInterval: time.Hour, LogKeep: 1 << 30,
		MemtableSize: 1 << 20, SegmentSize: 256 << 10, BlockSize: 4 << 10, EntrySize: 16 << 10, InFlightBytes: contractInFlight, Fatal: ignore,
	})
	must(r.t, err)
	n.active = make(chan recovery, 1)
	store, active := n.store, n.active
	r.ending.Go(func() {
		got, err := store.Recover()
		active <- recovery{got, err}
	})
}

// startAll starts all nodes again, and an election at once: the timers that
// make it happen by itself have tests of their own.
func (r *replicas) startAll() {
	for _, n := range r.nodes {
		r.start(n)
	}
	r.elect()
}

func (r *replicas) elect() {
	var best *replica
	var most partingReply
	for _, n := range r.nodes {
		until(r.t, "raft on "+n.name, func() bool { return n.log.raft.Load() != nil && len(n.log.servers()) == 3 })
		last := n.log.raft.Load().LastIndex()
		term, _ := n.log.termOf(last)
		if reply := (partingReply{Name: n.name, LastTerm: term, LastIndex: last}); best == nil || reply.before(most) {
			best, most = n, reply
		}
	}
	if best.log.raft.Load().State() == raft.Follower { // it has not called one by itself
		best.log.callElection()
	}
}

// crash cuts the power of all nodes, or of the active one, which comes back.
func (r *replicas) crash() {
	victims := r.nodes
	if r.crashes++; r.crashes%2 == 0 {
		victims = []*replica{r.active}
	}
	for _, n := range victims {
		_ = n.peers.Close() // from here on nothing commits that others know of and it does not
	}
	for _, n := range victims {
		log := n.log
		n.disk = n.disk.CrashClone(r.crashes)
		r.ending.Go(func() { // on a disk that is no longer anybody's; its store waits for it for good
			log.fail(errors.New("no power"))
			_ = log.Close()
		})
	}
	for _, n := range victims {
		r.start(n)
	}
	if len(victims) == len(r.nodes) {
		r.elect()
	}
}

// hold makes the disks of both standbys hang.
func (r *replicas) hold() (release func()) {
	gate := make(chan struct{})
	for _, n := range r.nodes {
		if n != r.active {
			n.slow.set(vfs.InjectorFunc(func(op vfs.Op) vfs.Fault {
				if op.Kind == vfs.OpSync {
					return vfs.Fault{Wait: gate}
				}
				return vfs.Fault{}
			}))
		}
	}
	return func() { close(gate) }
}

// activeStore is the store of whichever node is active.
type activeStore struct {
	*persistence.Store
	replicas *replicas
}

func (s *activeStore) Recover() (*broker.Recovered, error) {
	timeout := time.After(deadline)
	for {
		for _, n := range s.replicas.nodes {
			select {
			case r := <-n.active:
				if r.err == nil {
					s.replicas.active, s.Store = n, n.store
					return r.got, nil
				}
			default:
			}
		}
		select {
		case <-timeout:
			return nil, errors.New("no node became active")
		case <-time.After(time.Millisecond):
		}
	}
}

// Close stops all nodes, the active one first.
func (s *activeStore) Close() error {
	err := s.replicas.active.stop()
	s.replicas.stopAll()
	return err
}

// stopAll stops the nodes that run.
func (r *replicas) stopAll() {
	for _, n := range r.nodes {
		_ = n.stop() // it may have come to lead and lost that again
	}
}

// stop closes what start opened, once. A store whose log has failed would wait
// for commits that never come, in a process that ends: only its log is closed.
func (n *replica) stop() error {
	peers, log, store := n.peers, n.log, n.store
	n.peers, n.log, n.store = nil, nil, nil
	var err error
	if store != nil {
		closed := make(chan error, 1)
		go func() { closed <- store.Close() }()
		select {
		case err = <-closed:
		case <-log.failed:
			err = log.err()
		}
	}
	if log != nil {
		_ = log.Close() // the store has, unless it was given up
	}
	if peers != nil {
		_ = peers.Close()
	}
	return err
}

// While neither standby's disk answers nothing commits, and the active node
// takes in no more than its bound before it says that it is congested:
// publishers wait. All of it commits when the disks are back.
func TestASlowQuorumHoldsPublishersBack(t *testing.T) {
	r := newReplicas(t)
	s := r.open()
	if _, err := s.Recover(); err != nil {
		t.Fatal(err)
	}
	release := r.hold()
	const size = 10 << 10
	var taken []told
	for !s.Congested() {
		d := make(told)
		s.Append(&broker.Batch{Then: d, Publishes: []broker.StorePublish{{
			Msg: &broker.Message{RoutingKey: "k", Body: make([]byte, size)}, Targets: []broker.StoreTarget{{Lane: 1}}}}})
		if taken = append(taken, d); len(taken)*size > 2*contractInFlight {
			t.Fatalf("%d bytes are taken in and it is not congested", len(taken)*size)
		}
	}
	select {
	case <-taken[len(taken)-1]:
		t.Error("something was confirmed that no standby has")
	default:
	}
	relieved := make(told)
	s.OnRelief(func() { close(relieved) })
	release()
	for _, d := range append(taken, relieved) {
		select {
		case <-d:
		case <-time.After(deadline):
			t.Fatal("not everything committed after the disks were back")
		}
	}
	for _, n := range r.nodes {
		until(t, n.name+" to have it all", func() bool { return n.log.Status().Applied >= r.active.log.Status().Applied })
	}
	must(t, s.Close())
}
