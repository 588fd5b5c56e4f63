package broker

// Configure changes a queue's effective configuration as a policy would.
func Configure(q *Queue, t *Turn, change func(*QueueConfig)) {
	cfg := q.config()
	change(&cfg)
	q.configure(t, cfg)
}
