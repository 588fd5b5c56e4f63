package tls

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/hermodmq/hermod/listeners/openwire/wire"
)

func init() { connectors["openwire-tls"] = connectOpenWire }

// openwireConn is a client of a few commands, over our codec; the stock client
// is in conformance/openwire.
type openwireConn struct {
	conn    net.Conn
	decoder wire.Decoder
	in      []byte
	id      string
	command int32
}

var openwireFormat = wire.Format{Version: wire.MaxVersion}

func connectOpenWire(addr string, c *tls.Config, l login) (*session, error) {
	conn, err := (&tls.Dialer{Config: c}).Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	o := &openwireConn{conn: conn, decoder: wire.Decoder{Format: openwireFormat}, id: fmt.Sprintf("ID:tls-%d-0:1", time.Now().UnixNano())}
	s, err := o.open(l)
	if err != nil {
		conn.Close()
	}
	return s, err
}

func (o *openwireConn) open(l login) (*session, error) {
	if err := o.conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return nil, err
	}
	ours := wire.Options{Version: wire.MaxVersion, TCPNoDelay: true}
	if _, err := o.conn.Write(wire.Append(nil, wire.InitialFormat, ours.Info())); err != nil {
		return nil, err
	}
	queue := wire.Destination{Kind: wire.TypeQueue, Name: "tls." + o.id}
	producer := wire.ProducerID{ConnectionID: o.id, SessionID: 1, Value: 1}
	consumer := wire.ConsumerID{ConnectionID: o.id, SessionID: 1, Value: 1}
	for _, cmd := range []wire.Command{
		&wire.ConnectionInfo{ConnectionID: wire.ConnectionID{Value: o.id}, ClientID: o.id, UserName: l.user, Password: l.password},
		&wire.SessionInfo{SessionID: wire.SessionID{ConnectionID: o.id, Value: 1}},
		&wire.ProducerInfo{ProducerID: producer},
		&wire.ConsumerInfo{ConsumerID: consumer, Destination: queue, PrefetchSize: 10},
	} {
		if err := o.call(cmd); err != nil {
			return nil, err
		}
	}
	sequence := int64(0)
	return &session{close: func() { o.conn.Close() }, echo: func(text string) error {
		if err := o.conn.SetDeadline(time.Now().Add(patience)); err != nil {
			return err
		}
		sequence++
		id := wire.MessageID{ProducerID: producer, ProducerSequenceID: sequence}
		o.send(&wire.Message{Kind: wire.TypeBytesMessage, ProducerID: producer, MessageID: id, Destination: queue, Content: []byte(text)})
		for {
			s, err := o.next()
			if err != nil {
				return err
			}
			d, ok := s.(*wire.MessageDispatch)
			if !ok || d.Message == nil {
				continue
			}
			if string(d.Message.Content) != text {
				return fmt.Errorf("got %d bytes, want %d", len(d.Message.Content), len(text))
			}
			return o.send(&wire.MessageAck{
				Destination: queue, ConsumerID: consumer, AckType: wire.AckStandard, MessageCount: 1,
				FirstMessageID: d.Message.MessageID, LastMessageID: d.Message.MessageID,
			})
		}
	}}, nil
}

func (o *openwireConn) send(cmd wire.Structure) error {
	_, err := o.conn.Write(wire.Append(nil, openwireFormat, cmd))
	return err
}

// call sends a command and waits for its response.
func (o *openwireConn) call(cmd wire.Command) error {
	o.command++
	*cmd.Head() = wire.Header{CommandID: o.command, ResponseRequired: true}
	if err := o.send(cmd); err != nil {
		return err
	}
	for {
		s, err := o.next()
		if err != nil {
			return err
		}
		switch s := s.(type) {
		case *wire.Response:
			return nil
		case *wire.ExceptionResponse:
			return errors.New(s.Exception.Message)
		}
	}
}

func (o *openwireConn) next() (wire.Structure, error) {
	buf := make([]byte, 64<<10)
	for {
		s, n, err := o.decoder.Decode(o.in)
		if err != nil {
			return nil, err
		}
		if n > 0 {
			o.in = o.in[n:]
			return s, nil
		}
		if n, err = o.conn.Read(buf); n == 0 && err != nil {
			return nil, err
		}
		o.in = append(o.in, buf[:n]...)
	}
}
