package amqp

import (
	"github.com/hermodmq/hermod/broker"
	"github.com/hermodmq/hermod/listeners/amqp/wire"
)

// exchangeDeclare carries out exchange.declare (AMQP 1.6.2.1).
func (ch *channel) exchangeDeclare(m *wire.ExchangeDeclare) error {
	r, done := ch.promise(m.NoWait)
	err := ch.session.DeclareExchange(&ch.conn.turn, broker.ExchangeDeclare{
		Name: stripName(m.Exchange), Type: m.Type, Passive: m.Passive,
		Durable: m.Durable, AutoDelete: m.AutoDelete, Internal: m.Internal, Args: tableIn(m.Arguments),
	}, done)
	if err != nil {
		return err
	}
	ch.keepPromise(r, &wire.ExchangeDeclareOk{})
	return nil
}

// exchangeDelete carries out exchange.delete; a missing exchange is fine.
func (ch *channel) exchangeDelete(m *wire.ExchangeDelete) error {
	r, done := ch.promise(m.NoWait)
	if err := ch.session.DeleteExchange(&ch.conn.turn, stripName(m.Exchange), m.IfUnused, done); err != nil {
		return err
	}
	ch.keepPromise(r, &wire.ExchangeDeleteOk{})
	return nil
}

// exchangeBind carries out exchange.bind, an extension of RabbitMQ.
func (ch *channel) exchangeBind(m *wire.ExchangeBind) error {
	r, done := ch.promise(m.NoWait)
	err := ch.session.Bind(&ch.conn.turn, broker.Binding{
		Source: stripName(m.Source), Destination: stripName(m.Destination), ToExchange: true,
		Key: m.RoutingKey, Args: tableIn(m.Arguments),
	}, done)
	if err != nil {
		return err
	}
	ch.keepPromise(r, &wire.ExchangeBindOk{})
	return nil
}

// exchangeUnbind carries out exchange.unbind; a missing binding is fine.
func (ch *channel) exchangeUnbind(m *wire.ExchangeUnbind) error {
	r, done := ch.promise(m.NoWait)
	err := ch.session.Unbind(&ch.conn.turn, broker.Binding{
		Source: stripName(m.Source), Destination: stripName(m.Destination), ToExchange: true,
		Key: m.RoutingKey, Args: tableIn(m.Arguments),
	}, done)
	if err != nil {
		return err
	}
	ch.keepPromise(r, &wire.ExchangeUnbindOk{})
	return nil
}
