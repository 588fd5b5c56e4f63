package ha

import (
	"bytes"
	"errors"
	"io"
	"sync"

	"github.com/hashicorp/raft"

	"github.com/hermodmq/hermod/persistence/vfs"
)

const manifestName = "snapshot"

// manifest says where the log begins: everything up to Index is in the
// Applier's checkpoint.
type manifest struct {
	Index, Term        uint64
	Configuration      raft.Configuration
	ConfigurationIndex uint64
}

// snapshots implements raft.SnapshotStore with a manifest and no data.
type snapshots struct {
	fs  vfs.FS
	dir string

	mu      sync.Mutex
	current manifest // Index 0: none
	next    entryPos // of the Cut in progress
}

func openSnapshots(fsys vfs.FS, dir string) (*snapshots, error) {
	s := &snapshots{fs: fsys, dir: dir}
	_, err := readRecord(fsys, dir, manifestName, &s.current)
	return s, err
}

// manifest returns the current one.
func (s *snapshots) manifest() manifest {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.current
}

// replace makes m the current manifest, durably.
func (s *snapshots) replace(m manifest) error {
	if err := writeRecord(s.fs, s.dir, manifestName, m); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.current = m
	return nil
}

// prepare sets the entry that the next snapshot is named after.
func (s *snapshots) prepare(cut entryPos) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.next = cut
}

// Create implements raft.SnapshotStore. The index and term that raft gives are
// those of the last entry applied; the checkpoint may end before it.
func (s *snapshots) Create(_ raft.SnapshotVersion, _, _ uint64, configuration raft.Configuration,
	configurationIndex uint64, _ raft.Transport) (raft.SnapshotSink, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.next.index <= s.current.Index {
		return nil, errors.New("ha: snapshot without a checkpoint")
	}
	return &manifestSink{s, manifest{s.next.index, s.next.term, configuration, configurationIndex}}, nil
}

// List implements raft.SnapshotStore.
func (s *snapshots) List() ([]*raft.SnapshotMeta, error) {
	if m := s.manifest(); m.Index > 0 {
		return []*raft.SnapshotMeta{m.meta()}, nil
	}
	return nil, nil
}

// Open implements raft.SnapshotStore.
func (s *snapshots) Open(string) (*raft.SnapshotMeta, io.ReadCloser, error) {
	return s.manifest().meta(), io.NopCloser(bytes.NewReader(nil)), nil
}

func (m manifest) meta() *raft.SnapshotMeta {
	return &raft.SnapshotMeta{
		Version:            raft.SnapshotVersionMax,
		ID:                 manifestName,
		Index:              m.Index,
		Term:               m.Term,
		Configuration:      m.Configuration,
		ConfigurationIndex: m.ConfigurationIndex,
	}
}

type manifestSink struct {
	store    *snapshots
	manifest manifest
}

func (s *manifestSink) Write(b []byte) (int, error) { return len(b), nil }
func (s *manifestSink) ID() string                  { return manifestName }
func (s *manifestSink) Cancel() error               { return nil }
func (s *manifestSink) Close() error                { return s.store.replace(s.manifest) }
