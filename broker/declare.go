package broker

import (
	"slices"
	"strings"
)

// serverNamePrefix starts the names that the broker gives to queues.
const serverNamePrefix = "amq.gen-"

// DeclareQueue makes a queue, or checks that the one there is is equivalent;
// with Passive, that there is one. An empty name lets the broker choose.
//
// The effect is immediate. done (which may be nil) runs exactly once unless an
// error is returned: before the method returns if nothing has to be stored,
// else at commit on a goroutine of the store. That holds for all methods that
// take a done.
func (s *Session) DeclareQueue(t *Turn, d QueueDeclare, done func(*Turn)) (QueueInfo, error) {
	d.Name = cleanName(d.Name)
	if d.Passive {
		return s.passiveQueue(t, d.Name, done)
	}
	if err := s.checkDeclare(&d); err != nil {
		return QueueInfo{}, err
	}
	v := s.vhost
	var info QueueInfo
	err := v.change(t, done, func(c *change) (err error) {
		info, err = v.declareQueue(c, d, s.conn)
		return err
	})
	return info, err
}

func (s *Session) passiveQueue(t *Turn, name string, done func(*Turn)) (QueueInfo, error) {
	if exists, isReply := s.broker.replyQueue(name); isReply {
		if !exists {
			return QueueInfo{}, s.vhost.noQueue(name)
		}
		if done != nil {
			done(t)
		}
		return QueueInfo{Name: name, Consumers: 1}, nil
	}
	if err := s.allowAny(name, false); err != nil {
		return QueueInfo{}, err
	}
	v := s.vhost
	var info QueueInfo
	err := v.change(t, done, func(c *change) error {
		c.found = true
		q := v.queue(name)
		if q == nil {
			return v.noQueue(name)
		}
		if err := v.checkOwner(q, s.conn); err != nil {
			return err
		}
		info.Name = name
		info.Ready, info.Consumers = q.counts()
		c.later(q.touch) // asking for a queue is using it
		return nil
	})
	return info, err
}

// checkDeclare completes the declaration and checks what needs no lock.
func (s *Session) checkDeclare(d *QueueDeclare) error {
	if len(d.Name) > maxName {
		return errf(Precondition, "queue name is longer than %d bytes", maxName)
	}
	generated := d.Name == ""
	if generated {
		if kind, _ := queueTypeOf(d.Args); kind == KindQuorum || kind == KindStream {
			return errf(Precondition, "Cannot declare a server-named queue for type %s", moduleName(kind))
		}
		prefix, err := namePrefix(&d.Args, s.vhost)
		if err != nil {
			return err
		}
		d.Name = prefix + randomName()
	} else if strings.HasPrefix(d.Name, "amq.") && s.vhost.queue(d.Name) == nil && !isReplyName(d.Name) {
		return errf(Denied, "queue name '%s' contains reserved prefix 'amq.*'", d.Name)
	}
	if err := s.allow(opConfigure, d.Name, false); err != nil {
		return err
	}
	if err := s.allowVirtualTopic(d.Name); err != nil {
		return err
	}
	return s.allowDeadLetter(d)
}

// namePrefix takes the argument x-name-prefix out of args.
func namePrefix(args *Table, v *VHost) (string, error) {
	value, ok := args.Get("x-name-prefix")
	if !ok {
		return serverNamePrefix, nil
	}
	prefix, isText := value.(string)
	if !isText || len(prefix) > 64 {
		return "", errf(Precondition, "invalid arg 'x-name-prefix' for %s", v.queueText(""))
	}
	var rest Table
	for _, f := range *args {
		if f.Name != "x-name-prefix" {
			rest = append(rest, f)
		}
	}
	*args = rest
	return prefix, nil
}

// allowDeadLetter: naming a dead letter exchange needs read on the queue and
// write on the exchange.
func (s *Session) allowDeadLetter(d *QueueDeclare) error {
	value, ok := d.Args.Get("x-dead-letter-exchange")
	if !ok {
		return nil
	}
	name, ok := value.(string)
	if !ok {
		// RabbitMQ trips over it here, before it validates arguments.
		return errf(Precondition, "invalid type '%s' for arg 'x-dead-letter-exchange' in %s", typeName(value), s.vhost.queueText(d.Name))
	}
	if err := s.allow(opRead, d.Name, false); err != nil {
		return err
	}
	return s.allow(opWrite, name, true)
}

// declareQueue is DeclareQueue without permissions; conn is nil for the broker
// itself. v.mu is held.
func (v *VHost) declareQueue(c *change, d QueueDeclare, conn *Connection) (QueueInfo, error) {
	if exists, isReply := v.broker.replyQueue(d.Name); isReply {
		if !exists {
			return QueueInfo{}, v.noQueue(d.Name)
		}
		return QueueInfo{Name: d.Name, Consumers: 1}, nil
	}
	if q := v.queue(d.Name); q != nil {
		return v.redeclareQueue(c, q, d, conn)
	}
	d.Args = cloneTable(d.Args)
	v.injectQueueType(&d)
	cfg, err := configOf(v.queueText(d.Name), d)
	if err != nil {
		return QueueInfo{}, err
	}
	if err := v.roomForQueue(); err != nil {
		return QueueInfo{}, err
	}
	lane := v.broker.newLane(laneSpan(cfg))
	m, err := v.addQueue(c.turn, d, cfg, lane, conn)
	if err != nil {
		return QueueInfo{}, err
	}
	feed := v.virtualBinding(m)
	if m.durable {
		c.put(kindQueue, vhostKey(v.name, d.Name), m.definition())
		if feed != nil && feed.durable {
			c.put(kindBinding, feed.key(v), feed.definition())
		}
		c.show(func() { v.showQueue(m.queue, feed) })
	} else {
		v.showQueue(m.queue, feed)
	}
	return QueueInfo{Name: d.Name}, nil
}

// redeclareQueue checks ownership before equivalence, as RabbitMQ does.
func (v *VHost) redeclareQueue(c *change, q *Queue, d QueueDeclare, conn *Connection) (QueueInfo, error) {
	if err := v.checkOwner(q, conn); err != nil {
		return QueueInfo{}, err
	}
	m := v.meta[q]
	if m.declared.Exclusive != d.Exclusive {
		return QueueInfo{}, v.locked(d.Name)
	}
	d.Args = slices.Clip(d.Args)
	v.injectQueueType(&d)
	if err := m.equivalent(v.queueText(d.Name), d); err != nil {
		return QueueInfo{}, err
	}
	c.found = m.durable
	c.later(q.touch)
	info := QueueInfo{Name: d.Name}
	info.Ready, info.Consumers = q.counts()
	return info, nil
}

// showQueue lets everybody find a queue that addQueue made; feed is a binding
// it is born with, or nil. v.mu is held.
func (v *VHost) showQueue(q *Queue, feed *binding) {
	v.queues.put(q.Name(), q)
	if feed != nil {
		feed.attach(v, nil)
	}
	v.bump()
	v.watches.appeared(q)
}

// addQueue makes the queue and everything the topology knows of it. v.mu is
// held, or recovery is alone.
func (v *VHost) addQueue(t *Turn, d QueueDeclare, cfg QueueConfig, lane LaneID, conn *Connection) (*queueMeta, error) {
	m := &queueMeta{
		args: d.Args, declared: cfg, durable: d.lasting(), lane: lane,
		bindings: make(map[*binding]struct{}),
	}
	if d.Exclusive {
		m.owner = conn
	}
	m.policy = v.policies.find(applyOf(cfg.Kind), d.Name)
	m.operator = v.operatorPolicies.find(applyOf(cfg.Kind), d.Name)
	m.queue = newQueue(v, d.Name, m.effective(), lane, d.Args, m.owner)
	if m.owner != nil && !m.owner.own(m.queue) {
		v.broker.timers.remove(m.queue)
		return nil, errf(NotAllowed, "connection is closed")
	}
	v.meta[m.queue] = m
	return m, nil
}

// checkOwner refuses an exclusive queue to all but its connection; nil is the
// broker itself.
func (v *VHost) checkOwner(q *Queue, c *Connection) error {
	if owner := q.owner; owner != nil && c != nil && owner != c {
		return v.locked(q.Name())
	}
	return nil
}

// DeleteQueue removes a queue, its bindings and messages and returns how many
// were ready. It is no error if there is none. For done see DeclareQueue.
func (s *Session) DeleteQueue(t *Turn, name string, ifUnused, ifEmpty bool, done func(*Turn)) (int, error) {
	name = cleanName(name)
	if err := s.allow(opConfigure, name, false); err != nil {
		return 0, err
	}
	v := s.vhost
	ready := 0
	err := v.change(t, done, func(c *change) error {
		q := v.queue(name)
		if q == nil {
			c.found = true
			return nil
		}
		if err := v.checkOwner(q, s.conn); err != nil {
			return err
		}
		if err := v.deletable(q, ifUnused, ifEmpty); err != nil {
			return err
		}
		v.dropQueue(c, q)
		c.later(func(t *Turn) { ready = q.close(t) })
		return nil
	})
	return ready, err
}

func (v *VHost) deletable(q *Queue, ifUnused, ifEmpty bool) error {
	ready, consumers := q.counts()
	switch {
	case ifUnused && consumers > 0:
		return errf(Precondition, "%s in use", v.queueText(q.Name()))
	case ifEmpty && ready > 0:
		return errf(Precondition, "%s not empty", v.queueText(q.Name()))
	}
	return nil
}

// dropQueue takes q out of the topology; the caller closes it when no lock is
// held. v.mu is held. It reports whether q was there.
func (v *VHost) dropQueue(c *change, q *Queue) bool {
	m := v.meta[q]
	if m == nil {
		return false
	}
	if v.queues.get(q.Name()) == q {
		v.queues.remove(q.Name())
	}
	if m.durable {
		c.remove(kindQueue, vhostKey(v.name, q.Name()))
	}
	sources := make([]*Exchange, 0, len(m.bindings))
	for b := range m.bindings {
		v.dropBinding(c, b)
		if b.source.autoDelete {
			sources = append(sources, b.source)
		}
	}
	delete(v.meta, q)
	v.bump()
	v.dropUnused(c, sources)
	if m.owner != nil {
		m.owner.disown(q)
	}
	return true
}

// removeQueue ends a queue by the broker's own decision: auto-delete, expiry,
// the end of its connection. It is called without q's lock and may be called
// twice.
func (v *VHost) removeQueue(t *Turn, q *Queue, done func(*Turn)) {
	v.change(t, done, func(c *change) error {
		if v.dropQueue(c, q) {
			c.later(func(t *Turn) { q.close(t) })
		}
		return nil
	})
}

// PurgeQueue removes the ready messages of a queue and returns their number.
// For done see DeclareQueue.
func (s *Session) PurgeQueue(t *Turn, name string, done func(*Turn)) (int, error) {
	name = cleanName(name)
	if err := s.allow(opRead, name, false); err != nil {
		return 0, err
	}
	v := s.vhost
	q := v.queue(name)
	if q == nil {
		return 0, v.noQueue(name)
	}
	if err := v.checkOwner(q, s.conn); err != nil {
		return 0, err
	}
	if q.Kind() == KindStream {
		return 0, errf(NotImplemented, "queue.purge not supported by stream queues %s", v.queueText(name))
	}
	n := q.purge(t)
	v.broker.afterCommits(t, done)
	return n, nil
}

// afterCommits runs done when everything given to the store so far is
// durable.
func (b *Broker) afterCommits(t *Turn, done func(*Turn)) {
	if done == nil {
		return
	}
	b.unstored.Add(1)
	b.store.Append(&Batch{Then: &stored{broker: b, done: done}})
}
