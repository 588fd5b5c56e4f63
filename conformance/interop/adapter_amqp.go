package interop

import (
	"errors"
	"strconv"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

func init() { register(amqpAdapter{}) }

// amqpAdapter is AMQP 0-9-1. A reply-to is a name and does not tell a queue
// from a topic: it shows as a queue.
type amqpAdapter struct{}

func (amqpAdapter) Name() string             { return "AMQP" }
func (amqpAdapter) Reaches(Address) bool     { return true }
func (a amqpAdapter) Says(m Message) Message { return a.Shows(m) }
func (a amqpAdapter) Shows(m Message) Message {
	if len(m.ReplyTo.Topic) > 0 {
		m.ReplyTo = Address{Queue: key(m.ReplyTo.Topic)}
	}
	return m
}

func (amqpAdapter) Connect(addr func(string) string) (Client, error) {
	conn, err := amqp.Dial("amqp://guest:guest@" + addr("amqp") + "/")
	if err != nil {
		return nil, err
	}
	ch, err := conn.Channel()
	if err != nil {
		return nil, err
	}
	return &amqpClient{conn, ch}, ch.Confirm(false)
}

type amqpClient struct {
	conn *amqp.Connection
	ch   *amqp.Channel
}

func (c *amqpClient) Close() { _ = c.conn.Close() }

func (c *amqpClient) Send(to Address, m Message) error {
	p := amqp.Publishing{
		Body: m.Body, ContentType: m.ContentType, ContentEncoding: m.ContentEncoding, Priority: m.Priority,
		CorrelationId: m.CorrelationID, MessageId: m.MessageID, Type: m.Type, AppId: m.AppID, DeliveryMode: amqp.Transient,
	}
	if m.Persistent {
		p.DeliveryMode = amqp.Persistent
	}
	if m.TTL > 0 {
		p.Expiration = strconv.FormatInt(m.TTL.Milliseconds(), 10)
	}
	if m.Timestamp > 0 {
		p.Timestamp = time.Unix(m.Timestamp, 0)
	}
	switch {
	case m.ReplyTo.Queue != "":
		p.ReplyTo = m.ReplyTo.Queue
	case !m.ReplyTo.None():
		p.ReplyTo = key(m.ReplyTo.Topic)
	}
	if len(m.Headers) > 0 {
		p.Headers = amqp.Table(m.Headers)
	}
	exchange, k := "", to.Queue
	if to.Queue == "" {
		exchange, k = "amq.topic", key(to.Topic)
	}
	d, err := c.ch.PublishWithDeferredConfirm(exchange, k, false, false, p)
	if err != nil {
		return err
	}
	if !d.Wait() {
		return errors.New("nacked")
	}
	return nil
}

func (c *amqpClient) Listen(at Address) (<-chan Message, error) {
	name := at.Queue
	if name == "" {
		q, err := c.ch.QueueDeclare("", false, true, true, false, nil)
		if err != nil {
			return nil, err
		}
		if err := c.ch.QueueBind(q.Name, key(at.Topic), "amq.topic", false, nil); err != nil {
			return nil, err
		}
		name = q.Name
	} else if _, err := c.ch.QueueDeclare(name, true, false, false, false, nil); err != nil {
		return nil, err
	}
	in, err := c.ch.Consume(name, "", true, false, false, false, nil)
	if err != nil {
		return nil, err
	}
	out := make(chan Message, 16)
	go func() {
		defer close(out)
		for d := range in {
			out <- fromAMQP(&d)
		}
	}()
	return out, nil
}

func fromAMQP(d *amqp.Delivery) Message {
	m := Message{
		Body: d.Body, ContentType: d.ContentType, ContentEncoding: d.ContentEncoding, Priority: d.Priority,
		Persistent: d.DeliveryMode == amqp.Persistent, CorrelationID: d.CorrelationId, MessageID: d.MessageId, Type: d.Type, AppID: d.AppId,
		ReplyTo: Address{Queue: d.ReplyTo}, Headers: map[string]any(d.Headers),
	}
	if ms, err := strconv.ParseInt(d.Expiration, 10, 64); err == nil {
		m.TTL = time.Duration(ms) * time.Millisecond
	}
	if !d.Timestamp.IsZero() {
		m.Timestamp = d.Timestamp.Unix()
	}
	return m
}
