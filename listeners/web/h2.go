package web

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/hermodmq/hermod/broker"
	"github.com/hermodmq/hermod/listeners/transport"
	"github.com/hermodmq/hermod/listeners/web/wire"
)

// h2Buffer bounds what waits between the loop and net/http in each direction,
// in bytes; HTTP/2's own windows bound it further.
const h2Buffer = 1 << 20

// h2Conn is a connection of the transport as a net.Conn that net/http serves
// HTTP/2 on. The loop puts bytes in and takes bytes out; net/http's goroutines
// block on it.
type h2Conn struct {
	conn   *conn
	server *http.Server

	mu      sync.Mutex
	moved   sync.Cond // something below changed
	in      []byte
	pending int  // bytes of output the loop has not taken
	full    bool // the link's output is above its mark
	ended   bool // no more input
	quit    bool // Close was called
	late    time.Time
	alarm   *time.Timer
}

// newH2 starts HTTP/2 on c.
func newH2(c *conn, _ []byte) *h2Conn {
	h := &h2Conn{conn: c}
	h.moved.L = &h.mu
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true) // TLS, if any, is off already
	h.server = &http.Server{
		Handler: http.HandlerFunc(h.serve), Protocols: protocols, IdleTimeout: c.opt.IdleTimeout,
		ReadHeaderTimeout: c.opt.HeadTimeout, MaxHeaderBytes: c.opt.Limits.Head,
		HTTP2: &http.HTTP2Config{MaxConcurrentStreams: 256},
	}
	go func() { _ = h.server.Serve(&oneConn{conn: h, done: make(chan struct{})}) }()
	return h
}

// oneConn is a listener that accepts one connection.
type oneConn struct {
	conn *h2Conn
	once sync.Once
	done chan struct{}
}

func (l *oneConn) Accept() (net.Conn, error) {
	var c net.Conn
	l.once.Do(func() { c = l.conn })
	if c != nil {
		return c, nil
	}
	<-l.done
	return nil, net.ErrClosed
}

func (l *oneConn) Close() error {
	select {
	case <-l.done:
	default:
		close(l.done)
	}
	return nil
}

func (l *oneConn) Addr() net.Addr { return l.conn.LocalAddr() }

// receive takes input on the loop.
func (h *h2Conn) receive(p []byte) int {
	h.mu.Lock()
	h.in = append(h.in, p...)
	over := len(h.in) > h2Buffer
	h.mu.Unlock()
	h.moved.Broadcast()
	if over {
		h.conn.pause(whyHTTP2)
	}
	return len(p)
}

// output puts what net/http wrote on the link.
func (h *h2Conn) output(p []byte) {
	if len(p) > 0 {
		h.conn.link.Write(p)
	}
	h.mu.Lock()
	h.pending -= len(p)
	h.full = h.conn.link.Full()
	resume := len(h.in) <= h2Buffer/2
	h.mu.Unlock()
	h.moved.Broadcast()
	if resume {
		h.conn.resume(whyHTTP2)
	}
}

func (h *h2Conn) drained() {
	h.mu.Lock()
	h.full = false
	h.mu.Unlock()
	h.moved.Broadcast()
}

// shutdown lets requests that are being served finish, on a goroutine.
func (h *h2Conn) shutdown() {
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		_ = h.server.Shutdown(ctx)
		h.Close()
	}()
}

// closed says that the transport has closed the connection.
func (h *h2Conn) closed() {
	h.mu.Lock()
	h.ended, h.quit = true, true
	h.mu.Unlock()
	h.moved.Broadcast()
	go func() { _ = h.server.Close() }()
}

// Read implements net.Conn.
func (h *h2Conn) Read(p []byte) (int, error) {
	h.mu.Lock()
	for len(h.in) == 0 && !h.ended && !h.quit && !h.expired() {
		h.moved.Wait()
	}
	n := copy(p, h.in)
	h.in = h.in[n:]
	if len(h.in) == 0 {
		h.in = nil
	}
	resume := len(h.in) <= h2Buffer/2
	quit, expired := h.quit, h.expired()
	h.mu.Unlock()
	if n > 0 {
		if resume && n == len(p) || resume {
			h.conn.link.Post(transport.Event{Kind: eventOutput, P: []byte(nil)}) // the loop looks whether to read on
		}
		return n, nil
	}
	switch {
	case quit:
		return 0, net.ErrClosed
	case expired:
		return 0, os.ErrDeadlineExceeded
	}
	return 0, io.EOF
}

// Write implements net.Conn.
func (h *h2Conn) Write(p []byte) (int, error) {
	h.mu.Lock()
	for (h.pending > h2Buffer || h.full) && !h.quit {
		h.moved.Wait()
	}
	if h.quit {
		h.mu.Unlock()
		return 0, net.ErrClosed
	}
	h.pending += len(p)
	h.mu.Unlock()
	h.conn.link.Post(transport.Event{Kind: eventOutput, P: append([]byte(nil), p...)})
	return len(p), nil
}

// Close implements net.Conn.
func (h *h2Conn) Close() error {
	h.mu.Lock()
	h.quit = true
	h.mu.Unlock()
	h.moved.Broadcast()
	h.conn.link.Post(transport.Event{Kind: eventClose})
	return nil
}

// LocalAddr implements net.Conn.
func (h *h2Conn) LocalAddr() net.Addr { return h.conn.link.Info().Local }

// RemoteAddr implements net.Conn.
func (h *h2Conn) RemoteAddr() net.Addr { return h.conn.link.Info().Remote }

// SetDeadline implements net.Conn.
func (h *h2Conn) SetDeadline(t time.Time) error { return h.SetReadDeadline(t) }

// SetReadDeadline implements net.Conn.
func (h *h2Conn) SetReadDeadline(t time.Time) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.late = t
	if h.alarm != nil {
		h.alarm.Stop()
		h.alarm = nil
	}
	if !t.IsZero() {
		h.alarm = time.AfterFunc(time.Until(t), h.moved.Broadcast)
	}
	return nil
}

// SetWriteDeadline implements net.Conn: the transport gives up peers that do
// not read.
func (h *h2Conn) SetWriteDeadline(time.Time) error { return nil }

func (h *h2Conn) expired() bool { return !h.late.IsZero() && !time.Now().Before(h.late) }

// h2Exchange is what an Exchange over HTTP/2 has instead of a connection.
type h2Exchange struct{ done chan struct{} }

// serve is one request of HTTP/2 on its goroutine.
func (h *h2Conn) serve(w http.ResponseWriter, r *http.Request) {
	body, err := readBody(r, h.conn.opt.Limits.Body)
	if err != nil {
		status := http.StatusBadRequest
		if errors.As(err, new(*http.MaxBytesError)) {
			status = http.StatusRequestEntityTooLarge
		}
		kind, text := h.conn.opt.Refuse(status, "the request body cannot be read")
		w.Header().Set("Content-Type", kind)
		w.WriteHeader(status)
		_, _ = w.Write(text)
		return
	}
	x := &Exchange{conn: h.conn, h2: &h2Exchange{done: make(chan struct{})}, Request: requestOf(r, body)}
	batch := transport.NewBatch()
	h.conn.handler.Serve(&broker.Turn{Now: time.Now().UnixMilli(), Bells: batch}, x)
	batch.Flush()
	x.Request = nil
	select {
	case <-x.h2.done:
	case <-r.Context().Done():
		x.lose()
		return
	}
	for _, f := range x.response.Header {
		w.Header().Add(f.Name, f.Value)
	}
	w.WriteHeader(x.response.Status)
	// The response is not released: net/http may still send from the body when
	// Write returns with an error.
	_, _ = w.Write(x.response.Body)
}

func readBody(r *http.Request, limit int) ([]byte, error) {
	return io.ReadAll(http.MaxBytesReader(nil, r.Body, int64(limit)))
}

// requestOf is a request of net/http in our form.
func requestOf(r *http.Request, body []byte) *wire.Request {
	q := &wire.Request{
		Method: r.Method, Path: r.URL.EscapedPath(), Query: r.URL.RawQuery, Host: r.Host, Body: body, KeepAlive: true,
	}
	if uri, query, _ := strings.Cut(r.RequestURI, "?"); strings.HasPrefix(uri, "/") {
		q.Path, q.Query = uri, query
	}
	q.Header = append(q.Header, wire.Field{Name: "host", Value: r.Host})
	for name, values := range r.Header {
		for _, v := range values {
			q.Header = append(q.Header, wire.Field{Name: strings.ToLower(name), Value: v})
		}
	}
	return q
}
