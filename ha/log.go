package ha

import (
	"errors"
	"fmt"
	"io"
	"math"
	"path"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
	wal "github.com/hashicorp/raft-wal"
	"github.com/hashicorp/raft-wal/segment"
	"github.com/hashicorp/raft-wal/types"

	"github.com/hermodmq/hermod/persistence"
	"github.com/hermodmq/hermod/persistence/vfs"
)

const (
	// maxAppendEntries is the most entries that share a write and a sync, and a
	// call of Apply.
	maxAppendEntries = 16

	// cacheEntries is the number of recent entries kept for followers. Entries
	// have up to 256 KiB as a rule. A single node keeps none.
	cacheEntries = 16

	// idleTimer: see the package comment. It must exceed 5 ms.
	idleTimer = 50 * time.Millisecond
)

var _ persistence.Log = (*Log)(nil)

// Log implements persistence.Log.
type Log struct {
	opts Options
	fs   vfs.FS // opts.FS with the guard on it
	lock io.Closer

	segments  *segmentDir
	store     *logStore
	snapshots *snapshots
	raft      atomic.Pointer[raft.Raft] // nil until Start has come so far
	shutdown  func() error              // ends raft and its transport
	transport raft.Transport
	gate      *gate

	leader  chan bool     // from raft
	done    chan struct{} // closed by Close
	watcher sync.WaitGroup
	cutting sync.Mutex

	preparing sync.Mutex
	handed    atomic.Uint64 // the last entry given to the Applier
	commits   commitStats

	members  members     // on a cluster
	leading  atomic.Bool // Start has returned: this node is the active one
	turnover turnover    // holds proposals during a transfer
	pace     pace        // of proposals on a single node

	startedAt int64 // Unix ns, tells one life of this node from another
	started   atomic.Bool
	closed    atomic.Bool
	failure   atomic.Pointer[error]
	failed    chan struct{}
}

// Open locks the directory. Start does the rest.
func Open(opts Options) (*Log, error) {
	if err := opts.setDefaults(); err != nil {
		return nil, err
	}
	l := &Log{
		opts:   opts,
		gate:   newGate(),
		leader: make(chan bool, 8),
		pace:   pace{bell: make(chan struct{}, 1)},

		startedAt: time.Now().UnixNano(),
		done:      make(chan struct{}),
		failed:    make(chan struct{}),
	}
	l.fs = guardFS{opts.FS, &guard{alarm: opts.StallAlarm, fatal: opts.StallFatal, logger: opts.Logger, fail: l.fail}}
	if err := opts.FS.MkdirAll(opts.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("ha: %w", err)
	}
	lock, err := opts.FS.Lock(path.Join(opts.Dir, "lock"))
	if err != nil {
		return nil, fmt.Errorf("ha: %w", err)
	}
	l.lock = lock
	return l, nil
}

// fail ends the log: the first error is kept and reported.
func (l *Log) fail(err error) {
	if l.failure.CompareAndSwap(nil, &err) {
		close(l.failed)
		l.gate.close()
		l.turnover.open()
		l.opts.Logger.Error("the log has failed", "error", err)
		// Not on this goroutine: it may be one that Fatal's Close waits for.
		go l.opts.Fatal(err)
	}
}

// err is the error that ended the log, or nil.
func (l *Log) err() error {
	if err := l.failure.Load(); err != nil {
		return *err
	}
	return nil
}

// Start implements persistence.Log. It fails with ErrCorrupt or ErrGap if the
// log cannot bring a's state up to date; nothing has been applied then.
func (l *Log) Start(a persistence.Applier) error {
	if l.closed.Load() || !l.started.CompareAndSwap(false, true) {
		return ErrClosed
	}
	if err := l.start(a); err != nil {
		if cause := l.err(); cause != nil && !errors.Is(err, cause) {
			err = errors.Join(err, cause)
		}
		return fmt.Errorf("ha: start: %w", err)
	}
	return nil
}

func (l *Log) start(a persistence.Applier) error {
	if err := l.prepare(a); err != nil {
		return err
	}
	return l.awaitLeadership()
}

// prepare is Start up to running raft. Close waits for its end.
func (l *Log) prepare(a persistence.Applier) error {
	l.preparing.Lock()
	defer l.preparing.Unlock()
	if l.closed.Load() {
		return ErrClosed
	}
	// A process killed between a rename and the sync of the directory leaves
	// records that are there now and gone after a power failure.
	if err := l.fs.SyncDir(l.opts.Dir); err != nil {
		return err
	}
	meta, err := openMeta(l.fs, l.opts.Dir)
	if err != nil {
		return err
	}
	if err := l.beginAnew(meta); err != nil {
		return err
	}
	if l.snapshots, err = openSnapshots(l.fs, l.opts.Dir); err != nil {
		return err
	}
	l.snapshots.behind = l.behind
	applied := a.Applied()
	l.handed.Store(applied)
	l.members.setApplier(a)
	found, err := l.recover(meta, applied)
	if err != nil {
		return err
	}
	if err := l.settleRole(meta, found); err != nil {
		return err
	}
	if err := l.openStore(meta, found); err != nil {
		return err
	}
	founder, err := l.founds()
	if err != nil {
		return err
	}
	f := &fsm{applier: a, gate: l.gate, applied: applied, handed: &l.handed, commits: &l.commits}
	if err := l.startRaft(meta, f, founder); err != nil {
		return err
	}
	l.startMembers()
	return nil
}

// recover scans and repairs the segments and connects them to the checkpoint.
func (l *Log) recover(meta *metaStore, applied uint64) (*contents, error) {
	last, _ := meta.GetStable([]byte(keyConfirm))
	lossy := Confirm(last) == ConfirmOS
	from := l.snapshots.manifest().Index
	if applied < from {
		return nil, fmt.Errorf("%w: the log begins after entry %d, the checkpoint ends at %d", ErrGap, from, applied)
	}
	s := &scan{fs: l.fs, dir: l.opts.Dir, lenient: lossy, logger: l.opts.Logger, after: from}
	state, err := meta.Load(l.opts.Dir)
	if err != nil {
		return nil, err
	}
	state, changed, err := s.run(state)
	if err != nil {
		return nil, err
	}
	end := s.last.index // 0: no entry yet
	if end > from && s.found.first != from+1 {
		return nil, fmt.Errorf("%w: the log begins with entry %d, not %d", ErrGap, s.found.first, from+1)
	}
	if end > 0 && end < from || applied > max(end, from) {
		if !lossy || l.opts.Stream != nil {
			return nil, fmt.Errorf("%w: the log ends with entry %d, the checkpoint at %d", ErrGap, end, applied)
		}
		l.opts.Logger.Warn("a power failure lost entries that the checkpoint has (confirm was os); the log goes on after it",
			"last entry", end, "checkpoint", applied)
		if err := l.skipTo(meta, applied); err != nil {
			return nil, err
		}
		s.found = contents{}
		state.Segments, changed = nil, true
	}
	if changed {
		if err := meta.CommitState(state); err != nil {
			return nil, err
		}
	}
	if lossy != (l.opts.Confirm == ConfirmOS) {
		if err := meta.SetStable([]byte(keyConfirm), []byte(l.opts.Confirm)); err != nil {
			return nil, err
		}
	}
	return &s.found, nil
}

// skipTo makes the log begin after index, whose entry it has lost. The term is
// no earlier than the lost entry's, and there is nobody else to disagree.
func (l *Log) skipTo(meta *metaStore, index uint64) error {
	return l.snapshots.replace(manifest{
		Index:              index,
		Term:               max(meta.term(), 1),
		Configuration:      l.self(),
		ConfigurationIndex: index,
	})
}

func (l *Log) openStore(meta *metaStore, found *contents) error {
	var err error
	l.segments, err = openSegmentDir(l.fs, l.opts.FS, l.opts.Dir, l.opts.SegmentSize, l.opts.Confirm, l.opts.Logger)
	if err != nil {
		return err
	}
	meta.beforeCommit = l.segments.syncDirty
	// In a cluster those who lag read what was just written.
	l.segments.start(l.opts.Stream == nil)
	codec := &codec{}
	w, err := wal.Open(l.opts.Dir,
		wal.WithCodec(codec),
		wal.WithMetaStore(meta),
		wal.WithSegmentFiler(segmentFiler{segment.NewFiler(l.opts.Dir, l.segments), codec}),
		wal.WithSegmentSize(l.opts.SegmentSize),
		wal.WithLogger(l.hlogger("raft-wal")))
	if err != nil {
		return err
	}
	l.store = &logStore{WAL: w, codec: codec, gate: l.gate, fail: l.fail, err: l.err, replicating: l.replicating, pace: &l.pace}
	l.store.load(found)
	l.store.scanned.Store(found)
	return nil
}

func (l *Log) hlogger(name string) *hlogger {
	return &hlogger{slog: l.opts.Logger, name: name, single: l.opts.Stream == nil}
}

// config returns raft's configuration: section "Timers" of the package comment.
func (l *Log) config() *raft.Config {
	c := raft.DefaultConfig()
	c.LocalID = raft.ServerID(l.opts.NodeID)
	c.HeartbeatTimeout, c.ElectionTimeout, c.LeaderLeaseTimeout = idleTimer, idleTimer, idleTimer
	if l.opts.Stream != nil {
		c.HeartbeatTimeout, c.ElectionTimeout = l.opts.ElectionTimeout, l.opts.ElectionTimeout
		c.LeaderLeaseTimeout = l.opts.ElectionTimeout * 2 / 3
	}
	c.CommitTimeout = 20 * time.Millisecond
	c.MaxAppendEntries = maxAppendEntries
	c.BatchApplyCh = true
	c.ShutdownOnRemove = false
	c.TrailingLogs = 0 // logStore.DeleteRange counts bytes instead
	c.SnapshotInterval = 24 * time.Hour
	c.SnapshotThreshold = math.MaxUint64
	c.NoSnapshotRestoreOnStart = true
	c.NoLegacyTelemetry = true
	c.NotifyCh = l.leader
	c.Logger = l.hlogger("raft")
	return c
}

func (l *Log) openTransport() raft.Transport {
	if l.opts.Stream == nil {
		_, t := raft.NewInmemTransport(raft.ServerAddress(l.opts.NodeID))
		return t
	}
	return raft.NewNetworkTransportWithConfig(&raft.NetworkTransportConfig{
		Stream:          l.opts.Stream,
		MaxPool:         3,
		MaxRPCsInFlight: 1, // pipelining wedges (raft issue 612) and gains nothing here
		Timeout:         l.opts.requestTimeout,
		Logger:          l.hlogger("raft-net"),
	})
}

// self is the configuration of a cluster of this node alone.
func (l *Log) self() raft.Configuration {
	address := raft.ServerAddress(l.opts.NodeID)
	if l.opts.Stream != nil {
		address = raft.ServerAddress(l.opts.Stream.Addr().String())
	}
	return raft.Configuration{Servers: []raft.Server{{
		Suffrage: raft.Voter, ID: raft.ServerID(l.opts.NodeID), Address: address,
	}}}
}

// startRaft runs raft. An empty log begins with a configuration of this node
// alone if founder; else it waits for the leader of the cluster it joined.
func (l *Log) startRaft(meta *metaStore, f *fsm, founder bool) (err error) {
	l.transport = l.openTransport()
	config := l.config()
	if founder {
		if err := l.bootstrap(meta, config); err != nil {
			return err
		}
	}
	var logs raft.LogStore = l.store
	if l.opts.Stream != nil {
		if logs, err = raft.NewLogCache(cacheEntries, l.store); err != nil {
			return err
		}
	}
	timeout := config.HeartbeatTimeout
	config.HeartbeatTimeout += time.Millisecond
	config.ElectionTimeout += time.Millisecond
	if err := l.newRaft(config, f, logs); err != nil {
		return err
	}
	// Once: only raft's first Shutdown waits for its goroutines.
	l.shutdown = sync.OnceValue(func() error { return l.raft.Load().Shutdown().Error() })
	l.watcher.Go(l.shutDownOnFailure)
	servers := l.raft.Load().GetConfiguration().Configuration().Servers
	switch {
	case l.opts.Stream == nil && !isVoter(servers, config.LocalID):
		return fmt.Errorf("%w: node %q is not one of its voters %v", ErrGap, l.opts.NodeID, servers)
	case l.opts.Stream == nil && len(servers) > 1:
		return fmt.Errorf("%w: it has the members %v; let the others leave the cluster first, or start with HA on", ErrMember, names(servers))
	case len(servers) != 1 || !isVoter(servers, config.LocalID):
		return nil
	}
	// A shorter heartbeat timeout takes effect at once, and as raft has not
	// heard of any leader yet, that starts the election without a wait.
	reload := l.raft.Load().ReloadableConfig()
	reload.HeartbeatTimeout, reload.ElectionTimeout = timeout, timeout
	return l.raft.Load().ReloadConfig(reload)
}

// newRaft turns NewRaft's panics on a failing disk into errors.
func (l *Log) newRaft(config *raft.Config, f *fsm, logs raft.LogStore) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("raft: %v", p)
		}
	}()
	r, err := raft.NewRaft(config, f, logs, l.store, l.snapshots, l.scanEndsWith(l.transport))
	if err == nil {
		l.raft.Store(r)
		if l.store.scanned.Load() != nil {
			return errors.New("raft: started before it set the heartbeat handler")
		}
		if l.opts.onRaft != nil {
			l.opts.onRaft(r)
		}
	}
	return err
}

// scanEndsWith returns t such that the log is read from the disk, and no longer
// answered from the scan, when NewRaft has read it and before it starts raft's
// goroutines: these may apply entries while NewRaft has yet to return, and the
// scan has no data. The last that NewRaft calls before is SetHeartbeatHandler.
func (l *Log) scanEndsWith(t raft.Transport) raft.Transport {
	end := func() { l.store.scanned.Store(nil) }
	switch t := t.(type) {
	case *raft.NetworkTransport:
		return networkTransport{t, end}
	case *raft.InmemTransport:
		return inmemTransport{t, end}
	}
	panic("ha: unknown transport")
}

// Raft looks for more methods than raft.Transport has, so that the transports
// are embedded as they are.
type networkTransport struct {
	*raft.NetworkTransport
	read func()
}

func (t networkTransport) SetHeartbeatHandler(h func(raft.RPC)) {
	t.read()
	t.NetworkTransport.SetHeartbeatHandler(h)
}

type inmemTransport struct {
	*raft.InmemTransport
	read func()
}

func (t inmemTransport) SetHeartbeatHandler(h func(raft.RPC)) {
	t.read()
	t.InmemTransport.SetHeartbeatHandler(h)
}

// shutDownOnFailure ends raft when the log has failed, so that a Propose that
// waits for it returns.
func (l *Log) shutDownOnFailure() {
	select {
	case <-l.failed:
		_ = l.shutdown() // Close returns it
	case <-l.done:
	}
}

func isVoter(servers []raft.Server, id raft.ServerID) bool {
	for _, s := range servers {
		if s.ID == id && s.Suffrage == raft.Voter {
			return true
		}
	}
	return false
}

// bootstrap writes the first entry of a new log: the configuration.
func (l *Log) bootstrap(meta *metaStore, config *raft.Config) error {
	if meta.term() > 0 {
		// A crash in BootstrapCluster, which refuses to run a second time.
		if err := l.store.SetUint64([]byte(keyTerm), 0); err != nil {
			return err
		}
	}
	return raft.BootstrapCluster(config, l.store, l.store, l.snapshots, l.transport, l.self())
}

// awaitLeadership returns when this node leads and has applied all that was
// committed before, and goes on watching that it leads. Until then it is a
// standby, and leadership may come and go.
func (l *Log) awaitLeadership() error {
	for {
		select {
		case leads := <-l.leader:
			if !leads {
				continue
			}
		case <-l.failed:
			return l.err()
		case <-l.done:
			return ErrClosed
		}
		barrier := make(chan error, 1)
		go func() { barrier <- l.raft.Load().Barrier(0).Error() }()
		select {
		case err := <-barrier:
			if err != nil && l.opts.Stream != nil && l.err() == nil {
				// Deposed before it served anybody: it goes on as a standby.
				l.opts.Logger.Warn("leadership did not last", "error", err)
				continue
			}
			if err != nil {
				return err
			}
		case <-l.failed:
			return l.err()
		case <-l.done:
			return ErrClosed
		}
		if l.opts.Witness {
			l.handOver()
			continue
		}
		l.leading.Store(true)
		l.watcher.Go(l.watchLeadership)
		return nil
	}
}

// watchLeadership makes the loss of leadership fatal: from then on nobody knows
// which of the pending entries commit, and another node may serve. It replaces
// waiting for each entry's future, which would cost a switch of goroutines per
// entry: nothing else makes raft drop one, as a transfer first waits until
// nothing is on its way.
func (l *Log) watchLeadership() {
	for {
		select {
		case leading := <-l.leader:
			if !leading && !l.closed.Load() && l.err() == nil {
				l.leading.Store(false)
				l.fail(ErrLeadershipLost)
			}
		case <-l.done:
			return
		}
	}
}

// Propose implements persistence.Log. It blocks while maxAppendEntries entries
// wait for the disk, and during a transfer of leadership.
func (l *Log) Propose(data []byte) error {
	if err := l.ready(); err != nil {
		return err
	}
	if len(data) > MaxEntrySize {
		return ErrTooLarge
	}
	l.turnover.enter()
	l.pace.proposed.Add(1)
	l.raft.Load().Apply(data, 0)
	l.turnover.leave()
	return l.ready()
}

func (l *Log) ready() error {
	if err := l.err(); err != nil {
		return err
	}
	if l.closed.Load() || l.raft.Load() == nil {
		return ErrClosed
	}
	return nil
}

// Cut implements persistence.Log. Truncation works by whole segments. A Cut at
// or before the last one does nothing. It must not be called from Apply, whose
// goroutine it waits for.
func (l *Log) Cut(index uint64, keepBytes int64) error {
	if err := l.ready(); err != nil {
		return err
	}
	l.cutting.Lock()
	defer l.cutting.Unlock()
	if index <= l.snapshots.manifest().Index {
		return nil
	}
	if handed := l.handed.Load(); index > handed {
		return fmt.Errorf("ha: cut at entry %d, only %d are applied", index, handed)
	}
	term, err := l.termOf(index)
	if err != nil {
		return fmt.Errorf("ha: cut at entry %d: %w", index, err)
	}
	l.snapshots.prepare(entryPos{index, term})
	l.store.cut(index, keepBytes)
	if err := l.raft.Load().Snapshot().Error(); err != nil {
		if err := l.ready(); err != nil || l.opts.Stream == nil {
			return fmt.Errorf("ha: cut: %w", errors.Join(err, l.err()))
		}
		// On a cluster raft declines while a change of members is under way, or
		// before it has applied anything: the next checkpoint cuts.
		l.opts.Logger.Info("the log is cut later", "at", index, "why", err)
	}
	return nil
}

// termOf is the term of an entry that this node has applied.
func (l *Log) termOf(index uint64) (uint64, error) {
	if m := l.snapshots.manifest(); m.Index == index {
		return m.Term, nil
	}
	var entry raft.Log
	if err := l.store.WAL.GetLog(index, &entry); err != nil {
		return 0, err
	}
	return entry.Term, nil
}

// Size implements persistence.Log.
func (l *Log) Size() int64 {
	if l.store == nil {
		return 0
	}
	return l.store.size()
}

// Close implements persistence.Log. After a failure it still closes what it
// can and returns the failure.
func (l *Log) Close() error {
	if !l.closed.CompareAndSwap(false, true) {
		return nil
	}
	close(l.done)
	l.gate.close()
	l.turnover.open()
	l.preparing.Lock()
	defer l.preparing.Unlock()
	var errs []error
	if l.shutdown != nil {
		errs = append(errs, l.shutdown())
	} else if t, ok := l.transport.(raft.WithClose); ok {
		errs = append(errs, t.Close())
	}
	l.watcher.Wait()
	if l.store != nil {
		errs = append(errs, l.store.WAL.Close())
	}
	if l.segments != nil {
		errs = append(errs, l.segments.close())
	}
	errs = append(errs, l.lock.Close(), l.err())
	return errors.Join(errs...)
}

var (
	_ types.VFS       = (*segmentDir)(nil)
	_ types.MetaStore = (*metaStore)(nil)
	_ raft.LogStore   = (*logStore)(nil)
)
