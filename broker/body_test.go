package broker_test

import (
	"errors"
	"testing"

	"github.com/hermodmq/hermod/broker"
)

// reverser is a converter whose bodies read backwards to others.
type reverser struct{}

func (reverser) Properties(*broker.Message) (*broker.Properties, error) { return nil, nil }

func (reverser) Body(m *broker.Message) ([]byte, broker.BodyKind, error) {
	if len(m.Body) == 0 {
		return nil, broker.BytesBody, errors.New("nothing to reverse")
	}
	var out []byte
	for i := len(m.Body) - 1; i >= 0; i-- {
		out = append(out, m.Body[i])
	}
	return out, broker.TextBody, nil
}

// typed is a converter that knows a content type and nothing else.
type typed struct{}

func (typed) Properties(m *broker.Message) (*broker.Properties, error) {
	return &broker.Properties{ContentType: string(m.Native)}, nil
}

func TestBodyForOthers(t *testing.T) {
	o := broker.Options{Store: broker.NewMemoryStore()}
	o.Converters[broker.FormatOpen] = reverser{}
	o.Converters[broker.FormatAMQP091] = typed{}
	b, err := broker.New(o)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		m    broker.Message
		body string
		kind broker.BodyKind
	}{
		{broker.Message{Format: broker.FormatOpen, Body: []byte("abc")}, "cba", broker.TextBody},
		{broker.Message{Format: broker.FormatOpen}, "", broker.BytesBody},
		{broker.Message{Format: broker.FormatAMQP091, Native: []byte("Text/Plain; charset=utf-8"), Body: []byte("x")}, "x", broker.TextBody},
		{broker.Message{Format: broker.FormatAMQP091, Native: []byte("application/vnd.api+json"), Body: []byte("{}")}, "{}", broker.TextBody},
		{broker.Message{Format: broker.FormatAMQP091, Native: []byte("text/plain"), Body: []byte("\xff")}, "\xff", broker.BytesBody},
		{broker.Message{Format: broker.FormatAMQP091, Body: []byte("x")}, "x", broker.BytesBody},
		{broker.Message{Format: broker.FormatMQTT, Body: []byte("x")}, "x", broker.BytesBody},
	} {
		body, kind := b.TypedBody(&c.m)
		if string(body) != c.body || kind != c.kind || string(b.Body(&c.m)) != c.body {
			t.Errorf("%s %q: body %q of kind %d, want %q of kind %d", c.m.Native, c.m.Body, body, kind, c.body, c.kind)
		}
	}
}
