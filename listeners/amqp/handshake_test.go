package amqp

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"strings"
	"testing"
	"time"

	"github.com/hermodmq/hermod/listeners/amqp/wire"
)

func TestProtocolHeader(t *testing.T) { // AMQP-1, AMQP-2
	for in, want := range map[string]string{
		"AMQP\x01\x01\x08\x00": wire.ProtocolHeader,
		"AMQP\x03\x01\x00\x00": wire.ProtocolHeader,
		"GET / HTTP/1.1\r\n":   "HTTP/1.1 400",
		"hello, is it me":      wire.ProtocolHeader,
		"\x16\x03\x01\x00\x10": "",
	} {
		w := newWorld(t, Options{})
		c := w.dial()
		c.raw([]byte(in))
		if got := string(c.peer.Output()); !strings.HasPrefix(got, want) || want == "" && got != "" || !c.peer.EOF() {
			t.Errorf("header %q: answered %q, closed %v", in, got, c.peer.EOF())
		}
	}
}

func TestConnectionStart(t *testing.T) { // AMQP-1, AMQP-3
	w := newWorld(t, Options{})
	c := w.dial()
	for _, b := range []byte(wire.ProtocolHeader) {
		c.raw([]byte{b})
	}
	m := expect[*wire.ConnectionStart](c, 0)
	if m.VersionMajor != 0 || m.VersionMinor != 9 || m.Locales != "en_US" || m.Mechanisms != "PLAIN AMQPLAIN" {
		t.Errorf("start %+v", m)
	}
	caps, _ := m.ServerProperties.Get("capabilities")
	table := caps.(wire.Table)
	if len(table) != 9 {
		t.Errorf("%d capabilities", len(table))
	}
	for _, f := range table {
		if f.Value != true {
			t.Errorf("capability %s is %v", f.Name, f.Value)
		}
	}
	for name, want := range map[string]string{"product": "RabbitMQ", "version": "3.13.7", "platform": "Hermod", "cluster_name": "node-1"} {
		if v, _ := m.ServerProperties.Get(name); v != want {
			t.Errorf("%s = %v, want %s", name, v, want)
		}
	}
}

func amqplain(user, password string) string {
	t := wire.AppendTable(nil, wire.Table{{Name: "LOGIN", Value: user}, {Name: "PASSWORD", Value: password}})
	return string(t[4:])
}

func TestLogin(t *testing.T) { // AMQP-4
	refusedText := "ACCESS_REFUSED - Login was refused using authentication mechanism PLAIN. For details see the broker logfile."
	for _, c := range []struct {
		name, mechanism, response string
		code                      uint16
		text                      string
	}{
		{"PLAIN", "PLAIN", "\x00guest\x00guest", 0, ""},
		{"AMQPLAIN", "AMQPLAIN", amqplain("guest", "guest"), 0, ""},
		{"wrong password", "PLAIN", "\x00guest\x00wrong", 403, refusedText},
		{"no such user", "PLAIN", "\x00nobody\x00guest", 403, refusedText},
		{"unknown mechanism", "SCRAM", "", 503, "unknown authentication mechanism 'SCRAM'"},
		{"EXTERNAL without certificate", "EXTERNAL", "", 503, "unknown authentication mechanism 'EXTERNAL'"},
		{"ANONYMOUS not offered", "ANONYMOUS", "", 503, "unknown authentication mechanism 'ANONYMOUS'"},
		{"PLAIN with authzid", "PLAIN", "x\x00guest\x00guest", 502, "PLAIN response"},
		{"PLAIN malformed", "PLAIN", "guest", 502, "PLAIN response"},
		{"AMQPLAIN malformed", "AMQPLAIN", "LOGIN", 502, "AMQPLAIN"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, Options{})
			cl := w.dial()
			cl.start(goodClient, c.mechanism, c.response)
			if c.code == 0 {
				if m := expect[*wire.ConnectionTune](cl, 0); m.ChannelMax != 2047 || m.FrameMax != 131072 || m.Heartbeat != 60 { // AMQP-7
					t.Errorf("tune %+v", m)
				}
				return
			}
			cl.connectionClosed().want(t, c.code, c.text, wire.IDConnectionStartOk)
		})
	}
}

func TestLoginFailureWithoutCapability(t *testing.T) { // AMQP-4
	w := newWorld(t, Options{})
	c := w.dial()
	c.start(nil, "PLAIN", "\x00guest\x00wrong")
	c.w.until("the login has failed", func() bool { w.tick(time.Second); return c.peer.EOF() })
	if out := c.peer.Output(); len(out) != 0 {
		t.Errorf("answered %x", out)
	}
}

func TestTune(t *testing.T) { // AMQP-7
	for _, c := range []struct {
		channelMax uint16
		frameMax   uint32
		text       string
	}{
		{2047, 131072, ""},
		{10, 4096, ""},
		{1, 8192, ""},
		{2048, 131072, "negotiated channel_max = 2048 is higher than the maximum allowed value (2047)"},
		{0, 131072, "negotiated channel_max = 0 is higher than the maximum allowed value (2047)"},
		{2047, 131073, "negotiated frame_max = 131073 is higher than the maximum allowed value (131072)"},
		{2047, 0, "negotiated frame_max = 0 is higher than the maximum allowed value (131072)"},
		{2047, 4095, "negotiated frame_max = 4095 is lower than the minimum allowed value (4096)"},
	} {
		w := newWorld(t, Options{})
		cl := w.dial()
		cl.start(goodClient, "PLAIN", "\x00guest\x00guest")
		expect[*wire.ConnectionTune](cl, 0)
		cl.send(0, &wire.ConnectionTuneOk{ChannelMax: c.channelMax, FrameMax: c.frameMax})
		if c.text != "" {
			cl.connectionClosed().want(t, 530, "NOT_ALLOWED - "+c.text, wire.IDConnectionTuneOk)
			continue
		}
		cl.send(0, &wire.ConnectionOpen{VirtualHost: "/"})
		expect[*wire.ConnectionOpenOk](cl, 0)
	}
}

func TestOpenMissingVHost(t *testing.T) { // AMQP-5
	w := newWorld(t, Options{})
	c := w.dial()
	c.start(goodClient, "PLAIN", "\x00guest\x00guest")
	expect[*wire.ConnectionTune](c, 0)
	c.send(0, &wire.ConnectionTuneOk{ChannelMax: 1, FrameMax: 4096})
	c.send(0, &wire.ConnectionOpen{VirtualHost: "nowhere"})
	c.connectionClosed().want(t, 530, "NOT_ALLOWED - vhost nowhere not found", wire.IDConnectionOpen)
}

// TestExternal logs in by the name in a verified certificate; the broker finds
// that user without a password.
func TestExternal(t *testing.T) { // AMQP-4
	for name, c := range map[string]struct {
		subject  pkix.Name
		verified bool
		offered  bool
		code     uint16
	}{
		"known user":   {pkix.Name{CommonName: "guest"}, true, true, 0},
		"unknown user": {pkix.Name{CommonName: "nobody"}, true, true, 403},
		"not verified": {pkix.Name{CommonName: "guest"}, false, false, 503},
	} {
		t.Run(name, func(t *testing.T) {
			cert := &x509.Certificate{Subject: c.subject}
			state := &tls.ConnectionState{PeerCertificates: []*x509.Certificate{cert}}
			if c.verified {
				state.VerifiedChains = [][]*x509.Certificate{{cert}}
			}
			cl := newWorld(t, Options{}).dialTLS(state)
			cl.raw([]byte(wire.ProtocolHeader))
			if m := expect[*wire.ConnectionStart](cl, 0); strings.Contains(m.Mechanisms, "EXTERNAL") != c.offered {
				t.Errorf("mechanisms %q", m.Mechanisms)
			}
			cl.send(0, &wire.ConnectionStartOk{ClientProperties: goodClient, Mechanism: "EXTERNAL"})
			if c.code == 0 {
				expect[*wire.ConnectionTune](cl, 0)
			} else if got := cl.connectionClosed(); got.code != c.code {
				t.Errorf("closed with %v, want %d", got, c.code)
			}
		})
	}
}

func TestAnonymous(t *testing.T) { // AMQP-4
	c := newWorld(t, Options{Anonymous: true}).dial()
	c.start(goodClient, "ANONYMOUS", "")
	expect[*wire.ConnectionTune](c, 0)
}

func TestConnectionIsListed(t *testing.T) { // AMQP-18
	w := newWorld(t, Options{})
	w.open()
	list := w.b.ListConnections()
	if len(list) != 1 || list[0].Name != "127.0.0.1:40000 -> 127.0.0.1:5672" {
		t.Fatalf("listed %+v", list)
	}
}

// TestPipelinedHandshake sends everything at once: what follows the login
// waits for it.
func TestPipelinedHandshake(t *testing.T) {
	w := newWorld(t, Options{})
	c := w.dial()
	b := []byte(wire.ProtocolHeader)
	b = wire.AppendMethod(b, 0, &wire.ConnectionStartOk{ClientProperties: goodClient, Mechanism: "PLAIN", Response: "\x00guest\x00guest", Locale: "en_US"})
	b = wire.AppendMethod(b, 0, &wire.ConnectionTuneOk{ChannelMax: 5, FrameMax: 4096})
	b = wire.AppendMethod(b, 0, &wire.ConnectionOpen{VirtualHost: "/"})
	b = wire.AppendMethod(b, 1, &wire.ChannelOpen{})
	c.raw(b)
	expect[*wire.ConnectionStart](c, 0)
	expect[*wire.ConnectionTune](c, 0)
	expect[*wire.ConnectionOpenOk](c, 0)
	expect[*wire.ChannelOpenOk](c, 1)
}

func TestHandshakeFaults(t *testing.T) {
	start := wire.AppendMethod(nil, 0, &wire.ConnectionStartOk{ClientProperties: goodClient, Mechanism: "PLAIN", Response: "\x00guest\x00guest", Locale: "en_US"})
	for name, c := range map[string]struct {
		in   []byte
		code uint16 // 0: hung up without a word
	}{
		"frame larger than 8192 before login": {[]byte{1, 0, 0, 0, 0, 0x20, 1}, 0},
		"no frame":                            {[]byte("GET / HTTP/1.1\r\n\r\n"), 0},
		"open before start-ok":                {wire.AppendMethod(nil, 0, &wire.ConnectionOpen{VirtualHost: "/"}), 503},
		"channel before open":                 {wire.AppendMethod(nil, 1, &wire.ChannelOpen{}), 504},
		"body before open":                    {wire.AppendFrame(nil, wire.FrameBody, 0, nil), 505},
		"unknown method":                      {wire.AppendFrame(nil, wire.FrameMethod, 0, []byte{0, 99, 0, 1}), 503},
		"start-ok twice":                      {append(append([]byte{}, start...), start...), 503},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, Options{})
			cl := w.dial()
			cl.raw([]byte(wire.ProtocolHeader))
			expect[*wire.ConnectionStart](cl, 0)
			cl.raw(c.in)
			if c.code == 0 {
				cl.eof()
				return
			}
			if name == "start-ok twice" {
				expect[*wire.ConnectionTune](cl, 0)
			}
			if got := cl.connectionClosed(); got.code != c.code {
				t.Errorf("closed with %v, want %d", got, c.code)
			}
		})
	}
}

func TestHandshakeTimesOut(t *testing.T) {
	w := newWorld(t, Options{})
	silent, half := w.dial(), w.dial()
	half.raw([]byte(wire.ProtocolHeader))
	w.tick(9 * time.Second)
	if silent.peer.EOF() || half.peer.EOF() {
		t.Fatal("closed too early")
	}
	w.tick(2 * time.Second)
	if !silent.peer.EOF() || !half.peer.EOF() {
		t.Error("still open after 11 s")
	}
}

func TestHeartbeats(t *testing.T) { // AMQP-10
	w := newWorld(t, Options{})
	c := w.dial()
	c.start(goodClient, "PLAIN", "\x00guest\x00guest")
	expect[*wire.ConnectionTune](c, 0)
	c.send(0, &wire.ConnectionTuneOk{ChannelMax: 1, FrameMax: 4096, Heartbeat: 10})
	c.send(0, &wire.ConnectionOpen{VirtualHost: "/"})
	expect[*wire.ConnectionOpenOk](c, 0)
	for range 4 {
		w.tick(5 * time.Second)
	}
	if got := len(c.peer.Output()) / 8; got != 4 {
		t.Errorf("%d heartbeats in 20 s at 10 s", got)
	}
	c.raw([]byte{8}) // any byte is a sign of life
	w.tick(19 * time.Second)
	if c.peer.EOF() {
		t.Fatal("closed although it was heard 19 s ago")
	}
	w.tick(2 * time.Second)
	if !c.peer.EOF() {
		t.Error("open after 21 s of silence")
	}
}

func TestNoHeartbeatsMeansNone(t *testing.T) { // AMQP-10
	w := newWorld(t, Options{})
	c := w.open()
	w.tick(time.Hour)
	if c.peer.EOF() || len(c.peer.Output()) != 0 {
		t.Error("heartbeat 0 did not switch heartbeats off")
	}
}

func TestConnectionCloseWaitsForCloseOk(t *testing.T) {
	w := newWorld(t, Options{})
	c := w.channel()
	c.send(1, &wire.ChannelOpen{}) // 504
	expect[*wire.ConnectionClose](c, 0)
	c.send(1, &wire.AccessRequest{})
	if c.peer.EOF() || len(c.peer.Output()) != 0 {
		t.Fatal("a frame behind connection.close had an effect")
	}
	w.tick(31 * time.Second)
	if !c.peer.EOF() {
		t.Error("still open 31 s after connection.close")
	}
}

func TestShutdownSaysGoodbye(t *testing.T) {
	w := newWorld(t, Options{})
	c := w.open()
	w.m.Drain()
	c.connectionClosed().want(t, 320, "CONNECTION_FORCED - broker forced connection closure with reason 'shutdown'", 0)
}
