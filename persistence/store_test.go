package persistence_test

import (
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hermodmq/hermod/broker"
	"github.com/hermodmq/hermod/persistence"
	"github.com/hermodmq/hermod/persistence/logtest"
	"github.com/hermodmq/hermod/persistence/storetest"
	"github.com/hermodmq/hermod/persistence/vfs"
)

// rig is a store over an in-memory log, on a file system of choice.
type rig struct {
	t    *testing.T
	opts persistence.Options
	disk *logtest.Disk
	log  *logtest.Log
	mem  *vfs.MemFS // nil on the real file system
	seed int64
	wrap func(vfs.FS) vfs.FS

	logOf func(*logtest.Log) persistence.Log // nil: the log as it is

	lossy bool // the test expects lost messages

	store *persistence.Store
	dead  *atomic.Bool // the process of store has crashed
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// small makes everything happen early.
func small(o *persistence.Options) {
	o.MemtableSize = 1 << 20
	o.SegmentSize = 256 << 10
	o.BlockSize = 4 << 10
	o.EntrySize = 16 << 10
	o.InFlightBytes = 1 << 20
}

func newRig(t *testing.T, mem bool, change func(*persistence.Options)) *rig {
	r := &rig{t: t, disk: logtest.NewDisk(1)}
	r.opts = persistence.Options{Logger: quiet(), CheckpointInterval: time.Hour, Readers: 2}
	if mem {
		r.mem = vfs.NewMem()
		r.opts.Dir, r.opts.PlainMeta = "data", true
	} else {
		r.opts.Dir = t.TempDir()
	}
	if change != nil {
		change(&r.opts)
	}
	return r
}

func (r *rig) open() *persistence.Store {
	r.t.Helper()
	r.log = r.disk.Open()
	o := r.opts
	o.Log = r.log
	if r.logOf != nil {
		o.Log = r.logOf(r.log)
	}
	dead := &atomic.Bool{}
	r.dead = dead
	if o.Fatal == nil {
		o.Fatal = func(err error) {
			if !dead.Load() {
				r.t.Errorf("fatal: %v", err)
			}
		}
	}
	if r.mem != nil {
		o.FS = r.mem
	}
	if r.wrap != nil {
		if o.FS == nil {
			o.FS = vfs.OS()
		}
		o.FS = r.wrap(o.FS)
	}
	s, err := persistence.Open(o)
	if err != nil {
		r.t.Fatalf("Open: %v", err)
	}
	r.store = s
	r.t.Cleanup(func() {
		if lost := s.Stats().Lost; lost != 0 && !r.lossy {
			r.t.Errorf("recovery gave up %d messages", lost)
		}
	})
	return s
}

// crash ends the store without a word and brings back what a power failure
// would have left.
func (r *rig) crash() *persistence.Store {
	r.t.Helper()
	r.dead.Store(true)
	r.disk.Crash()
	if r.mem != nil {
		r.seed++
		clone := r.mem.CrashClone(r.seed)
		r.store.Abandon()
		r.mem = clone
	} else {
		r.store.Abandon()
	}
	return r.open()
}

func (r *rig) opened() storetest.Opened {
	return storetest.Opened{
		Store:  r.open(),
		Reopen: func() broker.Store { return r.open() },
		Crash:  func() broker.Store { return r.crash() },
		Hold: func() func() {
			r.log.Hold()
			return r.log.Release
		},
	}
}

func TestStore(t *testing.T) {
	t.Run("simulated disk", func(t *testing.T) {
		storetest.Run(t, func(t *testing.T) storetest.Opened { return newRig(t, true, small).opened() })
	})
	t.Run("real files", func(t *testing.T) {
		storetest.Run(t, func(t *testing.T) storetest.Opened { return newRig(t, false, nil).opened() })
	})
	t.Run("encrypted", func(t *testing.T) {
		storetest.Run(t, func(t *testing.T) storetest.Opened {
			return newRig(t, false, func(o *persistence.Options) { small(o); o.MasterKey = make([]byte, 32) }).opened()
		})
	})
}
