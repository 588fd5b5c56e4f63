// Package amqp is the AMQP 0-9-1 listener: it translates between what clients
// of RabbitMQ speak and the broker's core.
//
// # Life of a connection
//
// A connection is a state machine without I/O (conn.go) that the transport
// calls on one event loop: protocol header, start, login (off the loop), tune,
// open (handshake.go), then running, closing, over. Each channel (channel.go)
// is one [broker.Session]. The methods are carried out in methods_*.go, one
// file per class, messages are taken in publish.go and message.go and sent in
// deliver.go.
//
// # Order
//
// Methods of a channel are carried out one after the other as they arrive.
// Answers keep that order although some wait for the store: a declare of a
// durable queue is answered when it is durable, and everything behind it on
// its channel queues up meanwhile (reply in sink.go), except deliveries, which
// only never come before their consume-ok. Publisher confirms follow the
// answers and are told once per turn, so that one ack can stand for many; a
// basic.return always precedes the ack of its message.
//
// # What the core tells
//
// The core calls a channel's sink on any goroutine, often with a queue locked.
// The sink only appends to the connection's inbox, whose order is therefore
// the order of the queue, and rings through the caller's batch; the loop
// empties the inbox. Its size is bounded by the windows of the subscriptions
// and by the publishes the store has in flight.
//
// # Messages
//
// Routing key, property list and body of a message are one allocation, the
// properties byte for byte as they came. They go out the same way; only what
// the broker has to say about a message (dead letters, delivery counts, stream
// offsets) makes a changed copy. Buffers grow with the bytes that arrive, never
// with what was announced.
//
// # Pressure
//
// Publishers are stopped by connection.blocked on an alarm and by not reading
// while the store is congested, from their next publish on; who only consumes
// is never stopped. A client that does not read loses credit: beyond what the
// link buffers, deliveries stay with the core's window per subscription.
package amqp
