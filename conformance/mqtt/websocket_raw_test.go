package mqtt

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gorilla/websocket"

	"github.com/hermodmq/hermod/listeners/mqtt/wire"
)

// webSocket opens a WebSocket connection to the shared broker; status is that
// of a refusal.
func webSocket(t *testing.T, path, protocol string, header http.Header) (c *websocket.Conn, status int) {
	t.Helper()
	d := websocket.Dialer{HandshakeTimeout: wait}
	if protocol != "" {
		d.Subprotocols = []string{protocol}
	}
	c, answer, err := d.Dial("ws://"+shared.Addr("mqtt-websocket")+path, header)
	if err != nil {
		if answer == nil {
			t.Fatal(err)
		}
		return nil, answer.StatusCode
	}
	t.Cleanup(func() { _ = c.Close() })
	if got := c.Subprotocol(); got != protocol {
		t.Errorf("asked for subprotocol %q, got %q", protocol, got)
	}
	must(t, c.SetReadDeadline(time.Now().Add(wait)))
	return c, 0
}

func webConnect(v wire.Version) []byte {
	p := wire.Connect{Version: v, CleanStart: true, ClientID: unique("web")}
	return p.Append(nil)
}

// webRead reads packets, whatever frames they are in, until there are n.
func webRead(t *testing.T, c *websocket.Conn, n int) []wire.Type {
	t.Helper()
	var buf []byte
	var types []wire.Type
	for len(types) < n {
		kind, p, err := c.ReadMessage()
		must(t, err)
		if kind != websocket.BinaryMessage { // [MQTT-6.0.0-1]
			t.Fatalf("frame of kind %d", kind)
		}
		buf = append(buf, p...)
		for {
			h, _, size, _, err := wire.Next(buf, 0)
			must(t, err)
			if size == 0 {
				break
			}
			types = append(types, h.Type)
			buf = buf[size:]
		}
	}
	return types
}

// MQTT-70: paths, subprotocols, origins.
func TestMQTT70Upgrade(t *testing.T) {
	for _, path := range []string{"/mqtt", "/ws"} {
		for _, protocol := range []string{"mqtt", "mqttv3.1"} {
			c, status := webSocket(t, path, protocol, nil)
			if status != 0 {
				t.Fatalf("%s, %s: status %d", path, protocol, status)
			}
			must(t, c.WriteMessage(websocket.BinaryMessage, webConnect(wire.V311)))
			webRead(t, c, 1)
		}
	}
	if _, status := webSocket(t, "/elsewhere", "mqtt", nil); status != http.StatusNotFound {
		t.Errorf("another path: status %d", status)
	}
	if _, status := webSocket(t, "/mqtt", "mqtt", http.Header{"Origin": {"http://elsewhere.example"}}); status != http.StatusForbidden {
		t.Errorf("another origin: status %d", status)
	}
	own := http.Header{"Origin": {"http://" + shared.Addr("mqtt-websocket")}}
	if _, status := webSocket(t, "/mqtt", "mqtt", own); status != 0 {
		t.Errorf("the server's own origin: status %d", status)
	}
}

// MQTT-70: a packet may be in many frames and a frame have many packets
// [MQTT-6.0.0-2]; pings are answered; text ends the connection.
func TestMQTT70Frames(t *testing.T) {
	c, _ := webSocket(t, "/mqtt", "mqtt", nil)
	for _, b := range webConnect(wire.V5) {
		must(t, c.WriteMessage(websocket.BinaryMessage, []byte{b}))
	}
	webRead(t, c, 1)
	topic := unique("t")
	sub := wire.Subscribe{PacketID: 1, Filters: []wire.Filter{{Name: topic, Options: 0}}}
	many := sub.Append(nil, wire.V5)
	for range 3 {
		p := wire.Publish{Topic: []byte(topic), Payload: []byte("m")}
		many = p.Append(many, wire.V5)
	}
	must(t, c.WriteMessage(websocket.BinaryMessage, wire.AppendPingreq(many)))
	count := map[wire.Type]int{}
	for _, typ := range webRead(t, c, 5) {
		count[typ]++
	}
	if count[wire.SUBACK] != 1 || count[wire.PUBLISH] != 3 || count[wire.PINGRESP] != 1 {
		t.Errorf("got %v", count)
	}

	pong := make(chan string, 1)
	c.SetPongHandler(func(s string) error { pong <- s; return nil })
	must(t, c.WriteControl(websocket.PingMessage, []byte("hello"), time.Now().Add(wait)))
	for range 2 { // the second answer is behind the pong
		must(t, c.WriteMessage(websocket.BinaryMessage, wire.AppendPingreq(nil)))
		webRead(t, c, 1)
	}
	select {
	case s := <-pong:
		if s != "hello" {
			t.Errorf("pong %q", s)
		}
	default:
		t.Error("no pong")
	}

	must(t, c.WriteMessage(websocket.TextMessage, wire.AppendPingreq(nil)))
	_, p, err := c.ReadMessage()
	if err == nil {
		t.Errorf("text was answered with % x", p)
	} else if !websocket.IsCloseError(err, websocket.CloseUnsupportedData, websocket.CloseProtocolError) && !strings.Contains(err.Error(), "EOF") {
		t.Errorf("after text: %v", err)
	}
}
