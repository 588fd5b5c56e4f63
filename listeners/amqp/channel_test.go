package amqp

import (
	"strings"
	"testing"

	"github.com/hermodmq/hermod/broker"
	"github.com/hermodmq/hermod/listeners/amqp/wire"
)

func TestChannelNumbers(t *testing.T) { // AMQP-13, AMQP-21
	w := newWorld(t, Options{ChannelMax: 2})
	c := w.open()
	c.channel(7)
	c.channel(2)
	c.send(7, &wire.ChannelClose{})
	expect[*wire.ChannelCloseOk](c, 7)
	c.channel(7)
	c.send(1, &wire.ChannelOpen{})
	c.connectionClosed().want(t, 530, "number of channels opened (2) has reached the negotiated channel_max (2)", wire.IDChannelOpen)
}

func TestChannelErrorsThatEndTheConnection(t *testing.T) { // AMQP-11, AMQP-12, AMQP-21, AMQP-62
	method := func(m wire.Method) []byte { return wire.AppendMethod(nil, 1, m) }
	publish := method(&wire.BasicPublish{RoutingKey: "q"})
	header := wire.AppendHeader(nil, 1, 3, []byte{0, 0})
	join := func(list ...[]byte) (out []byte) {
		for _, b := range list {
			out = append(out, b...)
		}
		return out
	}
	for name, c := range map[string]struct {
		in   []byte
		code uint16
		text string
		id   wire.MethodID
	}{
		"second open":           {method(&wire.ChannelOpen{}), 504, "second 'channel.open' seen", wire.IDChannelOpen},
		"method before open":    {wire.AppendMethod(nil, 2, &wire.TxSelect{}), 504, "expected 'channel.open'", wire.IDTxSelect},
		"body before open":      {wire.AppendFrame(nil, wire.FrameBody, 2, nil), 504, "expected 'channel.open'", 0},
		"immediate":             {method(&wire.BasicPublish{Immediate: true}), 540, "NOT_IMPLEMENTED - immediate=true", wire.IDBasicPublish},
		"prefetch size":         {method(&wire.BasicQos{PrefetchSize: 5}), 540, "prefetch_size!=0 (5)", wire.IDBasicQos},
		"recover, no requeue":   {method(&wire.BasicRecover{}), 540, "requeue=false", wire.IDBasicRecover},
		"flow off":              {method(&wire.ChannelFlow{}), 540, "active=false", wire.IDChannelFlow},
		"heartbeat elsewhere":   {[]byte{8, 0, 1, 0, 0, 0, 0, 0xCE}, 505, "heartbeat on channel 1", 0},
		"unknown frame type":    {[]byte{9, 0, 1, 0, 0, 0, 0, 0xCE}, 501, "unknown frame type 9", 0},
		"bad frame end":         {[]byte{1, 0, 1, 0, 0, 0, 0, 0}, 501, "frame end", 0},
		"frame too large":       {[]byte{1, 0, 1, 0, 2, 0, 9}, 501, "type 1, all octets = <<>>: {frame_too_large,131081,131064}", 0}, // AMQP-9
		"header alone":          {header, 505, "expected method frame", wire.IDChannelOpen},
		"body alone":            {wire.AppendFrame(nil, wire.FrameBody, 1, nil), 505, "expected method frame", wire.IDChannelOpen},
		"method for header":     {join(publish, publish), 505, "expected content header for class 60", wire.IDBasicPublish},
		"body for header":       {join(publish, wire.AppendFrame(nil, wire.FrameBody, 1, nil)), 505, "expected content header", wire.IDBasicPublish},
		"header for body":       {join(publish, header, header), 505, "expected content body", wire.IDBasicPublish},
		"method for body":       {join(publish, header, publish), 505, "expected content body", wire.IDBasicPublish},
		"body too long":         {join(publish, header, wire.AppendFrame(nil, wire.FrameBody, 1, []byte("four"))), 501, "announced 3 bytes", wire.IDBasicPublish},
		"class in header":       {join(publish, wire.AppendFrame(nil, wire.FrameHeader, 1, append([]byte{0, 10, 0, 0}, make([]byte, 10)...))), 505, "one for class 10", wire.IDBasicPublish},
		"absurd body size":      {join(publish, wire.AppendHeader(nil, 1, 1<<60, []byte{0, 0})), 501, "announced", wire.IDBasicPublish},
		"method cut short":      {wire.AppendFrame(nil, wire.FrameMethod, 1, []byte{0, 60, 0, 20, 0}), 501, "cannot decode basic.consume", wire.IDBasicConsume},
		"shortstr not UTF-8":    {wire.AppendFrame(nil, wire.FrameMethod, 1, []byte{0, 60, 0, 40, 0, 0, 0, 1, 0xff, 0}), 501, "UTF-8", wire.IDBasicPublish},
		"method of the server":  {method(&wire.BasicGetEmpty{}), 503, "basic.get-empty", wire.IDBasicGetEmpty},
		"connection on channel": {method(&wire.ConnectionOpen{}), 503, "connection.open", wire.IDConnectionOpen},
		"channel 0":             {wire.AppendMethod(nil, 0, &wire.TxSelect{}), 503, "tx.select", wire.IDTxSelect},
	} {
		t.Run(name, func(t *testing.T) {
			cl := newWorld(t, Options{}).channel()
			cl.raw(c.in)
			got := cl.connectionClosed()
			if name == "header alone" || name == "body alone" {
				got.class, got.meth = c.id.Class(), c.id.Method()
			}
			got.want(t, c.code, c.text, c.id)
		})
	}
}

func TestSoftErrorsEndOneChannel(t *testing.T) { // AMQP-22, AMQP-23, AMQP-24
	for name, c := range map[string]struct {
		m    wire.Method
		code uint16
		text string
	}{
		"no queue":             {&wire.QueueDeclare{Queue: "nope", Passive: true}, 404, "NOT_FOUND - no queue 'nope' in vhost '/'"},
		"no exchange":          {&wire.ExchangeDeclare{Exchange: "nope", Passive: true}, 404, "NOT_FOUND - no exchange 'nope' in vhost '/'"},
		"consume":              {&wire.BasicConsume{Queue: "nope"}, 404, "NOT_FOUND - no queue 'nope' in vhost '/'"},
		"get":                  {&wire.BasicGet{Queue: "nope"}, 404, "NOT_FOUND - no queue 'nope' in vhost '/'"},
		"no last queue":        {&wire.BasicGet{}, 404, "NOT_FOUND - no previously declared queue"},
		"ack":                  {&wire.BasicAck{DeliveryTag: 42}, 406, "PRECONDITION_FAILED - unknown delivery tag 42"},
		"nack":                 {&wire.BasicNack{DeliveryTag: 1, Multiple: true}, 406, "PRECONDITION_FAILED - unknown delivery tag 1"},
		"reject":               {&wire.BasicReject{DeliveryTag: 1}, 406, "PRECONDITION_FAILED - unknown delivery tag 1"},
		"reserved name":        {&wire.QueueDeclare{Queue: "amq.x"}, 403, "ACCESS_REFUSED - queue name 'amq.x' contains reserved prefix 'amq.*'"},
		"default exchange":     {&wire.ExchangeDelete{}, 403, "ACCESS_REFUSED - operation not permitted on the default exchange"},
		"commit without tx":    {&wire.TxCommit{}, 406, "PRECONDITION_FAILED - channel is not transactional"},
		"rollback without tx":  {&wire.TxRollback{}, 406, "PRECONDITION_FAILED - channel is not transactional"},
		"bind of direct reply": {&wire.QueueBind{Queue: "amq.rabbitmq.reply-to", Exchange: "amq.direct"}, 403, "ACCESS_REFUSED - operation not permitted"},
	} {
		t.Run(name, func(t *testing.T) {
			cl := newWorld(t, Options{}).channel()
			cl.channel(2)
			b := wire.AppendMethod(nil, 1, c.m)
			b = wire.AppendMethod(b, 1, &wire.QueueDeclare{Queue: "later"}) // is ignored
			b = wire.AppendPublish(b, 1, "", "later", true, []byte{0, 0}, []byte("x"), 4096)
			cl.raw(b)
			cl.channelClosed(1).want(t, c.code, c.text, c.m.ID())
			cl.channel(1)
			cl.send(2, &wire.QueueDeclare{Queue: "later", Passive: true})
			cl.channelClosed(2).want(t, 404, "no queue 'later'", wire.IDQueueDeclare)
		})
	}
}

func TestBothSidesCloseAChannel(t *testing.T) {
	c := newWorld(t, Options{}).channel()
	b := wire.AppendMethod(nil, 1, &wire.BasicAck{DeliveryTag: 1})
	b = wire.AppendMethod(b, 1, &wire.ChannelClose{})
	b = wire.AppendMethod(b, 1, &wire.ChannelCloseOk{})
	c.raw(b)
	expect[*wire.ChannelClose](c, 1)
	expect[*wire.ChannelCloseOk](c, 1)
	c.channel(1)
}

// TestRepliesKeepTheirOrder holds the store's commits back: what follows a
// durable declare waits for it, and the effects do not.
func TestRepliesKeepTheirOrder(t *testing.T) { // AMQP-68
	w := newWorld(t, Options{})
	c := w.channel()
	c.channel(2)
	w.held = true
	b := wire.AppendMethod(nil, 1, &wire.QueueDeclare{Queue: "d", Durable: true})
	b = wire.AppendMethod(b, 1, &wire.BasicQos{PrefetchCount: 1})
	b = wire.AppendMethod(b, 1, &wire.ConfirmSelect{})
	b = wire.AppendMethod(b, 1, &wire.BasicConsume{Queue: "d", ConsumerTag: "c", NoAck: true})
	b = wire.AppendPublish(b, 1, "", "d", false, []byte{0, 0}, []byte("m"), 4096)
	c.raw(b)
	c.send(2, &wire.AccessRequest{})
	expect[*wire.AccessRequestOk](c, 2) // other channels do not wait
	w.held = false
	expect[*wire.QueueDeclareOk](c, 1)
	expect[*wire.BasicQosOk](c, 1)
	expect[*wire.ConfirmSelectOk](c, 1)
	expect[*wire.BasicConsumeOk](c, 1)
	seen := ""
	for range 2 {
		f := c.next()
		switch id, _ := wire.MethodIDOf(f.Payload); id {
		case wire.IDBasicDeliver:
			c.content(1)
			seen += "d"
		case wire.IDBasicAck:
			seen += "a"
		}
	}
	if strings.Count(seen, "d") != 1 || strings.Count(seen, "a") != 1 {
		t.Errorf("after the replies came %q", seen)
	}
}

func TestErrorComesBehindPendingReplies(t *testing.T) {
	w := newWorld(t, Options{})
	c := w.channel()
	w.held = true
	c.send(1, &wire.QueueDeclare{Queue: "d", Durable: true})
	c.send(1, &wire.BasicGet{Queue: "d"})
	c.send(1, &wire.BasicAck{DeliveryTag: 9})
	c.send(1, &wire.QueueDeclare{Queue: "ignored"})
	w.m.Turn()
	if out := c.peer.Output(); len(out) != 0 {
		t.Fatalf("%x was sent before the commit", out)
	}
	w.held = false
	expect[*wire.QueueDeclareOk](c, 1)
	f := c.next()
	if id, _ := wire.MethodIDOf(f.Payload); id == wire.IDBasicGetEmpty { // answered before the error, or dropped
		f = c.next()
	}
	if id, _ := wire.MethodIDOf(f.Payload); id != wire.IDChannelClose {
		t.Errorf("%s came last", id)
	}
}

func TestManyPendingRepliesPauseReading(t *testing.T) {
	w := newWorld(t, Options{PendingReplies: 4})
	c := w.channel()
	w.held = true
	var b []byte
	for i := range 10 {
		b = wire.AppendMethod(b, 1, &wire.QueueDeclare{Queue: "q" + itoa(i), Durable: true})
	}
	c.raw(b)
	if !c.peer.Paused() {
		t.Fatal("reading goes on with 4 replies waiting")
	}
	if got := w.b.VHost("/").Queue("q9"); got != nil {
		t.Error("methods behind the pause were carried out")
	}
	w.held = false
	for i := range 10 {
		if m := expect[*wire.QueueDeclareOk](c, 1); m.Queue != "q"+itoa(i) {
			t.Fatalf("reply %d is for %s", i, m.Queue)
		}
	}
	if c.peer.Paused() {
		t.Error("still paused")
	}
}

func TestNoWaitAnswersNothing(t *testing.T) {
	c := newWorld(t, Options{}).channel()
	for _, m := range []wire.Method{
		&wire.ExchangeDeclare{Exchange: "x", Type: "fanout", NoWait: true},
		&wire.ExchangeDeclare{Exchange: "y", Type: "fanout", NoWait: true},
		&wire.QueueDeclare{Queue: "q", NoWait: true},
		&wire.QueueBind{Queue: "q", Exchange: "x", NoWait: true},
		&wire.ExchangeBind{Source: "x", Destination: "y", NoWait: true},
		&wire.ExchangeUnbind{Source: "x", Destination: "y", NoWait: true},
		&wire.BasicConsume{Queue: "q", ConsumerTag: "t", NoWait: true},
		&wire.BasicCancel{ConsumerTag: "t", NoWait: true},
		&wire.ConfirmSelect{NoWait: true},
		&wire.QueuePurge{Queue: "q", NoWait: true},
		&wire.QueueDelete{Queue: "q", NoWait: true},
		&wire.ExchangeDelete{Exchange: "x", NoWait: true},
	} {
		c.send(1, m)
	}
	c.barrier()
}

func TestTopologyReplies(t *testing.T) { // AMQP-39, AMQP-42, AMQP-56
	c := newWorld(t, Options{}).channel()
	c.send(1, &wire.ExchangeDeclare{Exchange: "x\r\n", Type: "direct"}) // AMQP-59
	expect[*wire.ExchangeDeclareOk](c, 1)
	c.send(1, &wire.QueueDeclare{Exclusive: true})
	name := expect[*wire.QueueDeclareOk](c, 1).Queue
	if !strings.HasPrefix(name, "amq.gen-") {
		t.Errorf("server named it %q", name)
	}
	c.send(1, &wire.QueueBind{Exchange: "x"}) // "" is the last declared, also as key
	expect[*wire.QueueBindOk](c, 1)
	c.publish("x", name, "one")
	c.publish("x", name, "two")
	if got := c.ready(name); got != 2 {
		t.Errorf("%d messages ready", got)
	}
	c.send(1, &wire.QueueUnbind{Exchange: "x"})
	expect[*wire.QueueUnbindOk](c, 1)
	c.send(1, &wire.QueueUnbind{Exchange: "x"})
	expect[*wire.QueueUnbindOk](c, 1)
	c.send(1, &wire.QueuePurge{})
	if n := expect[*wire.QueuePurgeOk](c, 1).MessageCount; n != 2 {
		t.Errorf("purged %d", n)
	}
	c.send(1, &wire.QueueDelete{})
	expect[*wire.QueueDeleteOk](c, 1)
	c.send(1, &wire.QueueDelete{Queue: name})
	expect[*wire.QueueDeleteOk](c, 1)
	c.send(1, &wire.ExchangeDelete{Exchange: "x"})
	expect[*wire.ExchangeDeleteOk](c, 1)
}

func TestExclusiveQueueIsGoneWithCloseOk(t *testing.T) { // AMQP-14
	w := newWorld(t, Options{})
	a, b := w.channel(), w.channel()
	a.send(1, &wire.QueueDeclare{Queue: "mine", Exclusive: true})
	expect[*wire.QueueDeclareOk](a, 1)
	b.send(1, &wire.QueueDeclare{Queue: "mine", Passive: true})
	b.channelClosed(1).want(t, 405, "RESOURCE_LOCKED - cannot obtain exclusive access to locked queue 'mine' in vhost '/'", wire.IDQueueDeclare)
	a.send(0, &wire.ConnectionClose{ReplyCode: 200})
	expect[*wire.ConnectionCloseOk](a, 0)
	a.eof()
	b.channel(1)
	b.send(1, &wire.QueueDeclare{Queue: "mine", Exclusive: true})
	expect[*wire.QueueDeclareOk](b, 1)
}

func TestForcedClose(t *testing.T) { // AMQP-15
	w := newWorld(t, Options{})
	c := w.channel()
	list := w.b.ListConnections()
	if len(list) != 1 {
		t.Fatalf("%d connections", len(list))
	}
	if !w.b.CloseConnection(list[0].ID, "closed by operator") {
		t.Fatal("no such connection")
	}
	c.connectionClosed().want(t, 320, "CONNECTION_FORCED - closed by operator", 0)
	if n := len(w.b.ListConnections()); n != 0 {
		t.Errorf("%d connections left", n)
	}
}

func TestUpdateSecret(t *testing.T) { // AMQP-17
	w := newWorld(t, Options{})
	c := w.channel()
	c.send(0, &wire.ConnectionUpdateSecret{NewSecret: "guest", Reason: "expiry"})
	expect[*wire.ConnectionUpdateSecretOk](c, 0)
	c.barrier()
	// Secrets of internal users do not expire: the node client's own suite sends another than the password.
	c.send(0, &wire.ConnectionUpdateSecret{NewSecret: "another"})
	expect[*wire.ConnectionUpdateSecretOk](c, 0)
	if err := w.b.DeleteUser(&broker.Turn{Now: 1}, "guest", nil); err != nil {
		t.Fatal(err)
	}
	c.send(0, &wire.ConnectionUpdateSecret{NewSecret: "guest"})
	c.connectionClosed().want(t, 530, "New secret was refused by one of the backends", wire.IDConnectionUpdateSecret)
}

func TestBlockedByAnAlarm(t *testing.T) { // AMQP-16
	w := newWorld(t, Options{})
	pub, con := w.channel(), w.channel()
	con.declare("q", nil)
	con.consume("q", "t")
	turn := &broker.Turn{Now: w.now.UnixMilli()}
	w.b.SetAlarm(turn, broker.AlarmDisk, true)
	pub.barrier() // nobody is told before he publishes
	pub.publish("", "q", "one")
	if m := expect[*wire.ConnectionBlocked](pub, 0); m.Reason != "low on disk" {
		t.Errorf("blocked for %q", m.Reason)
	}
	pub.publish("", "q", "two")
	con.barrier() // nothing went through
	if !pub.peer.Paused() || con.peer.Paused() {
		t.Errorf("publisher paused %v, consumer %v", pub.peer.Paused(), con.peer.Paused())
	}
	w.tick(hours(1)) // a blocked client is not missed
	w.b.SetAlarm(turn, broker.AlarmDisk, false)
	expect[*wire.ConnectionUnblocked](pub, 0)
	for _, want := range []string{"one", "two"} {
		if _, m := con.delivery(); m.body != want {
			t.Errorf("delivered %q, want %q", m.body, want)
		}
	}
}

func TestIncompleteMessagesAreBounded(t *testing.T) {
	w := newWorld(t, Options{}) // messages of 1 MiB at most
	c := w.open()
	for ch := uint16(1); ch <= 5; ch++ {
		c.channel(ch)
		b := wire.AppendMethod(nil, ch, &wire.BasicPublish{})
		b = wire.AppendHeader(b, ch, 1<<20, []byte{0, 0})
		c.raw(wire.AppendBody(b, ch, make([]byte, 1<<20-1), 131072))
	}
	c.connectionClosed().want(t, 506, "incomplete messages", wire.IDBasicPublish)
}

func TestCongestionStopsPublishersOnly(t *testing.T) {
	w := newWorld(t, Options{})
	pub, con := w.channel(), w.channel()
	pub.send(1, &wire.QueueDeclare{Queue: "d", Durable: true})
	expect[*wire.QueueDeclareOk](pub, 1)
	w.held = true
	w.store.Congest(1)
	persistent := wire.Properties{DeliveryMode: 2}
	pub.publishWith("", "d", false, persistent, "one")
	pub.publishWith("", "d", false, persistent, "two")
	w.m.Turn()
	if !pub.peer.Paused() || con.peer.Paused() {
		t.Errorf("publisher paused %v, other %v", pub.peer.Paused(), con.peer.Paused())
	}
	w.held = false
	w.until("the publisher is read again", func() bool { return !pub.peer.Paused() })
	w.until("both are in", func() bool { return w.b.VHost("/").Queue("d").Stats().Ready == 2 })
}
