package websocket

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/hermodmq/hermod/listeners/transport"
)

// lines echoes every line as one message. The line "bye" makes it close, "bad" makes it fail.
type lines struct {
	transport.Link
	closed func(error)
}

func (s *lines) Start(l transport.Link) { s.Link = l }

func (s *lines) Receive(p []byte) (n, need int, err error) {
	for {
		i := bytes.IndexByte(p[n:], '\n')
		if i < 0 {
			return n, 0, nil
		}
		line := p[n : n+i+1]
		n += i + 1
		switch string(line) {
		case "bye\n":
			s.CloseAfterFlush()
			return n, 0, nil
		case "bad\n":
			return n, 0, errors.New("bad line")
		}
		s.Write(line)
	}
}

func (s *lines) Handle(transport.Event) {}
func (s *lines) EndTurn()               {}
func (s *lines) Drained()               {}
func (s *lines) Tick(time.Time)         {}
func (s *lines) Drain()                 { s.CloseAfterFlush() }
func (s *lines) Closed(err error)       { s.closed(err) }

type server struct {
	*transport.Server
	addr   string
	closed chan error
}

func start(t *testing.T, tc *tls.Config, cfg transport.WebSocket) *server {
	t.Helper()
	ts, err := transport.New(transport.Options{Loops: 2, TickInterval: 10 * time.Millisecond, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	s := &server{Server: ts, closed: make(chan error, 1000)}
	t.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		_ = ts.Shutdown(ctx)
	})
	cfg.Paths = []string{"/stomp"}
	cfg.Protocols = []string{"v12.stomp", "v11.stomp"}
	addr, err := ts.Listen(transport.Listener{
		Name: "ws", Address: "127.0.0.1:0", TLS: tc, WebSocket: &cfg,
		New: func() transport.Session { return &lines{closed: func(err error) { s.closed <- err }} },
	})
	if err != nil {
		t.Fatal(err)
	}
	s.addr = addr.String()
	return s
}

func text(string) bool { return true }

func limit(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func dial(t *testing.T, url string, o *websocket.DialOptions) *websocket.Conn {
	t.Helper()
	if o == nil {
		o = &websocket.DialOptions{}
	}
	if o.Subprotocols == nil {
		o.Subprotocols = []string{"v11.stomp", "v12.stomp"}
	}
	c, resp, err := websocket.Dial(limit(t), url, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.CloseNow() })
	if got := c.Subprotocol(); got != "v12.stomp" {
		t.Errorf("subprotocol %q", got)
	}
	if got := resp.Header.Get("Sec-WebSocket-Extensions"); got != "" {
		t.Errorf("extension %q", got)
	}
	c.SetReadLimit(-1)
	return c
}

func echo(t *testing.T, c *websocket.Conn, kind websocket.MessageType, line string) {
	t.Helper()
	if err := c.Write(limit(t), kind, []byte(line)); err != nil {
		t.Fatal(err)
	}
	got, p, err := c.Read(limit(t))
	if err != nil || got != websocket.MessageText || string(p) != line {
		t.Fatalf("echo of %d bytes: %v, %d bytes, %v", len(line), got, len(p), err)
	}
}

func TestEcho(t *testing.T) {
	cert, roots := certificate(t)
	for name, tc := range map[string]*tls.Config{"ws": nil, "wss": {Certificates: []tls.Certificate{cert}}} {
		t.Run(name, func(t *testing.T) {
			s := start(t, tc, transport.WebSocket{Text: text})
			o := &websocket.DialOptions{CompressionMode: websocket.CompressionContextTakeover}
			if tc != nil {
				o.HTTPClient = &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, ServerName: "localhost"}}}
			}
			c := dial(t, name+"://"+s.addr+"/stomp?x=y", o)
			for _, n := range []int{0, 1, 124, 125, 126, 65534, 65535, 65536, 5 << 20} {
				echo(t, c, websocket.MessageText, strings.Repeat("ž", n/2)+"\n")
				echo(t, c, websocket.MessageBinary, strings.Repeat("x", n)+"\n")
			}
			w, err := c.Writer(limit(t), websocket.MessageText)
			if err != nil {
				t.Fatal(err)
			}
			for i := range 100 { // lines straddle frames
				if _, err := fmt.Fprintf(w, "first half %d, ", i); err != nil {
					t.Fatal(err)
				}
				if _, err := fmt.Fprintf(w, "second half %d\nand ", i); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := io.WriteString(w, "\n"); err != nil {
				t.Fatal(err)
			}
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			for range 101 {
				if _, _, err := c.Read(limit(t)); err != nil {
					t.Fatal(err)
				}
			}
			ctx := c.CloseRead(limit(t)) // reads pongs
			if err := c.Ping(ctx); err != nil {
				t.Error("ping:", err)
			}
		})
	}
}

func TestClosing(t *testing.T) {
	s := start(t, nil, transport.WebSocket{Text: text, MaxMessage: 1000})
	url := "ws://" + s.addr + "/stomp"

	c := dial(t, url, nil)
	if err := c.Close(websocket.StatusCode(3456), "bye"); err != nil {
		t.Errorf("a close of ours: %v", err)
	}
	if err := <-s.closed; !errors.Is(err, io.EOF) {
		t.Errorf("closed: %v", err)
	}
	for _, l := range []struct {
		line string
		want websocket.StatusCode
	}{
		{"bye\n", websocket.StatusNormalClosure},
		{"bad\n", websocket.StatusPolicyViolation},
		{strings.Repeat("x", 1001), websocket.StatusMessageTooBig},
		{"\xff\xfe\n", websocket.StatusInvalidFramePayloadData},
	} {
		c := dial(t, url, nil)
		if err := c.Write(limit(t), websocket.MessageText, []byte(l.line)); err != nil {
			t.Fatal(err)
		}
		if _, _, err := c.Read(limit(t)); websocket.CloseStatus(err) != l.want {
			t.Errorf("after %.10q: %v, want %v", l.line, err, l.want)
		}
		<-s.closed
	}
	binary := start(t, nil, transport.WebSocket{})
	c = dial(t, "ws://"+binary.addr+"/stomp", nil)
	if err := c.Write(limit(t), websocket.MessageText, []byte("x\n")); err != nil {
		t.Fatal(err)
	}
	if _, _, err := c.Read(limit(t)); websocket.CloseStatus(err) != websocket.StatusUnsupportedData {
		t.Errorf("text where binary is spoken: %v", err)
	}
	c = dial(t, url, nil)
	down := make(chan error, 1)
	go func() { down <- s.Shutdown(limit(t)) }()
	if _, _, err := c.Read(limit(t)); websocket.CloseStatus(err) != websocket.StatusGoingAway {
		t.Errorf("at shutdown: %v", err)
	}
	if err := <-down; err != nil {
		t.Error(err)
	}
}

func TestRefusals(t *testing.T) {
	s := start(t, nil, transport.WebSocket{Origins: []string{"https://app.example"}})
	for _, c := range []struct {
		path, origin string
		protocols    []string
		status       int
	}{
		{"/stomp", "https://app.example", []string{"v12.stomp"}, 101},
		{"/other", "", []string{"v12.stomp"}, 404},
		{"/stomp", "https://evil.example", []string{"v12.stomp"}, 403},
		{"/stomp", "", []string{"mqtt"}, 400},
		{"/stomp", "", nil, 400},
	} {
		h := http.Header{}
		if c.origin != "" {
			h.Set("Origin", c.origin)
		}
		conn, resp, err := websocket.Dial(limit(t), "ws://"+s.addr+c.path, &websocket.DialOptions{Subprotocols: c.protocols, HTTPHeader: h})
		if resp == nil || resp.StatusCode != c.status || (err == nil) != (c.status == 101) {
			t.Errorf("%+v: %v, %v", c, resp, err)
		}
		if conn != nil {
			_ = conn.CloseNow()
		}
	}
}

func TestServerPings(t *testing.T) {
	s := start(t, nil, transport.WebSocket{Text: text, PingInterval: 20 * time.Millisecond})
	pings := make(chan struct{}, 1000)
	c := dial(t, "ws://"+s.addr+"/stomp", &websocket.DialOptions{
		OnPingReceived: func(context.Context, []byte) bool { pings <- struct{}{}; return true },
	})
	ctx := c.CloseRead(limit(t))
	for range 3 {
		select {
		case <-pings:
		case <-ctx.Done():
			t.Fatal("no ping")
		}
	}
}

func TestManyClients(t *testing.T) {
	s := start(t, nil, transport.WebSocket{Text: text})
	var wg sync.WaitGroup
	for i := range 30 {
		c := dial(t, "ws://"+s.addr+"/stomp", nil)
		wg.Go(func() {
			for k := range 100 {
				if err := c.Write(limit(t), websocket.MessageText, fmt.Appendf(nil, "%d %d %s\n", i, k, strings.Repeat("x", k*i))); err != nil {
					t.Error(err)
					return
				}
			}
		})
		wg.Go(func() {
			for k := range 100 {
				_, p, err := c.Read(limit(t))
				if want := fmt.Sprintf("%d %d ", i, k); err != nil || !strings.HasPrefix(string(p), want) {
					t.Errorf("%.20q, %v, want %q", p, err, want)
					return
				}
			}
		})
	}
	wg.Wait()
}

func certificate(t *testing.T) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "localhost"}, DNSNames: []string{"localhost"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(leaf)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, roots
}
