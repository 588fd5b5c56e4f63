package broker

// MayUseTopic reports whether the session's user may publish to (write) or
// subscribe to a topic: the right to the topic exchange and, for the topic's
// key, the topic permissions.
func (s *Session) MayUseTopic(write bool, key string) error {
	o := opRead
	if write {
		o = opWrite
	}
	if err := s.allow(o, TopicExchange, true); err != nil {
		return err
	}
	return s.allowTopic(o, s.vhost.exchange(TopicExchange), key)
}
