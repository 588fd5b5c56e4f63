package persistence

import (
	"cmp"
	"errors"
	"log/slog"
	"os"
	"runtime"
	"time"

	"github.com/hermodmq/hermod/persistence/vfs"
)

// Confirm says what a commit means. The Log honours it; the store only carries
// it along for those who open both.
type Confirm string

// The confirm modes.
const (
	ConfirmSync Confirm = "fsync" // on stable storage
	ConfirmOS   Confirm = "os"    // handed to the kernel
)

// Limits of what travels through the log.
const (
	// PartSizeMax bounds an entry: a batch that is longer travels in several
	// entries, which are applied together. A Log must take entries of this size
	// and 64 bytes more.
	PartSizeMax = 4 << 20
	// RecordSizeMax bounds one message or definition.
	RecordSizeMax = 48 << 20
)

// Options configure a Store. The zero value of a field means its default.
type Options struct {
	// Dir holds everything of the store: segments, metadata, the lock file. It
	// is created if missing and must not be shared.
	Dir string

	// Log orders and keeps the facts. Required.
	Log Log

	// FS is the file system of segments; default vfs.OS().
	FS vfs.FS

	// PlainMeta keeps the metadata in one plain file that is rewritten through
	// FS at each checkpoint, in place of bbolt, which needs a real file. For
	// simulated file systems in tests: its cost grows with the whole metadata.
	PlainMeta bool

	// Confirm is what the Log was opened with; informational. Default fsync.
	Confirm Confirm

	// SegmentSize is where a segment file ends; default 64 MiB.
	SegmentSize int64

	// BlockSize bounds the payload of a block, the unit of reads; default 64
	// KiB. A longer message gets a block of its own.
	BlockSize int

	// MemtableSize is how many bytes of entries the active memory table pins
	// before it is flushed; a second one of this size may be in the middle of
	// its flush. Default 48 MiB.
	MemtableSize int64

	// EntrySize is what an entry aims at under load; default 256 KiB.
	EntrySize int

	// InFlight is how many entries may be proposed and not applied; default 8.
	InFlight int

	// InFlightBytes is how many appended bytes may be uncommitted before
	// Congested reports so; default 16 * EntrySize.
	InFlightBytes int64

	// CheckpointBytes of log since the last checkpoint cause one; default 256
	// MiB. It bounds the replay at a restart.
	CheckpointBytes int64

	// CheckpointInterval is how long changes may wait for a checkpoint;
	// default 60 s.
	CheckpointInterval time.Duration

	// Cluster says that the log is replicated: Recover waits as a standby until
	// this node becomes the active one, and a failure meanwhile ends the process
	// as it does later.
	Cluster bool

	// LogKeep is how many bytes of log a checkpoint leaves for lagging
	// followers; default 0.
	LogKeep int64

	// MasterKey of 32 bytes turns encryption at rest on; it wraps the data
	// keys. Losing it loses the data.
	MasterKey []byte

	// KeyWrapper turns encryption on like MasterKey, with a key kept elsewhere;
	// it takes precedence.
	KeyWrapper KeyWrapper

	// Quarantine lets Open go on when segments are corrupt: their files are
	// renamed to *.corrupt and their messages are lost, which is logged and
	// counted in Stats. Off by default: Open refuses.
	Quarantine bool

	// Readers is the number of goroutines that serve Read; default 2 to 4 by
	// the number of CPUs.
	Readers int

	// DiskLow is the number of free bytes below which OnAlarm(true, free) is
	// called; it is called with false when a quarter more is free again. 0: no
	// watch.
	DiskLow uint64

	// DiskPoll is the interval of the disk watch and the stall watchdog;
	// default 500 ms.
	DiskPoll time.Duration

	// OnAlarm hears about low disk space. Called on a goroutine of the store.
	OnAlarm func(on bool, free uint64)

	// StallWarn and StallFatal are how long a sync may take before it is
	// logged and before the process ends; defaults 2 s and 30 s.
	StallWarn  time.Duration
	StallFatal time.Duration

	// NewBells makes what commit and reader goroutines put into Turn.Bells;
	// FlushBells is called with it after each group of callbacks. Both or none.
	NewBells   func() any
	FlushBells func(any)

	// Logger hears about recovery, checkpoints and damage; default
	// slog.Default().
	Logger *slog.Logger

	// Fatal ends the process after a disk or log failure whose outcome is
	// unknown; the default logs and calls os.Exit(1). If it returns (tests),
	// the store does nothing any more.
	Fatal func(error)

	// Clock is the wall clock; default time.Now.
	Clock func() time.Time

	knows uint32 // format level, 0: FormatLevel; tests are programs of other versions
}

// level is the format level that this program knows.
func (o *Options) level() uint32 { return cmp.Or(o.knows, FormatLevel) }

func (o *Options) validate() error {
	if o.Dir == "" || o.Log == nil {
		return errors.New("persistence: Options need Dir and Log")
	}
	if len(o.MasterKey) != 0 && len(o.MasterKey) != 32 {
		return errors.New("persistence: MasterKey must have 32 bytes")
	}
	if (o.NewBells == nil) != (o.FlushBells == nil) {
		return errors.New("persistence: NewBells and FlushBells belong together")
	}
	return nil
}

func orDefault[T comparable](v *T, d T) {
	var zero T
	if *v == zero {
		*v = d
	}
}

func (o *Options) setDefaults() {
	if o.FS == nil {
		o.FS = vfs.OS()
	}
	orDefault(&o.Confirm, ConfirmSync)
	orDefault(&o.SegmentSize, 64<<20)
	orDefault(&o.BlockSize, 64<<10)
	orDefault(&o.MemtableSize, 48<<20)
	orDefault(&o.EntrySize, 256<<10)
	orDefault(&o.InFlight, 8)
	orDefault(&o.InFlightBytes, 16*int64(o.EntrySize))
	orDefault(&o.CheckpointBytes, 256<<20)
	orDefault(&o.CheckpointInterval, 60*time.Second)
	orDefault(&o.Readers, min(4, max(2, runtime.GOMAXPROCS(0))))
	orDefault(&o.DiskPoll, 500*time.Millisecond)
	orDefault(&o.StallWarn, 2*time.Second)
	orDefault(&o.StallFatal, 30*time.Second)
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.Clock == nil {
		o.Clock = time.Now
	}
	if o.Fatal == nil {
		logger := o.Logger
		o.Fatal = func(err error) {
			logger.Error("store failed; ending the process", "error", err)
			os.Exit(1)
		}
	}
}
