package amqp

import (
	"errors"
	"fmt"

	"github.com/hermodmq/hermod/broker"
	"github.com/hermodmq/hermod/listeners/amqp/wire"
)

// exception is a refusal in AMQP's terms: a reply code and the text after
// "NAME - ". The code decides whether the channel or the connection ends.
type exception struct {
	code uint16
	text string
}

// Error implements error with the reply-text form.
func (e *exception) Error() string { return wire.ReplyName(e.code) + " - " + e.text }

func refuse(code uint16, format string, args ...any) error {
	return &exception{code: code, text: fmt.Sprintf(format, args...)}
}

// replyCodes is the reply code of every kind of refusal of the core.
var replyCodes = [...]uint16{
	broker.Internal:       wire.InternalError,
	broker.NotFound:       wire.NotFound,
	broker.Denied:         wire.AccessRefused,
	broker.Locked:         wire.ResourceLocked,
	broker.Precondition:   wire.PreconditionFailed,
	broker.NotAllowed:     wire.NotAllowed,
	broker.NotImplemented: wire.NotImplemented,
	broker.Invalid:        wire.CommandInvalid,
	broker.Exhausted:      wire.ResourceError,
	broker.Unavailable:    wire.ResourceError,
}

func replyCode(k broker.Kind) uint16 {
	if int(k) < len(replyCodes) && replyCodes[k] != 0 {
		return replyCodes[k]
	}
	return wire.InternalError
}

// exceptionOf translates what the core, the codec or this package refused.
func exceptionOf(err error) *exception {
	var own *exception
	var core *broker.Error
	var codec *wire.Error
	switch {
	case errors.As(err, &own):
		return own
	case errors.As(err, &core):
		return &exception{replyCode(core.Kind), core.Text}
	case errors.As(err, &codec):
		return &exception{codec.Code, codec.Text}
	}
	return &exception{wire.InternalError, err.Error()}
}

// replyText is what goes on the wire: at most 255 bytes, cut between
// characters.
func (e *exception) replyText() string { return wire.Truncate(e.Error()) }

// onChannel says whether the exception ends only its channel.
func (e *exception) onChannel() bool { return !wire.IsHard(e.code) }
