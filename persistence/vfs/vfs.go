// Package vfs is the seam between everything that Hermod keeps on disk and the
// file system, so that tests can pull the plug.
//
// There are three implementations of [FS]. [OS] is the operating system's.
// [MemFS] lives in memory and knows which pages and directory entries a power
// failure would have kept: [MemFS.CrashClone] returns the file system as it
// could look after one. [Faulty] wraps either and makes chosen operations
// fail, write short, run out of space, flip bits or hang.
//
// What a caller may rely on after a crash, and no more:
//
//   - File.Sync keeps the file's bytes and size. It does not keep the name.
//   - SyncDir keeps creations, renames and removals in that directory.
//   - MkdirAll keeps the directories it made, without a further call.
//   - Everything else survives by chance: each page, each sector of a page,
//     each file size and each directory operation on its own. A rename is
//     never seen half done.
//
// An FS and its Files are safe for concurrent use, except that Read and Write
// of one File share its position. Names are slash-separated paths.
package vfs

import (
	"io"
	"io/fs"
)

// FS is a file system. Errors wrap fs.ErrNotExist, fs.ErrExist and
// syscall.ENOSPC where these apply.
type FS interface {
	// Open opens name for reading.
	Open(name string) (File, error)

	// Create creates name for reading and writing. It fails with fs.ErrExist
	// if there is one: files are never overwritten by accident.
	Create(name string) (File, error)

	// OpenFile opens name with the os.O_ flags; perm is for O_CREATE.
	OpenFile(name string, flag int, perm fs.FileMode) (File, error)

	// Remove removes a file or an empty directory.
	Remove(name string) error

	// Rename moves old to new atomically and replaces a file of that name.
	Rename(old, new string) error

	// MkdirAll creates dir and its missing parents, durably.
	MkdirAll(dir string, perm fs.FileMode) error

	// ReadDir returns the sorted names of the entries of dir.
	ReadDir(dir string) ([]string, error)

	// Stat describes name.
	Stat(name string) (fs.FileInfo, error)

	// SyncDir makes the entries of dir durable.
	SyncDir(dir string) error

	// FreeBytes is the space an unprivileged writer has left on dir's volume.
	FreeBytes(dir string) (uint64, error)

	// Lock creates name if need be and locks it against every other holder, in
	// this process or another, until the Closer is closed or the process ends.
	// It fails at once if somebody else holds it. The file stays.
	Lock(name string) (io.Closer, error)
}

// File is an open file.
type File interface {
	io.Reader
	io.ReaderAt
	io.Writer
	io.WriterAt
	io.Closer

	// Sync makes the file's bytes and size durable (fdatasync where the system
	// has it). After an error the state of the file is unknown: never retry,
	// the kernel may have dropped the pages and report success the next time.
	Sync() error

	// Truncate sets the size; bytes beyond the old one read as zero.
	Truncate(size int64) error

	// Size is the size in bytes.
	Size() (int64, error)

	// Allocate reserves space for the first size bytes and grows the file to
	// at least that; new bytes read as zero. Where the system cannot reserve,
	// it only grows the file.
	Allocate(size int64) error
}
