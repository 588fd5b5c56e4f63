package amqp

import (
	"testing"

	"github.com/hermodmq/hermod/listeners/amqp/wire"
)

// pipeline publishes a batch of small transient messages to a queue with one
// consumer and takes what comes out; acks are sent as one.
type pipeline struct {
	pub, con *client
	batch    []byte
	size     int
}

func newPipeline(t testing.TB, noAck bool) *pipeline {
	w := newWorld(t, Options{})
	p := &pipeline{pub: w.channel(), con: w.channel(), size: 100}
	p.con.declare("q", nil)
	p.con.send(1, &wire.BasicConsume{Queue: "q", ConsumerTag: "t", NoAck: noAck})
	expect[*wire.BasicConsumeOk](p.con, 1)
	props := wire.Properties{ContentType: "text/plain", CorrelationID: "0123456789"}
	for range p.size {
		p.batch = wire.AppendPublish(p.batch, 1, "", "q", false, props.Append(nil), make([]byte, 100), 131072)
	}
	return p
}

func (p *pipeline) run(acks bool) {
	p.pub.peer.Send(p.batch)
	if out := p.con.peer.Output(); len(out) < p.size*100 {
		p.con.t.Fatalf("%d bytes were delivered", len(out))
	}
	if acks {
		p.con.peer.Send(wire.AppendAck(nil, 1, 0, true))
	}
}

func BenchmarkPublishDeliverNoAck(b *testing.B) {
	p := newPipeline(b, true)
	b.ReportAllocs()
	for b.Loop() {
		p.run(false)
	}
}

func BenchmarkPublishDeliverAck(b *testing.B) {
	p := newPipeline(b, false)
	b.ReportAllocs()
	for b.Loop() {
		p.run(true)
	}
}

// TestHotPathAllocations allows a message one allocation on its way from a
// publisher to an acknowledging consumer, and the batch a few.
func TestHotPathAllocations(t *testing.T) {
	p := newPipeline(t, false)
	p.run(true)
	if n := testing.AllocsPerRun(50, func() { p.run(true) }) / float64(p.size); n > 1.5 {
		t.Errorf("%.2f allocations per message", n)
	}
}
