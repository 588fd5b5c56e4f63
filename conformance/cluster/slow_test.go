package cluster

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/hermodmq/hermod/conformance/harness"
)

const (
	// slowBacklog is how much log the others write while a standby is slow.
	slowBacklog = 256 << 20
	// slowMemory bounds what the active node's memory grows by meanwhile: memory
	// tables and buffers it would have had anyway, but nothing like the backlog.
	slowMemory = 192 << 20

	slowLink = 1 << 20                // bytes per second
	slowDisk = 700 * time.Millisecond // per sync
)

// TestASlowStandbyHoldsNobodyUp: the link of one standby, or its disk, is slow
// under load of all protocols. The quorum goes on without it, the active node
// keeps what it lacks on disk and not in memory, and when it is quick again it
// catches up.
func TestASlowStandbyHoldsNobodyUp(t *testing.T) {
	t.Run("link", func(t *testing.T) {
		w := newWorld(t, patient)
		if w.net == nil {
			t.Skip("links are slow where nodes have a network of their own")
		}
		w.slowStandby(t, func(l, slow int) (mend func()) {
			for i := range w.nodes {
				if i != slow {
					w.net.both(i, slow, &weather{delay: 5 * time.Millisecond, rate: slowLink})
				}
			}
			return w.net.heal
		})
	})
	t.Run("disk", func(t *testing.T) {
		w, p := newWorldOnLossyDisks(t, patient)
		w.slowStandby(t, func(_, slow int) (mend func()) { return p.disks[slow].Slow(slowDisk) })
	})
}

// patient keeps the leader in office however busy the machine is: this is not
// about elections.
func patient(nodes []*node) { set("ha.election_timeout=10s")(nodes) }

func (w *world) slowStandby(t *testing.T, slowDown func(l, slow int) (mend func())) {
	t.Helper()
	t.Logf("seed: CLUSTER_SEED=%d", w.seed)
	end := w.load()
	hosing, stop := context.WithCancel(t.Context())
	var hoses sync.WaitGroup
	defer hoses.Wait()
	defer stop()
	w.hose(hosing, &hoses)
	l := w.leader(serveLimit)
	if l < 0 {
		t.Fatalf("no node serves\n%s", w.states())
	}
	slow := (l + 1) % len(w.nodes)
	// Memory tables are full, and what is flushed is.
	w.grows(t, l, 128<<20)
	before := w.resident(t, l)
	mend := slowDown(l, slow)
	defer mend()
	w.grows(t, l, slowBacklog)
	grown := w.resident(t, l) - before
	// The leader asks the others how far they are now and then only.
	var lag uint64
	behind := func() bool { lag = w.lag(t, l, slow); return lag >= 200 } // entries, of 256 KiB as a rule
	if !harness.Poll(time.Minute, behind) {
		t.Errorf("it lags by %d entries: it was not slow, and the test proves nothing", lag)
	}
	t.Logf("the active node has %d MiB, %d more than before; the slow standby lags by %d entries", (before+grown)>>20, grown>>20, lag)
	if grown > slowMemory {
		t.Errorf("the active node's memory has grown by %d MiB", grown>>20)
	}
	if !w.witness(t, l).publish().acked(answerTimeout) {
		t.Error("the active node does not confirm")
	}
	mend()
	stop()
	hoses.Wait()
	if err := w.settleDown(); err != nil {
		t.Fatal(err)
	}
	end()
	w.judge(t)
}

// grows waits until a node's log is so many bytes longer.
func (w *world) grows(t *testing.T, i int, by int64) {
	t.Helper()
	from := w.logBytes(i)
	if !harness.Poll(3*time.Minute, func() bool { return w.logBytes(i) >= from+by }) {
		t.Fatalf("the log has grown by %d MiB only: publishers are held up\n%s%s", (w.logBytes(i)-from)>>20, w.states(), w.logs())
	}
}

// lag is what a leader says of another node.
func (w *world) lag(t *testing.T, leader, i int) uint64 {
	t.Helper()
	a, err := w.health(leader)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range a.Nodes {
		if n.Name == w.nodes[i].name {
			return n.Lag
		}
	}
	t.Fatalf("%s is no member", w.nodes[i].name)
	return 0
}

// resident is the memory of a node's process that is no file's, in bytes.
func (w *world) resident(t *testing.T, i int) int64 {
	t.Helper()
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", w.nodes[i].broker.PID()))
	if err != nil {
		t.Fatal(err)
	}
	for line := range bytes.Lines(raw) {
		if f := bytes.Fields(line); len(f) == 3 && string(f[0]) == "RssAnon:" {
			kib, err := strconv.ParseInt(string(f[1]), 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			return kib << 10
		}
	}
	t.Fatalf("no RssAnon in %s", raw)
	return 0
}
