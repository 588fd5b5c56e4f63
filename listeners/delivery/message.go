package delivery

import (
	"unsafe"

	"github.com/hermodmq/hermod/broker"
)

// NewMessage makes a message with n bytes behind it, for what its strings and
// slices refer to. Small ones are one allocation.
func NewMessage(n int) (*broker.Message, []byte) {
	switch {
	case n <= 64:
		return withBuffer[[64]byte](n)
	case n <= 128:
		return withBuffer[[128]byte](n)
	case n <= 256:
		return withBuffer[[256]byte](n)
	case n <= 320:
		return withBuffer[[320]byte](n)
	case n <= 512:
		return withBuffer[[512]byte](n)
	case n <= 1024:
		return withBuffer[[1024]byte](n)
	}
	return new(broker.Message), make([]byte, n)
}

func withBuffer[A any](n int) (*broker.Message, []byte) {
	m := new(struct {
		message broker.Message
		buffer  A
	})
	return &m.message, unsafe.Slice((*byte)(unsafe.Pointer(&m.buffer)), unsafe.Sizeof(m.buffer))[:n]
}
