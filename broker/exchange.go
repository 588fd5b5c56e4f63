package broker

import (
	"sync"
	"sync/atomic"
)

// The exchange types the broker knows.
const (
	TypeDirect         = "direct"
	TypeFanout         = "fanout"
	TypeTopic          = "topic"
	TypeHeaders        = "headers"
	TypeConsistentHash = "x-consistent-hash"
	TypeModulusHash    = "x-modulus-hash"
	TypeRandom         = "x-random"
	TypeLocalRandom    = "x-local-random"
	TypeRecentHistory  = "x-recent-history"
	TypeDelayed        = "x-delayed-message"
)

// ExchangeTypes lists the types a client may declare.
func ExchangeTypes() []string {
	return []string{TypeDirect, TypeFanout, TypeTopic, TypeHeaders, TypeConsistentHash, TypeModulusHash,
		TypeRandom, TypeLocalRandom, TypeRecentHistory, TypeDelayed}
}

// Exchange is a routing rule with a name.
type Exchange struct {
	vhost      *VHost
	name       string
	kind       string
	durable    bool
	autoDelete bool
	internal   bool
	pictured   bool // its last messages are kept; see images
	args       Table

	alternate atomic.Pointer[string] // effective alternate exchange; nil if none
	simple    atomic.Bool            // see keyOnly

	mu       sync.RWMutex // guards the two below; taken after vhost.mu
	router   router
	bindings map[bindingID]*binding // with this exchange as source

	// Guarded by vhost.mu.
	incoming map[*binding]struct{} // with this exchange as destination
	onward   int                   // bindings whose destination is an exchange
	policy   *Policy
	gone     bool
}

// router is what makes an exchange's type. The exchange's lock is held: for
// writing by add and remove, for reading by match.
type router interface {
	// check refuses a binding key or argument the type cannot use.
	check(b *binding) error
	add(b *binding)
	remove(b *binding)
	// match hands every binding that fits to rt.take, in any order.
	match(rt *routing, key string)
	// byKey says that match looks at nothing but the key.
	byKey() bool
}

// newExchange makes an exchange whose type and arguments were checked.
func newExchange(v *VHost, d ExchangeDeclare) *Exchange {
	r, err := newRouter(d.Type, d.Args)
	if err != nil {
		r = &fanout{}
	}
	x := &Exchange{
		vhost: v, name: d.Name, kind: d.Type, durable: d.Durable, autoDelete: d.AutoDelete, internal: d.Internal,
		args: d.Args, router: r,
		bindings: make(map[bindingID]*binding), incoming: make(map[*binding]struct{}),
	}
	x.pictured = d.Name == TopicExchange && len(v.images.policies) > 0
	x.configure()
	return x
}

// newRouter makes the rule of a type; the error says what is wrong with type
// or arguments.
func newRouter(kind string, args Table) (router, error) {
	switch kind {
	case TypeDirect:
		return &direct{keys: make(map[string]*bucket)}, nil
	case TypeFanout:
		return &fanout{}, nil
	case TypeTopic:
		return &topicRouter{}, nil
	case TypeHeaders:
		return &headersRouter{}, nil
	case TypeConsistentHash:
		return newConsistentHash(args)
	case TypeModulusHash:
		return &modulusHash{}, nil
	case TypeRandom, TypeLocalRandom:
		return &random{}, nil
	case TypeRecentHistory:
		return newRecentHistory(args)
	case TypeDelayed:
		return newDelayed(args)
	}
	return nil, errf(Precondition, "unknown exchange type '%s'", kind)
}

// configure recomputes what follows from arguments, policy and bindings. The
// caller holds vhost.mu, or nobody else knows x yet.
func (x *Exchange) configure() {
	x.alternate.Store(x.effectiveAlternate())
	x.simple.Store(x.router.byKey() && x.onward == 0 && x.alternate.Load() == nil)
}

// effectiveAlternate: the argument wins over the policy.
func (x *Exchange) effectiveAlternate() *string {
	if v, ok := x.args.Get("alternate-exchange"); ok {
		if name, ok := v.(string); ok {
			return &name
		}
	}
	if x.policy != nil {
		if name, ok := x.policy.text("alternate-exchange"); ok {
			return &name
		}
	}
	return nil
}

// keyOnly says that the queues a message reaches from here depend on its
// routing key alone, so that a caller may remember them while the topology
// stays. It may be false where routing.keyOnly, which knows the whole way,
// turns out true.
func (x *Exchange) keyOnly() bool { return x.simple.Load() }

// Name is the exchange's name; "" is the default exchange.
func (x *Exchange) Name() string { return x.name }

// displayName is the name permissions and lists know it by.
func (x *Exchange) displayName() string {
	if x.name == "" {
		return "amq.default"
	}
	return x.name
}

func (x *Exchange) text() string { return x.vhost.exchangeText(x.name) }

// topical says that topic permissions apply.
func (x *Exchange) topical() bool { return x.kind == TypeTopic }

// bucket holds bindings that match alike; a binding is in one bucket at most.
type bucket struct {
	list []*binding
}

func (k *bucket) add(b *binding) {
	b.slot = len(k.list)
	k.list = append(k.list, b)
}

func (k *bucket) remove(b *binding) {
	last := len(k.list) - 1
	moved := k.list[last]
	k.list[b.slot] = moved
	moved.slot = b.slot
	k.list[last] = nil
	k.list = k.list[:last]
}
