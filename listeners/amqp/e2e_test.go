package amqp

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/hermodmq/hermod/broker"
	"github.com/hermodmq/hermod/listeners/amqp/wire"
	"github.com/hermodmq/hermod/listeners/transport"
)

// serve runs a broker behind a real socket.
func serve(t *testing.T) (*broker.Broker, string) {
	t.Helper()
	b, err := broker.New(broker.Options{Store: broker.NewMemoryStore(), DefaultUser: "guest", DefaultPassword: "guest", PasswordCost: 4})
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Recover(&broker.Turn{Now: time.Now().UnixMilli()}); err != nil {
		t.Fatal(err)
	}
	s, err := transport.New(transport.Options{Loops: 2})
	if err != nil {
		t.Fatal(err)
	}
	addr, err := s.Listen(transport.Listener{Name: "amqp", Address: "127.0.0.1:0", New: New(b, Options{})})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := s.Shutdown(ctx); err != nil {
			t.Errorf("shutdown: %v", err)
		}
	})
	return b, addr.String()
}

// socket is a client on a real connection.
type socket struct {
	net.Conn
	r *bufio.Reader
}

func (s *socket) frame() (wire.Frame, error) {
	var head [7]byte
	if _, err := io.ReadFull(s.r, head[:]); err != nil {
		return wire.Frame{}, err
	}
	b := make([]byte, 7+int(binary.BigEndian.Uint32(head[3:]))+1)
	copy(b, head[:])
	if _, err := io.ReadFull(s.r, b[7:]); err != nil {
		return wire.Frame{}, err
	}
	f, _, _, err := wire.NextFrame(b, 0)
	return f, err
}

// call sends a method and reads its answer.
func (s *socket) call(channel uint16, m wire.Method, want wire.MethodID) error {
	if _, err := s.Write(wire.AppendMethod(nil, channel, m)); err != nil {
		return err
	}
	f, err := s.frame()
	if err != nil {
		return err
	}
	if id, _ := wire.MethodIDOf(f.Payload); id != want {
		return fmt.Errorf("%s was answered by %s", m.ID(), id)
	}
	return nil
}

// connect logs in and opens channel 1.
func connect(t *testing.T, addr string) *socket {
	t.Helper()
	nc, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = nc.Close() })
	_ = nc.SetDeadline(time.Now().Add(patience))
	s := &socket{nc, bufio.NewReaderSize(nc, 64<<10)}
	if _, err := nc.Write([]byte(wire.ProtocolHeader)); err != nil {
		t.Fatal(err)
	}
	if _, err := s.frame(); err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		channel uint16
		m       wire.Method
		want    wire.MethodID
	}{
		{0, &wire.ConnectionStartOk{ClientProperties: goodClient, Mechanism: "PLAIN", Response: "\x00guest\x00guest"}, wire.IDConnectionTune},
		{0, &wire.ConnectionTuneOk{ChannelMax: 10, FrameMax: 131072}, 0},
		{0, &wire.ConnectionOpen{VirtualHost: "/"}, wire.IDConnectionOpenOk},
		{1, &wire.ChannelOpen{}, wire.IDChannelOpenOk},
	} {
		if step.want == 0 {
			_, err = s.Write(wire.AppendMethod(nil, 0, step.m))
		} else {
			err = s.call(step.channel, step.m, step.want)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// TestOverSockets moves persistent messages of several publishers to several
// consumers over real connections: each arrives once, in the publisher's
// order, and every publish is confirmed.
func TestOverSockets(t *testing.T) { // AMQP-60, AMQP-68
	_, addr := serve(t)
	const publishers, messages = 3, 3000
	setup := connect(t, addr)
	for p := range publishers {
		if err := setup.call(1, &wire.QueueDeclare{Queue: "q" + itoa(p), Durable: true}, wire.IDQueueDeclareOk); err != nil {
			t.Fatal(err)
		}
	}
	var wg sync.WaitGroup
	for p := range publishers {
		pub, con := connect(t, addr), connect(t, addr)
		wg.Go(func() {
			if err := publishAll(pub, "q"+itoa(p), messages); err != nil {
				t.Errorf("publisher %d: %v", p, err)
			}
		})
		wg.Go(func() {
			if err := consumeAll(con, "q"+itoa(p), messages); err != nil {
				t.Errorf("consumer %d: %v", p, err)
			}
		})
	}
	wg.Wait()
	for p := range publishers {
		if err := setup.call(1, &wire.BasicGet{Queue: "q" + itoa(p)}, wire.IDBasicGetEmpty); err != nil {
			t.Error(err)
		}
	}
}

func publishAll(s *socket, queue string, n int) error {
	if err := s.call(1, &wire.ConfirmSelect{}, wire.IDConfirmSelectOk); err != nil {
		return err
	}
	props := wire.Properties{DeliveryMode: 2}
	raw := props.Append(nil)
	failed := make(chan error, 1)
	go func() {
		var b []byte
		for i := range n {
			b = wire.AppendPublish(b, 1, "", queue, false, raw, []byte(itoa(i)), 131072)
			if len(b) > 16<<10 || i == n-1 {
				if _, err := s.Write(b); err != nil {
					failed <- err
					return
				}
				b = b[:0]
			}
		}
		failed <- nil
	}()
	for told := uint64(0); told < uint64(n); {
		f, err := s.frame()
		if err != nil {
			return fmt.Errorf("after %d confirms: %w", told, err)
		}
		var ack wire.BasicAck
		if err := ack.Decode(f.Payload); err != nil {
			return err
		}
		if ack.DeliveryTag <= told || !ack.Multiple && ack.DeliveryTag != told+1 {
			return fmt.Errorf("confirm %+v after %d", ack, told)
		}
		told = ack.DeliveryTag
	}
	return <-failed
}

func consumeAll(s *socket, queue string, n int) error {
	if err := s.call(1, &wire.BasicQos{PrefetchCount: 100}, wire.IDBasicQosOk); err != nil {
		return err
	}
	if err := s.call(1, &wire.BasicConsume{Queue: queue}, wire.IDBasicConsumeOk); err != nil {
		return err
	}
	var acks []byte
	for i := range n {
		var d wire.DeliverView
		f, err := s.frame()
		if err == nil {
			err = d.Decode(f.Payload)
		}
		if err != nil {
			return fmt.Errorf("delivery %d: %w", i, err)
		}
		tag := d.DeliveryTag
		if _, err = s.frame(); err != nil {
			return err
		}
		if f, err = s.frame(); err != nil {
			return err
		}
		if string(f.Payload) != itoa(i) {
			return fmt.Errorf("delivery %d is %q", i, f.Payload)
		}
		acks = wire.AppendAck(acks, 1, tag, false)
		if s.r.Buffered() == 0 || len(acks) > 1000 {
			if _, err := s.Write(acks); err != nil {
				return err
			}
			acks = acks[:0]
		}
	}
	if _, err := s.Write(acks); err != nil {
		return err
	}
	err := s.call(0, &wire.ConnectionClose{ReplyCode: 200}, wire.IDConnectionCloseOk)
	if err != nil {
		return err
	}
	if _, err := s.frame(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("after close-ok: %v", err)
	}
	return nil
}
