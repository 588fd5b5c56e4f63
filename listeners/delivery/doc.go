// Package delivery is what protocols that deliver by subscriptions have in
// common between the core's Sink and their output: the inbox of a connection,
// the ledger of what a client has to acknowledge, acknowledgements on their
// way to the core, and credit that is owed for what was written.
//
// Everything but [Inbox.Tell] and [Inbox.Receipt] belongs to the loop that owns
// the connection.
package delivery
