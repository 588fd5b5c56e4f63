package broker

// Configure changes a queue's effective configuration as a policy would.
func Configure(q *Queue, t *Turn, change func(*QueueConfig)) {
	cfg := q.config()
	change(&cfg)
	q.configure(t, cfg)
}

// Timers is the number of queues that wait for a time.
func Timers(b *Broker) int {
	b.timers.mu.Lock()
	defer b.timers.mu.Unlock()
	return len(b.timers.heap)
}
