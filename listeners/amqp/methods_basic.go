package amqp

import (
	"crypto/rand"
	"encoding/base64"

	"github.com/hermodmq/hermod/broker"
	"github.com/hermodmq/hermod/listeners/amqp/wire"
	"github.com/hermodmq/hermod/listeners/delivery"
)

// consumer is a subscription as the client named it.
type consumer struct {
	ch        *channel
	tag       string
	account   delivery.Account
	started   bool // consume-ok is written: deliveries may follow
	cancelled bool

	held    []broker.Delivery // not written yet: not started, or the link is full
	holding bool              // in conn.holding
}

// basicQos carries out basic.qos in RabbitMQ's reading: global=false is for
// each consumer to come, global=true for the channel as a whole.
func (ch *channel) basicQos(m *wire.BasicQos) error {
	if m.PrefetchSize != 0 {
		return refuse(wire.NotImplemented, "prefetch_size!=0 (%d)", m.PrefetchSize)
	}
	if m.Global {
		ch.shared = m.PrefetchCount > 0
		ch.session.SetSharedCredit(&ch.conn.turn, int(m.PrefetchCount))
	} else {
		ch.prefetch = int(m.PrefetchCount)
	}
	ch.answer(&wire.BasicQosOk{})
	return nil
}

// basicConsume carries out basic.consume (AMQP 1.8.3.3).
func (ch *channel) basicConsume(m *wire.BasicConsume) error {
	name, err := ch.queueName(m.Queue)
	if err != nil {
		return err
	}
	tag := m.ConsumerTag
	if tag == "" {
		tag = newConsumerTag()
	}
	if _, used := ch.consumers[tag]; used {
		return refuse(wire.NotAllowed, "attempt to reuse consumer tag '%s'", tag)
	}
	if len(ch.consumers) >= ch.conn.opt.ConsumersPerChannel {
		return refuse(wire.NotAllowed, "reached maximum (%d) of consumers per channel", ch.conn.opt.ConsumersPerChannel)
	}
	cons := &consumer{ch: ch, tag: tag}
	if name == broker.ReplyQueue {
		err = ch.consumeReplies(cons, m.NoAck)
	} else if err = ch.sharedAllowed(name); err == nil {
		cons.account.Sub, err = ch.session.Subscribe(&ch.conn.turn, broker.SubscribeOptions{
			Queue: name, Tag: tag, NoAck: m.NoAck, Exclusive: m.Exclusive, Prefetch: ch.prefetch, Args: tableIn(m.Arguments),
		})
	}
	if err != nil {
		return err
	}
	cons.account.Sub.Data = cons
	if ch.consumers == nil {
		ch.consumers = make(map[string]*consumer)
	}
	ch.consumers[tag] = cons
	ch.answerRun(func() { cons.start(m.NoWait) })
	return nil
}

// sharedAllowed refuses what RabbitMQ refuses: a prefetch for the whole channel
// with consumers of replicated queues and streams.
func (ch *channel) sharedAllowed(queue string) error {
	if !ch.shared {
		return nil
	}
	v := ch.session.VHost()
	if q := v.Queue(queue); q != nil && q.Kind() != broker.KindClassic {
		return refuse(wire.NotImplemented, "queue '%s' in vhost '%s' does not support global qos", queue, v.Name())
	}
	return nil
}

// consumeReplies starts the consumer of direct reply-to.
func (ch *channel) consumeReplies(cons *consumer, noAck bool) error {
	switch {
	case ch.reply != nil:
		return refuse(wire.PreconditionFailed, "reply consumer already set")
	case !noAck:
		return refuse(wire.PreconditionFailed, "reply consumer cannot acknowledge")
	}
	sub, suffix, err := ch.session.SubscribeReplies(&ch.conn.turn, cons.tag)
	if err != nil {
		return err
	}
	cons.account.Sub = sub
	ch.reply, ch.replyTo = cons, broker.ReplyQueue+"."+suffix
	return nil
}

// start answers basic.consume and lets deliveries through.
func (cons *consumer) start(nowait bool) {
	ch := cons.ch
	if !nowait && !ch.ended {
		ch.conn.send(ch.id, &wire.BasicConsumeOk{ConsumerTag: cons.tag})
	}
	cons.started = true
	cons.release()
}

func newConsumerTag() string {
	var raw [16]byte
	rand.Read(raw[:])
	return "amq.ctag-" + base64.RawURLEncoding.EncodeToString(raw[:])
}

// basicCancel carries out basic.cancel; an unknown tag is fine. What is on its
// way to an acknowledging consumer goes back as if it had never left; what is
// settled by being sent is sent.
func (ch *channel) basicCancel(m *wire.BasicCancel) error {
	if cons := ch.consumers[m.ConsumerTag]; cons != nil {
		ch.session.Unsubscribe(&ch.conn.turn, cons.account.Sub)
		ch.conn.readInbox()
		if ch.ended { // what was in the inbox can end a channel
			return nil
		}
		ch.drop(cons)
	}
	if !m.NoWait {
		ch.answer(&wire.BasicCancelOk{ConsumerTag: m.ConsumerTag})
	}
	return nil
}

// drop forgets a consumer whose subscription has ended.
func (ch *channel) drop(cons *consumer) {
	cons.cancelled = true
	delete(ch.consumers, cons.tag)
	if ch.reply == cons {
		ch.reply, ch.replyTo = nil, ""
	}
	cons.release()
}

// cancelled carries out the core's word that a subscription has ended.
func (ch *channel) cancelled(sub *broker.Subscription) {
	cons, ok := sub.Data.(*consumer)
	if !ok || cons.cancelled {
		return
	}
	ch.drop(cons)
	if ch.conn.client.cancelNotify {
		ch.answer(&wire.BasicCancel{ConsumerTag: cons.tag, NoWait: true})
	}
}

// basicGet carries out basic.get; the core answers at its own time.
func (ch *channel) basicGet(m *wire.BasicGet) error {
	name, err := ch.queueName(m.Queue)
	if err != nil {
		return err
	}
	ch.lastRef++
	r := &reply{ref: ch.lastRef}
	if err := ch.session.Get(&ch.conn.turn, name, m.NoAck, r.ref); err != nil {
		return err
	}
	ch.queueReply(r)
	return nil
}

// got completes a basic.get. The delivery tag is given when the answer is
// written, so that tags rise on the wire.
func (ch *channel) got(n *note) {
	for _, r := range ch.replies {
		if r.ref != n.ref {
			continue
		}
		r.ready = true
		if !n.ok {
			r.frame = wire.AppendMethod(nil, ch.id, &wire.BasicGetEmpty{})
		} else {
			d := n.delivery
			r.run = func() { ch.writeGet(&d) }
		}
		ch.sendReplies()
		return
	}
}

// basicRecover gives everything unacknowledged back to its queues.
func (ch *channel) basicRecover(requeue, sync bool) error {
	if !requeue {
		return refuse(wire.NotImplemented, "requeue=false")
	}
	c := ch.conn
	taken, _ := ch.takeTag(c.taken[:0], 0, true)
	c.leases = delivery.ByQueue(taken, c.leases, func(q *broker.Queue, leases []broker.Lease) {
		ch.session.Settle(&c.turn, q, leases, broker.Released)
	})
	c.keepScratch(taken)
	if sync {
		ch.answer(&wire.BasicRecoverOk{})
	}
	return nil
}

// settle carries out ack, nack and reject.
func (ch *channel) settle(tag uint64, multiple bool, o broker.Outcome) error {
	c := ch.conn
	taken, err := ch.takeTag(c.taken[:0], tag, multiple)
	if err != nil {
		return err
	}
	if ch.tx {
		ch.txTaken = append(ch.txTaken, taken...)
	}
	if len(taken) == 1 {
		ch.collect(taken[0].Queue, taken[0].Lease, o)
	} else if len(taken) > 0 {
		c.leases = delivery.ByQueue(taken, c.leases, func(q *broker.Queue, leases []broker.Lease) {
			for _, l := range leases {
				ch.collect(q, l, o)
			}
		})
	}
	c.keepScratch(taken)
	return nil
}

// scratchKeep is how many entries of scratch a connection keeps.
const scratchKeep = 1024

// keepScratch puts the scratch that settling used back, unless it grew large.
func (c *conn) keepScratch(taken []unsettled) {
	clear(taken)
	c.taken = taken[:0]
	if cap(c.taken) > scratchKeep {
		c.taken = nil
	}
	if cap(c.leases) > scratchKeep {
		c.leases = nil
	}
}

// collect adds to the acknowledgements that go to the core together.
func (ch *channel) collect(q *broker.Queue, l broker.Lease, o broker.Outcome) {
	if !ch.settles {
		ch.settles = true
		ch.conn.settlers = append(ch.conn.settlers, ch)
	}
	ch.settling.Collect(ch.session, &ch.conn.turn, q, l, o)
}

// flushSettles gives the core the acknowledgements collected so far.
func (ch *channel) flushSettles() { ch.settling.Flush(ch.session, &ch.conn.turn) }

// flushSettlers is flushSettles for all channels.
func (c *conn) flushSettlers() {
	for i, ch := range c.settlers {
		c.settlers[i] = nil
		ch.settles = false
		ch.flushSettles()
	}
	c.settlers = c.settlers[:0]
}
