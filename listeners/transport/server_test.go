package transport

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func TestShutdownDrains(t *testing.T) {
	for _, secure := range []bool{false, true} {
		ends := make(chan error, 1)
		l := Listener{Name: "drain"}
		if secure {
			l.TLS = serverTLS(tls.VersionTLS13)
		}
		s, addr := echoServer(t, Options{}, l, func() *frames {
			return &frames{
				drain:  func(f *frames) { f.Write([]byte("bye")) }, // and waits for the peer's answer
				frame:  func(f *frames, _ []byte) error { f.CloseAfterFlush(); return nil },
				closed: func(_ *frames, err error) { ends <- err },
			}
		})
		c := dial(t, addr)
		if secure {
			tc := tls.Client(c, clientTLS())
			if err := tc.Handshake(); err != nil {
				t.Fatal(err)
			}
			c = tc
		}
		eventually(t, "the connection", func() bool { return s.Connections() == 1 })
		if secure { // the server has to see the handshake's end before it can say goodbye
			eventually(t, "Start", func() bool { return onLoop(t, s, (*Conn).isUp) })
		}
		done := make(chan error, 1)
		go func() { done <- s.Shutdown(context.Background()) }()
		if got := read(t, c, 3); string(got) != "bye" {
			t.Errorf("got %q", got)
		}
		if _, err := net.DialTimeout("tcp", addr, time.Second); err == nil {
			t.Error("a draining server accepts")
		}
		send(t, c, frame(1))
		if rest, err := io.ReadAll(c); err != nil || len(rest) > 0 {
			t.Errorf("at the end: %q, %v", rest, err)
		}
		c.Close()
		if err := await(t, "the end of Shutdown", done); err != nil {
			t.Errorf("Shutdown: %v", err)
		}
		if err := await(t, "Closed", ends); err != nil {
			t.Errorf("closed: %v", err)
		}
	}
}

func (t *Conn) isUp() bool { return t.state == stateUp }

// onLoop reports whether ok holds for every connection of s.
func onLoop(t *testing.T, s *Server, ok func(*Conn) bool) bool {
	t.Helper()
	all := true
	for _, l := range s.eng.loops {
		done := make(chan bool, 1)
		l.run(func() {
			good := true
			for _, c := range l.conns {
				good = good && ok(c)
			}
			done <- good
		})
		all = await(t, "a look at the loop", done) && all
	}
	return all
}

func TestShutdownCutsAtItsDeadline(t *testing.T) {
	ends := make(chan error, 1)
	started := make(chan *Conn, 1)
	s, addr := echoServer(t, Options{}, Listener{Name: "cut"}, func() *frames {
		return &frames{
			start:  func(f *frames) { started <- f.Target() },
			drain:  func(*frames) {},
			closed: func(_ *frames, err error) { ends <- err },
		}
	})
	dial(t, addr)
	target := await(t, "Start", started)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := s.Shutdown(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Shutdown: %v", err)
	}
	if err := await(t, "Closed", ends); !errors.Is(err, ErrServerClosed) {
		t.Errorf("closed: %v", err)
	}
	target.Post(Event{}) // late, harmless, not kept
	if n := len(target.loop.in); n != 0 {
		t.Errorf("%d events kept after the end", n)
	}
	if _, err := s.Listen(Listener{Name: "late", Address: "127.0.0.1:0", New: func() Session { return nil }}); !errors.Is(err, ErrServerClosed) {
		t.Errorf("Listen: %v", err)
	}
	if err := s.Shutdown(context.Background()); !errors.Is(err, context.Canceled) {
		t.Errorf("second Shutdown: %v", err)
	}
}

func TestNoGoroutineOutlivesTheServer(t *testing.T) {
	run := func() {
		s, err := New(Options{Loops: 2, Logger: quiet})
		if err != nil {
			t.Fatal(err)
		}
		l := Listener{Name: "plain", New: func() Session { return new(frames) }}
		plain := listenOn(t, s, l)
		l.Name, l.TLS = "tls", serverTLS(tls.VersionTLS13)
		secure := listenOn(t, s, l)
		echo(t, dial(t, plain))
		echo(t, tls.Client(dial(t, secure), clientTLS()))
		send(t, dial(t, secure), []byte{22, 3, 1}) // in the middle of a handshake
		eventually(t, "the connections", func() bool { return s.Connections() == 3 })
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		_ = s.Shutdown(ctx)
	}
	run() // what gnet and the runtime start once
	before := runtime.NumGoroutine()
	for range 3 {
		run()
	}
	eventually(t, "the end of all goroutines", func() bool { return runtime.NumGoroutine() <= before })
}

func TestConnectionLimits(t *testing.T) {
	s := startServer(t, Options{MaxConnections: 3})
	l := Listener{Name: "a", MaxConnections: 2, New: func() Session { return new(frames) }}
	a := listenOn(t, s, l)
	l.Name, l.MaxConnections = "b", 0
	b := listenOn(t, s, l)
	refused := func(addr string) {
		t.Helper()
		if _, err := dial(t, addr).Read(make([]byte, 1)); err == nil || os.IsTimeout(err) {
			t.Errorf("not refused: %v", err)
		}
	}
	first := dial(t, a)
	echo(t, first)
	echo(t, dial(t, a))
	refused(a)
	echo(t, dial(t, b))
	refused(b)
	first.Close()
	eventually(t, "room", func() bool { return s.Connections() == 2 })
	echo(t, dial(t, a))
	st := s.Stats()
	if st[0].Name != "a" || st[0].Open != 2 || st[0].Accepted != 3 || st[0].Refused != 1 || st[1].Open != 1 || st[1].Refused != 1 {
		t.Errorf("stats: %+v", st)
	}
}

func TestOffload(t *testing.T) {
	release := make(chan struct{})
	_, addr := echoServer(t, Options{OffloadWorkers: 2, OffloadQueue: 1}, Listener{Name: "offload"}, func() *frames {
		return &frames{
			frame: func(f *frames, p []byte) error {
				n := p[0]
				if !f.Offload(func() Event { <-release; return Event{Kind: uint32(n)} }) {
					f.Write([]byte{'-', n})
				}
				return nil
			},
			handle: func(f *frames, ev Event) { f.Write([]byte{'+', byte(ev.Kind)}) },
		}
	})
	c := dial(t, addr)
	for i := range byte(4) {
		send(t, c, frame('0'+i))
	}
	if got := string(read(t, c, 2)); got != "-3" {
		t.Errorf("got %q: the fourth call has no place", got)
	}
	close(release)
	got := string(read(t, c, 6))
	for _, want := range []string{"+0", "+1", "+2"} {
		if !strings.Contains(got, want) {
			t.Errorf("got %q, without %q", got, want)
		}
	}
}

func TestTicks(t *testing.T) {
	ticks := make(chan time.Time, 100)
	_, addr := echoServer(t, Options{TickInterval: time.Millisecond}, Listener{Name: "tick"}, func() *frames {
		return &frames{tick: func(f *frames, now time.Time) {
			if !f.Now().Equal(now) {
				t.Error("Tick's time is not the turn's")
			}
			select {
			case ticks <- now:
			default:
			}
		}}
	})
	dial(t, addr)
	first, second := await(t, "a tick", ticks), await(t, "a tick", ticks)
	if !second.After(first) {
		t.Errorf("%v, then %v", first, second)
	}
}

func TestPeerEndsAreReported(t *testing.T) {
	ends := make(chan error, 1)
	_, addr := echoServer(t, Options{}, Listener{Name: "ends"}, func() *frames {
		return &frames{closed: func(_ *frames, err error) { ends <- err }}
	})
	c := dial(t, addr)
	echo(t, c)
	c.Close()
	if err := await(t, "Closed", ends); !errors.Is(err, io.EOF) {
		t.Errorf("after FIN: %v", err)
	}
	c = dial(t, addr)
	echo(t, c)
	_ = c.(*net.TCPConn).SetLinger(0)
	c.Close()
	if err := await(t, "Closed", ends); err == nil {
		t.Error("after RST: nil")
	}
	c = dial(t, addr) // a request and a FIN in one go are still answered
	send(t, c, frame('x'))
	_ = c.(*net.TCPConn).CloseWrite()
	if got, err := io.ReadAll(c); err != nil || !bytes.Equal(got, frame('x')) {
		t.Errorf("after half-close: %q, %v", got, err)
	}
}

func TestSessionPanicIsOneConnectionsEnd(t *testing.T) {
	ends := make(chan error, 1)
	_, addr := echoServer(t, Options{Loops: 1}, Listener{Name: "panic"}, func() *frames {
		return &frames{
			frame: func(f *frames, p []byte) error {
				if p[0] == 'p' {
					panic("boom")
				}
				f.Write(frame(p...))
				return nil
			},
			closed: func(_ *frames, err error) { ends <- err },
		}
	})
	good, bad := dial(t, addr), dial(t, addr)
	echo(t, good)
	send(t, bad, frame('p'))
	if err := await(t, "Closed", ends); !errors.Is(err, ErrPanic) {
		t.Errorf("closed: %v", err)
	}
	if _, err := bad.Read(make([]byte, 1)); err == nil {
		t.Error("still open")
	}
	echo(t, good)
}

func TestNewThatFails(t *testing.T) {
	for name, f := range map[string]func() Session{
		"nil":   func() Session { return nil },
		"panic": func() Session { panic("boom") },
	} {
		t.Run(name, func(t *testing.T) {
			s := startServer(t, Options{})
			addr := listenOn(t, s, Listener{Name: "bad", New: f})
			if _, err := dial(t, addr).Read(make([]byte, 1)); err == nil || os.IsTimeout(err) {
				t.Errorf("read: %v", err)
			}
			eventually(t, "the count", func() bool { return s.Connections() == 0 })
		})
	}
}

func TestUnixSocket(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "s")
	l := Listener{Name: "unix", Network: "unix", Address: path, SocketMode: 0o600, New: func() Session { return new(frames) }}
	s := startServer(t, Options{})
	listenOn(t, s, l)
	if fi, err := os.Stat(path); err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, error %v", fi.Mode(), err)
	}
	c, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(patience))
	echo(t, c)
	if _, err := s.Listen(l); err == nil {
		t.Error("a socket in use was replaced")
	}

	stale, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(dir, "stale"), Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	stale.SetUnlinkOnClose(false)
	stale.Close()
	l.Address = filepath.Join(dir, "stale")
	listenOn(t, s, l)

	l.Address = filepath.Join(dir, "file")
	if err := os.WriteFile(l.Address, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Listen(l); err == nil {
		t.Error("a file was replaced")
	}
	if b, _ := os.ReadFile(l.Address); string(b) != "precious" {
		t.Error("the file is gone")
	}
}

func TestListenRefusesBadConfiguration(t *testing.T) {
	s := startServer(t, Options{})
	session := func() Session { return new(frames) }
	for name, l := range map[string]Listener{
		"no New":      {Name: "x", Address: "127.0.0.1:0"},
		"network":     {Name: "x", Network: "udp", Address: "127.0.0.1:0", New: session},
		"address":     {Name: "x", Address: "127.0.0.1:notaport", New: session},
		"address use": {Name: "x", Address: listenOn(t, s, Listener{Name: "y", New: session}), New: session},
	} {
		if _, err := s.Listen(l); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// Every connection and every turn at once: for the race detector.
func TestManyConnections(t *testing.T) {
	var open, ended atomic.Int64
	s, addr := echoServer(t, Options{Loops: 3, TickInterval: time.Millisecond}, Listener{Name: "many", TLS: serverTLS(tls.VersionTLS13)}, func() *frames {
		open.Add(1)
		return &frames{closed: func(*frames, error) { ended.Add(1) }}
	})
	const clients = 24
	done := make(chan error, clients)
	for i := range clients {
		go func() {
			done <- func() error {
				for range 3 {
					c, err := tls.Dial("tcp", addr, clientTLS())
					if err != nil {
						return err
					}
					msg := frame(bytes.Repeat([]byte{byte(i)}, 1000*i)...)
					go func() { _, _ = c.Write(msg) }()
					got := make([]byte, len(msg))
					if _, err := io.ReadFull(c, got); err != nil || !bytes.Equal(got, msg) {
						return errors.Join(errors.New("bad echo"), err)
					}
					c.Close()
				}
				return nil
			}()
		}()
	}
	for range clients {
		if err := await(t, "a client's end", done); err != nil {
			t.Error(err)
		}
	}
	eventually(t, "the end of all", func() bool { return s.Connections() == 0 && ended.Load() == open.Load() })
	if open.Load() != 3*clients {
		t.Errorf("%d sessions", open.Load())
	}
}

func TestPauseSelfTestPassesHere(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("pausing needs epoll")
	}
	for _, l := range startServer(t, Options{Loops: 3}).eng.loops {
		if !l.pausable {
			t.Error("a loop cannot pause")
		}
	}
}

// BenchmarkMailboxAcrossLoops hands events from background goroutines to a session on a gnet loop.
func BenchmarkMailboxAcrossLoops(b *testing.B) {
	s, err := New(Options{Loops: 1, Logger: quiet})
	if err != nil {
		b.Fatal(err)
	}
	started, done := make(chan *Conn, 1), make(chan struct{})
	left := b.N
	addr, err := s.Listen(Listener{Name: "b", Address: "127.0.0.1:0", New: func() Session {
		return &frames{
			start: func(f *frames) { started <- f.Target() },
			handle: func(*frames, Event) {
				if left--; left == 0 {
					close(done)
				}
			},
		}
	}})
	if err != nil {
		b.Fatal(err)
	}
	c, err := net.Dial("tcp", addr.String())
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	to := <-started
	b.ReportAllocs()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		batch, payload := NewBatch(), new(int)
		for i := 0; pb.Next(); i++ {
			if batch.Add(to, Event{Kind: 1, P: payload}); i%64 == 63 {
				batch.Flush()
			}
		}
		batch.Flush()
	})
	<-done
	b.StopTimer()
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_ = s.Shutdown(ctx)
}
