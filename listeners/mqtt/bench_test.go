package mqtt

import (
	"fmt"
	"testing"

	"github.com/hermodmq/hermod/listeners/mqtt/wire"
)

// pipeline publishes a batch of small messages from one connection and takes
// what comes out of the subscribers' ones; acknowledgements are sent as one.
type pipeline struct {
	w     *world
	pub   *client
	subs  []*client
	qos   byte
	size  int
	batch []byte // as many PUBLISH packets as size
	acks  []byte // scratch
}

func newPipeline(t testing.TB, v wire.Version, qos byte, subscribers int) *pipeline {
	w := newWorld(t, Options{})
	p := &pipeline{w: w, pub: w.connect(v, "pub"), qos: qos, size: 100}
	for i := range subscribers {
		s := w.connect(v, fmt.Sprint("sub", i))
		s.subscribe("bench/topic", wire.Options(qos))
		p.subs = append(p.subs, s)
	}
	for i := range p.size {
		m := wire.Publish{Topic: []byte("bench/topic"), QoS: qos, Payload: make([]byte, 100)}
		if qos > 0 {
			m.PacketID = uint16(i + 1)
		}
		p.batch = m.Append(p.batch, v)
	}
	return p
}

// run takes the batch through: publish, deliver, and at QoS 1 both
// acknowledgements.
func (p *pipeline) run() {
	p.pub.p.Send(p.batch)
	for _, s := range p.subs {
		out := s.p.Output()
		if len(out) < p.size*100 {
			p.w.t.Fatalf("%d bytes were delivered", len(out))
		}
		if p.qos == 0 {
			continue
		}
		p.acks = p.acks[:0]
		for {
			h, body, n, _, err := wire.Next(out, 0)
			if err != nil {
				p.w.t.Fatal(err)
			}
			if n == 0 {
				break
			}
			out = out[n:]
			m, err := wire.DecodePublish(h, body, s.v, true)
			if err != nil {
				p.w.t.Fatal(err)
			}
			a := wire.Ack{Type: wire.PUBACK, PacketID: m.PacketID}
			p.acks = a.Append(p.acks, s.v)
		}
		s.p.Send(p.acks)
	}
	if got := len(p.pub.p.Output()); p.qos > 0 && got < 4*p.size {
		p.w.t.Fatalf("%d bytes of acknowledgements", got)
	}
}

var pipelines = []struct {
	name        string
	version     wire.Version
	qos         byte
	subscribers int
	most        float64 // allocations per message
}{
	{"v3.1.1 QoS 0", wire.V311, 0, 1, 1.5},
	{"v5 QoS 0", wire.V5, 0, 1, 1.5},
	{"v3.1.1 QoS 1", wire.V311, 1, 1, 1.5},
	{"v5 QoS 1", wire.V5, 1, 1, 1.5},
	{"v5 QoS 0 to 50", wire.V5, 0, 50, 2},
}

// BenchmarkPublishDeliver takes 100 messages from a publisher to subscribers.
func BenchmarkPublishDeliver(b *testing.B) {
	for _, x := range pipelines {
		b.Run(x.name, func(b *testing.B) {
			p := newPipeline(b, x.version, x.qos, x.subscribers)
			p.run()
			b.ReportAllocs()
			for b.Loop() {
				p.run()
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*p.size*x.subscribers), "ns/delivery")
		})
	}
}

// TestHotPathAllocations allows a message one allocation, whoever gets it, and
// the batch a few.
func TestHotPathAllocations(t *testing.T) {
	for _, x := range pipelines {
		t.Run(x.name, func(t *testing.T) {
			p := newPipeline(t, x.version, x.qos, x.subscribers)
			p.run()
			if n := testing.AllocsPerRun(50, p.run) / float64(p.size); n > x.most {
				t.Errorf("%.2f allocations per message, more than %.1f", n, x.most)
			} else {
				t.Logf("%.2f allocations per message", n)
			}
		})
	}
}
