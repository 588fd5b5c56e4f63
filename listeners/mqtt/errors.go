package mqtt

import (
	"errors"

	"github.com/hermodmq/hermod/broker"
	"github.com/hermodmq/hermod/listeners/mqtt/wire"
)

// reasons is the reason code of every kind of refusal of the core.
var reasons = [...]wire.Reason{
	broker.Internal:       wire.UnspecifiedError,
	broker.NotFound:       wire.ImplementationSpecificError,
	broker.Denied:         wire.NotAuthorized,
	broker.Locked:         wire.NotAuthorized,
	broker.Precondition:   wire.ImplementationSpecificError,
	broker.NotAllowed:     wire.NotAuthorized,
	broker.NotImplemented: wire.ImplementationSpecificError,
	broker.Invalid:        wire.ProtocolError,
	broker.Exhausted:      wire.QuotaExceeded,
	broker.Unavailable:    wire.ServerUnavailable,
}

// reasonOf translates what the core or the codec refused.
func reasonOf(err error) wire.Reason {
	var codec *wire.Error
	var core *broker.Error
	switch {
	case errors.As(err, &codec):
		return codec.Code
	case errors.As(err, &core) && core.Limit:
		return wire.QuotaExceeded
	case errors.As(err, &core) && int(core.Kind) < len(reasons):
		return reasons[core.Kind]
	}
	return wire.UnspecifiedError
}

func refuse(code wire.Reason, text string) error { return &wire.Error{Code: code, Text: text} }

// errHangUp ends a connection that deserves or understands no explanation.
var errHangUp = errors.New("mqtt: connection ended")
