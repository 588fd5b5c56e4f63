package persistence

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	bolt "go.etcd.io/bbolt"
)

// Snapshot is a copy of a store's state at its last checkpoint in a folder of
// its own: hard links to the segments, which never change, and a copy of the
// metadata. It costs no message data and stays whole whatever the store does
// next. Together with the log behind Index, or without it, it opens as a store.
type Snapshot struct {
	Index uint64         // log index of the checkpoint
	Dir   string         //
	Files []SnapshotFile // sorted by name
}

// SnapshotFile is one file of a Snapshot.
type SnapshotFile struct {
	Name string `json:"name"`
	Size int64  `json:"size"`
}

// Release removes the folder.
func (s *Snapshot) Release() error { return os.RemoveAll(s.Dir) }

// ErrNoSnapshot: the store has nothing to make a snapshot of, or keeps its
// files where there are no hard links.
var ErrNoSnapshot = errors.New("persistence: no snapshot can be made")

// Snapshot makes a checkpoint and a Snapshot of it in dir, which must not
// exist and be on the same file system. The store goes on meanwhile, on the
// active node as on a standby.
func (s *Store) Snapshot(dir string) (*Snapshot, error) {
	if s.failed.Load() {
		return nil, ErrClosed
	}
	if err := s.checkpoint(false); err != nil {
		s.fail(err)
		return nil, err
	}
	s.checkpointMu.Lock()
	defer s.checkpointMu.Unlock()
	m, ok := s.meta.(*boltMeta)
	if !ok || s.checkpointed == 0 {
		return nil, ErrNoSnapshot
	}
	snap := &Snapshot{Index: s.checkpointed, Dir: dir}
	if err := s.fillSnapshot(m, snap); err != nil {
		return nil, errors.Join(fmt.Errorf("persistence: snapshot: %w", err), snap.Release())
	}
	return snap, nil
}

// fillSnapshot links and copies what the metadata names. The caller excludes
// checkpoints.
func (s *Store) fillSnapshot(m *boltMeta, snap *Snapshot) error {
	if err := os.MkdirAll(filepath.Dir(snap.Dir), 0o700); err != nil {
		return err
	}
	if err := os.Mkdir(snap.Dir, 0o700); err != nil {
		return err
	}
	var list []string
	err := m.load(bucketSegments, func(k, _ []byte) error {
		list = append(list, segmentName(segmentIDOfKey(k)))
		return nil
	})
	if err != nil {
		return err
	}
	for _, name := range list {
		if err := os.Link(filepath.Join(s.opts.Dir, name), filepath.Join(snap.Dir, name)); err != nil {
			return err
		}
	}
	if err := m.copyTo(filepath.Join(snap.Dir, boltName)); err != nil {
		return err
	}
	if err := syncDir(snap.Dir); err != nil {
		return err
	}
	for _, name := range append(list, boltName) {
		info, err := os.Stat(filepath.Join(snap.Dir, name))
		if err != nil {
			return err
		}
		snap.Files = append(snap.Files, SnapshotFile{name, info.Size()})
	}
	slices.SortFunc(snap.Files, func(a, b SnapshotFile) int {
		if a.Name < b.Name {
			return -1
		}
		return 1
	})
	return nil
}

// copyTo writes a consistent copy of the metadata, durably.
func (m *boltMeta) copyTo(name string) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	err = m.db.View(func(tx *bolt.Tx) error {
		_, err := tx.WriteTo(f)
		return err
	})
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}
