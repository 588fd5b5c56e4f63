package transport

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// PROXY protocol, as HAProxy's proxy-protocol.txt specifies it (section numbers below are of that document).
const (
	proxyMaxV1 = 107 // 2.1: the longest line, CRLF included
	proxyMaxV2 = 536 // 2.2: what every receiver must be able to take; longer headers are refused
)

var proxySignature = []byte("\r\n\r\n\x00\r\nQUIT\n")

// proxyHeader is what a header says. Both addresses are nil when the proxy speaks for itself (LOCAL) or does not know
// (UNKNOWN, UNSPEC): those of the socket count then.
type proxyHeader struct{ src, dst net.Addr }

// proxyLayer collects a connection's header.
type proxyLayer struct{ buf []byte }

// decode returns what follows the header and takes itself out of the connection once that is complete.
func (x *proxyLayer) decode(t *Conn, p []byte) (rest []byte, err error) {
	had := len(x.buf)
	x.buf = append(x.buf, p[:min(len(p), proxyMaxV2-had)]...)
	h, n, err := parseProxy(x.buf)
	if err != nil || n == 0 {
		return nil, err
	}
	if h.src != nil {
		t.info.Remote, t.info.Local = h.src, h.dst
	}
	t.proxy = nil
	t.secure()
	return p[n-had:], nil
}

// parseProxy parses the header at the head of p and returns its length, or 0 if more bytes are needed. It never needs
// more than proxyMaxV2 bytes. Errors wrap ErrProxyHeader.
func parseProxy(p []byte) (h proxyHeader, n int, err error) {
	switch {
	case bytes.HasPrefix(p, proxySignature):
		return parseProxyV2(p)
	case bytes.HasPrefix(proxySignature, p) || len(p) < 6 && strings.HasPrefix("PROXY ", string(p)):
		return h, 0, nil
	case bytes.HasPrefix(p, []byte("PROXY ")):
		return parseProxyV1(p)
	}
	return h, 0, badProxy("no signature")
}

func badProxy(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrProxyHeader, fmt.Sprintf(format, args...))
}

// 2.1: "PROXY TCP4 192.0.2.1 192.0.2.2 56324 443\r\n", one space between fields, nothing else.
func parseProxyV1(p []byte) (h proxyHeader, n int, err error) {
	line := p[:min(len(p), proxyMaxV1)]
	end := bytes.IndexByte(line, '\n')
	switch {
	case end < 0 && len(line) == proxyMaxV1:
		return h, 0, badProxy("line longer than %d bytes", proxyMaxV1)
	case end < 0:
		return h, 0, nil
	case line[end-1] != '\r':
		return h, 0, badProxy("line without CR")
	}
	n = end + 1
	text := string(line[len("PROXY ") : end-1])
	if text == "UNKNOWN" || strings.HasPrefix(text, "UNKNOWN ") {
		return h, n, nil
	}
	f := strings.Split(text, " ")
	if len(f) != 5 || f[0] != "TCP4" && f[0] != "TCP6" {
		return h, 0, badProxy("malformed line")
	}
	v4 := f[0] == "TCP4"
	if h.src, err = proxyTCP(f[1], f[3], v4); err != nil {
		return proxyHeader{}, 0, err
	}
	if h.dst, err = proxyTCP(f[2], f[4], v4); err != nil {
		return proxyHeader{}, 0, err
	}
	return h, n, nil
}

func proxyTCP(host, port string, v4 bool) (net.Addr, error) {
	ip, err := netip.ParseAddr(host)
	if err != nil || ip.Is4() != v4 || ip.Zone() != "" {
		return nil, badProxy("bad address %q", host)
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil || strconv.FormatUint(n, 10) != port {
		return nil, badProxy("bad port %q", port)
	}
	return net.TCPAddrFromAddrPort(netip.AddrPortFrom(ip, uint16(n))), nil
}

// 2.2: signature, version and command, family and transport, length, addresses, TLVs (skipped).
func parseProxyV2(p []byte) (h proxyHeader, n int, err error) {
	if len(p) < 16 {
		return h, 0, nil
	}
	n = 16 + int(binary.BigEndian.Uint16(p[14:]))
	switch {
	case p[12]>>4 != 2:
		return h, 0, badProxy("version %d", p[12]>>4)
	case p[12]&15 > 1:
		return h, 0, badProxy("command %d", p[12]&15)
	case n > proxyMaxV2:
		return h, 0, badProxy("%d bytes, more than %d", n, proxyMaxV2)
	case len(p) < n:
		return h, 0, nil
	case p[12]&15 == 0 || p[13] == 0: // LOCAL, or a family the proxy does not know: the rest is not for us
		return h, n, nil
	}
	body := p[16:n]
	switch p[13] {
	case 0x11, 0x21: // TCP over IPv4, IPv6
		size := 4
		if p[13] == 0x21 {
			size = 16
		}
		if len(body) < 2*size+4 {
			return h, 0, badProxy("short address block")
		}
		h.src = proxyIP(body[:size], body[2*size:])
		h.dst = proxyIP(body[size:2*size], body[2*size+2:])
	case 0x31: // stream over a unix socket
		if len(body) < 216 {
			return h, 0, badProxy("short address block")
		}
		h.src, h.dst = proxyUnix(body[:108]), proxyUnix(body[108:216])
	default:
		return h, 0, badProxy("family and transport %#02x", p[13])
	}
	return h, n, nil
}

func proxyIP(ip, port []byte) net.Addr {
	a, _ := netip.AddrFromSlice(ip)
	return net.TCPAddrFromAddrPort(netip.AddrPortFrom(a, binary.BigEndian.Uint16(port)))
}

func proxyUnix(p []byte) net.Addr {
	if i := bytes.IndexByte(p[1:], 0); i >= 0 { // an abstract name begins with a zero
		p = p[:i+1]
	}
	if p[0] == 0 {
		p = p[1:]
	}
	return &net.UnixAddr{Name: string(p), Net: "unix"}
}

// TrustsProxy reports whether a proxy at address a may say who its clients are. An empty list trusts everybody.
func TrustsProxy(list []netip.Prefix, a net.Addr) bool {
	tcp, ok := a.(*net.TCPAddr)
	if !ok || len(list) == 0 {
		return true // a unix socket has permissions
	}
	ip := tcp.AddrPort().Addr().Unmap().WithZone("")
	return slices.ContainsFunc(list, func(p netip.Prefix) bool { return p.Contains(ip) })
}

// AppendProxyHeader appends a version 2 header that says that a connection goes
// from src to dst. Addresses that are not TCP's make it one that says nothing
// (UNSPEC).
func AppendProxyHeader(b []byte, src, dst net.Addr) []byte {
	b = append(b, proxySignature...)
	from, ok1 := src.(*net.TCPAddr)
	to, ok2 := dst.(*net.TCPAddr)
	if !ok1 || !ok2 {
		return append(b, 0x21, 0, 0, 0)
	}
	a, z := from.AddrPort().Addr().Unmap(), to.AddrPort().Addr().Unmap()
	family, size := byte(0x11), 4
	if !a.Is4() || !z.Is4() {
		family, size = 0x21, 16
	}
	b = append(b, 0x21, family)
	b = binary.BigEndian.AppendUint16(b, uint16(2*size+4))
	for _, ip := range []netip.Addr{a, z} {
		if size == 4 {
			b = append(b, ip.AsSlice()...)
		} else {
			full := ip.As16()
			b = append(b, full[:]...)
		}
	}
	b = binary.BigEndian.AppendUint16(b, uint16(from.Port))
	return binary.BigEndian.AppendUint16(b, uint16(to.Port))
}
