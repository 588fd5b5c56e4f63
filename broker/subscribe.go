package broker

import "slices"

// Subscribe starts a consumer; deliveries may begin before it returns. Errors:
// NotFound, Denied, Locked, Precondition, NotAllowed (tag in use),
// NotImplemented.
func (s *Session) Subscribe(t *Turn, o SubscribeOptions) (*Subscription, error) {
	q, err := s.readable(o.Queue)
	if err != nil {
		return nil, err
	}
	if s.tagged(o.Tag) {
		return nil, errf(NotAllowed, "attempt to reuse consumer tag '%s'", o.Tag)
	}
	if q.kind != KindClassic && s.shared.limit.Load() > 0 {
		return nil, errf(NotImplemented, "%s does not support global qos", q.vhost.queueText(q.name))
	}
	return s.subscribe(t, q, o, &s.shared)
}

// subscribe starts a consumer of q that shares c with others.
func (s *Session) subscribe(t *Turn, q *Queue, o SubscribeOptions, c *credit) (*Subscription, error) {
	sub := &Subscription{
		Tag: o.Tag, Queue: q, NoAck: o.NoAck, Data: o.Data,
		session: s, credit: c, exclusive: o.Exclusive, sole: o.Sole, args: o.Args, filter: o.Filter,
		spread: o.Spread, spreadKey: o.SpreadKey, spreadID: o.SpreadID,
	}
	if sub.spreadID == 0 {
		sub.spreadID = hash64(o.Tag)
	}
	sub.prefetch.Store(int64(o.Prefetch))
	var err error
	if sub.priority, err = consumerPriority(q, o.Args); err != nil {
		return nil, err
	}
	if q.stream != nil {
		if o.Filter != nil {
			return nil, errf(NotImplemented, "filters are not supported by stream queues %s", q.vhost.queueText(q.name))
		}
		if sub.cursor, err = q.stream.newCursor(&o); err != nil {
			return nil, err
		}
	}
	if err := q.subscribe(t, sub); err != nil {
		return nil, err
	}
	return sub, nil
}

// readable finds a queue the session may consume from.
func (s *Session) readable(name string) (*Queue, error) {
	q := s.vhost.queue(name)
	if q == nil {
		return nil, s.vhost.noQueue(name)
	}
	if err := s.checkRead(q); err != nil {
		return nil, err
	}
	if err := q.accessible(s.conn); err != nil {
		return nil, err
	}
	return q, nil
}

func (s *Session) tagged(tag string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.ContainsFunc(s.subs, func(sub *Subscription) bool { return sub.Tag == tag })
}

func consumerPriority(q *Queue, args Table) (int, error) {
	v, ok := args.Get("x-priority")
	if !ok {
		return 0, nil
	}
	n, ok := Int(v)
	if !ok {
		return 0, errf(Precondition, "invalid arg 'x-priority' for %s: expected integer", q.vhost.queueText(q.name))
	}
	return int(min(max(n, -1<<31), 1<<31-1)), nil
}

func (q *Queue) subscribe(t *Turn, sub *Subscription) error {
	s := sub.session
	sub.hold = s.hold(q)
	q.mu.Lock()
	if q.closed {
		q.mu.Unlock()
		return q.vhost.noQueue(q.name)
	}
	if q.consumers.exclusive != nil || sub.exclusive && len(q.consumers.list) > 0 {
		q.mu.Unlock()
		return errf(Denied, "%s in exclusive use", q.vhost.queueText(q.name))
	}
	q.lastUsed = t.Now
	sub.hold.subs++
	s.mu.Lock()
	s.subs = append(s.subs, sub)
	s.mu.Unlock()
	q.consumers.quorum = q.kind == KindQuorum
	if !q.consumers.wide {
		q.consumers.single = q.cfg.SingleActive
	}
	q.consumers.add(sub)
	if q.stream != nil {
		q.stream.start(t, sub)
	}
	q.dispatch(t)
	q.trim(t)
	q.leave(t)
	return nil
}

// Unsubscribe ends a consumer. What it holds unsettled stays so. Deliveries
// may still be in the session's mailbox: the listener settles those as Unsent.
func (s *Session) Unsubscribe(t *Turn, sub *Subscription) {
	s.drop(sub)
	if sub.Queue == nil {
		sub.reply.close(&s.broker.engine)
		return
	}
	sub.Queue.unsubscribe(t, sub)
}

// drop takes sub off the session's list.
func (s *Session) drop(sub *Subscription) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if i := slices.Index(s.subs, sub); i >= 0 {
		s.subs = slices.Delete(s.subs, i, i+1)
	}
}

func (q *Queue) unsubscribe(t *Turn, sub *Subscription) {
	q.mu.Lock()
	if sub.closed {
		q.mu.Unlock()
		return
	}
	q.consumers.remove(sub)
	sub.closed = true
	sub.hold.subs--
	q.groups.left(sub)
	q.lastUsed = t.Now
	if len(q.consumers.list) == 0 {
		if q.cfg.AutoDelete {
			q.vanish = true
		} else if q.cfg.Expires >= 0 {
			q.schedule(t.Now + q.cfg.Expires)
		}
	}
	q.dispatch(t)
	q.leave(t)
}

// Get asks for one message; the answer comes through Sink.GetResult with ref,
// maybe before Get returns. Errors as Subscribe.
func (s *Session) Get(t *Turn, queue string, noAck bool, ref uint64) error {
	q, err := s.readable(queue)
	if err != nil {
		return err
	}
	if q.stream != nil {
		return errf(NotImplemented, "basic.get not supported by stream queues %s", q.vhost.queueText(q.name))
	}
	g := getter{session: s, ref: ref, noAck: noAck, hold: s.hold(q)}
	q.mu.Lock()
	if q.cfg.SingleActive && q.kind == KindQuorum {
		q.mu.Unlock()
		return errf(Locked, "cannot obtain access to locked %s. basic.get operations are not supported by quorum "+
			"queues with single active consumer", q.vhost.queueText(q.name))
	}
	q.get(t, g)
	q.leave(t)
	return nil
}
