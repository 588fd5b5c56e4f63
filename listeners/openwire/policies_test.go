package openwire

import (
	"strings"
	"testing"
	"time"

	"github.com/hermodmq/hermod/broker"
	"github.com/hermodmq/hermod/listeners/openwire/wire"
)

// TestPoisonGoesToTheDeadLetters: OW-39, OW-64. Persistent messages only; a
// destination may have dead letters of its own.
func TestPoisonGoesToTheDeadLetters(t *testing.T) {
	w := newWorld(t, Options{IndividualDeadLetters: []string{"own.>"}})
	c := w.open("a", nil)
	for i, name := range []string{"q", "own.q"} {
		n := int64(i)
		q := queueNamed(name)
		c.send(q, "bad")
		transient := c.message(q, "fleeting")
		transient.Persistent = false
		c.call(transient)
		c.consume(n, q, nil)
		poison := c.ack(wire.AckPoison, c.receive("bad", "fleeting")...)
		poison.PoisonCause = &wire.Throwable{ClassName: "java.lang.Throwable", Message: "no good"}
		c.call(poison)
		dead := "ActiveMQ.DLQ"
		if name == "own.q" {
			dead += ".Queue.own.q"
		}
		c.consume(10+n, queueNamed(dead), nil)
		d := c.receive("bad")[0]
		cause, _, _ := wire.Property(d.Message.Properties, propDeadCause)
		if d.Message.OriginalDestination != q || cause != "java.lang.Throwable: no good" {
			t.Errorf("from %v because %v", d.Message.OriginalDestination, cause)
		}
		c.quiet()
		// From the dead letters a message goes nowhere.
		c.call(c.ack(wire.AckPoison, d))
		if ready, out := w.depth(dead); ready+out != 0 {
			t.Errorf("%s: %d and %d", dead, ready, out)
		}
	}
}

// TestExpiredMessages: OW-61.
func TestExpiredMessages(t *testing.T) {
	w := newWorld(t, Options{})
	c := w.open("a", nil)
	q := queueNamed("q")
	for _, persistent := range []bool{true, false} {
		m := c.message(q, "old")
		m.Expiration, m.Persistent = w.now.UnixMilli()+1000, persistent
		c.call(m)
	}
	w.tick(2 * time.Second) // nobody reads the queue
	c.consume(1, queueNamed("ActiveMQ.DLQ"), nil)
	d := c.receive("old")[0]
	original, _, _ := wire.Property(d.Message.Properties, propExpiration)
	if d.Message.Expiration != 0 || original == nil || d.Message.OriginalDestination != q {
		t.Errorf("expires %d, before %v, from %v", d.Message.Expiration, original, d.Message.OriginalDestination)
	}
	c.quiet()
}

// TestGroups: OW-60.
func TestGroups(t *testing.T) {
	w := newWorld(t, Options{})
	c := w.open("a", nil)
	q := queueNamed("q")
	c.consume(1, q, nil)
	c.consume(2, q, nil)
	post := func(text, group string, sequence int32) {
		m := c.message(q, text)
		m.GroupID, m.GroupSequence = group, sequence
		c.call(m)
	}
	post("1", "g", 1)
	post("2", "g", 2)
	post("3", "g", -1)
	list := c.receive("1", "2", "3")
	for i, d := range list {
		if d.ConsumerID != list[0].ConsumerID || d.Message.GroupFirst != (i == 0) {
			t.Errorf("%s: consumer %v, first %v", bodyText(d), d.ConsumerID, d.Message.GroupFirst)
		}
	}
	post("4", "g", 1)
	if d := c.receive("4")[0]; d.ConsumerID == list[0].ConsumerID || !d.Message.GroupFirst {
		t.Errorf("after the group was closed: consumer %v, first %v", d.ConsumerID, d.Message.GroupFirst)
	}
}

// TestScheduledMessages: OW-63. A repetition has an id of its own and tells of
// its job; the schedule outlives the broker.
func TestScheduledMessages(t *testing.T) {
	w := newWorld(t, Options{})
	c := w.open("a", nil)
	q := queueNamed("q")
	m := c.message(q, "tick")
	m.Properties = wire.AppendMap(nil, wire.Map{
		{Name: propDelay, Value: int64(1000)}, {Name: propPeriod, Value: int64(1000)}, {Name: propRepeat, Value: int32(1)},
		{Name: "kept", Value: "yes"},
	})
	c.call(m)
	w.start()
	c = w.open("b", nil)
	c.consume(1, q, nil)
	c.quiet()
	ids := make(map[string]bool)
	for range 2 {
		for range 10 {
			w.tick(100 * time.Millisecond)
			w.store.Commit(w.turn(), -1)
		}
		d := c.receive("tick")[0]
		properties, err := wire.ParseMap(d.Message.Properties)
		if err != nil || len(properties) != 2 {
			t.Errorf("properties %v, %v", properties, err)
		}
		ids[d.Message.MessageID.String()] = true
	}
	if len(ids) != 2 {
		t.Errorf("ids %v", ids)
	}
	w.tick(5 * time.Second)
	c.quiet()
}

// TestDurableSubscriptions: OW-46, OW-47, OW-48.
func TestDurableSubscriptions(t *testing.T) {
	w := newWorld(t, Options{})
	topic := wire.Destination{Kind: wire.TypeTopic, Name: "prices.eu"}
	durable := func(i *wire.ConsumerInfo) { i.SubscriptionName, i.Selector = "s", "n > 1" }
	post := func(c *client, text string, n int32) {
		m := c.message(topic, text)
		m.Properties = wire.AppendMap(nil, wire.Map{{Name: "n", Value: n}})
		c.call(m)
	}
	a, b := w.open("a", nil), w.open("b", nil)
	a.consume(1, topic, durable)
	a.refused(&wire.ConsumerInfo{ConsumerID: a.consumerID(2), Destination: topic, SubscriptionName: "s", Selector: "n > 1"}, classJMS)
	a.refused(&wire.RemoveSubscriptionInfo{ConnectionID: a.id, SubscriptionName: "s", ClientID: "client-a"}, classJMS)
	a.call(&wire.RemoveInfo{ObjectID: a.consumerID(1), LastDeliveredSequenceID: -1})
	post(b, "no", 1)
	post(b, "yes", 2)
	w.start()
	a, b = w.open("a", nil), w.open("b", nil)
	a.consume(1, topic, durable)
	a.call(a.ack(wire.AckStandard, a.receive("yes")...))
	a.call(&wire.RemoveInfo{ObjectID: a.consumerID(1), LastDeliveredSequenceID: -1})
	post(b, "lost", 2)
	a.consume(1, topic, func(i *wire.ConsumerInfo) { i.SubscriptionName, i.Selector = "s", "n > 2" }) // anew
	a.quiet()
	a.call(&wire.RemoveInfo{ObjectID: a.consumerID(1), LastDeliveredSequenceID: -1})
	a.call(&wire.RemoveSubscriptionInfo{ConnectionID: a.id, SubscriptionName: "s", ClientID: "client-a"})
	e := a.refused(&wire.RemoveSubscriptionInfo{ConnectionID: a.id, SubscriptionName: "s", ClientID: "client-a"}, classDestination)
	if !strings.HasPrefix(e.Message, "No durable subscription exists") {
		t.Error(e.Message)
	}
	a.consume(3, topic, func(i *wire.ConsumerInfo) { i.NoLocal = true })
	a.send(topic, "own")
	b.send(topic, "other's")
	a.receive("other's")
}

// TestCompositeAndVirtualDestinations: OW-33, OW-57.
func TestCompositeAndVirtualDestinations(t *testing.T) {
	w := newWorld(t, Options{})
	c := w.open("a", nil)
	list := queueNamed("A,B,topic://C")
	c.consume(1, wire.Destination{Kind: wire.TypeTopic, Name: "C"}, nil)
	c.consume(2, queueNamed("A,B"), nil)
	c.send(list, "all")
	seen := make(map[wire.Destination]bool)
	for _, d := range c.receive("all", "all", "all") {
		seen[d.Message.Destination] = true
		if d.Message.OriginalDestination != list {
			t.Errorf("%v was sent to %v", d.Message.Destination, d.Message.OriginalDestination)
		}
	}
	if len(seen) != 3 || !seen[queueNamed("B")] {
		t.Errorf("seen at %v", seen)
	}
	virtual := wire.Destination{Kind: wire.TypeTopic, Name: "VirtualTopic.t"}
	c.consume(3, queueNamed("Consumer.g.VirtualTopic.t"), nil)
	c.send(virtual, "one")
	if d := c.receive("one")[0]; d.Message.Destination != queueNamed("Consumer.g.VirtualTopic.t") || d.Message.OriginalDestination != virtual {
		t.Errorf("at %v, sent to %v", d.Message.Destination, d.Message.OriginalDestination)
	}
}

// TestWindows: OW-20, OW-66, OW-67.
func TestWindows(t *testing.T) {
	w := newWorld(t, Options{PendingLimits: []PendingLimit{{"t", 2}}}, broker.ImagePolicy{Pattern: "t", Messages: 1})
	c := w.open("a", nil)
	q := queueNamed("q")
	c.send(q, "1", "2", "3", "4")
	c.consume(1, q, func(i *wire.ConsumerInfo) { i.PrefetchSize = 2 })
	list := c.receive("1", "2")
	c.quiet()
	c.call(c.ack(wire.AckDelivered, list...))
	list = append(list, c.receive("3", "4")...)
	c.call(c.ack(wire.AckStandard, list...))
	topic := wire.Destination{Kind: wire.TypeTopic, Name: "t"}
	c.consume(2, topic, func(i *wire.ConsumerInfo) { i.PrefetchSize = 1 })
	c.send(topic, "1", "2", "3", "4", "5")
	for _, text := range []string{"1", "4", "5"} { // 2 and 3 were dropped
		c.call(c.ack(wire.AckStandard, c.receive(text)...))
	}
	c.consume(3, topic, func(i *wire.ConsumerInfo) { i.Retroactive = true })
	c.call(c.ack(wire.AckStandard, c.receive("5")...))
}

// TestNoRoom: OW-65. A full queue holds its producers up, or refuses.
func TestNoRoom(t *testing.T) {
	w := newWorld(t, Options{FailIfNoSpace: []string{"refusing"}})
	c := w.open("a", nil)
	s := w.b.VHost("/").OpenSession(nil, nil)
	for _, name := range []string{"refusing", "waiting"} {
		_, err := s.DeclareQueue(w.turn(), broker.QueueDeclare{Name: name, Durable: true, Args: broker.Table{
			{Name: "x-max-length", Value: int64(1)}, {Name: "x-overflow", Value: "reject-publish"},
		}}, nil)
		if err != nil {
			t.Fatal(err)
		}
		c.send(queueNamed(name), "1")
	}
	c.refused(c.message(queueNamed("refusing"), "2"), classResourceAllocation)
	first := c.ask(c.message(queueNamed("waiting"), "2"))
	c.ask(c.message(queueNamed("waiting"), "3"))
	c.quiet()
	c.consume(1, queueNamed("waiting"), nil)
	c.receive("1", "2", "3")
	if r := expect[*wire.Response](c); r.CorrelationID != first {
		t.Errorf("answer to %d, want %d", r.CorrelationID, first)
	}
}

// TestTemporaryQueuesLeaveNothing: OW-52.
func TestTemporaryQueuesLeaveNothing(t *testing.T) {
	w := newWorld(t, Options{})
	c := w.open("a", nil)
	for i := range 500 {
		d := wire.Destination{Kind: wire.TypeTempQueue, Name: "ID:a:" + string(rune('a'+i%26)) + strings.Repeat("x", i/26)}
		c.call(&wire.DestinationInfo{ConnectionID: c.id, Destination: d})
		c.consume(1, d, nil)
		c.call(&wire.RemoveInfo{ObjectID: c.consumerID(1), LastDeliveredSequenceID: -1})
		c.call(&wire.DestinationInfo{ConnectionID: c.id, Destination: d, Operation: wire.DestinationRemove})
	}
	c.call(&wire.RemoveInfo{ObjectID: c.id, LastDeliveredSequenceID: -1})
	r := w.server.hub.rooms["/"]
	left := len(r.members) + len(r.clients) + len(r.arrivals) + len(r.temps) + len(r.consumers) + len(r.producers) + len(r.counts) + len(r.listeners)
	if left != 0 || len(w.b.VHost("/").QueuesMatching("#")) != 0 {
		t.Errorf("%+v", r)
	}
}

// TestPriorities: OW-62.
func TestPriorities(t *testing.T) {
	w := newWorld(t, Options{Prioritized: []string{"prio.>"}})
	c := w.open("a", nil)
	for i, name := range []string{"prio.q", "q"} {
		for _, p := range []int8{0, 9, 4} {
			m := c.message(queueNamed(name), string(rune('0'+p)))
			m.Priority = p
			c.call(m)
		}
		c.consume(int64(i), queueNamed(name), nil)
		if name == "q" {
			c.receive("0", "9", "4")
		} else {
			c.receive("9", "4", "0")
		}
	}
}

// TestRecoveryPolicies: OW-67 by number and by age.
func TestRecoveryPolicies(t *testing.T) {
	w := newWorld(t, Options{}, broker.ImagePolicy{Pattern: "number.#", Messages: 3}, broker.ImagePolicy{Pattern: "age.#", Age: 60_000})
	c := w.open("a", nil)
	for _, name := range []string{"number.x", "age.x", "none.x"} {
		for i := range 5 {
			c.send(wire.Destination{Kind: wire.TypeTopic, Name: name}, string(rune('0'+i)))
			w.tick(25 * time.Second)
			c.post(&wire.KeepAliveInfo{})
		}
	}
	retro := func(i *wire.ConsumerInfo) { i.Retroactive = true }
	c.consume(1, wire.Destination{Kind: wire.TypeTopic, Name: "none.x"}, retro)
	c.quiet()
	c.consume(2, wire.Destination{Kind: wire.TypeTopic, Name: "number.*"}, retro)
	list := c.receive("2", "3", "4")
	c.call(c.ack(wire.AckStandard, list...))
	c.send(wire.Destination{Kind: wire.TypeTopic, Name: "number.x"}, "live")
	c.receive("live")
	for range 4 { // nothing was sent for a while: what is too old is not shown
		c.send(wire.Destination{Kind: wire.TypeTopic, Name: "age.y"}, "y")
		w.tick(25 * time.Second)
		c.post(&wire.KeepAliveInfo{})
	}
	c.consume(3, wire.Destination{Kind: wire.TypeTopic, Name: "age.*"}, retro)
	c.receive("y", "y")
	c.quiet()
}
