package broker

import (
	"maps"
	"slices"
	"sync"
	"sync/atomic"
)

// Queue is an ordered set of messages, each of which goes to one consumer
// until it is settled. A queue of kind stream keeps its messages instead.
type Queue struct {
	name  string
	vhost *VHost
	eng   *engine
	owner *Connection // of an exclusive queue, else nil
	args  Table
	base  LaneID

	kind      QueueKind
	durable   bool
	schedules bool    // it is the ScheduleQueue
	stream    *stream // kind stream only

	// Read without the lock.
	ttl   atomic.Int64 // effective message TTL in ms; -1: none
	gated atomic.Bool  // publishes need admission: reject-publish or deduplication
	aged  atomic.Bool  // the TTL counts from when the broker accepted a message
	ended atomic.Bool  // close ran
	forms atomic.Pointer[map[formKey]string]

	timer int // place in engine.timers plus one, under their lock; 0: none

	mu         sync.Mutex
	due        int64 // Unix ms at which tick has something to do; 0: never
	cfg        QueueConfig
	lanes      []lane // by priority
	ready      int
	readyBytes int64 // of bodies
	delay      delayLane
	ledger     ledger
	consumers  consumers
	getters    []getter
	waiters    waiters
	leased     map[place]int32 // slots of leases without owner
	batch      uint64          // last Receive
	groups     groupTable
	dedup      dedupTable
	timed      timedHeap[place] // hot entries whose expiry does not follow their order
	timedMax   int              // size at which timed is cleaned
	deadlines  timedHeap[Lease]
	leaseMax   int  // size at which deadlines is cleaned
	disorderly bool // the TTL was changed: no expiry follows the order
	paused     bool
	closed     bool
	lastUsed   int64 // Unix ms, for x-expires
	complained int64 // Unix ms of the last log line about reads

	reserved      int // stored publishes admitted but not committed yet
	reservedBytes int64
	memory        int64 // of what the queue holds in memory
	thin          int   // entries, ready or leased, whose message is in the store only
	reported      int64 // how much of it the engine knows

	// What leave does once everything is consistent.
	out       Batch
	dead      []corpse
	buried    []func(*Turn) // called when dead is done with
	stranded  []corpse      // whose message could not be read yet; tried again by tick
	retryDead int64         // Unix ms of that; 0: none is stranded
	reads     []*ReadRequest
	wakes     []wakeUp
	calls     []func(*Turn)
	rooms     []func(*Turn) // of those who wait for room
	vanish    bool

	burying bool         // somebody is dead-lettering; who comes later leaves it to him
	burials atomic.Int64 // plans with dead letters that are not committed

	stats QueueCounters
}

// place is where an entry stands.
type place struct {
	level    int
	seq, sub uint64
}

// laneSpan is the number of consecutive lanes a queue with this configuration
// needs: one per priority and one for delayed messages.
func laneSpan(cfg QueueConfig) LaneID { return LaneID(priorities(cfg) + 1) }

// maxPriorities is the number of priority levels a queue can have.
const maxPriorities = 256

func priorities(cfg QueueConfig) int {
	if cfg.Kind == KindStream {
		return 1
	}
	return min(max(cfg.MaxPriority, 0)+1, maxPriorities)
}

// newQueue makes an empty queue over the lanes from lane on. owner is the
// connection of an exclusive queue.
func newQueue(v *VHost, name string, cfg QueueConfig, lane LaneID, args Table, owner *Connection) *Queue {
	q := &Queue{
		name: name, vhost: v, eng: &v.broker.engine, owner: owner, args: args, base: lane,
		kind: cfg.Kind, durable: cfg.Durable, schedules: name == ScheduleQueue, timedMax: 1024, leaseMax: 1024,
	}
	q.lanes = newLanes(priorities(cfg), lane)
	q.delay.id = lane + LaneID(len(q.lanes))
	if cfg.Kind == KindStream {
		q.stream = newStream(q)
	}
	q.adopt(cfg)
	if cfg.Expires >= 0 {
		q.schedule(1)
	}
	return q
}

func newLanes(n int, base LaneID) []lane {
	lanes := make([]lane, n)
	for i := range lanes {
		lanes[i].id = base + LaneID(i)
		lanes[i].level = i
	}
	return lanes
}

// Name is the queue's name.
func (q *Queue) Name() string { return q.name }

// VHost is the virtual host the queue is in.
func (q *Queue) VHost() *VHost { return q.vhost }

// ShowsCount reports whether deliveries of the queue tell their count of
// earlier attempts to AMQP clients (x-delivery-count).
func (q *Queue) ShowsCount() bool { return q.kind == KindQuorum }

// Kind tells how the queue keeps its messages. It never changes.
func (q *Queue) Kind() QueueKind { return q.kind }

// adopt takes a configuration over. Caller holds the lock or is alone.
func (q *Queue) adopt(cfg QueueConfig) {
	q.cfg = cfg
	q.ttl.Store(cfg.MessageTTL)
	q.aged.Store(cfg.AgedTTL)
	q.groups.on = q.groups.on || cfg.LeaseGroups
	q.gated.Store(cfg.Overflow != DropHead && (cfg.MaxLength >= 0 || cfg.MaxLengthBytes >= 0) || cfg.DedupWindow > 0)
}

// config returns the effective configuration.
func (q *Queue) config() QueueConfig {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.cfg
}

// configure replaces the effective configuration (a policy changed). Kind,
// durability and priorities stay as they were born.
func (q *Queue) configure(t *Turn, cfg QueueConfig) {
	q.mu.Lock()
	cfg.Kind, cfg.Durable, cfg.MaxPriority = q.cfg.Kind, q.cfg.Durable, q.cfg.MaxPriority
	if cfg.MessageTTL != q.cfg.MessageTTL {
		q.disorder()
	}
	if cfg.Expires != q.cfg.Expires {
		q.lastUsed = t.Now
	}
	q.adopt(cfg)
	if q.stream == nil {
		q.consumers.setSingle(cfg.SingleActive)
	}
	q.trim(t)
	q.dispatch(t)
	q.schedule(t.Now)
	q.leave(t)
}

// recover takes over what the store kept of the queue's lanes.
func (q *Queue) recover(t *Turn, lanes map[LaneID]LaneState, handed func(level int, last uint64) uint64) {
	q.mu.Lock()
	q.lastUsed = t.Now
	if q.stream != nil {
		q.stream.recover(lanes[q.base])
	} else {
		for i := range q.lanes {
			l := &q.lanes[i]
			q.recoverLane(t, l, lanes[l.id])
			l.handed = handed(i, l.last)
			q.recoverLeases(t, l, lanes[l.id].Leases)
		}
		q.delay.recover(lanes[q.delay.id])
	}
	q.trim(t)
	q.schedule(t.Now)
	q.leave(t)
}

func (q *Queue) recoverLane(t *Turn, l *lane, state LaneState) {
	if state.Next == 0 {
		return
	}
	l.last = state.Next - 1
	l.cold.from = state.First
	l.cold.count = int(state.Count)
	l.cold.bytes = int64(state.Bytes)
	l.cold.timed = state.Timed
	if state.Timed {
		l.cold.sweep = t.Now
	}
	q.ready += l.cold.count
	q.readyBytes += l.cold.bytes
}

// counts returns the numbers a declare answers with.
func (q *Queue) counts() (ready, consumers int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.ready, len(q.consumers.list)
}

// touch counts as a use of the queue for x-expires.
func (q *Queue) touch(t *Turn) {
	q.mu.Lock()
	q.lastUsed = t.Now
	q.leave(t)
}

// Pause stops deliveries; messages are still taken in.
func (q *Queue) Pause(t *Turn) {
	q.mu.Lock()
	q.paused = true
	q.leave(t)
}

// Resume undoes Pause.
func (q *Queue) Resume(t *Turn) {
	q.mu.Lock()
	q.paused = false
	q.serve(t)
	q.notify()
	q.leave(t)
}

// purge drops all ready messages, without dead-lettering, and returns how many
// they were.
func (q *Queue) purge(t *Turn) int {
	q.mu.Lock()
	n := q.ready
	if q.stream == nil {
		for i := range q.lanes {
			q.purgeLane(&q.lanes[i])
		}
		if q.groups.index != nil {
			q.groups.index.emptied()
		}
		q.serve(t) // who waited for a read is told that there is nothing
	}
	if q.schedules { // all that it holds
		n += q.delay.len()
		q.clearDelayed()
	}
	q.leave(t)
	return n
}

func (q *Queue) purgeLane(l *lane) {
	for e := l.front(); e != nil; e = l.front() {
		gone := l.pop()
		q.unready(&gone)
		q.forget(l.level, &gone)
	}
	for l.late.len() > 0 {
		gone := l.late.popFront()
		q.unready(&gone)
		q.forget(l.level, &gone)
	}
	if l.cold.count > 0 {
		// Nothing in the cold range was ever delivered: all of it may go.
		q.ready -= l.cold.count
		q.readyBytes -= l.cold.bytes
		q.settleCold(l)
		l.thaw(nil)
		l.removed, l.returned = nil, nil
		l.cold.from = l.last + 1
		l.epoch++
		l.reading = false
	}
}

// settleCold settles the cold range of a lane but for what is withheld.
func (q *Queue) settleCold(l *lane) {
	from := l.cold.from
	for _, seq := range slices.Sorted(maps.Keys(l.withheld)) {
		if seq > from {
			q.out.Settles = append(q.out.Settles, StoreSettle{l.id, from, seq - from})
		}
		from = max(from, seq+1)
	}
	if from <= l.last {
		q.out.Settles = append(q.out.Settles, StoreSettle{l.id, from, l.last - from + 1})
	}
}

// close ends the queue: consumers are told, messages dropped and the lanes
// given up. It returns the number of ready messages.
func (q *Queue) close(t *Turn) (ready int) {
	q.mu.Lock()
	if q.closed {
		q.mu.Unlock()
		return 0
	}
	q.closed = true
	q.ended.Store(true)
	ready = q.ready
	subs, getters := q.consumers.list, q.getters
	for _, sub := range subs {
		sub.closed, sub.listed = true, false
	}
	q.consumers, q.getters = consumers{}, nil
	q.abandonLeases()
	for w := q.waiters.first; w != nil; w = q.waiters.first {
		q.waiters.remove(w)
		q.calls = append(q.calls, w.Wake)
	}
	copy(q.lanes, newLanes(len(q.lanes), q.base)) // their number is read without the lock
	q.ready, q.readyBytes, q.memory, q.thin = 0, 0, 0, 0
	q.delay.clear()
	q.leased, q.groups.index = nil, nil
	q.dead, q.buried, q.stranded, q.reads = nil, nil, nil, nil
	q.timed, q.deadlines = timedHeap[place]{}, timedHeap[Lease]{}
	q.out.Settles, q.out.Counts, q.out.Leases, q.out.Trims = nil, nil, nil, nil
	q.forgetAllIDs()
	if q.durable {
		for id := q.base; id <= q.delay.id; id++ {
			q.out.Trims = append(q.out.Trims, StoreTrim{Lane: id, Drop: true})
		}
	}
	q.due = 0
	q.eng.timers.remove(q)
	q.leave(t)
	for _, g := range getters {
		g.session.sink.GetResult(t, g.ref, Delivery{Queue: q, Offset: -1}, false)
	}
	for _, sub := range subs {
		sub.session.drop(sub)
		sub.session.sink.Cancelled(t, sub)
	}
	return ready
}

// abandonLeases makes every lease stale.
func (q *Queue) abandonLeases() {
	for i := range q.ledger.slots {
		p := &q.ledger.slots[i]
		if p.gen != 0 && p.shared {
			q.giveShared(p.sub)
		}
		if p.gen != 0 && p.hold != nil {
			if p.hold.session.letGo() {
				q.wakeLater(wakeUp{session: p.hold.session})
			}
			p.hold.head, p.hold.tail, p.hold.n = -1, -1, 0
		}
	}
	gen := q.ledger.gen
	q.ledger = ledger{gen: gen}
}

// leave makes what happened under the lock known outside and releases it. It
// must be the last thing a caller does with the queue.
func (q *Queue) leave(t *Turn) {
	q.report()
	if len(q.rooms) > 0 {
		q.announceRoom()
	}
	if len(q.out.Settles)+len(q.out.Counts)+len(q.out.Leases)+len(q.out.Trims)+len(q.out.Definitions) > 0 {
		q.eng.store.Append(&q.out)
		q.out.Settles, q.out.Counts, q.out.Trims = q.out.Settles[:0], q.out.Counts[:0], q.out.Trims[:0]
		q.out.Leases = q.out.Leases[:0]
		q.out.Definitions = nil // rare, and with long strings
	}
	if len(q.dead)+len(q.buried)+len(q.reads)+len(q.wakes)+len(q.calls) == 0 && !q.vanish {
		q.mu.Unlock()
		return
	}
	q.leaveSlowly(t)
}

// report tells the engine how much memory the queue uses, if that changed much.
func (q *Queue) report() {
	if d := q.memory - q.reported; d > memoryGrain || d < -memoryGrain || q.closed {
		q.eng.memory.Add(d)
		q.reported = q.memory
	}
}

func (q *Queue) leaveSlowly(t *Turn) {
	reads, wakes, calls, vanish := q.reads, q.wakes, q.calls, q.vanish
	q.reads, q.wakes, q.calls, q.vanish = nil, nil, nil, false
	if len(q.dead)+len(q.buried) == 0 || q.burying {
		q.mu.Unlock()
	} else {
		q.buryAll(t)
	}
	for _, r := range reads {
		q.eng.store.Read(r)
	}
	for _, f := range calls {
		f(t)
	}
	for _, w := range wakes {
		w.session.wakeAll(t, w.credit)
	}
	if vanish {
		q.vhost.removeQueue(t, q, nil)
	}
}

// wakeUp is a session some of whose subscriptions may be able to take messages
// again: those that share a credit, or all if that is nil.
type wakeUp struct {
	session *Session
	credit  *credit
}

// giveShared returns one unit of shared credit, to be followed by waking those
// who share it when the lock is gone.
func (q *Queue) giveShared(sub *Subscription) {
	sub.credit.used.Add(-1)
	q.wakeLater(wakeUp{sub.session, sub.credit})
}

// wakeLater offers what is ready to subscriptions when the lock is gone.
func (q *Queue) wakeLater(w wakeUp) {
	if !slices.Contains(q.wakes, w) {
		q.wakes = append(q.wakes, w)
	}
}

// unready takes an entry out of the counts of ready ones.
func (q *Queue) unready(e *entry) {
	q.ready--
	q.readyBytes -= e.body()
}

// forget ends an entry for good: its memory is free and the store told.
func (q *Queue) forget(level int, e *entry) {
	q.release(e)
	if e.stored() {
		q.settleStored(q.base+LaneID(level), e.seq)
	}
}

// release gives back the memory of an entry that leaves the queue.
func (q *Queue) release(e *entry) {
	q.memory -= int64(e.memory())
	if e.thin {
		q.thin--
	}
}

// settleStored notes that a stored message is done, joining runs.
func (q *Queue) settleStored(id LaneID, seq uint64) {
	if n := len(q.out.Settles); n > 0 {
		if last := &q.out.Settles[n-1]; last.Lane == id && last.First+last.Count == seq {
			last.Count++
			return
		}
	}
	q.out.Settles = append(q.out.Settles, StoreSettle{id, seq, 1})
}

// stores reports whether the queue keeps m in the store.
func (q *Queue) stores(m *Message) bool {
	return q.durable && (m.Persistent || q.kind != KindClassic)
}

// level is the lane m belongs to.
func (q *Queue) level(m *Message) int {
	if len(q.lanes) == 1 {
		return 0
	}
	return min(int(m.Priority), len(q.lanes)-1)
}

// expiry is the time at which m expires in the queue if it enters now.
func (q *Queue) expiry(t *Turn, m *Message) int64 {
	ttl := q.ttl.Load()
	if m.TTL >= 0 && (ttl < 0 || m.TTL < ttl) {
		ttl = m.TTL
	}
	if ttl < 0 || q.kind == KindStream {
		return 0
	}
	if q.aged.Load() && m.TTL < 0 {
		return m.Received + ttl
	}
	return t.Now + ttl
}

// accessible refuses a queue that belongs to another connection.
func (q *Queue) accessible(c *Connection) error {
	if q.owner != nil && q.owner != c {
		return q.vhost.locked(q.name)
	}
	return nil
}
