package wire

import (
	"reflect"
	"testing"
)

var everyProperty = Properties{
	Flags:       flagsKnown,
	ContentType: "text/plain", ContentEncoding: "gzip", Headers: everyValue, DeliveryMode: 2, Priority: 5,
	CorrelationID: "corr", ReplyTo: "amq.rabbitmq.reply-to", Expiration: "60000", MessageID: "m-1",
	Timestamp: 1700000000, Type: "order", UserID: "guest", AppID: "app", ClusterID: "c",
}

func TestPropertiesRoundTripEverySubset(t *testing.T) {
	full := reflect.ValueOf(everyProperty)
	for subset := range 1 << propertyCount {
		flags := Property(subset << 2)
		in := Properties{Flags: flags}
		v := reflect.ValueOf(&in).Elem()
		for i := range propertyCount {
			if flags&(1<<(15-i)) != 0 {
				v.Field(i + 1).Set(full.Field(i + 1))
			}
		}
		raw := in.Append(nil)
		got, err := ParseProperties(raw)
		if err != nil {
			t.Fatalf("%#04x: %v", uint16(flags), err)
		}
		if subset%97 == 0 && !reflect.DeepEqual(got, in) {
			t.Fatalf("%#04x:\n got %+v\nwant %+v", uint16(flags), got, in)
		}
		if again := got.Append(nil); string(again) != string(raw) {
			t.Fatalf("%#04x: appended again %x, first %x", uint16(flags), again, raw)
		}
	}
}

func TestRawPropertiesAccessors(t *testing.T) {
	raw := everyProperty.Append(nil)
	var p RawProperties
	if err := p.Decode(raw); err != nil {
		t.Fatal(err)
	}
	texts := []struct {
		name, got, want string
	}{
		{"correlation-id", string(p.CorrelationID()), "corr"},
		{"reply-to", string(p.ReplyTo()), "amq.rabbitmq.reply-to"},
		{"expiration", string(p.Expiration()), "60000"},
		{"message-id", string(p.MessageID()), "m-1"},
		{"user-id", string(p.UserID()), "guest"},
		{"type", string(p.Shortstr(PropType)), "order"},
	}
	for _, tt := range texts {
		if tt.got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, tt.got, tt.want)
		}
	}
	if p.DeliveryMode() != 2 || p.Priority() != 5 || p.Timestamp() != 1700000000 {
		t.Errorf("mode %d, priority %d, timestamp %d", p.DeliveryMode(), p.Priority(), p.Timestamp())
	}
	if v, ok := p.Headers().Lookup("S"); !ok || string(v.Data) != "text \xff" {
		t.Errorf("header S: %q %t", v.Data, ok)
	}
	if err := p.Decode([]byte{0, 0}); err != nil {
		t.Fatal(err)
	}
	if p.Has(PropUserID) || p.UserID() != nil || p.DeliveryMode() != 0 || p.Headers() != nil || p.Timestamp() != 0 {
		t.Error("an empty list has properties left from the one before")
	}
}

func TestLiteralNeedsNoFlags(t *testing.T) {
	p := Properties{ContentType: "a", DeliveryMode: 2, Headers: Table{{"k", "v"}}}
	got, err := ParseProperties(p.Append(nil))
	if err != nil {
		t.Fatal(err)
	}
	if want := PropContentType | PropHeaders | PropDeliveryMode; got.Flags != want {
		t.Errorf("flags %#04x, want %#04x", uint16(got.Flags), uint16(want))
	}
}

func TestAppendPublishAndDeliverParseBack(t *testing.T) {
	raw := (&Properties{DeliveryMode: 2}).Append(nil)
	for _, size := range []int{0, 1, 4087, 4088, 4089, 3 * 4088, 20000} {
		body := make([]byte, size)
		for i := range body {
			body[i] = byte(i)
		}
		outputs := map[MethodID][]byte{
			IDBasicPublish: AppendPublish(nil, 9, "x", "rk", true, raw, body, 4096),
			IDBasicDeliver: AppendDeliver(nil, 9, "ctag", 77, true, "x", "rk", raw, body, 4096),
			IDBasicGetOk:   AppendGetOk(nil, 9, 77, true, "x", "rk", 3, raw, body, 4096),
			IDBasicReturn:  AppendReturn(nil, 9, NoRoute, "NO_ROUTE", "x", "rk", raw, body, 4096),
		}
		wants := map[MethodID]Method{
			IDBasicPublish: &BasicPublish{Exchange: "x", RoutingKey: "rk", Mandatory: true},
			IDBasicDeliver: &BasicDeliver{"ctag", 77, true, "x", "rk"},
			IDBasicGetOk:   &BasicGetOk{77, true, "x", "rk", 3},
			IDBasicReturn:  &BasicReturn{NoRoute, "NO_ROUTE", "x", "rk"},
		}
		for id, b := range outputs {
			checkContent(t, b, wants[id], raw, body)
		}
	}
}

// checkContent reads method, header and body frames from b. Covers AMQP-8 and
// the empty body of AMQP-64 on the sending side.
func checkContent(t *testing.T, b []byte, want Method, raw, body []byte) {
	t.Helper()
	next := func() Frame {
		f, n, _, err := NextFrame(b, 4096)
		if n == 0 || err != nil || f.Channel != 9 {
			t.Fatalf("%s: frame %+v, n %d, %v", want.ID(), f.Type, n, err)
		}
		if n > 4096 {
			t.Fatalf("%s: frame of %d bytes", want.ID(), n)
		}
		b = b[n:]
		return f
	}
	m, err := DecodeMethod(next().Payload)
	if err != nil || !reflect.DeepEqual(m, want) {
		t.Fatalf("%s: got %+v, %v", want.ID(), m, err)
	}
	h, err := ParseHeader(next().Payload)
	if err != nil || h.BodySize != uint64(len(body)) || string(h.Raw) != string(raw) {
		t.Fatalf("%s: header %+v, %v", want.ID(), h, err)
	}
	var got []byte
	for len(b) > 0 {
		f := next()
		if f.Type != FrameBody || len(f.Payload) == 0 {
			t.Fatalf("%s: frame of type %d with %d bytes in the body", want.ID(), f.Type, len(f.Payload))
		}
		got = append(got, f.Payload...)
	}
	if string(got) != string(body) {
		t.Fatalf("%s: body of %d bytes differs", want.ID(), len(body))
	}
}

func TestSettleFrames(t *testing.T) {
	tests := []struct {
		got  []byte
		want Method
	}{
		{AppendAck(nil, 3, 9, true), &BasicAck{9, true}},
		{AppendAck(nil, 3, 9, false), &BasicAck{9, false}},
		{AppendNack(nil, 3, 9, false, true), &BasicNack{9, false, true}},
		{AppendNack(nil, 3, 9, true, false), &BasicNack{9, true, false}},
	}
	for _, tt := range tests {
		if want := AppendMethod(nil, 3, tt.want); string(tt.got) != string(want) {
			t.Errorf("%+v: got %x, want %x", tt.want, tt.got, want)
		}
	}
}

func TestContentSizeIsExact(t *testing.T) {
	raw := []byte{0, 0}
	for _, size := range []int{0, 1, 4088, 4089, 100000} {
		for _, frameMax := range []uint32{0, 1, 4096, 131072} {
			body := make([]byte, size)
			got, want := ContentSize(raw, body, frameMax), len(AppendContent(nil, 1, raw, body, frameMax))
			if got != want {
				t.Errorf("body %d, frame_max %d: %d, want %d", size, frameMax, got, want)
			}
		}
	}
	deliver := AppendDeliver(nil, 1, "c", 1, false, "xx", "kkk", raw, nil, 0)
	if want := deliverFixed + 6 + ContentSize(raw, nil, 0); len(deliver) != want {
		t.Errorf("deliver takes %d, reckoned %d", len(deliver), want)
	}
	getOk := AppendGetOk(nil, 1, 1, false, "xx", "kkk", 1, raw, nil, 0)
	if want := getOkFixed + 5 + ContentSize(raw, nil, 0); len(getOk) != want {
		t.Errorf("get-ok takes %d, reckoned %d", len(getOk), want)
	}
	ret := AppendReturn(nil, 1, 312, "t", "xx", "kkk", raw, nil, 0)
	if want := returnFixed + 6 + ContentSize(raw, nil, 0); len(ret) != want {
		t.Errorf("return takes %d, reckoned %d", len(ret), want)
	}
	pub := AppendPublish(nil, 1, "xx", "kkk", false, raw, nil, 0)
	if want := publishFixed + 5 + ContentSize(raw, nil, 0); len(pub) != want {
		t.Errorf("publish takes %d, reckoned %d", len(pub), want)
	}
}
