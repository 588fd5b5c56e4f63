package mqtt

import (
	"context"
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/paho"
	paho3 "github.com/eclipse/paho.mqtt.golang"
)

func client3(t *testing.T, id string, clean bool) paho3.Client {
	t.Helper()
	c := paho3.NewClient(paho3.NewClientOptions().AddBroker("tcp://" + shared.Addr("mqtt")).SetClientID(id).
		SetCleanSession(clean).SetProtocolVersion(4).SetAutoReconnect(false).SetOrderMatters(true))
	done(t, c.Connect())
	return c
}

func done(t *testing.T, token paho3.Token) {
	t.Helper()
	if !token.WaitTimeout(wait) {
		t.Fatal("no answer in time")
	}
	must(t, token.Error())
}

// TestMQTT28PahoV3 moves messages of every QoS through the client for 3.1.1.
func TestMQTT28PahoV3(t *testing.T) {
	topic, id := unique("t"), unique("c")
	for qos := range byte(3) {
		got := make(chan paho3.Message, 100)
		s := client3(t, id, false)
		done(t, s.Subscribe(topic, qos, func(_ paho3.Client, m paho3.Message) { got <- m }))
		p := client3(t, unique("p"), true)
		for i := range 50 {
			done(t, p.Publish(topic, qos, false, fmt.Sprint(i)))
		}
		for i := range 50 {
			select {
			case m := <-got:
				if string(m.Payload()) != fmt.Sprint(i) || m.Qos() != qos {
					t.Fatalf("message %d is %q at QoS %d", i, m.Payload(), m.Qos())
				}
			case <-time.After(wait):
				t.Fatalf("QoS %d: message %d did not come", qos, i)
			}
		}
		s.Disconnect(100)
		p.Disconnect(100)
	}
}

func client5(t *testing.T, id string, got chan<- *paho.Publish) *paho.Client {
	t.Helper()
	conn, err := net.Dial("tcp", shared.Addr("mqtt"))
	must(t, err)
	c := paho.NewClient(paho.ClientConfig{
		ClientID: id, Conn: conn,
		OnPublishReceived: []func(paho.PublishReceived) (bool, error){func(p paho.PublishReceived) (bool, error) {
			got <- p.Packet
			return true, nil
		}},
	})
	ctx, cancel := context.WithTimeout(context.Background(), wait)
	t.Cleanup(cancel)
	_, err = c.Connect(ctx, &paho.Connect{ClientID: id, KeepAlive: 30, CleanStart: true})
	must(t, err)
	t.Cleanup(func() { _ = c.Disconnect(&paho.Disconnect{}) })
	return c
}

// TestMQTT32PahoV5 moves messages with properties through the client for 5.0.
func TestMQTT32PahoV5(t *testing.T) {
	topic := unique("t")
	got := make(chan *paho.Publish, 10)
	s := client5(t, unique("s"), got)
	p := client5(t, unique("p"), make(chan *paho.Publish, 10))
	ctx, cancel := context.WithTimeout(context.Background(), wait)
	defer cancel()
	id := 7
	_, err := s.Subscribe(ctx, &paho.Subscribe{
		Properties:    &paho.SubscribeProperties{SubscriptionIdentifier: &id},
		Subscriptions: []paho.SubscribeOptions{{Topic: topic + "/+", QoS: 2}},
	})
	must(t, err)
	for qos := range byte(3) {
		_, err = p.Publish(ctx, &paho.Publish{Topic: topic + "/x", QoS: qos, Payload: []byte("m"), Properties: &paho.PublishProperties{
			ContentType: "a/b", ResponseTopic: "r", CorrelationData: []byte{1, 2},
			User: paho.UserProperties{{Key: "b", Value: "1"}, {Key: "a", Value: "2"}, {Key: "b", Value: "3"}},
		}})
		must(t, err)
		select {
		case m := <-got:
			u := m.Properties.User
			if m.QoS != qos || m.Properties.ContentType != "a/b" || len(u) != 3 || u[0].Key != "b" || u[2].Value != "3" ||
				m.Properties.SubscriptionIdentifier == nil || *m.Properties.SubscriptionIdentifier != 7 {
				t.Errorf("QoS %d: got %v %+v", qos, m, m.Properties)
			}
		case <-time.After(wait):
			t.Fatalf("QoS %d: nothing came", qos)
		}
	}
	_, err = s.Unsubscribe(ctx, &paho.Unsubscribe{Topics: []string{topic + "/+"}})
	must(t, err)
}
