package interop

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/eclipse/paho.golang/paho"
)

func init() { register(mqttAdapter{}, "listeners.mqtt.address=127.0.0.1:0") }

// mqttAdapter is MQTT 5.0. It has topics only; what it has no property for shows
// as a user property and cannot be said.
type mqttAdapter struct{}

func (mqttAdapter) Name() string { return "MQTT" }

func (mqttAdapter) Reaches(a Address) bool { return a.Queue == "" }

func (mqttAdapter) Says(m Message) Message {
	m.ContentEncoding, m.Priority, m.MessageID, m.Type, m.AppID, m.Timestamp = "", 0, "", "", "", 0
	m.Headers = texts(m.Headers, nil)
	if m.ReplyTo.Queue != "" {
		m.ReplyTo = Address{}
	}
	return m
}

func (mqttAdapter) Shows(m Message) Message {
	m.Headers = texts(m.Headers, nil)
	user := func(name, value string) {
		if value != "" && value != "0" {
			m.Headers[name] = value
		}
	}
	user("content-encoding", m.ContentEncoding)
	user("priority", strconv.Itoa(int(m.Priority)))
	user("message-id", m.MessageID)
	user("type", m.Type)
	user("app-id", m.AppID)
	user("timestamp", strconv.FormatInt(m.Timestamp, 10))
	m.ContentEncoding, m.Priority, m.MessageID, m.Type, m.AppID, m.Timestamp = "", 0, "", "", "", 0
	if m.ReplyTo.Queue != "" { // a name may be a topic's: it is shown as one
		m.ReplyTo = Address{Topic: levels(m.ReplyTo.Queue)}
	}
	return m
}

var mqttClients atomic.Int64

func (mqttAdapter) Connect(addr func(string) string) (Client, error) {
	conn, err := net.Dial("tcp", addr("mqtt"))
	if err != nil {
		return nil, err
	}
	c := &mqttClient{in: make(chan Message, 64)}
	c.client = paho.NewClient(paho.ClientConfig{
		ClientID: fmt.Sprintf("interop-%d", mqttClients.Add(1)), Conn: conn,
		OnPublishReceived: []func(paho.PublishReceived) (bool, error){func(p paho.PublishReceived) (bool, error) {
			c.in <- fromMQTT(p.Packet)
			return true, nil
		}},
	})
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	_, err = c.client.Connect(ctx, &paho.Connect{
		ClientID: c.client.ClientID(), KeepAlive: 60, CleanStart: true,
		Username: "guest", UsernameFlag: true, Password: []byte("guest"), PasswordFlag: true,
	})
	return c, err
}

type mqttClient struct {
	client *paho.Client
	in     chan Message
}

func (c *mqttClient) Close() { _ = c.client.Disconnect(&paho.Disconnect{}) }

func (c *mqttClient) Send(to Address, m Message) error {
	p := &paho.PublishProperties{ContentType: m.ContentType}
	if m.CorrelationID != "" {
		p.CorrelationData = []byte(m.CorrelationID)
	}
	if len(m.ReplyTo.Topic) > 0 {
		p.ResponseTopic = strings.Join(m.ReplyTo.Topic, "/")
	}
	if m.TTL > 0 {
		seconds := uint32(m.TTL / time.Second)
		p.MessageExpiry = &seconds
	}
	for name, v := range texts(m.Headers, nil) {
		p.User = append(p.User, paho.UserProperty{Key: name, Value: v.(string)})
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	qos := byte(0)
	if m.Persistent {
		qos = 1
	}
	_, err := c.client.Publish(ctx, &paho.Publish{Topic: strings.Join(to.Topic, "/"), QoS: qos, Payload: m.Body, Properties: p})
	return err
}

func (c *mqttClient) Listen(at Address) (<-chan Message, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	_, err := c.client.Subscribe(ctx, &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{{Topic: strings.Join(at.Topic, "/"), QoS: 1}}})
	return c.in, err
}

func fromMQTT(p *paho.Publish) Message {
	m := Message{
		Body: p.Payload, Persistent: p.QoS > 0, ContentType: p.Properties.ContentType,
		CorrelationID: string(p.Properties.CorrelationData), Headers: map[string]any{},
	}
	if p.Properties.ResponseTopic != "" {
		m.ReplyTo = Address{Topic: strings.Split(p.Properties.ResponseTopic, "/")}
	}
	if p.Properties.MessageExpiry != nil {
		m.TTL = time.Duration(*p.Properties.MessageExpiry) * time.Second
	}
	for _, u := range p.Properties.User {
		m.Headers[u.Key] = u.Value
	}
	return m
}
