package perf

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spf13/pflag"

	"github.com/hermodmq/hermod/listeners/mqtt/wire"
)

// mqttOptions are the flags of `perf mqtt`; register documents them.
type mqttOptions struct {
	term

	host, user, password string
	version              int
	publishers           int
	subscribers          int
	topics               int
	qos                  int
	window               int
	size                 int
	durable              bool
	idle, dialers        int
	sessions             int
}

func (o *mqttOptions) register(f *pflag.FlagSet) {
	f.StringVar(&o.host, "host", "127.0.0.1:1883", "host and port of the broker")
	f.StringVar(&o.user, "user", "guest", "user name; empty for none")
	f.StringVar(&o.password, "password", "guest", "password")
	f.IntVar(&o.version, "protocol", 4, "protocol level: 3, 4 (3.1.1) or 5")
	f.IntVar(&o.publishers, "publishers", 1, "publishing connections")
	f.IntVar(&o.subscribers, "subscribers", 1, "subscribing connections")
	f.IntVar(&o.topics, "topics", 1, "topics, shared out to publishers and subscribers in turn")
	f.IntVar(&o.qos, "qos", 0, "QoS of messages and subscriptions, 0 or 1")
	f.IntVar(&o.window, "window", 100, "messages a publisher may be ahead: of acknowledgements at QoS 1, of the slowest subscriber at QoS 0; 0 at QoS 0 for no limit")
	f.IntVar(&o.size, "size", 256, "payload bytes; from 12 on the payload carries a time stamp for latencies")
	f.BoolVar(&o.durable, "durable", false, "subscribers have sessions that outlive their connections, so that QoS 1 waits for the disk; removed at the end")
	f.IntVar(&o.idle, "idle", 0, "open so many connections, report what they cost, and nothing else")
	f.IntVar(&o.dialers, "dialers", 1, "with --idle or --sessions: how many are opened at the same time")
	o.term.register(f)
	f.IntVar(&o.sessions, "sessions", 0, "leave so many durable sessions behind, each with one subscription of QoS 1, and do nothing else")
}

func (o *mqttOptions) validate() error {
	for _, r := range []struct {
		flag          string
		value, lo, hi int
	}{
		{"protocol", o.version, 3, 5},
		{"publishers", o.publishers, 0, 10000},
		{"subscribers", o.subscribers, 0, 10000},
		{"topics", o.topics, 1, 100000},
		{"qos", o.qos, 0, 1},
		{"window", o.window, o.qos, 65535},
		{"size", o.size, 0, 64 << 20},
		{"idle", o.idle, 0, 1000000},
		{"dialers", o.dialers, 1, 1000},
		{"sessions", o.sessions, 0, 10000000},
	} {
		if r.value < r.lo || r.value > r.hi {
			return fmt.Errorf("--%s %d: not between %d and %d", r.flag, r.value, r.lo, r.hi)
		}
	}
	return o.term.validate()
}

// mqttRun is one load run.
type mqttRun struct {
	o           *mqttOptions
	prefix      string
	publishers  []*mqttClient
	subscribers []*mqttClient
	measuring   atomic.Bool
	stopping    atomic.Bool
	failed      chan error
	workers     sync.WaitGroup
}

// mqttClient is one connection of the load. Its counters are its own.
type mqttClient struct {
	run   *mqttRun
	nc    net.Conn
	v     wire.Version
	topic string

	published, confirmed, delivered atomic.Int64
	room                            chan struct{} // capacity: the window; one element per unacknowledged publish
	latency                         histogram
}

func runMQTT(ctx context.Context, o *mqttOptions) (report, error) {
	if _, err := readUsage(o.pids); err != nil {
		return nil, err
	}
	r := &mqttRun{o: o, prefix: fmt.Sprintf("perf/%d/", os.Getpid()), failed: make(chan error, o.publishers+o.subscribers+1)}
	defer r.close()
	if o.idle > 0 {
		return r.holdIdle(ctx)
	}
	if o.sessions > 0 {
		return r.leaveSessions(ctx)
	}
	if err := r.connect(); err != nil {
		return nil, err
	}
	return r.measure(ctx)
}

func (r *mqttRun) connect() error {
	for i := range r.o.subscribers {
		c, err := r.dial("sub", i)
		if err != nil {
			return err
		}
		r.subscribers = append(r.subscribers, c)
		if err := c.subscribe(); err != nil {
			return err
		}
	}
	for i := range r.o.publishers {
		c, err := r.dial("pub", i)
		if err != nil {
			return err
		}
		c.room = make(chan struct{}, max(r.o.window, 1))
		r.publishers = append(r.publishers, c)
	}
	return nil
}

func (r *mqttRun) dial(role string, i int) (*mqttClient, error) {
	nc, err := net.DialTimeout("tcp", r.o.host, 10*time.Second)
	if err != nil {
		return nil, err
	}
	c := &mqttClient{run: r, nc: nc, v: wire.Version(r.o.version), topic: fmt.Sprint(r.prefix, i%r.o.topics)}
	p := wire.Connect{Version: c.v, CleanStart: true, ClientID: fmt.Sprintf("perf-%d-%s-%d", os.Getpid(), role, i)}
	if (r.o.durable || r.o.sessions > 0) && role == "sub" && !r.stopping.Load() {
		p.CleanStart = false
		if c.v == wire.V5 {
			p.Props = p.Props.AppendNumber(wire.SessionExpiry, 3600)
		}
	}
	if r.o.user != "" {
		p.HasUsername, p.Username, p.HasPassword, p.Password = true, r.o.user, true, []byte(r.o.password)
	}
	if err := c.request(p.Append(nil), wire.CONNACK, func(body []byte) error {
		a, err := wire.DecodeConnack(body, c.v)
		if err == nil && a.Reason != 0 {
			err = fmt.Errorf("CONNACK with code 0x%02x", byte(a.Reason))
		}
		return err
	}); err != nil {
		_ = nc.Close()
		return nil, err
	}
	return c, nil
}

// request sends a packet and waits for its answer; nothing else may come.
func (c *mqttClient) request(packet []byte, t wire.Type, check func([]byte) error) error {
	_ = c.nc.SetDeadline(time.Now().Add(30 * time.Second))
	defer func() { _ = c.nc.SetDeadline(time.Time{}) }()
	if _, err := c.nc.Write(packet); err != nil {
		return err
	}
	buf, n := make([]byte, 4096), 0
	for {
		h, body, size, _, err := wire.Next(buf[:n], len(buf))
		if err != nil {
			return err
		}
		if size > 0 {
			if h.Type != t {
				return fmt.Errorf("got %s, want %s", h.Type, t)
			}
			return check(body)
		}
		m, err := c.nc.Read(buf[n:])
		if err != nil {
			return err
		}
		n += m
	}
}

func (c *mqttClient) subscribe() error {
	p := wire.Subscribe{PacketID: 1, Filters: []wire.Filter{{Name: c.topic, Options: wire.Options(c.run.o.qos)}}}
	return c.request(p.Append(nil, c.v), wire.SUBACK, func(body []byte) error {
		a, err := wire.DecodeSuback(wire.SUBACK, body, c.v)
		if err == nil && (len(a.Codes) != 1 || a.Codes[0].Failed()) {
			err = errors.New("subscription refused")
		}
		return err
	})
}

// read takes packets until the connection ends.
func (c *mqttClient) read() {
	defer c.run.workers.Done()
	in := newInput(256 << 10)
	var acks []byte
	for {
		h, body, size, need, err := wire.Next(in.unparsed(), 0)
		if err != nil {
			c.fail(err)
			return
		}
		if size > 0 {
			in.took(size)
			if acks, err = c.packet(h, body, acks); err != nil {
				c.fail(err)
				return
			}
			continue
		}
		if len(acks) > 0 {
			if _, err := c.nc.Write(acks); err != nil {
				c.fail(err)
				return
			}
			acks = acks[:0]
		}
		if err := in.fill(c.nc, need); err != nil {
			c.fail(err)
			return
		}
	}
}

func (c *mqttClient) packet(h wire.Header, body, acks []byte) ([]byte, error) {
	switch h.Type {
	case wire.PUBLISH:
		p, err := wire.DecodePublish(h, body, c.v, true)
		if err != nil {
			return acks, err
		}
		c.delivered.Add(1)
		if c.run.measuring.Load() {
			observeStamp(&c.latency, p.Payload)
		}
		if p.QoS > 0 {
			a := wire.Ack{Type: wire.PUBACK, PacketID: p.PacketID}
			acks = a.Append(acks, c.v)
		}
	case wire.PUBACK:
		c.confirmed.Add(1)
		<-c.room
	case wire.DISCONNECT:
		return acks, errors.New("the broker disconnected us")
	}
	return acks, nil
}

// publish writes messages as fast as the window lets it.
func (c *mqttClient) publish() {
	defer c.run.workers.Done()
	o := c.run.o
	p := wire.Publish{Topic: []byte(c.topic), QoS: byte(o.qos), Payload: bytes.Repeat([]byte{'x'}, o.size)}
	var out []byte
	for id := uint16(1); !c.run.stopping.Load(); {
		n := c.allowed(max(batchBytes/(o.size+32), 1))
		if n == 0 {
			continue
		}
		out = out[:0]
		stamp(p.Payload, time.Now().UnixNano())
		for range n {
			if p.PacketID = id; o.qos > 0 {
				id = max(id+1, 1)
			}
			out = p.Append(out, c.v)
		}
		if _, err := c.nc.Write(out); err != nil {
			c.fail(err)
			return
		}
		c.published.Add(int64(n))
	}
}

// allowed waits for room and returns how many messages may be published.
func (c *mqttClient) allowed(most int) int {
	o := c.run.o
	if o.qos > 0 {
		select {
		case c.room <- struct{}{}:
		case <-time.After(pollEvery):
			return 0
		}
		for n := 1; n < most; n++ {
			select {
			case c.room <- struct{}{}:
			default:
				return n
			}
		}
		return most
	}
	if o.window == 0 || o.subscribers == 0 {
		return most
	}
	if ahead := c.run.ahead(); ahead >= int64(o.window*o.publishers) {
		time.Sleep(50 * time.Microsecond)
		return 0
	}
	return min(most, max(o.window/2, 1))
}

// ahead is how many messages all publishers are ahead of the slowest subscriber,
// which with several topics gets its share of them.
func (r *mqttRun) ahead() int64 {
	sent, least := int64(0), int64(-1)
	for _, p := range r.publishers {
		sent += p.published.Load()
	}
	for _, s := range r.subscribers {
		if n := s.delivered.Load(); least < 0 || n < least {
			least = n
		}
	}
	return sent - least*int64(min(r.o.topics, r.o.publishers))
}

func (c *mqttClient) fail(err error) {
	if !c.run.stopping.Load() {
		select {
		case c.run.failed <- err:
		default:
		}
	}
}

func (r *mqttRun) counters() (t counters) {
	for _, p := range r.publishers {
		t.Published += p.published.Load()
		t.Confirmed += p.confirmed.Load()
	}
	for _, s := range r.subscribers {
		t.Delivered += s.delivered.Load()
	}
	return t
}

func (r *mqttRun) measure(ctx context.Context) (report, error) {
	o := r.o
	for _, c := range append(append([]*mqttClient(nil), r.subscribers...), r.publishers...) {
		r.workers.Add(1)
		go c.read()
	}
	for _, c := range r.publishers {
		r.workers.Add(1)
		go c.publish()
	}
	if err := await(ctx, o.warmup, r.failed); err != nil {
		return nil, err
	}
	r.measuring.Store(true)
	before := r.counters()
	from, err := readUsage(o.pids)
	if err != nil {
		return nil, err
	}
	if err := await(ctx, o.duration, r.failed); err != nil {
		return nil, err
	}
	to, err := readUsage(o.pids)
	if err != nil {
		return nil, err
	}
	total := r.counters().minus(before)
	subscribers := r.subscribers
	r.close()
	n, unit := total.Delivered, "delivered message"
	if o.subscribers == 0 {
		n, unit = total.Published, "published message"
	}
	res := &loadResult{
		Scenario: fmt.Sprintf("MQTT level %d, QoS %d, %d -> %d, %d topics, %d bytes", o.version, o.qos, o.publishers, o.subscribers, o.topics, o.size),
		Unit:     unit, Size: o.size, Messages: total, Cost: costBetween(from, to, o.pids, n, 0),
	}
	var h histogram
	for _, s := range subscribers {
		h.merge(&s.latency)
	}
	res.DeliveryLatency = h.summary()
	res.rates()
	return res, nil
}

func (r *mqttRun) close() {
	r.stopping.Store(true)
	for _, c := range append(append([]*mqttClient(nil), r.publishers...), r.subscribers...) {
		_ = c.nc.Close()
	}
	for _, c := range r.publishers { // a reader that gave up frees no room
		for len(c.room) > 0 {
			select {
			case <-c.room:
			default:
			}
		}
	}
	r.workers.Wait()
	if r.o.durable {
		for i := range r.subscribers { // a clean session removes the durable one
			if c, err := r.dial("sub", i); err == nil {
				_ = c.nc.Close()
			}
		}
		r.subscribers = nil
	}
}

// holdIdle opens connections and holds them.
func (r *mqttRun) holdIdle(ctx context.Context) (report, error) {
	o := r.o
	// A user's first login costs a slow hash, whoever comes after.
	first, err := r.dial("first", 0)
	if err != nil {
		return nil, err
	}
	_ = first.nc.Close()
	before, err := readUsage(o.pids)
	if err != nil {
		return nil, err
	}
	var mu sync.Mutex
	if err := r.together(ctx, o.idle, func(i int) error {
		c, err := r.dial("idle", i)
		if err == nil {
			mu.Lock()
			r.subscribers = append(r.subscribers, c)
			mu.Unlock()
		}
		return err
	}); err != nil {
		return nil, err
	}
	opened, err := readUsage(o.pids)
	if err != nil {
		return nil, err
	}
	if err := await(ctx, o.duration, r.failed); err != nil {
		return nil, err
	}
	after, err := readUsage(o.pids)
	if err != nil {
		return nil, err
	}
	return &idleResult{
		Connections: o.idle, OpenSeconds: opened.at.Sub(before.at).Seconds(),
		RSSBefore: before.broker.RSS, RSSAfter: after.broker.RSS,
		PerConn: (after.broker.RSS - before.broker.RSS) / int64(o.idle),
		OpenCPU: float64((opened.broker.CPU - before.broker.CPU).Microseconds()) / float64(o.idle),
		Cost:    costBetween(opened, after, o.pids, 0, 0),
	}, nil
}

// together calls f with every number below n, as many at a time as there are
// dialers, until one fails.
func (r *mqttRun) together(ctx context.Context, n int, f func(i int) error) error {
	var next atomic.Int64
	errs := make(chan error, r.o.dialers)
	for range r.o.dialers {
		go func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= n || ctx.Err() != nil {
					errs <- ctx.Err()
					return
				}
				if err := f(i); err != nil {
					next.Store(int64(n))
					errs <- err
					return
				}
			}
		}()
	}
	var first error
	for range r.o.dialers {
		if err := <-errs; first == nil {
			first = err
		}
	}
	return first
}

// sessionsResult is the report of --sessions.
type sessionsResult struct {
	Sessions int     `json:"sessions"`
	Seconds  float64 `json:"seconds"`
}

func (r *sessionsResult) writeText(w io.Writer) {
	fmt.Fprintf(w, "%d durable sessions left behind in %.1f s\n", r.Sessions, r.Seconds)
}

// leaveSessions makes durable sessions and goes.
func (r *mqttRun) leaveSessions(ctx context.Context) (report, error) {
	began := time.Now()
	err := r.together(ctx, r.o.sessions, func(i int) error {
		c, err := r.dial("sub", i)
		if err != nil {
			return err
		}
		c.topic = fmt.Sprint("perf/session/", i)
		if err = c.subscribe(); err == nil {
			d := wire.Disconnect{}
			_, err = c.nc.Write(d.Append(nil, c.v))
		}
		_ = c.nc.Close()
		return err
	})
	if err != nil {
		return nil, err
	}
	return &sessionsResult{r.o.sessions, time.Since(began).Seconds()}, nil
}
