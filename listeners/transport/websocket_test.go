package transport

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
	"unsafe"
)

// The key and its answer are those of RFC 6455 section 1.3.
const (
	wsKey    = "dGhlIHNhbXBsZSBub25jZQ=="
	wsAccept = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
)

// upgradeHead is a request for target with the usual headers, changed by edits: "Name: value" replaces or adds a header,
// "Name" alone removes it.
func upgradeHead(target string, edits ...string) []byte {
	names := []string{"Host", "Upgrade", "Connection", "Sec-WebSocket-Key", "Sec-WebSocket-Version", "Sec-WebSocket-Protocol"}
	values := map[string]string{
		"Host": "mq.example:15675", "Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Key": wsKey,
		"Sec-WebSocket-Version": "13", "Sec-WebSocket-Protocol": "mqtt",
	}
	for _, e := range edits {
		name, value, set := strings.Cut(e, ": ")
		names = slices.DeleteFunc(names, func(n string) bool { return n == name })
		if set {
			names = append(names, name)
			values[name] = value
		}
	}
	b := fmt.Appendf(nil, "GET %s HTTP/1.1\r\n", target)
	for _, n := range names {
		b = fmt.Appendf(b, "%s: %s\r\n", n, values[n])
	}
	return append(b, "\r\n"...)
}

// response parses what the server sent in answer to an upgrade and returns what follows it.
func response(t testing.TB, out []byte) (*http.Response, []byte) {
	t.Helper()
	r := bufio.NewReader(bytes.NewReader(out))
	resp, err := http.ReadResponse(r, &http.Request{Method: http.MethodGet})
	if err != nil {
		t.Fatalf("no HTTP response: %v in %q", err, out)
	}
	if resp.StatusCode != http.StatusSwitchingProtocols {
		if _, err := io.Copy(io.Discard, resp.Body); err != nil {
			t.Fatalf("body: %v", err)
		}
	}
	rest, _ := io.ReadAll(r)
	return resp, rest
}

// openWebSocket opens a peer and upgrades it.
func openWebSocket(t testing.TB, m *Manual, s Session, cfg WebSocket) *Peer {
	t.Helper()
	p := m.open(s, Info{}, Listener{Name: "ws", WebSocket: &cfg})
	p.Send(upgradeHead("/mqtt"))
	resp, rest := response(t, p.Output())
	if resp.StatusCode != http.StatusSwitchingProtocols || len(rest) > 0 {
		t.Fatalf("upgrade: %s, then %q", resp.Status, rest)
	}
	return p
}

var mqttOnly = WebSocket{Paths: []string{"/mqtt", "/ws"}, Protocols: []string{"mqtt", "mqttv3.1"}}

// MQTT-70
func TestUpgrade(t *testing.T) {
	loose := mqttOnly
	loose.Protocols = []string{"mqtt", ""}
	free := WebSocket{}
	listed := mqttOnly
	listed.Origins = []string{"https://app.example", "*.corp.example"}
	for _, c := range []struct {
		name     string
		cfg      WebSocket
		head     []byte
		status   int
		protocol string
	}{
		{"plain", mqttOnly, upgradeHead("/mqtt"), 101, "mqtt"},
		{"other path, query", mqttOnly, upgradeHead("/ws?x=%20y"), 101, "mqtt"},
		{"absolute target", mqttOnly, upgradeHead("http://mq.example/ws"), 101, "mqtt"},
		{"any path", free, upgradeHead("/what/ever"), 101, ""},
		{"token lists, any case", mqttOnly, upgradeHead("/ws", "Upgrade: WebSocket", "Connection: keep-alive, upgrade"), 101, "mqtt"},
		{"lower-case names", mqttOnly, bytes.ReplaceAll(upgradeHead("/ws"), []byte("Sec-WebSocket"), []byte("sec-websocket")), 101, "mqtt"},
		{"our preference", mqttOnly, upgradeHead("/ws", "Sec-WebSocket-Protocol: x, mqttv3.1, mqtt"), 101, "mqtt"},
		{"second choice", mqttOnly, upgradeHead("/ws", "Sec-WebSocket-Protocol: mqttv3.1"), 101, "mqttv3.1"},
		{"two headers", mqttOnly, upgradeHead("/ws", "Sec-WebSocket-Protocol: mqttv3.1", "sec-websocket-protocol: mqtt"), 101, "mqtt"},
		{"none offered, allowed", loose, upgradeHead("/ws", "Sec-WebSocket-Protocol"), 101, ""},
		{"none configured", free, upgradeHead("/ws"), 101, ""},
		{"extension offered", mqttOnly, upgradeHead("/ws", "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits"), 101, "mqtt"},
		{"own origin", mqttOnly, upgradeHead("/ws", "Origin: http://MQ.example:8080"), 101, "mqtt"},
		{"listed origin", listed, upgradeHead("/ws", "Origin: https://app.example"), 101, "mqtt"},

		{"wrong path", mqttOnly, upgradeHead("/mqtt/"), 404, ""},
		{"bad target", mqttOnly, upgradeHead("%zz"), 400, ""},
		{"foreign origin", mqttOnly, upgradeHead("/ws", "Origin: https://evil.example"), 403, ""},
		{"foreign origin before host", mqttOnly, upgradeHead("/ws", "Host", "Origin: https://evil.example", "Host: mq.example"), 403, ""},
		{"own and foreign origin", mqttOnly, upgradeHead("/ws", "Origin: http://mq.example", "origin: https://evil.example"), 403, ""},
		{"unlisted origin", listed, upgradeHead("/ws", "Origin: http://mq.example"), 403, ""},
		{"opaque origin", mqttOnly, upgradeHead("/ws", "Origin: null"), 403, ""},
		{"no subprotocol", mqttOnly, upgradeHead("/ws", "Sec-WebSocket-Protocol"), 400, ""},
		{"empty subprotocol", mqttOnly, upgradeHead("/ws", "Sec-WebSocket-Protocol: ,"), 400, ""},
		{"other subprotocol", mqttOnly, upgradeHead("/ws", "Sec-WebSocket-Protocol: MQTT"), 400, ""},
		{"other subprotocol where none may be offered", loose, upgradeHead("/ws", "Sec-WebSocket-Protocol: amqp"), 400, ""},
		{"no host", mqttOnly, upgradeHead("/ws", "Host"), 400, ""},
		{"no upgrade", mqttOnly, upgradeHead("/ws", "Upgrade"), 400, ""},
		{"wrong upgrade", mqttOnly, upgradeHead("/ws", "Upgrade: h2c"), 400, ""},
		{"no connection", mqttOnly, upgradeHead("/ws", "Connection"), 400, ""},
		{"no key", mqttOnly, upgradeHead("/ws", "Sec-WebSocket-Key"), 400, ""},
		{"short key", mqttOnly, upgradeHead("/ws", "Sec-WebSocket-Key: AAAA"), 400, ""},
		{"no version", mqttOnly, upgradeHead("/ws", "Sec-WebSocket-Version"), 400, ""},
		{"old version", mqttOnly, upgradeHead("/ws", "Sec-WebSocket-Version: 8"), 426, ""},
		{"method", mqttOnly, bytes.Replace(upgradeHead("/ws"), []byte("GET"), []byte("POST"), 1), 405, ""},
		{"HTTP/1.0", mqttOnly, bytes.Replace(upgradeHead("/ws"), []byte("HTTP/1.1"), []byte("HTTP/1.0"), 1), 505, ""},
		{"not HTTP", mqttOnly, []byte("HELLO\r\n\r\n"), 400, ""},
		{"header without colon", mqttOnly, upgradeHead("/ws", "nonsense\r\nX: y"), 400, ""},
		{"line feeds", mqttOnly, bytes.ReplaceAll(upgradeHead("/ws"), []byte("\r\n"), []byte("\n")), 400, ""},
		{"MQTT without WebSocket", mqttOnly, []byte("\x10\x0c\x00\x04MQTT"), 400, ""},
		{"STOMP without WebSocket", mqttOnly, []byte("CONNECT\naccept-version:1.2\n"), 400, ""},
		{"endless head", mqttOnly, append([]byte("GET /ws HTTP/1.1\r\nX: "), bytes.Repeat([]byte("x"), maxRequestHead)...), 431, ""},
		{"8 KiB and more", mqttOnly, upgradeHead("/ws", "Cookie: "+strings.Repeat("x", maxRequestHead)), 431, ""},
		{"just less than 8 KiB", mqttOnly, upgradeHead("/ws", "Cookie: "+strings.Repeat("x", maxRequestHead-300)), 101, "mqtt"},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, step := range []int{len(c.head), 1, 7} {
				checkUpgrade(t, c.cfg, c.head, step, c.status, c.protocol)
			}
		})
	}
}

// checkUpgrade sends head in reads of step bytes and looks at what comes of it.
func checkUpgrade(t *testing.T, cfg WebSocket, head []byte, step, status int, protocol string) {
	t.Helper()
	var info *Info
	var end error
	s := &frames{
		start:  func(f *frames) { info = f.Info(); f.Write([]byte("hello")) },
		closed: func(_ *frames, err error) { end = err },
	}
	p := NewManual(epoch).open(s, Info{}, Listener{Name: "ws", WebSocket: &cfg})
	for rest := head; len(rest) > 0; {
		n := min(step, len(rest))
		p.Send(rest[:n])
		rest = rest[n:]
	}
	resp, rest := response(t, p.Output())
	if resp.StatusCode != status {
		t.Fatalf("in steps of %d: %s, want %d", step, resp.Status, status)
	}
	if got := resp.Header.Get("Sec-WebSocket-Extensions"); got != "" {
		t.Errorf("extension %q", got)
	}
	if status != http.StatusSwitchingProtocols {
		if info != nil || !errors.Is(end, ErrUpgrade) || !p.EOF() || len(rest) > 0 {
			t.Errorf("started %v, closed %v, EOF %v, output %q", info != nil, end, p.EOF(), rest)
		}
		if v := resp.Header.Get("Sec-WebSocket-Version"); status == http.StatusUpgradeRequired && v != "13" {
			t.Errorf("version %q", v)
		}
		return
	}
	if got := resp.Header.Get("Sec-WebSocket-Accept"); got != wsAccept {
		t.Errorf("accept %q", got)
	}
	if got := resp.Header.Values("Sec-WebSocket-Protocol"); protocol == "" && len(got) > 0 || protocol != "" && (len(got) != 1 || got[0] != protocol) {
		t.Errorf("protocol header %q, want %q", got, protocol)
	}
	if info == nil || info.Subprotocol != protocol || info.Host != "mq.example:15675" || !strings.HasPrefix(info.Path, "/") || strings.Contains(info.Path, "?") {
		t.Errorf("info %+v", info)
	}
	if string(rest) != "\x82\x05hello" {
		t.Errorf("after the response: %q", rest)
	}
}

func TestUpgradeKeepsWhatFollowsTheHead(t *testing.T) {
	p := NewManual(epoch).open(new(frames), Info{}, Listener{Name: "ws", WebSocket: &mqttOnly})
	p.Send(append(upgradeHead("/ws"), clientFrame(finBit|opBinary, frame('h', 'i'))...))
	if _, rest := response(t, p.Output()); !bytes.Equal(rest, append([]byte{0x82, 6}, frame('h', 'i')...)) {
		t.Errorf("echo: %q", rest)
	}
}

func TestOrigins(t *testing.T) {
	for _, c := range []struct {
		origins []string
		origin  string
		host    string
		want    bool
	}{
		{nil, "http://mq.example", "mq.example:15675", true},
		{nil, "https://[::1]:3000", "[::1]:15675", true},
		{nil, "http://mq.example.evil.example", "mq.example", false},
		{nil, "http://evil.example/mq.example", "evil.example", false},
		{nil, "http://user@mq.example", "mq.example", false},
		{nil, "mq.example", "mq.example", false},
		{nil, "", "", false},
		{nil, "file://", "", false},
		{[]string{"*"}, "null", "x", true},
		{[]string{"null"}, "null", "x", true},
		{[]string{"https://app.example"}, "https://APP.example", "x", true},
		{[]string{"https://app.example"}, "http://app.example", "x", false},
		{[]string{"https://app.example"}, "https://app.example:8443", "x", false},
		{[]string{"app.example"}, "http://app.example:8443", "x", true},
		{[]string{"app.example:8443"}, "http://app.example:8443", "x", true},
		{[]string{"app.example:8443"}, "http://app.example", "x", false},
		{[]string{"*.app.example"}, "http://a.b.app.example:1", "x", true},
		{[]string{"*.app.example"}, "http://app.example", "x", false},
		{[]string{"*.app.example"}, "http://.app.example", "x", false},
		{[]string{"*.app.example"}, "http://evilapp.example", "x", false},
		{[]string{"*.app.example", "b.example"}, "http://b.example", "x", true},
		{[]string{"a.example"}, "http://mq.example", "mq.example", false},
	} {
		cfg := WebSocket{Origins: c.origins}
		if got := cfg.allows(c.origin, c.host); got != c.want {
			t.Errorf("%v allows %q to connect to %q: %v", c.origins, c.origin, c.host, got)
		}
	}
}

func TestListenRefusesBadWebSocket(t *testing.T) {
	s := startServer(t, Options{})
	for _, cfg := range []WebSocket{
		{Paths: []string{"ws"}},
		{Protocols: []string{"mqtt\r\nX: y"}},
		{Protocols: []string{"a,b"}},
		{Origins: []string{""}},
		{Origins: []string{"https://"}},
		{Origins: []string{"https://*.example"}},
		{Origins: []string{"app.*"}},
		{Origins: []string{"app.example/path"}},
	} {
		if _, err := s.Listen(Listener{Name: "ws", Address: "127.0.0.1:0", WebSocket: &cfg, New: func() Session { return new(frames) }}); err == nil {
			t.Errorf("%+v is accepted", cfg)
		}
	}
}

func TestUpgradeBehindProxyHeader(t *testing.T) {
	for _, step := range []int{1, 1000} {
		var info *Info
		s := &frames{start: func(f *frames) { info = f.Info() }}
		p := NewManual(epoch).open(s, Info{}, Listener{Name: "ws", ProxyProtocol: true, WebSocket: &mqttOnly})
		in := append([]byte("PROXY TCP4 192.0.2.1 192.0.2.2 56324 443\r\n"), upgradeHead("/ws")...)
		for rest := append(in, clientFrame(finBit|opBinary, frame('x'))...); len(rest) > 0; {
			n := min(step, len(rest))
			p.Send(rest[:n])
			rest = rest[n:]
		}
		if _, rest := response(t, p.Output()); !bytes.Equal(rest, append([]byte{0x82, 5}, frame('x')...)) {
			t.Errorf("echo: %q", rest)
		}
		if info == nil || info.Remote.String() != "192.0.2.1:56324" || info.Path != "/ws" || info.Listener != "ws" {
			t.Errorf("info: %+v", info)
		}
	}
}

func TestUpgradeTimesOut(t *testing.T) {
	var end error
	m := NewManual(epoch)
	s := &frames{closed: func(_ *frames, err error) { end = err }, tick: func(*frames, time.Time) { t.Error("Tick before Start") }}
	p := m.open(s, Info{}, Listener{Name: "ws", WebSocket: &mqttOnly})
	p.Send(upgradeHead("/ws")[:40])
	m.Tick(epoch.Add(9 * time.Second))
	if p.EOF() {
		t.Fatal("closed early")
	}
	m.Tick(epoch.Add(11 * time.Second))
	if !p.EOF() || !errors.Is(end, ErrHandshakeTimeout) {
		t.Errorf("closed: %v", end)
	}
}

func TestIdleWebSocketIsSmall(t *testing.T) {
	p := openWebSocket(t, NewManual(epoch), new(frames), mqttOnly)
	p.Send(clientFrame(finBit|opBinary, frame(make([]byte, 8000)...)))
	p.Send(clientFrame(finBit|opPing, make([]byte, 125)))
	p.Output()
	w := p.conn.ws
	size := int(unsafe.Sizeof(Conn{})+unsafe.Sizeof(wsLayer{})) + cap(p.conn.tail) + cap(p.conn.out) + cap(w.in) + cap(w.control) + cap(w.replies)
	if size > 768 {
		t.Errorf("%d bytes", size)
	}
}

// ---- over sockets

// webSocket is a client's end over a socket, after the upgrade.
type webSocket struct {
	t *testing.T
	net.Conn
	r *bufio.Reader
}

func dialWebSocket(t *testing.T, c net.Conn) *webSocket {
	t.Helper()
	send(t, c, upgradeHead("/mqtt"))
	w := &webSocket{t, c, bufio.NewReader(c)}
	resp, err := http.ReadResponse(w.r, &http.Request{Method: http.MethodGet})
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != http.StatusSwitchingProtocols {
		t.Fatal(resp.Status)
	}
	return w
}

// next reads a frame.
func (w *webSocket) next() serverFrame {
	w.t.Helper()
	b := read(w.t, w.r, 2)
	switch b[1] {
	case 126:
		b = append(b, read(w.t, w.r, 2)...)
		b = append(b, read(w.t, w.r, int(binary.BigEndian.Uint16(b[2:])))...)
	case 127:
		b = append(b, read(w.t, w.r, 8)...)
		b = append(b, read(w.t, w.r, int(binary.BigEndian.Uint64(b[2:])))...)
	default:
		b = append(b, read(w.t, w.r, int(b[1]))...)
	}
	f, _ := cutServerFrame(w.t, b)
	return f
}

func (w *webSocket) echo(body ...byte) {
	w.t.Helper()
	want := frame(body...)
	send(w.t, w.Conn, clientFrame(finBit|opBinary, want))
	if f := w.next(); f.first != finBit|opBinary || !bytes.Equal(f.payload, want) {
		w.t.Fatalf("echo: %#x %q", f.first, f.payload)
	}
}

func TestWebSocketOverSockets(t *testing.T) {
	for name, cfg := range map[string]*tls.Config{
		"ws": nil, "wss, TLS 1.2": serverTLS(tls.VersionTLS12), "wss, TLS 1.3": serverTLS(tls.VersionTLS13),
	} {
		for _, slow := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, byte by byte %v", name, slow), func(t *testing.T) {
				closed := make(chan error, 1)
				_, addr := echoServer(t, Options{}, Listener{Name: "ws", TLS: cfg, WebSocket: &mqttOnly}, func() *frames {
					return &frames{closed: func(_ *frames, err error) { closed <- err }}
				})
				c := dial(t, addr)
				if slow {
					c = oneByOne{c}
				}
				if cfg != nil {
					c = tls.Client(c, clientTLS())
				}
				w := dialWebSocket(t, c)
				for _, n := range []int{0, 1, 125, 126, 1000} {
					w.echo(bytes.Repeat([]byte{byte(n)}, n)...)
				}
				if !slow {
					big := frame(bytes.Repeat([]byte("0123456789"), 1<<20)...)
					go func() { _, _ = w.Write(clientFrame(finBit|opBinary, big)) }()
					if f := w.next(); !bytes.Equal(f.payload, big) {
						t.Error("the big echo differs")
					}
				}
				send(t, w, clientFrame(finBit|opClose, []byte{0x03, 0xe8}))
				if f := w.next(); f.first != finBit|opClose || !bytes.Equal(f.payload, []byte{0x03, 0xe8}) {
					t.Errorf("close: %#x %q", f.first, f.payload)
				}
				if _, err := w.r.ReadByte(); err != io.EOF {
					t.Errorf("after the close frame: %v", err)
				}
				if err := await(t, "Closed", closed); !errors.Is(err, io.EOF) {
					t.Errorf("closed: %v", err)
				}
			})
		}
	}
}

func TestShutdownSaysGoingAway(t *testing.T) {
	s, addr := echoServer(t, Options{}, Listener{Name: "ws", WebSocket: &mqttOnly}, func() *frames { return new(frames) })
	w := dialWebSocket(t, dial(t, addr))
	w.echo('x')
	done := make(chan error, 1)
	go func() { done <- s.Shutdown(t.Context()) }()
	if f := w.next(); f.first != finBit|opClose || !bytes.Equal(f.payload, []byte{0x03, 0xe9}) {
		t.Errorf("close: %#x %q", f.first, f.payload)
	}
	w.Close()
	if err := await(t, "Shutdown", done); err != nil {
		t.Error(err)
	}
}

// A refusal reaches a client that is still sending.
func TestRefusalOverSockets(t *testing.T) {
	_, addr := echoServer(t, Options{}, Listener{Name: "ws", WebSocket: &mqttOnly}, func() *frames { return new(frames) })
	c := dial(t, addr)
	send(t, c, append(upgradeHead("/nowhere"), make([]byte, 100_000)...))
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil || resp.StatusCode != http.StatusNotFound {
		t.Errorf("%v, %v", resp, err)
	}
}
