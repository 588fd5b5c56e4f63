package ha

import (
	"errors"
	"io"
	"strings"
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
	lent    map[*manifest]bool

	// behind says whether a follower lacks the state that a manifest stands for.
	behind func(m manifest) error
}

func openSnapshots(fsys vfs.FS, dir string) (*snapshots, error) {
	s := &snapshots{fs: fsys, dir: dir, behind: func(manifest) error { return ErrBehind }}
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

// Create implements raft.SnapshotStore. Raft calls it for a Cut, where index
// and term are those of the last entry applied (the checkpoint may end before
// it), and on a follower to which the leader sends a manifest. Only the latter
// writes to the sink.
func (s *snapshots) Create(_ raft.SnapshotVersion, index, term uint64, configuration raft.Configuration,
	configurationIndex uint64, _ raft.Transport) (raft.SnapshotSink, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return &manifestSink{
		store: s,
		cut:   manifest{s.next.index, s.next.term, configuration, configurationIndex},
		sent:  manifest{index, term, configuration, configurationIndex},
	}, nil
}

// lend makes m what raft sends to followers until the function it returns is
// called: the state of a seeding in progress, whose log is held. Newer
// manifests would make the follower start over again, for ever.
func (s *snapshots) lend(m manifest) (end func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lent == nil {
		s.lent = map[*manifest]bool{}
	}
	s.lent[&m] = true
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.lent, &m)
	}
}

// offered is the manifest that followers are sent: the oldest one lent, else
// the current one.
func (s *snapshots) offered() manifest {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := s.current
	for l := range s.lent {
		if l.Index < m.Index {
			m = *l
		}
	}
	return m
}

// List implements raft.SnapshotStore.
func (s *snapshots) List() ([]*raft.SnapshotMeta, error) {
	if m := s.offered(); m.Index > 0 {
		return []*raft.SnapshotMeta{m.meta()}, nil
	}
	return nil, nil
}

// manifestBody is all the data that raft sends with a manifest.
const manifestBody = "hermod manifest"

// Open implements raft.SnapshotStore.
func (s *snapshots) Open(string) (*raft.SnapshotMeta, io.ReadCloser, error) {
	return s.offered().meta(), io.NopCloser(strings.NewReader(manifestBody)), nil
}

func (m manifest) meta() *raft.SnapshotMeta {
	return &raft.SnapshotMeta{
		Version:            raft.SnapshotVersionMax,
		ID:                 manifestName,
		Index:              m.Index,
		Term:               m.Term,
		Configuration:      m.Configuration,
		ConfigurationIndex: m.ConfigurationIndex,
		Size:               int64(len(manifestBody)),
	}
}

type manifestSink struct {
	store     *snapshots
	cut, sent manifest
	received  bool // something was written: the leader sent it
}

func (s *manifestSink) Write(b []byte) (int, error) {
	s.received = true
	return len(b), nil
}

func (s *manifestSink) ID() string    { return manifestName }
func (s *manifestSink) Cancel() error { return nil }

// Close takes the manifest. One that was sent is only taken by a node whose
// state reaches as far; its own stays as it is, and so does its log.
func (s *manifestSink) Close() error {
	if s.received {
		return s.store.behind(s.sent)
	}
	if s.cut.Index <= s.store.manifest().Index {
		return errors.New("ha: snapshot without a checkpoint")
	}
	return s.store.replace(s.cut)
}
