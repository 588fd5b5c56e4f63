package perf

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/hermodmq/hermod/listeners/openwire/wire"
)

// openwireOptions are the flags of `perf openwire`; register documents them.
type openwireOptions struct {
	term
	peers

	host, user, password string

	topic, persistent, sync bool
	prefetch, multiple      int
	inFlight                int64
}

func (o *openwireOptions) register(f *pflag.FlagSet) {
	f.StringVar(&o.host, "host", "127.0.0.1:61616", "host and port of the broker")
	f.StringVar(&o.user, "user", "guest", "user name")
	f.StringVar(&o.password, "password", "guest", "password")
	f.IntVar(&o.producers, "producers", 1, "sending connections")
	f.IntVar(&o.consumers, "consumers", 1, "receiving connections")
	f.IntVar(&o.queues, "queues", 1, "destinations, shared out to producers and consumers in turn")
	f.BoolVar(&o.topic, "topic", false, "use topics instead of queues")
	f.IntVar(&o.size, "size", 1024, "body bytes; from 12 on the body carries a time stamp for latencies")
	f.BoolVar(&o.persistent, "persistent", false, "send persistent messages")
	f.BoolVar(&o.sync, "sync", false, "wait for the response to each message before the next, as JMS does for persistent ones")
	f.IntVar(&o.prefetch, "prefetch", 1000, "window of a consumer in messages")
	f.IntVar(&o.multiple, "multiple", 1, "messages per acknowledgement; 1 is what AUTO_ACKNOWLEDGE does")
	f.Int64Var(&o.inFlight, "in-flight", 0, "messages sent and not received by anybody at which producers wait; 0: they never do")
	o.term.register(f)
}

func (o *openwireOptions) validate() error {
	if _, _, err := net.SplitHostPort(o.host); err != nil {
		o.host = net.JoinHostPort(strings.Trim(o.host, "[]"), "61616")
	}
	switch {
	case o.prefetch < 1 || o.prefetch > 32767:
		return fmt.Errorf("--prefetch %d: not between 1 and 32767", o.prefetch)
	case o.multiple < 1 || o.multiple > o.prefetch:
		return fmt.Errorf("--multiple %d: not between 1 and the prefetch", o.multiple)
	case o.inFlight < 0 || o.inFlight > 0 && (o.consumers == 0 || o.topic && o.consumers > 1):
		return fmt.Errorf("--in-flight is not negative, and needs consumers that share what they get")
	}
	return errors.Join(o.peers.validate(), o.term.validate())
}

// openwireConn is a client connection with one session. One goroutine may read
// and one may write at a time.
type openwireConn struct {
	nc        net.Conn
	d         wire.Decoder
	in        input
	id        string // connection id
	commandID int32
}

// dialOpenWire connects and opens a session.
func dialOpenWire(ctx context.Context, o *openwireOptions, id string) (*openwireConn, error) {
	d := net.Dialer{Timeout: setupLimit}
	nc, err := d.DialContext(ctx, "tcp", o.host)
	if err != nil {
		return nil, err
	}
	c := &openwireConn{nc: nc, in: newInput(64 << 10), id: id}
	c.d.MaxFrameSize = 32 << 20
	_ = nc.SetDeadline(time.Now().Add(setupLimit))
	if err := c.open(o); err != nil {
		nc.Close()
		return nil, fmt.Errorf("connect to %s: %w", o.host, err)
	}
	return c, nc.SetDeadline(time.Time{})
}

func (c *openwireConn) open(o *openwireOptions) error {
	ours := wire.Options{Version: wire.MaxVersion, TCPNoDelay: true, ProviderName: "hermod perf"}
	if _, err := c.nc.Write(wire.Append(nil, wire.InitialFormat, ours.Info())); err != nil {
		return err
	}
	s, err := c.next()
	if err != nil {
		return err
	}
	info, ok := s.(*wire.WireFormatInfo)
	if !ok {
		return fmt.Errorf("broker sent %v, not its WireFormatInfo", s.Type())
	}
	theirs, err := info.Options()
	if err != nil {
		return err
	}
	agreed, err := wire.Negotiate(ours, theirs)
	if err != nil {
		return err
	}
	c.d.Format = agreed.Format()
	connection := wire.ConnectionID{Value: c.id}
	if err := c.call(&wire.ConnectionInfo{ConnectionID: connection, ClientID: c.id, UserName: o.user, Password: o.password}); err != nil {
		return err
	}
	return c.call(&wire.SessionInfo{SessionID: wire.SessionID{ConnectionID: c.id, Value: 1}})
}

// call sends a command and waits for the response to it.
func (c *openwireConn) call(cmd wire.Command) error {
	c.commandID++
	*cmd.Head() = wire.Header{CommandID: c.commandID, ResponseRequired: true}
	if _, err := c.nc.Write(wire.Append(nil, c.d.Format, cmd)); err != nil {
		return err
	}
	return c.await(c.commandID)
}

// await reads until the response to a command.
func (c *openwireConn) await(id int32) error {
	for {
		s, err := c.next()
		if err != nil {
			return err
		}
		switch r := s.(type) {
		case *wire.Response:
			if r.CorrelationID == id {
				return nil
			}
		case *wire.ExceptionResponse:
			return refusal(r.Exception)
		case *wire.ConnectionError:
			return refusal(r.Exception)
		}
	}
}

func refusal(t *wire.Throwable) error {
	if t == nil {
		return fmt.Errorf("broker refused without a reason")
	}
	return fmt.Errorf("broker refused: %s: %s", t.ClassName, t.Message)
}

// buffered cuts a frame off what was read; nil if there is none.
func (c *openwireConn) buffered() (s wire.Structure, need int, err error) {
	for {
		s, n, err := c.d.Decode(c.in.unparsed())
		if err != nil {
			return nil, 0, err
		}
		if n == 0 {
			need, err = c.d.Need(c.in.unparsed())
			return nil, need, err
		}
		c.in.took(n)
		if s != nil {
			return s, 0, nil
		}
	}
}

// next returns the next frame, valid until the next call.
func (c *openwireConn) next() (wire.Structure, error) {
	for {
		s, need, err := c.buffered()
		if s != nil || err != nil {
			return s, err
		}
		if err := c.in.fill(c.nc, need); err != nil {
			return nil, err
		}
	}
}

// openwireRun is one load run.
type openwireRun struct {
	load
	o     *openwireOptions
	conns []*openwireConn
}

// runOpenWire runs the load that o, validated, describes.
func runOpenWire(ctx context.Context, o *openwireOptions) (report, error) {
	r := &openwireRun{o: o, load: newLoad(&o.term, &o.peers)}
	return r.measure(ctx, r.scenario(), r.start, r.stop)
}

func (r *openwireRun) start(ctx context.Context) error {
	run := strconv.FormatInt(time.Now().UnixNano(), 36)
	destination := func(i int) wire.Destination {
		d := wire.Destination{Kind: wire.TypeQueue, Name: fmt.Sprintf("hermod-perf-%s-%d", run, i%r.o.queues)}
		if r.o.topic {
			d.Kind = wire.TypeTopic
		}
		return d
	}
	for i := range r.o.consumers + r.o.producers {
		c, err := dialOpenWire(ctx, r.o, fmt.Sprintf("ID:perf-%s-0:%d", run, i))
		if err != nil {
			return err
		}
		r.conns = append(r.conns, c)
		work, to := r.consume, destination(i)
		if i >= r.o.consumers {
			work, to = r.produce, destination(i-r.o.consumers)
		} else if err := c.subscribe(to, r.o.prefetch); err != nil {
			return err
		}
		r.work(func() error { return work(c, to) })
	}
	return nil
}

// stop ends the workers; it may be called twice.
func (r *openwireRun) stop() {
	r.stopping.Store(true)
	for _, c := range r.conns {
		c.nc.Close()
	}
	r.workers.Wait()
}

func (c *openwireConn) consumer() wire.ConsumerID {
	return wire.ConsumerID{ConnectionID: c.id, SessionID: 1, Value: 1}
}

func (c *openwireConn) subscribe(d wire.Destination, prefetch int) error {
	return c.call(&wire.ConsumerInfo{ConsumerID: c.consumer(), Destination: d, PrefetchSize: int32(prefetch)})
}

// consume reads messages and acknowledges them, in one write per read.
func (r *openwireRun) consume(c *openwireConn, d wire.Destination) error {
	var latency histogram
	defer func() { r.leave(&latency, &r.latencies) }()
	var out []byte
	ack := wire.MessageAck{Destination: d, ConsumerID: c.consumer(), AckType: wire.AckStandard}
	for {
		s, need, err := c.buffered()
		if err != nil {
			return err
		}
		if s == nil {
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
		if e, ok := s.(*wire.ConnectionError); ok {
			return refusal(e.Exception)
		}
		m, ok := s.(*wire.MessageDispatch)
		if !ok || m.Message == nil {
			continue
		}
		r.received.Add(1)
		if r.measures.Load() {
			observeStamp(&latency, m.Message.Content)
		}
		if ack.MessageCount++; ack.MessageCount == 1 {
			ack.FirstMessageID = m.Message.MessageID
		}
		if int(ack.MessageCount) < r.o.multiple {
			continue
		}
		ack.LastMessageID = m.Message.MessageID
		out = wire.Append(out, c.d.Format, &ack)
		ack.MessageCount = 0
	}
}

// template is a marshalled message and the places in it that change.
type template struct {
	frame              []byte
	sequence, contents int
}

func (r *openwireRun) template(c *openwireConn, d wire.Destination) (template, error) {
	producer := wire.ProducerID{ConnectionID: c.id, SessionID: 1, Value: 1}
	if err := c.call(&wire.ProducerInfo{ProducerID: producer, Destination: d}); err != nil {
		return template{}, err
	}
	m := &wire.Message{
		Kind: wire.TypeBytesMessage, Header: wire.Header{ResponseRequired: r.o.sync}, ProducerID: producer, Destination: d,
		MessageID: wire.MessageID{ProducerID: producer, ProducerSequenceID: 1}, Persistent: r.o.persistent, Priority: 4,
		Timestamp: time.Now().UnixMilli(), Content: make([]byte, r.o.size),
	}
	t := template{frame: wire.Append(nil, c.d.Format, m)}
	var own wire.Decoder // the connection's belongs to its reader
	own.Format = c.d.Format
	s, _, err := own.Decode(t.frame)
	if err != nil {
		return t, err
	}
	const head = 5 // size and type
	layout := s.(*wire.Message).Layout()
	t.sequence = head + int(layout.OriginalTransactionID) - 16
	t.contents = head + int(layout.Content) + 5
	return t, nil
}

// inFlightPoll is how often a producer looks whether it may go on.
const inFlightPoll = 100 * time.Microsecond

// produce sends in batches, or one by one with responses.
func (r *openwireRun) produce(c *openwireConn, d wire.Destination) error {
	var confirm histogram
	defer func() { r.leave(&confirm, &r.confirms) }()
	t, err := r.template(c, d)
	if err != nil {
		return err
	}
	n := 1
	if !r.o.sync {
		n = max(1, batchBytes/len(t.frame))
		r.work(func() error { return r.listen(c) })
	}
	var frames []byte
	for range n {
		frames = append(frames, t.frame...)
	}
	var sequence uint64
	for !r.stopping.Load() {
		if r.o.inFlight > 0 && r.sent.Load()-r.received.Load() > r.o.inFlight {
			time.Sleep(inFlightPoll)
			continue
		}
		now := time.Now().UnixNano()
		for i := range n {
			f := frames[i*len(t.frame):]
			sequence++
			c.commandID++
			binary.BigEndian.PutUint32(f[5:], uint32(c.commandID))
			binary.BigEndian.PutUint64(f[t.sequence:], sequence)
			stamp(f[t.contents:][:r.o.size], now)
		}
		if _, err := c.nc.Write(frames); err != nil {
			return err
		}
		r.sent.Add(int64(n))
		if !r.o.sync {
			continue
		}
		if err := c.await(c.commandID); err != nil {
			return err
		}
		r.answered.Add(1)
		if r.measures.Load() {
			confirm.add(time.Now().UnixNano()-now, 1)
		}
	}
	return nil
}

// listen reads what a producer is told that waits for nothing.
func (r *openwireRun) listen(c *openwireConn) error {
	for {
		s, err := c.next()
		if err != nil {
			return err
		}
		if e, ok := s.(*wire.ConnectionError); ok {
			return refusal(e.Exception)
		}
	}
}

// scenario describes the run in one line.
func (r *openwireRun) scenario() string {
	o := r.o
	parts := []string{fmt.Sprintf("OpenWire, %d producers, %d consumers, %d destinations, %d bytes, prefetch %d, %d messages per acknowledgement",
		o.producers, o.consumers, o.queues, o.size, o.prefetch, o.multiple)}
	for _, x := range []remark{{o.topic, "topics"}, {o.persistent, "persistent"}, {o.sync, "synchronous"}, {o.inFlight > 0, fmt.Sprintf("%d in flight", o.inFlight)}} {
		if x.on {
			parts = append(parts, x.text)
		}
	}
	return strings.Join(parts, ", ")
}
