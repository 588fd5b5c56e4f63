package persistence

// Entry is one committed entry of the log. Data is immutable and may be kept
// by the Applier for as long as it likes: the log never reuses its buffer.
type Entry struct {
	Index uint64 // position in the log, strictly increasing; gaps are the log's own entries
	Term  uint64 // leadership under which it was proposed
	Data  []byte
}

// Log is the ordered, durable (on a cluster: replicated) sequence of entries
// behind the store. Package ha implements it; it speaks no raft here, so that
// another engine can stand in.
type Log interface {
	// Start opens the log, hands every committed entry after a.Applied() to a,
	// and returns when this node may propose and everything that was committed
	// before has been applied.
	Start(a Applier) error

	// Propose appends an entry. Entries commit in the order of the calls; only
	// one goroutine calls. It may block while the log is busy. The buffer
	// belongs to the log and the Applier from then on. An error means that
	// this node may no longer propose; whether entries already proposed commit
	// is unknown.
	Propose(data []byte) error

	// Cut says that everything up to index is in a checkpoint, so that the log
	// may forget it, keeping keepBytes of tail for lagging followers.
	Cut(index uint64, keepBytes int64) error

	// Size is the number of bytes the log holds since the last Cut.
	Size() int64

	// Close stops proposing and applying and releases the files.
	Close() error
}

// PacedLog is a Log that is better given what waits at the right moment.
type PacedLog interface {
	Log

	// Pace waits while what was proposed is being written, if an entry that is
	// proposed meanwhile would gain nothing: it is called before an entry that is
	// not full is cut. It returns at once when the log has failed or is closed.
	Pace()
}

// Applier receives committed entries.
type Applier interface {
	// Apply is called in log order by one goroutine at a time, at replay as in
	// normal work. entries is only valid during the call, their Data longer.
	Apply(entries []Entry)

	// Applied is the index up to which the Applier's own durable state already
	// reaches: entries at or below it are not handed over again.
	Applied() uint64
}
