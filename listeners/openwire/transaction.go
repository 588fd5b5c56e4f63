package openwire

import (
	"encoding/binary"

	"github.com/hermodmq/hermod/broker"
	"github.com/hermodmq/hermod/listeners/delivery"
	"github.com/hermodmq/hermod/listeners/openwire/wire"
)

// transaction is what a client did between BEGIN and its end.
type transaction struct {
	publishes []txPublish
	settles   []delivery.Unsettled[lent]
	bytes     int
}

type txPublish struct {
	dest wire.Destination // to make the queue if it is missing
	pub  broker.Publish
}

// results of PREPARE.
const (
	xaOK       = 0
	xaReadOnly = 3
)

// transact carries out TransactionInfo.
func (c *conn) transact(s *wire.TransactionInfo) (answered bool, err error) {
	id := s.TransactionID
	if s.Operation == wire.TxRecover {
		c.sendPrepared(&s.Header)
		return true, nil
	}
	if id.IsNull() || len(id.GlobalID) > maxXID || len(id.BranchQualifier) > maxXID {
		return false, refuse(classJMS, "a transaction needs an id")
	}
	switch s.Operation {
	case wire.TxBegin:
		return false, c.beginTransaction(id)
	case wire.TxEnd:
		if id.IsXA() && c.transactions[id] == nil && !c.isPrepared(id) {
			return false, unknownTransaction(id)
		}
		return false, nil
	case wire.TxPrepare:
		return true, c.prepare(s)
	case wire.TxCommitOnePhase, wire.TxCommitTwoPhase:
		return true, c.commit(s)
	case wire.TxRollback, wire.TxForget:
		return c.rollback(s)
	}
	return false, refuse(classJMS, "unknown operation %d on a transaction", s.Operation)
}

// maxXID bounds the two parts of the id of a branch, in bytes; the standard
// says 64.
const maxXID = 256

func (c *conn) beginTransaction(id wire.TransactionID) error {
	switch {
	case c.transactions[id] != nil:
		return nil // said twice, after a failover
	case id.IsXA() && c.isPrepared(id):
		return refuseXA(xaDuplicateID, "Transaction '%s' has already been prepared.", id)
	case len(c.transactions) >= c.opt.Transactions:
		return refuse(classResourceAllocation, "more than %d transactions at once", c.opt.Transactions)
	}
	if c.transactions == nil {
		c.transactions = make(map[wire.TransactionID]*transaction)
	}
	c.transactions[id] = new(transaction)
	return nil
}

// inTransaction finds an open transaction.
func (c *conn) inTransaction(id wire.TransactionID) (*transaction, error) {
	if x := c.transactions[id]; x != nil {
		return x, nil
	}
	return nil, unknownTransaction(id)
}

func unknownTransaction(id wire.TransactionID) error {
	if id.IsXA() {
		return refuseXA(xaNoSuchTransaction, "Transaction '%s' has not been started.", id)
	}
	return refuse(classJMS, "Transaction '%s' has not been started.", id)
}

// roomIn accounts for n more commands with size bytes of messages in a
// transaction.
func (c *conn) roomIn(x *transaction, n, size int) error {
	if len(x.publishes)+len(x.settles)+n > c.opt.TransactionSize || c.txBytes+size > c.opt.TransactionBytes {
		return refuse(classResourceAllocation, "more than %d commands in a transaction, or than %d bytes in all of a connection",
			c.opt.TransactionSize, c.opt.TransactionBytes)
	}
	x.bytes += size
	c.txBytes += size
	return nil
}

// publishLater keeps a message for the commit.
func (c *conn) publishLater(p *producer, m *wire.Message) error {
	x, err := c.inTransaction(m.TransactionID)
	if err != nil {
		return err
	}
	var pubs []broker.Publish
	if p.cache.parts != nil {
		if pubs, err = c.copies(p, m); err != nil {
			return err
		}
	} else {
		d := p.cache.dest
		msg, err := c.message(m, d.Name, d.IsTopic())
		if err != nil {
			return err
		}
		pubs = []broker.Publish{{Exchange: msg.Exchange, Msg: msg}}
	}
	size := 0
	for i := range pubs {
		size += pubs[i].Msg.Size() + txOverhead
	}
	if err := c.roomIn(x, len(pubs), size); err != nil {
		return err
	}
	for i := range pubs {
		d := queueOf(pubs[i].Msg.RoutingKey)
		if pubs[i].Exchange != "" {
			d = topicOf(pubs[i].Msg.RoutingKey)
		}
		x.publishes = append(x.publishes, txPublish{d, pubs[i]})
	}
	return nil
}

// txOverhead is what a message in a transaction counts for beside its bytes.
const txOverhead = 256

// end takes a transaction off the connection.
func (c *conn) end(id wire.TransactionID) *transaction {
	x := c.transactions[id]
	if x != nil {
		delete(c.transactions, id)
		c.txBytes -= x.bytes
	}
	return x
}

// gather puts what a transaction does into the core's.
func (c *conn) gather(x *transaction) error {
	c.flushSettles()
	c.session.Begin()
	for i := range x.publishes {
		p := &x.publishes[i]
		if _, err := c.offer(p.pub, p.dest); err != nil {
			return err
		}
	}
	for i := range x.settles {
		u := &x.settles[i]
		c.session.Settle(&c.turn, u.Queue, []broker.Lease{u.Lease}, broker.Accepted)
		c.tellEnd(toldConsumed, u)
	}
	return nil
}

// done closes the books on what a transaction acknowledged.
func (c *conn) done(x *transaction) {
	for i := range x.settles {
		if cons := x.settles[i].Data.part.cons; cons.prefetch > 0 && !cons.closed {
			cons.inside--
			if cons.inside == 0 {
				c.adjust(cons)
			}
		}
	}
}

// commitWaits reports whether a transaction cannot end now because a queue has
// no room for its messages.
func (c *conn) commitWaits(s *wire.TransactionInfo) bool {
	x := c.transactions[s.TransactionID]
	if x == nil || c.forced || s.Operation != wire.TxCommitOnePhase && s.Operation != wire.TxPrepare {
		return false
	}
	for i := range x.publishes {
		p := &x.publishes[i]
		if p.dest.IsTopic() {
			continue
		}
		if q := c.core.VHost().Queue(p.dest.Name); q != nil && !q.HasRoom(len(p.pub.Msg.Body)) && !matches(c.opt.FailIfNoSpace, p.dest.Name) {
			c.awaitRoom(q)
			return true
		}
	}
	return false
}

// commit carries out COMMIT: everything or, if the broker dies first, nothing.
func (c *conn) commit(s *wire.TransactionInfo) error {
	id := s.TransactionID
	x := c.transactions[id]
	switch {
	case x == nil && id.IsXA() && c.isPrepared(id):
		return c.decide(s, true)
	case x == nil:
		return unknownTransaction(id)
	case id.IsXA() && s.Operation == wire.TxCommitTwoPhase:
		return refuseXA(xaProtocol, "Transaction '%s' has not been prepared.", id)
	}
	defer c.session.LeaveTransaction()
	if err := c.gather(x); err != nil {
		c.undo(c.end(id))
		if id.IsXA() {
			err = refuseXA(xaFailed, "Transaction '%s' was rolled back: %s", id, exceptionOf(err).Message)
		}
		return err
	}
	c.end(id)
	h := s.Header
	ref := c.later(func(bool) {
		c.done(x)
		c.respond(&h)
	})
	done := c.called(ref)
	c.session.Commit(&c.turn, func(t *broker.Turn, _ error) { done(t) })
	return nil
}

// prepare carries out PREPARE.
func (c *conn) prepare(s *wire.TransactionInfo) error {
	id := s.TransactionID
	x := c.transactions[id]
	if x == nil || !id.IsXA() {
		if c.isPrepared(id) { // asked again, after a failover
			c.send(&wire.IntegerResponse{CorrelationID: s.CommandID, Result: xaOK})
			return nil
		}
		return unknownTransaction(id)
	}
	defer c.session.LeaveTransaction()
	if err := c.gather(x); err != nil {
		c.undo(c.end(id))
		return refuseXA(xaFailed, "Transaction '%s' was rolled back: %s", id, exceptionOf(err).Message)
	}
	command := s.CommandID
	ref := c.later(func(bool) { c.send(&wire.IntegerResponse{CorrelationID: command, Result: xaOK}) })
	idle, err := c.session.Prepare(&c.turn, xaKey(id), c.called(ref))
	if idle || err != nil {
		delete(c.calls, ref)
	}
	if err != nil {
		return refuseXA(xaFailed, "Transaction '%s' cannot be prepared: %s", id, exceptionOf(err).Message)
	}
	c.end(id)
	if idle {
		c.send(&wire.IntegerResponse{CorrelationID: command, Result: xaReadOnly})
		return nil
	}
	if c.prepared == nil {
		c.prepared = make(map[wire.TransactionID]*transaction)
	}
	x.publishes = nil
	c.prepared[id] = x
	return nil
}

// decide carries out the second phase of a commit, or undoes the first.
func (c *conn) decide(s *wire.TransactionInfo, commit bool) error {
	id, h := s.TransactionID, s.Header
	x := c.prepared[id]
	delete(c.prepared, id)
	ref := c.later(func(ok bool) {
		if x != nil && commit {
			c.done(x)
		}
		if !ok {
			c.fail(&h, refuseXA(xaFailed, "Transaction '%s' cannot be committed now.", id))
			return
		}
		c.respond(&h)
	})
	v := c.core.VHost()
	verdict := func(t *broker.Turn, err error) {
		c.inbox.Tell(t, &note{kind: noteCall, ref: ref, ok: err == nil})
	}
	var err error
	if commit {
		err = v.CommitPrepared(&c.turn, xaKey(id), verdict)
	} else {
		err = v.RollbackPrepared(&c.turn, xaKey(id), verdict)
		if x != nil && err == nil {
			c.undo(x)
		}
	}
	if err != nil {
		delete(c.calls, ref)
		return unknownTransaction(id)
	}
	return nil
}

// rollback carries out ROLLBACK and FORGET. The client goes on with the
// messages it has: nothing is sent to it again.
func (c *conn) rollback(s *wire.TransactionInfo) (answered bool, err error) {
	id := s.TransactionID
	if x := c.end(id); x != nil {
		c.undo(x)
		return false, nil
	}
	if id.IsXA() && c.isPrepared(id) {
		return true, c.decide(s, false)
	}
	return false, unknownTransaction(id)
}

// undo gives the deliveries of a transaction back to their consumers, or to
// their queues if the consumers are gone.
func (c *conn) undo(x *transaction) {
	byConsumer := make(map[*consumer][]delivery.Unsettled[lent])
	for i := range x.settles {
		u := x.settles[i]
		cons := u.Data.part.cons
		if cons.closed {
			c.collect(u.Queue, u.Lease, broker.Failed)
			continue
		}
		byConsumer[cons] = append(byConsumer[cons], u)
	}
	for cons, list := range byConsumer {
		cons.ledger.Restore(list)
		if cons.prefetch > 0 {
			cons.inside -= len(list)
			c.adjust(cons)
		}
	}
}

func (c *conn) isPrepared(id wire.TransactionID) bool { return c.core.VHost().IsPrepared(xaKey(id)) }

// xaKey is the name of a branch in the core.
func xaKey(id wire.TransactionID) string {
	b := binary.BigEndian.AppendUint32(nil, uint32(id.FormatID))
	b = binary.BigEndian.AppendUint16(b, uint16(len(id.GlobalID)))
	b = append(b, id.GlobalID...)
	return string(append(b, id.BranchQualifier...))
}

// fromXAKey undoes xaKey.
func fromXAKey(key string) (id wire.TransactionID, ok bool) {
	if len(key) < 6 {
		return id, false
	}
	b := []byte(key[:6])
	n := int(binary.BigEndian.Uint16(b[4:]))
	if len(key) < 6+n {
		return id, false
	}
	id.Kind = wire.TypeXATransactionID
	id.FormatID = int32(binary.BigEndian.Uint32(b))
	id.GlobalID, id.BranchQualifier = key[6:6+n], key[6+n:]
	return id, true
}

// sendPrepared carries out RECOVER.
func (c *conn) sendPrepared(h *wire.Header) {
	data := []wire.Structure{}
	for _, key := range c.core.VHost().Prepared() {
		if id, ok := fromXAKey(key); ok {
			data = append(data, id)
		}
	}
	c.send(&wire.DataArrayResponse{CorrelationID: h.CommandID, Data: data})
}
