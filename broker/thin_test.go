package broker_test

import (
	"strconv"
	"strings"
	"testing"

	"github.com/hermodmq/hermod/broker"
	"github.com/hermodmq/hermod/broker/brokertest"
)

// take subscribes without prefetch and reads everything ready, settling
// nothing.
func take(t *testing.T, w *brokertest.World, c *brokertest.Client, queue string) *broker.Subscription {
	t.Helper()
	sub, err := c.Session.Subscribe(w.Turn, broker.SubscribeOptions{Queue: queue, Tag: queue})
	if err != nil {
		t.Fatal(err)
	}
	pump(w)
	return sub
}

// pump lets store and sinks work until nothing moves.
func pump(w *brokertest.World) {
	for w.Store.Commit(w.Turn, -1)+w.Write() > 0 {
	}
}

// heldBodies are the bodies a client holds.
func heldBodies(c *brokertest.Client) []string {
	list := make([]string, len(c.Open))
	for i, d := range c.Open {
		list[i] = string(d.Msg.Body)
	}
	return list
}

// big makes a message that a few of would fill memory.
func big(m *broker.Message) { m.Body = []byte(string(m.Body) + strings.Repeat(".", 1000)) }

// A consumer that reads a backlog and settles none of it does not bring it into
// memory; when its session ends, everything comes back in order.
func TestUnsettledBacklogStaysInTheStore(t *testing.T) {
	w := scarceWorld(t)
	q := declare(t, w, "q", true)
	const n = 5000
	fill(t, w, "q", n, big)
	for round := range 3 {
		c := w.Client("c"+strconv.Itoa(round), nil)
		take(t, w, c, "q")
		if len(c.Open) != n {
			t.Fatalf("got %d of %d", len(c.Open), n)
		}
		for i, d := range c.Open {
			if got, _, _ := strings.Cut(string(d.Msg.Body), "."); got != strconv.Itoa(i) || d.Redelivered != (round > 0) {
				t.Fatalf("round %d: delivery %d is %s, redelivered %v", round, i, got, d.Redelivered)
			}
		}
		s := q.Stats()
		if s.Memory > n*200+20_000 || s.Unsettled != n || s.InMemory > 30 {
			t.Fatalf("%d bytes and %d messages in memory while %d are unsettled", s.Memory, s.InMemory, s.Unsettled)
		}
		w.Leave(c)
		if s := q.Stats(); s.Ready != n || s.ReadyBytes < n*1000 || s.Memory > n*200+20_000 {
			t.Fatalf("after the release: %+v", s)
		}
	}
	if got := q.Stats().Ready; got != n {
		t.Fatal(got)
	}
	c := w.Client("c", nil)
	take(t, w, c, "q")
	var leases []broker.Lease
	for _, d := range c.Open {
		leases = append(leases, d.Lease)
	}
	c.Session.Settle(w.Turn, q, leases, broker.Accepted)
	pump(w)
	if s := q.Stats(); s.Memory != 0 || s.InMemory != 0 || s.Ready != 0 || s.Unsettled != 0 {
		t.Errorf("when all is settled: %+v", s)
	}
}

// What came back without its message is ready like everything else: it is
// counted, purged, dropped over a length limit, expired.
func TestThinMessagesAreReady(t *testing.T) {
	for name, act := range map[string]func(w *brokertest.World, q *broker.Queue, c *brokertest.Client) int{
		"purge": func(w *brokertest.World, _ *broker.Queue, c *brokertest.Client) int {
			n, err := c.Session.PurgeQueue(w.Turn, "q", nil)
			if err != nil || n != 100 {
				panic(n)
			}
			return 0
		},
		"max-length": func(w *brokertest.World, q *broker.Queue, _ *brokertest.Client) int {
			broker.Configure(q, w.Turn, func(c *broker.QueueConfig) { c.MaxLength = 10 })
			return 10
		},
		"expiry": func(w *brokertest.World, _ *broker.Queue, _ *brokertest.Client) int {
			w.Turn.Now += 60_000
			w.Broker.Tick(w.Turn)
			return 50
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := scarceWorld(t)
			q := declare(t, w, "q", true)
			s := w.VHost().OpenSession(nil, &brokertest.Recorder{})
			for i := range 100 {
				publish(t, w, s, "q", strconv.Itoa(i), persistent, func(m *broker.Message) {
					if i%2 == 0 {
						m.TTL = 50_000
					}
				})
			}
			c := w.Client("c", nil)
			take(t, w, c, "q")
			w.Leave(c)
			if st := q.Stats(); st.Ready != 100 {
				t.Fatalf("%+v", st)
			}
			other := w.Client("other", nil)
			left := act(w, q, other)
			pump(w)
			if st := q.Stats(); st.Ready != left {
				t.Errorf("%d are left, want %d: %+v", st.Ready, left, st)
			}
			take(t, w, other, "q")
			if len(other.Open) != left {
				t.Errorf("got %q", heldBodies(other))
			}
			var leases []broker.Lease
			for _, d := range other.Open {
				leases = append(leases, d.Lease)
			}
			other.Session.Settle(w.Turn, q, leases, broker.Accepted)
			pump(w)
			if st := q.Stats(); st.Memory != 0 || st.InMemory != 0 || st.ReadyBytes != 0 {
				t.Errorf("at the end: %+v", st)
			}
		})
	}
}

// Messages that memory let go die with their bodies all the same: rejected,
// rejected in a transaction, over the delivery limit, each once.
func TestThinMessagesAreDeadLettered(t *testing.T) {
	target := broker.Table{
		{Name: "x-dead-letter-exchange", Value: ""}, {Name: "x-dead-letter-routing-key", Value: "dead"},
	}
	for name, act := range map[string]func(w *brokertest.World, q *broker.Queue, c *brokertest.Client, leases []broker.Lease){
		"rejected": func(w *brokertest.World, q *broker.Queue, c *brokertest.Client, leases []broker.Lease) {
			c.Session.Settle(w.Turn, q, leases, broker.Rejected)
		},
		"transaction": func(w *brokertest.World, q *broker.Queue, c *brokertest.Client, leases []broker.Lease) {
			c.Session.Begin()
			c.Session.Settle(w.Turn, q, leases, broker.Rejected)
			c.Session.Commit(w.Turn, func(*broker.Turn, error) {})
		},
		"limit": func(w *brokertest.World, q *broker.Queue, c *brokertest.Client, leases []broker.Lease) {
			broker.Configure(q, w.Turn, func(c *broker.QueueConfig) { c.DeliveryLimit = 0 })
			c.Session.Settle(w.Turn, q, leases, broker.Failed)
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := scarceWorld(t)
			dead := declare(t, w, "dead", true)
			q := declare(t, w, "q", true, target...)
			fill(t, w, "q", 600, big)
			c := w.Client("c", nil)
			c.Session.Unsubscribe(w.Turn, take(t, w, c, "q"))
			var leases []broker.Lease
			for i, d := range c.Open {
				if i%3 != 1 {
					leases = append(leases, d.Lease)
				}
			}
			c.Open = nil
			act(w, q, c, leases)
			pump(w)
			if st, d := q.Stats(), dead.Stats(); st.Ready != 0 || st.Unsettled != 200 || d.Ready != 400 {
				t.Fatalf("%+v, dead: %+v", st, d)
			}
			if err := w.Crash(0, scarce); err != nil {
				t.Fatal(err)
			}
			w.Held = true
			if n, d := w.VHost().Queue("q").Stats().Ready, w.VHost().Queue("dead").Stats().Ready; n != 200 || d != 400 {
				t.Fatalf("after a restart: %d, dead %d", n, d)
			}
			r := w.Client("r", nil)
			take(t, w, r, "dead")
			for i, d := range r.Open {
				want := strconv.Itoa(i/2*3 + i%2*2)
				if got, _, _ := strings.Cut(string(d.Msg.Body), "."); got != want || len(d.Msg.Body) < 1000 {
					t.Fatalf("dead letter %d is %s, want %s", i, got, want)
				}
			}
		})
	}
}

// A message group keeps its order and its lease while its messages are not in
// memory.
func TestThinMessageGroups(t *testing.T) {
	w := scarceWorld(t)
	q := declare(t, w, "q", true)
	broker.Configure(q, w.Turn, func(c *broker.QueueConfig) { c.LeaseGroups = true })
	fill(t, w, "q", 50, big, func(m *broker.Message) { m.Notes = &broker.Notes{GroupID: "g"} })
	c := w.Client("c", nil)
	receive := func(max int) []broker.Delivery {
		for range 5 {
			if got := q.Receive(w.Turn, broker.ReceiveOptions{Max: max}, nil); len(got) > 0 {
				return got
			}
			pump(w)
		}
		return nil
	}
	first := receive(2)
	if len(first) == 0 || receive(1) != nil {
		t.Fatalf("got %d, and then more of the same group", len(first))
	}
	for _, d := range first {
		c.Session.Settle(w.Turn, q, []broker.Lease{d.Lease}, broker.Released)
	}
	for i := 0; i < 50; {
		got := receive(10)
		if got == nil {
			t.Fatalf("stuck at %d: %+v", i, q.Stats())
		}
		for _, d := range got {
			if text, _, _ := strings.Cut(string(d.Msg.Body), "."); text != strconv.Itoa(i) {
				t.Fatalf("got %s, want %d", text, i)
			}
			c.Session.Settle(w.Turn, q, []broker.Lease{d.Lease}, broker.Accepted)
			i++
		}
	}
}

// A session that holds as many deliveries as it may gets no more until it
// settles some, on any of its queues, by subscription or Get.
func TestUnsettledLimit(t *testing.T) {
	w, err := brokertest.NewWorld(func(b *broker.Broker) { b.SetMaxUnsettled(10) })
	if err != nil {
		t.Fatal(err)
	}
	a, b := declare(t, w, "a", true), declare(t, w, "b", true)
	fill(t, w, "a", 8)
	fill(t, w, "b", 8)
	c := w.Client("c", nil)
	take(t, w, c, "a")
	take(t, w, c, "b")
	if len(c.Open) != 10 || b.Stats().Ready != 6 {
		t.Fatalf("holds %d", len(c.Open))
	}
	if err := c.Session.Get(w.Turn, "b", false, 7); err != nil {
		t.Fatal(err)
	}
	if e := c.Sink.Take(); len(e) != 1 || e[0].OK {
		t.Fatalf("Get over the limit: %+v", e)
	}
	for want := range 4 {
		c.Session.Settle(w.Turn, a, []broker.Lease{c.Open[want].Lease}, broker.Accepted)
		pump(w)
		if got := b.Stats().Unsettled; got != want+3 {
			t.Fatalf("%d of b are out, want %d", got, want+3)
		}
	}
	w.Leave(c)
	if a.Stats().Ready != 4 || b.Stats().Ready != 8 {
		t.Errorf("a %+v, b %+v", a.Stats(), b.Stats())
	}
}
