package openwire

import (
	"github.com/hermodmq/hermod/broker"
	"github.com/hermodmq/hermod/listeners/delivery"
)

// showImages gives a retroactive consumer the last messages of its topics,
// before anything that comes to its queue.
func (c *conn) showImages(cons *consumer, images []*broker.Message) {
	for _, m := range images {
		c.deliver(&broker.Delivery{Sub: cons.sub, Queue: cons.sub.Queue, Msg: m, Offset: delivery.Image})
	}
}
