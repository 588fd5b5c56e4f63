package persistence

import (
	"crypto/rand"
	"encoding/binary"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hermodmq/hermod/broker"
)

// Store is the broker.Store of one node over a Log.
type Store struct {
	opts  Options
	log   *slog.Logger
	keys  *keyring
	epoch uint64 // names this process in entry headers
	watch watch
	lock  io.Closer
	meta  metadata

	batcher   batcher
	pending   atomic.Int64 // appended bytes that did not commit yet
	logBase   atomic.Int64 // size of the log after the last cut, which may leave some
	memoryLow atomic.Bool  // the active memory table is full and the other one not flushed yet
	congested atomic.Bool
	relief    relief
	failed    atomic.Bool
	starting  atomic.Bool   // Recover runs: it returns the failure, Fatal does not hear of it
	failure   error         // guarded by mu
	level     atomic.Uint32 // that the log has reached; changed under mu

	// The commit goroutine's own.
	commitTurn broker.Turn
	seqs       []uint64
	staged     []staged

	mu              sync.RWMutex
	flushed         sync.Cond // a checkpoint ended
	table           *table
	applied         uint64            // log index the table reflects
	definitions     map[string][]byte // changed since the last checkpoint: name to record body
	committing      map[string][]byte // what a checkpoint in progress writes of them
	definitionBytes int64
	newKeys         []uint32
	levelDirty      bool
	flushing        bool // a frozen memory table is being written
	busy            bool // a checkpoint runs, from freezing to compaction
	rebuilding      bool // replaying a log whose sequence numbers are lost
	replayDone      bool
	closed          bool
	lostReports     int
	stats           counters

	checkpointMu   sync.Mutex // one checkpoint at a time
	checkpointWish chan struct{}
	checkpointed   uint64 // index of the last one
	checkpoints    uint64
	copied         time.Time // when meta.copy was written
	copyDue        bool
	nextSegment    uint32
	readers        []*readWorker
	stopBackground chan struct{}
	background     sync.WaitGroup
}

var _ broker.Store = (*Store)(nil)

func newStore(o Options) (*Store, error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	o.setDefaults()
	s := &Store{
		opts: o, log: o.Logger, table: newTable(), definitions: map[string][]byte{},
		checkpointWish: make(chan struct{}, 1), stopBackground: make(chan struct{}), nextSegment: 1,
	}
	s.flushed.L = &s.mu
	s.batcher.init(&s.opts)
	s.watch.init(s)
	s.relief.init()
	var err error
	if s.keys, err = newKeyring(o.MasterKey, o.KeyWrapper); err != nil {
		return nil, err
	}
	var epoch [8]byte
	if _, err := rand.Read(epoch[:]); err != nil {
		return nil, err
	}
	s.epoch = binary.LittleEndian.Uint64(epoch[:])
	s.setBells(&s.commitTurn)
	return s, nil
}

// Append implements broker.Store. A batch of any size commits as one; a single
// message or definition beyond RecordSizeMax is the caller's bug and ends the
// process like a failed disk would.
func (s *Store) Append(b *broker.Batch) {
	added, err := s.batcher.append(b)
	if err != nil {
		s.fail(err)
		return
	}
	if s.pending.Add(added) > s.opts.InFlightBytes && !s.congested.Load() {
		s.congested.Store(true)
		s.relieve() // what was in flight may have committed in between
	}
}

// Congested implements broker.Store.
func (s *Store) Congested() bool { return s.congested.Load() }

// OnRelief implements broker.Store.
func (s *Store) OnRelief(f func()) {
	s.relief.add(f)
	s.relieve()
}

// relieve ends congestion when half of what is allowed in flight is left and a
// memory table is free.
func (s *Store) relieve() {
	if s.pending.Load() > s.opts.InFlightBytes/2 || s.memoryLow.Load() {
		if s.congested.Load() {
			return
		}
	} else if s.congested.Load() {
		s.congested.Store(false)
	}
	if s.relief.waiting.Load() && !s.congested.Load() {
		s.relief.wake()
	}
}

// propose is the proposer goroutine.
func (s *Store) propose() {
	defer s.background.Done()
	paced, _ := s.opts.Log.(PacedLog)
	for {
		if paced != nil && s.batcher.partial() {
			paced.Pace()
		}
		e := s.batcher.next()
		if e == nil {
			return
		}
		if err := s.opts.Log.Propose(s.batcher.seal(e, s.epoch, s.keys)); err != nil {
			s.fail(err)
			return
		}
	}
}

// fail ends everything: what is in flight has an unknown outcome and nobody
// is told anything about it.
func (s *Store) fail(err error) {
	if !s.failed.CompareAndSwap(false, true) {
		return
	}
	s.batcher.stop()
	s.mu.Lock()
	s.failure = err
	s.flushed.Broadcast()
	s.mu.Unlock()
	if !s.starting.Load() {
		s.opts.Fatal(err)
	}
}

// Close implements broker.Store: it lets what was appended commit, makes a
// checkpoint and releases everything. After a fatal error it only releases.
func (s *Store) Close() error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return nil
	}
	s.closed = true
	s.mu.Unlock()
	if s.failed.Load() {
		s.abandon()
		return ErrClosed
	}
	s.batcher.drain()
	err := s.checkpoint(false)
	s.stopGoroutines()
	if cerr := s.opts.Log.Close(); err == nil {
		err = cerr
	}
	if rerr := s.releaseFiles(); err == nil {
		err = rerr
	}
	return err
}

// abandon releases what a failed store holds, without touching its state.
func (s *Store) abandon() {
	_ = s.opts.Log.Close() // first: the proposer may be inside it
	s.stopGoroutines()
	_ = s.releaseFiles()
}

func (s *Store) stopGoroutines() {
	s.batcher.stop()
	close(s.stopBackground)
	for _, w := range s.readers {
		w.stop()
	}
	s.relief.stop()
	s.background.Wait()
}

func (s *Store) releaseFiles() error {
	var err error
	s.mu.Lock()
	for _, g := range s.table.segments {
		if uerr := g.unpin(); err == nil {
			err = uerr
		}
	}
	clear(s.table.segments)
	s.mu.Unlock()
	if s.meta != nil {
		if cerr := s.meta.close(); err == nil {
			err = cerr
		}
	}
	if s.lock != nil {
		if cerr := s.lock.Close(); err == nil {
			err = cerr
		}
	}
	return err
}

func (s *Store) newSegmentID() uint32 {
	s.mu.Lock()
	defer s.mu.Unlock()
	id := s.nextSegment
	s.nextSegment++
	return id
}

// relief runs the functions that wait for the end of congestion, on one
// goroutine.
type relief struct {
	waiting atomic.Bool
	mu      sync.Mutex
	list    []func()
	bell    chan struct{}
	quit    chan struct{}
}

func (r *relief) init() {
	r.bell, r.quit = make(chan struct{}, 1), make(chan struct{})
}

func (r *relief) add(f func()) {
	r.mu.Lock()
	r.list = append(r.list, f)
	r.waiting.Store(true)
	r.mu.Unlock()
}

func (r *relief) wake() {
	select {
	case r.bell <- struct{}{}:
	default:
	}
}

func (r *relief) run(s *Store) {
	defer s.background.Done()
	for {
		select {
		case <-r.quit:
			return
		case <-r.bell:
		}
		if s.congested.Load() {
			continue // it came back before anybody heard of its end; the next relieve rings again
		}
		r.mu.Lock()
		list := r.list
		r.list = nil
		r.waiting.Store(false)
		r.mu.Unlock()
		for _, f := range list {
			f()
		}
	}
}

func (r *relief) stop() { close(r.quit) }
