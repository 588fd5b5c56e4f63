package cluster

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// volume is a small file system under a node's data folder, which can be
// filled up and emptied from outside.
type volume struct{ dir string }

// newVolume mounts an empty file system of size bytes at dir. The error says
// that this machine does not allow it.
func newVolume(dir string, size int64) (*volume, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%d,mode=0700", size)); err != nil {
		return nil, fmt.Errorf("mount a tmpfs at %s: %w", dir, err)
	}
	return &volume{dir}, nil
}

// Close unmounts; what it held is gone. No process may use it.
func (v *volume) Close() error { return unix.Unmount(v.dir, unix.MNT_DETACH) }

// left is how many bytes are free.
func (v *volume) left() (int64, error) {
	var st unix.Statfs_t
	err := unix.Statfs(v.dir, &st)
	return int64(st.Bavail) * st.Bsize, err
}

func (v *volume) ballast() string { return filepath.Join(v.dir, "ballast") }

// fill takes all but leave bytes away.
func (v *volume) fill(leave int64) error {
	f, err := os.OpenFile(v.ballast(), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	free, err := v.left()
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err != nil || free <= leave {
		return err
	}
	err = unix.Fallocate(int(f.Fd()), 0, info.Size(), free-leave)
	if leave == 0 && errors.Is(err, unix.ENOSPC) {
		return nil // somebody was quicker
	}
	return err
}

// empty gives the space back.
func (v *volume) empty() error { return os.Remove(v.ballast()) }
