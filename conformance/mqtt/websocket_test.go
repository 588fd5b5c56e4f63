package mqtt

import (
	"bytes"
	"testing"

	paho3 "github.com/eclipse/paho.mqtt.golang"
)

// MQTT-70: packets over WebSocket, subprotocol mqtt, binary frames; a client on
// TCP gets what one on WebSocket published.
func TestMQTT70WebSocket(t *testing.T) {
	b := startOwn(t, "listeners.mqtt.websocket_address=127.0.0.1:0")
	connect := func(url, id string) paho3.Client {
		c := paho3.NewClient(paho3.NewClientOptions().AddBroker(url).SetClientID(id).SetAutoReconnect(false))
		done(t, c.Connect())
		t.Cleanup(func() { c.Disconnect(0) })
		return c
	}
	got := make(chan paho3.Message, 1)
	sub := connect("tcp://"+b.Addr("mqtt"), "ws-sub")
	done(t, sub.Subscribe("ws/#", 1, func(_ paho3.Client, m paho3.Message) { got <- m }))

	body := bytes.Repeat([]byte("0123456789"), 20_000) // several frames and reads
	pub := connect("ws://"+b.Addr("mqtt-websocket")+"/mqtt", "ws-pub")
	done(t, pub.Publish("ws/a", 1, false, body))
	if m := <-got; m.Topic() != "ws/a" || !bytes.Equal(m.Payload(), body) {
		t.Errorf("got %s with %d bytes, want ws/a with %d", m.Topic(), len(m.Payload()), len(body))
	}
}
