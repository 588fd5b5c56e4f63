package broker

import (
	"errors"
	"slices"
	"sync"
	"testing"
	"time"
)

// topo is a broker with a virtual host "/" and a user guest who may do
// everything, for tests of the topology.
type topo struct {
	*testing.T
	b     *Broker
	store *MemoryStore
	v     *VHost
	turn  *Turn
}

// headersConverter reads a message whose Native is the name of a registered
// table: tests write headers without a protocol.
type headersConverter struct {
	mu     sync.Mutex
	tables map[string]*Properties
}

func (c *headersConverter) Properties(m *Message) (*Properties, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	p := c.tables[string(m.Native)]
	if p == nil {
		return nil, errors.New("unknown")
	}
	return p, nil
}

func (c *headersConverter) message(name string, p *Properties) *Message {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.tables[name] = p
	return &Message{Native: []byte(name), Format: FormatAMQP091, TTL: NoTTL, Received: 1000}
}

func topoOptions(store Store) Options {
	o := Options{
		Store: store, Node: "test", Now: 1000, PasswordCost: 4,
		DefaultUser: "guest", DefaultPassword: "guest", LoopbackUsers: []string{"guest"},
	}
	o.Converters[FormatAMQP091] = &headersConverter{tables: make(map[string]*Properties)}
	return o
}

func newTopo(t *testing.T) *topo { return newTopoOn(t, NewMemoryStore(), nil) }

func newTopoOn(t *testing.T, store *MemoryStore, adjust func(*Options)) *topo {
	t.Helper()
	o := topoOptions(store)
	if adjust != nil {
		adjust(&o)
	}
	b, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	w := &topo{T: t, b: b, store: store, turn: &Turn{Now: 1000}}
	if err := b.Recover(w.turn); err != nil {
		t.Fatal(err)
	}
	w.v = b.VHost("/")
	return w
}

func (w *topo) converter() *headersConverter {
	return w.b.options.Converters[FormatAMQP091].(*headersConverter)
}

// deafSink takes everything and remembers cancellations.
type deafSink struct {
	mu        sync.Mutex
	cancelled []*Subscription
}

func (*deafSink) Deliver(*Turn, Delivery)                 {}
func (*deafSink) GetResult(*Turn, uint64, Delivery, bool) {}
func (*deafSink) Receipt(*Turn, uint64, bool)             {}
func (s *deafSink) Cancelled(_ *Turn, sub *Subscription) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cancelled = append(s.cancelled, sub)
}

func (w *topo) connect(user string) *Connection {
	w.Helper()
	c, err := w.b.Connect(w.turn, ConnectionOptions{User: &User{Name: user}, VHost: "/", Name: user + "'s"})
	if err != nil {
		w.Fatal(err)
	}
	return c
}

func (w *topo) session() *Session { return w.v.OpenSession(w.connect("guest"), &deafSink{}) }

// must fails the test on an error.
func (w *topo) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

// durable runs f and waits until its effect is stored.
func (w *topo) durable(f func(done func(*Turn)) error) {
	w.Helper()
	ch := make(chan struct{})
	w.must(f(func(*Turn) { close(ch) }))
	select {
	case <-ch:
	case <-time.After(10 * time.Second):
		w.Fatal("done did not run")
	}
}

func (w *topo) exchange(s *Session, name, kind string, args ...Field) {
	w.Helper()
	w.must(s.DeclareExchange(w.turn, ExchangeDeclare{Name: name, Type: kind, Durable: true, Args: args}, nil))
}

func (w *topo) queue(s *Session, name string, args ...Field) {
	w.Helper()
	_, err := s.DeclareQueue(w.turn, QueueDeclare{Name: name, Durable: true, Args: args}, nil)
	w.must(err)
}

func (w *topo) bind(s *Session, source, queue, key string, args ...Field) {
	w.Helper()
	w.must(s.Bind(w.turn, Binding{Source: source, Destination: queue, Key: key, Args: args}, nil))
}

func (w *topo) link(s *Session, source, dest, key string) {
	w.Helper()
	w.must(s.Bind(w.turn, Binding{Source: source, Destination: dest, ToExchange: true, Key: key}, nil))
}

// reached returns the names of the queues a message reaches, sorted.
func (w *topo) reached(exchange string, m *Message, extra ...string) []string {
	w.Helper()
	ex := w.v.exchange(exchange)
	if ex == nil {
		w.Fatalf("no exchange %q", exchange)
	}
	var rt routing
	w.v.route(&rt, ex, m, extra)
	names := []string{}
	for _, q := range rt.queues {
		names = append(names, q.Name())
	}
	slices.Sort(names)
	return names
}

func (w *topo) expect(exchange, key string, want ...string) {
	w.Helper()
	got := w.reached(exchange, &Message{RoutingKey: key, TTL: NoTTL})
	if !slices.Equal(got, want) && len(got)+len(want) > 0 {
		w.Errorf("%q with key %q reaches %v, want %v", exchange, key, got, want)
	}
}

// refused checks kind and text of an error.
func (w *topo) refused(err error, kind Kind, text string) {
	w.Helper()
	var e *Error
	if !errors.As(err, &e) {
		w.Errorf("got %v, want %q", err, text)
		return
	}
	if e.Kind != kind || e.Text != text {
		w.Errorf("got  %d %q\nwant %d %q", e.Kind, e.Text, kind, text)
	}
}
