package stomp

import (
	"unicode/utf8"

	"github.com/hermodmq/hermod/broker"
)

var _ broker.BodyConverter = Converter{}

// Body implements broker.BodyConverter: JMS consumers get a text where the
// sender's headers say so and the body is one.
func (Converter) Body(m *broker.Message) ([]byte, broker.BodyKind, error) {
	if k := kindOf(m); (k == bodyText || k == bodyMap) && utf8.Valid(m.Body) {
		return m.Body, broker.TextBody, nil
	}
	return m.Body, broker.BytesBody, nil
}
