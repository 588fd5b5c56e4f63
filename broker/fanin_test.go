package broker_test

import (
	"errors"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/hermodmq/hermod/broker"
	"github.com/hermodmq/hermod/broker/brokertest"
)

// held is what a client holds unsettled.
func held(c *brokertest.Client) string {
	list := make([]string, len(c.Open))
	for i := range c.Open {
		list[i] = string(c.Open[i].Msg.Body)
	}
	slices.Sort(list)
	return strings.Join(list, " ")
}

// accept settles the first thing a client holds.
func accept(w *brokertest.World, c *brokertest.Client) {
	d := c.Open[0]
	c.Open = c.Open[1:]
	c.Session.Settle(w.Turn, d.Queue, []broker.Lease{d.Lease}, broker.Accepted)
	w.Commit()
}

func openFanIn(t *testing.T, w *brokertest.World, c *brokertest.Client, o broker.FanInOptions) (*broker.FanIn, *[]string) {
	t.Helper()
	appeared := new([]string)
	o.Appeared = func(queue string) { *appeared = append(*appeared, queue) }
	f, err := c.Session.OpenFanIn(o)
	if err != nil {
		t.Fatal(err)
	}
	return f, appeared
}

func TestFanInReadsQueuesMadeLater(t *testing.T) {
	w := newWorld(t)
	declare(t, w, "A.one", false)
	declare(t, w, "B.one", false)
	declare(t, w, "A.stream", true, broker.Field{Name: "x-queue-type", Value: "stream"})
	declare(t, w, "A.sub", true, broker.DurableSubscription("A", "sub").Args[0])
	c, p := w.Client("c", nil), w.Client("p", nil)
	var opened []string
	f, appeared := openFanIn(t, w, c, broker.FanInOptions{
		SubscribeOptions: broker.SubscribeOptions{Tag: "t", Data: "data"},
		Opened:           func(sub *broker.Subscription) { opened = append(opened, sub.Queue.Name()) },
	})
	f.AddMatching(w.Turn, "A.#")
	declare(t, w, "A.two", false)
	declare(t, w, "mqtt-subscription-xqos0", false)
	if !slices.Equal(*appeared, []string{"A.two"}) {
		t.Fatalf("appeared: %v", *appeared)
	}
	f.Join(w.Turn, "A.two")
	f.Join(w.Turn, "A.two")
	f.Join(w.Turn, "A.gone")
	if !slices.Equal(opened, []string{"A.one", "A.two"}) || len(f.Members()) != 2 {
		t.Fatalf("opened: %v", opened)
	}
	for _, name := range []string{"A.one", "A.two", "B.one", "A.sub"} {
		publish(t, w, p.Session, name, name)
	}
	w.Commit()
	if got := held(c); got != "A.one A.two" || c.Open[0].Sub.Data != "data" || c.Open[0].Sub.Tag != "t" {
		t.Fatalf("got %q", got)
	}

	// A queue that goes is left in silence; when it is back, it is read again.
	if _, err := p.Session.DeleteQueue(w.Turn, "A.two", false, false, nil); err != nil {
		t.Fatal(err)
	}
	members := f.Members() // in no order, another one each time
	sub := members[0]
	if sub.Queue.Name() != "A.two" {
		sub = members[1]
	}
	if !f.Left(sub) {
		t.Error("the member of a pattern was no member of a pattern")
	}
	declare(t, w, "A.two", false)
	f.Join(w.Turn, "A.two")
	if !slices.Equal(*appeared, []string{"A.two", "A.two"}) || len(f.Members()) != 2 {
		t.Errorf("appeared %v, %d members", *appeared, len(f.Members()))
	}

	// After Close nothing is told and nothing read.
	f.Close(w.Turn)
	declare(t, w, "A.three", false)
	f.Join(w.Turn, "A.three")
	if len(*appeared) != 2 || len(f.Members()) != 0 || w.VHost().Queue("A.one").Stats().Consumers != 0 {
		t.Errorf("after Close: %v, %v", *appeared, f.Members())
	}
}

func TestFanInSharesItsPrefetch(t *testing.T) {
	w := newWorld(t)
	declare(t, w, "a", false)
	declare(t, w, "b", false)
	c, p := w.Client("c", nil), w.Client("p", nil)
	f, _ := openFanIn(t, w, c, broker.FanInOptions{SubscribeOptions: broker.SubscribeOptions{Tag: "t", Prefetch: 1}})
	for _, q := range []string{"a", "b", "a"} {
		if err := f.Add(w.Turn, q, nil); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Add(w.Turn, "none", nil); err == nil {
		t.Error("a queue that is not there was added")
	}
	// A subscription beside it has its own bound.
	declare(t, w, "c", false)
	if _, err := c.Session.Subscribe(w.Turn, broker.SubscribeOptions{Queue: "c", Tag: "u"}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Session.OpenFanIn(broker.FanInOptions{SubscribeOptions: broker.SubscribeOptions{Tag: "u"}}); err == nil {
		t.Error("a tag was used twice")
	}
	for i := range 4 {
		publish(t, w, p.Session, "a", "a"+strconv.Itoa(i))
		publish(t, w, p.Session, "b", "b"+strconv.Itoa(i))
	}
	publish(t, w, p.Session, "c", "c")
	w.Commit()
	if got := held(c); got != "a0 c" {
		t.Fatalf("got %q", got)
	}
	seen := map[byte]int{}
	for range 8 {
		i := slices.IndexFunc(c.Open, func(d broker.Delivery) bool { return d.Sub.Tag == "t" })
		if i < 0 || len(c.Open) != 2 {
			t.Fatalf("holds %q", held(c))
		}
		c.Open[0], c.Open[i] = c.Open[i], c.Open[0]
		seen[c.Open[0].Msg.Body[0]]++
		accept(w, c)
	}
	if seen['a'] != 4 || seen['b'] != 4 {
		t.Errorf("seen %v", seen)
	}
	for i := range 3 {
		publish(t, w, p.Session, "b", strconv.Itoa(i))
	}
	w.Commit()
	f.SetPrefetch(w.Turn, 3)
	w.Commit()
	if got := held(c); got != "0 1 2 c" {
		t.Errorf("with more prefetch: %q", got)
	}
	if m := f.Members(); len(m) != 2 || !slices.ContainsFunc(m, func(s *broker.Subscription) bool { return s.Queue.Name() == "a" }) {
		t.Errorf("members %v", m)
	}
	if f.Left(f.Members()[0]) {
		t.Error("a queue that was named is left in silence")
	}
	c.Session.Close(w.Turn)
	if w.VHost().Queue("b").Stats().Consumers != 0 {
		t.Error("a member outlived its session")
	}
}

func TestVirtualTopicFeedsItsQueues(t *testing.T) {
	w := newWorld(t)
	declare(t, w, "Consumer.A.VirtualTopic.x", true)
	declare(t, w, "Consumer.B.VirtualTopic.>", true)
	w.Commit()
	if err := w.Crash(0, nil); err != nil {
		t.Fatal(err)
	}
	declare(t, w, "Consumer.A.VirtualTopic.x", true) // again
	declare(t, w, "Consumer.C.VirtualTopic.y", false)
	p := w.Client("p", nil)
	for _, key := range []string{"VirtualTopic.x", "VirtualTopic.x.y", "VirtualTopic.y", "other"} {
		m := w.Message(key, key)
		m.Exchange, m.Persistent = broker.TopicExchange, true
		if _, err := p.Session.Publish(w.Turn, broker.Publish{Exchange: broker.TopicExchange, Msg: m}); err != nil {
			t.Fatal(err)
		}
	}
	w.Commit()
	for name, want := range map[string]int{
		"Consumer.A.VirtualTopic.x": 1, "Consumer.B.VirtualTopic.>": 3, "Consumer.C.VirtualTopic.y": 1,
	} {
		if got := w.VHost().Queue(name).Stats(); got.Ready != want {
			t.Errorf("%s: %d messages, want %d", name, got.Ready, want)
		}
	}
}

func TestPublishAllIsOne(t *testing.T) {
	w := newWorld(t)
	declare(t, w, "a", true)
	declare(t, w, "b", true)
	p := w.Client("p", nil)
	pubs := func(persistent bool) []broker.Publish {
		var list []broker.Publish
		for _, key := range []string{"a", "b", "nowhere"} {
			m := w.Message(key, key)
			m.Persistent = persistent
			list = append(list, broker.Publish{Msg: m})
		}
		return list
	}
	ready := func(name string) int { return w.VHost().Queue(name).Stats().Ready }

	// Transient ones are there at once.
	if r, err := p.Session.PublishAll(w.Turn, pubs(false), 1); err != nil || r.Pending || !r.Routed || ready("a")+ready("b") != 2 {
		t.Fatalf("%+v, %v", r, err)
	}
	// Persistent ones come with one receipt, and in one batch: after a crash all or none.
	for keep := range 2 {
		r, err := p.Session.PublishAll(w.Turn, pubs(true), 7)
		if err != nil || !r.Pending {
			t.Fatalf("%+v, %v", r, err)
		}
		if err := w.Crash(keep, nil); err != nil {
			t.Fatal(err)
		}
		if ready("a") != keep || ready("b") != keep {
			t.Fatalf("with %d batches committed: %d and %d", keep, ready("a"), ready("b"))
		}
		p = w.Client("p", nil)
	}
	if _, err := p.Session.PublishAll(w.Turn, pubs(true), 7); err != nil {
		t.Fatal(err)
	}
	w.Store.Commit(w.Turn, -1)
	if e := p.Sink.Take(); len(e) != 1 || e[0].ID != 7 || !e[0].OK {
		t.Errorf("receipts %v", e)
	}
	// One that is refused keeps the others from being published.
	bad := append(pubs(false), broker.Publish{Exchange: "missing", Msg: w.Message("k", "x")})
	if _, err := p.Session.PublishAll(w.Turn, bad, 0); err == nil || ready("a") != 2 {
		t.Errorf("error %v, %d in a", err, ready("a"))
	}
	// In a transaction they wait for it.
	p.Session.Begin()
	if r, err := p.Session.PublishAll(w.Turn, pubs(true), 0); err != nil || !r.Routed || r.Pending || ready("a") != 2 {
		t.Fatalf("%+v, %v", r, err)
	}
	p.Session.Commit(w.Turn, func(*broker.Turn, error) {})
	w.Commit()
	if ready("a") != 3 || ready("b") != 3 {
		t.Errorf("after the commit %d and %d", ready("a"), ready("b"))
	}
}

func TestDurableIsMadeAnewForAnotherTopic(t *testing.T) {
	w := newWorld(t)
	w.Held = false
	c := w.Client("c", nil)
	open := func(pattern, selector string) (string, error) {
		t.Helper()
		name, err := c.Session.OpenDurable(w.Turn, broker.Durable{ClientID: "c.1", Name: "s", Pattern: pattern, Selector: selector}, nil)
		w.Commit()
		return name, err
	}
	send := func(key string) {
		t.Helper()
		m := w.Message(key, key)
		m.Persistent = true
		if _, err := c.Session.Publish(w.Turn, broker.Publish{Exchange: broker.TopicExchange, Msg: m}); err != nil {
			t.Fatal(err)
		}
		w.Commit()
	}
	ready := func(name string) int { return w.VHost().Queue(name).Stats().Ready }
	name, err := open("a.*", "")
	if err != nil || name != `c\.1.s` {
		t.Fatalf("%q, %v", name, err)
	}
	send("a.1")
	if _, err := open("a.*", ""); err != nil || ready(name) != 1 {
		t.Fatalf("opened again: %v, %d messages", err, ready(name))
	}
	if err := w.Crash(0, nil); err != nil {
		t.Fatal(err)
	}
	c = w.Client("c", nil)
	for _, other := range [][2]string{{"a.*", "x = 1"}, {"b", "x = 1"}} {
		if _, err := open(other[0], other[1]); err != nil || ready(name) != 0 {
			t.Fatalf("%v: %v, %d messages", other, err, ready(name))
		}
		send("b")
	}
	send("a.1")
	if ready(name) != 1 {
		t.Errorf("%d messages, want that of b alone", ready(name))
	}
	if _, err := c.Session.Subscribe(w.Turn, broker.SubscribeOptions{Queue: name, Tag: "t"}); err != nil {
		t.Fatal(err)
	}
	var e *broker.Error
	if _, err := open("c", ""); !errors.As(err, &e) || e.Kind != broker.Precondition {
		t.Errorf("in use: %v", err)
	}
	if _, err := open("b", "x = 1"); err != nil {
		t.Error(err)
	}
}
