package tls

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/coder/websocket"
	mqtt "github.com/eclipse/paho.mqtt.golang"
	"github.com/go-stomp/stomp/v3"
	amqp "github.com/rabbitmq/amqp091-go"
)

const patience = 20 * time.Second

// login is who a client says it is; none lets its certificate speak.
type login struct{ user, password string }

var (
	guest = login{"guest", "guest"}
	none  login
)

// session is a connected client: echo sends a text to itself through the
// broker.
type session struct {
	echo  func(text string) error
	close func()
}

// connector opens a session over a TLS listener.
type connector func(addr string, c *tls.Config, l login) (*session, error)

// connectors are the stock clients by the names of the listeners.
var connectors = map[string]connector{
	"amqps": connectAMQP,
	"mqtts": func(addr string, c *tls.Config, l login) (*session, error) { return connectMQTT("tls://"+addr, c, l) },
	"mqtt-websocket-tls": func(addr string, c *tls.Config, l login) (*session, error) {
		return connectMQTT("wss://"+addr+"/mqtt", c, l)
	},
	"stomps":              connectSTOMP,
	"stomp-websocket-tls": connectWebSTOMP,
}

func connectAMQP(addr string, c *tls.Config, l login) (*session, error) {
	config := amqp.Config{TLSClientConfig: c, Locale: "en_US", SASL: []amqp.Authentication{&amqp.PlainAuth{Username: l.user, Password: l.password}}}
	if l == none {
		config.SASL = []amqp.Authentication{&amqp.ExternalAuth{}}
	}
	conn, err := amqp.DialConfig("amqps://"+addr+"/", config)
	if err != nil {
		return nil, err
	}
	ch, err := conn.Channel()
	if err != nil {
		return nil, err
	}
	q, err := ch.QueueDeclare("", false, true, true, false, nil)
	if err != nil {
		return nil, err
	}
	in, err := ch.Consume(q.Name, "", true, false, false, false, nil)
	if err != nil {
		return nil, err
	}
	return &session{close: func() { _ = conn.Close() }, echo: func(text string) error {
		if err := ch.Publish("", q.Name, false, false, amqp.Publishing{Body: []byte(text)}); err != nil {
			return err
		}
		return within(func() string { return string((<-in).Body) }, text)
	}}, nil
}

// within waits for receive to return what is wanted.
func within(receive func() string, want string) error {
	got := make(chan string, 1)
	go func() { got <- receive() }()
	select {
	case s := <-got:
		if s != want {
			return fmt.Errorf("got %d bytes, want %d", len(s), len(want))
		}
		return nil
	case <-time.After(patience):
		return errors.New("nothing came")
	}
}

func connectMQTT(url string, c *tls.Config, l login) (*session, error) {
	topic := fmt.Sprintf("tls/%d", time.Now().UnixNano())
	in := make(chan string, 16)
	o := mqtt.NewClientOptions().AddBroker(url).SetTLSConfig(c).SetClientID(fmt.Sprintf("tls%d", time.Now().UnixNano())).
		SetConnectTimeout(patience).SetAutoReconnect(false).SetConnectRetry(false)
	if l != none {
		o.SetUsername(l.user).SetPassword(l.password)
	}
	client := mqtt.NewClient(o)
	if t := client.Connect(); !t.WaitTimeout(patience) || t.Error() != nil {
		return nil, fmt.Errorf("CONNECT: %w", t.Error())
	}
	if t := client.Subscribe(topic, 1, func(_ mqtt.Client, m mqtt.Message) { in <- string(m.Payload()) }); !t.WaitTimeout(patience) || t.Error() != nil {
		return nil, fmt.Errorf("SUBSCRIBE: %w", t.Error())
	}
	return &session{close: func() { client.Disconnect(100) }, echo: func(text string) error {
		if t := client.Publish(topic, 1, false, text); !t.WaitTimeout(patience) || t.Error() != nil {
			return fmt.Errorf("PUBLISH: %w", t.Error())
		}
		return within(func() string { return <-in }, text)
	}}, nil
}

func connectSTOMP(addr string, c *tls.Config, l login) (*session, error) {
	conn, err := (&tls.Dialer{Config: c}).Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	return overSTOMP(conn, l)
}

func connectWebSTOMP(addr string, c *tls.Config, l login) (*session, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	ws, _, err := websocket.Dial(ctx, "wss://"+addr+"/ws", &websocket.DialOptions{
		HTTPClient:   &http.Client{Transport: &http.Transport{TLSClientConfig: c}},
		Subprotocols: []string{"v12.stomp"},
	})
	if err != nil {
		return nil, err
	}
	ws.SetReadLimit(4 << 20)
	return overSTOMP(websocket.NetConn(context.Background(), ws, websocket.MessageText), l)
}

func overSTOMP(conn io.ReadWriteCloser, l login) (*session, error) {
	o := []func(*stomp.Conn) error{stomp.ConnOpt.Host("/"), stomp.ConnOpt.HeartBeat(0, 0)}
	if l != none {
		o = append(o, stomp.ConnOpt.Login(l.user, l.password))
	}
	c, err := stomp.Connect(conn, o...)
	if err != nil {
		return nil, err
	}
	destination := fmt.Sprintf("/queue/tls.%d", time.Now().UnixNano())
	s, err := c.Subscribe(destination, stomp.AckAuto, stomp.SubscribeOpt.Header("auto-delete", "true"), stomp.SubscribeOpt.Header("durable", "false"))
	if err != nil {
		return nil, err
	}
	return &session{close: func() { _ = c.MustDisconnect() }, echo: func(text string) error {
		if err := c.Send(destination, "text/plain", []byte(text)); err != nil {
			return err
		}
		return within(func() string {
			m := <-s.C
			if m == nil || m.Err != nil {
				return ""
			}
			return string(m.Body)
		}, text)
	}}, nil
}
