package transport

import (
	"context"
	"log/slog"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"
)

const (
	turnBudget  = 4096 // events of one turn before sockets get their turn again
	maxRuns     = 64   // doorbells in a row before sockets get their turn again
	bufPoolSize = 4 << 20
	bufMax      = 1 << 20 // a larger output buffer is not kept
)

// env is what a loop needs from its owner.
type env struct {
	log      *slog.Logger
	clock    func() time.Time // nil: time.Now
	pool     *pool
	tlsGate  chan struct{}
	stalled  func()      // a loop has got its first stalled connection
	handRing func(*loop) // ring from another goroutine, after the loop has looked at its sockets
	released func(*Conn) // a connection is gone
}

type post struct {
	to *Conn
	ev Event
}

// loop is one event loop: a mailbox that anybody may append to, and everything else for the loop's goroutine only.
type loop struct {
	env  *env
	ring func() // schedules Run on the loop's goroutine

	mu      sync.Mutex // guards the mailbox; a leaf in the lock order
	in      []post
	fns     []func()
	stopped bool

	belled    atomic.Bool // a doorbell is on its way, or being answered
	wantTick  atomic.Bool
	wantStall atomic.Bool
	nstalled  atomic.Int32

	epfd     int
	pausable bool

	conns   []*Conn
	touched []*Conn // to be settled at the end of this turn
	resumed []*Conn // to be fed what was held back
	stalled []*Conn // watched every millisecond
	work    []post  // taken from the mailbox, handled up to head
	head    int
	peak    int
	runs    int
	inTurn  bool
	batch   Batch
	now     time.Time
	clock   func() time.Time
	bufs    [][]byte
	bufSize int
	wire    []byte // ciphertext of one flush
	plain   []byte // plaintext of one TLS record
}

func newLoop(e *env) *loop {
	l := &loop{env: e, clock: time.Now}
	if e.clock != nil {
		l.clock = e.clock
	}
	l.batch.home = l
	return l
}

// bell makes sure that the loop will look at its mailbox.
func (l *loop) bell() {
	if !l.belled.Load() && !l.belled.Swap(true) {
		l.ring()
	}
}

// run executes f on the loop, after the functions passed before it. It reports false when the loop has stopped.
func (l *loop) run(f func()) bool {
	l.mu.Lock()
	stopped := l.stopped
	if !stopped {
		l.fns = append(l.fns, f)
	}
	l.mu.Unlock()
	l.bell()
	return !stopped
}

// Run answers a doorbell. While it runs, belled stays set: nobody can enqueue another one, so gnet's task queue gets
// empty and gnet goes back to its sockets. Every so many doorbells in a row the next one is rung by another goroutine,
// which gives gnet the time to do so even against a sender that is always quick enough.
func (l *loop) Run(context.Context) error {
	defer func() {
		if r := recover(); r != nil {
			l.env.log.Error("panic on an event loop", "panic", r, "stack", string(debug.Stack()))
			l.env.handRing(l)
		}
	}()
	l.begin()
	more := l.turn()
	l.runs++
	if more || l.runs >= maxRuns {
		l.runs = 0
		l.env.handRing(l)
		return nil
	}
	l.belled.Store(false)
	if l.waiting() {
		l.bell()
	}
	return nil
}

func (l *loop) waiting() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.in) > 0 || len(l.fns) > 0 || l.wantTick.Load() || l.wantStall.Load()
}

func (l *loop) begin() {
	l.inTurn = true
	l.now = time.Time{}
}

func (l *loop) time() time.Time {
	if l.now.IsZero() {
		l.now = l.clock()
	}
	return l.now
}

// turn does everything that is due until there is nothing left. It reports true if it stopped at its budget instead;
// the caller then has to ring.
func (l *loop) turn() (more bool) {
	defer func() { l.inTurn = false }()
	if l.wantTick.Load() && l.wantTick.Swap(false) {
		l.tick()
	}
	if l.wantStall.Load() && l.wantStall.Swap(false) {
		l.checkStalled()
	}
	for handled := 0; ; {
		n := l.drain(turnBudget - handled)
		handled += n
		each(&l.resumed, (*Conn).pump)
		each(&l.touched, (*Conn).settle)
		if handled >= turnBudget {
			more = true
			break
		}
		if n == 0 && len(l.resumed) == 0 {
			break
		}
	}
	l.batch.Flush()
	return more
}

// each empties list into f, which may add to it. Entries are taken out before f sees them, so that a panic in f leaves
// the list fit for the next turn.
func each(list *[]*Conn, f func(*Conn)) {
	for i := 0; i < len(*list); i++ {
		if t := (*list)[i]; t != nil {
			(*list)[i] = nil
			f(t)
		}
	}
	*list = (*list)[:0]
}

// endTurn finishes a turn that a socket began.
func (l *loop) endTurn() {
	l.runs = 0
	if l.turn() {
		l.bell()
	}
}

// drain handles up to limit events and all functions, and returns how many.
func (l *loop) drain(limit int) int {
	if l.head == len(l.work) {
		l.mu.Lock()
		l.in, l.work = l.work[:0], l.in
		fns := l.fns
		l.fns = nil
		l.mu.Unlock()
		l.head = 0
		l.peak = max(l.peak, len(l.work))
		for _, f := range fns {
			l.call(f)
		}
		if len(l.work) == 0 {
			return len(fns)
		}
	}
	end := min(len(l.work), l.head+max(limit, 1))
	n := end - l.head
	for i := l.head; i < end; {
		i = l.deliver(i, end)
	}
	clear(l.work[l.head:end])
	l.head = end
	return n
}

// deliver hands out work[i:end] and returns the index behind the last event handled, which is short of end only after
// a panic: one recovery point for the whole batch, not one per event.
func (l *loop) deliver(i, end int) (next int) {
	defer func() {
		if r := recover(); r != nil {
			l.work[i].to.panicked("Handle", r)
			next = i + 1
		}
	}()
	for ; i < end; i++ {
		p := &l.work[i]
		if t := p.to; t.state == stateUp && !t.closeNow {
			t.touch()
			t.sess.Handle(p.ev)
		}
	}
	return end
}

func (l *loop) call(f func()) {
	defer func() {
		if r := recover(); r != nil {
			l.env.log.Error("panic on an event loop", "panic", r, "stack", string(debug.Stack()))
		}
	}()
	f()
}

func (l *loop) tick() {
	now := l.time()
	for _, t := range l.conns { // nothing in tick removes a connection: closing waits for settle
		t.tick(now)
	}
	if cap(l.work) > 1024 && l.head == len(l.work) && l.peak < cap(l.work)/4 {
		l.work, l.head = nil, 0 // the mailbox's two slices swap places: a burst's is gone after two ticks
	}
	l.peak = 0
	if len(l.bufs) > 0 {
		l.getBuf() // one buffer per tick goes to the garbage collector
	}
}

// checkStalled looks at connections whose output is above the mark, pending while paused, or to be closed after.
// gnet says nothing when output has drained.
func (l *loop) checkStalled() {
	keep := l.stalled[:0]
	for _, t := range l.stalled {
		if t.stillStalled() {
			keep = append(keep, t)
			continue
		}
		t.isStalled = false
	}
	clear(l.stalled[len(keep):])
	l.stalled = keep
	l.nstalled.Store(int32(len(keep)))
}

func (l *loop) add(t *Conn) {
	t.index = len(l.conns)
	l.conns = append(l.conns, t)
}

func (l *loop) remove(t *Conn) {
	last := len(l.conns) - 1
	l.conns[t.index] = l.conns[last]
	l.conns[t.index].index = t.index
	l.conns[last] = nil
	l.conns = l.conns[:last]
}

// getBuf and putBuf share output buffers within a loop: a connection holds one only during a turn with output.
func (l *loop) getBuf() []byte {
	if n := len(l.bufs); n > 0 {
		b := l.bufs[n-1]
		l.bufs[n-1] = nil
		l.bufs = l.bufs[:n-1]
		l.bufSize -= cap(b)
		return b
	}
	return make([]byte, 0, 4096)
}

func (l *loop) putBuf(b []byte) {
	if c := cap(b); c > 0 && c <= bufMax && l.bufSize+c <= bufPoolSize {
		l.bufs = append(l.bufs, b[:0])
		l.bufSize += c
	}
}

// stop makes the mailbox refuse events, so that senders who outlive the loop do not fill it.
func (l *loop) stop() {
	l.mu.Lock()
	l.stopped, l.in, l.fns = true, nil, nil
	l.mu.Unlock()
}

// Batch posts events to sessions and rings each of their loops once. A loop's own batch (Link.Batch) is flushed by the
// loop; every other goroutine that posts much makes its own with [NewBatch] and flushes it. A batch is not for use by
// two goroutines at once.
type Batch struct {
	home  *loop
	rings []*loop
}

// NewBatch returns a batch for a goroutine that is not an event loop.
func NewBatch() *Batch { return new(Batch) }

// Add appends ev to the mailbox of to's loop, behind every event added before, and remembers to ring. Call it while
// holding the lock that defines the order of the events. It takes one short leaf lock, never blocks and calls nobody.
func (b *Batch) Add(to *Conn, ev Event) {
	l := to.loop
	l.mu.Lock()
	if l.stopped {
		l.mu.Unlock()
		return
	}
	l.in = append(l.in, post{to, ev})
	l.mu.Unlock()
	if l != b.home {
		b.remember(l)
	}
}

func (b *Batch) remember(l *loop) {
	for _, t := range b.rings { // as many as there are event loops
		if t == l {
			return
		}
	}
	b.rings = append(b.rings, l)
}

// Flush rings the loops that got events since the last Flush.
func (b *Batch) Flush() {
	for _, l := range b.rings {
		l.bell()
	}
	b.rings = b.rings[:0]
}
