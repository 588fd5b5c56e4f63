// Package web serves HTTP on the transport's event loops: HTTP/1.1 by a state
// machine of its own, so that a request that waits costs a few kilobytes and
// no goroutine, and HTTP/2, after its preface or by ALPN, by net/http over the
// same connection. Handlers answer when they can, from any goroutine.
package web

import (
	"cmp"
	"log/slog"
	"sync"
	"time"

	"github.com/hermodmq/hermod/broker"
	"github.com/hermodmq/hermod/listeners/transport"
	"github.com/hermodmq/hermod/listeners/web/wire"
)

// Handler answers requests.
type Handler interface {
	// Serve answers x with exactly one Respond, now or later. It runs on an
	// event loop, or for HTTP/2 on a goroutine of the request, and must not
	// block. The request is valid until Serve returns.
	Serve(t *broker.Turn, x *Exchange)
}

// HandlerFunc is a function as a Handler.
type HandlerFunc func(t *broker.Turn, x *Exchange)

// Serve implements Handler.
func (f HandlerFunc) Serve(t *broker.Turn, x *Exchange) { f(t, x) }

// Options configure a listener. The zero value of a field is its default.
type Options struct {
	Limits wire.Limits

	// HeadTimeout bounds the time from a request's first byte to the end of
	// its header; BodyTimeout that of its body, to which a second per
	// SlowestBody bytes is added. Defaults 10 s, 20 s, 64 KiB.
	HeadTimeout time.Duration
	BodyTimeout time.Duration
	SlowestBody int
	// IdleTimeout closes connections without a request; default 2 minutes.
	IdleTimeout time.Duration
	// Pipeline is the number of requests of one connection that may be
	// answered at once; default 16.
	Pipeline int
	// Refuse makes the body of an answer to a request that is not HTTP or
	// beyond the limits; nil: the text.
	Refuse func(status int, text string) (contentType string, body []byte)

	Logger *slog.Logger
}

func (o Options) withDefaults() Options {
	o.Limits = o.Limits.WithDefaults()
	o.HeadTimeout = cmp.Or(o.HeadTimeout, 10*time.Second)
	o.BodyTimeout = cmp.Or(o.BodyTimeout, 20*time.Second)
	o.SlowestBody = cmp.Or(o.SlowestBody, 64<<10)
	o.IdleTimeout = cmp.Or(o.IdleTimeout, 2*time.Minute)
	o.Pipeline = cmp.Or(o.Pipeline, 16)
	if o.Refuse == nil {
		o.Refuse = func(_ int, text string) (string, []byte) { return "text/plain; charset=utf-8", []byte(text + "\n") }
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o
}

// MaxFrame is what a transport listener must allow a session to ask for.
func (o Options) MaxFrame() int {
	l := o.Limits.WithDefaults()
	return l.Head + l.Body + 16
}

// New returns what a transport listener calls for every accepted connection.
func New(h Handler, o Options) func() transport.Session {
	opt := o.withDefaults()
	return func() transport.Session {
		return &conn{handler: h, opt: &opt, parser: wire.Parser{Limits: opt.Limits}}
	}
}

// Exchange is one request and what becomes of it.
type Exchange struct {
	// Request is valid until Handler.Serve returns.
	Request *wire.Request

	conn      *conn
	h2        *h2Exchange
	keepAlive bool
	head      bool // answer without body

	mu       sync.Mutex
	answered bool
	lost     bool
	gone     func()
	response wire.Response
}

// Info describes the peer.
func (x *Exchange) Info() *transport.Info { return x.conn.link.Info() }

// Respond answers the request, from any goroutine; t is that of the caller. It
// takes the response over. Only the first call counts.
func (x *Exchange) Respond(t *broker.Turn, r wire.Response) {
	x.mu.Lock()
	if x.answered || x.lost {
		x.mu.Unlock()
		return
	}
	x.answered, x.response, x.gone = true, r, nil
	x.mu.Unlock()
	if x.h2 != nil {
		close(x.h2.done)
		return
	}
	c := x.conn
	batch, ok := t.Bells.(*transport.Batch)
	if ok && batch == c.link.Batch() && c.inside { // we are on the connection's loop, within its turn
		c.flush()
		return
	}
	ev := transport.Event{Kind: eventAnswered}
	if ok {
		batch.Add(c.link.Target(), ev)
		return
	}
	c.link.Post(ev)
}

// Run has f called on the connection's loop, in the order of the calls, and
// never before it returns; over HTTP/2 on a goroutine of its own. It is dropped
// if the connection is gone.
func (x *Exchange) Run(t *broker.Turn, f func(t *broker.Turn)) {
	if x.h2 != nil {
		go func() {
			batch := transport.NewBatch()
			f(&broker.Turn{Now: time.Now().UnixMilli(), Bells: batch})
			batch.Flush()
		}()
		return
	}
	ev := transport.Event{Kind: eventRun, P: f}
	if batch, ok := t.Bells.(*transport.Batch); ok {
		batch.Add(x.conn.link.Target(), ev)
		return
	}
	x.conn.link.Post(ev)
}

// OnGone has f called, once and on any goroutine, if the client hangs up
// before the answer; at once if it has already.
func (x *Exchange) OnGone(f func()) {
	x.mu.Lock()
	if !x.lost {
		if !x.answered {
			x.gone = f
		}
		x.mu.Unlock()
		return
	}
	x.mu.Unlock()
	f()
}

// lose says that nobody waits for the answer any more.
func (x *Exchange) lose() {
	x.mu.Lock()
	f := x.gone
	x.lost, x.gone = true, nil
	x.mu.Unlock()
	if f != nil {
		f()
	}
}

// done reports whether the answer is there.
func (x *Exchange) done() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.answered
}
