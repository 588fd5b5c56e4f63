package transport

import (
	"errors"
	"math"
	"net"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// setReadable changes what gnet's epoll set watches of fd. A paused connection is not watched for output either: when
// gnet itself finishes a flush it takes up reading again, so the loop's stall check flushes paused connections.
func setReadable(epfd, fd int, on, pending bool) {
	ev := unix.EpollEvent{Fd: int32(fd)}
	if on {
		ev.Events = unix.EPOLLIN | unix.EPOLLPRI
		if pending {
			ev.Events |= unix.EPOLLOUT
		}
	}
	_ = unix.EpollCtl(epfd, unix.EPOLL_CTL_MOD, fd, &ev)
}

// listenConfig has the listening socket keep alive: those it accepts inherit that, which saves four system calls for
// each.
func listenConfig(network string) net.ListenConfig {
	lc := net.ListenConfig{KeepAlive: -1}
	if network != "unix" {
		lc.Control = func(_, _ string, c syscall.RawConn) error {
			var err error
			set := func(fd uintptr) {
				err = errors.Join(
					unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1),
					unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, int(keepAliveIdle/time.Second)),
					unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, int(keepAliveInterval/time.Second)),
					unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_KEEPCNT, keepAliveCount),
				)
			}
			return errors.Join(c.Control(set), err)
		}
	}
	return lc
}

// kernelUnsent is how many bytes the kernel has taken and the peer has not; 0 if it does not say.
func kernelUnsent(fd int) int {
	n, err := unix.IoctlGetInt(fd, unix.SIOCOUTQ)
	if err != nil {
		return 0
	}
	return n
}

// setUserTimeout bounds how long sent data may stay unacknowledged and a closed window may stay closed. The kernel would
// go on for a quarter of an hour, or without end. An error means a socket that has no such option.
func setUserTimeout(fd int, d time.Duration) {
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(min(d.Milliseconds(), math.MaxInt32)))
}
