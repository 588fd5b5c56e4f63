package stomp

import "github.com/hermodmq/hermod/broker"

// maxTemps bounds the temporary queues of a connection.
const maxTemps = 1024

// tempQueue returns the queue behind /temp-queue/name of this connection,
// which goes with it.
func (c *conn) tempQueue(name string) (string, error) {
	if q, ok := c.temps[name]; ok {
		return q, nil
	}
	if len(c.temps) >= maxTemps {
		return "", refuse("Too many temporary queues", "More than %d temporary queues\n", maxTemps)
	}
	info, err := c.session.DeclareQueue(&c.turn, broker.QueueDeclare{Exclusive: true}, nil)
	if err != nil {
		return "", err
	}
	if c.temps == nil {
		c.temps = make(map[string]string)
	}
	c.temps[name] = info.Name
	return info.Name, nil
}

// replyQueue is tempQueue for an address in reply-to: RabbitMQ's clients are
// subscribed to it at once, with the address for an id.
func (c *conn) replyQueue(name string) (string, error) {
	queue, err := c.tempQueue(name)
	if err != nil || c.opt.Dialect != RabbitMQ {
		return queue, err
	}
	address := tempQueuePrefix + name
	key := keyOf(address, true, "")
	if c.consumers[key] != nil {
		return queue, nil
	}
	cons, err := c.newConsumer(key, &destination{text: address, kind: destTempQueue, name: name}, nil)
	if err != nil {
		return "", err
	}
	cons.started = true
	return queue, c.start(cons, queue, &wish{}, false)
}

// tempTopic is the routing key of /temp-topic/name of this connection.
func (c *conn) tempTopic(name string) string { return "temp." + c.id + "." + name }
