package stomp

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"strings"

	"github.com/hermodmq/hermod/broker"
	"github.com/hermodmq/hermod/broker/selector"
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
	queue     string
	sub       *broker.Subscription
	kept      bool               // queue is a durable subscription of its own
	passes    *selector.Selector // what the listener itself selects, nil for all
	started   bool               // the receipt is written: messages may follow
	cancelled bool

	subscription []byte // the header line, "" if the client gave no id
	prefix       []byte // of message-id, as it is written

	held    []broker.Delivery // not written yet: not started, or the link is full
	holding bool              // in conn.holding
	owes    bool              // in conn.owed
	count   int               // deliveries written and not repaid
	bytes   int
}

// wish is what a SUBSCRIBE asks for beside its destination.
type wish struct {
	frame    *wire.Frame
	id       string
	hasID    bool
	text     string // selector
	selector *selector.Selector
	queue    broker.QueueDeclare
	explicit bool // queue was described
	args     broker.Table
	prefetch int
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
	if string(f.Get("browser")) == "true" {
		return c.browse(cons, &w)
	}
	if err := c.consume(cons, &w); err != nil {
		return err
	}
	r := receiptOf(f)
	if r.silent {
		cons.started = true
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
	}
	if id, ok := strings.CutPrefix(key, "T_"); ok {
		cons.subscription = wire.AppendHeader(nil, c.version, "subscription", id)
	}
	cons.prefix = wire.AppendEscaped(nil, c.version, key+"@@"+c.id+"@@", false)
	return cons, nil
}

// read takes the headers that describe the queue, the consumer and the
// selector.
func (w *wish) read() error {
	w.queue = broker.QueueDeclare{Durable: true}
	f := w.frame
	for i := range f.Headers {
		name, value := string(f.Headers[i].Name), string(f.Headers[i].Value)
		if _, repeated := w.queue.Args.Get(name); repeated {
			continue
		}
		switch name {
		case "x-message-ttl", "x-expires", "x-max-length", "x-max-length-bytes", "x-max-priority", "x-delivery-limit",
			"x-stream-max-segment-size-bytes", "x-initial-cluster-size", "x-quorum-initial-group-size":
			n, ok := wire.Number([]byte(value))
			if !ok {
				return refuse("Invalid header", "'%s' must be a number\n", name)
			}
			w.queue.Args = append(w.queue.Args, broker.Field{Name: name, Value: n})
		case "x-dead-letter-exchange", "x-dead-letter-routing-key", "x-queue-type", "x-overflow", "x-queue-mode",
			"x-dead-letter-strategy", "x-max-age", "x-queue-leader-locator":
			w.queue.Args = append(w.queue.Args, broker.Field{Name: name, Value: value})
		case "x-single-active-consumer":
			w.queue.Args = append(w.queue.Args, broker.Field{Name: name, Value: value == "true"})
		case "x-priority", "activemq.priority":
			n, ok := wire.Number([]byte(value))
			if !ok {
				return refuse("Invalid header", "'%s' must be a number\n", name)
			}
			w.args = append(w.args, broker.Field{Name: "x-priority", Value: n})
		case "x-stream-offset":
			var v broker.Value = value
			if n, ok := wire.Number([]byte(value)); ok {
				v = n
			}
			w.args = append(w.args, broker.Field{Name: name, Value: v})
		}
	}
	w.explicit = len(w.queue.Args) > 0
	for name, flag := range map[string]*bool{"durable": &w.queue.Durable, "auto-delete": &w.queue.AutoDelete, "exclusive": &w.queue.Exclusive} {
		if v, ok := f.Lookup(name); ok {
			*flag = string(v) == "true"
			w.explicit = true
		}
	}
	return errors.Join(w.readPrefetch(), w.readSelector())
}

// readPrefetch reads prefetch-count, where 0 is no bound, and
// activemq.prefetchSize, where 0 asks for single messages: STOMP has no way to
// pull them.
func (w *wish) readPrefetch() error {
	for _, name := range []string{"prefetch-count", "activemq.prefetchSize"} {
		v, ok := w.frame.Lookup(name)
		if !ok {
			continue
		}
		n, isNumber := wire.Number(v)
		if !isNumber {
			return refuse("Invalid header", "'%s' must be a number\n", name)
		}
		if name == "activemq.prefetchSize" {
			n = max(n, 1)
		}
		w.prefetch = int(min(n, 1<<30))
		break
	}
	return nil
}

func (w *wish) readSelector() error {
	v, ok := w.frame.Lookup("selector")
	if !ok || len(v) == 0 {
		return nil
	}
	s, err := selector.Compile(string(v), true)
	if err != nil {
		return refuse("Invalid selector", "%s\n", err)
	}
	w.text, w.selector = string(v), s
	return nil
}

// consume finds or makes the queue that a subscription reads and starts
// reading.
func (c *conn) consume(cons *consumer, w *wish) error {
	var err error
	switch dest := cons.dest; dest.kind {
	case destQueue:
		err = c.consumeQueue(cons, w)
	case destAMQQueue:
		cons.queue = dest.name
		err = c.start(cons, w)
	case destTopic, destExchange:
		err = c.consumeTopic(cons, w, dest.exchange, bindingKey(c.opt.Dialect, dest.key))
	case destTempTopic:
		err = c.consumeTopic(cons, w, topicExchange, c.tempTopic(dest.name))
	case destTempQueue:
		if c.opt.Dialect != ActiveMQ {
			return refuse("Invalid destination", "'%s' is not a valid destination for 'SUBSCRIBE'\n", dest.text)
		}
		if cons.queue, err = c.tempQueue(dest.name); err == nil {
			err = c.start(cons, w)
		}
	default:
		return refuse("Invalid destination", "'%s' is not a valid destination for 'SUBSCRIBE'\n", dest.text)
	}
	return err
}

// consumeQueue reads a queue by its name. One that is there is taken as it is
// unless the client describes it.
func (c *conn) consumeQueue(cons *consumer, w *wish) error {
	cons.queue = cons.dest.name
	if w.explicit {
		w.queue.Name = cons.queue
		if _, err := c.session.DeclareQueue(&c.turn, w.queue, nil); err != nil {
			return err
		}
		return c.start(cons, w)
	}
	err := c.start(cons, w)
	var refused *broker.Error
	if errors.As(err, &refused) && refused.Kind == broker.NotFound {
		if err = c.makeQueue(cons.queue); err == nil {
			err = c.start(cons, w)
		}
	}
	return err
}

// subscriptionPrefix begins the names of the queues of topic subscriptions.
const subscriptionPrefix = "stomp-subscription-"

// consumeTopic reads what an exchange routes: from a queue of its own, or one
// that lasts.
func (c *conn) consumeTopic(cons *consumer, w *wish, exchange, key string) error {
	d, jms, err := c.topicQueue(cons, w)
	if err != nil {
		return err
	}
	if cons.dest.kind == destExchange {
		if err := c.session.DeclareExchange(&c.turn, broker.ExchangeDeclare{Name: exchange, Passive: true}, nil); err != nil {
			return err
		}
	}
	if _, err := c.session.DeclareQueue(&c.turn, d, nil); err != nil {
		return err
	}
	cons.queue, cons.kept = d.Name, d.Durable
	cons.passes, w.selector = w.selector, nil
	err = c.session.Bind(&c.turn, broker.Binding{Source: exchange, Destination: d.Name, Key: key}, nil)
	if err == nil {
		err = c.startAs(cons, w, jms)
	}
	if err != nil && d.Exclusive {
		_, _ = c.session.DeleteQueue(&c.turn, d.Name, false, false, nil)
	}
	return err
}

// topicQueue describes the queue of a topic subscription; jms says that it is
// a durable subscription of JMS, which has one reader at a time.
func (c *conn) topicQueue(cons *consumer, w *wish) (d broker.QueueDeclare, jms bool, err error) {
	f, d := w.frame, w.queue
	d.Name = string(f.Get("x-queue-name"))
	if name := subscriptionName(f); name != "" {
		if c.clientID == "" {
			return d, true, refuse("Missing header", "A durable subscription needs a 'client-id' header in CONNECT\n")
		}
		d.Name, d.Durable, d.AutoDelete, d.Exclusive = durableName(c.clientID, name), true, false, false
		return d, true, nil
	}
	if lasting(f) {
		if !w.hasID {
			return d, false, refuse("Missing id", "Header 'id' is required for durable subscriptions\n")
		}
		d.Durable = true
		d.Name = orString(d.Name, keptName(cons.dest.text, w.id))
		return d, false, nil
	}
	d.Durable = false
	if _, given := f.Lookup("auto-delete"); !given {
		d.AutoDelete = true
	}
	if d.Name == "" {
		d.Name = subscriptionPrefix + randomText()
		if _, given := f.Lookup("exclusive"); !given {
			d.Exclusive = true
		}
	}
	return d, false, nil
}

// lasting reports whether a frame is about a durable subscription in
// RabbitMQ's way.
func lasting(f *wire.Frame) bool {
	return string(f.Get("durable")) == "true" || string(f.Get("persistent")) == "true"
}

// subscriptionName is the name of a durable subscription in ActiveMQ's way,
// "" if it is none.
func subscriptionName(f *wire.Frame) string {
	if v := f.Get("activemq.subscriptionName"); len(v) > 0 {
		return string(v)
	}
	return string(f.Get("durable-subscription-name"))
}

// keptName is the queue of a durable subscription in RabbitMQ's way: the same
// for the same destination and id.
func keptName(dest, id string) string {
	sum := sha256.Sum256([]byte(dest + "\x00" + id))
	return subscriptionPrefix + base64.RawURLEncoding.EncodeToString(sum[:16])
}

// durableName is the queue of a durable subscription of JMS: the client id and
// the subscription's name with a dot between, dots of their own escaped.
func durableName(clientID, name string) string {
	escape := strings.NewReplacer(`\`, `\\`, `.`, `\.`)
	return escape.Replace(clientID) + "." + escape.Replace(name)
}

func (c *conn) start(cons *consumer, w *wish) error { return c.startAs(cons, w, false) }

// startAs starts reading cons.queue.
func (c *conn) startAs(cons *consumer, w *wish, exclusive bool) error {
	o := broker.SubscribeOptions{
		Queue: cons.queue, Tag: cons.key, NoAck: cons.mode == ackAuto, Exclusive: exclusive,
		Prefetch: w.prefetch, Args: w.args,
	}
	if s := w.selector; s != nil {
		b := c.broker
		o.Filter = func(m *broker.Message) bool { return s.Matches(properties(b, m).lookup) }
	}
	sub, err := c.session.Subscribe(&c.turn, o)
	if err != nil {
		return err
	}
	cons.sub = sub
	sub.Data = cons
	if c.consumers == nil {
		c.consumers = make(map[string]*consumer)
	}
	c.consumers[cons.key] = cons
	return nil
}

// unsubscribe carries out UNSUBSCRIBE.
func (c *conn) unsubscribe(f *wire.Frame) error {
	if name := subscriptionName(f); name != "" {
		return c.deleteDurable(f, name)
	}
	id, hasID := f.Lookup("id")
	dest, hasDest := f.Lookup("destination")
	if !hasID && !hasDest {
		return refuse("Missing id", "UNSUBSCRIBE must include 'id' or 'destination' header\n")
	}
	cons := c.consumers[keyOf(string(id), hasID, string(dest))]
	queue := ""
	switch {
	case cons != nil:
		c.stop(cons)
		if cons.kept && lasting(f) {
			queue = cons.queue
		}
	case hasID && hasDest && lasting(f):
		queue = keptName(string(dest), string(id)) // of an earlier connection
	case hasID:
		return noSubscription("id", id)
	default:
		return noSubscription("destination", dest)
	}
	if queue != "" {
		if _, err := c.session.DeleteQueue(&c.turn, queue, true, false, nil); err != nil {
			return err
		}
	}
	if r := receiptOf(f); queue != "" && !r.silent {
		c.afterCommits(r)
		return nil
	}
	c.confirm(f)
	return nil
}

func noSubscription(what string, value []byte) error {
	return refuse("No subscription found", "UNSUBSCRIBE must refer to an existing subscription.\nSubscription to \"%s='%s'\" not found.\n", what, value)
}

// deleteDurable ends a durable subscription of JMS, which nobody may be
// reading.
func (c *conn) deleteDurable(f *wire.Frame, name string) error {
	if c.clientID == "" {
		return refuse("Missing header", "A durable subscription needs a 'client-id' header in CONNECT\n")
	}
	_, err := c.session.DeleteQueue(&c.turn, durableName(c.clientID, name), true, false, nil)
	var refused *broker.Error
	if errors.As(err, &refused) && refused.Kind == broker.Precondition {
		return refuse("Durable consumer is in use", "Durable consumer is in use\n")
	}
	if err != nil {
		return err
	}
	if r := receiptOf(f); !r.silent {
		c.afterCommits(r)
	}
	return nil
}

// stop ends a subscription by the client's wish. What is on its way goes back
// as if it had never left, or is sent if it counts as settled. What the client
// holds unacknowledged stays with RabbitMQ's clients and goes back from
// ActiveMQ's.
func (c *conn) stop(cons *consumer) {
	c.flushSettles()
	c.session.Unsubscribe(&c.turn, cons.sub)
	c.readInbox()
	c.drop(cons)
	if c.opt.Dialect == ActiveMQ && len(c.ledger.list) > 0 {
		c.taken = c.ledger.takeWhere(c.taken[:0], len(c.ledger.list)-1, func(u *unsettled) bool { return u.cons == cons })
		for i := range c.taken {
			c.collect(c.taken[i].queue, c.taken[i].lease, broker.Released)
		}
		clear(c.taken)
	}
	c.flushSettles()
}

// drop forgets a consumer whose subscription has ended.
func (c *conn) drop(cons *consumer) {
	cons.cancelled = true
	delete(c.consumers, cons.key)
	c.release(cons)
}

// cancelled tells the client that the broker ended a subscription.
func (c *conn) cancelled(sub *broker.Subscription) {
	cons, ok := sub.Data.(*consumer)
	if !ok || cons.cancelled {
		return
	}
	c.drop(cons)
	p := &problem{
		message: "Server cancelled subscription",
		detail:  "The server has canceled a subscription.\nNo more messages will be delivered for " + cons.dest.text + ".\n",
	}
	c.answer(reply{frame: p.append(nil, c.version, "", false)})
}

// maxTemps bounds the temporary queues of a connection.
const maxTemps = 1024

// tempQueue returns the queue behind /temp-queue/name of this connection,
// which goes with it.
func (c *conn) tempQueue(name string) (string, error) {
	if q, ok := c.temps[name]; ok {
		return q, nil
	}
	if len(c.temps) >= maxTemps {
		return "", refuse("Too many temporary queues", "More than %d temporary queues\n", maxTemps)
	}
	info, err := c.session.DeclareQueue(&c.turn, broker.QueueDeclare{Exclusive: true}, nil)
	if err != nil {
		return "", err
	}
	if c.temps == nil {
		c.temps = make(map[string]string)
	}
	c.temps[name] = info.Name
	return info.Name, nil
}

// replyQueue is tempQueue for an address in reply-to: RabbitMQ's clients are
// subscribed to it at once, with the address for an id.
func (c *conn) replyQueue(name string) (string, error) {
	queue, err := c.tempQueue(name)
	if err != nil || c.opt.Dialect != RabbitMQ {
		return queue, err
	}
	address := tempQueuePrefix + name
	key := keyOf(address, true, "")
	if c.consumers[key] != nil {
		return queue, nil
	}
	cons, err := c.newConsumer(key, &destination{text: address, kind: destTempQueue, name: name}, nil)
	if err != nil {
		return "", err
	}
	cons.queue, cons.started = queue, true
	return queue, c.start(cons, &wish{})
}

// tempTopic is the routing key of /temp-topic/name of this connection.
func (c *conn) tempTopic(name string) string { return "temp." + c.id + "." + name }
