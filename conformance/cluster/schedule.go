package cluster

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"syscall"
	"time"

	"github.com/hermodmq/hermod/conformance/harness"
)

// serveLimit bounds how long a cluster with a quorum may take until a node
// serves. Takeover is measured elsewhere; this only tells slow from never.
const serveLimit = 60 * time.Second

// fault breaks something, holds it broken, and mends it.
type fault struct {
	name   string
	fabric bool // needs a network of its own
	do     func(ctx context.Context, w *world, rng *rand.Rand) error
}

var faults = []fault{
	{"kill the leader", false, killLeader},
	{"kill the leader", false, killLeader}, // twice as often: the case users meet
	{"kill a standby", false, killStandby},
	{"kill the leader and a standby", false, killTwo},
	{"kill all", false, killAll},
	{"freeze the leader", false, freezeLeader},
	{"freeze a standby", false, freezeStandby},
	{"hand over", false, handOver},
	{"cut the leader off", true, cutLeader(true, true)},
	{"cut the leader's sending", true, cutLeader(true, false)},
	{"cut the leader's hearing", true, cutLeader(false, true)},
	{"cut a standby off", true, cutStandby},
	{"slow links to one standby", true, slowLinks(1)},
	{"slow links to both standbys", true, slowLinks(2)},
}

// serving returns the node that serves; the error carries the nodes' logs.
func (w *world) serving() (int, error) {
	l := w.leader(serveLimit)
	if l < 0 {
		return l, fmt.Errorf("no node serves after %v\n%s", serveLimit, w.logs())
	}
	return l, nil
}

// standby picks a node other than l.
func (w *world) standby(l int, rng *rand.Rand) int {
	return (l + 1 + rng.IntN(len(w.nodes)-1)) % len(w.nodes)
}

// kill kills nodes at one moment, lets the others go on and starts them again.
func (w *world) kill(ctx context.Context, hold time.Duration, indexes ...int) error {
	for _, i := range indexes {
		if err := w.nodes[i].signal(syscall.SIGKILL); err != nil {
			return fmt.Errorf("%s had ended by itself: %w\n%s", w.nodes[i].name, err, w.logs())
		}
	}
	for _, i := range indexes {
		w.nodes[i].broker.Kill() // waits for its end
		if w.afterKill != nil {
			if err := w.afterKill(i); err != nil {
				return err
			}
		}
	}
	if len(indexes) <= len(w.nodes)/2 {
		if _, err := w.serving(); err != nil {
			return err
		}
	}
	rest(ctx, hold)
	return w.start(indexes...)
}

func someTime(rng *rand.Rand, most time.Duration) time.Duration {
	return time.Duration(rng.Int64N(int64(most)))
}

func killLeader(ctx context.Context, w *world, rng *rand.Rand) error {
	l, err := w.serving()
	if err != nil {
		return err
	}
	return w.kill(ctx, someTime(rng, 2*time.Second), l)
}

func killStandby(ctx context.Context, w *world, rng *rand.Rand) error {
	l, err := w.serving()
	if err != nil {
		return err
	}
	return w.kill(ctx, someTime(rng, 2*time.Second), w.standby(l, rng))
}

func killTwo(ctx context.Context, w *world, rng *rand.Rand) error {
	l, err := w.serving()
	if err != nil {
		return err
	}
	return w.kill(ctx, someTime(rng, time.Second), l, w.standby(l, rng))
}

func killAll(ctx context.Context, w *world, rng *rand.Rand) error {
	return w.kill(ctx, someTime(rng, time.Second), 0, 1, 2)
}

// freeze stops a node's process for longer than its lease.
func (w *world) freeze(ctx context.Context, i int, hold time.Duration) error {
	if err := w.nodes[i].signal(syscall.SIGSTOP); err != nil {
		return err
	}
	rest(ctx, hold)
	return w.nodes[i].signal(syscall.SIGCONT)
}

func freezeLeader(ctx context.Context, w *world, rng *rand.Rand) error {
	l, err := w.serving()
	if err != nil {
		return err
	}
	return w.freeze(ctx, l, 300*time.Millisecond+someTime(rng, 3*time.Second))
}

func freezeStandby(ctx context.Context, w *world, rng *rand.Rand) error {
	l, err := w.serving()
	if err != nil {
		return err
	}
	return w.freeze(ctx, w.standby(l, rng), someTime(rng, 3*time.Second))
}

// handOver is a planned switch-over. It may be refused while a standby is
// behind; that is the cluster's good right.
func handOver(_ context.Context, w *world, _ *rand.Rand) error {
	l, err := w.serving()
	if err != nil {
		return err
	}
	if !w.whole(serveLimit) {
		return nil
	}
	_, err = w.nodes[l].broker.CTL("cluster", "transfer")
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return nil
	}
	return err
}

func cutLeader(sending, hearing bool) func(context.Context, *world, *rand.Rand) error {
	return func(ctx context.Context, w *world, rng *rand.Rand) error {
		l, err := w.serving()
		if err != nil {
			return err
		}
		w.isolate(l, sending, hearing)
		defer w.net.heal()
		rest(ctx, time.Second+someTime(rng, 3*time.Second))
		return nil
	}
}

// isolate cuts a node off the other nodes; clients still reach it.
func (w *world) isolate(i int, sending, hearing bool) {
	for j := range w.nodes {
		if j == i {
			continue
		}
		if sending {
			w.net.set(i, j, &weather{cut: true})
		}
		if hearing {
			w.net.set(j, i, &weather{cut: true})
		}
	}
}

func cutStandby(ctx context.Context, w *world, rng *rand.Rand) error {
	l, err := w.serving()
	if err != nil {
		return err
	}
	w.isolate(w.standby(l, rng), true, true)
	defer w.net.heal()
	rest(ctx, time.Second+someTime(rng, 3*time.Second))
	return nil
}

func slowLinks(n int) func(context.Context, *world, *rand.Rand) error {
	return func(ctx context.Context, w *world, rng *rand.Rand) error {
		l, err := w.serving()
		if err != nil {
			return err
		}
		first := w.standby(l, rng)
		for i := range w.nodes {
			if i != l && (n > 1 || i == first) {
				w.net.both(l, i, &weather{delay: time.Duration(1+rng.IntN(20)) * time.Millisecond, rate: 1 << 20})
			}
		}
		defer w.net.heal()
		rest(ctx, time.Second+someTime(rng, 3*time.Second))
		return nil
	}
}

// settleDown waits until the cluster is whole again after a fault.
func (w *world) settleDown() error {
	if !w.whole(serveLimit) {
		return fmt.Errorf("the cluster is not whole again %v after everything was mended\n%s%s", serveLimit, w.states(), w.logs())
	}
	return nil
}

// states is what each node says of itself.
func (w *world) states() string {
	text := ""
	for i, n := range w.nodes {
		h, err := w.health(i)
		text += fmt.Sprintf("%s: %+v %v\n", n.name, h, err)
	}
	return text
}

// calm waits until no message arrives any more: consumers have taken what
// there was.
func (w *world) calm(limit time.Duration) {
	last, same := -1, 0
	harness.Poll(limit, func() bool {
		_, sum := w.account()
		if n := sum.delivered + sum.duplicates; n != last {
			last, same = n, 0
		} else {
			same++
		}
		rest(context.Background(), 200*time.Millisecond)
		return same > 10
	})
}
