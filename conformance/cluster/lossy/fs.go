package lossy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

var errEOF = io.EOF

// FS is a file system at a folder of its own.
type FS struct {
	dir, data string
	disk      *disk
	server    *fuse.Server
}

// Loss is what a cut took back.
type Loss struct{ Pages, Names int }

// Mount makes one at dir, which must be empty or missing, over the folder data,
// which must be on a file system that knows hard links. The error says that this
// machine does not allow it.
func Mount(dir, data string) (*FS, error) {
	for _, name := range []string{dir, data} {
		if err := os.MkdirAll(name, 0o700); err != nil {
			return nil, err
		}
	}
	d, err := newDisk(filepath.Clean(data) + ".limbo")
	if err != nil {
		return nil, err
	}
	f := &FS{dir: dir, data: data, disk: d}
	return f, f.mount()
}

func (f *FS) mount() error {
	var st syscall.Stat_t
	if err := syscall.Stat(f.data, &st); err != nil {
		return err
	}
	root := &fs.LoopbackRoot{Path: f.data, Dev: uint64(st.Dev)}
	top := &node{fs.LoopbackNode{RootData: root}, f.disk}
	root.RootNode = top
	long := time.Hour // nobody else changes what is below
	server, err := fs.Mount(f.dir, top, &fs.Options{
		EntryTimeout: &long, AttrTimeout: &long,
		MountOptions: fuse.MountOptions{DirectMountStrict: true, MaxWrite: 1 << 20, DisableXAttrs: true, Name: "lossy", FsName: "lossy"},
	})
	if err != nil {
		return fmt.Errorf("mount a FUSE file system at %s: %w", f.dir, err)
	}
	f.server = server
	return nil
}

func (f *FS) unmount() error {
	var err error
	for range 100 { // the last program may still be on its way out
		if err = f.server.Unmount(); err == nil {
			return nil
		}
		<-time.After(20 * time.Millisecond)
	}
	return err
}

// Cut is the power failure. No program may use the file system, which is there
// again afterwards. lose is the probability with which each page that was not
// synced is lost; with 1 nothing of what was not synced is left.
func (f *FS) Cut(rng *rand.Rand, lose float64) (Loss, error) {
	if err := f.unmount(); err != nil {
		return Loss{}, err
	}
	lost, err := f.disk.cut(rng, lose)
	return lost, errors.Join(err, f.mount())
}

// Hang makes every sync hang, as a disk does that no longer answers, until
// release is called. A program that waits for one cannot even end.
func (f *FS) Hang() (release func()) {
	hung := make(chan struct{})
	f.disk.hung.Store(&hung)
	return sync.OnceFunc(func() {
		f.disk.hung.Store(nil)
		close(hung)
	})
}

// Slow makes every sync take so long, until quicken is called.
func (f *FS) Slow(each time.Duration) (quicken func()) {
	f.disk.slow.Store(int64(each))
	return func() { f.disk.slow.Store(0) }
}

// Close unmounts; the data stays as it is.
func (f *FS) Close() error { return errors.Join(f.unmount(), os.RemoveAll(f.disk.limbo)) }

// node is a file or folder.
type node struct {
	fs.LoopbackNode
	disk *disk
}

// WrapChild makes a node of ours of one that the loopback made.
func (n *node) WrapChild(_ context.Context, made fs.InodeEmbedder) fs.InodeEmbedder {
	return &node{fs.LoopbackNode{RootData: made.(*fs.LoopbackNode).RootData}, n.disk}
}

func (n *node) path() string { return filepath.Join(n.RootData.Path, n.Path(n.Root())) }

func (n *node) Create(ctx context.Context, name string, flags, mode uint32, out *fuse.EntryOut) (*fs.Inode, fs.FileHandle, uint32, syscall.Errno) {
	ino, h, fl, errno := n.LoopbackNode.Create(ctx, name, flags, mode, out)
	if errno != fs.OK {
		return ino, h, fl, errno
	}
	o := open(h, n.disk)
	return ino, o, fl, fs.ToErrno(o.withFd(func(fd int) error { return n.disk.made(n.path(), name, fd) }))
}

func (n *node) Open(ctx context.Context, flags uint32) (fs.FileHandle, uint32, syscall.Errno) {
	if flags&syscall.O_TRUNC != 0 {
		return nil, 0, syscall.ENOTSUP // the kernel truncates first
	}
	h, fl, errno := n.LoopbackNode.Open(ctx, flags)
	if errno != fs.OK {
		return h, fl, errno
	}
	return open(h, n.disk), fl, fs.OK
}

func (n *node) Setattr(ctx context.Context, h fs.FileHandle, in *fuse.SetAttrIn, out *fuse.AttrOut) syscall.Errno {
	size, ok := in.GetSize()
	if !ok {
		return n.LoopbackNode.Setattr(ctx, nil, in, out)
	}
	f, err := os.OpenFile(n.path(), os.O_RDWR, 0)
	if err != nil {
		return fs.ToErrno(err)
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return fs.ToErrno(err)
	}
	errno := fs.OK
	err = n.disk.change(int(f.Fd()), int64(size), max(info.Size()-int64(size), 0), func() error {
		errno = n.LoopbackNode.Setattr(ctx, nil, in, out)
		return nil
	})
	return either(err, errno)
}

func (n *node) Mknod(ctx context.Context, name string, mode, dev uint32, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	ino, errno := n.LoopbackNode.Mknod(ctx, name, mode, dev, out)
	if errno != fs.OK {
		return ino, errno
	}
	return ino, fs.ToErrno(n.disk.made(n.path(), name, -1))
}

func (n *node) Mkdir(ctx context.Context, name string, mode uint32, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	ino, errno := n.LoopbackNode.Mkdir(ctx, name, mode, out)
	if errno != fs.OK {
		return ino, errno
	}
	return ino, fs.ToErrno(n.disk.made(n.path(), name, -1))
}

func (n *node) Link(ctx context.Context, target fs.InodeEmbedder, name string, out *fuse.EntryOut) (*fs.Inode, syscall.Errno) {
	var loop fs.InodeEmbedder = target
	if t, ok := target.(*node); ok {
		loop = &t.LoopbackNode
	}
	ino, errno := n.LoopbackNode.Link(ctx, loop, name, out)
	if errno != fs.OK {
		return ino, errno
	}
	return ino, fs.ToErrno(n.disk.made(n.path(), name, -1))
}

func (n *node) Unlink(ctx context.Context, name string) syscall.Errno {
	errno := fs.OK
	err := n.disk.remove(n.path(), name, func() error {
		errno = n.LoopbackNode.Unlink(ctx, name)
		return orNil(errno)
	})
	return either(err, errno)
}

func (n *node) Rmdir(ctx context.Context, name string) syscall.Errno {
	errno := fs.OK
	err := n.disk.removeDir(n.path(), name, func() error {
		errno = n.LoopbackNode.Rmdir(ctx, name)
		return orNil(errno)
	})
	return either(err, errno)
}

func (n *node) Rename(ctx context.Context, name string, parent fs.InodeEmbedder, to string, flags uint32) syscall.Errno {
	p, ok := parent.(*node)
	if !ok {
		return syscall.EXDEV
	}
	errno := fs.OK
	err := n.disk.rename(n.path(), name, p.path(), to, func() error {
		errno = n.LoopbackNode.Rename(ctx, name, &p.LoopbackNode, to, flags)
		return orNil(errno)
	})
	return either(err, errno)
}

func (n *node) OpendirHandle(context.Context, uint32) (fs.FileHandle, uint32, syscall.Errno) {
	stream, errno := fs.NewLoopbackDirStream(n.path())
	if errno != fs.OK {
		return nil, 0, errno
	}
	return &openDir{stream.(dirStream), n}, 0, fs.OK
}

func orNil(errno syscall.Errno) error {
	if errno == fs.OK {
		return nil
	}
	return errno
}

func either(err error, errno syscall.Errno) syscall.Errno {
	if errno != fs.OK {
		return errno
	}
	return fs.ToErrno(err)
}

type dirStream interface {
	fs.FileReaddirenter
	fs.FileSeekdirer
	fs.FileReleasedirer
}

// openDir is an open folder.
type openDir struct {
	dirStream
	node *node
}

func (d *openDir) Fsyncdir(context.Context, uint32) syscall.Errno {
	return fs.ToErrno(d.node.disk.syncDir(d.node.path()))
}

// openFile is an open file.
type openFile struct {
	*fs.LoopbackFile
	disk *disk
}

func open(h fs.FileHandle, d *disk) *openFile { return &openFile{h.(*fs.LoopbackFile), d} }

// withFd calls do with the descriptor below.
func (f *openFile) withFd(do func(fd int) error) error {
	fd, ok := f.LoopbackFile.PassthroughFd()
	if !ok {
		return os.ErrClosed
	}
	return do(fd)
}

// PassthroughFd keeps the kernel from writing past this file system.
func (f *openFile) PassthroughFd() (int, bool) { return 0, false }

func (f *openFile) Write(ctx context.Context, data []byte, off int64) (n uint32, errno syscall.Errno) {
	err := f.withFd(func(fd int) error {
		return f.disk.change(fd, off, int64(len(data)), func() error {
			n, errno = f.LoopbackFile.Write(ctx, data, off)
			return nil
		})
	})
	return n, either(err, errno)
}

func (f *openFile) Allocate(ctx context.Context, off, size uint64, mode uint32) (errno syscall.Errno) {
	err := f.withFd(func(fd int) error {
		return f.disk.change(fd, 0, 0, func() error { // it changes the size only
			errno = f.LoopbackFile.Allocate(ctx, off, size, mode)
			return nil
		})
	})
	return either(err, errno)
}

func (f *openFile) Fsync(context.Context, uint32) syscall.Errno {
	f.disk.wait()
	return fs.ToErrno(f.withFd(f.disk.sync))
}

func (f *openFile) Release(ctx context.Context) syscall.Errno {
	_ = f.withFd(func(fd int) error { f.disk.released(fd); return nil })
	return f.LoopbackFile.Release(ctx)
}
