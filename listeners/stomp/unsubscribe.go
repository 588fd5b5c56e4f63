package stomp

import (
	"github.com/hermodmq/hermod/broker"
	"github.com/hermodmq/hermod/listeners/stomp/wire"
)

// unsubscribe carries out UNSUBSCRIBE.
func (c *conn) unsubscribe(f *wire.Frame) error {
	if name := subscriptionName(f); name != "" {
		return c.deleteDurable(f, name)
	}
	id, hasID := f.Lookup("id")
	dest, hasDest := f.Lookup("destination")
	if !hasID && !hasDest {
		return refuse("Missing id", "UNSUBSCRIBE must include 'id' or 'destination' header\n")
	}
	cons := c.consumers[keyOf(string(id), hasID, string(dest))]
	queue := ""
	switch {
	case cons != nil && cons.browses != nil:
		c.stopBrowse(cons)
	case cons != nil:
		c.stop(cons)
		if lasting(f) {
			queue = cons.kept
		}
	case hasID && hasDest && lasting(f):
		queue = keptName(string(dest), string(id)) // of an earlier connection
	case hasID:
		return noSubscription("id", id)
	default:
		return noSubscription("destination", dest)
	}
	if queue != "" {
		if _, err := c.session.DeleteQueue(&c.turn, queue, true, false, nil); err != nil {
			return err
		}
	}
	if r := receiptOf(f); queue != "" && !r.silent {
		c.afterCommits(r)
		return nil
	}
	c.confirm(f)
	return nil
}

func noSubscription(what string, value []byte) error {
	return refuse("No subscription found", "UNSUBSCRIBE must refer to an existing subscription.\nSubscription to \"%s='%s'\" not found.\n", what, value)
}

// deleteDurable ends a durable subscription of JMS, which nobody may be
// reading.
func (c *conn) deleteDurable(f *wire.Frame, name string) error {
	if c.clientID == "" {
		return refuse("Missing header", "A durable subscription needs a 'client-id' header in CONNECT\n")
	}
	_, err := c.session.DeleteQueue(&c.turn, broker.DurableSubscription(c.clientID, name).Name, true, false, nil)
	if inUse(err) {
		return refuse("Durable consumer is in use", "Durable consumer is in use\n")
	}
	if err != nil {
		return err
	}
	if r := receiptOf(f); !r.silent {
		c.afterCommits(r)
	}
	return nil
}

// stop ends a subscription by the client's wish. What is on its way goes back
// as if it had never left, or is sent if it counts as settled. What the client
// holds unacknowledged stays with RabbitMQ's clients and goes back from
// ActiveMQ's.
func (c *conn) stop(cons *consumer) {
	c.flushSettles()
	c.leave(cons)
	c.readInbox()
	c.drop(cons)
	if c.opt.Dialect == ActiveMQ {
		c.taken = c.ledger.TakeWhere(c.taken[:0], c.ledger.End(), func(u *unsettled) bool { return u.Data == cons })
		for i := range c.taken {
			c.collect(c.taken[i].Queue, c.taken[i].Lease, broker.Released)
		}
		clear(c.taken)
	}
	c.flushSettles()
}

// leave ends a consumer's subscriptions in the core.
func (c *conn) leave(cons *consumer) {
	if cons.fan != nil {
		cons.fan.Close(&c.turn)
		return
	}
	c.session.Unsubscribe(&c.turn, cons.source.Sub)
}

// drop forgets a consumer whose subscription has ended.
func (c *conn) drop(cons *consumer) {
	cons.cancelled = true
	delete(c.consumers, cons.key)
	c.release(cons)
}

// cancelled tells the client that the broker ended a subscription.
func (c *conn) cancelled(sub *broker.Subscription) {
	src, ok := sub.Data.(*source)
	if !ok || src.cons.cancelled {
		return
	}
	cons := src.cons
	if cons.fan != nil {
		if cons.fan.Left(sub) {
			return
		}
		c.leave(cons)
	}
	c.drop(cons)
	p := &problem{
		message: "Server cancelled subscription",
		detail:  "The server has canceled a subscription.\nNo more messages will be delivered for " + cons.dest.text + ".\n",
	}
	c.answer(reply{frame: p.append(nil, c.version, "", false)})
}
