package cluster

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/hermodmq/hermod/conformance/harness"
)

// voter is the index of the witness in a cluster of two full nodes and one.
const voter = 2

func withWitness(nodes []*node) {
	nodes[voter].extra = append(nodes[voter].extra, "ha.witness=true")
}

// killWhileAway kills the leader when the other full node has been away, so
// that besides the dead leader only the witness has what was confirmed last,
// and brings the other one back. Every other time the witness restarts, too.
func killWhileAway(ctx context.Context, w *world, rng *rand.Rand) error {
	l, err := w.serving()
	if err != nil {
		return err
	}
	other := 1 - l
	if err := w.settleDown(); err != nil { // else there may be no quorum without it
		return err
	}
	w.nodes[other].broker.Kill()
	rest(ctx, time.Second+someTime(rng, 2*time.Second))
	w.nodes[l].broker.Kill()
	again := []int{other}
	if rng.IntN(2) == 0 {
		w.nodes[voter].broker.Kill()
		again = append(again, voter)
	}
	return w.goesOn(ctx, rng, l, other, again)
}

// goesOn starts what is to come back without the full node l, so that the other
// one serves, and l some time later.
func (w *world) goesOn(ctx context.Context, rng *rand.Rand, l, other int, again []int) error {
	if err := w.start(again...); err != nil {
		return err
	}
	next, err := w.serving()
	if err != nil {
		return err
	}
	if next != other {
		return fmt.Errorf("%s serves, not %s", w.nodes[next].name, w.nodes[other].name)
	}
	rest(ctx, someTime(rng, time.Second))
	return w.start(l)
}

// TestNothingConfirmedIsLostWithAWitness is TestNothingConfirmedIsLost with two
// full nodes and a witness.
func TestNothingConfirmedIsLostWithAWitness(t *testing.T) {
	w := newWorld(t, withWitness)
	rounds := number("CLUSTER_ROUNDS", 8)
	t.Logf("seed: CLUSTER_SEED=%d CLUSTER_ROUNDS=%d, namespaces: %v", w.seed, rounds, w.net != nil)
	away := fault{"kill the leader while the other full node is away", false, killWhileAway}
	list := faults
	for range len(faults) {
		list = append(list[:len(list):len(list)], away)
	}
	w.endure(t, rounds, list)
	for i := range w.nodes {
		if h, err := w.health(i); i == voter && (err != nil || h.Serving || h.Role == "leader") {
			t.Errorf("the witness says %+v (%v)", h, err)
		}
	}
	w.holdsNothing(t, 256<<20)
}

// holdsNothing fails if the witness has a store, or more than so many bytes.
func (w *world) holdsNothing(t *testing.T, most int64) {
	t.Helper()
	var size int64
	err := filepath.WalkDir(w.nodes[voter].dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			if os.IsNotExist(err) { // log files come and go
				return nil
			}
			return err
		}
		if d.IsDir() && strings.HasPrefix(d.Name(), "store") {
			t.Errorf("the witness has %s", path)
		}
		if info, err := d.Info(); err == nil && d.Type().IsRegular() {
			size += info.Size()
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("the witness's folder has %d MiB", size>>20)
	if size > most {
		t.Errorf("the witness's folder has %d bytes, more than %d", size, most)
	}
}

// TestAWitnessKeepsLittle: its disk stays small however much goes through the
// cluster, and also while it restarts.
func TestAWitnessKeepsLittle(t *testing.T) {
	w := newWorld(t, withWitness)
	l := w.leader(serveLimit)
	const (
		size  = 100 << 10
		count = 5000
	)
	w.bulk(t, l, 2*count/5, size)
	w.nodes[voter].broker.Kill()
	if err := w.start(voter); err != nil {
		t.Fatal(err)
	}
	w.bulk(t, l, 3*count/5, size)
	if err := w.settleDown(); err != nil {
		t.Fatal(err)
	}
	small := harness.Poll(20*time.Second, func() bool { return w.logBytes(voter) < 128<<20 })
	if !small {
		t.Errorf("the witness's log has %d bytes", w.logBytes(voter))
	}
	w.holdsNothing(t, 300<<20)

	resp, err := w.http.Get("http://" + net.JoinHostPort(w.nodes[voter].addr, portMetrics) + "/health")
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	if err != nil || resp.StatusCode != http.StatusServiceUnavailable || !strings.Contains(string(text), `"status":"witness"`) {
		t.Errorf("health of the witness: %d %s (%v)", resp.StatusCode, text, err)
	}
	if out, err := w.nodes[l].broker.CTL("cluster", "status"); err != nil || !strings.Contains(out, "witness") {
		t.Errorf("cluster status: %s (%v)", out, err)
	}
	if out, err := w.nodes[l].broker.CTL("cluster", "transfer", w.nodes[voter].name); err == nil {
		t.Errorf("the witness was made the active node: %s", out)
	}
	if out, err := w.nodes[voter].broker.CTL("list_queues"); err == nil {
		t.Errorf("the witness lists queues: %s", out)
	}
}

// bulk publishes count messages of size bytes, a multiple of 200, and waits for
// their confirms.
func (w *world) bulk(t *testing.T, node, count, size int) {
	t.Helper()
	var ch *amqp.Channel
	var cut func()
	var err error
	if !harness.Poll(serveLimit, func() bool { // it may just have been deposed and elected again
		ch, cut, err = w.channel(w.addresses(portAMQP, node)[0])
		return err == nil
	}) {
		t.Fatal(err)
	}
	defer cut()
	if err := ch.Confirm(false); err != nil {
		t.Fatal(err)
	}
	payload := make([]byte, size)
	var open []*amqp.DeferredConfirmation
	for i := range count {
		d, err := ch.PublishWithDeferredConfirm("", queuePlain, false, false, amqp.Publishing{DeliveryMode: amqp.Persistent, Body: payload})
		if err != nil {
			t.Fatalf("message %d: %v\n%s", i, err, w.logs())
		}
		if open = append(open, d); len(open) < 200 {
			continue
		}
		for _, d := range open {
			if !(pending{d}).acked(answerTimeout) {
				t.Fatalf("no confirm\n%s", w.logs())
			}
		}
		open = open[:0]
	}
}

// TestAWitnessComesLate: one that was away for longer than the leader keeps its
// log, and one whose disk was lost, begin anew, and their vote counts again.
func TestAWitnessComesLate(t *testing.T) {
	w := newWorld(t, func(nodes []*node) {
		withWitness(nodes)
		for _, n := range nodes {
			n.extra = append(n.extra, "ha.log_keep=1MiB")
		}
	})
	l := w.leader(serveLimit)
	for _, wiped := range []bool{false, true} {
		w.nodes[voter].broker.Kill()
		w.bulk(t, l, 4000, 100<<10)
		// A checkpoint cuts the logs of the full nodes.
		if !harness.Poll(serveLimit, func() bool { return w.logBytes(l) < 256<<20 }) {
			t.Fatalf("the leader's log is not cut\n%s", w.logs())
		}
		if wiped {
			if err := os.RemoveAll(w.nodes[voter].dir); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.start(voter); err != nil {
			t.Fatal(err)
		}
		if err := w.settleDown(); err != nil {
			t.Fatal(err)
		}
		if log := w.nodes[voter].broker.Log(); !strings.Contains(log, "beginning anew") {
			t.Errorf("the witness has got the whole log (wiped %v): the test proves nothing\n%s", wiped, log)
		}
	}
	w.nodes[1-l].broker.Kill()
	if !w.works(t.Context(), l) {
		t.Errorf("the active node and the witness confirm nothing\n%s", w.logs())
	}
}

// TestTheWitnessHasForgotten: a full node was away for longer than the witness
// keeps the log for it, and then the active node dies. The one that is back may
// not serve without what it lacks; the other one has it all.
func TestTheWitnessHasForgotten(t *testing.T) {
	const count = 4000
	w := newWorld(t, func(nodes []*node) {
		withWitness(nodes)
		nodes[voter].extra = append(nodes[voter].extra, "ha.witness_log=128MiB")
	})
	defer func() {
		if t.Failed() {
			t.Log(w.states() + w.logs())
		}
	}()
	l := w.leader(serveLimit)
	w.nodes[1-l].broker.Kill()
	w.bulk(t, l, count, 100<<10)
	if !harness.Poll(serveLimit, func() bool { return w.logBytes(voter) <= 128<<20 }) {
		t.Errorf("the witness's log has %d bytes", w.logBytes(voter))
	}
	if !harness.Poll(serveLimit, func() bool { h, err := w.health(l); return err == nil && h.Redundant == 1 }) {
		t.Errorf("the active node does not say that it is alone\n%s", w.states())
	}
	w.nodes[l].broker.Kill()
	if err := w.start(1 - l); err != nil {
		t.Fatal(err)
	}
	// The witness has the longer log and is elected, but cannot hand over.
	if !harness.Poll(serveLimit, func() bool { h, err := w.health(voter); return err == nil && h.Role == "leader" }) {
		t.Errorf("the witness is not elected\n%s", w.states())
	}
	if h, err := w.health(1 - l); err != nil || h.Serving {
		t.Errorf("a node serves that lacks what was confirmed: %+v (%v)", h, err)
	}
	if err := w.start(l); err != nil {
		t.Fatal(err)
	}
	if err := w.settleDown(); err != nil {
		t.Fatal(err)
	}
	l = w.leader(serveLimit)
	out, err := w.nodes[l].broker.CTL("list_queues", "name", "messages")
	if err != nil || !strings.Contains(out, fmt.Sprintf("%d", count)) {
		t.Errorf("want %d messages in %s: %s (%v)", count, queuePlain, out, err)
	}
}

// logBytes is the size of a node's log, by its own account.
func (w *world) logBytes(i int) int64 {
	resp, err := w.http.Get("http://" + net.JoinHostPort(w.nodes[i].addr, portMetrics) + "/health")
	if err != nil {
		return 1 << 62
	}
	defer func() { _ = resp.Body.Close() }()
	h := struct {
		Bytes int64 `json:"log_bytes"`
	}{1 << 62}
	_ = json.NewDecoder(resp.Body).Decode(&h) // the size says so
	return h.Bytes
}

// TestAWitnessSurvivesPowerCuts: the power of the witness, of full nodes and of
// all fails, and each forgets what it had not synced. Besides the faults that
// three full nodes endure, the active node goes while the other full one is away:
// then only the witness has what was confirmed last, and it had better be on its
// disk.
func TestAWitnessSurvivesPowerCuts(t *testing.T) {
	w, p := newWorldOnLossyDisks(t, withWitness)
	rounds := number("CLUSTER_POWER_ROUNDS", 6)
	t.Logf("seed: CLUSTER_SEED=%d CLUSTER_POWER_ROUNDS=%d", w.seed, rounds)
	away := fault{"power cut of the leader and the witness while the other full node is away", false, p.whileAway}
	list := append(p.faults(), fault{"power cut of the witness", false, p.pull(func(int, *world, *rand.Rand) []int { return []int{voter} })}, away)
	end := w.load()
	if err := p.whileAway(t.Context(), w, rand.New(rand.NewPCG(w.seed, 1))); err != nil { // once at least
		t.Fatal(err)
	}
	rng := rand.New(rand.NewPCG(w.seed, 0))
	for range rounds {
		w.round(t, rng, list)
	}
	if err := w.settleDown(); err != nil {
		t.Fatal(err)
	}
	end()
	w.judge(t)
	t.Logf("the disks forgot %d pages and %d names", p.lost.Pages, p.lost.Names)
	w.holdsNothing(t, 256<<20)
}

// whileAway is killWhileAway by power cuts: the witness forgets, too.
func (p *plug) whileAway(ctx context.Context, w *world, rng *rand.Rand) error {
	if err := w.settleDown(); err != nil { // else there may be no quorum without one
		return err
	}
	l, err := w.serving()
	if err != nil {
		return err
	}
	other := 1 - l
	w.nodes[other].broker.Kill()
	rest(ctx, time.Second+someTime(rng, 2*time.Second))
	for _, i := range []int{l, voter} {
		w.nodes[i].broker.Kill()
	}
	for _, i := range []int{l, voter} {
		lost, err := p.disks[i].Cut(rng, 1)
		if err != nil {
			return err
		}
		p.lost.Pages += lost.Pages
		p.lost.Names += lost.Names
	}
	return w.goesOn(ctx, rng, l, other, []int{other, voter})
}

// TestAWitnessesDiskFillsUp: a witness whose disk is nearly full keeps little log
// and says so, one whose disk is full ends; neither holds anybody up, and the
// quorum of the full nodes goes on. With the witness back one of them may go.
func TestAWitnessesDiskFillsUp(t *testing.T) {
	w, volumes := newWorldOnVolumes(t, func(nodes []*node) { withWitness(nodes); patient(nodes) })
	t.Logf("seed: CLUSTER_SEED=%d", w.seed)
	end := w.load()
	l, err := w.serving()
	if err != nil {
		t.Fatal(err)
	}
	hosing, stop := context.WithCancel(t.Context())
	var hoses sync.WaitGroup
	defer hoses.Wait()
	defer stop()
	if err := volumes[voter].fill(diskLow - 32<<20); err != nil {
		t.Fatal(err)
	}
	w.saysDiskLow(t, voter, true)
	w.hose(hosing, &hoses)
	c := w.witness(t, l)
	from := w.entries(t, l)
	if !harness.Poll(serveLimit, func() bool { return w.entries(t, l) > from+2000 }) { // more than it has room for
		t.Fatalf("publishers are held up\n%s%s", w.states(), w.logs())
	}
	if !c.publish().acked(answerTimeout) {
		t.Error("the active node holds publishers back because of the witness's disk")
	}
	if !harness.Poll(serveLimit, func() bool { return w.logBytes(voter) <= 128<<20 }) {
		t.Errorf("the witness keeps a log of %d MiB", w.logBytes(voter)>>20)
	}
	w.runsFull(t, voter, volumes[voter])
	stop()
	hoses.Wait()
	w.saysDiskLow(t, voter, false)
	if err := killLeader(t.Context(), w, rand.New(rand.NewPCG(w.seed, 0))); err != nil {
		t.Fatal(err)
	}
	if err := w.settleDown(); err != nil {
		t.Fatal(err)
	}
	end()
	w.judge(t)
}

// entries is the last index of a node's log.
func (w *world) entries(t *testing.T, i int) uint64 {
	t.Helper()
	h, err := w.health(i)
	if err != nil {
		t.Fatal(err)
	}
	return h.Last
}

// TestRollingUpgradeWithAWitness: from a build that knows no format levels, the
// witness last: it stores none of what levels are about, but it counts.
func TestRollingUpgradeWithAWitness(t *testing.T) {
	w, _ := newOlderWorld(t, withWitness)
	old := w.leader(serveLimit)
	const kept = 200
	w.keep(t, old, "cluster.kept", kept)
	end := w.load()
	w.changeBuild(t, 1-old, "")
	next := w.handOverOlder(t, old)
	w.changeBuild(t, old, "")
	if h, err := w.health(next); err != nil || h.Reached != 0 || h.Known == 0 {
		t.Errorf("with an older witness %s is %+v, %v", w.nodes[next].name, h, err)
	}
	w.changeBuild(t, voter, "")
	if !w.levelled(serveLimit) {
		t.Fatalf("the format level is not reached\n%s%s", w.states(), w.logs())
	}
	if err := killWhileAway(t.Context(), w, rand.New(rand.NewPCG(w.seed, 0))); err != nil {
		t.Fatal(err)
	}
	if err := w.settleDown(); err != nil {
		t.Fatal(err)
	}
	end()
	w.judge(t)
	w.kept(t, w.leader(serveLimit), "cluster.kept", kept)
	w.leasesAfterUpgrade(t)
}
