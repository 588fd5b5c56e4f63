package cluster

import (
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/hermodmq/hermod/conformance/harness"
)

// What the metrics of the nodes say of the cluster: who leads since when, what
// commits cost, who lacks how much, and how a node that is filled gets on.
func TestMetricsOfACluster(t *testing.T) {
	w := newWorld(t, nil)
	l := w.leader(serveLimit)
	ch, cut, err := w.channel(w.addresses(portAMQP, l)[0])
	if err != nil {
		t.Fatal(err)
	}
	defer cut()
	if _, err := publishConfirmed(ch); err != nil {
		t.Fatal(err)
	}
	if !w.whole(serveLimit) {
		t.Fatalf("not whole\n%s%s", w.states(), w.logs())
	}
	lead := w.samples(t, l)
	for name, want := range map[string]float64{
		"hermod_ha_leader": 1, "hermod_ha_serving": 1, "hermod_ha_quorum": 1, "hermod_ha_members": 3, "hermod_ha_reachable": 3, "hermod_ha_redundancy": 3,
	} {
		if got, ok := lead[name]; !ok || got != want {
			t.Errorf("%s of the leader = %v, want %v", name, got, want)
		}
	}
	count, total := lead["hermod_raft_commits_total"], lead["hermod_raft_commit_seconds_total"]
	if count < 1 || total <= 0 || total/count > 10 {
		t.Errorf("%v commits took %v s together", count, total)
	}
	for i := range w.nodes {
		s := w.samples(t, i)
		if s["hermod_raft_term"] != lead["hermod_raft_term"] || s["hermod_raft_term"] < 1 {
			t.Errorf("term %v on %s, %v on the leader", s["hermod_raft_term"], w.nodes[i].name, lead["hermod_raft_term"])
		}
		if i != l && (s["hermod_ha_leader"] != 0 || s["hermod_ha_serving"] != 0) {
			t.Errorf("%s says that it leads", w.nodes[i].name)
		}
		for _, name := range []string{"hermod_ha_lag_entries", "hermod_ha_seed_bytes", "hermod_ha_seed_total_bytes", "hermod_raft_applied_index"} {
			if _, ok := s[name]; !ok {
				t.Errorf("no %s on %s", name, w.nodes[i].name)
			}
		}
	}

	// A standby that stands still lags, and the leader says by how much.
	still := (l + 1) % len(w.nodes)
	if err := w.nodes[still].signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	lagging := harness.Poll(serveLimit, func() bool {
		if _, err := publishConfirmed(ch); err != nil {
			t.Fatal(err)
		}
		s := w.samples(t, l)
		return s["hermod_ha_lag_entries"] > 0 && s["hermod_ha_reachable"] == 2
	})
	if err := w.nodes[still].signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	if !lagging {
		t.Error("no lag shows of a standby that stands still")
	}

	// A node that is filled anew says how far it is.
	w.nodes[still].broker.Kill()
	if err := os.RemoveAll(w.nodes[still].dir); err != nil {
		t.Fatal(err)
	}
	if err := w.start(still); err != nil {
		t.Fatal(err)
	}
	if !w.whole(serveLimit) {
		t.Fatalf("not whole again\n%s%s", w.states(), w.logs())
	}
	if s := w.samples(t, still); s["hermod_ha_seed_bytes"] != s["hermod_ha_seed_total_bytes"] {
		t.Errorf("%v of %v bytes received when all is done", s["hermod_ha_seed_bytes"], s["hermod_ha_seed_total_bytes"])
	}
}

// samples are the metrics of a node that have no labels.
func (w *world) samples(t *testing.T, i int) map[string]float64 {
	t.Helper()
	list := map[string]float64{}
	for line := range strings.Lines(w.metrics(t, i)) {
		name, value, ok := strings.Cut(strings.TrimSpace(line), " ")
		if v, err := strconv.ParseFloat(value, 64); ok && err == nil {
			list[name] = v
		}
	}
	return list
}
