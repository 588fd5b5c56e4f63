package cluster

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/hermodmq/hermod/conformance/harness"
)

// The figures of docs/performance.md. Nodes are on loopback addresses and
// share the machine's cores and disk, which real clusters do not.
//
//	go test -run '^$' -bench Takeover -benchtime 50x .
//	go test -run '^$' -bench 'Transfer|Confirms|Window1' .
//	CLUSTER_BACKLOG=10000000 go test -run '^$' -bench Rebuild -benchtime 1x .

// benchCluster starts n nodes and returns when they are whole. prepare may be
// nil.
func benchCluster(b *testing.B, n int, prepare func(nodes []*node)) *world {
	b.Helper()
	w := &world{history: newHistory(), seed: 1, cluster: newCluster(n, b.TempDir(), false)}
	if n == 1 { // beside a cluster
		w.nodes[0].addr = "127.77.1.1"
	}
	if prepare != nil {
		prepare(w.nodes)
	}
	b.Cleanup(w.Close)
	if err := w.start(); err != nil {
		b.Fatalf("%v\n%s", err, w.logs())
	}
	if err := w.settleDown(); err != nil {
		b.Fatal(err)
	}
	return w
}

// set gives all nodes the same further settings.
func set(settings ...string) func(nodes []*node) {
	return func(nodes []*node) {
		for _, n := range nodes {
			n.extra = append(n.extra, settings...)
		}
	}
}

// confirmOne publishes until one publish is confirmed, on whatever node
// answers, and returns when that was.
func (w *world) confirmOne(b *testing.B, first int) time.Time {
	b.Helper()
	for deadline := time.Now().Add(serveLimit); time.Now().Before(deadline); first++ {
		ch, cut, err := w.channel(w.addresses(portAMQP, first)[0])
		if err != nil {
			continue
		}
		at, err := publishConfirmed(ch)
		cut()
		if err == nil {
			return at
		}
	}
	b.Fatalf("nothing is confirmed any more\n%s%s", w.states(), w.logs())
	return time.Time{}
}

func publishConfirmed(ch *amqp.Channel) (time.Time, error) {
	if err := ch.Confirm(false); err != nil {
		return time.Time{}, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), answerTimeout)
	defer cancel()
	c, err := ch.PublishWithDeferredConfirm("", queuePlain, false, false, amqp.Publishing{DeliveryMode: amqp.Persistent, Body: []byte("x")})
	if err != nil {
		return time.Time{}, err
	}
	ok, err := c.WaitContext(ctx)
	if err == nil && !ok {
		err = amqp.ErrClosed
	}
	return time.Now(), err
}

// report adds the median and the worst of some durations, in ms.
func report(b *testing.B, name string, list []time.Duration) {
	slices.Sort(list)
	ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
	b.ReportMetric(ms(list[len(list)/2]), name+"-p50-ms")
	b.ReportMetric(ms(list[len(list)-1]), name+"-max-ms")
	b.ReportMetric(0, "ns/op")
}

// BenchmarkTakeover: from kill -9 of the active node to the first confirmed
// publish on the new one.
func BenchmarkTakeover(b *testing.B) { benchCluster(b, 3, nil).takeovers(b) }

func (w *world) takeovers(b *testing.B) {
	b.Helper()
	var gaps []time.Duration
	for b.Loop() {
		if !w.whole(serveLimit) {
			b.Fatalf("not whole\n%s%s", w.states(), w.logs())
		}
		l := w.leader(serveLimit)
		w.confirmOne(b, l)
		began := time.Now()
		if err := w.nodes[l].signal(syscall.SIGKILL); err != nil {
			b.Fatal(err)
		}
		gap := w.confirmOne(b, l+1).Sub(began)
		gaps = append(gaps, gap)
		if gap > time.Second {
			b.Logf("%v after killing %s at %v\n%s", gap, w.nodes[l].name, began.UTC().Format(time.TimeOnly+".000"), w.logs())
		}
		w.nodes[l].broker.Kill()
		if err := w.start(l); err != nil {
			b.Fatalf("%v\n%s", err, w.logs())
		}
	}
	report(b, "takeover", gaps)
}

// BenchmarkTransfer: from the command that hands over to the first confirmed
// publish on the new node.
func BenchmarkTransfer(b *testing.B) {
	w := benchCluster(b, 3, nil)
	var gaps []time.Duration
	for b.Loop() {
		if !w.whole(serveLimit) {
			b.Fatalf("not whole\n%s%s", w.states(), w.logs())
		}
		l := w.leader(serveLimit)
		w.confirmOne(b, l)
		began := time.Now()
		failed := make(chan error, 1)
		go func() {
			_, err := w.nodes[l].broker.CTL("cluster", "transfer")
			failed <- err
		}()
		// Publishes go on at the old node until it leaves.
		last := began
		for at, next := w.confirmOne(b, l), l; ; at = w.confirmOne(b, next) {
			if h, err := w.health(l); err != nil || !h.Serving {
				gaps = append(gaps, w.confirmOne(b, l+1).Sub(last))
				break
			}
			last = at
		}
		if err := <-failed; err != nil {
			b.Fatal(err)
		}
	}
	report(b, "transfer", gaps)
}

const benchBody = 1024

// load is what `hermod perf amqp` reports.
type load struct {
	Rate     float64 `json:"confirm_rate"`
	Messages struct {
		Confirmed int64 `json:"confirmed"`
	} `json:"messages"`
	Latency struct {
		Count int64   `json:"count"`
		P50   float64 `json:"p50_us"`
		P99   float64 `json:"p99_us"`
	} `json:"confirm_latency"`
}

// perf publishes persistent messages with confirms to the active node, from a
// process of its own with frames made beforehand: a stock client would cost
// more of the machine than the brokers do.
func (w *world) perf(b *testing.B, connections, size int, more ...string) load {
	b.Helper()
	r, err := w.tryPerf(connections, size, more...)
	if err != nil {
		b.Fatalf("%v\n%s%s", err, w.states(), w.logs())
	}
	return r
}

func (w *world) tryPerf(connections, size int, more ...string) (r load, err error) {
	l := w.leader(serveLimit)
	if l < 0 {
		return r, errors.New("no node serves")
	}
	bin, err := harness.Binary()
	if err != nil {
		return r, err
	}
	cmd := exec.Command(bin, append([]string{"perf", "amqp", "--json", "--host", w.addresses(portAMQP, l)[0], "--publish-only", "--persistent", "--durable",
		"--queue", "bench", "--size", strconv.Itoa(benchBody), "--producers", strconv.Itoa(connections), "--confirm", strconv.Itoa(size)}, more...)...)
	var problem bytes.Buffer
	cmd.Stderr = &problem
	out, err := cmd.Output()
	if err != nil {
		return r, fmt.Errorf("perf: %w: %s", err, problem.String())
	}
	return r, json.Unmarshal(out, &r)
}

// BenchmarkConfirms compares a cluster of three with a single node in one run,
// in turns: confirmed publishes of 1 KiB with a window of 1,000 on four
// connections.
func BenchmarkConfirms(b *testing.B) {
	one, three := benchCluster(b, 1, nil), benchCluster(b, 3, nil)
	var ones, threes, ratios []float64
	for b.Loop() {
		r1 := one.perf(b, 4, 1000, "--duration", "3s").Rate
		r3 := three.perf(b, 4, 1000, "--duration", "3s").Rate
		b.Logf("one %.0f/s, three %.0f/s", r1, r3)
		ones, threes, ratios = append(ones, r1), append(threes, r3), append(ratios, r3/r1)
	}
	b.ReportMetric(middle(ones), "one-msgs/s")
	b.ReportMetric(middle(threes), "three-msgs/s")
	b.ReportMetric(middle(ratios), "ratio")
	b.ReportMetric(0, "ns/op")
}

func middle(list []float64) float64 {
	slices.Sort(list)
	return list[len(list)/2]
}

// BenchmarkWindow1 is BenchmarkConfirms with one connection that waits for
// each confirm: latency.
func BenchmarkWindow1(b *testing.B) {
	one, three := benchCluster(b, 1, nil), benchCluster(b, 3, nil)
	var ones, threes, ratios []float64
	for b.Loop() {
		t1 := one.perf(b, 1, 1, "--duration", "2s").Latency.P50
		t3 := three.perf(b, 1, 1, "--duration", "2s").Latency.P50
		b.Logf("one %.0f us, three %.0f us", t1, t3)
		ones, threes, ratios = append(ones, t1), append(threes, t3), append(ratios, t3/t1)
	}
	b.ReportMetric(middle(ones), "one-p50-us")
	b.ReportMetric(middle(threes), "three-p50-us")
	b.ReportMetric(middle(ratios), "ratio")
	b.ReportMetric(0, "ns/op")
}

// BenchmarkRebuild: a standby loses its folder and gets everything anew, while
// the leader serves. The leader's rate meanwhile is the middle of samples of
// 3 s, with a rest between them that keeps the disk from filling up, from the
// standby's start until it has everything; the last one is only partly beside
// the rebuild.
func BenchmarkRebuild(b *testing.B) {
	// The leader stays where it is however busy the machine is: this is not
	// about elections.
	w := benchCluster(b, 3, set("ha.election_timeout=20s", "limits.disk_free=4GiB", "ha.seed_rate="+strconv.FormatUint(number("CLUSTER_SEED_RATE", 160<<20), 10)+"B"))
	w.fill(b, int64(number("CLUSTER_BACKLOG", 300_000)))
	l := w.leader(serveLimit)
	for b.Loop() {
		if !w.whole(serveLimit) {
			b.Fatalf("not whole\n%s%s", w.states(), w.logs())
		}
		var before []float64
		for range 3 {
			before = append(before, w.perf(b, 4, 1000, "--duration", "3s").Rate)
		}
		lost := w.nodes[(l+1)%3]
		lost.broker.Kill()
		size := folderSize(w.nodes[l].dir)
		if err := os.RemoveAll(lost.dir); err != nil {
			b.Fatal(err)
		}
		began := time.Now()
		if err := w.start((l + 1) % 3); err != nil {
			b.Fatalf("%v\n%s", err, w.logs())
		}
		done := make(chan bool, 1)
		var took time.Duration
		go func() {
			ok := w.whole(20 * time.Minute)
			took = time.Since(began)
			done <- ok
		}()
		var meanwhile []float64
		for ok, ended := false, false; !ended; {
			meanwhile = append(meanwhile, w.perf(b, 4, 1000, "--duration", "3s").Rate)
			select {
			case ok = <-done:
				if ended = true; !ok {
					b.Fatalf("not whole\n%s%s", w.states(), w.logs())
				}
			case <-time.After(5 * time.Second):
			}
		}
		b.Logf("%d MB in %v, /s before %.0f, meanwhile %.0f", size>>20, took, before, meanwhile)
		b.ReportMetric(float64(size)/1e6/took.Seconds(), "MB/s")
		b.ReportMetric(middle(meanwhile)/middle(before), "leader-rate-meanwhile")
		b.ReportMetric(0, "ns/op")
	}
}

// fill publishes until count messages are confirmed, and goes on where a
// connection breaks.
func (w *world) fill(b *testing.B, count int64) {
	b.Helper()
	var last error
	for failures := 0; count > 0; {
		n := min(count, 200_000)
		if _, err := w.tryPerf(4, 1000, "--count", strconv.FormatInt(n, 10), "--size", strconv.FormatUint(number("CLUSTER_BACKLOG_BODY", benchBody), 10)); err != nil {
			if failures, last = failures+1, err; failures > 20 {
				b.Fatalf("%v\n%s%s", last, w.states(), w.logs())
			}
			continue
		}
		count -= n
	}
}

func folderSize(dir string) (size int64) {
	_ = filepath.WalkDir(dir, func(_ string, e os.DirEntry, err error) error {
		if err == nil && e.Type().IsRegular() {
			if info, err := e.Info(); err == nil {
				size += info.Size()
			}
		}
		return nil
	})
	return size
}
