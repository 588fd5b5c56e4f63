package ha

import (
	"errors"
	"fmt"

	"github.com/hashicorp/raft"
)

// Forced is what [ForceAlone] did.
type Forced struct {
	Dropped []string // names of the members that no longer count
	Voter   bool     // this node had a vote, and so all that it acknowledged
	Index   uint64   // last entry in the log
}

// ErrNoMember: the log is not that of a member of a cluster.
var ErrNoMember = errors.New("this log does not belong to a member of a cluster")

// ForceAlone makes the member whose log is at opts.Dir, and which does not run,
// the only one of its cluster: for when the others are gone for good and with
// them the quorum. It may lack what only they had confirmed. Should any of them
// come back with its old state, there would be two clusters.
//
// A configuration of this node alone is appended to the log, in a term of its
// own, so that nothing that the others may have written since can be taken for
// it. What the log holds uncommitted is kept: its outcome was unknown.
func ForceAlone(opts Options) (*Forced, error) {
	l, err := Open(opts)
	if err != nil {
		return nil, err
	}
	f, err := l.forceAlone()
	return f, errors.Join(err, l.Close())
}

func (l *Log) forceAlone() (*Forced, error) {
	meta, err := openMeta(l.fs, l.opts.Dir)
	if err != nil {
		return nil, err
	}
	if mark, _ := meta.GetStable([]byte(keyWitness)); len(mark) > 0 {
		return nil, fmt.Errorf("%w: recover a full node", ErrWitness)
	}
	if was, _ := meta.GetStable([]byte(keyConfirm)); Confirm(was) == ConfirmOS {
		l.opts.Confirm = ConfirmOS
	}
	if l.snapshots, err = openSnapshots(l.fs, l.opts.Dir); err != nil {
		return nil, err
	}
	from := l.snapshots.manifest()
	found, err := l.recover(meta, from.Index)
	if err != nil {
		return nil, err
	}
	if err := l.openStore(meta, found); err != nil {
		return nil, err
	}
	last, err := l.store.LastIndex()
	if err != nil {
		return nil, err
	}
	last = max(last, from.Index)
	members := from.Configuration
	newest := uint64(0)
	for i := range found.configs {
		newest = max(newest, i)
	}
	if newest > from.ConfigurationIndex {
		var entry raft.Log
		if err := l.store.WAL.GetLog(newest, &entry); err != nil {
			return nil, err
		}
		members = raft.DecodeConfiguration(entry.Data)
	}
	self, ok := server(members.Servers, l.opts.NodeID)
	if !ok {
		return nil, fmt.Errorf("%w: %q is not one of %v", ErrNoMember, l.opts.NodeID, names(members.Servers))
	}
	f := &Forced{Voter: self.Suffrage == raft.Voter, Index: last}
	for _, s := range members.Servers {
		if s.ID != self.ID {
			f.Dropped = append(f.Dropped, string(s.ID))
		}
	}
	self.Suffrage = raft.Voter
	alone := raft.Configuration{Servers: []raft.Server{self}}
	term := meta.term() + 1
	if err := l.store.SetUint64([]byte(keyTerm), term); err != nil {
		return nil, err
	}
	return f, l.store.StoreLogs([]*raft.Log{{
		Index: last + 1, Term: term, Type: raft.LogConfiguration, Data: raft.EncodeConfiguration(alone),
	}})
}
