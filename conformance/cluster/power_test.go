package cluster

import (
	"context"
	"errors"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/hermodmq/hermod/conformance/cluster/lossy"
)

// plug is the power of a node whose disk forgets what was not synced.
type plug struct {
	disks []*lossy.FS
	lost  lossy.Loss
	every bool // no page is spared by chance
}

// newWorldOnLossyDisks is newWorld with each node's data on a file system that
// keeps what was synced and no more. prepare may be nil.
func newWorldOnLossyDisks(t *testing.T, prepare func(nodes []*node), settings ...string) (*world, *plug) {
	t.Helper()
	p := &plug{}
	w := newWorld(t, func(nodes []*node) {
		for _, n := range nodes {
			disk, err := lossy.Mount(n.dir, n.dir+".disk")
			if err != nil {
				t.Skip(err)
			}
			// After the nodes have ended: Cleanup goes backwards.
			t.Cleanup(func() {
				if err := disk.Close(); err != nil {
					t.Error(err)
				}
			})
			p.disks = append(p.disks, disk)
			n.extra = append(n.extra, settings...)
		}
		if prepare != nil {
			prepare(nodes)
		}
	})
	return w, p
}

// pull ends nodes at one moment and takes from their disks what they had not
// synced, before they start again.
func (p *plug) pull(choose func(l int, w *world, rng *rand.Rand) []int) func(context.Context, *world, *rand.Rand) error {
	return func(ctx context.Context, w *world, rng *rand.Rand) error {
		l, err := w.serving()
		if err != nil {
			return err
		}
		indexes := choose(l, w, rng)
		w.afterKill = func(i int) error {
			lose := 1.0
			if !p.every && rng.IntN(2) == 0 {
				lose = 0.5
			}
			lost, err := p.disks[i].Cut(rng, lose)
			p.lost.Pages += lost.Pages
			p.lost.Names += lost.Names
			return err
		}
		defer func() { w.afterKill = nil }()
		return w.kill(ctx, someTime(rng, time.Second), indexes...)
	}
}

func (p *plug) faults() []fault {
	return []fault{
		{"power cut of the leader", false, p.pull(func(l int, _ *world, _ *rand.Rand) []int { return []int{l} })},
		{"power cut of a standby", false, p.pull(func(l int, w *world, rng *rand.Rand) []int { return []int{w.standby(l, rng)} })},
		{"power cut of the leader and a standby", false, p.pull(func(l int, w *world, rng *rand.Rand) []int { return []int{l, w.standby(l, rng)} })},
		{"power cut of the whole rack", false, p.whole()},
	}
}

func (p *plug) whole() func(context.Context, *world, *rand.Rand) error {
	return p.pull(func(int, *world, *rand.Rand) []int { return []int{0, 1, 2} })
}

// TestPowerCutsLoseNothingConfirmed cuts the power of one node, of two and of
// all, and each forgets what it had not synced.
func TestPowerCutsLoseNothingConfirmed(t *testing.T) {
	w, p := newWorldOnLossyDisks(t, nil)
	rounds := number("CLUSTER_POWER_ROUNDS", 6)
	t.Logf("seed: CLUSTER_SEED=%d CLUSTER_POWER_ROUNDS=%d", w.seed, rounds)
	w.endure(t, rounds, p.faults())
	t.Logf("the disks forgot %d pages and %d names", p.lost.Pages, p.lost.Names)
}

// TestPowerCutsLoseWhatWasNotSynced shows that the test before can fail: nodes
// that confirm what only their kernel has lose it when the whole rack goes dark.
func TestPowerCutsLoseWhatWasNotSynced(t *testing.T) {
	w, p := newWorldOnLossyDisks(t, nil, "persistence.confirm=os")
	p.every = true
	t.Logf("seed: CLUSTER_SEED=%d", w.seed)
	end := w.load()
	rest(t.Context(), 3*time.Second)
	if err := p.whole()(t.Context(), w, rand.New(rand.NewPCG(w.seed, 0))); err != nil {
		t.Fatal(err)
	}
	if _, err := w.serving(); err != nil {
		t.Fatal(err)
	}
	end()
	if err := w.drain(); err != nil {
		t.Fatal(err)
	}
	found, sum := w.account()
	t.Logf("%v; %d confirmed messages lost; the disks forgot %d pages and %d names", sum, len(found.lost), p.lost.Pages, p.lost.Names)
	if len(found.lost) == 0 {
		t.Error("nothing was lost although nothing was synced: this suite cannot see a loss")
	}
}

// drain takes what is left through the serving node.
func (w *world) drain() error {
	l := w.leader(serveLimit)
	if l < 0 {
		return errors.New("no node serves at the end")
	}
	if err := w.drainSQS(w.addresses(portAWS, l)[0]); err != nil {
		return err
	}
	return w.drainAMQP(w.addresses(portAMQP, l)[0])
}
