package transport

import (
	"errors"
	"runtime/debug"
	"time"
)

// socket is what a connection needs of the thing that carries its bytes: a gnet connection, or a Manual's.
type socket interface {
	Write(p []byte) (int, error)
	Flush() error // tries to send what is pending
	OutboundBuffered() int
	unsent() int      // bytes that have not reached the peer, the kernel's included
	readable(on bool) // whether input is wanted
	closeWrite()
	close() // leads to Conn.closed before it returns
}

type connState uint8

const (
	stateOpening   connState = iota // PROXY header, TLS handshake
	stateUp                         // between Start and the end
	stateClosing                    // output is being flushed, the session gets only Closed
	stateLingering                  // Closed has run, our FIN is out, input is thrown away
	stateDead
)

// pausedHandshake is the transport's own reason to pause, beside the session's eight.
const pausedHandshake = 1 << 8

// Conn is the address of a session: hand it to the core and post to it with [Batch.Add], from anywhere and for as long
// as you like. It has no exported methods of its own beyond Post and Info.
type Conn struct {
	loop     *loop
	sock     socket
	sess     Session
	lst      *listener
	proxy    *proxyLayer // until the header is complete
	attached bool        // came through Attach, not through the listener's socket
	tls      *tlsLayer
	ws       *wsLayer
	info     Info
	cause    error // why the transport or the session closes

	tail []byte // input that was not consumed, plain
	need int    // what the session said it needs to go on with tail

	arrived int64  // bytes given to consume
	out     []byte // output of this turn, plain

	deadline  time.Time // of the handshake, of output that does not move, of flushing, of lingering
	written   uint64    // bytes given to the socket
	moved     uint64    // of these, how many had left when last looked at
	index     int       // in loop.conns
	paused    uint16
	state     connState
	renewals  uint8 // of the deadline for the last output
	again     bool  // tail was left over because of a pause: feed it without new bytes
	isTouched bool
	isResumed bool
	isStalled bool
	wasFull   bool
	closeNow  bool
}

// Post adds an event for the session to its mailbox and rings. For goroutines that have no [Batch].
func (t *Conn) Post(ev Event) {
	var b Batch
	b.Add(t, ev)
	t.loop.bell()
}

// Info describes the peer; see [Link.Info].
func (t *Conn) Info() *Info { return &t.info }

// open makes t a connection of its loop. Loop only, like everything below.
func (t *Conn) open() {
	t.loop.add(t)
	t.deadline = t.loop.time().Add(t.lst.HandshakeTimeout)
	t.guard("New", func() { t.sess = t.lst.New() })
	if t.sess == nil {
		t.fail(errors.New("transport: listener made no session"))
		return
	}
	if t.lst.ProxyProtocol || t.attached {
		t.proxy = new(proxyLayer)
		return
	}
	t.secure()
}

func (t *Conn) secure() {
	if t.lst.TLS != nil {
		t.tls = newTLSLayer(t)
		return
	}
	t.secured()
}

// secured begins what is spoken above TLS.
func (t *Conn) secured() {
	if t.lst.WebSocket != nil {
		t.ws = &wsLayer{cfg: t.lst.WebSocket}
		return
	}
	t.start()
}

func (t *Conn) start() {
	t.state = stateUp
	t.deadline = time.Time{}
	t.touch()
	t.guard("Start", func() { t.sess.Start(link{t}) })
}

// ---- input

// received takes what the socket read. p is valid only during the call.
func (t *Conn) received(p []byte) {
	switch {
	case t.state >= stateClosing || t.closeNow:
	case t.paused != 0 && t.state == stateUp:
		t.hold(p)
	default:
		t.fail(t.decode(p))
	}
}

// hold keeps input that was read before the pause took effect.
func (t *Conn) hold(p []byte) {
	held := &t.tail
	switch {
	case t.tls != nil:
		held = &t.tls.in
	case t.ws != nil:
		held = &t.ws.in
	}
	if len(*held)+len(p) > maxHeldBack+t.need {
		t.fail(ErrOverrun)
		return
	}
	*held = append(*held, p...)
	t.again = true
	t.sock.readable(false)
}

func (t *Conn) decode(p []byte) error {
	if t.proxy != nil {
		rest, err := t.proxy.decode(t, p)
		if err != nil || t.proxy != nil {
			return err
		}
		p = rest
	}
	if t.tls != nil {
		return t.tls.decode(p)
	}
	return t.plaintext(p)
}

// plaintext takes what there is above TLS.
func (t *Conn) plaintext(p []byte) error {
	if t.ws != nil {
		return t.ws.decode(t, p)
	}
	return t.consume(p)
}

func (t *Conn) reading() bool {
	wanted := t.state == stateUp || t.state == stateOpening && t.ws != nil
	return wanted && t.paused == 0 && !t.closeNow
}

// consume feeds tail and p to the session. A frame that spans reads is put together in a buffer that grows towards the
// need the session stated, and only as bytes arrive: a stated length alone pins nothing.
func (t *Conn) consume(p []byte) error {
	t.arrived += int64(len(p))
	for t.reading() {
		if len(t.tail) == 0 {
			if len(p) == 0 {
				return nil
			}
			n, err := t.receive(p)
			if err != nil {
				return err
			}
			if p = p[n:]; len(p) == 0 {
				return nil
			}
			t.again = !t.reading()
			t.keep(p)
			return nil
		}

		k := len(p)
		if t.need > len(t.tail) {
			k = min(k, t.need-len(t.tail))
		}
		again := t.again
		t.again = false
		if k == 0 && !again || len(t.tail)+k < t.need {
			t.keep(p)
			return t.checkTail()
		}
		t.keep(p[:k])
		p = p[k:]
		n, err := t.receive(t.tail)
		if err != nil {
			return err
		}
		t.again = !t.reading()
		if t.tail = t.tail[n:]; len(t.tail) == 0 {
			t.tail = nil
		}
		if err := t.checkTail(); err != nil {
			return err
		}
	}
	if len(p) > 0 && t.state == stateUp {
		t.again = true
		t.keep(p)
	}
	return nil
}

func (t *Conn) checkTail() error {
	if len(t.tail) > t.lst.MaxFrame+64<<10 {
		return ErrFrameTooLarge
	}
	return nil
}

// keep appends p to tail. Up to 1 MiB the buffer is made as large as the frame is said to be; beyond, it doubles until
// it is exactly that.
func (t *Conn) keep(p []byte) {
	size := len(t.tail) + len(p)
	if size > cap(t.tail) && (t.need > size || t.tail == nil) {
		grown := max(size, min(t.need, max(2*len(t.tail), 1<<20)))
		t.tail = append(make([]byte, 0, grown), t.tail...)
	}
	t.tail = append(t.tail, p...)
}

func (t *Conn) receive(p []byte) (n int, err error) {
	t.touch()
	defer func() {
		if r := recover(); r != nil {
			t.panicked("Receive", r)
			n, err = 0, nil
		}
	}()
	n, t.need, err = t.sess.Receive(p)
	switch {
	case err != nil:
		return 0, err
	case n < 0 || n > len(p) || t.need < 0:
		panic("Receive consumed more than it was given")
	case t.need > t.lst.MaxFrame:
		return 0, ErrFrameTooLarge
	}
	return n, nil
}

// pump goes on after Resume: with what was held back first, then with the socket.
func (t *Conn) pump() {
	t.isResumed = false
	if t.paused != 0 || t.state >= stateClosing || t.closeNow {
		return
	}
	err := t.consume(nil)
	if err == nil && t.ws != nil && t.reading() {
		err = t.ws.decode(t, nil)
	}
	if err == nil && t.tls != nil && t.tls.ready && t.reading() {
		err = t.tls.decode(nil)
	}
	t.fail(err)
	if t.state <= stateUp && t.paused == 0 {
		t.sock.readable(true)
	}
}

// ---- output

// touch notes that the connection has to be settled at the end of the turn.
func (t *Conn) touch() {
	if !t.isTouched {
		t.isTouched = true
		t.loop.touched = append(t.loop.touched, t)
	}
}

// settle ends the turn for one connection.
func (t *Conn) settle() {
	if t.state == stateUp && !t.closeNow {
		t.guard("EndTurn", t.sess.EndTurn)
	}
	t.isTouched = false
	if !t.closeNow {
		t.flush()
	}
	switch {
	case t.state == stateDead:
	case t.closeNow:
		t.sock.close()
	case t.state == stateClosing:
		t.tryFinish()
	}
}

func (t *Conn) flush() {
	p := t.out
	if t.ws != nil {
		p = t.ws.flush(t, p)
	}
	if t.out = nil; len(p) > 0 && t.state != stateDead {
		if t.tls != nil {
			t.tls.encode(p)
		} else {
			t.send(p)
		}
	}
	t.loop.putBuf(p)
	if t.paused != 0 && t.state != stateDead && t.sock.OutboundBuffered() > 0 {
		t.sock.readable(false) // a partial write re-arms reading in gnet
		t.stall()
	}
}

// send gives p to the socket. An error has closed the connection by the time it returns.
func (t *Conn) send(p []byte) {
	t.written += uint64(len(p))
	_, _ = t.sock.Write(p)
}

func (t *Conn) stall() {
	if t.isStalled {
		return
	}
	t.isStalled = true
	t.loop.stalled = append(t.loop.stalled, t)
	t.loop.nstalled.Add(1)
	t.loop.env.stalled()
}

func (t *Conn) stillStalled() bool {
	if t.state >= stateLingering {
		return false
	}
	if t.paused != 0 && t.sock.OutboundBuffered() > 0 {
		// Without EPOLLOUT: gnet would take up reading again when its own flush completes.
		_ = t.sock.Flush()
		if t.state == stateDead {
			return false
		}
		t.sock.readable(false)
	}
	if t.state == stateClosing {
		t.touch()
		return true
	}
	pending := t.sock.OutboundBuffered() + len(t.out)
	if t.wasFull && pending <= lowWater {
		t.wasFull = false
		if t.state == stateUp && !t.closeNow {
			t.touch()
			t.guard("Drained", t.sess.Drained)
		}
	}
	return t.wasFull || t.paused != 0 && pending > 0
}

// ---- the end

// fail closes the connection for err, if there is one, after what is written has been flushed.
func (t *Conn) fail(err error) {
	if err == nil || t.state >= stateClosing {
		return
	}
	if t.cause == nil {
		t.cause = err
	}
	if t.state == stateOpening && t.tls == nil && t.ws == nil {
		t.kill(err)
		return
	}
	t.closeAfterFlush()
}

// kill closes at the end of the turn and drops the output.
func (t *Conn) kill(err error) {
	if t.state == stateDead || t.closeNow {
		return
	}
	if t.cause == nil {
		t.cause = err
	}
	t.closeNow = true
	t.touch()
}

func (t *Conn) closeAfterFlush() {
	if t.state >= stateClosing {
		return
	}
	t.state = stateClosing
	t.deadline = t.loop.time().Add(flushTimeout)
	t.moved = t.written - uint64(t.sock.unsent())
	t.touch() // not now: a write can end in Closed, which must not run inside the session's call
}

// tryFinish ends the session once everything is in the kernel. The socket lingers: closing it with unread input would
// send a reset, which can destroy the last bytes on their way.
func (t *Conn) tryFinish() {
	if t.tls != nil && t.tls.ready && !t.tls.notified {
		t.tls.closeNotify()
		if t.state == stateDead {
			return
		}
	}
	if t.sock.OutboundBuffered() > 0 {
		if !t.worthWaiting(t.loop.time(), flushTimeout) {
			t.sock.close()
			return
		}
		t.stall()
		return
	}
	t.state = stateLingering
	t.deadline, t.renewals = t.loop.time().Add(lingerTimeout), 0
	t.release()
	t.sock.closeWrite()
	if t.paused != 0 {
		t.sock.readable(true)
	}
	t.finish(t.cause)
}

// worthWaiting reports whether the last output is worth waiting for: there is time left, or some of it has reached the
// peer since this was last asked in vain. A peer that takes a little now and then is not waited for for ever.
func (t *Conn) worthWaiting(now time.Time, more time.Duration) bool {
	if !now.After(t.deadline) {
		return true
	}
	moved := t.written - uint64(t.sock.unsent())
	if moved == t.moved || t.renewals == maxRenewals {
		return false
	}
	t.moved, t.deadline = moved, now.Add(more)
	t.renewals++
	return true
}

// closed is called by the socket, once, when it is gone; possibly from inside a write.
func (t *Conn) closed(err error) {
	if t.state == stateDead {
		return
	}
	told := t.state == stateLingering
	// A peer may hang up as soon as it has read the last byte, before our loop notices that it is out.
	flushed := t.state == stateClosing && t.sock.OutboundBuffered() == 0 && (t.tls == nil || t.tls.notified)
	t.state = stateDead
	t.release()
	t.loop.remove(t)
	t.loop.env.released(t)
	if told {
		return
	}
	switch {
	case t.cause != nil:
		err = t.cause
	case t.closeNow || flushed:
		err = nil
	case err == nil:
		err = ErrServerClosed
	}
	t.finish(err)
}

func (t *Conn) finish(err error) {
	if t.sess != nil {
		t.guard("Closed", func() { t.sess.Closed(err) })
	}
}

func (t *Conn) release() {
	t.tail, t.proxy = nil, nil
	t.loop.putBuf(t.out)
	t.out = nil
	if t.ws != nil {
		t.ws.in, t.ws.replies = nil, nil
	}
	if t.tls != nil {
		t.tls.abort()
	}
}

func (t *Conn) tick(now time.Time) {
	switch t.state {
	case stateUp:
		if t.closeNow || t.stuck(now) {
			return
		}
		if t.ws != nil {
			t.ws.tick(t, now)
		}
		t.touch()
		t.guard("Tick", func() { t.sess.Tick(now) })
	case stateOpening:
		if now.After(t.deadline) {
			t.kill(ErrHandshakeTimeout)
		}
	case stateLingering:
		if !t.worthWaiting(now, lingerTimeout) {
			t.kill(nil)
		}
	}
}

// stuck ends a connection whose output has not moved for too long.
func (t *Conn) stuck(now time.Time) bool {
	pending := t.sock.OutboundBuffered()
	moved := t.written - uint64(pending)
	switch {
	case t.lst.StallTimeout <= 0 || pending == 0:
		t.deadline = time.Time{}
	case moved != t.moved || t.deadline.IsZero():
		t.deadline = now.Add(t.lst.StallTimeout)
	case now.After(t.deadline):
		t.kill(ErrStalled)
		return true
	}
	t.moved = moved
	return false
}

// guard calls into the session and turns a panic into the end of this connection.
func (t *Conn) guard(method string, f func()) {
	defer func() {
		if r := recover(); r != nil {
			t.panicked(method, r)
		}
	}()
	f()
}

func (t *Conn) panicked(method string, r any) {
	t.loop.env.log.Error("session panicked", "listener", t.info.Listener, "remote", t.info.Remote, "method", method,
		"panic", r, "stack", string(debug.Stack()))
	t.kill(ErrPanic)
}

// ---- Link

// link is the session's view of a Conn, apart so that *Conn, which travels, offers nothing that is loop-only.
type link struct{ t *Conn }

func (l link) open() bool { return l.t.state == stateUp && !l.t.closeNow }

func (l link) Write(p []byte) {
	if l.open() {
		l.SetOut(append(l.Out(), p...))
	}
}

func (l link) Out() []byte {
	t := l.t
	if t.out == nil && l.open() {
		t.out = t.loop.getBuf()
	}
	if t.ws != nil && l.open() {
		return append(t.out, make([]byte, frameReserve)...)
	}
	return t.out
}

func (l link) SetOut(b []byte) {
	if !l.open() {
		return
	}
	if w := l.t.ws; w != nil {
		b = w.frame(b, len(l.t.out))
	}
	l.t.out = b
	l.t.touch()
}

func (l link) Full() bool {
	t := l.t
	if !l.open() || len(t.out)+t.sock.OutboundBuffered() <= highWater {
		return false
	}
	t.wasFull = true
	t.stall()
	return true
}

func (l link) Pause(why uint8)  { l.t.pause(uint16(why)) }
func (l link) Resume(why uint8) { l.t.resume(uint16(why)) }

func (t *Conn) pause(why uint16) {
	was := t.paused
	t.paused |= why
	if was == 0 && t.paused != 0 && t.state <= stateUp {
		t.sock.readable(false)
		if t.sock.OutboundBuffered() > 0 {
			t.stall()
		}
	}
}

func (t *Conn) resume(why uint16) {
	was := t.paused
	t.paused &^= why
	if was != 0 && t.paused == 0 && !t.isResumed && t.state <= stateUp {
		t.isResumed = true
		t.loop.resumed = append(t.loop.resumed, t) // not now: Receive is never called from within the session
	}
}

func (l link) CloseAfterFlush() {
	if l.open() {
		l.t.closeAfterFlush()
	}
}

func (l link) Close() {
	if l.t.state <= stateClosing {
		l.t.kill(nil)
	}
}

func (l link) Batch() *Batch  { return &l.t.loop.batch }
func (l link) Target() *Conn  { return l.t }
func (l link) Post(ev Event)  { l.t.Post(ev) }
func (l link) Info() *Info    { return &l.t.info }
func (l link) Arrived() int64 { return l.t.arrived }
func (l link) Now() time.Time { return l.t.loop.time() }

func (l link) Offload(f func() Event) bool {
	t := l.t
	return t.loop.env.pool.submit(func() {
		defer func() {
			if r := recover(); r != nil {
				t.loop.run(func() { t.panicked("Offload", r) })
			}
		}()
		t.Post(f())
	})
}
