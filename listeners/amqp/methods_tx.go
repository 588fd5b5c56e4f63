package amqp

import (
	"github.com/hermodmq/hermod/broker"
	"github.com/hermodmq/hermod/listeners/amqp/wire"
)

// confirmSelect turns publisher confirms on for the rest of the channel's
// life; it may be repeated.
func (ch *channel) confirmSelect(m *wire.ConfirmSelect) error {
	if ch.tx {
		return refuse(wire.PreconditionFailed, "cannot switch from tx to confirm mode")
	}
	ch.confirms.on = true
	if !m.NoWait {
		ch.answer(&wire.ConfirmSelectOk{})
	}
	return nil
}

// txSelect makes the channel transactional for the rest of its life (AMQP
// 1.9.2.1).
func (ch *channel) txSelect() error {
	if ch.confirms.on {
		return refuse(wire.PreconditionFailed, "cannot switch from confirm to tx mode")
	}
	if !ch.tx {
		ch.tx = true
		ch.session.Begin()
	}
	ch.answer(&wire.TxSelectOk{})
	return nil
}

// txCommit makes what was published and acknowledged since the last commit
// durable, all or nothing, and answers when it is.
func (ch *channel) txCommit() error {
	if !ch.tx {
		return refuse(wire.PreconditionFailed, "channel is not transactional")
	}
	ch.txTaken = nil
	r := new(reply)
	id, returns := ch.conn.current, ch.returns
	ch.returns = nil
	r.run = func() { ch.committed(r.err, id, returns) }
	ch.session.Commit(&ch.conn.turn, func(t *broker.Turn, err error) {
		r.err = err
		ch.answered(t, r)
	})
	ch.session.Begin()
	if !r.state.CompareAndSwap(0, replyQueued) {
		ch.answerRun(r.run)
		return nil
	}
	ch.queueReply(r)
	return nil
}

func (ch *channel) committed(err error, id wire.MethodID, returns []*broker.Message) {
	c := ch.conn
	if err == nil {
		for _, m := range returns {
			ch.sendReturn(m)
		}
		c.send(ch.id, &wire.TxCommitOk{})
		return
	}
	if !ch.ended {
		c.current = id
		c.raise(ch, err)
	}
}

// txRollback forgets what was published since the last commit; what was
// acknowledged is unacknowledged again, not requeued.
func (ch *channel) txRollback() error {
	if !ch.tx {
		return refuse(wire.PreconditionFailed, "channel is not transactional")
	}
	ch.session.Rollback(&ch.conn.turn)
	ch.returns = nil
	ch.session.Begin()
	if len(ch.txTaken) > 0 {
		ch.ledger.Restore(ch.txTaken)
		ch.txTaken = nil
	}
	ch.answer(&wire.TxRollbackOk{})
	return nil
}
