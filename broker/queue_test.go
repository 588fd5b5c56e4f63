package broker_test

import (
	"errors"
	"strconv"
	"testing"

	"github.com/hermodmq/hermod/broker"
	"github.com/hermodmq/hermod/broker/brokertest"
)

// brokenStore fails reads.
type brokenStore struct {
	*broker.MemoryStore
	fail func(r *broker.ReadRequest) (next uint64, failed bool)
}

func (s *brokenStore) Read(r *broker.ReadRequest) {
	if s.fail != nil {
		if next, failed := s.fail(r); failed {
			then := r.Then
			r = &broker.ReadRequest{Lane: r.Lane, From: 1, Max: 1, MaxBytes: 1}
			r.Then = func(t *broker.Turn, _ []broker.Stored, _ uint64, _ error) {
				then(t, nil, next, errors.New("bad block"))
			}
		}
	}
	s.MemoryStore.Read(r)
}

// A read that fails is tried again; one that names what cannot be read is not
// waited for, and what is unreadable stays in the store.
func TestReadErrors(t *testing.T) {
	store := &brokenStore{MemoryStore: broker.NewMemoryStore().Manual()}
	turn := &broker.Turn{Now: brokertest.Start}
	b, err := broker.New(broker.Options{Store: store, Now: turn.Now, PasswordCost: 4})
	if err != nil {
		t.Fatal(err)
	}
	b.SetHotMemory(0, 0, 1000)
	if err := b.Recover(turn); err != nil {
		t.Fatal(err)
	}
	sink := new(brokertest.Recorder)
	s := b.VHost("/").OpenSession(nil, sink)
	if _, err := s.DeclareQueue(turn, broker.QueueDeclare{Name: "q", Durable: true}, nil); err != nil {
		t.Fatal(err)
	}
	for i := range 10 {
		m := &broker.Message{RoutingKey: "q", Body: []byte(strconv.Itoa(i)), TTL: broker.NoTTL, Persistent: true}
		if _, err := s.Publish(turn, broker.Publish{Msg: m}); err != nil {
			t.Fatal(err)
		}
	}
	store.Commit(turn, -1)
	fails := 0
	store.fail = func(r *broker.ReadRequest) (uint64, bool) {
		fails++
		if fails < 3 {
			return r.From, true
		}
		return 5, r.From < 5
	}
	if _, err := s.Subscribe(turn, broker.SubscribeOptions{Queue: "q", Tag: "c", NoAck: true}); err != nil {
		t.Fatal(err)
	}
	for range 40 {
		store.Commit(turn, -1)
		turn.Now += 100
		b.Tick(turn)
	}
	events := sink.Take()
	if len(events) != 6 || string(events[0].Delivery.Msg.Body) != "4" {
		t.Errorf("%d deliveries, want those from 4 to 9", len(events))
	}
	st := b.VHost("/").Queue("q").Stats()
	if st.ReadErrors != 3 || st.Ready != 0 {
		t.Errorf("read errors %d, ready %d; want 3, 0", st.ReadErrors, st.Ready)
	}
	r, err := store.Crash(0).Recover()
	if err != nil || len(r.Lanes) != 1 || r.Lanes[0].Count != 4 {
		t.Errorf("the store holds %+v, want the 4 unreadable messages", r.Lanes)
	}
}

// Sticky groups, priorities and expiry together do not lose anything: the
// scan over blocked messages takes from the middle of a lane.
func TestBlockedGroupsLetOthersPass(t *testing.T) {
	w := newWorld(t)
	q := declare(t, w, "q", false)
	a, b := w.Client("a", nil), w.Client("b", nil)
	for _, c := range []*brokertest.Client{a, b} {
		if _, err := c.Session.Subscribe(w.Turn, broker.SubscribeOptions{Queue: "q", Tag: c.Name, Prefetch: 1}); err != nil {
			t.Fatal(err)
		}
	}
	p := w.Client("p", nil)
	publish(t, w, p.Session, "q", "x", group("x")) // to a
	for i := range 500 {
		publish(t, w, p.Session, "q", "x"+strconv.Itoa(i), group("x"))
		publish(t, w, p.Session, "q", "n"+strconv.Itoa(i))
	}
	nx, nn := 0, 0
	for range 3000 {
		w.Write()
		for _, c := range []*brokertest.Client{b, a} {
			if len(c.Open) == 0 {
				continue
			}
			d := c.Open[0]
			c.Open = nil
			body := string(d.Msg.Body)
			if body[0] == 'x' && c != a {
				t.Fatalf("%s went to the wrong consumer", body)
			}
			if body[0] == 'n' {
				if body != "n"+strconv.Itoa(nn) {
					t.Fatalf("got %s, want n%d", body, nn)
				}
				nn++
			} else if body != "x" {
				if body != "x"+strconv.Itoa(nx) {
					t.Fatalf("got %s, want x%d", body, nx)
				}
				nx++
			}
			c.Session.Settle(w.Turn, q, []broker.Lease{d.Lease}, broker.Accepted)
		}
	}
	if nx != 500 || nn != 500 || q.Stats().Memory != 0 {
		t.Errorf("%d and %d came of 500 each: %+v", nx, nn, q.Stats())
	}
}

// SetSharedCredit counts what is out already (AMQP-69).
func TestSharedCreditCountsWhatIsOut(t *testing.T) {
	w := newWorld(t)
	q := declare(t, w, "q", false)
	c := w.Client("c", nil)
	if _, err := c.Session.Subscribe(w.Turn, broker.SubscribeOptions{Queue: "q", Tag: "c"}); err != nil {
		t.Fatal(err)
	}
	for i := range 10 {
		publish(t, w, c.Session, "q", strconv.Itoa(i))
	}
	c.Session.SetSharedCredit(w.Turn, 8)
	publish(t, w, c.Session, "q", "more")
	w.Write()
	if len(c.Open) != 10 {
		t.Fatalf("%d are out, want 10", len(c.Open))
	}
	for i, want := range []int{10, 10, 11, 11} {
		c.Session.Settle(w.Turn, q, []broker.Lease{c.Open[i].Lease}, broker.Accepted)
		w.Write()
		if len(c.Open) != want {
			t.Errorf("after %d settlements %d went out, want %d", i+1, len(c.Open), want)
		}
	}
	quorum := declare(t, w, "quorum", true, broker.Field{Name: "x-queue-type", Value: "quorum"})
	_, err := c.Session.Subscribe(w.Turn, broker.SubscribeOptions{Queue: quorum.Name(), Tag: "d"})
	if err == nil || err.Error() != "queue 'quorum' in vhost '/' does not support global qos" {
		t.Errorf("error %v", err)
	}
}
