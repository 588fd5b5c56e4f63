// Package stomp is the STOMP listener, versions 1.0, 1.1 and 1.2, in two
// dialects: that of RabbitMQ's plugin (default) and that of ActiveMQ.
//
// # Life of a connection
//
// A connection is a state machine without I/O (conn.go) that the transport
// calls on one event loop: CONNECT, login (off the loop), connected
// (handshake.go), running, leaving, over. It has one [broker.Session]. The
// commands are carried out in session.go, with destinations read in
// destination.go, messages taken in send.go and sent in deliver.go.
//
// # Receipts
//
// A receipt says that a frame has taken effect and, where that is something to
// be kept, that it is durable: a persistent SEND, COMMIT, ACK, NACK and the
// queues behind SUBSCRIBE. Receipts and errors leave in the order of the
// frames they answer (reply.go); messages may overtake them, except that a
// subscription's first message never precedes the receipt of its SUBSCRIBE.
//
// # Transactions
//
// A client may have several transactions at once, beside what it does without
// one. They are kept here, within limits, and given to the core at COMMIT as
// one atomic batch (transaction.go).
//
// # Messages
//
// Routing key, headers and body of a message are one allocation. The headers
// are kept as lines with the escapes of STOMP 1.2, behind one byte that says
// whether the body is text, bytes or a map; they are written without being
// decoded (convert.go). Maps of JMS are written as ActiveMQ writes them for
// those who ask (transform.go, xstream.go).
//
// # Pressure
//
// Publishers are stopped by not reading while an alarm is in force or the
// store is congested. A client that does not read loses credit: beyond what
// the link buffers, deliveries stay with the core's window per subscription.
package stomp
