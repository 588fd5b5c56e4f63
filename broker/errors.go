package broker

import "fmt"

// Kind classifies an Error. Listeners translate kinds into their protocol's
// codes; nobody matches texts.
type Kind uint8

// The kinds of refusal the core knows.
const (
	Internal       Kind = iota // a broken invariant of ours
	NotFound                   // the named thing does not exist
	Denied                     // permissions, reserved names, exclusive use
	Locked                     // belongs to another connection
	Precondition               // inequivalent redeclare, bad argument, unknown delivery, in use, not empty
	NotAllowed                 // vhost missing or forbidden, limits, duplicate consumer tag: ends the connection
	NotImplemented             // known but refused: ends the connection
	Invalid                    // the request contradicts itself or the protocol's grammar
	Exhausted                  // a resource limit of the broker
	Unavailable                // the store cannot take it now
	kindCount
)

// Error is the only error type that crosses the core's boundary. Text is what
// a RabbitMQ user would read after "NAME - ", for example
// "no queue 'q' in vhost '/'".
type Error struct {
	Kind Kind
	Text string

	Limit bool // a configured limit is the reason, which may be different later
}

// Error implements error.
func (e *Error) Error() string { return e.Text }

func errf(k Kind, format string, args ...any) *Error {
	return &Error{Kind: k, Text: fmt.Sprintf(format, args...)}
}

// limitf is errf for a limit that is reached.
func limitf(k Kind, format string, args ...any) *Error {
	e := errf(k, format, args...)
	e.Limit = true
	return e
}
