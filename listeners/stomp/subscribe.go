package stomp

import (
	"cmp"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"strings"

	"github.com/hermodmq/hermod/broker"
	"github.com/hermodmq/hermod/broker/selector"
	"github.com/hermodmq/hermod/listeners/delivery"
	"github.com/hermodmq/hermod/listeners/stomp/wire"
	"github.com/hermodmq/hermod/listeners/transport"
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
	passes func(*broker.Message) bool // what the listener itself selects, nil for all
}

// wish is what a SUBSCRIBE asks for beside its destination.
type wish struct {
	frame    *wire.Frame
	id       string
	hasID    bool
	text     string // selector
	selector *selector.Selector
	wants    func(*broker.Message) bool // by selector and origin, nil for all
	queue    broker.QueueDeclare
	explicit bool // queue was described
	args     broker.Table
	prefetch int
	sole     bool // the consumer wants all there is
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
	w.sole = string(f.Get("activemq.exclusive")) == "true"
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

// subscriptionPrefix begins the names of the queues of topic subscriptions.
const subscriptionPrefix = "stomp-subscription-"

// consumeTopic reads what an exchange routes: from a queue of its own, or one
// that lasts.
func (c *conn) consumeTopic(cons *consumer, w *wish) error {
	queue, err := c.topicQueue(cons, w, []*destination{cons.dest})
	if err != nil {
		return err
	}
	cons.source.passes, w.wants = w.wants, nil
	if err = c.start(cons, queue, w, subscriptionName(w.frame) != ""); err != nil {
		c.dropOwn(cons, queue)
	}
	return err
}

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

// dropOwn deletes the queue of a topic subscription that did not come about,
// if it was made for nothing else.
func (c *conn) dropOwn(cons *consumer, queue string) {
	if cons.kept != queue && strings.HasPrefix(queue, subscriptionPrefix) {
		_, _ = c.session.DeleteQueue(&c.turn, queue, true, true, nil)
	}
}

// topicQueue makes the queue of a subscription to topics and binds it to them.
func (c *conn) topicQueue(cons *consumer, w *wish, topics []*destination) (string, error) {
	if name := subscriptionName(w.frame); name != "" {
		return c.durableQueue(cons, w, topics, name)
	}
	d, err := c.topicDeclare(cons, w)
	if err != nil {
		return "", err
	}
	for _, dest := range topics {
		if dest.kind == destExchange {
			if err := c.session.DeclareExchange(&c.turn, broker.ExchangeDeclare{Name: dest.exchange, Passive: true}, nil); err != nil {
				return "", err
			}
		}
	}
	broker.MarkSubscription(&d)
	if _, err := c.session.DeclareQueue(&c.turn, d, nil); err != nil {
		return "", err
	}
	if d.Durable {
		cons.kept = d.Name
	}
	for _, dest := range topics {
		exchange, key := dest.exchange, bindingKey(c.opt.Dialect, dest.key)
		if dest.kind == destTempTopic {
			exchange, key = topicExchange, c.tempTopic(dest.name)
		}
		if err := c.session.Bind(&c.turn, broker.Binding{Source: exchange, Destination: d.Name, Key: key}, nil); err != nil {
			c.dropOwn(cons, d.Name)
			return "", err
		}
	}
	return d.Name, nil
}

// durableQueue is topicQueue for a durable subscription of JMS.
func (c *conn) durableQueue(cons *consumer, w *wish, topics []*destination, name string) (string, error) {
	if c.clientID == "" {
		return "", refuse("Missing header", "A durable subscription needs a 'client-id' header in CONNECT\n")
	}
	if len(topics) != 1 || topics[0].kind != destTopic {
		return "", refuse("Invalid destination", "'%s' is not a topic that a durable subscription can be for\n", cons.dest.text)
	}
	queue, err := c.session.OpenDurable(&c.turn, broker.Durable{
		ClientID: c.clientID, Name: name, Pattern: bindingKey(c.opt.Dialect, topics[0].key), Selector: w.text, Args: w.queue.Args,
	}, nil)
	if inUse(err) {
		return "", refuse("Durable consumer is in use", "Durable consumer is in use\n")
	}
	cons.kept = queue
	return queue, err
}

// inUse reports whether the core refused to delete a queue that somebody reads.
func inUse(err error) bool {
	var refused *broker.Error
	return errors.As(err, &refused) && refused.Kind == broker.Precondition
}

// topicDeclare describes the queue of a topic subscription, that of JMS's
// durable ones excepted.
func (c *conn) topicDeclare(cons *consumer, w *wish) (broker.QueueDeclare, error) {
	f, d := w.frame, w.queue
	d.Name = string(f.Get("x-queue-name"))
	if lasting(f) {
		if !w.hasID {
			return d, refuse("Missing id", "Header 'id' is required for durable subscriptions\n")
		}
		d.Durable = true
		d.Name = cmp.Or(d.Name, keptName(cons.dest.text, w.id))
		return d, nil
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
	return d, nil
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
	case cons != nil && cons.browses != nil:
		c.stopBrowse(cons)
	case cons != nil:
		c.stop(cons)
		if lasting(f) {
			queue = cons.kept
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
	_, err := c.session.DeleteQueue(&c.turn, broker.DurableSubscription(c.clientID, name).Name, true, false, nil)
	if inUse(err) {
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
	c.leave(cons)
	c.readInbox()
	c.drop(cons)
	if c.opt.Dialect == ActiveMQ {
		c.taken = c.ledger.TakeWhere(c.taken[:0], c.ledger.End(), func(u *unsettled) bool { return u.Data == cons })
		for i := range c.taken {
			c.collect(c.taken[i].Queue, c.taken[i].Lease, broker.Released)
		}
		clear(c.taken)
	}
	c.flushSettles()
}

// leave ends a consumer's subscriptions in the core.
func (c *conn) leave(cons *consumer) {
	if cons.fan != nil {
		cons.fan.Close(&c.turn)
		return
	}
	c.session.Unsubscribe(&c.turn, cons.source.Sub)
}

// drop forgets a consumer whose subscription has ended.
func (c *conn) drop(cons *consumer) {
	cons.cancelled = true
	delete(c.consumers, cons.key)
	c.release(cons)
}

// cancelled tells the client that the broker ended a subscription.
func (c *conn) cancelled(sub *broker.Subscription) {
	src, ok := sub.Data.(*source)
	if !ok || src.cons.cancelled {
		return
	}
	cons := src.cons
	if cons.fan != nil {
		if cons.fan.Left(sub) {
			return
		}
		c.leave(cons)
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
	cons.started = true
	return queue, c.start(cons, queue, &wish{}, false)
}

// tempTopic is the routing key of /temp-topic/name of this connection.
func (c *conn) tempTopic(name string) string { return "temp." + c.id + "." + name }
