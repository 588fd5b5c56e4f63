package broker

import (
	"slices"
	"sync"
	"time"
)

// MemoryStore is a Store without a disk, for tests and for brokers that need
// no durability. It commits by itself on a goroutine of its own, or, after
// Manual, when Commit is called.
type MemoryStore struct {
	// NewTurn makes the turn in which callbacks run, and end finishes it. Nil
	// means a turn of the wall clock without bells. Set it before the first
	// Append.
	NewTurn func() (t *Turn, end func())

	mu      sync.Mutex
	wake    *sync.Cond
	manual  bool
	running bool // the goroutine was started
	closed  bool
	queue   []memoryOp // in order, not carried out yet
	spare   []memoryOp
	taken   []memoryOp // by Commit
	relief  []func()
	limit   int // operations in flight from which the store is congested; 0: none
	idle    *sync.Cond

	// The committed state; touched by whoever commits.
	state       sync.Mutex
	lanes       map[LaneID]*memoryLane
	dropped     map[LaneID]bool
	definitions map[definitionKey]Definition
	order       []definitionKey // of first appearance, for stable recovery
	nextLane    LaneID
}

type definitionKey struct{ kind, key string }

// memoryOp is a batch or a read.
type memoryOp struct {
	batch *Batch
	copy  Batch // batch is copied here if nobody waits for it
	read  *ReadRequest
}

// memoryLane keeps messages by sequence number: items[i] has first+i.
type memoryLane struct {
	first uint64
	items []memoryItem
	count uint64
	bytes uint64
}

type memoryItem struct {
	msg    *Message // nil: settled
	expiry int64
	count  uint32
	lease  *StoreLease // nil: none
}

// NewMemoryStore returns an empty store.
func NewMemoryStore() *MemoryStore {
	s := &MemoryStore{
		lanes: make(map[LaneID]*memoryLane), dropped: make(map[LaneID]bool),
		definitions: make(map[definitionKey]Definition), nextLane: 1,
	}
	s.wake, s.idle = sync.NewCond(&s.mu), sync.NewCond(&s.mu)
	return s
}

// Manual stops the store from committing by itself and returns it. It must be
// called before the first Append.
func (s *MemoryStore) Manual() *MemoryStore {
	s.manual = true
	return s
}

// Congest makes the store report congestion from n operations in flight; 0 is
// never.
func (s *MemoryStore) Congest(n int) {
	s.mu.Lock()
	s.limit = n
	s.mu.Unlock()
}

// Recover implements Store.
func (s *MemoryStore) Recover() (*Recovered, error) {
	s.state.Lock()
	defer s.state.Unlock()
	r := &Recovered{NextLane: s.nextLane}
	for _, k := range s.order {
		if d, ok := s.definitions[k]; ok {
			r.Definitions = append(r.Definitions, d)
		}
	}
	for id, l := range s.lanes {
		r.Lanes = append(r.Lanes, l.state(id))
	}
	slices.SortFunc(r.Lanes, func(a, b LaneState) int { return int(int64(a.Lane) - int64(b.Lane)) })
	return r, nil
}

func (l *memoryLane) state(id LaneID) LaneState {
	st := LaneState{Lane: id, First: l.first, Next: l.first + uint64(len(l.items)), Count: l.count, Bytes: l.bytes}
	for i := range l.items {
		if m := l.items[i].msg; m != nil {
			if st.FirstTime == 0 {
				st.FirstTime = m.Received
			}
			st.Timed = st.Timed || l.items[i].expiry != 0
			if x := l.items[i].lease; x != nil {
				st.Leases = append(st.Leases, *x)
			}
		}
	}
	return st
}

// Append implements Store.
func (s *MemoryStore) Append(b *Batch) {
	op := memoryOp{batch: b}
	s.mu.Lock()
	if b.Then == nil {
		op.batch = nil
		op.copy = s.recycled()
		op.copy.copyFrom(b)
	}
	s.put(op)
	s.mu.Unlock()
}

// recycled returns the slices of a copy that was carried out.
func (s *MemoryStore) recycled() Batch {
	if n := len(s.spare); n > 0 {
		b := s.spare[n-1].copy
		s.spare = s.spare[:n-1]
		return b
	}
	return Batch{}
}

func (b *Batch) copyFrom(src *Batch) {
	b.Publishes = append(b.Publishes[:0], src.Publishes...)
	for i := range b.Publishes {
		b.Publishes[i].Targets = slices.Clone(b.Publishes[i].Targets)
	}
	b.Settles = append(b.Settles[:0], src.Settles...)
	b.Counts = append(b.Counts[:0], src.Counts...)
	b.Leases = append(b.Leases[:0], src.Leases...)
	b.Trims = append(b.Trims[:0], src.Trims...)
	b.Definitions = append(b.Definitions[:0], src.Definitions...)
	b.Then = nil
}

// put queues an operation; the caller holds mu.
func (s *MemoryStore) put(op memoryOp) {
	if s.closed {
		return
	}
	s.queue = append(s.queue, op)
	if s.manual {
		return
	}
	if !s.running {
		s.running = true
		go s.run()
	}
	if len(s.queue) == 1 {
		s.wake.Signal()
	}
}

// Read implements Store.
func (s *MemoryStore) Read(r *ReadRequest) {
	s.mu.Lock()
	s.put(memoryOp{read: r})
	s.mu.Unlock()
}

// Congested implements Store.
func (s *MemoryStore) Congested() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.congested()
}

func (s *MemoryStore) congested() bool { return s.limit > 0 && len(s.queue) >= s.limit }

// OnRelief implements Store.
func (s *MemoryStore) OnRelief(f func()) {
	s.mu.Lock()
	now := !s.congested()
	if !now {
		s.relief = append(s.relief, f)
	}
	s.mu.Unlock()
	if now {
		go f()
	}
}

// Close implements Store. What was appended before is carried out first.
func (s *MemoryStore) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.running {
		for len(s.queue) > 0 {
			s.idle.Wait()
		}
	}
	s.closed = true
	s.wake.Broadcast()
	return nil
}

// run is the goroutine of a store that commits by itself.
func (s *MemoryStore) run() {
	var ops []memoryOp
	for {
		s.mu.Lock()
		if len(ops) > 0 {
			// Only now is the work off the queue, so that Close and Congested
			// see what is under way.
			s.done(ops)
		}
		for len(s.queue) == 0 && !s.closed {
			s.wake.Wait()
		}
		if s.closed {
			s.mu.Unlock()
			return
		}
		ops = append(ops[:0], s.queue...)
		s.mu.Unlock()
		s.carryOut(ops, nil)
	}
}

// done takes carried out operations off the queue; the caller holds mu.
func (s *MemoryStore) done(ops []memoryOp) {
	for i := range ops {
		if ops[i].batch == nil && ops[i].read == nil && len(s.spare) < 1024 {
			s.spare = append(s.spare, ops[i])
		}
	}
	n := len(s.queue) - len(ops)
	if n > len(ops) {
		clear(s.queue[:len(ops)])
		s.queue = s.queue[len(ops):]
	} else {
		copy(s.queue, s.queue[len(ops):])
		clear(s.queue[n:])
		s.queue = s.queue[:n]
	}
	clear(ops)
	if n == 0 {
		s.idle.Broadcast()
	}
	if !s.congested() && len(s.relief) > 0 {
		relief := s.relief
		s.relief = nil
		go func() {
			for _, f := range relief {
				f()
			}
		}()
	}
}

// Commit carries out at most limit operations of a manual store in order, all
// of them if limit is negative, those included that are added meanwhile. It returns
// how many there were.
func (s *MemoryStore) Commit(t *Turn, limit int) int {
	n := 0
	for limit < 0 || n < limit {
		s.mu.Lock()
		if len(s.queue) == 0 {
			s.mu.Unlock()
			break
		}
		k := len(s.queue)
		if limit >= 0 {
			k = min(k, limit-n)
		}
		s.taken = append(s.taken[:0], s.queue[:k]...)
		s.mu.Unlock()
		s.carryOut(s.taken, t)
		s.mu.Lock()
		s.done(s.taken)
		s.mu.Unlock()
		n += k
	}
	return n
}

// Pending is the number of operations that wait for Commit.
func (s *MemoryStore) Pending() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.queue)
}

// Crash returns what a restart finds: a manual store with the committed state
// and the first keep of the batches that wait, whose Committers are never
// told. The old store takes nothing more.
func (s *MemoryStore) Crash(keep int) *MemoryStore {
	s.mu.Lock()
	queue := s.queue
	s.queue, s.closed = nil, true
	s.mu.Unlock()
	n := NewMemoryStore().Manual()
	n.NewTurn = s.NewTurn
	n.lanes, n.dropped, n.definitions = s.lanes, s.dropped, s.definitions
	n.order, n.nextLane = s.order, s.nextLane
	for i := range queue {
		if queue[i].read != nil {
			continue
		}
		if keep--; keep < 0 {
			break
		}
		n.apply(queue[i].content())
	}
	return n
}

func (op *memoryOp) content() *Batch {
	if op.batch != nil {
		return op.batch
	}
	return &op.copy
}

// carryOut applies operations in order and tells those who wait.
func (s *MemoryStore) carryOut(ops []memoryOp, t *Turn) {
	if t == nil {
		var end func()
		t, end = s.turn()
		defer end()
	}
	for i := range ops {
		op := &ops[i]
		if op.read != nil {
			s.carryOutRead(t, op.read)
			continue
		}
		b := op.content()
		s.state.Lock()
		s.apply(b)
		s.state.Unlock()
		if b.Then != nil {
			b.Then.Committed(t)
		}
	}
}

func (s *MemoryStore) turn() (*Turn, func()) {
	if s.NewTurn != nil {
		return s.NewTurn()
	}
	// A store is one of the shells around the core: it may look at the clock.
	return &Turn{Now: time.Now().UnixMilli()}, func() {}
}

func (s *MemoryStore) apply(b *Batch) {
	for i := range b.Publishes {
		p := &b.Publishes[i]
		for j := range p.Targets {
			s.applyPublish(p.Msg, &p.Targets[j])
		}
	}
	for _, x := range b.Settles {
		if l := s.lanes[x.Lane]; l != nil {
			l.settle(x.First, x.Count)
		}
	}
	for _, x := range b.Counts {
		if it := s.lanes[x.Lane].item(x.Seq); it != nil {
			it.count, it.lease = x.Count, nil
		}
	}
	for _, x := range b.Leases {
		if it := s.lanes[x.Lane].item(x.Seq); it != nil && it.msg != nil {
			if it.lease = nil; x.Deadline != 0 {
				it.lease = &x
			}
		}
	}
	for _, x := range b.Trims {
		s.applyTrim(x)
	}
	for _, d := range b.Definitions {
		k := definitionKey{d.Kind, d.Key}
		if d.Delete {
			delete(s.definitions, k)
			continue
		}
		if _, ok := s.definitions[k]; !ok {
			if i := slices.Index(s.order, k); i >= 0 {
				s.order = slices.Delete(s.order, i, i+1)
			}
			s.order = append(s.order, k)
		}
		s.definitions[k] = d
	}
}

func (s *MemoryStore) applyPublish(m *Message, target *StoreTarget) {
	if s.dropped[target.Lane] {
		return
	}
	l := s.lanes[target.Lane]
	if l == nil {
		l = &memoryLane{first: 1}
		s.lanes[target.Lane] = l
		s.nextLane = max(s.nextLane, target.Lane+1)
	}
	target.Seq = l.first + uint64(len(l.items))
	l.items = append(l.items, memoryItem{msg: m, expiry: target.Expiry})
	l.count++
	l.bytes += uint64(len(m.Body))
}

func (s *MemoryStore) applyTrim(x StoreTrim) {
	if x.Drop {
		delete(s.lanes, x.Lane)
		s.dropped[x.Lane] = true
		return
	}
	if l := s.lanes[x.Lane]; l != nil && x.Before > l.first {
		l.settle(l.first, x.Before-l.first)
	}
}

func (l *memoryLane) item(seq uint64) *memoryItem {
	if l == nil || seq < l.first || seq-l.first >= uint64(len(l.items)) {
		return nil
	}
	return &l.items[seq-l.first]
}

func (l *memoryLane) settle(first, count uint64) {
	for seq := max(first, l.first); seq < first+count; seq++ {
		it := l.item(seq)
		if it == nil {
			break
		}
		if it.msg != nil {
			l.count--
			l.bytes -= uint64(len(it.msg.Body))
			it.msg, it.lease = nil, nil
		}
	}
	for len(l.items) > 0 && l.items[0].msg == nil {
		l.items = l.items[1:]
		l.first++
	}
}

func (s *MemoryStore) carryOutRead(t *Turn, r *ReadRequest) {
	s.state.Lock()
	var msgs []Stored
	next, bytes := r.From, 0
	if l := s.lanes[r.Lane]; l != nil {
		next = max(next, l.first)
		for ; len(msgs) < r.Max && (bytes < r.MaxBytes || len(msgs) == 0); next++ {
			it := l.item(next)
			if it == nil || r.To != 0 && next > r.To {
				break
			}
			if it.msg == nil || r.ExpiredBefore != 0 && (it.expiry == 0 || it.expiry > r.ExpiredBefore) {
				continue
			}
			msgs = append(msgs, Stored{Seq: next, Expiry: it.expiry, Count: it.count, Msg: it.msg})
			bytes += it.msg.Size()
		}
	} else if r.To != 0 {
		next = r.To + 1
	}
	s.state.Unlock()
	r.Then(t, msgs, next, nil)
}
