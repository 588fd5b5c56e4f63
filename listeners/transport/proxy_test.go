package transport

import (
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"net"
	"strings"
	"testing"
)

// v2 builds a version 2 header: version and command, family and transport, body.
func v2(command, family byte, body ...byte) string {
	p := append(bytes.Clone(proxySignature), command, family)
	return string(append(binary.BigEndian.AppendUint16(p, uint16(len(body))), body...))
}

var (
	ipv4Block = []byte{192, 0, 2, 1, 198, 51, 100, 2, 0xdc, 0x04, 0x01, 0xbb}
	ipv6Block = append(append(net.ParseIP("2001:db8::1"), net.ParseIP("2001:db8::2")...), 0xdc, 0x04, 0x01, 0xbb)
	unixBlock = func() []byte {
		b := make([]byte, 216)
		copy(b, "/run/client")
		copy(b[108:], "\x00abstract")
		return b
	}()
)

var proxyCases = []struct {
	name, in string
	src, dst string // empty: the socket's
	bad      bool
}{
	{"v1 TCP4", "PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\r\n", "192.0.2.1:56324", "198.51.100.2:443", false},
	{"v1 TCP6", "PROXY TCP6 2001:db8::1 2001:db8::2 1 65535\r\n", "[2001:db8::1]:1", "[2001:db8::2]:65535", false},
	{"v1 UNKNOWN", "PROXY UNKNOWN\r\n", "", "", false},
	{"v1 UNKNOWN with addresses", "PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n", "", "", false},
	{"v1 longest", "PROXY UNKNOWN " + strings.Repeat("f", 107-16) + "\r\n", "", "", false},
	{"v1 too long", "PROXY UNKNOWN " + strings.Repeat("f", 108-16) + "\r\n", "", "", true},
	{"v1 without end", "PROXY TCP4 " + strings.Repeat("1", 107), "", "", true},
	{"v1 LF only", "PROXY TCP4 192.0.2.1 198.51.100.2 56324 443\n", "", "", true},
	{"v1 CR within", "PROXY TCP4 192.0.2.1 198.51.100.2 56324 4\r43\r\n", "", "", true},
	{"v1 two spaces", "PROXY TCP4  192.0.2.1 198.51.100.2 56324 443\r\n", "", "", true},
	{"v1 trailing space", "PROXY TCP4 192.0.2.1 198.51.100.2 56324 443 \r\n", "", "", true},
	{"v1 too few fields", "PROXY TCP4 192.0.2.1 198.51.100.2 56324\r\n", "", "", true},
	{"v1 empty", "PROXY \r\n", "", "", true},
	{"v1 lower case", "proxy TCP4 192.0.2.1 198.51.100.2 56324 443\r\n", "", "", true},
	{"v1 family mismatch", "PROXY TCP4 2001:db8::1 2001:db8::2 1 2\r\n", "", "", true},
	{"v1 mixed families", "PROXY TCP6 2001:db8::1 192.0.2.1 1 2\r\n", "", "", true},
	{"v1 zone", "PROXY TCP6 fe80::1%eth0 2001:db8::2 1 2\r\n", "", "", true},
	{"v1 name", "PROXY TCP4 localhost 198.51.100.2 1 2\r\n", "", "", true},
	{"v1 octal address", "PROXY TCP4 192.0.02.1 198.51.100.2 1 2\r\n", "", "", true},
	{"v1 port too large", "PROXY TCP4 192.0.2.1 198.51.100.2 65536 2\r\n", "", "", true},
	{"v1 port with zero", "PROXY TCP4 192.0.2.1 198.51.100.2 01 2\r\n", "", "", true},
	{"v1 signed port", "PROXY TCP4 192.0.2.1 198.51.100.2 +1 2\r\n", "", "", true},
	{"v1 UDP", "PROXY UDP4 192.0.2.1 198.51.100.2 1 2\r\n", "", "", true},
	{"no header", "AMQP\x00\x00\x09\x01", "", "", true},
	{"v2 TCP4", v2(0x21, 0x11, ipv4Block...), "192.0.2.1:56324", "198.51.100.2:443", false},
	{"v2 TCP6", v2(0x21, 0x21, ipv6Block...), "[2001:db8::1]:56324", "[2001:db8::2]:443", false},
	{"v2 unix", v2(0x21, 0x31, unixBlock...), "/run/client", "abstract", false},
	{"v2 TLVs", v2(0x21, 0x11, append(bytes.Clone(ipv4Block), 4, 0, 1, 0)...), "192.0.2.1:56324", "198.51.100.2:443", false},
	{"v2 LOCAL", v2(0x20, 0x00), "", "", false},
	{"v2 LOCAL with addresses", v2(0x20, 0x11, ipv4Block...), "", "", false},
	{"v2 UNSPEC", v2(0x21, 0x00, 1, 2, 3), "", "", false},
	{"v2 longest", v2(0x21, 0x11, append(bytes.Clone(ipv4Block), make([]byte, 520-12)...)...), "192.0.2.1:56324", "198.51.100.2:443", false},
	{"v2 too long", v2(0x21, 0x11, append(bytes.Clone(ipv4Block), make([]byte, 521-12)...)...), "", "", true},
	{"v2 short IPv4", v2(0x21, 0x11, ipv4Block[:11]...), "", "", true},
	{"v2 short IPv6", v2(0x21, 0x21, ipv4Block...), "", "", true},
	{"v2 short unix", v2(0x21, 0x31, unixBlock[:215]...), "", "", true},
	{"v2 UDP", v2(0x21, 0x12, ipv4Block...), "", "", true},
	{"v2 version 1", v2(0x11, 0x11, ipv4Block...), "", "", true},
	{"v2 version 3", v2(0x31, 0x11, ipv4Block...), "", "", true},
	{"v2 command 2", v2(0x22, 0x11, ipv4Block...), "", "", true},
	{"v2 unknown family", v2(0x21, 0x41, ipv4Block...), "", "", true},
	{"v2 broken signature", "\r\n\r\n\x00\r\nQUIX\n", "", "", true},
}

func TestProxyHeaders(t *testing.T) {
	for _, c := range proxyCases {
		t.Run(c.name, func(t *testing.T) {
			in := []byte(c.in)
			h, n, err := parseProxy(append(in, "rest"...))
			if c.bad {
				if !errors.Is(err, ErrProxyHeader) || n != 0 {
					t.Errorf("n %d, error %v", n, err)
				}
				return
			}
			if err != nil || n != len(in) {
				t.Fatalf("n %d, want %d, error %v", n, len(in), err)
			}
			if c.src == "" {
				if h.src != nil || h.dst != nil {
					t.Errorf("got %v, %v", h.src, h.dst)
				}
			} else if h.src.String() != c.src || h.dst.String() != c.dst {
				t.Errorf("got %v, %v", h.src, h.dst)
			}
			for i := range in { // every strict prefix needs more
				if _, n, err := parseProxy(in[:i]); n != 0 || err != nil {
					t.Fatalf("prefix of %d: n %d, error %v", i, n, err)
				}
			}
		})
	}
}

func FuzzProxyHeader(f *testing.F) {
	for _, c := range proxyCases {
		f.Add([]byte(c.in))
	}
	f.Fuzz(func(t *testing.T, p []byte) {
		h, n, err := parseProxy(p)
		switch {
		case n < 0 || n > len(p) || n > proxyMaxV2:
			t.Fatalf("n %d of %d", n, len(p))
		case err != nil && (n != 0 || !errors.Is(err, ErrProxyHeader)):
			t.Fatalf("n %d, error %v", n, err)
		case err == nil && n == 0 && len(p) >= proxyMaxV2:
			t.Fatal("needs more than the maximum")
		case (h.src == nil) != (h.dst == nil):
			t.Fatal("half an address pair")
		}
		if n == 0 {
			return
		}
		if _, again, err := parseProxy(p[:n]); again != n || err != nil {
			t.Fatalf("exactly the header: n %d, want %d, error %v", again, n, err)
		}
	})
}

func TestProxyConnections(t *testing.T) {
	for _, c := range proxyCases {
		for _, whole := range []bool{true, false} {
			info, ends := Info{}, make(chan error, 1)
			started := make(chan struct{}, 1)
			s := &frames{
				start:  func(f *frames) { info = *f.Info(); started <- struct{}{} },
				closed: func(_ *frames, err error) { ends <- err },
			}
			m := NewManual(epoch)
			own := &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1}
			p := m.open(s, Info{Remote: own, Peer: own, Local: own}, Listener{ProxyProtocol: true})
			in := []byte(c.in + string(frame('x')))
			if whole {
				p.Send(in)
			} else {
				for i := range in {
					p.Send(in[i : i+1])
				}
			}
			if c.bad {
				if err := await(t, "Closed", ends); !errors.Is(err, ErrProxyHeader) || len(started) > 0 {
					t.Errorf("%s: closed: %v", c.name, err)
				}
				continue
			}
			if got := p.Output(); !bytes.Equal(got, frame('x')) {
				t.Errorf("%s: echo: %q", c.name, got)
			}
			if info.Peer != own {
				t.Errorf("%s: peer %v", c.name, info.Peer)
			}
			if c.src == "" && info.Remote != own || c.src != "" && info.Remote.String() != c.src {
				t.Errorf("%s: remote %v", c.name, info.Remote)
			}
		}
	}
}

func TestProxyBeforeTLS(t *testing.T) {
	infos := make(chan Info, 1)
	_, addr := echoServer(t, Options{}, Listener{Name: "both", ProxyProtocol: true, TLS: serverTLS(tls.VersionTLS13)}, func() *frames {
		return &frames{start: func(f *frames) { infos <- *f.Info() }}
	})
	c := dial(t, addr)
	send(t, c, []byte(proxyCases[0].in))
	echo(t, tls.Client(c, clientTLS()))
	info := await(t, "Start", infos)
	if info.Remote.String() != proxyCases[0].src || info.TLS == nil || info.Peer.String() != c.LocalAddr().String() {
		t.Errorf("info: %+v", info)
	}
}
