package transport

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// The pitfalls of gnet that would each be a defect of the broker. P1: an accept error ends gnet's engine. Here with
// real descriptors: a child process with few of them is flooded.
func TestP1_SurvivesRunningOutOfFiles(t *testing.T) {
	if os.Getenv("TRANSPORT_P1") != "" {
		starvedServer(t)
		return
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestP1_SurvivesRunningOutOfFiles$")
	cmd.Env = append(os.Environ(), "TRANSPORT_P1=1")
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { in.Close(); _ = cmd.Wait() })
	lines := bufio.NewScanner(out)
	addr := ""
	for lines.Scan() {
		if a, ok := strings.CutPrefix(lines.Text(), "ADDR "); ok {
			addr = a
			break
		}
	}
	first := dial(t, addr)
	echo(t, first)
	var flood []net.Conn
	for range 200 {
		flood = append(flood, dial(t, addr))
	}
	for lines.Scan() && lines.Text() != "STARVED" {
	}
	echo(t, first) // those that are there are served
	for _, c := range flood {
		c.Close()
	}
	echo(t, dial(t, addr)) // and when there is room again, so are others
	echo(t, first)
}

// starvedServer is the child of TestP1: it says when it has run out, and serves until its stdin closes.
func starvedServer(t *testing.T) {
	s, addr := echoServer(t, Options{MaxConnections: 10_000}, Listener{Name: "p1"}, func() *frames { return new(frames) })
	open, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	limit := syscall.Rlimit{Cur: uint64(len(open) + 40), Max: uint64(len(open) + 40)}
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	fmt.Println("ADDR " + addr)
	eventually(t, "running out of files", func() bool {
		f, err := os.Open(os.DevNull)
		if err != nil {
			return errors.Is(err, syscall.EMFILE)
		}
		f.Close()
		return s.Connections() >= 38
	})
	fmt.Println("STARVED")
	_, _ = io.Copy(io.Discard, os.Stdin)
}

type failingListener struct {
	net.Listener
	failures atomic.Int32
}

func (f *failingListener) Accept() (net.Conn, error) {
	if f.failures.Add(-1) >= 0 {
		return nil, &net.OpError{Op: "accept", Err: os.NewSyscallError("accept4", syscall.ENFILE)}
	}
	return f.Listener.Accept()
}

func TestP1_AcceptErrorsAreWaitedOut(t *testing.T) {
	s := startServer(t, Options{})
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f := &failingListener{Listener: ln}
	f.failures.Store(3)
	cfg := Listener{Name: "p1", MaxFrame: 1 << 20, HandshakeTimeout: patience, New: func() Session { return new(frames) }}
	if err := s.serve(&listener{Listener: cfg}, f); err != nil {
		t.Fatal(err)
	}
	echo(t, dial(t, ln.Addr().String()))
}

// P2: gnet's Close drops unsent output.
func TestP2_BigReplyThenClose(t *testing.T) {
	const size = 12 << 20
	reply := bytes.Repeat([]byte("0123456789abcdef"), size/16)
	for _, c := range []struct {
		name string
		tls  *tls.Config
	}{{"plain", nil}, {"TLS 1.2", serverTLS(tls.VersionTLS12)}, {"TLS 1.3", serverTLS(tls.VersionTLS13)}} {
		for _, how := range []string{"CloseAfterFlush", "error"} {
			t.Run(c.name+"/"+how, func(t *testing.T) {
				closed := make(chan error, 2)
				errBad := errors.New("bad frame")
				_, addr := echoServer(t, Options{}, Listener{Name: "p2", TLS: c.tls}, func() *frames {
					return &frames{
						frame: func(f *frames, _ []byte) error {
							f.Write(reply)
							if how == "error" {
								return errBad
							}
							f.CloseAfterFlush()
							f.Write([]byte("not this"))
							return nil
						},
						closed: func(_ *frames, err error) { closed <- err },
					}
				})
				conn := dial(t, addr)
				if c.tls != nil {
					conn = tls.Client(conn, clientTLS())
				}
				send(t, conn, frame(1))
				sending := make(chan struct{})
				go func() { // unread input must not turn the end into a reset
					_, _ = io.CopyN(conn, zeros{}, 1<<40)
					close(sending)
				}()
				got, err := io.ReadAll(conn)
				if err != nil || !bytes.Equal(got, reply) {
					t.Errorf("got %d of %d bytes, error %v", len(got), size, err)
				}
				conn.Close()
				await(t, "the end of sending", sending)
				if err := await(t, "Closed", closed); how == "error" && err != errBad || how != "error" && err != nil {
					t.Errorf("Closed(%v)", err)
				}
			})
		}
	}
}

// A reader who needs longer for what is in the kernel's buffers than the socket lingers gets it all.
func TestP2_SlowReaderOfTheLastBytes(t *testing.T) {
	const size = 2 << 20
	errBad := errors.New("bad frame") // ends the frames of one read, too
	_, addr := echoServer(t, Options{}, Listener{Name: "p2"}, func() *frames {
		return &frames{frame: func(f *frames, _ []byte) error {
			f.Write(make([]byte, size))
			return errBad
		}}
	})
	conn := dial(t, addr)
	send(t, conn, frame(1))
	sending := make(chan struct{})
	go func() { // unread input makes a close a reset
		_, _ = io.CopyN(conn, zeros{}, 1<<40)
		close(sending)
	}()
	pace := time.NewTicker(50 * time.Millisecond)
	defer pace.Stop()
	got := int64(0)
	for range 3 * lingerTimeout / (50 * time.Millisecond) {
		<-pace.C
		n, err := io.CopyN(io.Discard, conn, size/128)
		if got += n; err != nil {
			t.Fatalf("got %d of %d bytes, error %v", got, size, err)
		}
	}
	n, err := io.Copy(io.Discard, conn)
	if got += n; err != nil || got != size {
		t.Errorf("got %d of %d bytes, error %v", got, size, err)
	}
	conn.Close()
	await(t, "the end of sending", sending)
}

// P3: gnet's output is unbounded and it does not say when it has drained.
func TestP3_OutputIsBounded(t *testing.T) {
	const total = 64 << 20
	chunk := make([]byte, 32<<10)
	var highest atomic.Int64
	var waits atomic.Int32
	fill := func() func(f *frames) {
		sent := 0
		return func(f *frames) {
			for sent < total && !f.Full() {
				binary.BigEndian.PutUint32(chunk, uint32(sent))
				f.Write(chunk)
				sent += len(chunk)
			}
			c := f.Target()
			highest.Store(max(highest.Load(), int64(len(c.out)+c.sock.OutboundBuffered())))
		}
	}
	_, addr := echoServer(t, Options{Loops: 1}, Listener{Name: "p3"}, func() *frames {
		f := fill()
		return &frames{start: f, drained: func(s *frames) { waits.Add(1); f(s) }}
	})
	c := dial(t, addr)
	for at := 0; at < total; at += len(chunk) {
		if got := binary.BigEndian.Uint32(read(t, c, len(chunk))); got != uint32(at) {
			t.Fatalf("at %d: got chunk %d", at, got)
		}
	}
	if highest.Load() > highWater+int64(len(chunk)) {
		t.Errorf("%d bytes were buffered", highest.Load())
	}
	if waits.Load() == 0 {
		t.Error("Drained was never called")
	}
}

// P4: gnet cannot pause reading, and what a session does not take piles up.
func TestP4_PauseStopsReading(t *testing.T) {
	for _, secure := range []bool{false, true} {
		t.Run(fmt.Sprintf("TLS %v", secure), func(t *testing.T) {
			const body, count = 1000, 40_000
			var got atomic.Int64
			target := make(chan *Conn, 1)
			done := make(chan struct{})
			l := Listener{Name: "p4"}
			if secure {
				l.TLS = serverTLS(tls.VersionTLS13)
			}
			late := atomic.Int32{}
			next := uint32(0)
			paused := false
			_, addr := echoServer(t, Options{}, l, func() *frames {
				return &frames{
					start: func(f *frames) { target <- f.Target(); f.Pause(1); f.Pause(2); paused = true },
					frame: func(f *frames, p []byte) error {
						if paused {
							late.Add(1)
						}
						if n := binary.BigEndian.Uint32(p); n != next {
							return fmt.Errorf("frame %d, want %d", n, next)
						}
						if next++; got.Add(1) == count {
							close(done)
						}
						return nil
					},
					handle: func(f *frames, ev Event) {
						f.Resume(uint8(ev.A))
						paused = ev.A != 2
					},
					closed: func(_ *frames, err error) {
						if got.Load() != count {
							t.Errorf("closed after %d frames: %v", got.Load(), err)
						}
					},
				}
			})
			c := dial(t, addr)
			if secure {
				c = tls.Client(c, clientTLS())
			}
			blocked := make(chan struct{})
			go func() {
				p := make([]byte, 4+body)
				binary.BigEndian.PutUint32(p, body)
				for i := range count {
					binary.BigEndian.PutUint32(p[4:], uint32(i))
					if _, err := c.Write(p); err != nil {
						t.Error(err)
						break
					}
				}
				close(blocked)
			}()
			to := await(t, "Start", target)
			to.Post(Event{A: 1}) // one reason of two
			held := make(chan int)
			to.loop.run(func() {
				n := len(to.tail)
				if to.tls != nil {
					n += len(to.tls.in)
				}
				held <- n
			})
			if n := await(t, "looking at the tail", held); n > 256<<10 || got.Load() != 0 {
				t.Errorf("paused, but %d bytes held, %d frames received", n, got.Load())
			}
			to.Post(Event{A: 2})
			await(t, "the last frame", done)
			await(t, "the last write", blocked)
			if late.Load() > 0 {
				t.Errorf("%d frames while paused", late.Load())
			}
		})
	}
}

// A paused peer that also receives: gnet takes up reading again whenever its output has drained.
func TestP4_PausedPeerStillGetsOutput(t *testing.T) {
	const total, count = 32 << 20, 4096
	target := make(chan *Conn, 1)
	done := make(chan struct{})
	early, got, sent := 0, 0, 0
	paused := true
	chunk := make([]byte, 64<<10)
	fill := func(f *frames) {
		for sent < total && !f.Full() {
			f.Write(chunk)
			sent += len(chunk)
		}
	}
	_, addr := echoServer(t, Options{Loops: 1}, Listener{Name: "p4"}, func() *frames {
		return &frames{
			start:   func(f *frames) { target <- f.Target(); f.Pause(1); fill(f) },
			drained: fill,
			handle:  func(f *frames, _ Event) { paused = false; f.Resume(1) },
			frame: func(*frames, []byte) error {
				if paused {
					early++
				}
				if got++; got == count {
					close(done)
				}
				return nil
			},
		}
	})
	c := dial(t, addr)
	go func() { _, _ = c.Write(bytes.Repeat(frame(chunk[:2044]...), count)) }()
	if n, err := io.CopyN(io.Discard, c, total); err != nil {
		t.Fatalf("got %d of %d: %v", n, total, err)
	}
	to := await(t, "Start", target)
	held := make(chan int, 1)
	to.loop.run(func() { held <- len(to.tail) })
	if n := await(t, "a look at the tail", held); n > 64<<10 {
		t.Errorf("%d bytes were read while paused", n)
	}
	to.Post(Event{})
	await(t, "the last frame", done)
	if early > 0 {
		t.Errorf("%d frames while paused", early)
	}
}

// Where pausing does not work, holding back is bounded.
func TestP4_FallbackClosesAnOverrunningPeer(t *testing.T) {
	closed := make(chan error, 1)
	_, addr := echoServer(t, Options{Loops: 1}, Listener{Name: "p4"}, func() *frames {
		return &frames{
			start:  func(f *frames) { f.Target().loop.pausable = false; f.Pause(1) },
			closed: func(_ *frames, err error) { closed <- err },
		}
	})
	c := dial(t, addr)
	go func() { _, _ = io.CopyN(c, zeros{}, 64<<20) }()
	if err := await(t, "Closed", closed); !errors.Is(err, ErrOverrun) {
		t.Errorf("closed: %v", err)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// P5: a flood of tasks starves gnet's sockets.
func TestP5_FloodDoesNotStarveSockets(t *testing.T) {
	target := make(chan *Conn, 2)
	_, addr := echoServer(t, Options{Loops: 1}, Listener{Name: "p5"}, func() *frames {
		return &frames{start: func(f *frames) { target <- f.Target() }}
	})
	dial(t, addr)
	to := await(t, "Start", target)
	c := dial(t, addr)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			b := NewBatch()
			for {
				select {
				case <-stop:
					return
				default:
				}
				for range 16 {
					b.Add(to, Event{})
				}
				b.Flush()
			}
		})
	}
	for range 5 {
		echo(t, c)
	}
	close(stop)
	wg.Wait()
}

// P6: Execute is not first in, first out, and staging per sender reorders.
func TestP6_OrderAcrossLoops(t *testing.T) {
	const producers, consumers, each = 6, 4, 5000
	targets := make(chan *Conn, consumers)
	done := make(chan error, consumers)
	s := startServer(t, Options{Loops: 3})
	consumer := listenOn(t, s, Listener{Name: "consumers", New: func() Session {
		next := uint64(0)
		return &frames{
			start: func(f *frames) { targets <- f.Target() },
			handle: func(f *frames, ev Event) {
				if ev.A != next {
					done <- fmt.Errorf("event %d, want %d", ev.A, next)
					f.Close()
					return
				}
				if next++; next == producers*each {
					done <- nil
				}
			},
		}
	}})
	var to []*Conn
	for range consumers {
		dial(t, consumer)
		to = append(to, await(t, "Start", targets))
	}
	var queue sync.Mutex // defines the order
	seq := uint64(0)
	producer := listenOn(t, s, Listener{Name: "producers", New: func() Session {
		return &frames{frame: func(f *frames, _ []byte) error {
			queue.Lock()
			for _, c := range to {
				f.Batch().Add(c, Event{A: seq})
			}
			seq++
			queue.Unlock()
			return nil
		}}
	}})
	for range producers {
		c := dial(t, producer)
		go func() { _, _ = c.Write(bytes.Repeat(frame(1), each)) }()
	}
	for range consumers {
		if err := await(t, "the last event", done); err != nil {
			t.Error(err)
		}
	}
}

// P7: a failing write closes from inside the write.
func TestP7_ResetWhileWriting(t *testing.T) {
	for _, secure := range []bool{false, true} {
		ends := make(chan error, 8)
		l := Listener{Name: "p7"}
		if secure {
			l.TLS = serverTLS(tls.VersionTLS13)
		}
		chunk := make([]byte, 4096)
		s, addr := echoServer(t, Options{Loops: 1}, l, func() *frames {
			return &frames{
				frame:   func(f *frames, _ []byte) error { f.Post(Event{}); return nil },
				handle:  func(f *frames, _ Event) { f.Write(chunk); f.Post(Event{}) }, // for ever
				endTurn: func(f *frames) { f.Write(chunk[:1]) },
				closed: func(f *frames, err error) {
					f.Write(chunk)
					f.Post(Event{})
					ends <- err
				},
			}
		})
		for range 5 {
			raw := dial(t, addr)
			c := raw
			if secure {
				c = tls.Client(raw, clientTLS())
			}
			send(t, c, frame(1))
			read(t, c, 100_000)
			_ = raw.(*net.TCPConn).SetLinger(0)
			raw.Close()
			if err := await(t, "Closed", ends); err == nil {
				t.Error("closed without reason")
			}
		}
		eventually(t, "the count", func() bool { return s.Connections() == 0 })
		if len(ends) > 0 {
			t.Error("Closed came twice")
		}
	}
}
