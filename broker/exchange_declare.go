package broker

import "strings"

// cleanName drops the characters that RabbitMQ drops from names.
func cleanName(s string) string {
	if !strings.ContainsAny(s, "\r\n") {
		return s
	}
	return strings.NewReplacer("\r", "", "\n", "").Replace(s)
}

// maxName bounds the names of exchanges and queues, in bytes.
const maxName = 255

func reserved(name string) bool { return strings.HasPrefix(name, "amq.") }

func errDefaultExchange() *Error {
	return errf(Denied, "operation not permitted on the default exchange")
}

// DeclareExchange makes an exchange, or checks that the one there is is
// equivalent; with Passive, that there is one. For done see DeclareQueue.
func (s *Session) DeclareExchange(t *Turn, d ExchangeDeclare, done func(*Turn)) error {
	d.Name = cleanName(d.Name)
	v := s.vhost
	if d.Passive {
		return s.passiveExchange(t, d.Name, done)
	}
	if d.Name == "" {
		return errDefaultExchange()
	}
	if len(d.Name) > maxName {
		return errf(Precondition, "exchange name is longer than %d bytes", maxName)
	}
	if err := s.allow(opConfigure, d.Name, true); err != nil {
		return err
	}
	if err := s.allowAlternate(d); err != nil {
		return err
	}
	return v.change(t, done, func(c *change) error { return v.declareExchange(c, d, true) })
}

func (s *Session) passiveExchange(t *Turn, name string, done func(*Turn)) error {
	v := s.vhost
	if name == "" {
		return errDefaultExchange()
	}
	if err := s.allowAny(name, true); err != nil {
		return err
	}
	return v.change(t, done, func(c *change) error {
		c.found = true
		if v.exchange(name) == nil {
			return v.noExchange(name)
		}
		return nil
	})
}

// allowAlternate: naming an alternate exchange needs read on the exchange and
// write on the alternate.
func (s *Session) allowAlternate(d ExchangeDeclare) error {
	value, ok := d.Args.Get("alternate-exchange")
	if !ok {
		return nil
	}
	name, ok := value.(string)
	if !ok {
		return errf(Precondition, "invalid type '%s' for arg 'alternate-exchange' in %s",
			typeName(value), s.vhost.exchangeText(d.Name))
	}
	if err := s.allow(opRead, d.Name, true); err != nil {
		return err
	}
	return s.allow(opWrite, name, true)
}

// declareExchange is DeclareExchange without permissions. v.mu is held.
func (v *VHost) declareExchange(c *change, d ExchangeDeclare, byClient bool) error {
	if x := v.exchanges.get(d.Name); x != nil {
		c.found = x.durable
		return x.equivalent(d)
	}
	if byClient && reserved(d.Name) {
		return errf(Denied, "exchange name '%s' contains reserved prefix 'amq.*'", d.Name)
	}
	if _, err := newRouter(d.Type, d.Args); err != nil {
		return err
	}
	if v.gone {
		return errf(NotAllowed, "vhost %s not found", v.name)
	}
	d.Args = cloneTable(d.Args)
	x := newExchange(v, d)
	x.policy = v.policies.find(applyExchanges, x.name)
	x.configure()
	v.exchanges.put(x.name, x)
	v.bump()
	if x.durable {
		c.put(kindExchange, vhostKey(v.name, x.name), x.definition())
	}
	return nil
}

// equivalent checks a declaration against the exchange there is. Of the
// arguments only alternate-exchange counts.
func (x *Exchange) equivalent(d ExchangeDeclare) error {
	what := x.text()
	switch {
	case x.kind != d.Type:
		if _, err := newRouter(d.Type, d.Args); err != nil && !knownType(d.Type) {
			return err
		}
		return inequivalentText("type", what, d.Type, x.kind)
	case x.durable != d.Durable:
		return inequivalentBool("durable", what, d.Durable, x.durable)
	case x.autoDelete != d.AutoDelete:
		return inequivalentBool("auto_delete", what, d.AutoDelete, x.autoDelete)
	case x.internal != d.Internal:
		return inequivalentBool("internal", what, d.Internal, x.internal)
	}
	return equivalentArg("alternate-exchange", what, d.Args, x.args)
}

func knownType(kind string) bool {
	for _, k := range ExchangeTypes() {
		if k == kind {
			return true
		}
	}
	return false
}

// DeleteExchange removes an exchange and its bindings. It is no error if there
// is none. For done see DeclareQueue.
func (s *Session) DeleteExchange(t *Turn, name string, ifUnused bool, done func(*Turn)) error {
	name = cleanName(name)
	if name == "" {
		return errDefaultExchange()
	}
	v := s.vhost
	if reserved(name) && v.exchange(name) != nil {
		return errf(Denied, "deletion of system %s not allowed", v.exchangeText(name))
	}
	if err := s.allow(opConfigure, name, true); err != nil {
		return err
	}
	return v.change(t, done, func(c *change) error {
		x := v.exchanges.get(name)
		if x == nil {
			c.found = true
			return nil
		}
		if ifUnused && len(x.bindings) > 0 {
			return errf(Precondition, "%s in use", x.text())
		}
		v.dropExchange(c, x)
		return nil
	})
}

// dropExchange removes x, its bindings, and auto-delete exchanges that lose
// their last binding by it. v.mu is held.
func (v *VHost) dropExchange(c *change, x *Exchange) {
	if x.gone {
		return
	}
	x.gone = true
	v.exchanges.remove(x.name)
	v.bump()
	if x.durable {
		c.remove(kindExchange, vhostKey(v.name, x.name))
	}
	for _, b := range x.bindings {
		v.dropBinding(c, b)
	}
	var sources []*Exchange
	for b := range x.incoming {
		v.dropBinding(c, b)
		sources = append(sources, b.source)
	}
	v.dropUnused(c, sources)
}

// dropUnused deletes the auto-delete exchanges among those that just lost a
// binding they were the source of. v.mu is held.
func (v *VHost) dropUnused(c *change, sources []*Exchange) {
	for _, x := range sources {
		if x.autoDelete && !x.gone && len(x.bindings) == 0 {
			v.dropExchange(c, x)
		}
	}
}
