package openwire

import (
	"github.com/hermodmq/hermod/broker"
	"github.com/hermodmq/hermod/listeners/delivery"
)

// showImages gives a retroactive consumer the last messages of its topics.
func (c *conn) showImages(cons *consumer, topics []broker.Destination) {
	for _, t := range topics {
		for _, m := range c.core.VHost().Images(&c.turn, t.Pattern()) {
			c.deliver(&broker.Delivery{Sub: cons.sub, Queue: cons.sub.Queue, Msg: m, Offset: delivery.Image})
			cons.shown.Add(m, c.turn.Now)
		}
	}
}
