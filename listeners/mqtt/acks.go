package mqtt

import (
	"github.com/hermodmq/hermod/broker"
	"github.com/hermodmq/hermod/listeners/mqtt/wire"
)

// pendingAck is a PUBACK, PUBREC or PUBCOMP that may have to wait for the store.
type pendingAck struct {
	ack   wire.Ack
	waits int // verdicts that are outstanding
}

// ackQueue keeps the acknowledgements of a connection in the order of the
// packets they answer [MQTT-4.6.0-2, -3, -4].
type ackQueue struct {
	first uint64 // number of list[0]; numbers start at 1
	list  []pendingAck
}

// push adds an acknowledgement that waits for n verdicts and returns its number.
func (q *ackQueue) push(a wire.Ack, n int) uint64 {
	if q.first == 0 {
		q.first = 1
	}
	q.list = append(q.list, pendingAck{a, n})
	return q.first + uint64(len(q.list)) - 1
}

func (q *ackQueue) at(number uint64) *pendingAck {
	if number < q.first || number-q.first >= uint64(len(q.list)) {
		return nil
	}
	return &q.list[number-q.first]
}

// verdictFor counts one verdict.
func (c *conn) verdictFor(r receipt) {
	p := c.acks.at(r.number)
	if p == nil {
		return
	}
	p.waits--
	if !r.accepted {
		p.refuse(c)
	}
}

// refuse says that a queue did not take the message.
func (p *pendingAck) refuse(c *conn) {
	p.ack.Reason, p.ack.Props = errQueueFull.Code, c.explain(errQueueFull)
}

// flushAcks writes what nothing is outstanding for any more.
func (c *conn) flushAcks() {
	q := &c.acks
	n := 0
	for n < len(q.list) && q.list[n].waits <= 0 {
		a := &q.list[n].ack
		if a.Type == wire.PUBREC && a.Reason.Failed() && c.session != nil {
			c.session.forgetReceived(a.PacketID) // the flow ends here [MQTT-4.4.0-2]
		}
		if a.Type != wire.PUBREC || a.Reason.Failed() {
			c.receiving = max(c.receiving-1, 0)
		}
		c.writeAck(a)
		n++
	}
	if n == 0 {
		return
	}
	q.first += uint64(n)
	rest := copy(q.list, q.list[n:])
	q.list = q.list[:rest]
	if rest == 0 && cap(q.list) > keepVerdicts {
		q.list = nil
	}
}

func (c *conn) writeAck(a *wire.Ack) {
	if c.version != wire.V5 && a.Reason.Failed() && !c.opt.KeepRefused && a.Reason == wire.QuotaExceeded {
		// MQTT 3 cannot refuse: without an acknowledgement the client sends the
		// message again when it reconnects.
		c.fail(wire.QuotaExceeded, "queue is full")
		return
	}
	from := len(c.buffer())
	c.out = a.Append(c.out, c.version)
	if len(a.Props) > 0 && c.maxPacket > 0 && len(c.out)-from > c.maxPacket { // [MQTT-3.4.2-2]
		a.Props = nil
		c.out = a.Append(c.out[:from], c.version)
	}
}

// whenStored makes one verdict of the store's done.
func (c *conn) whenStored(number uint64) func(*broker.Turn) {
	return func(t *broker.Turn) { c.verdict(t, number, true) }
}
