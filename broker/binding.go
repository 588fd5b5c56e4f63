package broker

import "github.com/hermodmq/hermod/broker/filter"

// binding is a route from an exchange to one queue or exchange. It is
// immutable but for slot, which its source's router uses.
type binding struct {
	id     bindingID
	source *Exchange
	args   Table
	slot   int

	queue    *Queue    // the destination, or nil
	exchange *Exchange // the destination, or nil

	durable bool
	filter  *filter.Policy // nil: all that match
	form    string         // in which messages enter the queue; "": as they are
	match   headerMatch    // of bindings of headers exchanges
	weight  float64        // of bindings of consistent hash exchanges
	hash    uint64         // of the destination, likewise
}

// bindingID is what makes two bindings of one source the same.
type bindingID struct {
	toExchange bool
	dest       string
	key        string
	args       string // canonical form of the arguments
}

// attach makes b known to both ends. vhost.mu is held. added, unless nil, runs
// when nothing was routed by b yet and everything that was is done.
func (b *binding) attach(v *VHost, added func()) {
	x := b.source
	x.mu.Lock()
	x.bindings[b.id] = b
	x.router.add(b)
	if added != nil {
		added()
	}
	x.mu.Unlock()
	if b.exchange != nil {
		b.exchange.incoming[b] = struct{}{}
		x.onward++
		x.configure()
	} else if m := v.meta[b.queue]; m != nil {
		m.bindings[b] = struct{}{}
		if b.form != "" {
			m.reform()
		}
	}
}

// detach undoes attach. vhost.mu is held.
func (b *binding) detach(v *VHost) {
	x := b.source
	x.mu.Lock()
	delete(x.bindings, b.id)
	x.router.remove(b)
	x.mu.Unlock()
	if b.exchange != nil {
		delete(b.exchange.incoming, b)
		x.onward--
		x.configure()
	} else if m := v.meta[b.queue]; m != nil {
		delete(m.bindings, b)
		if b.form != "" {
			m.reform()
		}
	}
}
