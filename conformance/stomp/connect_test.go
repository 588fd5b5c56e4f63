package stomp

import (
	"strings"
	"testing"
	"time"

	"github.com/hermodmq/hermod/conformance/harness"
)

func TestSTOMP1Negotiation(t *testing.T) {
	b := either(t)
	for _, c := range []struct{ command, accept, want string }{
		{"CONNECT", "", "1.0"},
		{"CONNECT", "1.0", "1.0"},
		{"CONNECT", "1.0,1.1", "1.1"},
		{"STOMP", "1.0,1.1,1.2", "1.2"},
		{"CONNECT", "1.2, 1.1 ,9.9", "1.2"},
	} {
		cl := dial(t, b)
		headers := []string{"login:guest", "passcode:guest", "host:/"}
		if c.accept != "" {
			headers = append(headers, "accept-version:"+c.accept)
		}
		cl.send(c.command, "", headers...)
		if f := cl.expect("CONNECTED"); f.headers["version"] != c.want {
			t.Errorf("accept-version %q: %s, want %s", c.accept, f, c.want)
		}
	}
	cl := dial(t, b)
	cl.send("CONNECT", "", "accept-version:9.9", "host:/", "login:guest", "passcode:guest")
	f := cl.failure("Version mismatch")
	if f.body != "Supported versions are 1.0,1.1,1.2\n" || f.headers["version"] != "1.0,1.1,1.2" {
		t.Errorf("refused with %s", f)
	}
	cl.closed()
}

func TestSTOMP2Connected(t *testing.T) {
	f := dial(t, either(t)).connect("1.2", "heart-beat:0,0")
	for _, name := range []string{"version", "session", "server", "heart-beat"} {
		if f.headers[name] == "" {
			t.Errorf("CONNECTED without %s: %s", name, f)
		}
	}
	if strings.Contains(f.raw, `\`) {
		t.Errorf("CONNECTED is escaped: %q", f.raw)
	}
}

func TestSTOMP3Login(t *testing.T) {
	for _, headers := range [][]string{
		{"login:guest", "passcode:wrong"}, {"login:nobody", "passcode:guest"}, {"login:guest"}, {},
	} {
		c := dial(t, either(t))
		c.send("CONNECT", "", append(headers, "accept-version:1.2", "host:/", "receipt:r")...)
		if f := c.failure("Bad CONNECT"); !strings.HasPrefix(f.body, "Access refused for user '") || f.headers["receipt-id"] != "r" {
			t.Errorf("%q: refused with %s", headers, f)
		}
		c.closed()
	}
	b := start(t, "rabbitmq", "auth.anonymous=on")
	c := dial(t, b)
	c.send("CONNECT", "", "accept-version:1.2", "host:/")
	c.expect("CONNECTED")
}

func TestSTOMP4VirtualHost(t *testing.T) {
	c := dial(t, rabbit(t))
	c.send("CONNECT", "", "accept-version:1.2", "host:nowhere", "login:guest", "passcode:guest")
	if f := c.failure("Bad CONNECT"); f.body != "Virtual host 'nowhere' access denied" {
		t.Errorf("refused with %s", f)
	}
	c.closed()

	// ActiveMQ knows no virtual hosts: its clients send anything.
	c = dial(t, active(t))
	c.send("CONNECT", "", "accept-version:1.2", "host:nowhere", "login:guest", "passcode:guest")
	c.expect("CONNECTED")

	for _, set := range [][2]string{{"rabbitmq", "stomp.unknown_host=ignore"}, {"activemq", "stomp.unknown_host=refuse"}} {
		c := dial(t, start(t, set[0], set[1]))
		c.send("CONNECT", "", "accept-version:1.2", "host:nowhere", "login:guest", "passcode:guest")
		if set[0] == "activemq" {
			c.failure("Bad CONNECT")
		} else {
			c.expect("CONNECTED")
		}
	}

	b := rabbit(t)
	if _, err := b.CTL("add_vhost", "other"); err != nil {
		t.Fatal(err)
	}
	if _, err := b.CTL("set_permissions", "-p", "other", "guest", ".*", ".*", ".*"); err != nil {
		t.Fatal(err)
	}
	c = dial(t, b)
	c.send("CONNECT", "", "accept-version:1.2", "host:other", "login:guest", "passcode:guest")
	c.expect("CONNECTED")
	q := unique(t)
	c.do("SEND", "x", "destination:/queue/"+q)
	if out, err := b.CTL("list_queues", "-p", "other", "name"); err != nil || !strings.Contains(out, q) {
		t.Errorf("queues of the virtual host: %q, %v", out, err)
	}
}

func TestSTOMP5BeforeConnect(t *testing.T) {
	for _, command := range []string{"SEND", "SUBSCRIBE", "DISCONNECT", "BOGUS"} {
		c := dial(t, either(t))
		c.send(command, "", "destination:/queue/x")
		if f := c.failure("Illegal command"); f.body != "You must log in using CONNECT first" {
			t.Errorf("%s: refused with %s", command, f)
		}
		c.closed()
	}
	c := open(t, either(t), "1.2")
	c.send("CONNECT", "", "login:guest", "passcode:guest")
	c.failure("Already connected")
	c.barrier()
}

func TestSTOMP23HeartBeats(t *testing.T) {
	c := dial(t, either(t))
	f := c.connect("1.2", "heart-beat:1500,2500")
	if f.headers["heart-beat"] != "2500,1500" {
		t.Errorf("heart-beat:%s", f.headers["heart-beat"])
	}
	// The broker beats, and closes when the client never does.
	began := time.Now()
	c.closed()
	if c.beats < 1 {
		t.Errorf("%d heart-beats in %v", c.beats, time.Since(began))
	}

	still := dial(t, either(t))
	if f := still.connect("1.1", "heart-beat:0,0"); f.headers["heart-beat"] != "0,0" {
		t.Errorf("heart-beat:%s", f.headers["heart-beat"])
	}
	one := dial(t, either(t))
	one.connect("1.1", "heart-beat:0,1000")
	if !harness.Poll(patience, func() bool {
		b, err := one.in.ReadByte()
		return err == nil && b == '\n'
	}) {
		t.Error("no heart-beat")
	}
	still.barrier()
	if still.beats != 0 {
		t.Errorf("%d heart-beats to a client that wants none", still.beats)
	}
	bad := dial(t, either(t))
	bad.send("CONNECT", "", "accept-version:1.2", "host:/", "heart-beat:x")
	bad.failure("Invalid header")
	bad.closed()
}

func TestSTOMP37Errors(t *testing.T) {
	c := open(t, either(t), "1.2")
	for _, x := range []struct{ command, message, body string }{
		{"SEND", "Missing destination", "\"SEND\" must include a 'destination' header\n"},
		{"SUBSCRIBE", "Missing destination", "\"SUBSCRIBE\" must include a 'destination' header\n"},
		{"UNSUBSCRIBE", "Missing id", "UNSUBSCRIBE must include 'id' or 'destination' header\n"},
		{"ACK", "Missing header", "\"ACK\" must include a \"id\" header\n"},
		{"BEGIN", "Missing transaction", "\"BEGIN\" must include a 'transaction' header\n"},
		{"BOGUS", "Bad command", "Could not interpret command \"BOGUS\"\n"},
	} {
		c.send(x.command, "", `receipt:a\cb`)
		f := c.failure(x.message)
		if f.body != x.body || f.headers["receipt-id"] != "a:b" || f.headers["content-type"] != "text/plain" {
			t.Errorf("%s: %s", x.command, f)
		}
		c.send(x.command, "")
		if f := c.failure(x.message); f.headers["receipt-id"] != "" {
			t.Errorf("%s without receipt: %s", x.command, f)
		}
	}
	c.barrier()
}

func TestSTOMP15Disconnect(t *testing.T) {
	b := either(t)
	q := unique(t)
	c := open(t, b, "1.2")
	var all strings.Builder
	for range 100 {
		all.WriteString(compose("SEND", "x", "destination:/queue/"+q, "persistent:true"))
	}
	c.raw(all.String() + compose("DISCONNECT", "", "receipt:bye") + compose("SEND", "late", "destination:/queue/"+q))
	c.receipt("bye")
	c.closed()
	ready(t, b, q, 100)

	c = open(t, b, "1.0")
	c.send("DISCONNECT", "")
	c.closed()
}
