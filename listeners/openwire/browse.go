package openwire

import (
	"github.com/hermodmq/hermod/broker"
	"github.com/hermodmq/hermod/broker/selector"
	"github.com/hermodmq/hermod/listeners/openwire/wire"
)

// browse is what a browser has still to show.
type browse struct {
	wants  broker.Filter
	queues []string
	cursor *broker.Browser
	busy   bool // the cursor reads
	shown  int  // messages the client has not acknowledged
	ended  bool
}

// browseStep is how many messages are shown at a time.
const browseStep = 100

// browseWindow is how many messages a client gets before it acknowledges some,
// if it names no prefetch of its own.
const browseWindow = 500

// startBrowse opens a browser of queues, one after the other. What this client
// acknowledged before is not shown.
func (c *conn) startBrowse(cons *consumer, queues []broker.Destination, chosen *selector.Selector) error {
	c.flushSettles()
	x := &browse{wants: c.passing(chosen, false)}
	for _, q := range queues {
		if q.Wild() {
			x.queues = append(x.queues, c.core.VHost().QueuesMatching(q.Pattern())...)
			continue
		}
		if c.core.VHost().Queue(q.Name) == nil {
			if err := c.makeQueue(q.Name); err != nil {
				return err
			}
		}
		x.queues = append(x.queues, q.Name)
	}
	cons.browse = x
	if err := c.nextCursor(x); err != nil {
		return err
	}
	c.showNext(cons)
	return nil
}

func (c *conn) nextCursor(x *browse) (err error) {
	x.cursor = nil
	if len(x.queues) > 0 {
		x.cursor, err = c.session.Browse(&c.turn, x.queues[0], x.wants)
		x.queues = x.queues[1:]
	}
	return err
}

// showNext asks for more to show, if the client takes it.
func (c *conn) showNext(cons *consumer) {
	x := cons.browse
	if x == nil || x.ended || x.busy || cons.stopped {
		return
	}
	window := cons.prefetch
	if window == 0 {
		window = browseWindow
	}
	if c.choked() {
		c.hold(cons)
		return
	}
	room := window - x.shown
	if room <= 0 {
		return
	}
	if x.cursor == nil {
		x.ended = true
		c.out = appendEnd(c.buffer(), c.format, cons.id)
		return
	}
	x.busy = true
	id := cons.id
	x.cursor.Next(&c.turn, min(room, browseStep), func(t *broker.Turn, list []broker.Delivery, end bool) {
		c.inbox.Tell(t, &note{kind: noteBrowsed, ok: end, rare: &rare{consumer: id, list: list}})
	})
}

// browsed shows what a browser's cursor brought.
func (c *conn) browsed(n *note) {
	cons := c.consumers[n.rare.consumer]
	if cons == nil || cons.browse == nil {
		return
	}
	x := cons.browse
	x.busy = false
	for i := range n.rare.list {
		d := &n.rare.list[i]
		y := dispatch{
			Consumer: cons.id, Destination: queueOf(d.Queue.Name()), Sequence: c.server.hub.sequence.Add(1), Now: c.turn.Now,
			Redelivered: redeliveries(d.Past()),
		}
		if d.Msg.Exchange == broker.TopicExchange {
			y.Original = topicOf(d.Msg.RoutingKey)
		}
		before := len(c.buffer())
		c.out = appendDispatch(c.out, c.format, c.broker, &y, d.Msg)
		c.unseen += len(c.out) - before
		x.shown++
	}
	if n.ok {
		if err := c.nextCursor(x); err != nil {
			x.queues, x.cursor = nil, nil
		}
	}
	c.showNext(cons)
}

// browseAck widens a browser's window; nothing is removed.
func (c *conn) browseAck(cons *consumer, s *wire.MessageAck) {
	cons.browse.shown = max(cons.browse.shown-max(int(s.MessageCount), 0), 0)
	c.showNext(cons)
}
