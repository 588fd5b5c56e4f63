package crash

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"time"
)

// The few packets of MQTT 3.1.1 that the crash suite needs.
const (
	mqttConnack = 0x20
	mqttPublish = 0x30
	mqttPuback  = 0x40
	mqttPubrec  = 0x50
	mqttPubrel  = 0x62
	mqttPubcomp = 0x70
	mqttSuback  = 0x90
)

// mqttConn is one connection of a client whose session outlives it.
type mqttConn struct {
	nc      net.Conn
	in      *bufio.Reader
	present bool // the session was there
}

func mqttDial(addr, id string) (*mqttConn, error) {
	nc, err := net.DialTimeout("tcp", addr, time.Second)
	if err != nil {
		return nil, err
	}
	c := &mqttConn{nc: nc, in: bufio.NewReader(nc)}
	body := append([]byte("\x00\x04MQTT\x04\x00\x00\x00"), byte(len(id)>>8), byte(len(id)))
	_ = nc.SetDeadline(time.Now().Add(5 * time.Second))
	if err = c.write(0x10, append(body, id...)); err == nil {
		var t byte
		if t, body, err = c.read(); err == nil && (t != mqttConnack || len(body) != 2 || body[1] != 0) {
			err = errors.New("mqtt: refused")
		}
	}
	if err != nil {
		_ = nc.Close()
		return nil, err
	}
	c.present = body[0] == 1
	_ = nc.SetDeadline(time.Time{})
	return c, nil
}

// again connects until the broker is there.
func mqttAgain(ctx context.Context, addr func() string, id string) *mqttConn {
	for ctx.Err() == nil {
		if c, err := mqttDial(addr(), id); err == nil {
			return c
		}
		select {
		case <-ctx.Done():
		case <-time.After(5 * time.Millisecond):
		}
	}
	return nil
}

func (c *mqttConn) write(first byte, body []byte) error {
	b := []byte{first}
	for n := len(body); ; {
		if n < 0x80 {
			b = append(b, byte(n))
			break
		}
		b = append(b, byte(n)|0x80)
		n >>= 7
	}
	_, err := c.nc.Write(append(b, body...))
	return err
}

func (c *mqttConn) ack(t byte, pid uint16) error {
	return c.write(t, binary.BigEndian.AppendUint16(nil, pid))
}

func (c *mqttConn) publish(topic string, qos byte, dup bool, pid uint16, payload []byte) error {
	first := byte(mqttPublish) | qos<<1
	if dup {
		first |= 8
	}
	b := append(binary.BigEndian.AppendUint16(nil, uint16(len(topic))), topic...)
	return c.write(first, append(binary.BigEndian.AppendUint16(b, pid), payload...))
}

func (c *mqttConn) subscribe(filter string, qos byte) error {
	b := binary.BigEndian.AppendUint16([]byte{0, 1}, uint16(len(filter)))
	return c.write(0x82, append(append(b, filter...), qos))
}

// read returns the first byte and the body of a packet.
func (c *mqttConn) read() (byte, []byte, error) {
	first, err := c.in.ReadByte()
	if err != nil {
		return 0, nil, err
	}
	n, err := binary.ReadUvarint(c.in)
	if err != nil || n > 1<<24 {
		return 0, nil, errors.New("mqtt: no packet")
	}
	body := make([]byte, n)
	_, err = io.ReadFull(c.in, body)
	return first, body, err
}
