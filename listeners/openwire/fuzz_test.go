package openwire

import (
	"testing"

	"github.com/hermodmq/hermod/listeners/openwire/wire"
)

// FuzzConn feeds a connection that has logged in with anything. It may be
// refused or closed, nothing else; others go on.
func FuzzConn(f *testing.F) {
	id := wire.ConnectionID{Value: "a"}
	consumer := wire.ConsumerID{ConnectionID: "a", SessionID: 1, Value: 1}
	producer := wire.ProducerID{ConnectionID: "a", SessionID: 1, Value: 1}
	q := queueNamed("q")
	message := wire.MessageID{ProducerID: producer, ProducerSequenceID: 1, BrokerSequenceID: 1}
	tx := branch("x")
	add := func(list ...wire.Structure) {
		var b []byte
		for _, s := range list {
			b = wire.Append(b, wire.Format{Version: wire.MaxVersion}, s)
		}
		f.Add(b)
	}
	add(&wire.ConsumerInfo{ConsumerID: consumer, Destination: q, PrefetchSize: 1}, &wire.MessageAck{
		ConsumerID: consumer, AckType: wire.AckStandard, FirstMessageID: message, LastMessageID: message, MessageCount: 1,
	}, &wire.RemoveInfo{ObjectID: consumer, LastDeliveredSequenceID: 5})
	add(&wire.ProducerInfo{ProducerID: producer, WindowSize: 1}, &wire.Message{
		Kind: wire.TypeTextMessage, ProducerID: producer, Destination: queueNamed("a,b.>,topic://c"), MessageID: message,
		Content: []byte{0, 0, 0, 1, 'x'}, Properties: wire.AppendMap(nil, wire.Map{{Name: propDelay, Value: int64(5)}}),
	})
	add(&wire.TransactionInfo{TransactionID: tx, Operation: wire.TxBegin}, &wire.TransactionInfo{TransactionID: tx, Operation: wire.TxPrepare},
		&wire.TransactionInfo{Operation: wire.TxRecover}, &wire.TransactionInfo{TransactionID: tx, Operation: wire.TxRollback})
	add(&wire.DestinationInfo{ConnectionID: id, Destination: wire.Destination{Kind: wire.TypeTempQueue, Name: "t"}},
		&wire.MessagePull{ConsumerID: consumer, Timeout: -1}, &wire.ConsumerControl{ConsumerID: consumer, Prefetch: 3})
	add(&wire.ConsumerInfo{ConsumerID: consumer, Destination: q, Browser: true, Selector: "a = 1"}, &wire.RemoveInfo{ObjectID: id})
	f.Fuzz(func(t *testing.T, input []byte) {
		w := newWorld(t, Options{})
		other, c := w.open("other", nil), w.open("a", nil)
		c.peer.Send(input)
		w.m.Turn()
		other.send(queueNamed("fine"), "x")
		c.peer.Output()
	})
}
