package amqpconf

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hermodmq/hermod/conformance/harness"
	amqp "github.com/rabbitmq/amqp091-go"
)

// wait bounds every wait for something that must happen.
const wait = 20 * time.Second

// quietTime is how long the suite listens before it believes that nothing
// more comes.
const quietTime = 100 * time.Millisecond

// target is the broker under test.
type target struct {
	addr  string
	pid   int
	admin *admin
	own   *harness.Broker // nil when the broker was started by somebody else
}

var shared target

func TestMain(m *testing.M) {
	os.Exit(runMain(m))
}

func runMain(m *testing.M) int {
	if addr := os.Getenv("BROKER_ADDR"); addr != "" {
		shared = target{addr: addr, admin: externalAdmin()}
		shared.pid, _ = strconv.Atoi(os.Getenv("BROKER_PID"))
		return m.Run()
	}
	defer harness.RemoveBinary()
	dir, err := os.MkdirTemp("", "hermod-amqp-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() { _ = os.RemoveAll(dir) }()
	b, err := harness.Start(harness.Options{DataDir: dir})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	shared = own(b)
	code := m.Run()
	select {
	case <-b.Exited():
		fmt.Fprintf(os.Stderr, "broker ended during the run:\n%s\n", b.Log())
		return 1
	default:
	}
	if err := b.Stop(30 * time.Second); err != nil {
		fmt.Fprintln(os.Stderr, "stop:", err)
		return 1
	}
	return code
}

// own wraps a broker that this process started.
func own(b *harness.Broker) target {
	return target{addr: b.Addr("amqp"), pid: b.PID(), own: b, admin: &admin{run: b.CTL}}
}

// startOwn starts a broker for one test. Reference runs skip such tests.
func startOwn(t *testing.T, set ...string) target {
	t.Helper()
	if os.Getenv("BROKER_ADDR") != "" {
		t.Skip("needs a broker with its own settings; BROKER_ADDR names a running one")
	}
	b, err := harness.Start(harness.Options{DataDir: t.TempDir(), Set: set})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Kill)
	return own(b)
}

// reference reports whether the broker under test is the named reference.
func reference() bool { return os.Getenv("BROKER_KIND") == "rabbitmq" }

// skipDeviation skips the test on a reference run when the table lists key.
func skipDeviation(t *testing.T, key string) {
	t.Helper()
	if d, ok := Deviations[key]; ok && reference() && d.Code == 0 {
		t.Skipf("reference deviates (%s): %s", key, d.Reason)
	}
}

func (b target) url() string { return "amqp://guest:guest@" + b.addr + "/" }

// dial opens a connection that the end of the test closes. Heartbeats are off
// so that a debugger or a busy machine does not end it.
func dial(t *testing.T) *amqp.Connection {
	t.Helper()
	return shared.dial(t, amqp.Config{})
}

func (b target) dial(t *testing.T, c amqp.Config) *amqp.Connection {
	t.Helper()
	conn, err := b.tryDial(c)
	if err != nil {
		t.Fatalf("dial: %v", err)
	}
	t.Cleanup(func() { _ = conn.CloseDeadline(time.Now().Add(2 * time.Second)) })
	return conn
}

func (b target) tryDial(c amqp.Config) (*amqp.Connection, error) {
	if c.Locale == "" {
		c.Locale = "en_US"
	}
	if c.Heartbeat == 0 {
		c.Heartbeat = time.Minute
	}
	return amqp.DialConfig(b.url(), c)
}

// dialAs opens a connection as another user, to a vhost.
func dialAs(t *testing.T, user, password, vhost string) *amqp.Connection {
	t.Helper()
	return shared.dial(t, amqp.Config{Vhost: vhost, SASL: []amqp.Authentication{&amqp.PlainAuth{Username: user, Password: password}}})
}

func channel(t *testing.T, conn *amqp.Connection) *amqp.Channel {
	t.Helper()
	ch, err := conn.Channel()
	if err != nil {
		t.Fatalf("channel: %v", err)
	}
	return ch
}

// open is a new connection with one channel.
func open(t *testing.T) (*amqp.Connection, *amqp.Channel) {
	t.Helper()
	conn := dial(t)
	return conn, channel(t, conn)
}

// confirming is a channel in confirm mode.
func confirming(t *testing.T, conn *amqp.Connection) *amqp.Channel {
	t.Helper()
	ch := channel(t, conn)
	must(t, ch.Confirm(false))
	return ch
}

var names atomic.Int64

// unique returns a name that no other test and no earlier run uses.
func unique(t *testing.T, what string) string {
	base, _, _ := strings.Cut(strings.TrimPrefix(t.Name(), "Test"), "_")
	return fmt.Sprintf("conf.%s.%s.%d.%d", base, what, os.Getpid(), names.Add(1))
}

// queue declares a transient, non-exclusive queue and deletes it at the end.
func queue(t *testing.T, ch *amqp.Channel, args amqp.Table) string {
	t.Helper()
	return declare(t, ch, false, args)
}

// durable is queue for a durable one.
func durable(t *testing.T, ch *amqp.Channel, args amqp.Table) string {
	t.Helper()
	return declare(t, ch, true, args)
}

func declare(t *testing.T, ch *amqp.Channel, durable bool, args amqp.Table) string {
	t.Helper()
	q, err := ch.QueueDeclare(unique(t, "q"), durable, false, false, false, args)
	if err != nil {
		t.Fatalf("declare: %v", err)
	}
	dropQueue(t, q.Name)
	return q.Name
}

// dropQueue deletes a queue when the test ends.
func dropQueue(t *testing.T, name string) {
	t.Cleanup(func() {
		if conn, err := shared.tryDial(amqp.Config{}); err == nil {
			if ch, err := conn.Channel(); err == nil {
				_, _ = ch.QueueDelete(name, false, false, false)
			}
			_ = conn.Close()
		}
	})
}

// exchange declares a transient exchange and deletes it at the end.
func exchange(t *testing.T, ch *amqp.Channel, kind string, args amqp.Table) string {
	t.Helper()
	x := unique(t, kind)
	if err := ch.ExchangeDeclare(x, kind, false, false, false, false, args); err != nil {
		t.Fatalf("declare exchange: %v", err)
	}
	dropExchange(t, x)
	return x
}

func dropExchange(t *testing.T, name string) {
	t.Cleanup(func() {
		if conn, err := shared.tryDial(amqp.Config{}); err == nil {
			if ch, err := conn.Channel(); err == nil {
				_ = ch.ExchangeDelete(name, false, false)
			}
			_ = conn.Close()
		}
	})
}

func bind(t *testing.T, ch *amqp.Channel, q, key, x string, args amqp.Table) {
	t.Helper()
	if err := ch.QueueBind(q, key, x, false, args); err != nil {
		t.Fatalf("bind: %v", err)
	}
}

// text is a message with that body.
func text(body string) amqp.Publishing { return amqp.Publishing{Body: []byte(body)} }

// persistent is a durable message with that body.
func persistent(body string) amqp.Publishing {
	return amqp.Publishing{Body: []byte(body), DeliveryMode: amqp.Persistent}
}

// publish publishes without waiting.
func publish(t *testing.T, ch *amqp.Channel, x, key string, m amqp.Publishing) {
	t.Helper()
	if err := ch.PublishWithContext(context.Background(), x, key, false, false, m); err != nil {
		t.Fatalf("publish: %v", err)
	}
}

// send publishes bodies to a queue and waits until the queue holds them: the
// publishes and the declare share a channel, and a confirm closes the race.
func send(t *testing.T, q string, bodies ...string) {
	t.Helper()
	msgs := make([]amqp.Publishing, len(bodies))
	for i, b := range bodies {
		msgs[i] = text(b)
	}
	sendTo(t, "", q, msgs...)
}

// sendTo publishes messages one after another and waits for every confirm.
func sendTo(t *testing.T, x, key string, msgs ...amqp.Publishing) {
	t.Helper()
	conn, err := shared.tryDial(amqp.Config{})
	must(t, err)
	defer func() { _ = conn.Close() }()
	ch := confirming(t, conn)
	for _, m := range msgs {
		if !confirm(t, ch, x, key, m) {
			t.Fatal("message was nacked")
		}
	}
}

// confirm publishes on a channel in confirm mode and returns the verdict.
func confirm(t *testing.T, ch *amqp.Channel, x, key string, m amqp.Publishing) bool {
	t.Helper()
	d, err := ch.PublishWithDeferredConfirm(x, key, false, false, m)
	must(t, err)
	ctx, cancel := context.WithTimeout(context.Background(), wait)
	defer cancel()
	ok, err := d.WaitContext(ctx)
	if err != nil {
		t.Fatalf("confirm: %v", err)
	}
	return ok
}

// consume starts a consumer with manual acks.
func consume(t *testing.T, ch *amqp.Channel, q string, args amqp.Table) <-chan amqp.Delivery {
	t.Helper()
	return consumeTag(t, ch, q, "", args)
}

func consumeTag(t *testing.T, ch *amqp.Channel, q, tag string, args amqp.Table) <-chan amqp.Delivery {
	t.Helper()
	d, err := ch.Consume(q, tag, false, false, false, false, args)
	if err != nil {
		t.Fatalf("consume: %v", err)
	}
	return d
}

// recv waits for the next delivery.
func recv(t *testing.T, in <-chan amqp.Delivery) amqp.Delivery {
	t.Helper()
	select {
	case d, ok := <-in:
		if !ok {
			t.Fatal("deliveries ended")
		}
		return d
	case <-time.After(wait):
		t.Fatal("no delivery in time")
	}
	return amqp.Delivery{}
}

// wantBodies receives exactly these bodies in this order.
func wantBodies(t *testing.T, in <-chan amqp.Delivery, bodies ...string) []amqp.Delivery {
	t.Helper()
	var out []amqp.Delivery
	for _, want := range bodies {
		d := recv(t, in)
		if string(d.Body) != want {
			t.Fatalf("delivered %q, want %q", d.Body, want)
		}
		out = append(out, d)
	}
	return out
}

// silent checks that no delivery comes.
func silent(t *testing.T, in <-chan amqp.Delivery) {
	t.Helper()
	select {
	case d, ok := <-in:
		if ok {
			t.Fatalf("unexpected delivery %q", d.Body)
		}
	case <-time.After(quietTime):
	}
}

// get fetches one message, waiting until the queue offers one.
func get(t *testing.T, ch *amqp.Channel, q string, autoAck bool) amqp.Delivery {
	t.Helper()
	var d amqp.Delivery
	eventually(t, "a message in "+q, func() bool {
		var ok bool
		var err error
		d, ok, err = ch.Get(q, autoAck)
		must(t, err)
		return ok
	})
	return d
}

// empty checks that a queue has no ready message.
func empty(t *testing.T, ch *amqp.Channel, q string) {
	t.Helper()
	d, ok, err := ch.Get(q, true)
	must(t, err)
	if ok {
		t.Fatalf("queue holds %q, want it empty", d.Body)
	}
}

// ready is the number of ready messages a passive declare reports.
func ready(t *testing.T, ch *amqp.Channel, q string) int {
	t.Helper()
	got, err := ch.QueueDeclarePassive(q, false, false, false, false, nil)
	if err != nil {
		t.Fatalf("passive declare: %v", err)
	}
	return got.Messages
}

func wantReady(t *testing.T, ch *amqp.Channel, q string, want int) {
	t.Helper()
	got := -1
	if !harness.Poll(wait, func() bool { got = ready(t, ch, q); return got == want }) {
		t.Fatalf("ready messages = %d, want %d", got, want)
	}
}

func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	if !harness.Poll(wait, done) {
		t.Fatalf("did not happen in time: %s", what)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// soft runs op on a new channel of conn and checks that it ends that channel
// with the code and text, and nothing else: the connection stays.
func soft(t *testing.T, conn *amqp.Connection, code int, text string, op func(*amqp.Channel) error) {
	t.Helper()
	ch := channel(t, conn)
	closed := ch.NotifyClose(make(chan *amqp.Error, 1))
	wantReply(t, outcome(t, closed, op(ch)), code, text)
	if conn.IsClosed() {
		t.Fatal("connection closed, want only the channel to close")
	}
	must(t, channel(t, conn).Close())
}

// hard runs op on a connection of its own and checks that it ends that
// connection with the code and text.
func hard(t *testing.T, code int, text string, op func(*amqp.Channel) error) {
	t.Helper()
	conn, ch := open(t)
	closed := conn.NotifyClose(make(chan *amqp.Error, 1))
	_ = op(ch)
	wantReply(t, outcome(t, closed, nil), code, text)
}

// softOrDeviation is soft, with another reply on the reference where the
// table lists key. A listed code that closes the connection is hard's.
func softOrDeviation(t *testing.T, key string, code int, text string, op func(*amqp.Channel) error) {
	t.Helper()
	skipDeviation(t, key)
	if d, ok := Deviations[key]; ok && reference() {
		code, text = d.Code, d.Text
		if isHard(code) {
			hard(t, code, text, op)
			return
		}
	}
	soft(t, dial(t), code, text, op)
}

func isHard(code int) bool {
	switch code {
	case 311, 312, 313, 403, 404, 405, 406:
		return false
	}
	return true
}

// outcome is the error of an operation or, when it returned none, the close
// that follows it.
func outcome(t *testing.T, closed <-chan *amqp.Error, err error) *amqp.Error {
	t.Helper()
	var reply *amqp.Error
	if errors.As(err, &reply) && reply.Server {
		return reply
	}
	select {
	case reply = <-closed:
		return reply
	case <-time.After(wait):
		t.Fatalf("nothing was closed (operation returned %v)", err)
	}
	return nil
}

// wantReply checks code and text of a close. A text that begins with "~" only
// has to occur; "" is not checked.
func wantReply(t *testing.T, got *amqp.Error, code int, text string) {
	t.Helper()
	if got == nil {
		t.Fatalf("closed without an error, want %d %s", code, text)
	}
	if got.Code != code || !matches(got.Reason, text) {
		t.Fatalf("closed with %d %q,\nwant        %d %q", got.Code, got.Reason, code, text)
	}
}

func matches(got, want string) bool {
	if part, ok := strings.CutPrefix(want, "~"); ok {
		return strings.Contains(got, part)
	}
	return want == "" || got == want
}

// wantClosing is wantReply for the raw client.
func wantClosing(t *testing.T, got closing, code int, text string) {
	t.Helper()
	if got.code != code || !matches(got.text, text) {
		t.Fatalf("closed with %d %q,\nwant        %d %q", got.code, got.text, code, text)
	}
}

func itoa(n int) string { return strconv.Itoa(n) }
