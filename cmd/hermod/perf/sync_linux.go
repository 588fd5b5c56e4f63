package perf

import (
	"os"
	"syscall"
)

// dataSync makes the file's data durable, and its metadata only as far as
// reading them needs it.
func dataSync(f *os.File) error {
	for {
		err := syscall.Fdatasync(int(f.Fd()))
		if err != syscall.EINTR {
			return os.NewSyscallError("fdatasync", err)
		}
	}
}
