package ha

import (
	"context"
	"encoding/json"
	"errors"
	"math/rand/v2"
	"syscall"
	"time"

	"github.com/hashicorp/raft"
)

// A leader that is killed takes its connections and its port with it, and
// whoever stands by can know that at once, long before heartbeats are missed.
// A standby whose connection from the leader ends asks at the leader's
// address. If nobody listens there any more, or somebody who does not lead, it
// asks the other voters for the same. When a majority finds no leader, the one
// of them that has most calls an election, and the others only if that comes
// to nothing.
//
// Nothing here is needed: a leader that is frozen or cut off answers nobody
// and is missed by its heartbeats. And nothing here can do harm to what is
// stored: an election is always safe, and one that was not needed costs
// the time of an election.

const (
	// partingLimit bounds how long one node looks for an answer at the leader's
	// address. partingRetry is between two looks.
	partingLimit = 300 * time.Millisecond
	partingRetry = 10 * time.Millisecond

	// successionPatience is what those who have less leave the first one for
	// its election, at least; up to as long again is added by chance.
	successionPatience = 250 * time.Millisecond
)

type partingRequest struct {
	Leader string `json:"leader"` // peer address of the leader that seems to be gone
}

// partingReply is what a voter says to that: whether it finds no leader
// either, and the end of its log.
type partingReply struct {
	Name      string `json:"name"`
	Gone      bool   `json:"gone"`
	Witness   bool   `json:"witness"`
	LastTerm  uint64 `json:"last_term"`
	LastIndex uint64 `json:"last_index"`
}

// before says whether r calls an election rather than o.
func (r partingReply) before(o partingReply) bool {
	switch {
	case r.Witness != o.Witness:
		return o.Witness
	case r.LastTerm != o.LastTerm:
		return r.LastTerm > o.LastTerm
	case r.LastIndex != o.LastIndex:
		return r.LastIndex > o.LastIndex
	}
	return r.Name < o.Name
}

// watchLeader acts on the ends of raft connections, for as long as the log is
// open.
func (l *Log) watchLeader() {
	parted := make(chan struct{}, 1)
	l.opts.Peers.onRaftEnd(func() {
		select {
		case parted <- struct{}{}:
		default:
		}
	})
	l.opts.Peers.handle("parting", func(ctx context.Context, raw json.RawMessage) (any, error) {
		var req partingRequest
		if err := json.Unmarshal(raw, &req); err != nil {
			return nil, err
		}
		return l.parting(ctx, req.Leader), nil
	})
	l.watcher.Go(func() {
		for {
			select {
			case <-parted:
				l.succeed()
			case <-l.failed:
				return
			case <-l.done:
				return
			}
		}
	})
}

// parting is this node's answer to the question whether the leader at an
// address is gone.
func (l *Log) parting(ctx context.Context, leader string) partingReply {
	r := l.raft.Load()
	reply := partingReply{Name: l.opts.NodeID, Witness: l.opts.Witness}
	reply.LastTerm, reply.LastIndex = l.end()
	if r.State() == raft.Leader {
		return reply
	}
	_, known, _ := l.whoLeads()
	reply.Gone = known == "" || known == leader && l.gone(ctx, leader)
	return reply
}

// end is the end of this node's log.
func (l *Log) end() (term, index uint64) {
	index = l.raft.Load().LastIndex()
	if t, err := l.termOf(index); err == nil {
		term = t
	}
	return term, index
}

// gone asks at the leader's address. An address that does not answer at all
// says nothing: the node may be frozen, or cut off from this one only.
func (l *Log) gone(ctx context.Context, leader string) bool {
	ctx, cancel := context.WithTimeout(ctx, partingLimit)
	defer cancel()
	for {
		var reply helloReply
		err := l.opts.Peers.call(ctx, leader, "hello", struct{}{}, &reply)
		switch {
		case err == nil:
			return reply.Leader == ""
		case errors.Is(err, syscall.ECONNREFUSED):
			return true
		}
		select {
		case <-ctx.Done():
			return false
		case <-l.done:
			return false
		case <-time.After(partingRetry):
		}
	}
}

// succeed calls an election if the leader is gone and it is this node's turn.
func (l *Log) succeed() {
	r := l.raft.Load()
	term := r.CurrentTerm()
	_, leader, _ := l.whoLeads()
	servers := l.servers()
	if leader == "" || r.State() != raft.Follower || l.opts.Witness || !isVoter(servers, raft.ServerID(l.opts.NodeID)) {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*partingLimit)
	defer cancel()
	self := l.parting(ctx, leader)
	if !self.Gone {
		return
	}
	voters, agreed, first := 0, 0, true
	var others []partingReply
	replies := make(chan partingReply, len(servers))
	for _, s := range servers {
		if s.Suffrage != raft.Voter {
			continue
		}
		voters++
		if string(s.ID) == self.Name || string(s.Address) == leader {
			continue
		}
		go func() {
			var reply partingReply
			_ = l.opts.Peers.call(ctx, string(s.Address), "parting", partingRequest{leader}, &reply) // no answer is no agreement
			replies <- reply
		}()
	}
	agreed++ // this node
	for waiting := voters - 2; waiting > 0 && agreed <= voters/2; waiting-- {
		if reply := <-replies; reply.Gone {
			agreed++
			others = append(others, reply)
		}
	}
	// What the leader sent last may have arrived meanwhile: with what it had before
	// each would leave the other the precedence.
	self.LastTerm, self.LastIndex = l.end()
	for _, o := range others {
		first = first && self.before(o)
	}
	if agreed <= voters/2 {
		return
	}
	if !first {
		select {
		case <-time.After(successionPatience + rand.N(successionPatience)): // not all at once
		case <-l.done:
			return
		}
	}
	// The same address may lead again by now, in another term.
	if _, now, _ := l.whoLeads(); now != leader || r.CurrentTerm() != term || r.State() != raft.Follower {
		return // somebody else was quicker
	}
	l.opts.Logger.Warn("the leader is gone: calling an election", "leader", leader)
	l.callElection()
}

// callElection has raft believe that it was asked to take over, by the only
// way there is: over the network.
func (l *Log) callElection() {
	id := raft.ServerID(l.opts.NodeID)
	address := raft.ServerAddress(l.opts.Peers.Advertised())
	req := raft.TimeoutNowRequest{RPCHeader: raft.RPCHeader{
		ProtocolVersion: raft.ProtocolVersionMax, ID: []byte(id), Addr: l.transport.EncodePeer(id, address),
	}}
	if t, ok := l.transport.(*raft.NetworkTransport); ok {
		// A request for a vote is not repeated: it must not be lost on a connection
		// to a node that has started anew since.
		t.CloseStreams()
	}
	var resp raft.TimeoutNowResponse
	if err := l.transport.TimeoutNow(id, address, &req, &resp); err != nil && l.ready() == nil {
		l.opts.Logger.Warn("cannot call an election; one follows when heartbeats are missed", "error", err)
	}
}
