package openwire

import (
	"github.com/hermodmq/hermod/broker"
	"github.com/hermodmq/hermod/listeners/delivery"
	"github.com/hermodmq/hermod/listeners/openwire/wire"
)

// ack carries out MessageAck. Acknowledgements of consumers that are gone are
// passed over: after a failover they are common.
func (c *conn) ack(s *wire.MessageAck) error {
	cons := c.consumers[s.ConsumerID]
	if cons == nil || cons.closed {
		return nil
	}
	if cons.browse != nil {
		c.browseAck(cons, s)
		return nil
	}
	if cons.sub == nil && cons.fan == nil {
		return nil // of advisories
	}
	var x *transaction
	if !s.TransactionID.IsNull() && s.AckType != wire.AckDelivered && s.AckType != wire.AckRedelivered {
		var err error
		if x, err = c.inTransaction(s.TransactionID); err != nil {
			return err
		}
	}
	switch s.AckType {
	case wire.AckDelivered:
		if _, err := cons.find(s.LastMessageID); err != nil {
			return err
		}
		if cons.prefetch > 0 {
			cons.extension = min(cons.extension+max(int(s.MessageCount), 0), cons.ledger.Len())
			c.adjust(cons)
		}
		return nil
	case wire.AckRedelivered:
		return nil
	case wire.AckStandard, wire.AckIndividual, wire.AckExpired, wire.AckUnmatched, wire.AckPoison:
		if x != nil && s.AckType == wire.AckPoison {
			return refuse(classJMS, "Poison ack cannot be transacted: %s", s.LastMessageID)
		}
		return c.ackRange(cons, s, x)
	}
	return refuse(classJMS, "unknown type of acknowledgement %d", s.AckType)
}

// find is the place in the ledger of a message that the client holds. It knows
// it by its brokerSequenceId.
func (cons *consumer) find(id wire.MessageID) (int, error) {
	i, ok := cons.ledger.Find(uint64(id.BrokerSequenceID))
	if !ok {
		return 0, refuse(classJMS, "Unmatched acknowledge: Could not find Message-ID %s in dispatched-list", id)
	}
	return i, nil
}

// ackRange settles what an acknowledgement is about, now or with its
// transaction.
func (c *conn) ackRange(cons *consumer, s *wire.MessageAck, x *transaction) error {
	last, err := cons.find(s.LastMessageID)
	if err != nil {
		return err
	}
	first := last
	if s.AckType != wire.AckIndividual {
		if first, err = cons.first(s); err != nil {
			return err
		}
	}
	n := 0
	for i := first; i <= last; i++ {
		if cons.ledger.At(i).Queue != nil {
			n++
		}
	}
	if n != int(s.MessageCount) && x == nil && s.AckType == wire.AckStandard && first != last {
		return refuse(classJMS, "Unmatched acknowledge: Expected message count (%d) differs from count in dispatched-list (%d)", s.MessageCount, n)
	}
	if x != nil {
		if err := c.roomIn(x, n, 0); err != nil {
			return err
		}
	}
	from := cons.ledger.At(first).Tag
	c.taken = cons.ledger.TakeWhere(c.taken[:0], last+1, func(u *delivery.Unsettled[lent]) bool { return u.Tag >= from })
	if cons.extension > 0 {
		cons.extension = max(cons.extension-n, 0)
		if x == nil {
			c.adjust(cons) // before credit comes back
		}
	}
	switch {
	case x != nil:
		x.settles = append(x.settles, c.taken...)
		if cons.prefetch > 0 {
			cons.inside += n
			c.adjust(cons)
		}
	case s.AckType == wire.AckPoison:
		c.poison(cons, s)
	case s.AckType == wire.AckExpired:
		for i := range c.taken {
			c.expired(cons, &c.taken[i])
		}
	default:
		for i := range c.taken {
			c.tellEnd(toldConsumed, &c.taken[i])
			c.collect(c.taken[i].Queue, c.taken[i].Lease, broker.Accepted)
		}
	}
	clear(c.taken)
	return nil
}

// first is the place at which the range of an acknowledgement begins: with the
// oldest if it does not say.
func (cons *consumer) first(s *wire.MessageAck) (int, error) {
	if s.FirstMessageID.IsNull() {
		for i := 0; i < cons.ledger.End(); i++ {
			if cons.ledger.At(i).Queue != nil {
				return i, nil
			}
		}
	}
	i, err := cons.find(s.FirstMessageID)
	if err != nil {
		return 0, err
	}
	last, _ := cons.find(s.LastMessageID)
	if i > last {
		return 0, refuse(classJMS, "Unmatched acknowledge: %s comes after %s", s.FirstMessageID, s.LastMessageID)
	}
	return i, nil
}

// poison gives messages up that the client cannot process. Persistent ones go
// to the dead letters, others are dropped.
func (c *conn) poison(cons *consumer, s *wire.MessageAck) {
	cause := ""
	if t := s.PoisonCause; t != nil {
		cause = t.ClassName + ": " + t.Message
		if len(cause) > maxErrorText {
			cause = cause[:maxErrorText]
		}
	}
	for i := range c.taken {
		c.tellEnd(toldConsumed, &c.taken[i])
		c.giveUp(cons, &c.taken[i], cause)
	}
}

func (c *conn) giveUp(cons *consumer, u *delivery.Unsettled[lent], cause string) {
	c.flushSettles()
	r := broker.Rejection{Cause: cause}
	if u.Data.persistent {
		r.To = c.deadLettersOf(cons, u.Queue.Name())
	}
	c.session.Reject(&c.turn, u.Queue, []broker.Lease{u.Lease}, r)
}

// deadLettersOf is the queue for the dead letters of a consumer's queue; ""
// for one that keeps them itself.
func (c *conn) deadLettersOf(cons *consumer, queue string) string {
	switch {
	case cons.dest.IsTopic() && !cons.durable:
		return ""
	case cons.dest.IsTopic():
		return c.deadLetters("Topic.", cons.lastTopic.Name)
	}
	return c.deadLetters("Queue.", queue)
}

// expired ends a message that the client found to be too old.
func (c *conn) expired(cons *consumer, u *delivery.Unsettled[lent]) {
	c.tellEnd(toldExpired, u)
	if cons.dest.IsTopic() && !cons.durable || !u.Data.persistent {
		c.collect(u.Queue, u.Lease, broker.Accepted)
		return
	}
	c.giveUp(cons, u, "java.lang.Throwable: Message Expired")
}
