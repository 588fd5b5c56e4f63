package crash

import (
	"context"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/hermodmq/hermod/conformance/harness"
	amqp "github.com/rabbitmq/amqp091-go"
)

// killer kills the broker hard and starts it again, returning its address.
type killer interface {
	crash() (addr string, err error)
}

// ownBroker is a hermod this test started.
type ownBroker struct{ *harness.Broker }

func (b ownBroker) crash() (string, error) {
	b.Kill()
	err := b.Restart()
	return b.Addr("amqp"), err
}

// command is another broker, killed and restarted by the command in
// BROKER_RESTART.
type command struct{ addr, restart string }

func (c command) crash() (string, error) {
	_, err := harness.Run(c.restart)
	return c.addr, err
}

func start(t *testing.T) (killer, string) {
	t.Helper()
	if addr := os.Getenv("BROKER_ADDR"); addr != "" {
		restart := os.Getenv("BROKER_RESTART")
		if restart == "" {
			t.Skip("BROKER_ADDR without BROKER_RESTART: nothing to kill")
		}
		return command{addr, restart}, addr
	}
	b, err := harness.Start(harness.Options{DataDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Kill(); harness.RemoveBinary() })
	return ownBroker{b}, b.Addr("amqp")
}

func number(name string, otherwise uint64) uint64 {
	if n, err := strconv.ParseUint(os.Getenv(name), 10, 64); err == nil {
		return n
	}
	return otherwise
}

func TestCrash(t *testing.T) {
	rounds := number("CRASH_ROUNDS", 100)
	w := &world{ledger: newLedger(), seed: number("CRASH_SEED", uint64(time.Now().UnixNano()))}
	t.Logf("seed: CRASH_SEED=%d CRASH_ROUNDS=%d", w.seed, rounds)
	broker, addr := start(t)
	w.addr.Store(&addr)
	if err := w.topology(); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	var clients sync.WaitGroup
	for i, c := range []client{
		publisher(exchangeAll, ""), publisher("", queuePlain), publisher("", queueQuorum), publisher("", queueTTL),
		transactor,
		consumer(queuePlain, true), consumer(queuePlain, true), consumer(queueQuorum, false),
		consumer(queueTTL, true), consumer(queueTx, false), consumer(queueDead, false),
	} {
		w.forever(ctx, &clients, uint64(i+1), c)
	}
	rng := rand.New(rand.NewPCG(w.seed, 0))
	began := time.Now()
	for round := range rounds {
		<-time.After(time.Duration(300+rng.IntN(700)) * time.Millisecond) // the random moment itself
		addr, err := broker.crash()
		if err != nil {
			t.Fatalf("round %d: %v", round, err)
		}
		w.addr.Store(&addr)
		if err := w.topology(); err != nil {
			t.Fatalf("round %d: topology after restart: %v", round, err)
		}
	}
	stop()
	clients.Wait()
	t.Logf("%d kills in %v", rounds, time.Since(began).Round(time.Second))
	if err := w.drain(); err != nil {
		t.Fatal(err)
	}
	judge(t, w.ledger.account())
}

// drain consumes every queue until all are empty. What expires or is
// dead-lettered meanwhile arrives in queueDead, so it is drained until a full
// pass over all queues finds nothing.
func (w *world) drain() error {
	conn, err := w.dial()
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	ch, err := conn.Channel()
	if err != nil {
		return err
	}
	for {
		found := 0
		for _, q := range queues {
			n, err := w.drainQueue(ch, q)
			if err != nil {
				return err
			}
			found += n
		}
		if found == 0 {
			return w.remove(ch)
		}
	}
}

// remove deletes what topology declared.
func (w *world) remove(ch *amqp.Channel) error {
	for _, q := range queues {
		if _, err := ch.QueueDelete(q, false, false, false); err != nil {
			return err
		}
	}
	for _, x := range []string{exchangeAll, exchangeDLX} {
		if err := ch.ExchangeDelete(x, false, false); err != nil {
			return err
		}
	}
	return nil
}

// drainQueue consumes one queue until nothing came for half a second and a
// passive declare finds it empty.
func (w *world) drainQueue(ch *amqp.Channel, q string) (n int, err error) {
	if err := ch.Qos(500, 0, false); err != nil {
		return 0, err
	}
	in, err := ch.Consume(q, "drain", false, false, false, false, nil)
	if err != nil {
		return 0, err
	}
	for idle := false; !idle; {
		select {
		case d, open := <-in:
			if !open {
				return n, amqp.ErrClosed
			}
			w.ledger.deliver(d.MessageId)
			n++
			if err := d.Ack(false); err != nil {
				return n, err
			}
		case <-time.After(500 * time.Millisecond):
			state, err := ch.QueueDeclarePassive(q, true, false, false, false, nil)
			if err != nil {
				return n, err
			}
			idle = state.Messages == 0
		}
	}
	return n, ch.Cancel("drain", false)
}

// shown bounds how many ids of one kind a failure lists.
const shown = 10

func judge(t *testing.T, r report) {
	t.Helper()
	t.Log(r)
	if r.confirmed == 0 || r.commits == 0 {
		t.Errorf("nothing was confirmed or committed: the run proves nothing")
	}
	if r.unanswered > 0 {
		t.Errorf("%d publishes were never confirmed although their connection lived", r.unanswered)
	}
	for what, list := range map[string][]string{
		"confirmed messages lost":            r.lost,
		"messages that were never published": r.strangers,
		"transactions torn apart":            r.torn,
	} {
		if len(list) > 0 {
			t.Errorf("%d %s, such as %q", len(list), what, list[:min(shown, len(list))])
		}
	}
}
