package stomp

import (
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/hermodmq/hermod/broker"
	"github.com/hermodmq/hermod/listeners/stomp/wire"
)

// TestReceiptsWaitForTheStore covers STOMP-13: nothing that has to last is
// confirmed before it is committed, and receipts keep the order of frames.
func TestReceiptsWaitForTheStore(t *testing.T) {
	w := newWorld(t, Options{})
	c := w.open()
	c.do("SEND", "", "destination:/queue/q")
	w.held = true
	c.send("SEND", "a", "destination:/queue/q", "persistent:true", "receipt:1")
	c.send("SEND", "b", "destination:/queue/q", "receipt:2")
	c.send("BEGIN", "", "transaction:t", "receipt:3")
	c.send("SEND", "c", "destination:/queue/q", "transaction:t", "persistent:true", "receipt:4")
	c.send("COMMIT", "", "transaction:t", "receipt:5")
	c.send("BOGUS", "")
	c.send("DISCONNECT", "", "receipt:6")
	c.silent()
	w.held = false
	for i := 1; i <= 5; i++ {
		if a := c.expect("RECEIPT"); a.headers["receipt-id"] != text(i) {
			t.Fatalf("got %+v, want receipt %d", a, i)
		}
	}
	c.failure("Bad command")
	if a := c.expect("RECEIPT"); a.headers["receipt-id"] != "6" {
		t.Fatalf("got %+v", a)
	}
	c.eof()
}

// TestHeartBeats covers STOMP-23 on a clock turned by hand.
func TestHeartBeats(t *testing.T) {
	w := newWorld(t, Options{})
	c := w.dial()
	c.send("CONNECT", "", "accept-version:1.2", "login:guest", "passcode:guest", "heart-beat:1500,2500")
	if a := c.expect("CONNECTED"); a.headers["heart-beat"] != "2500,1500" {
		t.Fatalf("got %+v", a)
	}
	c.cut()
	c.beats = 0
	for range 40 { // 10 seconds, with the client alive
		w.tick(250 * time.Millisecond)
		c.peer.Send([]byte("\n"))
	}
	c.silent()
	if c.beats < 4 {
		t.Errorf("%d heart-beats in 10 s", c.beats)
	}
	for range 11 {
		w.tick(250 * time.Millisecond)
	}
	if c.peer.EOF() {
		t.Error("closed before twice the client's interval was over")
	}
	w.tick(500 * time.Millisecond)
	c.eof()

	stranger := w.dial()
	w.tick(9 * time.Second)
	if stranger.peer.EOF() {
		t.Error("closed too early")
	}
	w.tick(2 * time.Second)
	stranger.eof()
}

// TestSlowConsumer: what a client does not read stays in its queue.
func TestSlowConsumer(t *testing.T) {
	w := newWorld(t, Options{})
	for _, ack := range []string{"auto", "client"} {
		c, p := w.open(), w.open()
		c.do("SUBSCRIBE", "", "id:0", "destination:/queue/"+ack, "ack:"+ack)
		c.peer.Window(0)
		body := strings.Repeat("x", 10<<10)
		const many = 1000
		for range many {
			p.send("SEND", body, "destination:/queue/"+ack)
		}
		p.do("BEGIN", "", "transaction:barrier")
		q, ok := w.b.DescribeQueue("/", ack)
		if !ok || q.Ready < many/2 {
			t.Fatalf("%s: %d messages stayed", ack, q.Ready)
		}
		c.peer.Window(-1)
		for range many {
			c.expect("MESSAGE")
		}
		if ack == "auto" {
			c.do("UNSUBSCRIBE", "", "id:0")
		}
	}
}

// TestAlarm: publishers wait while memory is short, then go on.
func TestAlarm(t *testing.T) {
	w := newWorld(t, Options{})
	c := w.open()
	c.do("SEND", "", "destination:/queue/q")
	w.b.SetAlarm(&broker.Turn{Now: w.now.UnixMilli()}, broker.AlarmMemory, true)
	w.m.Turn()
	c.do("SEND", "brought it about", "destination:/queue/q")
	if !c.peer.Paused() {
		t.Fatal("reading goes on")
	}
	w.b.SetAlarm(&broker.Turn{Now: w.now.UnixMilli()}, broker.AlarmMemory, false)
	w.m.Turn()
	if c.peer.Paused() {
		t.Fatal("reading does not go on")
	}
	c.do("SEND", "again", "destination:/queue/q")
}

// TestAlarmSparesConsumers: whoever acknowledges in transactions is no publisher.
func TestAlarmSparesConsumers(t *testing.T) {
	w := newWorld(t, Options{})
	p, c := w.open(), w.open()
	p.do("SEND", "one", "destination:/queue/q")
	w.b.SetAlarm(&broker.Turn{Now: w.now.UnixMilli()}, broker.AlarmDisk, true)
	w.m.Turn()
	c.do("SUBSCRIBE", "", "id:0", "destination:/queue/q", "ack:client-individual")
	m := c.expect("MESSAGE")
	c.do("BEGIN", "", "transaction:t")
	c.do("ACK", "", "id:"+m.headers["ack"], "transaction:t")
	c.do("COMMIT", "", "transaction:t")
	if c.peer.Paused() {
		t.Error("a consumer is held")
	}
	p.do("BEGIN", "", "transaction:t")
	p.do("SEND", "two", "destination:/queue/q", "transaction:t")
	p.do("COMMIT", "", "transaction:t")
	if !p.peer.Paused() {
		t.Error("a publisher is not held")
	}
}

// TestPendingReplies: a client cannot have any number of receipts wait.
func TestPendingReplies(t *testing.T) {
	w := newWorld(t, Options{PendingReplies: 10})
	c := w.open()
	c.do("SEND", "", "destination:/queue/q")
	w.held = true
	for i := range 25 {
		c.send("SEND", "x", "destination:/queue/q", "persistent:true", "receipt:"+text(i))
	}
	if !c.peer.Paused() {
		t.Fatal("reading goes on")
	}
	w.held = false
	for i := range 25 {
		if a := c.expect("RECEIPT"); a.headers["receipt-id"] != text(i) {
			t.Fatalf("got %+v, want receipt %d", a, i)
		}
	}
	if c.peer.Paused() {
		t.Fatal("reading does not go on")
	}
}

// TestEnds: however a connection ends, the broker forgets it.
func TestEnds(t *testing.T) {
	w := newWorld(t, Options{})
	for name, end := range map[string]func(c *client){
		"hang up":    func(c *client) { c.peer.HangUp(io.EOF) },
		"disconnect": func(c *client) { c.send("DISCONNECT", "") },
		"garbage":    func(c *client) { c.peer.Send([]byte("SEND\nx\n")); c.failure("Invalid frame") },
		"operator": func(c *client) {
			if w.b.CloseConnectionNamed("127.0.0.1:40000 -> 127.0.0.1:61613", "gone") != 1 {
				t.Error("no connection of that name")
			}
			c.failure("Connection closed")
		},
		"drain": func(c *client) { w.m.Drain(); c.failure("Connection closed") },
	} {
		c := w.open()
		c.do("SUBSCRIBE", "", "id:0", "destination:/queue/"+name, "ack:client")
		c.send("SEND", "x", "destination:/queue/"+name)
		c.expect("MESSAGE")
		c.do("SUBSCRIBE", "", "id:t", "destination:/topic/"+name)
		c.do("BEGIN", "", "transaction:t")
		c.do("SEND", "y", "destination:/queue/"+name, "transaction:t")
		end(c)
		w.until(name, func() bool { return c.peer.EOF() && len(w.b.ListConnections()) == 0 })
		q, _ := w.b.DescribeQueue("/", name)
		if q.Ready != 1 {
			t.Errorf("%s: %d messages in the queue", name, q.Ready)
		}
		if n := len(w.b.ListQueues("/")); n != 1 {
			t.Errorf("%s: %d queues are left", name, n)
		}
		s := w.b.VHost("/").OpenSession(nil, nil)
		if _, err := s.DeleteQueue(&broker.Turn{Now: w.now.UnixMilli()}, name, false, false, nil); err != nil {
			t.Fatal(err)
		}
	}
}

// TestOverflow: a queue that refuses a message is no receipt.
func TestOverflow(t *testing.T) {
	w := newWorld(t, Options{})
	c := w.open()
	c.do("SUBSCRIBE", "", "id:0", "destination:/queue/q", "x-max-length:1", "x-overflow:reject-publish")
	c.do("UNSUBSCRIBE", "", "id:0")
	c.do("SEND", "fits", "destination:/queue/q", "persistent:true")
	c.send("SEND", "does not", "destination:/queue/q", "receipt:r", "persistent:true")
	if a := c.expect("ERROR"); a.headers["message"] != "Message rejected" || a.headers["receipt-id"] != "r" {
		t.Errorf("got %+v", a)
	}
}

// TestBodyKind covers the STOMP side of STOMP-34.
func TestBodyKind(t *testing.T) {
	for _, binary := range []bool{false, true} {
		w := newWorld(t, Options{ContentTypeBinary: binary})
		var got []*broker.Message
		s := w.b.VHost("/").OpenSession(nil, collector(func(d broker.Delivery) { got = append(got, d.Msg) }))
		w.queue("q")
		if _, err := s.Subscribe(&broker.Turn{Now: w.now.UnixMilli()}, broker.SubscribeOptions{Queue: "q", Tag: "t", NoAck: true}); err != nil {
			t.Fatal(err)
		}
		got = nil
		c := w.open()
		for _, x := range []struct {
			headers []string
			text    bool
		}{
			{[]string{}, true},
			{[]string{"content-length:1"}, false},
			{[]string{"content-length:1", "amq-msg-type:text"}, true},
			{[]string{"amq-msg-type:bytes"}, false},
			{[]string{"content-length:1", "content-type:text/plain; charset=utf-8"}, !binary},
			{[]string{"content-length:1", "content-type:application/json"}, !binary},
			{[]string{"content-length:1", "content-type:application/octet-stream"}, false},
		} {
			c.do("SEND", "x", append(x.headers, "destination:/queue/q")...)
			m := got[len(got)-1]
			if isText := kindOf(m) == bodyText; isText != x.text {
				t.Errorf("%q: text is %v", x.headers, isText)
			}
		}
	}
}

// collector is a sink that only takes deliveries.
type collector func(broker.Delivery)

func (c collector) Deliver(_ *broker.Turn, d broker.Delivery)           { c(d) }
func (collector) GetResult(*broker.Turn, uint64, broker.Delivery, bool) {}
func (collector) Receipt(*broker.Turn, uint64, bool)                    {}
func (collector) Cancelled(*broker.Turn, *broker.Subscription)          {}

func TestProblems(t *testing.T) {
	for _, c := range []struct {
		err  error
		want problem
	}{
		{&broker.Error{Kind: broker.NotFound, Text: "no queue 'q'"}, problem{"not_found", "NOT_FOUND - no queue 'q'", false}},
		{&broker.Error{Kind: 200, Text: "x"}, problem{"internal_error", "INTERNAL_ERROR - x", false}},
		{wire.ErrEscape, problem{wire.ErrEscape.Message, wire.ErrEscape.Detail, true}},
		{errors.New("open /secret: no such file"), problem{"internal_error", "INTERNAL_ERROR", false}},
	} {
		if got := problemOf(c.err); *got != c.want {
			t.Errorf("%v: %+v, want %+v", c.err, got, c.want)
		}
	}
}

// TestBrowserMissesWhatWasAcknowledgedBefore: STOMP-32, also when both frames
// come in the same read.
func TestBrowserMissesWhatWasAcknowledgedBefore(t *testing.T) {
	w := newWorld(t, Options{})
	c := w.open()
	c.do("SEND", "1", "destination:/queue/q")
	c.do("SUBSCRIBE", "", "id:0", "destination:/queue/q", "ack:client")
	m := c.expect("MESSAGE")
	c.peer.Send([]byte(compose("ACK", "", "id:"+m.headers["ack"]) + compose("SUBSCRIBE", "", "id:b", "destination:/queue/q", "browser:true")))
	if end := c.expect("MESSAGE"); end.headers["browser"] != "end" {
		t.Errorf("shown: %+v", end)
	}
}
