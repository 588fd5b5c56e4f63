package openwire

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"reflect"
	"strconv"
	"strings"
	"testing"

	"github.com/hermodmq/hermod/broker"
	"github.com/hermodmq/hermod/broker/selector"
	"github.com/hermodmq/hermod/listeners/openwire/wire"
)

const testNow = 1795195900000

// frame is a frame of the captures.
type frame struct {
	Capture, Dir, Hex string
	Conn, N           int
	Version           int32
}

// captured are the frames of the captures.
func captured(t testing.TB) []*frame {
	t.Helper()
	f, err := os.Open("wire/testdata/captures.jsonl.gz")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	var out []*frame
	lines := bufio.NewScanner(z)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		r := new(frame)
		if err := json.Unmarshal(lines.Bytes(), r); err != nil {
			t.Fatal(err)
		}
		out = append(out, r)
	}
	if lines.Err() != nil {
		t.Fatal(lines.Err())
	}
	return out
}

// sends are the messages that the stock client sent in the captures.
func sends(t testing.TB) map[string]*frame {
	t.Helper()
	out := map[string]*frame{}
	for _, r := range captured(t) {
		kind, err := strconv.ParseUint(r.Hex[8:10], 16, 8)
		if err != nil {
			t.Fatal(err)
		}
		if r.Dir == "C" && wire.Type(kind).IsMessage() {
			out[fmt.Sprintf("%s/%d/%d", r.Capture, r.Conn, r.N)] = r
		}
	}
	if len(out) < 60 {
		t.Fatalf("%d messages", len(out))
	}
	return out
}

func decode(t testing.TB, version int32, b []byte) wire.Structure {
	t.Helper()
	d := &wire.Decoder{Format: wire.Format{Version: version}}
	s, n, err := d.Decode(b)
	if err != nil || n != len(b) {
		t.Fatalf("decoded %d of %d bytes: %v", n, len(b), err)
	}
	return s
}

func (f *frame) message(t testing.TB) *wire.Message {
	b, err := hex.DecodeString(f.Hex)
	if err != nil {
		t.Fatal(err)
	}
	return decode(t, f.Version, b).(*wire.Message)
}

// roundTrip is what a consumer of a version gets of a message.
func roundTrip(t testing.TB, b *broker.Broker, m *broker.Message, version int32, d dispatch) *wire.MessageDispatch {
	t.Helper()
	return decode(t, version, appendDispatch(nil, wire.Format{Version: version}, b, &d, m)).(*wire.MessageDispatch)
}

// exported are the fields of a message by name, without those of where it was
// decoded.
func exported(m *wire.Message) map[string]any {
	out := map[string]any{}
	v := reflect.ValueOf(*m)
	for i := range v.NumField() {
		if f := v.Type().Field(i); f.IsExported() {
			out[f.Name] = v.Field(i).Interface()
		}
	}
	return out
}

func differences(got, want *wire.Message) []string {
	var out []string
	w := exported(want)
	for name, v := range exported(got) {
		if !reflect.DeepEqual(v, w[name]) {
			out = append(out, fmt.Sprintf("%s = %v, want %v", name, v, w[name]))
		}
	}
	return out
}

// OW-29, OW-31: what a client sent reaches a client of the same version with
// every field as it was but those of the broker.
func TestPassThrough(t *testing.T) {
	for name, f := range sends(t) {
		m := f.message(t)
		kept := newMessage(m, accept{Version: f.Version, Now: testNow})
		d := dispatch{
			Consumer: wire.ConsumerID{ConnectionID: "c", SessionID: 1, Value: 2}, Destination: m.Destination,
			Sequence: 4711, Redelivered: 3, Now: testNow + 5,
		}
		got := roundTrip(t, nil, kept, f.Version, d)
		if got.ConsumerID != d.Consumer || got.Destination != m.Destination || got.RedeliveryCounter != 3 {
			t.Errorf("%s: dispatched as %+v", name, got)
		}
		want := *f.message(t)
		want.MessageID.BrokerSequenceID, want.RedeliveryCounter = 4711, 3
		if f.Version >= 3 {
			want.BrokerInTime, want.BrokerOutTime = testNow, testNow+5
		}
		for _, diff := range differences(got.Message, &want) {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

// OW-4: clients of all versions understand each other.
func TestBetweenVersions(t *testing.T) {
	var f *frame
	for _, s := range sends(t) {
		if m := s.message(t); s.Version == wire.MaxVersion && m.Properties != nil && m.CorrelationID != "" {
			f = s
		}
	}
	for from := int32(1); from <= wire.MaxVersion; from++ {
		source := f.message(t)
		sent := decode(t, from, wire.Append(nil, wire.Format{Version: from}, source)).(*wire.Message)
		kept := newMessage(sent, accept{Version: from, Now: testNow})
		for to := int32(1); to <= wire.MaxVersion; to++ {
			got := roundTrip(t, nil, kept, to, dispatch{Destination: source.Destination, Sequence: 9}).Message
			want := *sent
			want.MessageID.BrokerSequenceID = 9
			if to >= 3 {
				want.BrokerInTime = got.BrokerInTime // none of a sender below 3
				if from >= 3 && got.BrokerInTime != testNow {
					t.Errorf("%d to %d: brokerInTime = %d", from, to, got.BrokerInTime)
				}
			} else {
				want.BrokerInTime, want.BrokerOutTime = 0, 0
			}
			for _, diff := range differences(got, &want) {
				t.Errorf("version %d to %d: %s", from, to, diff)
			}
		}
	}
}

func encoded(t testing.TB, m *wire.Message) *wire.Message {
	t.Helper()
	return decode(t, wire.MaxVersion, wire.Append(nil, wire.Format{Version: wire.MaxVersion}, m)).(*wire.Message)
}

func kept(t testing.TB, m *wire.Message) *broker.Message {
	t.Helper()
	return newMessage(encoded(t, m), accept{Version: wire.MaxVersion, Now: testNow})
}

func deflate(t testing.TB, b []byte) []byte {
	t.Helper()
	var z bytes.Buffer
	w := zlib.NewWriter(&z)
	w.Write(b)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return z.Bytes()
}

// OW-30, OW-73: bodies as consumers of other protocols read them.
func TestBodyForOthers(t *testing.T) {
	const emoji = "caf\u00e9 \U0001F600 \x00end"
	content := func(s string) []byte { return appendText(nil, []byte(s), false) }
	entries := wire.AppendMap(nil, wire.Map{
		{Name: "s", Value: "a\"\\\n\u20ac\U0001F600"}, {Name: "n", Value: nil}, {Name: "b", Value: true}, {Name: "i8", Value: int8(-1)},
		{Name: "c", Value: wire.Char('x')}, {Name: "i16", Value: int16(-300)}, {Name: "i32", Value: int32(70000)}, {Name: "i64", Value: int64(1) << 40},
		{Name: "d", Value: 1.5}, {Name: "f", Value: float32(0.5)}, {Name: "inf", Value: math.Inf(1)}, {Name: "raw", Value: []byte{1, 2, 255}},
		{Name: "m", Value: wire.Map{{Name: "x", Value: int32(1)}}}, {Name: "l", Value: wire.List{int32(1), "two"}},
	})
	const entriesJSON = `{"s":"a\"\\\n€😀","n":null,"b":true,"i8":-1,"c":"x","i16":-300,"i32":70000,"i64":1099511627776,` +
		`"d":1.5,"f":0.5,"inf":"+Inf","raw":"AQL/","m":{"x":1},"l":[1,"two"]}`
	var values []byte
	for _, v := range []wire.Primitive{"one", int64(2), nil} {
		values = wire.AppendPrimitive(values, v)
	}
	compressedBytes := append([]byte{0, 0, 0, 3}, deflate(t, []byte{7, 8, 9})...)
	for _, c := range []struct {
		name       string
		kind       wire.Type
		content    []byte
		compressed bool
		body       string
		text       bool
	}{
		{"text", wire.TypeTextMessage, content("plain"), false, "plain", true},
		{"text beyond ASCII", wire.TypeTextMessage, content(emoji), false, emoji, true},
		{"lone surrogate", wire.TypeTextMessage, content("a\xed\xa0\xbdb"), false, "a\uFFFDb", true},
		{"empty text", wire.TypeTextMessage, content(""), false, "", true},
		{"null text", wire.TypeTextMessage, nil, false, "", true},
		{"compressed text", wire.TypeTextMessage, deflate(t, content(emoji)), true, emoji, true},
		{"bytes", wire.TypeBytesMessage, []byte{0, 255}, false, "\x00\xff", false},
		{"no bytes", wire.TypeBytesMessage, nil, false, "", false},
		{"compressed bytes", wire.TypeBytesMessage, compressedBytes, true, "\x07\x08\x09", false},
		{"map", wire.TypeMapMessage, entries, false, entriesJSON, true},
		{"compressed map", wire.TypeMapMessage, deflate(t, entries), true, entriesJSON, true},
		{"no map", wire.TypeMapMessage, nil, false, "{}", true},
		{"stream", wire.TypeStreamMessage, values, false, `["one",2,null]`, true},
		{"object", wire.TypeObjectMessage, []byte{0xac, 0xed, 0, 5}, false, "\xac\xed\x00\x05", false},
		{"message", wire.TypeMessage, nil, false, "", false},
	} {
		sent := &wire.Message{Kind: c.kind, Content: c.content, Compressed: c.compressed, MessageID: messageID("", 1),
			Destination: wire.Destination{Kind: wire.TypeQueue, Name: "q"}}
		m := kept(t, sent)
		body, kind, err := Converter{}.Body(m)
		if err != nil || string(body) != c.body || (kind == broker.TextBody) != c.text {
			t.Errorf("%s: body %q of kind %d, error %v; want %q", c.name, body, kind, err, c.body)
		}
		got := roundTrip(t, nil, m, wire.MaxVersion, dispatch{Destination: sent.Destination}).Message
		if !bytes.Equal(got.Content, c.content) || (got.Content == nil) != (c.content == nil) {
			t.Errorf("%s: content %x, want %x", c.name, got.Content, c.content)
		}
	}
}

func TestGarbledBodiesPass(t *testing.T) {
	for _, sent := range []*wire.Message{
		{Kind: wire.TypeTextMessage, Content: []byte{0, 0, 0, 9, 'x'}},
		{Kind: wire.TypeTextMessage, Content: []byte{0, 0, 0, 1, 0xff}},
		{Kind: wire.TypeTextMessage, Content: []byte{1}},
		{Kind: wire.TypeTextMessage, Content: []byte{0, 0, 0, 4, 0xf0, 0x9f, 0x98, 0x80}}, // UTF-8 of four bytes
		{Kind: wire.TypeMapMessage, Content: []byte{0xff, 0xff}},
		{Kind: wire.TypeBytesMessage, Compressed: true, Content: []byte{1, 2}},
		{Kind: wire.TypeStreamMessage, Compressed: true, Content: []byte("not zlib at all")},
	} {
		sent.MessageID, sent.Destination = messageID("", 1), wire.Destination{Kind: wire.TypeQueue, Name: "q"}
		m := kept(t, sent)
		got := roundTrip(t, nil, m, wire.MaxVersion, dispatch{Destination: sent.Destination}).Message
		if !bytes.Equal(got.Content, sent.Content) {
			t.Errorf("content %x, want %x", got.Content, sent.Content)
		}
		o := broker.Options{Store: broker.NewMemoryStore()}
		o.Converters[broker.FormatOpen] = Converter{}
		b, err := broker.New(o)
		if err != nil {
			t.Fatal(err)
		}
		if body := b.Body(m); !bytes.Equal(body, m.Body) && string(body) != "\U0001F600" {
			t.Errorf("%x reads %q for others", sent.Content, body)
		}
	}
}

// OW-73: headers and properties as other protocols see them.
func TestPropertiesForOthers(t *testing.T) {
	m := kept(t, &wire.Message{
		Kind: wire.TypeTextMessage, Destination: wire.Destination{Kind: wire.TypeQueue, Name: "q"},
		MessageID:     wire.MessageID{ProducerID: wire.ProducerID{ConnectionID: "ID:h-1-2-0:1", SessionID: 1, Value: 1}, ProducerSequenceID: 7},
		CorrelationID: "c-1", ReplyTo: wire.Destination{Kind: wire.TypeTempQueue, Name: "ID:h-1:1"}, JMSType: "kind", Timestamp: 1700000001999,
		Persistent: true, Priority: 9, Expiration: testNow + 1000, GroupID: "g", GroupSequence: 2, UserID: "u",
		Properties: wire.AppendMap(nil, wire.Map{
			{Name: "content-type", Value: "text/css"}, {Name: "s", Value: "\U0001F600"}, {Name: "b", Value: true}, {Name: "y", Value: int8(1)},
			{Name: "h", Value: int16(2)}, {Name: "i", Value: int32(3)}, {Name: "l", Value: int64(4)}, {Name: "f", Value: float32(0.5)}, {Name: "d", Value: 2.5},
		}),
	})
	if !m.Persistent || m.Priority != 9 || m.TTL != 1000 || m.Received != testNow || m.Notes == nil || m.Notes.GroupID != "g" {
		t.Errorf("message %+v", m)
	}
	p, err := Converter{}.Properties(m)
	if err != nil {
		t.Fatal(err)
	}
	want := &broker.Properties{
		ContentType: "text/css", CorrelationID: "c-1", ReplyTo: "ID:h-1:1", MessageID: "ID:h-1-2-0:1:1:1:7", Type: "kind", UserID: "u", Timestamp: 1700000001,
		Headers: broker.Table{
			{Name: "s", Value: "\U0001F600"}, {Name: "b", Value: true}, {Name: "y", Value: int8(1)}, {Name: "h", Value: int16(2)}, {Name: "i", Value: int32(3)},
			{Name: "l", Value: int64(4)}, {Name: "f", Value: float32(0.5)}, {Name: "d", Value: 2.5}, {Name: "JMSXGroupID", Value: "g"}, {Name: "JMSXGroupSeq", Value: int32(2)},
		},
	}
	if !reflect.DeepEqual(p, want) {
		t.Errorf("got  %+v\nwant %+v", p, want)
	}
}

// neutral is a converter of another protocol.
type neutral struct{ properties *broker.Properties }

func (n neutral) Properties(*broker.Message) (*broker.Properties, error) { return n.properties, nil }

func brokerWith(t testing.TB, format broker.Format, p *broker.Properties) *broker.Broker {
	t.Helper()
	o := broker.Options{Store: broker.NewMemoryStore()}
	o.Converters[broker.FormatOpen] = Converter{}
	o.Converters[format] = neutral{p}
	b, err := broker.New(o)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// OW-73: messages of other protocols as JMS clients get them.
func TestForeignMessages(t *testing.T) {
	b := brokerWith(t, broker.FormatAMQP091, &broker.Properties{
		ContentType: "text/plain", CorrelationID: "c", ReplyTo: "answers", MessageID: "m-1", Type: "kind", UserID: "guest", AppID: "app", Timestamp: 1700000000,
		Headers: broker.Table{
			{Name: "JMSXGroupID", Value: "g"}, {Name: "JMSXGroupSeq", Value: "12"}, {Name: "u8", Value: uint8(200)}, {Name: "u16", Value: uint16(60000)},
			{Name: "u32", Value: uint32(4e9)}, {Name: "i", Value: int32(-1)}, {Name: "f", Value: 2.5}, {Name: "t", Value: true}, {Name: "s", Value: "\U0001F600"},
			{Name: "at", Value: broker.Timestamp(5)}, {Name: "void", Value: nil}, {Name: "table", Value: broker.Table{{Name: "x", Value: broker.Array{int32(1)}}}},
		},
	})
	m := &broker.Message{Format: broker.FormatAMQP091, RoutingKey: "q", Body: []byte("na\u00efve \U0001F600\x00"), Persistent: true, TTL: 500, Received: testNow}
	queue := wire.Destination{Kind: wire.TypeQueue, Name: "q"}
	for version := int32(1); version <= wire.MaxVersion; version++ {
		got := roundTrip(t, b, m, version, dispatch{Destination: queue, Sequence: 77, Redelivered: 1}).Message
		if s, err := wire.DecodeUTF(got.Content[4:]); got.Kind != wire.TypeTextMessage || err != nil || s != string(m.Body) {
			t.Errorf("version %d: %v %x", version, got.Kind, got.Content)
		}
		if got.Destination != queue || got.CorrelationID != "c" || got.JMSType != "kind" || got.UserID != "guest" || got.GroupID != "g" || got.GroupSequence != 12 ||
			got.ReplyTo != (wire.Destination{Kind: wire.TypeQueue, Name: "answers"}) || !got.Persistent || got.Priority != 4 || got.Expiration != testNow+500 ||
			got.Timestamp != 1700000000000 || got.MessageID.BrokerSequenceID != 77 || got.MessageID.ProducerSequenceID != 77 || got.RedeliveryCounter != 1 {
			t.Errorf("version %d: %+v", version, got)
		}
		if id := got.MessageID.String(); version >= 10 && id != "ID:m-1" {
			t.Errorf("version %d: id %s", version, id)
		}
		properties, err := wire.ParseMap(got.Properties)
		want := wire.Map{
			{Name: "content-type", Value: "text/plain"}, {Name: "app-id", Value: "app"}, {Name: "u8", Value: int16(200)}, {Name: "u16", Value: int32(60000)},
			{Name: "u32", Value: int64(4e9)}, {Name: "i", Value: int32(-1)}, {Name: "f", Value: 2.5}, {Name: "t", Value: true}, {Name: "s", Value: "\U0001F600"},
			{Name: "at", Value: int64(5000)}, {Name: "void", Value: nil}, {Name: "table", Value: wire.Map{{Name: "x", Value: wire.List{int32(1)}}}},
		}
		if err != nil || !reflect.DeepEqual(properties, want) {
			t.Errorf("version %d: properties %v, error %v", version, properties, err)
		}
	}
	m.Body = []byte{0xff}
	if got := roundTrip(t, b, m, 12, dispatch{Destination: queue}).Message; got.Kind != wire.TypeBytesMessage || !bytes.Equal(got.Content, m.Body) {
		t.Errorf("%v %x", got.Kind, got.Content)
	}
}

func TestReplyAddresses(t *testing.T) {
	for _, c := range []struct {
		text  string
		topic bool
		want  wire.Destination
	}{
		{"q", false, wire.Destination{Kind: wire.TypeQueue, Name: "q"}},
		{"/topic/a.b", false, wire.Destination{Kind: wire.TypeTopic, Name: "a.b"}},
		{"/remote-temp-queue/ID:x:1", false, wire.Destination{Kind: wire.TypeTempQueue, Name: "ID:x:1"}},
		{"a.b", true, wire.Destination{Kind: wire.TypeTopic, Name: "a.b"}},
		{"topic://a", false, wire.Destination{Kind: wire.TypeTopic, Name: "a"}},
		{"", false, wire.Destination{}},
	} {
		if got := replyIn(c.text, c.topic); got != c.want {
			t.Errorf("%q: %v, want %v", c.text, got, c.want)
		}
	}
}

// OW-57: a delivery of a virtual topic names the queue and where it was sent
// to.
func TestOtherDestination(t *testing.T) {
	sent := &wire.Message{Kind: wire.TypeBytesMessage, Content: []byte("x"), MessageID: messageID("", 5), Destination: wire.Destination{Kind: wire.TypeTopic, Name: "VirtualTopic.A"}}
	queue := wire.Destination{Kind: wire.TypeQueue, Name: "Consumer.B.VirtualTopic.A"}
	got := roundTrip(t, nil, kept(t, sent), 12, dispatch{Destination: queue, Original: sent.Destination, Sequence: 6, GroupFirst: true}).Message
	if got.Destination != queue || got.OriginalDestination != sent.Destination || got.MessageID.BrokerSequenceID != 6 || !got.GroupFirst || string(got.Content) != "x" {
		t.Errorf("%+v", got)
	}
}

// OW-39, OW-61: what dead letters say.
func TestDeadLetters(t *testing.T) {
	sent := &wire.Message{Kind: wire.TypeTextMessage, MessageID: messageID("", 5), Expiration: testNow + 10,
		Destination: wire.Destination{Kind: wire.TypeQueue, Name: "work"}}
	m := kept(t, sent)
	m.Notes = &broker.Notes{StripTTL: true, Deaths: []broker.Death{{Queue: "work", Reason: broker.DeathExpired}}}
	got := roundTrip(t, nil, m, 12, dispatch{Destination: wire.Destination{Kind: wire.TypeQueue, Name: "ActiveMQ.DLQ"}}).Message
	properties, err := wire.ParseMap(got.Properties)
	if err != nil {
		t.Fatal(err)
	}
	want := wire.Map{{Name: "originalExpiration", Value: int64(testNow + 10)},
		{Name: "dlqDeliveryFailureCause", Value: "java.lang.Throwable: Message Expired"}, {Name: "originalDeliveryMode", Value: "NON_PERSISTENT"}}
	if !reflect.DeepEqual(properties, want) || got.Expiration != 0 || !got.Persistent || got.OriginalDestination != sent.Destination || got.Destination.Name != "ActiveMQ.DLQ" {
		t.Errorf("%v %+v", properties, got)
	}
}

func TestAcceptReplaces(t *testing.T) {
	sent := encoded(t, &wire.Message{Kind: wire.TypeTextMessage, MessageID: messageID("", 5), UserID: "forged", RedeliveryCounter: 9,
		Properties: wire.AppendMap(nil, wire.Map{{Name: "a", Value: "long enough to be shortened"}, {Name: "AMQ_SCHEDULED_DELAY", Value: int64(5000)}}), Content: []byte{0, 0, 0, 0}})
	s, ok, err := scheduleOf(sent)
	if err != nil || !ok || s != (schedule{Delay: 5000}) {
		t.Errorf("schedule %+v %v %v", s, ok, err)
	}
	properties, err := unscheduled(sent.Properties, "job-1")
	if err != nil {
		t.Fatal(err)
	}
	for _, user := range []string{"", "alice"} {
		m := newMessage(sent, accept{Version: 12, Now: testNow, SetUser: true, UserID: user, Properties: properties})
		got := roundTrip(t, nil, m, 12, dispatch{Sequence: 8, Now: 3, Redelivered: 2}).Message
		if got.UserID != user || got.RedeliveryCounter != 2 || got.BrokerInTime != testNow || got.BrokerOutTime != 3 || got.MessageID.BrokerSequenceID != 8 {
			t.Errorf("%+v", got)
		}
		p, err := wire.ParseMap(got.Properties)
		if want := (wire.Map{{Name: "a", Value: "long enough to be shortened"}, {Name: "scheduledJobId", Value: "job-1"}}); err != nil || !reflect.DeepEqual(p, want) {
			t.Errorf("properties %v, error %v", p, err)
		}
	}
}

func TestSchedules(t *testing.T) {
	for _, c := range []struct {
		properties wire.Map
		want       schedule
		ok         bool
	}{
		{nil, schedule{}, false},
		{wire.Map{{Name: "x", Value: int64(1)}}, schedule{}, false},
		{wire.Map{{Name: "AMQ_SCHEDULED_DELAY", Value: "1500"}}, schedule{Delay: 1500}, true},
		{wire.Map{{Name: "AMQ_SCHEDULED_PERIOD", Value: int32(10)}, {Name: "AMQ_SCHEDULED_REPEAT", Value: int32(3)}}, schedule{Period: 10, Repeat: 3}, true},
		{wire.Map{{Name: "AMQ_SCHEDULED_CRON", Value: "0 * * * *"}}, schedule{Cron: "0 * * * *"}, true},
		{wire.Map{{Name: "AMQ_SCHEDULED_REPEAT", Value: int32(3)}}, schedule{Repeat: 3}, false},
	} {
		m := &wire.Message{}
		if c.properties != nil {
			m.Properties = wire.AppendMap(nil, c.properties)
		}
		if s, ok, err := scheduleOf(m); s != c.want || ok != c.ok || err != nil {
			t.Errorf("%v: %+v %v %v", c.properties, s, ok, err)
		}
	}
}

func TestEndOfBrowse(t *testing.T) {
	consumer := wire.ConsumerID{ConnectionID: "c", Value: 1}
	d := decode(t, 12, appendEnd(nil, wire.Format{Version: 12}, consumer)).(*wire.MessageDispatch)
	if d.ConsumerID != consumer || d.Message != nil || !d.Destination.IsNull() {
		t.Errorf("%+v", d)
	}
}

// OW-69: selectors see headers and typed properties in the marshalled form.
func TestSelectors(t *testing.T) {
	native := kept(t, &wire.Message{
		Kind: wire.TypeTextMessage, Destination: wire.Destination{Kind: wire.TypeQueue, Name: "A.B"}, MessageID: wire.MessageID{TextView: "x-1"},
		CorrelationID: "c1", ReplyTo: wire.Destination{Kind: wire.TypeTopic, Name: "r"}, JMSType: "T1", Timestamp: 1000, Persistent: true, Priority: 7,
		GroupID: "g", GroupSequence: 2, UserID: "u", TransactionID: wire.TransactionID{Kind: wire.TypeLocalTransactionID, Value: 3, ConnectionID: wire.ConnectionID{Value: "c"}},
		Properties: wire.AppendMap(nil, wire.Map{{Name: "i", Value: int32(5)}, {Name: "s", Value: "red"}, {Name: "f", Value: float32(0.5)}, {Name: "t", Value: true},
			{Name: "y", Value: int8(1)}, {Name: "h", Value: int16(1)}, {Name: "l", Value: int64(1)}, {Name: "d", Value: 1.5}, {Name: "n", Value: nil}}),
	})
	b := brokerWith(t, broker.FormatAMQP091, &broker.Properties{CorrelationID: "c1", ReplyTo: "topic://r", MessageID: "x-1", Type: "T1", Timestamp: 1, UserID: "u",
		Headers: broker.Table{{Name: "JMSXGroupID", Value: "g"}, {Name: "JMSXGroupSeq", Value: int32(2)}, {Name: "i", Value: int32(5)}, {Name: "s", Value: "red"},
			{Name: "f", Value: float32(0.5)}, {Name: "t", Value: true}, {Name: "y", Value: int8(1)}, {Name: "h", Value: int16(1)}, {Name: "l", Value: int64(1)}, {Name: "d", Value: 1.5}}})
	other := &broker.Message{Format: broker.FormatAMQP091, RoutingKey: "A.B", Persistent: true, Priority: 7, TTL: broker.NoTTL, Received: testNow}
	for _, c := range []struct {
		text string
		want bool
	}{
		{"JMSPriority = 7 AND JMSDeliveryMode = 'PERSISTENT' AND JMSType = 'T1' AND JMSCorrelationID = 'c1'", true},
		{"JMSTimestamp = 1000 AND JMSExpiration = 0 AND JMSReplyTo = 'topic://r' AND JMSDestination = 'queue://A.B'", true},
		{"JMSMessageID = 'ID:x-1' AND JMSXGroupID = 'g' AND JMSXGroupSeq = 2 AND JMSXUserID = 'u'", true},
		{"JMSRedelivered = FALSE AND JMSXDeliveryCount = 1", true},
		{"JMSXGroupFirstForConsumer = FALSE AND JMSActiveMQBrokerOutTime = 0 AND JMSActiveMQBrokerInTime > 0", true},
		{"i = 5 AND s = 'red' AND f = 0.5 AND t AND y = 1 AND h = 1 AND l = 1 AND d = 1.5 AND n IS NULL AND missing IS NULL", true},
		{"i > 5", false},
		{"JMSType = 'T2'", false},
	} {
		s, err := selector.Compile(c.text, false)
		if err != nil {
			t.Fatal(err)
		}
		accepts := filterOf(b, s)
		if accepts(native, arrived) != c.want || accepts(other, arrived) != c.want {
			t.Errorf("%s: native %v, other protocol %v; want %v", c.text, accepts(native, arrived), accepts(other, arrived), c.want)
		}
	}
	tx, _ := selector.Compile("JMSXProducerTXID = 'TX:c:3'", false)
	if !selects(b, tx, native, arrived) {
		t.Error("JMSXProducerTXID")
	}
}

func TestHotPathDoesNotAllocate(t *testing.T) {
	sent := encoded(t, &wire.Message{Kind: wire.TypeTextMessage, Destination: wire.Destination{Kind: wire.TypeQueue, Name: "q"}, MessageID: messageID("", 1),
		Content: appendText(nil, bytes.Repeat([]byte("x"), 1024), true), Properties: wire.AppendMap(nil, wire.Map{{Name: "i", Value: int32(5)}})})
	m := newMessage(sent, accept{Version: 12, Now: testNow})
	d := dispatch{Consumer: wire.ConsumerID{ConnectionID: "c", Value: 1}, Destination: sent.Destination, Sequence: 1}
	buf := make([]byte, 0, 4096)
	if n := testing.AllocsPerRun(100, func() { buf = appendDispatch(buf[:0], wire.Format{Version: 12}, nil, &d, m) }); n > 0 {
		t.Errorf("appendDispatch: %v allocations", n)
	}
	s, err := selector.Compile("JMSPriority = 0 AND i = 5", false)
	if err != nil {
		t.Fatal(err)
	}
	if n := testing.AllocsPerRun(100, func() { selects(nil, s, m, arrived) }); n > 3 {
		t.Errorf("selects: %v allocations", n)
	}
	if n := testing.AllocsPerRun(100, func() { newMessage(sent, accept{Version: 12, Now: testNow}) }); n > 2 {
		t.Errorf("newMessage: %v allocations", n)
	}
}

// FuzzNative: a damaged native form is refused or read, never a panic.
func FuzzNative(f *testing.F) {
	for name, s := range sends(f) {
		if strings.HasPrefix(name, "types") {
			m := newMessage(s.message(f), accept{Version: s.Version, Now: testNow})
			f.Add(m.Native, m.Body)
		}
	}
	sel, err := selector.Compile("JMSType = 'x' OR JMSMessageID = 'y' OR JMSDestination = 'z' OR a = 1", false)
	if err != nil {
		f.Fatal(err)
	}
	b := brokerWith(f, broker.FormatAMQP091, nil)
	f.Fuzz(func(t *testing.T, native, body []byte) {
		m := &broker.Message{Format: broker.FormatOpen, Native: native, Body: body, TTL: broker.NoTTL}
		b.Properties(m)
		b.TypedBody(m)
		selects(b, sel, m, arrived)
		for _, version := range []int32{1, 9, 12} {
			d := dispatch{Destination: wire.Destination{Kind: wire.TypeQueue, Name: "q"}, Sequence: 1, GroupFirst: true}
			appendDispatch(nil, wire.Format{Version: version}, b, &d, m)
		}
	})
}

// OW-73, STOMP-35: a map is a map for protocols that have maps, and a map of
// theirs is a map message, byte arrays that read as texts included.
func TestMapsForOthers(t *testing.T) {
	entries := wire.Map{
		{Name: "s", Value: "caf\u00e9 \U0001F600"}, {Name: "n", Value: nil}, {Name: "b", Value: true}, {Name: "i8", Value: int8(-1)}, {Name: "i16", Value: int16(2)},
		{Name: "i32", Value: int32(3)}, {Name: "i64", Value: int64(4)}, {Name: "d", Value: 1.5}, {Name: "f", Value: float32(0.5)}, {Name: "raw", Value: []byte("text")},
		{Name: "m", Value: wire.Map{{Name: "x", Value: int32(1)}}}, {Name: "l", Value: wire.List{int32(1), "two"}},
	}
	content := wire.AppendMap(nil, entries)
	for name, sent := range map[string]*wire.Message{
		"map":        {Kind: wire.TypeMapMessage, Content: content},
		"compressed": {Kind: wire.TypeMapMessage, Content: deflate(t, content), Compressed: true},
	} {
		sent.MessageID, sent.Destination = messageID("", 1), wire.Destination{Kind: wire.TypeQueue, Name: "q"}
		fields, isMap := Converter{}.Map(kept(t, sent))
		if !isMap || len(fields) != len(entries) {
			t.Fatalf("%s: %v", name, fields)
		}
		if got := mapIn(fields); !reflect.DeepEqual(got, entries) {
			t.Errorf("%s: got %v, want %v", name, got, entries)
		}
	}
	for name, sent := range map[string]*wire.Message{
		"text": {Kind: wire.TypeTextMessage, Content: appendText(nil, []byte("x"), false)}, "garbled": {Kind: wire.TypeMapMessage, Content: []byte{1}},
	} {
		sent.MessageID, sent.Destination = messageID("", 1), wire.Destination{Kind: wire.TypeQueue, Name: "q"}
		if fields, isMap := (Converter{}).Map(kept(t, sent)); isMap {
			t.Errorf("%s is the map %v", name, fields)
		}
	}
}
