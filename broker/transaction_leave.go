package broker

// LeaveTransaction ends transaction mode: what is kept back is forgotten as by
// Rollback, and Publish and Settle take effect at once again. Protocols whose
// clients have several transactions at a time keep them themselves and run
// each as Begin, its operations, Commit and LeaveTransaction in one go.
func (s *Session) LeaveTransaction() { s.endTransaction(nil) }
