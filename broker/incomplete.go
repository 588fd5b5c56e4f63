package broker

// incompleteMinimum is what messages that are still arriving may take in any
// case, in bytes.
const incompleteMinimum = 64 << 20

// TakeIncomplete accounts for n bytes of messages that a listener has begun to
// receive, all connections together, and reports whether they may be kept:
// false, and nothing is accounted for, beyond a quarter of the memory limit.
// The bound is a wall, not a brake: a connection that waited for room would
// keep what it holds, and nobody would ever get any. Cheap enough to call per
// frame; any goroutine.
func (b *Broker) TakeIncomplete(n int) bool {
	limit := max(incompleteMinimum, b.options.MemoryLimit/4)
	if b.incomplete.Add(int64(n)) > limit && b.options.MemoryLimit > 0 {
		b.incomplete.Add(-int64(n))
		return false
	}
	return true
}

// ReturnIncomplete undoes TakeIncomplete: the messages are complete or given
// up.
func (b *Broker) ReturnIncomplete(n int) {
	if n != 0 {
		b.incomplete.Add(-int64(n))
	}
}
