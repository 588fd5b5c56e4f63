package ha

import (
	"bytes"
	"io/fs"
	"math/rand/v2"
	"os"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"github.com/hermodmq/hermod/persistence/vfs"
)

// blocksOnly refuses what a disk refuses of direct writes.
type blocksOnly struct {
	vfs.File
	t *testing.T
}

func (f blocksOnly) WriteAt(b []byte, off int64) (int, error) {
	address := uintptr(unsafe.Pointer(unsafe.SliceData(b)))
	if off%directBlock != 0 || len(b)%directBlock != 0 || address%directBlock != 0 || len(b) > directMax || len(b) == 0 {
		f.t.Errorf("a direct write of %d bytes at offset %d from address %x", len(b), off, address)
	}
	return f.File.WriteAt(b, off)
}

// Appends of any length, from any place, read back as they were written, what
// is before them stays, and the rest of the last block is zero.
func TestDirectWriter(t *testing.T) {
	for name, fsys := range map[string]vfs.FS{"mem": vfs.NewMem(), "os": vfs.OS()} {
		t.Run(name, func(t *testing.T) {
			dir := "/d"
			if name == "os" {
				dir = t.TempDir()
			}
			must(t, fsys.MkdirAll(dir, 0o700))
			if !probeDirect(fsys, dir) {
				t.Skip("no direct writes here")
			}
			const size = 8 << 20
			f, err := fsys.Create(dir + "/segment")
			must(t, err)
			defer f.Close()
			must(t, f.Allocate(size))
			open := func() *directWriter {
				d, err := fsys.OpenFile(dir+"/segment", os.O_WRONLY|vfs.Direct, 0)
				must(t, err)
				t.Cleanup(func() { _ = d.Close() })
				return &directWriter{file: blocksOnly{d, t}, read: f}
			}
			w, model, random := open(), make([]byte, size), rand.New(rand.NewPCG(1, 2))
			end := 0
			for i := range 400 {
				n := 8 * (1 + random.IntN(1200))
				switch {
				case i%50 == 49:
					n = directMax + 8*random.IntN(4096)
				case i%50 == 23: // up to the end of a block
					n = directBlock - end%directBlock
				}
				if i%40 == 17 {
					w = open() // as after a restart
				}
				if i%60 == 31 {
					end -= 8 * random.IntN(end/64) // a truncated log goes on further up
				}
				if end+n > size {
					break
				}
				b := make([]byte, n)
				for j := range b {
					b[j] = byte(random.Uint32()) | 1
				}
				if got, err := w.WriteAt(b, int64(end)); got != n || err != nil {
					t.Fatalf("append %d: %d bytes of %d, %v", i, got, n, err)
				}
				copy(model[end:], b)
				end += n
				clear(model[end:roundUp(end)])
			}
			got := make([]byte, size)
			if _, err := f.ReadAt(got, 0); err != nil {
				t.Fatal(err)
			}
			for i := range got {
				if got[i] != model[i] {
					t.Fatalf("byte %d of %d written is %d, want %d", i, end, got[i], model[i])
				}
			}
			if cap(w.buf) > directMax {
				t.Errorf("the buffer has grown to %d bytes", cap(w.buf))
			}
		})
	}
}

// noDirect is a file system that refuses direct writes at the open, or, as some
// disks with large sectors do, at the write.
type noDirect struct {
	vfs.FS
	atWrite bool
	asked   *int
}

func (n noDirect) OpenFile(name string, flag int, perm fs.FileMode) (vfs.File, error) {
	if vfs.Direct == 0 || flag&vfs.Direct == 0 {
		return n.FS.OpenFile(name, flag, perm)
	}
	*n.asked++
	if !n.atWrite {
		return nil, &fs.PathError{Op: "open", Path: name, Err: syscall.EINVAL}
	}
	f, err := n.FS.OpenFile(name, flag, perm)
	return noDirectFile{f}, err
}

type noDirectFile struct{ vfs.File }

func (noDirectFile) WriteAt([]byte, int64) (int, error) { return 0, syscall.EINVAL }

// Where files cannot be written past the page cache the log goes through it, and
// leaves nothing behind of having tried.
func TestLogWithoutDirectWrites(t *testing.T) {
	for name, atWrite := range map[string]bool{"open": false, "write": true} {
		t.Run(name, func(t *testing.T) {
			asked := 0
			mem := vfs.NewMem()
			opts, _ := testOptions(noDirect{mem, atWrite, &asked})
			for round := range 2 {
				r := newRecorder(0)
				l := openLog(t, opts, r)
				must(t, l.Propose(payload(0, 100)))
				r.wait(t, round+1)
				must(t, l.Close())
			}
			if vfs.Direct != 0 && asked != 2 {
				t.Errorf("direct writes were tried %d times in two starts", asked)
			}
			names, err := mem.ReadDir(opts.Dir)
			must(t, err)
			for _, name := range names {
				if strings.Contains(name, "probe") {
					t.Errorf("%s is left", name)
				}
			}
		})
	}
}

// Where they can, they are used: every write of a segment in use is one.
func TestLogWritesDirectly(t *testing.T) {
	if vfs.Direct == 0 {
		t.Skip("this system has no direct writes")
	}
	opts, _ := testOptions(vfs.NewMem())
	r := newRecorder(0)
	l := openLog(t, opts, r)
	defer l.Close()
	must(t, l.Propose(payload(0, 100)))
	r.wait(t, 1)
	if !l.segments.direct {
		t.Error("the log goes through the page cache")
	}
}

func TestAlignedBlocks(t *testing.T) {
	for _, size := range []int{directBlock, 3 * directBlock, directMax} {
		for range 10 {
			b := alignedBlocks(size)
			if len(b) != size || cap(b) != size || uintptr(unsafe.Pointer(&b[0]))%directBlock != 0 || !bytes.Equal(b, make([]byte, size)) {
				t.Fatalf("%d bytes: length %d, capacity %d at %p", size, len(b), cap(b), &b[0])
			}
		}
	}
}
