package cluster

import (
	"context"
	"encoding/json"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/hermodmq/hermod/conformance/harness"
	amqp "github.com/rabbitmq/amqp091-go"
)

const queueWitness = "cluster.witness"

// witness is a client of a node that is about to be deposed.
type witness struct {
	t      *testing.T
	ch     *amqp.Channel
	closed chan *amqp.Error
}

func (w *world) witness(t *testing.T, node int) *witness {
	t.Helper()
	c := w.publisher(t, node)
	if !c.publish().acked(answerTimeout) {
		t.Fatal("the active node does not confirm")
	}
	return c
}

// publisher is a witness of which nothing is confirmed yet.
func (w *world) publisher(t *testing.T, node int) *witness {
	t.Helper()
	ch, cut, err := w.channel(w.addresses(portAMQP, node)[0])
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cut)
	// A queue of its own: the history knows nothing of what it gets.
	if _, err := ch.QueueDeclare(queueWitness, true, false, false, false, nil); err != nil {
		t.Fatal(err)
	}
	c := &witness{t, ch, ch.NotifyClose(make(chan *amqp.Error, 1))}
	if err := ch.Confirm(false); err != nil {
		t.Fatal(err)
	}
	return c
}

type pending struct{ c *amqp.DeferredConfirmation }

func (c *witness) publish() pending {
	c.t.Helper()
	d, err := c.ch.PublishWithDeferredConfirm("", queueWitness, false, false, amqp.Publishing{DeliveryMode: amqp.Persistent, Body: []byte("w ")})
	if err != nil {
		c.t.Fatal(err)
	}
	return pending{d}
}

// acked waits for the answer to a publish; none, or the end of its channel, is
// false.
func (p pending) acked(limit time.Duration) bool {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	ok, err := p.c.WaitContext(ctx)
	return err == nil && ok
}

// hungUp waits until the node has closed the connection.
func (c *witness) hungUp() {
	c.t.Helper()
	select {
	case <-c.closed:
	case <-time.After(serveLimit):
		c.t.Error("a deposed node keeps its connections")
	}
}

// successor waits until a node other than old serves.
func (w *world) successor(t *testing.T, old int) int {
	t.Helper()
	next := -1
	harness.Poll(serveLimit, func() bool {
		for i := range w.nodes {
			if i == old {
				continue
			}
			if h, err := w.health(i); err == nil && h.Serving {
				next = i
				return true
			}
		}
		return false
	})
	if next < 0 {
		t.Fatalf("nobody takes over\n%s%s", w.states(), w.logs())
	}
	return next
}

// TestIsolatedNodeConfirmsNothing: cut off from the others, but not from its
// clients, the active node answers no publish any more and hangs up.
func TestIsolatedNodeConfirmsNothing(t *testing.T) {
	w := newWorld(t, nil)
	if w.net == nil {
		t.Skip("no network namespaces here")
	}
	old := w.leader(serveLimit)
	c := w.witness(t, old)
	w.isolate(old, true, true)
	p := c.publish()
	next := w.successor(t, old)
	if p.acked(0) {
		t.Error("confirmed without a quorum")
	}
	c.hungUp()
	if !w.witness(t, next).publish().acked(answerTimeout) {
		t.Error("the new node does not confirm")
	}
	if _, cut, err := w.channel(w.addresses(portAMQP, old)[0]); err == nil {
		cut()
		t.Error("the isolated node serves new connections")
	}
	if h, err := w.health(old); err == nil && h.Serving {
		t.Errorf("the isolated node says it serves: %+v", h)
	}
	w.net.heal()
	if err := w.settleDown(); err != nil {
		t.Fatal(err)
	}
}

// TestFrozenNodeConfirmsNothing: a node that stands still for longer than its
// lease finds itself deposed when it wakes: what clients had sent it meanwhile
// is not confirmed.
func TestFrozenNodeConfirmsNothing(t *testing.T) {
	w := newWorld(t, nil)
	old := w.leader(serveLimit)
	c := w.witness(t, old)
	if err := w.nodes[old].signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	p := c.publish() // waits in the kernel for the node to wake
	next := w.successor(t, old)
	if !w.witness(t, next).publish().acked(answerTimeout) {
		t.Error("the new node does not confirm")
	}
	if err := w.nodes[old].signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	c.hungUp()
	if p.acked(0) {
		t.Error("a deposed node confirmed")
	}
	if err := w.settleDown(); err != nil {
		t.Fatal(err)
	}
}

// TestDefinitionsAreTheSameEverywhere: whoever serves exports the same
// definitions, also a node that was away while they changed.
func TestDefinitionsAreTheSameEverywhere(t *testing.T) {
	w := newWorld(t, nil)
	l := w.leader(serveLimit)
	away := (l + 1) % len(w.nodes)
	w.nodes[away].broker.Kill()
	w.witness(t, l) // declares the queues and the binding
	for _, args := range [][]string{
		{"add_user", "ada", "secret"},
		{"set_permissions", "ada", ".*", ".*", ".*"},
		{"set_policy", "limit", "^cluster", `{"max-length":1000000}`},
		{"add_vhost", "other"},
	} {
		if out, err := w.nodes[l].broker.CTL(args...); err != nil {
			t.Fatalf("%v: %v %s", args, err, out)
		}
	}
	if err := w.start(away); err != nil {
		t.Fatal(err)
	}
	var exports []string
	for i := range w.nodes {
		if err := w.settleDown(); err != nil {
			t.Fatal(err)
		}
		l := w.leader(serveLimit)
		if l != i {
			if out, err := w.nodes[l].broker.CTL("cluster", "transfer", w.nodes[i].name); err != nil {
				t.Fatalf("transfer to %s: %v %s", w.nodes[i].name, err, out)
			}
			if next := w.successor(t, l); next != i {
				t.Fatalf("%s took over, not %s", w.nodes[next].name, w.nodes[i].name)
			}
		}
		exports = append(exports, w.definitions(t, i))
	}
	if len(slices.Compact(exports)) != 1 {
		t.Errorf("definitions differ:\n%s\n%s\n%s", exports[0], exports[len(exports)/2], exports[len(exports)-1])
	}
}

// definitions is a node's export in one canonical form.
func (w *world) definitions(t *testing.T, i int) string {
	t.Helper()
	out, err := w.nodes[i].broker.CTL("export_definitions")
	if err != nil {
		t.Fatal(err)
	}
	var all map[string]any
	if err := json.Unmarshal([]byte(out), &all); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, list := range all {
		if list, ok := list.([]any); ok {
			slices.SortFunc(list, func(a, b any) int {
				x, _ := json.Marshal(a)
				y, _ := json.Marshal(b)
				return slices.Compare(x, y)
			})
		}
	}
	text, err := json.Marshal(all)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
