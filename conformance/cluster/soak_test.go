package cluster

import (
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"
	"time"
)

// Limits of what a node may take in the course of a calm phase, and at the same
// point of a later phase: its first figures and so much again.
const (
	soakGrowth     = 1.5
	soakGoroutines = 200
	soakMemory     = 192 << 20
	soakFiles      = 100
	soakDisk       = 1 << 30
)

// figures are what one node takes.
type figures struct {
	memory, disk      int64 // bytes
	goroutines, files int
	lag               uint64
}

func (f figures) String() string {
	return fmt.Sprintf("memory=%dMiB disk=%dMiB goroutines=%d files=%d lag=%d", f.memory>>20, f.disk>>20, f.goroutines, f.files, f.lag)
}

// outgrown lists in what f is beyond its limits, measured by first.
func (f figures) outgrown(first figures) []string {
	var list []string
	check := func(what string, now, then, slack int64) {
		if float64(now) > soakGrowth*float64(then)+float64(slack) {
			list = append(list, fmt.Sprintf("%s grew from %d to %d", what, then, now))
		}
	}
	check("memory", f.memory, first.memory, soakMemory)
	check("disk", f.disk, first.disk, soakDisk)
	check("goroutines", int64(f.goroutines), int64(first.goroutines), soakGoroutines)
	check("open files", int64(f.files), int64(first.files), soakFiles)
	return list
}

var (
	resident = regexp.MustCompile(`VmRSS:\s+(\d+) kB`)
	routines = regexp.MustCompile(`goroutine profile: total (\d+)`)
)

// measure looks at a node from outside, and at its profile.
func (w *world) measure(i int) (figures, error) {
	var f figures
	n := w.nodes[i]
	proc := fmt.Sprintf("/proc/%d/", n.broker.PID())
	status, err := os.ReadFile(proc + "status")
	if err != nil {
		return f, err
	}
	if m := resident.FindSubmatch(status); m != nil {
		kb, _ := strconv.ParseInt(string(m[1]), 10, 64)
		f.memory = kb << 10
	}
	open, err := os.ReadDir(proc + "fd")
	if err != nil {
		return f, err
	}
	f.files = len(open)
	_ = filepath.WalkDir(n.dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return nil // files come and go
		}
		if info, err := d.Info(); err == nil {
			f.disk += info.Size()
		}
		return nil
	})
	h, err := w.health(i)
	if err != nil {
		return f, err
	}
	f.lag = h.Last - min(h.Applied, h.Last)
	resp, err := w.http.Get("http://" + net.JoinHostPort(n.addr, portMetrics) + "/debug/pprof/goroutine?debug=1")
	if err != nil {
		return f, err
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 4<<10))
	if m := routines.FindSubmatch(text); m != nil {
		f.goroutines, _ = strconv.Atoi(string(m[1]))
	}
	return f, err
}

// TestSoak runs for as long as CLUSTER_SOAK says (such as 10m or 8h; without it
// not at all): phases of calm load, in which nothing may grow, and phases of
// faults. Each ends with an account of every message.
func TestSoak(t *testing.T) {
	limit, err := time.ParseDuration(os.Getenv("CLUSTER_SOAK"))
	if err != nil {
		t.Skip("CLUSTER_SOAK says for how long")
	}
	calm := min(10*time.Minute, max(limit/6, time.Minute))
	w := newWorld(t, func(nodes []*node) {
		for _, n := range nodes {
			n.extra = append(n.extra, "listeners.metrics.pprof=true", "ha.log_keep=64MiB")
		}
	})
	w.pace = 2 * time.Millisecond
	t.Logf("seed: CLUSTER_SEED=%d CLUSTER_SOAK=%v", w.seed, limit)
	rng := rand.New(rand.NewPCG(w.seed, 1))
	first := make([]figures, len(w.nodes)) // of the first calm phase
	start := time.Now()
	for phase := 1; time.Since(start) < limit; phase++ {
		end := w.calmPhase(t, phase, calm, first, start)
		for range 8 {
			w.round(t, rng, faults)
		}
		if err := w.settleDown(); err != nil {
			t.Fatal(err)
		}
		end()
		t.Logf("%v phase %d, account after faults:", time.Since(start).Round(time.Second), phase)
		w.judge(t)
		if t.Failed() {
			return
		}
		w.history = w.history.next(w.ids.Load())
	}
}

// calmPhase loads the cluster, for good until end is called, and watches what it
// takes, from when it has warmed up on.
func (w *world) calmPhase(t *testing.T, phase int, length time.Duration, first []figures, start time.Time) (end func()) {
	t.Helper()
	if err := w.settleDown(); err != nil {
		t.Fatal(err)
	}
	end = w.load()
	rest(t.Context(), length/3)
	warm := make([]figures, len(w.nodes))
	for step := range 5 {
		for i, n := range w.nodes {
			f, err := w.measure(i)
			if err != nil {
				t.Fatalf("%s: %v\n%s", n.name, err, w.logs())
			}
			t.Logf("%v phase %d %s: %v", time.Since(start).Round(time.Second), phase, n.name, f)
			if step == 0 {
				warm[i] = f
			}
			for _, what := range f.outgrown(warm[i]) {
				t.Errorf("phase %d, %s: %s", phase, n.name, what)
			}
			if step == 4 && phase == 1 {
				first[i] = f
			}
			if step == 4 {
				for _, what := range f.outgrown(first[i]) {
					t.Errorf("phase %d, %s, since phase 1: %s", phase, n.name, what)
				}
			}
		}
		if step < 4 {
			rest(t.Context(), length/6)
		}
	}
	return end
}
