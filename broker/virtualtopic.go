package broker

// allowVirtualTopic: a queue that a virtual topic feeds is bound to it by being
// declared, which needs the rights that binding it would need.
func (s *Session) allowVirtualTopic(queue string) error {
	key, ok := VirtualTopic(queue)
	if !ok || s.vhost.queue(queue) != nil {
		return nil
	}
	return s.checkBind(&Binding{Source: TopicExchange, Destination: queue, Key: key})
}

// virtualBinding makes the binding of a new queue to the topics that feed it;
// nil for all queues but those of virtual topics. v.mu is held.
func (v *VHost) virtualBinding(m *queueMeta) *binding {
	key, ok := VirtualTopic(m.queue.Name())
	src := v.exchange(TopicExchange)
	if !ok || src == nil || m.owner != nil {
		return nil
	}
	return &binding{
		id:     bindingIDOf(Binding{Source: TopicExchange, Destination: m.queue.Name(), Key: key}),
		source: src, queue: m.queue, durable: src.durable && m.durable,
	}
}
