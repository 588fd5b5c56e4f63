package mqtt

import (
	"errors"
	"slices"

	"github.com/hermodmq/hermod/broker"
	"github.com/hermodmq/hermod/broker/topic"
	"github.com/hermodmq/hermod/listeners/mqtt/wire"
)

// exchange is where topics live.
const exchange = "amq.topic"

// session is what the server remembers of a client (section 4.1). owner, next
// and due belong to the server's lock; everything else to the loop of the
// connection that owns the session.
type session struct {
	srv  *Server
	key  sessionKey
	host *broker.VHost
	hash uint64

	owner *conn
	next  *conn // waits for the owner to let go
	due   int64

	takeovers pace // under the server's lock

	present bool   // there is state
	durable bool   // it is in the store
	expiry  uint32 // seconds after the connection's end
	ended   int64  // Unix ms of the last connection's end; 0 while connected
	will    *wire.Will
	willAt  int64 // Unix ms at which the will of a gone connection is due

	core     *broker.Session // consumes; nil until needed
	mail     mailbox
	feeds    [2]feed // own queues by QoS
	subs     map[string]*subscription
	list     []*subscription // in order of arrival
	out      outbox
	received map[uint16]struct{}  // QoS 2 identifiers whose PUBREL is outstanding
	expected map[uint64]*outgoing // QoS 2 messages sent before a restart, by number in the store
	retained []retainedRun        // on their way to new subscriptions

	index   *topic.Trie[*subscription] // of list without shared ones; nil while they are few
	matched []*subscription            // scratch of matching
	lastKey string                     // routing key of the last match
}

// subscription is one topic filter of a session.
type subscription struct {
	filter  string // as the client wrote it
	match   string // what topics are matched with: without the share
	options wire.Options
	id      uint32 // subscription identifier; 0: none
	group   *group // of a shared subscription
	sys     bool   // to $SYS topics: no queue carries it
	feed    feed   // of a shared subscription
}

// feed is a queue a session consumes from.
type feed struct {
	queue string
	qos   byte          // 0 or 1 for the session's own
	share *subscription // nil for the session's own
	sub   *broker.Subscription
	made  bool // the queue is declared

	n, bytes int // deliveries handled whose credit is not returned yet
	owes     bool
}

func (v *Server) newSession(key sessionKey, host *broker.VHost) *session {
	s := &session{srv: v, key: key, host: host, hash: clientHash(key.vhost, key.client)}
	s.reset()
	return s
}

// reset forgets all state that is not the core's or the store's.
func (s *session) reset() {
	s.present, s.durable, s.expiry, s.ended, s.will, s.willAt = false, false, 0, 0, nil, 0
	s.feeds = [2]feed{{}, {qos: 1}}
	s.srv.counters.subscriptions.Add(-int64(len(s.list)))
	s.subs, s.list, s.out, s.retained = nil, nil, outbox{}, nil
	s.index = nil
	s.received, s.expected = nil, nil
	s.forgetMatches()
}

func (s *session) forgetMatches() { s.lastKey, s.matched = "", nil }

// consume returns the session's own conversation with the core.
func (s *session) consume() *broker.Session {
	if s.core == nil {
		s.core = s.host.OpenSession(nil, (*consumer)(s))
	}
	return s.core
}

// deadline is when the session expires; 0 is never.
func (s *session) deadline() int64 {
	if !s.present || s.ended == 0 || s.expiry == neverExpires {
		return 0
	}
	return s.ended + int64(s.expiry)*1000
}

// restore takes a subscription from the store over. Its queue is bound already.
func (s *session) restore(r subRecord) {
	sub := &subscription{filter: r.Filter, match: r.Filter, options: wire.Options(r.Options), id: r.ID}
	if name, filter, shared, ok := wire.Share(r.Filter); shared {
		if !ok {
			return
		}
		k := groupKey{s.key.vhost, name, filter}
		g := s.srv.groups[k]
		if g == nil {
			g = &group{key: k, queue: k.queueName()}
			s.srv.groups[k] = g
		}
		g.members++
		sub.join(g)
	} else if s.srv.opt.isSys(sub.match) {
		sub.sys = true
	} else if sub.options.QoS() > 0 {
		s.own(1).made = true
	}
	s.add(sub)
}

func (sub *subscription) join(g *group) {
	sub.group, sub.match = g, g.key.filter
	sub.feed = feed{queue: g.queue, qos: 1, share: sub, made: true}
}

func (s *session) add(sub *subscription) {
	s.srv.counters.subscriptions.Add(1)
	if s.subs == nil {
		s.subs = make(map[string]*subscription)
	}
	s.subs[sub.filter] = sub
	s.list = append(s.list, sub)
	s.forgetMatches()
	switch {
	case s.index != nil:
		s.indexed(sub)
	case len(s.list) > manySubscriptions:
		s.index = new(topic.Trie[*subscription])
		for _, each := range s.list {
			s.indexed(each)
		}
	}
}

// manySubscriptions is the number up to which looking at every subscription is
// quicker than an index.
const manySubscriptions = 32

func (s *session) indexed(sub *subscription) {
	if sub.group == nil {
		s.index.Add(sub.pattern(), sub)
	}
}

// pattern is the filter as a binding key.
func (sub *subscription) pattern() string { return string(topic.Slashes(nil, sub.match)) }

func (s *session) remove(sub *subscription) {
	s.srv.counters.subscriptions.Add(-1)
	delete(s.subs, sub.filter)
	if s.index != nil && sub.group == nil {
		s.index.Remove(sub.pattern(), sub)
	}
	if i := slices.Index(s.list, sub); i >= 0 {
		s.list = slices.Delete(s.list, i, i+1)
	}
	s.forgetMatches()
}

// feedOf is the queue that carries a subscription.
func (s *session) feedOf(sub *subscription) *feed {
	switch {
	case sub.sys:
		return nil
	case sub.group != nil:
		return &sub.feed
	case sub.options.QoS() == 0:
		return s.own(0)
	}
	return s.own(1)
}

// own is the session's own queue of that QoS, which has a name from now on.
func (s *session) own(qos int) *feed {
	f := &s.feeds[qos]
	if f.queue == "" {
		f.queue = queueName("mqtt-subscription-", s.key.client) + "qos" + string('0'+rune(qos))
	}
	return f
}

// declare makes the queue of a feed if need be, with the rights of d.
func (s *session) declare(t *broker.Turn, f *feed, d *broker.Session) error {
	if f.made {
		return nil
	}
	q := broker.QueueDeclare{Name: f.queue, Durable: s.durable, Args: s.srv.opt.queueArgs()}
	if f.qos == 0 {
		q.Durable = false
		q.Args = broker.Table{{Name: "x-max-length", Value: int64(s.srv.opt.BufferQoS0)}}
	}
	if _, err := d.DeclareQueue(t, q, nil); err != nil {
		return err
	}
	f.made = true
	return nil
}

func (f *feed) binding(sub *subscription) broker.Binding {
	return broker.Binding{Source: exchange, Destination: f.queue, Key: sub.pattern()}
}

// start begins to consume from a feed. A queue that somebody deleted meanwhile
// is made again.
func (s *session) start(t *broker.Turn, f *feed) error {
	if f.sub != nil || !f.made {
		return nil
	}
	core := s.consume()
	o := broker.SubscribeOptions{Queue: f.queue, Tag: f.queue, NoAck: f.share == nil && f.qos == 0}
	if f.share != nil {
		s.srv.opt.Shares.apply(&o, s.hash)
	}
	sub, err := s.subscribeTo(t, o, f)
	var gone *broker.Error
	if errors.As(err, &gone) && gone.Kind == broker.NotFound {
		if f.share != nil {
			err = f.share.group.declare(t, core, s.srv)
		} else {
			f.made = false
			err = s.bindAll(t, f)
		}
		if err == nil {
			sub, err = s.subscribeTo(t, o, f)
		}
	}
	f.sub = sub
	return err
}

// subscribeTo subscribes with deliveries held back until Data is set.
func (s *session) subscribeTo(t *broker.Turn, o broker.SubscribeOptions, f *feed) (*broker.Subscription, error) {
	sub, err := s.core.Subscribe(t, o)
	if err == nil {
		sub.Data = f
	}
	return sub, err
}

// bindAll declares a feed and binds it for every subscription it carries.
func (s *session) bindAll(t *broker.Turn, f *feed) error {
	for _, sub := range s.list {
		if s.feedOf(sub) != f {
			continue
		}
		core := s.consume()
		if err := s.declare(t, f, core); err != nil {
			return err
		}
		if err := core.Bind(t, f.binding(sub), nil); err != nil {
			return err
		}
	}
	return nil
}

// resume begins to consume everything the session is subscribed to.
func (s *session) resume(t *broker.Turn) error {
	if err := s.bindAll(t, &s.feeds[0]); err != nil {
		return err
	}
	for i := range s.feeds {
		if err := s.start(t, &s.feeds[i]); err != nil {
			return err
		}
	}
	for _, sub := range s.list {
		if sub.group == nil {
			continue
		}
		if err := s.start(t, &sub.feed); err != nil {
			return err
		}
	}
	return nil
}

// stop ends consuming from a feed. What it delivered and was not handled is in
// the mailbox.
func (s *session) stop(t *broker.Turn, f *feed) {
	if f.sub != nil {
		s.core.Unsubscribe(t, f.sub)
	}
	f.sub, f.n, f.bytes, f.owes = nil, 0, 0, false
}

// suspend ends consuming; what is unacknowledged stays with the session, except
// QoS 1 messages of shared subscriptions, which go to other members.
func (s *session) suspend(t *broker.Turn, pending []broker.Delivery) {
	s.mail.close()
	if s.core == nil {
		return
	}
	for i := range s.feeds {
		s.stop(t, &s.feeds[i])
	}
	for _, sub := range s.list {
		s.stop(t, &sub.feed)
	}
	list, _ := s.mail.take()
	for _, d := range append(pending, list...) {
		if d.Lease != 0 {
			s.core.Settle(t, d.Queue, []broker.Lease{d.Lease}, broker.Unsent)
		}
	}
	s.mail.giveBack(list)
	s.out.each(func(o *outgoing) {
		if o.shared && o.qos == 1 {
			s.core.Settle(t, o.queue, []broker.Lease{o.lease}, broker.Released)
			s.out.remove(o)
		}
	})
	if s.feeds[0].made {
		s.drop(t, &s.feeds[0])
	}
}

func (s *session) drop(t *broker.Turn, f *feed) {
	f.made = false
	if _, err := s.consume().DeleteQueue(t, f.queue, false, false, nil); err != nil {
		s.srv.opt.Logger.Warn("mqtt: queue of a session is left", "queue", f.queue, "error", err)
	}
}

// end forgets everything: the session is over. Its will is published if it is
// still to come [MQTT-3.1.3-9].
func (s *session) end(t *broker.Turn) {
	if s.willAt != 0 {
		s.publishWill(t, nil)
	}
	s.suspend(t, nil)
	if s.feeds[1].made {
		s.drop(t, &s.feeds[1])
	}
	for _, sub := range s.list {
		if sub.group != nil {
			s.srv.part(t, sub.group, s.consume())
		}
	}
	if s.durable {
		gone := []broker.Definition{{Kind: kindSession, Key: s.factKey(), Delete: true}}
		for pid := range s.received {
			gone = append(gone, s.receivedGone(pid))
		}
		s.out.each(func(o *outgoing) {
			if o.stored {
				gone = append(gone, s.sentGone(o.pid))
			}
		})
		s.srv.broker.StoreFacts(gone, nil)
	}
	if s.core != nil {
		s.core.Close(t)
		s.core = nil
	}
	s.reset()
}

func (s *session) noteReceived(pid uint16) {
	if s.received == nil {
		s.received = make(map[uint16]struct{})
	}
	s.received[pid] = struct{}{}
}

func (s *session) forgetReceived(pid uint16) {
	if _, have := s.received[pid]; !have {
		return
	}
	delete(s.received, pid)
	if s.durable {
		s.srv.broker.StoreFacts([]broker.Definition{s.receivedGone(pid)}, nil)
	}
}

// outState is how far an outgoing message of QoS 1 or 2 has come.
type outState uint8

const (
	storing   outState = iota // its identifier is on its way to the store
	published                 // PUBLISH was sent
	releasing                 // PUBREC came; that is on its way to the store
	released                  // PUBREL was sent
	expected                  // PUBLISH was sent before a restart; the queue will deliver it again
)

// outgoing is a message of QoS 1 or 2 on its way to the client.
type outgoing struct {
	pid    uint16
	qos    byte
	state  outState
	retain bool
	shared bool
	stored bool // there is a fact of kindSent

	msg    *broker.Message
	queue  *broker.Queue // nil for retained messages
	lease  broker.Lease
	subIDs []uint32
	copies *copies // of the same delivery; nil for the only one

	prev, next *outgoing
}

// outbox are the outgoing messages in the order in which they were sent, and by
// identifier.
type outbox struct {
	byID       map[uint16]*outgoing
	head, tail *outgoing
	last       uint16
	free       *outgoing
}

// maxIDs is the number of packet identifiers.
const maxIDs = 65535

// nextID returns an identifier that is not in use; 0 if all are.
func (b *outbox) nextID() uint16 {
	if len(b.byID) >= maxIDs {
		return 0
	}
	for {
		b.last++
		if b.last == 0 {
			continue
		}
		if b.byID[b.last] == nil {
			return b.last
		}
	}
}

// make returns an empty entry.
func (b *outbox) make() *outgoing {
	if o := b.free; o != nil {
		b.free = o.next
		ids := o.subIDs[:0]
		*o = outgoing{subIDs: ids}
		return o
	}
	return &outgoing{}
}

// add appends o, whose pid is set.
func (b *outbox) add(o *outgoing) {
	if b.byID == nil {
		b.byID = make(map[uint16]*outgoing)
	}
	b.byID[o.pid] = o
	o.prev, o.next = b.tail, nil
	if b.tail != nil {
		b.tail.next = o
	} else {
		b.head = o
	}
	b.tail = o
}

func (b *outbox) remove(o *outgoing) {
	delete(b.byID, o.pid)
	if o.prev != nil {
		o.prev.next = o.next
	} else {
		b.head = o.next
	}
	if o.next != nil {
		o.next.prev = o.prev
	} else {
		b.tail = o.prev
	}
	o.msg, o.queue, o.prev, o.copies = nil, nil, nil, nil
	o.pid = 0
	if o.state != storing && o.state != releasing { // else an event may still refer to it
		o.next, b.free = b.free, o
	}
}

func (b *outbox) each(f func(*outgoing)) {
	for o := b.head; o != nil; {
		next := o.next
		f(o)
		o = next
	}
}
