package mqtt

import (
	"fmt"
	"math/rand/v2"
	"net"
	"testing"
	"time"

	"github.com/hermodmq/hermod/conformance/harness"
	"github.com/hermodmq/hermod/listeners/mqtt/wire"
)

// lossy is a client that comes back after every end of its connection and keeps
// its own part of the session, as section 4.3.3 asks of it.
type lossy struct {
	t    *testing.T
	addr string
	id   string
	r    *raw
}

// again reconnects until the broker lets it in.
func (l *lossy) again() bool {
	if l.r != nil {
		_ = l.r.c.Close()
	}
	back := harness.Poll(wait, func() bool {
		c, err := net.DialTimeout("tcp", l.addr, time.Second)
		if err != nil {
			return false
		}
		r := &raw{t: l.t, c: c, v: wire.V5}
		p := wire.Connect{Version: wire.V5, ClientID: l.id, Props: wire.Properties(nil).AppendNumber(wire.SessionExpiry, 10_000)}
		_, err = c.Write(p.Append(nil))
		h, _, readErr := r.read(2 * time.Second)
		if err != nil || readErr != nil || h.Type != wire.CONNACK {
			_ = c.Close()
			return false
		}
		l.r = r
		return true
	})
	if !back {
		l.t.Error("the broker does not let us in again")
	}
	return back
}

// write sends a packet; false says that the connection is gone.
func (l *lossy) write(b []byte) bool {
	_, err := l.r.c.Write(b)
	return err == nil
}

// publishAll publishes 0..total-1 at that QoS, each once by the rules.
func (l *lossy) publishAll(topic string, qos byte, total int, sent func(n int)) {
	if !l.again() {
		return
	}
	for n := range total {
		p := wire.Publish{Topic: []byte(topic), Payload: []byte(fmt.Sprint(n)), QoS: qos, PacketID: uint16(n%60_000 + 1)}
		release := wire.Ack{Type: wire.PUBREL, PacketID: p.PacketID}
		want, packet := wire.PUBACK, p.Append(nil, wire.V5)
		if qos == 2 {
			want = wire.PUBREC
		}
		for done := false; !done; {
			if !l.write(packet) || !l.await(want, p.PacketID) {
				if !l.again() {
					return
				}
				if want != wire.PUBCOMP {
					p.Dup = true
					packet = p.Append(nil, wire.V5)
				}
				continue
			}
			if done = want != wire.PUBREC; !done {
				want, packet = wire.PUBCOMP, release.Append(nil, wire.V5)
			}
		}
		sent(n)
	}
}

// await reads until the acknowledgement comes; false says that the connection
// is gone.
func (l *lossy) await(t wire.Type, pid uint16) bool {
	for {
		h, body, err := l.r.read(wait)
		if err != nil {
			return false
		}
		if a, err := wire.DecodeAck(h.Type, body, wire.V5); err == nil && h.Type == t && a.PacketID == pid {
			return true
		}
	}
}

// consume receives until total distinct messages have come and returns what it
// took for new, in order.
func (l *lossy) consume(total int) []string {
	var got []string
	known := map[uint16]bool{} // identifiers received and not released
	distinct := map[string]bool{}
	for len(distinct) < total {
		h, body, err := l.r.read(wait)
		if err != nil {
			if timedOut(err) {
				l.t.Errorf("nothing comes after %d of %d messages", len(distinct), total)
				return got
			}
			if !l.again() {
				return got
			}
			continue
		}
		switch h.Type {
		case wire.PUBLISH:
			m, err := wire.DecodePublish(h, body, wire.V5, true)
			if err != nil {
				l.t.Error(err)
				return got
			}
			answer := wire.Ack{Type: wire.PUBACK, PacketID: m.PacketID}
			if m.QoS == 2 {
				answer.Type = wire.PUBREC
			}
			if !known[m.PacketID] {
				got = append(got, string(m.Payload))
				distinct[string(m.Payload)] = true
			}
			if m.QoS == 2 {
				known[m.PacketID] = true
			}
			l.write(answer.Append(nil, wire.V5))
		case wire.PUBREL:
			if a, err := wire.DecodeAck(h.Type, body, wire.V5); err == nil {
				delete(known, a.PacketID)
				done := wire.Ack{Type: wire.PUBCOMP, PacketID: a.PacketID}
				l.write(done.Append(nil, wire.V5))
			}
		}
	}
	return got
}

// TestMQTT25KillUnderLoad kills the broker again and again under load. At QoS 1
// nothing is lost; at QoS 2 nothing comes twice either, and the order stays.
func TestMQTT25KillUnderLoad(t *testing.T) {
	const total, kills = 1500, 5
	for qos := byte(1); qos <= 2; qos++ {
		t.Run(fmt.Sprintf("QoS%d", qos), func(t *testing.T) {
			b := startOwn(t)
			s := &lossy{t: t, addr: b.Addr("mqtt"), id: "sub"}
			if !s.again() {
				return
			}
			s.r.sub("t", wire.Options(qos))
			p := &lossy{t: t, addr: b.Addr("mqtt"), id: "pub"}
			progress := make(chan int, total)
			go func() {
				defer close(progress)
				p.publishAll("t", qos, total, func(n int) { progress <- n })
			}()
			result := make(chan []string, 1)
			go func() { result <- s.consume(total) }()
			next := total / (kills + 1)
			for n := range progress {
				if n >= next {
					next += total/(kills+1) + rand.IntN(20)
					b.Kill()
					must(t, b.Restart())
				}
			}
			got := <-result
			seen := map[string]int{}
			for _, m := range got {
				seen[m]++
			}
			if len(seen) != total {
				t.Errorf("%d of %d messages arrived", len(seen), total)
			}
			if qos == 1 {
				t.Logf("%d deliveries of %d messages", len(got), total)
				return
			}
			for i, m := range got {
				if m != fmt.Sprint(i) {
					t.Fatalf("delivery %d is message %s; %d deliveries of %d messages", i, m, len(got), total)
				}
			}
		})
	}
}
