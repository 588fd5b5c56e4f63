package cluster

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/hermodmq/hermod/conformance/harness"
)

// stopLimit bounds an orderly stop.
const stopLimit = 30 * time.Second

// highAvailability are the settings of a node that forms or joins a cluster.
func (n *node) highAvailability(peers ...string) []string {
	list := []string{"ha.enabled=true", "ha.bind=" + n.peerAddress(), "ha.secret=" + secret}
	if len(peers) > 0 {
		list = append(list, "ha.peers="+strings.Join(peers, ","))
	}
	return list
}

func (n *node) peerAddress() string { return net.JoinHostPort(n.addr, portRaft) }

// keep publishes n messages to a queue of their own, which nothing consumes,
// and waits until all are confirmed.
func (w *world) keep(t *testing.T, node int, queue string, n int) {
	t.Helper()
	ch, cut, err := w.channel(w.addresses(portAMQP, node)[0])
	if err != nil {
		t.Fatal(err)
	}
	defer cut()
	if _, err := ch.QueueDeclare(queue, true, false, false, false, nil); err != nil {
		t.Fatal(err)
	}
	if err := ch.Confirm(false); err != nil {
		t.Fatal(err)
	}
	var last pending
	for i := range n {
		d, err := ch.PublishWithDeferredConfirm("", queue, false, false, amqp.Publishing{DeliveryMode: amqp.Persistent, Body: fmt.Append(nil, i)})
		if err != nil {
			t.Fatal(err)
		}
		last = pending{d}
	}
	// Confirms come in the order of publishes.
	if !last.acked(answerTimeout) {
		t.Fatal("not confirmed")
	}
}

// kept expects exactly the messages of keep, in order, and leaves them there.
func (w *world) kept(t *testing.T, node int, queue string, n int) {
	t.Helper()
	ch, cut, err := w.channel(w.addresses(portAMQP, node)[0])
	if err != nil {
		t.Fatal(err)
	}
	defer cut()
	for i := range n {
		d, ok, err := ch.Get(queue, false)
		if err != nil || !ok || string(d.Body) != fmt.Sprint(i) {
			t.Fatalf("%s: message %d of %d is %q (there: %v, %v)", queue, i, n, d.Body, ok, err)
		}
	}
	if d, ok, err := ch.Get(queue, false); ok || err != nil {
		t.Errorf("%s: one message too many: %q %v", queue, d.Body, err)
	}
}

func (n *node) ctl(t *testing.T, args ...string) string {
	t.Helper()
	out, err := n.broker.CTL(args...)
	if err != nil {
		t.Fatalf("%s: ctl %v: %v\n%s", n.name, args, err, n.broker.Log())
	}
	return out
}

func (n *node) stop(t *testing.T) {
	t.Helper()
	if err := n.broker.Stop(stopLimit); err != nil {
		t.Fatal(err)
	}
}

// TestASingleNodeGrowsAndShrinks: what docs/ha.md says of growing and
// shrinking, under load: a single node becomes the first of three without an
// export, one of the others joins by its configuration and the other, which was
// alone, by hand; in the end the first is single again.
func TestASingleNodeGrowsAndShrinks(t *testing.T) {
	w := &world{history: newHistory(), seed: number("CLUSTER_SEED", uint64(time.Now().UnixNano())), life: t.Context()}
	t.Logf("seed: CLUSTER_SEED=%d", w.seed)
	w.cluster = newCluster(3, t.TempDir(), true)
	all := w.nodes
	t.Cleanup(func() { w.nodes = all; w.Close() })
	first, second, third := all[0], all[1], all[2]
	for _, n := range all {
		n.peers = "" // no cluster unless a test says so
	}
	w.nodes = all[:1]
	if err := w.start(); err != nil {
		t.Fatal(err)
	}
	const kept = 500
	w.keep(t, 0, "cluster.kept", kept)
	end := w.load()
	rest(t.Context(), time.Second)

	t.Log("HA is turned on")
	first.stop(t)
	first.extra = first.highAvailability()
	if err := w.start(); err != nil {
		t.Fatalf("a single node with HA turned on: %v", err)
	}
	w.kept(t, w.leader(serveLimit), "cluster.kept", kept)

	t.Log("two nodes join")
	second.extra = second.highAvailability(first.peerAddress())
	third.extra = third.highAvailability()
	for _, n := range []*node{second, third} {
		if err := n.start(); err != nil {
			t.Fatal(err)
		}
	}
	w.nodes = all[2:]
	if w.leader(serveLimit) < 0 {
		t.Fatalf("a node without peers does not serve alone\n%s", third.broker.Log())
	}
	w.keep(t, 0, "cluster.left", 1)
	w.nodes = all[:1]
	if out, err := third.broker.CTL("cluster", "join", first.peerAddress()); err == nil {
		t.Errorf("a node with queues joined without force: %s", out)
	}
	third.ctl(t, "cluster", "join", first.peerAddress(), "force")
	end()
	w.nodes = all
	if err := w.settleDown(); err != nil {
		t.Fatal(err)
	}
	t.Log("the first dies")
	first.broker.Kill()
	next := w.successor(t, 0)
	w.kept(t, next, "cluster.kept", kept)
	w.judge(t)
	t.Log("it comes back and leads again")
	if err := w.start(0); err != nil {
		t.Fatal(err)
	}
	if err := w.settleDown(); err != nil {
		t.Fatal(err)
	}
	if l := w.leader(serveLimit); l != 0 {
		all[l].ctl(t, "cluster", "transfer", first.name)
		w.successor(t, l)
		if err := w.settleDown(); err != nil {
			t.Fatal(err)
		}
	}

	t.Log("the others leave")
	first.ctl(t, "cluster", "leave", second.name)
	third.ctl(t, "cluster", "leave")
	second.broker.Kill()
	third.broker.Kill()
	w.nodes = all[:1]
	if err := w.settleDown(); err != nil {
		t.Fatal(err)
	}
	// A node that was taken out, and starts with what it has, is nobody's voter.
	if err := second.start(); err != nil {
		t.Fatal(err)
	}
	if !w.witness(t, 0).publish().acked(answerTimeout) {
		t.Error("the single node does not confirm beside one that has left")
	}
	if h, err := w.health(0); err != nil || h.Redundant != 1 || !h.Serving {
		t.Errorf("beside a node that has left: %+v %v", h, err)
	}
	w.nodes = all[1:2]
	if h, err := w.health(0); err != nil || h.Serving {
		t.Errorf("a node that has left: %+v %v", h, err)
	}
	w.nodes = all[:1]
	second.broker.Kill()
	first.stop(t)
	first.extra = nil
	if err := w.start(); err != nil {
		t.Fatalf("a single node again: %v", err)
	}
	w.kept(t, 0, "cluster.kept", kept)
	if !w.witness(t, 0).publish().acked(answerTimeout) {
		t.Error("the single node does not confirm")
	}
}

// TestABackupUnderLoadIsRestored: a backup that was made on a standby while the
// cluster was loaded becomes a node, and that one a cluster.
func TestABackupUnderLoadIsRestored(t *testing.T) {
	w := newWorld(t, nil)
	t.Logf("seed: CLUSTER_SEED=%d", w.seed)
	l := w.leader(serveLimit)
	const kept = 500
	w.keep(t, l, "cluster.kept", kept)
	n := w.nodes[l]
	n.ctl(t, "add_user", "ada", "secret")
	n.ctl(t, "set_permissions", "ada", ".*", ".*", ".*")
	end := w.load()
	rest(t.Context(), time.Second)
	want := w.definitions(t, l)
	folders := t.TempDir()
	var backups []string
	for i, m := range w.nodes {
		name := filepath.Join(folders, m.name)
		if i != l && !harness.Poll(serveLimit, func() bool { h, err := w.health(i); return err == nil && h.Last-h.Applied < 64 }) {
			t.Fatalf("%s does not follow", m.name)
		}
		t.Logf("%s: %s", m.name, strings.Join(strings.Fields(m.ctl(t, "backup", name)), " "))
		backups = append(backups, name)
	}
	end()
	w.judge(t)
	for _, m := range w.nodes {
		m.stop(t)
		if err := os.RemoveAll(m.dir); err != nil {
			t.Fatal(err)
		}
	}
	bin, err := harness.Binary()
	if err != nil {
		t.Fatal(err)
	}
	flip(t, filepath.Join(backups[l], "meta.db"))
	if out, err := harness.Run(bin, "ctl", "restore", "--verify", backups[l]); err == nil {
		t.Errorf("a damaged backup is taken for whole: %s", out)
	}
	standby := (l + 1) % len(w.nodes)
	out, err := harness.Run(bin, "ctl", "restore", backups[standby], "--data-dir", w.nodes[0].dir, "--node", w.nodes[0].name)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("restored: %s", strings.TrimSpace(out))
	if out, err := harness.Run(bin, "ctl", "restore", backups[standby], "--data-dir", w.nodes[0].dir, "--node", w.nodes[0].name); err == nil {
		t.Errorf("restored over data: %s", out)
	}
	if err := w.start(); err != nil {
		t.Fatal(err)
	}
	if err := w.settleDown(); err != nil {
		t.Fatal(err)
	}
	if l = w.leader(serveLimit); l != 0 {
		t.Fatalf("%s leads, not the restored node", w.nodes[l].name)
	}
	w.kept(t, l, "cluster.kept", kept)
	if got := w.definitions(t, l); got != want {
		t.Errorf("definitions:\n%s\nbefore:\n%s", got, want)
	}
	w.nodes[l].ctl(t, "cluster", "transfer")
	w.kept(t, w.successor(t, l), "cluster.kept", kept)
}

// flip damages one byte in the middle of a file.
func flip(t *testing.T, name string) {
	t.Helper()
	raw, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	raw[len(raw)/2] ^= 0x40
	if err := os.WriteFile(name, raw, 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestTheLastNodeIsRecovered: two of three nodes are gone for good. The third
// refuses clients until an operator says that it shall go on alone, and is the
// first of a new cluster then.
func TestTheLastNodeIsRecovered(t *testing.T) {
	w := newWorld(t, nil)
	const kept = 500
	w.keep(t, w.leader(serveLimit), "cluster.kept", kept)
	if err := w.settleDown(); err != nil {
		t.Fatal(err)
	}
	for _, n := range w.nodes {
		n.broker.Kill()
	}
	last := w.nodes[2]
	for _, n := range w.nodes[:2] {
		if err := os.RemoveAll(n.dir); err != nil {
			t.Fatal(err)
		}
	}
	if err := last.start(); err != nil {
		t.Fatal(err)
	}
	bin, err := harness.Binary()
	if err != nil {
		t.Fatal(err)
	}
	rescue := func(args ...string) (string, error) {
		return harness.Run(bin, append([]string{"ctl", "--data-dir", last.dir, "cluster", "recover", "--node", last.name}, args...)...)
	}
	if out, err := rescue("--accept-loss"); err == nil {
		t.Fatalf("recovered under a running node: %s", out)
	}
	if h, err := w.health(2); err != nil || h.Serving {
		t.Fatalf("a node without a quorum: %+v %v", h, err)
	}
	last.broker.Kill()
	if out, err := rescue(); err == nil {
		t.Fatalf("recovered without consent: %s", out)
	}
	out, err := rescue("--accept-loss")
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%s", out)
	for _, n := range w.nodes[:2] {
		if !strings.Contains(out, n.name) {
			t.Errorf("it does not say that %s is dropped", n.name)
		}
	}
	if err := w.start(2); err != nil {
		t.Fatal(err)
	}
	if l := w.leader(serveLimit); l != 2 {
		t.Fatalf("the recovered node does not serve\n%s%s", w.states(), w.logs())
	}
	w.kept(t, 2, "cluster.kept", kept)
	if err := w.start(0, 1); err != nil {
		t.Fatal(err)
	}
	if err := w.settleDown(); err != nil {
		t.Fatal(err)
	}
	last.broker.Kill()
	w.kept(t, w.successor(t, 2), "cluster.kept", kept)
}

// TestMovingFromRabbitMQ: the definitions that a RabbitMQ cluster exports, with
// its kinds of replicated queues, become queues that outlive the active node.
func TestMovingFromRabbitMQ(t *testing.T) {
	w := newWorld(t, nil)
	name := filepath.Join(t.TempDir(), "definitions.json")
	if err := os.WriteFile(name, []byte(rabbitDefinitions), 0o600); err != nil {
		t.Fatal(err)
	}
	l := w.leader(serveLimit)
	w.nodes[l].ctl(t, "import_definitions", name)
	queues := []string{"orders.quorum", "orders.classic", "orders.mirrored"}
	ch, cut, err := w.channel(w.addresses(portAMQP, l)[0])
	if err != nil {
		t.Fatal(err)
	}
	defer cut()
	if err := ch.Tx(); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"new", "paid"} {
		if err := ch.Publish("orders", key, false, false, amqp.Publishing{DeliveryMode: amqp.Persistent, Body: []byte(key)}); err != nil {
			t.Fatal(err)
		}
	}
	if err := ch.TxCommit(); err != nil {
		t.Fatal(err)
	}
	want := w.definitions(t, l)
	w.nodes[l].broker.Kill()
	next := w.successor(t, l)
	if got := w.definitions(t, next); got != want {
		t.Errorf("definitions:\n%s\nbefore:\n%s", got, want)
	}
	for _, q := range queues {
		w.jms(t, next, "").expect(t, q, q, "new", "paid")
	}
}

const rabbitDefinitions = `{
 "rabbit_version": "3.13.7", "rabbitmq_version": "3.13.7", "product_name": "RabbitMQ", "product_version": "3.13.7",
 "users": [{"name": "guest", "password_hash": "kAgSNLatFItO0Kj5+022ZLN82Xe10aesT9rz2b2fMe480YQ7", "hashing_algorithm": "rabbit_password_hashing_sha256", "tags": ["administrator"], "limits": {}}],
 "vhosts": [{"name": "/"}],
 "permissions": [{"user": "guest", "vhost": "/", "configure": ".*", "write": ".*", "read": ".*"}],
 "topic_permissions": [], "parameters": [], "global_parameters": [{"name": "cluster_name", "value": "rabbit@old"}],
 "policies": [{"vhost": "/", "name": "ha", "pattern": "^orders\\.mirrored$", "apply-to": "queues", "definition": {"ha-mode": "exactly", "ha-params": 2, "ha-sync-mode": "automatic"}, "priority": 0}],
 "queues": [
  {"name": "orders.quorum", "vhost": "/", "durable": true, "auto_delete": false, "arguments": {"x-queue-type": "quorum"}},
  {"name": "orders.classic", "vhost": "/", "durable": true, "auto_delete": false, "arguments": {"x-queue-type": "classic"}},
  {"name": "orders.mirrored", "vhost": "/", "durable": true, "auto_delete": false, "arguments": {}}],
 "exchanges": [{"name": "orders", "vhost": "/", "type": "topic", "durable": true, "auto_delete": false, "internal": false, "arguments": {}}],
 "bindings": [
  {"source": "orders", "vhost": "/", "destination": "orders.quorum", "destination_type": "queue", "routing_key": "#", "arguments": {}},
  {"source": "orders", "vhost": "/", "destination": "orders.classic", "destination_type": "queue", "routing_key": "#", "arguments": {}},
  {"source": "orders", "vhost": "/", "destination": "orders.mirrored", "destination_type": "queue", "routing_key": "#", "arguments": {}}]
}
`
