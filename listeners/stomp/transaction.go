package stomp

import (
	"github.com/hermodmq/hermod/broker"
	"github.com/hermodmq/hermod/listeners/stomp/wire"
)

// transaction is what a client did between BEGIN and COMMIT.
type transaction struct {
	publishes []txPublish
	settles   []txSettle
	bytes     int
}

type txPublish struct {
	dest *destination
	msg  *broker.Message
}

type txSettle struct {
	entry   unsettled
	outcome broker.Outcome
}

// named reads the header transaction of a frame that needs one.
func named(f *wire.Frame) (string, error) {
	id, ok := f.Lookup("transaction")
	if !ok {
		return "", refuse("Missing transaction", "\"%s\" must include a 'transaction' header\n", f.Word)
	}
	return string(id), nil
}

func unknownTransaction(id string) error {
	return refuse("Bad transaction", "Invalid transaction identifier: \"%s\"\n", id)
}

// beginTransaction carries out BEGIN.
func (c *conn) beginTransaction(f *wire.Frame) error {
	id, err := named(f)
	if err != nil {
		return err
	}
	if c.transactions[id] != nil {
		return refuse("Bad transaction", "Transaction \"%s\" has begun already\n", id)
	}
	if len(c.transactions) >= c.opt.Transactions {
		return refuse("Too many transactions", "More than %d transactions at once\n", c.opt.Transactions)
	}
	if c.transactions == nil {
		c.transactions = make(map[string]*transaction)
	}
	c.transactions[id] = new(transaction)
	c.confirm(f)
	return nil
}

// room finds a transaction that takes size bytes more.
func (c *conn) room(id string, size int) (*transaction, error) {
	x := c.transactions[id]
	if x == nil {
		return nil, unknownTransaction(id)
	}
	if len(x.publishes)+len(x.settles) >= c.opt.TransactionSize || c.txBytes+size > c.opt.TransactionBytes {
		return nil, refuse("Transaction too large", "More than %d frames in a transaction, or than %d bytes in all of a connection\n",
			c.opt.TransactionSize, c.opt.TransactionBytes)
	}
	x.bytes += size
	c.txBytes += size
	return x, nil
}

// messageOverhead is what a message in a transaction counts for beside its
// bytes.
const messageOverhead = 256

// sendLater keeps a SEND for COMMIT.
func (c *conn) sendLater(t *traits, dest *destination, body []byte) error {
	parts := dest.parts
	if dest.kind != destComposite {
		parts = []*destination{dest}
	}
	x, err := c.room(string(t.transaction), len(parts)*(len(c.native)+len(body)+messageOverhead))
	if err != nil {
		return err
	}
	for _, part := range parts {
		x.publishes = append(x.publishes, txPublish{dest: part, msg: c.message(t, part, body)})
	}
	if t.hasReceipt {
		c.answer(reply{receipt: t.receipt})
	}
	return nil
}

// end takes a transaction off the connection.
func (c *conn) end(f *wire.Frame) (*transaction, error) {
	id, err := named(f)
	if err != nil {
		return nil, err
	}
	x := c.transactions[id]
	if x == nil {
		return nil, unknownTransaction(id)
	}
	delete(c.transactions, id)
	c.txBytes -= x.bytes
	return x, nil
}

// commit carries out COMMIT: everything or, if the core refuses part of it or
// the broker dies first, nothing.
func (c *conn) commit(f *wire.Frame) error {
	x, err := c.end(f)
	if err != nil {
		return err
	}
	return c.run(x, receiptOf(f))
}

// run gives a transaction to the core as one batch; r is the answer once it is
// durable.
func (c *conn) run(x *transaction, r reply) error {
	c.flushSettles()
	s := c.session
	s.Begin()
	defer s.LeaveTransaction()
	for _, p := range x.publishes {
		if _, err := c.offer(broker.Publish{Exchange: p.dest.exchange, Msg: p.msg}, p.dest); err != nil {
			c.restore(x)
			return err
		}
	}
	for _, u := range x.settles {
		s.Settle(&c.turn, u.entry.Queue, []broker.Lease{u.entry.Lease}, u.outcome)
	}
	ref := c.expect(r)
	s.Commit(&c.turn, func(t *broker.Turn, err error) {
		c.inbox.Tell(t, &note{kind: noteReply, ref: ref, ok: err == nil})
	})
	if len(x.publishes) > 0 { // who only consumes is never held
		c.published()
	}
	return nil
}

// abort carries out ABORT: what was acknowledged in the transaction is
// unacknowledged again.
func (c *conn) abort(f *wire.Frame) error {
	x, err := c.end(f)
	if err != nil {
		return err
	}
	c.restore(x)
	c.confirm(f)
	return nil
}

func (c *conn) restore(x *transaction) {
	if len(x.settles) == 0 {
		return
	}
	taken := make([]unsettled, len(x.settles))
	for i := range x.settles {
		taken[i] = x.settles[i].entry
	}
	c.ledger.Restore(taken)
}
