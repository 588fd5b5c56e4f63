package openwire

import (
	"encoding/binary"

	"github.com/hermodmq/hermod/broker"
	"github.com/hermodmq/hermod/listeners/openwire/wire"
)

// accept says how a message of a client becomes one of the core.
type accept struct {
	Version    int32  // of OpenWire the message was decoded in
	Now        int64  // Unix ms
	SetUser    bool   // write UserID into the message, whatever its sender claims
	UserID     string // JMSXUserID
	Properties []byte // in place of the message's, if not nil
}

// newMessage makes a message of the core from one that was decoded. It copies
// what it keeps, once. Exchange, RoutingKey and what of Notes is not the
// group's are the caller's to set before publishing.
func newMessage(m *wire.Message, a accept) *broker.Message {
	body, flags := bodyOf(m)
	raw, at := m.Raw(), m.Layout()
	head, end := raw[:at.Content], int32(len(raw))
	size := nativeHeader + len(head) + int(end-at.Properties) + len(a.Properties) + len(a.UserID)*2 + 8
	buf := make([]byte, nativeHeader, size+len(body))
	buf[0], buf[1], buf[2], buf[3] = nativeForm, byte(m.Kind), byte(a.Version), flags
	buf = append(buf, head...)
	tail := len(buf)
	shift := at.Properties // of what is not replaced: place in raw less place in tail
	if a.Properties != nil {
		buf = appendBytesField(buf, a.Properties)
		shift = at.Data - int32(len(buf)-tail)
		buf = append(buf, raw[at.Data:at.UserID]...)
	} else {
		buf = append(buf, raw[at.Properties:at.UserID]...)
	}
	count := at.RedeliveryCounter - shift
	if a.SetUser {
		buf = wire.AppendString(buf, a.UserID)
		shift = at.ReceivedByDFBridge - int32(len(buf)-tail)
	} else {
		buf = append(buf, raw[at.UserID:at.ReceivedByDFBridge]...)
	}
	buf = append(buf, raw[at.ReceivedByDFBridge:end]...)
	binary.BigEndian.PutUint32(buf[tail+int(count):], 0)
	inTime := uint32(nowhere)
	if a.Version >= 3 {
		inTime = uint32(at.BrokerInTime - shift)
		binary.BigEndian.PutUint64(buf[uint32(tail)+inTime:], uint64(a.Now))
	}
	sequence := uint32(nowhere)
	if !m.MessageID.IsNull() {
		sequence = uint32(at.OriginalTransactionID - 8)
	}
	for i, v := range [...]uint32{uint32(len(head)), sequence, uint32(at.Destination), uint32(at.GroupID), uint32(count), inTime} {
		binary.BigEndian.PutUint32(buf[4+4*i:], v)
	}
	n := len(buf)
	buf = append(buf, body...)
	out := &broker.Message{
		Format: broker.FormatOpen, Native: buf[:n:n], Body: buf[n:len(buf):len(buf)],
		Persistent: m.Persistent, Priority: uint8(min(max(m.Priority, 0), 9)), TTL: broker.NoTTL, Received: a.Now,
	}
	if m.Expiration > 0 {
		out.TTL = max(m.Expiration-a.Now, 0)
	}
	if m.GroupID != "" {
		out.Notes = &broker.Notes{GroupID: m.GroupID}
	}
	return out
}

func appendBytesField(dst, v []byte) []byte {
	dst = binary.BigEndian.AppendUint32(append(dst, 1), uint32(len(v)))
	return append(dst, v...)
}

// dispatch is what a delivery says beside the message.
type dispatch struct {
	Consumer    wire.ConsumerID
	Destination wire.Destination // what the consumer sees as the message's destination
	Original    wire.Destination // where it was sent to, if that is another; zero: as the message says
	Sequence    int64            // brokerSequenceId: unique, increasing
	Redelivered int32            // earlier deliveries that failed
	Now         int64            // Unix ms
	GroupFirst  bool             // the first of its group for this consumer
}

// appendDispatch appends a frame that delivers a message.
func appendDispatch(dst []byte, f wire.Format, b *broker.Broker, d *dispatch, m *broker.Message) []byte {
	dst, start := wire.Begin(dst, wire.TypeMessageDispatch)
	dst = wire.AppendHeader(dst, wire.Header{})
	dst = wire.AppendConsumerID(dst, d.Consumer)
	dst = wire.AppendDestination(dst, d.Destination)
	dst = appendMessage(dst, f, b, d, m)
	dst = binary.BigEndian.AppendUint32(dst, uint32(d.Redelivered))
	return wire.End(dst, start)
}

// appendEnd appends the frame that tells a browser or a pull that there is
// nothing more.
func appendEnd(dst []byte, f wire.Format, consumer wire.ConsumerID) []byte {
	return wire.Append(dst, f, &wire.MessageDispatch{ConsumerID: consumer})
}

// appendMessage appends a message as a nested object.
func appendMessage(dst []byte, f wire.Format, b *broker.Broker, d *dispatch, m *broker.Message) []byte {
	n, ok := viewOf(m)
	switch {
	case ok && plain(m) && n.sequenceAt != nowhere && n.compatible(f) && n.goesTo(d):
		return n.appendPatched(dst, d, m.Body)
	case ok:
		if w, err := n.decode(m.Body); err == nil {
			d.decorate(w, m)
			return wire.AppendNested(dst, f, w)
		}
	}
	return wire.AppendNested(dst, f, foreign(b, d, m))
}
