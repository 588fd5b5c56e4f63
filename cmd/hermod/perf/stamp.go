package perf

import (
	"encoding/binary"
	"time"
)

// A body of stampSize bytes and more begins with a mark and the time at which
// it was sent, Unix ns.
const (
	stampMark = 0x48504631 // "HPF1"
	stampSize = 12
)

// stamp writes a time into the head of a body that is long enough.
func stamp(body []byte, now int64) {
	if len(body) >= stampSize {
		binary.BigEndian.PutUint32(body, stampMark)
		binary.BigEndian.PutUint64(body[4:], uint64(now))
	}
}

// observeStamp takes the latency of a message from the head of its body.
func observeStamp(h *histogram, body []byte) { observeStampAt(h, body, time.Now().UnixNano()) }

func observeStampAt(h *histogram, body []byte, now int64) {
	if len(body) >= stampSize && binary.BigEndian.Uint32(body) == stampMark {
		h.add(now-int64(binary.BigEndian.Uint64(body[4:])), 1)
	}
}
