package broker

import (
	"strconv"
	"strings"
)

// delayedRouter is an x-delayed-message exchange: it routes like the type named by
// its argument x-delayed-type, and the header x-delay (ms) says how long the
// message is held back.
//
// Unlike the community plugin it routes at once and the queues hold the
// message: it is replicated and survives a restart like any other, its
// receipt means that it is stored, and mandatory works. The price: bindings
// made during the delay do not see it, and queues count it as theirs.
type delayedRouter struct {
	router
}

// maxDelay is the longest delay, in ms: as long as the longest expiration.
const maxDelay = maxExpiry

func newDelayed(args Table) (router, error) {
	v, _ := args.Get("x-delayed-type")
	kind, ok := v.(string)
	if !ok || kind == TypeDelayed {
		return nil, errf(Precondition, "Invalid argument, 'x-delayed-type' must be an existing exchange type")
	}
	inner, err := newRouter(kind, args)
	if err != nil {
		return nil, errf(Precondition, "Invalid argument, 'x-delayed-type' must be an existing exchange type")
	}
	return &delayedRouter{router: inner}, nil
}

func (r *delayedRouter) byKey() bool { return false }

func (r *delayedRouter) match(rt *routing, key string) {
	if ms := delayOf(rt.headers()); ms > 0 {
		rt.deliverAt = max(rt.deliverAt, rt.msg.Received+ms)
	}
	r.router.match(rt, key)
}

// delayOf reads the header x-delay: a number, or text that is one. What is not
// understood delays nothing.
func delayOf(headers Table) int64 {
	v, ok := headers.Get("x-delay")
	if !ok {
		return 0
	}
	ms, ok := Int(v)
	if !ok {
		switch x := v.(type) {
		case string:
			n, err := strconv.ParseInt(strings.TrimSpace(x), 10, 64)
			if err != nil {
				return 0
			}
			ms = n
		case float64:
			if x > 0 && x <= float64(maxDelay) {
				ms = int64(x)
			}
		case float32:
			if x > 0 && float64(x) <= float64(maxDelay) {
				ms = int64(x)
			}
		}
	}
	return min(max(ms, 0), maxDelay)
}
