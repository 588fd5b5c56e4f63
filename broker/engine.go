package broker

import (
	"sync"
	"sync/atomic"
)

// Memory limits of the queue engine, in bytes.
const (
	hotBudget    = 32 << 20  // messages all queues together hold in memory while a store holds them too
	hotMinimum   = 256 << 10 // what every queue may hold however full the budget is
	loadBytes    = 768 << 10 // one read-ahead of a cold lane
	loadCount    = 8192      // and its largest number of messages
	entryBytes   = 160       // what an entry costs in memory beside Message.Size
	maxUnsettled = 1 << 20   // deliveries a session may have unsettled
	memoryGrain  = 16 << 10  // a queue reports its memory to the engine in steps of this
)

// engine is what all queues of a broker share. It is the field Broker.engine;
// New calls its init before the first queue exists.
type engine struct {
	store     Store
	memory    atomic.Int64 // bytes of messages in memory, to within memoryGrain per queue
	budget    int64        // of memory beyond hotMinimum per queue
	minimum   int64
	load      int          // bytes of one read-ahead
	dedup     atomic.Int64 // deduplication ids in the store
	unsettled int64        // deliveries a session may have unsettled
	replies   sync.Map     // reply address suffix -> *Subscription
	former    atomic.Pointer[Former]
	plans     sync.Pool
	timers    timers
	routes    sync.Pool // *routing, for those who publish without a session
}

func (e *engine) init(store Store) {
	e.store = store
	e.budget, e.minimum, e.load = hotBudget, hotMinimum, loadBytes
	e.unsettled = maxUnsettled
	e.plans.New = func() any { return new(plan) }
	e.routes.New = func() any { return new(routing) }
}

// MemoryUsed is the number of bytes of messages that queues hold in memory.
func (b *Broker) MemoryUsed() int64 { return b.engine.memory.Load() }

// SetHotMemory changes how many bytes of stored messages are kept in memory as
// well: all queues together up to total, each queue up to minimum in any case,
// and how many bytes are read at a time. Tests make them small. It must be
// called before the first session opens.
func (b *Broker) SetHotMemory(total, minimum int64, read int) {
	b.engine.budget, b.engine.minimum, b.engine.load = total, minimum, read
}

// SetMaxUnsettled changes how many deliveries one session may have unsettled;
// beyond that it gets none, and Get finds nothing. Tests make it small. It must
// be called before the first session opens.
func (b *Broker) SetMaxUnsettled(n int) { b.engine.unsettled = int64(n) }
