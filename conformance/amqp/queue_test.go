package amqpconf

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

func TestAMQP42_ServerNamedQueues(t *testing.T) {
	_, ch := open(t)
	x := exchange(t, ch, "direct", nil)
	q, err := ch.QueueDeclare("", false, false, true, false, nil)
	must(t, err)
	if !regexp.MustCompile(`^amq\.gen-[A-Za-z0-9_-]{22}$`).MatchString(q.Name) {
		t.Errorf("name = %q, want amq.gen- and 22 characters", q.Name)
	}
	must(t, ch.Confirm(false))
	bind(t, ch, "", "k", x, nil)
	confirm(t, ch, x, "k", text("1"))
	bind(t, ch, "", "", x, nil) // queue and key empty: the key is the queue's name
	confirm(t, ch, x, q.Name, text("2"))
	if d, ok, err := ch.Get("", true); err != nil || !ok || string(d.Body) != "1" {
		t.Fatalf("get from the last declared queue: %q, %v, %v", d.Body, ok, err)
	}
	if n, err := ch.QueuePurge("", false); err != nil || n != 1 {
		t.Fatalf("purge = %d, %v, want 1", n, err)
	}
	in := consume(t, ch, "", nil)
	confirm(t, ch, "", q.Name, text("3"))
	wantBodies(t, in, "3")
	if _, err := ch.QueueDelete("", false, false, false); err != nil {
		t.Fatal(err)
	}
	soft(t, dial(t), 404, "~NOT_FOUND - no previously declared queue", func(ch *amqp.Channel) error {
		_, _, err := ch.Get("", true)
		return err
	})
}

func TestAMQP43_PassiveDeclare(t *testing.T) {
	conn := dial(t)
	soft(t, conn, 404, "NOT_FOUND - no queue 'conf.none' in vhost '/'", func(ch *amqp.Channel) error {
		_, err := ch.QueueDeclarePassive("conf.none", false, false, false, false, nil)
		return err
	})
	owner := channel(t, conn)
	q, err := owner.QueueDeclare(unique(t, "excl"), false, false, true, false, nil)
	must(t, err)
	soft(t, dial(t), 405, locked(q.Name), func(ch *amqp.Channel) error {
		_, err := ch.QueueDeclarePassive(q.Name, false, false, false, false, nil)
		return err
	})
}

// locked is the reply for a queue that another connection owns.
func locked(q string) string {
	reply := fmt.Sprintf("RESOURCE_LOCKED - cannot obtain exclusive access to locked queue '%s' in vhost '/'. It could be originally declared on another connection or the exclusive property value does not match that of the original declaration.", q)
	return reply[:min(255, len(reply))]
}

func TestAMQP44_ExclusiveQueues(t *testing.T) {
	_, ch := open(t)
	x := exchange(t, ch, "direct", nil)
	decl, err := ch.QueueDeclare(unique(t, "excl"), false, false, true, false, nil)
	must(t, err)
	q := decl.Name
	bind(t, ch, q, "k", x, nil)
	other := dial(t)
	for name, op := range map[string]func(*amqp.Channel) error{
		"declare": func(ch *amqp.Channel) error {
			_, err := ch.QueueDeclare(q, false, false, true, false, nil)
			return err
		},
		"declare shared": func(ch *amqp.Channel) error {
			_, err := ch.QueueDeclare(q, false, false, false, false, nil)
			return err
		},
		"bind":    func(ch *amqp.Channel) error { return ch.QueueBind(q, "k", x, false, nil) },
		"unbind":  func(ch *amqp.Channel) error { return ch.QueueUnbind(q, "k", x, nil) },
		"purge":   func(ch *amqp.Channel) error { _, err := ch.QueuePurge(q, false); return err },
		"delete":  func(ch *amqp.Channel) error { _, err := ch.QueueDelete(q, false, false, false); return err },
		"consume": func(ch *amqp.Channel) error { _, err := ch.Consume(q, "", true, false, false, false, nil); return err },
		"get":     func(ch *amqp.Channel) error { _, _, err := ch.Get(q, true); return err },
	} {
		t.Run("AMQP-44 "+name, func(t *testing.T) { soft(t, other, 405, locked(q), op) })
	}
	t.Run("AMQP-44 publish is allowed", func(t *testing.T) {
		send(t, q, "m")
		get(t, ch, q, true)
	})
	t.Run("AMQP-44 owner may not turn it shared", func(t *testing.T) {
		_, err := ch.QueueDeclare(q, false, false, false, false, nil)
		if e, ok := err.(*amqp.Error); !ok || e.Code != 405 {
			t.Fatalf("declare = %v, want 405", err)
		}
	})
}

// exists reports whether a queue exists without counting as its use: a
// mandatory message comes back when it does not.
func exists(t *testing.T, q string) bool {
	t.Helper()
	conn, err := shared.tryDial(amqp.Config{})
	must(t, err)
	defer func() { _ = conn.Close() }()
	ch := confirming(t, conn)
	returned := ch.NotifyReturn(make(chan amqp.Return, 1))
	d, err := ch.PublishWithDeferredConfirm("", q, true, false, text("probe"))
	must(t, err)
	d.Wait()
	return len(returned) == 0
}

func TestAMQP45_AutoDeleteQueue(t *testing.T) {
	_, ch := open(t)
	q, err := ch.QueueDeclare(unique(t, "ad"), false, true, false, false, nil)
	must(t, err)
	if !exists(t, q.Name) {
		t.Fatal("gone before it had a consumer")
	}
	consumeTag(t, ch, q.Name, "a", nil)
	consumeTag(t, ch, q.Name, "b", nil)
	must(t, ch.Cancel("a", false))
	if !exists(t, q.Name) {
		t.Fatal("gone while a consumer is left")
	}
	must(t, ch.Cancel("b", false))
	eventually(t, "queue deleted after its last consumer", func() bool { return !exists(t, q.Name) })
}

func TestAMQP46_QueueExpiry(t *testing.T) {
	_, ch := open(t)
	args := amqp.Table{"x-expires": int32(600)}
	used, polled, idle := queue(t, ch, args), queue(t, ch, args), queue(t, ch, args)
	consumeTag(t, ch, used, "c", nil)
	poll := time.NewTicker(100 * time.Millisecond)
	defer poll.Stop()
	for gone := 0; gone < 5; <-poll.C {
		_, _, err := ch.Get(polled, true) // each get is a use; it must go on to exist
		must(t, err)
		if !exists(t, idle) {
			gone++
		}
	}
	if !exists(t, used) {
		t.Error("queue with a consumer expired")
	}
	must(t, ch.Cancel("c", false))
	eventually(t, "formerly used queues expire", func() bool { return !exists(t, used) && !exists(t, polled) })
}

func TestAMQP47_MessageTTL(t *testing.T) {
	_, ch := open(t)
	dead := queue(t, ch, nil)
	toDead := func(args amqp.Table) string {
		args["x-dead-letter-exchange"], args["x-dead-letter-routing-key"] = "", dead
		return queue(t, ch, args)
	}
	expires := func(body, ms string) amqp.Publishing {
		return amqp.Publishing{Body: []byte(body), Expiration: ms}
	}
	expired := func(t *testing.T, body string) {
		t.Helper()
		d := get(t, ch, dead, true)
		if string(d.Body) != body || d.Headers["x-first-death-reason"] != "expired" {
			t.Errorf("dead letter %q, reason %v, want %q, expired", d.Body, d.Headers["x-first-death-reason"], body)
		}
	}
	t.Run("AMQP-47 queue ttl", func(t *testing.T) {
		q := toDead(amqp.Table{"x-message-ttl": int32(100)})
		send(t, q, "a")
		expired(t, "a")
		empty(t, ch, q)
	})
	t.Run("AMQP-47 message ttl, and it is removed", func(t *testing.T) {
		sendTo(t, "", toDead(amqp.Table{}), expires("b", "100"))
		d := get(t, ch, dead, true)
		if d.Expiration != "" {
			t.Errorf("expiration = %q on the dead letter, want none", d.Expiration)
		}
		if death := deaths(d); len(death) != 1 || death[0]["original-expiration"] != "100" {
			t.Errorf("x-death = %v", death)
		}
	})
	t.Run("AMQP-47 the shorter wins", func(t *testing.T) {
		sendTo(t, "", toDead(amqp.Table{"x-message-ttl": int32(100)}), expires("c", "600000"))
		expired(t, "c")
		sendTo(t, "", toDead(amqp.Table{"x-message-ttl": int32(600000)}), expires("d", "100"))
		expired(t, "d")
	})
	t.Run("AMQP-47 zero", func(t *testing.T) {
		q := toDead(amqp.Table{"x-message-ttl": int32(0)})
		send(t, q, "e")
		expired(t, "e")
		in := consume(t, ch, q, nil)
		send(t, q, "f")
		must(t, wantBodies(t, in, "f")[0].Ack(false))
	})
	t.Run("AMQP-47 expired messages are not delivered", func(t *testing.T) {
		q := toDead(amqp.Table{})
		sendTo(t, "", q, expires("g", "1"), text("h"))
		expired(t, "g")
		wantBodies(t, consume(t, ch, q, nil), "h")
	})
	t.Run("AMQP-47 expiration must be a number", func(t *testing.T) {
		conn := dial(t)
		for bad, why := range map[string]string{"abc": "no_integer", "10x": "leftover_string", "-1": "value_negative", "315360000001": "value_too_large"} {
			soft(t, conn, 406, "~PRECONDITION_FAILED - invalid expiration '"+bad+"': ", func(ch *amqp.Channel) error {
				closed := ch.NotifyClose(make(chan *amqp.Error, 1))
				must(t, ch.Publish("", dead, false, false, expires("x", bad)))
				err := outcome(t, closed, nil)
				if !strings.Contains(err.Reason, why) {
					t.Errorf("text = %q, want %s in it", err.Reason, why)
				}
				return err
			})
		}
	})
}

func TestAMQP48_InvalidArguments(t *testing.T) {
	conn := dial(t)
	for _, c := range []struct {
		arg   string
		value any
		text  string
	}{
		{"x-expires", int32(0), "{value_zero,0}"},
		{"x-expires", int32(-1), "{value_negative,-1}"},
		{"x-expires", "1000", ""},
		{"x-expires", int64(315360000001), "{value_too_large,315360000001}"},
		{"x-message-ttl", int32(-1), "{value_negative,-1}"},
		{"x-message-ttl", "soon", ""},
		{"x-message-ttl", int64(315360000001), "{value_too_large,315360000001}"},
		{"x-max-length", int32(-1), "{value_negative,-1}"},
		{"x-max-length", "ten", ""},
		{"x-max-length-bytes", int32(-1), "{value_negative,-1}"},
		{"x-max-priority", int32(-1), "{value_negative,-1}"},
		{"x-max-priority", int32(256), ""},
		{"x-max-priority", "high", ""},
		{"x-overflow", "drop-everything", ""},
		{"x-overflow", int32(1), ""},
		{"x-dead-letter-exchange", int32(1), "invalid type 'signedint' for arg 'x-dead-letter-exchange' in queue "},
		{"x-dead-letter-routing-key", "k", "routing_key_but_no_dlx_defined"},
		{"x-single-active-consumer", "yes", ""},
		{"x-queue-type", "heap", ""},
	} {
		t.Run(fmt.Sprintf("AMQP-48 %s %v", c.arg, c.value), func(t *testing.T) {
			soft(t, conn, 406, "~PRECONDITION_FAILED - invalid ", func(ch *amqp.Channel) error {
				_, err := ch.QueueDeclare(unique(t, "q"), false, false, true, false, amqp.Table{c.arg: c.value})
				if err != nil && !(strings.Contains(err.Error(), c.arg) && strings.Contains(err.Error(), c.text)) {
					t.Errorf("text = %v, want %s and %s in it", err, c.arg, c.text)
				}
				return err
			})
		})
	}
}

func TestAMQP48_Equivalence(t *testing.T) {
	conn, ch := open(t)
	q := queue(t, ch, amqp.Table{"x-message-ttl": int32(60000)})
	again := func(durable, autoDelete bool, args amqp.Table) func(*amqp.Channel) error {
		return func(ch *amqp.Channel) error {
			_, err := ch.QueueDeclare(q, durable, autoDelete, false, false, args)
			return err
		}
	}
	for _, v := range []any{int32(60000), int64(60000)} {
		must(t, again(false, false, amqp.Table{"x-message-ttl": v})(ch))
	}
	inequivalent := func(arg, rest string) string {
		return fmt.Sprintf("PRECONDITION_FAILED - inequivalent arg '%s' for queue '%s' in vhost '/': received %s", arg, q, rest)
	}
	ttl := amqp.Table{"x-message-ttl": int32(60000)}
	soft(t, conn, 406, inequivalent("durable", "'true' but current is 'false'"), again(true, false, ttl))
	soft(t, conn, 406, inequivalent("auto_delete", "'true' but current is 'false'"), again(false, true, ttl))
	soft(t, conn, 406, inequivalent("x-message-ttl", "none but current is the value '60000' of type 'signedint'"), again(false, false, nil))
	soft(t, conn, 406, inequivalent("x-message-ttl", "'1' but current is '60000'"),
		again(false, false, amqp.Table{"x-message-ttl": int32(1)}))
	soft(t, conn, 406, inequivalent("x-max-length", "the value '1000' of type 'long' but current is none"),
		again(false, false, amqp.Table{"x-message-ttl": int32(60000), "x-max-length": int64(1000)}))
	must(t, again(false, false, amqp.Table{"x-message-ttl": int32(60000), "x-unknown": "ignored"})(ch))
	must(t, again(false, false, amqp.Table{"x-message-ttl": int32(60000), "x-queue-type": "classic"})(ch))
}

func TestAMQP49_LengthLimits(t *testing.T) {
	conn, ch := open(t)
	dead := queue(t, ch, nil)
	limited := func(args amqp.Table) string {
		args["x-dead-letter-exchange"], args["x-dead-letter-routing-key"] = "", dead
		return queue(t, ch, args)
	}
	fill := func(t *testing.T, q string, bodies ...string) (acks string) {
		pub := confirming(t, conn)
		for _, b := range bodies {
			if confirm(t, pub, "", q, text(b)) {
				acks += "+"
			} else {
				acks += "-"
			}
		}
		return acks
	}
	t.Run("AMQP-49 drop-head", func(t *testing.T) {
		q := limited(amqp.Table{"x-max-length": int32(2)})
		if acks := fill(t, q, "1", "2", "3"); acks != "+++" {
			t.Errorf("confirms = %s, want +++", acks)
		}
		if d := get(t, ch, dead, true); string(d.Body) != "1" || d.Headers["x-first-death-reason"] != "maxlen" {
			t.Errorf("dead letter %q, %v", d.Body, d.Headers)
		}
		wantBodies(t, consume(t, ch, q, nil), "2", "3")
	})
	t.Run("AMQP-49 bytes", func(t *testing.T) {
		q := limited(amqp.Table{"x-max-length-bytes": int32(10)})
		fill(t, q, "aaaa", "bbbb", "cccc")
		if d := get(t, ch, dead, true); string(d.Body) != "aaaa" {
			t.Errorf("dead letter %q, want aaaa", d.Body)
		}
	})
	t.Run("AMQP-49 reject-publish", func(t *testing.T) {
		q := limited(amqp.Table{"x-max-length": int32(2), "x-overflow": "reject-publish"})
		if acks := fill(t, q, "1", "2", "3", "4"); acks != "++--" {
			t.Errorf("confirms = %s, want ++--", acks)
		}
		empty(t, ch, dead)
		wantBodies(t, consume(t, ch, q, nil), "1", "2")
	})
	t.Run("AMQP-49 reject-publish-dlx", func(t *testing.T) {
		q := limited(amqp.Table{"x-max-length": int32(1), "x-overflow": "reject-publish-dlx"})
		if acks := fill(t, q, "1", "2"); acks != "+-" {
			t.Errorf("confirms = %s, want +-", acks)
		}
		if d := get(t, ch, dead, true); string(d.Body) != "2" {
			t.Errorf("dead letter %q, want 2", d.Body)
		}
	})
	t.Run("AMQP-49 unacknowledged messages do not count", func(t *testing.T) {
		q := limited(amqp.Table{"x-max-length": int32(1)})
		in := consume(t, ch, q, nil)
		send(t, q, "1", "2", "3")
		wantBodies(t, in, "1", "2", "3")
		empty(t, ch, dead)
	})
}

func TestAMQP50_Priorities(t *testing.T) {
	_, ch := open(t)
	q := queue(t, ch, amqp.Table{"x-max-priority": int32(5)})
	var msgs []amqp.Publishing
	for _, m := range []string{"0a", "3a", "9a", "3b", "5a", "0b", "1a"} {
		msgs = append(msgs, amqp.Publishing{Body: []byte(m), Priority: m[0] - '0'})
	}
	sendTo(t, "", q, msgs...)
	wantBodies(t, consume(t, ch, q, nil), "9a", "5a", "3a", "3b", "1a", "0a", "0b")
}

func TestAMQP51_SingleActiveConsumer(t *testing.T) {
	_, ch := open(t)
	q := queue(t, ch, amqp.Table{"x-single-active-consumer": true})
	first, second := consumeTag(t, ch, q, "first", nil), consumeTag(t, ch, q, "second", nil)
	send(t, q, "1", "2")
	for _, d := range wantBodies(t, first, "1", "2") {
		must(t, d.Ack(false))
	}
	must(t, ch.Cancel("first", false))
	send(t, q, "3")
	wantBodies(t, second, "3")
}

func TestAMQP51_ExclusiveConsumer(t *testing.T) {
	conn, ch := open(t)
	q := queue(t, ch, nil)
	exclusive := func(ch *amqp.Channel) error {
		_, err := ch.Consume(q, "x", true, true, false, false, nil)
		return err
	}
	text := fmt.Sprintf("ACCESS_REFUSED - queue '%s' in vhost '/' in exclusive use", q)
	must(t, exclusive(ch))
	soft(t, conn, 403, text, exclusive)
	soft(t, conn, 403, text, func(ch *amqp.Channel) error {
		_, err := ch.Consume(q, "y", true, false, false, false, nil)
		return err
	})
	must(t, ch.Cancel("x", false))
	consumeTag(t, ch, q, "z", nil)
	soft(t, conn, 403, text, exclusive)
}

func TestAMQP54_AcceptedArguments(t *testing.T) {
	_, ch := open(t)
	for _, args := range []amqp.Table{
		{"x-queue-mode": "lazy"}, {"x-queue-version": int32(2)}, {"x-queue-version": int32(1)},
		{"x-ha-policy": "all"}, {"ha-mode": "all"}, {"x-made-up": amqp.Table{"a": []any{int32(1)}}},
	} {
		q := durable(t, ch, args)
		send(t, q, "m")
		get(t, ch, q, true)
	}
}

func TestAMQP55_TransientSharedQueue(t *testing.T) {
	_, ch := open(t)
	q := queue(t, ch, nil)
	send(t, q, "m")
	_, other := open(t)
	get(t, other, q, true)
}

func TestAMQP56_Counts(t *testing.T) {
	conn, ch := open(t)
	q := queue(t, ch, nil)
	send(t, q, "1", "2", "3")
	consumeTag(t, channel(t, conn), queue(t, ch, nil), "elsewhere", nil)
	d, err := ch.QueueDeclarePassive(q, false, false, false, false, nil)
	must(t, err)
	if d.Messages != 3 || d.Consumers != 0 {
		t.Errorf("declare-ok = %d messages, %d consumers, want 3, 0", d.Messages, d.Consumers)
	}
	soft(t, conn, 406, fmt.Sprintf("PRECONDITION_FAILED - queue '%s' in vhost '/' not empty", q), func(ch *amqp.Channel) error {
		_, err := ch.QueueDelete(q, false, true, false)
		return err
	})
	get(t, ch, q, false) // unacknowledged: neither counted nor purged
	if n, err := ch.QueuePurge(q, false); err != nil || n != 2 {
		t.Errorf("purge-ok = %d, %v, want 2", n, err)
	}
	send(t, q, "4")
	if n, err := ch.QueueDelete(q, false, false, false); err != nil || n != 1 {
		t.Errorf("delete-ok = %d, %v, want 1", n, err)
	}
	q = queue(t, ch, nil)
	consumeTag(t, ch, q, "c", nil)
	d, err = ch.QueueDeclare(q, false, false, false, false, nil)
	must(t, err)
	if d.Messages != 0 || d.Consumers != 1 {
		t.Errorf("declare-ok = %d messages, %d consumers, want 0, 1", d.Messages, d.Consumers)
	}
}

func TestAMQP58_QueueDeletionCancelsConsumers(t *testing.T) {
	conn, ch := open(t)
	q := queue(t, ch, nil)
	cancelled := ch.NotifyCancel(make(chan string, 1))
	in := consumeTag(t, ch, q, "c1", nil)
	_, err := channel(t, conn).QueueDelete(q, false, false, false)
	must(t, err)
	select {
	case tag := <-cancelled:
		if tag != "c1" {
			t.Errorf("cancelled %q, want c1", tag)
		}
	case <-time.After(wait):
		t.Fatal("no basic.cancel")
	}
	silent(t, in)
}

func TestAMQP59_Names(t *testing.T) {
	_, ch := open(t)
	for _, name := range []string{"with spaces ", "with/slashes//", "ünïcödé-キュー", strings.Repeat("n", 255), "quote'\"\\", "%2F"} {
		q, err := ch.QueueDeclare(name, false, false, true, false, nil)
		must(t, err)
		if q.Name != name {
			t.Errorf("name = %q, want %q", q.Name, name)
		}
		send(t, name, "m")
		get(t, ch, name, true)
	}
	q, err := ch.QueueDeclare("conf.cr\r\nlf", false, false, true, false, nil)
	must(t, err)
	if q.Name != "conf.crlf" {
		t.Errorf("name = %q, want CR and LF stripped", q.Name)
	}
	if !exists(t, "conf.crlf") {
		t.Error("queue not found under its stripped name")
	}
}
