package cluster

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/url"
	"sync"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
)

// queueMQTT is what the history calls the session of the MQTT subscriber.
const queueMQTT = "mqtt session"

// mqttClient is one client for the whole run: the library itself goes from
// node to node and resends what was not answered.
func (w *world) mqttClient(id string) *mqtt.ClientOptions {
	o := mqtt.NewClientOptions().SetClientID(id).SetUsername("guest").SetPassword("guest").SetCleanSession(false).
		SetConnectRetry(true).SetConnectRetryInterval(50 * time.Millisecond).SetMaxReconnectInterval(100 * time.Millisecond).
		SetConnectTimeout(time.Second).SetKeepAlive(5 * time.Second).SetPingTimeout(2 * time.Second).SetWriteTimeout(2 * time.Second).
		SetCustomOpenConnectionFn(func(uri *url.URL, _ mqtt.ClientOptions) (net.Conn, error) { return w.dialAny(uri.Host) })
	for _, addr := range w.addresses(portMQTT, 0) {
		o.AddBroker("tcp://" + addr)
	}
	return o
}

// mqttPublisher publishes one message after another with QoS 1, each of which
// it sees through however often the connection breaks.
func (w *world) mqttPublisher(ctx context.Context, wg *sync.WaitGroup, topic, queue string) {
	name := w.publisherName("m")
	c := mqtt.NewClient(w.mqttClient(name))
	c.Connect()
	wg.Go(func() {
		defer c.Disconnect(100)
		rng := rand.New(rand.NewPCG(w.seed, 200))
		for number := 1; ctx.Err() == nil; number++ {
			w.throttle(ctx)
			id := fmt.Sprintf("%s-%d", name, number)
			w.publish(id, queue, name, number, 0)
			token := c.Publish(topic, 1, false, body(id, rng))
			select {
			case <-token.Done():
			case <-ctx.Done():
				token.WaitTimeout(answerTimeout)
			}
			select {
			case <-token.Done():
				if token.Error() == nil {
					w.confirm(id)
				}
			default:
			}
			rest(ctx, 2*time.Millisecond)
		}
	})
}

// mqttSubscriber keeps one session over all connections until ctx ends.
func (w *world) mqttSubscriber(ctx context.Context, wg *sync.WaitGroup, topic string) {
	o := w.mqttClient("cluster-subscriber").SetOrderMatters(true)
	o.SetDefaultPublishHandler(func(_ mqtt.Client, m mqtt.Message) {
		w.deliver(idOf(m.Payload()), queueMQTT, true) // QoS 1 may repeat without DUP, see doc.go
	})
	subscribed := make(chan struct{})
	var once sync.Once
	o.SetOnConnectHandler(func(c mqtt.Client) {
		go func() {
			if token := c.Subscribe(topic, 1, nil); token.WaitTimeout(answerTimeout) && token.Error() == nil {
				once.Do(func() { close(subscribed) })
			}
		}()
	})
	c := mqtt.NewClient(o)
	c.Connect()
	select {
	case <-subscribed: // what is published before that is not the session's
	case <-ctx.Done():
	}
	wg.Go(func() {
		<-ctx.Done()
		c.Disconnect(100)
	})
}
