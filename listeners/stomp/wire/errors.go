package wire

// Error says why bytes are not a frame. A connection cannot be read any
// further after one.
type Error struct {
	Message string // short, for the header message
	Detail  string
}

// Error implements error.
func (e *Error) Error() string { return e.Message + ": " + e.Detail }

// The ways in which input fails to be a frame, or exceeds a limit.
var (
	ErrCommandLength = &Error{"Invalid frame", "Command is longer than allowed"}
	ErrLineLength    = &Error{"Invalid frame", "Header line is longer than allowed"}
	ErrHeaderCount   = &Error{"Invalid frame", "More headers than allowed"}
	ErrHeaderBytes   = &Error{"Invalid frame", "Headers are longer than allowed"}
	ErrBodyLength    = &Error{"Invalid frame", "Body is longer than allowed"}
	ErrNoColon       = &Error{"Invalid frame", "Header line without colon"}
	ErrNoName        = &Error{"Invalid frame", "Header without name"}
	ErrNul           = &Error{"Invalid frame", "NUL within command or headers"}
	ErrContentLength = &Error{"Invalid frame", "Invalid content-length header"}
	ErrNotTerminated = &Error{"Invalid frame", "Body of content-length bytes is not followed by NUL"}
	ErrEscape        = &Error{"Invalid frame", "Undefined escape sequence in header"}
)
