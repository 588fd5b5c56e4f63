package perf

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spf13/pflag"
)

// relayOptions are the flags of `perf relay`.
type relayOptions struct {
	producers, consumers, size int
	duration, warmup           time.Duration
	json                       bool

	program string // to run as the relay; this one if empty
}

func (o *relayOptions) register(f *pflag.FlagSet) {
	f.IntVar(&o.producers, "producers", 1, "sending connections")
	f.IntVar(&o.consumers, "consumers", 1, "receiving connections")
	f.IntVar(&o.size, "size", 1024, "message bytes, without the 4 bytes of its length")
	f.DurationVar(&o.duration, "duration", 5*time.Second, "how long to measure")
	f.DurationVar(&o.warmup, "warmup", time.Second, "how long to run before measuring")
	f.BoolVar(&o.json, "json", false, "print JSON")
}

func (o *relayOptions) asJSON() bool { return o.json }

func (o *relayOptions) validate() error {
	switch {
	case o.producers < 1 || o.producers > 1000 || o.consumers < 1 || o.consumers > 1000:
		return fmt.Errorf("--producers and --consumers: not between 1 and 1000")
	case o.size < 1 || o.size > relayBuffer/2:
		return fmt.Errorf("--size %d: not between 1 and %d", o.size, relayBuffer/2)
	case o.duration <= 0 || o.warmup < 0:
		return fmt.Errorf("--duration must be positive, --warmup not negative")
	}
	return nil
}

// relayBuffer bounds what the relay reads at once, and so a message.
const relayBuffer = 256 << 10

// The first byte of a connection says which way its messages go.
const (
	relayProduces = 'P'
	relayConsumes = 'C'
)

// relay forwards messages: a length of 4 bytes, then so many bytes.
type relay struct {
	mu    sync.Mutex
	sinks []*relaySink
	some  *sync.Cond // there are sinks, or the relay is closed
	next  atomic.Uint64
	end   bool
}

type relaySink struct {
	mu sync.Mutex
	nc net.Conn
}

func newRelay() *relay {
	r := &relay{}
	r.some = sync.NewCond(&r.mu)
	return r
}

// serve takes connections until the listener is closed.
func (r *relay) serve(l net.Listener) error {
	var conns sync.WaitGroup
	defer conns.Wait()
	defer r.close()
	for {
		nc, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return nil
		}
		if err != nil {
			return err
		}
		conns.Go(func() {
			defer nc.Close()
			r.handle(nc)
		})
	}
}

func (r *relay) close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.end = true
	for _, s := range r.sinks {
		s.nc.Close()
	}
	r.some.Broadcast()
}

func (r *relay) handle(nc net.Conn) {
	var role [1]byte
	if _, err := io.ReadFull(nc, role[:]); err != nil {
		return
	}
	switch role[0] {
	case relayConsumes:
		r.consume(nc)
	case relayProduces:
		r.produce(nc)
	}
}

// consume offers nc as a sink until the peer goes away.
func (r *relay) consume(nc net.Conn) {
	s := &relaySink{nc: nc}
	r.mu.Lock()
	r.sinks = append(r.sinks, s)
	r.some.Broadcast()
	r.mu.Unlock()
	_, _ = io.Copy(io.Discard, nc)
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range r.sinks {
		if r.sinks[i] == s {
			r.sinks = append(r.sinks[:i:i], r.sinks[i+1:]...)
			return
		}
	}
}

// produce hands the whole messages of each read to one sink, in turn.
func (r *relay) produce(nc net.Conn) {
	buf := make([]byte, relayBuffer)
	have := 0
	for {
		n, err := nc.Read(buf[have:])
		if n == 0 && err != nil {
			return
		}
		have += n
		whole, _, ok := wholeMessages(buf[:have])
		if !ok {
			return
		}
		if whole == 0 {
			continue
		}
		s := r.pick()
		if s == nil || s.write(buf[:whole]) != nil {
			return
		}
		have = copy(buf, buf[whole:have])
	}
}

// pick returns the sink whose turn it is, waiting for the first; nil at the end.
func (r *relay) pick() *relaySink {
	r.mu.Lock()
	defer r.mu.Unlock()
	for len(r.sinks) == 0 && !r.end {
		r.some.Wait()
	}
	if r.end {
		return nil
	}
	return r.sinks[r.next.Add(1)%uint64(len(r.sinks))]
}

func (s *relaySink) write(b []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, err := s.nc.Write(b)
	return err
}

// wholeMessages returns how many bytes at the head of b are whole messages,
// and how many messages. ok is false if one is larger than a buffer.
func wholeMessages(b []byte) (size, messages int, ok bool) {
	for len(b)-size >= 4 {
		n := binary.BigEndian.Uint32(b[size:])
		if n > relayBuffer-4 {
			return 0, 0, false
		}
		if len(b)-size-4 < int(n) {
			break
		}
		size += 4 + int(n)
		messages++
	}
	return size, messages, true
}

// serveRelay is the second process: it prints where it listens and runs until
// in ends.
func serveRelay(in io.Reader, out io.Writer) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintln(out, l.Addr()); err != nil {
		return err
	}
	go func() {
		_, _ = io.Copy(io.Discard, in)
		l.Close()
	}()
	return newRelay().serve(l)
}

// runRelay starts the relay and loads it.
func runRelay(ctx context.Context, o *relayOptions) (report, error) {
	program, args := o.program, []string{"perf", "relay", "--serve"}
	if program == "" {
		var err error
		if program, err = os.Executable(); err != nil {
			return nil, err
		}
	}
	child := exec.Command(program, args...)
	child.Stderr = os.Stderr
	stdin, err := child.StdinPipe()
	if err != nil {
		return nil, err
	}
	stdout, err := child.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := child.Start(); err != nil {
		return nil, fmt.Errorf("start relay: %w", err)
	}
	defer func() {
		stdin.Close()
		_ = child.Wait()
	}()
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err != nil {
		return nil, fmt.Errorf("relay did not start: %w", err)
	}
	return loadRelay(ctx, o, strings.TrimSpace(line), []int{child.Process.Pid})
}

// loadRelay loads the relay at addr, which runs as the given processes.
func loadRelay(ctx context.Context, o *relayOptions, addr string, pids []int) (*relayResult, error) {
	var received atomic.Int64
	var conns []net.Conn
	var workers sync.WaitGroup
	defer func() {
		for _, nc := range conns {
			nc.Close()
		}
		workers.Wait()
	}()
	open := func(role byte) (net.Conn, error) {
		nc, err := net.Dial("tcp", addr)
		if err != nil {
			return nil, err
		}
		conns = append(conns, nc)
		_, err = nc.Write([]byte{role})
		return nc, err
	}
	for range o.consumers {
		nc, err := open(relayConsumes)
		if err != nil {
			return nil, err
		}
		workers.Go(func() { countMessages(nc, &received) })
	}
	for range o.producers {
		nc, err := open(relayProduces)
		if err != nil {
			return nil, err
		}
		workers.Go(func() { sendMessages(nc, o.size) })
	}
	return measureRelay(ctx, o, pids, &received)
}

func measureRelay(ctx context.Context, o *relayOptions, pids []int, received *atomic.Int64) (*relayResult, error) {
	wait := func(d time.Duration) error {
		select {
		case <-time.After(d):
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	if err := wait(o.warmup); err != nil {
		return nil, err
	}
	from, err := readUsage(pids)
	if err != nil {
		return nil, err
	}
	before := received.Load()
	if err := wait(o.duration); err != nil {
		return nil, err
	}
	n := received.Load() - before
	to, err := readUsage(pids)
	if err != nil {
		return nil, err
	}
	c := costBetween(from, to, pids, n, 0)
	return &relayResult{Size: o.size, Messages: n, Rate: float64(n) / c.Seconds, Cost: c}, nil
}

func sendMessages(nc net.Conn, size int) {
	one := binary.BigEndian.AppendUint32(nil, uint32(size))
	one = append(one, make([]byte, size)...)
	var batch []byte
	for len(batch) < batchBytes {
		batch = append(batch, one...)
	}
	for {
		if _, err := nc.Write(batch); err != nil {
			return
		}
	}
}

func countMessages(nc net.Conn, received *atomic.Int64) {
	buf := make([]byte, relayBuffer)
	have := 0
	for {
		n, err := nc.Read(buf[have:])
		if err != nil {
			return
		}
		have += n
		whole, messages, ok := wholeMessages(buf[:have])
		if !ok {
			return
		}
		received.Add(int64(messages))
		have = copy(buf, buf[whole:have])
	}
}

// relayResult is what `perf relay` reports.
type relayResult struct {
	Size     int     `json:"message_bytes"`
	Messages int64   `json:"messages"`
	Rate     float64 `json:"rate"`
	Cost     cost    `json:"cost"`
}

func (r *relayResult) writeText(w io.Writer) {
	fmt.Fprintf(w, "relayed    %d messages of %d bytes, %.0f/s, %.1f MiB/s\n",
		r.Messages, r.Size, r.Rate, r.Rate*float64(r.Size)/(1<<20))
	r.Cost.writeText(w, "relay", "message")
}
