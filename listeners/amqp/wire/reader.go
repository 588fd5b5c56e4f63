package wire

import (
	"encoding/binary"
	"unicode/utf8"
)

// reader takes method fields off a payload. The first fault sticks; later
// reads return zero values, so that callers check once, with end.
type reader struct {
	b   []byte
	err *Error
}

func (r *reader) fail(e *Error) {
	if r.err == nil {
		r.err = e
	}
	r.b = nil
}

// take returns the next n bytes, or nil if there are fewer.
func (r *reader) take(n int) []byte {
	if n < 0 || n > len(r.b) {
		r.fail(errTruncated)
		return nil
	}
	v := r.b[:n:n]
	r.b = r.b[n:]
	return v
}

func (r *reader) octet() uint8 {
	if len(r.b) < 1 {
		r.fail(errTruncated)
		return 0
	}
	v := r.b[0]
	r.b = r.b[1:]
	return v
}

func (r *reader) short() uint16 {
	if len(r.b) < 2 {
		r.fail(errTruncated)
		return 0
	}
	v := binary.BigEndian.Uint16(r.b)
	r.b = r.b[2:]
	return v
}

func (r *reader) long() uint32 {
	if len(r.b) < 4 {
		r.fail(errTruncated)
		return 0
	}
	v := binary.BigEndian.Uint32(r.b)
	r.b = r.b[4:]
	return v
}

func (r *reader) longlong() uint64 {
	if len(r.b) < 8 {
		r.fail(errTruncated)
		return 0
	}
	v := binary.BigEndian.Uint64(r.b)
	r.b = r.b[8:]
	return v
}

// shortstrView returns a shortstr as a slice of the payload. It must be UTF-8.
func (r *reader) shortstrView() []byte {
	v := r.take(int(r.octet()))
	if !utf8.Valid(v) {
		r.fail(errUTF8)
		return nil
	}
	return v
}

func (r *reader) shortstr() string { return string(r.shortstrView()) }

// longView returns what a four-byte length announces.
func (r *reader) longView() []byte {
	n := r.long()
	if uint64(n) > uint64(len(r.b)) {
		r.fail(errTruncated)
		return nil
	}
	return r.take(int(n))
}

func (r *reader) longstr() string { return string(r.longView()) }

func (r *reader) table() Table {
	t, err := decodeTable(r.longView(), 1)
	if err != nil {
		r.fail(err)
		return nil
	}
	return t
}

// id takes the method's class and method number and checks them.
func (r *reader) id(want MethodID) {
	if got := MethodID(r.long()); r.err == nil && got != want {
		r.fail(errorf(CommandInvalid, "expected %s, got %s", want, got))
	}
}

// end checks that everything was read and returns the first fault.
func (r *reader) end(id MethodID) error {
	if r.err == nil && len(r.b) != 0 {
		r.err = errTrailing
	}
	if r.err == nil {
		return nil
	}
	return &Error{r.err.Code, "cannot decode " + id.String() + ": " + r.err.Text}
}
