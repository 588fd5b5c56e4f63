package brokertest

import (
	"slices"
	"strconv"
	"strings"

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
		"replies": (*call).replies, "prepare": (*call).prepare, "prepared": (*call).prepared,
		"decide": (*call).decide, "browse": (*call).browse, "reject": (*call).reject,
		"grant": (*call).grant, "prefetch": (*call).prefetch,
	}
}

// queue NAME [durable] [autodelete] [dead=QUEUE] [x-...=...]
func (c *call) queue() {
	s := c.world.VHost().OpenSession(nil, &Recorder{})
	defer s.Close(c.world.Turn)
	_, err := s.DeclareQueue(c.world.Turn, broker.QueueDeclare{
		Name: c.next(), Durable: c.flag("durable"), AutoDelete: c.flag("autodelete"), Args: c.args(),
		DeadLetters: c.text("dead", ""),
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

// publish CLIENT EXCHANGE KEY BODY [persistent] [receipt=N] [ttl=MS] [priority=N] [delay=MS] [group=G] [dedup=D] [filter=F] [close]
// [period=MS] [repeat=N] [cron=FIELDS with _ between]
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
	n.GroupClose = c.flag("close")
	if period, entry := c.number("period", 0), strings.ReplaceAll(c.text("cron", ""), "_", " "); period+int64(len(entry)) > 0 {
		n.Schedule = &broker.Schedule{Cron: entry, Period: period, Repeat: int32(c.number("repeat", 0)), Delay: c.number("delay", 0)}
		n.DeliverAt = n.Schedule.FirstDue(c.world.Turn.Now, c.number("delay", 0))
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

// subscribe CLIENT QUEUE [tag=T] [prefetch=N] [noack] [exclusive] [sole] [x-...=...]
func (c *call) subscribe() {
	client := c.client()
	sub, err := client.Session.Subscribe(c.world.Turn, broker.SubscribeOptions{
		Queue: c.next(), Tag: c.text("tag", client.Name), Prefetch: int(c.number("prefetch", 0)),
		NoAck: c.flag("noack"), Exclusive: c.flag("exclusive"), Sole: c.flag("sole"), Args: c.args(),
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

// prepare CLIENT ID
func (c *call) prepare() {
	client, id := c.client(), c.next()
	idle, err := client.Session.Prepare(c.world.Turn, id, func(*broker.Turn) { c.printf("%s prepared %s", client.Name, id) })
	c.report(err)
	if idle {
		c.printf("%s has nothing to prepare", client.Name)
	}
}

// prepared: the transactions that wait for their outcome.
func (c *call) prepared() { c.printf("prepared: %v", c.world.VHost().Prepared()) }

// decide ID commit|rollback
func (c *call) decide() {
	id, verdict := c.next(), c.next()
	f := c.world.VHost().RollbackPrepared
	if verdict == "commit" {
		f = c.world.VHost().CommitPrepared
	}
	c.report(f(c.world.Turn, id, func(_ *broker.Turn, err error) {
		c.report(err)
		c.printf("%s of %s done", verdict, id)
	}))
}

// browse QUEUE [step=N] [only=PREFIX]: shows what is there.
func (c *call) browse() {
	q, step, only := c.next(), int(c.number("step", 100)), c.text("only", "")
	s := c.world.VHost().OpenSession(nil, &Recorder{})
	defer s.Close(c.world.Turn)
	b, err := s.Browse(c.world.Turn, q, func(m *broker.Message, _ broker.Past) bool { return strings.HasPrefix(string(m.Body), only) })
	c.report(err)
	if err != nil {
		return
	}
	for more := true; more; {
		more = false
		b.Next(c.world.Turn, step, func(_ *broker.Turn, list []broker.Delivery, end bool) {
			for _, d := range list {
				c.printf("- %s", describe(d))
			}
			more = !end
		})
		c.world.Commit()
	}
}

// reject CLIENT BODY... [to=QUEUE] [cause=TEXT]
func (c *call) reject() {
	client := c.client()
	r := broker.Rejection{To: c.text("to", ""), Cause: c.text("cause", "")}
	for _, body := range c.words {
		for i, d := range client.Open {
			if string(d.Msg.Body) == body {
				client.Open = slices.Delete(client.Open, i, i+1)
				client.Session.Reject(c.world.Turn, d.Queue, []broker.Lease{d.Lease}, r)
				break
			}
		}
	}
}

// grant CLIENT N: on its first subscription
func (c *call) grant() {
	client := c.client()
	n, _ := strconv.Atoi(c.next())
	client.Subs[0].Grant(c.world.Turn, n)
}

// prefetch CLIENT N: of its first subscription
func (c *call) prefetch() {
	client := c.client()
	n, _ := strconv.Atoi(c.next())
	client.Subs[0].SetPrefetch(c.world.Turn, n)
}
