package stomp

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// TestSTOMPWebSocket: the listener over WebSocket, in text and in binary, cut
// anywhere.
func TestSTOMPWebSocket(t *testing.T) {
	b := start(t, "rabbitmq", "listeners.stomp.websocket_address=127.0.0.1:0", "listeners.stomp.websocket_origins=https://app.example")
	addr := b.Addr("stomp-websocket")
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for _, kind := range []websocket.MessageType{websocket.MessageText, websocket.MessageBinary} {
		for _, path := range []string{"/ws", "/stomp"} {
			conn, _, err := websocket.Dial(ctx, "ws://"+addr+path, &websocket.DialOptions{
				Subprotocols: []string{"v12.stomp"}, HTTPHeader: http.Header{"Origin": {"https://app.example"}},
			})
			if err != nil {
				t.Fatal(err)
			}
			if conn.Subprotocol() != "v12.stomp" {
				t.Errorf("subprotocol %q", conn.Subprotocol())
			}
			destination := "destination:/queue/" + unique(t)
			all := compose("CONNECT", "", "accept-version:1.2", "host:/", "login:guest", "passcode:guest") +
				compose("SUBSCRIBE", "", "id:0", destination) + compose("SEND", "grüße", destination)
			step := 7
			if kind == websocket.MessageText { // may not be cut within a character
				step = len(all)
			}
			for i := 0; i < len(all); i += step {
				if err := conn.Write(ctx, kind, []byte(all[i:min(i+step, len(all))])); err != nil {
					t.Fatal(err)
				}
			}
			var in string
			for !strings.Contains(in, "grüße\x00") {
				got, p, err := conn.Read(ctx)
				if err != nil {
					t.Fatalf("%v after %q", err, in)
				}
				if got != websocket.MessageText {
					t.Errorf("text in a message of type %v", got)
				}
				in += string(p)
			}
			conn.CloseNow()
		}
	}
	_, resp, err := websocket.Dial(ctx, "ws://"+addr+"/ws", &websocket.DialOptions{HTTPHeader: http.Header{"Origin": {"https://evil.example"}}})
	if err == nil || resp == nil || resp.StatusCode != http.StatusForbidden {
		t.Errorf("a foreign page: %v", err)
	}
	if err := b.Stop(30 * time.Second); err != nil {
		t.Error(err)
	}
}
