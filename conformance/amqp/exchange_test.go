package amqpconf

import (
	"fmt"
	"sort"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

func TestAMQP28_PredeclaredExchanges(t *testing.T) {
	_, ch := open(t)
	for _, x := range []struct {
		name, kind string
		internal   bool
	}{
		{"amq.direct", "direct", false}, {"amq.fanout", "fanout", false}, {"amq.topic", "topic", false},
		{"amq.match", "headers", false}, {"amq.headers", "headers", false}, {"amq.rabbitmq.trace", "topic", true},
	} {
		if err := ch.ExchangeDeclarePassive(x.name, x.kind, true, false, x.internal, false, nil); err != nil {
			t.Fatalf("%s: %v", x.name, err)
		}
		if err := ch.ExchangeDeclare(x.name, x.kind, true, false, x.internal, false, nil); err != nil {
			t.Fatalf("%s declared as it is: %v", x.name, err)
		}
	}
	q := queue(t, ch, nil)
	publish(t, ch, "", q, text("seventh"))
	get(t, ch, q, true)
}

// routes publishes keys (or headers) and returns which of the named queues got
// each message.
type routing struct {
	t  *testing.T
	ch *amqp.Channel
	x  string
	qs map[string]string // label -> queue
}

// newRouting declares the exchange; ch is put in confirm mode, so that counts
// are taken after the message has arrived.
func newRouting(t *testing.T, ch *amqp.Channel, kind string, args amqp.Table) *routing {
	must(t, ch.Confirm(false))
	return &routing{t: t, ch: ch, x: exchange(t, ch, kind, args), qs: map[string]string{}}
}

// to binds a queue labelled by its key.
func (r *routing) to(label, key string, args amqp.Table) {
	r.t.Helper()
	if r.qs[label] == "" {
		r.qs[label] = queue(r.t, r.ch, nil)
	}
	bind(r.t, r.ch, r.qs[label], key, r.x, args)
}

// want publishes and compares the labels reached with a sorted list.
func (r *routing) want(key string, headers amqp.Table, labels ...string) {
	r.t.Helper()
	ch := r.ch
	confirm(r.t, ch, r.x, key, amqp.Publishing{Headers: headers, Body: []byte(key)})
	var got []string
	for label, q := range r.qs {
		for range ready(r.t, ch, q) {
			got = append(got, label)
		}
		_, err := ch.QueuePurge(q, false)
		must(r.t, err)
	}
	sort.Strings(got)
	sort.Strings(labels)
	if strings.Join(got, " ") != strings.Join(labels, " ") {
		r.t.Errorf("key %q headers %v reached [%s], want [%s]", key, headers, strings.Join(got, " "), strings.Join(labels, " "))
	}
}

func TestAMQP29_Matching(t *testing.T) {
	t.Run("AMQP-29 direct", func(t *testing.T) {
		_, ch := open(t)
		r := newRouting(t, ch, "direct", nil)
		r.to("a", "a", nil)
		r.to("ab", "a", nil)
		r.to("ab", "b", nil)
		r.to("star", "*", nil)
		r.to("none", "", nil)
		r.want("a", nil, "a", "ab")
		r.want("b", nil, "ab")
		r.want("*", nil, "star")
		r.want("", nil, "none")
		r.want("A", nil)
	})
	t.Run("AMQP-29 fanout", func(t *testing.T) {
		_, ch := open(t)
		r := newRouting(t, ch, "fanout", nil)
		r.to("1", "a", nil)
		r.to("1", "b", nil)
		r.to("2", "", nil)
		r.want("x", nil, "1", "2")
	})
	t.Run("AMQP-29 topic", testTopicMatrix)
	t.Run("AMQP-29 headers", testHeadersMatrix)
}

func testTopicMatrix(t *testing.T) {
	_, ch := open(t)
	r := newRouting(t, ch, "topic", nil)
	for _, p := range []string{"a.b.c", "a.*.c", "a.#", "#", "*", "*.*", "#.c", "a.#.c", "", "a..c", "*.", "a.*.#"} {
		r.to("<"+p+">", p, nil)
	}
	for key, want := range map[string]string{
		"a.b.c":   "<a.b.c> <a.*.c> <a.#> <#> <#.c> <a.#.c> <a.*.#>",
		"a":       "<a.#> <#> <*>",
		"":        "<> <#>",
		"a.c":     "<a.#> <#> <*.*> <#.c> <a.#.c> <a.*.#>",
		"a..c":    "<a..c> <a.*.c> <a.#> <#> <#.c> <a.#.c> <a.*.#>",
		"c":       "<#> <*> <#.c>",
		"a.":      "<a.#> <#> <*.*> <*.> <a.*.#>",
		".":       "<#> <*.*> <*.>",
		"b.c.d":   "<#>",
		"a.b.d.c": "<a.#> <#> <#.c> <a.#.c> <a.*.#>",
	} {
		r.want(key, nil, strings.Fields(want)...)
	}
}

func testHeadersMatrix(t *testing.T) {
	_, ch := open(t)
	r := newRouting(t, ch, "headers", nil)
	with := func(mode string, kv ...any) amqp.Table {
		h := amqp.Table{}
		if mode != "" {
			h["x-match"] = mode
		}
		for i := 0; i < len(kv); i += 2 {
			h[kv[i].(string)] = kv[i+1]
		}
		return h
	}
	r.to("default", "1", with("", "a", "1", "b", "2"))
	r.to("all", "2", with("all", "a", "1", "b", "2"))
	r.to("any", "3", with("any", "a", "1", "b", "2"))
	r.to("void", "4", with("all", "a", nil))
	r.to("int", "5", with("all", "n", int32(5)))
	r.to("skipsX", "6", with("all", "x-tenant", "t", "a", "1"))
	r.want("k", with("", "a", "1", "b", "2"), "default", "all", "any", "void", "skipsX")
	r.want("k", with("", "a", "1"), "any", "void", "skipsX")
	r.want("k", with("", "a", "other"), "void")
	r.want("k", with("", "b", "2", "c", "3"), "any")
	r.want("k", with("", "n", int32(5)), "int")
	r.want("k", with("", "n", "5"))
	r.want("k", nil)

	e := newRouting(t, ch, "headers", nil)
	e.to("all", "1", with("all"))
	e.to("any", "2", with("any"))
	e.want("k", with("", "a", "1"), "all")
	e.want("k", nil, "all")

	x := newRouting(t, ch, "headers", nil)
	x.to("all-with-x", "1", with("all-with-x", "x-tenant", "t", "a", "1"))
	x.to("any-with-x", "2", with("any-with-x", "x-tenant", "t", "a", "1"))
	x.want("k", with("", "x-tenant", "t"), "any-with-x")
	x.want("k", with("", "x-tenant", "t", "a", "1"), "all-with-x", "any-with-x")
	x.want("k", with("", "a", "1"), "any-with-x")

	softOrDeviation(t, "AMQP-29 bad x-match", 406, "~Invalid x-match field value", func(ch *amqp.Channel) error {
		return ch.QueueBind(r.qs["all"], "9", r.x, false, with("some"))
	})
}

func TestAMQP30_DefaultExchange(t *testing.T) {
	conn, ch := open(t)
	q := queue(t, ch, nil)
	publish(t, ch, "", q, text("x"))
	get(t, ch, q, true)
	const text = "ACCESS_REFUSED - operation not permitted on the default exchange"
	soft(t, conn, 403, text, func(ch *amqp.Channel) error { return ch.ExchangeDeclare("", "direct", true, false, false, false, nil) })
	soft(t, conn, 403, text, func(ch *amqp.Channel) error { return ch.ExchangeDelete("", false, false) })
	soft(t, conn, 403, text, func(ch *amqp.Channel) error { return ch.QueueBind(q, "k", "", false, nil) })
	soft(t, conn, 403, text, func(ch *amqp.Channel) error { return ch.QueueUnbind(q, q, "", nil) })
	soft(t, conn, 403, text, func(ch *amqp.Channel) error { return ch.ExchangeBind("amq.direct", "k", "", false, nil) })
	soft(t, conn, 403, text, func(ch *amqp.Channel) error { return ch.ExchangeBind("", "k", "amq.direct", false, nil) })
}

func TestAMQP31_ReservedNames(t *testing.T) {
	conn := dial(t)
	soft(t, conn, 403, "ACCESS_REFUSED - exchange name 'amq.mine' contains reserved prefix 'amq.*'", func(ch *amqp.Channel) error {
		return ch.ExchangeDeclare("amq.mine", "direct", true, false, false, false, nil)
	})
	soft(t, conn, 403, "ACCESS_REFUSED - queue name 'amq.mine' contains reserved prefix 'amq.*'", func(ch *amqp.Channel) error {
		_, err := ch.QueueDeclare("amq.mine", false, false, false, false, nil)
		return err
	})
	must(t, channel(t, conn).ExchangeDeclare("amq.direct", "direct", true, false, false, false, nil))
	softOrDeviation(t, "AMQP-31 delete", 403, "ACCESS_REFUSED - deletion of system exchange 'amq.direct' in vhost '/' not allowed",
		func(ch *amqp.Channel) error { return ch.ExchangeDelete("amq.direct", false, false) })
}

func TestAMQP32_UnknownExchangeType(t *testing.T) {
	softOrDeviation(t, "AMQP-32", 406, "PRECONDITION_FAILED - unknown exchange type 'foo'", func(ch *amqp.Channel) error {
		return ch.ExchangeDeclare(unique(t, "x"), "foo", false, false, false, false, nil)
	})
}

func TestAMQP33_InequivalentExchange(t *testing.T) {
	conn, ch := open(t)
	x := exchange(t, ch, "direct", nil)
	inequivalent := func(arg, received, current string) string {
		return fmt.Sprintf("PRECONDITION_FAILED - inequivalent arg '%s' for exchange '%s' in vhost '/': received '%s' but current is '%s'", arg, x, received, current)
	}
	for _, c := range []struct {
		kind                          string
		durable, autoDelete, internal bool
		args                          amqp.Table
		text                          string
	}{
		{"fanout", false, false, false, nil, inequivalent("type", "fanout", "direct")},
		{"direct", true, false, false, nil, inequivalent("durable", "true", "false")},
		{"direct", false, true, false, nil, inequivalent("auto_delete", "true", "false")},
		{"direct", false, false, true, nil, inequivalent("internal", "true", "false")},
		{"direct", false, false, false, amqp.Table{"alternate-exchange": "ae"},
			fmt.Sprintf("PRECONDITION_FAILED - inequivalent arg 'alternate-exchange' for exchange '%s' in vhost '/': received the value 'ae' of type 'longstr' but current is none", x)},
	} {
		soft(t, conn, 406, c.text, func(ch *amqp.Channel) error {
			return ch.ExchangeDeclare(x, c.kind, c.durable, c.autoDelete, c.internal, false, c.args)
		})
	}
	must(t, ch.ExchangeDeclare(x, "direct", false, false, false, false, amqp.Table{"unknown": "ignored"}))
	soft(t, conn, 404, "~NOT_FOUND - no exchange 'conf.nope' in vhost '/'", func(ch *amqp.Channel) error {
		return ch.ExchangeDeclarePassive("conf.nope", "direct", false, false, false, false, nil)
	})
}

func TestAMQP34_AutoDeleteExchange(t *testing.T) {
	conn, ch := open(t)
	q, x := queue(t, ch, nil), unique(t, "x")
	must(t, ch.ExchangeDeclare(x, "direct", false, true, false, false, nil))
	bind(t, ch, q, "a", x, nil)
	bind(t, ch, q, "b", x, nil)
	must(t, ch.QueueUnbind(q, "a", x, nil))
	must(t, ch.ExchangeDeclarePassive(x, "direct", false, true, false, false, nil))
	must(t, ch.QueueUnbind(q, "b", x, nil))
	soft(t, conn, 404, "", func(ch *amqp.Channel) error {
		return ch.ExchangeDeclarePassive(x, "direct", false, true, false, false, nil)
	})
}

func TestAMQP35_DeleteIfUnused(t *testing.T) {
	conn, ch := open(t)
	q, x := queue(t, ch, nil), exchange(t, ch, "direct", nil)
	bind(t, ch, q, "k", x, nil)
	soft(t, conn, 406, fmt.Sprintf("PRECONDITION_FAILED - exchange '%s' in vhost '/' in use", x), func(ch *amqp.Channel) error {
		return ch.ExchangeDelete(x, true, false)
	})
	consume(t, ch, q, nil)
	soft(t, conn, 406, fmt.Sprintf("PRECONDITION_FAILED - queue '%s' in vhost '/' in use", q), func(ch *amqp.Channel) error {
		_, err := ch.QueueDelete(q, true, false, false)
		return err
	})
	must(t, ch.QueueUnbind(q, "k", x, nil))
	must(t, ch.ExchangeDelete(x, true, false))
}

func TestAMQP36_InternalExchange(t *testing.T) {
	conn, ch := open(t)
	x := unique(t, "x")
	must(t, ch.ExchangeDeclare(x, "fanout", false, false, true, false, nil))
	dropExchange(t, x)
	soft(t, conn, 403, fmt.Sprintf("ACCESS_REFUSED - cannot publish to internal exchange '%s' in vhost '/'", x), func(ch *amqp.Channel) error {
		return ch.Publish(x, "k", false, false, text("x"))
	})
}

func TestAMQP37_ExchangeToExchange(t *testing.T) {
	_, ch := open(t)
	a, b := exchange(t, ch, "topic", nil), exchange(t, ch, "fanout", nil)
	q := queue(t, ch, nil)
	must(t, ch.ExchangeBind(b, "k.#", a, false, nil))
	must(t, ch.ExchangeBind(a, "", b, false, nil)) // a cycle
	bind(t, ch, q, "", b, nil)
	bind(t, ch, q, "k.*", a, nil)
	must(t, ch.Confirm(false))
	confirm(t, ch, a, "k.1", text("once"))
	wantReady(t, ch, q, 1)
	confirm(t, ch, a, "other", text("not routed"))
	wantReady(t, ch, q, 1)
	must(t, ch.ExchangeUnbind(b, "k.#", a, false, nil))
	must(t, ch.QueueUnbind(q, "k.*", a, nil))
	confirm(t, ch, a, "k.1", text("no route left"))
	wantReady(t, ch, q, 1)
}

func TestAMQP38_AlternateExchange(t *testing.T) {
	conn, ch := open(t)
	last := exchange(t, ch, "fanout", nil)
	middle := exchange(t, ch, "direct", amqp.Table{"alternate-exchange": last})
	first := exchange(t, ch, "direct", amqp.Table{"alternate-exchange": middle})
	q, hit := queue(t, ch, nil), queue(t, ch, nil)
	bind(t, ch, q, "", last, nil)
	bind(t, ch, hit, "k", first, nil)
	pub := confirming(t, conn)
	returns := pub.NotifyReturn(make(chan amqp.Return, 1))
	must(t, pub.Publish(first, "none", true, false, text("chained")))
	if d := get(t, ch, q, true); string(d.Body) != "chained" || d.RoutingKey != "none" || d.Exchange != first {
		t.Errorf("got %q from %q key %q", d.Body, d.Exchange, d.RoutingKey)
	}
	if !confirm(t, pub, first, "k", text("direct hit")) {
		t.Error("nacked")
	}
	wantReady(t, ch, q, 0)
	select {
	case r := <-returns:
		t.Errorf("returned %q although the alternate exchange routed it", r.Body)
	default:
	}
	t.Run("AMQP-38 by policy", func(t *testing.T) {
		x := exchange(t, ch, "direct", nil)
		operator(t).policy(t, unique(t, "p"), "^"+strings.ReplaceAll(x, ".", "\\.")+"$", `{"alternate-exchange":"`+last+`"}`, "exchanges")
		eventually(t, "policy applies", func() bool {
			publish(t, ch, x, "none", text("by policy"))
			_, ok, err := ch.Get(q, true)
			must(t, err)
			return ok
		})
	})
}

func TestAMQP39_BindingsAreIdempotent(t *testing.T) {
	conn, ch := open(t)
	q, x := queue(t, ch, nil), exchange(t, ch, "direct", nil)
	bind(t, ch, q, "k", x, nil)
	bind(t, ch, q, "k", x, nil)
	must(t, ch.Confirm(false))
	confirm(t, ch, x, "k", text("once"))
	wantReady(t, ch, q, 1)
	must(t, ch.QueueUnbind(q, "k", x, nil))
	must(t, ch.QueueUnbind(q, "k", x, nil))
	must(t, ch.ExchangeDelete("conf.none", false, false))
	_, err := ch.QueueDelete("conf.none", false, false, false)
	must(t, err)
	soft(t, conn, 404, "~NOT_FOUND - no exchange 'conf.none' in vhost '/'", func(ch *amqp.Channel) error {
		return ch.QueueBind(q, "k", "conf.none", false, nil)
	})
	soft(t, conn, 404, "~NOT_FOUND - no queue 'conf.none' in vhost '/'", func(ch *amqp.Channel) error {
		return ch.QueueBind("conf.none", "k", x, false, nil)
	})
}

func TestAMQP40_CarbonCopies(t *testing.T) {
	_, ch := open(t)
	to, cc, bcc := queue(t, ch, nil), queue(t, ch, nil), queue(t, ch, nil)
	sendTo(t, "", to, amqp.Publishing{Body: []byte("x"), Headers: amqp.Table{"CC": []any{cc}, "BCC": []any{bcc}}})
	for _, q := range []string{to, cc, bcc} {
		d := get(t, ch, q, true)
		if _, ok := d.Headers["BCC"]; ok {
			t.Errorf("BCC seen in %s", q)
		}
		if _, ok := d.Headers["CC"]; !ok {
			t.Errorf("CC missing in %s", q)
		}
	}
	softOrDeviation(t, "AMQP-40 wrong type", 406, `PRECONDITION_FAILED - invalid message: {unacceptable_type_in_header,"CC",longstr}`, func(ch *amqp.Channel) error {
		return ch.Publish("", to, false, false, amqp.Publishing{Headers: amqp.Table{"CC": "text"}})
	})
}

func TestAMQP41_PluginExchanges(t *testing.T) {
	_, ch := open(t)
	must(t, ch.Confirm(false))
	t.Run("AMQP-41 x-consistent-hash", func(t *testing.T) {
		x := exchange(t, ch, "x-consistent-hash", nil)
		a, b := queue(t, ch, nil), queue(t, ch, nil)
		bind(t, ch, a, "10", x, nil)
		bind(t, ch, b, "10", x, nil)
		for i := range 200 {
			confirm(t, ch, x, itoa(i), text("m"))
		}
		na, nb := ready(t, ch, a), ready(t, ch, b)
		if na+nb != 200 || na == 0 || nb == 0 {
			t.Errorf("split = %d + %d, want 200 in two non-empty parts", na, nb)
		}
		for range 10 {
			confirm(t, ch, x, "same", text("m"))
		}
		if da, db := ready(t, ch, a)-na, ready(t, ch, b)-nb; da+db != 10 || da*db != 0 {
			t.Errorf("one key went to both queues: %d + %d", da, db)
		}
	})
	t.Run("AMQP-41 x-random", func(t *testing.T) {
		x := exchange(t, ch, "x-random", nil)
		a, b := queue(t, ch, nil), queue(t, ch, nil)
		bind(t, ch, a, "", x, nil)
		bind(t, ch, b, "", x, nil)
		for range 100 {
			confirm(t, ch, x, "", text("m"))
		}
		if na, nb := ready(t, ch, a), ready(t, ch, b); na+nb != 100 || na == 0 || nb == 0 {
			t.Errorf("split = %d + %d, want 100 in two non-empty parts", na, nb)
		}
	})
	t.Run("AMQP-41 x-delayed-message", func(t *testing.T) {
		skipDeviation(t, "AMQP-41 x-delayed-message")
		x := exchange(t, ch, "x-delayed-message", amqp.Table{"x-delayed-type": "direct"})
		q := queue(t, ch, nil)
		bind(t, ch, q, "k", x, nil)
		publish(t, ch, x, "k", amqp.Publishing{Body: []byte("late"), Headers: amqp.Table{"x-delay": int32(600)}})
		publish(t, ch, x, "k", amqp.Publishing{Body: []byte("soon"), Headers: amqp.Table{"x-delay": int32(200)}})
		publish(t, ch, x, "k", text("now"))
		wantBodies(t, consume(t, ch, q, nil), "now", "soon", "late")
	})
	t.Run("AMQP-41 x-delayed-message routes when it is due", func(t *testing.T) {
		skipDeviation(t, "AMQP-41 x-delayed-message")
		for delay := time.Second; ; delay *= 2 { // a busy machine may be late
			x := exchange(t, ch, "x-delayed-message", amqp.Table{"x-delayed-type": "direct"})
			due := time.Now().Add(delay)
			publish(t, ch, x, "k", amqp.Publishing{Body: []byte("late"), Headers: amqp.Table{"x-delay": delay.Milliseconds()}})
			q := queue(t, ch, nil)
			bind(t, ch, q, "k", x, nil)
			if time.Now().Before(due) {
				wantBodies(t, consume(t, ch, q, nil), "late")
				return
			}
		}
	})
}
