package admin

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
)

// maxSocketPath is what sockaddr_un holds, less the closing NUL.
const maxSocketPath = 107

// shortened runs f with a path to the socket that fits sockaddr_un: a data
// folder may lie deeper than a socket's address can say, so longer paths go
// through a descriptor of the folder.
func shortened(socket string, f func(path string) error) error {
	if len(socket) <= maxSocketPath {
		return f(socket)
	}
	dir, err := os.Open(filepath.Dir(socket))
	if err != nil {
		return err
	}
	defer dir.Close()
	return f(fmt.Sprintf("/proc/self/fd/%d/%s", dir.Fd(), filepath.Base(socket)))
}

func dialSocket(ctx context.Context, socket string) (conn net.Conn, err error) {
	err = shortened(socket, func(path string) error {
		var d net.Dialer
		conn, err = d.DialContext(ctx, "unix", path)
		return err
	})
	return conn, err
}

// Listen opens the socket of a data folder whose lock the caller holds, so
// that a socket left by a killed node can be replaced safely.
func Listen(dataDir string) (ln net.Listener, err error) {
	socket := filepath.Join(dataDir, SocketName)
	if err := os.Remove(socket); err != nil && !os.IsNotExist(err) {
		return nil, err
	}
	err = shortened(socket, func(path string) error {
		ln, err = net.Listen("unix", path)
		return err
	})
	if err != nil {
		return nil, err
	}
	return ln, os.Chmod(socket, 0o600)
}
