package cluster

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/hermodmq/hermod/conformance/harness"
)

// olderBuild is the commit that a cluster is upgraded from: the first whose
// stored formats every later build must read.
const olderBuild = "d445f95"

// buildOlder builds hermod as it was at a commit of this repository. The error
// says that its history is not here.
func buildOlder(t *testing.T, commit string) (string, error) {
	t.Helper()
	root, err := exec.Command("git", "rev-parse", "--show-toplevel").Output()
	if err != nil {
		return "", fmt.Errorf("no repository: %w", err)
	}
	cmd := exec.Command("git", "archive", commit)
	cmd.Dir = strings.TrimSpace(string(root))
	raw, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("commit %s is not here: %w", commit, err)
	}
	dir := t.TempDir()
	if err := unpack(raw, dir); err != nil {
		t.Fatal(err)
	}
	bin := filepath.Join(t.TempDir(), "hermod-"+commit)
	build := exec.Command("go", "build", "-buildvcs=false", "-ldflags", "-X main.version=older", "-o", bin, "./cmd/hermod")
	build.Dir = dir
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build %s: %v\n%s", commit, err, out)
	}
	return bin, nil
}

func unpack(raw []byte, dir string) error {
	for r := tar.NewReader(bytes.NewReader(raw)); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		name := filepath.Join(dir, filepath.FromSlash(h.Name))
		switch h.Typeflag {
		case tar.TypeDir:
			err = os.MkdirAll(name, 0o755)
		case tar.TypeReg:
			var body []byte
			if body, err = io.ReadAll(r); err == nil {
				err = os.WriteFile(name, body, 0o644)
			}
		}
		if err != nil {
			return err
		}
	}
}

// TestRollingUpgrade: under load, each standby of a cluster of an older build
// is stopped, gets the present build and starts, then leadership is handed over
// and the last node follows. Clients are told nothing worse than that the node
// goes; nothing is lost. A node that goes back to the older build serves, or says
// that its data is of a newer one.
func TestRollingUpgrade(t *testing.T) {
	older, err := buildOlder(t, olderBuild)
	if err != nil {
		t.Skip(err)
	}
	w := newWorld(t, func(nodes []*node) {
		for _, n := range nodes {
			n.bin = older
		}
	})
	t.Logf("seed: CLUSTER_SEED=%d, from %s", w.seed, olderBuild)
	old := w.leader(serveLimit)
	var checks []func(*testing.T, int)
	for _, prepare := range []func(*testing.T, int) func(*testing.T, int){
		w.preparedBranches, w.deduplication, w.retained, w.durableSubscription, w.halfReceived, w.halfDelivered, w.settled,
	} {
		checks = append(checks, prepare(t, old))
	}
	const kept = 500
	w.keep(t, old, "cluster.kept", kept)
	end := w.load()
	step := func(i int, bin string) {
		t.Helper()
		rest(t.Context(), time.Second)
		w.nodes[i].stop(t)
		w.nodes[i].bin = bin
		if err := w.start(i); err != nil {
			t.Fatal(err)
		}
		if err := w.settleDown(); err != nil {
			t.Fatal(err)
		}
	}
	for i := range w.nodes {
		if i != old {
			step(i, "")
		}
	}
	if l := w.leader(serveLimit); l != old {
		t.Errorf("leadership went from %s to %s while standbys were upgraded", w.nodes[old].name, w.nodes[l].name)
	}
	w.nodes[old].ctl(t, "cluster", "transfer")
	next := w.successor(t, old)
	// The older build may end at the first record that it does not know; it says
	// so, and has two nodes beside it.
	if !harness.Poll(answerTimeout, func() bool { return w.whole(time.Second) }) {
		if log := w.nodes[old].broker.Log(); !strings.Contains(log, "newer program") {
			t.Fatalf("the older build does not follow, nor say why:\n%s%s", w.states(), log)
		}
		t.Log("the older build has ended at a record that it does not know")
		w.nodes[old].broker.Kill()
		w.nodes[old].bin = ""
		if err := w.start(old); err != nil {
			t.Fatal(err)
		}
		if err := w.settleDown(); err != nil {
			t.Fatal(err)
		}
	} else {
		step(old, "")
	}
	status := ""
	if !harness.Poll(serveLimit, func() bool { // the leader asks around now and then
		status = w.nodes[w.leader(serveLimit)].ctl(t, "cluster", "status")
		return !strings.Contains(status, "older")
	}) {
		t.Errorf("after the upgrade:\n%s", status)
	}
	end()
	w.judge(t)
	for _, check := range checks {
		check(t, next)
	}
	w.kept(t, next, "cluster.kept", kept)
	w.goesBack(t, (next+1)%len(w.nodes), older)
}

// goesBack starts one node on the older build.
func (w *world) goesBack(t *testing.T, i int, older string) {
	t.Helper()
	n := w.nodes[i]
	n.stop(t)
	n.bin = older
	if err := n.start(); err != nil {
		if !strings.Contains(err.Error(), "newer program") {
			t.Errorf("the older build does not start, nor say why: %v", err)
		}
		t.Logf("the older build refuses: %v", err)
	} else if !w.whole(serveLimit) {
		// It may end at the first entry that it does not know.
		select {
		case <-n.broker.Exited():
			if !strings.Contains(n.broker.Log(), "newer program") {
				t.Errorf("the older build ended without saying why:\n%s", n.broker.Log())
			}
		default:
			t.Errorf("the older build runs and does not follow\n%s%s", w.states(), n.broker.Log())
			n.broker.Kill()
		}
	} else {
		t.Log("the older build serves as a standby again")
		n.stop(t)
	}
	n.bin = ""
	if err := w.start(i); err != nil {
		t.Fatal(err)
	}
	if err := w.settleDown(); err != nil {
		t.Fatal(err)
	}
}

// TestDataOfANewerProgramIsRefused: a node whose data a newer program has
// written says so and ends; it changes nothing.
func TestDataOfANewerProgramIsRefused(t *testing.T) {
	c := newCluster(1, t.TempDir(), false)
	t.Cleanup(c.Close)
	n := c.nodes[0]
	if err := n.start(); err != nil {
		t.Fatal(err)
	}
	n.stop(t)
	// docs/format/meta.md: bucket s, key format.
	db, err := bolt.Open(filepath.Join(n.dir, "store", "meta.db"), 0o600, &bolt.Options{Timeout: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	set := func(version byte) {
		t.Helper()
		err := db.Update(func(tx *bolt.Tx) error {
			return tx.Bucket([]byte{'s'}).Put([]byte("format"), []byte{version, 0, 0, 0})
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	set(2)
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if err := n.start(); err == nil {
		t.Fatal("started on data of a newer program")
	} else if !strings.Contains(err.Error(), "newer program") {
		t.Errorf("the refusal does not say why: %v", err)
	}
	if db, err = bolt.Open(filepath.Join(n.dir, "store", "meta.db"), 0o600, &bolt.Options{Timeout: time.Second}); err != nil {
		t.Fatal(err)
	}
	set(1)
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if err := n.start(); err != nil {
		t.Errorf("the program that fits does not start: %v", err)
	}
}
