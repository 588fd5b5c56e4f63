package stomp

import (
	"reflect"
	"strings"
	"testing"

	"github.com/hermodmq/hermod/broker"
	"github.com/hermodmq/hermod/listeners/stomp/wire"
)

func TestConverter(t *testing.T) {
	native := []byte{bodyText}
	for _, h := range [][2]string{
		{"content-type", "text/plain"}, {"content-type", "second"}, {"content-encoding", "gzip"}, {"correlation-id", "c"},
		{"reply-to", "/queue/a%2Fb"}, {"amqp-message-id", "m"}, {"type", "t"}, {"user-id", "u"}, {"app-id", "a"},
		{"timestamp", "1700000000123"}, {"priority", "7"}, {"persistent", "true"}, {"expiration", "5"},
		{"k:ey", "a:b\n\\c"}, {"k:ey", "again"}, {"empty", ""},
	} {
		native = wire.AppendLine(native, h[0], h[1])
	}
	got, err := Converter{}.Properties(&broker.Message{Format: broker.FormatSTOMP, Native: native})
	if err != nil {
		t.Fatal(err)
	}
	want := &broker.Properties{
		ContentType: "text/plain", ContentEncoding: "gzip", CorrelationID: "c", ReplyTo: "a/b", MessageID: "m", Type: "t",
		UserID: "u", AppID: "a", Timestamp: 1700000000,
		Headers: broker.Table{{Name: "k:ey", Value: "a:b\n\\c"}, {Name: "empty", Value: ""}},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	if p, err := (Converter{}).Properties(&broker.Message{}); err != nil || len(p.Headers) != 0 {
		t.Errorf("empty message: %+v %v", p, err)
	}
}

func TestValueText(t *testing.T) {
	for _, c := range []struct {
		value broker.Value
		want  string
	}{
		{nil, ""}, {"s", "s"}, {[]byte("b"), "b"}, {[]byte{0xff}, "/w=="}, {true, "true"}, {int8(-1), "-1"}, {uint32(7), "7"},
		{int64(1) << 60, "1152921504606846976"}, {float32(1.5), "1.5"}, {2.25, "2.25"}, {broker.Timestamp(9), "9"},
		{broker.Decimal{Scale: 2, Value: 314}, "314e-2"}, {broker.Decimal{Value: 3}, "3"},
		{broker.Array{"a", int32(1), broker.Table{{Name: "k", Value: true}}}, `["a",1,{"k":true}]`},
	} {
		if got := valueText(c.value); got != c.want {
			t.Errorf("%#v: %q, want %q", c.value, got, c.want)
		}
	}
	deep := broker.Value("x")
	for range 1000 {
		deep = broker.Array{deep}
	}
	if got := valueText(deep); !strings.HasPrefix(got, "[[") {
		t.Errorf("deep: %q", got)
	}
}

// TestAllocations: a message costs one allocation on its way in, beside what
// the core needs, and none on its way out.
func TestAllocations(t *testing.T) {
	w := newWorld(t, Options{})
	c := w.open()
	c.do("SUBSCRIBE", "", "id:0", "destination:/queue/q")
	in := []byte(compose("SEND", strings.Repeat("x", 256), "destination:/queue/q", "content-type:text/plain", "k:v"))
	scratch := make([]byte, len(in))
	n := testing.AllocsPerRun(500, func() {
		copy(scratch, in)
		c.peer.Send(scratch) // copies: 1
		w.m.Turn()
		c.peer.Output() // copies: 1
	})
	if n > 4 {
		t.Errorf("%v allocations for a message", n)
	}
}

// FuzzConnection: whatever a client says, the listener neither panics nor
// leaves anything behind, and what it says are frames.
func FuzzConnection(f *testing.F) {
	hello := compose("CONNECT", "", "accept-version:1.2", "login:guest", "passcode:guest")
	for _, s := range []string{
		compose("SUBSCRIBE", "", "id:0", "destination:/queue/q", "ack:client") + compose("SEND", "x", "destination:/queue/q"),
		compose("SEND", "x", "destination:/queue/q,/topic/t", "receipt:1", "persistent:true", "priority:9", "expires:1"),
		compose("BEGIN", "", "transaction:t") + compose("SEND", "x", "destination:/queue/q", "transaction:t") + compose("COMMIT", "", "transaction:t"),
		compose("SEND", "x", "destination:/queue/q", "reply-to:/temp-queue/r", "AMQ_SCHEDULED_DELAY:5", "JMSXGroupID:g"),
		compose("SUBSCRIBE", "", "id:1", "destination:/queue/q", "browser:true", "selector:a = 1"),
		compose("SUBSCRIBE", "", "id:d", "destination:/topic/t", "durable:true") + compose("UNSUBSCRIBE", "", "id:d", "durable:true"),
		compose("ACK", "", "id:T_0@@s@@1") + compose("NACK", "", "id:x") + compose("DISCONNECT", "", "receipt:z"),
	} {
		f.Add(s, false)
		f.Add(s, true)
	}
	f.Fuzz(func(t *testing.T, s string, active bool) {
		o := Options{MaxHeaders: 32}
		if active {
			o.Dialect = ActiveMQ
		}
		w := newWorld(t, o)
		c := w.dial()
		c.peer.Send([]byte(hello))
		c.expect("CONNECTED")
		c.peer.Send([]byte(s))
		w.commit(-1)
		w.commit(-1)
		c.in = append(c.in, c.peer.Output()...)
		for c.cut() != nil {
		}
		if !c.peer.EOF() {
			c.peer.HangUp(nil)
		}
		w.m.Turn()
		if n := len(w.b.ListConnections()); n != 0 {
			t.Fatalf("%d connections are left", n)
		}
	})
}
