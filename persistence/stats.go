package persistence

import "time"

// Stats is a snapshot of a store's numbers.
type Stats struct {
	Applied        uint64 // log index the state reflects
	LogBytes       int64  // in the log since the last checkpoint
	InFlightBytes  int64  // appended and not committed
	MemtableBytes  int64  // pinned by unflushed messages
	Lanes          int
	Segments       int
	SegmentBytes   int64 // of files
	LiveBytes      int64 // of unsettled messages in segments, estimated
	Extents        int   // index entries in memory
	SettledSpans   int   // of settledSet, all lanes
	Entries        uint64
	Checkpoints    uint64
	CheckpointTime time.Duration // of the last one
	Compactions    uint64
	Syncs          uint64 // of segments and metadata; the log counts its own
	SyncTime       time.Duration
	SyncMax        time.Duration

	SegmentBytesWritten int64
	SegmentsRemoved     uint64
	CorruptBlocks       uint64
	CorruptSegments     uint64
	Lost                uint64 // messages that recovery had to give up
	DiskLow             bool
}

// counters are the parts of Stats that are counted, guarded by Store.mu.
type counters struct {
	Entries             uint64
	Checkpoints         uint64
	CheckpointTime      time.Duration
	Compactions         uint64
	SegmentBytesWritten int64
	SegmentsRemoved     uint64
	CorruptBlocks       uint64
	CorruptSegments     uint64
	Lost                uint64
}

// Stats returns the present numbers. It walks over all lanes: call it seldom.
func (s *Store) Stats() Stats {
	s.mu.RLock()
	c := &s.stats
	st := Stats{
		Applied: s.applied, LogBytes: s.opts.Log.Size(), InFlightBytes: s.pending.Load(),
		Lanes: len(s.table.lanes), Segments: len(s.table.segments),
		Entries: c.Entries, Checkpoints: c.Checkpoints, CheckpointTime: c.CheckpointTime, Compactions: c.Compactions,
		SegmentBytesWritten: c.SegmentBytesWritten, SegmentsRemoved: c.SegmentsRemoved,
		CorruptBlocks: c.CorruptBlocks, CorruptSegments: c.CorruptSegments, Lost: c.Lost,
	}
	for _, m := range s.table.mem {
		if m != nil {
			st.MemtableBytes += m.pinned
		}
	}
	for _, g := range s.table.segments {
		st.SegmentBytes += g.size
		st.LiveBytes += g.liveBytes
	}
	for _, l := range s.table.lanes {
		st.Extents += len(l.extents)
		st.SettledSpans += len(l.spans)
	}
	s.mu.RUnlock()
	w := &s.watch
	w.mu.Lock()
	st.Syncs, st.SyncTime, st.SyncMax, st.DiskLow = w.syncs, w.syncTime, w.syncMax, w.low
	w.mu.Unlock()
	return st
}
