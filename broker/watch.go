package broker

import (
	"slices"
	"strings"
	"sync"

	"github.com/hermodmq/hermod/broker/topic"
)

// watches are those who want to hear of new queues. The lock is a leaf.
type watches struct {
	mu   sync.Mutex
	list []*watch
}

// watch is an interest in queues by the pattern of their names. appeared runs
// with the topology locked: it must neither block nor call the core.
type watch struct {
	pattern  string
	appeared func(queue string)
}

// watchQueues returns the queues whose names match pattern and tells of those
// that are made from then on, until unwatch. No queue is missed or told twice,
// unless it is deleted and made again.
func (v *VHost) watchQueues(w *watch) []string {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.watches.mu.Lock()
	v.watches.list = append(v.watches.list, w)
	v.watches.mu.Unlock()
	return v.QueuesMatching(w.pattern)
}

func (v *VHost) unwatch(w *watch) {
	v.watches.mu.Lock()
	defer v.watches.mu.Unlock()
	if i := slices.Index(v.watches.list, w); i >= 0 {
		v.watches.list = slices.Delete(v.watches.list, i, i+1)
	}
}

func (ws *watches) appeared(q *Queue) {
	ws.mu.Lock()
	defer ws.mu.Unlock()
	for _, w := range ws.list {
		if topic.Match(w.pattern, q.name) && q.wildcards() {
			w.appeared(q.name)
		}
	}
}

// QueuesMatching returns, sorted, the names of the queues there are that a name
// with wildcards stands for; see Destination.Pattern. It checks no permission.
func (v *VHost) QueuesMatching(pattern string) []string {
	var names []string
	for _, q := range v.queues.all() {
		if topic.Match(pattern, q.name) && q.wildcards() {
			names = append(names, q.name)
		}
	}
	slices.Sort(names)
	return names
}

// privatePrefixes begin the names of queues that belong to one client or to
// the broker.
var privatePrefixes = []string{"amq.", "mqtt-subscription-", "stomp-subscription-", "sns-subscription-"}

// Private reports whether q is meant for one reader, and names with wildcards
// never stand for it: an exclusive queue, a stream, or the queue of a subscription
// to topics.
func (q *Queue) Private() bool { return !q.wildcards() }

// wildcards reports whether names with wildcards stand for q: not if it is
// exclusive, a stream, or the queue of a subscription to topics, whose messages
// are meant for one reader.
func (q *Queue) wildcards() bool {
	if q.owner != nil || q.kind == KindStream {
		return false
	}
	if v, _ := q.args.Get(subscriptionArgument); v == true {
		return false
	}
	return !slices.ContainsFunc(privatePrefixes, func(p string) bool { return strings.HasPrefix(q.name, p) })
}
