package cluster

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// window is how many publishes of one publisher are unconfirmed at most.
	window = 32
	// backlogMax is how far publishers run ahead of the consumers.
	backlogMax = 10_000
	// answerTimeout is how long a live connection may leave a request
	// unanswered before its client gives it up.
	answerTimeout = 10 * time.Second
	// pause lies between the attempts of a client to reach a node.
	pause = 20 * time.Millisecond
)

// world is what the clients of a run share.
type world struct {
	*cluster
	*history
	seed uint64
	life context.Context // of the test: its clients must not meet the next one's nodes

	// afterKill, which may be nil, is told of every node that was killed, before
	// it starts again.
	afterKill func(i int) error

	// pace is a rest after each publish; 0 is none.
	pace time.Duration

	ids atomic.Int64
}

// publisherName names one connection's life.
func (w *world) publisherName(kind string) string { return fmt.Sprintf("%s%d", kind, w.ids.Add(1)) }

// client is one connection's work: it ends with its connection or ctx.
type client struct {
	name string
	run  func(ctx context.Context, w *world, addr string, rng *rand.Rand)
	port string
}

// forever runs a client on one connection after another, at one node after
// another, until ctx ends.
func (w *world) forever(ctx context.Context, wg *sync.WaitGroup, n int, c client) {
	wg.Go(func() {
		rng := rand.New(rand.NewPCG(w.seed, uint64(n)))
		for at := rng.IntN(len(w.nodes)); ctx.Err() == nil; at++ {
			c.run(ctx, w, w.addresses(c.port, at)[0], rng)
			rest(ctx, pause)
		}
	})
}

// rest waits, or less if ctx ends.
func rest(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// throttle holds a publisher back while consumers are behind.
func (w *world) throttle(ctx context.Context) {
	for w.backlog() > backlogMax && ctx.Err() == nil {
		rest(ctx, 5*time.Millisecond)
	}
	if w.pace > 0 {
		rest(ctx, w.pace)
	}
}

// body carries the id first and then bytes, now and then many.
func body(id string, rng *rand.Rand) []byte {
	pad := rng.IntN(300)
	if rng.IntN(100) == 0 {
		pad = rng.IntN(200_000)
	}
	b := append(make([]byte, 0, len(id)+1+pad), id...)
	b = append(b, ' ')
	for range pad {
		b = append(b, 'x')
	}
	return b
}

// idOf reads the id back.
func idOf(body []byte) string {
	for i, c := range body {
		if c == ' ' {
			return string(body[:i])
		}
	}
	return string(body)
}
