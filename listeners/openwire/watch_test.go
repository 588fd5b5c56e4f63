package openwire

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hermodmq/hermod/broker"
	"github.com/hermodmq/hermod/broker/brokertest"
	"github.com/hermodmq/hermod/listeners/openwire/wire"
)

func TestFamiliesOf(t *testing.T) {
	const flow = toldDead | toldExpired | toldNoConsumer | toldSlowConsumer | toldFastProducer | toldFull | toldDiscarded
	for pattern, want := range map[string]family{
		"ActiveMQ.Advisory.TempQueue":                0,
		"ActiveMQ.Advisory.Queue":                    0,
		"ActiveMQ.Advisory.MessageConsumed.Queue.q":  toldConsumed,
		"ActiveMQ.Advisory.MessageDelivered.#":       toldDelivered,
		"ActiveMQ.Advisory.MessageDispatched.*.q":    toldDispatched,
		"ActiveMQ.Advisory.FULL.#":                   toldFull,
		"ActiveMQ.*.SlowConsumer.Topic.*":            toldSlowConsumer,
		"ActiveMQ.Advisory.#":                        flow,
		"#":                                          flow,
		"ActiveMQ.Advisory.*.Queue.q":                flow,
		"ActiveMQ":                                   0,
		"Other.Advisory.MessageConsumed.Queue.q":     0,
		"ActiveMQ.Advisory.MessageConsumedNot.Queue": 0,
	} {
		if got := familiesOf([]string{pattern}); got != want {
			t.Errorf("%s: %b, want %b", pattern, got, want)
		}
	}
}

// TestMessagesAreToldOf: OW-55. Who listens to everything is not told of every
// message, and whoever has gone is told nothing.
func TestMessagesAreToldOf(t *testing.T) {
	w := newWorld(t, Options{})
	all, one, c := w.open("all", nil), w.open("one", nil), w.open("a", nil)
	all.consume(1, wire.Destination{Kind: wire.TypeTopic, Name: "ActiveMQ.Advisory.>"}, nil)
	one.consume(1, wire.Destination{Kind: wire.TypeTopic, Name: "ActiveMQ.Advisory.MessageConsumed.>"}, nil)
	c.consume(1, queueNamed("q"), nil)
	c.send(queueNamed("q"), "1", "2")
	list := c.receive("1", "2")
	c.call(c.ack(wire.AckStandard, list[0]))
	c.call(c.ack(wire.AckPoison, list[1]))
	told := func(from *client, topic string) {
		t.Helper()
		for {
			d := expect[*wire.MessageDispatch](from)
			if d.Destination.Name == topic {
				if m, ok := d.Message.Data.(*wire.Message); !ok || m.Content != nil || m.MessageID.IsNull() {
					t.Errorf("%s: %+v", topic, d.Message.Data)
				}
				return
			}
			if d.Destination.Name == "ActiveMQ.Advisory.MessageConsumed.Queue.q" {
				t.Errorf("told of %s", d.Destination)
			}
		}
	}
	told(one, "ActiveMQ.Advisory.MessageConsumed.Queue.q")
	told(all, "ActiveMQ.Advisory.MessageDLQd.Queue.q")
	if w.server.hub.rooms["/"].watched.Load() == 0 {
		t.Fatal("nobody watches")
	}
	one.peer.HangUp(nil)
	all.call(&wire.RemoveInfo{ObjectID: all.consumerID(1), LastDeliveredSequenceID: -1})
	w.until("nobody watches", func() bool { return w.server.hub.rooms["/"].watched.Load() == 0 })
}

// TestMessagesOfTemporaryQueuesAreToldOf: OW-55. Most families, not all, have a word of
// their own for temporary destinations.
func TestMessagesOfTemporaryQueuesAreToldOf(t *testing.T) {
	w := newWorld(t, Options{})
	one, c := w.open("one", nil), w.open("a", nil)
	one.consume(1, wire.Destination{Kind: wire.TypeTopic, Name: "ActiveMQ.Advisory.*.TempQueue.>"}, nil)
	one.consume(2, wire.Destination{Kind: wire.TypeTopic, Name: "ActiveMQ.Advisory.MessageDelivered.>,ActiveMQ.Advisory.MessageDispatched.>,ActiveMQ.Advisory.MessageConsumed.>"}, nil)
	temp := wire.Destination{Kind: wire.TypeTempQueue, Name: "ID:a:1"}
	c.call(&wire.DestinationInfo{ConnectionID: c.id, Destination: temp})
	c.consume(1, temp, nil)
	c.send(temp, "1", "2")
	list := c.receive("1", "2")
	c.call(c.ack(wire.AckStandard, list[0]))
	c.call(c.ack(wire.AckPoison, list[1]))
	told := map[string]bool{}
	for want := []string{"MessageDelivered", "MessageDispatched", "MessageConsumed", "MessageDLQd"}; len(told) < len(want); {
		d := expect[*wire.MessageDispatch](one)
		word, ok := strings.CutSuffix(strings.TrimPrefix(d.Destination.Name, advisoryPrefix), ".TempQueue.ID:a:1")
		if !ok || !slices.Contains(want, word) {
			t.Fatalf("told of %s", d.Destination)
		}
		told[word] = true
	}
}

// TestSlowConsumersAreToldOf: OW-55, also when the window fills before anything
// waits.
func TestSlowConsumersAreToldOf(t *testing.T) {
	w := newWorld(t, Options{})
	one, c := w.open("one", nil), w.open("a", nil)
	one.consume(1, wire.Destination{Kind: wire.TypeTopic, Name: "ActiveMQ.Advisory.SlowConsumer.>"}, nil)
	c.consume(1, queueNamed("q"), func(i *wire.ConsumerInfo) { i.PrefetchSize = 2 })
	c.send(queueNamed("q"), "1", "2")
	w.tick(time.Second)
	one.quiet()
	c.send(queueNamed("q"), "3")
	for range 3 {
		w.tick(time.Second)
	}
	d := expect[*wire.MessageDispatch](one)
	if info, ok := d.Message.Data.(*wire.ConsumerInfo); !ok || info.ConsumerID != c.consumerID(1) || d.Destination.Name != "ActiveMQ.Advisory.SlowConsumer.Queue.q" {
		t.Errorf("%s: %+v", d.Destination, d.Message.Data)
	}
	one.quiet()
}

// TestDeathsAreToldOf: OW-55. What queues give up by themselves: too old, too
// many, rejected by another protocol's client.
func TestDeathsAreToldOf(t *testing.T) {
	w := newWorld(t, Options{PendingLimits: []PendingLimit{{Topic: "few.>", Messages: 2}}})
	all, c := w.open("all", nil), w.open("a", nil)
	all.consume(1, wire.Destination{Kind: wire.TypeTopic, Name: "ActiveMQ.Advisory.>"}, nil)
	told := func(topic, id string) *wire.Message {
		t.Helper()
		for {
			d := expect[*wire.MessageDispatch](all)
			if d.Destination.Name != topic {
				continue
			}
			if got, _, _ := wire.Property(d.Message.Properties, "orignalMessageId"); got != id {
				t.Errorf("%s: told of %v, want %s", topic, got, id)
			}
			return d.Message
		}
	}
	q := queueNamed("q")
	kept, dropped := c.message(q, "kept"), c.message(q, "dropped")
	dropped.Persistent = false
	for _, m := range []*wire.Message{kept, dropped} {
		m.Expiration = w.now.UnixMilli() + 1000
		c.call(m)
	}
	w.tick(2 * time.Second)
	told("ActiveMQ.Advisory.Expired.Queue.q", kept.MessageID.String())
	told("ActiveMQ.Advisory.MessageDLQd.Queue.q", kept.MessageID.String())
	told("ActiveMQ.Advisory.Expired.Queue.q", dropped.MessageID.String())

	topic := wire.Destination{Kind: wire.TypeTopic, Name: "few.t"}
	c.consume(1, topic, func(i *wire.ConsumerInfo) { i.PrefetchSize = 1 })
	var ids []string
	for range 5 { // one is out, two wait
		m := c.message(topic, "x")
		ids = append(ids, m.MessageID.String())
		c.call(m)
	}
	for n := range 2 {
		m := told("ActiveMQ.Advisory.MessageDiscarded.Topic.few.t", ids[1+n])
		whose, _, _ := wire.Property(m.Properties, "consumerId")
		if many, _, _ := wire.Property(m.Properties, "discardedCount"); many != int32(n+1) || whose != c.consumerID(1).String() {
			t.Errorf("%v of %v", many, whose)
		}
	}

	// Another protocol's client rejects.
	other := c.message(q, "other")
	c.call(other)
	sink := &brokertest.Recorder{}
	s := w.b.VHost("/").OpenSession(nil, sink)
	if err := s.Get(w.turn(), "q", false, 1); err != nil {
		t.Fatal(err)
	}
	d := sink.Take()[0].Delivery
	s.Settle(w.turn(), d.Queue, []broker.Lease{d.Lease}, broker.Rejected)
	told("ActiveMQ.Advisory.MessageDLQd.Queue.q", other.MessageID.String())
	all.call(&wire.RemoveInfo{ObjectID: all.consumerID(1), LastDeliveredSequenceID: -1})
	if w.server.hub.rooms["/"].unwatch != nil {
		t.Error("the core is watched for nobody")
	}
}

// TestUnreadMessagesDoNotPileUp: messages are shown whole to who listens for
// those that nobody consumes, but not kept for one that does not read.
func TestUnreadMessagesDoNotPileUp(t *testing.T) {
	w := newWorld(t, Options{})
	one, c := w.open("one", nil), w.open("a", nil)
	one.consume(1, wire.Destination{Kind: wire.TypeTopic, Name: "ActiveMQ.Advisory.NoConsumer.>"}, nil)
	nobody := wire.Destination{Kind: wire.TypeTopic, Name: "nobody"}
	send := func(size int) {
		t.Helper()
		m := c.message(nobody, "")
		m.Kind, m.Persistent, m.Content = wire.TypeBytesMessage, false, make([]byte, size)
		c.call(m)
	}
	one.peer.Window(0)
	const size, n = 100 << 10, 60
	for range n {
		send(size)
	}
	one.peer.Window(-1)
	w.tick(time.Second)
	shown := 0
	for s := one.poll(); s != nil; s = one.poll() {
		if d, ok := s.(*wire.MessageDispatch); ok && len(d.Message.Content) == size {
			shown++
		}
	}
	if shown == 0 || shown*size > 2<<20 {
		t.Errorf("%d of %d messages of %d bytes waited for one that did not read", shown, n, size)
	}
	send(7)
	if d := expect[*wire.MessageDispatch](one); len(d.Message.Content) != 7 {
		t.Errorf("a message of %d bytes is shown then", len(d.Message.Content))
	}
}
