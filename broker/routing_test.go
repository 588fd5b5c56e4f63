package broker

import (
	"fmt"
	"slices"
	"strconv"
	"testing"
)

// Covers AMQP-29: direct, fanout and topic exchanges. Patterns have a matrix
// of their own in package topic.
func TestRoutingByKey(t *testing.T) {
	w := newTopo(t)
	s := w.session()
	for _, q := range []string{"a", "b", "c"} {
		w.queue(s, q)
	}
	w.bind(s, "amq.direct", "a", "x")
	w.bind(s, "amq.direct", "b", "x")
	w.bind(s, "amq.direct", "c", "")
	w.expect("amq.direct", "x", "a", "b")
	w.expect("amq.direct", "", "c")
	w.expect("amq.direct", "X")
	w.expect("amq.direct", "x.y")

	w.bind(s, "amq.fanout", "a", "ignored")
	w.bind(s, "amq.fanout", "b", "")
	w.expect("amq.fanout", "anything", "a", "b")

	w.bind(s, "amq.topic", "a", "*.orders.#")
	w.bind(s, "amq.topic", "b", "eu.#")
	w.bind(s, "amq.topic", "b", "#.new")
	w.bind(s, "amq.topic", "c", "")
	w.expect("amq.topic", "eu.orders.new", "a", "b")
	w.expect("amq.topic", "us.orders", "a")
	w.expect("amq.topic", "", "c")
	w.expect("amq.topic", "us")
}

// Covers AMQP-30: every queue is bound to the default exchange by its name.
func TestDefaultExchange(t *testing.T) {
	w := newTopo(t)
	s := w.session()
	w.queue(s, "q")
	w.expect("", "q", "q")
	w.expect("", "r")
	if got := w.reached("", &Message{RoutingKey: "r"}, "q", "q"); !slices.Equal(got, []string{"q"}) {
		t.Errorf("extra keys reach %v", got)
	}
}

// Covers AMQP-29: headers exchanges.
func TestHeadersMatrix(t *testing.T) {
	f := func(name string, v Value) Field { return Field{name, v} }
	mode := func(m string) Field { return f("x-match", m) }
	sent := Table{f("a", "1"), f("n", int32(7)), f("x-h", "z"), f("b", true), f("d", 1.5), f("bin", []byte{1})}
	tests := []struct {
		name string
		args Table
		want bool
	}{
		{"no arguments", nil, true},
		{"all of none", Table{mode("all")}, true},
		{"any of none", Table{mode("any")}, false},
		{"all is the default", Table{f("a", "1")}, true},
		{"all, one differs", Table{f("a", "1"), f("n", int32(8))}, false},
		{"all, one missing", Table{f("a", "1"), f("q", "1")}, false},
		{"all", Table{mode("all"), f("a", "1"), f("n", int32(7))}, true},
		{"any, one", Table{mode("any"), f("a", "no"), f("n", int32(7))}, true},
		{"any, none", Table{mode("any"), f("a", "no"), f("q", "1")}, false},
		{"void is presence", Table{f("a", nil)}, true},
		{"void, missing", Table{f("q", nil)}, false},
		{"any void", Table{mode("any"), f("a", nil), f("q", nil)}, true},
		{"types are strict", Table{f("a", int32(1))}, false},
		{"text is no number", Table{f("n", "7")}, false},
		{"integer widths are one", Table{f("n", int64(7))}, true},
		{"bool", Table{f("b", true)}, true},
		{"bool differs", Table{f("b", false)}, false},
		{"float widths are one", Table{f("d", float32(1.5))}, true},
		{"bytes", Table{f("bin", []byte{1})}, true},
		{"names are case sensitive", Table{f("A", "1")}, false},
		{"all skips x-", Table{f("a", "1"), f("x-h", "other")}, true},
		{"any skips x-", Table{mode("any"), f("x-h", "z")}, false},
		{"all-with-x", Table{mode("all-with-x"), f("a", "1"), f("x-h", "z")}, true},
		{"all-with-x, differs", Table{mode("all-with-x"), f("a", "1"), f("x-h", "other")}, false},
		{"any-with-x", Table{mode("any-with-x"), f("x-h", "z")}, true},
		{"any-with-x, none", Table{mode("any-with-x"), f("x-h", "other")}, false},
	}
	w := newTopo(t)
	s := w.session()
	m := w.converter().message("m", &Properties{Headers: sent})
	bare := &Message{TTL: NoTTL}
	for i, tt := range tests {
		q := "q" + strconv.Itoa(i)
		w.queue(s, q)
		w.bind(s, "amq.headers", q, "", tt.args...)
	}
	got := w.reached("amq.headers", m)
	for i, tt := range tests {
		if has := slices.Contains(got, "q"+strconv.Itoa(i)); has != tt.want {
			t.Errorf("%s: matches is %v", tt.name, has)
		}
	}
	if got := w.reached("amq.headers", bare); !slices.Equal(got, []string{"q0", "q1"}) {
		t.Errorf("a message without headers reaches %v", got)
	}
}

func TestHeadersBindingRefused(t *testing.T) {
	w := newTopo(t)
	s := w.session()
	w.queue(s, "q")
	try := func(v Value) error {
		return s.Bind(w.turn, Binding{Source: "amq.match", Destination: "q", Args: Table{{"x-match", v}}}, nil)
	}
	w.refused(try("z"), Precondition, `Invalid x-match field value <<"z">>; expected all, any, all-with-x, or any-with-x`)
	w.refused(try(int8(1)), Precondition, `Invalid x-match field type byte (value 1); expected longstr`)
}

func TestTopicBindingRefused(t *testing.T) {
	w := newTopo(t)
	s := w.session()
	w.queue(s, "q")
	w.bind(s, "amq.topic", "q", "#.a.#")
	err := s.Bind(w.turn, Binding{Source: "amq.topic", Destination: "q", Key: "#.a.#.b.#"}, nil)
	w.refused(err, Precondition, "invalid binding key '#.a.#.b.#' for exchange 'amq.topic' in vhost '/': more than 2 '#' wildcards")
}

// Covers AMQP-37: bindings between exchanges, one copy per queue, cycles.
func TestExchangeToExchange(t *testing.T) {
	w := newTopo(t)
	s := w.session()
	for _, x := range []string{"x", "y", "z"} {
		w.exchange(s, x, TypeFanout)
	}
	w.queue(s, "q")
	w.queue(s, "r")
	w.link(s, "x", "y", "")
	w.link(s, "y", "z", "")
	w.link(s, "z", "x", "")
	w.link(s, "x", "z", "")
	w.link(s, "x", "x", "")
	w.bind(s, "x", "q", "")
	w.bind(s, "y", "q", "")
	w.bind(s, "z", "q", "")
	w.bind(s, "z", "r", "")
	w.expect("x", "k", "q", "r")
	w.expect("z", "k", "q", "r")
	w.must(s.Unbind(w.turn, Binding{Source: "x", Destination: "z", ToExchange: true}, nil))
	w.must(s.Unbind(w.turn, Binding{Source: "x", Destination: "y", ToExchange: true}, nil))
	w.expect("x", "k", "q")
	w.must(s.DeleteExchange(w.turn, "z", false, nil))
	w.expect("y", "k", "q")
}

// Covers AMQP-38: alternate exchanges, by argument and by policy.
func TestAlternateExchange(t *testing.T) {
	w := newTopo(t)
	s := w.session()
	w.exchange(s, "x", TypeDirect, Field{"alternate-exchange", "y"})
	w.exchange(s, "y", TypeDirect, Field{"alternate-exchange", "z"})
	w.exchange(s, "z", TypeDirect, Field{"alternate-exchange", "x"}) // a cycle
	for _, q := range []string{"q", "r", "last"} {
		w.queue(s, q)
	}
	w.bind(s, "x", "q", "k")
	w.bind(s, "y", "r", "other")
	w.expect("x", "k", "q")
	w.expect("x", "other", "r")
	w.expect("x", "none")
	w.bind(s, "z", "last", "none")
	w.expect("x", "none", "last")

	w.exchange(s, "p", TypeFanout)
	w.expect("p", "k")
	w.must(w.b.SetPolicy(w.turn, policyOf("ae", "^p$", "exchanges", `{"alternate-exchange":"amq.fanout"}`), nil))
	w.bind(s, "amq.fanout", "last", "")
	w.expect("p", "k", "last")
	w.must(w.b.SetPolicy(w.turn, policyOf("all", ".*", "exchanges", `{"alternate-exchange":"amq.fanout"}`), nil))
	w.expect("x", "other", "r") // the argument wins
	w.must(w.b.ClearPolicy(w.turn, "/", "ae", nil))
	w.must(w.b.ClearPolicy(w.turn, "/", "all", nil))
	w.expect("p", "k")
	w.exchange(s, "d", TypeFanout, Field{"alternate-exchange", ""})
	w.expect("d", "q", "q") // the default exchange can be an alternate
}

func TestKeyOnly(t *testing.T) {
	w := newTopo(t)
	s := w.session()
	w.exchange(s, "x", TypeDirect)
	w.queue(s, "q")
	w.bind(s, "x", "q", "k")
	only := func(name string) bool {
		var rt routing
		w.v.route(&rt, w.v.exchange(name), &Message{RoutingKey: "k"}, nil)
		return rt.keyOnly
	}
	x := w.v.exchange("x")
	if !x.keyOnly() || !only("x") || !only("") {
		t.Error("direct exchanges route by key only")
	}
	w.link(s, "x", "amq.headers", "k")
	if x.keyOnly() || only("x") {
		t.Error("a headers exchange behind it needs the message")
	}
	before := w.v.topology.Load()
	w.must(s.Unbind(w.turn, Binding{Source: "x", Destination: "amq.headers", ToExchange: true, Key: "k"}, nil))
	if !x.keyOnly() || !only("x") {
		t.Error("without it the key is enough again")
	}
	if w.v.topology.Load() == before {
		t.Error("unbinding does not invalidate cached routes")
	}
}

func TestManyQueues(t *testing.T) {
	w := newTopo(t)
	s := w.session()
	const n = 3 * manyQueues
	for i := range n {
		q := fmt.Sprint("q", i)
		w.queue(s, q)
		w.bind(s, "amq.fanout", q, "1")
		w.bind(s, "amq.fanout", q, "2")
	}
	var rt routing
	for range 3 { // the scratch is reused
		w.v.route(&rt, w.v.exchange("amq.fanout"), &Message{}, nil)
		if len(rt.queues) != n {
			t.Fatalf("%d queues, want %d", len(rt.queues), n)
		}
	}
}

func TestRouteAllocatesNothing(t *testing.T) {
	w := newTopo(t)
	s := w.session()
	for i := range 10 {
		q := fmt.Sprint("q", i)
		w.queue(s, q)
		w.bind(s, "amq.topic", q, "a.#")
		w.bind(s, "amq.topic", q, "*.b")
		w.bind(s, "amq.direct", q, "a.b")
	}
	m := &Message{RoutingKey: "a.b"}
	for _, name := range []string{"amq.topic", "amq.direct", ""} {
		var rt routing
		ex := w.v.exchange(name)
		if n := testing.AllocsPerRun(100, func() { w.v.route(&rt, ex, m, nil) }); n != 0 {
			t.Errorf("%q: %v allocations per route", name, n)
		}
	}
}

// Covers AMQP-41: x-consistent-hash.
func TestConsistentHash(t *testing.T) {
	w := newTopo(t)
	s := w.session()
	w.exchange(s, "h", TypeConsistentHash)
	for q, weight := range map[string]string{"a": "1", "b": "1", "c": "2"} {
		w.queue(s, q)
		w.bind(s, "h", q, weight)
	}
	const n = 8000
	place := make(map[string]string)
	count := make(map[string]int)
	for i := range n {
		key := strconv.Itoa(i)
		got := w.reached("h", &Message{RoutingKey: key})
		if len(got) != 1 {
			t.Fatalf("key %s reaches %v", key, got)
		}
		place[key] = got[0]
		count[got[0]]++
	}
	for q, want := range map[string]int{"a": n / 4, "b": n / 4, "c": n / 2} {
		if got := count[q]; got < want*9/10 || got > want*11/10 {
			t.Errorf("queue %s gets %d of %d, want about %d", q, got, n, want)
		}
	}
	w.must(s.Unbind(w.turn, Binding{Source: "h", Destination: "b", Key: "1"}, nil))
	for key, before := range place {
		if now := w.reached("h", &Message{RoutingKey: key})[0]; before != "b" && now != before {
			t.Fatalf("key %s moved from %s to %s", key, before, now)
		}
	}
	bind := func(key string) error { return s.Bind(w.turn, Binding{Source: "h", Destination: "a", Key: key}, nil) }
	w.refused(bind("x"), Precondition, `The binding key must be an integer: <<"x">>`)
	w.refused(bind(""), Precondition, "The binding key must be an integer: <<>>")
	w.refused(bind("0"), Precondition, "The binding key must be greater than 0")
}

func TestConsistentHashOfHeaderAndProperty(t *testing.T) {
	w := newTopo(t)
	s := w.session()
	w.exchange(s, "h", TypeConsistentHash, Field{"hash-header", "customer"})
	w.exchange(s, "p", TypeConsistentHash, Field{"hash-property", "message_id"})
	for i := range 8 {
		q := fmt.Sprint("q", i)
		w.queue(s, q)
		w.bind(s, "h", q, "1")
		w.bind(s, "p", q, "1")
	}
	spread := func(x string, props func(i int) *Properties) int {
		seen := make(map[string]bool)
		for i := range 64 {
			m := w.converter().message(fmt.Sprint(x, i), props(i))
			m.RoutingKey = fmt.Sprint("key", i)
			seen[w.reached(x, m)[0]] = true
		}
		return len(seen)
	}
	one := func(int) *Properties { return &Properties{Headers: Table{{"customer", "c"}}, MessageID: "m"} }
	many := func(i int) *Properties {
		return &Properties{Headers: Table{{"customer", int64(i)}}, MessageID: fmt.Sprint(i)}
	}
	for _, x := range []string{"h", "p"} {
		if n := spread(x, one); n != 1 {
			t.Errorf("%s: equal values reach %d queues", x, n)
		}
		if n := spread(x, many); n < 6 {
			t.Errorf("%s: different values reach %d queues only", x, n)
		}
	}
	err := s.DeclareExchange(w.turn, ExchangeDeclare{Name: "e", Type: TypeConsistentHash,
		Args: Table{{"hash-header", "a"}, {"hash-property", "message_id"}}}, nil)
	w.refused(err, Precondition, "hash-header and hash-property are mutually exclusive")
}

// Covers AMQP-41: x-random, x-modulus-hash.
func TestRandomAndModulus(t *testing.T) {
	w := newTopo(t)
	s := w.session()
	for _, kind := range []string{TypeRandom, TypeLocalRandom, TypeModulusHash} {
		w.exchange(s, kind, kind)
		seen := make(map[string]bool)
		for i := range 4 {
			w.queue(s, fmt.Sprint("q", i))
			w.bind(s, kind, fmt.Sprint("q", i), "")
		}
		for i := range 200 {
			got := w.reached(kind, &Message{RoutingKey: fmt.Sprint(i)})
			if len(got) != 1 {
				t.Fatalf("%s reaches %v", kind, got)
			}
			seen[got[0]] = true
		}
		if len(seen) != 4 {
			t.Errorf("%s reaches %v only", kind, seen)
		}
		for i := range 4 {
			w.must(s.Unbind(w.turn, Binding{Source: kind, Destination: fmt.Sprint("q", i)}, nil))
		}
		w.expect(kind, "k")
	}
}

// Covers AMQP-41: an x-delayed-message exchange that a message reaches over a
// binding routes at once and says until when queues must hold it.
func TestDelayedExchange(t *testing.T) {
	w := newTopo(t)
	s := w.session()
	w.exchange(s, "d", TypeDelayed, Field{"x-delayed-type", "topic"})
	w.queue(s, "q")
	w.bind(s, "d", "q", "a.*")
	delay := func(v Value) int64 {
		m := w.converter().message("m", &Properties{Headers: Table{{"x-delay", v}}})
		m.RoutingKey = "a.b"
		var rt routing
		w.v.route(&rt, w.v.exchange("d"), m, nil)
		if len(rt.queues) != 1 || rt.keyOnly {
			t.Errorf("%v: %d queues, keyOnly %v", v, len(rt.queues), rt.keyOnly)
		}
		return rt.deliverAt
	}
	for _, tt := range []struct {
		v    Value
		want int64
	}{
		{int32(5000), 6000}, {int64(1), 1001}, {"250", 1250}, {1.5e3, 2500},
		{int32(0), 0}, {int32(-5), 0}, {"soon", 0}, {nil, 0}, {int64(1) << 62, 1000 + maxDelay},
	} {
		if got := delay(tt.v); got != tt.want {
			t.Errorf("x-delay %v: held until %d, want %d", tt.v, got, tt.want)
		}
	}
	for _, args := range []Table{nil, {{"x-delayed-type", "nonsense"}}, {{"x-delayed-type", TypeDelayed}}, {{"x-delayed-type", int8(1)}}} {
		err := s.DeclareExchange(w.turn, ExchangeDeclare{Name: "e", Type: TypeDelayed, Args: args}, nil)
		w.refused(err, Precondition, "Invalid argument, 'x-delayed-type' must be an existing exchange type")
	}
}

// Covers AMQP-41: what is published to an x-delayed-message exchange is routed
// when it is due, under all its keys; a message whose keys are not kept waits in
// the queues that it reaches at once.
func TestDelayedExchangeRoutesWhenDue(t *testing.T) {
	w := newTopo(t)
	s := w.session()
	w.exchange(s, "d", TypeDelayed, Field{"x-delayed-type", "direct"})
	w.exchange(s, "front", TypeFanout)
	w.queue(s, "early")
	w.bind(s, "d", "early", "k")
	publish := func(exchange string, keep, extra []string) {
		t.Helper()
		m := w.converter().message("m", &Properties{Headers: Table{{"x-delay", int32(500)}}})
		m.RoutingKey, m.Exchange, m.Received, m.Persistent = "k", exchange, w.turn.Now, true
		if keep != nil {
			m.Notes = &Notes{KeepKeys: keep}
		}
		r, err := s.Publish(w.turn, Publish{Exchange: exchange, Msg: m, ExtraKeys: extra})
		w.must(err)
		if !r.Routed {
			t.Error("unroutable")
		}
	}
	holds := func(want string) {
		t.Helper()
		w.durable(func(done func(*Turn)) error { w.b.afterCommits(w.turn, done); return nil })
		got := ""
		for _, name := range []string{"early", "late", "second", ScheduleQueue} {
			if q := w.v.queue(name); q != nil {
				q.mu.Lock()
				got += fmt.Sprintf("%s %d+%d ", name, q.ready, q.delay.len())
				q.mu.Unlock()
			}
		}
		if got != want {
			t.Errorf("queues: %s, want %s", got, want)
		}
	}
	publish("d", []string{"2"}, []string{"2"}) // CC
	publish("d", nil, []string{"2"})           // BCC
	holds("early 0+1 amq.schedule 0+1 ")
	for _, name := range []string{"late", "second"} {
		w.queue(s, name)
	}
	w.bind(s, "d", "late", "k")
	w.bind(s, "d", "second", "2")
	w.must(s.Unbind(w.turn, Binding{Source: "d", Destination: "early", Key: "k"}, nil))
	w.turn.Now += 500
	w.b.Tick(w.turn)
	holds("early 1+0 late 1+0 second 1+0 amq.schedule 0+0 ")

	w.link(s, "front", "d", "")
	publish("front", nil, nil)
	holds("early 1+0 late 1+1 second 1+0 amq.schedule 0+0 ")

	publish("d", nil, nil)
	holds("early 1+0 late 1+1 second 1+0 amq.schedule 0+1 ")
	w.must(s.DeleteExchange(w.turn, "d", false, nil))
	w.turn.Now += 500
	w.b.Tick(w.turn)
	holds("early 1+0 late 2+0 second 1+0 amq.schedule 0+0 ")
}

// A schedule takes no policy: one for all queues would have it drop what it
// holds.
func TestNoPolicyForTheSchedule(t *testing.T) {
	w := newTopo(t)
	s := w.session()
	w.exchange(s, "x", TypeFanout)
	w.durable(func(done func(*Turn)) error {
		return w.b.SetPolicy(w.turn, policyOf("all", ".*", "queues", `{"expires": 1, "max-length": 0}`), done)
	})
	_, err := s.Publish(w.turn, Publish{Exchange: "x", Msg: &Message{Exchange: "x", TTL: NoTTL, Notes: &Notes{DeliverAt: w.turn.Now + 500}}})
	w.must(err)
	w.durable(func(done func(*Turn)) error {
		return w.b.SetPolicy(w.turn, policyOf("more", ".*", "all", `{"expires": 2}`), done)
	})
	w.turn.Now += 400
	w.b.Tick(w.turn)
	if q := w.v.queue(ScheduleQueue); q == nil || q.delay.len() != 1 {
		t.Errorf("the schedule is %v", q)
	}
}

func TestRecentHistory(t *testing.T) {
	w := newTopo(t)
	s := w.session()
	w.exchange(s, "rh", TypeRecentHistory, Field{"x-recent-history-length", int32(2)})
	for i := range 5 {
		if _, err := s.Publish(w.turn, Publish{Exchange: "rh", Msg: &Message{RoutingKey: fmt.Sprint(i), TTL: NoTTL}}); err != nil {
			t.Fatal(err)
		}
	}
	w.queue(s, "q")
	w.bind(s, "rh", "q", "")
	if ready, _ := w.v.queue("q").counts(); ready != 2 {
		t.Errorf("a queue bound late gets %d messages, want 2", ready)
	}
	w.expect("rh", "x", "q")
}

func TestLongChainOfExchanges(t *testing.T) {
	w := newTopo(t)
	s := w.session()
	const n = 3 * manyQueues
	name := func(i int) string { return fmt.Sprint("x", i%n) }
	for i := range n {
		w.exchange(s, name(i), TypeFanout)
	}
	for i := range n {
		w.link(s, name(i), name(i+1), "")
		w.link(s, name(i), name(i+2), "")
	}
	w.queue(s, "q")
	w.bind(s, name(n/2), "q", "")
	for i := range n {
		w.expect(name(i), "k", "q")
	}
}

func BenchmarkBind(b *testing.B) {
	t := &testing.T{}
	w := newTopo(t)
	s := w.session()
	w.queue(s, "q")
	for i := 0; b.Loop(); i++ {
		d := Binding{Source: "amq.topic", Destination: "q", Key: "device." + strconv.Itoa(i) + ".#"}
		if err := s.Bind(w.turn, d, nil); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkRoute(b *testing.B) {
	t := &testing.T{}
	w := newTopo(t)
	s := w.session()
	for i := range 10_000 {
		q := fmt.Sprint("q", i%100)
		if i < 100 {
			w.queue(s, q)
		}
		w.bind(s, "amq.topic", q, fmt.Sprint("device.", i, ".*"))
		w.bind(s, "amq.direct", q, strconv.Itoa(i))
	}
	for name, m := range map[string]*Message{
		"amq.topic": {RoutingKey: "device.77.temp"}, "amq.direct": {RoutingKey: "77"}, "": {RoutingKey: "q7"},
	} {
		b.Run("x="+name, func(b *testing.B) {
			var rt routing
			ex := w.v.exchange(name)
			for b.Loop() {
				w.v.route(&rt, ex, m, nil)
			}
			if len(rt.queues) != 1 {
				b.Fatal("not routed")
			}
		})
	}
}
