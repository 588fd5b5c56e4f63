package perf

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/hermodmq/hermod/listeners/stomp/wire"
)

// stompOptions are the flags of `perf stomp`; register documents them.
type stompOptions struct {
	term
	peers

	host, user, password, vhost string

	topic, persistent, receipts bool
	keep                        bool
	prefetch                    int
	ack                         string
}

func (o *stompOptions) register(f *pflag.FlagSet) {
	f.StringVar(&o.host, "host", "127.0.0.1:61613", "host and port of the broker")
	f.StringVar(&o.user, "user", "guest", "user name")
	f.StringVar(&o.password, "password", "guest", "password")
	f.StringVar(&o.vhost, "vhost", "/", "virtual host")
	f.IntVar(&o.producers, "producers", 1, "sending connections")
	f.IntVar(&o.consumers, "consumers", 1, "subscribed connections")
	f.IntVar(&o.queues, "queues", 1, "destinations, shared out to producers and consumers in turn")
	f.BoolVar(&o.topic, "topic", false, "use topics instead of queues")
	f.IntVar(&o.size, "size", 1024, "body bytes; from 24 on the body carries a time stamp for latencies")
	f.BoolVar(&o.keep, "keep-queues", false, "make queues without x-expires, which RabbitMQ refuses to send to: they stay")
	f.BoolVar(&o.persistent, "persistent", false, "send with persistent:true")
	f.BoolVar(&o.receipts, "receipts", false, "ask for a receipt for each message and wait for it before the next")
	f.StringVar(&o.ack, "ack", "auto", "auto, client (each ACK for 100 messages) or client-individual")
	f.IntVar(&o.prefetch, "prefetch", 0, "prefetch-count per consumer, 0 for no limit; at least 100 with --ack client")
	o.term.register(f)
}

func (o *stompOptions) validate() error {
	if _, _, err := net.SplitHostPort(o.host); err != nil {
		o.host = net.JoinHostPort(strings.Trim(o.host, "[]"), "61613")
	}
	switch {
	case o.ack != "auto" && o.ack != "client" && o.ack != "client-individual":
		return fmt.Errorf("--ack %q: not auto, client or client-individual", o.ack)
	case o.prefetch < 0 || o.ack == "client" && o.prefetch > 0 && o.prefetch < stompAckEvery:
		return fmt.Errorf("--prefetch %d: too small", o.prefetch)
	}
	return errors.Join(o.peers.validate(), o.term.validate())
}

// stompAckEvery is how many messages an ACK of --ack client stands for.
const stompAckEvery = 100

// stompStamp is how a body with a time stamp begins: the mark and the time in
// Unix ns, in hexadecimal, so that the body stays a text.
const stompStamp = 2 * stampSize

// stompConn is a client connection. One goroutine may read and one may write
// at a time.
type stompConn struct {
	nc     net.Conn
	parser wire.Parser
	in     input
}

func dialSTOMP(ctx context.Context, o *stompOptions) (*stompConn, error) {
	d := net.Dialer{Timeout: setupLimit}
	nc, err := d.DialContext(ctx, "tcp", o.host)
	if err != nil {
		return nil, err
	}
	c := &stompConn{nc: nc, in: newInput(64 << 10)}
	c.parser.Limits = wire.Limits{Line: 64 << 10, Headers: 1000, HeaderBytes: 1 << 20, Body: 32 << 20}
	b := wire.AppendCommand(nil, "CONNECT")
	b = wire.AppendPlainHeader(b, "accept-version", "1.2")
	b = wire.AppendPlainHeader(b, "host", o.vhost)
	b = wire.AppendPlainHeader(b, "login", o.user)
	b = wire.AppendPlainHeader(b, "passcode", o.password)
	_ = nc.SetDeadline(time.Now().Add(setupLimit))
	if err := c.call(wire.AppendBody(b, nil), "CONNECTED"); err != nil {
		nc.Close()
		return nil, fmt.Errorf("connect to %s: %w", o.host, err)
	}
	return c, nc.SetDeadline(time.Time{})
}

// call writes a frame and waits for one of that command.
func (c *stompConn) call(frame []byte, answer string) error {
	if _, err := c.nc.Write(frame); err != nil {
		return err
	}
	f, err := c.next()
	if err == nil && string(f.Word) != answer {
		err = unexpected(f)
	}
	return err
}

func unexpected(f *wire.Frame) error {
	return fmt.Errorf("broker sent %s: %s: %s", f.Word, f.Get("message"), bytes.TrimSpace(f.Body))
}

// buffered cuts a frame off what was read; nil if there is none.
func (c *stompConn) buffered() (f *wire.Frame, need int, err error) {
	for {
		f, n, need, err := c.parser.Next(c.in.unparsed())
		if err != nil || n == 0 {
			return nil, need, err
		}
		c.in.took(n)
		if f != nil {
			return f, 0, nil
		}
	}
}

// next returns the next frame. It aliases the buffer until the next call.
func (c *stompConn) next() (*wire.Frame, error) {
	for {
		f, need, err := c.buffered()
		if f != nil || err != nil {
			return f, err
		}
		if err := c.in.fill(c.nc, need); err != nil {
			return nil, err
		}
	}
}

// stompRun is one load run.
type stompRun struct {
	load
	o     *stompOptions
	conns []*stompConn
}

// runSTOMP runs the load that o, validated, describes.
func runSTOMP(ctx context.Context, o *stompOptions) (report, error) {
	r := &stompRun{o: o, load: newLoad(&o.term, &o.peers)}
	return r.measure(ctx, r.scenario(), r.start, r.stop)
}

func (r *stompRun) start(ctx context.Context) error {
	kind := "/queue/"
	if r.o.topic {
		kind = "/topic/"
	}
	run := strconv.FormatInt(time.Now().UnixNano(), 36)
	destination := func(i int) string { return fmt.Sprintf("%shermod-perf-%s-%d", kind, run, i%r.o.queues) }
	if err := r.makeQueues(ctx, destination); err != nil {
		return err
	}
	for i := range r.o.consumers + r.o.producers {
		c, err := dialSTOMP(ctx, r.o)
		if err != nil {
			return err
		}
		r.conns = append(r.conns, c)
		work, name := r.consume, destination(i)
		if i >= r.o.consumers {
			work, name = r.produce, destination(i-r.o.consumers)
		} else if err := r.subscribe(c, name); err != nil {
			return err
		}
		r.work(func() error { return work(c, name) })
	}
	return nil
}

// makeQueues makes the queues, so that none is made in another way by who
// sends first.
func (r *stompRun) makeQueues(ctx context.Context, destination func(int) string) error {
	if r.o.topic {
		return nil
	}
	for i := range r.o.queues {
		c, err := dialSTOMP(ctx, r.o)
		if err != nil {
			return err
		}
		err = r.subscribe(c, destination(i))
		c.nc.Close()
		if err != nil {
			return err
		}
	}
	return nil
}

// stop ends the workers; it may be called twice.
func (r *stompRun) stop() {
	r.stopping.Store(true)
	for _, c := range r.conns {
		c.nc.Close()
	}
	r.workers.Wait()
}

// subscribe starts a consumer. The queue goes a minute after its last use,
// unless queues are to stay.
func (r *stompRun) subscribe(c *stompConn, name string) error {
	b := wire.AppendCommand(nil, "SUBSCRIBE")
	b = wire.AppendPlainHeader(b, "id", "0")
	b = wire.AppendPlainHeader(b, "destination", name)
	b = wire.AppendPlainHeader(b, "ack", r.o.ack)
	if !r.o.keep {
		b = wire.AppendPlainHeader(b, "x-expires", "60000")
	}
	if r.o.prefetch > 0 {
		b = wire.AppendNumber(b, "prefetch-count", int64(r.o.prefetch))
	}
	b = wire.AppendPlainHeader(b, "receipt", "s")
	return c.call(wire.AppendBody(b, nil), "RECEIPT")
}

// consume reads messages and acknowledges them, once per read.
func (r *stompRun) consume(c *stompConn, _ string) error {
	var latency histogram
	defer func() { r.leave(&latency, &r.latencies) }()
	var out []byte
	unacked := 0
	for {
		f, need, err := c.buffered()
		if err != nil {
			return err
		}
		if f == nil {
			if len(out) > 0 {
				if _, err := c.nc.Write(out); err != nil {
					return err
				}
				out = out[:0]
			}
			if err := c.in.fill(c.nc, need); err != nil {
				return err
			}
			continue
		}
		if string(f.Word) != "MESSAGE" {
			return unexpected(f)
		}
		r.received.Add(1)
		if r.measures.Load() {
			observeSTOMP(&latency, f.Body)
		}
		if unacked++; r.o.ack == "auto" || r.o.ack == "client" && unacked < stompAckEvery {
			continue
		}
		unacked = 0
		out = wire.AppendCommand(out, "ACK")
		out = append(append(append(out, "id:"...), f.Get("ack")...), '\n') // still escaped
		out = wire.AppendBody(out, nil)
	}
}

// observeSTOMP takes the latency of a message from the head of its body.
func observeSTOMP(h *histogram, body []byte) {
	var raw [stampSize]byte
	if len(body) < stompStamp {
		return
	}
	if _, err := hex.Decode(raw[:], body[:stompStamp]); err == nil {
		observeStamp(h, raw[:])
	}
}

func stampSTOMP(body []byte, now int64) {
	var raw [stampSize]byte
	if len(body) < stompStamp {
		return
	}
	stamp(raw[:], now)
	hex.Encode(body, raw[:])
}

// produce sends in batches, or one by one with receipts.
func (r *stompRun) produce(c *stompConn, name string) error {
	var confirm histogram
	defer func() { r.leave(&confirm, &r.confirms) }()
	one := wire.AppendCommand(nil, "SEND")
	one = wire.AppendPlainHeader(one, "destination", name)
	one = wire.AppendPlainHeader(one, "content-length", strconv.Itoa(r.o.size))
	if r.o.persistent {
		one = wire.AppendPlainHeader(one, "persistent", "true")
	}
	if r.o.receipts {
		one = wire.AppendPlainHeader(one, "receipt", "r")
	}
	head := len(one) + 1
	one = wire.AppendBody(one, bytes.Repeat([]byte("x"), r.o.size))
	n := 1
	if !r.o.receipts {
		n = max(1, batchBytes/len(one))
	}
	frames := bytes.Repeat(one, n)
	for !r.stopping.Load() {
		now := time.Now().UnixNano()
		for i := range n {
			at := i*len(one) + head
			stampSTOMP(frames[at:at+r.o.size], now)
		}
		if !r.o.receipts {
			if _, err := c.nc.Write(frames); err != nil {
				return err
			}
			r.sent.Add(int64(n))
			continue
		}
		r.sent.Add(1)
		if err := c.call(frames, "RECEIPT"); err != nil {
			return err
		}
		r.answered.Add(1)
		if r.measures.Load() {
			confirm.add(time.Now().UnixNano()-now, 1)
		}
	}
	return nil
}

// scenario describes the run in one line.
func (r *stompRun) scenario() string {
	o := r.o
	parts := []string{fmt.Sprintf("STOMP, %d producers, %d consumers, %d destinations, %d bytes, ack %s", o.producers, o.consumers, o.queues, o.size, o.ack)}
	for _, x := range []remark{{o.topic, "topics"}, {o.persistent, "persistent"}, {o.receipts, "receipts"}, {o.prefetch > 0, fmt.Sprintf("prefetch %d", o.prefetch)}} {
		if x.on {
			parts = append(parts, x.text)
		}
	}
	return strings.Join(parts, ", ")
}
