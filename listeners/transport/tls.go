package transport

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// tlsLayer runs crypto/tls over memory. The handshake must be able to block, so it has a goroutine; afterwards the loop
// reads and writes the tls.Conn itself. "No bytes yet" is told to crypto/tls as an expired read deadline, the one error
// of Read after which it goes on where it was. Write never fails temporarily: that would break the tls.Conn for good.
type tlsLayer struct {
	t        *Conn
	tc       *tls.Conn
	ready    bool // handshake done; loop only, as is notified
	notified bool

	// in is ciphertext not yet read: under mu during the handshake, loop only when ready.
	mu      sync.Mutex
	arrived sync.Cond
	in      []byte
	begun   bool
	aborted bool
}

func newTLSLayer(t *Conn) *tlsLayer {
	s := &tlsLayer{t: t}
	s.arrived.L = &s.mu
	s.tc = tls.Server(memConn{s}, t.lst.TLS)
	return s
}

// handshake computes under the gate's bound, which memConn.Read gives up while it waits for the peer: silent peers must
// not keep others from their handshakes. The connection's deadline ends it.
func (s *tlsLayer) handshake() {
	gate := s.t.loop.env.tlsGate
	gate <- struct{}{}
	err := s.tc.Handshake()
	<-gate
	s.t.loop.run(func() { s.established(err) })
}

func (s *tlsLayer) established(err error) {
	t := s.t
	if t.state != stateOpening || t.closeNow {
		return
	}
	if err != nil {
		t.fail(err)
		return
	}
	state := s.tc.ConnectionState()
	t.info.TLS, t.info.identify = &state, t.lst.Identify
	s.ready = true
	t.secured()
	t.resume(pausedHandshake)
	t.fail(s.decode(nil))
}

// abort ends a handshake that waits for bytes.
func (s *tlsLayer) abort() {
	s.mu.Lock()
	s.aborted = true
	s.mu.Unlock()
	s.arrived.Broadcast()
}

// decode takes ciphertext and feeds the session with what it contains, until the session pauses.
func (s *tlsLayer) decode(p []byte) error {
	if !s.ready {
		return s.collect(p)
	}
	own := len(s.in) > 0
	if own {
		s.in = append(s.in, p...)
	} else {
		s.in = p
	}
	err := s.read()
	switch {
	case len(s.in) == 0:
		s.in = nil
	case !own:
		s.in = bytes.Clone(s.in)
	}
	s.push()
	return err
}

func (s *tlsLayer) read() error {
	t := s.t
	l := t.loop
	if l.plain == nil {
		l.plain = make([]byte, 16<<10)
	}
	for t.reading() {
		n, err := s.tc.Read(l.plain)
		if n > 0 {
			if err := t.plaintext(l.plain[:n]); err != nil {
				return err
			}
		}
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return nil
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// collect gives p to the handshake's goroutine. A client may send application data before our side has checked its
// Finished message, so what piles up is bounded.
func (s *tlsLayer) collect(p []byte) error {
	s.mu.Lock()
	s.in = append(s.in, p...)
	n, begun := len(s.in), s.begun
	s.begun = true
	s.mu.Unlock()
	if !begun {
		go s.handshake()
	}
	s.arrived.Signal()
	switch {
	case n > maxHeldBack:
		return ErrOverrun
	case n > maxEarlyData && s.t.paused == 0:
		s.t.pause(pausedHandshake)
	case s.t.paused != 0:
		s.t.sock.readable(false)
	}
	return nil
}

func (s *tlsLayer) encode(p []byte) {
	if !s.ready {
		return
	}
	if _, err := s.tc.Write(p); err != nil {
		s.t.kill(err)
	}
	s.push()
}

func (s *tlsLayer) closeNotify() {
	s.notified = true
	_ = s.tc.CloseWrite()
	s.push()
}

// push writes what crypto/tls has produced.
func (s *tlsLayer) push() {
	l := s.t.loop
	w := l.wire
	if len(w) == 0 {
		return
	}
	l.wire = nil
	if s.t.state != stateDead {
		s.t.send(w)
	}
	if cap(w) <= bufMax && l.wire == nil {
		l.wire = w[:0]
	}
}

// memConn is the net.Conn under the tls.Conn.
type memConn struct{ s *tlsLayer }

func (m memConn) Read(p []byte) (int, error) {
	s := m.s
	if s.ready {
		if len(s.in) == 0 {
			return 0, os.ErrDeadlineExceeded
		}
		n := copy(p, s.in)
		s.in = s.in[n:]
		return n, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.in) == 0 && !s.aborted {
		gate := s.t.loop.env.tlsGate
		<-gate
		for len(s.in) == 0 && !s.aborted {
			s.arrived.Wait()
		}
		s.mu.Unlock()
		gate <- struct{}{}
		s.mu.Lock()
	}
	if s.aborted {
		return 0, io.EOF
	}
	n := copy(p, s.in)
	s.in = s.in[n:]
	return n, nil
}

func (m memConn) Write(p []byte) (int, error) {
	t := m.s.t
	if m.s.ready {
		t.loop.wire = append(t.loop.wire, p...)
		return len(p), nil
	}
	b := bytes.Clone(p)
	sent := t.loop.run(func() {
		if t.state <= stateClosing {
			t.send(b)
		}
	})
	if !sent {
		return 0, net.ErrClosed
	}
	return len(p), nil
}

func (m memConn) Close() error                     { return nil }
func (m memConn) LocalAddr() net.Addr              { return m.s.t.info.Local }
func (m memConn) RemoteAddr() net.Addr             { return m.s.t.info.Remote }
func (m memConn) SetDeadline(time.Time) error      { return nil }
func (m memConn) SetReadDeadline(time.Time) error  { return nil }
func (m memConn) SetWriteDeadline(time.Time) error { return nil }
