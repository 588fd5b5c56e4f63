package ha

import (
	"errors"
	"fmt"
	"path"
	"time"

	"github.com/hashicorp/raft"

	"github.com/hermodmq/hermod/persistence"
)

// A witness is a voter without state. It stores entries, because its answer
// counts towards the quorum: if the active node dies with an entry that only
// the witness has besides, the witness is the one from whom the other full node
// gets it. It is then elected, having the longer log, and hands over as soon as
// that node has caught up; nobody is served meanwhile.
//
// It forgets entries that every full voter has applied, which the leader tells
// with each poll, except for the last witnessSlack files of them. While a full node is away, the
// log grows up to Options.WitnessLog, or until the disk is nearly full; then the
// oldest entries go and the active node goes on. From there on that node can
// only be filled from the active one: should that one die first, the cluster
// waits for its return. Nothing is confirmed that two disks do not have, but
// one of them no longer has what lies before its log.

const (
	// witnessSegmentSize is the size of a witness's log files, smaller than a
	// full node's because it keeps few of them.
	witnessSegmentSize = 16 << 20

	// witnessSlack is how many log files' worth a witness keeps that all full
	// voters have: a node that becomes a voter may lack promoteLag entries, and
	// one that confirms without a sync may lose its last ones.
	witnessSlack = 4

	// witnessStep is how many must have come together to be forgotten.
	witnessStep = 2

	// anewName is the record of the manifest that a witness begins anew with.
	anewName = "anew"

	// keyWitness, in the stable store, marks the log of a witness.
	keyWitness = "hermod/witness"
)

// Attend runs a witness until Close, or an error that Fatal hears of, too.
func (l *Log) Attend() error {
	if !l.opts.Witness || l.opts.Peers == nil {
		return errors.New("ha: Attend is for a witness")
	}
	return l.Start(nothing{l})
}

// nothing is the Applier of a witness. Its checkpoint is always as far as the
// log is cut.
type nothing struct{ log *Log }

func (nothing) Apply([]persistence.Entry) {}
func (n nothing) Applied() uint64         { return n.log.snapshots.manifest().Index }

// settleRole keeps a folder from changing between witness and full node unseen.
// A full node may become a witness, the state it had is the caller's to put
// away; a witness has no state to go on with.
func (l *Log) settleRole(meta *metaStore, found *contents) error {
	mark, err := meta.GetStable([]byte(keyWitness))
	switch {
	case err != nil || (len(mark) > 0) == l.opts.Witness:
		return err
	case l.opts.Witness:
		return meta.SetStable([]byte(keyWitness), []byte{1})
	case found.first > 0 || l.snapshots.manifest().Index > 0:
		return fmt.Errorf("%w: to make it a full node, let it leave the cluster and start it with an empty data folder", ErrWitness)
	}
	return meta.SetStable([]byte(keyWitness), nil)
}

// outrun is asked when the leader offers a manifest to a witness. If its log
// goes past that, it stays; else nothing in it is of use, and it begins anew
// behind the manifest. Not under raft's eyes, which keeps the old end of the
// log in memory and livelocks if that differs from the leader's (issue 697).
func (l *Log) outrun(m manifest) error {
	if m.Index < l.snapshots.manifest().Index {
		return nil
	}
	if term, err := l.termOf(m.Index); err == nil && term == m.Term {
		return nil
	}
	l.members.seedOnce.Do(func() {
		_, leader, _ := l.whoLeads()
		l.opts.Logger.Warn("the leader no longer has the log that this witness lacks: beginning anew behind it", "behind", m.Index)
		if err := writeRecord(l.fs, l.opts.Dir, anewName, m); err != nil {
			return // the guard has made it fatal
		}
		if l.opts.Seed != nil {
			go l.opts.Seed(leader)
		}
	})
	return ErrBehind
}

// beginAnew empties the log if outrun has said so, and finishes what a crash
// interrupted. What was in it is either behind the manifest or not committed.
func (l *Log) beginAnew(meta *metaStore) error {
	if !l.opts.Witness {
		return nil
	}
	var m manifest
	found, err := readRecord(l.opts.FS, l.opts.Dir, anewName, &m)
	if err != nil || !found {
		return err
	}
	if err := emptyLog(l.opts.FS, l.opts.Dir, meta, m); err != nil {
		return err
	}
	if err := l.fs.Remove(path.Join(l.opts.Dir, anewName)); err != nil {
		return err
	}
	return l.fs.SyncDir(l.opts.Dir)
}

// safe is the entry up to which every full voter has applied all, this node
// included; 0 if one has not been heard of since this node leads.
func (l *Log) safe(servers []raft.Server) uint64 {
	var least uint64
	full := 0
	for _, s := range servers {
		if s.Suffrage != raft.Voter {
			continue
		}
		applied := l.handed.Load()
		if string(s.ID) != l.opts.NodeID {
			st, known := l.members.get(string(s.ID))
			if st.Witness {
				continue
			}
			if !known {
				return 0
			}
			applied = st.Applied
		} else if l.opts.Witness {
			continue
		}
		if full++; full == 1 || applied < least {
			least = applied
		}
	}
	return least
}

// forget is the witness's round: it cuts off the log what all full voters have,
// and more if it grows too large.
func (l *Log) forget() {
	if !l.opts.Witness || l.raft.Load() == nil || l.ready() != nil {
		return
	}
	l.members.mu.Lock()
	upTo := l.members.safe
	l.members.mu.Unlock()
	upTo = min(upTo, l.handed.Load())
	step := witnessStep * int64(l.opts.SegmentSize)
	slack := witnessSlack * int64(l.opts.SegmentSize)
	bound := max(l.opts.WitnessLog, slack+2*step)
	if l.diskLow() {
		bound = slack + step
	}
	keep := slack
	freed := l.store.freed(upTo, keep)
	if _, size := l.store.extent(); size-freed > bound {
		// Whole steps, so that this is no matter of every round.
		keep = bound - step
		upTo = min(l.store.before(keep), l.handed.Load())
		if freed = l.store.freed(upTo, 0); freed >= step {
			l.opts.Logger.Warn("the witness's log is too large and loses entries that a full node lacks: it can only be filled from the active node now",
				"log", size, "bound", bound, "up to", upTo)
		}
		keep = 0
	}
	if freed < step {
		return
	}
	if err := l.Cut(upTo, keep); err != nil && l.ready() == nil {
		l.opts.Logger.Warn("the witness's log cannot be cut now", "error", err)
	}
}

// diskLow says whether the log's disk is nearly full.
func (l *Log) diskLow() bool {
	if l.opts.DiskLow == 0 {
		return false
	}
	free, err := l.opts.FS.FreeBytes(l.opts.Dir)
	return err == nil && free < l.opts.DiskLow
}

// lacks says, of a witness, that its log begins behind what some full voter
// among nodes has, or that there is none that it could help.
func (n NodeStatus) lacks(nodes []NodeStatus) bool {
	if !n.Witness {
		return false
	}
	begin := n.First
	if begin == 0 {
		begin = n.Cut + 1
	}
	full := 0
	for _, m := range nodes {
		if !m.Voter || m.Witness {
			continue
		}
		if full++; m.Applied+1 < begin {
			return true
		}
	}
	return full < 2
}

// handOver gives leadership away that a witness was elected to: raft brings the
// heir up to date from the witness's log first.
func (l *Log) handOver() {
	l.opts.Logger.Info("a witness was elected and hands over")
	warned := false
	for l.raft.Load().State() == raft.Leader && l.ready() == nil {
		l.poll(l.servers())
		to, err := l.heir("")
		if err == nil {
			if err = l.raft.Load().LeadershipTransferToServer(to.ID, to.Address).Error(); err == nil {
				return
			}
		}
		if !warned {
			warned = true
			l.opts.Logger.Warn("a witness leads and cannot hand over yet; nobody is served until it can", "heir", to.ID, "error", err)
		}
		select {
		case <-time.After(pollInterval / 4):
		case <-l.done:
			return
		}
	}
}
