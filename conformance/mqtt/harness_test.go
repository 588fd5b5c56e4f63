package mqtt

import (
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hermodmq/hermod/conformance/harness"
	"github.com/hermodmq/hermod/listeners/mqtt/wire"
)

// wait bounds every wait for something that must happen; quietTime is how long
// the suite listens before it believes that nothing more comes.
const (
	wait      = 20 * time.Second
	quietTime = 150 * time.Millisecond
)

var shared *harness.Broker

func TestMain(m *testing.M) { os.Exit(runMain(m)) }

func runMain(m *testing.M) int {
	if flag.Parse(); flag.Lookup("test.fuzz").Value.String() != "" {
		return m.Run() // codecs need no broker, and each worker would start one
	}
	defer harness.RemoveBinary()
	dir, err := os.MkdirTemp("", "hermod-mqtt-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() { _ = os.RemoveAll(dir) }()
	b, err := harness.Start(harness.Options{DataDir: dir, Set: settings})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	shared = b
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

var settings = []string{"listeners.mqtt.address=127.0.0.1:0", "listeners.mqtt.websocket_address=127.0.0.1:0", "auth.anonymous=on", "mqtt.session_expiry_max=100000"}

// startOwn starts a broker for one test.
func startOwn(t *testing.T, set ...string) *harness.Broker {
	t.Helper()
	b, err := harness.Start(harness.Options{DataDir: t.TempDir(), Set: append(append([]string(nil), settings...), set...)})
	must(t, err)
	t.Cleanup(b.Kill)
	return b
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

var counter atomic.Int64

// unique returns a name nobody else uses.
func unique(prefix string) string {
	return fmt.Sprintf("%s-%d-%d", prefix, os.Getpid(), counter.Add(1))
}

// raw is a client that says exactly what it is told.
type raw struct {
	t    *testing.T
	c    net.Conn
	v    wire.Version
	buf  []byte
	ack  wire.Connack
	pids uint16
	late []wire.Publish // read while something else was awaited
}

func rawTo(t *testing.T, b *harness.Broker, v wire.Version) *raw {
	t.Helper()
	c, err := net.DialTimeout("tcp", b.Addr("mqtt"), wait)
	must(t, err)
	r := &raw{t: t, c: c, v: v}
	t.Cleanup(func() { _ = c.Close() })
	return r
}

// dial connects with a clean session unless options say otherwise.
func dial(t *testing.T, v wire.Version, id string, options ...func(*wire.Connect)) *raw {
	t.Helper()
	return dialTo(t, shared, v, id, options...)
}

func dialTo(t *testing.T, b *harness.Broker, v wire.Version, id string, options ...func(*wire.Connect)) *raw {
	t.Helper()
	r := rawTo(t, b, v)
	if a := r.hello(id, options...); a.Reason != 0 {
		t.Fatalf("CONNACK 0x%02X", byte(a.Reason))
	}
	return r
}

// hello sends CONNECT and returns the answer.
func (r *raw) hello(id string, options ...func(*wire.Connect)) wire.Connack {
	r.t.Helper()
	p := wire.Connect{Version: r.v, CleanStart: true, ClientID: id}
	for _, o := range options {
		o(&p)
	}
	r.send(p.Append(nil))
	_, body := r.expect(wire.CONNACK)
	a, err := wire.DecodeConnack(body, r.v)
	must(r.t, err)
	r.ack = a
	return a
}

func keep(p *wire.Connect)  { p.CleanStart = false }
func clean(p *wire.Connect) { p.CleanStart = true }

func number(id wire.Property, v uint32) func(*wire.Connect) {
	return func(p *wire.Connect) { p.Props = p.Props.AppendNumber(id, v) }
}

func expiry(seconds uint32) func(*wire.Connect) { return number(wire.SessionExpiry, seconds) }

func keepAlive(seconds uint16) func(*wire.Connect) {
	return func(p *wire.Connect) { p.KeepAlive = seconds }
}

func withWill(w wire.Will) func(*wire.Connect) { return func(p *wire.Connect) { p.Will = &w } }

func login(user, password string) func(*wire.Connect) {
	return func(p *wire.Connect) {
		p.HasUsername, p.Username, p.HasPassword, p.Password = true, user, true, []byte(password)
	}
}

func (r *raw) send(b []byte) {
	r.t.Helper()
	_ = r.c.SetWriteDeadline(time.Now().Add(wait))
	if _, err := r.c.Write(b); err != nil {
		r.t.Fatalf("write: %v", err)
	}
}

// read returns the next packet; the error is that of the connection.
func (r *raw) read(limit time.Duration) (wire.Header, []byte, error) {
	_ = r.c.SetReadDeadline(time.Now().Add(limit))
	for {
		h, body, n, _, err := wire.Next(r.buf, 0)
		if err != nil {
			return h, nil, err
		}
		if n > 0 {
			body = append([]byte(nil), body...)
			r.buf = r.buf[n:]
			return h, body, nil
		}
		chunk := make([]byte, 64<<10)
		n, err = r.c.Read(chunk)
		r.buf = append(r.buf, chunk[:n]...)
		if err != nil && n == 0 {
			return wire.Header{}, nil, err
		}
	}
}

// expect reads a packet of that type.
func (r *raw) expect(t wire.Type) (wire.Header, []byte) {
	r.t.Helper()
	h, body, err := r.read(wait)
	if err != nil {
		r.t.Fatalf("waiting for %s: %v", t, err)
	}
	if h.Type != t {
		r.t.Fatalf("got %s % x, want %s", h.Type, body, t)
	}
	return h, body
}

// closed checks that the connection ends without a further packet.
func (r *raw) closed() {
	r.t.Helper()
	h, body, err := r.read(wait)
	if err == nil {
		r.t.Fatalf("got %s % x, want the end of the connection", h.Type, body)
	}
	if timedOut(err) {
		r.t.Fatal("connection stays open")
	}
}

// dropped checks for a DISCONNECT with that reason (MQTT 5), then the end.
func (r *raw) dropped(reason wire.Reason) {
	r.t.Helper()
	if r.v == wire.V5 {
		_, body := r.expect(wire.DISCONNECT)
		d, err := wire.DecodeDisconnect(body, r.v)
		must(r.t, err)
		if _, ok := d.Props.Find(wire.SessionExpiry); ok { // MQTT-19 [MQTT-3.14.2-2]
			r.t.Error("DISCONNECT of the server with a session expiry")
		}
		if d.Reason != reason {
			r.t.Fatalf("DISCONNECT 0x%02X %q, want 0x%02X", byte(d.Reason), d.Props.Text(wire.ReasonString), byte(reason))
		}
	}
	r.closed()
}

func timedOut(err error) bool {
	var t net.Error
	return errors.As(err, &t) && t.Timeout()
}

// silent checks that no packet comes.
func (r *raw) silent() {
	r.t.Helper()
	h, body, err := r.read(quietTime)
	if err == nil {
		r.t.Fatalf("unexpected %s % x", h.Type, body)
	}
	if !timedOut(err) {
		r.t.Fatalf("connection ended: %v", err)
	}
}

// ping makes sure that everything sent before was carried out.
func (r *raw) ping() {
	r.t.Helper()
	r.send(wire.AppendPingreq(nil))
	r.expect(wire.PINGRESP)
}

func (r *raw) pid() uint16 {
	r.pids++
	return r.pids
}

// subscribe subscribes to one filter and returns the reason code.
func (r *raw) subscribe(filter string, o wire.Options, props ...wire.Properties) wire.Reason {
	r.t.Helper()
	p := wire.Subscribe{PacketID: r.pid(), Filters: []wire.Filter{{Name: filter, Options: o}}}
	if len(props) > 0 {
		p.Props = props[0]
	}
	r.send(p.Append(nil, r.v))
	_, body := r.expect(wire.SUBACK)
	a, err := wire.DecodeSuback(wire.SUBACK, body, r.v)
	must(r.t, err)
	if a.PacketID != p.PacketID || len(a.Codes) != 1 {
		r.t.Fatalf("SUBACK %+v", a)
	}
	return a.Codes[0]
}

func (r *raw) sub(filter string, o wire.Options, props ...wire.Properties) {
	r.t.Helper()
	if code := r.subscribe(filter, o, props...); code.Failed() {
		r.t.Fatalf("subscribe %q: 0x%02X", filter, byte(code))
	}
}

func (r *raw) unsub(filter string) wire.Reason {
	r.t.Helper()
	p := wire.Unsubscribe{PacketID: r.pid(), Filters: []string{filter}}
	r.send(p.Append(nil, r.v))
	_, body := r.expect(wire.UNSUBACK)
	a, err := wire.DecodeSuback(wire.UNSUBACK, body, r.v)
	must(r.t, err)
	if r.v != wire.V5 {
		return 0
	}
	return a.Codes[0]
}

// publish sends a message and waits for its acknowledgements; it returns the
// reason of the first.
func (r *raw) publish(topic, payload string, qos byte, options ...func(*wire.Publish)) wire.Reason {
	r.t.Helper()
	p := wire.Publish{Topic: []byte(topic), Payload: []byte(payload), QoS: qos}
	if qos > 0 {
		p.PacketID = r.pid()
	}
	for _, o := range options {
		o(&p)
	}
	r.send(p.Append(nil, r.v))
	switch qos {
	case 1:
		return r.ackOf(wire.PUBACK, p.PacketID).Reason
	case 2:
		a := r.ackOf(wire.PUBREC, p.PacketID)
		if !a.Reason.Failed() {
			r.answer(wire.PUBREL, p.PacketID)
			r.ackOf(wire.PUBCOMP, p.PacketID)
		}
		return a.Reason
	}
	return 0
}

func retained(p *wire.Publish) { p.Retain = true }

func props(list wire.Properties) func(*wire.Publish) {
	return func(p *wire.Publish) { p.Props = append(p.Props, list...) }
}

func (r *raw) ackOf(t wire.Type, pid uint16) wire.Ack {
	r.t.Helper()
	_, body := r.expect(t)
	a, err := wire.DecodeAck(t, body, r.v)
	must(r.t, err)
	if a.PacketID != pid {
		r.t.Fatalf("%s for %d, want %d", t, a.PacketID, pid)
	}
	return a
}

func (r *raw) answer(t wire.Type, pid uint16) {
	r.t.Helper()
	a := wire.Ack{Type: t, PacketID: pid}
	r.send(a.Append(nil, r.v))
}

// take reads the next PUBLISH without answering.
func (r *raw) take() wire.Publish {
	r.t.Helper()
	if len(r.late) > 0 {
		p := r.late[0]
		r.late = r.late[1:]
		return p
	}
	h, body := r.expect(wire.PUBLISH)
	p, err := wire.DecodePublish(h, body, r.v, true)
	must(r.t, err)
	return p
}

// recv reads the next PUBLISH and completes its acknowledgement.
func (r *raw) recv() wire.Publish {
	r.t.Helper()
	p := r.take()
	switch p.QoS {
	case 1:
		r.answer(wire.PUBACK, p.PacketID)
	case 2:
		r.answer(wire.PUBREC, p.PacketID)
		r.released(p.PacketID)
		r.answer(wire.PUBCOMP, p.PacketID)
	}
	return p
}

// released waits for a PUBREL and puts messages before it aside.
func (r *raw) released(pid uint16) {
	r.t.Helper()
	for {
		h, body, err := r.read(wait)
		must(r.t, err)
		switch h.Type {
		case wire.PUBLISH:
			p, err := wire.DecodePublish(h, body, r.v, true)
			must(r.t, err)
			r.late = append(r.late, p)
			continue
		case wire.PUBREL:
			if a, err := wire.DecodeAck(h.Type, body, r.v); err == nil && a.PacketID == pid {
				return
			}
		}
		r.t.Fatalf("got %s % x, want PUBREL for %d", h.Type, body, pid)
	}
}

// want receives messages with exactly these payloads, in order.
func (r *raw) want(payloads ...string) []wire.Publish {
	r.t.Helper()
	var list []wire.Publish
	for _, want := range payloads {
		p := r.recv()
		if string(p.Payload) != want {
			r.t.Fatalf("received %q on %q, want %q", p.Payload, p.Topic, want)
		}
		list = append(list, p)
	}
	return list
}

// bye disconnects in order and waits for the end.
func (r *raw) bye() {
	r.t.Helper()
	d := wire.Disconnect{}
	r.send(d.Append(nil, r.v))
	r.closed()
	_ = r.c.Close()
}

// cut ends the connection without a word.
func (r *raw) cut() {
	if t, ok := r.c.(*net.TCPConn); ok {
		_ = t.SetLinger(0)
	}
	_ = r.c.Close()
}

// each runs a test for several versions.
func each(t *testing.T, versions []wire.Version, f func(t *testing.T, v wire.Version)) {
	for _, v := range versions {
		t.Run(fmt.Sprintf("v%d", v), func(t *testing.T) { f(t, v) })
	}
}

var (
	all = []wire.Version{wire.V31, wire.V311, wire.V5}
	two = []wire.Version{wire.V311, wire.V5}
)

func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	if !harness.Poll(wait, done) {
		t.Fatalf("did not happen in time: %s", what)
	}
}

// queues lists the queues of the default virtual host.
func queues(t *testing.T, b *harness.Broker) []string {
	t.Helper()
	out, err := b.CTL("list_queues", "name")
	must(t, err)
	return strings.Fields(out)
}
