package cluster

import (
	"testing"
	"time"
)

// TestAHungDiskEndsTheActiveNode: the disk of the active node no longer
// answers. Its heartbeats would go on for ever; but the node gives up, hangs up
// on its clients, and another one takes over. The process itself cannot end
// before the disk answers.
func TestAHungDiskEndsTheActiveNode(t *testing.T) {
	w, p := newWorldOnLossyDisks(t, nil)
	t.Logf("seed: CLUSTER_SEED=%d", w.seed)
	end := w.load()
	rest(t.Context(), time.Second)
	old := w.leader(serveLimit)
	c := w.witness(t, old)
	release := p.disks[old].Hang()
	defer release()
	began := time.Now()
	next := w.successor(t, old)
	t.Logf("%s serves after %v", w.nodes[next].name, time.Since(began).Round(10*time.Millisecond))
	c.hungUp()
	if !w.witness(t, next).publish().acked(answerTimeout) {
		t.Error("the new node does not confirm")
	}
	if _, cut, err := w.channel(w.addresses(portAMQP, old)[0]); err == nil {
		cut()
		t.Error("a node with a hung disk serves new connections")
	}
	release()
	select {
	case <-w.nodes[old].broker.Exited():
	case <-time.After(serveLimit):
		t.Fatalf("the node goes on\n%s", w.nodes[old].broker.Log())
	}
	if err := w.start(old); err != nil {
		t.Fatal(err)
	}
	if err := w.settleDown(); err != nil {
		t.Fatal(err)
	}
	end()
	w.judge(t)
}

// TestAHungDiskOfAStandbyStopsNobody: the others go on meanwhile.
func TestAHungDiskOfAStandbyStopsNobody(t *testing.T) {
	w, p := newWorldOnLossyDisks(t, nil)
	t.Logf("seed: CLUSTER_SEED=%d", w.seed)
	end := w.load()
	l := w.leader(serveLimit)
	standby := (l + 1) % len(w.nodes)
	c := w.witness(t, l)
	release := p.disks[standby].Hang()
	defer release()
	for begin := time.Now(); time.Since(begin) < 8*time.Second; {
		if !c.publish().acked(answerTimeout) {
			t.Fatal("the active node does not confirm")
		}
		rest(t.Context(), 200*time.Millisecond)
	}
	if now := w.leader(serveLimit); now != l {
		t.Errorf("%s serves, not %s", w.nodes[now].name, w.nodes[l].name)
	}
	release()
	select {
	case <-w.nodes[standby].broker.Exited():
		if err := w.start(standby); err != nil {
			t.Fatal(err)
		}
	case <-time.After(time.Second): // it may have been patient
	}
	if err := w.settleDown(); err != nil {
		t.Fatal(err)
	}
	end()
	w.judge(t)
}
