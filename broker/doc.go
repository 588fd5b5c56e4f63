// Package broker is the core of Hermod: virtual hosts, exchanges, queues and
// the sessions that publish to them and consume from them. It speaks no
// protocol and does no I/O; listeners translate for it, a Store remembers for
// it.
//
// # The life of a message
//
// A listener makes a Message, immutable from then on, and calls
// [Session.Publish]. The exchange routes it to queues. If none of them has to
// keep it, it is enqueued at once. Otherwise it goes to [Store.Append] in a
// plan, and everything in the plan is enqueued when the store reports the
// commit; only then comes the receipt. Transient messages of a session that
// has a plan on its way wait behind it, so that one publisher's messages never
// overtake each other.
//
// A queue hands its oldest message to a subscription that has credit
// ([Sink.Deliver]) and keeps a slot in its ledger, whose token is the [Lease].
// [Session.Settle] ends the lease: the message is gone, dead-lettered, or back
// in its old place. What the store must know of that goes to it in batches.
//
// A queue with a deduplication window refuses a publish whose id it knows. The
// ids of stored messages commit with them, as definitions that are deleted when
// the window is over. Dead letters and whatever else the broker itself moves
// are neither refused nor remembered.
//
// # What is in memory
//
// A queue has a lane per priority. The old end of a lane is hot: its messages
// are in memory. Behind it stored messages may be cold: a sequence number and
// two counters, however many they are. They are read ahead as consumers ask
// for them. Transient messages that arrive behind cold ones are late: in
// memory, merged in when loading has come to their place.
//
//	        hot                       cold                    newest
//	[ 3 4 (5a) 7 8 ]  [ 9 ............................ 5012 ]
//	                     late: (9a) (4711a) (4711b)
//
// The ledger holds messages only while there is room. A stored message that is
// delivered when there is none is thin: its slot keeps place, size, expiry and
// count, and the message stays in the store alone. Thin entries that come back
// stand in the hot part, in their old places, and are read back before they are
// delivered (Queue.fill) or dead-lettered (Queue.exhume). Slots are bounded,
// too: a session with 2^20 unsettled deliveries is out of credit, whatever
// prefetch its client asked for.
//
// Invariants, all under the queue's lock:
//
//   - every hot entry is older than lane.cold.from; if nothing is cold, nothing
//     is late;
//   - only stored entries are thin, and the store has them unsettled;
//   - no entry at or above cold.from was ever delivered, so cold ranges can be
//     settled as a whole;
//   - one read per lane is under way at most, and never while a settlement of
//     something it might bring is not committed;
//   - Queue.ready and readyBytes count hot, late and cold together; leased
//     messages, delayed ones and those on their way to a dead-letter exchange
//     are in neither;
//   - an entry is in exactly one of: a lane, the ledger, a plan.
//
// Streams differ: a stream keeps its messages until retention drops them, every
// consumer has a cursor, and settling gives credit back and nothing else.
//
// # Goroutines
//
// The package starts none but that of a [MemoryStore]. Its callers are the
// event loops of connections, the store's goroutines and the timer that calls
// [Broker.Tick]. A [Session] belongs to one goroutine at a time; a [Queue] is
// used by all; a [Sink] is called by all. Time comes with the [Turn] of the
// caller.
//
// # Locks
//
// In this order, each optional:
//
//	VHost.mu (topology) -> Queue.mu -> Session.mu, a sink's mailbox, the store's intake, timers.mu
//
// The read locks of registries and exchanges are leaves, too. Routing runs
// without Queue.mu. With a queue's lock held the core calls Sink.Deliver and
// Sink.GetResult, which must neither block nor call back, and Store.Append of a
// batch that nobody waits for, which neither blocks nor calls back; everything
// else (reads, dead-lettering, waking other queues, removing the queue) is left
// to Queue.leave, which does it when the lock is free. A queue never locks
// another one.
package broker
