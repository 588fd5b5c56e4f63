package openwire

import (
	"slices"

	"github.com/hermodmq/hermod/broker"
	"github.com/hermodmq/hermod/listeners/openwire/wire"
	"github.com/hermodmq/hermod/listeners/transport"
)

// producer is a MessageProducer of a client.
type producer struct {
	id      wire.ProducerID
	window  int32  // bytes the client sends before it waits for ProducerAck; 0: no bound
	lastSeq int64  // producerSequenceId of the last durable message, if the client fails over
	known   bool   // lastSeq is valid
	key     string // of the fact that keeps lastSeq
	cache   target // of the last message
}

// target is where the messages of a destination go.
type target struct {
	dest  wire.Destination
	parts []broker.Destination // more than one, or wild: a list
}

// produce carries out ProducerInfo.
func (c *conn) produce(s *wire.ProducerInfo) error {
	if p := c.producers[s.ProducerID]; p != nil {
		p.window = s.WindowSize
		return nil // said twice, after a failover
	}
	if s.ProducerID.IsNull() || len(c.producers) >= c.opt.Producers {
		return refuse(classResourceAllocation, "more than %d producers of a connection", c.opt.Producers)
	}
	if !s.Destination.IsNull() && (s.Destination.Kind == wire.TypeQueue || s.Destination.Kind == wire.TypeTopic) {
		kind := broker.QueueDestination
		if s.Destination.IsTopic() {
			kind = broker.TopicDestination
		}
		if _, err := c.parse(s.Destination, kind); err != nil {
			return err
		}
	}
	p := c.addProducer(s.ProducerID)
	p.window = s.WindowSize
	info := *s
	info.Header = wire.Header{}
	c.server.hub.addProducer(c, &info)
	return nil
}

func (c *conn) addProducer(id wire.ProducerID) *producer {
	p := &producer{id: id}
	if c.survives {
		p.key = lastKey(c.core.VHost().Name(), id)
		if c.returned {
			p.lastSeq, p.known = c.server.last.get(p.key)
		}
	}
	c.producers[id] = p
	return p
}

func (c *conn) removeProducer(id wire.ProducerID) {
	p := c.producers[id]
	if p == nil {
		return
	}
	delete(c.producers, id)
	if c.latest == p {
		c.latest = nil
	}
	c.server.hub.removeProducer(c, id)
	if p.known {
		c.server.last.forget(c.broker, []string{p.key})
	}
}

// forgetProducers is for a client that closes: it does not come back.
func (c *conn) forgetProducers() {
	var keys []string
	for _, p := range c.producers {
		if p.known {
			keys = append(keys, p.key)
		}
	}
	c.server.last.forget(c.broker, keys)
}

// producerOf finds the producer of a message. Messages without one, which
// clients other than Java's may send, have one of their own.
func (c *conn) producerOf(id wire.ProducerID) *producer {
	if p := c.latest; p != nil && p.id == id {
		return p
	}
	p := c.producers[id]
	if p == nil {
		if len(c.producers) >= c.opt.Producers {
			return &producer{id: id}
		}
		p = c.addProducer(id)
	}
	c.latest = p
	return p
}

// publish carries out the sending of a message; frame is what it came in. The
// answer, if one is wanted, says that it is durable.
func (c *conn) publish(m *wire.Message, frame []byte) (answered bool, err error) {
	p := c.producerOf(m.ProducerID)
	if m.Destination.IsNull() {
		return false, refuse(classDestination, "a message needs a destination")
	}
	if p.cache.dest != m.Destination {
		if p.cache, err = c.targetOf(m.Destination); err != nil {
			return false, err
		}
	}
	if full := c.noRoom(&p.cache, m); full {
		if len(c.parked) == 0 {
			c.tellFull(p, m.Destination)
		}
		if matches(c.opt.FailIfNoSpace, m.Destination.Name) {
			return false, refuse(classResourceAllocation, "Usage Manager: no space left for messages to %s", m.Destination)
		}
		c.park(frame)
		return true, nil
	}
	if c.returned && p.repeats(m) {
		// It is there, but perhaps not durable yet.
		if m.ResponseRequired {
			return true, c.respondLater(m.CommandID)
		}
		c.produced(p, m)
		return false, nil
	}
	if !m.TransactionID.IsNull() {
		err = c.publishLater(p, m)
	} else {
		answered, err = c.publishNow(p, m)
	}
	if err == nil && !m.ResponseRequired {
		c.produced(p, m)
	}
	return answered, err
}

// targetOf reads a destination that messages are sent to.
func (c *conn) targetOf(d wire.Destination) (target, error) {
	x := target{dest: d}
	kind := broker.QueueDestination
	if d.IsTopic() {
		kind = broker.TopicDestination
	}
	parts, err := c.parse(d, kind)
	if err != nil {
		return x, err
	}
	if d.IsTopic() && isAdvisory(d.Name) {
		return x, refuse(classSecurity, "advisories are the broker's: %s", d)
	}
	for _, part := range parts {
		if d.Kind == wire.TypeTempQueue || part.IsTopic() || part.Wild() {
			continue
		}
		if err := c.session.CheckSend(part.Name); err != nil {
			return x, err
		}
	}
	if len(parts) > 1 || parts[0].Wild() || parts[0].Kind != kind {
		x.parts = parts
	}
	return x, nil
}

// noRoom reports whether the producer of a message has to wait.
func (c *conn) noRoom(t *target, m *wire.Message) bool {
	switch {
	case c.forced:
		return false
	case c.alarms != 0:
		return true
	}
	if c.broker.Congested() {
		c.awaitRelief()
		return true
	}
	if t.parts != nil || t.dest.IsTopic() {
		return false
	}
	q := c.core.VHost().Queue(t.dest.Name)
	if q == nil || q.HasRoom(len(m.Content)) {
		return false
	}
	c.awaitRoom(q)
	return true
}

func (c *conn) awaitRelief() {
	if !c.waiting {
		c.waiting = true
		link := c.link
		c.broker.OnRelief(func() { link.Post(transport.Event{Kind: eventRelief}) })
	}
}

func (c *conn) awaitRoom(q *broker.Queue) {
	if c.stuck != q {
		c.stuck = q
		link := c.link
		q.AwaitRoom(&c.turn, func(*broker.Turn) { link.Post(transport.Event{Kind: eventRelief}) })
	}
}

// follows reports whether a command must not overtake the messages that wait
// for room.
func (c *conn) follows(s wire.Structure) bool {
	switch s := s.(type) {
	case *wire.Message, *wire.TransactionInfo:
		return true
	case *wire.RemoveInfo:
		_, producer := s.ObjectID.(wire.ProducerID)
		return producer
	}
	return false
}

// park keeps a frame until there is room. Beyond a bound the connection is not
// read any more; until then its consumers go on.
func (c *conn) park(frame []byte) {
	if !c.unparking { // else it is a copy already
		frame = slices.Clone(frame)
	}
	c.parked = append(c.parked, frame)
	if c.parkedBytes += len(frame); c.parkedBytes > c.opt.Parked {
		c.pause(whyParked)
	}
}

// unpark carries out what waited, as far as there is room; with all set, in any
// case.
func (c *conn) unpark(all bool) {
	if len(c.parked) == 0 || c.state != running {
		return
	}
	c.forced, c.unparking = all, true
	defer func() { c.forced, c.unparking = false, false }()
	list := c.parked
	c.parked, c.parkedBytes = nil, 0
	for _, frame := range list {
		s, _, err := c.decoder.Decode(frame)
		if err != nil || s == nil {
			continue // it was decoded before
		}
		if len(c.parked) > 0 && !all {
			c.park(frame)
			continue
		}
		h := *s.(wire.Command).Head()
		answered, err := c.carryOut(s, frame)
		switch {
		case err != nil:
			c.fail(&h, err)
		case !answered:
			c.respond(&h)
		}
	}
	if c.parkedBytes <= c.opt.Parked/2 {
		c.resume(whyParked)
	}
}

// produced tells the client that its message has left its window.
func (c *conn) produced(p *producer, m *wire.Message) {
	if p.window > 0 {
		c.send(&wire.ProducerAck{ProducerID: p.id, Size: int32(sizeOf(m))})
	}
}

// sizeOf is the size of a message as its client counts it.
func sizeOf(m *wire.Message) int { return 1024 + len(m.Properties) + len(m.Content) }

// message makes the message of the core, addressed to a queue or topic.
func (c *conn) message(m *wire.Message, name string, isTopic bool) (*broker.Message, error) {
	a := accept{Version: c.format.Version, Now: c.turn.Now, SetUser: c.opt.UserIDs, UserID: c.user.Name}
	plan, delayed, err := scheduleOf(m)
	if err == nil && delayed {
		a.Properties, err = unscheduled(m.Properties, m.MessageID.String())
	}
	if err != nil {
		return nil, refuse(classJMS, "the properties of the message cannot be read")
	}
	out := newMessage(m, a)
	out.RoutingKey = name
	if isTopic {
		out.Exchange = broker.TopicExchange
	}
	if m.GroupSequence < 0 && out.Notes != nil {
		out.Notes.GroupClose = true
	}
	if delayed {
		if err := postpone(out, &plan, c.turn.Now); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// postpone has the core deliver a message when its schedule says.
func postpone(m *broker.Message, plan *schedule, now int64) error {
	n := broker.Notes{}
	if m.Notes != nil {
		n = *m.Notes
	}
	s := &broker.Schedule{Cron: plan.Cron, Delay: plan.Delay, Period: plan.Period, Repeat: int32(min(plan.Repeat, 1<<30))}
	if n.DeliverAt = s.FirstDue(now, plan.Delay); n.DeliverAt == 0 {
		return refuse(classJMS, "the schedule of the message never applies: %s", plan.Cron)
	}
	if s.Cron != "" || s.Repeat != 0 {
		n.Schedule = s
	}
	m.Notes = &n
	return nil
}

// publishNow publishes outside of a transaction.
func (c *conn) publishNow(p *producer, m *wire.Message) (answered bool, err error) {
	c.flushSettles()
	ref := uint64(0)
	if m.ResponseRequired {
		ref = uint64(uint32(m.CommandID))<<1 | 1
	}
	var res broker.PublishResult
	if p.cache.parts == nil {
		res, err = c.publishOne(p, m, ref)
	} else {
		res, err = c.publishList(p, m, ref)
	}
	if err != nil {
		return false, err
	}
	if res.Rejected && !res.Pending {
		return false, refuse(classResourceAllocation, "no space left for messages to %s", m.Destination)
	}
	return res.Pending, nil
}

func (c *conn) publishOne(p *producer, m *wire.Message, ref uint64) (broker.PublishResult, error) {
	d := p.cache.dest
	msg, err := c.message(m, d.Name, d.IsTopic())
	if err != nil {
		return broker.PublishResult{}, err
	}
	pub := broker.Publish{Exchange: msg.Exchange, Msg: msg, Receipt: ref}
	if c.survives && m.Persistent {
		pub.Facts = p.remember(c.server, m.MessageID.ProducerSequenceID, c.turn.Now)
	}
	return c.offer(pub, d)
}

// offer publishes, and makes the queue that is missing.
func (c *conn) offer(pub broker.Publish, d wire.Destination) (broker.PublishResult, error) {
	res, err := c.session.Publish(&c.turn, pub)
	if err == nil && c.watched(toldDelivered|toldNoConsumer) && (res.Routed || d.Kind != wire.TypeTempQueue) {
		defer c.tellSent(pub.Msg, d)
	}
	if err != nil || res.Routed {
		return res, err
	}
	switch d.Kind {
	case wire.TypeQueue:
		if err := c.makeQueue(d.Name); err != nil {
			return res, err
		}
		return c.session.Publish(&c.turn, pub)
	case wire.TypeTempQueue:
		return res, refuse(classDestination, "The destination %s does not exist.", d)
	}
	return res, nil
}

// publishList publishes a copy for each of several destinations, all or none.
func (c *conn) publishList(p *producer, m *wire.Message, ref uint64) (broker.PublishResult, error) {
	pubs, err := c.copies(p, m)
	if err != nil {
		return broker.PublishResult{}, err
	}
	if c.survives && m.Persistent && len(pubs) > 0 {
		pubs[0].Facts = p.remember(c.server, m.MessageID.ProducerSequenceID, c.turn.Now)
	}
	res, err := c.session.PublishAll(&c.turn, pubs, ref)
	if err == nil && c.watched(toldDelivered|toldNoConsumer) {
		for _, pub := range pubs {
			d := queueOf(pub.Msg.RoutingKey)
			if pub.Exchange != "" {
				d = topicOf(pub.Msg.RoutingKey)
			}
			c.tellSent(pub.Msg, d)
		}
	}
	return res, err
}

// copies makes one message for each destination of a list. Each is sent to its
// own and remembers the list as its original destination.
func (c *conn) copies(p *producer, m *wire.Message) ([]broker.Publish, error) {
	var pubs []broker.Publish
	add := func(d wire.Destination) error {
		copied := *m
		copied.OriginalDestination, copied.Destination = m.Destination, d
		own, err := wire.DecodeMessage(wire.AppendFields(nil, c.format, &copied), c.format, m.Kind)
		if err != nil {
			return err
		}
		msg, err := c.message(own, d.Name, d.IsTopic())
		if err != nil {
			return err
		}
		pubs = append(pubs, broker.Publish{Exchange: msg.Exchange, Msg: msg})
		return nil
	}
	for _, part := range p.cache.parts {
		var err error
		switch {
		case part.IsTopic():
			err = add(wire.Destination{Kind: wire.TypeTopic, Name: part.Name})
		case part.Wild():
			for _, name := range c.core.VHost().QueuesMatching(part.Pattern()) {
				if c.session.CheckSend(name) != nil {
					continue // of a wildcard, what may be reached is
				}
				if err = add(wire.Destination{Kind: wire.TypeQueue, Name: name}); err != nil {
					break
				}
			}
		default:
			if c.core.VHost().Queue(part.Name) == nil {
				err = c.makeQueue(part.Name)
			}
			if err == nil {
				err = add(wire.Destination{Kind: wire.TypeQueue, Name: part.Name})
			}
		}
		if err != nil {
			return nil, err
		}
	}
	return pubs, nil
}

// received hands the verdict on a publish to the client.
func (c *conn) received(r receipt) {
	id := int32(uint32(r.ref >> 1))
	if !r.accepted {
		c.fail(&wire.Header{CommandID: id, ResponseRequired: true}, refuse(classResourceAllocation, "no space left for the message"))
		return
	}
	c.respondTo(id)
}
