package broker

import "slices"

// ScheduleQueue is the queue in which a virtual host keeps messages that are
// routed when they are due: what is published with a delay to anything but the
// default exchange. Nobody gets a message from it, no route leads to it and no
// policy applies to it; who purges it cancels what it holds. It is made when it
// is needed.
const ScheduleQueue = "amq.schedule"

// heldUntil is the time in Unix ms at which p is to be routed by ex; 0: at once.
// What goes to a queue by its name waits in that queue, and so does a message
// with keys that are not kept with it (BCC).
func (s *Session) heldUntil(t *Turn, ex *Exchange, p *Publish) int64 {
	at := int64(0)
	if n := p.Msg.Notes; n != nil {
		at = n.DeliverAt
	}
	if ex.kind == TypeDelayed {
		s.rt.reset(s.vhost, p.Msg, nil)
		at = max(at, s.rt.delayed())
		s.rt.release()
	}
	if at <= t.Now || p.Exchange == "" || len(p.ExtraKeys) > 0 && !keeps(p.Msg, p.ExtraKeys) {
		return 0
	}
	return at
}

func keeps(m *Message, keys []string) bool {
	return m.Notes != nil && slices.Equal(m.Notes.KeepKeys, keys)
}

// schedule finds the queue of v's scheduled messages, or makes it; nil if that
// cannot be done.
func (v *VHost) schedule(t *Turn) *Queue {
	if q := v.queue(ScheduleQueue); q != nil {
		return q
	}
	err := v.change(t, nil, func(c *change) error {
		classic := Table{{"x-queue-type", "classic"}} // whatever the virtual host's default is
		_, err := v.declareQueue(c, QueueDeclare{Name: ScheduleQueue, Durable: true, Args: classic}, nil)
		return err
	})
	if err != nil {
		v.broker.log.Warn("the queue of scheduled messages cannot be made", "vhost", v.name, "error", err)
	}
	return v.queue(ScheduleQueue)
}

// routeDue routes what q, a schedule, has held back and settles it in one
// batch, so that a crash neither loses nor doubles it. It is called without any
// lock.
func (q *Queue) routeDue(t *Turn, due []delayed) {
	rt := q.eng.routes.Get().(*routing)
	for len(due) > 0 {
		n := min(len(due), planLimit)
		p := q.eng.newPlan(nil)
		left := make([]uint64, 0, n)
		for i := range due[:n] {
			d := &due[i]
			if d.stored() {
				p.batch.Settles = append(p.batch.Settles, StoreSettle{q.delay.id, d.seq, 1})
				left = append(left, d.seq)
			}
			for _, x := range d.msg.occurrences(t.Now) {
				if x.at != 0 {
					p.add(x.msg, q, put{stored: d.stored(), at: x.at})
				} else {
					q.vhost.offerDue(t, p, rt, x.msg)
				}
			}
		}
		p.done = func(t *Turn, _ error) {
			q.mu.Lock()
			for _, seq := range left {
				q.delay.left(seq)
			}
			q.leave(t)
		}
		p.run(t, false)
		due = due[n:]
	}
	q.eng.routes.Put(rt)
}

// offerDue plans m for the queues that it reaches now. Without its exchange, or
// when nothing matches, it is dropped.
func (v *VHost) offerDue(t *Turn, p *plan, rt *routing, m *Message) {
	ex := v.exchange(m.Exchange)
	if ex == nil {
		return
	}
	var keys []string
	if m.Notes != nil {
		keys = m.Notes.KeepKeys
		if m.Notes.DeliverAt != 0 {
			c, n := *m, *m.Notes
			n.DeliverAt = 0
			c.Notes = &n
			m = &c
		}
	}
	v.route(rt, ex, m, keys)
	for _, q := range rt.queues {
		p.offer(t, m, q, 0, true)
	}
}
