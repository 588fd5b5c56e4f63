// Package ha implements persistence.Log with hashicorp/raft over raft-wal.
//
// # Raft's role
//
// Every fact the broker must not lose goes through one raft log, also on a
// single node: there raft is a cluster of one voter, whose quorum is its own
// disk, and growing to three nodes adds voters instead of another engine. Raft
// orders, stores and (on a cluster) replicates entries; it does not hold the
// broker's state. The Applier keeps that, checkpoints it, and calls Cut; raft's
// own snapshot is a manifest of some hundred bytes that says where the log
// begins: index, term, configuration.
//
//	Propose ─> raft main loop ─> logStore ─> raft-wal ─> segmentDir ─> vfs.FS
//	                 │ committed                (codec)    (spares, syncs)
//	                 └────────> fsm ─> Applier.Apply
//
// # Files
//
// Options.Dir holds lock, meta (raft-wal's list of segments, raft's term and
// vote), snapshot (the manifest), the segments NNN.wal of raft-wal and spare
// ones; on a witness that must begin anew also anew, the manifest to begin
// with. Segments are zeroed before first use and recycled after a Cut, because
// overwriting allocated blocks spares each sync the file system's journal. All
// goes through vfs.FS, so that tests can crash every step of it.
//
// # Timers
//
// A single voter listens nowhere (in-memory transport), has nobody to wait for
// and elects itself as soon as it has read its log; its timers of 50 ms only
// set how often raft's idle loops turn. With a Stream a follower waits 750 ms
// to 1.5 s for a sign of life, and a leader gives up after 500 ms without a
// majority: on two CPUs with a load of 17 heartbeats were seen to take 250 to
// 600 ms, which a lease of 250 ms turned into elections. A leader whose
// process ends is missed at once all the same: see succession.go.
//
// # Failures
//
// A failed write or sync, a sync that hangs longer than Options.StallFatal and
// lost leadership all end in Options.Fatal, once, and the Log refuses
// everything from then on. None is retried: after a failed fsync nobody knows
// what is on disk, and raft-wal needs a reopen after a failed rotation. What
// was proposed and not yet applied has an unknown outcome.
//
// # Traps guarded here
//
//   - raft-wal trusts everything before the last commit frame. Start reads all
//     it needs itself first (scan.go): a torn tail is cut, damage with later
//     entries behind it is reported and refused.
//   - raft-wal cannot append again after a crash between the seal of a segment
//     and the record of it, nor when the sealing write was torn: Start finishes
//     the rotation, or cuts.
//   - raft-wal takes stale frames of a reused or rewound segment for live ones:
//     our codec stamps each entry with its segment, and Start ends the log at
//     the first foreign, out-of-order or older-term entry.
//   - raft-wal reads and hands out entries after kill -9 that only the page
//     cache has, and does not sync the directory of a reopened segment: Start
//     syncs the directory before it reads, and the tail before anything is
//     applied.
//   - raft-wal only logs a failed rotation: the file layer itself reports it.
//   - raft names a snapshot after the last applied entry, and would skip the
//     entries between the checkpoint and it on restart: the manifest carries
//     the index given to Cut, and truncation stops there whatever raft asks.
//   - raft reads back up to 2,048 entries ahead of the Applier on replay, and
//     panics on a read error: GetLog holds it to some dozen, and Start has
//     verified them.
//   - A crash in raft's bootstrap leaves a term without configuration, which
//     raft refuses to bootstrap again: Start resets it.
//   - Log behind the checkpoint (after a power failure with ConfirmOS): new
//     entries would reuse indexes that the Applier skips; Start moves the log
//     past the checkpoint.
package ha
