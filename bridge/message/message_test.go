package message

import (
	"reflect"
	"testing"

	"github.com/hermodmq/hermod/bridge/aws"
	"github.com/hermodmq/hermod/broker"
)

// Golden digests of AWS.
func TestMD5OfAttributes(t *testing.T) {
	text := func(name, value string) Attribute { return Attribute{name, "String", []byte(value)} }
	for want, list := range map[string][]Attribute{
		"befa18540a897f7d022bf07057754a03": {text("test-key", "test-value")},
		"2256c3b617e2b4b3ae4f2d455dcf54d0": {text("test-key-alt", "test-value-alt"), text("test-key", "test-value")},
		"5ae4d5d7636402d80f4eb6d213245a88": {text("AWSTraceHeader", "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1")},
		"d302007e9aa062660afc85fd0a482472": {{"attr1", "Number", []byte("99.12")}},
		"8cbe4db156db8a94db8b801b7addb984": {{"attr1", "Binary", []byte("traceparent\x1e00-774062d6c37081a5a0b9b5b88e30627c-2d2482211f6489da-01")}},
		"":                                 nil,
	} {
		if got := MD5OfAttributes(list); got != want {
			t.Errorf("%v: %s, want %s", list, got, want)
		}
	}
}

func TestNativeRoundTrip(t *testing.T) {
	c := Content{ID: aws.NewUUID(), Sequence: 1 << 60, Sender: "AIDA", Trace: "Root=1", Encoded: true, Digest: [16]byte{1}, Digested: true,
		Attributes: []Attribute{{"a", "Number.int", []byte("1")}, {"b", "Binary", []byte{0}}}}
	m := &broker.Message{Format: broker.FormatAWS, Native: c.AppendNative(nil)}
	got, err := Parse(m)
	if err != nil || !reflect.DeepEqual(got, c) {
		t.Errorf("%+v, %v", got, err)
	}
	for i := range m.Native {
		if _, err := Parse(&broker.Message{Format: broker.FormatAWS, Native: m.Native[:i]}); err == nil {
			t.Errorf("cut at %d: accepted", i)
		}
	}
}

func TestProperties(t *testing.T) {
	c := Content{Attributes: []Attribute{
		{"s", "String", []byte("x")}, {"i", "Number.int", []byte("7")}, {"l", "Number", []byte("9007199254740993")}, {"d", "Number", []byte("1.5")},
		{"big", "Number", []byte("123456789.123456789")}, {"t", "Number.Boolean", []byte("1")}, {"b", "Binary", []byte{1}}, {"JMS_SQSCorrelationID", "String", []byte("c")},
	}}
	p, err := Converter{}.Properties(&broker.Message{Format: broker.FormatAWS, Native: c.AppendNative(nil), Notes: &broker.Notes{GroupID: "g"}})
	want := broker.Table{{Name: "s", Value: "x"}, {Name: "i", Value: int32(7)}, {Name: "l", Value: int64(9007199254740993)}, {Name: "d", Value: 1.5},
		{Name: "big", Value: "123456789.123456789"}, {Name: "t", Value: true}, {Name: "b", Value: []byte{1}}, {Name: "JMSXGroupID", Value: "g"}}
	if err != nil || !reflect.DeepEqual(p.Headers, want) || p.CorrelationID != "c" {
		t.Errorf("%+v, %v", p, err)
	}
}

func TestDecode(t *testing.T) {
	mark := []Attribute{{EncodingName, "String", []byte("base64")}}
	if raw, ok := Decode("AAE=", mark); !ok || string(raw) != "\x00\x01" {
		t.Errorf("%q %v", raw, ok)
	}
	for _, bad := range []string{"AAE", "AA\nE=", "AAF=", "?"} {
		if raw, ok := Decode(bad, mark); ok {
			t.Errorf("%q decoded to %q", bad, raw)
		}
	}
	if _, ok := Decode("AAE=", nil); ok {
		t.Error("decoded without a mark")
	}
}

func FuzzParse(f *testing.F) {
	f.Add((&Content{Attributes: []Attribute{{"a", "String", []byte("x")}}}).AppendNative(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		m := &broker.Message{Format: broker.FormatAWS, Native: b}
		if c, err := Parse(m); err == nil {
			if got := c.AppendNative(nil); len(got) > len(b) {
				t.Errorf("%x became %x", b, got)
			}
		}
		_, _ = Converter{}.Properties(m)
	})
}
