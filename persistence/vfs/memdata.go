package vfs

import (
	"io"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"time"
)

// A power failure keeps or loses memory by the page, and may tear a page
// between the sectors of the disk.
const (
	pageSize   = 4096
	sectorSize = 512
)

type page [pageSize]byte

// memData is the content of a file: pages by number, absent ones zero. The
// pages a crash keeps are shared with the current ones until written to.
type memData struct {
	pages, kept    map[int64]*page
	dirty          map[int64]bool // pages that differ from kept, or may
	size, keptSize int64
}

// writable returns page i for writing, never the one that a crash keeps.
func (d *memData) writable(i int64) *page {
	if d.dirty == nil {
		d.pages, d.kept, d.dirty = map[int64]*page{}, map[int64]*page{}, map[int64]bool{}
	}
	p := d.pages[i]
	if p == nil || !d.dirty[i] {
		fresh := new(page)
		if p != nil {
			*fresh = *p
		}
		d.pages[i] = fresh
		p = fresh
	}
	d.dirty[i] = true
	return p
}

func (d *memData) writeAt(b []byte, off int64) {
	for done := 0; done < len(b); {
		at := off + int64(done)
		done += copy(d.writable(at / pageSize)[at%pageSize:], b[done:])
	}
	d.size = max(d.size, off+int64(len(b)))
}

func (d *memData) readAt(b []byte, off int64) int {
	if off >= d.size {
		return 0
	}
	b = b[:min(int64(len(b)), d.size-off)]
	for done := 0; done < len(b); {
		at := off + int64(done)
		rest := b[done:min(len(b), done+int(pageSize-at%pageSize))]
		if p := d.pages[at/pageSize]; p != nil {
			copy(rest, p[at%pageSize:])
		} else {
			clear(rest)
		}
		done += len(rest)
	}
	return len(b)
}

func (d *memData) truncate(size int64) {
	if size < d.size {
		for i := range d.pages {
			if i*pageSize >= size {
				delete(d.pages, i)
				d.dirty[i] = true
			}
		}
		if i := size / pageSize; size%pageSize != 0 && d.pages[i] != nil {
			clear(d.writable(i)[size%pageSize:])
		}
	}
	d.size = size
}

func (d *memData) sync() {
	for i := range d.dirty {
		if p := d.pages[i]; p != nil {
			d.kept[i] = p
		} else {
			delete(d.kept, i)
		}
	}
	clear(d.dirty)
	d.keptSize = d.size
}

// crash returns the content after a power failure: what was synced, and by
// chance any of the rest.
func (d *memData) crash(rnd *rand.Rand) memData {
	after := memData{pages: map[int64]*page{}, dirty: map[int64]bool{}}
	after.size = d.keptSize
	if d.size != d.keptSize && rnd.IntN(2) == 0 {
		after.size = d.size
	}
	for i, p := range d.kept {
		after.pages[i] = p
	}
	for _, i := range sortedKeys(d.dirty) {
		if p := mix(d.kept[i], d.pages[i], rnd); p != nil {
			after.pages[i] = p
		} else {
			delete(after.pages, i)
		}
	}
	// The bytes beyond the size are gone for good.
	size := after.size
	after.size = 1 << 62
	after.truncate(size)
	clear(after.dirty)
	after.kept = make(map[int64]*page, len(after.pages))
	for i, p := range after.pages {
		after.kept[i] = p
	}
	after.keptSize = size
	return after
}

// clone returns a copy that is written to independently.
func (d *memData) clone() memData {
	after := *d
	after.pages, after.kept, after.dirty = maps.Clone(d.pages), maps.Clone(d.kept), maps.Clone(d.dirty)
	for i := range d.dirty {
		if p := d.pages[i]; p != nil {
			fresh := *p // the others are never written to again
			after.pages[i] = &fresh
		}
	}
	return after
}

// mix returns the old page, the new one, or new sectors among old ones.
func mix(old, new *page, rnd *rand.Rand) *page {
	switch rnd.IntN(3) {
	case 0:
		return old
	case 1:
		return new
	}
	torn := &page{}
	if old != nil {
		*torn = *old
	}
	if new == nil {
		new = &page{}
	}
	for s := 0; s < pageSize; s += sectorSize {
		if rnd.IntN(2) == 0 {
			copy(torn[s:s+sectorSize], new[s:])
		}
	}
	return torn
}

// memFile is an open file of a MemFS.
type memFile struct {
	fs     *MemFS
	node   *memNode
	name   string
	flag   int
	pos    int64
	closed bool
}

// check returns why op may not happen. The caller holds fs.mu.
func (f *memFile) check(op string, writes bool) error {
	switch {
	case f.closed:
		return pathErr(op, f.name, fs.ErrClosed)
	case writes && f.flag&(os.O_WRONLY|os.O_RDWR) == 0,
		!writes && f.flag&os.O_WRONLY != 0:
		return pathErr(op, f.name, fs.ErrPermission)
	}
	return nil
}

func (f *memFile) Read(b []byte) (int, error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if err := f.check("read", false); err != nil {
		return 0, err
	}
	n := f.node.data.readAt(b, f.pos)
	f.pos += int64(n)
	if n == 0 && len(b) > 0 {
		return 0, io.EOF
	}
	return n, nil
}

func (f *memFile) ReadAt(b []byte, off int64) (int, error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if err := f.check("read", false); err != nil {
		return 0, err
	}
	if off < 0 {
		return 0, pathErr("read", f.name, fs.ErrInvalid)
	}
	n := f.node.data.readAt(b, off)
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

func (f *memFile) Write(b []byte) (int, error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if err := f.check("write", true); err != nil {
		return 0, err
	}
	if f.flag&os.O_APPEND != 0 {
		f.pos = f.node.data.size
	}
	f.node.data.writeAt(b, f.pos)
	f.node.modTime = time.Now()
	f.pos += int64(len(b))
	return len(b), nil
}

func (f *memFile) WriteAt(b []byte, off int64) (int, error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if err := f.check("write", true); err != nil {
		return 0, err
	}
	if off < 0 || f.flag&os.O_APPEND != 0 {
		return 0, pathErr("write", f.name, fs.ErrInvalid)
	}
	f.node.data.writeAt(b, off)
	f.node.modTime = time.Now()
	return len(b), nil
}

func (f *memFile) Close() error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if f.closed {
		return pathErr("close", f.name, fs.ErrClosed)
	}
	f.closed = true
	return nil
}

func (f *memFile) Sync() error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if f.closed {
		return pathErr("sync", f.name, fs.ErrClosed)
	}
	f.node.data.sync()
	return nil
}

func (f *memFile) Truncate(size int64) error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if err := f.check("truncate", true); err != nil {
		return err
	}
	if size < 0 {
		return pathErr("truncate", f.name, fs.ErrInvalid)
	}
	f.node.data.truncate(size)
	return nil
}

func (f *memFile) Size() (int64, error) {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if f.closed {
		return 0, pathErr("stat", f.name, fs.ErrClosed)
	}
	return f.node.data.size, nil
}

func (f *memFile) Allocate(size int64) error {
	f.fs.mu.Lock()
	defer f.fs.mu.Unlock()
	if err := f.check("fallocate", true); err != nil {
		return err
	}
	f.node.data.size = max(f.node.data.size, size)
	return nil
}
