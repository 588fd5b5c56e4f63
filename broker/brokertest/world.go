package brokertest

import (
	"fmt"
	"slices"

	"github.com/hermodmq/hermod/broker"
)

// Start is the time at which every world begins, in Unix ms.
const Start = 1_700_000_000_000

// World is a broker on a store that commits by hand, with named clients.
type World struct {
	Broker  *broker.Broker
	Store   *broker.MemoryStore
	Turn    *broker.Turn
	Held    bool                           // Commit does nothing but write
	Wrote   func(sub *broker.Subscription) // told of every delivery written, if not nil
	Clients []*Client
}

// Client is one session and what it was given.
type Client struct {
	Name    string
	Session *broker.Session
	Sink    *Recorder
	Subs    []*broker.Subscription
	Open    []broker.Delivery // unsettled, in order of arrival
}

// NewWorld makes a world with an empty broker. setup, which may be nil, runs
// before the broker recovers, now and after each crash.
func NewWorld(setup func(b *broker.Broker)) (*World, error) {
	w := &World{Turn: &broker.Turn{Now: Start}}
	return w, w.boot(broker.NewMemoryStore().Manual(), setup)
}

func (w *World) boot(store *broker.MemoryStore, setup func(b *broker.Broker)) error {
	b, err := broker.New(broker.Options{Store: store, Now: w.Turn.Now, PasswordCost: 4})
	if err != nil {
		return err
	}
	if setup != nil {
		setup(b)
	}
	w.Broker, w.Store, w.Clients = b, store, nil
	if err := b.Recover(w.Turn); err != nil {
		return err
	}
	w.Commit()
	return nil
}

// Commit carries out everything the store was given and tells the core that
// every delivery was written, until nothing is left to do.
func (w *World) Commit() {
	for {
		n := 0
		if !w.Held {
			n = w.Store.Commit(w.Turn, -1)
		}
		if n+w.Write() == 0 {
			return
		}
	}
}

// Write takes what the sinks were given into Client.Open and returns how many
// deliveries left the mailboxes.
func (w *World) Write() int {
	n := 0
	for _, c := range w.Clients {
		for _, e := range c.Sink.Take() {
			if e.Kind == Got && e.OK && e.Delivery.Lease != 0 {
				c.Open = append(c.Open, e.Delivery)
			}
			if e.Kind != Delivered {
				continue
			}
			if e.Delivery.Lease != 0 {
				c.Open = append(c.Open, e.Delivery)
			}
			if w.Wrote != nil {
				w.Wrote(e.Sub)
			}
			e.Sub.Written(w.Turn, 1, e.Delivery.Msg.Size())
			n++
		}
	}
	return n
}

// Advance moves the clock and lets the broker do what became due.
func (w *World) Advance(ms int64) {
	for ms > 0 {
		step := min(ms, 100)
		w.Turn.Now += step
		ms -= step
		w.Broker.Tick(w.Turn)
		w.Commit()
	}
}

// Crash restarts the broker as after a loss of power: what the store committed
// stays, and the first keep batches it had not committed yet.
func (w *World) Crash(keep int, setup func(b *broker.Broker)) error {
	w.Held = false
	return w.boot(w.Store.Crash(keep), setup)
}

// VHost is the virtual host all clients are in.
func (w *World) VHost() *broker.VHost { return w.Broker.VHost("/") }

// Client returns the client called name, which it opens if need be. hook sees
// its events as they happen; it may be nil.
func (w *World) Client(name string, hook func(t *broker.Turn, e Event)) *Client {
	for _, c := range w.Clients {
		if c.Name == name {
			return c
		}
	}
	c := &Client{Name: name, Sink: &Recorder{Hook: hook}}
	c.Session = w.VHost().OpenSession(nil, c.Sink)
	w.Clients = append(w.Clients, c)
	return c
}

// Leave closes a client's session.
func (w *World) Leave(c *Client) {
	c.Session.Close(w.Turn)
	w.Clients = slices.DeleteFunc(w.Clients, func(x *Client) bool { return x == c })
}

// Queue declares a queue, or fails the caller's test by its error.
func (w *World) Queue(name string, durable bool, args broker.Table) (*broker.Queue, error) {
	s := w.VHost().OpenSession(nil, &Recorder{})
	defer s.Close(w.Turn)
	_, err := s.DeclareQueue(w.Turn, broker.QueueDeclare{Name: name, Durable: durable, Args: args}, nil)
	if err != nil {
		return nil, err
	}
	q := w.VHost().Queue(name)
	if q == nil {
		return nil, fmt.Errorf("queue %q is not there after its declaration", name)
	}
	return q, nil
}

// Message makes a message with a text body.
func (w *World) Message(key, body string) *broker.Message {
	return &broker.Message{RoutingKey: key, Body: []byte(body), TTL: broker.NoTTL, Received: w.Turn.Now}
}
