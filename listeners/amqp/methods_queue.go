package amqp

import (
	"strconv"
	"strings"

	"github.com/hermodmq/hermod/broker"
	"github.com/hermodmq/hermod/listeners/amqp/wire"
)

// queueDeclare carries out queue.declare (AMQP 1.7.2.1).
func (ch *channel) queueDeclare(m *wire.QueueDeclare) error {
	name := stripName(m.Queue)
	if name == "" && m.Passive {
		var err error
		if name, err = ch.queueName(""); err != nil {
			return err
		}
	}
	r, done := ch.promise(m.NoWait)
	info, err := ch.session.DeclareQueue(&ch.conn.turn, broker.QueueDeclare{
		Name: name, Passive: m.Passive, Durable: m.Durable, Exclusive: m.Exclusive, AutoDelete: m.AutoDelete,
		Args: tableIn(m.Arguments),
	}, done)
	if err != nil {
		return err
	}
	ch.lastQueue = info.Name
	ch.keepPromise(r, &wire.QueueDeclareOk{Queue: info.Name, MessageCount: uint32(info.Ready), ConsumerCount: uint32(info.Consumers)})
	return nil
}

// queueBinding reads the arguments that bind and unbind share.
func (ch *channel) queueBinding(queue, exchange, key string, args wire.Table) (broker.Binding, error) {
	name, err := ch.queueName(queue)
	if err != nil {
		return broker.Binding{}, err
	}
	if strings.HasPrefix(name, broker.ReplyQueue) {
		return broker.Binding{}, refuse(wire.AccessRefused, "operation not permitted on the direct reply-to queue '%s'", name)
	}
	if queue == "" && key == "" {
		key = name
	}
	return broker.Binding{Source: stripName(exchange), Destination: name, Key: key, Args: tableIn(args)}, nil
}

// queueBind carries out queue.bind (AMQP 1.7.2.3).
func (ch *channel) queueBind(m *wire.QueueBind) error {
	b, err := ch.queueBinding(m.Queue, m.Exchange, m.RoutingKey, m.Arguments)
	if err != nil {
		return err
	}
	r, done := ch.promise(m.NoWait)
	if err := ch.session.Bind(&ch.conn.turn, b, done); err != nil {
		return err
	}
	ch.keepPromise(r, &wire.QueueBindOk{})
	return nil
}

// queueUnbind carries out queue.unbind; a missing binding is fine.
func (ch *channel) queueUnbind(m *wire.QueueUnbind) error {
	b, err := ch.queueBinding(m.Queue, m.Exchange, m.RoutingKey, m.Arguments)
	if err != nil {
		return err
	}
	r, done := ch.promise(false)
	if err := ch.session.Unbind(&ch.conn.turn, b, done); err != nil {
		return err
	}
	ch.keepPromise(r, &wire.QueueUnbindOk{})
	return nil
}

// queuePurge carries out queue.purge: the ready messages go.
func (ch *channel) queuePurge(m *wire.QueuePurge) error {
	name, err := ch.queueName(m.Queue)
	if err != nil {
		return err
	}
	r, done := ch.promise(m.NoWait)
	n, err := ch.session.PurgeQueue(&ch.conn.turn, name, done)
	if err != nil {
		return err
	}
	ch.keepPromise(r, &wire.QueuePurgeOk{MessageCount: uint32(n)})
	return nil
}

// queueDelete carries out queue.delete; a missing queue is fine.
func (ch *channel) queueDelete(m *wire.QueueDelete) error {
	name, err := ch.queueName(m.Queue)
	if err != nil {
		return err
	}
	r, done := ch.promise(m.NoWait)
	n, err := ch.session.DeleteQueue(&ch.conn.turn, name, m.IfUnused, m.IfEmpty, done)
	if err != nil {
		return err
	}
	ch.keepPromise(r, &wire.QueueDeleteOk{MessageCount: uint32(n)})
	return nil
}

func itoa(n int) string { return strconv.Itoa(n) }
