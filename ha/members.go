package ha

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/hermodmq/hermod/persistence"
)

const (
	// helloInterval is how often an empty node looks for a cluster.
	helloInterval = 100 * time.Millisecond
	helloTimeout  = time.Second

	// pollInterval is how often the leader asks the others how they are.
	pollInterval = 200 * time.Millisecond
	pollTimeout  = time.Second

	// promoteLag is how many entries a new node may lack to become a voter.
	promoteLag = 64

	// memberTimeout bounds a change of members.
	memberTimeout = 10 * time.Second
)

// Role is what a node is at present.
type Role string

// The roles.
const (
	Leader    Role = "leader"    // serves, or is about to
	Follower  Role = "follower"  // hot standby
	Candidate Role = "candidate" // asks for votes
	Joining   Role = "joining"   // looks for the cluster, or catches up and does not vote yet
)

// NodeStatus is how one node is, by its own account.
type NodeStatus struct {
	Name    string `json:"name"`
	Address string `json:"address"`
	Version string `json:"version"`
	Role    Role   `json:"role"`
	Serving bool   `json:"serving"` // it is the active node
	Voter   bool   `json:"voter"`
	Witness bool   `json:"witness"`

	Term      uint64 `json:"term"`
	LastIndex uint64 `json:"last_index"`  // last entry in its log
	Applied   uint64 `json:"applied"`     // last entry in its state
	Cut       uint64 `json:"cut"`         // entries up to here are in its checkpoint; on a witness: in those of the full nodes
	First     uint64 `json:"first_index"` // first entry in its log; 0: none
	LogBytes  int64  `json:"log_bytes"`   // size of its log, without the room that files have left
	DiskLow   bool   `json:"disk_low"`    // its disk is nearly full
	Lag       uint64 `json:"lag_entries"` // entries that the leader has and it has not applied

	Leader        string  `json:"leader"`         // name of the leader it knows, "" if none
	LeaderAddress string  `json:"leader_address"` // peer address
	LastContact   float64 `json:"last_contact"`   // seconds since it heard from the leader; 0 on the leader
	Reachable     bool    `json:"reachable"`

	SeedBytes int64 `json:"seed_bytes"` // received so far, if it is being seeded
	SeedTotal int64 `json:"seed_total"`

	Level uint32 `json:"format_level"` // that its program knows; 0 also for one that tells none

	Endpoints map[string]string `json:"endpoints,omitempty"` // Options.Endpoints
}

// Status is a node's view of the cluster.
type Status struct {
	NodeStatus
	Quorum    bool         `json:"quorum"`               // a majority of voters answers; only the leader knows
	Redundant int          `json:"redundant"`            // voters that hold everything confirmed up to a moment ago, a witness that has what any full node lacks among them; only the leader knows
	Reached   uint32       `json:"cluster_format_level"` // that the log has reached
	Nodes     []NodeStatus `json:"nodes"`                // all members; complete on the leader only
}

// members is what a Log keeps about the others.
type members struct {
	mu       sync.Mutex
	others   map[string]NodeStatus // by name, from the last poll
	leader   uint64                // last index of the leader, as it told
	safe     uint64                // all full voters have the entries up to here, as the leader told
	changing sync.Mutex            // one change of members, or of the level, at a time

	leveled  persistence.Leveled // the Applier, if it is one
	onAgreed func(level uint32)  // nil before OnAgreed
	level    uint32              // that the log will have reached, or has, as the leader told

	seedOnce           sync.Once
	seedDone, seedSize func() int64
	joining            bool
}

type helloReply struct {
	Name    string `json:"name"`
	Member  bool   `json:"member"` // it belongs to a cluster
	Leader  string `json:"leader"` // peer address of the leader it knows
	Version string `json:"version"`
	Reached uint32 `json:"cluster_format_level"`
}

type joinRequest struct {
	Name    string `json:"name"`
	Address string `json:"address"`
	Empty   bool   `json:"empty"` // it has no state: if it was a voter, its votes are forgotten
	Witness bool   `json:"witness"`
	Level   uint32 `json:"format_level"`
}

type joinReply struct {
	Leader string `json:"leader,omitempty"` // ask there
}

type pollRequest struct {
	LastIndex uint64 `json:"last_index"`
	Safe      uint64 `json:"safe"` // every full voter has all entries up to here; 0: not known
	Reached   uint32 `json:"cluster_format_level"`
}

type leaveRequest struct {
	Name string `json:"name"`
}

// founds decides what an empty log begins as: true for a cluster of this node
// alone. With contacts it first asks them, so that a node that has lost its
// disk comes back as a new one and does not vote as the one it was: it may
// have confirmed what it no longer has.
func (l *Log) founds() (bool, error) {
	l.serveControl()
	last, err := l.store.LastIndex()
	if err != nil || last > 0 || l.snapshots.manifest().Index > 0 {
		return false, err
	}
	if l.opts.Peers == nil {
		return true, nil
	}
	others, first := l.contacts()
	if len(others) == 0 {
		if l.opts.Witness {
			return false, errors.New("a witness needs the addresses of other nodes")
		}
		return true, nil
	}
	l.members.setJoining(true)
	defer l.members.setJoining(false)
	l.opts.Logger.Info("looking for the cluster", "contacts", others)
	for wait := time.Duration(0); ; wait = helloInterval {
		select {
		case <-time.After(wait):
		case <-l.failed:
			return false, l.err()
		case <-l.done:
			return false, ErrClosed
		}
		silent, member := l.hello(others)
		if member != "" {
			err := l.join(member, true)
			if err == nil || errors.Is(err, ErrLevel) {
				return false, err
			}
			l.opts.Logger.Warn("cannot join the cluster yet", "through", member, "error", err)
			wait = helloTimeout
			continue
		}
		// Only when all have said that they are new, too, can there be no
		// cluster that this node once belonged to.
		if first && silent == 0 && !l.opts.Witness {
			l.opts.Logger.Info("founding the cluster")
			return true, nil
		}
	}
}

// Greet checks that a node of a cluster with this one's secret answers at
// address.
func (l *Log) Greet(address string) error {
	if l.opts.Peers == nil {
		return errors.New("ha: there is no port for peers")
	}
	ctx, cancel := context.WithTimeout(context.Background(), memberTimeout)
	defer cancel()
	var reply helloReply
	if err := l.opts.Peers.call(ctx, address, "hello", struct{}{}, &reply); err != nil {
		return err
	}
	switch {
	case !reply.Member:
		return fmt.Errorf("%s belongs to no cluster yet", address)
	case reply.Name == l.opts.NodeID:
		return fmt.Errorf("%s is called %q, too: give each node its own node.name", address, reply.Name)
	}
	return l.opts.fits(reply)
}

// contacts are the addresses of the others, and whether this node is the first
// of all.
func (l *Log) contacts() (others []string, first bool) {
	self := l.opts.Peers.Advertised()
	for i, a := range l.opts.Contacts {
		if a == self {
			first = i == 0
			continue
		}
		others = append(others, a)
	}
	return others, first
}

// hello asks all of others who they are. It returns how many do not answer and
// the address of one that belongs to a cluster.
func (l *Log) hello(others []string) (silent int, member string) {
	ctx, cancel := context.WithTimeout(context.Background(), helloTimeout)
	defer cancel()
	replies := make([]helloReply, len(others))
	errs := make([]error, len(others))
	var wg sync.WaitGroup
	for i, a := range others {
		wg.Go(func() { errs[i] = l.opts.Peers.call(ctx, a, "hello", struct{}{}, &replies[i]) })
	}
	wg.Wait()
	for i, r := range replies {
		switch {
		case errs[i] != nil:
			silent++
		case r.Member && member == "":
			member = others[i]
		}
	}
	return silent, member
}

// join asks to be let in through any member, and follows it to the leader.
func (l *Log) join(member string, empty bool) error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*memberTimeout)
	defer cancel()
	var greeting helloReply
	if err := l.opts.Peers.call(ctx, member, "hello", struct{}{}, &greeting); err != nil {
		return err
	}
	if err := l.opts.fits(greeting); err != nil {
		return err
	}
	req := joinRequest{Name: l.opts.NodeID, Address: l.opts.Peers.Advertised(), Empty: empty, Witness: l.opts.Witness, Level: l.opts.knows()}
	for range 4 {
		var reply joinReply
		if err := l.opts.Peers.call(ctx, member, "join", req, &reply); err != nil {
			return err
		}
		if reply.Leader == "" {
			return nil
		}
		member = reply.Leader
	}
	return errors.New("ha: nobody knows who leads")
}

// serveControl answers the other nodes.
func (l *Log) serveControl() {
	p := l.opts.Peers
	if p == nil {
		return
	}
	p.handle("hello", func(context.Context, json.RawMessage) (any, error) {
		_, leader, _ := l.whoLeads()
		return helloReply{Name: l.opts.NodeID, Member: l.isMember(), Leader: leader, Version: l.opts.Version, Reached: l.reached()}, nil
	})
	p.handle("join", func(ctx context.Context, raw json.RawMessage) (any, error) {
		var req joinRequest
		if err := json.Unmarshal(raw, &req); err != nil {
			return nil, err
		}
		return l.admit(ctx, req)
	})
	p.handle("poll", func(_ context.Context, raw json.RawMessage) (any, error) {
		var req pollRequest
		if err := json.Unmarshal(raw, &req); err != nil {
			return nil, err
		}
		l.members.mu.Lock()
		l.members.leader = max(l.members.leader, req.LastIndex)
		l.members.safe = max(l.members.safe, req.Safe)
		l.members.mu.Unlock()
		l.members.toldLevel(req.Reached)
		return l.own(), nil
	})
	p.handle("status", func(context.Context, json.RawMessage) (any, error) { return l.Status(), nil })
	p.handle("leave", func(ctx context.Context, raw json.RawMessage) (any, error) {
		var req leaveRequest
		if err := json.Unmarshal(raw, &req); err != nil {
			return nil, err
		}
		return nil, l.remove(ctx, req.Name)
	})
	p.mu.Lock()
	p.seed = l.serveSeed
	p.mu.Unlock()
}

// isMember says whether this node belongs to a cluster, if only its own.
func (l *Log) isMember() bool {
	r := l.raft.Load()
	return r != nil && len(r.GetConfiguration().Configuration().Servers) > 0
}

// whoLeads names the leader; self says that it is this node.
func (l *Log) whoLeads() (name, address string, self bool) {
	r := l.raft.Load()
	if r == nil {
		return "", "", false
	}
	a, id := r.LeaderWithID()
	return string(id), string(a), r.State() == raft.Leader
}

func names(servers []raft.Server) []string {
	var list []string
	for _, s := range servers {
		list = append(list, string(s.ID))
	}
	return list
}

func (l *Log) servers() []raft.Server {
	if r := l.raft.Load(); r != nil {
		return r.GetConfiguration().Configuration().Servers
	}
	return nil
}

func server(servers []raft.Server, name string) (raft.Server, bool) {
	for _, s := range servers {
		if string(s.ID) == name {
			return s, true
		}
	}
	return raft.Server{}, false
}

// admit lets a node in as one that does not vote, until it has caught up. It
// runs on the leader; others say who that is.
func (l *Log) admit(ctx context.Context, req joinRequest) (joinReply, error) {
	_, leader, self := l.whoLeads()
	if !self {
		if leader == "" {
			return joinReply{}, errors.New("there is no leader at present")
		}
		return joinReply{Leader: leader}, nil
	}
	if req.Name == l.opts.NodeID {
		return joinReply{}, fmt.Errorf("node name %q is taken: give each node its own node.name", req.Name)
	}
	r := l.raft.Load()
	if !l.leading.Load() { // a level may be on its way from the log to the Applier
		if err := r.Barrier(memberTimeout).Error(); err != nil {
			return joinReply{}, err
		}
	}
	l.members.changing.Lock()
	defer l.members.changing.Unlock()
	if reached := l.reached(); req.Level < reached {
		return joinReply{}, fmt.Errorf("node %q is refused: %w", req.Name, tooOld(reached, req.Level))
	}
	old, known := server(l.servers(), req.Name)
	if known && string(old.Address) != req.Address && l.answersAs(ctx, string(old.Address), req.Name) {
		return joinReply{}, fmt.Errorf("node name %q is taken by %s: give each node its own node.name", req.Name, old.Address)
	}
	if known && !req.Empty {
		if string(old.Address) == req.Address {
			return joinReply{}, nil
		}
		if old.Suffrage == raft.Voter {
			return joinReply{}, r.AddVoter(old.ID, raft.ServerAddress(req.Address), 0, memberTimeout).Error()
		}
	}
	if known && old.Suffrage == raft.Voter {
		l.opts.Logger.Warn("a voter has lost its state and comes back as a new node", "node", req.Name)
		if err := r.RemoveServer(old.ID, 0, memberTimeout).Error(); err != nil {
			return joinReply{}, err
		}
	}
	l.opts.Logger.Info("a node joins", "node", req.Name, "address", req.Address)
	return joinReply{}, r.AddNonvoter(raft.ServerID(req.Name), raft.ServerAddress(req.Address), 0, memberTimeout).Error()
}

// answersAs says whether a node of that name is alive at address.
func (l *Log) answersAs(ctx context.Context, address, name string) bool {
	ctx, cancel := context.WithTimeout(ctx, helloTimeout)
	defer cancel()
	var reply helloReply
	return l.opts.Peers.call(ctx, address, "hello", struct{}{}, &reply) == nil && reply.Name == name && reply.Member
}

// startMembers looks after the members for as long as the log is open.
func (l *Log) startMembers() {
	if l.opts.Peers == nil {
		return
	}
	l.watchLeader()
	l.watcher.Go(func() {
		tick := time.NewTicker(pollInterval)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				l.lookAfter()
				l.forget()
			case <-l.failed:
				return
			case <-l.done:
				return
			}
		}
	})
}

// lookAfter is the leader's round: it asks the others how they are, corrects
// its own address in the configuration, and makes voters of those that have
// caught up.
func (l *Log) lookAfter() {
	r := l.raft.Load()
	if r.State() != raft.Leader {
		return
	}
	servers := l.servers()
	self, _ := server(servers, l.opts.NodeID)
	if a := l.opts.Peers.Advertised(); string(self.Address) != a {
		l.change(func() error { return r.AddVoter(self.ID, raft.ServerAddress(a), 0, memberTimeout).Error() }, "change this node's address")
	}
	l.poll(servers)
	l.agree()
	for _, s := range servers {
		if s.Suffrage == raft.Voter {
			continue
		}
		st, ok := l.members.get(string(s.ID))
		if ok && st.Reachable && st.Applied+promoteLag >= r.LastIndex() {
			l.opts.Logger.Info("a node has caught up and votes from now on", "node", st.Name)
			l.change(func() error { return r.AddVoter(s.ID, s.Address, 0, memberTimeout).Error() }, "make a node a voter")
		}
	}
}

func (l *Log) change(f func() error, what string) {
	l.members.changing.Lock()
	defer l.members.changing.Unlock()
	if err := f(); err != nil && l.ready() == nil {
		l.opts.Logger.Warn("cannot "+what+" now", "error", err)
	}
}

// poll asks all others at once.
func (l *Log) poll(servers []raft.Server) {
	ctx, cancel := context.WithTimeout(context.Background(), pollTimeout)
	defer cancel()
	last := l.raft.Load().LastIndex()
	req := pollRequest{last, l.safe(servers), l.reached()}
	var wg sync.WaitGroup
	for _, s := range servers {
		if string(s.ID) == l.opts.NodeID {
			continue
		}
		wg.Go(func() {
			var st NodeStatus
			err := l.opts.Peers.call(ctx, string(s.Address), "poll", req, &st)
			if err == nil && st.Name != string(s.ID) {
				err = fmt.Errorf("it is %q", st.Name)
			}
			l.members.note(s, st, last, err)
		})
	}
	wg.Wait()
	l.members.keep(servers)
}

func (m *members) get(name string) (NodeStatus, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	st, ok := m.others[name]
	return st, ok
}

// note records the outcome of a poll; of a node that did not answer the last
// known state stays.
func (m *members) note(s raft.Server, st NodeStatus, last uint64, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.others == nil {
		m.others = map[string]NodeStatus{}
	}
	name := string(s.ID)
	if err != nil {
		st = m.others[name]
		st.Name = name
	}
	st.Reachable = err == nil
	st.Address = string(s.Address)
	st.Voter = s.Suffrage == raft.Voter
	st.Lag = last - min(st.Applied, last)
	m.others[name] = st
}

// keep forgets all but servers.
func (m *members) keep(servers []raft.Server) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for name := range m.others {
		if _, ok := server(servers, name); !ok {
			delete(m.others, name)
		}
	}
}

func (m *members) setJoining(on bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.joining = on
}

// own is this node's account of itself.
func (l *Log) own() NodeStatus {
	st := NodeStatus{
		Name: l.opts.NodeID, Version: l.opts.Version, Role: Joining, Witness: l.opts.Witness,
		Applied: l.handed.Load(), Reachable: true, Serving: l.leading.Load(),
		Level:     l.opts.knows(),
		DiskLow:   l.diskLow(),
		Endpoints: l.opts.Endpoints,
	}
	if l.opts.Peers != nil {
		st.Address = l.opts.Peers.Advertised()
	}
	l.members.mu.Lock()
	known := l.members.leader
	if l.members.seedSize != nil {
		st.SeedBytes, st.SeedTotal = l.members.seedDone(), l.members.seedSize()
	}
	l.members.mu.Unlock()
	r := l.raft.Load()
	if r == nil {
		return st
	}
	st.Term, st.LastIndex, st.Cut = r.CurrentTerm(), r.LastIndex(), l.snapshots.manifest().Index
	st.First, st.LogBytes = l.store.extent()
	// Entries of raft's own are never handed to the Applier.
	if applied := r.AppliedIndex(); applied > st.Applied && l.gate.idle() {
		st.Applied = applied
	}
	st.Voter = isVoter(l.servers(), raft.ServerID(l.opts.NodeID))
	var leaderAddress string
	st.Leader, leaderAddress, _ = l.whoLeads()
	st.LeaderAddress = leaderAddress
	switch r.State() {
	case raft.Leader:
		st.Role = Leader
		known = st.LastIndex
	case raft.Candidate:
		st.Role = Candidate
	case raft.Follower:
		if st.Voter {
			st.Role = Follower
		}
		if at := r.LastContact(); !at.IsZero() {
			st.LastContact = time.Since(at).Seconds()
		}
	}
	st.Lag = max(known, st.LastIndex) - min(st.Applied, max(known, st.LastIndex))
	return st
}

// Status is this node's view of the cluster. It is cheap and never waits.
func (l *Log) Status() Status {
	st := Status{NodeStatus: l.own(), Reached: l.reached()}
	servers := l.servers()
	voters, reached := 0, 0
	for _, s := range servers {
		n := NodeStatus{Name: string(s.ID), Address: string(s.Address), Voter: s.Suffrage == raft.Voter}
		if n.Name == l.opts.NodeID {
			n = st.NodeStatus
		} else if known, ok := l.members.get(n.Name); ok && st.Role == Leader {
			n = known
		}
		st.Nodes = append(st.Nodes, n)
	}
	for _, n := range st.Nodes {
		if n.Voter {
			voters++
			if n.Reachable {
				reached++
				if n.Lag <= promoteLag && !n.lacks(st.Nodes) {
					st.Redundant++
				}
			}
		}
	}
	if st.Role == Leader {
		st.Quorum = reached > voters/2
	} else {
		st.Redundant = 0
		st.Quorum = st.Leader != ""
	}
	return st
}

// replicating says whether raft reads the log for other voters.
func (l *Log) replicating() bool {
	r := l.raft.Load()
	if l.opts.Stream == nil || r == nil || r.State() != raft.Leader {
		return false
	}
	return len(l.servers()) > 1
}

// Leave takes a node out of the cluster, wherever it is called; name "" is
// this node. The leader itself must hand over first.
func (l *Log) Leave(ctx context.Context, name string) error {
	if err := l.ready(); err != nil {
		return err
	}
	if name == "" {
		name = l.opts.NodeID
	}
	_, leader, self := l.whoLeads()
	switch {
	case self:
		return l.remove(ctx, name)
	case leader == "" || l.opts.Peers == nil:
		return errors.New("ha: there is no leader at present")
	}
	return l.opts.Peers.call(ctx, leader, "leave", leaveRequest{name}, nil)
}

// remove takes a node out of the configuration; it runs on the leader.
func (l *Log) remove(_ context.Context, name string) error {
	r := l.raft.Load()
	if r == nil || r.State() != raft.Leader {
		return errors.New("this node does not lead")
	}
	if name == l.opts.NodeID {
		return errors.New("the leader cannot leave: transfer leadership first")
	}
	if _, ok := server(l.servers(), name); !ok {
		return fmt.Errorf("no member %q; there are %v", name, names(l.servers()))
	}
	l.members.changing.Lock()
	defer l.members.changing.Unlock()
	return r.RemoveServer(raft.ServerID(name), 0, memberTimeout).Error()
}
