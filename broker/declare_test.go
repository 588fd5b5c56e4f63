package broker

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

func TestPredeclaredExchanges(t *testing.T) { // AMQP-28
	w := newTopo(t)
	s := w.session()
	for name, kind := range map[string]string{
		"amq.direct": "direct", "amq.fanout": "fanout", "amq.topic": "topic",
		"amq.match": "headers", "amq.headers": "headers", "amq.rabbitmq.trace": "topic",
	} {
		w.must(s.DeclareExchange(w.turn, ExchangeDeclare{Name: name, Passive: true}, nil))
		internal := name == "amq.rabbitmq.trace"
		// AMQP-31: the same again is fine.
		w.must(s.DeclareExchange(w.turn, ExchangeDeclare{Name: name, Type: kind, Durable: true, Internal: internal}, nil))
	}
	if n := len(w.b.ListExchanges("/")); n != 7 {
		t.Errorf("%d exchanges, want 7", n)
	}
}

// Covers AMQP-30 to AMQP-36.
func TestExchangeErrors(t *testing.T) {
	w := newTopo(t)
	s := w.session()
	w.exchange(s, "x", TypeDirect, Field{"alternate-exchange", "a"})
	w.exchange(s, "plain", TypeDirect)
	w.queue(s, "q")
	w.bind(s, "x", "q", "k")
	declare := func(d ExchangeDeclare) error { return s.DeclareExchange(w.turn, d, nil) }
	remove := func(name string, ifUnused bool) error { return s.DeleteExchange(w.turn, name, ifUnused, nil) }
	const refusedDefault = "operation not permitted on the default exchange"
	tests := []struct {
		err  error
		kind Kind
		text string
	}{
		{declare(ExchangeDeclare{Type: TypeDirect}), Denied, refusedDefault},
		{declare(ExchangeDeclare{Passive: true}), Denied, refusedDefault},
		{remove("", false), Denied, refusedDefault},
		{s.Bind(w.turn, Binding{Destination: "q"}, nil), Denied, refusedDefault},
		{s.Unbind(w.turn, Binding{Destination: "q"}, nil), Denied, refusedDefault},
		{s.Bind(w.turn, Binding{Source: "x", ToExchange: true}, nil), Denied, refusedDefault},
		{declare(ExchangeDeclare{Name: "nix", Passive: true}), NotFound, "no exchange 'nix' in vhost '/'"},
		{declare(ExchangeDeclare{Name: "amq.mine", Type: TypeDirect}), Denied,
			"exchange name 'amq.mine' contains reserved prefix 'amq.*'"},
		{remove("amq.direct", false), Denied, "deletion of system exchange 'amq.direct' in vhost '/' not allowed"},
		{declare(ExchangeDeclare{Name: "y", Type: "foo"}), Precondition, "unknown exchange type 'foo'"},
		{declare(ExchangeDeclare{Name: "x", Type: "foo"}), Precondition, "unknown exchange type 'foo'"},
		{declare(ExchangeDeclare{Name: "x", Type: TypeFanout, Durable: true}), Precondition,
			"inequivalent arg 'type' for exchange 'x' in vhost '/': received 'fanout' but current is 'direct'"},
		{declare(ExchangeDeclare{Name: "x", Type: TypeDirect}), Precondition,
			"inequivalent arg 'durable' for exchange 'x' in vhost '/': received 'false' but current is 'true'"},
		{declare(ExchangeDeclare{Name: "x", Type: TypeDirect, Durable: true, AutoDelete: true}), Precondition,
			"inequivalent arg 'auto_delete' for exchange 'x' in vhost '/': received 'true' but current is 'false'"},
		{declare(ExchangeDeclare{Name: "x", Type: TypeDirect, Durable: true, Internal: true}), Precondition,
			"inequivalent arg 'internal' for exchange 'x' in vhost '/': received 'true' but current is 'false'"},
		{declare(ExchangeDeclare{Name: "x", Type: TypeDirect, Durable: true}), Precondition,
			"inequivalent arg 'alternate-exchange' for exchange 'x' in vhost '/': received none but current is " +
				"the value 'a' of type 'longstr'"},
		{declare(ExchangeDeclare{Name: "x", Type: TypeDirect, Durable: true, Args: Table{{"alternate-exchange", "b"}}}), Precondition,
			"inequivalent arg 'alternate-exchange' for exchange 'x' in vhost '/': received 'b' but current is 'a'"},
		{declare(ExchangeDeclare{Name: "z", Type: TypeDirect, Args: Table{{"alternate-exchange", int32(1)}}}), Precondition,
			"invalid type 'signedint' for arg 'alternate-exchange' in exchange 'z' in vhost '/'"},
		{declare(ExchangeDeclare{Name: "x", Type: TypeDirect, Durable: true, Args: Table{{"alternate-exchange", "a"}, {"other", true}}}), 0, ""},
		{declare(ExchangeDeclare{Name: "plain", Type: TypeDirect, Durable: true, Args: Table{{"other", true}}}), 0, ""},
		{remove("x", true), Precondition, "exchange 'x' in vhost '/' in use"},
		{remove("nix", false), 0, ""}, // AMQP-39
		{s.Bind(w.turn, Binding{Source: "nix", Destination: "q"}, nil), NotFound, "no exchange 'nix' in vhost '/'"},
		{s.Bind(w.turn, Binding{Source: "x", Destination: "nix"}, nil), NotFound, "no queue 'nix' in vhost '/'"},
		{s.Bind(w.turn, Binding{Source: "x", Destination: "nix", ToExchange: true}, nil), NotFound, "no exchange 'nix' in vhost '/'"},
		{s.Unbind(w.turn, Binding{Source: "nix", Destination: "q"}, nil), 0, ""},
		{s.Unbind(w.turn, Binding{Source: "x", Destination: "nix"}, nil), 0, ""},
		{s.Unbind(w.turn, Binding{Source: "x", Destination: "q", Key: "other"}, nil), 0, ""},
		{remove("x", false), 0, ""},
	}
	for _, tt := range tests {
		if tt.text == "" {
			w.must(tt.err)
			continue
		}
		w.refused(tt.err, tt.kind, tt.text)
	}
	w.must(declare(ExchangeDeclare{Name: "in", Type: TypeDirect, Internal: true}))
	_, err := s.Publish(w.turn, Publish{Exchange: "in", Msg: &Message{TTL: NoTTL}})
	w.refused(err, Denied, "cannot publish to internal exchange 'in' in vhost '/'") // AMQP-36
}

// Covers AMQP-34.
func TestAutoDeleteExchange(t *testing.T) {
	w := newTopo(t)
	s := w.session()
	auto := func(name string) {
		w.must(s.DeclareExchange(w.turn, ExchangeDeclare{Name: name, Type: TypeFanout, AutoDelete: true}, nil))
	}
	there := func(name string) bool { return w.v.exchange(name) != nil }
	auto("a")
	w.queue(s, "q")
	w.queue(s, "r")
	if !there("a") {
		t.Fatal("gone before it was ever bound")
	}
	w.bind(s, "a", "q", "")
	w.bind(s, "a", "r", "")
	w.must(s.Unbind(w.turn, Binding{Source: "a", Destination: "q"}, nil))
	if !there("a") {
		t.Error("gone with a binding left")
	}
	w.must(s.Unbind(w.turn, Binding{Source: "a", Destination: "r"}, nil))
	if there("a") {
		t.Error("there without a binding")
	}
	// A chain falls when its end does.
	auto("b")
	auto("c")
	w.link(s, "b", "c", "")
	w.bind(s, "c", "q", "")
	if _, err := s.DeleteQueue(w.turn, "q", false, false, nil); err != nil {
		t.Fatal(err)
	}
	if there("b") || there("c") {
		t.Error("the chain is left after its queue")
	}
	// Being a destination does not count.
	auto("d")
	w.link(s, "amq.fanout", "d", "")
	w.must(s.Unbind(w.turn, Binding{Source: "amq.fanout", Destination: "d", ToExchange: true}, nil))
	if !there("d") {
		t.Error("gone with a binding it was not the source of")
	}
}

// Covers AMQP-39: identity of bindings.
func TestBindingIdentity(t *testing.T) {
	w := newTopo(t)
	s := w.session()
	w.queue(s, "q")
	count := func() int { return len(w.v.exchange("amq.direct").bindings) }
	for _, b := range []Binding{
		{Key: "k"}, {Key: "k"}, {Key: "l"},
		{Key: "k", Args: Table{{"a", int32(1)}, {"b", "x"}}},
		{Key: "k", Args: Table{{"b", "x"}, {"a", int64(1)}}}, // the same
		{Key: "k", Args: Table{{"a", int32(2)}}},
	} {
		b.Source, b.Destination = "amq.direct", "q"
		w.must(s.Bind(w.turn, b, nil))
	}
	if count() != 4 {
		t.Errorf("%d bindings, want 4", count())
	}
	w.must(s.Unbind(w.turn, Binding{Source: "amq.direct", Destination: "q", Key: "k", Args: Table{{"b", "x"}, {"a", int8(1)}}}, nil))
	if count() != 3 {
		t.Errorf("%d bindings, want 3", count())
	}
	w.expect("amq.direct", "k", "q")
}

// Covers AMQP-42: names the broker makes.
func TestServerNamedQueue(t *testing.T) {
	w := newTopo(t)
	s := w.session()
	seen := make(map[string]bool)
	for range 10 {
		info, err := s.DeclareQueue(w.turn, QueueDeclare{Exclusive: true}, nil)
		w.must(err)
		if !strings.HasPrefix(info.Name, "amq.gen-") || len(info.Name) != len("amq.gen-")+22 || seen[info.Name] {
			t.Errorf("name %q", info.Name)
		}
		seen[info.Name] = true
		_, err = s.DeclareQueue(w.turn, QueueDeclare{Name: info.Name, Exclusive: true}, nil)
		w.must(err) // exists: the prefix is no reason to refuse
	}
	info, err := s.DeclareQueue(w.turn, QueueDeclare{Args: Table{{"x-name-prefix", "mine-"}}}, nil)
	w.must(err)
	if !strings.HasPrefix(info.Name, "mine-") || len(info.Name) != len("mine-")+22 {
		t.Errorf("name %q", info.Name)
	}
	_, err = s.DeclareQueue(w.turn, QueueDeclare{Durable: true, Args: Table{{"x-queue-type", "quorum"}}}, nil)
	w.refused(err, Precondition, "Cannot declare a server-named queue for type rabbit_quorum_queue")
}

// Covers AMQP-59.
func TestNames(t *testing.T) {
	w := newTopo(t)
	s := w.session()
	for _, name := range []string{"with space", "a/b", "ü\x00☃", strings.Repeat("x", 255)} {
		w.queue(s, name)
		w.exchange(s, name, TypeFanout)
		w.bind(s, name, name, "k")
		w.expect(name, "", name)
	}
	w.queue(s, "li\r\nne")
	w.exchange(s, "ex\nchange", TypeFanout)
	w.must(s.Bind(w.turn, Binding{Source: "exc\rhange", Destination: "line\n"}, nil))
	w.expect("exchange", "", "line")
	_, err := s.DeclareQueue(w.turn, QueueDeclare{Name: strings.Repeat("x", 256)}, nil)
	w.refused(err, Precondition, "queue name is longer than 255 bytes")
}

// Covers AMQP-43, AMQP-48, AMQP-52: every refusal of a queue and its text.
func TestQueueErrors(t *testing.T) {
	w := newTopo(t)
	s := w.session()
	w.queue(s, "q")
	w.queue(s, "ttl", Field{"x-message-ttl", int32(1000)}, Field{"x-dead-letter-exchange", "d"})
	w.queue(s, "quorum", Field{"x-queue-type", "quorum"})
	declare := func(d QueueDeclare) error {
		_, err := s.DeclareQueue(w.turn, d, nil)
		return err
	}
	again := func(name string, args ...Field) error {
		return declare(QueueDeclare{Name: name, Durable: true, Args: args})
	}
	remove := func(name string, ifUnused, ifEmpty bool) error {
		_, err := s.DeleteQueue(w.turn, name, ifUnused, ifEmpty, nil)
		return err
	}
	purge := func(name string) error {
		_, err := s.PurgeQueue(w.turn, name, nil)
		return err
	}
	const inequivalent = "inequivalent arg '%s' for queue '%s' in vhost '/': received %s but current is %s"
	tests := []struct {
		err  error
		kind Kind
		text string
	}{
		{declare(QueueDeclare{Name: "nix", Passive: true}), NotFound, "no queue 'nix' in vhost '/'"},
		{purge("nix"), NotFound, "no queue 'nix' in vhost '/'"},
		{remove("nix", false, false), 0, ""},
		{declare(QueueDeclare{Name: "amq.mine"}), Denied, "queue name 'amq.mine' contains reserved prefix 'amq.*'"},
		{declare(QueueDeclare{Name: "q"}), Precondition, fmt.Sprintf(inequivalent, "durable", "q", "'false'", "'true'")},
		{declare(QueueDeclare{Name: "q", Durable: true, AutoDelete: true}), Precondition,
			fmt.Sprintf(inequivalent, "auto_delete", "q", "'true'", "'false'")},
		{again("q", Field{"x-message-ttl", int32(1000)}), Precondition,
			fmt.Sprintf(inequivalent, "x-message-ttl", "q", "the value '1000' of type 'signedint'", "none")},
		{again("ttl"), Precondition,
			fmt.Sprintf(inequivalent, "x-message-ttl", "ttl", "none", "the value '1000' of type 'signedint'")},
		{again("ttl", Field{"x-message-ttl", int32(2000)}), Precondition,
			fmt.Sprintf(inequivalent, "x-message-ttl", "ttl", "'2000'", "'1000'")},
		{again("ttl", Field{"x-message-ttl", int64(1000)}), Precondition,
			fmt.Sprintf(inequivalent, "x-dead-letter-exchange", "ttl", "none", "the value 'd' of type 'longstr'")},
		{again("ttl", Field{"x-message-ttl", uint8(0)}, Field{"x-dead-letter-exchange", "d"}), Precondition,
			fmt.Sprintf(inequivalent, "x-message-ttl", "ttl", "'0'", "'1000'")},
		{again("ttl", Field{"x-dead-letter-exchange", "d"}, Field{"x-message-ttl", uint16(1000)}), 0, ""},
		{again("q", Field{"x-unknown", "new"}, Field{"x-queue-mode", "lazy"}), 0, ""},
		{again("q", Field{"x-queue-type", "classic"}), 0, ""},
		{again("q", Field{"x-queue-type", "quorum"}), Precondition,
			fmt.Sprintf(inequivalent, "x-queue-type", "q", "the value 'quorum' of type 'longstr'", "none")},
		{again("quorum"), Precondition,
			fmt.Sprintf(inequivalent, "x-queue-type", "quorum", "none", "the value 'quorum' of type 'longstr'")},
		{again("quorum", Field{"x-queue-type", "stream"}), Precondition,
			fmt.Sprintf(inequivalent, "x-queue-type", "quorum", "'stream'", "'quorum'")},
		{declare(QueueDeclare{Name: "q", Durable: true, Exclusive: true}), Locked,
			"cannot obtain exclusive access to locked queue 'q' in vhost '/'. It could be originally declared on another " +
				"connection or the exclusive property value does not match that of the original declaration."},
	}
	for _, tt := range tests {
		if tt.text == "" {
			w.must(tt.err)
			continue
		}
		w.refused(tt.err, tt.kind, tt.text)
	}
}

// Covers AMQP-48, AMQP-52, AMQP-54.
func TestQueueArguments(t *testing.T) {
	quorum, stream := Field{"x-queue-type", "quorum"}, Field{"x-queue-type", "stream"}
	tests := []struct {
		args Table
		want string // the rest of the text; "" is success
	}{
		{Table{{"x-expires", int32(0)}}, "'x-expires' for # {value_zero,0}"},
		{Table{{"x-expires", int32(-1)}}, "'x-expires' for # {value_negative,-1}"},
		{Table{{"x-expires", "1000"}}, `'x-expires' for # "expected integer, got longstr"`},
		{Table{{"x-expires", int64(315_360_000_001)}}, "'x-expires' for # {value_too_large,315360000001}"},
		{Table{{"x-expires", int64(315_360_000_000)}}, ""},
		{Table{{"x-message-ttl", int32(-5)}}, "'x-message-ttl' for # {value_negative,-5}"},
		{Table{{"x-message-ttl", int32(0)}}, ""},
		{Table{{"x-message-ttl", 1.5}}, `'x-message-ttl' for # "expected integer, got double"`},
		{Table{{"x-message-ttl", true}}, `'x-message-ttl' for # "expected integer, got bool"`},
		{Table{{"x-message-ttl", Table{}}}, `'x-message-ttl' for # "expected integer, got table"`},
		{Table{{"x-message-ttl", nil}}, `'x-message-ttl' for # "expected integer, got void"`},
		{Table{{"x-max-length", int32(-1)}}, "'x-max-length' for # {value_negative,-1}"},
		{Table{{"x-max-length-bytes", "a"}}, `'x-max-length-bytes' for # "expected integer, got longstr"`},
		{Table{{"x-max-length", uint8(3)}}, ""},
		{Table{{"x-overflow", "explode"}}, "'x-overflow' for # invalid_overflow"},
		{Table{{"x-overflow", int32(1)}}, "'x-overflow' for # {unacceptable_type,signedint}"},
		{Table{{"x-overflow", "reject-publish-dlx"}}, ""},
		{Table{{"x-dead-letter-routing-key", "k"}}, "'x-dead-letter-routing-key' for # routing_key_but_no_dlx_defined"},
		{Table{{"x-dead-letter-exchange", ""}, {"x-dead-letter-routing-key", "k"}}, ""},
		{Table{{"x-dead-letter-exchange", ""}, {"x-dead-letter-routing-key", int64(1)}},
			"'x-dead-letter-routing-key' for # {unacceptable_type,long}"},
		{Table{{"x-max-priority", int32(256)}}, "'x-max-priority' for # {max_value_exceeded,256}"},
		{Table{{"x-max-priority", int32(-1)}}, "'x-max-priority' for # {value_negative,-1}"},
		{Table{{"x-max-priority", int32(10)}}, ""},
		{Table{{"x-single-active-consumer", "yes"}}, "'x-single-active-consumer' for # {unacceptable_type,longstr}"},
		{Table{{"x-single-active-consumer", true}}, ""},
		{Table{{"x-queue-type", "nonsense"}}, `'x-queue-type' for # "unsupported queue type 'nonsense'"`},
		{Table{{"x-queue-type", int32(1)}}, "'x-queue-type' for # {unacceptable_type,signedint}"},
		{Table{{"x-queue-mode", "lazy"}, {"x-queue-version", int32(1)}, {"x-ha-policy", "all"}, {"x-whatever", Array{}}}, ""},
		{Table{{"x-queue-mode", "sleepy"}}, "'x-queue-mode' for # invalid_queue_mode"},
		{Table{{"x-delivery-limit", int32(3)}}, "'x-delivery-limit' for ~ of queue type rabbit_classic_queue"},
		{Table{quorum, {"x-delivery-limit", int32(-1)}}, ""},
		{Table{quorum, {"x-delivery-limit", "x"}}, `'x-delivery-limit' for # "expected integer, got longstr"`},
		{Table{quorum, {"x-dead-letter-strategy", "maybe"}}, "'x-dead-letter-strategy' for # invalid_dlx_strategy"},
		{Table{quorum, {"x-quorum-initial-group-size", int32(0)}}, "'x-quorum-initial-group-size' for # {value_zero,0}"},
		{Table{quorum, {"x-max-age", "1D"}}, "'x-max-age' for ~ of queue type rabbit_quorum_queue"},
		{Table{stream, {"x-max-age", "1D"}, {"x-max-length-bytes", int64(1) << 40}}, ""},
		{Table{stream, {"x-max-age", "1 day"}}, "'x-max-age' for # invalid_max_age"},
		{Table{stream, {"x-max-priority", int32(1)}}, "'x-max-priority' for ~ of queue type rabbit_stream_queue"},
		{Table{stream, {"x-message-ttl", int32(1)}}, "'x-message-ttl' for ~ of queue type rabbit_stream_queue"},
		{Table{stream, {"x-max-length", int32(1)}}, "'x-max-length' for ~ of queue type rabbit_stream_queue"},
		{Table{stream, {"x-stream-filter-size-bytes", int32(8)}}, "'x-stream-filter-size-bytes' for # {value_too_small,8}"},
	}
	w := newTopo(t)
	s := w.session()
	for i, tt := range tests {
		name := fmt.Sprint("q", i)
		_, err := s.DeclareQueue(w.turn, QueueDeclare{Name: name, Durable: true, Args: tt.args}, nil)
		if tt.want == "" {
			if err != nil {
				t.Errorf("%v: %v", tt.args, err)
			}
			continue
		}
		what := w.v.queueText(name)
		text := "invalid arg " + strings.NewReplacer("#", what+":", "~", what).Replace(tt.want)
		w.refused(err, Precondition, text)
		if w.v.queue(name) != nil {
			t.Errorf("%v: the queue exists", tt.args)
		}
	}
	_, err := s.DeclareQueue(w.turn, QueueDeclare{Name: "q", Args: Table{{"x-dead-letter-exchange", int32(1)}}}, nil)
	w.refused(err, Precondition, "invalid type 'signedint' for arg 'x-dead-letter-exchange' in "+w.v.queueText("q"))
}

// Covers AMQP-52, AMQP-53: what quorum queues and streams cannot be.
func TestQueueKindRestrictions(t *testing.T) {
	w := newTopo(t)
	s := w.session()
	for _, kind := range []string{"quorum", "stream"} {
		args := Table{{"x-queue-type", kind}}
		for property, d := range map[string]QueueDeclare{
			"non-durable":     {Name: "q", Args: args},
			"auto-delete":     {Name: "q", Durable: true, AutoDelete: true, Args: args},
			"exclusive-owner": {Name: "q", Durable: true, Exclusive: true, Args: args},
		} {
			_, err := s.DeclareQueue(w.turn, d, nil)
			w.refused(err, Precondition, "invalid property '"+property+"' for queue 'q' in vhost '/'")
		}
	}
	_, err := s.DeclareQueue(w.turn, QueueDeclare{Name: "transient"}, nil) // AMQP-55
	w.must(err)
	w.queue(s, "quorum", Field{"x-queue-type", "quorum"})
	if got := w.v.queue("quorum").config().DeliveryLimit; got != 20 {
		t.Errorf("delivery limit is %d, want 20", got)
	}
	w.queue(s, "stream", Field{"x-queue-type", "stream"})
	_, err = s.PurgeQueue(w.turn, "stream", nil)
	w.refused(err, NotImplemented, "queue.purge not supported by stream queues queue 'stream' in vhost '/'")
}

// Covers AMQP-44: every operation of another connection on an exclusive queue.
func TestExclusiveQueue(t *testing.T) {
	w := newTopo(t)
	owner, other := w.session(), w.session()
	_, err := owner.DeclareQueue(w.turn, QueueDeclare{Name: "e", Exclusive: true, Durable: true}, nil)
	w.must(err)
	w.must(owner.Bind(w.turn, Binding{Source: "amq.direct", Destination: "e", Key: "k"}, nil))
	const text = "cannot obtain exclusive access to locked queue 'e' in vhost '/'. It could be originally declared on " +
		"another connection or the exclusive property value does not match that of the original declaration."
	for name, f := range map[string]func() error{
		"declare": func() error {
			_, err := other.DeclareQueue(w.turn, QueueDeclare{Name: "e", Exclusive: true}, nil)
			return err
		},
		"declare differently": func() error {
			_, err := other.DeclareQueue(w.turn, QueueDeclare{Name: "e", Args: Table{{"x-message-ttl", int32(1)}}}, nil)
			return err
		},
		"passive": func() error {
			_, err := other.DeclareQueue(w.turn, QueueDeclare{Name: "e", Passive: true}, nil)
			return err
		},
		"bind": func() error { return other.Bind(w.turn, Binding{Source: "amq.direct", Destination: "e"}, nil) },
		"unbind": func() error {
			return other.Unbind(w.turn, Binding{Source: "amq.direct", Destination: "e", Key: "k"}, nil)
		},
		"purge": func() error {
			_, err := other.PurgeQueue(w.turn, "e", nil)
			return err
		},
		"delete": func() error {
			_, err := other.DeleteQueue(w.turn, "e", false, false, nil)
			return err
		},
		"consume": func() error {
			_, err := other.Subscribe(w.turn, SubscribeOptions{Queue: "e", Tag: "t"})
			return err
		},
		"get": func() error { return other.Get(w.turn, "e", true, 1) },
		"the owner, not exclusive": func() error {
			_, err := owner.DeclareQueue(w.turn, QueueDeclare{Name: "e"}, nil)
			return err
		},
	} {
		t.Run(name, func(*testing.T) { w.refused(f(), Locked, text) })
	}
	// The owner may, and durable is nothing an exclusive queue has.
	for _, durable := range []bool{true, false} {
		_, err := owner.DeclareQueue(w.turn, QueueDeclare{Name: "e", Exclusive: true, Durable: durable}, nil)
		w.must(err)
	}
	// AMQP-14: gone when Close returns.
	owner.conn.Close(w.turn)
	if w.v.queue("e") != nil || len(w.v.exchange("amq.direct").bindings) != 0 {
		t.Error("the queue or its binding outlives the connection")
	}
	_, err = other.DeclareQueue(w.turn, QueueDeclare{Name: "e", Exclusive: true}, nil)
	w.must(err)
}

// Covers AMQP-35, AMQP-56.
func TestDeleteConditionsAndCounts(t *testing.T) {
	w := newTopo(t)
	s := w.session()
	_, err := s.DeclareQueue(w.turn, QueueDeclare{Name: "q"}, nil)
	w.must(err)
	for range 3 {
		_, err := s.Publish(w.turn, Publish{Msg: &Message{RoutingKey: "q", TTL: NoTTL}})
		w.must(err)
	}
	info, err := s.DeclareQueue(w.turn, QueueDeclare{Name: "q"}, nil)
	w.must(err)
	if info != (QueueInfo{Name: "q", Ready: 3}) {
		t.Errorf("declare answers %+v", info)
	}
	_, err = s.DeleteQueue(w.turn, "q", false, true, nil)
	w.refused(err, Precondition, "queue 'q' in vhost '/' not empty")
	n, err := s.PurgeQueue(w.turn, "q", nil)
	w.must(err)
	if n != 3 {
		t.Errorf("purged %d, want 3", n)
	}
	_, err = s.Publish(w.turn, Publish{Msg: &Message{RoutingKey: "q", TTL: NoTTL}})
	w.must(err)
	_, err = s.Subscribe(w.turn, SubscribeOptions{Queue: "q", Tag: "t"})
	w.must(err)
	info, err = s.DeclareQueue(w.turn, QueueDeclare{Name: "q", Passive: true}, nil)
	w.must(err)
	if info.Consumers != 1 || info.Ready != 0 {
		t.Errorf("passive declare answers %+v", info)
	}
	_, err = s.DeleteQueue(w.turn, "q", true, false, nil)
	w.refused(err, Precondition, "queue 'q' in vhost '/' in use")
	if _, err := s.DeleteQueue(w.turn, "q", false, false, nil); err != nil {
		t.Fatal(err)
	}
	sink := s.sink.(*deafSink) // AMQP-58
	if len(sink.cancelled) != 1 {
		t.Errorf("%d consumers were told, want 1", len(sink.cancelled))
	}
}

func TestReplyNames(t *testing.T) {
	w := newTopo(t)
	s := w.session()
	for _, passive := range []bool{true, false} {
		info, err := s.DeclareQueue(w.turn, QueueDeclare{Name: ReplyQueue, Passive: passive}, nil)
		w.must(err)
		if info.Consumers != 1 || info.Ready != 0 {
			t.Errorf("got %+v", info)
		}
		_, err = s.DeclareQueue(w.turn, QueueDeclare{Name: ReplyQueue + ".nobody", Passive: passive}, nil)
		w.refused(err, NotFound, "no queue 'amq.rabbitmq.reply-to.nobody' in vhost '/'")
	}
}

func TestManyBindingsAreNotQuadratic(t *testing.T) {
	w := newTopo(t)
	s := w.session()
	const n = 20_000
	w.queue(s, "q")
	w.queue(s, "r")
	for i := range n {
		w.bind(s, "amq.topic", "q", fmt.Sprint("a.", i))
		w.bind(s, "amq.direct", "q", "same", Field{"n", int64(i)})
	}
	w.bind(s, "amq.direct", "r", "same")
	if _, err := s.DeleteQueue(w.turn, "q", false, false, nil); err != nil {
		t.Fatal(err)
	}
	w.expect("amq.topic", "a.7")
	w.expect("amq.direct", "same", "r")
	if n := w.b.ListBindings("/"); len(n) != 2 {
		t.Errorf("%d bindings are left", len(n))
	}
}

func TestListings(t *testing.T) {
	w := newTopo(t)
	s := w.session()
	w.queue(s, "q", Field{"x-message-ttl", int32(5)})
	w.bind(s, "amq.direct", "q", "k")
	w.must(w.b.SetPolicy(w.turn, policyOf("p", "q", "queues", `{"max-length":9}`), nil))
	w.must(w.b.SetOperatorPolicy(w.turn, policyOf("o", "q", "queues", `{"max-length":7}`), nil))
	_, err := s.Subscribe(w.turn, SubscribeOptions{Queue: "q", Tag: "t", Prefetch: 3})
	w.must(err)
	queues := w.b.ListQueues("")
	if len(queues) != 1 {
		t.Fatalf("%d queues", len(queues))
	}
	q := queues[0]
	if q.Policy != "p" || q.Operator != "o" || q.Bindings != 2 || q.Consumers != 1 || q.Arguments["x-message-ttl"] != int32(5) ||
		q.Effective["max-length"] != int64(7) {
		t.Errorf("got %+v", q)
	}
	if one, ok := w.b.DescribeQueue("/", "q"); !ok || one.Name != "q" {
		t.Errorf("DescribeQueue: %+v %v", one, ok)
	}
	consumers := w.b.ListConsumers("/")
	if len(consumers) != 1 || consumers[0].Tag != "t" || consumers[0].Prefetch != 3 || !consumers[0].AckRequired {
		t.Errorf("consumers: %+v", consumers)
	}
	if got := w.b.ListChannels(); len(got) != 1 || got[0].Consumers != 1 || got[0].Number != 1 {
		t.Errorf("channels: %+v", got)
	}
	s.SetNumber(7)
	if got := w.b.ListChannels(); got[0].Number != 7 {
		t.Errorf("a session the protocol calls 7: %+v", got)
	}
	if got := w.b.ListConnections(); len(got) != 1 || got[0].User != "guest" || got[0].Channels != 1 {
		t.Errorf("connections: %+v", got)
	}
	var sources []string
	for _, b := range w.b.ListBindings("/") {
		sources = append(sources, b.Source)
	}
	if !slices.Equal(sources, []string{"", "amq.direct"}) {
		t.Errorf("bindings of %q", sources)
	}
	if got := w.b.Totals(); got.Queues != 1 || got.Consumers != 1 || got.Connections != 1 || got.Channels != 1 || got.Exchanges != 7 {
		t.Errorf("totals: %+v", got)
	}
}
