package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	nethttp "net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/hermodmq/hermod/ha"
	"github.com/hermodmq/hermod/listeners/http"
	"github.com/hermodmq/hermod/persistence"
)

// Folders and files of the data folder.
const (
	logFolder   = "log"
	storeFolder = "store"
	seedFolder  = "store.seed"  // a store being received
	asideFolder = "store.aside" // the store of a node that became a witness
	snapFolder  = "snapshot-"   // links to a store being sent; only as long as the process lives
	joinFile    = "join"        // address of the cluster that this node joins at its next start
	contactFile = "join.member" // address of a member of the cluster that it joined by hand
)

const (
	// clusterStall is how long the disk of a cluster's node may hang: the
	// others can go on without it, but not as long as it leads.
	clusterStall = 5 * time.Second

	seedRetry = time.Second

	// answerLimit bounds how long a deposed node tells the one who asked for it
	// that it was deposed.
	answerLimit = 2 * time.Second

	// farewellLimit bounds how long a deposed node tells its clients that it goes.
	farewellLimit = 100 * time.Millisecond

	// handOverTimeout bounds the transfer before a leader stops.
	handOverTimeout = 5 * time.Second
)

// clockOffset shifts what the broker takes for the time of day; set once, at
// start. Waits and leases do not depend on it.
var clockOffset time.Duration

func wallClock() time.Time { return time.Now().Add(clockOffset) }

// clustering is what a node of a cluster has besides.
type clustering struct {
	peers     *ha.Peers
	snapshots atomic.Uint64 // serial of snapshot folders
	ending    atomic.Bool   // a signal has come: no starting over
	serving   atomic.Bool   // the listeners are open
	replaced  sync.Once
	relays    *relays // of a standby that relays; nil: it refuses
}

// openPeers settles what an earlier life left to be done and opens the port
// for the other nodes.
func (n *node) openPeers(o *ha.Options) error {
	c := n.config
	dir := c.DataDir
	if err := ha.InstallSeed(filepath.Join(dir, logFolder), filepath.Join(dir, storeFolder), filepath.Join(dir, seedFolder)); err != nil {
		return fmt.Errorf("installing the received store: %w", err)
	}
	if !c.HA.Enabled {
		return nil
	}
	contacts, err := n.prepareJoin()
	if err != nil {
		return err
	}
	leftovers, err := filepath.Glob(filepath.Join(dir, snapFolder+"*"))
	if err != nil {
		return err
	}
	for _, name := range leftovers {
		if err := os.RemoveAll(name); err != nil {
			return err
		}
	}
	secret, err := c.HA.ClusterSecret()
	if err != nil {
		return err
	}
	n.cluster.peers, err = ha.ListenPeers(ha.PeerOptions{
		Bind: c.HA.Bind, Advertise: c.HA.Advertise, Secret: secret,
		CertFile: c.HA.CertFile, KeyFile: c.HA.KeyFile, CAFile: c.HA.CAFile,
		Logger: n.log.With("component", "peers"),
	})
	if err != nil {
		return err
	}
	o.Peers, o.Contacts, o.Witness = n.cluster.peers, contacts, c.HA.Witness
	o.WitnessLog, o.DiskLow = int64(c.HA.WitnessLog), uint64(c.Limits.DiskFree)
	o.StallFatal = clusterStall
	o.Endpoints = n.openwireEndpoints(n.cluster.peers.Advertised())
	o.SeedRate = int64(c.HA.SeedRate)
	o.ElectionTimeout = c.HA.ElectionTimeout
	o.Seed = n.seed
	o.Snapshot = func() (*persistence.Snapshot, error) {
		return n.store.Snapshot(filepath.Join(dir, fmt.Sprint(snapFolder, n.cluster.snapshots.Add(1))))
	}
	n.announce("peers", peerAddress(n.cluster.peers.Advertised()))
	return nil
}

type peerAddress string

func (peerAddress) Network() string  { return "tcp" }
func (a peerAddress) String() string { return string(a) }

func (n *node) logKeep() int64 {
	if !n.config.HA.Enabled {
		return 0
	}
	return int64(n.config.HA.LogKeep)
}

// serveCluster is the story of a cluster's node: hot standby until it is the
// active one, then like a single node until a signal. Losing leadership starts
// the process over, as a standby.
func (n *node) serveCluster(signals chan os.Signal) error {
	if n.config.HA.Witness {
		return n.serveWitness(signals)
	}
	if err := inOrder(n.openStore, n.openMetrics, n.openAdmin, n.openRelays); err != nil {
		return err
	}
	fmt.Printf("hermod %s standby ready\n", version)
	active := make(chan error, 1)
	go func() { active <- n.serveClients() }()
	select {
	case err := <-active:
		if err != nil {
			return err
		}
	case <-signals:
		n.cluster.ending.Store(true)
		n.stopping(signals)
		return n.closeStandby()
	}
	n.cluster.peers.OnRelay(n.acceptRelayed)
	n.cluster.serving.Store(true)
	n.showMetrics()
	if n.admin != nil {
		n.admin.SetNode(n.adminNode())
	}
	fmt.Printf("hermod %s ready\n", version)
	<-signals
	n.cluster.ending.Store(true)
	n.stopping(signals)
	return n.closeActive()
}

// closeStandby makes a checkpoint, so that the next start is quick.
func (n *node) closeStandby() error {
	for _, stop := range n.stop {
		_ = stop() // the process ends
	}
	return n.store.Close()
}

// closeActive lets clients leave and another node take over. What was
// confirmed is in the log, so that there is nothing to wait for after that.
func (n *node) closeActive() error {
	ctx, cancel := context.WithTimeout(context.Background(), drainDeadline)
	defer cancel()
	if err := n.server.Shutdown(ctx); err != nil {
		n.log.Warn("clients did not leave in time", "error", err)
	}
	if err := errors.Join(n.stopClock(), n.retire()); err != nil {
		return err
	}
	if st := n.raft.Status(); len(st.Nodes) == 1 {
		for _, stop := range n.stop {
			_ = stop() // the process ends
		}
		return errors.Join(n.store.Close(), n.raft.Close())
	}
	done := make(chan error, 1)
	go func() { done <- n.raft.Transfer("") }()
	select {
	case err := <-done:
		if err != nil {
			n.log.Warn("stopping without a transfer", "error", err)
		}
	case <-time.After(handOverTimeout):
		n.log.Warn("stopping without a transfer", "error", "it takes too long")
	}
	return nil
}

// deposed is the end of an active node: another one may serve by now. All
// connections go at once, with the process, and a new life begins as a standby:
// nothing of the old one can be taken for the new state.
func (n *node) deposed() {
	if n.cluster.ending.Load() {
		return // closeActive goes on
	}
	n.log.Warn("leadership lost: closing all connections and starting over as a standby")
	if n.cluster.serving.Load() {
		n.server.Farewell(farewellLimit)
	}
	if n.admin != nil {
		n.admin.Answered(answerLimit)
	}
	n.startOver()
}

// startOver replaces this process by a new one of the same program, arguments
// and number. Files and sockets close with the old one.
func (n *node) startOver() {
	n.cluster.replaced.Do(func() {
		err := syscall.Exec("/proc/self/exe", os.Args, os.Environ())
		n.log.Error("cannot start over; ending", "error", err)
		os.Exit(3)
	})
}

// seed receives the leader's store and starts over with it.
func (n *node) seed(leader string) {
	if n.config.HA.Witness { // it holds nothing that could be received
		if !n.cluster.ending.Load() {
			n.startOver()
		}
		return
	}
	dir := filepath.Join(n.config.DataDir, seedFolder)
	for {
		err := errors.New("there is no leader")
		if leader != "" {
			err = n.raft.ReceiveSeed(context.Background(), leader, dir)
		}
		if n.cluster.ending.Load() {
			return
		}
		if err == nil {
			n.log.Info("the leader's store has arrived: starting over with it")
			n.startOver()
			return
		}
		n.log.Warn("receiving the leader's store failed; trying again", "leader", leader, "error", err)
		time.Sleep(seedRetry)
		leader = n.raft.Status().LeaderAddress
	}
}

// prepareJoin moves the old state aside if the node was told to join a
// cluster, and returns the contacts.
func (n *node) prepareJoin() ([]string, error) {
	dir := n.config.DataDir
	join := filepath.Join(dir, joinFile)
	member := filepath.Join(dir, contactFile)
	address, err := os.ReadFile(join)
	if err == nil {
		aside := filepath.Join(dir, fmt.Sprintf("before-join-%d", time.Now().Unix()))
		if err := os.MkdirAll(aside, 0o700); err != nil {
			return nil, err
		}
		for _, name := range []string{logFolder, storeFolder} {
			if err := os.Rename(filepath.Join(dir, name), filepath.Join(aside, name)); err != nil && !errors.Is(err, os.ErrNotExist) {
				return nil, err
			}
		}
		if err := os.WriteFile(member, address, 0o600); err != nil {
			return nil, err
		}
		n.log.Warn("joining a cluster; what this node held is set aside", "cluster", string(address), "old state", aside)
		err = os.Remove(join)
	}
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	contacts := n.config.HA.Peers
	if known, err := os.ReadFile(member); err == nil {
		contacts = append([]string{strings.TrimSpace(string(known))}, contacts...)
	}
	return contacts, nil
}

// joinByHand makes this node leave what it holds and join the cluster at
// address.
func (n *node) joinByHand(address string, force bool) error {
	if !n.config.HA.Enabled {
		return errors.New("ha.enabled is off")
	}
	if _, _, err := net.SplitHostPort(address); err != nil {
		return err
	}
	if len(n.raft.Status().Nodes) > 1 {
		return errors.New("this node belongs to a cluster: let it leave first")
	}
	if n.cluster.serving.Load() && n.core.Totals().Queues > 0 && !force {
		return errors.New("this node has queues, which it would leave behind; add the word force if that is meant")
	}
	if err := n.raft.Greet(address); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(n.config.DataDir, joinFile), []byte(address), 0o600); err != nil {
		return err
	}
	time.AfterFunc(100*time.Millisecond, n.startOver) // the answer goes out first
	return nil
}

// swapHandler is a handler that can be replaced while it serves.
type swapHandler struct {
	current atomic.Pointer[nethttp.Handler]
}

func (s *swapHandler) set(h nethttp.Handler) { s.current.Store(&h) }

func (s *swapHandler) ServeHTTP(w nethttp.ResponseWriter, r *nethttp.Request) {
	(*s.current.Load()).ServeHTTP(w, r)
}

// health is what /health says on a cluster's node.
type health struct {
	Verdict string `json:"status"` // ok, or why not
	DiskLow bool   `json:"disk_low"`
	ha.Status
}

// clusterHealth puts the cluster's health in front of h: a load balancer that
// asks for it finds the active node and no other. An alarm does not change
// that: consumers must get in, or what is short stays so.
func (n *node) clusterHealth(h nethttp.Handler) nethttp.Handler {
	mux := nethttp.NewServeMux()
	mux.Handle("/", h)
	mux.HandleFunc("GET /health/live", func(w nethttp.ResponseWriter, _ *nethttp.Request) {
		_, _ = w.Write([]byte("ok\n"))
	})
	if !n.config.HA.Enabled {
		return mux
	}
	core := n.core
	mux.HandleFunc("GET /health", func(w nethttp.ResponseWriter, _ *nethttp.Request) {
		r := health{Verdict: "ok", Status: n.raft.Status()}
		code := nethttp.StatusOK
		switch {
		case n.config.HA.Witness:
			r.Verdict, code = "witness", nethttp.StatusServiceUnavailable
		case core == nil || !n.cluster.serving.Load() || !r.Serving:
			r.Serving = false
			r.Verdict, code = "standby", nethttp.StatusServiceUnavailable
		case core.Alarms() != 0:
			// Publishers are held, but where else could consumers go?
			r.Verdict = "alarm: " + core.Alarms().String()
		}
		r.DiskLow = n.diskLow() || r.Status.DiskLow // a witness has no store that looks
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(code)
		_ = json.NewEncoder(w).Encode(r)
	})
	return mux
}

// clusterSamples are the log's numbers for /metrics.
func (n *node) clusterSamples() []http.Sample {
	st := n.raft.Status()
	count, total := n.raft.Commits()
	flag := func(b bool) float64 {
		if b {
			return 1
		}
		return 0
	}
	gauge := func(name, help string, v float64) http.Sample { return http.Sample{Name: name, Help: help, Value: v} }
	list := []http.Sample{
		gauge("hermod_raft_term", "Term of the log", float64(st.Term)),
		gauge("hermod_raft_last_index", "Last entry in the log", float64(st.LastIndex)),
		gauge("hermod_raft_applied_index", "Last entry in the state", float64(st.Applied)),
		{Name: "hermod_raft_commit_seconds_total", Help: "Time from the active node's append of groups of entries to their application", Counter: true, Value: total.Seconds()},
		{Name: "hermod_raft_commits_total", Help: "Groups of entries applied", Counter: true, Value: float64(count)},
		gauge("hermod_format_level", "Format level that the log has reached: older programs cannot read it", float64(st.Reached)),
		gauge("hermod_format_level_known", "Format level that this program knows", float64(st.Level)),
	}
	if !n.config.HA.Enabled {
		return list
	}
	var lag uint64
	reachable := 0
	list = append(list,
		gauge("hermod_ha_log_bytes", "Size of the log that this node keeps, for others and for itself", float64(st.LogBytes)),
		gauge("hermod_ha_witness", "1 on a witness", flag(st.Witness)))
	list = append(list, n.relaySamples()...)
	for _, m := range st.Nodes {
		if m.Reachable {
			reachable++
		}
		if m.Name != st.Name {
			lag = max(lag, m.Lag)
		}
	}
	if st.Role != ha.Leader {
		lag = st.Lag
	}
	return append(list,
		gauge("hermod_ha_leader", "1 on the leader", flag(st.Role == ha.Leader)),
		gauge("hermod_ha_serving", "1 on the active node", flag(st.Serving && n.cluster.serving.Load())),
		gauge("hermod_ha_quorum", "1 while a majority of voters answers (leader), or a leader is known (others)", flag(st.Quorum)),
		gauge("hermod_ha_members", "Nodes of the cluster", float64(len(st.Nodes))),
		gauge("hermod_ha_reachable", "Nodes that answer the leader, itself included", float64(reachable)),
		gauge("hermod_ha_redundancy", "Voters that hold everything, a witness that has all that a full node lacks among them; only on the leader", float64(st.Redundant)),
		gauge("hermod_ha_lag_entries", "Entries that this node (leader: the slowest other) has not applied yet", float64(lag)),
		gauge("hermod_ha_seed_bytes", "Bytes received of the store this node is being filled from", float64(st.SeedBytes)),
		gauge("hermod_ha_seed_total_bytes", "Bytes of the store this node is being filled from", float64(st.SeedTotal)),
	)
}
