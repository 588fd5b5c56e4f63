package cluster

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// Queues of the AMQP load.
const (
	queuePlain = "cluster.plain" // publishes with confirms, plain acknowledgements
	queueTx    = "cluster.tx"    // transactions over both tx queues; acknowledgements in transactions
	queueTx2   = "cluster.tx2"
	queueSTOMP = "cluster.stomp"
	queueHose  = "cluster.hose"
	queueOnce  = "cluster.once" // gets what is published with QoS 2; nobody reads it before the end
)

// amqpQueues are all queues, whatever protocol uses them.
var amqpQueues = []string{queuePlain, queueTx, queueTx2, queueSTOMP, queueHose, queueOnce, queueSQS, queueOpenWire}

// channel opens a connection to addr with one channel and declares the queues.
// cut closes the connection without waiting for anybody.
func (w *world) channel(addr string) (ch *amqp.Channel, cut func(), err error) {
	conn, err := amqp.DialConfig("amqp://guest:guest@"+addr+"/", amqp.Config{
		Heartbeat: 10 * time.Second, Locale: "en_US",
		Dial: func(_, addr string) (net.Conn, error) {
			conn, err := w.dialAny(addr)
			if err == nil { // until the library sets its own with the first heartbeat
				err = conn.SetDeadline(time.Now().Add(5 * time.Second))
			}
			return conn, err
		},
	})
	if err != nil {
		return nil, nil, err
	}
	cut = func() { _ = conn.CloseDeadline(time.Now().Add(200 * time.Millisecond)) }
	if ch, err = conn.Channel(); err == nil {
		for _, q := range amqpQueues {
			if _, err = ch.QueueDeclare(q, true, false, false, false, nil); err != nil {
				break
			}
		}
		if err == nil {
			err = ch.QueueBind(queueOnce, "cluster.once", "amq.topic", false, nil)
		}
	}
	if err != nil {
		cut()
	}
	return ch, cut, err
}

// amqpPublisher publishes to queuePlain, a window of unconfirmed ones at most.
func amqpPublisher(ctx context.Context, w *world, addr string, rng *rand.Rand) {
	publishAMQP(ctx, w, addr, queuePlain, func(id string) []byte { return body(id, rng) })
}

// amqpHose publishes 256 KiB at a time to queueHose.
func amqpHose(ctx context.Context, w *world, addr string, _ *rand.Rand) {
	const size = 256 << 10
	publishAMQP(ctx, w, addr, queueHose, func(id string) []byte {
		return append(append([]byte(id), ' '), make([]byte, size)...)
	})
}

func publishAMQP(ctx context.Context, w *world, addr, queue string, body func(id string) []byte) {
	ch, cut, err := w.channel(addr)
	if err != nil {
		return
	}
	defer cut()
	if ch.Confirm(false) != nil {
		return
	}
	confirms := ch.NotifyPublish(make(chan amqp.Confirmation, window))
	pending := map[uint64]string{}
	name := w.publisherName("a")
	for number := 1; ctx.Err() == nil; number++ {
		w.throttle(ctx)
		id := fmt.Sprintf("%s-%d", name, number)
		w.publish(id, queue, name, number, 0)
		pending[ch.GetNextPublishSeqNo()] = id
		if ch.PublishWithContext(ctx, "", queue, false, false, amqp.Publishing{DeliveryMode: amqp.Persistent, Body: body(id)}) != nil {
			return
		}
		for len(pending) >= window {
			if !w.takeConfirm(confirms, pending) {
				return
			}
		}
	}
	for len(pending) > 0 {
		if !w.takeConfirm(confirms, pending) {
			return
		}
	}
}

func (w *world) takeConfirm(confirms <-chan amqp.Confirmation, pending map[uint64]string) bool {
	select {
	case c, open := <-confirms:
		if !open {
			return false
		}
		if c.Ack {
			w.confirm(pending[c.DeliveryTag])
		}
		delete(pending, c.DeliveryTag)
		return true
	case <-time.After(answerTimeout):
		return false
	}
}

// amqpTransactor publishes to both tx queues in transactions of two to six.
func amqpTransactor(ctx context.Context, w *world, addr string, rng *rand.Rand) {
	ch, cut, err := w.channel(addr)
	if err != nil {
		return
	}
	defer cut()
	if ch.Tx() != nil {
		return
	}
	name, number := w.publisherName("t"), 0
	for ctx.Err() == nil {
		w.throttle(ctx)
		tx := w.ids.Add(1)
		for i := range 2 + rng.IntN(5) {
			number++
			id := fmt.Sprintf("%s-%d", name, number)
			q := []string{queueTx, queueTx2}[i%2]
			w.publish(id, q, name, number, tx)
			if ch.PublishWithContext(ctx, "", q, false, false, amqp.Publishing{DeliveryMode: amqp.Persistent, Body: body(id, rng)}) != nil {
				return
			}
		}
		if !answered(cut, ch.TxCommit) {
			return
		}
		w.commit(tx)
	}
}

// answered runs a request of a library that would wait for ever, and cuts the
// connection when the answer takes too long.
func answered(cut func(), request func() error) bool {
	timer := time.AfterFunc(answerTimeout, cut)
	defer timer.Stop()
	return request() == nil
}

// amqpConsumer takes from a queue. With transactions it acknowledges in
// batches whose commit is a confirmed settlement.
func amqpConsumer(queue string, transactions bool) func(context.Context, *world, string, *rand.Rand) {
	return func(ctx context.Context, w *world, addr string, rng *rand.Rand) {
		ch, cut, err := w.channel(addr)
		if err != nil {
			return
		}
		defer cut()
		if transactions && ch.Tx() != nil || ch.Qos(50, 0, false) != nil {
			return
		}
		in, err := ch.Consume(queue, "", false, false, false, false, nil)
		if err != nil {
			return
		}
		var batch []string
		for {
			select {
			case <-ctx.Done():
				return
			case d, open := <-in:
				if !open {
					return
				}
				id := idOf(d.Body)
				w.deliver(id, queue, d.Redelivered)
				if d.Ack(false) != nil {
					return
				}
				if !transactions {
					continue
				}
				if batch = append(batch, id); len(batch) < 1+rng.IntN(20) {
					continue
				}
				if !answered(cut, ch.TxCommit) {
					return
				}
				for _, id := range batch {
					w.settle(id)
				}
				batch = batch[:0]
			}
		}
	}
}

// drainAMQP empties every queue through the serving node, with confirmed
// settlements, until all are empty.
func (w *world) drainAMQP(addr string) error {
	ch, cut, err := w.channel(addr)
	if err != nil {
		return err
	}
	defer cut()
	for _, q := range amqpQueues {
		for {
			d, ok, err := ch.Get(q, true)
			if err != nil {
				return err
			}
			if !ok {
				break
			}
			w.deliver(idOf(d.Body), q, d.Redelivered)
		}
	}
	return nil
}
