package wire

import "fmt"

// Error is a fault in what the peer sent.
type Error struct {
	Code uint16 // reply code, one of the hard errors FrameError, SyntaxError, CommandInvalid, UnexpectedFrame
	Text string // explanation, without the name of the code
}

// Error returns the reply-text form "NAME - explanation".
func (e *Error) Error() string { return ReplyName(e.Code) + " - " + e.Text }

func errorf(code uint16, format string, args ...any) *Error {
	return &Error{Code: code, Text: fmt.Sprintf(format, args...)}
}

// Faults inside tables and property lists. They are shared so that finding a
// fault costs no more than finding none.
var (
	errTruncated   = &Error{FrameError, "truncated field"}
	errTrailing    = &Error{FrameError, "trailing bytes"}
	errUTF8        = &Error{FrameError, "shortstr is not valid UTF-8"}
	errFieldType   = &Error{SyntaxError, "unknown field type in table"}
	errNesting     = &Error{SyntaxError, fmt.Sprintf("tables nested more than %d deep", MaxNesting)}
	errUnknownProp = &Error{SyntaxError, "unknown property flag"}
)
