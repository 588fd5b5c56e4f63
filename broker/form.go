package broker

import "maps"

// Former gives a message the form in which it enters q, which it reached by a
// binding with the argument FormArgument: the same message, another one, or nil
// to keep it out. It runs wherever messages are published, without locks; it
// must not block and must be quick.
type Former func(t *Turn, q *Queue, form string, m *Message) *Message

// SetFormer sets who knows the forms. Until then messages enter queues as they
// are. It is called before the first client.
func (b *Broker) SetFormer(f Former) { b.engine.former.Store(&f) }

// formKey is the way by which a message comes that gets a form: exchange and
// binding key, without wildcards.
type formKey struct{ exchange, key string }

// reform computes q's forms anew from all its bindings: for one of them that
// has a form and comes or goes. vhost.mu is held.
func (m *queueMeta) reform() {
	var forms map[formKey]string
	for b := range m.bindings {
		if b.form != "" {
			if forms == nil {
				forms = make(map[formKey]string)
			}
			forms[formKey{b.source.name, b.id.key}] = b.form
		}
	}
	old := m.queue.forms.Load()
	switch {
	case forms == nil && old == nil || old != nil && maps.Equal(*old, forms):
	case forms == nil:
		m.queue.forms.Store(nil)
	default:
		m.queue.forms.Store(&forms)
	}
}

// formed is m in the form in which it enters q; nil if it must not.
func (q *Queue) formed(t *Turn, m *Message) *Message {
	forms := q.forms.Load()
	if forms == nil {
		return m
	}
	form, ok := (*forms)[formKey{m.Exchange, m.RoutingKey}]
	f := q.eng.former.Load()
	if !ok || f == nil {
		return m
	}
	return (*f)(t, q, form, m)
}
