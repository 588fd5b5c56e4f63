package mqtt

import (
	"slices"
	"strings"

	"github.com/hermodmq/hermod/broker"
	"github.com/hermodmq/hermod/broker/topic"
	"github.com/hermodmq/hermod/listeners/mqtt/wire"
	"github.com/hermodmq/hermod/listeners/transport"
)

// retainedRun are the retained messages on their way to a new subscription. They
// are looked for as the client takes them, so that a million of them wait in the
// broker's table and nowhere else.
type retainedRun struct {
	filter  string // as the client wrote it
	options wire.Options
	id      uint32
	search  topic.Search
	found   []*broker.Message
}

// retainedStep is how many retained messages are looked at in one go.
const retainedStep = 256

// fullCheck is how many bytes of messages are written before the link is asked
// again whether it is full.
const fullCheck = 64 << 10

// choked says that the client is too slow for more messages.
func (c *conn) choked() bool {
	if !c.full && c.unseen >= fullCheck {
		c.unseen = 0
		c.write()
		c.full = c.link.Full()
	}
	return c.full
}

// readMail delivers what the core left for the session.
func (c *conn) readMail() {
	s := c.session
	list, cancelled := s.mail.take()
	if cancelled {
		s.mail.giveBack(list)
		c.fail(wire.AdministrativeAction, "a queue of the session was deleted")
		return
	}
	for i := range list {
		d := &list[i]
		if f, ok := d.Sub.Data.(*feed); !ok || f.sub != d.Sub {
			if d.Lease != 0 { // of a subscription that has ended
				s.core.Settle(&c.turn, d.Queue, []broker.Lease{d.Lease}, broker.Unsent)
			}
			continue
		}
		if len(c.pending)+len(c.late) > 0 || !c.deliver(d) {
			c.pending = append(c.pending, *d)
		}
	}
	s.mail.giveBack(list)
}

// pump goes on with what had to wait: unsent deliveries, then retained messages.
func (c *conn) pump() {
	if c.sendLate(); len(c.late) > 0 {
		return
	}
	n := 0
	for n < len(c.pending) && c.deliver(&c.pending[n]) {
		n++
	}
	if n > 0 {
		rest := copy(c.pending, c.pending[n:])
		clear(c.pending[rest:])
		c.pending = c.pending[:rest]
		if rest == 0 && cap(c.pending) > keepDeliveries {
			c.pending = nil
		}
	}
	c.looked = 0
	for s := c.session; len(s.retained) > 0 && c.sendRetained(); {
	}
}

// target says how a message goes to the client: the union of the subscriptions
// that match it.
type target struct {
	qos    byte
	retain bool
	send   bool
	subIDs []uint32
}

// deliver sends one message. It returns false if the message has to wait.
func (c *conn) deliver(d *broker.Delivery) bool {
	if c.choked() {
		return false
	}
	f := d.Sub.Data.(*feed)
	v := viewOf(d.Msg)
	if c.opt.Copies && f.share == nil {
		return c.deliverCopies(d, f, &v)
	}
	t := c.aim(f, d.Msg, &v)
	if t.send && t.qos > 0 && (c.quota <= 0 || len(c.session.out.byID) >= maxIDs) {
		return false
	}
	c.owe(f, d.Msg.Size())
	name, ok := c.topicOf(d.Msg, &v)
	switch {
	case !t.send || !ok:
		c.accept(d.Queue, d.Lease)
	case t.qos == 0:
		c.writePublish(name, d.Msg, &v, &t, 0, false)
		c.accept(d.Queue, d.Lease)
	default:
		c.track(d, f, name, &v, &t)
	}
	return true
}

// aim applies the options of the matching subscriptions.
func (c *conn) aim(f *feed, m *broker.Message, v *view) target {
	if f.share != nil {
		t := target{send: true, qos: min(v.qos, f.share.options.QoS())}
		if strings.HasPrefix(m.RoutingKey, "$") && f.share.match[0] != '$' { // [MQTT-4.7.2-1]
			return target{}
		}
		t.retain = v.retain && f.share.options&wire.RetainAsPublished != 0
		if f.share.id != 0 {
			t.subIDs = append(t.subIDs, f.share.id)
		}
		return t
	}
	var t target
	highest := byte(0)
	for _, sub := range c.session.matching(m.RoutingKey) {
		highest = max(highest, sub.options.QoS())
		if sub.options&wire.NoLocal != 0 && v.client == c.session.hash {
			continue
		}
		t.send = true
		t.qos = max(t.qos, sub.options.QoS())
		t.retain = t.retain || v.retain && sub.options&wire.RetainAsPublished != 0
		if sub.id != 0 {
			t.subIDs = append(t.subIDs, sub.id)
		}
	}
	if f.qos == 0 && highest > 0 {
		t.send = false // the other queue brings it
	}
	t.qos = min(t.qos, v.qos)
	return t
}

// matching returns the session's own subscriptions that match a routing key,
// valid until the next call.
func (s *session) matching(key string) []*subscription {
	if s.lastKey == key && key != "" {
		return s.matched
	}
	s.matched = s.matched[:0]
	if s.index != nil {
		s.matched = s.index.AppendMatches(s.matched, key)
		if strings.HasPrefix(key, "$") { // [MQTT-4.7.2-1]
			s.matched = slices.DeleteFunc(s.matched, func(sub *subscription) bool { return sub.match[0] != '$' })
		}
	} else {
		name := string(topic.Slashes(nil, key))
		for _, sub := range s.list {
			if sub.group == nil && wire.Match(sub.match, name) {
				s.matched = append(s.matched, sub)
			}
		}
	}
	s.lastKey = strings.Clone(key)
	return s.matched
}

// topicOf is the topic of a message in scratch memory. Keys of other protocols
// may be no topics: too long, not UTF-8 or with wildcards.
func (c *conn) topicOf(m *broker.Message, v *view) ([]byte, bool) {
	c.key = topic.Slashes(c.key[:0], m.RoutingKey)
	return c.key, v.native || len(c.key) < 65536 && wire.ValidTopicName(c.key) && wire.ValidText(c.key)
}

// track sends a message of QoS 1 or 2 and remembers it until it is acknowledged.
// The identifier of a QoS 2 message of a durable session is stored first.
func (c *conn) track(d *broker.Delivery, f *feed, name []byte, v *view, t *target) {
	s := c.session
	if o := s.expected[d.Seq]; o != nil && d.Seq != 0 && f.share == nil {
		c.meet(o, d, t)
		return
	}
	o := s.out.make()
	o.pid, o.qos, o.retain, o.shared = s.out.nextID(), t.qos, t.retain, f.share != nil
	o.msg, o.queue, o.lease = d.Msg, d.Queue, d.Lease
	o.subIDs = append(o.subIDs, t.subIDs...)
	s.out.add(o)
	c.quota--
	if o.qos == 2 && s.durable && d.Seq != 0 && f.share == nil {
		o.state, o.stored = storing, true
		c.unsaved = append(c.unsaved, s.sentFact(o.pid, sentPublish, d.Seq))
		c.unstored = append(c.unstored, o)
		return
	}
	o.state = published
	// Identifiers of QoS 1 do not survive a crash or takeover of the broker; that
	// the message may have been sent before does.
	if !c.writePublish(name, d.Msg, v, t, o.pid, o.qos == 1 && d.Redelivered) {
		c.conclude(o)
	}
}

// meet continues a QoS 2 message that was sent before a restart: with its old
// identifier, or not at all if the client has answered meanwhile.
func (c *conn) meet(o *outgoing, d *broker.Delivery, t *target) {
	delete(c.session.expected, d.Seq)
	if o.state != expected {
		c.accept(d.Queue, d.Lease)
		return
	}
	o.msg, o.queue, o.lease, o.state, o.retain = d.Msg, d.Queue, d.Lease, published, t.retain
	o.subIDs = append(o.subIDs, t.subIDs...)
	c.quota--
	c.writeAgain(o)
}

// storeSent stores the identifiers of the QoS 2 messages of this turn; they
// leave when that is durable.
func (c *conn) storeSent() {
	if len(c.unstored) == 0 {
		return
	}
	list, link := c.unstored, c.link
	c.broker.StoreFacts(c.unsaved, func(*broker.Turn) {
		link.Post(transport.Event{Kind: eventSend, P: list})
	})
	c.unstored, c.unsaved = nil, nil
}

// sendStored sends what storeSent waited for: PUBLISH, or PUBREL for messages
// the client has received.
func (c *conn) sendStored(list []*outgoing) {
	for _, o := range list {
		if c.session.out.byID[o.pid] != o {
			continue
		}
		switch o.state {
		case storing:
			o.state = published
			if !c.writeTracked(o, false) {
				c.conclude(o)
			}
		case releasing:
			o.state = released
			c.writeRelease(o.pid, wire.Success)
		}
	}
	c.pump()
}

func (c *conn) writeRelease(pid uint16, reason wire.Reason) {
	a := wire.Ack{Type: wire.PUBREL, PacketID: pid, Reason: reason}
	c.out = a.Append(c.buffer(), c.version)
}

// writeTracked sends a message from the outbox.
func (c *conn) writeTracked(o *outgoing, dup bool) bool {
	v := viewOf(o.msg)
	name, _ := c.topicOf(o.msg, &v)
	return c.writePublish(name, o.msg, &v, &target{qos: o.qos, retain: o.retain, subIDs: o.subIDs}, o.pid, dup)
}

func (c *conn) writeAgain(o *outgoing) {
	if !c.writeTracked(o, true) {
		c.conclude(o)
	}
}

// writePublish writes a PUBLISH. It returns false, having written nothing, if the
// client does not take packets of that size [MQTT-3.1.2-24].
func (c *conn) writePublish(name []byte, m *broker.Message, v *view, t *target, pid uint16, dup bool) bool {
	p := wire.Publish{Dup: dup, QoS: t.qos, Retain: t.retain, PacketID: pid, Topic: name, Payload: c.broker.Body(m)}
	alias, fresh := uint16(0), false
	if c.version == wire.V5 {
		p.Props = c.outProps(m, v, t)
		alias, fresh = c.aliasFor(name)
		if alias != 0 {
			p.Props = p.Props.AppendNumber(wire.TopicAlias, uint32(alias))
			if !fresh {
				p.Topic = nil
			}
		}
		c.props = p.Props
	}
	if c.maxPacket > 0 && p.Size(c.version) > c.maxPacket {
		c.traffic.dropped++
		return false
	}
	if fresh {
		c.outAlias[string(name)] = alias
	}
	before := len(c.buffer())
	c.out = p.Append(c.out, c.version)
	c.traffic.publishSent++
	c.unseen += len(c.out) - before
	return true
}

// outProps are the properties of a message for this client, in scratch memory.
func (c *conn) outProps(m *broker.Message, v *view, t *target) wire.Properties {
	p := c.props[:0]
	if v.native {
		p = append(p, v.props...)
	} else {
		p = foreign(p, c.broker, m)
	}
	if left := remaining(m, c.turn.Now); left > 0 {
		p = p.AppendNumber(wire.MessageExpiry, left)
	}
	for _, id := range t.subIDs {
		p = p.AppendNumber(wire.SubscriptionID, id)
	}
	return p
}

// aliasFor returns the alias of a topic, a fresh one if there is room; 0 if none.
// A topic gets one only when its packet is written.
func (c *conn) aliasFor(name []byte) (alias uint16, fresh bool) {
	if c.aliasMax == 0 {
		return 0, false
	}
	if a := c.outAlias[string(name)]; a != 0 {
		return a, false
	}
	if len(c.outAlias) >= int(c.aliasMax) {
		return 0, false
	}
	if c.outAlias == nil {
		c.outAlias = make(map[string]uint16)
	}
	return uint16(len(c.outAlias) + 1), true
}

// accept settles a delivery; leases of one queue go to the core together.
func (c *conn) accept(q *broker.Queue, l broker.Lease) {
	if l == 0 || q == nil {
		return
	}
	if q != c.settledOn {
		c.flushSettled()
		c.settledOn = q
	}
	c.settled = append(c.settled, l)
}

func (c *conn) flushSettled() {
	if len(c.settled) > 0 {
		c.session.core.Settle(&c.turn, c.settledOn, c.settled, broker.Accepted)
		c.settled = c.settled[:0]
	}
	c.settledOn = nil
}

// owe counts a delivery that is handled; repay returns the credit, unless the
// client is too slow: then it waits for Drained.
func (c *conn) owe(f *feed, size int) {
	f.n++
	f.bytes += size
	if !f.owes {
		f.owes = true
		c.owed = append(c.owed, f)
	}
}

func (c *conn) repay() {
	if c.full || len(c.owed) == 0 {
		return
	}
	for _, f := range c.owed {
		if f.sub != nil && f.owes {
			f.sub.Written(&c.turn, f.n, f.bytes)
		}
		f.n, f.bytes, f.owes = 0, 0, false
	}
	c.owed = c.owed[:0]
}

// conclude ends a message of QoS 1 or 2 and frees its identifier and quota.
func (c *conn) conclude(o *outgoing) {
	s := c.session
	if o.copies.last() {
		c.accept(o.queue, o.lease)
	}
	if o.stored {
		c.broker.StoreFacts([]broker.Definition{s.sentGone(o.pid)}, nil)
	}
	s.out.remove(o)
	c.quota++
}

func (c *conn) onPuback(a *wire.Ack) {
	if o := c.session.out.byID[a.PacketID]; o != nil && o.qos == 1 && o.state == published {
		c.conclude(o)
	}
}

// onPubrec notes that the client has a QoS 2 message: from now on only PUBREL is
// sent, once that is durable.
func (c *conn) onPubrec(a *wire.Ack) {
	s := c.session
	o := s.out.byID[a.PacketID]
	switch {
	case o == nil || o.qos != 2:
		if a.Reason.Failed() {
			return
		}
		c.writeRelease(a.PacketID, wire.PacketIDNotFound)
	case a.Reason.Failed():
		if o.state == published {
			c.conclude(o)
		}
	case o.state == published:
		c.received(o)
	case o.state == expected:
		o.state = released
		c.quota--
		c.writeRelease(o.pid, wire.Success)
	case o.state == released:
		c.writeRelease(o.pid, wire.Success)
	}
}

func (c *conn) received(o *outgoing) {
	s := c.session
	lease, q := o.lease, o.queue
	o.msg, o.queue, o.lease = nil, nil, 0
	if !o.stored {
		if o.copies.last() {
			c.accept(q, lease)
		}
		o.copies = nil
		o.state = released
		c.writeRelease(o.pid, wire.Success)
		return
	}
	o.state = releasing
	s.core.SettleWith(&c.turn, q, []broker.Lease{lease}, broker.Accepted,
		[]broker.Definition{s.sentFact(o.pid, sentRelease, 0)})
	c.unstored = append(c.unstored, o)
}

func (c *conn) onPubcomp(a *wire.Ack) {
	if o := c.session.out.byID[a.PacketID]; o != nil && (o.state == released || o.state == releasing) {
		c.conclude(o)
	}
}

// resend sends again what a resumed session has unacknowledged, in the original
// order [MQTT-4.4.0-1]; what exceeds the quota now waits for acknowledgements of
// the rest.
func (c *conn) resend() {
	var late []*outgoing
	c.session.out.each(func(o *outgoing) {
		switch o.state {
		case expected:
			return
		case releasing, released:
			o.state = released
			c.quota--
			c.writeRelease(o.pid, wire.Success)
		default:
			late = append(late, o)
		}
	})
	c.late = late
	c.sendLate()
}

// sendLate sends messages of the outbox again as far as the quota goes.
func (c *conn) sendLate() {
	n := 0
	for ; n < len(c.late) && c.quota > 0 && !c.choked(); n++ {
		o := c.late[n]
		c.quota--
		dup := o.state == published
		o.state = published
		if !c.writeTracked(o, dup) {
			c.conclude(o)
		}
	}
	if c.late = c.late[n:]; len(c.late) == 0 {
		c.late = nil
	}
}

// sendRetained goes on with the oldest run; false if it has to wait. A long
// search is continued with an event of its own, so that others get their turn.
func (c *conn) sendRetained() bool {
	s := c.session
	r := &s.retained[0]
	if len(r.found) == 0 {
		if r.search.Done() || s.subs[r.filter] == nil {
			if s.retained = s.retained[1:]; len(s.retained) == 0 {
				s.retained = nil
			}
			return true
		}
		if c.choked() || c.looked >= retainedTurn {
			if !c.full && !c.looking {
				c.looking = true
				c.link.Post(transport.Event{Kind: eventRetained})
			}
			return false
		}
		c.looked += 1 + s.host.FindRetained(&c.turn, &r.search, retainedStep, func(_ string, m *broker.Message) {
			r.found = append(r.found, m)
		})
		return true
	}
	n := 0
	for n < len(r.found) && c.sendOneRetained(r, r.found[n]) {
		n++
	}
	r.found = r.found[n:]
	return len(r.found) == 0
}

// queueRetained begins to send retained messages for a subscription, from the
// start again if it has begun already.
func (s *session) queueRetained(f retainedFor) {
	run := retainedRun{filter: f.sub.filter, options: f.options, id: f.sub.id, search: topic.Search{Filter: f.sub.match}}
	for i := range s.retained {
		if s.retained[i].filter == run.filter {
			s.retained[i] = run
			return
		}
	}
	s.retained = append(s.retained, run)
}

// retainedTurn is how many retained messages are looked at in one turn of the
// connection's loop.
const retainedTurn = 16 * retainedStep

// sendOneRetained sends one retained message; false if it has to wait.
func (c *conn) sendOneRetained(r *retainedRun, m *broker.Message) bool {
	v := viewOf(m)
	qos := min(v.qos, r.options.QoS())
	if c.choked() || qos > 0 && (c.quota <= 0 || len(c.session.out.byID) >= maxIDs) {
		return false
	}
	if r.options&wire.NoLocal != 0 && v.client == c.session.hash {
		return true
	}
	if m.TTL >= 0 && m.Received+m.TTL <= c.turn.Now {
		return true
	}
	t := target{qos: qos, retain: true, send: true}
	if r.id != 0 {
		t.subIDs = []uint32{r.id}
	}
	name, _ := c.topicOf(m, &v)
	if qos == 0 {
		c.writePublish(name, m, &v, &t, 0, false)
		return true
	}
	s := c.session
	o := s.out.make()
	o.pid, o.qos, o.retain, o.state, o.msg = s.out.nextID(), qos, true, published, m
	o.subIDs = append(o.subIDs, t.subIDs...)
	s.out.add(o)
	c.quota--
	if !c.writePublish(name, m, &v, &t, o.pid, false) {
		c.conclude(o)
	}
	return true
}
