package broker

import "github.com/hermodmq/hermod/broker/filter"

// routing is the outcome of route and the scratch it needs. It belongs to one
// session (or to whoever else publishes) and is reused.
type routing struct {
	queues []*Queue // each once, in no particular order

	// deliverAt, if not 0, is the Unix ms before which no consumer may see the
	// message: an x-delayed-message exchange was on the way. Routing happens
	// now, the delay in the queue.
	deliverAt int64

	// keyOnly says that the outcome depends on the exchange, the keys and the
	// topology, on nothing else of the message.
	keyOnly bool

	// tentative says that a transaction may still be rolled back. pictured says
	// that the message is, or will be, an image of its topic.
	tentative, pictured bool

	vhost    *VHost
	msg      *Message
	extra    []string
	props    *Properties
	decoded  bool
	seen     map[*Queue]struct{} // in use from manyQueues on
	pending  []*Exchange
	visited  []*Exchange
	passed   map[*Exchange]struct{} // in use from manyQueues on, instead of visited
	matches  int                    // bindings taken at the exchange being visited
	bindings []*binding             // scratch of topic matching

	parsed bool            // body holds what there is to say about the message's
	body   filter.Document // for filters
	values []filter.Value  // scratch of filters
}

// manyQueues is the number of queues from which looking for duplicates by
// scanning costs more than a map.
const manyQueues = 24

func (rt *routing) reset(v *VHost, m *Message, extra []string) {
	clear(rt.queues)
	rt.queues = rt.queues[:0]
	rt.deliverAt, rt.keyOnly, rt.pictured = 0, true, false
	rt.vhost, rt.msg, rt.extra = v, m, extra
	rt.props, rt.decoded, rt.parsed = nil, false, false
	if len(rt.seen) > manyQueues*64 {
		rt.seen = nil // clearing a huge map costs its capacity each time
	}
	clear(rt.seen)
	clear(rt.passed)
	clear(rt.visited)
	rt.pending, rt.visited = rt.pending[:0], rt.visited[:0]
}

// release drops what would keep a message alive between two routes.
func (rt *routing) release() {
	rt.msg, rt.extra, rt.props = nil, nil, nil
	clear(rt.bindings)
	if rt.parsed {
		rt.body.Release()
	}
	clear(rt.values[:cap(rt.values)])
}

// route finds the queues a message published to ex reaches: under its routing
// key and the extra ones, over bindings between exchanges and alternate
// exchanges, each queue once. It takes no lock but the read locks of the
// exchanges it visits.
func (v *VHost) route(rt *routing, ex *Exchange, m *Message, extra []string) {
	rt.reset(v, m, extra)
	if ex == v.standard {
		rt.byName(m.RoutingKey)
		for _, key := range extra {
			rt.byName(key)
		}
		rt.release()
		return
	}
	rt.pending = append(rt.pending, ex)
	for len(rt.pending) > 0 {
		last := len(rt.pending) - 1
		next := rt.pending[last]
		rt.pending = rt.pending[:last]
		rt.visit(next)
	}
	rt.release()
}

func (rt *routing) byName(key string) {
	if q := rt.vhost.queue(key); q != nil {
		rt.addQueue(q)
	}
}

// visit matches at one exchange and goes to its alternate if nothing did.
func (rt *routing) visit(x *Exchange) {
	if rt.been(x) {
		return
	}
	rt.matches = 0
	if x == rt.vhost.standard {
		before := len(rt.queues)
		rt.byName(rt.msg.RoutingKey)
		for _, key := range rt.extra {
			rt.byName(key)
		}
		rt.matches = len(rt.queues) - before
		return
	}
	x.mu.RLock()
	if !x.router.byKey() {
		rt.keyOnly = false
	}
	x.router.match(rt, rt.msg.RoutingKey)
	for _, key := range rt.extra {
		x.router.match(rt, key)
	}
	if x.pictured {
		rt.picture()
	}
	x.mu.RUnlock()
	if rt.matches > 0 {
		return
	}
	if name := x.alternate.Load(); name != nil {
		if alt := rt.vhost.exchange(*name); alt != nil {
			rt.pending = append(rt.pending, alt)
		}
	}
}

// been remembers x and reports whether it was there before.
func (rt *routing) been(x *Exchange) bool {
	if len(rt.visited) < manyQueues {
		for _, v := range rt.visited {
			if v == x {
				return true
			}
		}
		rt.visited = append(rt.visited, x)
		return false
	}
	if len(rt.passed) == 0 {
		if rt.passed == nil {
			rt.passed = make(map[*Exchange]struct{})
		}
		for _, v := range rt.visited {
			rt.passed[v] = struct{}{}
		}
	}
	if _, been := rt.passed[x]; been {
		return true
	}
	rt.passed[x] = struct{}{}
	return false
}

// take is called by routers for every binding that matches.
func (rt *routing) take(b *binding) {
	if b.filter != nil && !rt.wants(b.filter) {
		return
	}
	rt.matches++
	if b.exchange != nil {
		rt.pending = append(rt.pending, b.exchange)
		return
	}
	rt.addQueue(b.queue)
}

func (rt *routing) addQueue(q *Queue) {
	if q.schedules {
		return // or what it routes could come back for ever
	}
	if len(rt.queues) < manyQueues {
		for _, have := range rt.queues {
			if have == q {
				return
			}
		}
		rt.queues = append(rt.queues, q)
		return
	}
	if rt.seen == nil {
		rt.seen = make(map[*Queue]struct{}, 2*manyQueues)
	}
	if len(rt.seen) == 0 {
		for _, have := range rt.queues {
			rt.seen[have] = struct{}{}
		}
	}
	if _, have := rt.seen[q]; have {
		return
	}
	rt.seen[q] = struct{}{}
	rt.queues = append(rt.queues, q)
}

// properties decodes the message's properties once per route; nil if there is
// no converter or the message cannot be read.
func (rt *routing) properties() *Properties {
	if rt.decoded {
		return rt.props
	}
	rt.decoded = true
	if p, err := rt.vhost.broker.Properties(rt.msg); err == nil {
		rt.props = p
	}
	return rt.props
}

func (rt *routing) headers() Table {
	if p := rt.properties(); p != nil {
		return p.Headers
	}
	return nil
}
