package transport

import (
	"bytes"
	"log/slog"
	"time"
)

// Manual is an event loop without sockets that its caller turns. Sessions are tested, fuzzed and simulated on it with
// the very code that runs them in the server, without network, goroutines or real time. Its methods must be called from
// one goroutine; [Batch.Add], [Conn.Post] and Offload may be used from any.
type Manual struct {
	loop *loop
	now  time.Time
}

// NewManual returns a loop whose clock stands at now and moves only with Tick.
func NewManual(now time.Time) *Manual {
	m := &Manual{now: now}
	m.loop = newLoop(&env{
		log:      slog.New(slog.DiscardHandler),
		pool:     &pool{workers: 8, depth: 1024},
		tlsGate:  make(chan struct{}, 1),
		stalled:  func() {},
		handRing: func(*loop) {},
		released: func(*Conn) {},
	})
	m.loop.ring = func() {}
	m.loop.clock = func() time.Time { return m.now }
	return m
}

// Open connects a peer to a new session, and runs a turn.
func (m *Manual) Open(s Session, info Info) *Peer {
	return m.open(s, info, Listener{Name: info.Listener})
}

func (m *Manual) open(s Session, info Info, l Listener) *Peer {
	l.New = func() Session { return s }
	return m.OpenOn(l, info)
}

// OpenOn connects a peer to a listener, which makes the session, and runs a turn. What l says is spoken is spoken here
// too: PROXY protocol, TLS, WebSocket. It panics where [Server.Listen] would refuse l. With TLS the handshake computes
// on a goroutine of its own: run turns until it is through.
func (m *Manual) OpenOn(cfg Listener, info Info) *Peer {
	l, err := newListener(cfg)
	if err != nil {
		panic(err)
	}
	p := &Peer{m: m, window: -1}
	info.Listener = l.Name
	p.conn = &Conn{loop: m.loop, sock: (*manualSocket)(p), info: info, lst: l}
	m.turn(p.conn.open)
	return p
}

// Turn handles all events that have been posted, and what follows from them.
func (m *Manual) Turn() { m.turn(func() {}) }

// Tick moves the clock to now, ticks every session and looks at stalled output.
func (m *Manual) Tick(now time.Time) {
	m.now = now
	m.loop.wantTick.Store(true)
	m.Turn()
}

// Drain tells every session that the server shuts down.
func (m *Manual) Drain() { m.turn(m.loop.drainSessions) }

// Connections returns how many connections are open.
func (m *Manual) Connections() int { return len(m.loop.conns) }

func (m *Manual) turn(f func()) {
	m.loop.begin()
	f()
	m.loop.wantStall.Store(len(m.loop.stalled) > 0)
	for m.loop.turn() {
		m.loop.begin()
	}
	m.loop.belled.Store(false)
}

// Peer is the other end of a connection of a Manual.
type Peer struct {
	m       *Manual
	conn    *Conn
	sent    bytes.Buffer // has reached the peer
	pending bytes.Buffer // waits for window
	window  int          // bytes the peer still takes; negative: any number
	paused  bool
	eof     bool
	gone    bool
}

// Send gives the session bytes from the peer, as one read, and runs a turn. While the session has paused reading, the
// transport holds the bytes back. p is not kept.
func (p *Peer) Send(b []byte) {
	if !p.gone {
		p.m.turn(func() { p.conn.received(bytes.Clone(b)) })
	}
}

// Output returns what has reached the peer since the last call.
func (p *Peer) Output() []byte {
	b := bytes.Clone(p.sent.Bytes())
	p.sent.Reset()
	return b
}

// Window lets n more bytes through to the peer and holds further output back as pending; negative n lets everything
// through, which is how a peer begins. It runs a turn.
func (p *Peer) Window(n int) {
	p.window = n
	p.m.turn(func() { _ = (*manualSocket)(p).Flush() })
}

// HangUp closes from the peer's side: the session gets Closed with err.
func (p *Peer) HangUp(err error) {
	if !p.gone {
		p.m.turn(func() { p.gone = true; p.conn.closed(err) })
	}
}

// Conn is the session's address.
func (p *Peer) Conn() *Conn { return p.conn }

// Paused reports whether the session has paused reading.
func (p *Peer) Paused() bool { return p.paused }

// EOF reports whether the session's end has closed: everything it wrote has reached the peer, or it cut.
func (p *Peer) EOF() bool { return p.eof || p.gone }

type manualSocket Peer

func (s *manualSocket) Write(p []byte) (int, error) {
	s.pending.Write(p)
	return len(p), s.Flush()
}

func (s *manualSocket) Flush() error {
	n := s.pending.Len()
	if s.window >= 0 {
		n = min(n, s.window)
		s.window -= n
	}
	s.sent.Write(s.pending.Next(n))
	return nil
}

func (s *manualSocket) OutboundBuffered() int { return s.pending.Len() }
func (s *manualSocket) unsent() int           { return s.pending.Len() }
func (s *manualSocket) readable(on bool)      { s.paused = !on }

func (s *manualSocket) closeWrite() { // a peer that closes in answer
	s.eof = true
	s.close()
}

func (s *manualSocket) close() {
	if !s.gone {
		s.gone = true
		s.conn.closed(nil)
	}
}
