package broker

// PublishAll publishes several messages as one: after a crash all of them are
// there or none, and one receipt, if receipt is not 0, says that all are
// durable. If one is refused for want of permission or its exchange is not
// there, none is published. In a transaction they join it. Receipts of the
// single ones are ignored. Errors as Publish.
func (s *Session) PublishAll(t *Turn, pubs []Publish, receipt uint64) (PublishResult, error) {
	type routed struct {
		msg    *Message
		queues []*Queue
		at     int64
	}
	list := make([]routed, 0, len(pubs))
	var replies, pictures []*Message
	var facts []Definition
	direct := true
	for i := range pubs {
		p := &pubs[i]
		facts = append(facts, p.Facts...)
		if p.Exchange == "" && isReplyName(p.Msg.RoutingKey) {
			replies = append(replies, p.Msg)
			continue
		}
		queues, at, err := s.route(t, p)
		if err != nil {
			return PublishResult{}, err
		}
		if s.rt.pictured && s.tx != nil {
			pictures = append(pictures, p.Msg)
		}
		if n := p.Msg.Notes; n != nil && n.DeliverAt > at {
			at = n.DeliverAt
		}
		if at <= t.Now {
			at = 0
		}
		if len(queues) > 0 {
			direct = direct && !anyStores(queues, p.Msg)
			list = append(list, routed{p.Msg, append([]*Queue(nil), queues...), at})
		}
	}
	if s.tx != nil {
		for i := range pubs {
			if err := s.tx.count(s.broker, pubs[i].Msg); err != nil {
				return PublishResult{}, err
			}
		}
		s.tx.pictures = append(s.tx.pictures, pictures...)
	}
	r := PublishResult{Routed: len(list) > 0}
	for _, m := range replies {
		r.Routed = s.publishReply(t, m).Routed || r.Routed
	}
	switch {
	case len(list) == 0:
		return r, nil
	case s.tx != nil:
		for _, x := range list {
			s.tx.publish(x.msg, x.queues, x.at)
		}
		return r, nil
	case direct && s.inflight.Load() == 0 && len(facts) == 0:
		for _, x := range list {
			for _, q := range x.queues {
				r.Rejected = q.accept(t, x.msg, x.at) || r.Rejected
			}
		}
		return r, nil
	}
	plan := s.broker.engine.newPlan(s)
	for _, x := range list {
		plan.message = nil // the same one twice is two publishes
		for _, q := range x.queues {
			plan.refused = plan.offer(t, x.msg, q, x.at, true) || plan.refused
		}
	}
	plan.batch.Definitions = append(plan.batch.Definitions, facts...)
	if len(plan.puts)+len(facts) == 0 && !plan.duplicate {
		r.Rejected = plan.refused
		plan.recycle()
		return r, nil
	}
	plan.receipt = receipt
	s.inflight.Add(1)
	plan.run(t, true)
	r.Pending = receipt != 0
	return r, nil
}
