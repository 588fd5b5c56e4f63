package cluster

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"time"
)

// once is the sender's side of MQTT 3.1.1's QoS 2 by the letter of section
// 4.3.3, over any number of connections. A library is not used: a PUBLISH that
// is both in its queue and in its store may leave twice, and the second one,
// after PUBCOMP, is a new message by right.
type once struct {
	w        *world
	client   string
	topic    string
	packetID uint16
	conn     net.Conn
	in       *bufio.Reader
	at       int // node tried last
}

// The control packets of section 2.2.1, with their fixed flags.
const (
	packetConnect = 0x10
	packetConnack = 0x20
	packetPublish = 0x34 // QoS 2
	flagDUP       = 0x08
	packetPubrec  = 0x50
	packetPubrel  = 0x62
	packetPubcomp = 0x70
)

// oncePublisher publishes one message after another, each through PUBCOMP.
func (w *world) oncePublisher(ctx context.Context, wg *sync.WaitGroup, topic string) {
	name := w.publisherName("o")
	wg.Go(func() {
		o := &once{w: w, client: name, topic: topic}
		defer o.hangUp()
		rng := rand.New(rand.NewPCG(w.seed, 201))
		for number := 1; ctx.Err() == nil; number++ {
			w.throttle(ctx)
			id := fmt.Sprintf("%s-%d", name, number)
			w.publish(id, queueOnce, name, number, 0)
			// A publish that has begun is seen through, or given up when the
			// run has ended long ago.
			limit, cancel := context.WithCancel(context.WithoutCancel(ctx))
			stop := context.AfterFunc(ctx, func() { time.AfterFunc(answerTimeout, cancel) })
			if o.publish(limit, body(id, rng)) {
				w.confirm(id)
			}
			stop()
			cancel()
			rest(ctx, 2*time.Millisecond)
		}
	})
}

// publish sends one message exactly once; false if ctx ended before.
func (o *once) publish(ctx context.Context, body []byte) bool {
	o.packetID = o.packetID%0xffff + 1
	dup := byte(0)
	for received := false; ; {
		if o.conn == nil && !o.dial(ctx) {
			return false
		}
		if !received {
			packet := binary.BigEndian.AppendUint16(nil, uint16(len(o.topic)))
			packet = binary.BigEndian.AppendUint16(append(packet, o.topic...), o.packetID)
			if !o.send(packetPublish|dup, append(packet, body...)) {
				continue
			}
			dup = flagDUP
			if !o.await(packetPubrec) {
				continue
			}
			received = true
		}
		if o.send(packetPubrel, binary.BigEndian.AppendUint16(nil, o.packetID)) && o.await(packetPubcomp) {
			return true
		}
	}
}

// dial connects to one node after another until one accepts the session.
func (o *once) dial(ctx context.Context) bool {
	for ; ctx.Err() == nil; o.at++ {
		conn, err := o.w.dialAny(o.w.addresses(portMQTT, o.at)[0])
		if err != nil {
			rest(ctx, pause)
			continue
		}
		o.conn, o.in = conn, bufio.NewReader(conn)
		text := func(dst []byte, s string) []byte {
			return append(binary.BigEndian.AppendUint16(dst, uint16(len(s))), s...)
		}
		// User name and password, no clean session, no keep alive.
		packet := append(text(nil, "MQTT"), 4, 0xc0, 0, 0)
		packet = text(text(text(packet, o.client), "guest"), "guest")
		if o.send(packetConnect, packet) {
			if answer, ok := o.read(packetConnack); ok && len(answer) == 2 && answer[1] == 0 {
				return true
			}
		}
		o.hangUp()
		rest(ctx, pause)
	}
	return false
}

func (o *once) hangUp() {
	if o.conn != nil {
		_ = o.conn.Close()
		o.conn = nil
	}
}

// send writes a packet; false, with the connection gone, if that fails.
func (o *once) send(kind byte, packet []byte) bool {
	out := []byte{kind}
	for n := len(packet); ; {
		b := byte(n & 0x7f)
		if n >>= 7; n > 0 {
			out = append(out, b|0x80)
			continue
		}
		out = append(out, b)
		break
	}
	_ = o.conn.SetDeadline(time.Now().Add(answerTimeout))
	if _, err := o.conn.Write(append(out, packet...)); err != nil {
		o.hangUp()
		return false
	}
	return true
}

// await reads the acknowledgement of kind for the message under way.
func (o *once) await(kind byte) bool {
	packet, ok := o.read(kind)
	if ok && len(packet) >= 2 && binary.BigEndian.Uint16(packet) == o.packetID {
		return true
	}
	o.hangUp()
	return false
}

// read reads one packet, which must be of a kind.
func (o *once) read(kind byte) ([]byte, bool) {
	first, err := o.in.ReadByte()
	if err == nil && first&0xf0 == kind&0xf0 {
		// All packets that come here are short: the length is one byte.
		if n, err := o.in.ReadByte(); err == nil && n < 0x80 {
			packet := make([]byte, n)
			if _, err := io.ReadFull(o.in, packet); err == nil {
				return packet, true
			}
		}
	}
	o.hangUp()
	return nil, false
}
