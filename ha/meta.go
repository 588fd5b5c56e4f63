package ha

import (
	"encoding/binary"
	"maps"
	"slices"
	"sync"

	"github.com/hashicorp/raft-wal/types"

	"github.com/hermodmq/hermod/persistence/vfs"
)

const metaName = "meta"

// Keys of the stable store. raft's are not exported.
const (
	keyTerm    = "CurrentTerm"
	keyConfirm = "hermod/confirm" // the Confirm of the last run
)

// metaContent is the content of the meta file.
type metaContent struct {
	State  types.PersistentState
	Stable map[string][]byte
}

// metaStore implements raft-wal's MetaStore as a record file. It changes once
// per segment and some times per election, so that a whole rewrite is cheap;
// unlike raft-wal's own (bbolt) it lives on vfs.FS, where it can be crashed.
type metaStore struct {
	fs  vfs.FS
	dir string

	// beforeCommit runs before a change to the list of segments: what the list
	// calls sealed must be on disk.
	beforeCommit func() error

	mu      sync.Mutex
	content metaContent
}

func openMeta(fsys vfs.FS, dir string) (*metaStore, error) {
	m := &metaStore{fs: fsys, dir: dir, beforeCommit: func() error { return nil }}
	_, err := readRecord(fsys, dir, metaName, &m.content)
	return m, err
}

// Load implements types.MetaStore.
func (m *metaStore) Load(string) (types.PersistentState, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	state := m.content.State
	state.Segments = slices.Clone(state.Segments)
	return state, nil
}

// CommitState implements types.MetaStore. raft-wal v0.4.2 records its own codec
// for every new segment, whatever codec it was given, and then refuses to open
// them: the right one is put in here and in segmentFiler.
func (m *metaStore) CommitState(state types.PersistentState) error {
	if err := m.beforeCommit(); err != nil {
		return err
	}
	state.Segments = slices.Clone(state.Segments)
	for i := range state.Segments {
		state.Segments[i].Codec = codecID
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.replace(metaContent{State: state, Stable: m.content.Stable})
}

// GetStable implements types.MetaStore.
func (m *metaStore) GetStable(key []byte) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.content.Stable[string(key)]), nil
}

// SetStable implements types.MetaStore.
func (m *metaStore) SetStable(key, value []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	stable := maps.Clone(m.content.Stable)
	if stable == nil {
		stable = map[string][]byte{}
	}
	if value == nil {
		delete(stable, string(key))
	} else {
		stable[string(key)] = slices.Clone(value)
	}
	return m.replace(metaContent{State: m.content.State, Stable: stable})
}

func (m *metaStore) replace(content metaContent) error {
	if err := writeRecord(m.fs, m.dir, metaName, content); err != nil {
		return err
	}
	m.content = content
	return nil
}

// term is raft's current term as raft-wal stores it.
func (m *metaStore) term() uint64 {
	if b, _ := m.GetStable([]byte(keyTerm)); len(b) == 8 {
		return binary.LittleEndian.Uint64(b)
	}
	return 0
}

// Close implements types.MetaStore.
func (m *metaStore) Close() error { return nil }
