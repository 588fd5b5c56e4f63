package transport

import (
	"crypto/tls"
	"errors"
	"net"
	"net/netip"
	"testing"
)

func TestAttach(t *testing.T) {
	infos := make(chan Info, 1)
	s, _ := echoServer(t, Options{}, Listener{Name: "secure", MaxConnections: 1, TLS: serverTLS(tls.VersionTLS13)}, func() *frames {
		return &frames{start: func(f *frames) { infos <- *f.Info() }}
	})
	via := &net.TCPAddr{IP: net.IPv4(192, 0, 2, 9), Port: 5680}
	src, dst := &net.TCPAddr{IP: net.IPv4(203, 0, 113, 7), Port: 40000}, &net.TCPAddr{IP: net.IPv4(203, 0, 113, 8), Port: 5671}
	c, err := s.Attach("secure", via)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	send(t, c, AppendProxyHeader(nil, src, dst))
	echo(t, tls.Client(c, clientTLS()))
	info := await(t, "Start", infos)
	if info.Remote.String() != src.String() || info.Local.String() != dst.String() || info.Peer != via || info.TLS == nil || info.Listener != "secure" {
		t.Errorf("info: %+v", info)
	}
	// The listener's limit counts for it, too.
	if _, err := s.Attach("secure", via); err == nil {
		t.Error("a connection beyond the limit")
	}
	if st := s.Stats()[0]; st.Open != 1 || st.Accepted != 1 || st.Refused != 1 {
		t.Errorf("stats: %+v", st)
	}
	c.Close()
	eventually(t, "the end of the session", func() bool { return s.Connections() == 0 })
	if _, err := s.Attach("none", via); !errors.Is(err, ErrNoListener) {
		t.Errorf("an unknown listener: %v", err)
	}
}

// What does not say who the client is, is refused.
func TestAttachDemandsAHeader(t *testing.T) {
	ends := make(chan error, 1)
	s, _ := echoServer(t, Options{}, Listener{Name: "plain"}, func() *frames {
		return &frames{closed: func(_ *frames, err error) { ends <- err }}
	})
	c, err := s.Attach("plain", &net.TCPAddr{IP: net.IPv4(192, 0, 2, 9), Port: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	send(t, c, []byte("AMQP\x00\x00\x09\x01"))
	if err := await(t, "Closed", ends); !errors.Is(err, ErrProxyHeader) {
		t.Errorf("closed: %v", err)
	}
}

func TestAppendProxyHeader(t *testing.T) {
	tcp := func(ip string, port int) net.Addr { return &net.TCPAddr{IP: net.ParseIP(ip), Port: port} }
	for _, c := range []struct {
		src, dst         net.Addr
		wantSrc, wantDst string
	}{
		{tcp("192.0.2.1", 1), tcp("198.51.100.2", 65535), "192.0.2.1:1", "198.51.100.2:65535"},
		{tcp("2001:db8::1", 7), tcp("2001:db8::2", 8), "[2001:db8::1]:7", "[2001:db8::2]:8"},
		{tcp("2001:db8::1", 7), tcp("192.0.2.1", 8), "[2001:db8::1]:7", "192.0.2.1:8"},
		{&net.UnixAddr{Name: "x", Net: "unix"}, tcp("192.0.2.1", 8), "", ""},
	} {
		p := AppendProxyHeader([]byte("before"), c.src, c.dst)
		h, n, err := parseProxy(p[len("before"):])
		if err != nil || n != len(p)-len("before") {
			t.Errorf("%v to %v: %d of %d bytes, %v", c.src, c.dst, n, len(p), err)
			continue
		}
		var src, dst string
		if h.src != nil {
			src, dst = h.src.String(), h.dst.String()
		}
		if src != c.wantSrc || dst != c.wantDst {
			t.Errorf("%v to %v arrives as %s to %s", c.src, c.dst, src, dst)
		}
	}
}

func TestOnlyTrustedProxiesAreHeard(t *testing.T) {
	for network, trusted := range map[string]bool{"127.0.0.0/8": true, "192.0.2.0/24": false} {
		s, addr := echoServer(t, Options{}, Listener{
			Name: "trust", ProxyProtocol: true, ProxyTrusted: []netip.Prefix{netip.MustParsePrefix(network)},
		}, func() *frames { return &frames{} })
		c := dial(t, addr)
		if trusted {
			send(t, c, []byte(proxyCases[0].in))
			echo(t, c)
			continue
		}
		if _, err := c.Read(make([]byte, 1)); err == nil {
			t.Error("a stranger is answered")
		}
		if st := s.Stats()[0]; st.Refused != 1 || st.Accepted != 0 {
			t.Errorf("stats: %+v", st)
		}
	}
	mapped := &net.TCPAddr{IP: net.ParseIP("::ffff:10.1.2.3"), Port: 1}
	if !TrustsProxy([]netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}, mapped) {
		t.Error("an IPv4 address on an IPv6 socket is not known again")
	}
}
