package mqtt

import (
	"github.com/hermodmq/hermod/broker"
	"github.com/hermodmq/hermod/listeners/mqtt/wire"
)

// copies is what the messages have in common that one delivery became, one for
// each subscription: the delivery is settled with the last of them.
type copies struct{ left int }

// last counts one copy off and reports whether it was the last, which the only
// message of a delivery always is.
func (k *copies) last() bool {
	if k == nil {
		return true
	}
	k.left--
	return k.left == 0
}

// target is how a message goes to the client because of this subscription alone.
func (sub *subscription) target(qos byte, retain bool) target {
	t := target{
		send: true, qos: min(qos, sub.options.QoS()),
		retain: retain && sub.options&wire.RetainAsPublished != 0,
	}
	if sub.id != 0 {
		t.subIDs = []uint32{sub.id}
	}
	return t
}

// deliverCopies is deliver with Options.Copies. Each of the session's queues
// brings the copies of the subscriptions it carries. Copies beyond the quota wait
// in c.late. Their identifiers are not stored: a crash of the broker forgets which
// of several copies the client has.
func (c *conn) deliverCopies(d *broker.Delivery, f *feed, v *view) bool {
	s := c.session
	list := c.targets[:0]
	for _, sub := range s.matching(d.Msg.RoutingKey) {
		if s.feedOf(sub) == f && (sub.options&wire.NoLocal == 0 || v.client != s.hash) {
			list = append(list, sub.target(v.qos, v.retain))
		}
	}
	c.targets = list[:0]
	tracked := len(list) > 0 && list[0].qos > 0 // all are, or none is
	if tracked && (c.quota <= 0 || len(s.out.byID)+len(list) > maxIDs) {
		return false
	}
	c.owe(f, d.Msg.Size())
	name, ok := c.topicOf(d.Msg, v)
	switch {
	case len(list) == 0 || !ok:
		c.accept(d.Queue, d.Lease)
	case !tracked:
		for i := range list {
			c.writePublish(name, d.Msg, v, &list[i], 0, false)
		}
		c.accept(d.Queue, d.Lease)
	case len(list) == 1 || s.expected[d.Seq] != nil:
		c.track(d, f, name, v, &list[0])
	default:
		c.trackCopies(d, name, v, list)
	}
	return true
}

func (c *conn) trackCopies(d *broker.Delivery, name []byte, v *view, list []target) {
	s, share := c.session, &copies{left: len(list)}
	for i := range list {
		t := &list[i]
		o := s.out.make()
		o.pid, o.qos, o.retain, o.copies = s.out.nextID(), t.qos, t.retain, share
		o.msg, o.queue, o.lease = d.Msg, d.Queue, d.Lease
		o.subIDs = append(o.subIDs, t.subIDs...)
		s.out.add(o)
		if c.quota <= 0 || len(c.late) > 0 {
			c.late = append(c.late, o) // its state says that it was never sent
			continue
		}
		c.quota--
		o.state = published
		if !c.writePublish(name, d.Msg, v, t, o.pid, o.qos == 1 && d.Redelivered) {
			c.conclude(o)
		}
	}
}
