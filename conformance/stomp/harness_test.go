package stomp

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/hermodmq/hermod/conformance/harness"
)

// patience bounds every wait of the suite.
const patience = 20 * time.Second

// shared are the brokers that tests use which do not stop them, by dialect.
var shared struct {
	mu   sync.Mutex
	all  map[string]*harness.Broker
	dirs []string
}

func TestMain(m *testing.M) {
	code := m.Run()
	for _, b := range shared.all {
		b.Kill()
	}
	for _, dir := range shared.dirs {
		_ = os.RemoveAll(dir)
	}
	harness.RemoveBinary()
	os.Exit(code)
}

// start starts a broker with a listener of the dialect. Its data goes with the
// test.
func start(t testing.TB, dialect string, set ...string) *harness.Broker {
	t.Helper()
	b, err := launch(t.TempDir(), dialect, set...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Kill)
	return b
}

func launch(dir, dialect string, set ...string) (*harness.Broker, error) {
	return harness.Start(harness.Options{DataDir: dir, Set: append([]string{
		"listeners.stomp.address=127.0.0.1:0", "listeners.stomp.dialect=" + dialect,
	}, set...)})
}

// rabbit and active are the shared brokers.
func rabbit(t testing.TB) *harness.Broker { return sharedBroker(t, "rabbitmq") }
func either(t testing.TB) *harness.Broker { return sharedBroker(t, dialect) }
func active(t testing.TB) *harness.Broker { return sharedBroker(t, "activemq") }

func sharedBroker(t testing.TB, dialect string) *harness.Broker {
	t.Helper()
	shared.mu.Lock()
	defer shared.mu.Unlock()
	if b := shared.all[dialect]; b != nil {
		return b
	}
	dir, err := os.MkdirTemp("", "hermod-stomp-")
	if err != nil {
		t.Fatal(err)
	}
	shared.dirs = append(shared.dirs, dir)
	b, err := launch(dir, dialect)
	if err != nil {
		t.Fatal(err)
	}
	if shared.all == nil {
		shared.all = map[string]*harness.Broker{}
	}
	shared.all[dialect] = b
	return b
}

// unique makes a name nobody else uses.
func unique(t testing.TB) string {
	names.Lock()
	defer names.Unlock()
	names.n++
	return fmt.Sprintf("%s.%d", strings.NewReplacer("/", ".", " ", "_").Replace(t.Name()), names.n)
}

var names struct {
	sync.Mutex
	n int
}

// frame is a frame as the broker sent it. Of repeated headers the first
// counts.
type frame struct {
	command string
	headers map[string]string
	raw     string // command and headers as they came
	body    string
}

func (f *frame) String() string { return fmt.Sprintf("%s %q %q", f.command, f.headers, f.body) }

// client is a connection that says what it is told, right or wrong.
type client struct {
	t       testing.TB
	conn    net.Conn
	in      *bufio.Reader
	version string
	beats   int // line ends between frames
}

func dial(t testing.TB, b *harness.Broker) *client {
	t.Helper()
	conn, err := net.Dial("tcp", b.Addr("stomp"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return &client{t: t, conn: conn, in: bufio.NewReader(conn)}
}

// open is dial with a login, headers being further ones of CONNECT.
func open(t testing.TB, b *harness.Broker, version string, headers ...string) *client {
	t.Helper()
	c := dial(t, b)
	c.connect(version, headers...)
	return c
}

func (c *client) connect(version string, headers ...string) *frame {
	c.t.Helper()
	all := append([]string{"login:guest", "passcode:guest"}, headers...)
	if version != "1.0" {
		all = append(all, "accept-version:"+version, "host:/")
	}
	c.send("CONNECT", "", all...)
	f := c.expect("CONNECTED")
	c.version = f.headers["version"]
	return f
}

func (c *client) raw(s string) {
	c.t.Helper()
	if _, err := io.WriteString(c.conn, s); err != nil {
		c.t.Fatal(err)
	}
}

// send writes a frame whose headers are already escaped.
func (c *client) send(command, body string, headers ...string) {
	c.t.Helper()
	c.raw(compose(command, body, headers...))
}

func compose(command, body string, headers ...string) string {
	var b strings.Builder
	b.WriteString(command + "\n")
	for _, h := range headers {
		b.WriteString(h + "\n")
	}
	b.WriteString("\n" + body + "\x00")
	return b.String()
}

// read returns the next frame.
func (c *client) read() (*frame, error) {
	_ = c.conn.SetReadDeadline(time.Now().Add(patience))
	for {
		b, err := c.in.ReadByte()
		if err != nil {
			return nil, err
		}
		if b != '\n' {
			_ = c.in.UnreadByte()
			break
		}
		c.beats++
	}
	f := &frame{headers: map[string]string{}}
	for {
		line, err := c.in.ReadString('\n')
		if err != nil {
			return nil, err
		}
		f.raw += line
		line = strings.TrimSuffix(line, "\n")
		if f.command == "" {
			f.command = line
			continue
		}
		if line == "" {
			break
		}
		name, value, ok := strings.Cut(line, ":")
		if !ok {
			return nil, fmt.Errorf("header line %q", line)
		}
		if c.version != "" && c.version != "1.0" {
			name, value = unescape(name), unescape(value)
		}
		if _, repeated := f.headers[name]; !repeated {
			f.headers[name] = value
		}
	}
	if n, ok := f.headers["content-length"]; ok {
		size, err := strconv.Atoi(n)
		if err != nil {
			return nil, err
		}
		body := make([]byte, size+2)
		if _, err := io.ReadFull(c.in, body); err != nil {
			return nil, err
		}
		if !bytes.Equal(body[size:], []byte("\x00\n")) {
			return nil, fmt.Errorf("body of %s ends in %q", f.command, body[size:])
		}
		f.body = string(body[:size])
		return f, nil
	}
	body, err := c.in.ReadString(0)
	if err != nil {
		return nil, err
	}
	f.body = strings.TrimSuffix(body, "\x00")
	if end, err := c.in.ReadByte(); err != nil || end != '\n' {
		return nil, fmt.Errorf("NUL is followed by %q, %v", end, err)
	}
	return f, nil
}

func unescape(s string) string {
	return strings.NewReplacer(`\\`, `\`, `\n`, "\n", `\c`, ":", `\r`, "\r").Replace(s)
}

func (c *client) next() *frame {
	c.t.Helper()
	f, err := c.read()
	if err != nil {
		c.t.Fatalf("while waiting for a frame: %v", err)
	}
	return f
}

func (c *client) expect(command string) *frame {
	c.t.Helper()
	f := c.next()
	if f.command != command {
		c.t.Fatalf("got %s, want %s", f, command)
	}
	return f
}

// message expects a MESSAGE with that body.
func (c *client) message(body string) *frame {
	c.t.Helper()
	f := c.expect("MESSAGE")
	if f.body != body {
		c.t.Fatalf("got %s, want body %q", f, body)
	}
	return f
}

func (c *client) receipt(id string) {
	c.t.Helper()
	if f := c.expect("RECEIPT"); f.headers["receipt-id"] != id {
		c.t.Fatalf("got %s, want receipt %q", f, id)
	}
}

// failure expects an ERROR whose message header is that.
func (c *client) failure(message string) *frame {
	c.t.Helper()
	f := c.expect("ERROR")
	if f.headers["message"] != message {
		c.t.Fatalf("got %s, want message %q", f, message)
	}
	return f
}

// do sends a frame with a receipt and waits for it.
func (c *client) do(command, body string, headers ...string) {
	c.t.Helper()
	c.send(command, body, append(headers, "receipt:done")...)
	c.receipt("done")
}

// barrier makes sure that everything sent so far was carried out and nothing
// was said in return.
func (c *client) barrier() {
	c.t.Helper()
	c.do("BEGIN", "", "transaction:barrier")
	c.do("ABORT", "", "transaction:barrier")
}

// closed expects the end of the connection.
func (c *client) closed() {
	c.t.Helper()
	f, err := c.read()
	if err == nil {
		c.t.Fatalf("got %s, want the connection closed", f)
	}
	var timeout net.Error
	if errors.As(err, &timeout) && timeout.Timeout() {
		c.t.Fatal("connection was not closed")
	}
}

// hang closes the connection without a word and waits until the broker knows.
func (c *client) hang() { c.conn.Close() }

// subscribe subscribes with id 0 and waits for the receipt.
func (c *client) subscribe(destination string, headers ...string) {
	c.t.Helper()
	c.do("SUBSCRIBE", "", append([]string{"id:0", "destination:" + destination}, headers...)...)
}

// ackOf is the header that acknowledges a message in the client's version.
func (c *client) ackOf(f *frame) string {
	switch c.version {
	case "1.2":
		return "id:" + escape(f.headers["ack"])
	}
	return "message-id:" + escape(f.headers["message-id"])
}

func escape(s string) string {
	return strings.NewReplacer(`\`, `\\`, "\n", `\n`, ":", `\c`, "\r", `\r`).Replace(s)
}

// channel is an AMQP channel to the same broker.
func channel(t testing.TB, b *harness.Broker) *amqp.Channel {
	t.Helper()
	conn, err := amqp.Dial("amqp://guest:guest@" + b.Addr("amqp") + "/")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	ch, err := conn.Channel()
	if err != nil {
		t.Fatal(err)
	}
	return ch
}

// get fetches a message by AMQP, waiting for it.
func get(t testing.TB, ch *amqp.Channel, queue string) amqp.Delivery {
	t.Helper()
	var d amqp.Delivery
	ok := harness.Poll(patience, func() (ok bool) {
		var err error
		if d, ok, err = ch.Get(queue, true); err != nil {
			t.Fatal(err)
		}
		return ok
	})
	if !ok {
		t.Fatalf("no message in %s", queue)
	}
	return d
}

// ready waits until a queue has n ready messages.
func ready(t testing.TB, b *harness.Broker, queue string, n int) {
	t.Helper()
	ch, have := channel(t, b), -1
	if !harness.Poll(patience, func() bool {
		q, err := ch.QueueDeclarePassive(queue, false, false, false, false, nil)
		if err != nil {
			t.Fatal(err)
		}
		have = q.Messages
		return have == n
	}) {
		t.Fatalf("%s has %d ready messages, want %d", queue, have, n)
	}
}
