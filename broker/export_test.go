package broker

// Configure changes a queue's effective configuration as a policy would.
func Configure(q *Queue, t *Turn, change func(*QueueConfig)) {
	cfg := q.config()
	change(&cfg)
	q.configure(t, cfg)
}

// SetCeiling changes from which use of memory on queues that hold as much as
// lavish read nothing for consumers.
func SetCeiling(b *Broker, ceiling, lavish int64) { b.ceiling, b.lavish = ceiling, lavish }
