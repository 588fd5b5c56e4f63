package ha

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path"
	"strings"
	"sync"

	"github.com/hashicorp/raft-wal/segment"
	"github.com/hashicorp/raft-wal/types"

	"github.com/hermodmq/hermod/persistence/vfs"
)

const (
	sparePrefix = "spare-"
	maxSpares   = 4

	// zeroChunk is how much of a new spare is written between two syncs, so
	// that the syncs of entries queue behind little.
	zeroChunk = 1 << 20

	// flushEvery is how much may be unsynced with ConfirmOS before the
	// background sync starts.
	flushEvery = 8 << 20
)

// segmentDir implements raft-wal's VFS: segments that are zeroed before use,
// recycled afterwards, synced with fdatasync, and not at all with ConfirmOS.
type segmentDir struct {
	fs      vfs.FS // errors are fatal
	soft    vfs.FS // the same; errors are not: for spares being made
	dir     string
	size    int64
	confirm Confirm
	direct  bool // segments are written past the page cache
	logger  *slog.Logger

	wake chan struct{} // makes the keeper look for work
	stop chan struct{}
	done sync.WaitGroup

	mu     sync.Mutex
	spares []string
	serial uint64                // of spare names
	dirty  map[*segmentFile]bool // ConfirmOS: written, not synced
}

// openSegmentDir collects the spares in dir and starts the keeper.
func openSegmentDir(guarded, soft vfs.FS, dir string, size int, confirm Confirm, logger *slog.Logger) (*segmentDir, error) {
	d := &segmentDir{
		fs: guarded, soft: soft, dir: dir, size: int64(size), confirm: confirm, logger: logger,
		wake:  make(chan struct{}, 1),
		stop:  make(chan struct{}),
		dirty: map[*segmentFile]bool{},
	}
	names, err := guarded.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		if !strings.HasPrefix(name, sparePrefix) {
			continue
		}
		var serial uint64
		_, err := fmt.Sscanf(name, sparePrefix+"%d", &serial)
		info, serr := guarded.Stat(path.Join(dir, name))
		if serr != nil {
			return nil, serr
		}
		d.serial = max(d.serial, serial)
		if err != nil || strings.HasSuffix(name, ".new") || !d.fits(info.Size()) || len(d.spares) >= maxSpares {
			if err := guarded.Remove(path.Join(dir, name)); err != nil {
				return nil, err
			}
			continue
		}
		d.spares = append(d.spares, name)
	}
	return d, nil
}

// fits says whether a file of that size may be used for a segment.
func (d *segmentDir) fits(size int64) bool { return size >= d.size && size <= 2*d.size }

// start makes sure of one spare and runs the keeper. direct asks for writes past
// the page cache, where that is possible.
func (d *segmentDir) start(direct bool) {
	d.direct = direct && d.confirm == ConfirmFsync && probeDirect(d.soft, d.dir)
	d.logger.Debug("log segments", "past the page cache", d.direct)
	if len(d.spares) == 0 {
		d.makeSpare()
	}
	d.done.Go(d.keep)
}

// keep is the goroutine that makes spares and, with ConfirmOS, syncs segments.
func (d *segmentDir) keep() {
	for {
		select {
		case <-d.stop:
			return
		case <-d.wake:
		}
		if d.unsynced() >= flushEvery {
			_ = d.syncDirty() // fatal already
		}
		d.mu.Lock()
		n := len(d.spares)
		d.mu.Unlock()
		if n == 0 {
			d.makeSpare()
		}
	}
}

func (d *segmentDir) kick() {
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

// close stops the keeper and syncs what ConfirmOS left unsynced.
func (d *segmentDir) close() error {
	close(d.stop)
	d.done.Wait()
	return d.syncDirty()
}

// makeSpare adds a zeroed file. It is an optimisation: errors mean no spare.
func (d *segmentDir) makeSpare() {
	d.mu.Lock()
	d.serial++
	name := fmt.Sprintf("%s%d", sparePrefix, d.serial)
	d.mu.Unlock()
	aside := path.Join(d.dir, name+".new")
	err := d.zero(aside)
	if err == nil {
		err = d.soft.Rename(aside, path.Join(d.dir, name))
	}
	if err == nil {
		err = d.soft.SyncDir(d.dir)
	}
	switch {
	case err == nil:
		d.mu.Lock()
		d.spares = append(d.spares, name)
		d.mu.Unlock()
	case errors.Is(err, ErrClosed):
	default:
		d.logger.Warn("cannot prepare the next log segment", "error", err)
	}
}

// zero writes a file of zeros and removes it again on an error.
func (d *segmentDir) zero(name string) error {
	f, err := d.soft.Create(name)
	if err != nil {
		return err
	}
	err = f.Allocate(d.size)
	chunk := make([]byte, min(zeroChunk, d.size))
	for off := int64(0); off < d.size && err == nil; off += int64(len(chunk)) {
		select {
		case <-d.stop:
			err = ErrClosed
			continue
		default:
		}
		if _, err = f.WriteAt(chunk[:min(int64(len(chunk)), d.size-off)], off); err == nil {
			err = f.Sync()
		}
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		_ = d.soft.Remove(name) // else the next open removes it
	}
	return err
}

func (d *segmentDir) takeSpare() (name string, ok bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.spares) == 0 {
		return "", false
	}
	name, d.spares = d.spares[0], d.spares[1:]
	return name, true
}

// ListDir implements types.VFS.
func (d *segmentDir) ListDir(dir string) ([]string, error) { return d.fs.ReadDir(dir) }

// Create implements types.VFS. A recycled file keeps its old content: the scan
// at Start tells old entries from new ones.
func (d *segmentDir) Create(dir, name string, size uint64) (types.WritableFile, error) {
	full := path.Join(dir, name)
	defer d.kick()
	if spare, ok := d.takeSpare(); ok {
		if err := d.fs.Rename(path.Join(dir, spare), full); err != nil {
			return nil, err
		}
		return d.openWriter(full)
	}
	f, err := d.fs.Create(full)
	if err != nil {
		return nil, err
	}
	if err := f.Allocate(int64(size)); err != nil {
		_ = f.Close() // the process is about to end
		return nil, err
	}
	return d.writer(f, full)
}

// Delete implements types.VFS. The segment becomes a spare if there are few.
func (d *segmentDir) Delete(dir, name string) error {
	full := path.Join(dir, name)
	info, err := d.fs.Stat(full)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	d.mu.Lock()
	keep := len(d.spares) < maxSpares && d.fits(info.Size())
	d.serial++
	spare := fmt.Sprintf("%s%d", sparePrefix, d.serial)
	d.mu.Unlock()
	if !keep {
		if err := d.fs.Remove(full); err != nil {
			return err
		}
		return d.fs.SyncDir(dir)
	}
	if err := d.fs.Rename(full, path.Join(dir, spare)); err != nil {
		return err
	}
	// Before the file may be used again its old name must be gone for good:
	// after a crash there would be two names for it.
	if err := d.fs.SyncDir(dir); err != nil {
		return err
	}
	d.mu.Lock()
	d.spares = append(d.spares, spare)
	d.mu.Unlock()
	return nil
}

// OpenReader implements types.VFS.
func (d *segmentDir) OpenReader(dir, name string) (types.ReadableFile, error) {
	return d.fs.Open(path.Join(dir, name))
}

// OpenWriter implements types.VFS.
func (d *segmentDir) OpenWriter(dir, name string) (types.WritableFile, error) {
	return d.openWriter(path.Join(dir, name))
}

func (d *segmentDir) openWriter(name string) (types.WritableFile, error) {
	f, err := d.fs.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	return d.writer(f, name)
}

// writer makes a segment of an open file.
func (d *segmentDir) writer(f vfs.File, name string) (*segmentFile, error) {
	if !d.direct {
		return &segmentFile{File: f, dir: d}, nil
	}
	past, err := d.fs.OpenFile(name, os.O_WRONLY|vfs.Direct, 0)
	if err != nil {
		_ = f.Close() // the process is about to end
		return nil, err
	}
	return &segmentFile{File: f, dir: d, direct: &directWriter{file: past, read: f}}, nil
}

// unsynced is the number of bytes written with ConfirmOS and not synced.
func (d *segmentDir) unsynced() int64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	var sum int64
	for f := range d.dirty {
		sum += f.unsynced
	}
	return sum
}

// syncDirty syncs what ConfirmOS left unsynced.
func (d *segmentDir) syncDirty() error {
	d.mu.Lock()
	files := make([]*segmentFile, 0, len(d.dirty))
	for f := range d.dirty {
		files = append(files, f)
		f.unsynced = 0
	}
	clear(d.dirty)
	d.mu.Unlock()
	for _, f := range files {
		if err := f.syncNow(); err != nil && !errors.Is(err, fs.ErrClosed) {
			return err
		}
	}
	return nil
}

// segmentFile implements types.WritableFile.
type segmentFile struct {
	vfs.File
	dir       *segmentDir
	direct    *directWriter // nil: writes go through the page cache
	dirSynced bool          // the file's name is durable
	mu        sync.Mutex    // orders syncNow; WriteAt and Close stay outside
	unsynced  int64         // ConfirmOS; under dir.mu
}

func (f *segmentFile) WriteAt(b []byte, off int64) (int, error) {
	if f.direct != nil {
		return f.direct.WriteAt(b, off)
	}
	n, err := f.File.WriteAt(b, off)
	if f.dir.confirm == ConfirmOS {
		f.dir.mu.Lock()
		f.unsynced += int64(n)
		f.dir.dirty[f] = true
		f.dir.mu.Unlock()
	}
	return n, err
}

// Sync implements types.WritableFile: what raft-wal calls to commit an append.
func (f *segmentFile) Sync() error {
	if f.dir.confirm == ConfirmOS {
		if f.dir.unsynced() >= flushEvery {
			f.dir.kick()
		}
		return nil
	}
	return f.syncNow()
}

// syncNow syncs the file and, once, the directory that names it. A segment that
// is reopened counts as new: the process that made it may have died before.
func (f *segmentFile) syncNow() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.File.Sync(); err != nil || f.dirSynced {
		return err
	}
	if err := f.dir.fs.SyncDir(f.dir.dir); err != nil {
		return err
	}
	f.dirSynced = true
	return nil
}

// Close syncs first what ConfirmOS left unsynced.
func (f *segmentFile) Close() error {
	f.dir.mu.Lock()
	dirty := f.dir.dirty[f]
	delete(f.dir.dirty, f)
	f.dir.mu.Unlock()
	if dirty {
		if err := f.syncNow(); err != nil {
			return err
		}
	}
	err := f.File.Close()
	if f.direct != nil {
		if derr := f.direct.file.Close(); err == nil {
			err = derr
		}
	}
	return err
}

// segmentFiler is raft-wal's own segment format with our codec's number in it,
// and tells the codec which segment appends go to.
type segmentFiler struct {
	*segment.Filer
	codec *codec
}

func (f segmentFiler) Create(info types.SegmentInfo) (types.SegmentWriter, error) {
	info.Codec = codecID
	f.codec.segment.Store(info.ID)
	return f.Filer.Create(info)
}

func (f segmentFiler) RecoverTail(info types.SegmentInfo) (types.SegmentWriter, error) {
	f.codec.segment.Store(info.ID)
	return f.Filer.RecoverTail(info)
}
