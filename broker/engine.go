package broker

import (
	"sync"
	"sync/atomic"
)

// Memory limits of the queue engine, in bytes.
const (
	hotBudget     = 64 << 20  // messages all queues together hold in memory while a store holds them too
	hotMinimum    = 256 << 10 // what every queue may hold however full the budget is
	loadBytes     = 768 << 10 // one read-ahead of a cold lane
	loadCount     = 8192      // and its largest number of messages
	entryBytes    = 160       // what an entry costs in memory beside Message.Size
	lavishMinimum = 8 << 20   // a queue below it may read for its consumers however full memory is
	memoryGrain   = 16 << 10  // a queue reports its memory to the engine in steps of this
)

// engine is what all queues of a broker share. It is the field Broker.engine;
// New calls its init before the first queue exists.
type engine struct {
	store   Store
	memory  atomic.Int64 // bytes of messages in memory, to within memoryGrain per queue
	budget  int64        // of memory beyond hotMinimum per queue
	ceiling int64        // of memory, from which on lavish queues read nothing for consumers; 0: none
	lavish  int64        // memory of a queue that makes it one
	minimum int64
	load    int      // bytes of one read-ahead
	replies sync.Map // reply address suffix -> *Subscription
	plans   sync.Pool
	routes  sync.Pool // *routing, for those who publish without a session
}

// init takes limit, the bytes of messages in memory that raise the alarm, 0 for
// none.
func (e *engine) init(store Store, limit int64) {
	e.store = store
	e.budget, e.minimum, e.load = hotBudget, hotMinimum, loadBytes
	if limit > 0 {
		// Well below the alarm: consumers alone must not stop publishers.
		e.ceiling, e.lavish = limit/2, max(lavishMinimum, limit/32)
		e.budget = min(e.budget, limit/4)
	}
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
