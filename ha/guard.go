package ha

import (
	"fmt"
	"io/fs"
	"log/slog"
	"sync"
	"time"

	"github.com/hermodmq/hermod/persistence/vfs"
)

// guard watches everything that changes the disk: an error is fatal, and so is
// an operation that does not come back. Raft itself notices neither: it steps
// down on an error and is elected again, and its heartbeats go on while the
// disk hangs.
type guard struct {
	alarm, fatal time.Duration
	logger       *slog.Logger
	fail         func(error)
	idle         sync.Pool // of *watch
}

// watch is an operation under way. One whose timer was stopped in time is used
// again: there are two of them with every commit.
type watch struct {
	guard    *guard
	op, name string

	mu     sync.Mutex
	timer  *time.Timer
	warned bool // the alarm has gone off
	over   bool
}

func (g *guard) begin(op, name string) *watch {
	w, used := g.idle.Get().(*watch)
	if !used {
		w = &watch{guard: g}
	}
	w.op, w.name = op, name
	w.mu.Lock()
	defer w.mu.Unlock()
	w.over = false
	if used {
		w.timer.Reset(min(g.alarm, g.fatal))
	} else {
		w.timer = time.AfterFunc(min(g.alarm, g.fatal), w.late)
	}
	return w
}

// late is called when the operation has taken as long as alarm, and once more
// when it has taken as long as fatal.
func (w *watch) late() {
	g := w.guard
	w.mu.Lock()
	over, first := w.over, !w.warned && g.alarm < g.fatal
	if !over && first {
		w.warned = true
		w.timer.Reset(g.fatal - g.alarm)
	}
	w.mu.Unlock()
	switch {
	case over:
	case first:
		g.logger.Warn("disk is slow", "op", w.op, "file", w.name, "longer than", g.alarm)
	default: // without the lock: whoever hears of it may wait for the operation
		g.fail(fmt.Errorf("%w: %s of %s takes longer than %v", ErrStalled, w.op, w.name, g.fatal))
	}
}

func (g *guard) end(w *watch, op, name string, err error) error {
	w.mu.Lock()
	w.over = true
	again := w.timer.Stop() && !w.warned
	w.mu.Unlock()
	if again {
		g.idle.Put(w)
	}
	if err != nil {
		err = fmt.Errorf("%s of %s: %w", op, name, err)
		g.fail(err)
	}
	return err
}

// guardFS is the file system with the guard on all that changes it.
type guardFS struct {
	vfs.FS
	guard *guard
}

func (f guardFS) Create(name string) (vfs.File, error) {
	w := f.guard.begin("create", name)
	file, err := f.FS.Create(name)
	if err := f.guard.end(w, "create", name, err); err != nil {
		return nil, err
	}
	return guardFile{file, name, f.guard}, nil
}

func (f guardFS) OpenFile(name string, flag int, perm fs.FileMode) (vfs.File, error) {
	file, err := f.FS.OpenFile(name, flag, perm)
	if err != nil {
		return nil, err // raft-wal asks for files that may be missing
	}
	return guardFile{file, name, f.guard}, nil
}

func (f guardFS) Remove(name string) error {
	w := f.guard.begin("remove", name)
	return f.guard.end(w, "remove", name, f.FS.Remove(name))
}

func (f guardFS) Rename(old, new string) error {
	w := f.guard.begin("rename", old)
	return f.guard.end(w, "rename", old, f.FS.Rename(old, new))
}

func (f guardFS) SyncDir(dir string) error {
	w := f.guard.begin("sync", dir)
	return f.guard.end(w, "sync", dir, f.FS.SyncDir(dir))
}

type guardFile struct {
	vfs.File
	name  string
	guard *guard
}

func (f guardFile) Write(b []byte) (int, error) {
	w := f.guard.begin("write", f.name)
	n, err := f.File.Write(b)
	return n, f.guard.end(w, "write", f.name, err)
}

func (f guardFile) WriteAt(b []byte, off int64) (int, error) {
	w := f.guard.begin("write", f.name)
	n, err := f.File.WriteAt(b, off)
	return n, f.guard.end(w, "write", f.name, err)
}

func (f guardFile) Sync() error {
	w := f.guard.begin("sync", f.name)
	return f.guard.end(w, "sync", f.name, f.File.Sync())
}

func (f guardFile) Allocate(size int64) error {
	w := f.guard.begin("allocate", f.name)
	return f.guard.end(w, "allocate", f.name, f.File.Allocate(size))
}
