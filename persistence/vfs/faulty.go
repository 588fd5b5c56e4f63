package vfs

import (
	"io"
	"io/fs"
)

// Kind is a kind of operation that an Injector can harm.
type Kind uint8

// The kinds. OpSync is File.Sync, OpSyncDir is FS.SyncDir.
const (
	OpOpen Kind = iota
	OpCreate
	OpRemove
	OpRename
	OpMkdir
	OpReadDir
	OpStat
	OpRead
	OpWrite
	OpSync
	OpSyncDir
	OpTruncate
	OpAllocate
	OpLock
)

// Op is an operation about to happen.
type Op struct {
	Kind   Kind
	Path   string // the old name of a rename
	Offset int64  // of ReadAt and WriteAt; -1 for Read and Write
	Len    int    // bytes to read or write; of Allocate the size
}

// Fault is what befalls an operation. The zero Fault is none.
type Fault struct {
	Err   error           // the operation does not happen and returns this
	Short int             // with Err on a write: this many bytes are written first
	Wait  <-chan struct{} // the operation hangs until this is closed, then goes on
	Flip  func(b []byte)  // on a read: called with the bytes read
}

// Injector decides the fate of operations. It is called by whichever goroutine
// performs them, just before they happen.
type Injector interface {
	Inject(op Op) Fault
}

// InjectorFunc is a function as an Injector.
type InjectorFunc func(op Op) Fault

// Inject calls f.
func (f InjectorFunc) Inject(op Op) Fault { return f(op) }

// Faulty returns fsys with inj asked before every operation.
func Faulty(fsys FS, inj Injector) FS { return &faultyFS{fsys, inj} }

type faultyFS struct {
	fs  FS
	inj Injector
}

func inject(inj Injector, op Op) error {
	_, err := injectIO(inj, op)
	return err
}

func injectIO(inj Injector, op Op) (Fault, error) {
	fault := inj.Inject(op)
	if fault.Wait != nil {
		<-fault.Wait
	}
	return fault, fault.Err
}

func (f *faultyFS) file(name string, kind Kind, open func() (File, error)) (File, error) {
	if err := inject(f.inj, Op{Kind: kind, Path: name}); err != nil {
		return nil, err
	}
	file, err := open()
	if err != nil {
		return nil, err
	}
	return &faultyFile{file, name, f.inj}, nil
}

func (f *faultyFS) Open(name string) (File, error) {
	return f.file(name, OpOpen, func() (File, error) { return f.fs.Open(name) })
}

func (f *faultyFS) Create(name string) (File, error) {
	return f.file(name, OpCreate, func() (File, error) { return f.fs.Create(name) })
}

func (f *faultyFS) OpenFile(name string, flag int, perm fs.FileMode) (File, error) {
	return f.file(name, OpOpen, func() (File, error) { return f.fs.OpenFile(name, flag, perm) })
}

func (f *faultyFS) Remove(name string) error {
	if err := inject(f.inj, Op{Kind: OpRemove, Path: name}); err != nil {
		return err
	}
	return f.fs.Remove(name)
}

func (f *faultyFS) Rename(old, new string) error {
	if err := inject(f.inj, Op{Kind: OpRename, Path: old}); err != nil {
		return err
	}
	return f.fs.Rename(old, new)
}

func (f *faultyFS) MkdirAll(dir string, perm fs.FileMode) error {
	if err := inject(f.inj, Op{Kind: OpMkdir, Path: dir}); err != nil {
		return err
	}
	return f.fs.MkdirAll(dir, perm)
}

func (f *faultyFS) ReadDir(dir string) ([]string, error) {
	if err := inject(f.inj, Op{Kind: OpReadDir, Path: dir}); err != nil {
		return nil, err
	}
	return f.fs.ReadDir(dir)
}

func (f *faultyFS) Stat(name string) (fs.FileInfo, error) {
	if err := inject(f.inj, Op{Kind: OpStat, Path: name}); err != nil {
		return nil, err
	}
	return f.fs.Stat(name)
}

func (f *faultyFS) SyncDir(dir string) error {
	if err := inject(f.inj, Op{Kind: OpSyncDir, Path: dir}); err != nil {
		return err
	}
	return f.fs.SyncDir(dir)
}

func (f *faultyFS) FreeBytes(dir string) (uint64, error) { return f.fs.FreeBytes(dir) }

func (f *faultyFS) Lock(name string) (io.Closer, error) {
	if err := inject(f.inj, Op{Kind: OpLock, Path: name}); err != nil {
		return nil, err
	}
	return f.fs.Lock(name)
}

type faultyFile struct {
	File
	name string
	inj  Injector
}

func (f *faultyFile) read(b []byte, off int64, read func() (int, error)) (int, error) {
	fault, err := injectIO(f.inj, Op{Kind: OpRead, Path: f.name, Offset: off, Len: len(b)})
	if err != nil {
		return 0, err
	}
	n, err := read()
	if fault.Flip != nil {
		fault.Flip(b[:n])
	}
	return n, err
}

func (f *faultyFile) Read(b []byte) (int, error) {
	return f.read(b, -1, func() (int, error) { return f.File.Read(b) })
}

func (f *faultyFile) ReadAt(b []byte, off int64) (int, error) {
	return f.read(b, off, func() (int, error) { return f.File.ReadAt(b, off) })
}

func (f *faultyFile) write(b []byte, off int64, write func([]byte) (int, error)) (int, error) {
	fault, err := injectIO(f.inj, Op{Kind: OpWrite, Path: f.name, Offset: off, Len: len(b)})
	if err == nil {
		return write(b)
	}
	if short := min(fault.Short, len(b)); short > 0 {
		n, werr := write(b[:short])
		if werr != nil {
			err = werr
		}
		return n, err
	}
	return 0, err
}

func (f *faultyFile) Write(b []byte) (int, error) { return f.write(b, -1, f.File.Write) }

func (f *faultyFile) WriteAt(b []byte, off int64) (int, error) {
	return f.write(b, off, func(b []byte) (int, error) { return f.File.WriteAt(b, off) })
}

func (f *faultyFile) Sync() error {
	if err := inject(f.inj, Op{Kind: OpSync, Path: f.name}); err != nil {
		return err
	}
	return f.File.Sync()
}

func (f *faultyFile) Truncate(size int64) error {
	if err := inject(f.inj, Op{Kind: OpTruncate, Path: f.name}); err != nil {
		return err
	}
	return f.File.Truncate(size)
}

func (f *faultyFile) Allocate(size int64) error {
	if err := inject(f.inj, Op{Kind: OpAllocate, Path: f.name, Len: int(size)}); err != nil {
		return err
	}
	return f.File.Allocate(size)
}
