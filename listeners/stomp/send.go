package stomp

import (
	"bytes"
	"unsafe"

	"github.com/hermodmq/hermod/broker"
	"github.com/hermodmq/hermod/listeners/delivery"
	"github.com/hermodmq/hermod/listeners/stomp/wire"
	"github.com/hermodmq/hermod/listeners/transport"
)

// send carries out SEND.
func (c *conn) send(f *wire.Frame) error {
	name, ok := f.Lookup("destination")
	if !ok {
		return refuse("Missing destination", "\"SEND\" must include a 'destination' header\n")
	}
	dest, err := c.destination(name)
	if err != nil {
		return err
	}
	if dest, err = c.target(dest); err != nil {
		return err
	}
	var t traits
	if err := c.readHeaders(f, &t); err != nil {
		return err
	}
	if t.transaction != nil {
		return c.sendLater(&t, dest, f.Body)
	}
	if dest.kind == destComposite {
		return c.sendComposite(&t, dest, f.Body)
	}
	return c.publish(&t, dest, c.message(&t, dest, f.Body))
}

// publish gives a message to the core and answers as soon as it may.
func (c *conn) publish(t *traits, dest *destination, m *broker.Message) error {
	c.flushSettles()
	pub := broker.Publish{Exchange: dest.exchange, Msg: m}
	if t.hasReceipt {
		pub.Receipt = c.expect(reply{receipt: t.receipt})
	}
	res, err := c.offer(pub, dest)
	if err != nil {
		if t.hasReceipt {
			c.withdraw(pub.Receipt)
		}
		return err
	}
	if t.hasReceipt && !res.Pending {
		c.answered(pub.Receipt, !res.Rejected)
	}
	c.published()
	return nil
}

// offer publishes, and makes the queue that is missing.
func (c *conn) offer(pub broker.Publish, dest *destination) (broker.PublishResult, error) {
	res, err := c.session.Publish(&c.turn, pub)
	if err != nil || res.Routed || dest.kind != destQueue {
		return res, err
	}
	if err := c.makeQueue(dest.name); err != nil {
		return res, err
	}
	return c.session.Publish(&c.turn, pub)
}

// makeQueue declares a queue that somebody sends or subscribes to. Those of
// ActiveMQ's clients get a dead letter queue, as there, so that a NACK loses
// nothing.
func (c *conn) makeQueue(name string) error {
	d := broker.QueueDeclare{Name: name, Durable: true}
	if dlq := c.opt.DeadLetterQueue; c.opt.Dialect == ActiveMQ && name != dlq {
		if _, err := c.session.DeclareQueue(&c.turn, broker.QueueDeclare{Name: dlq, Durable: true}, nil); err == nil {
			d.Args = broker.Table{{Name: "x-dead-letter-exchange", Value: ""}, {Name: "x-dead-letter-routing-key", Value: dlq}}
		}
	}
	_, err := c.session.DeclareQueue(&c.turn, d, nil)
	return err
}

// sendComposite publishes one message to several destinations, all or none.
func (c *conn) sendComposite(t *traits, dest *destination, body []byte) error {
	c.flushSettles()
	pubs := make([]broker.Publish, 0, len(dest.parts))
	for _, part := range dest.parts {
		if part.kind == destQueue && c.session.VHost().Queue(part.name) == nil {
			if err := c.makeQueue(part.name); err != nil {
				return err
			}
		}
		pubs = append(pubs, broker.Publish{Exchange: part.exchange, Msg: c.message(t, part, body)})
	}
	ref := uint64(0)
	if t.hasReceipt {
		ref = c.expect(reply{receipt: t.receipt})
	}
	res, err := c.session.PublishAll(&c.turn, pubs, ref)
	if err != nil {
		if t.hasReceipt {
			c.withdraw(ref)
		}
		return err
	}
	if t.hasReceipt && !res.Pending {
		c.answered(ref, !res.Rejected)
	}
	c.published()
	return nil
}

// maxFanOut bounds the queues that a name with wildcards sends to.
const maxFanOut = 1024

// fanOut makes a name with wildcards the list of the queues it stands for now.
func (c *conn) fanOut(dest *destination) (*destination, error) {
	names := c.session.VHost().QueuesMatching(broker.Destination{Name: dest.name}.Pattern())
	if len(names) > maxFanOut {
		return nil, refuse("Invalid destination", "'%s' stands for more than %d queues\n", dest.text, maxFanOut)
	}
	out := &destination{text: dest.text, kind: destComposite}
	for _, name := range names {
		out.parts = append(out.parts, &destination{text: dest.text, kind: destReply, name: name, key: name})
	}
	return out, nil
}

// target resolves what only this connection knows: its temporary destinations.
func (c *conn) target(dest *destination) (*destination, error) {
	switch dest.kind {
	case destQueue:
		if dest.wild {
			return c.fanOut(dest)
		}
	case destTempQueue:
		if c.opt.Dialect != ActiveMQ {
			return nil, refuse("Invalid destination", "'%s' is not a valid destination for 'SEND'\n", dest.text)
		}
		queue, err := c.tempQueue(dest.name)
		if err != nil {
			return nil, err
		}
		return &destination{text: dest.text, kind: destReply, name: queue, key: queue}, nil
	case destTempTopic:
		return &destination{text: dest.text, kind: destTopic, exchange: topicExchange, key: c.tempTopic(dest.name)}, nil
	case destComposite:
		out := &destination{text: dest.text, kind: destComposite}
		for _, p := range dest.parts {
			part, err := c.target(p)
			if err != nil {
				return nil, err
			}
			if part.kind == destComposite {
				out.parts = append(out.parts, part.parts...)
				continue
			}
			out.parts = append(out.parts, part)
		}
		return out, nil
	}
	return dest, nil
}

// maxDestinations bounds the parsed destinations a connection remembers.
const maxDestinations = 256

// destination parses a header, remembering those seen before.
func (c *conn) destination(name []byte) (*destination, error) {
	if d := c.destinations[string(name)]; d != nil {
		return d, nil
	}
	d, err := parseDestination(c.opt.Dialect, string(name))
	if err != nil {
		return nil, err
	}
	if c.destinations == nil || len(c.destinations) >= maxDestinations {
		c.destinations = make(map[string]*destination)
	}
	c.destinations[string(name)] = d
	return d, nil
}

// replyTo carries out what an address of a temporary destination asks for, and
// writes into the message how others reach it.
func (c *conn) replyTo(value []byte) (travels bool, err error) {
	if name, ok := bytes.CutPrefix(value, []byte(tempQueuePrefix)); ok && len(name) > 0 {
		queue, err := c.replyQueue(string(name))
		if err != nil {
			return false, err
		}
		address := appendName([]byte(replyPrefix), c.opt.Dialect, queue)
		c.native = wire.AppendLine(c.native, "reply-to", address)
		return false, nil
	}
	if name, ok := bytes.CutPrefix(value, []byte(tempTopicPrefix)); ok && len(name) > 0 {
		c.native = wire.AppendLine(c.native, "reply-to", topicPrefix+c.tempTopic(string(name)))
		return false, nil
	}
	return true, nil
}

// message makes the message of a SEND out of c.native and body, in one
// allocation.
func (c *conn) message(t *traits, dest *destination, body []byte) *broker.Message {
	m, buf := delivery.NewMessage(len(dest.key) + len(c.native) + len(body))
	k := copy(buf, dest.key)
	m.RoutingKey = unsafeString(buf[:k])
	n := k + copy(buf[k:], c.native)
	m.Native = buf[k:n:n]
	e := n + copy(buf[n:], body)
	m.Body = buf[n:e:e]
	m.Exchange = dest.exchange
	m.Format = broker.FormatSTOMP
	m.Persistent, m.Priority, m.TTL = t.persistent, t.priority, t.ttl
	m.Received = c.turn.Now
	if t.delay > 0 || t.due > 0 || t.dedup != "" || t.group != "" {
		notes := &broker.Notes{DedupID: t.dedup, GroupID: t.group, Schedule: t.schedule, DeliverAt: t.due}
		if t.due == 0 && t.delay > 0 {
			notes.DeliverAt = c.turn.Now + t.delay
		}
		m.Notes = notes
	}
	return m
}

// nativeKeep is the size of headers a connection keeps room for.
const nativeKeep = 4096

func unsafeString(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// published stops a publisher while the broker cannot take more. The message
// that brought it about still counts.
func (c *conn) published() {
	if c.alarms != 0 {
		c.pause(whyAlarm)
	}
	if c.paused&whyStore == 0 && c.broker.Congested() {
		c.pause(whyStore)
		link := c.link
		c.broker.OnRelief(func() { link.Post(transport.Event{Kind: eventRelief}) })
	}
}
