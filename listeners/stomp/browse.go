package stomp

import (
	"slices"
	"strconv"

	"github.com/hermodmq/hermod/broker"
	"github.com/hermodmq/hermod/listeners/stomp/wire"
	"github.com/hermodmq/hermod/listeners/transport"
)

// browseStep is how many messages a browser is shown at a time, maxBrowses
// bounds the browsers of a connection that are under way.
const (
	browseStep = 100
	maxBrowses = 16
)

// browse is a browser under way: the queue's messages are shown, none is taken.
type browse struct {
	cons   *consumer
	cursor *broker.Browser
	busy   bool // the core has been asked for the next ones
}

// browsed is what a browser is to be shown next.
type browsed struct {
	browse *browse
	list   []broker.Delivery
	end    bool
}

// browse carries out SUBSCRIBE with browser:true. What this client acknowledged
// before is not shown.
func (c *conn) browse(cons *consumer, w *wish) error {
	if k := cons.dest.kind; k != destQueue && k != destAMQQueue || cons.dest.wild {
		return refuse("Invalid destination", "'%s' can not be browsed\n", cons.dest.text)
	}
	if len(c.browses) >= maxBrowses {
		return refuse("Too many browsers", "More than %d browsers at once\n", maxBrowses)
	}
	cons.mode = ackAuto
	c.flushSettles()
	b := &browse{cons: cons}
	var err error
	if b.cursor, err = c.session.Browse(&c.turn, cons.dest.name, c.subscribeOptions(cons, w).Filter); err != nil {
		return err
	}
	cons.browses = b
	c.remember(cons)
	c.browses = append(c.browses, b)
	r := receiptOf(w.frame)
	r.then = func() { c.browseOn(b) }
	c.answer(r)
	return nil
}

// browseOn asks for what a browser shows next, unless the client is too slow:
// then it goes on with Drained.
func (c *conn) browseOn(b *browse) {
	if b.busy || c.full || c.state != running || !slices.Contains(c.browses, b) {
		return
	}
	b.busy = true
	link := c.link
	b.cursor.Next(&c.turn, browseStep, func(_ *broker.Turn, list []broker.Delivery, end bool) {
		link.Post(transport.Event{Kind: eventBrowsed, P: &browsed{b, list, end}})
	})
}

// browseAll is browseOn for all browsers.
func (c *conn) browseAll() {
	for _, b := range c.browses {
		c.browseOn(b)
	}
}

// browsed shows messages to a browser that is still there.
func (c *conn) browsed(x *browsed) {
	b := x.browse
	b.busy = false
	i := slices.Index(c.browses, b)
	if i < 0 || c.state != running {
		return
	}
	for j := range x.list {
		c.lastTag++
		c.appendMessage(b.cons, &x.list[j], "true")
	}
	if x.end {
		c.browses = slices.Delete(c.browses, i, i+1)
		c.endBrowse(b)
		return
	}
	c.write()
	c.full = c.full || c.link.Full()
	c.browseOn(b)
}

// endBrowse says that this was all.
func (c *conn) endBrowse(b *browse) {
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

// stopBrowse ends a browser by the client's wish.
func (c *conn) stopBrowse(cons *consumer) {
	c.browses = slices.DeleteFunc(c.browses, func(b *browse) bool { return b == cons.browses })
	delete(c.consumers, cons.key)
}
