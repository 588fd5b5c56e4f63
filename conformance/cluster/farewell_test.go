package cluster

import (
	"strings"
	"testing"
	"time"

	"github.com/go-stomp/stomp/v3/frame"
	amqp "github.com/rabbitmq/amqp091-go"

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
	w.depose(t, l)
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

// depose has the active node hand over once everybody is connected to it.
func (w *world) depose(t *testing.T, l int) {
	t.Helper()
	if out, err := w.nodes[l].broker.CTL("cluster", "transfer"); err != nil {
		t.Fatalf("%v %s", err, out)
	}
}

// TestFarewells: clients of the other protocols are told, too, before their
// connections end: AMQP's connection.close with 320, STOMP's ERROR, and over
// OpenWire a ConnectionError for those that do not fail over.
func TestFarewells(t *testing.T) {
	w := newWorld(t, nil)
	l := w.leader(serveLimit)
	ch, cut, err := w.channel(w.addresses(portAMQP, l)[0])
	if err != nil {
		t.Fatal(err)
	}
	defer cut()
	closed := ch.NotifyClose(make(chan *amqp.Error, 1))

	nc, err := w.dialAny(w.addresses(portSTOMP, l)[0])
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = nc.Close() }()
	_ = nc.SetDeadline(time.Now().Add(serveLimit))
	if _, err := nc.Write([]byte("CONNECT\naccept-version:1.2\nhost:/\nlogin:guest\npasscode:guest\n\n\x00")); err != nil {
		t.Fatal(err)
	}
	r := frame.NewReader(nc)
	if f, err := r.Read(); err != nil || f.Command != frame.CONNECTED {
		t.Fatalf("%v, %v", f, err)
	}

	c, err := w.openwire(w.addresses(portOpenWire, l)[0], "")
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()

	w.depose(t, l)
	select {
	case e := <-closed:
		if e == nil || e.Code != amqp.ConnectionForced || !strings.Contains(e.Reason, "another node has taken over") {
			t.Errorf("AMQP: %v", e)
		}
	case <-time.After(serveLimit):
		t.Error("the AMQP connection is not closed")
	}
	for {
		f, err := r.Read()
		if err != nil {
			t.Fatalf("STOMP: connection ended without ERROR: %v", err)
		}
		if f == nil { // a line feed between frames
			continue
		}
		if f.Command != frame.ERROR || f.Header.Get("message") != "Connection closed" || !strings.Contains(string(f.Body), "Another node has taken over") {
			t.Errorf("STOMP: %v %v %q", f.Command, f.Header, f.Body)
		}
		break
	}
	for limit := time.Now().Add(serveLimit); ; {
		_, err := c.read(limit)
		if err == nil {
			continue
		}
		if !strings.Contains(err.Error(), "another node has taken over") {
			t.Errorf("OpenWire: %v", err)
		}
		break
	}
	w.successor(t, l)
}
