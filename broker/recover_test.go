package broker

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
)

// restart waits for everything that was stored and starts another broker on
// the same store.
func (w *topo) restart() *topo {
	w.Helper()
	w.durable(func(done func(*Turn)) error { w.b.afterCommits(w.turn, done); return nil })
	return newTopoOn(w.T, w.store, nil)
}

func TestSeed(t *testing.T) {
	w := newTopo(t)
	if _, err := w.b.Login(Credentials{Mechanism: "PLAIN", User: "guest", Password: "guest", Loopback: true}); err != nil {
		t.Error(err)
	}
	w.must(w.b.DeleteUser(w.turn, "guest", nil))
	again := w.restart()
	if n := len(again.b.ListUsers()); n != 0 {
		t.Error("a deleted default user comes back")
	}
}

// Covers AMQP-57 for definitions: what is durable survives, nothing else.
func TestRecovery(t *testing.T) {
	w := newTopo(t)
	s := w.session()
	args := Table{
		{"void", nil}, {"b", true}, {"i8", int8(-1)}, {"u8", uint8(1)}, {"i16", int16(-2)}, {"u16", uint16(2)},
		{"i32", int32(-3)}, {"u32", uint32(3)}, {"i64", int64(-4)}, {"f", float32(0.5)}, {"d", 0.25},
		{"dec", Decimal{2, -314}}, {"s", "text"}, {"raw", "\xff\xfe"}, {"x", []byte{0, 255}}, {"t", Timestamp(1 << 40)},
		{"a", Array{int32(1), "two", Table{{"three", int64(3)}}}}, {"tab", Table{{"k", Array{nil}}}}, {"dup", "1"}, {"dup", "2"},
	}
	w.queue(s, "q\x00\xc3\xbc", args...)
	w.queue(s, "r", Field{"x-max-priority", int32(4)})
	w.exchange(s, "x", TypeTopic, args...)
	w.exchange(s, "y", TypeConsistentHash, Field{"hash-header", "h"})
	w.bind(s, "x", "q\x00\xc3\xbc", "a.#", args...)
	w.bind(s, "x", "r", "a.*")
	w.bind(s, "amq.fanout", "r", "")
	w.link(s, "x", "y", "y")
	_, err := s.DeclareQueue(w.turn, QueueDeclare{Name: "transient"}, nil)
	w.must(err)
	w.bind(s, "x", "transient", "a.*")
	w.must(s.DeclareExchange(w.turn, ExchangeDeclare{Name: "passing", Type: TypeDirect}, nil))
	w.bind(s, "passing", "r", "")
	w.queue(s, "deleted")
	w.bind(s, "x", "deleted", "a.*")
	_, err = s.DeleteQueue(w.turn, "deleted", false, false, nil)
	w.must(err)
	w.must(s.Unbind(w.turn, Binding{Source: "amq.fanout", Destination: "r"}, nil))
	w.must(w.b.SetTopicPermissions(w.turn, TopicPermissions{User: "guest", VHost: "/", Exchange: "x", Write: "w", Read: "r"}, nil))
	w.must(w.b.SetUserLimit(w.turn, "guest", LimitChannels, 7, nil))
	w.must(w.b.SetVHostLimit(w.turn, "/", LimitQueues, 70, nil))
	w.must(w.b.SetParameter(w.turn, "shovel", "/", "s", []byte(`{"a":1}`), nil))
	lane := w.v.meta[w.v.queue("r")].lane

	again := w.restart()
	q := again.v.queue("q\x00\xc3\xbc")
	if q == nil || again.v.queue("r") == nil {
		t.Fatal("a durable queue is gone")
	}
	if got := again.v.meta[q].args; !reflect.DeepEqual(got, args) {
		t.Errorf("arguments changed:\n%v\n%v", got, args)
	}
	if got := again.v.exchange("x").args; !reflect.DeepEqual(got, args) {
		t.Errorf("arguments changed: %v", got)
	}
	for _, name := range []string{"transient", "deleted"} {
		if again.v.queue(name) != nil {
			t.Errorf("queue %q is back", name)
		}
	}
	if again.v.exchange("passing") != nil {
		t.Error("a transient exchange is back")
	}
	if got := again.v.meta[again.v.queue("r")].lane; got != lane {
		t.Errorf("the lane changed from %d to %d", lane, got)
	}
	again.expect("x", "a.b", "q\x00\xc3\xbc", "r")
	again.expect("amq.fanout", "")
	if n := len(again.v.exchange("x").bindings); n != 3 {
		t.Errorf("%d bindings, want 3", n)
	}
	if limit, ok := again.b.auth.limit("guest", LimitChannels); !ok || limit != 7 {
		t.Error("the user's limit is gone")
	}
	if len(again.b.ListTopicPermissions()) != 1 || again.v.limits.values[LimitQueues] != 70 {
		t.Error("topic permissions or limits are gone")
	}
	// A new queue gets lanes nobody had.
	s2 := again.session()
	again.queue(s2, "new")
	if got := again.v.meta[again.v.queue("new")].lane; got <= lane+5 {
		t.Errorf("lane %d was given away twice (r has %d to %d)", got, lane, lane+5)
	}
	// An equivalent declaration still is one.
	again.queue(s2, "q\x00\xc3\xbc", args...)
}

// A vhost's deletion takes everything with it.
func TestRecoveryAfterVHostDeletion(t *testing.T) {
	w := newTopo(t)
	w.must(w.b.AddVHost(w.turn, VHostOptions{Name: "v"}, nil))
	w.must(w.b.SetPermissions(w.turn, Permissions{User: "guest", VHost: "v", Configure: ".*", Write: ".*", Read: ".*"}, nil))
	c, err := w.connectAs("guest", "v", nil)
	w.must(err)
	s := c.VHost().OpenSession(c, &deafSink{})
	w.queue(s, "q")
	w.exchange(s, "x", TypeDirect)
	w.bind(s, "x", "q", "k")
	p := policyOf("p", "q", "all", `{"max-length":1}`)
	p.VHost = "v"
	w.must(w.b.SetPolicy(w.turn, p, nil))
	w.must(w.b.SetVHostLimit(w.turn, "v", LimitQueues, 3, nil))
	w.must(w.b.SetParameter(w.turn, "c", "v", "n", []byte("1"), nil))
	w.must(w.b.DeleteVHost(w.turn, "v", nil))
	w.restart()
	w.store.mustNotMention(t, "v")
}

// mustNotMention fails if a definition belongs to a virtual host.
func (s *MemoryStore) mustNotMention(t *testing.T, vhost string) {
	t.Helper()
	rec, err := s.Recover()
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range rec.Definitions {
		if strings.HasPrefix(d.Key, vhostKey(vhost)) || strings.HasSuffix(d.Key, vhostKey(vhost)) {
			t.Errorf("%s %q is left", d.Kind, d.Key)
		}
	}
}

// Definitions that refer to nothing are dropped: a crash came in the middle of
// a large deletion. Lanes of nobody are freed.
func TestRecoveryDropsOrphans(t *testing.T) {
	w := newTopo(t)
	s := w.session()
	w.queue(s, "q")
	w.bind(s, "amq.direct", "q", "k")
	_, err := s.Publish(w.turn, Publish{Msg: &Message{RoutingKey: "q", Persistent: true, TTL: NoTTL}})
	w.must(err)
	w.durable(func(done func(*Turn)) error { w.b.afterCommits(w.turn, done); return nil })
	w.store.Append(&Batch{Definitions: []Definition{{Kind: kindQueue, Key: vhostKey("/", "q"), Delete: true}}})
	again := w.restart().restart()
	rec, err := again.store.Recover()
	w.must(err)
	for _, d := range rec.Definitions {
		if d.Kind == kindBinding {
			t.Error("the binding is left")
		}
	}
	for _, l := range rec.Lanes {
		if l.Count > 0 {
			t.Errorf("lane %d still has %d messages", l.Lane, l.Count)
		}
	}
}

func TestRecoveryRefusesNonsense(t *testing.T) {
	for _, d := range []Definition{
		{Kind: kindVHost, Key: "\xff", Value: []byte("{}")},
		{Kind: kindVHost, Key: vhostKey("v"), Value: []byte("{")},
		{Kind: kindUser, Key: vhostKey("u"), Value: []byte(`{"hashing_algorithm":"?","password_hash":"x"}`)},
		{Kind: kindVHost, Key: vhostKey("a", "b"), Value: []byte("{}")},
	} {
		store := NewMemoryStore().Manual()
		store.Append(&Batch{Definitions: []Definition{d}})
		store.Commit(&Turn{}, -1)
		b, err := New(topoOptions(store))
		if err != nil {
			t.Fatal(err)
		}
		if err := b.Recover(&Turn{}); err == nil {
			t.Errorf("%s %q is accepted", d.Kind, d.Value)
		}
	}
}

// done runs at commit and not before, for those too who found what another
// made but is not durable yet.
func TestDoneWaitsForCommit(t *testing.T) {
	store := NewMemoryStore().Manual()
	w := newTopoOn(t, store, nil)
	a, b := w.session(), w.session()
	w.must(w.b.SetPermissions(w.turn, Permissions{User: "guest", VHost: "/", Configure: ".*", Write: ".*", Read: ".*"}, nil))
	var order []string
	note := func(s string) func(*Turn) { return func(*Turn) { order = append(order, s) } }
	d := QueueDeclare{Name: "q", Durable: true}
	_, err := a.DeclareQueue(w.turn, d, note("declare"))
	w.must(err)
	_, err = b.DeclareQueue(w.turn, d, note("again"))
	w.must(err)
	w.must(b.Bind(w.turn, Binding{Source: "amq.direct", Destination: "q"}, note("bind")))
	if len(order) != 0 || w.v.queue("q") == nil {
		t.Errorf("before the commit: %v", order)
	}
	store.Commit(w.turn, -1)
	if got := fmt.Sprint(order); got != "[declare again bind]" {
		t.Errorf("order %s", got)
	}
	_, err = b.DeclareQueue(w.turn, d, note("at once"))
	w.must(err)
	_, err = b.DeclareQueue(w.turn, QueueDeclare{Name: "t"}, note("transient"))
	w.must(err)
	if got := fmt.Sprint(order); got != "[declare again bind at once transient]" {
		t.Errorf("order %s", got)
	}
}
