// Package stomp is the black-box suite of the STOMP listener: every statement
// of the checklist has a test that names it, carried out over sockets against
// the real binary, with go-stomp as a stock client and a client of the suite's
// own that can send anything. AMQP clients are the other side of what STOMP
// clients send and get.
package stomp
