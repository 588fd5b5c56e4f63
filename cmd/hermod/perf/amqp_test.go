package perf

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hermodmq/hermod/listeners/amqp/wire"
)

// fakeBroker speaks enough AMQP for the load generator: one queue per name,
// each with at most one consumer, deliveries in order, confirms one by one
// from the last to the first of what one read brought.
type fakeBroker struct {
	t     *testing.T
	l     net.Listener
	conns sync.WaitGroup

	mu     sync.Mutex
	queues map[string]*fakeQueue
	open   map[net.Conn]bool
	acks   int
	refuse bool // the password
}

type fakeQueue struct {
	bodies [][]byte
	sink   *fakeConn
}

// fakeConn is one connection. Its fields belong to its goroutine, apart from
// out and tag, which the broker's lock guards.
type fakeConn struct {
	b        *fakeBroker
	nc       net.Conn
	in       []byte
	out      []byte
	tag      uint64
	confirms bool
	seq      uint64
	unsent   []uint64
	key      string
	size     uint64
	body     []byte
	closed   bool
}

func startFakeBroker(t *testing.T) *fakeBroker {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b := &fakeBroker{t: t, l: l, queues: map[string]*fakeQueue{}, open: map[net.Conn]bool{}}
	b.conns.Go(func() {
		for {
			nc, err := l.Accept()
			if err != nil {
				return
			}
			b.mu.Lock()
			b.open[nc] = true
			b.mu.Unlock()
			b.conns.Go(func() { b.serve(nc) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		b.dropAll()
		b.conns.Wait()
	})
	return b
}

func (b *fakeBroker) dropAll() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for nc := range b.open {
		nc.Close()
	}
}

func (b *fakeBroker) serve(nc net.Conn) {
	defer nc.Close()
	header := make([]byte, 8)
	if _, err := io.ReadFull(nc, header); err != nil || string(header) != wire.ProtocolHeader {
		return
	}
	c := &fakeConn{b: b, nc: nc}
	c.reply(0, &wire.ConnectionStart{VersionMinor: 9, Mechanisms: "PLAIN", Locales: "en_US"})
	c.flush()
	chunk := make([]byte, 64<<10)
	for !c.closed {
		n, err := nc.Read(chunk)
		if err != nil {
			return
		}
		c.in = append(c.in, chunk[:n]...)
		if err := c.frames(); err != nil {
			b.t.Error(err)
			return
		}
		c.confirm()
		c.flush()
	}
}

func (c *fakeConn) reply(ch uint16, m wire.Method) {
	c.b.mu.Lock()
	defer c.b.mu.Unlock()
	c.out = wire.AppendMethod(c.out, ch, m)
}

func (c *fakeConn) flush() {
	c.b.mu.Lock()
	defer c.b.mu.Unlock()
	c.flushLocked()
}

func (c *fakeConn) flushLocked() {
	_, _ = c.nc.Write(c.out)
	c.out = c.out[:0]
}

// confirm settles what the last read brought: the last one alone, then all.
func (c *fakeConn) confirm() {
	n := len(c.unsent)
	if n == 0 {
		return
	}
	c.reply(channel, &wire.BasicAck{DeliveryTag: c.unsent[n-1]})
	c.reply(channel, &wire.BasicAck{DeliveryTag: c.unsent[n-1], Multiple: true})
	c.unsent = c.unsent[:0]
}

func (c *fakeConn) frames() error {
	for {
		f, n, _, err := wire.NextFrame(c.in, 131072)
		if err != nil || n == 0 {
			return err
		}
		switch f.Type {
		case wire.FrameMethod:
			m, err := wire.DecodeMethod(f.Payload)
			if err != nil {
				return err
			}
			c.method(m)
		case wire.FrameHeader:
			h, err := wire.ParseHeader(f.Payload)
			if err != nil {
				return err
			}
			c.size, c.body = h.BodySize, nil
			c.complete()
		case wire.FrameBody:
			c.body = append(c.body, f.Payload...)
			c.complete()
		}
		c.in = c.in[n:]
	}
}

func (c *fakeConn) method(m wire.Method) {
	switch m := m.(type) {
	case *wire.ConnectionStartOk:
		if c.b.refuse {
			c.reply(0, &wire.ConnectionClose{ReplyCode: wire.AccessRefused, ReplyText: "ACCESS_REFUSED - no"})
			return
		}
		c.reply(0, &wire.ConnectionTune{ChannelMax: 2047, FrameMax: 4096})
	case *wire.ConnectionOpen:
		c.reply(0, &wire.ConnectionOpenOk{})
	case *wire.ChannelOpen:
		c.reply(channel, &wire.ChannelOpenOk{})
	case *wire.QueueDeclare:
		c.declare(m)
	case *wire.QueueDelete:
		c.b.mu.Lock()
		delete(c.b.queues, m.Queue)
		c.b.mu.Unlock()
		c.reply(channel, &wire.QueueDeleteOk{})
	case *wire.ConfirmSelect:
		c.confirms = true
		c.reply(channel, &wire.ConfirmSelectOk{})
	case *wire.BasicQos:
		c.reply(channel, &wire.BasicQosOk{})
	case *wire.BasicConsume:
		c.reply(channel, &wire.BasicConsumeOk{ConsumerTag: "c"})
		c.b.consume(m.Queue, c)
	case *wire.BasicPublish:
		c.key = m.RoutingKey
	case *wire.BasicAck:
		c.b.mu.Lock()
		c.b.acks++
		c.b.mu.Unlock()
	case *wire.ConnectionClose:
		c.reply(0, &wire.ConnectionCloseOk{})
		c.closed = true
	}
}

func (c *fakeConn) declare(m *wire.QueueDeclare) {
	c.b.mu.Lock()
	known := c.b.queues[m.Queue] != nil
	if !known && !m.Passive {
		c.b.queues[m.Queue] = &fakeQueue{}
	}
	c.b.mu.Unlock()
	if !known && m.Passive {
		c.reply(channel, &wire.ChannelClose{ReplyCode: wire.NotFound, ReplyText: "NOT_FOUND - no queue"})
		return
	}
	c.reply(channel, &wire.QueueDeclareOk{Queue: m.Queue})
}

func (b *fakeBroker) consume(queue string, c *fakeConn) {
	b.mu.Lock()
	defer b.mu.Unlock()
	q := b.queues[queue]
	q.sink = c
	for _, body := range q.bodies {
		c.deliverLocked(body)
	}
	q.bodies = nil
}

func (c *fakeConn) deliverLocked(body []byte) {
	c.tag++
	c.out = wire.AppendDeliver(c.out, channel, "c", c.tag, false, "", "k", []byte{0, 0}, body, 4096)
}

// complete takes the message when its body is there.
func (c *fakeConn) complete() {
	if uint64(len(c.body)) < c.size {
		return
	}
	c.b.mu.Lock()
	defer c.b.mu.Unlock()
	if c.confirms {
		c.seq++
		c.unsent = append(c.unsent, c.seq)
	}
	q := c.b.queues[c.key]
	if q.sink == nil {
		q.bodies = append(q.bodies, c.body)
		return
	}
	q.sink.deliverLocked(c.body)
	q.sink.flushLocked()
}

// perfAMQP runs the command line and returns what it reported.
func perfAMQP(t *testing.T, b *fakeBroker, args string) (*loadResult, error) {
	t.Helper()
	cmd := Command()
	var out bytes.Buffer
	cmd.SetOut(&out)
	cmd.SilenceUsage, cmd.SilenceErrors = true, true
	cmd.SetArgs(append([]string{"amqp", "--json", "--host", b.l.Addr().String()}, strings.Fields(args)...))
	if err := cmd.ExecuteContext(context.Background()); err != nil {
		return nil, err
	}
	var r loadResult
	if err := json.Unmarshal(out.Bytes(), &r); err != nil {
		t.Fatal(err)
	}
	return &r, nil
}

func TestLoad(t *testing.T) {
	tests := []struct {
		name, args         string
		confirms, delivers int64
		stamped            bool
	}{
		{"fire and forget", "--count 5000", 0, 5000, true},
		{"confirms", "--count 5000 --confirm 100", 5000, 5000, true},
		{"window of one", "--count 200 --confirm 1", 200, 200, true},
		{"several", "--count 1001 --producers 3 --consumers 2 --queues 2 --confirm 7", 1001, 1001, true},
		{"manual acknowledgements", "--count 999 --ack manual --multiple 10 --prefetch 100", 0, 999, true},
		{"empty bodies", "--count 500 --size 0", 0, 500, false},
		{"bodies of several frames", "--count 50 --size 20000 --confirm 10", 50, 50, true},
		{"paced", "--count 100 --rate 20000 --confirm 10", 100, 100, true},
		{"publish only", "--count 300 --publish-only --confirm 20", 300, 0, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := startFakeBroker(t)
			r, err := perfAMQP(t, b, tt.args)
			if err != nil {
				t.Fatal(err)
			}
			if r.Messages.Published != max(tt.confirms, tt.delivers) || r.Messages.Confirmed != tt.confirms || r.Messages.Delivered != tt.delivers {
				t.Errorf("messages %+v", r.Messages)
			}
			if tt.stamped && (r.DeliveryLatency == nil || r.DeliveryLatency.Count == 0) {
				t.Errorf("no delivery latencies")
			}
			if (tt.confirms > 0) != (r.ConfirmLatency != nil) {
				t.Errorf("confirm latencies %v", r.ConfirmLatency)
			}
			b.mu.Lock()
			if len(b.queues) != 0 {
				t.Errorf("queues left: %d", len(b.queues))
			}
			b.mu.Unlock()
			var text strings.Builder
			r.writeText(&text)
			if !strings.Contains(text.String(), "published") {
				t.Error(text.String())
			}
		})
	}
}

func TestPublishThenDrain(t *testing.T) {
	b := startFakeBroker(t)
	if _, err := perfAMQP(t, b, "--publish-only --queue q --count 250 --size 40 --confirm 50"); err != nil {
		t.Fatal(err)
	}
	b.mu.Lock()
	if n := len(b.queues["q"].bodies); n != 250 {
		t.Errorf("%d messages in the queue", n)
	}
	b.mu.Unlock()
	r, err := perfAMQP(t, b, "--consume-only --queue q --count 250 --ack manual --multiple 100 --prefetch 100")
	if err != nil {
		t.Fatal(err)
	}
	if r.Messages.Delivered != 250 || r.Size != 40 {
		t.Errorf("drained %+v of %d bytes", r.Messages, r.Size)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.acks != 3 {
		t.Errorf("%d acks, want 2 of a hundred and the rest", b.acks)
	}
	if b.queues["q"] == nil {
		t.Error("a queue that was named is gone")
	}
}

func TestMeasureForAWhile(t *testing.T) {
	b := startFakeBroker(t)
	r := untilSeen(t, func(d time.Duration) (*loadResult, error) {
		return perfAMQP(t, b, fmt.Sprintf("--duration %v --warmup 20ms --confirm 50", d))
	}, func(r *loadResult) bool { return r.Messages.Delivered > 0 && r.DeliverRate > 0 })
	if r.Cost.Seconds <= 0 {
		t.Errorf("%+v", r)
	}
}

func TestIdleConnections(t *testing.T) {
	b := startFakeBroker(t)
	o := parsed(t, "--idle", "40", "--duration", "1ms", "--host", b.l.Addr().String())
	if err := o.validate(); err != nil {
		t.Fatal(err)
	}
	r, err := runAMQP(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if got := r.(*idleResult).Connections; got != 40 || len(b.open) != 40 {
		t.Errorf("%d connections reported, %d seen", got, len(b.open))
	}
}

func TestRefusedLoginIsSaid(t *testing.T) {
	b := startFakeBroker(t)
	b.refuse = true
	for _, args := range []string{"--count 1", "--idle 3"} {
		if _, err := perfAMQP(t, b, args); err == nil || !strings.Contains(err.Error(), "403 ACCESS_REFUSED - no") {
			t.Errorf("%s: %v", args, err)
		}
	}
}

func TestLocalAddress(t *testing.T) {
	tests := []struct {
		host string
		i    int
		want string
	}{
		{"127.0.0.1:5672", 19999, ""},
		{"127.0.0.1:5672", 20000, "127.0.1.2:0"},
		{"127.0.0.1:5672", 40000, "127.0.1.3:0"},
		{"10.0.0.1:5672", 40000, ""},
		{"localhost:5672", 40000, ""},
	}
	for _, tt := range tests {
		got := ""
		if a := localAddress(tt.host, tt.i); a != nil {
			got = a.String()
		}
		if got != tt.want {
			t.Errorf("%s, connection %d: %q, want %q", tt.host, tt.i, got, tt.want)
		}
	}
}
