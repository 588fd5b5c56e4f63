// Package harness starts the real hermod binary for black-box suites, waits
// until it is ready, kills it, starts it again on the same data, and runs
// operator commands against it.
//
// It is a module of its own with no dependencies, so that every nested suite
// can use it without joining the product's module graph.
//
// The binary is the one named by HERMOD_BIN, or it is built once per test
// process from the repository this module lies in. A broker prints one line
// per listener ("listener amqp 127.0.0.1:5672") and then a line that contains
// "ready"; [Start] returns after that line.
package harness
