package broker

import (
	"bytes"
	"encoding/json"
	"github.com/hermodmq/hermod/broker/topic"
	"slices"
)

// VHostOptions describe a virtual host.
type VHostOptions struct {
	Name             string   `json:"name"`
	Description      string   `json:"description"`
	Tags             []string `json:"tags"`
	DefaultQueueType string   `json:"default_queue_type,omitempty"`
}

// AddVHost makes a virtual host, or changes the description of the one there
// is.
func (b *Broker) AddVHost(t *Turn, o VHostOptions, done func(*Turn)) error {
	if o.Name == "" || len(o.Name) > maxName {
		return errf(Invalid, "vhost name must have between 1 and %d bytes", maxName)
	}
	if o.DefaultQueueType == "undefined" {
		o.DefaultQueueType = ""
	}
	if o.DefaultQueueType != "" {
		if _, ok := parseQueueType(o.DefaultQueueType); !ok {
			return errf(Invalid, "unsupported queue type '%s'", o.DefaultQueueType)
		}
	}
	return b.administer(t, done, func(c *change) error {
		v := b.vhosts.get(o.Name)
		isNew := v == nil
		if isNew {
			v = newVHost(b, o.Name)
		}
		v.mu.Lock()
		v.description, v.tags = o.Description, slices.Clone(o.Tags)
		v.defaultQueueType = o.DefaultQueueType
		v.mu.Unlock()
		if isNew {
			c.show(func() { b.vhosts.put(o.Name, v) })
		}
		c.put(kindVHost, vhostKey(o.Name), mustJSON(vhostValue{o.Description, o.Tags, o.DefaultQueueType}))
		return nil
	})
}

// DeleteVHost removes a virtual host with everything in it and closes its
// connections.
func (b *Broker) DeleteVHost(t *Turn, name string, done func(*Turn)) error {
	return b.administer(t, done, func(c *change) error {
		v := b.vhosts.get(name)
		if v == nil {
			return noVHost(name)
		}
		b.vhosts.remove(name)
		c.remove(kindVHost, vhostKey(name))
		b.dropRightsIn(c, name)
		v.drop(c)
		for key := range b.parameters {
			if key.vhost == name {
				delete(b.parameters, key)
				c.remove(kindParameter, vhostKey(key.component, key.vhost, key.name))
			}
		}
		c.later(func(*Turn) {
			b.closeWhere("vhost '"+name+"' is deleted", func(conn *Connection) bool { return conn.vhost == v })
		})
		return nil
	})
}

func (b *Broker) dropRightsIn(c *change, vhost string) {
	a := &b.auth
	a.mu.Lock()
	defer a.mu.Unlock()
	for key := range a.permissions {
		if key.vhost == vhost {
			a.dropRights(c, key)
		}
	}
	for key := range a.topics {
		if key.vhost == vhost {
			a.dropRights(c, key)
		}
	}
	a.version.Add(1)
}

// drop empties a virtual host that is not registered any more.
func (v *VHost) drop(c *change) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.gone = true
	queues := make([]*Queue, 0, len(v.meta))
	for q := range v.meta {
		queues = append(queues, q)
	}
	for _, q := range queues {
		v.dropQueue(c, q)
		c.later(func(t *Turn) { q.close(t) })
	}
	for _, x := range v.exchanges.all() {
		v.dropExchange(c, x)
	}
	for _, operator := range []bool{false, true} {
		set := v.policySet(operator)
		for _, p := range set.list {
			c.remove(policyKind(operator), vhostKey(v.name, p.Name))
		}
		set.list = nil
	}
	for limit := range v.limits.values {
		c.remove(kindLimit, vhostKey(v.name, limit))
	}
	v.retained.drop(c, v.name)
}

// drop forgets all retained messages of a virtual host.
func (r *retained) drop(c *change, vhost string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.topics.Step(&topic.Search{}, r.topics.Len()+1, func(name string, m *Message) {
		if m.Persistent {
			c.remove(retainedKind, vhost+"\x00"+name)
		}
	})
	r.topics, r.bytes, r.expiring, r.swept = topic.Names[*Message]{}, 0, 0, topic.Search{}
}

func policyKind(operator bool) string {
	if operator {
		return kindOperatorPolicy
	}
	return kindPolicy
}

func (v *VHost) policySet(operator bool) *policySet {
	if operator {
		return &v.operatorPolicies
	}
	return &v.policies
}

// SetPolicy makes or replaces a policy and applies it to everything it covers.
func (b *Broker) SetPolicy(t *Turn, p Policy, done func(*Turn)) error {
	return b.setPolicy(t, p, false, done)
}

// SetOperatorPolicy does the same for an operator policy, which users cannot
// override.
func (b *Broker) SetOperatorPolicy(t *Turn, p Policy, done func(*Turn)) error {
	return b.setPolicy(t, p, true, done)
}

func (b *Broker) setPolicy(t *Turn, p Policy, operator bool, done func(*Turn)) error {
	if err := p.compile(operator); err != nil {
		return err
	}
	v := b.vhosts.get(p.VHost)
	if v == nil {
		return noVHost(p.VHost)
	}
	value := mustJSON(p)
	return v.changePolicies(t, done, func(c *change) error {
		v.policySet(operator).put(&p)
		c.put(policyKind(operator), vhostKey(v.name, p.Name), value)
		return nil
	})
}

// ClearPolicy removes a policy.
func (b *Broker) ClearPolicy(t *Turn, vhost, name string, done func(*Turn)) error {
	return b.clearPolicy(t, vhost, name, false, done)
}

// ClearOperatorPolicy removes an operator policy.
func (b *Broker) ClearOperatorPolicy(t *Turn, vhost, name string, done func(*Turn)) error {
	return b.clearPolicy(t, vhost, name, true, done)
}

func (b *Broker) clearPolicy(t *Turn, vhost, name string, operator bool, done func(*Turn)) error {
	v := b.vhosts.get(vhost)
	if v == nil {
		return noVHost(vhost)
	}
	return v.changePolicies(t, done, func(c *change) error {
		if !v.policySet(operator).remove(name) {
			return errf(NotFound, "no policy '%s' in vhost '%s'", name, vhost)
		}
		c.remove(policyKind(operator), vhostKey(v.name, name))
		return nil
	})
}

// changePolicies keeps changes apart until their effects are in force: two
// that overlap must not configure a queue in the wrong order.
func (v *VHost) changePolicies(t *Turn, done func(*Turn), f func(c *change) error) error {
	v.policing.Lock()
	defer v.policing.Unlock()
	return v.change(t, done, func(c *change) error {
		if err := f(c); err != nil {
			return err
		}
		v.applyPolicies(c)
		return nil
	})
}

// SetVHostLimit bounds a virtual host's connections or queues; a negative n
// lifts the bound.
func (b *Broker) SetVHostLimit(t *Turn, vhost, limit string, n int64, done func(*Turn)) error {
	if limit != LimitConnections && limit != LimitQueues {
		return errf(Invalid, "unknown vhost limit '%s'", limit)
	}
	v := b.vhosts.get(vhost)
	if v == nil {
		return noVHost(vhost)
	}
	return v.change(t, done, func(c *change) error {
		if n < 0 {
			delete(v.limits.values, limit)
			c.remove(kindLimit, vhostKey(vhost, limit))
			return nil
		}
		v.limits.set(limit, n)
		c.put(kindLimit, vhostKey(vhost, limit), mustJSON(n))
		return nil
	})
}

// SetParameter keeps a runtime parameter, a JSON value that the core does not
// look into; vhost "" makes it a global one.
func (b *Broker) SetParameter(t *Turn, component, vhost, name string, value []byte, done func(*Turn)) error {
	if !json.Valid(value) {
		return errf(Invalid, "parameter '%s' is not valid JSON", name)
	}
	value = bytes.Clone(value)
	return b.administer(t, done, func(c *change) error {
		if vhost != "" && b.vhosts.get(vhost) == nil {
			return noVHost(vhost)
		}
		b.parameters[parameterKey{component, vhost, name}] = value
		c.put(kindParameter, vhostKey(component, vhost, name), value)
		return nil
	})
}

// ClearParameter forgets a runtime parameter.
func (b *Broker) ClearParameter(t *Turn, component, vhost, name string, done func(*Turn)) error {
	return b.administer(t, done, func(c *change) error {
		key := parameterKey{component, vhost, name}
		if _, ok := b.parameters[key]; !ok {
			return errf(NotFound, "no parameter '%s' of component '%s'", name, component)
		}
		delete(b.parameters, key)
		c.remove(kindParameter, vhostKey(component, vhost, name))
		return nil
	})
}

// injectQueueType makes the virtual host's default type visible in the
// arguments of a queue declared without one. v.mu is held.
func (v *VHost) injectQueueType(d *QueueDeclare) {
	if _, ok := d.Args.Get("x-queue-type"); ok {
		return
	}
	kind := v.fallbackQueueType()
	if kind == KindClassic || d.Exclusive || d.AutoDelete || !d.Durable {
		return
	}
	d.Args = append(d.Args, Field{Name: "x-queue-type", Value: kind.String()})
}

// fallbackQueueType is the type of durable queues declared without one.
func (v *VHost) fallbackQueueType() QueueKind {
	if kind, ok := parseQueueType(v.defaultQueueType); ok {
		return kind
	}
	kind, _ := parseQueueType(v.broker.options.DefaultQueueType)
	return kind
}
