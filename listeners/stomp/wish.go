package stomp

import (
	"errors"

	"github.com/hermodmq/hermod/broker"
	"github.com/hermodmq/hermod/broker/selector"
	"github.com/hermodmq/hermod/listeners/stomp/wire"
)

// wish is what a SUBSCRIBE asks for beside its destination.
type wish struct {
	frame    *wire.Frame
	id       string
	hasID    bool
	text     string // selector
	selector *selector.Selector
	wants    broker.Filter // by selector and origin, nil for all
	noLocal  bool          // nothing of this connection's
	queue    broker.QueueDeclare
	explicit bool // queue was described
	args     broker.Table
	prefetch int
	sole     bool              // the consumer wants all there is
	images   []*broker.Message // of its topic, that it gets first
}

// read takes the headers that describe the queue, the consumer and the
// selector.
func (w *wish) read() error {
	w.queue = broker.QueueDeclare{Durable: true}
	f := w.frame
	for i := range f.Headers {
		name, value := string(f.Headers[i].Name), string(f.Headers[i].Value)
		if _, repeated := w.queue.Args.Get(name); repeated {
			continue
		}
		switch name {
		case "x-message-ttl", "x-expires", "x-max-length", "x-max-length-bytes", "x-max-priority", "x-delivery-limit",
			"x-stream-max-segment-size-bytes", "x-initial-cluster-size", "x-quorum-initial-group-size":
			n, ok := wire.Number([]byte(value))
			if !ok {
				return refuse("Invalid header", "'%s' must be a number\n", name)
			}
			w.queue.Args = append(w.queue.Args, broker.Field{Name: name, Value: n})
		case "x-dead-letter-exchange", "x-dead-letter-routing-key", "x-queue-type", "x-overflow", "x-queue-mode",
			"x-dead-letter-strategy", "x-max-age", "x-queue-leader-locator":
			w.queue.Args = append(w.queue.Args, broker.Field{Name: name, Value: value})
		case "x-single-active-consumer":
			w.queue.Args = append(w.queue.Args, broker.Field{Name: name, Value: value == "true"})
		case "x-priority", "activemq.priority":
			n, ok := wire.Number([]byte(value))
			if !ok {
				return refuse("Invalid header", "'%s' must be a number\n", name)
			}
			w.args = append(w.args, broker.Field{Name: "x-priority", Value: n})
		case "x-stream-offset":
			var v broker.Value = value
			if n, ok := wire.Number([]byte(value)); ok {
				v = n
			}
			w.args = append(w.args, broker.Field{Name: name, Value: v})
		}
	}
	w.sole = string(f.Get("activemq.exclusive")) == "true"
	w.explicit = len(w.queue.Args) > 0
	for name, flag := range map[string]*bool{"durable": &w.queue.Durable, "auto-delete": &w.queue.AutoDelete, "exclusive": &w.queue.Exclusive} {
		if v, ok := f.Lookup(name); ok {
			*flag = string(v) == "true"
			w.explicit = true
		}
	}
	return errors.Join(w.readPrefetch(), w.readSelector())
}

// readPrefetch reads prefetch-count, where 0 is no bound, and
// activemq.prefetchSize, where 0 asks for single messages: STOMP has no way to
// pull them.
func (w *wish) readPrefetch() error {
	for _, name := range []string{"prefetch-count", "activemq.prefetchSize"} {
		v, ok := w.frame.Lookup(name)
		if !ok {
			continue
		}
		n, isNumber := wire.Number(v)
		if !isNumber {
			return refuse("Invalid header", "'%s' must be a number\n", name)
		}
		if name == "activemq.prefetchSize" {
			n = max(n, 1)
		}
		w.prefetch = int(min(n, 1<<30))
		break
	}
	return nil
}

func (w *wish) readSelector() error {
	v, ok := w.frame.Lookup("selector")
	if !ok || len(v) == 0 {
		return nil
	}
	s, err := selector.Compile(string(v), true)
	if err != nil {
		return refuse("Invalid selector", "%s\n", err)
	}
	w.text, w.selector = string(v), s
	return nil
}
