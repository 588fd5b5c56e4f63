package ha

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
	"github.com/hashicorp/raft-wal/segment"

	"github.com/hermodmq/hermod/persistence"
	"github.com/hermodmq/hermod/persistence/vfs"
)

// A node that lacks entries which the leader's log no longer has is seeded: it
// pulls a snapshot of the leader's store (links to immutable segments and a
// copy of the metadata) over a connection of its own, into a folder beside its
// store, and votes and keeps its place in the cluster meanwhile. Then it starts
// anew with that store and an empty log that begins at the snapshot. Raft's own
// snapshot stream would stop its main loop for as long as the transfer takes.
//
// The leader holds its log from the snapshot on until the node has caught up,
// and offers raft the manifest of that snapshot and no newer one, so that a
// seeding always ends.

const (
	// SeedMark is the file that makes a folder a complete seed.
	SeedMark = "seed"
	// seedSource names the snapshot that a folder was being filled from.
	seedSource = "source"

	seedChunk      = 256 << 10
	seedLineMax    = 16 << 20
	seedIdle       = 30 * time.Second // no byte for so long ends a transfer
	seedCatchUpMax = 10 * time.Minute // how long the log is held behind a transfer
)

// Snapshot is what a node is seeded from.
type Snapshot = *persistence.Snapshot

type seedRequest struct {
	Name string                     `json:"name"`
	Have []persistence.SnapshotFile `json:"have"` // complete files of an earlier try
	From string                     `json:"from"` // and whose they are
}

// seedManifest begins an answer and, at the receiver, marks a complete seed.
type seedManifest struct {
	Source   string                     `json:"source"` // leader and its store's life: names of files are unique in it
	Manifest manifest                   `json:"manifest"`
	Files    []persistence.SnapshotFile `json:"files"`
	Error    string                     `json:"error,omitempty"`
}

// serveSeed sends the state at a fresh snapshot to whoever is on c.
func (l *Log) serveSeed(c net.Conn) {
	var req seedRequest
	r := bufio.NewReader(c)
	if err := readLine(c, r, &req); err != nil {
		return
	}
	err := l.sendSeed(c, req)
	if err != nil {
		l.opts.Logger.Warn("seeding a node failed", "node", req.Name, "error", err)
	}
}

func (l *Log) sendSeed(c net.Conn, req seedRequest) error {
	snap, m, h, err := l.prepareSeed()
	if err != nil {
		return errors.Join(err, writeLine(c, seedManifest{Error: err.Error()}))
	}
	end := l.snapshots.lend(m)
	finish := func() { end(); l.store.unhold(h) }
	source := l.opts.NodeID + "/" + fmt.Sprint(l.startedAt)
	err = writeLine(c, seedManifest{Source: source, Manifest: m, Files: snap.Files})
	have := map[persistence.SnapshotFile]bool{}
	if req.From == source {
		for _, f := range req.Have {
			have[f] = f.Name != metaFile // the only one that changes under its name
		}
	}
	var sent int64
	begin := time.Now()
	for _, f := range snap.Files {
		if err == nil && !have[f] {
			err = l.sendFile(c, filepath.Join(snap.Dir, f.Name), f.Size, begin, &sent)
		}
	}
	err = errors.Join(err, snap.Release())
	if err != nil {
		finish()
		return err
	}
	l.opts.Logger.Info("seeded a node", "node", req.Name, "bytes", sent, "took", time.Since(begin), "at", m.Index)
	l.watcher.Go(func() {
		defer finish()
		l.awaitCatchUp(req.Name, m.Index)
	})
	return nil
}

// metaFile is the copy of the metadata in a snapshot.
const metaFile = "meta.db"

// prepareSeed makes a snapshot whose log is held.
func (l *Log) prepareSeed() (Snapshot, manifest, *hold, error) {
	r := l.raft.Load()
	if l.opts.Witness {
		return nil, manifest{}, nil, ErrWitness
	}
	if r == nil || l.opts.Snapshot == nil {
		return nil, manifest{}, nil, ErrClosed
	}
	for range 5 { // a checkpoint may cut the log between the two
		snap, err := l.opts.Snapshot()
		if err != nil {
			return nil, manifest{}, nil, err
		}
		h, err := l.store.hold(snap.Index)
		if err != nil {
			if err := snap.Release(); err != nil {
				return nil, manifest{}, nil, err
			}
			continue
		}
		term, err := l.termOf(snap.Index)
		if err != nil {
			l.store.unhold(h)
			return nil, manifest{}, nil, errors.Join(err, snap.Release())
		}
		future := r.GetConfiguration()
		return snap, manifest{snap.Index, term, future.Configuration(), min(future.Index(), snap.Index)}, h, nil
	}
	return nil, manifest{}, nil, ErrGap
}

// awaitCatchUp waits until the node has what follows the seed: only an entry
// behind it shows that raft is past the manifest.
func (l *Log) awaitCatchUp(name string, index uint64) {
	limit := time.After(seedCatchUpMax)
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			if st, ok := l.members.get(name); ok && st.Reachable && st.Cut >= index && st.LastIndex > index && st.Lag <= promoteLag {
				return
			}
		case <-limit:
			l.opts.Logger.Warn("a seeded node did not catch up in time", "node", name)
			return
		case <-l.failed:
			return
		case <-l.done:
			return
		}
	}
}

// sendFile sends size bytes and their CRC32C, at the configured rate.
func (l *Log) sendFile(c net.Conn, name string, size int64, begin time.Time, sent *int64) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	buf := make([]byte, seedChunk)
	sum := uint32(0)
	for left := size; left > 0; {
		n, err := io.ReadFull(f, buf[:min(left, seedChunk)])
		if err != nil {
			return err
		}
		sum = crc32.Update(sum, castagnoli, buf[:n])
		if err := c.SetWriteDeadline(time.Now().Add(seedIdle)); err != nil {
			return err
		}
		if _, err := c.Write(buf[:n]); err != nil {
			return err
		}
		left -= int64(n)
		*sent += int64(n)
		if rate := l.opts.SeedRate; rate > 0 {
			due := time.Duration(float64(*sent) / float64(rate) * float64(time.Second))
			select {
			case <-time.After(due - time.Since(begin)):
			case <-l.done:
				return ErrClosed
			}
		}
	}
	_, err = c.Write(binary.LittleEndian.AppendUint32(nil, sum))
	return err
}

func writeLine(c net.Conn, v any) error {
	raw, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if err := c.SetWriteDeadline(time.Now().Add(seedIdle)); err != nil {
		return err
	}
	_, err = c.Write(append(raw, '\n'))
	return err
}

func readLine(c net.Conn, r *bufio.Reader, v any) error {
	if err := c.SetReadDeadline(time.Now().Add(2 * seedIdle)); err != nil {
		return err
	}
	var line []byte
	for {
		part, err := r.ReadSlice('\n')
		line = append(line, part...)
		if len(line) > seedLineMax {
			return fmt.Errorf("ha: a line of more than %d bytes", seedLineMax)
		}
		if err == nil {
			return json.Unmarshal(line, v)
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return err
		}
	}
}

// behind is asked when the leader offers a manifest. A node whose state
// reaches as far takes it; another one must be seeded.
func (l *Log) behind(m manifest) error {
	if l.opts.Witness {
		return l.outrun(m)
	}
	index := m.Index
	if l.handed.Load() >= index {
		return nil
	}
	_, leader, _ := l.whoLeads()
	l.members.seedOnce.Do(func() {
		l.opts.Logger.Warn("the leader no longer has the log this node lacks: it will be seeded", "leader", leader,
			"applied", l.handed.Load(), "log begins behind", index)
		if l.opts.Seed != nil {
			go l.opts.Seed(leader)
		}
	})
	return ErrBehind
}

// ReceiveSeed pulls a seed from the leader at address into dir, which may hold
// part of one, and marks it complete. InstallSeed makes it this node's state.
func (l *Log) ReceiveSeed(ctx context.Context, address, dir string) error {
	var done, total atomic.Int64
	l.members.mu.Lock()
	l.members.seedDone, l.members.seedSize = done.Load, total.Load
	l.members.mu.Unlock()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	c, err := l.opts.Peers.dial(ctx, address, forSeed)
	if err != nil {
		return err
	}
	defer c.Close()
	stop := context.AfterFunc(ctx, func() { _ = c.Close() })
	defer stop()
	req := seedRequest{Name: l.opts.NodeID}
	if req.From, req.Have, err = partOfSeed(dir); err != nil {
		return err
	}
	if err := writeLine(c, req); err != nil {
		return err
	}
	r := bufio.NewReaderSize(c, seedChunk)
	var m seedManifest
	if err := readLine(c, r, &m); err != nil {
		return err
	}
	if m.Error != "" {
		return errors.New("ha: " + m.Error)
	}
	for _, f := range m.Files {
		total.Add(f.Size)
		if f.Name != filepath.Base(f.Name) || f.Size < 0 || f.Name == SeedMark || f.Name == seedSource {
			return fmt.Errorf("ha: seed with a file %q", f.Name)
		}
	}
	have, err := clearSeed(dir, req, m)
	if err != nil {
		return err
	}
	for _, f := range m.Files {
		if have[f.Name] {
			done.Add(f.Size)
			continue
		}
		if err := receiveFile(c, r, filepath.Join(dir, f.Name), f.Size, &done); err != nil {
			return fmt.Errorf("ha: %s: %w", f.Name, err)
		}
	}
	if err := syncFolder(dir); err != nil {
		return err
	}
	return writeRecord(vfs.OS(), dir, SeedMark, m)
}

// partOfSeed lists the complete files of an earlier try. A file gets its name
// when it is whole and synced.
func partOfSeed(dir string) (source string, have []persistence.SnapshotFile, err error) {
	raw, err := os.ReadFile(filepath.Join(dir, seedSource))
	if errors.Is(err, os.ErrNotExist) {
		return "", nil, nil
	}
	if err != nil {
		return "", nil, err
	}
	list, err := os.ReadDir(dir)
	if err != nil {
		return "", nil, err
	}
	for _, e := range list {
		if filepath.Ext(e.Name()) != ".seg" {
			continue
		}
		info, err := e.Info()
		if err != nil {
			return "", nil, err
		}
		have = append(have, persistence.SnapshotFile{Name: e.Name(), Size: info.Size()})
	}
	return string(raw), have, nil
}

// clearSeed removes what an earlier try left and m does not have, and notes
// where this one comes from. It returns what need not be received.
func clearSeed(dir string, req seedRequest, m seedManifest) (map[string]bool, error) {
	keep := map[string]bool{}
	if req.From == m.Source {
		wanted := map[persistence.SnapshotFile]bool{}
		for _, f := range m.Files {
			wanted[f] = f.Name != metaFile
		}
		for _, f := range req.Have {
			keep[f.Name] = wanted[f]
		}
	}
	list, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	for _, e := range list {
		if !keep[e.Name()] {
			if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
				return nil, err
			}
		}
	}
	if err := syncFolder(dir); err != nil {
		return nil, err
	}
	return keep, os.WriteFile(filepath.Join(dir, seedSource), []byte(m.Source), 0o600)
}

func receiveFile(c net.Conn, r io.Reader, name string, size int64, done *atomic.Int64) error {
	f, err := os.OpenFile(name+".part", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	err = copySeed(c, r, f, size, done)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	return os.Rename(name+".part", name)
}

func copySeed(c net.Conn, r io.Reader, f io.Writer, size int64, done *atomic.Int64) error {
	buf := make([]byte, seedChunk)
	sum := uint32(0)
	for left := size; left > 0; {
		if err := c.SetReadDeadline(time.Now().Add(seedIdle)); err != nil {
			return err
		}
		n, err := io.ReadFull(r, buf[:min(left, seedChunk)])
		if err != nil {
			return err
		}
		sum = crc32.Update(sum, castagnoli, buf[:n])
		if _, err := f.Write(buf[:n]); err != nil {
			return err
		}
		left -= int64(n)
		done.Add(int64(n))
	}
	var want [4]byte
	if _, err := io.ReadFull(r, want[:]); err != nil {
		return err
	}
	if binary.LittleEndian.Uint32(want[:]) != sum {
		return fmt.Errorf("%w: it arrived with another checksum", ErrCorrupt)
	}
	return nil
}

func syncFolder(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// InstallSeed makes a complete seed in seedDir the state of this node: storeDir
// becomes what the seed holds, and the log in logDir begins behind it. It runs
// at each start, before anything is opened, does nothing if there is no seed,
// and picks up where a crash left it. Raft's term and vote stay.
func InstallSeed(logDir, storeDir, seedDir string) error {
	fsys := vfs.OS()
	var m seedManifest
	complete, err := readRecord(fsys, seedDir, SeedMark, &m)
	if err != nil {
		return err
	}
	if complete {
		if err := resetLog(fsys, logDir, m.Manifest); err != nil {
			return err
		}
		if err := os.RemoveAll(storeDir); err != nil {
			return err
		}
		if err := os.Rename(seedDir, storeDir); err != nil {
			return err
		}
		if err := syncFolder(filepath.Dir(storeDir)); err != nil {
			return err
		}
	}
	for _, name := range []string{SeedMark, seedSource} {
		if err := os.Remove(filepath.Join(storeDir, name)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return nil
}

// resetLog makes the log in dir an empty one that begins behind m.
func resetLog(fsys vfs.FS, dir string, m manifest) error {
	if err := fsys.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	lock, err := fsys.Lock(filepath.Join(dir, "lock"))
	if err != nil {
		return err
	}
	defer lock.Close()
	meta, err := openMeta(fsys, dir)
	if err != nil {
		return err
	}
	return emptyLog(fsys, dir, meta, m)
}

// emptyLog is resetLog on a log that the caller has locked. A crash in the
// middle leaves one that must be emptied again.
func emptyLog(fsys vfs.FS, dir string, meta *metaStore, m manifest) error {
	state, err := meta.Load(dir)
	if err != nil {
		return err
	}
	old := state.Segments
	state.Segments = nil // NextSegmentID stays: ids are never used again
	if err := meta.CommitState(state); err != nil {
		return err
	}
	for _, info := range old {
		if err := fsys.Remove(filepath.Join(dir, segment.FileName(info))); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	s, err := openSnapshots(fsys, dir)
	if err != nil {
		return err
	}
	return s.replace(m)
}

var _ raft.SnapshotStore = (*snapshots)(nil)

// Found makes an empty log in dir that begins behind index, of a cluster of the
// node of that name alone: what goes with a restored store.
func Found(dir, name string, index uint64) error {
	return resetLog(vfs.OS(), dir, manifest{
		Index: index, Term: 1, ConfigurationIndex: index,
		Configuration: raft.Configuration{Servers: []raft.Server{{
			Suffrage: raft.Voter, ID: raft.ServerID(name), Address: raft.ServerAddress(name),
		}}},
	})
}
