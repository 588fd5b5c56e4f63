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
// goes; nothing is lost. The older build, which knows no format levels, stands by
// behind a leader of the present one, until it is upgraded. Only then does the
// cluster reach the level of the present build, and an older one is refused from
// there on, with its data as without.
func TestRollingUpgrade(t *testing.T) {
	w, older := newOlderWorld(t, nil)
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
	for i := range w.nodes {
		if i != old {
			w.changeBuild(t, i, "")
		}
	}
	if l := w.leader(serveLimit); l != old {
		t.Errorf("leadership went from %s to %s while standbys were upgraded", w.nodes[old].name, w.nodes[l].name)
	}
	next := w.handOverOlder(t, old)
	// Messages are in flight over SQS meanwhile: their leases are of level 1.
	rest(t.Context(), 2*time.Second)
	if err := w.settleDown(); err != nil {
		t.Fatalf("the older build does not follow: %v", err)
	}
	for i := range w.nodes {
		if h, err := w.health(i); err != nil || h.Reached != 0 || (h.Known == 0) != (i == old) {
			t.Errorf("with an older member %s is %+v, %v", w.nodes[i].name, h, err)
		}
	}
	w.changeBuild(t, old, "")
	if !w.levelled(serveLimit) {
		t.Fatalf("with no older member any more the format level is not reached\n%s%s", w.states(), w.logs())
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
	w.leasesAfterUpgrade(t)
	w.goesBack(t, w.standbyOf(t), older)
	w.comesBackEmpty(t, w.standbyOf(t), older)
}

// newOlderWorld is a cluster of the older build, whose program it returns.
func newOlderWorld(t *testing.T, prepare func(nodes []*node)) (w *world, older string) {
	t.Helper()
	older, err := buildOlder(t, olderBuild)
	if err != nil {
		t.Skip(err)
	}
	w = newWorld(t, func(nodes []*node) {
		for _, n := range nodes {
			n.bin = older
		}
		if prepare != nil {
			prepare(nodes)
		}
	})
	t.Logf("seed: CLUSTER_SEED=%d, from %s", w.seed, olderBuild)
	return w, older
}

// handOverOlder has an older build hand over. On a busy machine that one may be
// gone before it has answered.
func (w *world) handOverOlder(t *testing.T, old int) (next int) {
	t.Helper()
	if _, err := w.nodes[old].broker.CTL("cluster", "transfer"); err != nil {
		t.Log(err)
	}
	return w.successor(t, old)
}

// changeBuild stops a node and starts it on another program.
func (w *world) changeBuild(t *testing.T, i int, bin string) {
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

// standbyOf returns a node that does not lead.
func (w *world) standbyOf(t *testing.T) int {
	t.Helper()
	l := w.leader(serveLimit)
	if l < 0 {
		t.Fatalf("no node serves\n%s%s", w.states(), w.logs())
	}
	return (l + 1) % len(w.nodes)
}

// leasesAfterUpgrade: leases outlive the active node, now that all know them.
func (w *world) leasesAfterUpgrade(t *testing.T) {
	t.Helper()
	l := w.leader(serveLimit)
	check := w.leases(t, l)
	w.nodes[l].ctl(t, "cluster", "transfer")
	next := w.successor(t, l)
	if err := w.settleDown(); err != nil {
		t.Fatal(err)
	}
	check(t, next)
}

// goesBack starts one node on the older build: it says why it does not run, and
// its data is as it was.
func (w *world) goesBack(t *testing.T, i int, older string) {
	t.Helper()
	n := w.nodes[i]
	n.stop(t)
	n.bin = older
	err := n.start()
	if err == nil { // it is as far as the first thing that it does not know
		select {
		case <-n.broker.Exited():
			err = errors.New(n.broker.Log())
		case <-time.After(serveLimit):
			n.broker.Kill()
			t.Fatalf("the older build runs on data of a newer one\n%s%s", w.states(), n.broker.Log())
		}
	}
	if !strings.Contains(err.Error(), "newer program") {
		t.Errorf("the older build does not say why it ends: %v", err)
	}
	n.bin = ""
	if err := w.start(i); err != nil {
		t.Fatal(err)
	}
	if err := w.settleDown(); err != nil {
		t.Fatal(err)
	}
}

// comesBackEmpty starts one node on the older build with an empty folder: the
// cluster does not let it in, and says why.
func (w *world) comesBackEmpty(t *testing.T, i int, older string) {
	t.Helper()
	n := w.nodes[i]
	n.stop(t)
	if err := os.RemoveAll(n.dir); err != nil {
		t.Fatal(err)
	}
	n.bin = older
	if err := n.start(); err != nil {
		t.Fatal(err)
	}
	if !harness.Poll(serveLimit, func() bool { return strings.Contains(n.broker.Log(), "start a newer one") }) {
		t.Errorf("the older build is not told why it is refused:\n%s", n.broker.Log())
	}
	if h, err := w.health(i); err != nil || h.Role != "joining" {
		t.Errorf("it is %+v, %v", h, err)
	}
	n.broker.Kill()
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
	set(9)
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
	set(2)
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if err := n.start(); err != nil {
		t.Errorf("the program that fits does not start: %v", err)
	}
}
