package crash

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hermodmq/hermod/conformance/harness"
)

// Destinations of the STOMP workload.
const (
	stompPlain   = "/queue/crash.stomp.plain"
	stompMoved   = "/queue/crash.stomp.moved" // what came out of stompPlain in a transaction
	stompDead    = "/queue/crash.stomp.dead"
	stompLeft    = "/queue/crash.stomp.left" // stompLeft and stompRight get pairs
	stompRight   = "/queue/crash.stomp.right"
	stompTopic   = "/topic/crash.stomp"
	stompDurable = "activemq.subscriptionName:crash"
)

// stompClient is one connection's work; it ends with its connection.
type stompClient func(ctx context.Context, w *world, c *stompConn, rng *rand.Rand)

// foreverSTOMP runs a client on one connection after another until ctx ends.
func (w *world) foreverSTOMP(ctx context.Context, wg *sync.WaitGroup, n uint64, work stompClient) {
	wg.Add(1)
	go func() {
		defer wg.Done()
		rng := rand.New(rand.NewPCG(w.seed, n))
		for ctx.Err() == nil {
			if c, err := w.dialSTOMP(); err == nil {
				work(ctx, w, c, rng)
				c.conn.Close()
			}
			select {
			case <-ctx.Done():
			case <-time.After(5 * time.Millisecond):
			}
		}
	}()
}

// TestCrashSTOMP kills the broker under STOMP clients (STOMP-13, 22): receipts,
// transactions of sends, acknowledgements and sends in one transaction, lists
// of destinations, a durable subscription.
func TestCrashSTOMP(t *testing.T) {
	b, err := harness.Start(harness.Options{DataDir: t.TempDir(), Set: []string{"listeners.stomp.address=127.0.0.1:0"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Kill(); harness.RemoveBinary() })
	rounds := max(number("CRASH_ROUNDS", 100)/2, 1)
	w := &world{ledger: newLedger(), seed: number("CRASH_SEED", uint64(time.Now().UnixNano()))}
	t.Logf("seed: CRASH_SEED=%d CRASH_ROUNDS=%d", w.seed, 2*rounds)
	addr := b.Addr("stomp")
	w.stomp.Store(&addr)
	if err := w.stompTopology(); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	var clients sync.WaitGroup
	for i, work := range []stompClient{
		stompPublisher(stompPlain), stompPublisher(stompPlain), stompPublisher(stompTopic),
		stompPairs(false), stompPairs(true), stompMover, stompMover,
		stompConsumer(stompMoved, true), stompConsumer(stompMoved, true), stompConsumer(stompLeft, false),
		stompConsumer(stompRight, false), stompConsumer(stompDead, false), stompConsumer(stompTopic, false, stompDurable),
	} {
		w.foreverSTOMP(ctx, &clients, uint64(i+1), work)
	}
	rng := rand.New(rand.NewPCG(w.seed, 0))
	began := time.Now()
	for round := range rounds {
		<-time.After(time.Duration(300+rng.IntN(700)) * time.Millisecond) // the random moment itself
		b.Kill()
		if err := b.Restart(); err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
	}
	stop()
	clients.Wait()
	t.Logf("%d kills in %v", rounds, time.Since(began).Round(time.Second))
	both, err := w.drainSTOMP()
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d moves answered", w.moves.Load())
	if w.moves.Load() == 0 {
		t.Error("nothing was moved: the run proves nothing")
	}
	if len(both) > 0 {
		t.Errorf("%d messages are moved and still where they were, such as %q", len(both), both[:min(shown, len(both))])
	}
	judge(t, w.ledger.account())
}

// stompTopology makes what must be there before the first message: the queue
// with dead letters and the durable subscription.
func (w *world) stompTopology() error {
	c, err := w.dialSTOMP()
	if err != nil {
		return err
	}
	defer c.conn.Close()
	for i, s := range [][]string{
		{stompMoved, "x-dead-letter-exchange:", "x-dead-letter-routing-key:crash.stomp.dead"}, {stompDead}, {stompTopic, stompDurable},
	} {
		if err := c.subscribe(s[0], s[1:]...); err != nil {
			return fmt.Errorf("%d: %w", i, err)
		}
		if err := c.send("UNSUBSCRIBE", "", "id:0", "receipt:un"); err != nil {
			return err
		}
		if f, err := c.read(confirmTimeout); err != nil || f.command != "RECEIPT" {
			return fmt.Errorf("UNSUBSCRIBE: %+v, %w", f, err)
		}
	}
	return nil
}

// throttle keeps publishers from running far ahead.
func (w *world) throttle(ctx context.Context) {
	for w.ledger.backlog() > backlogMax && ctx.Err() == nil {
		<-time.After(5 * time.Millisecond)
	}
}

// stompPublisher sends with receipts, a window at a time.
func stompPublisher(destination string) stompClient {
	return func(ctx context.Context, w *world, c *stompConn, rng *rand.Rand) {
		pending := 0
		for ctx.Err() == nil || pending > 0 {
			var out strings.Builder
			for w.throttle(ctx); pending < window && ctx.Err() == nil; pending++ {
				id := w.id("s")
				w.ledger.publish(id, 0)
				out.WriteString(stompText("SEND", string(body(id, rng)), "destination:"+destination, "persistent:true", "receipt:"+id))
			}
			if c.write(out.String()) != nil {
				return
			}
			for range 1 + rng.IntN(window) {
				if pending == 0 {
					break
				}
				f, err := c.read(confirmTimeout)
				if err != nil || f.command != "RECEIPT" {
					w.noteSilence(err, pending)
					return
				}
				w.ledger.confirm(f.headers["receipt-id"])
				pending--
			}
		}
	}
}

// noteSilence records that a live connection did not answer.
func (w *world) noteSilence(err error, pending int) {
	if t, ok := err.(interface{ Timeout() bool }); ok && t.Timeout() {
		w.ledger.unanswered(pending)
	}
}

// stompPairs sends to stompLeft and stompRight: as a list of destinations, or
// in transactions, some of which it aborts.
func stompPairs(transactions bool) stompClient {
	return func(ctx context.Context, w *world, c *stompConn, rng *rand.Rand) {
		for ctx.Err() == nil {
			w.throttle(ctx)
			tx := w.ids.Add(1)
			id := fmt.Sprintf("pair-%d", tx)
			text := ""
			switch {
			case !transactions:
				text = stompText("SEND", string(body(id, rng)), "destination:"+stompLeft+","+stompRight, "persistent:true", "receipt:r")
			default:
				text = stompText("BEGIN", "", "transaction:t")
				for _, d := range []string{stompLeft, stompRight} {
					text += stompText("SEND", string(body(id, rng)), "destination:"+d, "persistent:true", "transaction:t")
				}
				if rng.IntN(5) == 0 {
					if c.write(text+stompText("ABORT", "", "transaction:t")) != nil {
						return
					}
					continue
				}
				text += stompText("COMMIT", "", "transaction:t", "receipt:r")
			}
			w.ledger.publish(id+"@left", tx)
			w.ledger.publish(id+"@right", tx)
			if c.write(text) != nil {
				return
			}
			if f, err := c.read(confirmTimeout); err != nil || f.command != "RECEIPT" {
				w.noteSilence(err, 1)
				return
			}
			w.ledger.commit(tx)
		}
	}
}

// idOf is what a message counts as: those of pairs by their queue.
func idOf(f *stompFrame) string {
	id, _, _ := strings.Cut(f.body, " ")
	switch f.headers["destination"] {
	case stompLeft:
		return id + "@left"
	case stompRight:
		return id + "@right"
	}
	return id
}

// stompMover takes messages out of stompPlain and sends them to stompMoved,
// both in one transaction.
func stompMover(ctx context.Context, w *world, c *stompConn, rng *rand.Rand) {
	if c.subscribe(stompPlain, "prefetch-count:20") != nil {
		return
	}
	for ctx.Err() == nil {
		f, err := c.read(500 * time.Millisecond)
		if err != nil || f.command != "MESSAGE" {
			return // idle, or the broker is gone: begin again
		}
		text := stompText("BEGIN", "", "transaction:m") +
			stompText("ACK", "", "id:"+f.headers["ack"], "transaction:m") +
			stompText("SEND", f.body, "destination:"+stompMoved, "persistent:true", "transaction:m")
		if rng.IntN(10) == 0 {
			text += stompText("ABORT", "", "transaction:m") + stompText("NACK", "", "id:"+f.headers["ack"], "requeue:true")
		} else {
			text += stompText("COMMIT", "", "transaction:m")
			w.moves.Add(1)
		}
		if c.write(text) != nil {
			return
		}
	}
}

// stompConsumer acknowledges, requeues and (where dead letters go) rejects at
// random.
func stompConsumer(destination string, rejects bool, headers ...string) stompClient {
	return func(ctx context.Context, w *world, c *stompConn, rng *rand.Rand) {
		if c.subscribe(destination, append(headers, "prefetch-count:20")...) != nil {
			return
		}
		for ctx.Err() == nil {
			f, err := c.read(500 * time.Millisecond)
			if err != nil || f.command != "MESSAGE" {
				return
			}
			ack := "id:" + f.headers["ack"]
			switch n := rng.IntN(20); {
			case n == 0:
				err = c.send("NACK", "", ack, "requeue:true")
			case n < 3 && rejects:
				err = c.send("NACK", "", ack, "requeue:false")
			default:
				w.consumed(destination, idOf(f))
				err = c.send("ACK", "", ack)
			}
			if err != nil {
				return
			}
		}
	}
}

// consumed records a delivery; what was once in stompMoved must not be in
// stompPlain any more.
func (w *world) consumed(destination, id string) {
	w.ledger.deliver(id)
	if destination == stompMoved || destination == stompDead {
		w.moved.Store(id, true)
	}
}

// drainSTOMP empties every queue, stompPlain first, and returns what was in it
// although it had been moved.
func (w *world) drainSTOMP() (both []string, err error) {
	left := map[string]bool{}
	for found := -1; found != 0; {
		found = 0
		for _, s := range [][]string{{stompPlain}, {stompMoved}, {stompDead}, {stompLeft}, {stompRight}, {stompTopic, stompDurable}} {
			c, err := w.dialSTOMP()
			if err != nil {
				return nil, err
			}
			if err := c.subscribe(s[0], s[1:]...); err != nil {
				return nil, err
			}
			for {
				f, err := c.read(time.Second)
				if err != nil {
					break
				}
				if f.command != "MESSAGE" {
					return nil, fmt.Errorf("draining %s: %+v", s[0], f)
				}
				id := idOf(f)
				w.consumed(s[0], id)
				if s[0] == stompPlain {
					left[id] = true
				}
				found++
				if err := c.send("ACK", "", "id:"+f.headers["ack"]); err != nil {
					return nil, err
				}
			}
			if err := c.send("DISCONNECT", "", "receipt:bye"); err != nil {
				return nil, err
			}
			_, _ = c.read(confirmTimeout)
			c.conn.Close()
		}
	}
	for id := range left {
		if _, ok := w.moved.Load(id); ok {
			both = append(both, id)
		}
	}
	return both, nil
}
