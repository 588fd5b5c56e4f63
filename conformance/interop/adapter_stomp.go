package interop

import (
	"encoding/base64"
	"strconv"
	"strings"
	"time"

	"github.com/go-stomp/stomp/v3"
	"github.com/go-stomp/stomp/v3/frame"
)

func init() { register(stompAdapter{}, "listeners.stomp.address=127.0.0.1:0") }

// stompAdapter is STOMP 1.2 in the dialect of RabbitMQ. Every header is a text.
type stompAdapter struct{}

func (stompAdapter) Name() string         { return "STOMP" }
func (stompAdapter) Reaches(Address) bool { return true }

func (stompAdapter) Says(m Message) Message {
	m.Headers = texts(m.Headers, base64.StdEncoding.EncodeToString)
	return m
}

func (a stompAdapter) Shows(m Message) Message { return a.Says(m) }

func (stompAdapter) Connect(addr func(string) string) (Client, error) {
	c, err := stomp.Dial("tcp", addr("stomp"), stomp.ConnOpt.Login("guest", "guest"), stomp.ConnOpt.Host("/"),
		stomp.ConnOpt.HeartBeat(0, 0), stomp.ConnOpt.AcceptVersion(stomp.V12), stomp.ConnOpt.Logger(silent{}),
		stomp.ConnOpt.RcvReceiptTimeout(5*time.Second), stomp.ConnOpt.DisconnectReceiptTimeout(5*time.Second))
	if err != nil {
		return nil, err
	}
	return &stompClient{c}, nil
}

// silent keeps the client from reporting every close.
type silent struct{}

func (silent) Debugf(string, ...any)   {}
func (silent) Infof(string, ...any)    {}
func (silent) Warningf(string, ...any) {}
func (silent) Errorf(string, ...any)   {}
func (silent) Debug(string)            {}
func (silent) Info(string)             {}
func (silent) Warning(string)          {}
func (silent) Error(string)            {}

type stompClient struct{ conn *stomp.Conn }

func (c *stompClient) Close() {
	if c.conn.Disconnect() != nil {
		_ = c.conn.MustDisconnect()
	}
}

var stompEscapes = strings.NewReplacer("%", "%25", "/", "%2F")

func stompDestination(a Address) string {
	if a.Queue != "" {
		return "/queue/" + stompEscapes.Replace(a.Queue)
	}
	return "/topic/" + stompEscapes.Replace(key(a.Topic))
}

func stompAddress(text string) Address {
	unescape := strings.NewReplacer("%2F", "/", "%25", "%").Replace
	if k, ok := strings.CutPrefix(text, "/topic/"); ok {
		return Address{Topic: levels(unescape(k))}
	}
	if name, ok := strings.CutPrefix(text, "/queue/"); ok {
		return Address{Queue: unescape(name)}
	}
	return Address{Queue: text}
}

func (c *stompClient) Send(to Address, m Message) error {
	o := []func(*frame.Frame) error{stomp.SendOpt.Receipt}
	set := func(name, value string) {
		if value != "" {
			o = append(o, stomp.SendOpt.Header(name, value))
		}
	}
	set("content-encoding", m.ContentEncoding)
	set("correlation-id", m.CorrelationID)
	set("amqp-message-id", m.MessageID)
	set("type", m.Type)
	set("app-id", m.AppID)
	if m.Persistent {
		set("persistent", "true")
	}
	if m.Priority > 0 {
		set("priority", strconv.Itoa(int(m.Priority)))
	}
	if m.TTL > 0 {
		set("expiration", strconv.FormatInt(m.TTL.Milliseconds(), 10))
	}
	if m.Timestamp > 0 {
		set("timestamp", strconv.FormatInt(m.Timestamp, 10))
	}
	if !m.ReplyTo.None() {
		set("reply-to", stompDestination(m.ReplyTo))
	}
	for name, v := range (stompAdapter{}).Says(m).Headers {
		o = append(o, stomp.SendOpt.Header(name, v.(string)))
	}
	return c.conn.Send(stompDestination(to), m.ContentType, m.Body, o...)
}

func (c *stompClient) Listen(at Address) (<-chan Message, error) {
	s, err := c.conn.Subscribe(stompDestination(at), stomp.AckAuto)
	if err != nil {
		return nil, err
	}
	// The client takes a receipt of SUBSCRIBE for the subscription's end: that
	// of a message to nobody says that it is there.
	if err := c.conn.Send("/exchange/amq.fanout", "", nil, stomp.SendOpt.Receipt); err != nil {
		return nil, err
	}
	out := make(chan Message, 16)
	go func() {
		defer close(out)
		for m := range s.C {
			if m.Err != nil {
				return
			}
			out <- fromSTOMP(m)
		}
	}()
	return out, nil
}

// stompOwn are the headers that are not the sender's.
var stompOwn = map[string]bool{
	"destination": true, "subscription": true, "message-id": true, "redelivered": true, "content-length": true, "ack": true,
}

func fromSTOMP(s *stomp.Message) Message {
	m := Message{Body: s.Body, Headers: map[string]any{}}
	for i := range s.Header.Len() {
		name, value := s.Header.GetAt(i)
		switch name {
		case "content-type":
			m.ContentType = value
		case "content-encoding":
			m.ContentEncoding = value
		case "persistent":
			m.Persistent = value == "true"
		case "priority":
			n, _ := strconv.ParseUint(value, 10, 8)
			m.Priority = uint8(n)
		case "expiration":
			n, _ := strconv.ParseInt(value, 10, 64)
			m.TTL = time.Duration(n) * time.Millisecond
		case "correlation-id":
			m.CorrelationID = value
		case "amqp-message-id":
			m.MessageID = value
		case "type":
			m.Type = value
		case "app-id":
			m.AppID = value
		case "timestamp":
			m.Timestamp, _ = strconv.ParseInt(value, 10, 64)
		case "reply-to":
			m.ReplyTo = stompAddress(value)
		default:
			if !stompOwn[name] {
				m.Headers[name] = value
			}
		}
	}
	return m
}
