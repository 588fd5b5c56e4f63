package message

import (
	"crypto/md5"
	"testing"

	"github.com/hermodmq/hermod/broker"
)

// translated is the converter of a protocol whose bodies others cannot read.
type translated struct{}

func (translated) Properties(*broker.Message) (*broker.Properties, error) {
	return &broker.Properties{ContentType: "application/json"}, nil
}

func (translated) Body(*broker.Message) ([]byte, broker.BodyKind, error) {
	return []byte(`{"k":"größe"}`), broker.TextBody, nil
}

// TestViewTranslatesBodies: a map of JMS is JSON, not its bytes in base64.
func TestViewTranslatesBodies(t *testing.T) {
	o := broker.Options{Store: broker.NewMemoryStore()}
	o.Converters[broker.FormatOpen] = translated{}
	b, err := broker.New(o)
	if err != nil {
		t.Fatal(err)
	}
	v := ViewOf(b, &broker.Message{Format: broker.FormatOpen, Body: []byte{0, 0, 0, 1, 0, 1, 'k', 0}})
	if string(v.Body) != `{"k":"größe"}` || v.Digest != md5.Sum(v.Body) {
		t.Errorf("%q", v.Body)
	}
	if len(v.Attributes) != 1 || v.Attributes[0].Name != contentTypeName || string(v.Attributes[0].Value) != "application/json" {
		t.Errorf("%+v", v.Attributes)
	}
}
