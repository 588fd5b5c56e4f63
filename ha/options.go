package ha

import (
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/hashicorp/raft"

	"github.com/hermodmq/hermod/persistence/vfs"
)

// Confirm says what an entry has survived when it is applied.
type Confirm string

const (
	// ConfirmFsync: the disk has it. The default.
	ConfirmFsync Confirm = "fsync"

	// ConfirmOS: the kernel has it. It survives the death of the process, not
	// a power failure, which loses what was not written back yet: at most
	// flushEvery bytes plus what the disk was busy with.
	ConfirmOS Confirm = "os"
)

// Errors that Start, Propose, Cut and Fatal give.
var (
	// ErrClosed: the log was closed, or not started.
	ErrClosed = errors.New("log is closed")
	// ErrCorrupt: the log is damaged where a crash cannot have damaged it.
	ErrCorrupt = errors.New("log is corrupt")
	// ErrGap: the log does not connect to the Applier's state.
	ErrGap = errors.New("log does not connect to the checkpoint")
	// ErrTooLarge: an entry of more than MaxEntrySize; nothing was proposed.
	ErrTooLarge = errors.New("entry is too large")
	// ErrStalled: a write or sync took longer than Options.StallFatal.
	ErrStalled = errors.New("disk stalled")
	// ErrMember: the node belongs to a cluster and cannot start alone.
	ErrMember = errors.New("the log is that of a cluster")
	// ErrBehind: the cluster no longer has the entries that this node lacks.
	ErrBehind = errors.New("this node is too far behind and must be seeded")
	// ErrWitness: asked of a witness what only a full node can do.
	ErrWitness = errors.New("a witness holds no messages")
	// ErrLeadershipLost: the outcome of entries not yet applied is unknown.
	ErrLeadershipLost = errors.New("leadership lost, outcome of pending entries unknown")
)

// MaxEntrySize is the most data that an entry may have. It is far above what is
// sensible (64 to 256 KiB) and below what raft-wal can read back.
const MaxEntrySize = 16 << 20

// The segment sizes that make sense: a segment holds some entries at least, and
// raft-wal counts offsets in 32 bits.
const (
	minSegmentSize     = 16 << 10
	maxSegmentSize     = 1 << 30
	defaultSegmentSize = 64 << 20
)

const (
	minElection     = 100 * time.Millisecond
	defaultElection = 750 * time.Millisecond
)

// Options says where and how a Log works.
type Options struct {
	Dir     string  // created if missing; nothing else may live there
	FS      vfs.FS  // default: vfs.OS
	NodeID  string  // this node's name in raft's configuration; must not change
	Confirm Confirm // default: ConfirmFsync
	Logger  *slog.Logger

	// Fatal is called once, on its own goroutine, with the error that ends this
	// Log. It should end the process. Default: panic.
	Fatal func(error)

	// SegmentSize is the size in bytes at which raft-wal starts the next file:
	// 16 KiB to 1 GiB, default 64 MiB. Truncation works by whole segments.
	SegmentSize int

	// A write or sync longer than StallAlarm (default 2 s) is logged, one longer
	// than StallFatal (default 30 s) is fatal.
	StallAlarm, StallFatal time.Duration

	// Stream carries raft's connections to other nodes. Nil: a single node that
	// listens nowhere. With Peers it is Peers.
	Stream raft.StreamLayer

	// ElectionTimeout is how long the others wait for a sign of a leader that
	// neither answers nor is known to be gone, before they elect another one;
	// each waits up to twice as long, by chance. The leader itself gives up when
	// it has not reached a majority for two thirds of it. 100 ms at least;
	// default 750 ms. A single node has no use for it.
	ElectionTimeout time.Duration

	// Peers is the door to the other nodes, for membership and seeding; its
	// Close is the Log's. Nil: none.
	Peers *Peers

	// Contacts are addresses of nodes, this one's among them or not. An empty
	// node joins the cluster it finds behind them. If none of them belongs to
	// one, the first founds it. Without others, this node founds one.
	Contacts []string

	// Witness: this node votes and keeps the end of the log, and never becomes
	// active. It runs by Attend instead of Start.
	Witness bool

	// WitnessLog bounds, in bytes, the log that a witness keeps for a full node
	// that is away; default 4 GiB, at least 128 MiB. DiskLow is the free space in
	// bytes below which it keeps none for anybody, and any node says that its disk
	// is nearly full; 0: whatever is free.
	WitnessLog int64
	DiskLow    uint64

	// Version of this build, told to the other nodes.
	Version string

	// Endpoints are the URLs at which clients reach this node when it is the
	// active one, by protocol; told to the other nodes.
	Endpoints map[string]string

	// Seed is told, once, that the leader at address no longer has the log that
	// this node lacks. Called on a goroutine of its own. A witness needs no
	// state: it is to be started anew, and then begins where the leader's log does.
	Seed func(leader string)

	// Snapshot makes a copy of the state at the last checkpoint for a node that
	// is seeded. Nil: none are.
	Snapshot func() (Snapshot, error)

	// SeedRate bounds how many bytes a second a seeding takes; 0: no bound.
	SeedRate int64

	requestTimeout time.Duration      // of raft's requests; tests shorten it
	onRaft         func(r *raft.Raft) // tests hold Start up when raft runs
	level          int                // that this program knows, 0: persistence.FormatLevel, negative: none; tests are programs of other versions
}

func (o *Options) setDefaults() error {
	if o.Dir == "" || o.NodeID == "" {
		return errors.New("ha: Dir and NodeID are required")
	}
	if o.FS == nil {
		o.FS = vfs.OS()
	}
	if o.Peers != nil {
		o.Stream = o.Peers
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.Fatal == nil {
		o.Fatal = func(err error) { panic(err) }
	}
	if o.SegmentSize == 0 {
		o.SegmentSize = defaultSegmentSize
		if o.Witness {
			o.SegmentSize = witnessSegmentSize
		}
	}
	if o.WitnessLog == 0 {
		o.WitnessLog = 4 << 30
	}
	if o.SegmentSize < minSegmentSize || o.SegmentSize > maxSegmentSize {
		return fmt.Errorf("ha: segment size %d is not between %d and %d", o.SegmentSize, minSegmentSize, maxSegmentSize)
	}
	if o.requestTimeout == 0 {
		o.requestTimeout = 5 * time.Second
	}
	if o.ElectionTimeout == 0 {
		o.ElectionTimeout = defaultElection
	}
	if o.ElectionTimeout < minElection {
		return fmt.Errorf("ha: election timeout %v is below %v", o.ElectionTimeout, minElection)
	}
	if o.StallAlarm <= 0 {
		o.StallAlarm = 2 * time.Second
	}
	if o.StallFatal <= 0 {
		o.StallFatal = 30 * time.Second
	}
	switch o.Confirm {
	case "":
		o.Confirm = ConfirmFsync
	case ConfirmFsync, ConfirmOS:
	default:
		return fmt.Errorf("ha: confirm is %q, not %q or %q", o.Confirm, ConfirmFsync, ConfirmOS)
	}
	return nil
}
