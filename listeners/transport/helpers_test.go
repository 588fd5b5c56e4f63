package transport

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/binary"
	"io"
	"log/slog"
	"math/big"
	"net"
	"sync"
	"testing"
	"time"
)

const patience = 20 * time.Second // how long a test waits for an event before it gives up

var quiet = slog.New(slog.DiscardHandler)

// frames is a session for frames of a 4-byte length and a body. Every hook is optional; by default it echoes.
type frames struct {
	Link
	start   func(*frames)
	frame   func(*frames, []byte) error
	handle  func(*frames, Event)
	endTurn func(*frames)
	drained func(*frames)
	tick    func(*frames, time.Time)
	drain   func(*frames)
	closed  func(*frames, error)
}

func (f *frames) Start(l Link) {
	f.Link = l
	if f.start != nil {
		f.start(f)
	}
}

func (f *frames) Receive(p []byte) (n, need int, err error) {
	for {
		if len(p)-n < 4 {
			return n, 4, nil
		}
		size := 4 + int(binary.BigEndian.Uint32(p[n:]))
		if len(p)-n < size {
			return n, size, nil
		}
		if f.frame != nil {
			err = f.frame(f, p[n+4:n+size])
		} else {
			f.Write(p[n : n+size])
		}
		if n += size; err != nil {
			return n, 0, err
		}
	}
}

func (f *frames) Handle(ev Event) {
	if f.handle != nil {
		f.handle(f, ev)
	}
}

func (f *frames) EndTurn() {
	if f.endTurn != nil {
		f.endTurn(f)
	}
}

func (f *frames) Drained() {
	if f.drained != nil {
		f.drained(f)
	}
}

func (f *frames) Tick(now time.Time) {
	if f.tick != nil {
		f.tick(f, now)
	}
}

func (f *frames) Drain() {
	if f.drain != nil {
		f.drain(f)
		return
	}
	f.CloseAfterFlush()
}

func (f *frames) Closed(err error) {
	if f.closed != nil {
		f.closed(f, err)
	}
}

func frame(body ...byte) []byte {
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(body))), body...)
}

func startServer(t *testing.T, o Options) *Server {
	t.Helper()
	if o.Logger == nil {
		o.Logger = quiet
	}
	if o.Loops == 0 {
		o.Loops = 2
	}
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		_ = s.Shutdown(ctx)
	})
	return s
}

func listenOn(t *testing.T, s *Server, l Listener) string {
	t.Helper()
	if l.Address == "" {
		l.Address = "127.0.0.1:0"
	}
	a, err := s.Listen(l)
	if err != nil {
		t.Fatal(err)
	}
	return a.String()
}

// echoServer is a server with one listener of sessions made by session.
func echoServer(t *testing.T, o Options, l Listener, session func() *frames) (*Server, string) {
	t.Helper()
	s := startServer(t, o)
	l.New = func() Session { return session() }
	return s, listenOn(t, s, l)
}

func dial(t *testing.T, addr string) net.Conn {
	t.Helper()
	c, err := net.DialTimeout("tcp", addr, patience)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	_ = c.SetDeadline(time.Now().Add(patience))
	return c
}

func send(t *testing.T, c net.Conn, p []byte) {
	t.Helper()
	if _, err := c.Write(p); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, c io.Reader, n int) []byte {
	t.Helper()
	b := make([]byte, n)
	if _, err := io.ReadFull(c, b); err != nil {
		t.Fatal(err)
	}
	return b
}

// echo sends one frame and expects it back.
func echo(t *testing.T, c net.Conn) {
	t.Helper()
	send(t, c, frame('h', 'i'))
	if got := read(t, c, 6); string(got[4:]) != "hi" {
		t.Fatalf("echo: got %q", got)
	}
}

func await[T any](t *testing.T, what string, ch <-chan T) T {
	t.Helper()
	select {
	case v := <-ch:
		return v
	case <-time.After(patience):
		t.Fatalf("%s did not happen", what)
		panic("unreachable")
	}
}

// eventually waits for a condition that no event announces.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for deadline := time.After(patience); !ok(); {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("%s did not happen", what)
		}
	}
}

var certs = sync.OnceValues(func() (server tls.Certificate, roots *x509.CertPool) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "peer"}, DNSNames: []string{"localhost"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		panic(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		panic(err)
	}
	roots = x509.NewCertPool()
	roots.AddCert(leaf)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, roots
})

func serverTLS(version uint16) *tls.Config {
	cert, _ := certs()
	return &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: version, MaxVersion: version}
}

func clientTLS() *tls.Config {
	_, roots := certs()
	return &tls.Config{RootCAs: roots, ServerName: "localhost"}
}
