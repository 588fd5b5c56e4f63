package broker_test

import (
	"sync/atomic"
	"testing"

	"github.com/hermodmq/hermod/broker"
)

// ackSink settles what it is given when its owner asks.
type ackSink struct {
	queue    *broker.Queue
	sub      *broker.Subscription
	leases   []broker.Lease
	spare    []broker.Lease
	bytes    int
	receipts atomic.Int64
}

func (s *ackSink) Deliver(_ *broker.Turn, d broker.Delivery) {
	s.queue, s.sub = d.Queue, d.Sub
	s.leases = append(s.leases, d.Lease)
	s.bytes += d.Msg.Size()
}

func (s *ackSink) GetResult(*broker.Turn, uint64, broker.Delivery, bool) {}
func (s *ackSink) Receipt(*broker.Turn, uint64, bool)                    { s.receipts.Add(1) }
func (s *ackSink) Cancelled(*broker.Turn, *broker.Subscription)          {}

// flush acknowledges everything.
func (s *ackSink) flush(t *broker.Turn, session *broker.Session) {
	if len(s.leases) == 0 {
		return
	}
	leases, bytes := s.leases, s.bytes
	s.leases, s.bytes = s.spare[:0], 0
	s.sub.Written(t, len(leases), bytes)
	session.Settle(t, s.queue, leases, broker.Accepted)
	s.spare = leases
}

func benchBroker(b testing.TB, store *broker.MemoryStore) (*broker.Broker, *broker.Turn) {
	t := &broker.Turn{Now: 1_700_000_000_000}
	br, err := broker.New(broker.Options{Store: store, Now: t.Now, PasswordCost: 4})
	if err != nil {
		b.Fatal(err)
	}
	if err := br.Recover(t); err != nil {
		b.Fatal(err)
	}
	return br, t
}

// BenchmarkTransient is one message from publish to acknowledgement, without
// the message's own allocation.
func BenchmarkTransient(b *testing.B) {
	store := broker.NewMemoryStore().Manual()
	br, t := benchBroker(b, store)
	v := br.VHost("/")
	sink := new(ackSink)
	s := v.OpenSession(nil, sink)
	if _, err := s.DeclareQueue(t, broker.QueueDeclare{Name: "q"}, nil); err != nil {
		b.Fatal(err)
	}
	if _, err := s.Subscribe(t, broker.SubscribeOptions{Queue: "q", Tag: "c", Prefetch: 100}); err != nil {
		b.Fatal(err)
	}
	m := &broker.Message{RoutingKey: "q", Body: make([]byte, 16), TTL: broker.NoTTL}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := s.Publish(t, broker.Publish{Msg: m}); err != nil {
			b.Fatal(err)
		}
		if len(sink.leases) == 32 {
			sink.flush(t, s)
		}
	}
}

// BenchmarkPersistent is the same by way of a store in memory that commits 32
// messages at a time.
func BenchmarkPersistent(b *testing.B) {
	store := broker.NewMemoryStore().Manual()
	br, t := benchBroker(b, store)
	v := br.VHost("/")
	sink := new(ackSink)
	s := v.OpenSession(nil, sink)
	if _, err := s.DeclareQueue(t, broker.QueueDeclare{Name: "q", Durable: true}, nil); err != nil {
		b.Fatal(err)
	}
	if _, err := s.Subscribe(t, broker.SubscribeOptions{Queue: "q", Tag: "c", Prefetch: 100}); err != nil {
		b.Fatal(err)
	}
	m := &broker.Message{RoutingKey: "q", Body: make([]byte, 16), TTL: broker.NoTTL, Persistent: true}
	b.ReportAllocs()
	n := 0
	for b.Loop() {
		if _, err := s.Publish(t, broker.Publish{Msg: m, Receipt: 1}); err != nil {
			b.Fatal(err)
		}
		if n++; n%32 == 0 {
			store.Commit(t, -1)
			sink.flush(t, s)
		}
	}
}

// BenchmarkDrain is what a message costs on its way out of a cold backlog.
func BenchmarkDrain(b *testing.B) {
	store := broker.NewMemoryStore().Manual()
	br, t := benchBroker(b, store)
	br.SetHotMemory(0, 0, 768<<10)
	v := br.VHost("/")
	sink := new(ackSink)
	s := v.OpenSession(nil, sink)
	if _, err := s.DeclareQueue(t, broker.QueueDeclare{Name: "q", Durable: true}, nil); err != nil {
		b.Fatal(err)
	}
	m := &broker.Message{RoutingKey: "q", Body: make([]byte, 16), TTL: broker.NoTTL, Persistent: true}
	fill := func() {
		for range 100_000 {
			if _, err := s.Publish(t, broker.Publish{Msg: m}); err != nil {
				b.Fatal(err)
			}
			if store.Pending() == 32 {
				store.Commit(t, -1)
			}
		}
		store.Commit(t, -1)
	}
	fill()
	if _, err := s.Subscribe(t, broker.SubscribeOptions{Queue: "q", Tag: "c", Prefetch: 100}); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	done := 0
	for b.Loop() {
		for done == 0 {
			store.Commit(t, -1)
			done = len(sink.leases)
			sink.flush(t, s)
			if done == 0 && store.Pending() == 0 {
				if n := v.Queue("q").Stats().Ready; n > 0 {
					b.Fatalf("stuck with %d ready", n)
				}
				b.StopTimer()
				fill()
				b.StartTimer()
			}
		}
		done--
	}
}
