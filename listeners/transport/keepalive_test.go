//go:build linux

package transport

import (
	"net"
	"testing"

	"golang.org/x/sys/unix"
)

// TestKeepAliveInherited: what is accepted keeps alive as the listening socket
// was told to.
func TestKeepAliveInherited(t *testing.T) {
	l := Listener{Network: "tcp", Address: "127.0.0.1:0"}
	ln, err := listen(&l)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	out, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	in, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	raw, err := in.(*net.TCPConn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range []struct{ level, name, want int }{
		{unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1},
		{unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, 60},
		{unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, 15},
		{unix.IPPROTO_TCP, unix.TCP_KEEPCNT, 4},
		{unix.IPPROTO_TCP, unix.TCP_NODELAY, 1},
	} {
		var got int
		if cerr := raw.Control(func(fd uintptr) { got, err = unix.GetsockoptInt(int(fd), o.level, o.name) }); cerr != nil || err != nil || got != o.want {
			t.Errorf("option %d is %d, want %d (%v, %v)", o.name, got, o.want, cerr, err)
		}
	}
}
