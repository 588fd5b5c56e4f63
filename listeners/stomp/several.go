package stomp

import (
	"github.com/hermodmq/hermod/broker"
	"github.com/hermodmq/hermod/listeners/transport"
)

// consumeSeveral reads the queues of a list or of a name with wildcards. All
// topics of a list share a queue, so that what fits several comes once.
func (c *conn) consumeSeveral(cons *consumer, w *wish) error {
	parts := cons.dest.parts
	if cons.dest.kind != destComposite {
		parts = []*destination{cons.dest}
	}
	var topics []*destination
	for _, part := range parts {
		if part.topical() {
			topics = append(topics, part)
		}
	}
	own, err := "", error(nil)
	if len(topics) > 0 {
		if own, err = c.topicQueue(cons, w, topics); err != nil {
			return err
		}
	}
	options := c.subscribeOptions(cons, w)
	fan, err := c.session.OpenFanIn(broker.FanInOptions{
		SubscribeOptions: options,
		Appeared: func(queue string) {
			c.link.Post(transport.Event{Kind: eventAppeared, P: &appeared{cons, queue}})
		},
		Opened: func(sub *broker.Subscription) {
			src := &source{cons: cons}
			if sub.Queue.Name() == own {
				src.passes = w.wants
			}
			src.Sub, sub.Data = sub, src
		},
	})
	if err != nil {
		return err
	}
	// Nothing is delivered before all of it is there: what counts as settled by
	// being sent could not be taken back.
	c.session.SetFlow(&c.turn, false)
	defer c.session.SetFlow(&c.turn, true)
	if own != "" {
		err = fan.Add(&c.turn, own, nil)
	}
	for i := 0; err == nil && i < len(parts); i++ {
		switch part := parts[i]; {
		case part.topical():
		case part.wild:
			fan.AddMatching(&c.turn, broker.Destination{Name: part.name}.Pattern())
		default:
			var queue string
			if queue, err = c.readyQueue(part, w); err == nil {
				err = fan.Add(&c.turn, queue, options.Filter)
			}
		}
	}
	if err != nil {
		fan.Close(&c.turn)
		c.dropOwn(cons, own)
		return err
	}
	cons.fan = fan
	c.remember(cons)
	return nil
}

// appeared is a queue that a consumer's wildcards stand for.
type appeared struct {
	cons  *consumer
	queue string
}

// join has a consumer of wildcards read a new queue.
func (c *conn) join(a *appeared) {
	if a.cons.fan != nil && !a.cons.cancelled && c.state == running {
		a.cons.fan.Join(&c.turn, a.queue)
	}
}
