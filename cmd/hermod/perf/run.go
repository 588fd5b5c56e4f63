package perf

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hermodmq/hermod/listeners/amqp/wire"
)

const (
	pollEvery  = 20 * time.Millisecond // how often the run looks at its workers
	idleAfter  = time.Second           // --consume-only ends when nothing came for so long
	stallAfter = 30 * time.Second      // --count gives up when nothing moved for so long
)

// run is one load run: its workers and what they share.
type run struct {
	o         *amqpOptions
	producers []*producer
	consumers []*consumer

	measuring atomic.Bool // latencies count
	stopping  atomic.Bool
	stopped   chan struct{} // closed when stopping
	blocked   atomic.Int64  // connection.blocked seen
	failed    chan error    // first error of each worker

	publishing, reading sync.WaitGroup
}

// counters are totals over all workers since they started.
type counters struct {
	Published int64 `json:"published"`
	Confirmed int64 `json:"confirmed"`
	Nacked    int64 `json:"nacked"`
	Returned  int64 `json:"returned"`
	Delivered int64 `json:"delivered"`
}

func (a counters) minus(b counters) counters {
	return counters{a.Published - b.Published, a.Confirmed - b.Confirmed, a.Nacked - b.Nacked,
		a.Returned - b.Returned, a.Delivered - b.Delivered}
}

// runAMQP runs the load that o, validated, describes.
func runAMQP(ctx context.Context, o *amqpOptions) (report, error) {
	if o.idle > 0 {
		return runIdle(ctx, o)
	}
	if _, err := readUsage(o.pids); err != nil {
		return nil, err
	}
	queues := o.queueNames(fmt.Sprint(os.Getpid()))
	if err := declareQueues(ctx, o, queues); err != nil {
		return nil, err
	}
	if o.queue == "" {
		defer deleteQueues(o, queues)
	}
	r := &run{o: o, stopped: make(chan struct{}), failed: make(chan error, 2*o.producers+o.consumers)}
	err := r.connect(ctx, queues)
	if err != nil {
		r.disconnect()
		return nil, err
	}
	// Where everything counts, so does what happens before measure looks.
	r.measuring.Store(o.count > 0 || o.consumes)
	r.start()
	m, err := r.measure(ctx)
	r.stop()
	r.disconnect()
	if err != nil {
		return nil, err
	}
	return r.result(m), nil
}

// declareQueues makes sure that the queues exist. One that was named and
// exists is taken as it is.
func declareQueues(ctx context.Context, o *amqpOptions, queues []string) error {
	c, err := dial(ctx, o, nil)
	if err != nil {
		return err
	}
	defer func() { c.close() }()
	for _, q := range queues {
		if o.queue != "" {
			_, err := c.call(channel, &wire.QueueDeclare{Queue: q, Passive: true}, wire.IDQueueDeclareOk)
			if err == nil {
				continue
			}
			c.close() // the broker closed the channel
			if c, err = dial(ctx, o, nil); err != nil {
				return err
			}
		}
		m := &wire.QueueDeclare{Queue: q, Durable: o.durable}
		if o.queueType != "" {
			m.Arguments = wire.Table{{Name: "x-queue-type", Value: o.queueType}}
		}
		if _, err := c.call(channel, m, wire.IDQueueDeclareOk); err != nil {
			return fmt.Errorf("declare queue %q: %w", q, err)
		}
	}
	return nil
}

// deleteQueues also runs after an interrupt, so it takes no context.
func deleteQueues(o *amqpOptions, queues []string) {
	c, err := dial(context.Background(), o, nil)
	if err != nil {
		return
	}
	defer c.close()
	for _, q := range queues {
		if _, err := c.call(channel, &wire.QueueDelete{Queue: q}, wire.IDQueueDeleteOk); err != nil {
			fmt.Fprintf(os.Stderr, "delete queue %q: %v\n", q, err)
			return
		}
	}
}

func (r *run) connect(ctx context.Context, queues []string) error {
	for i := range r.o.consumers {
		c, err := dial(ctx, r.o, nil)
		if err != nil {
			return err
		}
		k, err := newConsumer(r, c, queues[i%len(queues)])
		if err != nil {
			c.close()
			return err
		}
		r.consumers = append(r.consumers, k)
	}
	for i := range r.o.producers {
		c, err := dial(ctx, r.o, nil)
		if err != nil {
			return err
		}
		p, err := newProducer(r, c, queues[i%len(queues)])
		if err != nil {
			c.close()
			return err
		}
		if n := int64(r.o.producers); r.o.count > 0 {
			p.quota = r.o.count / n
			if int64(i) < r.o.count%n {
				p.quota++
			}
		}
		r.producers = append(r.producers, p)
	}
	return nil
}

func (r *run) start() {
	work := func(wg *sync.WaitGroup, what string, f func() error) {
		wg.Go(func() {
			if err := f(); err != nil && !r.stopping.Load() {
				r.failed <- fmt.Errorf("%s: %w", what, err)
			}
		})
	}
	for _, k := range r.consumers {
		work(&r.reading, "consumer", k.read)
	}
	for _, p := range r.producers {
		work(&r.reading, "producer", p.read)
		work(&r.publishing, "producer", p.publish)
	}
}

// stop ends the workers: publishers first, between two writes if the broker
// takes them, then those who read.
func (r *run) stop() {
	r.measuring.Store(false)
	r.stopping.Store(true)
	close(r.stopped)
	for _, p := range r.producers {
		_ = p.c.nc.SetWriteDeadline(time.Now().Add(2 * time.Second))
		if p.window != nil {
			p.window.close()
		}
	}
	r.publishing.Wait()
	for _, p := range r.producers {
		p.c.interrupt()
	}
	for _, k := range r.consumers {
		_ = k.c.nc.SetWriteDeadline(time.Now().Add(2 * time.Second))
		k.c.interrupt()
	}
	r.reading.Wait()
}

func (r *run) disconnect() {
	var closing sync.WaitGroup
	for _, p := range r.producers {
		closing.Go(p.c.close)
	}
	closing.Wait()
	for _, k := range r.consumers {
		closing.Go(k.finish)
	}
	closing.Wait()
}

func (r *run) counters() counters {
	var c counters
	for _, p := range r.producers {
		c.Published += p.sent.Load()
		c.Confirmed += p.confirmed.Load()
		c.Nacked += p.nacked.Load()
		c.Returned += p.returned.Load()
	}
	for _, k := range r.consumers {
		c.Delivered += k.received.Load()
	}
	return c
}

// measurement is what lies between two looks at all counters.
type measurement struct {
	from, to         usage
	before, after    counters
	peakRSS          int64
	changed          time.Time // when after last differed from the look before
	latest           usage     // at that time
	interrupted      bool
	measuringStarted time.Time
}

// measure waits for the warm-up, then until the run is over.
func (r *run) measure(ctx context.Context) (*measurement, error) {
	poll := time.NewTicker(pollEvery)
	defer poll.Stop()
	if r.o.count == 0 && !r.o.consumes && r.o.warmup > 0 {
		if err := r.warmUp(ctx); err != nil {
			return nil, err
		}
	}
	m := &measurement{before: r.counters(), measuringStarted: time.Now(), changed: time.Now()}
	if r.o.count > 0 || r.o.consumes {
		m.before = counters{} // all of it counts
	}
	var err error
	if m.from, err = readUsage(r.o.pids); err != nil {
		return nil, err
	}
	m.latest = m.from
	r.measuring.Store(true)
	for {
		select {
		case err := <-r.failed:
			return nil, err
		case <-ctx.Done():
			m.interrupted = true
		case <-poll.C:
		}
		over, err := r.look(m)
		if err != nil {
			return nil, err
		}
		if over || m.interrupted {
			return m, nil
		}
	}
}

func (r *run) warmUp(ctx context.Context) error {
	select {
	case err := <-r.failed:
		return err
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(r.o.warmup):
		return nil
	}
}

// look updates m and says whether the run is over.
func (r *run) look(m *measurement) (over bool, err error) {
	now := r.counters()
	if m.to, err = readUsage(r.o.pids); err != nil {
		return false, err
	}
	m.peakRSS = max(m.peakRSS, m.to.broker.RSS)
	if now != m.after {
		m.after, m.changed, m.latest = now, m.to.at, m.to
	}
	still := m.to.at.Sub(m.changed)
	switch o := r.o; {
	case o.count > 0 && r.progress(now) >= o.count && r.published(now):
		return true, nil
	case o.duration > 0 && m.to.at.Sub(m.measuringStarted) >= o.duration && (o.count > 0 || !o.consumes):
		return true, nil
	case o.consumes && still > idleAfter:
		m.to = m.latest // the wait for more is not part of it
		return true, nil
	case o.count > 0 && still > stallAfter:
		return false, fmt.Errorf("nothing moved for %v after %d of %d messages", stallAfter, r.progress(now), o.count)
	}
	return false, nil
}

// progress is what --count counts: messages at the last stage there is.
func (r *run) progress(c counters) int64 {
	switch {
	case r.o.consumers > 0:
		return c.Delivered
	case r.o.confirm > 0:
		return c.Confirmed + c.Nacked
	}
	return c.Published
}

// published reports whether all of --count is sent, and confirmed where that is
// asked for: deliveries overtake confirms, and the count of what is sent.
func (r *run) published(c counters) bool {
	o := r.o
	return o.producers == 0 || c.Published >= o.count && (o.confirm == 0 || c.Confirmed+c.Nacked >= o.count)
}

// unit says what progress counts, in the singular.
func (r *run) unit() string {
	switch {
	case r.o.consumers > 0:
		return "delivered message"
	case r.o.confirm > 0:
		return "confirmed message"
	}
	return "published message"
}

func (r *run) result(m *measurement) *loadResult {
	size := r.o.size
	if r.o.consumes {
		size = r.meanSize()
	}
	var confirm, delivery histogram
	for _, p := range r.producers {
		confirm.merge(&p.latency)
	}
	for _, k := range r.consumers {
		delivery.merge(&k.latency)
	}
	done := m.after.minus(m.before)
	res := &loadResult{
		Scenario:        r.scenario(),
		Unit:            r.unit(),
		Size:            size,
		Messages:        done,
		Blocked:         r.blocked.Load(),
		ConfirmLatency:  confirm.summary(),
		DeliveryLatency: delivery.summary(),
		Cost:            costBetween(m.from, m.to, r.o.pids, r.progress(done), m.peakRSS),
	}
	res.rates()
	return res
}

// meanSize is the mean body size of what was consumed.
func (r *run) meanSize() int {
	var messages, bytes int64
	for _, k := range r.consumers {
		messages += k.received.Load()
		bytes += k.taken.Load()
	}
	return int(bytes / max(messages, 1))
}

// scenario describes the run in one line.
func (r *run) scenario() string {
	o := r.o
	parts := []string{fmt.Sprintf("%d producers, %d consumers, %d queues", o.producers, o.consumers, o.queues)}
	if o.producers > 0 {
		parts = append(parts, fmt.Sprintf("%d bytes", o.size))
	}
	if o.durable {
		parts = append(parts, strings.TrimSpace("durable "+o.queueType))
	}
	if o.persistent {
		parts = append(parts, "persistent")
	}
	if o.confirm > 0 {
		parts = append(parts, fmt.Sprintf("confirm window %d", o.confirm))
	}
	if o.rate > 0 {
		parts = append(parts, fmt.Sprintf("%g msg/s", o.rate))
	}
	if o.consumers > 0 {
		parts = append(parts, "ack "+o.ack)
		if o.ack == "manual" {
			parts = append(parts, fmt.Sprintf("every %d", o.multiple))
		}
		if o.prefetch > 0 {
			parts = append(parts, fmt.Sprintf("prefetch %d", o.prefetch))
		}
	}
	return strings.Join(parts, ", ")
}
