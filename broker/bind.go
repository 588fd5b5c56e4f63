package broker

// Bind adds a route from an exchange to a queue or exchange. Doing it twice is
// the same as once. For done see DeclareQueue.
func (s *Session) Bind(t *Turn, b Binding, done func(*Turn)) error {
	if err := s.checkBind(&b); err != nil {
		return err
	}
	v := s.vhost
	return v.change(t, done, func(c *change) error { return v.bind(c, b, s.conn) })
}

// Unbind removes a route. It is no error if there is none. For done see
// DeclareQueue.
func (s *Session) Unbind(t *Turn, b Binding, done func(*Turn)) error {
	if err := s.checkBind(&b); err != nil {
		return err
	}
	v := s.vhost
	return v.change(t, done, func(c *change) error { return v.unbind(c, b, s.conn) })
}

// checkBind cleans the names and checks what needs no lock: write on the
// destination, read on the source.
func (s *Session) checkBind(b *Binding) error {
	b.Source, b.Destination = cleanName(b.Source), cleanName(b.Destination)
	if b.Source == "" || b.ToExchange && b.Destination == "" {
		return errDefaultExchange()
	}
	if !b.ToExchange && isReplyName(b.Destination) {
		return errf(Denied, "queue name '%s' contains reserved prefix 'amq.*'", b.Destination)
	}
	if err := s.allow(opWrite, b.Destination, b.ToExchange); err != nil {
		return err
	}
	if err := s.allow(opRead, b.Source, true); err != nil {
		return err
	}
	return s.allowTopic(opRead, s.vhost.exchange(b.Source), b.Key)
}

// ends finds both ends of a binding. v.mu is held.
func (v *VHost) ends(b Binding, c *Connection) (src *Exchange, q *Queue, x *Exchange, err error) {
	if b.ToExchange {
		if x = v.exchange(b.Destination); x == nil {
			return nil, nil, nil, v.noExchange(b.Destination)
		}
	} else {
		if q = v.queue(b.Destination); q == nil {
			return nil, nil, nil, v.noQueue(b.Destination)
		}
		if err := v.checkOwner(q, c); err != nil {
			return nil, nil, nil, err
		}
	}
	if src = v.exchange(b.Source); src == nil {
		return nil, nil, nil, v.noExchange(b.Source)
	}
	return src, q, x, nil
}

// bind is Bind without permissions; conn is nil for the broker itself.
// v.mu is held.
func (v *VHost) bind(c *change, d Binding, conn *Connection) error {
	src, q, x, err := v.ends(d, conn)
	if err != nil {
		return err
	}
	id := bindingIDOf(d)
	if have := src.bindings[id]; have != nil {
		c.found = have.durable
		return nil
	}
	b := &binding{id: id, source: src, args: cloneTable(d.Args), queue: q, exchange: x}
	if err := b.refine(); err != nil {
		return err
	}
	if err := src.router.check(b); err != nil {
		return err
	}
	switch {
	case x != nil:
		b.durable = src.durable && x.durable
	default:
		b.durable = src.durable && v.meta[q].durable
	}
	b.attach(v, c.added)
	v.bump()
	if b.durable {
		c.put(kindBinding, b.key(v), b.definition())
	}
	if h, ok := src.router.(*recentHistory); ok && q != nil {
		h.replay(c, q)
	}
	return nil
}

// unbind is Unbind without permissions. v.mu is held.
func (v *VHost) unbind(c *change, d Binding, conn *Connection) error {
	if q := v.queue(d.Destination); !d.ToExchange && q != nil {
		if err := v.checkOwner(q, conn); err != nil {
			return err
		}
	}
	c.found = true
	src := v.exchange(d.Source)
	if src == nil {
		return nil
	}
	b := src.bindings[bindingIDOf(d)]
	if b == nil {
		return nil
	}
	c.found = b.durable
	v.dropBinding(c, b)
	v.dropUnused(c, []*Exchange{src})
	return nil
}

func (v *VHost) dropBinding(c *change, b *binding) {
	b.detach(v)
	v.bump()
	if b.durable {
		c.remove(kindBinding, b.key(v))
	}
}

func bindingIDOf(b Binding) bindingID {
	return bindingID{toExchange: b.ToExchange, dest: b.Destination, key: b.Key, args: canonicalTable(b.Args)}
}
