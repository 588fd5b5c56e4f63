package amqp

import (
	"strings"
	"testing"
	"time"

	"github.com/hermodmq/hermod/listeners/amqp/wire"
)

func hours(n int) time.Duration { return time.Duration(n) * time.Hour }

func TestPublishConsumeAck(t *testing.T) {
	c := newWorld(t, Options{}).channel()
	c.declare("q", nil)
	props := wire.Properties{ContentType: "text/plain", Headers: wire.Table{{Name: "h", Value: int32(1)}}, CorrelationID: "c1"}
	c.publishWith("", "q", false, props, "hello")
	c.consume("q", "t")
	d, m := c.delivery()
	if d.ConsumerTag != "t" || d.DeliveryTag != 1 || d.Redelivered || d.Exchange != "" || d.RoutingKey != "q" || m.body != "hello" {
		t.Errorf("delivered %+v %q", d, m.body)
	}
	if got, want := string(m.props.Append(nil)), string(props.Append(nil)); got != want {
		t.Errorf("properties %x, want %x", got, want)
	}
	c.send(1, &wire.BasicAck{DeliveryTag: 1})
	c.barrier()
	c.send(1, &wire.BasicAck{DeliveryTag: 1})
	c.channelClosed(1).want(t, 406, "unknown delivery tag 1", wire.IDBasicAck)
}

func TestBodiesOfManyFrames(t *testing.T) { // AMQP-8, AMQP-64
	c := newWorld(t, Options{}).channel()
	c.declare("q", nil)
	c.frameMax = 4096
	large := strings.Repeat("x", 300_000)
	c.publish("", "q", large)
	c.frameMax = 131072
	c.publish("", "q", "")
	b := wire.AppendMethod(nil, 1, &wire.BasicPublish{RoutingKey: "q"})
	b = wire.AppendHeader(b, 1, 3, []byte{0, 0})
	for _, s := range []string{"", "a", "", "b", "c"} {
		b = wire.AppendFrame(b, wire.FrameBody, 1, []byte(s))
	}
	c.raw(b)
	c.publish("", "q", strings.Repeat("m", 1<<20))
	for i, want := range []string{large, "", "abc", strings.Repeat("m", 1<<20)} {
		_, m, ok := c.get("q", true)
		if !ok || m.body != want {
			t.Errorf("message %d: %v, %d bytes, want %d", i, ok, len(m.body), len(want))
		}
	}
	c.send(1, &wire.BasicPublish{RoutingKey: "q"})
	c.raw(wire.AppendHeader(nil, 1, 1<<20+1, []byte{0, 0}))
	c.raw(wire.AppendBody(nil, 1, make([]byte, 1<<20+1), 131072)) // is ignored
	c.channelClosed(1).want(t, 406, "message size 1048577 is larger than configured max size 1048576", wire.IDBasicPublish)
	c.channel(1)
	c.barrier()
}

func TestGet(t *testing.T) { // AMQP-76
	c := newWorld(t, Options{}).channel()
	c.declare("q", nil)
	if _, _, ok := c.get("q", false); ok {
		t.Fatal("got something of nothing")
	}
	for _, s := range []string{"a", "b", "c"} {
		c.publish("", "q", s)
	}
	for i, want := range []string{"a", "b", "c"} {
		g, m, ok := c.get("", i == 1)
		if !ok || m.body != want || g.MessageCount != uint32(2-i) || g.DeliveryTag != uint64(i+1) || g.RoutingKey != "q" {
			t.Errorf("get %d: %+v %q", i, g, m.body)
		}
	}
	c.send(1, &wire.BasicAck{DeliveryTag: 0, Multiple: true}) // AMQP-26
	c.barrier()
	c.send(1, &wire.BasicReject{DeliveryTag: 2})
	c.channelClosed(1).want(t, 406, "unknown delivery tag 2", wire.IDBasicReject)
}

func TestPipelinedGetsAnswerInOrder(t *testing.T) {
	c := newWorld(t, Options{}).channel()
	c.declare("q", nil)
	var b []byte
	b = wire.AppendPublish(b, 1, "", "q", false, []byte{0, 0}, []byte("one"), 4096)
	b = wire.AppendMethod(b, 1, &wire.BasicGet{Queue: "q"})
	b = wire.AppendMethod(b, 1, &wire.BasicGet{Queue: "q"})
	b = wire.AppendMethod(b, 1, &wire.AccessRequest{})
	c.raw(b)
	expect[*wire.BasicGetOk](c, 1)
	c.content(1)
	expect[*wire.BasicGetEmpty](c, 1)
	expect[*wire.AccessRequestOk](c, 1)
}

func TestPrefetch(t *testing.T) { // AMQP-69
	c := newWorld(t, Options{}).channel()
	c.declare("q", nil)
	for range 5 {
		c.publish("", "q", "m")
	}
	c.send(1, &wire.BasicQos{PrefetchCount: 2})
	expect[*wire.BasicQosOk](c, 1)
	c.consume("q", "t")
	c.delivery()
	c.delivery()
	c.barrier()
	c.send(1, &wire.BasicAck{DeliveryTag: 2, Multiple: true})
	c.delivery()
	c.delivery()
	c.barrier()
	c.send(1, &wire.BasicNack{DeliveryTag: 4, Multiple: true, Requeue: true})
	d, _ := c.delivery()
	if !d.Redelivered || d.DeliveryTag != 5 {
		t.Errorf("redelivered as %+v", d)
	}
}

func TestChannelCloseRequeues(t *testing.T) { // AMQP-27
	w := newWorld(t, Options{})
	c := w.channel()
	c.declare("q", nil)
	for _, s := range []string{"a", "b", "c"} {
		c.publish("", "q", s)
	}
	c.consume("q", "t")
	for range 3 {
		c.delivery()
	}
	c.send(1, &wire.BasicAck{DeliveryTag: 2})
	c.send(1, &wire.ChannelClose{})
	expect[*wire.ChannelCloseOk](c, 1)
	c.channel(1)
	for _, want := range []string{"a", "c"} {
		g, m, ok := c.get("q", true)
		if !ok || m.body != want || !g.Redelivered {
			t.Errorf("got %q %+v, want %q redelivered", m.body, g, want)
		}
	}
}

func TestConsumerGoneIsReplaced(t *testing.T) { // AMQP-79
	w := newWorld(t, Options{})
	a, b := w.channel(), w.channel()
	a.declare("q", nil)
	a.consume("q", "t")
	a.publish("", "q", "m")
	a.delivery()
	b.consume("q", "t")
	a.peer.HangUp(nil)
	if d, m := b.delivery(); !d.Redelivered || m.body != "m" {
		t.Errorf("delivered %+v %q", d, m.body)
	}
}

func TestRecover(t *testing.T) { // AMQP-73
	c := newWorld(t, Options{}).channel()
	c.declare("q", nil)
	c.publish("", "q", "a")
	c.publish("", "q", "b")
	c.consume("q", "t")
	c.delivery()
	c.delivery()
	c.send(1, &wire.BasicRecover{Requeue: true})
	expect[*wire.BasicRecoverOk](c, 1)
	for _, want := range []string{"a", "b"} {
		if d, m := c.delivery(); !d.Redelivered || m.body != want {
			t.Errorf("delivered %+v %q, want %q", d, m.body, want)
		}
	}
}

func TestCancel(t *testing.T) { // AMQP-74
	c := newWorld(t, Options{}).channel()
	c.declare("q", nil)
	c.consume("q", "t")
	c.publish("", "q", "held")
	c.delivery()
	c.send(1, &wire.BasicCancel{ConsumerTag: "t"})
	if m := expect[*wire.BasicCancelOk](c, 1); m.ConsumerTag != "t" {
		t.Errorf("cancelled %q", m.ConsumerTag)
	}
	c.publish("", "q", "later")
	c.barrier()
	if n := c.ready("q"); n != 1 {
		t.Errorf("%d ready, the held one has to stay unacked", n)
	}
	c.send(1, &wire.BasicCancel{ConsumerTag: "unknown"})
	expect[*wire.BasicCancelOk](c, 1)
	c.send(1, &wire.BasicAck{DeliveryTag: 1})
	c.barrier()
}

// TestCancelBehindDeliveries cancels a consumer whose deliveries are still in
// its mailbox: acknowledging ones go back unsent, others are sent first.
func TestCancelBehindDeliveries(t *testing.T) {
	for _, noAck := range []bool{false, true} {
		c := newWorld(t, Options{}).channel()
		c.declare("q", nil)
		var b []byte
		b = wire.AppendMethod(b, 1, &wire.BasicConsume{Queue: "q", ConsumerTag: "t", NoAck: noAck})
		for range 3 {
			b = wire.AppendPublish(b, 1, "", "q", false, []byte{0, 0}, []byte("m"), 4096)
		}
		b = wire.AppendMethod(b, 1, &wire.BasicCancel{ConsumerTag: "t"})
		c.raw(b)
		expect[*wire.BasicConsumeOk](c, 1)
		sent := 0
		for {
			f := c.next()
			id, _ := wire.MethodIDOf(f.Payload)
			if id == wire.IDBasicCancelOk {
				break
			}
			c.content(1)
			sent++
		}
		if noAck && sent != 3 {
			t.Errorf("%d of 3 were sent", sent)
		}
		if got := c.ready("q"); got != 3-sent {
			t.Errorf("no-ack %v: %d sent, %d ready", noAck, sent, got)
		}
		if g, _, ok := c.get("q", true); ok && g.Redelivered {
			t.Error("what was never sent counts as redelivered")
		}
	}
}

func TestConsumerTags(t *testing.T) { // AMQP-75
	c := newWorld(t, Options{}).channel()
	c.declare("q", nil)
	c.send(1, &wire.BasicConsume{})
	if m := expect[*wire.BasicConsumeOk](c, 1); !strings.HasPrefix(m.ConsumerTag, "amq.ctag-") {
		t.Errorf("server chose %q", m.ConsumerTag)
	}
	c.consume("q", "t")
	c.send(1, &wire.BasicConsume{Queue: "q", ConsumerTag: "t"})
	c.connectionClosed().want(t, 530, "attempt to reuse consumer tag 't'", wire.IDBasicConsume)
}

func TestConsumersPerChannelAreBounded(t *testing.T) {
	c := newWorld(t, Options{ConsumersPerChannel: 2}).channel()
	c.declare("q", nil)
	c.consume("q", "a")
	c.consume("q", "b")
	c.send(1, &wire.BasicConsume{Queue: "q"})
	c.connectionClosed().want(t, 530, "reached maximum (2) of consumers per channel", wire.IDBasicConsume)
}

func TestQueueDeletionCancelsConsumers(t *testing.T) { // AMQP-58
	c := newWorld(t, Options{}).channel()
	c.declare("q", nil)
	c.consume("q", "t")
	c.send(1, &wire.QueueDelete{Queue: "q"})
	seen := map[string]bool{}
	for range 2 {
		f := c.next()
		m, err := wire.DecodeMethod(f.Payload)
		if err != nil {
			t.Fatal(err)
		}
		seen[m.ID().String()] = true
		if cancel, ok := m.(*wire.BasicCancel); ok && (cancel.ConsumerTag != "t" || !cancel.NoWait) {
			t.Errorf("cancel %+v", cancel)
		}
	}
	if !seen["basic.cancel"] || !seen["queue.delete-ok"] {
		t.Errorf("saw %v", seen)
	}
}

func TestConfirms(t *testing.T) { // AMQP-60, AMQP-61
	w := newWorld(t, Options{})
	c := w.channel()
	c.declare("q", nil)
	c.send(1, &wire.QueueDeclare{Queue: "d", Durable: true})
	expect[*wire.QueueDeclareOk](c, 1)
	c.send(1, &wire.ConfirmSelect{})
	expect[*wire.ConfirmSelectOk](c, 1)
	c.publish("", "q", "transient")
	if m := expect[*wire.BasicAck](c, 1); m.DeliveryTag != 1 || m.Multiple {
		t.Errorf("ack %+v", m)
	}
	w.held = true
	persistent := wire.Properties{DeliveryMode: 2}
	for range 3 {
		c.publishWith("", "d", false, persistent, "m")
	}
	c.barrier() // no ack before the commit
	w.held = false
	if m := expect[*wire.BasicAck](c, 1); m.DeliveryTag != 4 || !m.Multiple {
		t.Errorf("ack %+v, want 4 and all before", m)
	}
	c.publishWith("", "nowhere", true, wire.Properties{MessageID: "m5"}, "lost")
	r := expect[*wire.BasicReturn](c, 1)
	m := c.content(1)
	if r.ReplyCode != 312 || r.ReplyText != "NO_ROUTE" || r.RoutingKey != "nowhere" || m.body != "lost" || m.props.MessageID != "m5" {
		t.Errorf("return %+v %+v", r, m)
	}
	if m := expect[*wire.BasicAck](c, 1); m.DeliveryTag != 5 {
		t.Errorf("ack %+v", m)
	}
	c.send(1, &wire.TxSelect{})
	c.channelClosed(1).want(t, 406, "cannot switch from confirm to tx mode", wire.IDTxSelect)
}

func TestRejectPublishIsNacked(t *testing.T) { // AMQP-49
	c := newWorld(t, Options{}).channel()
	c.declare("q", wire.Table{{Name: "x-max-length", Value: int32(1)}, {Name: "x-overflow", Value: "reject-publish"}})
	c.send(1, &wire.ConfirmSelect{})
	expect[*wire.ConfirmSelectOk](c, 1)
	c.publish("", "q", "a")
	expect[*wire.BasicAck](c, 1)
	c.publish("", "q", "b")
	if m := expect[*wire.BasicNack](c, 1); m.DeliveryTag != 2 || m.Multiple {
		t.Errorf("nack %+v", m)
	}
}

func TestPublishToMissingExchange(t *testing.T) { // AMQP-63
	c := newWorld(t, Options{}).channel()
	c.publish("nope", "k", "m")
	c.channelClosed(1).want(t, 404, "no exchange 'nope' in vhost '/'", wire.IDBasicPublish)
}

func TestPublishRefusals(t *testing.T) { // AMQP-40, AMQP-66
	for want, p := range map[string]wire.Properties{
		"invalid expiration 'soon': no_integer":                          {Expiration: "soon"},
		"user_id property set to 'a' but authenticated user was 'guest'": {UserID: "a"},
		`unacceptable_type_in_header,"CC",longstr`:                       {Headers: wire.Table{{Name: "CC", Value: "k"}}},
		"fast reply consumer does not exist":                             {ReplyTo: "amq.rabbitmq.reply-to"},
	} {
		c := newWorld(t, Options{}).channel()
		c.publishWith("", "q", false, p, "m")
		c.channelClosed(1).want(t, 406, want, wire.IDBasicPublish)
	}
}

func TestCarbonCopies(t *testing.T) { // AMQP-40
	c := newWorld(t, Options{}).channel()
	for _, q := range []string{"a", "b", "s"} {
		c.declare(q, nil)
	}
	c.publishWith("", "a", false, wire.Properties{Headers: wire.Table{
		{Name: "CC", Value: wire.Array{"b"}}, {Name: "BCC", Value: wire.Array{"s"}}, {Name: "k", Value: int32(1)},
	}}, "m")
	for _, q := range []string{"a", "b", "s"} {
		_, m, ok := c.get(q, true)
		if !ok {
			t.Fatalf("nothing in %s", q)
		}
		_, cc := m.props.Headers.Get("CC")
		_, bcc := m.props.Headers.Get("BCC")
		_, k := m.props.Headers.Get("k")
		if !cc || bcc || !k {
			t.Errorf("%s: CC %v, BCC %v, k %v", q, cc, bcc, k)
		}
	}
}

func TestTransactions(t *testing.T) { // AMQP-67
	w := newWorld(t, Options{})
	c := w.channel()
	c.declare("q", nil)
	c.publish("", "q", "first")
	c.consume("q", "t")
	c.delivery()
	c.send(1, &wire.TxSelect{})
	expect[*wire.TxSelectOk](c, 1)
	c.publish("", "q", "second")
	c.send(1, &wire.BasicAck{DeliveryTag: 1})
	c.barrier() // nothing is delivered before the commit
	c.send(1, &wire.TxRollback{})
	expect[*wire.TxRollbackOk](c, 1)
	c.send(1, &wire.BasicAck{DeliveryTag: 1}) // is unacknowledged again
	c.publish("", "q", "third")
	c.send(1, &wire.TxCommit{})
	committed, delivered := false, false
	for !committed || !delivered {
		f := c.next()
		switch id, _ := wire.MethodIDOf(f.Payload); id {
		case wire.IDTxCommitOk:
			committed = true
		case wire.IDBasicDeliver:
			if m := c.content(1); m.body != "third" {
				t.Errorf("delivered %q", m.body)
			}
			delivered = true
		default:
			t.Fatalf("unexpected %s", id)
		}
	}
	c.send(1, &wire.ConfirmSelect{})
	c.channelClosed(1).want(t, 406, "cannot switch from tx to confirm mode", wire.IDConfirmSelect)
}

func TestDirectReplyTo(t *testing.T) { // AMQP-77
	w := newWorld(t, Options{})
	asks, answers := w.channel(), w.channel()
	answers.declare("work", nil)
	answers.consume("work", "w")
	asks.send(1, &wire.BasicConsume{Queue: "amq.rabbitmq.reply-to", ConsumerTag: "r", NoAck: true})
	expect[*wire.BasicConsumeOk](asks, 1)
	asks.publishWith("", "work", false, wire.Properties{ReplyTo: "amq.rabbitmq.reply-to", CorrelationID: "7"}, "question")
	_, q := answers.delivery()
	if !strings.HasPrefix(q.props.ReplyTo, "amq.rabbitmq.reply-to.") {
		t.Fatalf("reply-to is %q", q.props.ReplyTo)
	}
	answers.send(1, &wire.QueueDeclare{Queue: q.props.ReplyTo, Passive: true})
	if m := expect[*wire.QueueDeclareOk](answers, 1); m.ConsumerCount != 1 {
		t.Errorf("declare of the address %+v", m)
	}
	answers.publishWith("", q.props.ReplyTo, true, wire.Properties{CorrelationID: "7"}, "answer")
	if d, m := asks.delivery(); d.ConsumerTag != "r" || m.body != "answer" || m.props.CorrelationID != "7" {
		t.Errorf("delivered %+v %+v", d, m)
	}
	answers.barrier() // not returned

	asks.send(1, &wire.BasicConsume{Queue: "amq.rabbitmq.reply-to", NoAck: true})
	asks.channelClosed(1).want(t, 406, "reply consumer already set", wire.IDBasicConsume)
	asks.channel(1)
	asks.send(1, &wire.BasicConsume{Queue: "amq.rabbitmq.reply-to"})
	asks.channelClosed(1).want(t, 406, "reply consumer cannot acknowledge", wire.IDBasicConsume)
	answers.send(1, &wire.QueueDeclare{Queue: q.props.ReplyTo})
	answers.channelClosed(1).want(t, 404, "no queue", wire.IDQueueDeclare)
}

func TestQuorumQueuesShowTheCount(t *testing.T) { // AMQP-52
	c := newWorld(t, Options{}).channel()
	c.send(1, &wire.QueueDeclare{Queue: "q", Durable: true, Arguments: wire.Table{{Name: "x-queue-type", Value: "quorum"}}})
	expect[*wire.QueueDeclareOk](c, 1)
	c.publishWith("", "q", false, wire.Properties{DeliveryMode: 2}, "m")
	c.consume("q", "t")
	_, m := c.delivery()
	if _, ok := m.props.Headers.Get("x-delivery-count"); ok {
		t.Error("x-delivery-count on the first delivery")
	}
	c.send(1, &wire.BasicReject{DeliveryTag: 1, Requeue: true})
	_, m = c.delivery()
	if n, _ := m.props.Headers.Get("x-delivery-count"); n != int64(1) {
		t.Errorf("x-delivery-count = %v", n)
	}
}

func TestDeadLettersCarryTheirHistory(t *testing.T) { // AMQP-71, AMQP-72
	c := newWorld(t, Options{}).channel()
	c.declare("dead", nil)
	c.declare("q", wire.Table{{Name: "x-dead-letter-exchange", Value: ""}, {Name: "x-dead-letter-routing-key", Value: "dead"}})
	c.publish("", "q", "m")
	c.consume("q", "t")
	c.delivery()
	c.send(1, &wire.BasicReject{DeliveryTag: 1})
	c.barrier()
	var m message
	c.w.until("the dead letter arrives", func() bool {
		var ok bool
		_, m, ok = c.get("dead", true)
		return ok
	})
	deaths, _ := m.props.Headers.Get("x-death")
	if list, ok := deaths.(wire.Array); !ok || len(list) != 1 {
		t.Errorf("x-death = %v", deaths)
	}
}

// TestSlowClientLosesCredit lets nothing through to the client: output stops
// growing, and everything arrives in order when the client reads again.
func TestSlowClientLosesCredit(t *testing.T) { // AMQP-80
	w := newWorld(t, Options{})
	pub, con := w.channel(), w.channel()
	con.declare("q", nil)
	con.send(1, &wire.BasicConsume{Queue: "q", NoAck: true})
	expect[*wire.BasicConsumeOk](con, 1)
	con.peer.Window(0)
	body := strings.Repeat("x", 10_000)
	const n = 500
	for i := range n {
		pub.publish("", "q", itoa(i)+" "+body)
	}
	pub.barrier()
	left := w.b.VHost("/").Queue("q").Stats().Ready
	if left < n-200 {
		t.Errorf("only %d of %d messages of 10 kB stayed in the queue", left, n)
	}
	pub.publish("", "other", "m") // the others are not stalled
	con.peer.Window(-1)
	w.tick(time.Second)
	for i := range n {
		if _, m := con.delivery(); !strings.HasPrefix(m.body, itoa(i)+" ") {
			t.Fatalf("delivery %d begins with %.5q", i, m.body)
		}
	}
}
