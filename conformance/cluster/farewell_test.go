package cluster

import (
	"testing"
	"time"

	"github.com/hermodmq/hermod/listeners/mqtt/wire"
)

// TestMQTT65Deposed: a node that hands over tells MQTT 5 clients so before it
// closes their connections: another server is the one to use.
func TestMQTT65Deposed(t *testing.T) {
	w := newWorld(t, nil)
	l := w.leader(serveLimit)
	nc, err := w.dialAny(w.addresses(portMQTT, l)[0])
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = nc.Close() }()
	_ = nc.SetDeadline(time.Now().Add(serveLimit))
	p := wire.Connect{Version: wire.V5, CleanStart: true, ClientID: "guest of the old node", HasUsername: true, Username: "guest", HasPassword: true, Password: []byte("guest")}
	if _, err := nc.Write(p.Append(nil)); err != nil {
		t.Fatal(err)
	}
	var buf []byte
	next := func() (wire.Header, []byte) {
		t.Helper()
		for chunk := make([]byte, 4096); ; {
			h, body, n, _, err := wire.Next(buf, 0)
			if err != nil {
				t.Fatal(err)
			}
			if n > 0 {
				buf = buf[n:]
				return h, body
			}
			k, err := nc.Read(chunk)
			if buf = append(buf, chunk[:k]...); err != nil && k == 0 {
				t.Fatalf("connection ended without DISCONNECT: %v", err)
			}
		}
	}
	if h, _ := next(); h.Type != wire.CONNACK {
		t.Fatalf("got %s", h.Type)
	}
	if out, err := w.nodes[l].broker.CTL("cluster", "transfer"); err != nil {
		t.Fatalf("%v %s", err, out)
	}
	h, body := next()
	if h.Type != wire.DISCONNECT {
		t.Fatalf("got %s", h.Type)
	}
	d, err := wire.DecodeDisconnect(body, wire.V5)
	if err != nil || d.Reason != wire.ServerShuttingDown {
		t.Errorf("DISCONNECT 0x%02X, %v", byte(d.Reason), err)
	}
	w.successor(t, l)
}
