package perf

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spf13/pflag"
)

// term says when a load is measured and how that is told: the flags that all
// loads have.
type term struct {
	duration, warmup time.Duration
	pids             []int // of the broker
	json             bool
}

func (o *term) register(f *pflag.FlagSet) {
	f.DurationVar(&o.duration, "duration", 10*time.Second, "how long to measure")
	f.DurationVar(&o.warmup, "warmup", time.Second, "how long to run before measuring")
	f.IntSliceVar(&o.pids, "pid", nil, "process ids of the broker, for CPU time and memory")
	f.BoolVar(&o.json, "json", false, "print JSON")
}

func (o *term) validate() error {
	if o.duration <= 0 || o.warmup < 0 {
		return errors.New("--duration must be positive, --warmup not negative")
	}
	return nil
}

func (o *term) asJSON() bool { return o.json }

// peers are the connections of a load, and how much each message carries.
type peers struct {
	producers, consumers, queues, size int
}

func (o *peers) validate() error {
	switch {
	case o.producers < 0 || o.producers > 10000 || o.consumers < 0 || o.consumers > 10000 || o.producers+o.consumers == 0:
		return fmt.Errorf("--producers and --consumers: 0 to 10000, not both 0")
	case o.queues < 1 || o.queues > 100000:
		return fmt.Errorf("--queues %d: not between 1 and 100000", o.queues)
	case o.size < 0 || o.size > 16<<20:
		return fmt.Errorf("--size %d: not between 0 and 16777216", o.size)
	}
	return nil
}

// load is a run of producers and consumers: what its workers share and leave
// behind.
type load struct {
	term  *term
	peers *peers

	measures atomic.Bool // latencies count
	stopping atomic.Bool
	sent     atomic.Int64
	answered atomic.Int64
	received atomic.Int64
	failed   chan error
	workers  sync.WaitGroup

	mu        sync.Mutex // guards what workers leave behind
	confirms  histogram
	latencies histogram
}

func newLoad(t *term, p *peers) load {
	return load{term: t, peers: p, failed: make(chan error, p.producers+p.consumers)}
}

func (l *load) counters() counters {
	return counters{Published: l.sent.Load(), Confirmed: l.answered.Load(), Delivered: l.received.Load()}
}

// work runs a worker until the load stops. Its failure ends the load.
func (l *load) work(f func() error) {
	l.workers.Go(func() {
		if err := f(); err != nil && !l.stopping.Load() {
			select {
			case l.failed <- err:
			default: // others have told already
			}
		}
	})
}

// leave adds a worker's latencies to those of all.
func (l *load) leave(from, to *histogram) {
	l.mu.Lock()
	defer l.mu.Unlock()
	to.merge(from)
}

// measure starts a load, lets it warm up and measures it. stop is called once
// that is over, whatever came of it.
func (l *load) measure(ctx context.Context, scenario string, start func(context.Context) error, stop func()) (report, error) {
	if _, err := readUsage(l.term.pids); err != nil {
		return nil, err
	}
	defer stop()
	if err := start(ctx); err != nil {
		return nil, err
	}
	if err := await(ctx, l.term.warmup, l.failed); err != nil {
		return nil, err
	}
	from, err := readUsage(l.term.pids)
	if err != nil {
		return nil, err
	}
	before := l.counters()
	l.measures.Store(true)
	if err := await(ctx, l.term.duration, l.failed); err != nil {
		return nil, err
	}
	done := l.counters().minus(before)
	to, err := readUsage(l.term.pids)
	if err != nil {
		return nil, err
	}
	stop()
	return l.result(scenario, from, to, done), nil
}

func (l *load) result(scenario string, from, to usage, done counters) *loadResult {
	unit, n := "sent message", done.Published
	if l.peers.consumers > 0 {
		unit, n = "delivered message", done.Delivered
	}
	res := &loadResult{
		Scenario: scenario, Unit: unit, Size: l.peers.size, Messages: done,
		ConfirmLatency: l.confirms.summary(), DeliveryLatency: l.latencies.summary(),
		Cost: costBetween(from, to, l.term.pids, n, to.broker.RSS),
	}
	res.rates()
	return res
}

// await waits for d to pass, the context to end or the first failure.
func await(ctx context.Context, d time.Duration, failed <-chan error) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// remark is a part of a scenario that is said if it is so.
type remark struct {
	on   bool
	text string
}
