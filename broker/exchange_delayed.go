package broker

import (
	"strconv"
	"strings"
)

// delayedRouter is an x-delayed-message exchange: it routes like the type named by
// its argument x-delayed-type, and the header x-delay (ms) says how long the
// message is held back.
//
// What is published to it waits in the schedule of its virtual host and is
// routed when it is due. What comes to it another way, over a binding, as an
// alternate exchange or as a dead letter, is routed at once and waits in the
// queues: other queues of the exchange that it came from have it already.
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
	rt.deliverAt = max(rt.deliverAt, rt.delayed())
	r.router.match(rt, key)
}

// delayed is the time in Unix ms until which a delaying exchange holds the
// message back; 0: it does not.
func (rt *routing) delayed() int64 {
	if ms := delayOf(rt.headers()); ms > 0 {
		return rt.msg.Received + ms
	}
	return 0
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
