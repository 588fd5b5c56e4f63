package amqpconf

import (
	"fmt"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

func typed(kind string, more ...any) amqp.Table {
	args := amqp.Table{"x-queue-type": kind}
	for i := 0; i < len(more); i += 2 {
		args[more[i].(string)] = more[i+1]
	}
	return args
}

func TestAMQP52_QuorumQueue(t *testing.T) {
	conn, ch := open(t)
	t.Run("AMQP-52 publish, consume, count deliveries", func(t *testing.T) {
		q := durable(t, ch, typed("quorum"))
		sendTo(t, "", q, persistent("m"))
		must(t, ch.Qos(10, 0, false))
		in := consume(t, ch, q, nil)
		d := recv(t, in)
		if _, ok := d.Headers["x-delivery-count"]; ok || d.Redelivered {
			t.Errorf("first delivery: headers %v, redelivered %v", d.Headers, d.Redelivered)
		}
		must(t, d.Nack(false, true))
		d = recv(t, in)
		if fmt.Sprint(d.Headers["x-delivery-count"]) != "1" || !d.Redelivered {
			t.Errorf("second delivery: headers %v, redelivered %v", d.Headers, d.Redelivered)
		}
		must(t, d.Ack(false))
	})
	t.Run("AMQP-52 delivery limit", func(t *testing.T) {
		testDeliveryLimit(t, ch, typed("quorum", "x-delivery-limit", int32(2)), 2)
	})
	t.Run("AMQP-52 default delivery limit", func(t *testing.T) {
		skipDeviation(t, "AMQP-52 default delivery limit")
		testDeliveryLimit(t, ch, typed("quorum"), 20)
	})
	declareQ := func(durable, autoDelete, exclusive bool, args amqp.Table) func(*amqp.Channel) error {
		return func(ch *amqp.Channel) error {
			_, err := ch.QueueDeclare(unique(t, "q"), durable, autoDelete, exclusive, false, args)
			return err
		}
	}
	t.Run("AMQP-52 durable only", func(t *testing.T) {
		soft(t, conn, 406, "~PRECONDITION_FAILED - invalid property 'non-durable' for queue ", declareQ(false, false, false, typed("quorum")))
	})
	t.Run("AMQP-52 not exclusive", func(t *testing.T) {
		soft(t, conn, 406, "~PRECONDITION_FAILED - invalid property ", declareQ(true, false, true, typed("quorum")))
	})
	t.Run("AMQP-52 not auto-delete", func(t *testing.T) {
		soft(t, conn, 406, "~PRECONDITION_FAILED - invalid property 'auto-delete' for queue ", declareQ(true, true, false, typed("quorum")))
	})
	t.Run("AMQP-52 not server-named", func(t *testing.T) {
		skipDeviation(t, "AMQP-52 server-named")
		soft(t, conn, 406, "~PRECONDITION_FAILED - Cannot declare a server-named queue for type rabbit_quorum_queue", func(ch *amqp.Channel) error {
			_, err := ch.QueueDeclare("", true, false, false, false, typed("quorum"))
			return err
		})
	})
	t.Run("AMQP-52 no global prefetch", func(t *testing.T) {
		q := durable(t, ch, typed("quorum"))
		hard(t, 540, fmt.Sprintf("NOT_IMPLEMENTED - queue '%s' in vhost '/' does not support global qos", q), func(ch *amqp.Channel) error {
			must(t, ch.Qos(5, 0, true))
			_, err := ch.Consume(q, "", false, false, false, false, nil)
			return err
		})
	})
}

// testDeliveryLimit returns a message until the queue gives up on it.
func testDeliveryLimit(t *testing.T, ch *amqp.Channel, args amqp.Table, limit int) {
	dead := queue(t, ch, nil)
	args["x-dead-letter-exchange"], args["x-dead-letter-routing-key"] = "", dead
	q := durable(t, ch, args)
	sendTo(t, "", q, persistent("poison"))
	in := consume(t, ch, q, nil)
	for range limit + 1 {
		must(t, recv(t, in).Nack(false, true))
	}
	d := get(t, ch, dead, true)
	if d.Headers["x-first-death-reason"] != "delivery_limit" {
		t.Errorf("reason = %v, want delivery_limit", d.Headers["x-first-death-reason"])
	}
	silent(t, in)
}

func TestAMQP53_Stream(t *testing.T) {
	_, ch := open(t)
	q := durable(t, ch, typed("stream"))
	var msgs []amqp.Publishing
	for i := range 10 {
		msgs = append(msgs, persistent(itoa(i)))
	}
	sendTo(t, "", q, msgs...)
	from := func(t *testing.T, offset any) (<-chan amqp.Delivery, *amqp.Channel) {
		t.Helper()
		_, ch := open(t)
		must(t, ch.Qos(100, 0, false))
		args := amqp.Table{}
		if offset != nil {
			args["x-stream-offset"] = offset
		}
		return consume(t, ch, q, args), ch
	}
	t.Run("AMQP-53 first, twice", func(t *testing.T) {
		for range 2 { // reading does not remove
			in, _ := from(t, "first")
			for i := range 10 {
				d := recv(t, in)
				if string(d.Body) != itoa(i) || d.Headers["x-stream-offset"] != int64(i) {
					t.Fatalf("got %q at offset %v, want %d", d.Body, d.Headers["x-stream-offset"], i)
				}
				must(t, d.Ack(false))
			}
		}
	})
	t.Run("AMQP-53 offset", func(t *testing.T) {
		in, _ := from(t, int64(7))
		wantBodies(t, in, "7", "8", "9")
	})
	t.Run("AMQP-53 interval and timestamp", func(t *testing.T) {
		in, _ := from(t, "1h")
		wantBodies(t, in, "0")
		in, _ = from(t, time.Now().Add(-time.Hour))
		wantBodies(t, in, "0")
	})
	t.Run("AMQP-53 last holds the newest", func(t *testing.T) {
		in, _ := from(t, "last")
		for {
			if string(recv(t, in).Body) == "9" {
				return
			}
		}
	})
	t.Run("AMQP-53 next is the default", func(t *testing.T) {
		next, _ := from(t, "next")
		none, _ := from(t, nil)
		silent(t, next)
		sendTo(t, "", q, persistent("new"))
		wantBodies(t, next, "new")
		wantBodies(t, none, "new")
	})
	t.Run("AMQP-53 credit by ack", func(t *testing.T) {
		_, ch := open(t)
		must(t, ch.Qos(2, 0, false))
		in := consume(t, ch, q, amqp.Table{"x-stream-offset": "first"})
		d := wantBodies(t, in, "0", "1")
		silent(t, in)
		must(t, d[0].Ack(false))
		wantBodies(t, in, "2")
	})
}

func TestAMQP53_StreamRestrictions(t *testing.T) {
	conn, ch := open(t)
	q := durable(t, ch, typed("stream"))
	soft(t, conn, 406, "~PRECONDITION_FAILED - consumer prefetch count is not set for", func(ch *amqp.Channel) error {
		_, err := ch.Consume(q, "", false, false, false, false, nil)
		return err
	})
	hard(t, 540, "~NOT_IMPLEMENTED - automatic acknowledgement not supported by stream", func(ch *amqp.Channel) error {
		must(t, ch.Qos(1, 0, false))
		_, err := ch.Consume(q, "", true, false, false, false, nil)
		return err
	})
	hard(t, 540, "~NOT_IMPLEMENTED - basic.get not supported by stream queues", func(ch *amqp.Channel) error {
		_, _, err := ch.Get(q, false)
		return err
	})
	hard(t, 540, "~NOT_IMPLEMENTED - queue.purge not supported by stream queues", func(ch *amqp.Channel) error {
		_, err := ch.QueuePurge(q, false)
		return err
	})
	softOrDeviation(t, "AMQP-53 bad x-max-age", 406, "~invalid arg 'x-max-age' for queue", func(ch *amqp.Channel) error {
		_, err := ch.QueueDeclare(unique(t, "q"), true, false, false, false, typed("stream", "x-max-age", "soon"))
		return err
	})
	soft(t, conn, 406, "~PRECONDITION_FAILED - invalid arg 'x-max-priority' for queue", func(ch *amqp.Channel) error {
		_, err := ch.QueueDeclare(unique(t, "q"), true, false, false, false, typed("stream", "x-max-priority", int32(3)))
		return err
	})
	softOrDeviation(t, "AMQP-53 bad x-stream-offset", 406, "~PRECONDITION_FAILED - ", func(ch *amqp.Channel) error {
		must(t, ch.Qos(1, 0, false))
		_, err := ch.Consume(q, "", false, false, false, false, amqp.Table{"x-stream-offset": "whenever"})
		return err
	})
}

func TestAMQP53_StreamRetention(t *testing.T) {
	_, ch := open(t)
	q := durable(t, ch, typed("stream", "x-max-length-bytes", int64(100_000), "x-stream-max-segment-size-bytes", int64(50_000)))
	body := persistent(strings.Repeat("x", 1000))
	eventually(t, "old messages leave", func() bool {
		sendTo(t, "", q, body, body, body, body, body, body, body, body, body, body, body, body, body, body, body, body)
		_, ch := open(t)
		defer func() { _ = ch.Close() }()
		must(t, ch.Qos(1, 0, false))
		d := recv(t, consume(t, ch, q, amqp.Table{"x-stream-offset": "first"}))
		return d.Headers["x-stream-offset"].(int64) > 0
	})
}
