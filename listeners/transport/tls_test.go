package transport

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"testing"
	"time"
)

// oneByOne delivers what is written to it in single bytes.
type oneByOne struct{ net.Conn }

func (c oneByOne) Write(p []byte) (int, error) {
	for i := range p {
		if _, err := c.Conn.Write(p[i : i+1]); err != nil {
			return i, err
		}
	}
	return len(p), nil
}

var tlsVersions = map[string]uint16{"TLS 1.2": tls.VersionTLS12, "TLS 1.3": tls.VersionTLS13}

// That crypto/tls goes on after an expired read deadline is what the TLS layer stands on.
func TestTLS_ByteAtATime(t *testing.T) {
	for name, version := range tlsVersions {
		t.Run(name, func(t *testing.T) {
			closed := make(chan error, 1)
			_, addr := echoServer(t, Options{}, Listener{Name: "tls", TLS: serverTLS(version)}, func() *frames {
				return &frames{closed: func(_ *frames, err error) { closed <- err }}
			})
			c := tls.Client(oneByOne{dial(t, addr)}, clientTLS())
			for range 5 {
				echo(t, c)
			}
			if got := c.ConnectionState().Version; got != version {
				t.Errorf("version %#x, want %#x", got, version)
			}
			if err := c.CloseWrite(); err != nil {
				t.Fatal(err)
			}
			if _, err := c.Read(make([]byte, 1)); err != io.EOF { // close_notify is answered
				t.Errorf("after close_notify: %v", err)
			}
			if err := await(t, "Closed", closed); !errors.Is(err, io.EOF) {
				t.Errorf("closed: %v", err)
			}
		})
	}
}

func TestTLS_BigFramesBothWays(t *testing.T) {
	_, addr := echoServer(t, Options{}, Listener{Name: "tls", TLS: serverTLS(tls.VersionTLS13)}, func() *frames { return new(frames) })
	c := tls.Client(dial(t, addr), clientTLS())
	big := frame(make([]byte, 9<<20)...)
	for i := range big[4:] {
		big[4+i] = byte(i * 7)
	}
	go func() { _, _ = c.Write(big) }()
	if got := read(t, c, len(big)); string(got) != string(big) {
		t.Error("the echo differs")
	}
	echo(t, c)
}

func TestTLS_ClientCertificate(t *testing.T) {
	cert, roots := certs()
	for name, version := range tlsVersions {
		t.Run(name, func(t *testing.T) {
			cfg := serverTLS(version)
			cfg.ClientAuth, cfg.ClientCAs = tls.RequireAndVerifyClientCert, roots
			infos, ends := make(chan Info, 2), make(chan error, 2)
			_, addr := echoServer(t, Options{}, Listener{Name: "mtls", TLS: cfg}, func() *frames {
				return &frames{
					start:  func(f *frames) { infos <- *f.Info() },
					closed: func(_ *frames, err error) { ends <- err },
				}
			})
			own := clientTLS()
			own.Certificates = []tls.Certificate{cert}
			c := tls.Client(dial(t, addr), own)
			echo(t, c)
			info := await(t, "Start", infos)
			if info.TLS == nil || len(info.TLS.VerifiedChains) == 0 || info.TLS.PeerCertificates[0].Subject.CommonName != "peer" {
				t.Errorf("TLS info: %+v", info.TLS)
			}

			bare := tls.Client(dial(t, addr), clientTLS())
			_, err := bare.Read(make([]byte, 1))
			var alert *net.OpError
			if !errors.As(err, &alert) || alert.Op != "remote error" { // our alert arrives, not a reset
				t.Errorf("without certificate: %v", err)
			}
			if err := await(t, "Closed", ends); err == nil || errors.Is(err, io.EOF) {
				t.Errorf("closed: %v", err)
			}
			if len(infos) > 0 {
				t.Error("session started without certificate")
			}
		})
	}
}

func TestTLS_UntrustedServerIsSeenByClientOnly(t *testing.T) {
	ends := make(chan error, 1)
	_, addr := echoServer(t, Options{}, Listener{Name: "tls", TLS: serverTLS(tls.VersionTLS13)}, func() *frames {
		return &frames{closed: func(_ *frames, err error) { ends <- err }}
	})
	err := tls.Client(dial(t, addr), &tls.Config{RootCAs: x509.NewCertPool(), ServerName: "localhost"}).Handshake()
	if err == nil {
		t.Error("handshake succeeded")
	}
	if err := await(t, "Closed", ends); err == nil {
		t.Error("closed without reason")
	}
}

func TestTLS_PlainTextIsRefused(t *testing.T) {
	ends := make(chan error, 1)
	_, addr := echoServer(t, Options{}, Listener{Name: "tls", TLS: serverTLS(tls.VersionTLS13)}, func() *frames {
		return &frames{closed: func(_ *frames, err error) { ends <- err }}
	})
	c := dial(t, addr)
	send(t, c, []byte("AMQP\x00\x00\x09\x01 and more of this"))
	if err := await(t, "Closed", ends); err == nil {
		t.Error("closed without reason")
	}
	if _, err := io.ReadAll(c); err != nil {
		t.Errorf("end: %v", err)
	}
}

// Peers that fall silent within the handshake must not keep others from theirs.
func TestTLS_SilentPeersDoNotBlockHandshakes(t *testing.T) {
	_, addr := echoServer(t, Options{TLSHandshakes: 1}, Listener{Name: "tls", TLS: serverTLS(tls.VersionTLS13)}, func() *frames { return new(frames) })
	for range 5 {
		send(t, dial(t, addr), []byte{22, 3, 1, 2, 0, 1})
	}
	echo(t, tls.Client(dial(t, addr), clientTLS()))
}

func TestHandshakeTimeout(t *testing.T) {
	for _, l := range []Listener{
		{Name: "tls", TLS: serverTLS(tls.VersionTLS13)},
		{Name: "proxy", ProxyProtocol: true},
	} {
		for _, first := range []string{"", "P", "\x16\x03\x01\x02\x00\x01"} {
			t.Run(fmt.Sprintf("%s/%q", l.Name, first), func(t *testing.T) {
				if first == "\x16\x03\x01\x02\x00\x01" && l.ProxyProtocol || first == "P" && l.TLS != nil {
					t.Skip("refused at once")
				}
				l.HandshakeTimeout = 20 * time.Millisecond
				ends := make(chan error, 1)
				_, addr := echoServer(t, Options{TickInterval: 5 * time.Millisecond}, l, func() *frames {
					return &frames{closed: func(_ *frames, err error) { ends <- err }}
				})
				c := dial(t, addr)
				send(t, c, []byte(first))
				if err := await(t, "Closed", ends); !errors.Is(err, ErrHandshakeTimeout) {
					t.Errorf("closed: %v", err)
				}
				if _, err := c.Read(make([]byte, 1)); err == nil {
					t.Error("still open")
				}
			})
		}
	}
}

// A TLS 1.3 client may send on before our handshake is through: that is bounded too.
func TestTLS_EarlyDataIsBounded(t *testing.T) {
	var end error
	m := NewManual(epoch)
	m.loop.env.tlsGate <- struct{}{} // no handshake gets to compute
	s := &frames{closed: func(_ *frames, err error) { end = err }}
	p := m.open(s, Info{}, Listener{TLS: serverTLS(tls.VersionTLS13)})
	p.Send(make([]byte, maxEarlyData))
	if p.Paused() {
		t.Error("paused below the limit")
	}
	p.Send(make([]byte, 1))
	if !p.Paused() {
		t.Error("not paused above the limit")
	}
	for i := 0; i < 32 && !p.EOF(); i++ { // as if pausing did not work
		p.Send(make([]byte, 64<<10))
	}
	if !errors.Is(end, ErrOverrun) {
		t.Errorf("closed: %v", end)
	}
	<-m.loop.env.tlsGate
}
