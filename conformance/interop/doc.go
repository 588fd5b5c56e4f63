// Package interop sends messages by one protocol and receives them by another,
// for every pair, with stock clients.
//
// A protocol is an [Adapter]: how to send, how to receive, and what of a
// message it can say and shows. A test computes what must arrive as
// receiver.Shows(sender.Says(message)) and compares every field. To add a
// protocol, write an adapter in a file of its own and register it in its init
// function, together with the settings that switch its listener on; every pair
// with every other protocol is then run. A client in another language fits
// behind the same interface as a process that is talked to.
//
// conflicts_test.go has one test for every point on which protocols disagree.
package interop
