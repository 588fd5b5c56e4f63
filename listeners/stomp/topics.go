package stomp

import (
	"cmp"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"strings"

	"github.com/hermodmq/hermod/broker"
	"github.com/hermodmq/hermod/listeners/stomp/wire"
)

// subscriptionPrefix begins the names of the queues of topic subscriptions.
const subscriptionPrefix = "stomp-subscription-"

// consumeTopic reads what an exchange routes: from a queue of its own, or one
// that lasts.
func (c *conn) consumeTopic(cons *consumer, w *wish) error {
	queue, err := c.topicQueue(cons, w, []*destination{cons.dest})
	if err != nil {
		return err
	}
	cons.source.passes, w.wants = w.wants, nil
	if err = c.start(cons, queue, w, subscriptionName(w.frame) != ""); err != nil {
		c.dropOwn(cons, queue)
		return err
	}
	c.showImages(&cons.source, w.images)
	return nil
}

// dropOwn deletes the queue of a topic subscription that did not come about,
// if it was made for nothing else.
func (c *conn) dropOwn(cons *consumer, queue string) {
	if cons.kept != queue && strings.HasPrefix(queue, subscriptionPrefix) {
		_, _ = c.session.DeleteQueue(&c.turn, queue, true, true, nil)
	}
}

// topicQueue makes the queue of a subscription to topics and binds it to them.
func (c *conn) topicQueue(cons *consumer, w *wish, topics []*destination) (string, error) {
	if name := subscriptionName(w.frame); name != "" {
		return c.durableQueue(cons, w, topics, name)
	}
	d, err := c.topicDeclare(cons, w)
	if err != nil {
		return "", err
	}
	for _, dest := range topics {
		if dest.kind == destExchange {
			if err := c.session.DeclareExchange(&c.turn, broker.ExchangeDeclare{Name: dest.exchange, Passive: true}, nil); err != nil {
				return "", err
			}
		}
	}
	broker.MarkSubscription(&d)
	if _, err := c.session.DeclareQueue(&c.turn, d, nil); err != nil {
		return "", err
	}
	if d.Durable {
		cons.kept = d.Name
	}
	for _, dest := range topics {
		exchange, key := dest.exchange, bindingKey(c.opt.Dialect, dest.key)
		if dest.kind == destTempTopic {
			exchange, key = topicExchange, c.tempTopic(dest.name)
		}
		b := broker.Binding{Source: exchange, Destination: d.Name, Key: key}
		if cons.dest.kind == destTopic && !d.Durable && string(w.frame.Get("activemq.retroactive")) == "true" {
			w.images, err = c.session.BindImages(&c.turn, b)
		} else {
			err = c.session.Bind(&c.turn, b, nil)
		}
		if err != nil {
			c.dropOwn(cons, d.Name)
			return "", err
		}
	}
	return d.Name, nil
}

// durableQueue is topicQueue for a durable subscription of JMS.
func (c *conn) durableQueue(cons *consumer, w *wish, topics []*destination, name string) (string, error) {
	if c.clientID == "" {
		return "", refuse("Missing header", "A durable subscription needs a 'client-id' header in CONNECT\n")
	}
	if len(topics) != 1 || topics[0].kind != destTopic {
		return "", refuse("Invalid destination", "'%s' is not a topic that a durable subscription can be for\n", cons.dest.text)
	}
	queue, err := c.session.OpenDurable(&c.turn, broker.Durable{
		ClientID: c.clientID, Name: name, Pattern: bindingKey(c.opt.Dialect, topics[0].key), Selector: w.text, NoLocal: w.noLocal,
		Args: w.queue.Args,
	}, nil)
	if inUse(err) {
		return "", refuse("Durable consumer is in use", "Durable consumer is in use\n")
	}
	cons.kept = queue
	return queue, err
}

// inUse reports whether the core refused to delete a queue that somebody reads.
func inUse(err error) bool {
	var refused *broker.Error
	return errors.As(err, &refused) && refused.Kind == broker.Precondition
}

// topicDeclare describes the queue of a topic subscription, that of JMS's
// durable ones excepted.
func (c *conn) topicDeclare(cons *consumer, w *wish) (broker.QueueDeclare, error) {
	f, d := w.frame, w.queue
	d.Name = string(f.Get("x-queue-name"))
	if lasting(f) {
		if !w.hasID {
			return d, refuse("Missing id", "Header 'id' is required for durable subscriptions\n")
		}
		d.Durable = true
		d.Name = cmp.Or(d.Name, keptName(cons.dest.text, w.id))
		return d, nil
	}
	d.Durable = false
	if _, given := f.Lookup("auto-delete"); !given {
		d.AutoDelete = true
	}
	if d.Name == "" {
		d.Name = subscriptionPrefix + randomText()
		if _, given := f.Lookup("exclusive"); !given {
			d.Exclusive = true
		}
	}
	return d, nil
}

// lasting reports whether a frame is about a durable subscription in
// RabbitMQ's way.
func lasting(f *wire.Frame) bool {
	return string(f.Get("durable")) == "true" || string(f.Get("persistent")) == "true"
}

// subscriptionName is the name of a durable subscription in ActiveMQ's way,
// "" if it is none.
func subscriptionName(f *wire.Frame) string {
	if v := f.Get("activemq.subscriptionName"); len(v) > 0 {
		return string(v)
	}
	return string(f.Get("durable-subscription-name"))
}

// keptName is the queue of a durable subscription in RabbitMQ's way: the same
// for the same destination and id.
func keptName(dest, id string) string {
	sum := sha256.Sum256([]byte(dest + "\x00" + id))
	return subscriptionPrefix + base64.RawURLEncoding.EncodeToString(sum[:16])
}
