package amqp

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"github.com/hermodmq/hermod/listeners/amqp/wire"
)

// cutAll takes the publishes in b by way of a slab.
func cutAll(t *testing.T, s *slab, b []byte) (bodies [][]byte, shared int) {
	t.Helper()
	for len(b) > 0 {
		var w wire.WholePublish
		n := s.cut(&w, b, 1, 131072)
		if n == 0 {
			t.Fatalf("no publish at the head of %d bytes", len(b))
		}
		if len(s.messages) > 0 {
			shared++
		}
		m := s.message(&w, string(w.Publish.Exchange), n)
		if m.Exchange != "x" || m.RoutingKey != string(w.Publish.RoutingKey) {
			t.Fatalf("message for %q %q, want x %q", m.Exchange, m.RoutingKey, w.Publish.RoutingKey)
		}
		bodies = append(bodies, m.Body)
		b = b[n:]
	}
	return bodies, shared
}

func TestSlabSharesOnlyBetweenMessagesForOnePlace(t *testing.T) {
	body := func(i int) []byte { return bytes.Repeat([]byte{byte(i)}, 100) }
	for name, c := range map[string]struct {
		key    func(i int) string
		shared int
	}{
		"one key":          {func(int) string { return "k" }, 39},
		"keys in turn":     {func(i int) string { return string(rune('a' + i%2)) }, 0},
		"each key 4 times": {func(i int) string { return string(rune('a' + i/4)) }, 30},
	} {
		var in []byte
		for i := range 40 {
			in = wire.AppendPublish(in, 1, "x", c.key(i), false, []byte{0, 0}, body(i), 131072)
		}
		bodies, shared := cutAll(t, &slab{}, in)
		clear(in) // the transport's again
		for i, b := range bodies {
			if !bytes.Equal(b, body(i)) {
				t.Errorf("%s: message %d has body %x", name, i, b)
			}
		}
		if shared != c.shared {
			t.Errorf("%s: %d messages shared memory, want %d", name, shared, c.shared)
		}
	}
}

func TestSlabIsBounded(t *testing.T) {
	in := wire.AppendPublish(nil, 1, "x", "k", false, []byte{0, 0}, make([]byte, 1000), 131072)
	in = bytes.Repeat(in, 60)
	var s slab
	for b := in; len(b) > 0; {
		var w wire.WholePublish
		n := s.cut(&w, b, 1, 131072)
		if len(s.raw) > slabBytes || len(s.messages) > slabMessages {
			t.Fatalf("%d bytes and %d messages share memory", len(s.raw), len(s.messages))
		}
		s.message(&w, "x", n)
		b = b[n:]
	}
}

// traffic is what a publisher of some luck and little care sends.
func traffic(r *rand.Rand) []byte {
	var in []byte
	props := []wire.Properties{
		{}, {DeliveryMode: 2}, {ContentType: "text/plain", CorrelationID: "1"},
		{Expiration: "60000", Headers: wire.Table{{Name: "h", Value: int32(1)}}},
		{Headers: wire.Table{{Name: "CC", Value: wire.Array{"other"}}}},
	}
	for range 1 + r.IntN(200) {
		body := make([]byte, r.IntN(1<<r.IntN(12)))
		for i := range body {
			body[i] = byte(r.Uint32())
		}
		key, exchange, mandatory := "q", "", r.IntN(10) == 0
		switch r.IntN(20) {
		case 0:
			key = "nobody"
		case 1:
			exchange = "amq.fanout"
		case 2:
			if r.IntN(4) > 0 {
				in = wire.AppendHeartbeat(in)
			} else {
				in = wire.AppendAck(in, 1, 1, false) // of nothing: the end of the channel
			}
		case 3:
			exchange = "missing"
			if r.IntN(8) > 0 {
				exchange = "amq.direct"
			}
		}
		in = wire.AppendPublish(in, 1, exchange, key, mandatory, props[r.IntN(len(props))].Append(nil), body, uint32(4096))
	}
	return in
}

// TestWholePublishesDoTheSameAsPieces gives the same traffic to two brokers,
// to one in reads that hold many messages and to the other in small pieces.
func TestWholePublishesDoTheSameAsPieces(t *testing.T) {
	for seed := range uint64(60) {
		r := rand.New(rand.NewPCG(seed, 1))
		in := traffic(r)
		run := func(piece int) (published, consumed []byte) {
			w := newWorld(t, Options{})
			pub, con := w.channel(), w.channel()
			con.declare("q", nil)
			con.declare("other", nil)
			con.send(1, &wire.BasicConsume{Queue: "q", ConsumerTag: "t", NoAck: true})
			expect[*wire.BasicConsumeOk](con, 1)
			for b := in; len(b) > 0 && !pub.peer.EOF(); b = b[min(piece, len(b)):] {
				pub.peer.Send(b[:min(piece, len(b))])
			}
			w.commit(-1)
			return pub.peer.Output(), con.peer.Output()
		}
		published, consumed := run(1 << 16)
		for _, piece := range []int{3, 100, 5000} {
			p, c := run(piece)
			if !bytes.Equal(p, published) {
				t.Fatalf("seed %d: to pieces of %d bytes the publisher was told %q, to whole messages %q", seed, piece, p, published)
			}
			if !bytes.Equal(c, consumed) {
				t.Fatalf("seed %d: in pieces of %d bytes other messages came out", seed, piece)
			}
		}
	}
}
