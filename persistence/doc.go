// Package persistence keeps the broker's facts: it implements broker.Store
// over a Log of batched facts, a memory table, shared extent segments and a
// bbolt file for metadata.
package persistence
