package interop

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/hermodmq/hermod/listeners/openwire/wire"
)

func init() { register(openwireAdapter{}, "listeners.openwire.address=127.0.0.1:0") }

// openwireAdapter is OpenWire 12 as a JMS client speaks it. The client is
// written with our codec, which is proven with ActiveMQ's marshallers; the
// Java suite in conformance/openwire has the stock one.
type openwireAdapter struct{}

func (openwireAdapter) Name() string { return "OpenWire" }

// Reaches: a comma separates destinations and a question mark begins options.
func (openwireAdapter) Reaches(a Address) bool { return !strings.ContainsAny(a.Queue, ",?") }

// openwireNoID is the JMSMessageID of messages that have none to tell.
const openwireNoID = "ID:none"

// Says: every message has an id and a priority. A property is no byte array:
// what is a text becomes one, other bytes cannot be said.
func (a openwireAdapter) Says(m Message) Message {
	m = a.Shows(m)
	if m.MessageID == "" {
		m.MessageID = openwireNoID
	}
	for name, v := range m.Headers {
		if _, ok := v.([]byte); ok {
			delete(m.Headers, name)
		}
	}
	return m
}

// Shows: ids begin with ID:, and who asks for no priority gets JMS's default.
func (openwireAdapter) Shows(m Message) Message {
	if m.Priority == 0 {
		m.Priority = 4
	}
	if m.MessageID != "" && !strings.HasPrefix(m.MessageID, "ID:") {
		m.MessageID = "ID:" + m.MessageID
	}
	headers := map[string]any{}
	for name, v := range m.Headers {
		if b, ok := v.([]byte); ok && utf8.Valid(b) {
			v = string(b)
		}
		headers[name] = v
	}
	m.Headers = headers
	return m
}

func (openwireAdapter) Connect(addr func(string) string) (Client, error) {
	nc, err := net.DialTimeout("tcp", addr("openwire"), 5*time.Second)
	if err != nil {
		return nil, err
	}
	c := &openwireClient{
		nc: nc, id: fmt.Sprintf("ID:interop-%d-0:1", time.Now().UnixNano()),
		answers: make(chan wire.Structure, 16), consumers: map[wire.ConsumerID]*openwireConsumer{},
	}
	if err := c.open(); err != nil {
		nc.Close()
		return nil, err
	}
	return c, nil
}

type openwireClient struct {
	nc      net.Conn
	id      string
	format  wire.Format
	answers chan wire.Structure // responses and exceptions, in order

	mu        sync.Mutex // guards what follows and writes
	commandID int32
	sequence  int64
	consumers map[wire.ConsumerID]*openwireConsumer
	seen      func(*wire.Message) // told of every message, if set
}

type openwireConsumer struct {
	destination wire.Destination
	out         chan Message
}

func (c *openwireClient) open() error {
	ours := wire.Options{Version: wire.MaxVersion, TCPNoDelay: true}
	if _, err := c.nc.Write(wire.Append(nil, wire.InitialFormat, ours.Info())); err != nil {
		return err
	}
	c.format = wire.Format{Version: wire.MaxVersion} // the broker's is the same
	go c.read()
	connection := wire.ConnectionID{Value: c.id}
	for _, cmd := range []wire.Command{
		&wire.ConnectionInfo{ConnectionID: connection, ClientID: c.id, UserName: "guest", Password: "guest"},
		&wire.SessionInfo{SessionID: wire.SessionID{ConnectionID: c.id, Value: 1}},
		&wire.ProducerInfo{ProducerID: c.producer()},
	} {
		if err := c.call(cmd); err != nil {
			return err
		}
	}
	return nil
}

func (c *openwireClient) producer() wire.ProducerID {
	return wire.ProducerID{ConnectionID: c.id, SessionID: 1, Value: 1}
}

// call sends a command and waits for its response.
func (c *openwireClient) call(cmd wire.Command) error {
	c.mu.Lock()
	c.commandID++
	*cmd.Head() = wire.Header{CommandID: c.commandID, ResponseRequired: true}
	_, err := c.nc.Write(wire.Append(nil, c.format, cmd))
	c.mu.Unlock()
	if err != nil {
		return err
	}
	select {
	case s, open := <-c.answers:
		if e, ok := s.(*wire.ExceptionResponse); ok {
			return errors.New(e.Exception.ClassName + ": " + e.Exception.Message)
		}
		if !open {
			return net.ErrClosed
		}
		return nil
	case <-time.After(patience):
		return errors.New("no response")
	}
}

func (c *openwireClient) Close() {
	_ = c.call(&wire.RemoveInfo{ObjectID: wire.ConnectionID{Value: c.id}, LastDeliveredSequenceID: wire.LastDeliveredUnknown})
	c.nc.Close()
}

// read passes on what arrives until the connection ends.
func (c *openwireClient) read() {
	defer func() {
		close(c.answers)
		c.mu.Lock()
		defer c.mu.Unlock()
		for _, k := range c.consumers {
			close(k.out)
		}
		c.consumers = nil
	}()
	d := wire.Decoder{Format: c.format}
	buf, filled := make([]byte, 64<<10), 0
	for {
		s, n, err := d.Decode(buf[:filled])
		if err != nil {
			return
		}
		if n > 0 {
			c.take(s)
			filled = copy(buf, buf[n:filled])
			continue
		}
		if need, _ := d.Need(buf[:filled]); need > len(buf) {
			buf = append(buf, make([]byte, need-len(buf))...)
		}
		n, err = c.nc.Read(buf[filled:])
		if filled += n; n == 0 && err != nil {
			return
		}
	}
}

func (c *openwireClient) take(s wire.Structure) {
	switch s := s.(type) {
	case *wire.Response, *wire.ExceptionResponse:
		c.answers <- s
	case *wire.MessageDispatch:
		c.mu.Lock()
		defer c.mu.Unlock()
		k := c.consumers[s.ConsumerID]
		if k == nil || s.Message == nil {
			return
		}
		if c.seen != nil {
			c.seen(s.Message)
		}
		k.out <- fromOpenWire(s.Message)
		ack := wire.MessageAck{
			Destination: k.destination, ConsumerID: s.ConsumerID, AckType: wire.AckStandard, MessageCount: 1,
			FirstMessageID: s.Message.MessageID, LastMessageID: s.Message.MessageID,
		}
		_, _ = c.nc.Write(wire.Append(nil, c.format, &ack))
	}
}

func openwireDestination(a Address) wire.Destination {
	switch {
	case a.Queue != "":
		return wire.Destination{Kind: wire.TypeQueue, Name: a.Queue}
	case len(a.Topic) > 0:
		return wire.Destination{Kind: wire.TypeTopic, Name: key(a.Topic)}
	}
	return wire.Destination{}
}

func openwireAddress(d wire.Destination) Address {
	switch {
	case d.IsNull():
		return Address{}
	case d.IsTopic():
		return Address{Topic: levels(d.Name)}
	}
	return Address{Queue: d.Name}
}

// Send sends a text message if the content type is that of a text, else a
// bytes message.
func (c *openwireClient) Send(to Address, m Message) error {
	m = openwireAdapter{}.Says(m)
	w := &wire.Message{
		Kind: wire.TypeBytesMessage, Content: m.Body, CorrelationID: m.CorrelationID, Persistent: m.Persistent, Priority: int8(m.Priority),
		ReplyTo: openwireDestination(m.ReplyTo), Timestamp: m.Timestamp * 1000, JMSType: m.Type,
		MessageID: wire.MessageID{TextView: m.MessageID},
	}
	if strings.HasPrefix(m.ContentType, "text/") || m.ContentType == "application/json" {
		w.Kind, w.Content = wire.TypeTextMessage, openwireText(string(m.Body))
	}
	if m.TTL > 0 {
		w.Expiration = time.Now().Add(m.TTL).UnixMilli()
	}
	var properties wire.Map
	for name, v := range map[string]string{"content-type": m.ContentType, "content-encoding": m.ContentEncoding, "app-id": m.AppID} {
		if v != "" {
			properties.Set(name, v)
		}
	}
	for name, v := range m.Headers {
		if name == "JMSXGroupID" {
			w.GroupID, _ = v.(string)
			continue
		}
		properties.Set(name, v)
	}
	if properties != nil {
		w.Properties = wire.AppendMap(nil, properties)
	}
	return c.sendMessage(to, w)
}

func openwireText(s string) []byte {
	b := wire.AppendUTF(make([]byte, 4), s)
	n := len(b) - 4
	b[0], b[1], b[2], b[3] = byte(n>>24), byte(n>>16), byte(n>>8), byte(n)
	return b
}

// sendMessage sends a message of any kind.
func (c *openwireClient) sendMessage(to Address, w *wire.Message) error {
	c.mu.Lock()
	c.sequence++
	w.ProducerID, w.Destination = c.producer(), openwireDestination(to)
	w.MessageID.ProducerID, w.MessageID.ProducerSequenceID = w.ProducerID, c.sequence
	c.mu.Unlock()
	return c.call(w)
}

func (c *openwireClient) Listen(at Address) (<-chan Message, error) {
	k := &openwireConsumer{destination: openwireDestination(at), out: make(chan Message, 64)}
	c.mu.Lock()
	id := wire.ConsumerID{ConnectionID: c.id, SessionID: 1, Value: int64(len(c.consumers) + 1)}
	c.consumers[id] = k
	c.mu.Unlock()
	return k.out, c.call(&wire.ConsumerInfo{ConsumerID: id, Destination: k.destination, PrefetchSize: 1000})
}

// openwireBroker begins the ids that the broker makes up.
const openwireBroker = "ID:hermod-broker"

func fromOpenWire(w *wire.Message) Message {
	m := Message{
		Body: append([]byte{}, w.Content...), CorrelationID: w.CorrelationID, Persistent: w.Persistent, Priority: uint8(w.Priority),
		ReplyTo: openwireAddress(w.ReplyTo), Type: w.JMSType, Timestamp: w.Timestamp / 1000, MessageID: w.MessageID.String(), Headers: map[string]any{},
	}
	if w.Kind == wire.TypeTextMessage && len(w.Content) >= 4 {
		s, _ := wire.DecodeUTF(w.Content[4:])
		m.Body = []byte(s)
	}
	if strings.HasPrefix(m.MessageID, openwireBroker) {
		m.MessageID = ""
	}
	// A time of these minutes is when the broker accepted a message that had
	// none.
	if time.Since(time.UnixMilli(w.Timestamp)) < 10*time.Minute {
		m.Timestamp = 0
	}
	if w.Expiration > 0 {
		m.TTL = time.Until(time.UnixMilli(w.Expiration)).Round(time.Second)
	}
	if w.GroupID != "" {
		m.Headers["JMSXGroupID"] = w.GroupID
	}
	properties, _ := wire.ParseMap(w.Properties)
	for _, e := range properties {
		text, _ := e.Value.(string)
		switch e.Name {
		case "content-type":
			m.ContentType = text
		case "content-encoding":
			m.ContentEncoding = text
		case "app-id":
			m.AppID = text
		default:
			if b, ok := e.Value.([]byte); ok {
				e.Value = append([]byte{}, b...)
			}
			m.Headers[e.Name] = e.Value
		}
	}
	return m
}
