package ha

import (
	"os"
	"path"
	"unsafe"

	"github.com/hermodmq/hermod/persistence/vfs"
)

const (
	// directBlock is what offset, length and memory of a direct write are
	// multiples of: the largest logical block that is common. Larger ones refuse
	// the probe.
	directBlock = 4 << 10

	// directMax is the most bytes of one direct write.
	directMax = 1 << 20
)

// directWriter writes a segment past the page cache. A sync after it finds
// nothing to write back: write and sync together take less time, and less of the
// kernel's.
//
// Appends neither begin nor end at the blocks that such writes consist of. The
// rest of the last block is written as zeros, which raft-wal takes for the end,
// and its beginning is written again with the next append, with the same bytes.
// The page cache does no different.
//
// It has one user at a time, like the segment.
type directWriter struct {
	file vfs.File // opened with vfs.Direct
	read vfs.File // the same, through the page cache
	end  int64    // of the last write
	buf  []byte   // aligned; begins with the block that end lies in
}

// WriteAt implements io.WriterAt.
func (w *directWriter) WriteAt(b []byte, off int64) (int, error) {
	done := 0
	for done < len(b) {
		at := off + int64(done)
		lead := int(at % directBlock)
		n := min(len(b)-done, directMax-lead)
		if err := w.write(b[done:done+n], at, lead); err != nil {
			return done, err
		}
		done += n
	}
	return done, nil
}

// write writes b, which lies lead bytes behind the beginning of a block.
func (w *directWriter) write(b []byte, off int64, lead int) error {
	start := off - int64(lead)
	size := roundUp(lead + len(b))
	w.grow(size)
	if lead > 0 && off != w.end {
		w.end = -1
		if _, err := w.read.ReadAt(w.buf[:lead], start); err != nil {
			return err
		}
	}
	n := lead + copy(w.buf[lead:], b)
	clear(w.buf[n:size])
	if _, err := w.file.WriteAt(w.buf[:size], start); err != nil {
		return err
	}
	w.end = off + int64(len(b))
	if n >= directBlock {
		copy(w.buf, w.buf[n-n%directBlock:n])
	}
	return nil
}

// grow makes room for size bytes and keeps the first block.
func (w *directWriter) grow(size int) {
	if size <= len(w.buf) {
		return
	}
	buf := alignedBlocks(max(size, min(2*len(w.buf), directMax)))
	copy(buf, w.buf[:min(len(w.buf), directBlock)])
	w.buf = buf
}

func roundUp(n int) int { return (n + directBlock - 1) / directBlock * directBlock }

// alignedBlocks returns size zeros that begin at a multiple of directBlock in
// memory.
func alignedBlocks(size int) []byte {
	b := make([]byte, size+directBlock)
	skip := -int(uintptr(unsafe.Pointer(unsafe.SliceData(b)))) & (directBlock - 1)
	return b[skip : skip+size : skip+size]
}

// probeDirect reports whether files in dir can be written past the page cache:
// file systems and disks differ, and say so at the open or at the write.
func probeDirect(fs vfs.FS, dir string) bool {
	if vfs.Direct == 0 {
		return false
	}
	name := path.Join(dir, sparePrefix+"probe.new") // removed by the next open if the process ends here
	f, err := fs.Create(name)
	if err != nil {
		return false
	}
	defer func() {
		_ = f.Close()
		_ = fs.Remove(name)
	}()
	if err := f.Allocate(directBlock); err != nil {
		return false
	}
	d, err := fs.OpenFile(name, os.O_WRONLY|vfs.Direct, 0)
	if err != nil {
		return false
	}
	w := directWriter{file: d, read: f}
	_, err = w.WriteAt([]byte(name), 0)
	if cerr := d.Close(); err == nil {
		err = cerr
	}
	got := make([]byte, len(name))
	if err == nil {
		_, err = f.ReadAt(got, 0)
	}
	return err == nil && string(got) == name
}
