package stomp

import (
	"strings"

	"github.com/hermodmq/hermod/broker"
	"github.com/hermodmq/hermod/listeners/delivery"
	"github.com/hermodmq/hermod/listeners/stomp/wire"
)

// ackMode is how a subscription's messages are acknowledged.
type ackMode uint8

const (
	ackAuto       ackMode = iota // by being sent
	ackClient                    // each ACK counts for all before it
	ackIndividual                // each ACK counts for its message
)

// consumer is a subscription as the client named it.
type consumer struct {
	key       string // T_ and the id, or Q_ and the destination where there is none
	dest      *destination
	mode      ackMode
	form      form          // how it gets maps
	source    source        // what it reads, unless that is several queues
	fan       *broker.FanIn // what it reads then, else nil
	browses   *browse       // what it looks at instead, else nil
	kept      string        // the durable queue of its own, "" if it has none
	started   bool          // the receipt is written: messages may follow
	cancelled bool

	subscription []byte // the header line, "" if the client gave no id
	prefix       []byte // of message-id, as it is written

	held    []broker.Delivery // not written yet: not started, or the link is full
	holding bool              // in conn.holding
}

// source is a queue that a consumer reads; the core's subscription leads here.
type source struct {
	delivery.Account
	cons   *consumer
	passes broker.Filter // what the listener itself selects, nil for all
}

// subscribe carries out SUBSCRIBE.
func (c *conn) subscribe(f *wire.Frame) error {
	name, ok := f.Lookup("destination")
	if !ok {
		return refuse("Missing destination", "\"SUBSCRIBE\" must include a 'destination' header\n")
	}
	id, hasID := f.Lookup("id")
	if !hasID && c.version > wire.V10 && c.opt.Dialect == ActiveMQ {
		return refuse("Missing id", "SUBSCRIBE must include an 'id' header\n")
	}
	w := wish{frame: f, id: string(id), hasID: hasID}
	key := keyOf(w.id, hasID, string(name))
	if c.consumers[key] != nil {
		return fatal("Duplicated subscription identifier", "A subscription identified by '%s' already exists.", strings.TrimPrefix(key[2:], "T_"))
	}
	dest, err := c.destination(name)
	if err != nil {
		return err
	}
	cons, err := c.newConsumer(key, dest, f)
	if err != nil {
		return err
	}
	if err := w.read(); err != nil {
		return err
	}
	c.choose(&w)
	if string(f.Get("browser")) == "true" {
		return c.browse(cons, &w)
	}
	if err := c.consume(cons, &w); err != nil {
		return err
	}
	r := receiptOf(f)
	if r.silent {
		cons.started = true
		c.release(cons)
		return nil
	}
	r.then = func() {
		cons.started = true
		c.release(cons)
		c.settleDeliveries()
	}
	c.afterCommits(r)
	return nil
}

// keyOf is what tells subscriptions of a connection apart.
func keyOf(id string, hasID bool, dest string) string {
	if hasID {
		return "T_" + id
	}
	return "Q_" + dest
}

// newConsumer makes a consumer that has no subscription yet.
func (c *conn) newConsumer(key string, dest *destination, f *wire.Frame) (*consumer, error) {
	if len(c.consumers) >= c.opt.Subscriptions {
		return nil, refuse("Too many subscriptions", "More than %d subscriptions\n", c.opt.Subscriptions)
	}
	cons := &consumer{key: key, dest: dest}
	if f != nil {
		switch ack := f.Get("ack"); string(ack) {
		case "", "auto":
		case "client":
			cons.mode = ackClient
		case "client-individual":
			cons.mode = ackIndividual
		default:
			return nil, refuse("Invalid header", "'ack' must be auto, client or client-individual\n")
		}
		cons.form = formOf(f.Get("transformation"))
	}
	if id, ok := strings.CutPrefix(key, "T_"); ok {
		cons.subscription = wire.AppendHeader(nil, c.version, "subscription", id)
	}
	cons.prefix = wire.AppendEscaped(nil, c.version, key+"@@"+c.id+"@@", false)
	return cons, nil
}

// consume finds or makes what a subscription reads and starts reading.
func (c *conn) consume(cons *consumer, w *wish) error {
	dest := cons.dest
	switch {
	case dest.kind == destComposite, dest.wild:
		return c.consumeSeveral(cons, w)
	case dest.topical():
		return c.consumeTopic(cons, w)
	}
	queue, err := c.readyQueue(dest, w)
	if err != nil {
		return err
	}
	return c.start(cons, queue, w, false)
}

// readyQueue returns the queue that a destination names, made if need be. One
// that is there is taken as it is unless the client describes it.
func (c *conn) readyQueue(dest *destination, w *wish) (string, error) {
	switch {
	case dest.kind == destAMQQueue:
		return dest.name, nil
	case dest.kind == destTempQueue && c.opt.Dialect == ActiveMQ:
		return c.tempQueue(dest.name)
	case dest.kind != destQueue:
		return "", refuse("Invalid destination", "'%s' is not a valid destination for 'SUBSCRIBE'\n", dest.text)
	case w.explicit:
		w.queue.Name = dest.name
		_, err := c.session.DeclareQueue(&c.turn, w.queue, nil)
		return dest.name, err
	case c.session.VHost().Queue(dest.name) == nil:
		return dest.name, c.makeQueue(dest.name)
	}
	return dest.name, nil
}

// start starts reading one queue.
func (c *conn) start(cons *consumer, queue string, w *wish, exclusive bool) error {
	cons.source.cons = cons
	o := c.subscribeOptions(cons, w)
	o.Queue, o.Exclusive, o.Data = queue, exclusive, &cons.source
	sub, err := c.session.Subscribe(&c.turn, o)
	if err != nil {
		return err
	}
	cons.source.Sub = sub
	c.remember(cons)
	return nil
}

// subscribeOptions are what the core is to know of a wish beside the queue.
func (c *conn) subscribeOptions(cons *consumer, w *wish) broker.SubscribeOptions {
	return broker.SubscribeOptions{
		Tag: cons.key, NoAck: cons.mode == ackAuto, Prefetch: w.prefetch, Args: w.args, Sole: w.sole, Filter: w.wants,
	}
}

func (c *conn) remember(cons *consumer) {
	if c.consumers == nil {
		c.consumers = make(map[string]*consumer)
	}
	c.consumers[cons.key] = cons
}
