package perf

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spf13/pflag"

	"github.com/hermodmq/hermod/bridge/aws"
)

// sqsOptions are the flags of `perf sqs`; register documents them.
type sqsOptions struct {
	term

	host, key, secret, region, queue string
	clients, size, batch             int
	mode                             string
	backlog                          int
}

func (o *sqsOptions) register(f *pflag.FlagSet) {
	f.StringVar(&o.host, "host", "127.0.0.1:4566", "host and port of the endpoint")
	f.StringVar(&o.key, "key", "test", "access key id")
	f.StringVar(&o.secret, "secret", "test", "secret of the access key")
	f.StringVar(&o.region, "region", "us-east-1", "region of the signature")
	f.StringVar(&o.queue, "queue", "hermod-perf", "queue; made if it is missing and purged before the run")
	f.IntVar(&o.clients, "clients", 32, "connections, each with one request at a time")
	f.IntVar(&o.size, "size", 1024, "body bytes")
	f.IntVar(&o.batch, "batch", 1, "messages of a request, 1 to 10")
	f.StringVar(&o.mode, "mode", "send", "send; round (send, receive and delete); drain (receive and delete a backlog); poll (connections that wait)")
	f.IntVar(&o.backlog, "backlog", 0, "messages that are in the queue before the measurement begins")
	o.term.register(f)
}

func (o *sqsOptions) validate() error {
	switch {
	case o.clients < 1 || o.clients > 60000:
		return fmt.Errorf("--clients %d: not between 1 and 60000", o.clients)
	case o.batch < 1 || o.batch > 10:
		return fmt.Errorf("--batch %d: not between 1 and 10", o.batch)
	case o.size < 1 || o.size*o.batch > 1<<20:
		return fmt.Errorf("--size %d: a request may have 1048576 bytes", o.size)
	case o.mode != "send" && o.mode != "round" && o.mode != "drain" && o.mode != "poll":
		return fmt.Errorf("--mode %q: not send, round, drain or poll", o.mode)
	case o.backlog < 0:
		return errors.New("--backlog must not be negative")
	}
	return o.term.validate()
}

// sqsResult is what `perf sqs` reports.
type sqsResult struct {
	Scenario string     `json:"scenario"`
	Size     int        `json:"body_bytes"`
	Messages int64      `json:"messages"`
	Requests int64      `json:"requests"`
	Rate     float64    `json:"messages_per_second"`
	Latency  *latencies `json:"request_latency,omitempty"`
	PerPoll  int64      `json:"broker_rss_bytes_per_poll,omitempty"`
	Backlog  float64    `json:"backlog_messages_per_second,omitempty"`
	Cost     cost       `json:"cost"`
}

func (r *sqsResult) writeText(w io.Writer) {
	fmt.Fprintf(w, "%s, %.2f s\n", r.Scenario, r.Cost.Seconds)
	if r.Backlog > 0 {
		fmt.Fprintf(w, "backlog    sent at %.0f messages/s\n", r.Backlog)
	}
	if r.PerPoll > 0 {
		fmt.Fprintf(w, "polls      %.1f KiB of the broker's memory each\n", float64(r.PerPoll)/1024)
	}
	fmt.Fprintf(w, "messages   %d, %.0f/s, %.1f MiB/s, in %d requests\n", r.Messages, r.Rate, r.Rate*float64(r.Size)/(1<<20), r.Requests)
	if r.Latency != nil {
		fmt.Fprintf(w, "request    %v\n", r.Latency)
	}
	r.Cost.writeText(w, "broker", "message")
}

// sqsConn is a connection with a signer. It dials again when the server has
// said that it closes.
type sqsConn struct {
	ctx    context.Context
	nc     net.Conn
	stop   func() bool // ends the watch over ctx
	in     *bufio.Reader
	size   int  // of in
	last   bool // the server closes behind this answer
	host   string
	signer aws.Signer
	out    []byte
	body   []byte
	stamp  string // x-amz-date
	second int64
}

// answerLimit bounds the wait for an answer, which may be that of a long poll.
const answerLimit = 20*time.Second + setupLimit

func dialSQS(ctx context.Context, o *sqsOptions) (*sqsConn, error) {
	c := &sqsConn{ctx: ctx, size: 32 << 10, host: o.host, signer: aws.Signer{Key: o.key, Secret: o.secret, Region: o.region, Service: "sqs"}}
	if o.mode == "poll" {
		c.size = 512
	}
	return c, c.dial()
}

func (c *sqsConn) dial() error {
	d := net.Dialer{Timeout: setupLimit}
	nc, err := d.DialContext(c.ctx, "tcp", c.host)
	if err != nil {
		return err
	}
	c.nc, c.last = nc, false
	c.in = bufio.NewReaderSize(nc, c.size)
	c.stop = context.AfterFunc(c.ctx, func() { nc.Close() })
	return nil
}

func (c *sqsConn) close() {
	c.stop()
	c.nc.Close()
}

// post sends a request.
func (c *sqsConn) post(action string, body []byte) error {
	if c.last {
		c.close()
		if err := c.dial(); err != nil {
			return err
		}
	}
	now := time.Now()
	if now.Unix() != c.second {
		c.second, c.stamp = now.Unix(), now.UTC().Format("20060102T150405Z")
	}
	target := "AmazonSQS." + action
	auth := c.signer.Sign("POST", "/", "", []aws.Header{
		{Name: "content-type", Value: "application/x-amz-json-1.0"}, {Name: "host", Value: c.host}, {Name: "x-amz-date", Value: c.stamp}, {Name: "x-amz-target", Value: target},
	}, body, now)
	b := append(c.out[:0], "POST / HTTP/1.1\r\nHost: "...)
	b = append(append(b, c.host...), "\r\nContent-Type: application/x-amz-json-1.0\r\nX-Amz-Date: "...)
	b = append(append(b, c.stamp...), "\r\nX-Amz-Target: "...)
	b = append(append(b, target...), "\r\nAuthorization: "...)
	b = append(append(b, auth...), "\r\nContent-Length: "...)
	b = append(strconv.AppendInt(b, int64(len(body)), 10), "\r\n\r\n"...)
	c.out = append(b, body...)
	if err := c.nc.SetDeadline(now.Add(answerLimit)); err != nil {
		return err
	}
	_, err := c.nc.Write(c.out)
	return err
}

// answer reads a response; the body is valid until the next call.
func (c *sqsConn) answer() ([]byte, error) {
	status, length := 0, 0
	for line := 0; ; line++ {
		b, err := c.in.ReadSlice('\n')
		if err != nil {
			return nil, err
		}
		switch {
		case line == 0 && len(b) > 12:
			status, _ = strconv.Atoi(string(b[9:12]))
			c.last = bytes.HasPrefix(b, []byte("HTTP/1.0"))
		case len(b) > 16 && strings.EqualFold(string(b[:15]), "content-length:"):
			length, _ = strconv.Atoi(strings.TrimSpace(string(b[15:])))
		case len(b) > 12 && strings.EqualFold(string(b[:11]), "connection:"):
			c.last = strings.EqualFold(strings.TrimSpace(string(b[11:])), "close")
		}
		if len(b) <= 2 {
			break
		}
	}
	if cap(c.body) < length {
		c.body = make([]byte, length)
	}
	c.body = c.body[:length]
	if _, err := io.ReadFull(c.in, c.body); err != nil {
		return nil, err
	}
	if status != 200 {
		return nil, fmt.Errorf("status %d: %s", status, c.body)
	}
	return c.body, nil
}

func (c *sqsConn) call(action string, body []byte) ([]byte, error) {
	if err := c.post(action, body); err != nil {
		return nil, err
	}
	return c.answer()
}

// sqsRun is a run under way.
type sqsRun struct {
	o        *sqsOptions
	url      string
	measures atomic.Bool
	stopping atomic.Bool
	messages atomic.Int64
	requests atomic.Int64
	left     atomic.Int64 // of the backlog to send

	mu      sync.Mutex
	latency histogram
}

func runSQS(ctx context.Context, o *sqsOptions) (*sqsResult, error) {
	r := &sqsRun{o: o}
	c, err := dialSQS(ctx, o)
	if err != nil {
		return nil, err
	}
	defer c.close()
	out, err := c.call("CreateQueue", []byte(`{"QueueName":"`+o.queue+`"}`))
	if err != nil {
		return nil, err
	}
	var made struct{ QueueUrl string }
	if err := json.Unmarshal(out, &made); err != nil {
		return nil, err
	}
	r.url = made.QueueUrl
	if _, err := c.call("PurgeQueue", []byte(`{"QueueUrl":"`+r.url+`"}`)); err != nil {
		return nil, err
	}
	res := &sqsResult{Size: o.size}
	if res.Backlog, err = r.fill(ctx); err != nil {
		return nil, err
	}
	if o.mode == "poll" {
		return r.polls(ctx, res)
	}
	return r.load(ctx, res)
}

// fill puts the backlog into the queue.
func (r *sqsRun) fill(ctx context.Context) (rate float64, err error) {
	if r.o.backlog == 0 {
		return 0, nil
	}
	begun := time.Now()
	r.left.Store(int64(r.o.backlog))
	body := r.sends(10)
	err = r.each(ctx, min(r.o.clients, 32), func(c *sqsConn) error {
		for r.left.Add(-10) > -10 {
			if _, err := c.call("SendMessageBatch", body); err != nil {
				return err
			}
		}
		return nil
	})
	return float64(r.o.backlog) / time.Since(begun).Seconds(), err
}

// each runs f on n connections at once.
func (r *sqsRun) each(ctx context.Context, n int, f func(c *sqsConn) error) error {
	errs := make(chan error, n)
	for range n {
		go func() {
			c, err := dialSQS(ctx, r.o)
			if err == nil {
				err = f(c)
				c.close()
			}
			errs <- err
		}()
	}
	var all error
	for range n {
		if err := <-errs; err != nil {
			r.stopping.Store(true)
			all = errors.Join(all, err)
		}
	}
	return all
}

// sends is the body of a request that sends n messages.
func (r *sqsRun) sends(n int) []byte {
	text := strings.Repeat("x", r.o.size)
	var b bytes.Buffer
	b.WriteString(`{"QueueUrl":"` + r.url + `",`)
	if n == 1 {
		b.WriteString(`"MessageBody":"` + text + `"}`)
		return b.Bytes()
	}
	b.WriteString(`"Entries":[`)
	for i := range n {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `{"Id":"%d","MessageBody":"%s"}`, i, text)
	}
	b.WriteString("]}")
	return b.Bytes()
}

func (r *sqsRun) load(ctx context.Context, res *sqsResult) (*sqsResult, error) {
	o := r.o
	failed, ended := make(chan error, 1), make(chan error, 1)
	go func() {
		err := r.each(ctx, o.clients, func(c *sqsConn) error { return r.work(c) })
		failed <- errors.Join(err, errors.New("the load ended early"))
		ended <- err
	}()
	if err := await(ctx, o.warmup, failed); err != nil {
		return nil, err
	}
	from, err := readUsage(o.pids)
	if err != nil {
		return nil, err
	}
	r.measures.Store(true)
	n, q := r.messages.Load(), r.requests.Load()
	if err := await(ctx, o.duration, failed); err != nil {
		return nil, err
	}
	to, err := readUsage(o.pids)
	if err != nil {
		return nil, err
	}
	res.Messages, res.Requests = r.messages.Load()-n, r.requests.Load()-q
	r.stopping.Store(true)
	if err := <-ended; err != nil {
		return nil, err
	}
	res.Scenario = fmt.Sprintf("SQS %s, %d clients, %d bytes, %d in a request, backlog %d", o.mode, o.clients, o.size, o.batch, o.backlog)
	res.Cost = costBetween(from, to, o.pids, res.Messages, to.broker.RSS)
	res.Rate = float64(res.Messages) / res.Cost.Seconds
	res.Latency = r.latency.summary()
	return res, nil
}

// work makes requests until the end.
func (r *sqsRun) work(c *sqsConn) error {
	var h histogram
	defer func() {
		r.mu.Lock()
		r.latency.merge(&h)
		r.mu.Unlock()
	}()
	send, action := r.sends(r.o.batch), "SendMessage"
	if r.o.batch > 1 {
		action = "SendMessageBatch"
	}
	for !r.stopping.Load() {
		began := time.Now()
		n, requests := r.o.batch, 1
		var err error
		switch r.o.mode {
		case "send":
			_, err = c.call(action, send)
		case "round":
			if _, err = c.call(action, send); err == nil {
				n, err = r.take(c)
				requests = 3
			}
		default:
			n, err = r.take(c)
			requests = 2
		}
		if err != nil {
			return err
		}
		r.messages.Add(int64(n))
		r.requests.Add(int64(requests))
		if r.measures.Load() {
			h.add(time.Since(began).Nanoseconds(), 1)
		}
	}
	return nil
}

var handleMark = []byte(`"ReceiptHandle":"`)

// take receives and deletes as many messages as a request may have.
func (r *sqsRun) take(c *sqsConn) (int, error) {
	out, err := c.call("ReceiveMessage", []byte(`{"QueueUrl":"`+r.url+`","WaitTimeSeconds":1,"MaxNumberOfMessages":`+strconv.Itoa(r.o.batch)+`}`))
	if err != nil {
		return 0, err
	}
	var handles []string
	for {
		i := bytes.Index(out, handleMark)
		if i < 0 {
			break
		}
		out = out[i+len(handleMark):]
		handles = append(handles, string(out[:bytes.IndexByte(out, '"')]))
	}
	switch {
	case len(handles) == 0:
		return 0, nil
	case r.o.batch == 1:
		_, err = c.call("DeleteMessage", []byte(`{"QueueUrl":"`+r.url+`","ReceiptHandle":"`+handles[0]+`"}`))
		return 1, err
	}
	b := []byte(`{"QueueUrl":"` + r.url + `","Entries":[`)
	for i, h := range handles {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(append(strconv.AppendInt(append(b, `{"Id":"`...), int64(i), 10), `","ReceiptHandle":"`...), h...)
		b = append(b, `"}`...)
	}
	_, err = c.call("DeleteMessageBatch", append(b, `]}`...))
	return len(handles), err
}

// polls opens connections that wait and then sends each of them a message.
func (r *sqsRun) polls(ctx context.Context, res *sqsResult) (*sqsResult, error) {
	o := r.o
	before, err := readUsage(o.pids)
	if err != nil {
		return nil, err
	}
	conns := make([]*sqsConn, o.clients)
	defer func() {
		for _, c := range conns {
			if c != nil {
				c.close()
			}
		}
	}()
	body := []byte(`{"QueueUrl":"` + r.url + `","WaitTimeSeconds":20}`)
	for i := range conns {
		if conns[i], err = dialSQS(ctx, o); err != nil {
			return nil, err
		}
		if err := conns[i].post("ReceiveMessage", body); err != nil {
			return nil, err
		}
		conns[i].out = nil
	}
	select {
	case <-time.After(2 * time.Second):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	waiting, err := readUsage(o.pids)
	if err != nil {
		return nil, err
	}
	res.PerPoll = (waiting.broker.RSS - before.broker.RSS) / int64(o.clients)
	sender, err := dialSQS(ctx, o)
	if err != nil {
		return nil, err
	}
	defer sender.close()
	woken := make(chan time.Time, o.clients)
	for _, c := range conns {
		go func() {
			if out, err := c.answer(); err == nil && bytes.Contains(out, handleMark) {
				woken <- time.Now()
			}
		}()
	}
	send, n := r.sends(1), min(o.clients, 200)
	for range n {
		began := time.Now()
		if _, err := sender.call("SendMessage", send); err != nil {
			return nil, err
		}
		select {
		case at := <-woken:
			r.latency.add(max(at.Sub(began).Nanoseconds(), 1), 1)
		case <-time.After(5 * time.Second):
			return nil, errors.New("no poll got the message")
		}
	}
	to, err := readUsage(o.pids)
	if err != nil {
		return nil, err
	}
	res.Scenario = fmt.Sprintf("SQS, %d long polls; latency from a send to the poll's answer", o.clients)
	res.Messages, res.Requests = int64(n), int64(2*n)
	res.Cost = costBetween(waiting, to, o.pids, int64(n), to.broker.RSS)
	res.Rate = float64(n) / res.Cost.Seconds
	res.Latency = r.latency.summary()
	return res, nil
}
