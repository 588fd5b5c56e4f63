// Package brokertest is what tests of the core, and of those who use it, need:
// a sink that records, a world driven by scripts, and a simulation that runs
// random sessions against a small model.
//
// Everything in it is single-threaded and deterministic: the store commits when
// it is told, the clock moves when it is told.
package brokertest
