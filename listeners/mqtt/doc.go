// Package mqtt is the listener for MQTT 3.1, 3.1.1 and 5.0: it translates
// between MQTT clients and the broker's core.
//
// # Connections and sessions
//
// A connection (conn.go) is a state machine without I/O that the transport calls
// on one event loop. A session (session.go) outlives it: its subscriptions, its
// unacknowledged messages and its packet identifiers. At any time at most one
// connection owns a session and only that connection's loop touches it; the
// [Server] hands it from one to the next, so that a take-over moves the state
// and never copies it.
//
// # Where messages wait
//
// Topics are routing keys of the exchange amq.topic (see topic.Slashes). A
// session has at most two queues: mqtt-subscription-<client id>qos0, which exists
// while the client is connected, is bounded and drops its oldest messages, and
// mqtt-subscription-<client id>qos1 for everything of QoS 1 and 2, durable if the
// session outlives its connection. A shared subscription is the queue
// mqtt-shared-<name>-<filter>, from which its connected members compete. The
// options of subscriptions are applied when a message is delivered (deliver.go):
// overlapping filters give one copy with the highest QoS and all identifiers.
//
// # What is durable
//
// PUBACK and PUBREC leave after the commit of the message, acknowledgements in
// the order of the publishes (acks.go). Durable sessions keep facts in the store
// (record.go): the session itself with subscriptions and will, packet identifiers
// of QoS 2 messages received, stored in the batch of their message, and those of
// QoS 2 messages sent, stored before they leave. Exactly once therefore holds
// across reconnects, take-overs and crashes for a durable session's own
// subscriptions; what comes by a shared one may come twice after a crash.
//
// # Identifiers
//
// The identifiers a client chooses and those the server assigns are unrelated
// spaces. The server assigns when it sends.
package mqtt
