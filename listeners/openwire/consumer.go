package openwire

import (
	"cmp"
	"strings"

	"github.com/hermodmq/hermod/broker"
	"github.com/hermodmq/hermod/broker/selector"
	"github.com/hermodmq/hermod/listeners/delivery"
	"github.com/hermodmq/hermod/listeners/openwire/wire"
)

// consumer is a MessageConsumer, durable subscriber or browser of a client.
type consumer struct {
	id      wire.ConsumerID
	dest    wire.Destination // as the client named it
	sub     *broker.Subscription
	fan     *broker.FanIn // of a consumer of several queues, instead of sub
	browse  *browse       // of a browser, instead of both
	passes  broker.Filter
	durable bool
	inbox   string // the queue of a topic subscription that ends with the consumer; "" if none

	prefetch  int // 0: the client pulls
	extension int // deliveries the client has said it got
	inside    int // deliveries acknowledged in open transactions

	ledger    delivery.Ledger[lent]
	held      []broker.Delivery // not written: the link is full, or the client said stop
	holding   bool              // in conn.holding
	stopped   bool              // by the client's order
	closed    bool
	slow      bool             // its window was full while messages waited, and somebody was told
	lastTopic wire.Destination // of the last delivery of a topic subscription

	pulls   int     // MessagePulls that were not answered
	pullEnd []int64 // Unix ms at which each is answered with nothing; 0: never
}

// consume carries out ConsumerInfo.
func (c *conn) consume(s *wire.ConsumerInfo) (answered bool, err error) {
	switch {
	case s.ConsumerID.IsNull() || s.Destination.IsNull():
		return false, refuse(classDestination, "a consumer needs an id and a destination")
	case c.consumers[s.ConsumerID] != nil:
		return false, nil // said twice, after a failover
	case len(c.consumers) >= c.opt.Consumers:
		return false, refuse(classResourceAllocation, "more than %d consumers of a connection", c.opt.Consumers)
	}
	cons := &consumer{id: s.ConsumerID, dest: s.Destination, prefetch: max(int(s.PrefetchSize), 0)}
	var chosen *selector.Selector
	if s.HasSelector() {
		if chosen, err = selector.Compile(s.Selector, false); err != nil {
			return false, refuse(classSelector, "%s", err)
		}
	}
	kind := broker.QueueDestination
	if s.Destination.IsTopic() {
		kind = broker.TopicDestination
	}
	parts, err := c.parse(s.Destination, kind)
	if err != nil {
		return false, err
	}
	c.consumers[cons.id] = cons
	if err := c.start(cons, s, parts, chosen); err != nil {
		c.abandon(cons)
		return false, err
	}
	if cons.browse == nil && !allAdvisory(parts) {
		info := *s
		info.Header = wire.Header{}
		c.server.hub.addConsumer(c, &info, cons.inbox)
	}
	if cons.durable && s.ResponseRequired {
		return true, c.respondLater(s.CommandID)
	}
	return false, nil
}

// parse reads a destination that may be a list. Temporary ones are none.
func (c *conn) parse(d wire.Destination, kind broker.DestinationKind) ([]broker.Destination, error) {
	if d.Kind == wire.TypeTempQueue || d.Kind == wire.TypeTempTopic {
		return []broker.Destination{{Kind: kind, Name: d.Name}}, nil
	}
	if !strings.ContainsAny(d.Name, ",:?") { // the common case
		if d.Name == "" {
			return nil, refuse(classDestination, "a destination needs a name")
		}
		return []broker.Destination{{Kind: kind, Name: d.Name}}, nil
	}
	parts, err := broker.ParseDestinations(d.Name, kind)
	if err != nil {
		return nil, refuse(classDestination, "%s", err)
	}
	return parts, nil
}

func allAdvisory(parts []broker.Destination) bool {
	for _, p := range parts {
		if !p.IsTopic() || !isAdvisory(p.Name) {
			return false
		}
	}
	return true
}

// start begins to read what the parts of the consumer's destination name.
func (c *conn) start(cons *consumer, s *wire.ConsumerInfo, parts []broker.Destination, chosen *selector.Selector) error {
	var topics, queues []broker.Destination
	var advisories []string
	for _, p := range parts {
		switch {
		case p.IsTopic() && isAdvisory(p.Name):
			advisories = append(advisories, p.Pattern())
		case p.IsTopic():
			topics = append(topics, p)
		default:
			queues = append(queues, p)
		}
	}
	if len(advisories) > 0 {
		c.server.hub.listen(c, cons.id, advisories)
	}
	if len(topics)+len(queues) == 0 {
		return nil
	}
	if s.Browser {
		return c.startBrowse(cons, queues, chosen)
	}
	cons.passes = c.passing(chosen, s.NoLocal)
	o := broker.SubscribeOptions{
		Tag: cons.id.String(), Prefetch: cons.credit(), Sole: s.Exclusive,
		Args: broker.Table{{Name: "x-priority", Value: int64(s.Priority)}},
	}
	if s.SubscriptionName != "" {
		return c.startDurable(cons, s, topics, queues, o)
	}
	if len(topics) > 0 {
		queue, images, err := c.subscribe(cons, s, topics)
		if err != nil {
			return err
		}
		if len(queues) == 0 {
			if err := c.read(cons, queue, o, wire.Destination{}); err != nil {
				return err
			}
			c.showImages(cons, images)
			return nil
		}
		return c.readAll(cons, queues, queue, o)
	}
	// On a queue the messages that the consumer does not want are others'.
	o.Filter, cons.passes = cons.passes, nil
	if len(queues) == 1 && !queues[0].Wild() {
		return c.readQueue(cons, queues[0].Name, o)
	}
	return c.readAll(cons, queues, "", o)
}

// credit is the prefetch as the core knows it.
func (cons *consumer) credit() int {
	if cons.prefetch == 0 {
		return -1
	}
	return cons.prefetch + cons.extension + cons.inside
}

// adjust tells the core that the window changed.
func (c *conn) adjust(cons *consumer) {
	switch {
	case cons.fan != nil:
		cons.fan.SetPrefetch(&c.turn, max(cons.credit(), 1))
	case cons.sub != nil:
		cons.sub.SetPrefetch(&c.turn, cons.credit())
	}
}

// read starts reading a queue.
func (c *conn) read(cons *consumer, queue string, o broker.SubscribeOptions, seen wire.Destination) error {
	o.Queue = queue
	p := &part{cons: cons, queue: seen}
	o.Data = p
	sub, err := c.session.Subscribe(&c.turn, o)
	if err != nil {
		return err
	}
	p.Sub, cons.sub = sub, sub
	return nil
}

// readQueue reads a queue by its name, which is made if it is missing. A
// temporary one that is missing has gone, or is another connection's.
func (c *conn) readQueue(cons *consumer, name string, o broker.SubscribeOptions) error {
	seen := wire.Destination{Kind: wire.TypeQueue, Name: name}
	if cons.dest.Kind == wire.TypeTempQueue {
		seen.Kind = wire.TypeTempQueue
		if owner, known := c.server.hub.tempOwner(c.room, seen); !known || owner != c.id {
			return refuse(classDestination, "Cannot use a temporary destination of another connection, or one that was deleted: %s", seen)
		}
	}
	err := c.read(cons, name, o, seen)
	if isKind(err, broker.NotFound) {
		if err = c.makeQueue(name); err == nil {
			err = c.read(cons, name, o, seen)
		}
	}
	return err
}

// readAll reads several queues in one consumer, that of a topic subscription
// among them.
func (c *conn) readAll(cons *consumer, queues []broker.Destination, inbox string, o broker.SubscribeOptions) error {
	id := cons.id
	fo := broker.FanInOptions{SubscribeOptions: o}
	fo.Prefetch = max(o.Prefetch, 1)
	fo.Appeared = func(name string) {
		c.inbox.Tell(&broker.Turn{}, &note{kind: noteAppeared, rare: &rare{consumer: id, name: name}})
	}
	fo.Opened = func(sub *broker.Subscription) {
		p := &part{cons: cons}
		p.Sub = sub
		if name := sub.Queue.Name(); name != inbox {
			p.queue = queueOf(name)
		}
		sub.Data = p
	}
	fan, err := c.session.OpenFanIn(fo)
	if err != nil {
		return err
	}
	cons.fan = fan
	if inbox != "" {
		if err := fan.Add(&c.turn, inbox, nil); err != nil {
			return err
		}
	}
	for _, q := range queues {
		if q.Wild() {
			fan.AddMatching(&c.turn, q.Pattern())
			continue
		}
		err := fan.Add(&c.turn, q.Name, o.Filter)
		if isKind(err, broker.NotFound) {
			if err = c.makeQueue(q.Name); err == nil {
				err = fan.Add(&c.turn, q.Name, o.Filter)
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// maxPriority is JMS's highest.
const maxPriority = 9

// makeQueue declares a queue that somebody sends to or reads.
func (c *conn) makeQueue(name string) error {
	d := broker.QueueDeclare{Name: name, Durable: true}
	if !strings.HasPrefix(name, c.opt.DeadLetterQueue) {
		d.DeadLetters = c.deadLetters("Queue.", name)
	}
	if matches(c.opt.Prioritized, name) {
		d.Args = broker.Table{{Name: "x-max-priority", Value: int64(maxPriority)}}
	}
	_, err := c.session.DeclareQueue(&c.turn, d, nil)
	if err == nil {
		c.server.hub.advise(&c.turn, c.room, destinationAdvice(wire.Destination{Kind: wire.TypeQueue, Name: name}, wire.DestinationAdd))
	}
	return err
}

// deadLetters is the queue for the dead letters of a destination.
func (c *conn) deadLetters(kind, name string) string {
	if matches(c.opt.IndividualDeadLetters, name) {
		return c.opt.DeadLetterQueue + "." + kind + name
	}
	return c.opt.DeadLetterQueue
}

// subscribe makes the queue of a topic subscription that lasts as long as its
// consumer, and finds what a retroactive one gets at once.
func (c *conn) subscribe(cons *consumer, s *wire.ConsumerInfo, topics []broker.Destination) (queue string, images []*broker.Message, err error) {
	d := broker.QueueDeclare{Name: "openwire-subscription-" + randomText(), Exclusive: true, AutoDelete: true}
	if n := c.pendingLimit(s, topics); n > 0 {
		d.Args = broker.Table{{Name: "x-max-length", Value: int64(n)}}
	}
	broker.MarkSubscription(&d)
	if _, err := c.session.DeclareQueue(&c.turn, d, nil); err != nil {
		return "", nil, err
	}
	cons.inbox = d.Name
	for _, t := range topics {
		b := broker.Binding{Source: broker.TopicExchange, Destination: d.Name, Key: t.Pattern()}
		if !s.Retroactive {
			err = c.session.Bind(&c.turn, b, nil)
		} else {
			var more []*broker.Message
			more, err = c.session.BindImages(&c.turn, b)
			images = append(images, more...)
		}
		if err != nil {
			return "", nil, err
		}
	}
	return d.Name, images, nil
}

// pendingLimit bounds what waits for a consumer of topics beyond its prefetch;
// 0 is no bound.
func (c *conn) pendingLimit(s *wire.ConsumerInfo, topics []broker.Destination) int {
	if s.MaximumPendingMessageLimit > 0 {
		return int(s.MaximumPendingMessageLimit)
	}
	for _, l := range c.opt.PendingLimits {
		for _, t := range topics {
			if matches([]string{l.Topic}, t.Name) {
				return l.Messages
			}
		}
	}
	return 0
}

// startDurable reads the queue of a durable subscription.
func (c *conn) startDurable(cons *consumer, s *wire.ConsumerInfo, topics, queues []broker.Destination, o broker.SubscribeOptions) error {
	if c.clientID == "" {
		return refuse(classJMS, "Cannot create a durable subscription without a client id")
	}
	if len(topics) != 1 || len(queues) > 0 || cons.dest.Kind == wire.TypeTempTopic {
		return refuse(classDestination, "a durable subscription is to one topic")
	}
	queue, err := c.session.OpenDurable(&c.turn, broker.Durable{
		ClientID: c.clientID, Name: s.SubscriptionName, Pattern: topics[0].Pattern(), Selector: s.Selector, NoLocal: s.NoLocal,
		DeadLetters: c.deadLetters("Topic.", topics[0].Name),
	}, nil)
	if err == nil {
		o.Exclusive, o.Sole = true, false
		err = c.read(cons, queue, o, wire.Destination{})
	}
	if isKind(err, broker.Denied) && c.inUse(queue) || isKind(err, broker.Precondition) {
		return refuse(classJMS, "Durable consumer is in use for client: %s and subscriptionName: %s", c.clientID, s.SubscriptionName)
	}
	cons.durable = true
	return err
}

func (c *conn) inUse(queue string) bool {
	q := c.core.VHost().Queue(queue)
	return q != nil && q.Stats().Consumers > 0
}

// removeSubscription carries out RemoveSubscriptionInfo.
func (c *conn) removeSubscription(s *wire.RemoveSubscriptionInfo) (answered bool, err error) {
	client := cmp.Or(s.ClientID, c.clientID)
	name := broker.DurableSubscription(client, s.SubscriptionName).Name
	if c.core.VHost().Queue(name) == nil {
		return false, refuse(classDestination, "No durable subscription exists for clientID: %s and subscriptionName: %s", client, s.SubscriptionName)
	}
	id := c.later(func(bool) { c.respond(&s.Header) })
	_, err = c.session.DeleteQueue(&c.turn, name, true, false, c.called(id))
	if err != nil {
		delete(c.calls, id)
		if isKind(err, broker.Precondition) {
			err = refuse(classJMS, "Durable consumer is in use")
		}
	}
	return err == nil, err
}

// respondLater answers a command when everything it did so far is durable.
func (c *conn) respondLater(id int32) error {
	c.flushSettles()
	c.broker.StoreFacts(nil, c.called(c.later(func(bool) { c.respondTo(id) })))
	return nil
}

// controlConsumer carries out ConsumerControl: another window, or a stop.
func (c *conn) controlConsumer(s *wire.ConsumerControl) error {
	cons := c.consumers[s.ConsumerID]
	if cons == nil || cons.closed {
		return nil
	}
	switch {
	case s.Close:
		c.removeConsumer(cons, wire.LastDeliveredUnknown)
	case s.Stop:
		cons.stopped = true
	case s.Start:
		cons.stopped = false
		c.hold(cons)
		c.unhold()
	case s.Flush:
	default:
		cons.prefetch = max(int(s.Prefetch), 0)
		c.adjust(cons)
	}
	return nil
}

// removeConsumer ends a consumer by the client's wish. What it has not
// acknowledged comes back: as failed what its application has seen, which
// ends with the delivery numbered lastDelivered, the rest as if it had never
// left.
func (c *conn) removeConsumer(cons *consumer, lastDelivered int64) {
	c.flushSettles()
	c.closeConsumer(cons, lastDelivered)
	c.flushSettles()
	if cons.inbox != "" && c.session != nil {
		_, _ = c.session.DeleteQueue(&c.turn, cons.inbox, false, false, nil)
	}
}

func (c *conn) closeConsumer(cons *consumer, lastDelivered int64) {
	switch {
	case cons.fan != nil:
		cons.fan.Close(&c.turn)
	case cons.sub != nil:
		c.session.Unsubscribe(&c.turn, cons.sub)
	}
	cons.closed = true
	delete(c.consumers, cons.id)
	c.server.hub.deafen(c, cons.id)
	c.server.hub.removeConsumer(c, cons.id, cons.inbox)
	c.taken = cons.ledger.TakeUpTo(c.taken[:0], cons.ledger.End())
	for i := range c.taken {
		u := &c.taken[i]
		outcome := broker.Unsent
		if lastDelivered == wire.LastDeliveredUnknown || lastDelivered >= 0 && int64(u.Tag) <= lastDelivered {
			outcome = broker.Failed
		}
		c.collect(u.Queue, u.Lease, outcome)
	}
	clear(c.taken)
	for i := range cons.held {
		c.collect(cons.held[i].Queue, cons.held[i].Lease, broker.Unsent)
	}
	cons.held, cons.browse = nil, nil
}

// abandon forgets a consumer that could not start.
func (c *conn) abandon(cons *consumer) {
	c.closeConsumer(cons, wire.LastDeliveredUnset)
	if cons.inbox != "" {
		_, _ = c.session.DeleteQueue(&c.turn, cons.inbox, false, false, nil)
	}
}

// cancelled says that the broker ended a subscription.
func (c *conn) cancelled(sub *broker.Subscription) {
	p, ok := sub.Data.(*part)
	if !ok || p.cons.closed || p.cons.fan != nil && p.cons.fan.Left(sub) {
		return
	}
	c.closeConsumer(p.cons, wire.LastDeliveredUnknown)
	c.send(&wire.ConsumerControl{ConsumerID: p.cons.id, Destination: p.cons.dest, Close: true})
}

// pull carries out MessagePull: one message, or the news that there is none.
func (c *conn) pull(s *wire.MessagePull) error {
	cons := c.consumers[s.ConsumerID]
	if cons == nil || cons.prefetch != 0 || cons.sub == nil && cons.fan == nil {
		return nil
	}
	end := int64(0)
	switch {
	case s.Timeout > 0:
		end = c.turn.Now + s.Timeout
	case s.Timeout < 0:
		end = c.turn.Now
	}
	cons.pulls++
	cons.pullEnd = append(cons.pullEnd, end)
	loading := false
	if cons.sub != nil {
		loading = cons.sub.Grant(&c.turn, 1)
	} else {
		cons.fan.SetPrefetch(&c.turn, cons.ledger.Len()+len(cons.held)+cons.pulls)
	}
	c.readInbox()
	if end != 0 && end <= c.turn.Now && cons.pulls > 0 && !loading {
		c.endPull(cons)
	}
	if cons.pulls > 0 && end != 0 && loading && s.Timeout < 0 {
		cons.pullEnd[len(cons.pullEnd)-1] = c.turn.Now + loadPatience
	}
	return nil
}

// loadPatience is how long, in ms, a pull that does not want to wait does so
// for messages that are there, but on disk.
const loadPatience = 1000

// pulled notes that the oldest pull was answered with a message.
func (c *conn) pulled(cons *consumer) {
	cons.pulls--
	cons.pullEnd = cons.pullEnd[1:]
}

// endPull answers the oldest pull with nothing.
func (c *conn) endPull(cons *consumer) {
	c.pulled(cons)
	if cons.sub != nil {
		cons.sub.Grant(&c.turn, -1)
		if cons.pulls > 0 {
			cons.sub.Grant(&c.turn, cons.pulls)
		}
	}
	c.out = appendEnd(c.buffer(), c.format, cons.id)
}

// expirePulls answers the pulls whose time is over.
func (c *conn) expirePulls() {
	for _, cons := range c.consumers {
		for cons.pulls > 0 && cons.pullEnd[0] != 0 && cons.pullEnd[0] <= c.turn.Now {
			c.endPull(cons)
		}
	}
}

// passing is what of its destination a consumer wants; nil for everything.
func (c *conn) passing(chosen *selector.Selector, noLocal bool) broker.Filter {
	b, own := c.broker, []byte(c.id.Value)
	switch {
	case chosen == nil && !noLocal:
		return nil
	case chosen == nil:
		return func(m *broker.Message, _ broker.Past) bool { return !sentBy(m, own) }
	case !noLocal:
		return filterOf(b, chosen)
	}
	return func(m *broker.Message, past broker.Past) bool {
		return !sentBy(m, own) && selects(b, chosen, m, past)
	}
}

// sentBy reports whether a message came by the connection with an id.
func sentBy(m *broker.Message, connection []byte) bool {
	n, ok := viewOf(m)
	if !ok {
		return false
	}
	w := walker{b: n.head}
	w.take(5) // command id and flag
	if w.byte() == 0 || wire.Type(w.byte()) != wire.TypeProducerID {
		return false
	}
	return string(w.string()) == string(connection)
}
