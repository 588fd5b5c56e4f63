package amqp

import (
	"github.com/hermodmq/hermod/listeners/amqp/wire"
	"github.com/hermodmq/hermod/listeners/delivery"
)

// unsettled is one delivery the client has to acknowledge.
type unsettled = delivery.Unsettled[struct{}]

// takeTag removes the entry of a delivery tag from the ledger, or with multiple
// all up to it (tag 0: all), and appends them to dst in order.
func (ch *channel) takeTag(dst []unsettled, tag uint64, multiple bool) ([]unsettled, error) {
	if multiple && tag == 0 {
		return ch.ledger.TakeUpTo(dst, ch.ledger.End()), nil
	}
	i, ok := ch.ledger.Find(tag)
	switch {
	case !ok:
		return dst, refuse(wire.PreconditionFailed, "unknown delivery tag %d", tag)
	case multiple:
		return ch.ledger.TakeUpTo(dst, i+1), nil
	}
	return ch.ledger.Take(dst, i), nil
}
