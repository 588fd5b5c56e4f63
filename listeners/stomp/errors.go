package stomp

import (
	"errors"
	"fmt"

	"github.com/hermodmq/hermod/broker"
	"github.com/hermodmq/hermod/listeners/stomp/wire"
)

// problem is a refusal in STOMP's terms: the header message and the body of an
// ERROR frame.
type problem struct {
	message string
	detail  string
	fatal   bool // the connection ends
}

// Error implements error.
func (p *problem) Error() string { return p.message + ": " + p.detail }

func refuse(message, format string, args ...any) error {
	return &problem{message: message, detail: fmt.Sprintf(format, args...)}
}

// fatal is refuse for what ends the connection.
func fatal(message, format string, args ...any) error {
	return &problem{message: message, detail: fmt.Sprintf(format, args...), fatal: true}
}

// kindNames are the words RabbitMQ has for kinds of refusal: small ones for
// the header message, capitals in the text.
var kindNames = [...][2]string{
	broker.Internal:       {"internal_error", "INTERNAL_ERROR"},
	broker.NotFound:       {"not_found", "NOT_FOUND"},
	broker.Denied:         {"access_refused", "ACCESS_REFUSED"},
	broker.Locked:         {"resource_locked", "RESOURCE_LOCKED"},
	broker.Precondition:   {"precondition_failed", "PRECONDITION_FAILED"},
	broker.NotAllowed:     {"not_allowed", "NOT_ALLOWED"},
	broker.NotImplemented: {"not_implemented", "NOT_IMPLEMENTED"},
	broker.Invalid:        {"invalid", "COMMAND_INVALID"},
	broker.Exhausted:      {"resource_error", "RESOURCE_ERROR"},
	broker.Unavailable:    {"resource_error", "RESOURCE_ERROR"},
}

// problemOf translates what the core, the codec or this package refused.
// Nothing else of an error is ever told to a client.
func problemOf(err error) *problem {
	var own *problem
	var core *broker.Error
	var codec *wire.Error
	switch {
	case errors.As(err, &own):
		return own
	case errors.As(err, &core):
		names := kindNames[broker.Internal]
		if int(core.Kind) < len(kindNames) {
			names = kindNames[core.Kind]
		}
		return &problem{message: names[0], detail: names[1] + " - " + core.Text}
	case errors.As(err, &codec):
		return &problem{message: codec.Message, detail: codec.Detail, fatal: true}
	}
	return &problem{message: "internal_error", detail: "INTERNAL_ERROR"}
}

// maxErrorText bounds what of a client's own words an ERROR repeats.
const maxErrorText = 4 << 10

// append writes the ERROR frame, in the form of RabbitMQ with the receipt-id
// that the specification asks for.
func (p *problem) append(dst []byte, v wire.Version, receipt string, hasReceipt bool) []byte {
	detail := p.detail
	if len(detail) > maxErrorText {
		detail = detail[:maxErrorText]
	}
	dst = wire.AppendCommand(dst, "ERROR")
	dst = wire.AppendHeader(dst, v, "message", p.message)
	if hasReceipt {
		dst = wire.AppendHeader(dst, v, "receipt-id", receipt)
	}
	dst = wire.AppendPlainHeader(dst, "content-type", "text/plain")
	dst = wire.AppendPlainHeader(dst, "version", versions)
	dst = wire.AppendNumber(dst, "content-length", int64(len(detail)))
	return wire.AppendBody(dst, []byte(detail))
}

// versions are what this listener speaks.
const versions = "1.0,1.1,1.2"
