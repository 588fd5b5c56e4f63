package web

import (
	"errors"
	"time"

	"github.com/hermodmq/hermod/broker"
	"github.com/hermodmq/hermod/listeners/transport"
	"github.com/hermodmq/hermod/listeners/web/wire"
)

const (
	eventAnswered = 1 + iota // an exchange has its answer
	eventOutput              // P is output of HTTP/2, []byte
	eventClose               // HTTP/2 is done
	eventRun                 // P is a func(*broker.Turn)
)

// Reasons to pause reading.
const (
	whyPipeline uint8 = 1 << iota
	whyFull
	whyHTTP2
)

// conn is one HTTP/1.1 connection as a state machine. All its methods run on
// the loop that owns it.
type conn struct {
	handler Handler
	opt     *Options
	link    transport.Link
	turn    broker.Turn
	parser  wire.Parser
	h2      *h2Conn // set: everything goes there

	open   []*Exchange  // not written yet, in the order of their requests
	first  [1]*Exchange // backs open while that is no longer
	inside bool         // a method of ours is running: what is written leaves with its turn
	ending bool         // the answer to the last of open ends the connection
	over   bool
	paused uint8

	since time.Time // when the request at hand began to arrive; zero: none did
	body  int       // bytes of it that are wanted; 0 while the header is not whole
	quiet time.Time // when the connection fell idle
}

// Start implements transport.Session.
func (c *conn) Start(l transport.Link) {
	c.link = l
	c.quiet = l.Now()
	if s := l.Info().TLS; s != nil && s.NegotiatedProtocol == "h2" {
		c.h2 = newH2(c, nil)
	}
}

func (c *conn) begin() {
	c.turn.Now = c.link.Now().UnixMilli()
	c.turn.Bells = c.link.Batch()
	c.inside = true
}

// Receive implements transport.Session.
func (c *conn) Receive(p []byte) (n, need int, err error) {
	if c.h2 != nil {
		return c.h2.receive(p), 0, nil
	}
	c.begin()
	for n < len(p) && c.paused == 0 && !c.ending && !c.over {
		r, taken, more, ask, err := c.parser.Next(p[n:])
		if err != nil {
			return c.refuse(p, n, err)
		}
		n += taken
		if ask {
			c.link.Write([]byte(wire.Continue))
		}
		if r == nil {
			need = more
			c.arriving(more)
			if taken == 0 || n == len(p) {
				return n, need, nil
			}
			continue
		}
		c.since = time.Time{}
		c.serve(r)
		need = 0
	}
	if c.ending || c.over {
		n = len(p) // nothing more is read
	}
	return n, 0, nil
}

// arriving notes that a request is not whole yet.
func (c *conn) arriving(body int) {
	if c.since.IsZero() {
		c.since = c.link.Now()
	}
	c.body = body
}

// refuse answers what is no request, after everything before it, and ends.
func (c *conn) refuse(p []byte, n int, err error) (int, int, error) {
	if errors.Is(err, wire.ErrHTTP2) && len(c.open) == 0 {
		c.h2 = newH2(c, nil)
		return n + c.h2.receive(p[n:]), 0, nil
	}
	e := &wire.Error{Status: 400, Text: "bad request"}
	errors.As(err, &e)
	kind, body := c.opt.Refuse(e.Status, e.Text)
	c.ending = true
	c.open = append(c.open, &Exchange{conn: c, answered: true, response: wire.Response{
		Status: e.Status, Header: wire.Fields{{Name: "Content-Type", Value: kind}}, Body: body,
	}})
	c.flush()
	return len(p), 0, nil
}

func (c *conn) serve(r *wire.Request) {
	x := &Exchange{Request: r, conn: c, keepAlive: r.KeepAlive, head: r.Method == "HEAD"}
	if c.open == nil {
		c.open = c.first[:0]
	}
	c.open = append(c.open, x)
	if !r.KeepAlive {
		c.ending = true
	}
	if len(c.open) >= c.opt.Pipeline {
		c.pause(whyPipeline)
	}
	c.handler.Serve(&c.turn, x)
	x.Request = nil
}

// flush writes the answers that are next.
func (c *conn) flush() {
	n := 0
	for n < len(c.open) && c.open[n].done() {
		x := c.open[n]
		last := c.ending && n == len(c.open)-1
		c.link.SetOut(x.response.Append(c.link.Out(), c.link.Now(), !last, x.head)) // a copy
		x.response.Release()
		x.response = wire.Response{}
		n++
	}
	if n == 0 {
		return
	}
	c.open = append(c.open[:0], c.open[n:]...)
	clear(c.open[len(c.open):cap(c.open)])
	if len(c.open) == 0 {
		c.open, c.first[0] = nil, nil // most connections wait with nothing, or with one
		c.quiet = c.link.Now()
		if c.ending {
			c.over = true
			c.link.CloseAfterFlush()
			return
		}
	}
	if len(c.open) < c.opt.Pipeline {
		c.resume(whyPipeline)
	}
	if c.link.Full() {
		c.pause(whyFull)
	}
}

func (c *conn) pause(why uint8) {
	if c.paused&why == 0 {
		c.paused |= why
		c.link.Pause(why)
	}
}

func (c *conn) resume(why uint8) {
	if c.paused&why != 0 {
		c.paused &^= why
		c.link.Resume(why)
	}
}

// Handle implements transport.Session.
func (c *conn) Handle(ev transport.Event) {
	c.begin()
	switch ev.Kind {
	case eventAnswered:
		c.flush()
	case eventOutput:
		c.h2.output(ev.P.([]byte))
	case eventRun:
		ev.P.(func(*broker.Turn))(&c.turn)
	case eventClose:
		c.link.CloseAfterFlush()
	}
}

// EndTurn implements transport.Session.
func (c *conn) EndTurn() { c.inside = false }

// Drained implements transport.Session.
func (c *conn) Drained() {
	c.begin()
	c.resume(whyFull)
	if c.h2 != nil {
		c.h2.drained()
	}
}

// Tick implements transport.Session: it ends what takes too long to arrive.
func (c *conn) Tick(now time.Time) {
	if c.h2 != nil || c.over {
		return
	}
	switch {
	case !c.since.IsZero():
		limit := c.opt.HeadTimeout
		if pending := max(c.body, c.parser.Pending()); pending > 0 {
			limit = c.opt.BodyTimeout + time.Duration(pending/c.opt.SlowestBody)*time.Second
		}
		if now.Sub(c.since) > limit {
			c.begin()
			c.refuse(nil, 0, &wire.Error{Status: 408, Text: "the request took too long to arrive"})
		}
	case len(c.open) == 0 && now.Sub(c.quiet) > c.opt.IdleTimeout:
		c.over = true
		c.link.CloseAfterFlush()
	}
}

// Drain implements transport.Session: requests that are being served are
// answered, and nothing else is read.
func (c *conn) Drain() {
	c.begin()
	if c.h2 != nil {
		c.h2.shutdown()
		return
	}
	c.ending = true
	if len(c.open) == 0 {
		c.over = true
		c.link.CloseAfterFlush()
	}
}

// Closed implements transport.Session.
func (c *conn) Closed(error) {
	c.over = true
	if c.h2 != nil {
		c.h2.closed()
	}
	open := c.open
	c.open = nil
	for _, x := range open {
		if !x.done() {
			x.lose()
		}
	}
}
