package transport

import (
	"errors"
	"fmt"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// ErrNoListener: no listener of that name is open.
var ErrNoListener = errors.New("transport: no such listener")

// Attach makes a connection to the listener of that name that did not come
// through its socket, and returns its other end: what is written there is what
// a client would have sent, TLS and all. It must begin with a PROXY protocol
// header, which says who the client is, whatever [Listener.ProxyProtocol] says:
// the caller answers for it. via is who brings it, for [Info.Peer].
func (s *Server) Attach(name string, via net.Addr) (*net.UnixConn, error) {
	l := s.listener(name)
	if l == nil {
		return nil, fmt.Errorf("%w: %q", ErrNoListener, name)
	}
	ours, theirs, err := socketPair()
	if err != nil {
		return nil, fmt.Errorf("transport: %w", err)
	}
	if !s.admit(l) {
		l.refused.Add(1)
		ours.Close()
		theirs.Close()
		l.warn(s.log, "connection limit reached, refusing", "relayed by", via)
		return nil, errors.New("transport: connection limit reached")
	}
	l.accepted.Add(1)
	t := &Conn{lst: l, attached: true, info: Info{Listener: l.Name, Local: l.ln.Addr(), Remote: via, Peer: via, Opened: time.Now()}}
	if err := s.hand(t, ours); err != nil {
		theirs.Close()
		return nil, err
	}
	return theirs, nil
}

// listener is the open one of that name, or nil.
func (s *Server) listener(name string) *listener {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing {
		return nil
	}
	for _, l := range s.listeners {
		if l.Name == name {
			return l
		}
	}
	return nil
}

// socketPair makes two sockets that are connected to each other.
func socketPair() (a, b *net.UnixConn, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	if a, err = unixConn(fds[0]); err != nil {
		_ = unix.Close(fds[1])
		return nil, nil, err
	}
	if b, err = unixConn(fds[1]); err != nil {
		a.Close()
		return nil, nil, err
	}
	return a, b, nil
}

// unixConn takes fd over.
func unixConn(fd int) (*net.UnixConn, error) {
	f := os.NewFile(uintptr(fd), "socketpair")
	defer f.Close() // FileConn has a duplicate
	c, err := net.FileConn(f)
	if err != nil {
		return nil, err
	}
	return c.(*net.UnixConn), nil
}
