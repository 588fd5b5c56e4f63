package interop

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/hermodmq/hermod/conformance/harness"
)

var shared *harness.Broker

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "hermod-interop-")
	if err == nil {
		shared, err = harness.Start(harness.Options{DataDir: dir, Set: settings})
	}
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	code := m.Run()
	shared.Kill()
	_ = os.RemoveAll(dir)
	harness.RemoveBinary()
	os.Exit(code)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func connect(t testing.TB, a Adapter) Client {
	t.Helper()
	c, err := a.Connect(shared.Addr)
	must(t, err)
	t.Cleanup(c.Close)
	return c
}

func listen(t testing.TB, c Client, at Address) <-chan Message {
	t.Helper()
	in, err := c.Listen(at)
	must(t, err)
	return in
}

func next(t testing.TB, in <-chan Message) Message {
	t.Helper()
	select {
	case m, open := <-in:
		if !open {
			t.Fatal("the connection ended")
		}
		return m
	case <-time.After(patience):
		t.Fatal("nothing came")
	}
	return Message{}
}

// unique is a topic of its own below which a test works, and a queue's name.
func unique(t testing.TB) string {
	serial++
	return fmt.Sprintf("%s-%d", strings.NewReplacer("/", "-", " ", "", "→", "-").Replace(t.Name()), serial)
}

var serial int

// everyPair runs f for every pair of protocols in both directions, those with
// themselves included, and every kind of address that both reach.
func everyPair(t *testing.T, f func(t *testing.T, from, to Adapter, at Address)) {
	for _, from := range adapters {
		for _, to := range adapters {
			for kind, at := range map[string]func(string) Address{
				"queue": func(n string) Address { return Address{Queue: n} },
				"topic": func(n string) Address { return Address{Topic: []string{n, "x"}} },
			} {
				if probe := at("n"); !from.Reaches(probe) || !to.Reaches(probe) {
					continue
				}
				t.Run(from.Name()+"→"+to.Name()+" "+kind, func(t *testing.T) { f(t, from, to, at(unique(t))) })
			}
		}
	}
}

// samples are the messages that travel between all protocols.
var samples = map[string]Message{
	"text":       {Body: []byte("größe 😀 \n\ttext"), ContentType: "text/plain; charset=utf-8", Persistent: true},
	"binary":     {Body: []byte{0, 1, 0xff, 0xfe, '\n', 0, 0x80}, ContentType: "application/octet-stream"},
	"empty":      {Body: []byte{}, Persistent: true},
	"large":      {Body: bytes.Repeat([]byte("0123456789\x00abcde"), 1<<16)},
	"persistent": {Body: []byte("p"), Persistent: true},
	"transient":  {Body: []byte("t")},
	"properties": {
		Body: []byte("all"), ContentType: "application/json", ContentEncoding: "identity", Persistent: true, Priority: 7, CorrelationID: "corr-😀",
		MessageID: "id-1", Type: "kind", AppID: "app", Timestamp: 1_700_000_000, TTL: time.Hour,
	},
	"types": {Body: []byte("typed"), Headers: map[string]any{
		"text": "x", "empty": "", "integer": int64(-5), "large": int64(1) << 40, "float": 1.5, "yes": true, "no": false,
		"bytes": []byte("raw"), "binary": []byte{0xff, 0x00},
	}},
	"odd names": {Body: []byte("names"), Headers: map[string]any{
		"colon:name": "a:b:c", "größe": "😀", "line": "one\ntwo", "back\\slash": `\n is not a line`, "JMSXGroupID": "g", "with space": " padded ",
	}},
	"reply to a topic": {Body: []byte("r"), ReplyTo: Address{Topic: []string{"re", "p.ly", "x"}}},
	"reply to a queue": {Body: []byte("r"), ReplyTo: Address{Queue: "answers"}},
}

// TestMessages sends every sample over every pair and compares every field.
func TestMessages(t *testing.T) {
	everyPair(t, func(t *testing.T, from, to Adapter, at Address) {
		out, in := connect(t, from), listen(t, connect(t, to), at)
		for name, m := range samples {
			must(t, out.Send(at, m))
			want := to.Shows(from.Says(m))
			if got := next(t, in); difference(got, want) != "" {
				t.Errorf("%s: %s", name, difference(got, want))
			}
		}
	})
}

// TestNames: the levels of a topic survive whatever they are made of, and so do
// the names of queues.
func TestNames(t *testing.T) {
	everyPair(t, func(t *testing.T, from, to Adapter, at Address) {
		base := unique(t)
		var list []Address
		if at.Queue != "" {
			for _, n := range []string{"a.b", "a/b", "a%2Fb", "größe 😀", "#", "*", "a,b", "a?b", `a\b`} {
				list = append(list, Address{Queue: base + n})
			}
		} else {
			for _, levels := range [][]string{
				{"a.b", "c"}, {"a", "b.c.d"}, {"", "x"}, {"x", ""}, {"a", "", "b"}, {"größe", "😀"}, {"with space", "x"}, {"100%", "%2F"},
			} {
				list = append(list, Address{Topic: append([]string{base}, levels...)})
			}
		}
		out := connect(t, from)
		for _, a := range list {
			if !from.Reaches(a) || !to.Reaches(a) {
				continue
			}
			in := listen(t, connect(t, to), a)
			must(t, out.Send(a, Message{Body: []byte(a.String())}))
			if m := next(t, in); string(m.Body) != a.String() {
				t.Errorf("%s: got %q", a, m.Body)
			}
		}
	})
}

// TestExpiry: what has expired is not delivered, whoever waits for it.
func TestExpiry(t *testing.T) {
	for _, from := range adapters {
		for _, to := range adapters {
			probe := Address{Queue: "n"}
			if !from.Reaches(probe) || !to.Reaches(probe) {
				continue
			}
			t.Run(from.Name()+"→"+to.Name(), func(t *testing.T) {
				at := Address{Queue: unique(t)}
				setup, out := connect(t, to), connect(t, from)
				listen(t, setup, at)
				setup.Close()
				must(t, out.Send(at, Message{Body: []byte("gone"), TTL: 50 * time.Millisecond}))
				must(t, out.Send(at, Message{Body: []byte("kept"), TTL: time.Hour}))
				<-time.After(100 * time.Millisecond) // the time to live itself
				if m := next(t, listen(t, connect(t, to), at)); string(m.Body) != "kept" {
					t.Errorf("got %q", m.Body)
				}
			})
		}
	}
}

// TestPriority: a queue with priorities delivers the important message first,
// whoever sent it.
func TestPriority(t *testing.T) {
	for _, from := range adapters {
		for _, to := range adapters {
			probe := Address{Queue: "n"}
			if !from.Reaches(probe) || !to.Reaches(probe) || from.Says(Message{Priority: 9}).Priority != 9 {
				continue
			}
			t.Run(from.Name()+"→"+to.Name(), func(t *testing.T) {
				at := Address{Queue: unique(t)}
				declarePriorities(t, at.Queue)
				out := connect(t, from)
				for _, p := range []uint8{1, 9, 5} {
					must(t, out.Send(at, Message{Body: []byte(fmt.Sprint(p)), Priority: p, Persistent: true}))
				}
				in := listenExisting(t, to, at)
				for _, want := range []string{"9", "5", "1"} {
					if m := next(t, in); string(m.Body) != want {
						t.Errorf("got %s, want %s", m.Body, want)
					}
				}
			})
		}
	}
}

// TestPersistence: what one protocol sent and had confirmed is there for
// another after the broker was killed.
func TestPersistence(t *testing.T) {
	b, err := harness.Start(harness.Options{DataDir: t.TempDir(), Set: settings})
	must(t, err)
	t.Cleanup(b.Kill)
	old := shared
	shared = b
	defer func() { shared = old }()
	type pair struct {
		from, to Adapter
		at       Address
	}
	var list []pair
	for _, from := range adapters {
		for _, to := range adapters {
			if probe := (Address{Queue: "n"}); from.Reaches(probe) && to.Reaches(probe) {
				list = append(list, pair{from, to, Address{Queue: unique(t)}})
			}
		}
	}
	for _, p := range list {
		setup, err := p.to.Connect(b.Addr)
		must(t, err)
		listen(t, setup, p.at)
		setup.Close()
		out, err := p.from.Connect(b.Addr)
		must(t, err)
		must(t, out.Send(p.at, Message{Body: []byte("transient")}))
		must(t, out.Send(p.at, Message{Body: []byte("kept"), Persistent: true, Headers: map[string]any{"k": "v"}}))
	}
	b.Kill()
	must(t, b.Restart())
	for _, p := range list {
		m := next(t, listen(t, connect(t, p.to), p.at))
		if string(m.Body) != "kept" || !m.Persistent || fmt.Sprint(m.Headers["k"]) != "v" {
			t.Errorf("%s→%s: got %q %v", p.from.Name(), p.to.Name(), m.Body, m.Headers)
		}
	}
}

// TestRequestReply: a request by one protocol is answered by another at the
// address it shows, with the correlation id.
func TestRequestReply(t *testing.T) {
	everyPair(t, func(t *testing.T, from, to Adapter, at Address) {
		reply := Address{Topic: []string{unique(t), "re.ply"}}
		if at.Queue != "" {
			reply = Address{Queue: unique(t) + "/re.ply"}
		}
		asker, answerer := connect(t, from), connect(t, to)
		answers, requests := listen(t, asker, reply), listen(t, answerer, at)
		must(t, asker.Send(at, Message{Body: []byte("ping"), ReplyTo: reply, CorrelationID: "7"}))
		r := next(t, requests)
		address := r.ReplyTo
		if len(reply.Topic) > 0 && address.Queue != "" { // a protocol that shows names alone: its user knows which
			address = Address{Topic: levels(address.Queue)}
		}
		if !address.equal(reply) {
			t.Fatalf("the request says %s, want %s", r.ReplyTo, reply)
		}
		must(t, answerer.Send(address, Message{Body: []byte("pong"), CorrelationID: r.CorrelationID}))
		if m := next(t, answers); string(m.Body) != "pong" || m.CorrelationID != "7" {
			t.Errorf("got %q with correlation id %q", m.Body, m.CorrelationID)
		}
	})
}

// TestDifference: the comparison sees what differs.
func TestDifference(t *testing.T) {
	base := samples["properties"]
	base.Headers, base.ReplyTo = map[string]any{"k": int64(1)}, Address{Queue: "q"}
	if d := difference(base, base); d != "" {
		t.Errorf("the same differs: %s", d)
	}
	for what, change := range map[string]func(m *Message){
		"body": func(m *Message) { m.Body = nil }, "content type": func(m *Message) { m.ContentType = "" },
		"content encoding": func(m *Message) { m.ContentEncoding = "" }, "persistent": func(m *Message) { m.Persistent = false },
		"priority": func(m *Message) { m.Priority = 1 }, "time to live": func(m *Message) { m.TTL = 0 },
		"correlation id": func(m *Message) { m.CorrelationID = "" }, "message id": func(m *Message) { m.MessageID = "" },
		"type": func(m *Message) { m.Type = "" }, "app id": func(m *Message) { m.AppID = "" }, "timestamp": func(m *Message) { m.Timestamp = 1 },
		"reply to": func(m *Message) { m.ReplyTo = Address{Topic: []string{"q"}} },
		"header k": func(m *Message) { m.Headers = map[string]any{"k": "1"} }, "header l": func(m *Message) { m.Headers = map[string]any{"k": int64(1), "l": 1} },
	} {
		m := base
		change(&m)
		if d := difference(m, base); !strings.HasPrefix(d, what+" is ") {
			t.Errorf("%s: %q", what, d)
		}
	}
}
