package vfs

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// errIsDir and errNotDir are what the operating system says too.
var (
	errIsDir  = syscall.EISDIR
	errNotDir = syscall.ENOTDIR
)

// MemFS is a file system in memory that remembers what a power failure would
// keep. Relative names start at its root. It has no permissions and no links.
type MemFS struct {
	mu       sync.Mutex
	root     *memNode
	pending  []dirOp         // directory operations not yet synced, oldest first
	locked   map[string]bool // by clean path
	capacity int64           // FreeBytes of an empty file system
}

// memNode is a directory (entries != nil) or a file.
type memNode struct {
	entries map[string]*memNode // as seen now
	kept    map[string]*memNode // as after a crash
	data    memData
	modTime time.Time
}

// dirOp is one unsynced change of directory entries. A rename is one dirOp, so
// that a crash keeps or loses it whole.
type dirOp struct {
	from, to         *memNode // directories; nil where there is nothing to remove or add
	fromName, toName string
	node             *memNode
}

// NewMem returns an empty MemFS.
func NewMem() *MemFS {
	return &MemFS{root: newMemDir(), locked: map[string]bool{}, capacity: 1 << 40}
}

func newMemDir() *memNode {
	return &memNode{entries: map[string]*memNode{}, kept: map[string]*memNode{}, modTime: time.Now()}
}

func (n *memNode) isDir() bool { return n.entries != nil }

// SetCapacity sets the FreeBytes that an empty file system reports. It does not
// make writes fail; NoSpaceAfter does.
func (m *MemFS) SetCapacity(bytes int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.capacity = bytes
}

func elements(name string) []string {
	clean := strings.Trim(path.Clean("/"+name), "/")
	if clean == "" {
		return nil
	}
	return strings.Split(clean, "/")
}

func pathErr(op, name string, err error) error {
	return &fs.PathError{Op: op, Path: name, Err: err}
}

func (m *MemFS) lookup(name string) (*memNode, error) {
	n := m.root
	for _, el := range elements(name) {
		if !n.isDir() {
			return nil, errNotDir
		}
		next, ok := n.entries[el]
		if !ok {
			return nil, fs.ErrNotExist
		}
		n = next
	}
	return n, nil
}

// parent returns the directory that holds name, and name's last element.
func (m *MemFS) parent(name string) (*memNode, string, error) {
	els := elements(name)
	if len(els) == 0 {
		return nil, "", errIsDir
	}
	dir, err := m.lookup(strings.Join(els[:len(els)-1], "/"))
	if err != nil {
		return nil, "", err
	}
	if !dir.isDir() {
		return nil, "", errNotDir
	}
	return dir, els[len(els)-1], nil
}

// do performs op now and remembers that no sync has covered it yet.
func (m *MemFS) do(op dirOp) {
	op.apply(func(dir *memNode) map[string]*memNode { return dir.entries })
	m.pending = append(m.pending, op)
}

func (op dirOp) apply(view func(*memNode) map[string]*memNode) {
	// Only this node's own entry goes: when an earlier operation was lost in a
	// crash, the name may stand for another file.
	if op.from != nil && view(op.from)[op.fromName] == op.node {
		delete(view(op.from), op.fromName)
	}
	if op.to != nil {
		view(op.to)[op.toName] = op.node
	}
}

func (m *MemFS) Open(name string) (File, error) { return m.OpenFile(name, os.O_RDONLY, 0) }

func (m *MemFS) Create(name string) (File, error) {
	return m.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
}

func (m *MemFS) OpenFile(name string, flag int, _ fs.FileMode) (File, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	dir, base, err := m.parent(name)
	if err != nil {
		return nil, pathErr("open", name, err)
	}
	writes := flag&(os.O_WRONLY|os.O_RDWR) != 0
	n, ok := dir.entries[base]
	switch {
	case ok && flag&(os.O_CREATE|os.O_EXCL) == os.O_CREATE|os.O_EXCL:
		return nil, pathErr("open", name, fs.ErrExist)
	case ok && n.isDir():
		return nil, pathErr("open", name, errIsDir)
	case !ok && flag&os.O_CREATE == 0:
		return nil, pathErr("open", name, fs.ErrNotExist)
	case !ok:
		n = &memNode{modTime: time.Now()}
		m.do(dirOp{to: dir, toName: base, node: n})
	case writes && flag&os.O_TRUNC != 0:
		n.data.truncate(0)
	}
	return &memFile{fs: m, node: n, name: name, flag: flag}, nil
}

func (m *MemFS) Remove(name string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	dir, base, err := m.parent(name)
	if err != nil {
		return pathErr("remove", name, err)
	}
	n, ok := dir.entries[base]
	if !ok {
		return pathErr("remove", name, fs.ErrNotExist)
	}
	if n.isDir() && len(n.entries) > 0 {
		return pathErr("remove", name, syscall.ENOTEMPTY)
	}
	m.do(dirOp{from: dir, fromName: base, node: n})
	return nil
}

func (m *MemFS) Rename(old, new string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	from, fromName, err := m.parent(old)
	if err != nil {
		return &os.LinkError{Op: "rename", Old: old, New: new, Err: err}
	}
	to, toName, err := m.parent(new)
	if err != nil {
		return &os.LinkError{Op: "rename", Old: old, New: new, Err: err}
	}
	n, ok := from.entries[fromName]
	if !ok {
		return &os.LinkError{Op: "rename", Old: old, New: new, Err: fs.ErrNotExist}
	}
	if over, ok := to.entries[toName]; ok && over == n {
		return nil
	} else if ok && (over.isDir() || n.isDir()) {
		return &os.LinkError{Op: "rename", Old: old, New: new, Err: fs.ErrExist}
	}
	m.do(dirOp{from: from, fromName: fromName, to: to, toName: toName, node: n})
	return nil
}

func (m *MemFS) MkdirAll(dir string, _ fs.FileMode) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := m.root
	for _, el := range elements(dir) {
		next, ok := n.entries[el]
		if !ok {
			next = newMemDir()
			n.entries[el] = next
			n.kept[el] = next
		}
		if !next.isDir() {
			return pathErr("mkdir", dir, errNotDir)
		}
		n = next
	}
	return nil
}

func (m *MemFS) ReadDir(dir string) ([]string, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n, err := m.lookup(dir)
	if err == nil && !n.isDir() {
		err = errNotDir
	}
	if err != nil {
		return nil, pathErr("readdir", dir, err)
	}
	names := make([]string, 0, len(n.entries))
	for name := range n.entries {
		names = append(names, name)
	}
	slices.Sort(names)
	return names, nil
}

func (m *MemFS) Stat(name string) (fs.FileInfo, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n, err := m.lookup(name)
	if err != nil {
		return nil, pathErr("stat", name, err)
	}
	return memInfo{name: path.Base(name), size: n.data.size, dir: n.isDir(), modTime: n.modTime}, nil
}

func (m *MemFS) SyncDir(dir string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	n, err := m.lookup(dir)
	if err == nil && !n.isDir() {
		err = errNotDir
	}
	if err != nil {
		return pathErr("sync", dir, err)
	}
	m.pending = slices.DeleteFunc(m.pending, func(op dirOp) bool {
		if op.from != n && op.to != n {
			return false
		}
		op.apply(func(dir *memNode) map[string]*memNode { return dir.kept })
		return true
	})
	return nil
}

func (m *MemFS) FreeBytes(dir string) (uint64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if _, err := m.lookup(dir); err != nil {
		return 0, pathErr("statfs", dir, err)
	}
	if used := m.root.used(); used < m.capacity {
		return uint64(m.capacity - used), nil
	}
	return 0, nil
}

func (n *memNode) used() int64 {
	sum := n.data.size
	for _, e := range n.entries {
		sum += e.used()
	}
	return sum
}

func (m *MemFS) Lock(name string) (io.Closer, error) {
	f, err := m.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	_ = f.Close() // cannot fail: nobody else has it
	m.mu.Lock()
	defer m.mu.Unlock()
	key := path.Clean("/" + name)
	if m.locked[key] {
		return nil, fmt.Errorf("lock %s: held by another process: %w", name, syscall.EWOULDBLOCK)
	}
	m.locked[key] = true
	return &memLock{fs: m, key: key}, nil
}

type memLock struct {
	fs   *MemFS
	key  string
	once sync.Once
}

func (l *memLock) Close() error {
	err := errors.New("lock already closed")
	l.once.Do(func() {
		l.fs.mu.Lock()
		defer l.fs.mu.Unlock()
		delete(l.fs.locked, l.key)
		err = nil
	})
	return err
}

type memInfo struct {
	name    string
	size    int64
	dir     bool
	modTime time.Time
}

func (i memInfo) Name() string       { return i.name }
func (i memInfo) Size() int64        { return i.size }
func (i memInfo) ModTime() time.Time { return i.modTime }
func (i memInfo) IsDir() bool        { return i.dir }
func (i memInfo) Sys() any           { return nil }

func (i memInfo) Mode() fs.FileMode {
	if i.dir {
		return fs.ModeDir | 0o700
	}
	return 0o600
}
