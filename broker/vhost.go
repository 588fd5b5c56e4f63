package broker

import (
	"sync"
	"sync/atomic"
)

// VHost is a namespace of exchanges, queues, bindings, policies and
// permissions.
type VHost struct {
	name   string
	broker *Broker

	// topology is bumped by every change of exchanges, bindings, queues and
	// policies that can affect a route: a cached route is good while it stays.
	topology atomic.Uint64

	exchanges registry[*Exchange]
	queues    registry[*Queue]
	standard  *Exchange // the default exchange, ""
	retained  retained
	images    images
	prepared  preparedSet
	watches   watches
	deaths    deathWatch

	mu               sync.Mutex // serialises all changes of topology
	meta             map[*Queue]*queueMeta
	policies         policySet
	operatorPolicies policySet
	limits           limitSet
	description      string
	tags             []string
	defaultQueueType string
	gone             bool

	policing  sync.Mutex   // serialises changes of policies; taken before mu
	connected atomic.Int64 // open connections
}

// queueMeta is what the topology knows about a queue beside its messages.
type queueMeta struct {
	queue    *Queue
	owner    *Connection // of an exclusive queue
	args     Table       // as declared
	declared QueueConfig // from arguments alone
	durable  bool
	lane     LaneID
	bindings map[*binding]struct{}
	policy   *Policy
	operator *Policy
	service  func(*QueueConfig) // what a service on top of the core sets; see ConfigureQueue
}

func newVHost(b *Broker, name string) *VHost {
	v := &VHost{name: name, broker: b, meta: make(map[*Queue]*queueMeta)}
	v.images.policies = b.options.Images
	v.exchanges.init()
	v.queues.init()
	v.topology.Store(1)
	v.standard = newExchange(v, ExchangeDeclare{Type: TypeDirect, Durable: true})
	for _, d := range predeclared {
		v.exchanges.put(d.Name, newExchange(v, d))
	}
	return v
}

// predeclared are the exchanges every virtual host is born with, beside the
// default exchange.
var predeclared = []ExchangeDeclare{
	{Name: "amq.direct", Type: TypeDirect, Durable: true},
	{Name: "amq.fanout", Type: TypeFanout, Durable: true},
	{Name: "amq.topic", Type: TypeTopic, Durable: true},
	{Name: "amq.match", Type: TypeHeaders, Durable: true},
	{Name: "amq.headers", Type: TypeHeaders, Durable: true},
	{Name: "amq.rabbitmq.trace", Type: TypeTopic, Durable: true, Internal: true},
}

// Name is the virtual host's name.
func (v *VHost) Name() string { return v.name }

// Broker is the broker the virtual host belongs to.
func (v *VHost) Broker() *Broker { return v.broker }

// exchange returns the exchange called name ("" is the default exchange), or
// nil.
func (v *VHost) exchange(name string) *Exchange {
	if name == "" {
		return v.standard
	}
	return v.exchanges.get(name)
}

// queue returns the queue called name, or nil.
func (v *VHost) queue(name string) *Queue { return v.queues.get(name) }

// Queue returns the queue called name, or nil. It checks no permission: that
// is for administration; sessions name queues in their methods.
func (v *VHost) Queue(name string) *Queue { return v.queue(name) }

func (v *VHost) bump() { v.topology.Add(1) }

// The resource texts of error messages.
func (v *VHost) queueText(name string) string {
	return "queue '" + name + "' in vhost '" + v.name + "'"
}

func (v *VHost) exchangeText(name string) string {
	return "exchange '" + name + "' in vhost '" + v.name + "'"
}

func (v *VHost) noQueue(name string) *Error    { return errf(NotFound, "no %s", v.queueText(name)) }
func (v *VHost) noExchange(name string) *Error { return errf(NotFound, "no %s", v.exchangeText(name)) }

// locked is the refusal of a queue that belongs to another connection.
func (v *VHost) locked(name string) *Error {
	return errf(Locked, "cannot obtain exclusive access to locked %s. It could be originally declared on "+
		"another connection or the exclusive property value does not match that of the original declaration.",
		v.queueText(name))
}

// change runs f with the topology lock held and stores what it recorded. done
// runs exactly once unless f fails: at commit, or before change returns if
// there was nothing to wait for.
func (v *VHost) change(t *Turn, done func(*Turn), f func(c *change) error) error {
	c := change{broker: v.broker, turn: t}
	v.mu.Lock()
	err := f(&c)
	if err != nil {
		v.mu.Unlock()
		return err
	}
	waits := c.store(done)
	v.mu.Unlock()
	c.finish(t, done, waits)
	return nil
}
