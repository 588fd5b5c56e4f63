package vfs

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// Direct is the flag of OpenFile for a file whose writes go past the page
// cache, in blocks that are aligned in the file and in memory. Some file systems
// refuse it with EINVAL. Other readers of the file see what was written.
const Direct = unix.O_DIRECT

// Sync is fdatasync: it flushes the size when the size changed, and spares the
// journal commit for the modification time.
func (f osFile) Sync() error {
	return f.control("fdatasync", func(fd int) error { return unix.Fdatasync(fd) })
}

func (f osFile) Allocate(size int64) error {
	err := f.control("fallocate", func(fd int) error { return unix.Fallocate(fd, 0, 0, size) })
	if !errors.Is(err, unix.EOPNOTSUPP) && !errors.Is(err, unix.ENOSYS) {
		return err
	}
	return f.grow(size)
}

// control runs call on the descriptor, which cannot be closed meanwhile, and
// repeats it when a signal interrupts it.
func (f osFile) control(op string, call func(fd int) error) error {
	conn, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var callErr error
	err = conn.Control(func(fd uintptr) {
		for {
			if callErr = call(int(fd)); callErr != unix.EINTR {
				return
			}
		}
	})
	if err != nil { // the only reason Control itself gives
		return &os.PathError{Op: op, Path: f.Name(), Err: os.ErrClosed}
	}
	if callErr != nil {
		return &os.PathError{Op: op, Path: f.Name(), Err: callErr}
	}
	return nil
}
