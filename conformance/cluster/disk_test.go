package cluster

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/hermodmq/hermod/conformance/harness"
)

const (
	volumeSize = 768 << 20
	diskLow    = 256 << 20 // limits.disk_free of a node on a volume
	diskTight  = 160 << 20 // less than that, but enough for settlements and the next log segment
)

// newWorldOnVolumes is newWorld with each node's data on a small file system. prepare may be nil.
func newWorldOnVolumes(t *testing.T, prepare func(nodes []*node)) (*world, []*volume) {
	t.Helper()
	var volumes []*volume
	w := newWorld(t, func(nodes []*node) {
		for _, n := range nodes {
			v, err := newVolume(n.dir, volumeSize)
			if err != nil {
				t.Skip(err)
			}
			// Runs after the nodes have ended: Cleanup goes backwards, and newWorld's
			// comes later.
			t.Cleanup(func() { _ = v.Close() })
			volumes = append(volumes, v)
			n.extra = append(n.extra, fmt.Sprintf("limits.disk_free=%d", diskLow), "ha.log_keep=16MiB")
		}
		if prepare != nil {
			prepare(nodes)
		}
	})
	return w, volumes
}

// hose publishes bodies of 256 KiB as fast as they are confirmed, to fill logs,
// until ctx ends.
func (w *world) hose(ctx context.Context, wg *sync.WaitGroup) {
	w.forever(ctx, wg, 300, client{"hose", amqpHose, portAMQP})
	w.forever(ctx, wg, 301, client{"hose consumer", amqpConsumer(queueHose, false), portAMQP})
}

// TestDisksThatFillUp: under load the disk of the active node runs low, that of
// a standby runs full, then that of the active node does. Publishers are held by
// their protocols' means, nodes that cannot write end, and nothing confirmed is
// lost; when there is space again everything goes on.
func TestDisksThatFillUp(t *testing.T) {
	w, volumes := newWorldOnVolumes(t, nil)
	t.Logf("seed: CLUSTER_SEED=%d", w.seed)
	end := w.load()
	l, err := w.serving()
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%s, the active node, has little space left", w.nodes[l].name)
	w.runsLow(t, l, volumes[l])
	hosing, stop := context.WithCancel(t.Context())
	var hoses sync.WaitGroup
	w.hose(hosing, &hoses)
	defer hoses.Wait()
	defer stop()
	t.Log("a standby's disk is full")
	w.runsFull(t, (l+1)%len(w.nodes), volumes[(l+1)%len(w.nodes)])
	if l, err = w.serving(); err != nil {
		t.Fatal(err)
	}
	t.Logf("the disk of %s, the active node, is full", w.nodes[l].name)
	w.runsFull(t, l, volumes[l])
	stop()
	hoses.Wait()
	end()
	w.judge(t)
}

// runsLow: the active node's disk has less than limits.disk_free. AMQP
// publishers are told connection.blocked, SQS and SNS ones are throttled; consumers go
// on. With space again, what was held is confirmed.
func (w *world) runsLow(t *testing.T, node int, v *volume) {
	t.Helper()
	conn, err := amqp.DialConfig("amqp://guest:guest@"+w.addresses(portAMQP, node)[0]+"/", amqp.Config{
		Locale: "en_US", Dial: func(_, addr string) (net.Conn, error) { return w.dialAny(addr) },
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.CloseDeadline(time.Now().Add(time.Second)) }()
	notices := conn.NotifyBlocked(make(chan amqp.Blocking, 8))
	ch, err := conn.Channel()
	if err != nil {
		t.Fatal(err)
	}
	if err := ch.Confirm(false); err != nil {
		t.Fatal(err)
	}
	publish := func() pending {
		d, err := ch.PublishWithDeferredConfirm("", "", false, false, amqp.Publishing{Body: []byte("w ")})
		if err != nil {
			t.Fatal(err)
		}
		return pending{d}
	}
	if !publish().acked(answerTimeout) {
		t.Fatal("the active node does not confirm")
	}
	q := w.sqs(w.addresses(portAWS, node)[0])
	defer q.Close()
	// What is written until the node looks at its disk again must fit, too: there
	// is no hose yet.
	if err := q.topic("CreateTopic", url.Values{"Name": {"disk"}}); err != nil {
		t.Fatal(err)
	}
	if err := v.fill(diskTight); err != nil {
		t.Fatal(err)
	}
	var held pending
	if !harness.Poll(serveLimit, func() bool { // the node looks at its disk now and then
		held = publish()
		return !held.acked(500 * time.Millisecond)
	}) {
		t.Fatal("publishes are confirmed on a disk that is nearly full")
	}
	select {
	case b := <-notices:
		if !b.Active || !strings.Contains(b.Reason, "disk") {
			t.Errorf("connection.blocked: %+v", b)
		}
	case <-time.After(answerTimeout):
		t.Error("no connection.blocked")
	}
	err = q.call("SendMessage", map[string]any{"QueueUrl": queueSQS, "MessageBody": "refused"}, nil)
	if err == nil || !strings.Contains(err.Error(), "Throttl") {
		t.Errorf("SendMessage on a disk that is nearly full: %v", err)
	}
	err = q.topic("Publish", url.Values{"TopicArn": {"arn:aws:sns:us-east-1:000000000000:disk"}, "Message": {"refused"}})
	if err == nil || !strings.Contains(err.Error(), "Throttl") {
		t.Errorf("Publish on a disk that is nearly full: %v", err)
	}
	if err := q.call("GetQueueAttributes", map[string]any{"QueueUrl": queueSQS}, nil); err != nil {
		t.Errorf("a call that stores nothing: %v", err)
	}
	if h, err := w.health(node); err != nil || !h.Serving {
		t.Errorf("health of an active node that holds publishers: %+v %v", h, err)
	}
	if !harness.Poll(serveLimit, func() bool { return w.waiting() == "" }) {
		t.Errorf("consumers stopped, too; confirmed messages wait:%s", w.waiting())
	}
	if err := v.empty(); err != nil {
		t.Fatal(err)
	}
	if !held.acked(serveLimit) {
		t.Error("what was held is not confirmed when there is space again")
	}
	select {
	case b := <-notices:
		if b.Active {
			t.Errorf("connection.unblocked: %+v", b)
		}
	case <-time.After(answerTimeout):
		t.Error("no connection.unblocked")
	}
}

// runsFull: a node's disk takes nothing more. The node ends and says why, the
// others go on; with space again it comes back.
func (w *world) runsFull(t *testing.T, node int, v *volume) {
	t.Helper()
	n := w.nodes[node]
	ended := n.broker.Exited()
	if !harness.Poll(serveLimit, func() bool {
		if err := v.fill(0); err != nil { // again: the node gives space back, too
			t.Fatal(err)
		}
		select {
		case <-ended:
			return true
		default:
			return false
		}
	}) {
		t.Fatalf("%s goes on without space\n%s", n.name, w.logs())
	}
	if log := n.broker.Log(); !strings.Contains(log, "no space left") {
		t.Errorf("%s does not say that its disk is full:\n%s", n.name, lastLines(log, 20))
	}
	next := w.successor(t, node)
	if !w.witness(t, next).publish().acked(answerTimeout) {
		t.Error("the others do not confirm")
	}
	// A supervisor starts it again at once, to no avail.
	if err := n.start(); err == nil {
		t.Logf("%s runs on a full disk", n.name)
		n.broker.Kill()
	}
	if err := v.empty(); err != nil {
		t.Fatal(err)
	}
	if err := w.start(node); err != nil {
		t.Fatalf("with space again: %v", err)
	}
	if err := w.settleDown(); err != nil {
		t.Fatal(err)
	}
}

// TestAStandbysDiskRunsLow: its status and the active node's say so, and nobody
// is held up: whoever hands over prefers another one. Made the active node all
// the same, it holds publishers until there is space again.
func TestAStandbysDiskRunsLow(t *testing.T) {
	w, volumes := newWorldOnVolumes(t, patient)
	t.Logf("seed: CLUSTER_SEED=%d", w.seed)
	w.pace = 5 * time.Millisecond // the standby's disk is not to fill up
	end := w.load()
	l, err := w.serving()
	if err != nil {
		t.Fatal(err)
	}
	low, other := (l+1)%len(w.nodes), (l+2)%len(w.nodes)
	c := w.witness(t, l)
	if !c.publish().acked(answerTimeout) { // queues and the like are there
		t.Fatal("the active node does not confirm")
	}
	if err := volumes[low].fill(diskLow - 32<<20); err != nil {
		t.Fatal(err)
	}
	w.saysDiskLow(t, low, true)
	for range 20 {
		if !c.publish().acked(answerTimeout) {
			t.Fatal("the active node holds publishers back because of a standby's disk")
		}
	}
	if !harness.Poll(serveLimit, func() bool { return w.samples(t, low)["hermod_store_disk_low"] == 1 }) {
		t.Error("hermod_store_disk_low is not 1 on the standby")
	}
	if out := w.nodes[l].ctl(t, "cluster", "status"); !strings.Contains(out, "true") || !strings.Contains(out, "disk_low") {
		t.Errorf("cluster status:\n%s", out)
	}

	w.nodes[l].ctl(t, "cluster", "transfer")
	if next := w.successor(t, l); next != other {
		t.Errorf("%s was handed over to, whose disk is nearly full", w.nodes[next].name)
	}
	if err := w.settleDown(); err != nil {
		t.Fatal(err)
	}
	w.nodes[w.leader(serveLimit)].ctl(t, "cluster", "transfer", w.nodes[low].name)
	if !harness.Poll(serveLimit, func() bool { h, err := w.health(low); return err == nil && h.Serving }) {
		t.Fatalf("%s does not serve\n%s%s", w.nodes[low].name, w.states(), w.logs())
	}
	c = w.publisher(t, low)
	var held pending
	if !harness.Poll(serveLimit, func() bool { // the node looks at its disk now and then
		held = c.publish()
		return !held.acked(500 * time.Millisecond)
	}) {
		t.Fatal("publishes are confirmed on a disk that is nearly full")
	}
	if err := volumes[low].empty(); err != nil {
		t.Fatal(err)
	}
	if !held.acked(serveLimit) {
		t.Error("what was held is not confirmed when there is space again")
	}
	w.saysDiskLow(t, low, false)
	if err := w.settleDown(); err != nil {
		t.Fatal(err)
	}
	end()
	w.judge(t)
}

// saysDiskLow waits until a node and the leader say whether the node's disk is
// nearly full, and checks that the leader serves and says so of nobody else.
func (w *world) saysDiskLow(t *testing.T, i int, want bool) {
	t.Helper()
	var own, lead health
	if !harness.Poll(serveLimit, func() bool {
		var err error
		if own, err = w.health(i); err != nil || own.DiskLow != want {
			return false
		}
		l := w.leader(serveLimit)
		if l < 0 {
			return false
		}
		if lead, err = w.health(l); err != nil {
			return false
		}
		for _, m := range lead.Nodes {
			if m.DiskLow != (want && m.Name == w.nodes[i].name) {
				return false
			}
		}
		return len(lead.Nodes) == len(w.nodes)
	}) {
		t.Errorf("disk_low is not %v of %s alone: it says %+v, the leader %+v", want, w.nodes[i].name, own, lead)
	}
	if !lead.Serving {
		t.Errorf("the active node does not serve: %+v", lead)
	}
}
