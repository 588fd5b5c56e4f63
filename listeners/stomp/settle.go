package stomp

import (
	"bytes"

	"github.com/hermodmq/hermod/broker"
	"github.com/hermodmq/hermod/listeners/stomp/wire"
)

// ack carries out ACK.
func (c *conn) ack(f *wire.Frame) error { return c.settle(f, broker.Accepted) }

// nack carries out NACK: RabbitMQ's clients get the message again, ActiveMQ's
// never; the header requeue says otherwise.
func (c *conn) nack(f *wire.Frame) error {
	if c.version == wire.V10 {
		return refuse("Bad command", "Could not interpret command \"NACK\"\n")
	}
	requeue := c.opt.Dialect == RabbitMQ
	if v, ok := f.Lookup("requeue"); ok {
		requeue = string(v) == "true"
	}
	if requeue {
		return c.settle(f, broker.Failed)
	}
	return c.settle(f, broker.Rejected)
}

// settle finds the deliveries that an ACK or NACK is about and concludes them,
// now or with their transaction.
func (c *conn) settle(f *wire.Frame, o broker.Outcome) error {
	header := "id"
	if c.version < wire.V12 {
		header = "message-id"
	}
	value, ok := f.Lookup(header)
	if !ok {
		return refuse("Missing header", "\"%s\" must include a \"%s\" header\n", f.Word, header)
	}
	at, ok := c.delivered(value)
	if !ok {
		return refuse("Invalid header", "\"%s\" must include a valid \"%s\" header\n", f.Word, header)
	}
	id, inside := f.Lookup("transaction")
	var x *transaction
	if inside {
		var err error
		if x, err = c.room(string(id), 0); err != nil {
			return err
		}
	}
	c.taken = c.take(c.taken[:0], at)
	for i := range c.taken {
		if u := &c.taken[i]; x != nil {
			x.settles = append(x.settles, txSettle{*u, o})
		} else {
			c.collect(u.Queue, u.Lease, o)
		}
	}
	clear(c.taken)
	if cap(c.taken) > scratchKeep {
		c.taken = nil
	}
	r := receiptOf(f)
	switch {
	case r.silent:
	case x != nil:
		c.answer(r)
	default:
		c.afterCommits(r)
	}
	return nil
}

// delivered finds the ledger's entry that a message-id or ack header of ours
// names.
func (c *conn) delivered(id []byte) (int, bool) {
	at := bytes.LastIndex(id, []byte("@@"))
	if at < 0 {
		return 0, false
	}
	session := bytes.LastIndex(id[:at], []byte("@@"))
	if session < 0 || string(id[session+2:at]) != c.id {
		return 0, false
	}
	tag, ok := wire.Number(id[at+2:])
	if !ok {
		return 0, false
	}
	i, ok := c.ledger.Find(uint64(tag))
	if !ok || string(c.ledger.At(i).Data.key) != string(id[:session]) {
		return 0, false
	}
	return i, true
}

// take removes from the ledger what acknowledging entry i acknowledges: that
// delivery or, for a subscription with ack:client, all before it too, those of
// other such subscriptions included for RabbitMQ's clients.
func (c *conn) take(dst []unsettled, i int) []unsettled {
	cons := c.ledger.At(i).Data
	if cons.mode != ackClient {
		return c.ledger.Take(dst, i)
	}
	all := c.opt.Dialect == RabbitMQ
	return c.ledger.TakeWhere(dst, i+1, func(u *unsettled) bool {
		return u.Data == cons || all && u.Data.mode == ackClient
	})
}

// scratchKeep is how many entries of scratch a connection keeps.
const scratchKeep = 1024

func (c *conn) collect(q *broker.Queue, l broker.Lease, o broker.Outcome) {
	c.settling.Collect(c.session, &c.turn, q, l, o)
}

// flushSettles gives the core the acknowledgements collected so far.
func (c *conn) flushSettles() { c.settling.Flush(c.session, &c.turn) }
