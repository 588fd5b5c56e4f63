package broker

// DeleteQueue removes a queue whatever it holds and whoever owns it. For done
// see Session.DeclareQueue.
func (b *Broker) DeleteQueue(t *Turn, vhost, name string, done func(*Turn)) error {
	q, err := b.find(vhost, name)
	if err != nil {
		return err
	}
	q.vhost.removeQueue(t, q, done)
	return nil
}

// PurgeQueue drops the ready messages of a queue.
func (b *Broker) PurgeQueue(t *Turn, vhost, name string, done func(*Turn)) error {
	q, err := b.find(vhost, name)
	if err != nil {
		return err
	}
	if q.Kind() == KindStream {
		return errf(NotImplemented, "queue.purge not supported by stream queues %s", q.vhost.queueText(name))
	}
	q.purge(t)
	b.afterCommits(t, done)
	return nil
}

// PauseQueue stops (or, with on false, resumes) deliveries from a queue. The
// pause ends with the process.
func (b *Broker) PauseQueue(t *Turn, vhost, name string, on bool) error {
	q, err := b.find(vhost, name)
	if err != nil {
		return err
	}
	if on {
		q.Pause(t)
	} else {
		q.Resume(t)
	}
	return nil
}

func (b *Broker) find(vhost, name string) (*Queue, error) {
	v := b.vhosts.get(vhost)
	if v == nil {
		return nil, noVHost(vhost)
	}
	q := v.queue(name)
	if q == nil {
		return nil, v.noQueue(name)
	}
	return q, nil
}
