// Package perf measures brokers and the machine below them.
//
// `hermod perf amqp` loads any AMQP 0-9-1 broker. It is made to cost little
// beside the broker: messages are encoded once and only their time stamp is
// patched, writes are large, replies are parsed in place. Given the broker's
// process ids it says what a message costs in CPU time, which on a shared
// machine is the number to compare; rates depend on what else runs.
//
// `hermod perf relay` is the floor: the same number of bytes through a process
// that only moves them. `hermod perf disk` is the other floor: writes made
// durable one after the other.
package perf
