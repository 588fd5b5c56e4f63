package web

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/hermodmq/hermod/broker"
	"github.com/hermodmq/hermod/listeners/transport"
	"github.com/hermodmq/hermod/listeners/web/wire"
)

// world is a connection on a loop turned by hand, whose handler keeps what it
// is asked.
type world struct {
	t    *testing.T
	m    *transport.Manual
	now  time.Time
	peer *transport.Peer
	open []*Exchange
	said []string // path and body of every request
	gone int
}

func newWorld(t *testing.T, o Options) *world {
	now := time.Unix(1_700_000_000, 0)
	w := &world{t: t, m: transport.NewManual(now), now: now}
	h := HandlerFunc(func(_ *broker.Turn, x *Exchange) {
		w.said = append(w.said, x.Request.Path+" "+string(x.Request.Body))
		x.OnGone(func() { w.gone++ })
		w.open = append(w.open, x)
	})
	addr := net.TCPAddrFromAddrPort(netip.MustParseAddrPort("127.0.0.1:1"))
	w.peer = w.m.OpenOn(transport.Listener{Name: "web", MaxFrame: o.MaxFrame(), New: New(h, o)}, transport.Info{Local: addr, Remote: addr})
	return w
}

// answer responds to the i-th request from outside the loop.
func (w *world) answer(i int, body string) {
	batch := transport.NewBatch()
	w.open[i].Respond(&broker.Turn{Now: w.now.UnixMilli(), Bells: batch}, wire.Response{Status: 200, Body: []byte(body)})
	batch.Flush()
	w.m.Turn()
}

// bodies are the bodies of the responses that came out.
func (w *world) bodies() string {
	r := bufio.NewReader(strings.NewReader(string(w.peer.Output())))
	var list []string
	for {
		resp, err := http.ReadResponse(r, nil)
		if err != nil {
			return strings.Join(list, "|")
		}
		b, _ := io.ReadAll(resp.Body)
		list = append(list, fmt.Sprint(resp.StatusCode, " ", strings.TrimSpace(string(b))))
	}
}

func get(path string) string { return "GET " + path + " HTTP/1.1\r\nHost: h\r\n\r\n" }

// Answers leave in the order of their requests, whenever they come.
func TestPipelinedAnswersKeepTheirOrder(t *testing.T) {
	w := newWorld(t, Options{})
	w.peer.Send([]byte(get("/1") + get("/2") + get("/3")))
	if len(w.open) != 3 {
		t.Fatalf("%d requests", len(w.open))
	}
	w.answer(2, "c")
	w.answer(1, "b")
	if out := w.bodies(); out != "" {
		t.Fatalf("answered early: %s", out)
	}
	w.answer(0, "a")
	if out := w.bodies(); out != "200 a|200 b|200 c" {
		t.Errorf("%s", out)
	}
}

func TestPipelineIsBounded(t *testing.T) {
	w := newWorld(t, Options{Pipeline: 2})
	w.peer.Send([]byte(get("/1") + get("/2") + get("/3")))
	if len(w.open) != 2 || !w.peer.Paused() {
		t.Fatalf("%d requests at once, paused %v", len(w.open), w.peer.Paused())
	}
	w.answer(0, "a")
	if len(w.open) != 3 {
		t.Errorf("%d requests after an answer", len(w.open))
	}
}

func TestGoneClientsAreNoticed(t *testing.T) {
	w := newWorld(t, Options{})
	w.peer.Send([]byte(get("/1") + get("/2")))
	w.answer(0, "a")
	w.peer.HangUp(io.EOF)
	w.m.Turn()
	if w.gone != 1 {
		t.Errorf("told %d times", w.gone)
	}
	w.answer(1, "late") // must not panic
	if w.m.Connections() != 0 {
		t.Error("still connected")
	}
}

// Bytes that trickle in hold a connection for a bounded time, and what is
// before them is answered all the same.
func TestSlowRequestsEnd(t *testing.T) {
	for name, sent := range map[string]string{
		"header": "POST / HTTP/1.1\r\nHo",
		"body":   "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nabc",
		"chunk":  "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
	} {
		w := newWorld(t, Options{})
		w.peer.Send([]byte(sent))
		for range 40 {
			w.now = w.now.Add(time.Second)
			w.m.Tick(w.now)
		}
		if out := w.bodies(); !strings.HasPrefix(out, "408 ") || len(w.open) != 0 {
			t.Errorf("%s: %q", name, out)
		}
	}
}

func TestIdleConnectionsEnd(t *testing.T) {
	w := newWorld(t, Options{IdleTimeout: 3 * time.Second})
	w.peer.Send([]byte(get("/1")))
	for range 10 { // a request that waits is not idle
		w.now = w.now.Add(time.Second)
		w.m.Tick(w.now)
	}
	if w.peer.EOF() {
		t.Fatal("closed while a request waits")
	}
	w.answer(0, "a")
	for range 5 {
		w.now = w.now.Add(time.Second)
		w.m.Tick(w.now)
	}
	if !w.peer.EOF() {
		t.Error("an idle connection stays")
	}
}

func TestCloseAndRefusal(t *testing.T) {
	w := newWorld(t, Options{})
	w.peer.Send([]byte("GET /1 HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n" + get("/2")))
	w.answer(0, "a")
	if len(w.open) != 1 || w.bodies() != "200 a" || !w.peer.EOF() {
		t.Error("not closed after Connection: close")
	}
	w = newWorld(t, Options{})
	w.peer.Send([]byte(get("/1") + "rubbish here\r\n\r\n"))
	w.answer(0, "a")
	if out := w.bodies(); out != "200 a|400 malformed request line" || !w.peer.EOF() {
		t.Errorf("%q", out)
	}
}

func TestContinue(t *testing.T) {
	w := newWorld(t, Options{})
	w.peer.Send([]byte("POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n"))
	if out := string(w.peer.Output()); out != wire.Continue {
		t.Fatalf("%q", out)
	}
	w.peer.Send([]byte("ab"))
	if len(w.said) != 1 || w.said[0] != "/ ab" {
		t.Errorf("%q", w.said)
	}
}

// HTTP/2 is served on the same socket after its preface.
func TestHTTP2(t *testing.T) {
	s, err := transport.New(transport.Options{})
	if err != nil {
		t.Fatal(err)
	}
	h := HandlerFunc(func(turn *broker.Turn, x *Exchange) {
		x.Respond(turn, wire.Response{Status: 200, Body: []byte(x.Request.Method + " " + x.Request.Path + "?" + x.Request.Query + " " + string(x.Request.Body))})
	})
	addr, err := s.Listen(transport.Listener{Name: "web", Address: "127.0.0.1:0", New: New(h, Options{})})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if err := s.Shutdown(ctx); err != nil {
			t.Error(err)
		}
	}()
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	tr := &http.Transport{Protocols: protocols}
	defer tr.CloseIdleConnections()
	client := http.Client{Transport: tr}
	big := strings.Repeat("x", 3<<20)
	for _, body := range []string{"hello", big} {
		resp, err := client.Post("http://"+addr.String()+"/a%20b?c=d", "text/plain", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		got, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.ProtoMajor != 2 || string(got) != "POST /a%20b?c=d "+body {
			t.Errorf("HTTP/%d, %d bytes: %.60q", resp.ProtoMajor, len(got), got)
		}
	}
}
