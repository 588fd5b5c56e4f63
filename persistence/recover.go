package persistence

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/hermodmq/hermod/broker"
)

const (
	// Bounds on how many blocks Recover reads to be exact about the bytes of
	// partly settled extents, and about the age of the oldest message of a
	// lane. Beyond them bytes are estimates and ages unknown.
	partlyReadsMax = 1024
	oldestReadsMax = 256
	// lostReportsMax bounds how many runs of lost messages are logged one by one.
	lostReportsMax = 100
)

// Recover implements broker.Store: it replays the log and starts to serve. On
// a cluster it returns when this node has become the active one.
func (s *Store) Recover() (*broker.Recovered, error) {
	s.starting.Store(!s.opts.Cluster)
	s.startBackground()
	if err := s.opts.Log.Start(s); err != nil {
		return nil, fmt.Errorf("persistence: open the log: %w", err)
	}
	s.starting.Store(false)
	if s.failed.Load() {
		s.mu.RLock()
		defer s.mu.RUnlock()
		return nil, s.failure
	}
	if err := s.endRebuild(); err != nil {
		return nil, err
	}
	r, err := s.recovered()
	if err != nil {
		return nil, err
	}
	if s.keys.enabled() {
		s.appendOwnKey()
	}
	s.agree()
	s.background.Add(1)
	go s.propose()
	return r, nil
}

func (s *Store) startBackground() {
	for range s.opts.Readers {
		s.readers = append(s.readers, newReadWorker(s))
	}
	s.background.Add(3 + len(s.readers))
	for _, w := range s.readers {
		go w.run()
	}
	go s.checkpointer()
	go s.relief.run(s)
	go s.watch.run()
}

// appendOwnKey makes the first entry of this process one that carries the data
// key, wrapped: whoever holds the log and the master key can read it.
func (s *Store) appendOwnKey() {
	id := s.keys.current
	data := appendKeyRecord(make([]byte, entryHeaderSize), id, s.keys.wrapped(id))
	q := &s.batcher
	q.mu.Lock()
	defer q.mu.Unlock()
	e := &pendingEntry{data: data, records: 1, plain: true}
	q.ready = append([]*pendingEntry{e}, q.ready...)
}

// endRebuild makes the checkpoint that ends a rebuild: from here on the
// sequence numbers in the log are the table's again.
func (s *Store) endRebuild() error {
	s.mu.Lock()
	rebuilding := s.rebuilding
	s.replayDone = true
	s.mu.Unlock()
	if !rebuilding {
		return nil
	}
	if err := s.checkpoint(false); err != nil {
		return err
	}
	s.mu.Lock()
	s.rebuilding = false
	s.mu.Unlock()
	return nil
}

// recovered collects what the store holds. A checkpoint may be in progress, as
// a standby that takes over cannot wait for one: it moves messages lane by lane
// under s.mu, and definitions are also in s.committing meanwhile.
func (s *Store) recovered() (*broker.Recovered, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	definitions, err := s.loadDefinitions()
	if err != nil {
		return nil, err
	}
	r := &broker.Recovered{Definitions: definitions, NextLane: broker.LaneID(s.table.nextLane)}
	r.Lanes = make([]broker.LaneState, 0, len(s.table.lanes))
	reads := readBudget{partly: partlyReadsMax, oldest: oldestReadsMax}
	for _, l := range s.table.lanes {
		s.reconcile(l)
		r.Lanes = append(r.Lanes, s.laneState(l, &reads))
	}
	if s.stats.Lost > 0 {
		s.log.Error("recovery gave up messages that nothing holds", "count", s.stats.Lost, "runs", s.lostReports)
	}
	slices.SortFunc(r.Lanes, func(a, b broker.LaneState) int { return cmp.Compare(a.Lane, b.Lane) })
	return r, nil
}

// loadDefinitions reads the definitions of the last checkpoint, those that one
// in progress writes, and what the log changed since. s.mu is held.
func (s *Store) loadDefinitions() ([]broker.Definition, error) {
	var list []broker.Definition
	err := s.meta.load(bucketDefinitions, func(_, v []byte) error {
		body, err := s.openDefinition(v)
		if err != nil {
			return err
		}
		name, ok := definitionName(body)
		if !ok {
			return &CorruptionError{File: "meta", Reason: "definition row"}
		}
		if _, changed := s.definitions[string(name)]; changed {
			return nil
		}
		if _, changed := s.committing[string(name)]; changed {
			return nil
		}
		d, ok := decodeDefinition(body)
		if !ok {
			return &CorruptionError{File: "meta", Reason: "definition row"}
		}
		list = append(list, d)
		return nil
	})
	if err != nil {
		return nil, err
	}
	for name, body := range s.committing {
		if _, changed := s.definitions[name]; changed {
			continue
		}
		if d, ok := decodeDefinition(body); ok && !d.Delete {
			list = append(list, d)
		}
	}
	for _, body := range s.definitions {
		if d, ok := decodeDefinition(body); ok && !d.Delete {
			list = append(list, d)
		}
	}
	slices.SortFunc(list, func(a, b broker.Definition) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Key, b.Key))
	})
	return list, nil
}

// openDefinition returns a copy of the record body in a row.
func (s *Store) openDefinition(v []byte) ([]byte, error) {
	switch {
	case len(v) > 1 && v[0] == 'p':
		return slices.Clone(v[1:]), nil
	case len(v) > 1 && v[0] == 'e':
		return s.keys.openValue(v[1:])
	}
	return nil, &CorruptionError{File: "meta", Reason: "definition row"}
}

// reconcile settles what l counts as unsettled but nothing holds: messages of
// quarantined segments, and those whose settlement a power failure took from
// the log after they were left out of a segment because of it.
func (s *Store) reconcile(l *lane) {
	at := l.head
	extents := l.extents // settling shortens l.extents at the front
	for i := range extents {
		s.settleLost(l, at, extents[i].first)
		at = max(at, extents[i].end())
	}
	for _, g := range [2]int{s.table.gen&1 ^ 1, s.table.gen & 1} {
		if r := &l.mem[g]; r.len() > 0 {
			s.settleLost(l, at, r.base)
			at = max(at, r.end())
		}
	}
	s.settleLost(l, at, l.next)
}

func (s *Store) settleLost(l *lane, first, end uint64) {
	if first >= end {
		return
	}
	if n := s.table.settle(l, first, end); n > 0 {
		s.stats.Lost += n
		if s.lostReports++; s.lostReports > lostReportsMax {
			return
		}
		s.log.Error("messages are lost", "lane", l.id, "first", first, "last", end-1, "count", n)
	}
}

// readBudget is how many more blocks may be read for exactness.
type readBudget struct{ partly, oldest int }

func (b *readBudget) spend(partly, oldest bool) bool {
	switch {
	case partly && b.partly > 0:
		b.partly--
	case oldest && b.oldest > 0:
		b.oldest--
	default:
		return false
	}
	return true
}

// laneState sums up l.
func (s *Store) laneState(l *lane, reads *readBudget) broker.LaneState {
	st := broker.LaneState{Lane: broker.LaneID(l.id)}
	extents := l.extents // settling what is lost shortens l.extents at the front
	for i := range extents {
		s.sumExtent(&st, l, &extents[i], reads)
	}
	for _, g := range [2]int{s.table.gen&1 ^ 1, s.table.gen & 1} {
		r := &l.mem[g]
		if r.len() == 0 {
			continue
		}
		for seq := l.nextUnset(max(r.base, l.head), r.end()); seq < r.end(); seq = l.nextUnset(seq+1, r.end()) {
			v := r.at(seq)
			st.Bytes += uint64(v.body)
			st.Timed = st.Timed || v.expiry != 0
			if seq == l.head {
				st.FirstTime = receivedAt(s.table.mem[g].bytes(v))
			}
		}
	}
	// The head may have moved over lost messages.
	st.First, st.Next, st.Count = l.head, l.next, l.count
	for _, x := range l.leases {
		st.Leases = append(st.Leases, x)
	}
	slices.SortFunc(st.Leases, func(a, b broker.StoreLease) int { return cmp.Compare(a.Seq, b.Seq) })
	return st
}

func receivedAt(data []byte) int64 {
	m, err := broker.DecodeMessage(data)
	if err != nil {
		return 0
	}
	return m.Received
}

// sumExtent adds the unsettled part of e. It reads the block if the extent is
// partly settled or holds the oldest message, as long as that is allowed.
func (s *Store) sumExtent(st *broker.LaneState, l *lane, e *extent, reads *readBudget) {
	live := l.unsettled(e.first, e.end())
	if live == 0 {
		return
	}
	oldest := e.first <= l.head && l.head < e.end()
	partly := live != uint64(e.n)
	if reads.spend(partly, oldest) {
		b, err := s.table.segments[e.seg].readBlock(l.id, e)
		if err == nil {
			s.sumBlock(st, l, e, b)
			return
		}
		s.log.Error("cannot read a block", "error", err)
		s.stats.CorruptBlocks++
	}
	st.Bytes += uint64(e.body) * live / uint64(e.n)
	st.Timed = st.Timed || e.timed != 0
}

// sumBlock adds the unsettled messages that are in b, and settles those that
// should be but are not.
func (s *Store) sumBlock(st *broker.LaneState, l *lane, e *extent, b *block) {
	at := e.first
	for it := b.iter(); it.step(); at = it.seq + 1 {
		s.settleLost(l, max(at, l.head), it.seq)
		if it.seq < l.head || l.has(it.seq) {
			continue
		}
		st.Bytes += it.body
		st.Timed = st.Timed || it.expiry != 0
		if it.seq == l.head && it.data != nil {
			st.FirstTime = receivedAt(it.data)
		}
	}
	s.settleLost(l, max(at, l.head), e.end())
}
