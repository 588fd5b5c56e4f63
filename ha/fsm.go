package ha

import (
	"io"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	"github.com/hermodmq/hermod/persistence"
)

// fsm hands committed entries to the Applier. Raft calls it on one goroutine.
type fsm struct {
	applier persistence.Applier
	gate    *gate
	applied uint64 // entries up to here the Applier has
	handed  *atomic.Uint64
	commits *commitStats
	batch   []persistence.Entry
	none    []any
}

// ApplyBatch implements raft.BatchingFSM.
func (f *fsm) ApplyBatch(logs []*raft.Log) []any {
	f.batch = f.batch[:0]
	commands := 0
	for _, l := range logs {
		if l.Type != raft.LogCommand {
			continue
		}
		commands++
		if l.Index > f.applied {
			f.batch = append(f.batch, persistence.Entry{Index: l.Index, Term: l.Term, Data: l.Data})
		}
	}
	if len(f.batch) > 0 {
		f.applied = f.batch[len(f.batch)-1].Index
		f.handed.Store(f.applied)
		if l := logs[len(logs)-1]; !l.AppendedAt.IsZero() {
			f.commits.add(time.Since(l.AppendedAt))
		}
		f.applier.Apply(f.batch)
		clear(f.batch) // the Data belongs to the Applier now
	}
	if commands > 0 {
		f.gate.leave(logs[0].Index, logs[len(logs)-1].Index, commands)
	}
	for len(f.none) < len(logs) {
		f.none = append(f.none, nil)
	}
	return f.none[:len(logs)]
}

// Apply implements raft.FSM.
func (f *fsm) Apply(l *raft.Log) any {
	f.ApplyBatch([]*raft.Log{l})
	return nil
}

// Snapshot implements raft.FSM: the Applier's checkpoint exists already when
// Cut asks raft for a snapshot.
func (f *fsm) Snapshot() (raft.FSMSnapshot, error) { return noSnapshot{}, nil }

// Restore implements raft.FSM. State does not travel through raft: a manifest
// is only taken by a node that has the state already (manifestSink).
func (f *fsm) Restore(source io.ReadCloser) error { return source.Close() }

type noSnapshot struct{}

func (noSnapshot) Persist(raft.SnapshotSink) error { return nil }
func (noSnapshot) Release()                        {}
