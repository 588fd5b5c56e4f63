package stomp

import (
	"bytes"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/hermodmq/hermod/broker"
	"github.com/hermodmq/hermod/listeners/stomp/wire"
	"github.com/hermodmq/hermod/listeners/transport"
)

// patience bounds every wait of these tests for another goroutine.
const patience = 20 * time.Second

// world is a broker, an event loop turned by hand, and clients on it.
type world struct {
	t     testing.TB
	b     *broker.Broker
	m     *transport.Manual
	now   time.Time
	store *broker.MemoryStore
	held  bool // nothing is committed
	opt   Options
}

func newWorld(t testing.TB, o Options) *world {
	t.Helper()
	now := time.Unix(1_700_000_000, 0)
	store := broker.NewMemoryStore().Manual()
	options := broker.Options{
		Store: store, Node: "node-1", Now: now.UnixMilli(), MaxMessageSize: 1 << 20,
		DefaultUser: "guest", DefaultPassword: "guest", PasswordCost: 4,
	}
	options.Converters[broker.FormatSTOMP] = Converter{}
	b, err := broker.New(options)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Recover(&broker.Turn{Now: now.UnixMilli()}); err != nil {
		t.Fatal(err)
	}
	return &world{t: t, b: b, m: transport.NewManual(now), now: now, store: store, opt: o}
}

// commit has the store carry out n operations, all for -1.
func (w *world) commit(n int) {
	w.store.Commit(&broker.Turn{Now: w.now.UnixMilli()}, n)
	w.m.Turn()
}

// tick moves the clock and ticks every connection.
func (w *world) tick(d time.Duration) {
	w.now = w.now.Add(d)
	w.m.Tick(w.now)
}

// until turns the loop until cond holds, which other goroutines may bring
// about.
func (w *world) until(what string, cond func() bool) {
	w.t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	again := time.NewTicker(200 * time.Microsecond)
	defer again.Stop()
	for {
		w.m.Turn()
		if !w.held {
			w.commit(-1)
		}
		if cond() {
			return
		}
		select {
		case <-again.C:
		case <-deadline.C:
			w.t.Fatalf("did not happen in time: %s", what)
		}
	}
}

// client is the other end of one connection.
type client struct {
	w     *world
	t     testing.TB
	peer  *transport.Peer
	in    []byte
	beats int
}

func (w *world) dial() *client {
	w.t.Helper()
	p := w.m.Open(New(w.b, w.opt)(), transport.Info{
		Listener: "stomp",
		Local:    &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 61613},
		Remote:   &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 40000},
	})
	return &client{w: w, t: w.t, peer: p}
}

// open is dial with a login.
func (w *world) open(headers ...string) *client {
	w.t.Helper()
	c := w.dial()
	c.send("CONNECT", "", append([]string{"accept-version:1.2", "host:/", "login:guest", "passcode:guest"}, headers...)...)
	c.expect("CONNECTED")
	return c
}

func compose(command, body string, headers ...string) string {
	return command + "\n" + strings.Join(append(headers, ""), "\n") + "\n" + body + "\x00"
}

func (c *client) send(command, body string, headers ...string) {
	c.peer.Send([]byte(compose(command, body, headers...)))
}

// answer is a frame of the broker's.
type answer struct {
	command string
	headers map[string]string
	body    string
}

func (c *client) next() *answer {
	c.t.Helper()
	var a *answer
	c.w.until("a frame arrives", func() bool {
		c.in = append(c.in, c.peer.Output()...)
		a = c.cut()
		return a != nil || c.peer.EOF()
	})
	if a == nil {
		c.t.Fatal("connection closed while a frame was expected")
	}
	return a
}

// cut takes a frame off what has arrived; nil if there is none.
func (c *client) cut() *answer {
	p := wire.Parser{Limits: wire.Limits{Line: 1 << 16, Headers: 1 << 10, HeaderBytes: 1 << 20, Body: 1 << 25}}
	for {
		f, n, _, err := p.Next(c.in)
		if err != nil {
			c.t.Fatalf("broker sent garbage: %v: %q", err, c.in)
		}
		if n == 0 {
			return nil
		}
		if f == nil {
			c.beats += bytes.Count(c.in[:n], []byte("\n"))
			c.in = c.in[n:]
			continue
		}
		if err := f.Decode(wire.V12, false); err != nil {
			c.t.Fatal(err)
		}
		a := &answer{command: string(f.Word), headers: map[string]string{}, body: string(f.Body)}
		for _, h := range f.Headers {
			if _, repeated := a.headers[string(h.Name)]; !repeated {
				a.headers[string(h.Name)] = string(h.Value)
			}
		}
		c.in = c.in[n:]
		return a
	}
}

func (c *client) expect(command string) *answer {
	c.t.Helper()
	a := c.next()
	if a.command != command {
		c.t.Fatalf("got %+v, want %s", a, command)
	}
	return a
}

// silent makes sure that nothing has been said.
func (c *client) silent() {
	c.t.Helper()
	c.w.m.Turn()
	c.in = append(c.in, c.peer.Output()...)
	if a := c.cut(); a != nil {
		c.t.Fatalf("got %+v, want nothing", a)
	}
}

func (c *client) failure(message string) {
	c.t.Helper()
	if a := c.expect("ERROR"); a.headers["message"] != message {
		c.t.Fatalf("got %+v, want message %q", a, message)
	}
}

func (c *client) do(command, body string, headers ...string) {
	c.t.Helper()
	c.send(command, body, append(headers, "receipt:done")...)
	if a := c.expect("RECEIPT"); a.headers["receipt-id"] != "done" {
		c.t.Fatalf("got %+v", a)
	}
}

func (c *client) eof() {
	c.t.Helper()
	c.w.until("the connection is closed", c.peer.EOF)
}

// queue makes a queue by way of a client.
func (w *world) queue(name string) { w.open().do("SEND", "", "destination:/queue/"+name) }

func text(n int) string { return fmt.Sprint(n) }
