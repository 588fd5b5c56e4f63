package transport

import "net"

// Loopback reports whether the client is on this machine, as far as its address
// tells. i may be nil.
func (i *Info) Loopback() bool {
	if i == nil {
		return false
	}
	switch a := i.Remote.(type) {
	case *net.TCPAddr:
		return a.IP.IsLoopback()
	case *net.UnixAddr:
		return true
	}
	return false
}

// RemoteString is the client's address for people, "unknown" without one. i may
// be nil.
func (i *Info) RemoteString() string {
	if i == nil {
		return unknownAddr
	}
	return addrString(i.Remote)
}

// LocalString is the address that the client connected to, likewise.
func (i *Info) LocalString() string {
	if i == nil {
		return unknownAddr
	}
	return addrString(i.Local)
}

const unknownAddr = "unknown"

func addrString(a net.Addr) string {
	if a == nil {
		return unknownAddr
	}
	return a.String()
}

// SplitAddr is an address as host and port; the host of what has no port is all
// of it.
func SplitAddr(a net.Addr) (host string, port int) {
	if t, ok := a.(*net.TCPAddr); ok {
		return t.IP.String(), t.Port
	}
	return addrString(a), 0
}
