package broker_test

import (
	"encoding/json"
	"strconv"
	"sync"
	"testing"

	"github.com/hermodmq/hermod/broker"
	"github.com/hermodmq/hermod/broker/brokertest"
)

// Transient messages behind stored ones are delivered also when those stored
// last expired in the store: the read that brings the last live one ends
// before the end of the lane.
func TestLateMessagesBehindExpiredColdOnes(t *testing.T) {
	for n := 1; n < 80; n++ {
		w := scarceWorld(t)
		w.Broker.SetHotMemory(0, 2000, 100)
		declare(t, w, "q", true)
		fill(t, w, "q", n+20)
		fill(t, w, "q", 5, func(m *broker.Message) { m.TTL = 500 })
		c := w.Client("c", nil)
		publish(t, w, c.Session, "q", "late")
		for range 30 {
			w.Turn.Now += 100
			w.Broker.Tick(w.Turn)
			w.Store.Commit(w.Turn, -1)
		}
		if _, err := c.Session.Subscribe(w.Turn, broker.SubscribeOptions{Queue: "q", Tag: "c", NoAck: true}); err != nil {
			t.Fatal(err)
		}
		got := 0
		last := ""
		for range 20 {
			w.Store.Commit(w.Turn, -1)
			for _, e := range c.Sink.Take() {
				got, last = got+1, string(e.Delivery.Msg.Body)
				e.Sub.Written(w.Turn, 1, e.Delivery.Msg.Size())
			}
		}
		if st := w.VHost().Queue("q").Stats(); got != n+21 || last != "late" || st.Ready != 0 || st.Memory != 0 {
			t.Errorf("n=%d: got %d of %d, last %q: %+v", n, got, n+21, last, st)
		}
	}
}

// The receipt of a duplicate waits for the message it repeats: a publisher
// that was told "stored" must not lose it to a crash.
func TestReceiptOfADuplicateWaitsForTheOriginal(t *testing.T) {
	w := scarceWorld(t)
	q := declare(t, w, "q", true)
	broker.Configure(q, w.Turn, func(c *broker.QueueConfig) { c.DedupWindow = 1000 })
	w.Store.Commit(w.Turn, -1)
	c := w.Client("c", nil)
	publish(t, w, c.Session, "q", "one", dedup("x"), persistent)
	again := w.Client("again", nil)
	m := w.Message("q", "one")
	m.Persistent = true
	dedup("x")(m)
	r, err := again.Session.Publish(w.Turn, broker.Publish{Msg: m, Receipt: 7})
	if err != nil || !r.Pending || r.Rejected {
		t.Fatalf("result %+v, %v: the duplicate has its receipt before the original is stored", r, err)
	}
	w.Store.Commit(w.Turn, -1)
	if e := again.Sink.Take(); len(e) != 1 || e[0].ID != 7 || !e[0].OK {
		t.Errorf("receipt: %+v", e)
	}
	if n := q.Stats().Ready; n != 1 {
		t.Errorf("%d messages, want 1", n)
	}
}

// slowReads is a store whose reads see what is there when they are asked, but
// answer when they are told to.
type slowReads struct {
	*broker.MemoryStore
	held []func(t *broker.Turn)
	hold bool
}

func (s *slowReads) Read(r *broker.ReadRequest) {
	then := r.Then
	r.Then = func(t *broker.Turn, msgs []broker.Stored, next uint64, err error) {
		if !s.hold {
			then(t, msgs, next, err)
			return
		}
		kept := append([]broker.Stored(nil), msgs...)
		s.held = append(s.held, func(t *broker.Turn) { then(t, kept, next, err) })
	}
	s.MemoryStore.Read(r)
}

// A delayed message that became ready while the store was looking for others
// comes once, also if the store had found it, too.
func TestDelayedMessageMovedDuringARead(t *testing.T) {
	store := &slowReads{MemoryStore: broker.NewMemoryStore().Manual()}
	turn := &broker.Turn{Now: brokertest.Start}
	boot := func() *broker.Broker {
		b, err := broker.New(broker.Options{Store: store, Now: turn.Now, PasswordCost: 4})
		if err != nil {
			t.Fatal(err)
		}
		if err := b.Recover(turn); err != nil {
			t.Fatal(err)
		}
		store.Commit(turn, -1)
		return b
	}
	b := boot()
	s := b.VHost("/").OpenSession(nil, &brokertest.Recorder{})
	if _, err := s.DeclareQueue(turn, broker.QueueDeclare{Name: "q", Durable: true}, nil); err != nil {
		t.Fatal(err)
	}
	store.Commit(turn, -1)
	send := func(s *broker.Session, delay int64) {
		m := &broker.Message{RoutingKey: "q", Body: []byte("m"), TTL: broker.NoTTL, Persistent: true, Notes: &broker.Notes{DeliverAt: turn.Now + delay}}
		if _, err := s.Publish(turn, broker.Publish{Msg: m}); err != nil {
			t.Fatal(err)
		}
		store.Commit(turn, -1)
	}
	for range 5 {
		send(s, 5000)
	}
	store.MemoryStore = store.Crash(0)
	b = boot()
	q := b.VHost("/").Queue("q")
	s = b.VHost("/").OpenSession(nil, &brokertest.Recorder{})
	send(s, 200) // in memory, and in the way of the search for the others
	store.hold = true
	tick := func() {
		turn.Now += 100
		b.Tick(turn)
		store.Commit(turn, -1)
	}
	for range 4 {
		tick()
	}
	if st := q.Stats(); st.Ready != 1 || len(store.held) != 1 {
		t.Fatalf("%d reads under way: %+v", len(store.held), st)
	}
	store.hold = false
	store.held[0](turn)
	for range 60 {
		tick()
	}
	if st := q.Stats(); st.Ready != 6 || st.Delayed != 0 {
		t.Errorf("6 messages were delayed: %+v", st)
	}
}

// Everything that expired in the store goes at once, however little is read at
// a time.
func TestSweepGoesOnUntilNothingIsExpired(t *testing.T) {
	w := scarceWorld(t)
	w.Broker.SetHotMemory(0, 2000, 100)
	q := declare(t, w, "q", true)
	const n = 2000
	fill(t, w, "q", n, func(m *broker.Message) {
		if m.Body[0]%2 == 0 {
			m.TTL = 500
		}
	})
	live := 0
	for i := range n {
		live += int(strconv.Itoa(i)[0] % 2)
	}
	for range 100 {
		w.Turn.Now += 30
		w.Broker.Tick(w.Turn)
		w.Store.Commit(w.Turn, -1)
	}
	if st := q.Stats(); st.Ready != live || st.Expired != uint64(n-live) {
		t.Errorf("%d ready, %d expired; want %d, %d", st.Ready, st.Expired, live, n-live)
	}
}

// RabbitMQ's tools write operator policies with apply-to "all", and its
// definitions carry them.
func TestOperatorPolicyForAll(t *testing.T) {
	w := scarceWorld(t)
	q := declare(t, w, "q", true)
	fill(t, w, "q", 20)
	p := broker.Policy{VHost: "/", Name: "o", ApplyTo: "all", Definition: map[string]json.RawMessage{"max-length": json.RawMessage("5")}}
	if err := w.Broker.SetOperatorPolicy(w.Turn, p, nil); err != nil {
		t.Fatal(err)
	}
	w.Store.Commit(w.Turn, -1)
	if n := q.Stats().Ready; n != 5 {
		t.Errorf("%d ready, want 5", n)
	}
}

// Publishers may be at a queue that is being deleted; run with -race.
func TestPublishWhileTheQueueGoes(t *testing.T) {
	store := broker.NewMemoryStore()
	b, err := broker.New(broker.Options{Store: store, Now: brokertest.Start, PasswordCost: 4})
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Recover(&broker.Turn{Now: brokertest.Start}); err != nil {
		t.Fatal(err)
	}
	d := broker.QueueDeclare{Name: "q", Durable: true, Args: broker.Table{{Name: "x-max-priority", Value: int32(3)}}}
	var group sync.WaitGroup
	for range 2 {
		group.Go(func() {
			turn := &broker.Turn{Now: brokertest.Start}
			s := b.VHost("/").OpenSession(nil, &brokertest.Recorder{})
			for i := range 3000 {
				m := &broker.Message{RoutingKey: "q", Body: []byte("m"), TTL: broker.NoTTL, Persistent: true}
				if i%2 == 0 {
					m.Notes = &broker.Notes{DeliverAt: turn.Now + 1000}
				}
				if _, err := s.Publish(turn, broker.Publish{Msg: m}); err != nil {
					t.Error(err)
				}
			}
			s.Close(turn)
		})
	}
	group.Go(func() {
		turn := &broker.Turn{Now: brokertest.Start}
		s := b.VHost("/").OpenSession(nil, &brokertest.Recorder{})
		for range 1000 {
			if _, err := s.DeclareQueue(turn, d, nil); err != nil {
				t.Error(err)
			}
			if _, err := s.DeleteQueue(turn, "q", false, false, nil); err != nil {
				t.Error(err)
			}
		}
	})
	group.Wait()
	if err := store.Close(); err != nil {
		t.Error(err)
	}
	if n := b.MemoryUsed(); n != 0 {
		t.Errorf("%d bytes stay in the account", n)
	}
}
