package lossy

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// pageSize is what a disk writes or not as a whole.
const pageSize = 4096

// disk knows what would be gone after a power failure. Safe for concurrent use.
type disk struct {
	limbo string                        // keeps files whose removal is not synced
	hung  atomic.Pointer[chan struct{}] // nil: syncs come back
	slow  atomic.Int64                  // ns that each sync takes

	mu     sync.Mutex
	serial int
	files  map[uint64]*file // by inode
	names  []change         // in the order in which they happened
	dirs   map[uint64]int   // descriptors of folders in names, by inode
}

// file is what an inode has that is not synced.
type file struct {
	*os.File
	size  int64            // synced
	pages map[int64][]byte // as synced, by number; nil: beyond the size
}

// change is a change of a folder.
type change struct {
	dirs [2]uint64 // inodes; any of them being synced keeps it
	undo func() error
}

func newDisk(limbo string) (*disk, error) {
	d := &disk{limbo: limbo, files: map[uint64]*file{}, dirs: map[uint64]int{}}
	return d, os.MkdirAll(limbo, 0o700)
}

// wait returns when the disk answers.
func (d *disk) wait() {
	if hung := d.hung.Load(); hung != nil {
		<-*hung
	}
	if d := time.Duration(d.slow.Load()); d > 0 {
		<-time.After(d) // this is the disk's slowness itself
	}
}

func inode(fd int) (uint64, unix.Stat_t, error) {
	var st unix.Stat_t
	err := unix.Fstat(fd, &st)
	return st.Ino, st, err
}

// track returns what is known of the file open at fd; fresh says that it is new.
// The caller holds mu.
func (d *disk) track(fd int, fresh bool) (*file, error) {
	ino, st, err := inode(fd)
	if err != nil {
		return nil, err
	}
	if f := d.files[ino]; f != nil && !fresh {
		return f, nil
	}
	d.forget(ino)
	own, err := os.OpenFile(fmt.Sprintf("/proc/self/fd/%d", fd), os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	f := &file{File: own, size: st.Size, pages: map[int64][]byte{}}
	d.files[ino] = f
	return f, nil
}

// forget drops what is known of an inode. The caller holds mu.
func (d *disk) forget(ino uint64) {
	if f := d.files[ino]; f != nil {
		_ = f.Close()
		delete(d.files, ino)
	}
}

// save keeps the pages that hold the bytes from off on, n of them, as they
// are.
func (f *file) save(off, n int64) error {
	for p := off / pageSize; p*pageSize < off+n; p++ {
		if _, saved := f.pages[p]; saved {
			continue
		}
		var page []byte
		if p*pageSize < f.size {
			page = make([]byte, pageSize)
			if _, err := f.ReadAt(page, p*pageSize); err != nil && !errors.Is(err, errEOF) {
				return err
			}
		}
		f.pages[p] = page
	}
	return nil
}

// change runs do, which changes n bytes from off on of the file open at fd.
func (d *disk) change(fd int, off, n int64, do func() error) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	f, err := d.track(fd, false)
	if err == nil {
		err = f.save(off, n)
	}
	if err != nil {
		return err
	}
	return do()
}

// sync keeps what the file open at fd holds.
func (d *disk) sync(fd int) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	f, err := d.track(fd, false)
	if err != nil {
		return err
	}
	_, st, err := inode(fd)
	f.size = st.Size
	clear(f.pages)
	return err
}

// released is told that a descriptor is about to be closed.
func (d *disk) released(fd int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if ino, st, err := inode(fd); err == nil && st.Nlink == 0 {
		d.forget(ino)
	}
}

// folder is a descriptor for the folder at path that outlives its name. The
// caller holds mu.
func (d *disk) folder(path string) (fd int, ino uint64, err error) {
	if fd, err = unix.Open(path, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0); err != nil {
		return 0, 0, err
	}
	if ino, _, err = inode(fd); err != nil {
		_ = unix.Close(fd)
		return 0, 0, err
	}
	if old, known := d.dirs[ino]; known {
		_ = unix.Close(fd)
		return old, ino, nil
	}
	d.dirs[ino] = fd
	return fd, ino, nil
}

// note records a change. The caller holds mu.
func (d *disk) note(undo func() error, dirs ...uint64) {
	c := change{undo: undo}
	copy(c.dirs[:], dirs)
	d.names = append(d.names, c)
}

// made notes that name is new in the folder at dir; of a file opened at fd,
// unless that is -1, nothing is synced yet.
func (d *disk) made(dir, name string, fd int) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	at, ino, err := d.folder(dir)
	if err != nil {
		return err
	}
	if fd >= 0 {
		if _, err := d.track(fd, true); err != nil {
			return err
		}
	}
	d.note(func() error { return d.banish(at, name) }, ino)
	return nil
}

// banish moves a name out of sight. The caller holds mu.
func (d *disk) banish(at int, name string) error {
	err := unix.Renameat(at, name, unix.AT_FDCWD, d.refuge())
	if errors.Is(err, unix.ENOENT) {
		return nil // it had gone to a folder that was synced
	}
	return err
}

func (d *disk) refuge() string {
	d.serial++
	return filepath.Join(d.limbo, fmt.Sprint(d.serial))
}

// keep links a file into limbo and returns how to bring it back; nil if there
// is no such file. The caller holds mu.
func (d *disk) keep(at int, name string) (back func() error, err error) {
	var st unix.Stat_t
	if err := unix.Fstatat(at, name, &st, unix.AT_SYMLINK_NOFOLLOW); err != nil {
		if errors.Is(err, unix.ENOENT) {
			return nil, nil
		}
		return nil, err
	}
	if st.Mode&unix.S_IFMT == unix.S_IFDIR {
		return nil, nil
	}
	refuge := d.refuge()
	if err := unix.Linkat(at, name, unix.AT_FDCWD, refuge, 0); err != nil {
		return nil, err
	}
	return func() error { return unix.Renameat(unix.AT_FDCWD, refuge, at, name) }, nil
}

// remove runs do, which removes a file from the folder at dir.
func (d *disk) remove(dir, name string, do func() error) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	at, ino, err := d.folder(dir)
	if err != nil {
		return err
	}
	back, err := d.keep(at, name)
	if err != nil {
		return err
	}
	if err := do(); err != nil {
		return err
	}
	if back != nil {
		d.note(back, ino)
	}
	return nil
}

// removeDir runs do, which removes an empty folder from the one at dir.
func (d *disk) removeDir(dir, name string, do func() error) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	at, ino, err := d.folder(dir)
	if err != nil {
		return err
	}
	if err := do(); err != nil {
		return err
	}
	d.note(func() error { return unix.Mkdirat(at, name, 0o700) }, ino)
	return nil
}

// rename runs do, which moves a name.
func (d *disk) rename(dir, name, toDir, to string, do func() error) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	from, fromIno, err := d.folder(dir)
	if err != nil {
		return err
	}
	into, intoIno, err := d.folder(toDir)
	if err != nil {
		return err
	}
	back, err := d.keep(into, to)
	if err != nil {
		return err
	}
	if err := do(); err != nil {
		return err
	}
	d.note(func() error {
		if err := unix.Renameat(into, to, from, name); err != nil || back == nil {
			return err
		}
		return back()
	}, fromIno, intoIno)
	return nil
}

// syncDir keeps the names in the folder at path.
func (d *disk) syncDir(path string) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return err
	}
	d.names = slices.DeleteFunc(d.names, func(c change) bool { return c.dirs[0] == st.Ino || c.dirs[1] == st.Ino })
	return nil
}

// cut takes back what is not synced, each page and size with the given
// probability, and as many of the last changes of names. It returns how much
// that was.
func (d *disk) cut(rng *rand.Rand, lose float64) (lost Loss, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	var errs []error
	for ino, f := range d.files {
		n, err := f.revert(rng, lose)
		lost.Pages += n
		errs = append(errs, err)
		d.forget(ino)
	}
	from := 0
	if lose < 1 && len(d.names) > 0 {
		from = rng.IntN(len(d.names) + 1)
	}
	for _, c := range slices.Backward(d.names[from:]) {
		lost.Names++
		errs = append(errs, c.undo())
	}
	d.names = nil
	for _, fd := range d.dirs {
		errs = append(errs, unix.Close(fd))
	}
	clear(d.dirs)
	errs = append(errs, os.RemoveAll(d.limbo), os.MkdirAll(d.limbo, 0o700))
	return lost, errors.Join(errs...)
}

func (f *file) revert(rng *rand.Rand, lose float64) (pages int, err error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	if info.Size() != f.size && rng.Float64() < lose {
		if err := f.Truncate(f.size); err != nil {
			return 0, err
		}
	}
	for p, page := range f.pages {
		if rng.Float64() >= lose {
			continue
		}
		pages++
		if info, err = f.Stat(); err != nil {
			return pages, err
		}
		at := p * pageSize
		if at >= info.Size() {
			continue
		}
		if page == nil {
			page = make([]byte, pageSize)
		}
		if _, err := f.WriteAt(page[:min(pageSize, info.Size()-at)], at); err != nil {
			return pages, err
		}
	}
	return pages, nil
}
