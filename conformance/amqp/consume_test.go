package amqpconf

import (
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

func numbered(n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = itoa(i)
	}
	return out
}

func TestAMQP69_Prefetch(t *testing.T) {
	t.Run("AMQP-69 per consumer", func(t *testing.T) {
		_, ch := open(t)
		qa, qb := queue(t, ch, nil), queue(t, ch, nil)
		send(t, qa, numbered(5)...)
		send(t, qb, numbered(5)...)
		must(t, ch.Qos(2, 0, false))
		a := consume(t, ch, qa, nil)
		must(t, ch.Qos(1, 0, false)) // for consumers to come
		b := consume(t, ch, qb, nil)
		da := wantBodies(t, a, "0", "1")
		wantBodies(t, b, "0")
		silent(t, a)
		silent(t, b)
		must(t, da[0].Ack(false))
		wantBodies(t, a, "2")
		silent(t, b)
	})
	t.Run("AMQP-69 shared", func(t *testing.T) {
		skipDeviation(t, "AMQP-69 shared")
		_, ch := open(t)
		qa, qb := queue(t, ch, nil), queue(t, ch, nil)
		a, b := consume(t, ch, qa, nil), consume(t, ch, qb, nil)
		must(t, ch.Qos(2, 0, true)) // for existing consumers too
		send(t, qa, "a0", "a1")
		send(t, qb, "b0")
		da := wantBodies(t, a, "a0", "a1")
		silent(t, b)
		must(t, da[0].Ack(false))
		wantBodies(t, b, "b0")
	})
	t.Run("AMQP-69 shared limit lifted on a live channel", func(t *testing.T) {
		_, ch := open(t)
		q := queue(t, ch, nil)
		must(t, ch.Qos(1, 0, true))
		send(t, q, numbered(4)...)
		in := consume(t, ch, q, nil)
		wantBodies(t, in, "0")
		silent(t, in)
		must(t, ch.Qos(3, 0, true))
		wantBodies(t, in, "1", "2")
		silent(t, in)
		must(t, ch.Qos(0, 0, true))
		wantBodies(t, in, "3")
	})
	t.Run("AMQP-69 unlimited", func(t *testing.T) {
		_, ch := open(t)
		q := queue(t, ch, nil)
		send(t, q, numbered(300)...)
		must(t, ch.Qos(0, 0, false))
		wantBodies(t, consume(t, ch, q, nil), numbered(300)...)
	})
	t.Run("AMQP-69 prefetch size", func(t *testing.T) {
		r := rawOpen(t, guest)
		r.channel(1)
		r.method(1, basicQos, new(args).long(100).short(1).octet(0))
		wantClosing(t, r.expectClose(0), 540, "NOT_IMPLEMENTED - prefetch_size!=0 (100)")
	})
}

func TestAMQP70_RoundRobinAndConsumerPriority(t *testing.T) {
	t.Run("AMQP-70 round-robin", func(t *testing.T) {
		_, ch := open(t)
		q := queue(t, ch, nil)
		a, b, c := consume(t, ch, q, nil), consume(t, ch, q, nil), consume(t, ch, q, nil)
		send(t, q, numbered(30)...)
		for range 10 {
			recv(t, a)
			recv(t, b)
			recv(t, c)
		}
	})
	t.Run("AMQP-70 priority", func(t *testing.T) {
		_, ch := open(t)
		q := queue(t, ch, nil)
		must(t, ch.Qos(2, 0, false))
		low := consume(t, ch, q, amqp.Table{"x-priority": int32(-5)})
		mid := consume(t, ch, q, nil)
		high := consume(t, ch, q, amqp.Table{"x-priority": int32(10)})
		send(t, q, numbered(5)...)
		wantBodies(t, high, "0", "1")
		wantBodies(t, mid, "2", "3")
		wantBodies(t, low, "4")
	})
}

func TestAMQP71_NackAndReject(t *testing.T) {
	t.Run("AMQP-71 multiple, back in place", func(t *testing.T) {
		ch, q := held(t, "a", "b", "c", "d")
		must(t, ch.Ack(3, false))
		must(t, ch.Cancel("holder", false))
		must(t, ch.Nack(2, true, true))
		must(t, ch.Nack(4, false, true))
		_, other := open(t)
		for _, d := range wantBodies(t, consume(t, other, q, nil), "a", "b", "d") {
			if !d.Redelivered {
				t.Errorf("%q not flagged redelivered", d.Body)
			}
		}
	})
	t.Run("AMQP-71 reject dead-letters", func(t *testing.T) {
		_, ch := open(t)
		dead := queue(t, ch, nil)
		q := queue(t, ch, amqp.Table{"x-dead-letter-exchange": "", "x-dead-letter-routing-key": dead})
		send(t, q, "a", "b", "c")
		d := wantBodies(t, consume(t, ch, q, nil), "a", "b", "c")
		must(t, d[0].Reject(false))
		must(t, d[2].Nack(true, false))
		for _, want := range []string{"a", "b", "c"} {
			got := get(t, ch, dead, true)
			if string(got.Body) != want || got.Headers["x-first-death-reason"] != "rejected" {
				t.Errorf("dead letter %q, %v, want %q", got.Body, got.Headers["x-first-death-reason"], want)
			}
		}
	})
	t.Run("AMQP-71 reject without dead-lettering drops", func(t *testing.T) {
		ch, q := held(t, "a")
		must(t, ch.Reject(1, false))
		must(t, ch.Close())
		_, other := open(t)
		empty(t, other, q)
	})
}

// deaths is the x-death header.
func deaths(d amqp.Delivery) []amqp.Table {
	var out []amqp.Table
	list, _ := d.Headers["x-death"].([]any)
	for _, e := range list {
		if t, ok := e.(amqp.Table); ok {
			out = append(out, t)
		}
	}
	return out
}

func TestAMQP72_DeathHistory(t *testing.T) {
	_, ch := open(t)
	x := exchange(t, ch, "topic", nil)
	dlx := exchange(t, ch, "fanout", nil)
	dead := queue(t, ch, amqp.Table{"x-dead-letter-exchange": x, "x-dead-letter-routing-key": "again"})
	q := queue(t, ch, amqp.Table{"x-dead-letter-exchange": dlx})
	bind(t, ch, q, "#", x, nil)
	bind(t, ch, dead, "", dlx, nil)
	sendTo(t, x, "first.key", amqp.Publishing{Body: []byte("m"), Headers: amqp.Table{"mine": "kept"}})

	d := get(t, ch, q, false)
	must(t, d.Reject(false))
	d = get(t, ch, dead, false)
	if d.RoutingKey != "first.key" || d.Exchange != dlx {
		t.Errorf("dead letter from %q key %q, want %q first.key", d.Exchange, d.RoutingKey, dlx)
	}
	for header, want := range map[string]string{
		"x-first-death-reason": "rejected", "x-first-death-queue": q, "x-first-death-exchange": x, "mine": "kept",
	} {
		if d.Headers[header] != want {
			t.Errorf("%s = %v, want %s", header, d.Headers[header], want)
		}
	}
	wantDeath(t, d, 0, 1, q, "rejected", x, "first.key")

	must(t, d.Reject(false)) // dead -> x with the key "again" -> q
	d = get(t, ch, q, false)
	if d.RoutingKey != "again" {
		t.Errorf("key = %q, want again", d.RoutingKey)
	}
	wantDeath(t, d, 0, 1, dead, "rejected", dlx, "first.key")
	wantDeath(t, d, 1, 1, q, "rejected", x, "first.key")

	must(t, d.Reject(false)) // second death in q: counted, and first again
	d = get(t, ch, dead, true)
	wantDeath(t, d, 0, 2, q, "rejected", x, "first.key")
	wantDeath(t, d, 1, 1, dead, "rejected", dlx, "first.key")
	if d.Headers["x-first-death-queue"] != q {
		t.Errorf("x-first-death-queue = %v, want it unchanged", d.Headers["x-first-death-queue"])
	}
	t.Run("AMQP-72 x-last-death", func(t *testing.T) {
		skipDeviation(t, "AMQP-72 x-last-death")
		if d.Headers["x-last-death-queue"] != q || d.Headers["x-last-death-reason"] != "rejected" || d.Headers["x-last-death-exchange"] != x {
			t.Errorf("headers = %v", d.Headers)
		}
	})
}

func wantDeath(t *testing.T, d amqp.Delivery, i, count int, queue, reason, exchange, key string) {
	t.Helper()
	list := deaths(d)
	if len(list) <= i {
		t.Fatalf("x-death = %v, want entry %d", d.Headers["x-death"], i)
	}
	e := list[i]
	if e["count"] != int64(count) || e["queue"] != queue || e["reason"] != reason || e["exchange"] != exchange {
		t.Errorf("x-death[%d] = %v, want count %d queue %s reason %s exchange %s", i, e, count, queue, reason, exchange)
	}
	if keys := fmt.Sprint(e["routing-keys"]); keys != "["+key+"]" {
		t.Errorf("routing-keys = %s, want [%s]", keys, key)
	}
	if _, ok := e["time"].(time.Time); !ok {
		t.Errorf("time = %T, want a timestamp", e["time"])
	}
}

func TestAMQP72_CyclesAndMissingTargets(t *testing.T) {
	_, ch := open(t)
	t.Run("AMQP-72 a cycle without a rejection ends", func(t *testing.T) {
		q := unique(t, "loop")
		_, err := ch.QueueDeclare(q, false, false, false, false, amqp.Table{
			"x-message-ttl": int32(20), "x-dead-letter-exchange": "", "x-dead-letter-routing-key": q})
		must(t, err)
		dropQueue(t, q)
		send(t, q, "m")
		eventually(t, "message dropped", func() bool { return ready(t, ch, q) == 0 })
		silent(t, consume(t, ch, q, nil))
	})
	t.Run("AMQP-72 missing exchange drops", func(t *testing.T) {
		q := queue(t, ch, amqp.Table{"x-dead-letter-exchange": "conf.none"})
		send(t, q, "a", "b")
		must(t, get(t, ch, q, false).Reject(false))
		if d := get(t, ch, q, true); string(d.Body) != "b" {
			t.Errorf("got %q, want b", d.Body)
		}
		empty(t, ch, q)
	})
}

func TestAMQP73_Recover(t *testing.T) {
	_, ch := open(t)
	for name, method := range map[string]int{"sync": basicRecover, "async": basicRecoverAsync} {
		t.Run("AMQP-73 "+name, func(t *testing.T) {
			q := queue(t, ch, nil)
			send(t, q, "a", "b")
			r := rawOpen(t, guest)
			r.channel(1)
			r.method(1, basicConsume, new(args).short(0).shortstr(q).shortstr("c").octet(0).raw(table()))
			r.expect(1, basicConsumeOK)
			r.expectContent(1, basicDeliver)
			r.expectContent(1, basicDeliver)
			r.method(1, method, new(args).octet(1))
			if method == basicRecover {
				r.expect(1, basicRecoverOK)
			}
			for i, body := range []string{"a", "b"} {
				c := r.expectContent(1, basicDeliver)
				c.args.shortstr()
				if tag := c.args.llong(); tag != uint64(3+i) || c.args.octet() != 1 || string(c.body) != body {
					t.Errorf("delivered %q with tag %d, want %q, tag %d, redelivered", c.body, tag, body, 3+i)
				}
			}
		})
	}
	t.Run("AMQP-73 requeue=false", func(t *testing.T) {
		r := rawOpen(t, guest)
		r.channel(1)
		r.method(1, basicRecover, new(args).octet(0))
		wantClosing(t, r.expectClose(0), 540, "NOT_IMPLEMENTED - requeue=false")
	})
}

func TestAMQP74_Cancel(t *testing.T) {
	_, ch := open(t)
	q := queue(t, ch, nil)
	send(t, q, "a")
	in := consumeTag(t, ch, q, "c", nil)
	d := recv(t, in)
	must(t, ch.Cancel("c", false))
	send(t, q, "b")
	if _, more := <-in; more {
		t.Error("delivery after cancel-ok")
	}
	wantReady(t, ch, q, 1)
	must(t, d.Ack(false)) // still ours
	must(t, ch.Cancel("never-existed", false))
	if d := get(t, ch, q, true); string(d.Body) != "b" {
		t.Errorf("got %q, want b", d.Body)
	}
}

func TestAMQP75_DuplicateConsumerTag(t *testing.T) {
	_, ch := open(t)
	q := queue(t, ch, nil)
	r := rawOpen(t, guest)
	r.channel(1)
	r.method(1, basicConsume, new(args).short(0).shortstr(q).shortstr("t").octet(0).raw(table()))
	r.expect(1, basicConsumeOK)
	r.method(1, basicConsume, new(args).short(0).shortstr(q).shortstr("t").octet(0).raw(table()))
	wantClosing(t, r.expectClose(0), 530, "NOT_ALLOWED - attempt to reuse consumer tag 't'")
}

func TestAMQP76_Get(t *testing.T) {
	_, ch := open(t)
	q := queue(t, ch, nil)
	empty(t, ch, q)
	send(t, q, "a", "b", "c")
	d := get(t, ch, q, false)
	if string(d.Body) != "a" || d.MessageCount != 2 || d.DeliveryTag != 1 || d.RoutingKey != q || d.Redelivered {
		t.Errorf("got %q count %d tag %d key %q", d.Body, d.MessageCount, d.DeliveryTag, d.RoutingKey)
	}
	if d := get(t, ch, q, true); string(d.Body) != "b" || d.MessageCount != 1 {
		t.Errorf("got %q count %d, want b, 1", d.Body, d.MessageCount)
	}
	must(t, ch.Close()) // "b" is gone, "a" returns
	_, ch = open(t)
	if d := get(t, ch, q, true); string(d.Body) != "a" || !d.Redelivered {
		t.Errorf("got %q redelivered %v, want a, true", d.Body, d.Redelivered)
	}
	get(t, ch, q, true)
	empty(t, ch, q)
}

const replyTo = "amq.rabbitmq.reply-to"

func TestAMQP77_DirectReplyTo(t *testing.T) {
	conn, client := open(t)
	_, server := open(t)
	q := queue(t, server, nil)
	replies, err := client.Consume(replyTo, "", true, false, false, false, nil)
	must(t, err)
	publish(t, client, "", q, amqp.Publishing{Body: []byte("ask"), ReplyTo: replyTo, CorrelationId: "7"})
	ask := recv(t, consume(t, server, q, nil))
	if !strings.HasPrefix(ask.ReplyTo, replyTo+".") {
		t.Fatalf("reply_to = %q, want %s.<something>", ask.ReplyTo, replyTo)
	}
	if _, err := server.QueueDeclarePassive(ask.ReplyTo, false, false, false, false, nil); err != nil {
		t.Errorf("reply address not known while the client waits: %v", err)
	}
	publish(t, server, "", ask.ReplyTo, amqp.Publishing{Body: []byte("answer"), CorrelationId: ask.CorrelationId})
	if d := wantBodies(t, replies, "answer")[0]; d.CorrelationId != "7" || d.Exchange != "" {
		t.Errorf("reply = %+v", d)
	}
	for name, c := range map[string]struct {
		code int
		text string
		op   func(*amqp.Channel) error
	}{
		"needs no_ack": {406, "PRECONDITION_FAILED - reply consumer cannot acknowledge", func(ch *amqp.Channel) error {
			_, err := ch.Consume(replyTo, "", false, false, false, false, nil)
			return err
		}},
		"one per channel": {406, "PRECONDITION_FAILED - reply consumer already set", func(ch *amqp.Channel) error {
			_, err := ch.Consume(replyTo, "", true, false, false, false, nil)
			must(t, err)
			_, err = ch.Consume(replyTo, "", true, false, false, false, nil)
			return err
		}},
		"consumer first": {406, "PRECONDITION_FAILED - fast reply consumer does not exist", func(ch *amqp.Channel) error {
			return ch.Publish("", q, false, false, amqp.Publishing{ReplyTo: replyTo})
		}},
		"unknown address": {404, "~NOT_FOUND - no queue '" + replyTo + ".gone' in vhost '/'", func(ch *amqp.Channel) error {
			_, err := ch.QueueDeclarePassive(replyTo+".gone", false, false, false, false, nil)
			return err
		}},
	} {
		t.Run("AMQP-77 "+name, func(t *testing.T) { soft(t, conn, c.code, c.text, c.op) })
	}
	t.Run("AMQP-77 client gone", func(t *testing.T) {
		must(t, client.Close())
		pub := confirming(t, dial(t))
		returns := pub.NotifyReturn(make(chan amqp.Return, 1))
		must(t, pub.Publish("", ask.ReplyTo, true, false, text("late")))
		select {
		case <-returns:
		case <-time.After(wait):
			t.Error("mandatory reply to a client that left was not returned")
		}
	})
}

func TestAMQP78_ChannelFlow(t *testing.T) {
	r := rawOpen(t, guest)
	r.channel(1)
	r.method(1, channelFlow, new(args).octet(1))
	if p := r.expect(1, channelFlowOK); p.octet() != 1 {
		t.Error("flow-ok active = false, want true")
	}
	r.method(1, accessRequest, new(args).shortstr("/data").octet(0x1f))
	if ticket := r.expect(1, accessRequestOK).short(); ticket != 1 {
		t.Errorf("ticket = %d, want 1", ticket)
	}
	r.method(1, channelFlow, new(args).octet(0))
	wantClosing(t, r.expectClose(0), 540, "NOT_IMPLEMENTED - active=false")
}

func TestAMQP79_ResetConsumerReturnsMessages(t *testing.T) {
	_, ch := open(t)
	q := queue(t, ch, nil)
	send(t, q, "m")
	r := rawOpen(t, guest)
	r.channel(1)
	r.method(1, basicConsume, new(args).short(0).shortstr(q).shortstr("c").octet(0).raw(table()))
	r.expect(1, basicConsumeOK)
	r.expectContent(1, basicDeliver)
	in := consume(t, ch, q, nil)
	must(t, r.conn.(*net.TCPConn).SetLinger(0))
	must(t, r.conn.Close()) // TCP reset
	if d := wantBodies(t, in, "m")[0]; !d.Redelivered {
		t.Error("not flagged redelivered")
	}
}

func TestAMQP80_SlowConsumer(t *testing.T) {
	_, ch := open(t)
	slow, fast := queue(t, ch, nil), queue(t, ch, nil)
	r := rawOpen(t, guest)
	must(t, r.conn.(*net.TCPConn).SetReadBuffer(4096))
	r.channel(1)
	r.method(1, basicConsume, new(args).short(0).shortstr(slow).shortstr("c").octet(2).raw(table()))
	r.expect(1, basicConsumeOK) // and never reads again
	before := sample(t)
	pub := confirming(t, dial(t))
	body := strings.Repeat("x", 16<<10)
	const n = 4000 // 64 MiB
	for i := range n {
		if i%100 == 99 {
			confirm(t, pub, "", slow, text(body))
			continue
		}
		publish(t, pub, "", slow, text(body))
	}
	in := consume(t, ch, fast, nil)
	for i := range 100 {
		confirm(t, pub, "", fast, text(itoa(i)))
		must(t, wantBodies(t, in, itoa(i))[0].Ack(false))
	}
	if grown := sample(t).RSS - before.RSS; grown > 4*n*16<<10 {
		t.Errorf("memory grew by %d MiB for %d MiB of messages", grown>>20, n*16>>10)
	}
	must(t, r.conn.Close())
	eventually(t, "slow queue answers again", func() bool {
		_, err := ch.QueuePurge(slow, false)
		must(t, err)
		return ready(t, ch, slow) == 0
	})
}
