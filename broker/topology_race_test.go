package broker

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
)

// Many sessions declare, bind, delete and publish at once; afterwards both
// sides of every binding agree and nothing refers to what is gone.
func TestConcurrentTopology(t *testing.T) {
	w := newTopo(t)
	const workers, rounds, names = 8, 300, 6
	var group sync.WaitGroup
	for i := range workers {
		group.Go(func() {
			w.churn(rand.New(rand.NewPCG(uint64(i), 7)), rounds, names)
		})
	}
	group.Go(func() {
		turn := &Turn{Now: 1000}
		for i := range rounds / 4 {
			p := policyOf("p", "", "all", fmt.Sprintf(`{"max-length":%d,"alternate-exchange":"x%d"}`, i, i%names))
			if err := w.b.SetPolicy(turn, p, nil); err != nil {
				t.Error(err)
			}
			w.b.Tick(turn)
			w.b.ListQueues("")
			w.b.ListBindings("")
			if _, err := w.b.ExportDefinitions(""); err != nil {
				t.Error(err)
			}
		}
	})
	group.Wait()
	w.consistent()
	before := w.export()
	if after := w.restart().export(); after != before {
		t.Errorf("a restart changes something:\n%s", firstDifference(before, after))
	}
}

// churn is the work of one client.
func (w *topo) churn(r *rand.Rand, rounds, names int) {
	turn := &Turn{Now: 1000}
	c, err := w.b.Connect(turn, ConnectionOptions{User: &User{Name: "guest"}, VHost: "/"})
	if err != nil {
		w.Error(err)
		return
	}
	defer c.Close(turn)
	s := w.v.OpenSession(c, &deafSink{})
	kinds := []string{TypeDirect, TypeFanout, TypeTopic, TypeConsistentHash}
	for range rounds {
		q, x, y := fmt.Sprint("q", r.IntN(names)), fmt.Sprint("x", r.IntN(names)), fmt.Sprint("x", r.IntN(names))
		key := fmt.Sprint(1 + r.IntN(3))
		switch r.IntN(9) {
		case 0, 1:
			_, err = s.DeclareQueue(turn, QueueDeclare{Name: q, Durable: true}, nil)
		case 2:
			i := int(x[1]-'0') % len(kinds)
			err = s.DeclareExchange(turn, ExchangeDeclare{Name: x, Type: kinds[i], Durable: true, AutoDelete: i == 1}, nil)
		case 3, 4:
			err = s.Bind(turn, Binding{Source: x, Destination: q, Key: key}, nil)
		case 5:
			err = s.Bind(turn, Binding{Source: x, Destination: y, ToExchange: true, Key: key}, nil)
		case 6:
			err = s.Unbind(turn, Binding{Source: x, Destination: q, Key: key}, nil)
		case 7:
			if r.IntN(4) == 0 {
				_, err = s.DeleteQueue(turn, q, false, false, nil)
			} else if r.IntN(4) == 0 {
				err = s.DeleteExchange(turn, x, false, nil)
			}
		default:
			_, err = s.Publish(turn, Publish{Exchange: x, Msg: &Message{RoutingKey: key, TTL: NoTTL, Persistent: r.IntN(2) == 0}})
		}
		if e, ok := err.(*Error); ok && e.Kind != NotFound || err != nil && !ok {
			w.Errorf("unexpected: %v", err)
		}
		err = nil
	}
}

// consistent checks the topology's invariants.
func (w *topo) consistent() {
	w.v.mu.Lock()
	defer w.v.mu.Unlock()
	for _, x := range w.v.exchanges.all() {
		for id, b := range x.bindings {
			if b.id != id || b.source != x {
				w.Errorf("binding %v of %s is somebody else's", id, x.name)
			}
			if b.queue != nil {
				m := w.v.meta[b.queue]
				if m == nil || w.v.queue(b.queue.Name()) != b.queue {
					w.Errorf("%s is bound to a queue that is gone", x.name)
				} else if _, ok := m.bindings[b]; !ok {
					w.Errorf("queue %s does not know its binding", b.queue.Name())
				}
			} else if _, ok := b.exchange.incoming[b]; !ok || b.exchange.gone {
				w.Errorf("exchange %s does not know its binding, or is gone", b.exchange.name)
			}
		}
	}
	for q, m := range w.v.meta {
		for b := range m.bindings {
			if b.source.bindings[b.id] != b {
				w.Errorf("queue %s knows a binding its source does not", q.Name())
			}
		}
	}
}

func TestConcurrentExclusiveQueues(t *testing.T) {
	w := newTopo(t)
	var group sync.WaitGroup
	for range 16 {
		group.Go(func() {
			turn := &Turn{Now: 1000}
			for range 20 {
				c, err := w.b.Connect(turn, ConnectionOptions{User: &User{Name: "guest"}, VHost: "/"})
				if err != nil {
					t.Error(err)
					return
				}
				s := w.v.OpenSession(c, &deafSink{})
				for range 3 {
					info, err := s.DeclareQueue(turn, QueueDeclare{Exclusive: true}, nil)
					if err != nil {
						t.Error(err)
						return
					}
					if err := s.Bind(turn, Binding{Source: "amq.fanout", Destination: info.Name}, nil); err != nil {
						t.Error(err)
					}
				}
				c.Close(turn)
			}
		})
	}
	group.Wait()
	if n := len(w.b.ListQueues("")); n != 0 {
		t.Errorf("%d queues are left", n)
	}
	w.expect("amq.fanout", "")
	if n := len(w.b.ListConnections()); n != 0 {
		t.Errorf("%d connections are left", n)
	}
}
