package mqtt

import (
	"unicode/utf8"

	"github.com/hermodmq/hermod/broker"
	"github.com/hermodmq/hermod/listeners/mqtt/wire"
)

var _ broker.BodyConverter = Converter{}

// Body implements broker.BodyConverter: a payload is a text if its format
// indicator (3.3.2.3.2) or its content type says so.
func (Converter) Body(m *broker.Message) ([]byte, broker.BodyKind, error) {
	if len(m.Native) < nativeHeader {
		return m.Body, broker.BytesBody, nil
	}
	raw := wire.Properties(m.Native[nativeHeader:])
	format, _ := raw.Find(wire.PayloadFormat)
	media, _ := raw.Find(wire.ContentType)
	if (format.Number == 1 || broker.TextType(string(media.Data))) && utf8.Valid(m.Body) {
		return m.Body, broker.TextBody, nil
	}
	return m.Body, broker.BytesBody, nil
}
