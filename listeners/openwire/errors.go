package openwire

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/hermodmq/hermod/broker"
	"github.com/hermodmq/hermod/listeners/openwire/wire"
)

// The exceptions that clients know by name. Those of 6.x translate javax to
// jakarta by themselves.
const (
	classJMS                = "javax.jms.JMSException"
	classSecurity           = "java.lang.SecurityException"
	classClientID           = "javax.jms.InvalidClientIDException"
	classDestination        = "javax.jms.InvalidDestinationException"
	classSelector           = "javax.jms.InvalidSelectorException"
	classResourceAllocation = "javax.jms.ResourceAllocationException"
	classXA                 = "javax.transaction.xa.XAException"
	classIO                 = "java.io.IOException"
	classIllegalState       = "javax.jms.IllegalStateException"
)

// The codes of XAException, which its text has to end with.
const (
	xaNoSuchTransaction = -4 // XAER_NOTA
	xaProtocol          = -6 // XAER_PROTO
	xaDuplicateID       = -8 // XAER_DUPID
	xaFailed            = -3 // XAER_RMERR
)

// exception is a refusal in Java's terms.
type exception struct {
	class string
	text  string
}

// Error implements error.
func (e *exception) Error() string { return e.class + ": " + e.text }

func refuse(class, format string, args ...any) error {
	return &exception{class: class, text: fmt.Sprintf(format, args...)}
}

func refuseXA(code int, format string, args ...any) error {
	return refuse(classXA, "%s xaErrorCode:%s", fmt.Sprintf(format, args...), strconv.Itoa(code))
}

// kindClasses are the exceptions for kinds of refusal.
var kindClasses = [...]string{
	broker.Internal:       classJMS,
	broker.NotFound:       classDestination,
	broker.Denied:         classSecurity,
	broker.Locked:         classDestination,
	broker.Precondition:   classJMS,
	broker.NotAllowed:     classSecurity,
	broker.NotImplemented: classJMS,
	broker.Invalid:        classJMS,
	broker.Exhausted:      classResourceAllocation,
	broker.Unavailable:    classResourceAllocation,
}

// maxErrorText bounds the text of an exception in bytes.
const maxErrorText = 4 << 10

// exceptionOf translates what the core, the codec or this package refused.
// Nothing else of an error is ever told to a client.
func exceptionOf(err error) *wire.Throwable {
	var own *exception
	var core *broker.Error
	var codec wire.Error
	t := &wire.Throwable{ClassName: classJMS, Message: "internal error"}
	switch {
	case errors.As(err, &own):
		t.ClassName, t.Message = own.class, own.text
	case errors.As(err, &core):
		if int(core.Kind) < len(kindClasses) && kindClasses[core.Kind] != "" {
			t.ClassName = kindClasses[core.Kind]
		}
		t.Message = core.Text
	case errors.As(err, &codec):
		t.ClassName, t.Message = classIO, codec.Error()
	}
	if len(t.Message) > maxErrorText {
		t.Message = t.Message[:maxErrorText]
	}
	return t
}

// isKind reports whether the core refused something with one of these kinds.
func isKind(err error, kinds ...broker.Kind) bool {
	var core *broker.Error
	if !errors.As(err, &core) {
		return false
	}
	for _, k := range kinds {
		if core.Kind == k {
			return true
		}
	}
	return false
}
