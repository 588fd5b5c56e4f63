package brokertest

import (
	"slices"
	"strconv"

	"github.com/hermodmq/hermod/broker"
)

// commands are what a script can say.
var commands map[string]func(c *call)

func init() {
	commands = map[string]func(c *call){
		"queue": (*call).queue, "delete": (*call).delete, "purge": (*call).purge, "exchange": (*call).exchange,
		"bind": (*call).bind, "publish": (*call).publish, "subscribe": (*call).subscribe,
		"unsubscribe": (*call).unsubscribe, "get": (*call).get, "receive": (*call).receive, "settle": (*call).settle,
		"close": (*call).close, "credit": (*call).credit, "flow": (*call).flow, "begin": (*call).begin,
		"commit": (*call).commit, "rollback": (*call).rollback, "store": (*call).store, "advance": (*call).advance,
		"crash": (*call).crash, "restart": (*call).restart, "stats": (*call).stats, "pause": (*call).pause, "resume": (*call).resume,
		"replies": (*call).replies,
	}
}

// queue NAME [durable] [autodelete] [x-...=...]
func (c *call) queue() {
	s := c.world.VHost().OpenSession(nil, &Recorder{})
	defer s.Close(c.world.Turn)
	_, err := s.DeclareQueue(c.world.Turn, broker.QueueDeclare{
		Name: c.next(), Durable: c.flag("durable"), AutoDelete: c.flag("autodelete"), Args: c.args(),
	}, nil)
	c.report(err)
}

// delete NAME
func (c *call) delete() {
	s := c.world.VHost().OpenSession(nil, &Recorder{})
	defer s.Close(c.world.Turn)
	n, err := s.DeleteQueue(c.world.Turn, c.next(), false, false, nil)
	c.report(err)
	c.printf("%d messages", n)
}

// purge NAME
func (c *call) purge() {
	s := c.world.VHost().OpenSession(nil, &Recorder{})
	defer s.Close(c.world.Turn)
	n, err := s.PurgeQueue(c.world.Turn, c.next(), nil)
	c.report(err)
	c.printf("%d messages", n)
}

// exchange NAME TYPE [x-...=...]
func (c *call) exchange() {
	s := c.world.VHost().OpenSession(nil, &Recorder{})
	defer s.Close(c.world.Turn)
	c.report(s.DeclareExchange(c.world.Turn, broker.ExchangeDeclare{
		Name: c.next(), Type: c.next(), Durable: true, Args: c.args(),
	}, nil))
}

// bind EXCHANGE QUEUE KEY
func (c *call) bind() {
	s := c.world.VHost().OpenSession(nil, &Recorder{})
	defer s.Close(c.world.Turn)
	c.report(s.Bind(c.world.Turn, broker.Binding{Source: c.next(), Destination: c.next(), Key: c.next()}, nil))
}

// publish CLIENT EXCHANGE KEY BODY [persistent] [receipt=N] [ttl=MS] [priority=N] [delay=MS] [group=G] [dedup=D] [filter=F]
func (c *call) publish() {
	client := c.client()
	exchange, key, body := c.next(), c.next(), c.next()
	m := c.world.Message(key, body)
	m.Exchange = exchange
	m.Persistent = c.flag("persistent")
	m.TTL = c.number("ttl", broker.NoTTL)
	m.Priority = uint8(c.number("priority", 0))
	n := broker.Notes{GroupID: c.text("group", ""), DedupID: c.text("dedup", ""), StreamFilter: c.text("filter", "")}
	if d := c.number("delay", 0); d > 0 {
		n.DeliverAt = c.world.Turn.Now + d
	}
	if n.GroupID+n.DedupID+n.StreamFilter != "" || n.DeliverAt != 0 {
		m.Notes = &n
	}
	id := uint64(c.number("receipt", 0))
	r, err := client.Session.Publish(c.world.Turn, broker.Publish{Exchange: exchange, Msg: m, Receipt: id})
	c.report(err)
	switch {
	case err != nil:
	case !r.Routed:
		c.printf("%s unroutable", client.Name)
	case !r.Pending && r.Rejected:
		c.printf("%s refused", client.Name)
	}
}

// subscribe CLIENT QUEUE [tag=T] [prefetch=N] [noack] [exclusive] [x-...=...]
func (c *call) subscribe() {
	client := c.client()
	sub, err := client.Session.Subscribe(c.world.Turn, broker.SubscribeOptions{
		Queue: c.next(), Tag: c.text("tag", client.Name), Prefetch: int(c.number("prefetch", 0)),
		NoAck: c.flag("noack"), Exclusive: c.flag("exclusive"), Args: c.args(),
	})
	c.report(err)
	if err == nil {
		client.Subs = append(client.Subs, sub)
	}
}

// unsubscribe CLIENT [tag=T]
func (c *call) unsubscribe() {
	client := c.client()
	tag := c.text("tag", client.Name)
	for _, sub := range client.Subs {
		if sub.Tag == tag {
			client.Session.Unsubscribe(c.world.Turn, sub)
		}
	}
	client.Subs = slices.DeleteFunc(client.Subs, func(sub *broker.Subscription) bool { return sub.Tag == tag })
}

// get CLIENT QUEUE [noack]
func (c *call) get() {
	client := c.client()
	c.report(client.Session.Get(c.world.Turn, c.next(), c.flag("noack"), 1))
}

// receive CLIENT QUEUE [max=N] [visibility=MS]
func (c *call) receive() {
	client := c.client()
	q := c.world.VHost().Queue(c.next())
	o := broker.ReceiveOptions{Max: int(c.number("max", 1))}
	if v := c.number("visibility", 0); v > 0 {
		o.Deadline = c.world.Turn.Now + v
	}
	for _, d := range q.Receive(c.world.Turn, o, nil) {
		c.printf("%s %s", client.Name, describe(d))
		client.Open = append(client.Open, d)
	}
}

// settle CLIENT BODY... accepted|rejected|released|failed|unsent
func (c *call) settle() {
	client := c.client()
	outcome := slices.Index([]string{"accepted", "rejected", "released", "failed", "unsent"}, c.words[len(c.words)-1])
	if outcome < 0 {
		c.printf("unknown outcome")
		return
	}
	for _, body := range c.words[:len(c.words)-1] {
		i := slices.IndexFunc(client.Open, func(d broker.Delivery) bool { return string(d.Msg.Body) == body })
		if i < 0 {
			c.printf("%s does not hold %q", client.Name, body)
			continue
		}
		d := client.Open[i]
		client.Open = slices.Delete(client.Open, i, i+1)
		client.Session.Settle(c.world.Turn, d.Queue, []broker.Lease{d.Lease}, broker.Outcome(outcome))
	}
}

// close CLIENT
func (c *call) close() { c.world.Leave(c.client()) }

// credit CLIENT N
func (c *call) credit() {
	client := c.client()
	n, _ := strconv.Atoi(c.next())
	client.Session.SetSharedCredit(c.world.Turn, n)
}

// flow CLIENT on|off
func (c *call) flow() {
	client := c.client()
	client.Session.SetFlow(c.world.Turn, c.next() == "on")
}

// begin CLIENT
func (c *call) begin() { c.client().Session.Begin() }

// commit CLIENT
func (c *call) commit() {
	client := c.client()
	client.Session.Commit(c.world.Turn, func(*broker.Turn, error) { c.printf("%s committed", client.Name) })
}

// rollback CLIENT
func (c *call) rollback() { c.client().Session.Rollback(c.world.Turn) }

// store hold|release
func (c *call) store() { c.world.Held = c.next() == "hold" }

// advance MS
func (c *call) advance() {
	ms, _ := strconv.ParseInt(c.next(), 10, 64)
	c.world.Advance(ms)
}

// crash [KEEP]: what was given to the store and not committed is lost but for
// the first KEEP batches.
func (c *call) crash() {
	keep, _ := strconv.Atoi(c.next())
	c.report(c.world.Crash(keep, nil))
}

// restart: a clean stop and a start.
func (c *call) restart() {
	for len(c.world.Clients) > 0 {
		c.world.Leave(c.world.Clients[0])
	}
	c.world.Commit()
	c.world.Broker.Retire(c.world.Turn)
	c.world.Commit()
	c.report(c.world.Crash(0, nil))
}

// stats QUEUE
func (c *call) stats() {
	name := c.next()
	q := c.world.VHost().Queue(name)
	if q == nil {
		c.printf("no queue %s", name)
		return
	}
	s := q.Stats()
	c.printf("%s: ready %d, unsettled %d, delayed %d, consumers %d", name, s.Ready, s.Unsettled, s.Delayed, s.Consumers)
}

// pause QUEUE
func (c *call) pause() { c.world.VHost().Queue(c.next()).Pause(c.world.Turn) }

// resume QUEUE
func (c *call) resume() { c.world.VHost().Queue(c.next()).Resume(c.world.Turn) }

// replies CLIENT KEY: a reply subscription whose address is bound to KEY by a
// publish of the script: replies CLIENT prints nothing but takes one message.
func (c *call) replies() {
	client := c.client()
	_, suffix, err := client.Session.SubscribeReplies(c.world.Turn, client.Name)
	c.report(err)
	if err != nil {
		return
	}
	m := c.world.Message(broker.ReplyPrefix+suffix, c.next())
	r, err := client.Session.Publish(c.world.Turn, broker.Publish{Msg: m})
	c.report(err)
	c.printf("%s routed=%v exists=%v", client.Name, r.Routed, c.world.Broker.ReplyAddressExists(m.RoutingKey))
}
