package stomp

import (
	"fmt"
	"strings"
	"testing"

	"github.com/hermodmq/hermod/conformance/harness"
)

func TestSTOMP6Pieces(t *testing.T) {
	b := either(t)
	q := unique(t)
	c := open(t, b, "1.2")
	one := compose("SEND", "hello", "destination:/queue/"+q, "k:v")
	for i := range one {
		c.raw(one[i : i+1])
	}
	var hundred strings.Builder
	for range 99 {
		hundred.WriteString(one)
	}
	c.raw(hundred.String())
	c.barrier()
	ready(t, b, q, 100)
}

func TestSTOMP7LineEnds(t *testing.T) {
	c := dial(t, either(t))
	c.raw("\n\r\n\x00\nCONNECT\r\naccept-version:1.2\r\nhost:/\r\nlogin:guest\r\npasscode:guest\r\n\r\n\x00\r\n\n")
	c.expect("CONNECTED")
	q := unique(t)
	c.raw("SUBSCRIBE\r\nid:0\r\ndestination:/queue/" + q + "\r\nreceipt:1\r\n\r\n\x00\n\n\x00\n")
	c.receipt("1")
	c.raw("SEND\r\ndestination:/queue/" + q + "\r\nk:v\r\n\r\nx\x00\r\n\r\n")
	if f := c.message("x"); f.headers["k"] != "v" { // the reader of this suite wants NUL LF behind every frame
		t.Errorf("got %s", f)
	}
}

func TestSTOMP8Escapes(t *testing.T) {
	b := rabbit(t)
	for _, version := range []string{"1.1", "1.2"} {
		c := open(t, b, version)
		q := unique(t)
		c.subscribe("/queue/" + q)
		c.send("SEND", "x", "destination:/queue/"+q, `k\cey:a\cb\nc\\d`, "space: v ")
		f := c.message("x")
		if f.headers["k:ey"] != "a:b\nc\\d" || f.headers["space"] != " v " {
			t.Errorf("%s: %s", version, f)
		}
		c.send("SEND", "x", "destination:/queue/"+q, `k:\t`)
		c.failure("Invalid frame")
		c.closed()
	}
	c := open(t, b, "1.2")
	q := unique(t)
	c.subscribe("/queue/" + q)
	c.send("SEND", "x", "destination:/queue/"+q, `k:a\rb`)
	if f := c.message("x"); f.headers["k"] != "a\rb" {
		t.Errorf("carriage return: %s", f)
	}
	c = open(t, b, "1.1")
	c.send("SEND", "x", "destination:/queue/"+q, `k:a\rb`)
	c.failure("Invalid frame")
	c.closed()

	c = open(t, b, "1.0")
	q = unique(t)
	c.subscribe("/queue/" + q)
	c.send("SEND", "x", "destination:/queue/"+q, `k: a\tb:c`, "foo: spaced ")
	if f := c.message("x"); f.headers["k"] != `a\tb:c` || f.headers["foo"] != "spaced " {
		t.Errorf("1.0: %s", f)
	}
	// What 1.2 can say and 1.0 cannot does not break 1.0's frames.
	open(t, b, "1.2").do("SEND", "y", "destination:/queue/"+q, `k:a\nb\rc`, `x\cy:z`)
	if f := c.message("y"); f.headers["k"] != "a b c" || f.headers["x y"] != "z" {
		t.Errorf("1.2 to 1.0: %s", f)
	}
	a := open(t, active(t), "1.0")
	a.subscribe("/queue/" + q)
	a.send("SEND", "x", "destination:/queue/"+q, "foo: spaced ")
	if f := a.message("x"); f.headers["foo"] != "spaced" {
		t.Errorf("1.0 of ActiveMQ: %s", f)
	}
}

func TestSTOMP9RepeatedHeaders(t *testing.T) {
	c := open(t, either(t), "1.2")
	q := unique(t)
	c.subscribe("/queue/" + q)
	c.send("SEND", "x", "destination:/queue/"+q, "destination:/queue/nope", "foo:first", "foo:second")
	if f := c.message("x"); f.headers["foo"] != "first" {
		t.Errorf("got %s", f)
	}
}

func TestSTOMP10Bodies(t *testing.T) {
	b := either(t)
	c := open(t, b, "1.2")
	q := unique(t)
	c.subscribe("/queue/" + q)
	for _, body := range []string{"a\x00b\x00c", "", "\x00", "\n\n\x00\n", strings.Repeat("x\x00", 100_000)} {
		c.send("SEND", body, "destination:/queue/"+q, fmt.Sprintf("content-length:%d", len(body)))
		if f := c.message(body); f.headers["content-length"] != fmt.Sprint(len(body)) {
			t.Errorf("got %q", f.headers)
		}
	}
	c.send("SEND", "no length", "destination:/queue/"+q)
	c.message("no length")
	c.send("SEND", "abc", "destination:/queue/"+q, "content-length:2")
	c.failure("Invalid frame")
	c.closed()
	for _, bad := range []string{"-1", "x", "99999999999999999999", ""} {
		c := open(t, b, "1.2")
		c.raw("SEND\ndestination:/queue/" + q + "\ncontent-length:" + bad + "\n\n")
		c.failure("Invalid frame")
		c.closed()
	}
}

func TestSTOMP11Limits(t *testing.T) {
	b := start(t, "rabbitmq", "limits.max_message_size=1MiB")
	before, err := harness.Sample(b.PID())
	if err != nil {
		t.Fatal(err)
	}
	for name, in := range map[string]string{
		"command":        strings.Repeat("A", 100),
		"header line":    "SEND\nk:" + strings.Repeat("v", 40<<10),
		"header count":   "SEND\n" + strings.Repeat("k:v\n", 1001),
		"header bytes":   "SEND\n" + strings.Repeat("k:"+strings.Repeat("v", 20<<10)+"\n", 8),
		"announced body": "SEND\ncontent-length:1048577\n\n",
		"body":           "SEND\n\n" + strings.Repeat("x", 1<<20+1),
	} {
		t.Run(name, func(t *testing.T) {
			for range 5 {
				c := open(t, b, "1.2")
				c.raw(in)
				c.failure("Invalid frame")
				c.closed()
			}
		})
	}
	for range 50 { // announced, never sent
		c := open(t, b, "1.2")
		c.raw("SEND\ncontent-length:1000000\n\n")
	}
	for range 5 { // strangers get less
		c := dial(t, b)
		c.raw("CONNECT\n" + strings.Repeat("k:v\n", 5000))
		c.failure("Invalid frame")
		c.closed()
	}
	after, err := harness.Sample(b.PID())
	if err != nil {
		t.Fatal(err)
	}
	if grown := after.RSS - before.RSS; grown > 128<<20 {
		t.Errorf("resident memory grew by %d MiB", grown>>20)
	}
}
