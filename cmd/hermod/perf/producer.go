package perf

import (
	"encoding/binary"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/hermodmq/hermod/listeners/amqp/wire"
)

// batchBytes is about how much is written at once.
const batchBytes = 64 << 10

// producer publishes on one connection: run writes, read takes the answers.
type producer struct {
	c      *conn
	run    *run
	frames []byte // batch copies of the same encoded publish
	length int    // of one
	stamp  int    // where in it the time goes, -1 if it has none
	batch  int
	quota  int64   // messages to publish, -1 for no limit
	rate   float64 // messages per second, 0 for no limit
	step   int64   // ns between messages at that rate
	window *window // nil without confirms

	sent, confirmed, nacked, returned atomic.Int64
	latency                           histogram // of confirms; the reader's
}

func newProducer(r *run, c *conn, queue string) (*producer, error) {
	o := r.o
	p := &producer{c: c, run: r, quota: -1, rate: o.rate / float64(o.producers)}
	if p.rate > 0 {
		p.step = int64(1e9 / p.rate)
	}
	c.in.grow(64 << 10)
	p.encode(queue)
	if o.confirm == 0 {
		return p, nil
	}
	if _, err := c.call(channel, &wire.ConfirmSelect{}, wire.IDConfirmSelectOk); err != nil {
		return nil, fmt.Errorf("confirm.select: %w", err)
	}
	p.window = newWindow(o.confirm, p.batch)
	return p, nil
}

// encode prepares the bytes to send.
func (p *producer) encode(queue string) {
	o := p.run.o
	props := wire.Properties{DeliveryMode: 1}
	if o.persistent {
		props.DeliveryMode = 2
	}
	body := make([]byte, o.size)
	for i := range body {
		body[i] = byte('a' + i%26)
	}
	raw := props.Append(nil)
	one := wire.AppendPublish(nil, channel, "", queue, false, raw, body, p.c.frameMax)
	p.length, p.stamp = len(one), -1
	if o.size >= stampSize {
		head := len(wire.AppendPublish(nil, channel, "", queue, false, raw, nil, p.c.frameMax))
		first := head + wire.FrameOverhead - 1 // the end octet comes after the body
		binary.BigEndian.PutUint32(one[first:], stampMark)
		p.stamp = first + 4
	}
	p.batch = max(1, batchBytes/p.length)
	if o.confirm > 0 {
		p.batch = min(p.batch, o.confirm)
	}
	for range p.batch {
		p.frames = append(p.frames, one...)
	}
}

// publish runs until the quota is reached or the run is stopping.
func (p *producer) publish() error {
	start := time.Now()
	var sent int64
	for p.quota < 0 || sent < p.quota {
		n, due, ok := p.allowed(start, sent)
		if !ok {
			return nil
		}
		if p.window != nil {
			p.window.publish(n, due, p.step)
		}
		p.stampBatch(n, due)
		if _, err := p.c.nc.Write(p.frames[:n*p.length]); err != nil {
			return err
		}
		sent += int64(n)
		p.sent.Add(int64(n))
	}
	return nil
}

// allowed waits until window and rate let something be sent and returns how
// many messages, and the time to stamp the first with. ok is false at the end.
func (p *producer) allowed(start time.Time, sent int64) (n int, due int64, ok bool) {
	n = p.batch
	if p.quota >= 0 {
		n = int(min(int64(n), p.quota-sent))
	}
	if p.window != nil {
		room, open := p.window.room()
		if !open {
			return 0, 0, false
		}
		n = min(n, room)
	}
	if p.run.stopping.Load() {
		return 0, 0, false
	}
	if p.rate == 0 {
		return n, time.Now().UnixNano(), true
	}
	at := start.Add(time.Duration(float64(sent) / p.rate * 1e9))
	if wait := time.Until(at); wait > 0 {
		select {
		case <-time.After(wait):
		case <-p.run.stopped:
			return 0, 0, false
		}
	}
	late := int(time.Since(at).Seconds()*p.rate) + 1
	return min(n, late), at.UnixNano(), true
}

func (p *producer) stampBatch(n int, due int64) {
	if p.stamp < 0 {
		return
	}
	for i := range n {
		binary.BigEndian.PutUint64(p.frames[i*p.length+p.stamp:], uint64(due+int64(i)*p.step))
	}
}

// read takes confirms, returns and closes until the connection is interrupted.
func (p *producer) read() error {
	if p.window != nil {
		defer p.window.close()
	}
	for {
		f, err := p.c.next()
		if err != nil {
			return err
		}
		if f.Type != wire.FrameMethod {
			continue
		}
		if err := p.answer(f.Payload); err != nil {
			return err
		}
	}
}

func (p *producer) answer(payload []byte) error {
	id, err := wire.MethodIDOf(payload)
	if err != nil {
		return err
	}
	switch id {
	case wire.IDBasicAck:
		var m wire.BasicAck
		if err := m.Decode(payload); err != nil {
			return err
		}
		p.confirmed.Add(int64(p.settle(m.DeliveryTag, m.Multiple)))
	case wire.IDBasicNack:
		var m wire.BasicNack
		if err := m.Decode(payload); err != nil {
			return err
		}
		p.nacked.Add(int64(p.settle(m.DeliveryTag, m.Multiple)))
	case wire.IDBasicReturn:
		p.returned.Add(1)
	case wire.IDConnectionBlocked:
		p.run.blocked.Add(1)
	case wire.IDConnectionUnblocked:
	default:
		m, err := wire.DecodeMethod(payload)
		if err != nil {
			return err
		}
		return closeError(m)
	}
	return nil
}

func (p *producer) settle(tag uint64, multiple bool) int {
	if p.window == nil {
		return 0
	}
	h := &p.latency
	if !p.run.measuring.Load() {
		h = nil
	}
	return p.window.settle(tag, multiple, time.Now().UnixNano(), h)
}
