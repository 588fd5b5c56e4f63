package perf

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"time"

	"github.com/hermodmq/hermod/listeners/amqp/wire"
)

const (
	channel     = 1 // every connection has one
	setupLimit  = 30 * time.Second
	wantedFrame = 131072
)

// conn is a client connection with one open channel. One goroutine may read
// and one may write at a time.
type conn struct {
	nc       net.Conn
	in       input
	frameMax uint32
}

// dial connects, logs in and opens the channel. local may be nil.
func dial(ctx context.Context, o *amqpOptions, local net.Addr) (*conn, error) {
	d := net.Dialer{Timeout: setupLimit, LocalAddr: local}
	nc, err := d.DialContext(ctx, "tcp", o.host)
	if err != nil {
		return nil, err
	}
	c := &conn{nc: nc, in: newInput(4096), frameMax: wire.FrameMinSize}
	if err := c.open(o); err != nil {
		nc.Close()
		return nil, fmt.Errorf("open connection to %s: %w", o.host, err)
	}
	return c, nil
}

func (c *conn) open(o *amqpOptions) error {
	if err := c.nc.SetDeadline(time.Now().Add(setupLimit)); err != nil {
		return err
	}
	if _, err := c.nc.Write([]byte(wire.ProtocolHeader)); err != nil {
		return err
	}
	if _, err := c.await(wire.IDConnectionStart); err != nil {
		return err
	}
	m, err := c.call(0, startOk(o), wire.IDConnectionTune)
	if err != nil {
		return err
	}
	tune := m.(*wire.ConnectionTune)
	frameMax := tune.FrameMax
	if frameMax == 0 || frameMax > wantedFrame {
		frameMax = wantedFrame
	}
	c.frameMax = frameMax
	b := wire.AppendMethod(nil, 0, &wire.ConnectionTuneOk{ChannelMax: tune.ChannelMax, FrameMax: frameMax})
	b = wire.AppendMethod(b, 0, &wire.ConnectionOpen{VirtualHost: o.vhost})
	b = wire.AppendMethod(b, channel, &wire.ChannelOpen{})
	if _, err := c.nc.Write(b); err != nil {
		return err
	}
	if _, err := c.await(wire.IDConnectionOpenOk); err != nil {
		return err
	}
	if _, err := c.await(wire.IDChannelOpenOk); err != nil {
		return err
	}
	return c.nc.SetDeadline(time.Time{})
}

func startOk(o *amqpOptions) *wire.ConnectionStartOk {
	return &wire.ConnectionStartOk{
		ClientProperties: wire.Table{
			{Name: "product", Value: "hermod perf"},
			{Name: "connection_name", Value: "hermod perf"},
			{Name: "capabilities", Value: wire.Table{
				{Name: "publisher_confirms", Value: true},
				{Name: "basic.nack", Value: true},
				{Name: "consumer_cancel_notify", Value: true},
				{Name: "connection.blocked", Value: true},
				{Name: "authentication_failure_close", Value: true},
			}},
		},
		Mechanism: "PLAIN",
		Response:  "\x00" + o.user + "\x00" + o.password,
		Locale:    "en_US",
	}
}

// call sends a method and waits for its answer.
func (c *conn) call(ch uint16, m wire.Method, answer wire.MethodID) (wire.Method, error) {
	if _, err := c.nc.Write(wire.AppendMethod(nil, ch, m)); err != nil {
		return nil, err
	}
	return c.await(answer)
}

// await reads until the method want comes. Frames that do not matter are
// passed over; a close is an error.
func (c *conn) await(want wire.MethodID) (wire.Method, error) {
	for {
		f, err := c.next()
		if err != nil {
			return nil, err
		}
		if f.Type != wire.FrameMethod {
			continue
		}
		m, err := wire.DecodeMethod(f.Payload)
		if err != nil {
			return nil, err
		}
		if m.ID() == want {
			return m, nil
		}
		if err := closeError(m); err != nil {
			return nil, err
		}
	}
}

// closeError returns what the broker said when m closes something.
func closeError(m wire.Method) error {
	switch m := m.(type) {
	case *wire.ConnectionClose:
		return fmt.Errorf("broker closed the connection: %d %s", m.ReplyCode, m.ReplyText)
	case *wire.ChannelClose:
		return fmt.Errorf("broker closed the channel: %d %s", m.ReplyCode, m.ReplyText)
	case *wire.BasicCancel:
		return fmt.Errorf("broker cancelled the consumer")
	}
	return nil
}

// next returns the next frame. It aliases the buffer until the next call.
func (c *conn) next() (wire.Frame, error) {
	for {
		f, n, need, err := wire.NextFrame(c.in.unparsed(), c.frameMax)
		if err != nil {
			return f, err
		}
		if n > 0 {
			c.in.took(n)
			return f, nil
		}
		if err := c.in.fill(c.nc, need); err != nil {
			return f, err
		}
	}
}

// close ends the connection in good order, waiting a little for the answer so
// that the broker has seen everything before.
func (c *conn) close() {
	defer c.nc.Close()
	if err := c.nc.SetDeadline(time.Now().Add(2 * time.Second)); err != nil {
		return
	}
	b := wire.AppendMethod(nil, 0, &wire.ConnectionClose{ReplyCode: wire.ReplySuccess, ReplyText: "bye"})
	if _, err := c.nc.Write(b); err != nil {
		return
	}
	for {
		f, err := c.next()
		if err != nil {
			return
		}
		if f.Type == wire.FrameMethod && len(f.Payload) >= 4 &&
			wire.MethodID(binary.BigEndian.Uint32(f.Payload)) == wire.IDConnectionCloseOk {
			return
		}
	}
}

// interrupt makes pending and later reads return a timeout.
func (c *conn) interrupt() { _ = c.nc.SetReadDeadline(time.Unix(1, 0)) }
