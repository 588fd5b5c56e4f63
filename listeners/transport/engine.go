package transport

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"reflect"
	"runtime/debug"
	"sync"
	"time"

	"github.com/panjf2000/gnet/v2"
	"golang.org/x/sys/unix"
)

// engine runs gnet without listeners: connections are accepted with net and enrolled. That survives running out of file
// descriptors, which ends gnet's own acceptor, and it knows which listener a connection came from.
type engine struct {
	gnet.BuiltinEventEngine
	env   *env
	cli   *gnet.Client
	loops []*loop // complete once started

	mu   sync.Mutex
	byEL map[gnet.EventLoop]*loop

	rings chan *loop
	kick  chan struct{}
	quit  chan struct{}
	wg    sync.WaitGroup
}

func startEngine(e *env, loops int, tick time.Duration) (*engine, error) {
	g := &engine{
		env: e, byEL: map[gnet.EventLoop]*loop{},
		rings: make(chan *loop, loops), kick: make(chan struct{}, 1), quit: make(chan struct{}),
	}
	e.handRing = func(l *loop) { g.rings <- l } // one place per loop: each has at most one ring outstanding
	e.stalled = func() {
		select {
		case g.kick <- struct{}{}:
		default:
		}
	}
	// No delay option: net has already set TCP_NODELAY, and gnet would leak a descriptor if setting it failed.
	cli, err := gnet.NewClient(g, gnet.WithNumEventLoop(loops), gnet.WithLogger(gnetLog{e.log}),
		gnet.WithTCPNoDelay(gnet.TCPDelay))
	if err != nil {
		return nil, err
	}
	g.cli = cli
	if err := cli.Start(); err != nil {
		return nil, err
	}
	g.wg.Go(g.ringer)
	if err := g.discover(loops); err != nil {
		g.stop()
		return nil, err
	}
	g.wg.Go(func() { g.ticker(tick) })
	return g, nil
}

// enroll moves nc to a loop and returns when its open has run there.
func (g *engine) enroll(nc net.Conn, ctx any) error {
	_, err := g.cli.EnrollContext(nc, ctx)
	return err
}

// stop closes what is still connected and ends all goroutines.
func (g *engine) stop() {
	if err := g.cli.Stop(); err != nil {
		g.env.log.Error("stopping the event loops", "error", err)
	}
	close(g.quit)
	g.wg.Wait()
	for _, l := range g.loops {
		l.stop()
	}
}

// ringer rings loops that want their sockets to be served before the next doorbell.
func (g *engine) ringer() {
	for {
		select {
		case <-g.quit:
			return
		case l := <-g.rings:
			l.ring()
		}
	}
}

// ticker is the loops' clock: all of them at every tick, those with stalled connections every millisecond.
func (g *engine) ticker(interval time.Duration) {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	fast := time.NewTimer(time.Hour)
	defer fast.Stop()
	for armed := false; ; {
		select {
		case <-g.quit:
			return
		case <-tick.C:
			for _, l := range g.loops {
				l.wantTick.Store(true)
				l.bell()
			}
		case <-g.kick:
			if !armed {
				armed = true
				fast.Reset(time.Millisecond)
			}
		case <-fast.C:
			armed = false
			for _, l := range g.loops {
				if l.nstalled.Load() > 0 {
					armed = true
					l.wantStall.Store(true)
					l.bell()
				}
			}
			if armed {
				fast.Reset(time.Millisecond)
			}
		}
	}
}

// ---- gnet's callbacks

func (g *engine) loopOf(c gnet.Conn) *loop {
	el := c.EventLoop()
	g.mu.Lock()
	defer g.mu.Unlock()
	l := g.byEL[el]
	if l == nil {
		l = newLoop(g.env)
		l.ring = func() { _ = el.Execute(context.Background(), l) } // fails only when the loop has ended
		l.epfd = epollOf(c)
		g.byEL[el] = l
		g.loops = append(g.loops, l)
	}
	return l
}

// OnOpen implements gnet.EventHandler.
func (g *engine) OnOpen(c gnet.Conn) ([]byte, gnet.Action) {
	switch t := c.Context().(type) {
	case *probe:
		t.loop = g.loopOf(c)
		t.sock = &gnetSocket{c: c, l: t.loop}
	case *Conn:
		l := g.loopOf(c)
		t.loop, t.sock = l, &gnetSocket{c: c, l: l}
		if d := t.lst.StallTimeout; d > 0 && t.lst.Network != "unix" {
			setUserTimeout(c.Fd(), max(d, minUserTimeout))
		}
		l.begin()
		g.guard(t, t.open)
		l.endTurn()
	}
	return nil, gnet.None
}

// OnTraffic implements gnet.EventHandler.
func (g *engine) OnTraffic(c gnet.Conn) gnet.Action {
	p, _ := c.Next(-1)
	switch t := c.Context().(type) {
	case *probe:
		t.read(p)
	case *Conn:
		l := t.loop
		l.begin()
		g.guard(t, func() { t.received(p) })
		g.guard(t, l.endTurn)
	}
	return gnet.None
}

// OnClose implements gnet.EventHandler. It can run inside a write of the same connection, within a turn.
func (g *engine) OnClose(c gnet.Conn, err error) gnet.Action {
	t, ok := c.Context().(*Conn)
	if !ok {
		return gnet.None
	}
	l := t.loop
	nested := l.inTurn
	if !nested {
		l.begin()
	}
	g.guard(t, func() { t.closed(err) })
	if !nested {
		g.guard(t, l.endTurn)
	}
	return gnet.None
}

// guard keeps a bug of ours to the connection it showed on.
func (g *engine) guard(t *Conn, f func()) {
	defer func() {
		if r := recover(); r != nil {
			g.env.log.Error("panic in the transport", "remote", t.info.Remote, "panic", r, "stack", string(debug.Stack()))
			t.kill(ErrPanic)
		}
	}()
	f()
}

// gnetSocket is a gnet connection as a socket. Loop only.
type gnetSocket struct {
	c gnet.Conn
	l *loop
}

func (s *gnetSocket) Write(p []byte) (int, error) { return s.c.Write(p) }
func (s *gnetSocket) Flush() error                { return s.c.Flush() }
func (s *gnetSocket) OutboundBuffered() int       { return s.c.OutboundBuffered() }
func (s *gnetSocket) unsent() int                 { return s.c.OutboundBuffered() + kernelUnsent(s.c.Fd()) }
func (s *gnetSocket) close()                      { _ = s.c.EventLoop().Close(s.c) }
func (s *gnetSocket) closeWrite()                 { _ = unix.Shutdown(s.c.Fd(), unix.SHUT_WR) }

func (s *gnetSocket) readable(on bool) {
	if s.l.pausable {
		setReadable(s.l.epfd, s.c.Fd(), on, s.c.OutboundBuffered() > 0)
	}
}

// ---- boot

// probe is a connection of ours to a loop: it makes the loop known and shows whether pausing works there.
type probe struct {
	loop *loop
	sock *gnetSocket
	peer *os.File
	got  chan struct{}
	seen int // loop only
}

func (p *probe) read(b []byte) {
	if p.seen += len(b); len(b) > 0 {
		select {
		case p.got <- struct{}{}:
		default:
		}
	}
}

// discover enrolls probes until every loop has one; gnet picks the loop with the fewest connections.
func (g *engine) discover(loops int) error {
	var probes []*probe
	defer func() {
		for _, p := range probes {
			p.peer.Close()
		}
	}()
	for i := 0; i < 4*loops && len(g.loops) < loops; i++ {
		p, err := g.probe()
		if err != nil {
			return fmt.Errorf("probing the event loops: %w", err)
		}
		probes = append(probes, p)
	}
	if len(g.loops) < loops {
		return errors.New("probing the event loops: some get no connections")
	}
	for _, p := range probes {
		p.loop.run(func() { p.loop.pausable = p.loop.epfd >= 0 })
		if !p.pauses() {
			g.env.log.Warn("reading cannot be paused on this system; peers that overrun a paused connection are closed")
			p.wait(func() { p.loop.pausable = false })
		}
	}
	return nil
}

func (g *engine) probe() (*probe, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		return nil, os.NewSyscallError("socketpair", err)
	}
	ours := os.NewFile(uintptr(fds[0]), "probe")
	p := &probe{peer: os.NewFile(uintptr(fds[1]), "probe"), got: make(chan struct{}, 1)}
	nc, err := net.FileConn(ours)
	ours.Close()
	if err == nil {
		err = g.enroll(nc, p)
	}
	if err == nil && p.loop == nil {
		err = errors.New("no loop took the connection")
	}
	if err != nil {
		p.peer.Close()
		return nil, err
	}
	return p, nil
}

// wait runs f on the probe's loop and waits for it. As the loop looks at its sockets and its tasks together, whatever
// was readable before the second wait has been read when that returns.
func (p *probe) wait(f func()) {
	done := make(chan struct{})
	if p.loop.run(func() { f(); close(done) }) {
		<-done
	}
}

// pauses tells whether a paused connection stays silent and a resumed one does not.
func (p *probe) pauses() bool {
	p.wait(func() { p.sock.readable(false) })
	if _, err := p.peer.Write([]byte{1}); err != nil {
		return false
	}
	p.wait(func() {})
	silent := false
	p.wait(func() { silent = p.seen == 0 })
	p.wait(func() { p.sock.readable(true) })
	select {
	case <-p.got:
		return silent
	case <-time.After(2 * time.Second):
		return false
	}
}

// epollOf returns the epoll descriptor of c's loop, or -1. gnet does not export it; reading an unexported integer by
// reflection is allowed, and the probe proves that it is the right one.
func epollOf(c gnet.Conn) (fd int) {
	defer func() {
		if recover() != nil {
			fd = -1
		}
	}()
	v := reflect.ValueOf(c)
	for _, field := range []string{"loop", "poller"} {
		v = v.Elem().FieldByName(field)
	}
	return int(v.Elem().FieldByName("fd").Int())
}

// gnetLog gives gnet's logger interface to slog. gnet's own information at boot is of no interest.
type gnetLog struct{ log *slog.Logger }

func (g gnetLog) Debugf(string, ...any)     {}
func (g gnetLog) Infof(string, ...any)      {}
func (g gnetLog) Warnf(f string, a ...any)  { g.log.Warn(fmt.Sprintf("gnet: "+f, a...)) }
func (g gnetLog) Errorf(f string, a ...any) { g.log.Error(fmt.Sprintf("gnet: "+f, a...)) }
func (g gnetLog) Fatalf(f string, a ...any) { g.log.Error(fmt.Sprintf("gnet: "+f, a...)) }
