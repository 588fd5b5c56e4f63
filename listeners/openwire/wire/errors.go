package wire

// Error says why bytes are not OpenWire. A connection cannot be read any
// further after one.
type Error string

// Error implements error.
func (e Error) Error() string { return "openwire: " + string(e) }

// The ways in which input fails to be a frame, or exceeds a limit.
const (
	ErrFrameSize     = Error("frame has an impossible size")
	ErrFrameTooLarge = Error("frame is larger than the limit")
	ErrTruncated     = Error("field runs past the end of its frame")
	ErrTrailing      = Error("frame is longer than its fields")
	ErrUnknownType   = Error("unknown data type")
	ErrWrongType     = Error("data type has no place here")
	ErrDepth         = Error("structures are nested too deeply")
	ErrBool          = Error("boolean is neither 0 nor 1")
	ErrUTF           = Error("string is not modified UTF-8")
	ErrMagic         = Error("peer does not speak OpenWire")
	ErrVersion       = Error("peer's version is too low")
	ErrPrimitive     = Error("malformed primitive value")
)
