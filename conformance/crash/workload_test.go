package crash

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// Queues of the workload. Messages rejected or expired in one of the first
// three meet again in queueDead.
const (
	queuePlain  = "crash.plain"
	queueQuorum = "crash.quorum"
	queueTTL    = "crash.ttl"
	queueTx     = "crash.tx"
	queueDead   = "crash.dead"
	exchangeAll = "crash.all"
	exchangeDLX = "crash.dlx"
	window      = 50 // unconfirmed publishes of one publisher

	// backlogMax is how far publishers run ahead of the consumers.
	backlogMax = 20_000
	// confirmTimeout is how long a live connection may leave a publish
	// unanswered.
	confirmTimeout = 30 * time.Second
)

var queues = []string{queuePlain, queueQuorum, queueTTL, queueTx, queueDead}

// world is everything the clients of a run share.
type world struct {
	addr   atomic.Pointer[string]
	stomp  atomic.Pointer[string] // address of the STOMP listener
	ledger *ledger
	ids    atomic.Int64
	seed   uint64
	moves  atomic.Int64 // transactions that move a message
	moved  sync.Map     // ids seen in stompMoved
}

func (w *world) id(kind string) string { return fmt.Sprintf("%s-%d", kind, w.ids.Add(1)) }

func (w *world) dial() (*amqp.Connection, error) {
	return amqp.DialConfig("amqp://guest:guest@"+*w.addr.Load()+"/", amqp.Config{Heartbeat: 10 * time.Second, Locale: "en_US",
		Dial: amqp.DefaultDial(2 * time.Second)})
}

// topology declares what the workload needs; all of it is durable, so after
// the first time it only checks that it is still there and equivalent.
func (w *world) topology() error {
	conn, err := w.dial()
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	ch, err := conn.Channel()
	if err != nil {
		return err
	}
	for _, x := range []string{exchangeAll, exchangeDLX} {
		if err := ch.ExchangeDeclare(x, "fanout", true, false, false, false, nil); err != nil {
			return err
		}
	}
	quorum := amqp.Table{"x-queue-type": "quorum", "x-delivery-limit": int32(-1)}
	if os.Getenv("BROKER_KIND") == "rabbitmq" {
		quorum = nil // the reference's take tens of seconds to elect themselves after each kill
	}
	for q, args := range map[string]amqp.Table{
		queuePlain:  {"x-dead-letter-exchange": exchangeDLX},
		queueQuorum: quorum,
		queueTTL:    {"x-dead-letter-exchange": exchangeDLX, "x-message-ttl": int32(150)},
		queueTx:     nil,
		queueDead:   nil,
	} {
		if _, err := ch.QueueDeclare(q, true, false, false, false, args); err != nil {
			return err
		}
	}
	if err := ch.QueueBind(queueDead, "", exchangeDLX, false, nil); err != nil {
		return err
	}
	return ch.QueueBind(queuePlain, "", exchangeAll, false, nil)
}

// client is one connection's work; it ends with its connection or the round.
type client func(ctx context.Context, w *world, ch *amqp.Channel, rng *rand.Rand)

// forever runs a client on one connection after another until ctx ends.
func (w *world) forever(ctx context.Context, wg *sync.WaitGroup, n uint64, c client) {
	wg.Add(1)
	go func() {
		defer wg.Done()
		rng := rand.New(rand.NewPCG(w.seed, n))
		for ctx.Err() == nil {
			conn, err := w.dial()
			if err == nil {
				if ch, err := conn.Channel(); err == nil {
					c(ctx, w, ch, rng)
				}
				_ = conn.CloseDeadline(time.Now().Add(time.Second))
			}
			select { // the broker is probably just being killed
			case <-ctx.Done():
			case <-time.After(5 * time.Millisecond):
			}
		}
	}()
}

// body makes sizes from nothing to a few segments of a TCP stream.
func body(id string, rng *rand.Rand) []byte {
	pad := rng.IntN(200)
	if rng.IntN(50) == 0 {
		pad = rng.IntN(300_000)
	}
	return []byte(id + " " + strings.Repeat("x", pad))
}

// publisher publishes persistent messages with confirms, a window at a time.
func publisher(x, key string) client {
	return func(ctx context.Context, w *world, ch *amqp.Channel, rng *rand.Rand) {
		if ch.Confirm(false) != nil {
			return
		}
		confirms := ch.NotifyPublish(make(chan amqp.Confirmation, window))
		pending := map[uint64]string{}
		for ctx.Err() == nil {
			for w.ledger.backlog() > backlogMax && ctx.Err() == nil {
				<-time.After(5 * time.Millisecond)
			}
			for len(pending) < window {
				id := w.id("m")
				w.ledger.publish(id, 0)
				pending[ch.GetNextPublishSeqNo()] = id
				if ch.PublishWithContext(ctx, x, key, false, false, amqp.Publishing{MessageId: id, DeliveryMode: amqp.Persistent, Body: body(id, rng)}) != nil {
					return
				}
			}
			for range 1 + rng.IntN(window) {
				if !w.settleConfirm(confirms, pending) {
					return
				}
				if len(pending) == 0 {
					break
				}
			}
		}
		for len(pending) > 0 {
			if !w.settleConfirm(confirms, pending) {
				return
			}
		}
	}
}

// settleConfirm takes one confirm off the pending ones. It reports false when
// the connection ended, or when a live one stayed silent for confirmTimeout.
func (w *world) settleConfirm(confirms <-chan amqp.Confirmation, pending map[uint64]string) bool {
	select {
	case c, open := <-confirms:
		if !open {
			return false
		}
		if c.Ack {
			w.ledger.confirm(pending[c.DeliveryTag])
		}
		delete(pending, c.DeliveryTag)
		return true
	case <-time.After(confirmTimeout):
		w.ledger.unanswered(len(pending))
		return false
	}
}

// transactor publishes to two queues in transactions of two to six messages.
func transactor(ctx context.Context, w *world, ch *amqp.Channel, rng *rand.Rand) {
	if ch.Tx() != nil {
		return
	}
	for ctx.Err() == nil {
		tx := w.ids.Add(1)
		for i := range 2 + rng.IntN(5) {
			id := w.id("tx")
			w.ledger.publish(id, tx)
			q := []string{queueTx, queuePlain}[i%2]
			if ch.PublishWithContext(ctx, "", q, false, false, amqp.Publishing{MessageId: id, DeliveryMode: amqp.Persistent, Body: body(id, rng)}) != nil {
				return
			}
		}
		if ch.TxCommit() != nil {
			return
		}
		w.ledger.commit(tx)
	}
}

// consumer acknowledges, requeues and (where a dead-letter exchange waits)
// rejects at random. It takes its time, so that a backlog remains to recover.
func consumer(q string, rejects bool) client {
	return func(ctx context.Context, w *world, ch *amqp.Channel, rng *rand.Rand) {
		if ch.Qos(20, 0, false) != nil {
			return
		}
		in, err := ch.Consume(q, "", false, false, false, false, nil)
		if err != nil {
			return
		}
		for {
			select {
			case <-ctx.Done():
				return
			case d, open := <-in:
				if !open || !settle(w, d, rejects, rng) {
					return
				}
			}
		}
	}
}

func settle(w *world, d amqp.Delivery, rejects bool, rng *rand.Rand) bool {
	switch n := rng.IntN(20); {
	case n == 0:
		return d.Nack(false, true) == nil
	case n < 3 && rejects:
		return d.Reject(false) == nil // counted when it comes out of queueDead
	default:
		w.ledger.deliver(d.MessageId)
		return d.Ack(false) == nil
	}
}
