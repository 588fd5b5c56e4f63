package cluster

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"time"

	"github.com/hermodmq/hermod/listeners/openwire/wire"
)

// queueOpenWire is published to and consumed from over OpenWire.
const queueOpenWire = "cluster.openwire"

// openwire is a connection as a JMS client opens it, with one session and one
// producer. The client is written with the product's codec, which is proven
// with ActiveMQ's marshallers; conformance/openwire has the stock client. It is
// for one goroutine.
type openwire struct {
	conn     net.Conn
	id       string
	decoder  wire.Decoder
	buf      []byte
	filled   int
	command  int32
	sequence int64
	arrived  []delivered
}

// delivered is a message and where it is acknowledged.
type delivered struct {
	consumer    wire.ConsumerID
	destination wire.Destination
	message     wire.MessageID
	body        []byte
	redelivered bool
}

// openwire connects to a node; clientID is that of durable subscriptions and
// may be "".
func (w *world) openwire(addr, clientID string) (*openwire, error) {
	conn, err := w.dialAny(addr)
	if err != nil {
		return nil, err
	}
	c := &openwire{
		conn: conn, id: fmt.Sprintf("ID:cluster-%d-%d", w.seed, w.ids.Add(1)),
		decoder: wire.Decoder{Format: wire.Format{Version: wire.MaxVersion}}, buf: make([]byte, 64<<10),
	}
	ours := wire.Options{Version: wire.MaxVersion, TCPNoDelay: true}
	_, err = conn.Write(wire.Append(nil, wire.InitialFormat, ours.Info()))
	for _, cmd := range []wire.Command{
		&wire.ConnectionInfo{ConnectionID: wire.ConnectionID{Value: c.id}, ClientID: clientID, UserName: "guest", Password: "guest"},
		&wire.SessionInfo{SessionID: wire.SessionID{ConnectionID: c.id, Value: 1}},
		&wire.ProducerInfo{ProducerID: c.producer()},
	} {
		if err == nil {
			_, err = c.call(cmd)
		}
	}
	if err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

func (c *openwire) Close() { _ = c.conn.Close() }

func (c *openwire) producer() wire.ProducerID {
	return wire.ProducerID{ConnectionID: c.id, SessionID: 1, Value: 1}
}

// call sends a command and returns the answer to it.
func (c *openwire) call(cmd wire.Command) (wire.Structure, error) {
	c.command++
	*cmd.Head() = wire.Header{CommandID: c.command, ResponseRequired: true}
	limit := time.Now().Add(answerTimeout)
	_ = c.conn.SetWriteDeadline(limit)
	if _, err := c.conn.Write(wire.Append(nil, c.decoder.Format, cmd)); err != nil {
		return nil, err
	}
	for {
		answer, err := c.read(limit)
		if err != nil || answer != nil {
			return answer, err
		}
	}
}

// read reads one frame: an answer is returned, a message put with those that
// arrived, and everything else passed over.
func (c *openwire) read(limit time.Time) (wire.Structure, error) {
	_ = c.conn.SetReadDeadline(limit)
	for {
		s, n, err := c.decoder.Decode(c.buf[:c.filled])
		if err != nil {
			return nil, err
		}
		if n == 0 {
			if need, _ := c.decoder.Need(c.buf[:c.filled]); need > len(c.buf) {
				c.buf = append(c.buf, make([]byte, need-len(c.buf))...)
			}
			n, err := c.conn.Read(c.buf[c.filled:])
			if c.filled += n; err != nil {
				return nil, err
			}
			continue
		}
		switch a := s.(type) {
		case *wire.ExceptionResponse:
			err = errors.New(a.Exception.ClassName + ": " + a.Exception.Message)
		case *wire.ConnectionError:
			err = errors.New(a.Exception.ClassName + ": " + a.Exception.Message)
		case *wire.MessageDispatch:
			s = nil
			if m := a.Message; m != nil {
				c.arrived = append(c.arrived, delivered{
					a.ConsumerID, a.Destination, m.MessageID, append([]byte{}, m.Content...), a.RedeliveryCounter > 0 || m.RedeliveryCounter > 0,
				})
			}
		case *wire.Response, *wire.IntegerResponse, *wire.DataArrayResponse:
		default:
			s = nil
		}
		c.filled = copy(c.buf, c.buf[n:c.filled])
		return s, err
	}
}

// next is the message that comes next.
func (c *openwire) next(limit time.Duration) (delivered, error) {
	for end := time.Now().Add(limit); len(c.arrived) == 0; {
		if _, err := c.read(end); err != nil {
			return delivered{}, err
		}
	}
	d := c.arrived[0]
	c.arrived = c.arrived[1:]
	return d, nil
}

// send sends a persistent message; nil means that the broker has answered. A
// transaction of none is null.
func (c *openwire) send(to wire.Destination, tx wire.TransactionID, body []byte, properties wire.Map) error {
	c.sequence++
	m := &wire.Message{
		Kind: wire.TypeBytesMessage, Content: body, Persistent: true, Priority: 4, Timestamp: time.Now().UnixMilli(),
		ProducerID: c.producer(), Destination: to, TransactionID: tx,
		MessageID: wire.MessageID{ProducerID: c.producer(), ProducerSequenceID: c.sequence},
	}
	if properties != nil {
		m.Properties = wire.AppendMap(nil, properties)
	}
	_, err := c.call(m)
	return err
}

// listen opens a consumer; a subscription with a name is durable.
func (c *openwire) listen(to wire.Destination, subscription string) error {
	_, err := c.call(&wire.ConsumerInfo{
		ConsumerID:  wire.ConsumerID{ConnectionID: c.id, SessionID: 1, Value: 1},
		Destination: to, SubscriptionName: subscription, PrefetchSize: 20,
	})
	return err
}

// acknowledge says that a message was consumed; nil means that the broker has
// answered.
func (c *openwire) acknowledge(d delivered) error {
	_, err := c.call(&wire.MessageAck{
		Destination: d.destination, ConsumerID: d.consumer, AckType: wire.AckStandard, MessageCount: 1,
		FirstMessageID: d.message, LastMessageID: d.message,
	})
	return err
}

// transact carries an operation on a branch out.
func (c *openwire) transact(tx wire.TransactionID, operation int8) (wire.Structure, error) {
	return c.call(&wire.TransactionInfo{ConnectionID: wire.ConnectionID{Value: c.id}, TransactionID: tx, Operation: operation})
}

func openwireQueue(name string) wire.Destination {
	return wire.Destination{Kind: wire.TypeQueue, Name: name}
}

// openwirePublisher sends one message after another as a JMS client does
// outside of transactions.
func openwirePublisher(ctx context.Context, w *world, addr string, rng *rand.Rand) {
	c, err := w.openwire(addr, "")
	if err != nil {
		return
	}
	defer c.Close()
	name := w.publisherName("j")
	for number := 1; ctx.Err() == nil; number++ {
		w.throttle(ctx)
		id := fmt.Sprintf("%s-%d", name, number)
		w.publish(id, queueOpenWire, name, number, 0)
		if c.send(openwireQueue(queueOpenWire), wire.TransactionID{}, body(id, rng), nil) != nil {
			return
		}
		w.confirm(id)
	}
}

// openwireConsumer acknowledges each message with CLIENT_ACKNOWLEDGE, whose
// answer is a confirmed settlement.
func openwireConsumer(ctx context.Context, w *world, addr string, _ *rand.Rand) {
	c, err := w.openwire(addr, "")
	if err != nil {
		return
	}
	defer c.Close()
	defer context.AfterFunc(ctx, c.Close)()
	if c.listen(openwireQueue(queueOpenWire), "") != nil {
		return
	}
	for ctx.Err() == nil {
		d, err := c.next(time.Hour)
		if err != nil {
			return
		}
		id := idOf(d.body)
		w.deliver(id, queueOpenWire, d.redelivered)
		if c.acknowledge(d) != nil {
			return
		}
		w.settle(id)
	}
}
