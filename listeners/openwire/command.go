package openwire

import "github.com/hermodmq/hermod/listeners/openwire/wire"

// command carries out one frame. Whatever wants an answer gets exactly one,
// now or when what it asked for is durable.
func (c *conn) command(s wire.Structure, frame []byte) {
	if c.state == leaving {
		switch s := s.(type) {
		case *wire.ShutdownInfo:
			c.hangUp()
		case *wire.ConnectionInfo:
			c.anew(s)
		}
		return
	}
	if c.state == greeting {
		info, ok := s.(*wire.WireFormatInfo)
		if !ok {
			c.violated(wire.ErrMagic)
			return
		}
		if err := c.greet(info); err != nil {
			c.violated(err)
		}
		return
	}
	switch s := s.(type) {
	case *wire.KeepAliveInfo:
		if s.ResponseRequired {
			c.send(&wire.KeepAliveInfo{Header: wire.Header{CommandID: s.CommandID}})
		}
		return
	case *wire.WireFormatInfo:
		c.violated(wire.ErrWrongType)
		return
	case *wire.ConnectionInfo:
		c.connect(s)
		return
	case *wire.ShutdownInfo:
		c.endSessions(wire.LastDeliveredUnknown)
		c.hangUp()
		return
	}
	cmd, ok := s.(wire.Command)
	if !ok {
		c.violated(wire.ErrWrongType)
		return
	}
	h := *cmd.Head()
	if c.state != running {
		// Clients may say what they are before they log in, and nothing else.
		switch s.(type) {
		case *wire.BrokerInfo, *wire.ConnectionControl, *wire.Response:
			return
		}
		c.fail(&h, refuse(classSecurity, "the connection is not logged in"))
		return
	}
	if len(c.parked) > 0 && c.follows(s) {
		c.park(frame)
		return
	}
	answered, err := c.carryOut(s, frame)
	switch {
	case err != nil:
		c.fail(&h, err)
	case !answered:
		c.respond(&h)
	}
}

// carryOut does what a command asks for; answered says that its answer is
// given, or comes later.
func (c *conn) carryOut(s wire.Structure, frame []byte) (answered bool, err error) {
	switch s := s.(type) {
	case *wire.Message:
		return c.publish(s, frame)
	case *wire.MessageAck:
		if err := c.ack(s); err != nil || !s.ResponseRequired || !s.TransactionID.IsNull() {
			return false, err
		}
		return true, c.respondLater(s.CommandID)
	case *wire.MessagePull:
		return false, c.pull(s)
	case *wire.TransactionInfo:
		if c.commitWaits(s) {
			c.park(frame)
			return true, nil
		}
		return c.transact(s)
	case *wire.SessionInfo:
		return false, nil // sessions have no state here but that of what is in them
	case *wire.ConsumerInfo:
		return c.consume(s)
	case *wire.ProducerInfo:
		return false, c.produce(s)
	case *wire.DestinationInfo:
		return false, c.destination(s)
	case *wire.RemoveInfo:
		return c.remove(s)
	case *wire.RemoveSubscriptionInfo:
		return c.removeSubscription(s)
	case *wire.ConsumerControl:
		return false, c.controlConsumer(s)
	case *wire.FlushCommand, *wire.ControlCommand, *wire.ProducerAck, *wire.MessageDispatchNotification, *wire.BrokerInfo,
		*wire.ConnectionControl, *wire.ConnectionError, *wire.Response, *wire.ExceptionResponse, *wire.ReplayCommand:
		return false, nil // of no consequence
	}
	return false, refuse(classJMS, "%s is not supported", s.Type())
}

// remove carries out RemoveInfo: the end of a connection, session, consumer or
// producer.
func (c *conn) remove(s *wire.RemoveInfo) (answered bool, err error) {
	if c.format.Version < 5 {
		s.LastDeliveredSequenceID = wire.LastDeliveredUnknown // they do not say
	}
	switch id := s.ObjectID.(type) {
	case wire.ConsumerID:
		if cons := c.consumers[id]; cons != nil {
			c.removeConsumer(cons, s.LastDeliveredSequenceID)
		}
	case wire.ProducerID:
		c.removeProducer(id)
	case wire.SessionID:
		for _, cons := range c.consumers {
			if cons.id.Session() == id {
				c.removeConsumer(cons, s.LastDeliveredSequenceID)
			}
		}
		for p := range c.producers {
			if p.Session() == id {
				c.removeProducer(p)
			}
		}
	case wire.ConnectionID:
		c.forgetProducers()
		h := s.Header
		c.endSessions(s.LastDeliveredSequenceID)
		c.respond(&h)
		c.leave(goodbyeTime) // ShutdownInfo follows, or the socket closes, or another login
		c.removed = true
		return true, nil
	}
	return false, nil
}
