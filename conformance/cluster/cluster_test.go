package cluster

import (
	"context"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/hermodmq/hermod/conformance/harness"
)

func TestMain(m *testing.M) {
	status := m.Run()
	harness.RemoveBinary()
	os.Exit(status)
}

func number(name string, otherwise uint64) uint64 {
	if n, err := strconv.ParseUint(os.Getenv(name), 10, 64); err == nil {
		return n
	}
	return otherwise
}

// newWorld starts a cluster of three. prepare, which may be nil, changes the
// nodes' settings first.
func newWorld(t *testing.T, prepare func(nodes []*node)) *world {
	t.Helper()
	w := &world{history: newHistory(), seed: number("CLUSTER_SEED", uint64(time.Now().UnixNano())), life: t.Context()}
	w.cluster = newCluster(3, t.TempDir(), true)
	if prepare != nil {
		prepare(w.nodes)
	}
	t.Cleanup(w.Close)
	if err := w.start(); err != nil {
		t.Fatalf("%v\n%s", err, w.logs())
	}
	if w.leader(serveLimit) < 0 {
		t.Fatalf("no node serves\n%s%s", w.states(), w.logs())
	}
	// The founder serves before the others have votes; alone it would go on
	// however the others fare.
	if err := w.settleDown(); err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(w.nodes, func(n *node) bool { return n.bin != "" }) && !w.levelled(serveLimit) {
		t.Fatalf("not all nodes reach their format level\n%s%s", w.states(), w.logs())
	}
	return w
}

// levelled waits until every node that stores something has reached the format
// level of its program.
func (c *cluster) levelled(limit time.Duration) bool {
	return harness.Poll(limit, func() bool {
		for i := range c.nodes {
			if h, err := c.health(i); err != nil || h.Known == 0 || h.Reached != h.Known {
				return false
			}
		}
		return true
	})
}

// load starts the clients of every protocol. The result ends publishers and
// then, when what they published has arrived, consumers.
func (w *world) load() (end func()) {
	publishing, stopPublishing := context.WithCancel(w.life)
	consuming, stopConsuming := context.WithCancel(w.life)
	var publishers, consumers sync.WaitGroup
	if _, cut, err := w.channel(w.addresses(portAMQP, w.leader(serveLimit))[0]); err == nil { // declares the queues
		cut()
	}
	w.mqttSubscriber(consuming, &consumers, "cluster/session")
	for i, c := range []client{
		{"consumer", amqpConsumer(queuePlain, false), portAMQP},
		{"consumer in transactions", amqpConsumer(queueTx, true), portAMQP},
		{"consumer in transactions", amqpConsumer(queueTx2, true), portAMQP},
		{"STOMP consumer", stompConsumer, portSTOMP},
		{"SQS consumer", sqsConsumer, portAWS},
		{"OpenWire consumer", openwireConsumer, portOpenWire},
	} {
		w.forever(consuming, &consumers, i, c)
	}
	for i, c := range []client{
		{"publisher", amqpPublisher, portAMQP},
		{"publisher", amqpPublisher, portAMQP},
		{"transactor", amqpTransactor, portAMQP},
		{"STOMP publisher", stompPublisher, portSTOMP},
		{"SQS publisher", sqsPublisher, portAWS},
		{"OpenWire publisher", openwirePublisher, portOpenWire},
	} {
		w.forever(publishing, &publishers, 100+i, c)
	}
	w.mqttPublisher(publishing, &publishers, "cluster/session", queueMQTT)
	w.oncePublisher(publishing, &publishers, "cluster/once")
	return func() {
		stopPublishing()
		publishers.Wait()
		w.calm(time.Minute)
		stopConsuming()
		consumers.Wait()
	}
}

// judge drains what is left through the serving node and accounts for all.
func (w *world) judge(t *testing.T) {
	t.Helper()
	if err := w.drain(); err != nil {
		t.Fatalf("drain: %v\n%s%s", err, w.states(), w.logs())
	}
	found, sum := w.account()
	t.Log(sum)
	for _, v := range found.violations() {
		t.Error(v)
	}
	if sum.confirmed == 0 || sum.settled == 0 || sum.commits == 0 {
		t.Error("nothing was confirmed, settled or committed: the run proves nothing")
	}
	if t.Failed() {
		t.Log(w.logs())
	}
}

// TestNothingConfirmedIsLost breaks a loaded cluster again and again.
func TestNothingConfirmedIsLost(t *testing.T) {
	w := newWorld(t, nil)
	rounds := number("CLUSTER_ROUNDS", 12)
	t.Logf("seed: CLUSTER_SEED=%d CLUSTER_ROUNDS=%d, namespaces: %v", w.seed, rounds, w.net != nil)
	w.endure(t, rounds, faults)
}

// TestClocksThatDisagree: 40 s between the nodes' clocks change nothing of what
// was confirmed, whichever of them serves; raft's leases rest on time that
// passed, not on what clocks say. What was in flight over SQS stays invisible so
// much longer or shorter, which is why it is not more: the account waits for it.
func TestClocksThatDisagree(t *testing.T) {
	w := newWorld(t, func(nodes []*node) {
		nodes[1].extra = []string{"node.clock_offset=20s"}
		nodes[2].extra = []string{"node.clock_offset=-20s"}
	})
	t.Logf("seed: CLUSTER_SEED=%d", w.seed)
	w.endure(t, 3, []fault{{"kill the leader", false, killLeader}, {"freeze the leader", false, freezeLeader}, {"hand over", false, handOver}})
}

// endure breaks a loaded cluster again and again, and judges.
func (w *world) endure(t *testing.T, rounds uint64, faults []fault) {
	t.Helper()
	rng := rand.New(rand.NewPCG(w.seed, 0))
	end := w.load()
	for range rounds {
		w.round(t, rng, faults)
	}
	if err := w.settleDown(); err != nil {
		t.Fatal(err)
	}
	end()
	w.judge(t)
}

// round breaks something once.
func (w *world) round(t *testing.T, rng *rand.Rand, faults []fault) {
	t.Helper()
	f := faults[rng.IntN(len(faults))]
	if f.fabric && w.net == nil {
		return
	}
	t.Logf("%s", f.name)
	rest(t.Context(), someTime(rng, time.Second))
	if err := f.do(t.Context(), w, rng); err != nil {
		t.Fatalf("%s: %v", f.name, err)
	}
	if rng.IntN(3) > 0 { // else the next fault finds the cluster in the middle of it
		if err := w.settleDown(); err != nil {
			t.Fatalf("%s: %v", f.name, err)
		}
	}
}
