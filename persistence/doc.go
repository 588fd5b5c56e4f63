// Package persistence keeps the broker's facts: it implements broker.Store
// over a Log of batched facts, a memory table, shared extent segments and a
// bbolt file for metadata.
//
// The way of a batch: Append encodes it into the entry that is being filled
// (batcher.go, record.go); one proposer goroutine seals entries (entry.go) and
// hands them to the Log whenever one of a few slots is free, which is the
// group commit; the Log hands committed entries back to Apply (apply.go), which
// updates the lane table (lane.go, settled.go) and the memory table
// (memtable.go) and then tells those who wait.
//
// The way to the segments: a checkpoint (checkpoint.go) freezes the memory
// table, writes its unsettled messages into segment files sorted by lane
// (segment.go), commits one metadata transaction (meta.go), which is the point
// at which the new state counts, and lets the Log forget what came before.
// Sparse segments are rewritten, empty ones deleted (compact.go). Verify, Dump
// and Rebuild (journal.go, rebuild.go) work on a directory that no store has
// open.
//
// The way back: Read (read.go) goes through extents, the frozen and the active
// memory table, which follow each other in sequence order. Open (open.go)
// reads the metadata and the segment footers, no bodies; Recover (recover.go)
// replays the Log.
//
// Locks: batcher.mu guards entries on their way to the Log; Store.mu guards
// the table, the memory tables and the segment list. No lock is held while a
// callback runs, and the two are never held together.
package persistence
