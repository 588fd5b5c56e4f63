package openwire

import (
	"encoding/binary"

	"github.com/hermodmq/hermod/broker"
	"github.com/hermodmq/hermod/listeners/openwire/wire"
)

// plain reports whether the broker has nothing to say in a message that its
// sender did not.
func plain(m *broker.Message) bool {
	n := m.Notes
	return n == nil || len(n.Deaths) == 0 && !n.StripTTL && n.DropHeaders == nil && n.ReplyTo == "" && n.Occurrence == 0
}

// goesTo reports whether a delivery shows the destination that the message
// has.
func (n *native) goesTo(d *dispatch) bool {
	w := walker{b: n.head[n.destinationAt:]}
	kind, name := w.destination()
	return d.Original.IsNull() && kind == d.Destination.Kind &&
		(string(name) == d.Destination.Name || text(name) == d.Destination.Name)
}

// appendPatched appends the message as a nested object, with the fields that
// are the broker's patched and all others as they came.
func (n *native) appendPatched(dst []byte, d *dispatch, body []byte) []byte {
	dst = append(dst, 1, byte(n.kind))
	head := len(dst)
	dst = append(dst, n.head...)
	binary.BigEndian.PutUint64(dst[head+int(n.sequenceAt):], uint64(d.Sequence))
	dst = n.appendContentField(dst, body)
	tail := len(dst)
	dst = append(dst, n.tail...)
	binary.BigEndian.PutUint32(dst[tail+int(n.countAt):], uint32(d.Redelivered))
	if n.inTimeAt != nowhere {
		at := tail + int(n.inTimeAt) + 8
		binary.BigEndian.PutUint64(dst[at:], uint64(d.Now))
		if at += 8; n.version >= 10 && at < len(dst) && d.GroupFirst {
			dst[at] = 1
		}
	}
	return dst
}

func (n *native) appendContentField(dst, body []byte) []byte {
	if n.flags&nativeNull != 0 {
		return append(dst, 0)
	}
	dst = append(dst, 1, 0, 0, 0, 0)
	start := len(dst)
	dst = n.appendContent(dst, body)
	binary.BigEndian.PutUint32(dst[start-4:], uint32(len(dst)-start))
	return dst
}

// decorate sets the fields of a decoded message that are the broker's.
func (d *dispatch) decorate(w *wire.Message, m *broker.Message) {
	if w.MessageID.IsNull() {
		w.MessageID = messageID("", d.Sequence)
	}
	w.MessageID.BrokerSequenceID = d.Sequence
	if m.Notes != nil && m.Notes.Occurrence > 0 {
		// A message that comes again is another one: clients drop what they saw.
		w.MessageID.TextView = ""
		w.MessageID.ProducerID.Value += int64(m.Notes.Occurrence) << 32
	}
	if m.Notes != nil {
		decorateDead(w, m)
	}
	if !d.Original.IsNull() {
		w.OriginalDestination = d.Original
	}
	w.Destination = d.Destination
	w.RedeliveryCounter = d.Redelivered
	w.BrokerOutTime = d.Now
	if d.GroupFirst {
		w.GroupFirst = true
	}
}

// Properties that ActiveMQ gives to dead letters.
const (
	propDeadCause    = "dlqDeliveryFailureCause"
	propExpiration   = "originalExpiration"
	propDeliveryMode = "originalDeliveryMode"
)

// decorateDead gives a dead letter what ActiveMQ's users look for: where it
// was sent to, why it died, and that it does not expire again.
func decorateDead(w *wire.Message, m *broker.Message) {
	n := m.Notes
	if n.ReplyTo != "" {
		w.ReplyTo = replyIn(n.ReplyTo, false)
	}
	if len(n.Deaths) == 0 && !n.StripTTL {
		return
	}
	properties, err := wire.ParseMap(w.Properties)
	if err != nil {
		return
	}
	if w.Expiration > 0 {
		properties.Set(propExpiration, w.Expiration)
		w.Expiration = 0
	}
	if len(n.Deaths) > 0 {
		w.OriginalDestination = w.Destination
		if w.OriginalDestination.IsNull() {
			w.OriginalDestination = wire.Destination{Kind: wire.TypeQueue, Name: n.Deaths[0].Queue}
		}
		properties.Set(propDeadCause, deathText(&n.Deaths[0]))
		if !w.Persistent {
			properties.Set(propDeliveryMode, "NON_PERSISTENT")
			w.Persistent = true
		}
	}
	setProperties(w, properties)
}

// deathText is the reason of a death as a Throwable: what its consumer said, or
// in words.
func deathText(d *broker.Death) string {
	const throwable = "java.lang.Throwable: "
	if d.Cause != "" {
		return d.Cause
	}
	switch d.Reason {
	case broker.DeathExpired:
		return throwable + "Message Expired"
	case broker.DeathDeliveryLimit:
		return throwable + "Exceeded redelivery policy limit"
	case broker.DeathMaxLen:
		return throwable + "Queue is full"
	}
	return throwable + "Rejected by a consumer"
}
