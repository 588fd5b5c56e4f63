package amqp

import (
	"errors"
	"testing"

	"github.com/hermodmq/hermod/broker"
	"github.com/hermodmq/hermod/listeners/amqp/wire"
	"github.com/hermodmq/hermod/listeners/transport"
)

// spy is a session that remembers how it ended.
type spy struct {
	*conn
	err error
}

func (s *spy) Closed(err error) {
	s.err = err
	s.conn.Closed(err)
}

// skipHandshake puts a connection where connection.open leads, with channel 1
// open.
func (w *world) skipHandshake(c *conn) {
	c.user = &broker.User{Name: "guest"}
	c.frameMax, c.channelMax = 131072, 2047
	c.state = awaitingOpen
	c.begin()
	if err := c.connectionOpen(&wire.ConnectionOpen{VirtualHost: "/"}); err != nil {
		w.t.Fatal(err)
	}
	if err := c.frame(wire.Frame{Type: wire.FrameMethod, Channel: 1, Payload: (&wire.ChannelOpen{}).Append(nil)}); err != nil {
		w.t.Fatal(err)
	}
}

// framed makes frames of arbitrary bytes: type and channel from one byte, a
// length, the payload. Plain bytes would hardly ever pass for frames.
func framed(b []byte) []byte {
	var out []byte
	for len(b) >= 2 {
		typ, channel, n := b[0]&3, uint16(b[0]>>6), int(b[1])
		b = b[2:]
		n = min(n, len(b))
		if typ == 0 {
			typ = wire.FrameHeartbeat
		}
		out = wire.AppendFrame(out, typ, channel, b[:n])
		b = b[n:]
	}
	return out
}

// unframed is the way back, for seeds.
func unframed(b []byte) []byte {
	var out []byte
	for len(b) > 0 {
		f, n, _, err := wire.NextFrame(b, 0)
		if err != nil || n == 0 {
			break
		}
		b = b[n:]
		if len(f.Payload) < 256 {
			out = append(out, f.Type&3|byte(f.Channel)<<6, byte(len(f.Payload)))
			out = append(out, f.Payload...)
		}
	}
	return out
}

func seedSession() []byte {
	var b []byte
	for _, m := range []wire.Method{
		&wire.ConfirmSelect{}, &wire.QueueDeclare{Queue: "q"}, &wire.QueueDeclare{Queue: "d", Durable: true},
		&wire.ExchangeDeclare{Exchange: "x", Type: "topic", Arguments: wire.Table{{Name: "alternate-exchange", Value: "amq.fanout"}}},
		&wire.QueueBind{Queue: "q", Exchange: "x", RoutingKey: "a.#"}, &wire.BasicQos{PrefetchCount: 2},
		&wire.BasicConsume{Queue: "q", ConsumerTag: "t"}, &wire.BasicConsume{Queue: broker.ReplyQueue, NoAck: true},
	} {
		b = wire.AppendMethod(b, 1, m)
	}
	p := wire.Properties{DeliveryMode: 2, Expiration: "9", ReplyTo: broker.ReplyQueue, Headers: wire.Table{{Name: "CC", Value: wire.Array{"q"}}, {Name: "x-delay", Value: int32(1)}}}
	b = wire.AppendPublish(b, 1, "x", "a.b", true, p.Append(nil), []byte("body"), 4096)
	b = wire.AppendPublish(b, 1, "", "q", false, []byte{0, 0}, nil, 4096)
	for _, m := range []wire.Method{
		&wire.BasicGet{Queue: "d"}, &wire.BasicAck{DeliveryTag: 1}, &wire.BasicNack{Multiple: true, Requeue: true},
		&wire.BasicRecover{Requeue: true}, &wire.BasicCancel{ConsumerTag: "t"}, &wire.QueuePurge{Queue: "q"},
		&wire.QueueDelete{Queue: "q"}, &wire.ExchangeDelete{Exchange: "x"}, &wire.ChannelClose{}, &wire.ChannelOpen{},
		&wire.TxSelect{}, &wire.TxCommit{}, &wire.TxRollback{},
	} {
		b = wire.AppendMethod(b, 1, m)
	}
	return b
}

// FuzzConnection feeds arbitrary input to a connection before and after the
// handshake, as it is and made into frames, in pieces of arbitrary size. It
// must not panic, must not hold on to much more than it was sent, and must
// leave nothing behind in the core.
func FuzzConnection(f *testing.F) {
	f.Add(byte(0), byte(3), []byte(wire.ProtocolHeader))
	login := wire.AppendMethod([]byte(wire.ProtocolHeader), 0, &wire.ConnectionStartOk{ClientProperties: goodClient, Mechanism: "PLAIN", Response: "\x00guest\x00guest"})
	f.Add(byte(0), byte(200), login)
	f.Add(byte(1), byte(50), seedSession())
	f.Add(byte(2), byte(90), unframed(seedSession()))
	f.Fuzz(func(t *testing.T, mode, piece byte, in []byte) {
		if len(in) > 1<<16 {
			return
		}
		w := newWorld(t, Options{})
		s := &spy{conn: New(w.b, w.opt)().(*conn)}
		peer := w.m.Open(s, transport.Info{Listener: "amqp"})
		if mode%3 > 0 {
			w.skipHandshake(s.conn)
		}
		if mode%3 == 2 {
			in = framed(in)
		}
		for n := int(piece) + 1; len(in) > 0 && !peer.EOF(); in = in[min(n, len(in)):] {
			peer.Send(in[:min(n, len(in))])
			w.commit(-1)
		}
		held := 0
		for _, ch := range s.channels {
			held += cap(ch.publish.native) + cap(ch.publish.buf) + ch.ledger.Cap()*32
		}
		if held > 8<<20 {
			t.Errorf("%d bytes held", held)
		}
		peer.HangUp(nil)
		w.commit(-1)
		if errors.Is(s.err, transport.ErrPanic) {
			t.Fatal("the session panicked")
		}
		if n := len(w.b.ListConnections()); n != 0 {
			t.Errorf("%d connections left in the core", n)
		}
	})
}
