package main

import (
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// hangUp ends every connection of this process at once. A process whose disk
// hangs cannot end while a thread of it waits for that disk, and would keep its
// connections open, silent, until clients lose patience.
func hangUp() {
	open, err := os.ReadDir("/dev/fd")
	if err != nil {
		return // the process ends all the same
	}
	for _, e := range open {
		if fd, err := strconv.Atoi(e.Name()); err == nil && fd > 2 {
			_ = unix.Shutdown(fd, unix.SHUT_RDWR) // most are no sockets
		}
	}
}
