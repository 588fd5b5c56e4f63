package broker_test

import (
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
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

// brokenWorld is a broker on a store that fails reads, with ten messages in
// queue q, and what it logs.
func brokenWorld(t *testing.T, args ...broker.Field) (*brokenStore, *broker.Broker, *broker.Turn, *strings.Builder) {
	t.Helper()
	store := &brokenStore{MemoryStore: broker.NewMemoryStore().Manual()}
	turn, log := &broker.Turn{Now: brokertest.Start}, new(strings.Builder)
	b, err := broker.New(broker.Options{
		Store: store, Now: turn.Now, PasswordCost: 4, Logger: slog.New(slog.NewTextHandler(log, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	b.SetHotMemory(0, 0, 1000)
	if err := b.Recover(turn); err != nil {
		t.Fatal(err)
	}
	s := b.VHost("/").OpenSession(nil, new(brokertest.Recorder))
	for _, d := range []broker.QueueDeclare{{Name: "q", Durable: true, Args: args}, {Name: "dead", Durable: true}} {
		if _, err := s.DeclareQueue(turn, d, nil); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 10 {
		m := &broker.Message{RoutingKey: "q", Body: []byte(strconv.Itoa(i)), TTL: broker.NoTTL, Persistent: true}
		if _, err := s.Publish(turn, broker.Publish{Msg: m}); err != nil {
			t.Fatal(err)
		}
	}
	store.Commit(turn, -1)
	return store, b, turn, log
}

// failTwice makes a store fail two reads for the moment and what is below 5
// for ever.
func (s *brokenStore) failTwice() {
	fails := 0
	s.fail = func(r *broker.ReadRequest) (uint64, bool) {
		fails++
		if fails < 3 {
			return r.From, true
		}
		return 5, r.From < 5
	}
}

// A read that fails is tried again; one that names what cannot be read is not
// waited for, and what is unreadable stays in the store. It is counted each
// time and logged once.
func TestReadErrors(t *testing.T) {
	store, b, turn, log := brokenWorld(t)
	store.failTwice()
	sink := new(brokertest.Recorder)
	s := b.VHost("/").OpenSession(nil, sink)
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
	if n := b.Totals().Counters.ReadErrors; n != 3 {
		t.Errorf("read errors %d in all", n)
	}
	if text := log.String(); strings.Count(text, "cannot be read") != 1 || !strings.Contains(text, "queue=q") || !strings.Contains(text, "first=1") {
		t.Errorf("logged %q", text)
	}
	r, err := store.Crash(0).Recover()
	if err != nil || len(r.Lanes) != 1 || r.Lanes[0].Count != 4 {
		t.Errorf("the store holds %+v, want the 4 unreadable messages", r.Lanes)
	}
}

// The same for messages that memory let go while they were unsettled: when they
// come back, and when they die.
func TestReadErrorsOfThinMessages(t *testing.T) {
	for _, dies := range []bool{false, true} {
		t.Run(fmt.Sprintf("dies=%v", dies), func(t *testing.T) {
			store, b, turn, _ := brokenWorld(t,
				broker.Field{Name: "x-dead-letter-exchange", Value: ""}, broker.Field{Name: "x-dead-letter-routing-key", Value: "dead"})
			q := b.VHost("/").Queue("q")
			sink := new(brokertest.Recorder)
			s := b.VHost("/").OpenSession(nil, sink)
			sub, err := s.Subscribe(turn, broker.SubscribeOptions{Queue: "q", Tag: "c"})
			if err != nil {
				t.Fatal(err)
			}
			store.Commit(turn, -1)
			s.Unsubscribe(turn, sub)
			events := sink.Take()
			if len(events) != 10 {
				t.Fatalf("%d deliveries", len(events))
			}
			store.failTwice()
			for _, e := range events {
				o := broker.Released
				if dies {
					o = broker.Rejected
				}
				s.Settle(turn, q, []broker.Lease{e.Delivery.Lease}, o)
			}
			from := "q"
			if dies {
				from = "dead"
			}
			if _, err := s.Subscribe(turn, broker.SubscribeOptions{Queue: from, Tag: "d", NoAck: true}); err != nil {
				t.Fatal(err)
			}
			for range 60 {
				store.Commit(turn, -1)
				turn.Now += 100
				b.Tick(turn)
			}
			events = sink.Take()
			seen := make(map[string]bool)
			for _, e := range events {
				seen[string(e.Delivery.Msg.Body)] = true
			}
			if len(events) != 6 || len(seen) != 6 || seen["3"] || !seen["4"] {
				t.Errorf("%d deliveries %v, want those from 4 to 9", len(events), seen)
			}
			if st := q.Stats(); st.Ready != 0 || st.ReadyBytes != 0 || st.Memory != 0 || st.InMemory != 0 || st.ReadErrors < 3 {
				t.Errorf("%+v", st)
			}
			s.Close(turn)
		})
	}
}

// A block that cannot be read hides neither delayed nor expired messages behind
// it.
func TestUnreadableMessagesHideNothing(t *testing.T) {
	store, b, turn, _ := brokenWorld(t)
	s := b.VHost("/").OpenSession(nil, new(brokertest.Recorder))
	for i := range 4 {
		m := &broker.Message{RoutingKey: "dead", TTL: broker.NoTTL, Persistent: true, Notes: &broker.Notes{DeliverAt: turn.Now + 1000}}
		if i >= 2 {
			m.TTL, m.Notes = 1000, nil
			m.RoutingKey = "q"
		}
		if _, err := s.Publish(turn, broker.Publish{Msg: m}); err != nil {
			t.Fatal(err)
		}
	}
	store.Commit(turn, -1)
	store.fail = func(r *broker.ReadRequest) (uint64, bool) { return 2, r.From < 2 }
	for range 100 {
		turn.Now += 100
		b.Tick(turn)
		store.Commit(turn, -1)
	}
	if st := b.VHost("/").Queue("dead").Stats(); st.Ready != 1 {
		t.Errorf("delayed: %+v", st)
	}
	if st := b.VHost("/").Queue("q").Stats(); st.Expired != 2 {
		t.Errorf("expiring: %+v", st)
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
