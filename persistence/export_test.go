package persistence

// Abandon releases a store as if the process had died: nothing is written.
func (s *Store) Abandon() {
	s.failed.Store(true)
	s.batcher.stop()
	s.mu.Lock()
	s.closed = true
	s.flushed.Broadcast()
	s.mu.Unlock()
	s.abandon()
}
