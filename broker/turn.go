package broker

// Turn is what every caller brings to the core: the time, and the place
// where the peers that got something to do are remembered until the turn
// ends.
//
// A Turn belongs to one goroutine (an event loop, the store's commit
// goroutine, a timer) and is never shared. The core reads no clock of its own,
// which is what makes simulation possible.
type Turn struct {
	// Now is the time in Unix milliseconds. It is the only clock the core
	// knows; a caller refreshes it once per turn.
	Now int64

	// Bells is opaque to the core: sinks put their wake-ups into it. With the
	// gnet transport it is the *transport.Batch of the running loop, whose
	// owner flushes it when the turn ends.
	Bells any
}
