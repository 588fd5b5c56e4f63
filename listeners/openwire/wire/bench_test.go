package wire

import "testing"

func BenchmarkDecode(b *testing.B) {
	f := Format{Version: MaxVersion}
	producer := ProducerID{ConnectionID: "ID:host-43707-1795195891347-1:1", SessionID: 1, Value: 1}
	id := MessageID{ProducerID: producer, ProducerSequenceID: 5, BrokerSequenceID: 6}
	queue := Destination{Kind: TypeQueue, Name: "TEST.QUEUE"}
	consumer := ConsumerID{ConnectionID: "ID:host-43707-1795195891347-3:1", SessionID: 1, Value: 1}
	for _, s := range []Structure{
		&MessageAck{Destination: queue, ConsumerID: consumer, AckType: AckStandard, FirstMessageID: id, LastMessageID: id, MessageCount: 1},
		&Message{Kind: TypeTextMessage, ProducerID: producer, Destination: queue, MessageID: id, Content: make([]byte, 1024)},
	} {
		frame := Append(nil, f, s)
		b.Run(s.Type().String(), func(b *testing.B) {
			d := Decoder{Format: f}
			b.ReportAllocs()
			for b.Loop() {
				if _, _, err := d.Decode(frame); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
