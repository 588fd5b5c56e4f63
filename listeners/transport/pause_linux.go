package transport

import "golang.org/x/sys/unix"

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
