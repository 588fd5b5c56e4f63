package transport

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Server owns the event loops, the listening sockets and the worker pool. Its methods may be called from any goroutine
// except an event loop.
type Server struct {
	log  *slog.Logger
	opts Options
	env  env
	eng  *engine

	mu        sync.Mutex
	listeners []*listener
	closing   bool

	conns     atomic.Int64
	acceptors sync.WaitGroup
	quit      chan struct{} // closed first: acceptors give up waiting
	empty     chan struct{} // a token whenever the last connection goes while closing
	stopped   chan struct{} // closed last
	err       error         // of Shutdown; read after stopped
}

// listener is a Listener with defaults filled in, its socket and its counters.
type listener struct {
	Listener
	ln       net.Listener
	open     atomic.Int64
	accepted atomic.Uint64
	refused  atomic.Uint64
	warned   atomic.Int64 // unix seconds of the last warning, to log at most one per second
}

// ListenerStats are the counters of one listener. Refused counts connections closed at once because of a limit.
type ListenerStats struct {
	Name              string
	Address           net.Addr
	Open              int
	Accepted, Refused uint64
}

// New starts the event loops. It fails if gnet cannot start.
func New(o Options) (*Server, error) {
	o.Loops = cmp.Or(max(o.Loops, 0), defaultLoops(runtime.GOMAXPROCS(0)))
	o.MaxConnections = cmp.Or(max(o.MaxConnections, 0), defaultMaxConnections())
	o.TickInterval = cmp.Or(max(o.TickInterval, 0), 250*time.Millisecond)
	o.OffloadWorkers = cmp.Or(max(o.OffloadWorkers, 0), 64)
	o.OffloadQueue = cmp.Or(max(o.OffloadQueue, 0), 1024)
	o.TLSHandshakes = cmp.Or(max(o.TLSHandshakes, 0), 64)
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	s := &Server{
		log: o.Logger, opts: o,
		quit: make(chan struct{}), empty: make(chan struct{}, 1), stopped: make(chan struct{}),
	}
	s.env = env{
		log:      o.Logger,
		clock:    o.Clock,
		pool:     &pool{workers: o.OffloadWorkers, depth: o.OffloadQueue},
		tlsGate:  make(chan struct{}, o.TLSHandshakes),
		released: func(t *Conn) { s.release(t.lst) },
	}
	eng, err := startEngine(&s.env, o.Loops, o.TickInterval)
	if err != nil {
		return nil, fmt.Errorf("transport: %w", err)
	}
	s.eng = eng
	return s, nil
}

// defaultLoops leaves one of Go's processors to the log and the rest of the broker. A loop that waits for its sockets keeps
// its own until Go's monitor takes it away: were there as many loops as processors, whoever comes back from a write to the
// disk would find none, for 20 us as a rule and for 10 ms at times.
func defaultLoops(processors int) int { return max(1, processors-1) }

// defaultMaxConnections leaves files for the store, and for the second descriptor that enrolling takes for a moment.
func defaultMaxConnections() int {
	var r unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &r) != nil {
		return 10_000
	}
	return max(int(min(r.Cur, 1<<30))-256, 64)
}

// Listen opens a listening socket and accepts on it until Shutdown. It returns the address it is bound to. Listeners
// can be added while others serve.
func (s *Server) Listen(cfg Listener) (net.Addr, error) {
	l, err := newListener(cfg)
	if err != nil {
		return nil, fmt.Errorf("transport: listener %q: %w", cfg.Name, err)
	}
	ln, err := listen(&l.Listener)
	if err != nil {
		return nil, fmt.Errorf("transport: listener %q: %w", l.Name, err)
	}
	if err := s.serve(l, ln); err != nil {
		ln.Close()
		return nil, err
	}
	return ln.Addr(), nil
}

// newListener checks cfg and fills in its defaults.
func newListener(cfg Listener) (*listener, error) {
	if cfg.New == nil {
		return nil, errors.New("New is missing")
	}
	cfg.setDefaults()
	switch cfg.Network {
	case "tcp", "tcp4", "tcp6", "unix":
	default:
		return nil, fmt.Errorf("unknown network %q", cfg.Network)
	}
	if cfg.WebSocket != nil {
		own := *cfg.WebSocket
		own.MaxMessage = cmp.Or(max(own.MaxMessage, 0), cfg.MaxFrame)
		if err := own.check(); err != nil {
			return nil, err
		}
		cfg.WebSocket = &own
	}
	return &listener{Listener: cfg}, nil
}

func (l *Listener) setDefaults() {
	l.Network = cmp.Or(l.Network, "tcp")
	l.SocketMode = cmp.Or(l.SocketMode, 0o660)
	l.MaxFrame = cmp.Or(max(l.MaxFrame, 0), 64<<20)
	l.HandshakeTimeout = cmp.Or(max(l.HandshakeTimeout, 0), 10*time.Second)
	l.StallTimeout = cmp.Or(l.StallTimeout, time.Minute)
}

// serve accepts on ln from now on.
func (s *Server) serve(l *listener, ln net.Listener) error {
	l.ln = ln
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing {
		return ErrServerClosed
	}
	s.listeners = append(s.listeners, l)
	s.acceptors.Add(1)
	go s.accept(l)
	return nil
}

const (
	keepAliveIdle     = time.Minute
	keepAliveInterval = 15 * time.Second
	keepAliveCount    = 4

	// Below, the kernel would end quiet connections after the first lost keepalive probe.
	minUserTimeout = keepAliveIdle + keepAliveCount*keepAliveInterval
)

func listen(l *Listener) (net.Listener, error) {
	lc := listenConfig(l.Network)
	ln, err := lc.Listen(context.Background(), l.Network, l.Address)
	if l.Network != "unix" {
		return ln, err
	}
	if errors.Is(err, syscall.EADDRINUSE) && staleSocket(l.Address) && os.Remove(l.Address) == nil {
		ln, err = lc.Listen(context.Background(), l.Network, l.Address)
	}
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(l.Address, l.SocketMode); err != nil && !errors.Is(err, fs.ErrNotExist) { // abstract names
		ln.Close()
		return nil, err
	}
	return ln, nil
}

// staleSocket reports whether path is a socket file behind which nobody listens.
func staleSocket(path string) bool {
	fi, err := os.Lstat(path)
	if err != nil || fi.Mode().Type() != os.ModeSocket {
		return false
	}
	c, err := net.DialTimeout("unix", path, time.Second)
	if err == nil {
		c.Close()
	}
	return errors.Is(err, syscall.ECONNREFUSED)
}

// accept hands connections to the engine. Running out of file descriptors or memory is waited out: the connections that
// exist are served meanwhile.
func (s *Server) accept(l *listener) {
	defer s.acceptors.Done()
	backoff := time.Duration(0)
	for {
		nc, err := l.ln.Accept()
		if err == nil {
			err = s.enroll(l, nc)
		}
		if err == nil {
			backoff = 0
			continue
		}
		select {
		case <-s.quit:
			return
		default:
		}
		if errors.Is(err, net.ErrClosed) {
			return
		}
		l.warn(s.log, "accepting failed, backing off", "error", err)
		backoff = min(max(2*backoff, 5*time.Millisecond), time.Second)
		select {
		case <-s.quit:
			return
		case <-time.After(backoff):
		}
	}
}

func (s *Server) enroll(l *listener, nc net.Conn) error {
	if l.ProxyProtocol && !TrustsProxy(l.ProxyTrusted, nc.RemoteAddr()) {
		l.refused.Add(1)
		nc.Close()
		l.warn(s.log, "not one of the trusted proxies, refusing", "remote", nc.RemoteAddr())
		return nil
	}
	if !s.admit(l) {
		l.refused.Add(1) // first: who was refused finds it counted
		nc.Close()
		l.warn(s.log, "connection limit reached, refusing", "remote", nc.RemoteAddr())
		return nil
	}
	l.accepted.Add(1)
	t := &Conn{lst: l, info: Info{
		Listener: l.Name, Local: copyAddr(nc.LocalAddr()), Remote: copyAddr(nc.RemoteAddr()), Opened: time.Now(),
	}}
	t.info.Peer = t.info.Remote
	return s.hand(t, nc)
}

// hand gives a connection that was admitted to a loop.
func (s *Server) hand(t *Conn, nc net.Conn) error {
	err := s.eng.enroll(nc, t)
	if t.loop == nil { // it never reached a loop
		s.release(t.lst)
	}
	if err != nil {
		return fmt.Errorf("enrol: %w", err)
	}
	return nil
}

// copyAddr is for unix addresses: gnet changes the one it is given.
func copyAddr(a net.Addr) net.Addr {
	if u, ok := a.(*net.UnixAddr); ok {
		v := *u
		return &v
	}
	return a
}

func (s *Server) admit(l *listener) bool {
	total, own := s.conns.Add(1), l.open.Add(1)
	if total > int64(s.opts.MaxConnections) || l.MaxConnections > 0 && own > int64(l.MaxConnections) {
		s.release(l)
		return false
	}
	return true
}

func (s *Server) release(l *listener) {
	l.open.Add(-1)
	if s.conns.Add(-1) == 0 {
		select {
		case s.empty <- struct{}{}:
		default:
		}
	}
}

func (l *listener) warn(log *slog.Logger, msg string, args ...any) {
	now := time.Now().Unix()
	if last := l.warned.Load(); last != now && l.warned.CompareAndSwap(last, now) {
		log.Warn(msg, append([]any{"listener", l.Name}, args...)...)
	}
}

// Connections returns how many connections are open, those in a handshake included.
func (s *Server) Connections() int { return int(s.conns.Load()) }

// Stats returns the counters of every listener, in the order of the Listen calls.
func (s *Server) Stats() []ListenerStats {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := make([]ListenerStats, 0, len(s.listeners))
	for _, l := range s.listeners {
		st = append(st, ListenerStats{
			Name: l.Name, Address: l.ln.Addr(), Open: int(l.open.Load()),
			Accepted: l.accepted.Load(), Refused: l.refused.Load(),
		})
	}
	return st
}

// Shutdown closes the listening sockets, tells every session to Drain, waits until the last connection has closed or
// ctx is done, cuts what is left and stops the loops. It returns ctx's error if it had to cut. Stop what posts to
// sessions, such as the journal, after it has delivered its last events and before Shutdown returns; later events are
// dropped. A second call waits for the first.
func (s *Server) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	first := !s.closing
	s.closing = true
	s.mu.Unlock()
	if !first {
		<-s.stopped
		return s.err
	}
	close(s.quit)
	for _, l := range s.listeners { // no more are added
		l.ln.Close()
	}
	s.acceptors.Wait()
	for _, l := range s.eng.loops {
		l.run(l.drainSessions)
	}
	for s.err == nil && s.conns.Load() > 0 {
		select {
		case <-s.empty:
		case <-ctx.Done():
			s.err = ctx.Err()
		}
	}
	s.eng.stop()
	s.env.pool.close()
	close(s.stopped)
	return s.err
}

func (l *loop) drainSessions() {
	for _, t := range l.conns {
		switch {
		case t.state == stateOpening:
			t.kill(ErrServerClosed)
		case t.state == stateUp && !t.closeNow:
			if t.touch(); t.ws != nil {
				t.ws.goingAway = true
			}
			t.guard("Drain", t.sess.Drain)
		}
	}
}
