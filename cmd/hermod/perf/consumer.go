package perf

import (
	"encoding/binary"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/hermodmq/hermod/listeners/amqp/wire"
)

// consumer takes deliveries on one connection. Delivery tags count up by one
// on a channel, so deliver methods need not be decoded.
type consumer struct {
	c        *conn
	run      *run
	multiple uint64 // acknowledge every so many; 0 for not at all

	tag, acked uint64
	left       uint64 // body bytes of the current message still to come
	first      bool   // the next body frame begins a message
	out        []byte
	latency    histogram

	bytes           int64        // of bodies announced and not yet counted
	received, taken atomic.Int64 // messages, and about how many body bytes
}

func newConsumer(r *run, c *conn, queue string) (*consumer, error) {
	o := r.o
	k := &consumer{c: c, run: r}
	if o.ack == "manual" {
		k.multiple = uint64(o.multiple)
	}
	c.in.grow(256 << 10)
	if o.prefetch > 0 {
		qos := &wire.BasicQos{PrefetchCount: uint16(o.prefetch)}
		if _, err := c.call(channel, qos, wire.IDBasicQosOk); err != nil {
			return nil, fmt.Errorf("basic.qos: %w", err)
		}
	}
	m := &wire.BasicConsume{Queue: queue, NoAck: o.ack == "auto"}
	if o.queueType == "stream" && o.producers == 0 {
		m.Arguments = wire.Table{{Name: "x-stream-offset", Value: "first"}}
	}
	if _, err := c.call(channel, m, wire.IDBasicConsumeOk); err != nil {
		return nil, fmt.Errorf("consume from %q: %w", queue, err)
	}
	return k, nil
}

// read takes deliveries until the connection is interrupted.
func (k *consumer) read() error {
	for {
		now, got := time.Now().UnixNano(), k.tag
		need, err := k.drain(now)
		if err != nil {
			return err
		}
		if k.tag != got {
			k.received.Add(int64(k.tag - got))
			k.taken.Add(k.bytes)
			k.bytes = 0
		}
		if len(k.out) > 0 {
			if _, err := k.c.nc.Write(k.out); err != nil {
				return err
			}
			k.out = k.out[:0]
		}
		if err := k.c.in.fill(k.c.nc, need); err != nil {
			return err
		}
	}
}

// drain handles the frames in the buffer and returns how many bytes the next
// one needs.
func (k *consumer) drain(now int64) (need int, err error) {
	c := k.c
	for {
		f, n, need, err := wire.NextFrame(c.in.unparsed(), c.frameMax)
		if err != nil {
			return 0, err
		}
		if n == 0 {
			return need, nil
		}
		c.in.took(n)
		if err := k.frame(f, now); err != nil {
			return 0, err
		}
	}
}

func (k *consumer) frame(f wire.Frame, now int64) error {
	switch f.Type {
	case wire.FrameMethod:
		if id, _ := wire.MethodIDOf(f.Payload); id == wire.IDBasicDeliver {
			return nil
		}
		m, err := wire.DecodeMethod(f.Payload)
		if err != nil {
			return err
		}
		return closeError(m)
	case wire.FrameHeader:
		if len(f.Payload) < 12 {
			return fmt.Errorf("content header of %d bytes", len(f.Payload))
		}
		k.left, k.first = binary.BigEndian.Uint64(f.Payload[4:]), true
		k.bytes += int64(k.left)
		if k.left == 0 {
			k.complete()
		}
	case wire.FrameBody:
		if uint64(len(f.Payload)) > k.left {
			return fmt.Errorf("body is longer than its header says")
		}
		if k.first {
			k.first = false
			k.observe(f.Payload, now)
		}
		k.left -= uint64(len(f.Payload))
		if k.left == 0 {
			k.complete()
		}
	}
	return nil
}

// observe takes the latency of a message from the head of its body.
func (k *consumer) observe(body []byte, now int64) {
	if k.run.measuring.Load() {
		observeStampAt(&k.latency, body, now)
	}
}

func (k *consumer) complete() {
	k.tag++
	if k.multiple > 0 && k.tag-k.acked >= k.multiple {
		k.out = wire.AppendAck(k.out, channel, k.tag, k.multiple > 1)
		k.acked = k.tag
	}
}

// finish acknowledges what is left and closes. read must have returned.
func (k *consumer) finish() {
	if k.multiple > 0 && k.tag > k.acked {
		_ = k.c.nc.SetDeadline(time.Now().Add(2 * time.Second))
		_, _ = k.c.nc.Write(wire.AppendAck(nil, channel, k.tag, true))
	}
	k.c.close()
}
