package openwire

import (
	"crypto/rand"
	"encoding/base64"

	"github.com/hermodmq/hermod/broker"
	"github.com/hermodmq/hermod/listeners/openwire/wire"
)

// The topics of advisories. Those of temporary destinations are mandatory: a
// client sends to no temporary destination that it has not heard of. They are
// not topics of the core: nothing is kept for whoever does not read.
const (
	advisoryPrefix   = "ActiveMQ.Advisory."
	adviceConnection = advisoryPrefix + "Connection"
	adviceTempQueue  = advisoryPrefix + "TempQueue"
	adviceTempTopic  = advisoryPrefix + "TempTopic"
	adviceQueue      = advisoryPrefix + "Queue"
	adviceTopic      = advisoryPrefix + "Topic"
	adviceConsumer   = advisoryPrefix + "Consumer."
	adviceProducer   = advisoryPrefix + "Producer."
)

// advice is one advisory. It is shared by all who get it and does not change.
type advice struct {
	family family // 0: not one of those
	topic  string
	data   wire.Structure
	count  string // the property that tells how many there are now; "" for none
	n      int

	properties []wire.Entry // more of them

	message *wire.Message // in place of all that: a message that is shown as it is
}

func tempAdvice(owner wire.ConnectionID, d wire.Destination, operation int8) *advice {
	a := &advice{topic: adviceTempQueue, data: &wire.DestinationInfo{ConnectionID: owner, Destination: d, Operation: operation}}
	if d.Kind == wire.TypeTempTopic {
		a.topic = adviceTempTopic
	}
	return a
}

func destinationAdvice(d wire.Destination, operation int8) *advice {
	a := &advice{topic: adviceQueue, data: &wire.DestinationInfo{Destination: d, Operation: operation}}
	if d.IsTopic() {
		a.topic = adviceTopic
	}
	return a
}

func consumerAdvice(d wire.Destination, data wire.Structure, n int) *advice {
	return &advice{topic: adviceConsumer + kindWord(d) + d.Name, data: data, count: "consumerCount", n: n}
}

func producerAdvice(d wire.Destination, data wire.Structure, n int) *advice {
	return &advice{topic: adviceProducer + kindWord(d) + d.Name, data: data, count: "producerCount", n: n}
}

func kindWord(d wire.Destination) string {
	if d.IsTopic() {
		return "Topic."
	}
	return "Queue."
}

// sendAdvice writes an advisory for a consumer.
func (c *conn) sendAdvice(a *advice, id wire.ConsumerID) {
	if c.consumers[id] == nil {
		return
	}
	d := wire.Destination{Kind: wire.TypeTopic, Name: a.topic}
	if a.message != nil {
		if c.choked() {
			return // it would wait with its body for one who does not read
		}
		m := *a.message
		m.Destination, m.BrokerInTime, m.BrokerOutTime = d, c.turn.Now, c.turn.Now
		c.send(&wire.MessageDispatch{ConsumerID: id, Destination: d, Message: &m})
		c.unseen += 512 + len(m.Content)
		return
	}
	h := &c.server.hub
	p := wire.Map{
		{Name: "originBrokerId", Value: h.brokerID.Value}, {Name: "originBrokerName", Value: c.opt.Broker},
		{Name: "originBrokerURL", Value: c.opt.URL},
	}
	if a.count != "" {
		p = append(p, wire.Entry{Name: a.count, Value: int32(a.n)})
	}
	p = append(p, a.properties...)
	c.send(&wire.MessageDispatch{
		ConsumerID: id, Destination: d,
		Message: &wire.Message{
			Kind: wire.TypeMessage, ProducerID: h.producer, Destination: d, JMSType: "Advisory", Data: a.data,
			MessageID:  wire.MessageID{ProducerID: h.producer, ProducerSequenceID: h.advised.Add(1), BrokerSequenceID: h.sequence.Add(1)},
			Properties: wire.AppendMap(nil, p), BrokerInTime: c.turn.Now, BrokerOutTime: c.turn.Now,
		},
	})
	c.unseen += 512
}

// destination carries out DestinationInfo: temporary destinations come and go
// with it, and a queue can be made or deleted.
func (c *conn) destination(s *wire.DestinationInfo) error {
	d := s.Destination
	temporary := d.Kind == wire.TypeTempQueue || d.Kind == wire.TypeTempTopic
	switch {
	case d.IsNull() || d.Name == "" || len(d.Name) > maxID:
		return refuse(classDestination, "a destination needs a name of up to %d bytes", maxID)
	case s.Operation == wire.DestinationAdd && temporary:
		return c.addTemp(d)
	case s.Operation == wire.DestinationRemove && temporary:
		return c.removeTemp(d)
	case s.Operation == wire.DestinationAdd:
		if d.IsTopic() {
			return nil
		}
		return c.makeQueue(d.Name)
	case s.Operation == wire.DestinationRemove:
		return c.destroy(d)
	}
	return refuse(classJMS, "unknown operation %d on a destination", s.Operation)
}

func (c *conn) addTemp(d wire.Destination) error {
	if _, have := c.temps[d]; have {
		return nil // said twice, after a failover
	}
	if len(c.temps) >= c.opt.Temporary {
		return refuse(classResourceAllocation, "more than %d temporary destinations of a connection", c.opt.Temporary)
	}
	if owner, known := c.server.hub.tempOwner(c.room, d); known && owner != c.id {
		return refuse(classDestination, "%s belongs to another connection", d)
	}
	if d.Kind == wire.TypeTempQueue {
		if _, err := c.session.DeclareQueue(&c.turn, broker.QueueDeclare{Name: d.Name, Exclusive: true}, nil); err != nil {
			return err
		}
	}
	if c.temps == nil {
		c.temps = make(map[wire.Destination]struct{})
	}
	c.temps[d] = struct{}{}
	c.server.hub.addTemp(c, d)
	return nil
}

func (c *conn) removeTemp(d wire.Destination) error {
	if _, have := c.temps[d]; !have {
		return nil
	}
	if n := c.server.hub.consumersOf(c.room, d); n > 0 {
		return refuse(classJMS, "Destination still has an active subscription: %s", d)
	}
	delete(c.temps, d)
	if d.Kind == wire.TypeTempQueue {
		if _, err := c.session.DeleteQueue(&c.turn, d.Name, false, false, nil); err != nil {
			return err
		}
	}
	c.server.hub.removeTemp(c, d)
	return nil
}

// destroy deletes a queue that nobody reads. A topic is nothing to be deleted.
func (c *conn) destroy(d wire.Destination) error {
	if c.server.hub.consumersOf(c.room, d) > 0 {
		return refuse(classJMS, "Destination still has an active subscription: %s", d)
	}
	if d.IsTopic() {
		return nil
	}
	_, err := c.session.DeleteQueue(&c.turn, d.Name, true, false, nil)
	if isKind(err, broker.Precondition) {
		return refuse(classJMS, "Destination still has an active subscription: %s", d)
	}
	if err == nil {
		c.server.hub.advise(&c.turn, c.room, destinationAdvice(d, wire.DestinationRemove))
	}
	return err
}

// randomText returns 22 characters that nobody can guess.
func randomText() string {
	var raw [16]byte
	rand.Read(raw[:])
	return base64.RawURLEncoding.EncodeToString(raw[:])
}
