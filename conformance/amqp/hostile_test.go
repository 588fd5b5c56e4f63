package amqpconf

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// steady checks that what op did to the broker is gone afterwards: memory
// within allowed bytes, descriptors and threads back where they were, and the
// broker still serves.
func steady(t *testing.T, allowed int64, op func()) {
	t.Helper()
	send(t, queue(t, channel(t, dial(t)), nil), "warm")
	before := sample(t)
	op()
	if shared.pid != 0 {
		eventually(t, "descriptors given back", func() bool { return sample(t).FDs <= before.FDs+5 })
		if grown := sample(t).RSS - before.RSS; grown > allowed {
			t.Errorf("memory grew by %d KiB, want at most %d", grown>>10, allowed>>10)
		}
		if grown := sample(t).Threads - before.Threads; grown > 50 {
			t.Errorf("%d more threads", grown)
		}
	}
	conn, ch := open(t)
	q := queue(t, ch, nil)
	send(t, q, "alive")
	get(t, ch, q, true)
	must(t, conn.Close())
}

// answered writes bytes to a fresh connection whose handshake is done and
// returns the connection.close, or zero when TCP was closed without one.
func answered(t *testing.T, in []byte) closing {
	t.Helper()
	r := rawOpen(t, guest)
	defer func() { _ = r.conn.Close() }()
	r.channel(1)
	_ = r.conn.SetWriteDeadline(time.Now().Add(rawTimeout))
	_, _ = r.conn.Write(in) // the broker may hang up in the middle
	for {
		f, err := r.next(rawTimeout)
		if err == errTimeout {
			t.Fatal("connection neither answered nor closed")
		}
		if err != nil {
			return closing{}
		}
		if f.id() == connectionClose {
			p := &parser{t: t, b: f.payload[4:]}
			return closing{code: int(p.short()), text: p.shortstr()}
		}
	}
}

func nested(depth int, array bool) []byte {
	value := []byte("V")
	for range depth {
		if array {
			value = new(args).octet('A').long(uint32(len(value))).raw(value).b
		} else {
			value = append([]byte("F"), table("k", string(value))...)
		}
	}
	return table("k", string(value))
}

func TestHostile_FramesAreAnsweredAndForgotten(t *testing.T) {
	declareWith := func(table []byte) []byte {
		return encodeFrame(frameMethod, 1, methodPayload(queueDeclare, new(args).short(0).shortstr("conf.hostile").octet(8).raw(table)))
	}
	wrongType := encodeFrame(42, 0, nil) // ends the connection of a broker that accepts what came before
	headers := func(table []byte) []byte {
		out := encodeFrame(frameMethod, 1, publishPayload("", "conf.none"))
		return append(out, encodeFrame(frameHeader, 1, contentHeader(0, new(args).short(0x2000).raw(table).b))...)
	}
	for name, c := range map[string]struct {
		in   []byte
		code []int // one of; 0 is a TCP close without an answer
	}{
		"frame of 4 GiB":               {[]byte{frameMethod, 0, 1, 0xff, 0xff, 0xff, 0xff}, []int{501}},
		"body of 16 EiB announced":     {append(encodeFrame(frameMethod, 1, publishPayload("", "q")), encodeFrame(frameHeader, 1, contentHeader(1<<63, nil))...), []int{501}},
		"unknown class":                {encodeFrame(frameMethod, 1, []byte{0xde, 0xad, 0, 1}), []int{503, 0}},
		"unknown method":               {encodeFrame(frameMethod, 1, []byte{0, 60, 0xbe, 0xef}), []int{503, 0}},
		"method frame without ids":     {encodeFrame(frameMethod, 1, []byte{0, 60}), []int{501, 502, 0}},
		"empty method frame":           {encodeFrame(frameMethod, 1, nil), []int{501, 502, 0}},
		"empty header frame":           {append(encodeFrame(frameMethod, 1, publishPayload("", "q")), encodeFrame(frameHeader, 1, nil)...), []int{501, 502, 505, 0}},
		"table longer than its frame":  {declareWith([]byte{0, 1, 0, 0}), []int{501, 502, 0}},
		"table value cut off":          {declareWith([]byte{0, 0, 0, 4, 1, 'a', 'S', 0}), []int{501, 502, 541, 0}},
		"unknown field type":           {declareWith([]byte{0, 0, 0, 4, 1, 'a', '?', 0}), []int{501, 502, 541, 0}},
		"array longer than its table":  {declareWith([]byte{0, 0, 0, 8, 1, 'a', 'A', 0xff, 0xff, 0xff, 0xff, 0}), []int{501, 502, 541, 0}},
		"connection method on channel": {encodeFrame(frameMethod, 1, methodPayload(connectionOpen, new(args).shortstr("/").shortstr("").octet(0))), []int{503, 504, 540, 0}},
		"second connection.open":       {encodeFrame(frameMethod, 0, methodPayload(connectionOpen, new(args).shortstr("/").shortstr("").octet(0))), []int{503, 504, 530, 540, 541, 0}},
		"channel method on channel 0":  {encodeFrame(frameMethod, 0, methodPayload(channelOpen, new(args).shortstr(""))), []int{503, 504, 505, 540, 541, 0}},
		"server's method from client":  {append(encodeFrame(frameMethod, 1, methodPayload(basicDeliver, new(args).shortstr("c").llong(1).octet(0).shortstr("").shortstr(""))), wrongType...), []int{501, 503, 505, 540, 0}},
		"garbage":                      {bytes.Repeat([]byte{0xA5}, 4096), []int{501, 0}},
		"deep tables":                  {append(declareWith(nested(3000, false)), wrongType...), []int{501, 502, 506, 0}},
		"deep arrays":                  {append(headers(nested(10000, true)), wrongType...), []int{501, 502, 506, 0}},
		"property flags without end":   {append(append(encodeFrame(frameMethod, 1, publishPayload("", "q")), encodeFrame(frameHeader, 1, contentHeader(0, bytes.Repeat([]byte{0, 1}, 2000)))...), wrongType...), []int{501, 502, 505, 541, 0}},
	} {
		t.Run(name, func(t *testing.T) {
			skipDeviation(t, "hostile "+name)
			steady(t, 64<<20, func() {
				for range 20 {
					got := answered(t, c.in)
					ok := false
					for _, code := range c.code {
						ok = ok || got.code == code
					}
					if !ok {
						t.Fatalf("closed with %d %q, want one of %v", got.code, got.text, c.code)
					}
				}
			})
		})
	}
}

func TestHostile_BeforeLogin(t *testing.T) {
	big := new(args).raw(table("k", "S"+string(new(args).longstr(string(make([]byte, 1<<17))).b))).shortstr("PLAIN").longstr("\x00guest\x00guest").shortstr("en_US")
	for name, in := range map[string][]byte{
		"start-ok of 128 KiB":      encodeFrame(frameMethod, 0, methodPayload(connectionStartOK, big)),
		"frame of 4 GiB":           {frameMethod, 0, 0, 0xff, 0xff, 0xff, 0xff},
		"tune-ok first":            encodeFrame(frameMethod, 0, methodPayload(connectionTuneOK, new(args).short(0).long(0).short(0))),
		"open first":               encodeFrame(frameMethod, 0, methodPayload(connectionOpen, new(args).shortstr("/").shortstr("").octet(0))),
		"channel.open first":       encodeFrame(frameMethod, 1, methodPayload(channelOpen, new(args).shortstr(""))),
		"publish first":            encodeFrame(frameMethod, 1, publishPayload("", "q")),
		"PLAIN without separators": encodeFrame(frameMethod, 0, methodPayload(connectionStartOK, new(args).raw(table()).shortstr("PLAIN").longstr("guest").shortstr("en_US"))),
		"AMQPLAIN with garbage":    encodeFrame(frameMethod, 0, methodPayload(connectionStartOK, new(args).raw(table()).shortstr("AMQPLAIN").longstr("\x05LOGIN?").shortstr("en_US"))),
	} {
		t.Run(name, func(t *testing.T) {
			steady(t, 32<<20, func() {
				r := rawDial(t, shared.addr)
				r.write(protocolHeader)
				r.expect(0, connectionStart)
				_, _ = r.conn.Write(in)
				r.expectEOFOrClose()
			})
		})
	}
}

// expectEOFOrClose waits for connection.close or the end of the connection.
func (r *rawConn) expectEOFOrClose() {
	r.t.Helper()
	for {
		f, err := r.next(rawTimeout)
		if err == errTimeout {
			r.t.Fatal("connection still open")
		}
		if err != nil || f.id() == connectionClose {
			_ = r.conn.Close()
			return
		}
	}
}

// TestHostile_Silence: a client that never finishes the handshake is dropped,
// and one that stalls in the middle of a frame costs only what it sent.
func TestHostile_Silence(t *testing.T) {
	steady(t, 32<<20, func() {
		silentOne := rawDial(t, shared.addr)
		halfway := rawDial(t, shared.addr)
		halfway.write(protocolHeader)
		for range 50 {
			r := rawOpen(t, guest)
			r.channel(1)
			r.write([]byte{frameBody, 0, 1, 0, 1, 0xff, 0xf8, 'x'})
			defer func() { _ = r.conn.Close() }()
		}
		silentOne.expectEOF()
		halfway.expectEOF()
	})
}

// TestHostile_UnfinishedBodies: bodies announced large and never sent hold no
// memory.
func TestHostile_UnfinishedBodies(t *testing.T) {
	steady(t, 64<<20, func() {
		before := sample(t)
		conns := make([]*rawConn, 100)
		for i := range conns {
			r := rawOpen(t, guest)
			r.channel(1)
			r.frame(frameMethod, 1, publishPayload("", "q"))
			r.frame(frameHeader, 1, contentHeader(messageSizeMax, nil))
			r.frame(frameBody, 1, []byte("x"))
			conns[i] = r
		}
		for _, r := range conns { // all was read: another channel answers
			r.channel(2)
		}
		if grown := sample(t).RSS - before.RSS; grown > 256<<20 {
			t.Errorf("memory grew by %d MiB for 100 unfinished bodies", grown>>20)
		}
		for _, r := range conns {
			_ = r.conn.Close()
		}
	})
}

// TestHostile_ManyChannelsAndDrops opens all channels of a connection and
// drops it, again and again.
func TestHostile_ManyChannelsAndDrops(t *testing.T) {
	steady(t, 128<<20, func() {
		for range 5 {
			r := rawOpen(t, guest)
			var out []byte
			for n := uint16(1); n <= 2047; n++ {
				out = append(out, encodeFrame(frameMethod, n, methodPayload(channelOpen, new(args).shortstr("")))...)
			}
			r.write(out)
			for range 2047 {
				if f := r.read(); f.id() != channelOpenOK {
					t.Fatalf("got %s, want channel.open-ok", describe(f))
				}
			}
			_ = r.conn.Close()
		}
	})
}

// TestHostile_MutatedTraffic flips octets of a valid conversation; whatever
// comes of it, the broker stays. The seed is printed by a failure.
func TestHostile_MutatedTraffic(t *testing.T) {
	_, ch := open(t)
	q := queue(t, ch, amqp.Table{"x-max-length": int32(100)})
	var valid []byte
	valid = append(valid, encodeFrame(frameMethod, 1, methodPayload(queueDeclare, new(args).short(0).shortstr("conf.mutated").octet(8).raw(table("x-expires", "I\x00\x00\x10\x00"))))...)
	for range 3 {
		valid = append(valid, encodeFrame(frameMethod, 1, publishPayload("", q))...)
		valid = append(valid, encodeFrame(frameHeader, 1, contentHeader(3, everyProperty()))...)
		valid = append(valid, encodeFrame(frameBody, 1, []byte("abc"))...)
	}
	valid = append(valid, encodeFrame(frameMethod, 1, methodPayload(basicConsume, new(args).short(0).shortstr(q).shortstr("c").octet(0).raw(table())))...)
	valid = append(valid, encodeFrame(frameMethod, 1, methodPayload(basicAck, new(args).llong(1).octet(1)))...)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	steady(t, 128<<20, func() {
		for range 300 {
			in := bytes.Clone(valid)
			for range 1 + rng.IntN(4) {
				in[rng.IntN(len(in))] = byte(rng.Uint32())
			}
			if rng.IntN(4) == 0 {
				in = in[:rng.IntN(len(in))]
			}
			if rng.IntN(8) == 0 && len(in) >= 7 {
				binary.BigEndian.PutUint32(in[3:], rng.Uint32())
			}
			r := rawOpen(t, guest)
			r.channel(1)
			_, _ = r.conn.Write(in)
			// Ask for an orderly end; a connection already closed is fine too.
			_, _ = r.conn.Write(encodeFrame(frameMethod, 0, methodPayload(connectionClose, new(args).short(200).shortstr("").short(0).short(0))))
			_ = r.conn.Close()
		}
	})
}
