package broker

import "sync"

// recentHistory is a fanout that keeps the last messages and gives them to
// every queue that is bound later. The history lives in memory only.
type recentHistory struct {
	fanout
	limit int

	past sync.Mutex // match holds the exchange's lock for reading only
	ring []*Message // oldest first
	size int        // bytes
}

const (
	defaultHistory  = 20
	maxHistory      = 1000
	maxHistoryBytes = 16 << 20
)

func newRecentHistory(args Table) (router, error) {
	r := &recentHistory{limit: defaultHistory}
	v, ok := args.Get("x-recent-history-length")
	if !ok {
		return r, nil
	}
	n, isInt := Int(v)
	if !isInt || n < 1 {
		return nil, errf(Precondition, "Invalid argument, 'x-recent-history-length' must be a positive integer")
	}
	r.limit = int(min(n, maxHistory))
	return r, nil
}

func (r *recentHistory) byKey() bool { return false }

func (r *recentHistory) match(rt *routing, key string) {
	if key == rt.msg.RoutingKey && !r.holds(rt.msg) {
		r.keep(rt.msg)
	}
	r.fanout.match(rt, key)
}

func (r *recentHistory) holds(m *Message) bool {
	r.past.Lock()
	defer r.past.Unlock()
	return len(r.ring) > 0 && r.ring[len(r.ring)-1] == m
}

func (r *recentHistory) keep(m *Message) {
	r.past.Lock()
	defer r.past.Unlock()
	r.ring = append(r.ring, m)
	r.size += m.Size()
	for len(r.ring) > r.limit || r.size > maxHistoryBytes && len(r.ring) > 0 {
		r.size -= r.ring[0].Size()
		r.ring[0] = nil
		r.ring = r.ring[1:]
	}
}

// replay gives the history to a queue that was just bound, once no lock is
// held.
func (r *recentHistory) replay(c *change, q *Queue) {
	r.past.Lock()
	past := append([]*Message(nil), r.ring...)
	r.past.Unlock()
	if len(past) > 0 {
		c.later(func(t *Turn) {
			p := q.eng.newPlan(nil)
			for _, m := range past {
				p.offer(t, m, q, 0, false)
			}
			p.run(t, false)
		})
	}
}
