package cluster

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/go-stomp/stomp/v3"
)

func (w *world) stomp(addr string) (*stomp.Conn, error) {
	conn, err := w.dialAny(addr)
	if err != nil {
		return nil, err
	}
	_ = conn.SetDeadline(time.Now().Add(5 * time.Second)) // for the handshake
	c, err := stomp.Connect(conn, stomp.ConnOpt.Login("guest", "guest"), stomp.ConnOpt.Host("/"), stomp.ConnOpt.HeartBeat(0, 0),
		stomp.ConnOpt.RcvReceiptTimeout(answerTimeout), stomp.ConnOpt.DisconnectReceiptTimeout(200*time.Millisecond))
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	_ = conn.SetDeadline(time.Time{})
	return c, nil
}

const stompQueue = "/amq/queue/" + queueSTOMP

// stompPublisher sends one message after another, each with a receipt.
func stompPublisher(ctx context.Context, w *world, addr string, rng *rand.Rand) {
	c, err := w.stomp(addr)
	if err != nil {
		return
	}
	defer func() { _ = c.MustDisconnect() }()
	name := w.publisherName("s")
	for number := 1; ctx.Err() == nil; number++ {
		w.throttle(ctx)
		id := fmt.Sprintf("%s-%d", name, number)
		w.publish(id, queueSTOMP, name, number, 0)
		if c.Send(stompQueue, "application/octet-stream", body(id, rng), stomp.SendOpt.Receipt, stomp.SendOpt.Header("persistent", "true")) != nil {
			return
		}
		w.confirm(id)
	}
}

// stompConsumer acknowledges in transactions, whose commit is a confirmed
// settlement.
func stompConsumer(ctx context.Context, w *world, addr string, rng *rand.Rand) {
	c, err := w.stomp(addr)
	if err != nil {
		return
	}
	defer func() { _ = c.MustDisconnect() }()
	sub, err := c.Subscribe(stompQueue, stomp.AckClientIndividual, stomp.SubscribeOpt.Header("prefetch-count", "10")) // the library stands still when more come than its channel takes
	if err != nil {
		return
	}
	for {
		select {
		case <-ctx.Done():
			return
		case m, open := <-sub.C:
			if !open || m.Err != nil {
				return
			}
			id := idOf(m.Body)
			w.deliver(id, queueSTOMP, m.Header.Get("redelivered") == "true")
			tx, err := c.BeginWithError()
			if err != nil || tx.Ack(m) != nil || tx.CommitWithReceipt() != nil {
				return
			}
			w.settle(id)
		}
	}
}
