package broker

import (
	"crypto/rand"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
)

// Options configure a Broker.
type Options struct {
	Store  Store  // required
	Node   string // name of this node as clients and operators see it
	Logger *slog.Logger

	// Converters decode native message properties for headers exchanges and
	// the like, indexed by Format. A missing one means a message without
	// headers.
	Converters [formatCount]Converter

	Now            int64 // Unix ms; the clock until the first Tick
	MemoryLimit    int64 // bytes of messages in memory that raise the memory alarm; 0: none
	MaxMessageSize int64 // bytes of body; 0 is 16 MiB

	DefaultVHost    string   // "" is "/"
	DefaultUser     string   // created in an empty store; "" is none
	DefaultPassword string   //
	LoopbackUsers   []string // users that may log in from this machine only
	Anonymous       string   // the user that mechanism ANONYMOUS becomes; "" refuses it

	PasswordCost int // bcrypt cost of new hashes; 0 is the library's default

	MaxConnections int // of the whole broker; 0: no bound
	MaxChannels    int // sessions per connection; 0: no bound

	MaxRetained      int   // retained messages of a virtual host; 0 is DefaultMaxRetained
	MaxRetainedBytes int64 // and the bytes they take; 0 is DefaultMaxRetainedBytes

	Images []ImagePolicy // of the topics of all virtual hosts; the first that matches counts

	DefaultQueueType string // for queues declared without x-queue-type; "" is classic
}

// DefaultMaxMessageSize is the largest body accepted unless configured.
const DefaultMaxMessageSize = 16 << 20

// Broker is the core: virtual hosts, users, connections. All methods are safe
// for concurrent use.
type Broker struct {
	engine // what all queues share

	options Options
	log     *slog.Logger

	now      atomic.Int64  // Unix ms of the last Tick or Turn seen
	lanes    atomic.Uint64 // last lane id given out
	unstored atomic.Int64  // batches of definitions that are not committed yet
	alarms   alarms

	incomplete atomic.Int64 // bytes of messages that are still arriving

	auth   auth
	logins loginCache
	conns  connections

	mu         sync.Mutex // serialises changes of vhosts and of what is below
	vhosts     registry[*VHost]
	parameters map[parameterKey][]byte // runtime parameters as JSON, kept for export
	startedAt  int64
	facts      map[string][]Definition // of listeners, recovered and not taken yet
	userFacts  atomic.Pointer[UserFacts]

	ticking sync.Mutex // guards due and short
	due     []*Queue
	short   bool // messages take more memory than they may
}

// New makes a broker. It serves nobody before Recover.
func New(o Options) (*Broker, error) {
	if o.Store == nil {
		return nil, errors.New("broker: no store")
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.MaxMessageSize <= 0 {
		o.MaxMessageSize = DefaultMaxMessageSize
	}
	if o.MaxRetained <= 0 {
		o.MaxRetained = DefaultMaxRetained
	}
	if o.MaxRetainedBytes <= 0 {
		o.MaxRetainedBytes = DefaultMaxRetainedBytes
	}
	if o.DefaultVHost == "" {
		o.DefaultVHost = "/"
	}
	b := &Broker{options: o, log: o.Logger, startedAt: o.Now}
	b.engine.init(o.Store)
	b.now.Store(o.Now)
	b.vhosts.init()
	b.conns.init()
	b.parameters = make(map[parameterKey][]byte)
	b.auth.init()
	if err := b.logins.init(o.PasswordCost); err != nil {
		return nil, err
	}
	return b, nil
}

// Node is the configured name of this node.
func (b *Broker) Node() string { return b.options.Node }

// MaxMessageSize is the largest body a listener may accept, in bytes.
func (b *Broker) MaxMessageSize() int64 { return b.options.MaxMessageSize }

// Properties decodes the properties of a message whatever protocol it came
// by. It is nil without an error if nobody knows the message's format.
func (b *Broker) Properties(m *Message) (*Properties, error) {
	if int(m.Format) >= formatCount || b.options.Converters[m.Format] == nil {
		return nil, nil
	}
	return b.options.Converters[m.Format].Properties(m)
}

// Congested reports that publishers must wait; settlements never do.
func (b *Broker) Congested() bool { return b.store.Congested() }

// OnRelief runs f once when the broker takes publishes again, on a goroutine
// of the store.
func (b *Broker) OnRelief(f func()) { b.store.OnRelief(f) }

// VHost returns the virtual host called name, or nil.
func (b *Broker) VHost(name string) *VHost { return b.vhosts.get(name) }

// newLane takes span consecutive lane ids and returns the first.
func (b *Broker) newLane(span LaneID) LaneID {
	return LaneID(b.lanes.Add(uint64(span))) - span + 1
}

// Tick drives everything that happens by itself: expiry, delayed messages,
// retention, alarms. It is called from one goroutine, as often as timers are
// to be exact; a call while another runs does nothing.
func (b *Broker) Tick(t *Turn) {
	if !b.ticking.TryLock() {
		return
	}
	defer b.ticking.Unlock()
	b.now.Store(t.Now)
	b.due = b.timers.take(t.Now, b.due[:0])
	for _, q := range b.due {
		q.tick(t)
	}
	clear(b.due)
	for _, v := range b.vhosts.all() {
		v.sweepRetained(t)
	}
	b.checkMemory(t)
}

// randomName returns 22 characters that nobody can guess and every protocol
// can carry.
func randomName() string {
	var raw [16]byte
	rand.Read(raw[:])
	return base64URL(raw[:])
}
