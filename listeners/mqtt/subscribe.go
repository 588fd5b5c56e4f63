package mqtt

import (
	"strings"

	"github.com/hermodmq/hermod/broker"
	"github.com/hermodmq/hermod/listeners/mqtt/wire"
	"github.com/hermodmq/hermod/listeners/transport"
)

// pendingSuback is a SUBACK that waits until its subscriptions are durable, and
// the retained messages that follow it.
type pendingSuback struct {
	ack   wire.Suback
	fresh []retainedFor
}

// retainedFor is a subscription that gets retained messages.
type retainedFor struct {
	sub     *subscription
	options wire.Options
}

// onSubscribe carries out a SUBSCRIBE (section 3.8).
func (c *conn) onSubscribe(body []byte) error {
	p, err := wire.DecodeSubscribe(body, c.version)
	if err != nil {
		return err
	}
	id := p.Props.Number(wire.SubscriptionID, 0)
	for _, f := range p.Filters {
		if _, _, shared, _ := wire.Share(f.Name); shared && f.Options&wire.NoLocal != 0 {
			return refuse(wire.ProtocolError, "no local on a shared subscription") // [MQTT-3.8.3-4]
		}
	}
	done := &pendingSuback{ack: wire.Suback{Type: wire.SUBACK, PacketID: p.PacketID}}
	for _, f := range p.Filters {
		code, err := c.subscribe(f, id, done)
		if err != nil {
			code = c.refused(done, f.Name, err)
		}
		done.ack.Codes = append(done.ack.Codes, code)
	}
	if !c.session.durable && !c.shares(done) {
		c.subscribed(done)
		return nil
	}
	link := c.link
	c.broker.StoreFacts(c.session.facts(), func(*broker.Turn) {
		link.Post(transport.Event{Kind: eventSuback, P: done})
	})
	return nil
}

// refused is the code of a filter that failed; the first failure of a packet is
// its reason string.
func (c *conn) refused(p *pendingSuback, filter string, err error) wire.Reason {
	c.opt.Logger.Info("mqtt filter refused", "client", c.clientID, "filter", filter, "error", err)
	if len(p.ack.Props) == 0 {
		p.ack.Props = c.explain(err)
	}
	if c.version != wire.V5 {
		return wire.V3SubscribeFailure
	}
	return reasonOf(err)
}

// facts is what the store has to know of the session's subscriptions.
func (s *session) facts() []broker.Definition {
	if !s.durable {
		return nil
	}
	return []broker.Definition{s.fact()}
}

// shares reports whether a new subscription is a shared one, whose queue is
// durable whatever the session is.
func (c *conn) shares(p *pendingSuback) bool {
	for _, sub := range c.session.list {
		if sub.group != nil {
			return true
		}
	}
	return false
}

// subscribe makes or replaces one subscription and returns the QoS granted.
func (c *conn) subscribe(f wire.Filter, id uint32, done *pendingSuback) (wire.Reason, error) {
	s := c.session
	share, match, shared, ok := wire.Share(f.Name)
	if err := c.permits(f.Name, match, id, shared, ok); err != nil {
		return 0, err
	}
	if most := c.opt.maxQoS(); f.Options.QoS() > most {
		f.Options = f.Options&^3 | wire.Options(most)
	}
	old := s.subs[f.Name]
	sub := &subscription{filter: f.Name, match: match, options: f.Options, id: id}
	var err error
	switch {
	case shared && old != nil:
		old.options, old.id = f.Options, id
		sub = old
	case shared:
		err = c.joinGroup(sub, groupKey{s.key.vhost, share, match})
	case c.opt.isSys(match):
		sub.sys = true
		err = c.subscribeSys(sub, old)
	default:
		err = c.bind(sub, old)
	}
	if err != nil {
		return 0, err
	}
	if !shared {
		if h := f.Options.RetainHandling(); h == 0 || h == 1 && old == nil {
			done.fresh = append(done.fresh, retainedFor{sub, f.Options})
		}
	}
	if sub.sys {
		return wire.Success, nil
	}
	return wire.Reason(f.Options.QoS()), nil
}

// permits checks a subscription against what the server offers and its limits.
func (c *conn) permits(name, match string, id uint32, shared, ok bool) error {
	switch {
	case shared && !ok || !wire.ValidFilter(match):
		return refuse(wire.TopicFilterInvalid, "topic filter is not valid")
	case shared && c.opt.NoShared:
		return refuse(wire.SharedNotSupported, "shared subscriptions are not supported")
	case id != 0 && c.opt.NoSubscriptionIDs:
		return refuse(wire.SubIDsNotSupported, "subscription identifiers are not supported")
	case c.opt.NoWildcards && strings.ContainsAny(match, "+#"):
		return refuse(wire.WildcardsNotSupported, "wildcards are not supported")
	case strings.Count(match, "/") >= c.opt.MaxTopicLevels:
		return refuse(wire.ImplementationSpecificError, "topic filter has too many levels")
	case len(match) > maxFilter:
		return refuse(wire.ImplementationSpecificError, "topic filter is too long")
	case c.session.subs[name] == nil && len(c.session.list) >= c.opt.MaxSubscriptions:
		return refuse(wire.QuotaExceeded, "session has too many subscriptions")
	}
	return nil
}

// maxFilter is the longest binding key the core stores.
const maxFilter = 60_000

func (c *conn) joinGroup(sub *subscription, k groupKey) error {
	s := c.session
	g, err := c.srv.join(&c.turn, k, c.publisher())
	if err != nil {
		return err
	}
	sub.join(g)
	if err := s.start(&c.turn, &sub.feed); err != nil {
		c.srv.part(&c.turn, g, s.consume())
		return err
	}
	s.add(sub)
	return nil
}

// bind routes a filter to the session's queue. The new route is there before
// that of a subscription it replaces goes: there is no gap [MQTT-3.8.4-3].
func (c *conn) bind(sub, old *subscription) error {
	s := c.session
	f := s.feedOf(sub)
	if err := s.declare(&c.turn, f, c.publisher()); err != nil {
		return err
	}
	if err := c.publisher().Bind(&c.turn, f.binding(sub), nil); err != nil {
		return err
	}
	if old != nil {
		if from := s.feedOf(old); from != f {
			if err := s.consume().Unbind(&c.turn, from.binding(old), nil); err != nil {
				return err
			}
		}
		old.options, old.id = sub.options, sub.id
		s.forgetMatches()
	} else {
		s.add(sub)
	}
	return s.start(&c.turn, f)
}

// subscribed answers a SUBSCRIBE or UNSUBSCRIBE and sends retained messages.
func (c *conn) subscribed(p *pendingSuback) {
	if c.maxPacket > 0 && len(p.ack.Props) > 0 && len(p.ack.Append(nil, c.version)) > c.maxPacket {
		p.ack.Props = nil // [MQTT-3.9.2-1]
	}
	c.out = p.ack.Append(c.buffer(), c.version)
	for _, f := range p.fresh {
		if f.sub.sys {
			c.sendRetainedSys(f.sub)
			continue
		}
		c.session.queueRetained(f)
	}
	c.pump()
}

// onUnsubscribe carries out an UNSUBSCRIBE (section 3.10).
func (c *conn) onUnsubscribe(body []byte) error {
	p, err := wire.DecodeUnsubscribe(body, c.version)
	if err != nil {
		return err
	}
	done := &pendingSuback{ack: wire.Suback{Type: wire.UNSUBACK, PacketID: p.PacketID}}
	for _, f := range p.Filters {
		code, err := c.unsubscribe(f)
		if err != nil {
			code = c.refused(done, f, err)
		}
		done.ack.Codes = append(done.ack.Codes, code)
	}
	if !c.session.durable {
		c.subscribed(done)
		return nil
	}
	link := c.link
	c.broker.StoreFacts(c.session.facts(), func(*broker.Turn) {
		link.Post(transport.Event{Kind: eventSuback, P: done})
	})
	return nil
}

func (c *conn) unsubscribe(filter string) (wire.Reason, error) {
	s := c.session
	sub := s.subs[filter]
	if sub == nil {
		return wire.NoSubscriptionExisted, nil
	}
	s.remove(sub)
	if sub.sys {
		return wire.Success, nil
	}
	if sub.group != nil {
		c.repay()
		c.returnPending(&sub.feed)
		s.stop(&c.turn, &sub.feed)
		c.srv.part(&c.turn, sub.group, s.consume())
		return wire.Success, nil
	}
	return wire.Success, s.consume().Unbind(&c.turn, s.feedOf(sub).binding(sub), nil)
}

// returnPending gives back what a feed delivered and was not sent.
func (c *conn) returnPending(f *feed) {
	kept := c.pending[:0]
	for _, d := range c.pending {
		if d.Sub.Data != f {
			kept = append(kept, d)
		} else if d.Lease != 0 {
			c.session.core.Settle(&c.turn, d.Queue, []broker.Lease{d.Lease}, broker.Unsent)
		}
	}
	clear(c.pending[len(kept):])
	c.pending = kept
}
