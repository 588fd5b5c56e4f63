package perf

import (
	"fmt"
	"net"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/pflag"
)

// amqpOptions are the flags of `perf amqp`; register documents them.
type amqpOptions struct {
	uri, host, user, password, vhost string

	producers, consumers, queues int
	queue, queueType             string
	durable                      bool

	size       int
	persistent bool
	confirm    int
	rate       float64

	ack       string
	multiple  int
	prefetch  int
	duration  time.Duration
	warmup    time.Duration
	count     int64
	idle      int
	pids      []int
	json      bool
	publishes bool // --publish-only
	consumes  bool // --consume-only
}

const maxBody = 512 << 20

func (o *amqpOptions) register(f *pflag.FlagSet) {
	f.StringVar(&o.uri, "uri", "", "amqp://user:password@host:port/vhost; overrides the five flags it replaces")
	f.StringVar(&o.host, "host", "127.0.0.1:5672", "host and port of the broker")
	f.StringVar(&o.user, "user", "guest", "user name")
	f.StringVar(&o.password, "password", "guest", "password")
	f.StringVar(&o.vhost, "vhost", "/", "virtual host")
	f.IntVar(&o.producers, "producers", 1, "publishing connections")
	f.IntVar(&o.consumers, "consumers", 1, "consuming connections")
	f.IntVar(&o.queues, "queues", 1, "queues, shared out to producers and consumers in turn")
	f.StringVar(&o.queue, "queue", "", "name of the queue, or with several queues the part before -1, -2...; such queues are kept. Default: a new name, deleted at the end")
	f.BoolVar(&o.durable, "durable", false, "declare durable queues")
	f.StringVar(&o.queueType, "queue-type", "", "x-queue-type: classic, quorum or stream (the last two are durable)")
	f.IntVar(&o.size, "size", 1024, "body bytes; from 12 on the body carries a time stamp for latencies")
	f.BoolVar(&o.persistent, "persistent", false, "publish with delivery mode 2")
	f.IntVar(&o.confirm, "confirm", 0, "messages per producer that may wait for confirmation; 0 for no confirms")
	f.Float64Var(&o.rate, "rate", 0, "messages per second of all producers together, latencies counted from when each was due; 0 for as fast as possible")
	f.StringVar(&o.ack, "ack", "auto", "auto (no acknowledgements) or manual")
	f.IntVar(&o.multiple, "multiple", 1, "with --ack manual: acknowledge every so many messages at once")
	f.IntVar(&o.prefetch, "prefetch", 0, "prefetch count per consumer, 0 for no limit")
	f.DurationVar(&o.duration, "duration", 10*time.Second, "how long to measure; with --count, and not given, no limit")
	f.DurationVar(&o.warmup, "warmup", time.Second, "how long to run before measuring; not with --count or --consume-only")
	f.Int64Var(&o.count, "count", 0, "messages of all producers together, or to drain; 0 for no limit")
	f.IntSliceVar(&o.pids, "pid", nil, "process ids of the broker, for CPU time and memory")
	f.IntVar(&o.idle, "idle", 0, "open so many connections of one channel each, report what they cost, and nothing else")
	f.BoolVar(&o.publishes, "publish-only", false, "no consumers; with --queue the messages stay")
	f.BoolVar(&o.consumes, "consume-only", false, "no producers: drain --queue until nothing came for a second")
	f.BoolVar(&o.json, "json", false, "print JSON")
}

// validate checks the flags and brings them into one form: afterwards the
// numbers of producers and consumers say what runs, whatever flags were used.
func (o *amqpOptions) asJSON() bool { return o.json }

func (o *amqpOptions) validate() error {
	if err := o.applyURI(); err != nil {
		return err
	}
	if _, _, err := net.SplitHostPort(o.host); err != nil {
		o.host = net.JoinHostPort(strings.Trim(o.host, "[]"), "5672")
	}
	if err := o.validateNumbers(); err != nil {
		return err
	}
	switch {
	case o.publishes && o.consumes:
		return fmt.Errorf("--publish-only and --consume-only exclude each other")
	case o.consumes && o.queue == "":
		return fmt.Errorf("--consume-only needs --queue")
	case o.publishes:
		o.consumers = 0
	case o.consumes:
		o.producers = 0
	}
	if o.idle == 0 && o.producers == 0 && o.consumers == 0 {
		return fmt.Errorf("nothing to do: no producers and no consumers")
	}
	return o.validateQueue()
}

func (o *amqpOptions) validateNumbers() error {
	ranges := []struct {
		flag          string
		value, lo, hi int
	}{
		{"producers", o.producers, 0, 10000},
		{"consumers", o.consumers, 0, 10000},
		{"queues", o.queues, 1, 100000},
		{"size", o.size, 0, maxBody},
		{"confirm", o.confirm, 0, 1 << 20},
		{"multiple", o.multiple, 1, 1 << 20},
		{"prefetch", o.prefetch, 0, 65535},
		{"idle", o.idle, 0, 1000000},
	}
	for _, r := range ranges {
		if r.value < r.lo || r.value > r.hi {
			return fmt.Errorf("--%s %d: not between %d and %d", r.flag, r.value, r.lo, r.hi)
		}
	}
	for _, pid := range o.pids {
		if pid <= 0 {
			return fmt.Errorf("--pid %d: not a process id", pid)
		}
	}
	switch {
	case o.duration < 0 || o.warmup < 0 || o.count < 0 || o.rate < 0:
		return fmt.Errorf("durations, --count and --rate cannot be negative")
	case o.duration == 0 && o.count == 0 && !o.consumes && o.idle == 0:
		return fmt.Errorf("--duration 0 needs --count")
	case o.ack != "auto" && o.ack != "manual":
		return fmt.Errorf("--ack %q: not auto or manual", o.ack)
	case o.ack == "manual" && o.prefetch > 0 && o.multiple > o.prefetch:
		return fmt.Errorf("--multiple %d never comes with --prefetch %d", o.multiple, o.prefetch)
	}
	return nil
}

func (o *amqpOptions) validateQueue() error {
	switch o.queueType {
	case "", "classic":
	case "quorum":
		o.durable = true
	case "stream":
		o.durable = true
		if o.consumers > 0 && (o.ack != "manual" || o.prefetch == 0) {
			return fmt.Errorf("consuming from a stream needs --ack manual and --prefetch")
		}
	default:
		return fmt.Errorf("--queue-type %q: not classic, quorum or stream", o.queueType)
	}
	if len(o.queue) > 240 {
		return fmt.Errorf("--queue: longer than 240 bytes")
	}
	return nil
}

func (o *amqpOptions) applyURI() error {
	if o.uri == "" {
		return nil
	}
	u, err := url.Parse(o.uri)
	if err != nil {
		return fmt.Errorf("--uri: malformed") // the cause would quote the password
	}
	if u.Scheme != "amqp" {
		return fmt.Errorf("--uri: scheme %q, only amqp is supported", u.Scheme)
	}
	o.host = u.Host
	if u.User != nil {
		o.user = u.User.Username()
		o.password, _ = u.User.Password()
	}
	o.vhost = "/"
	if path := strings.TrimPrefix(u.EscapedPath(), "/"); path != "" {
		if o.vhost, err = url.PathUnescape(path); err != nil {
			return fmt.Errorf("--uri: malformed virtual host")
		}
	}
	return nil
}

// queueNames returns the names of the queues to use.
func (o *amqpOptions) queueNames(unique string) []string {
	base := o.queue
	if base == "" {
		base = "hermod-perf-" + unique
	}
	if o.queues == 1 {
		return []string{base}
	}
	names := make([]string, o.queues)
	for i := range names {
		names[i] = fmt.Sprintf("%s-%d", base, i+1)
	}
	return names
}
