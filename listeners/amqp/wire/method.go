package wire

import (
	"encoding/binary"
	"strconv"
)

// Method is one AMQP method with its arguments. The implementations are
// pointers to the structs in method_gen.go, one per method of the
// specification, for an exhaustive type switch.
type Method interface {
	// ID returns class and method number.
	ID() MethodID
	// Append appends the payload of the method frame: ids, then arguments.
	// Text longer than a shortstr can hold is cut, see [Truncate].
	Append(dst []byte) []byte
	// Decode reads what Append wrote. Nothing in the method aliases payload.
	// On error the method is half filled.
	Decode(payload []byte) error
}

// MethodID is class<<16 | method.
type MethodID uint32

// Class returns the class number.
func (id MethodID) Class() uint16 { return uint16(id >> 16) }

// Method returns the number of the method within its class.
func (id MethodID) Method() uint16 { return uint16(id) }

// String returns the specification's name, such as "basic.publish", or the
// numbers of a method that has none.
func (id MethodID) String() string {
	if name := methodName(id); name != "" {
		return name
	}
	return strconv.Itoa(int(id.Class())) + "." + strconv.Itoa(int(id.Method()))
}

// HasContent says whether a content header and body follow the method.
func (id MethodID) HasContent() bool {
	switch id {
	case IDBasicPublish, IDBasicReturn, IDBasicDeliver, IDBasicGetOk:
		return true
	}
	return false
}

// MethodIDOf returns the id at the head of a method payload.
func MethodIDOf(payload []byte) (MethodID, error) {
	if len(payload) < 4 {
		return 0, errorf(FrameError, "method frame of %d bytes", len(payload))
	}
	return MethodID(binary.BigEndian.Uint32(payload)), nil
}

// DecodeMethod decodes the payload of a method frame. A method that the
// specification does not know gives CommandInvalid, arguments that cannot be
// decoded FrameError, or SyntaxError for tables of unknown types or too deep.
func DecodeMethod(payload []byte) (Method, error) {
	id, err := MethodIDOf(payload)
	if err != nil {
		return nil, err
	}
	m := NewMethod(id)
	if m == nil {
		return nil, errorf(CommandInvalid, "unknown method %s", id)
	}
	if err := m.Decode(payload); err != nil {
		return nil, err
	}
	return m, nil
}

// AppendMethod appends a whole method frame.
func AppendMethod(dst []byte, channel uint16, m Method) []byte {
	start := len(dst)
	dst = beginFrame(dst, FrameMethod, channel)
	dst = m.Append(dst)
	return endFrame(dst, start)
}

// IsHard says whether an error with this reply code closes the connection
// rather than the channel (AMQP 1.2.2 of the generated specification).
func IsHard(code uint16) bool { return hardError(code) }
