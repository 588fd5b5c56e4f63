package stomp

import (
	"strconv"

	"github.com/hermodmq/hermod/broker"
	"github.com/hermodmq/hermod/listeners/stomp/wire"
)

// maxBrowsed bounds the messages a browser is shown, and maxBrowsedBytes their
// bytes; maxBrowses the browsers of a connection that are under way.
const (
	maxBrowsed      = 400
	maxBrowsedBytes = 8 << 20
	maxBrowses      = 16
)

// browse is a browser under way: messages are taken one after the other,
// shown, and put back where they were when all have been seen.
type browse struct {
	ref   uint64
	cons  *consumer
	wish  wish
	queue *broker.Queue
	held  []broker.Lease
	shown int
	bytes int
}

// browse carries out SUBSCRIBE with browser:true.
func (c *conn) browse(cons *consumer, w *wish) error {
	if k := cons.dest.kind; k != destQueue && k != destAMQQueue || cons.dest.wild {
		return refuse("Invalid destination", "'%s' can not be browsed\n", cons.dest.text)
	}
	if len(c.browses) >= maxBrowses {
		return refuse("Too many browsers", "More than %d browsers at once\n", maxBrowses)
	}
	cons.mode = ackAuto
	r := receiptOf(w.frame)
	c.byTag++
	b := &browse{ref: c.byTag, cons: cons, wish: *w}
	b.wish.frame = nil
	if err := c.session.Get(&c.turn, cons.dest.name, false, b.ref); err != nil {
		return err
	}
	if c.consumers == nil {
		c.consumers = make(map[string]*consumer)
	}
	c.browses = append(c.browses, b)
	if !r.silent {
		c.answer(r)
	}
	return nil
}

// browsed shows a message and asks for the next, or ends the browser.
func (c *conn) browsed(n *note) {
	for i, b := range c.browses {
		if b.ref != n.ref {
			continue
		}
		d := &n.delivery
		if n.ok {
			b.queue = d.Queue
			b.held = append(b.held, d.Lease)
			b.bytes += d.Msg.Size()
			if s := b.wish.selector; s == nil || s.Matches(properties(c.broker, d.Msg).lookup) {
				c.lastTag++
				b.shown++
				c.appendMessage(b.cons, d, "true")
			}
			if len(b.held) < maxBrowsed && b.bytes < maxBrowsedBytes && c.session.Get(&c.turn, b.cons.dest.name, false, b.ref) == nil {
				return
			}
		}
		c.browses = append(c.browses[:i], c.browses[i+1:]...)
		c.endBrowse(b)
		return
	}
}

// endBrowse puts back what was shown and says that this was all.
func (c *conn) endBrowse(b *browse) {
	if b.queue != nil {
		c.session.Settle(&c.turn, b.queue, b.held, broker.Unsent)
	}
	c.lastTag++
	dst := wire.AppendCommand(c.buffer(), "MESSAGE")
	dst = append(dst, b.cons.subscription...)
	dst = wire.AppendHeader(dst, c.version, "destination", b.cons.dest.text)
	dst = append(dst, "message-id:"...)
	dst = append(dst, b.cons.prefix...)
	dst = strconv.AppendUint(dst, c.lastTag, 10)
	dst = append(dst, '\n')
	dst = wire.AppendPlainHeader(dst, "browser", "end")
	dst = wire.AppendNumber(dst, "content-length", 0)
	c.out = wire.AppendBody(dst, nil)
}
