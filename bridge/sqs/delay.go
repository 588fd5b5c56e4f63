package sqs

// Delay is for how many seconds the queue with a resource name holds messages
// back that ask for nothing else; 0 if there is no such queue.
func (s *Service) Delay(arn string) int64 {
	if q := s.byARN(arn); q != nil {
		return int64(q.settings().Delay)
	}
	return 0
}
