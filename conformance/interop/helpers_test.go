package interop

import (
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"
)

// channel is an AMQP channel to the shared broker, for what only AMQP can
// declare.
func channel(t testing.TB) *amqp.Channel {
	t.Helper()
	conn, err := amqp.Dial("amqp://guest:guest@" + shared.Addr("amqp") + "/")
	must(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	ch, err := conn.Channel()
	must(t, err)
	return ch
}

// declarePriorities makes a durable queue with priorities 0 to 9.
func declarePriorities(t testing.TB, name string) {
	t.Helper()
	_, err := channel(t).QueueDeclare(name, true, false, false, false, amqp.Table{"x-max-priority": int32(9)})
	must(t, err)
}

// listenExisting reads a queue that was declared in a way that the protocol
// would not: AMQP clients consume from it without declaring it.
func listenExisting(t testing.TB, a Adapter, at Address) <-chan Message {
	t.Helper()
	if a.Name() != "AMQP" {
		return listen(t, connect(t, a), at)
	}
	in, err := channel(t).Consume(at.Queue, "", true, false, false, false, nil)
	must(t, err)
	out := make(chan Message, 16)
	go func() {
		for d := range in {
			out <- fromAMQP(&d)
		}
	}()
	return out
}
