package wire

import "encoding/binary"

// Sizes of the framing layer (AMQP 2.3.5, 4.2.3).
const (
	FrameOverhead = 8    // type, channel, size and end octet; counted in frame_max
	FrameMinSize  = 4096 // no peer may be made to accept less

	// HardFrameMax bounds a frame where no limit was negotiated (frame_max 0).
	HardFrameMax = 16<<20 + FrameOverhead

	frameHead = 7
	frameEnd  = 0xCE
)

// Frame is one frame; Payload aliases the buffer it was parsed from.
type Frame struct {
	Type    byte // FrameMethod, FrameHeader, FrameBody or FrameHeartbeat
	Channel uint16
	Payload []byte
}

// NextFrame cuts the frame at the head of b. max is the negotiated frame_max
// in bytes, 0 for none.
//
// n > 0 is the number of bytes the frame took. n == 0 with a nil error means
// that b holds no whole frame yet: it is worth calling again when b has need
// bytes. An error means that b can never become a frame; it is found as early
// as the bytes allow, so that no buffer grows for a frame that will be
// refused. Like RabbitMQ it takes payloads of up to max bytes, 8 more than the
// specification allows, because clients exist that forget the overhead.
func NextFrame(b []byte, max uint32) (f Frame, n, need int, err error) {
	if len(b) == 0 {
		return f, 0, FrameOverhead, nil
	}
	if !validFrameType(b[0]) {
		return f, 0, 0, errorf(FrameError, "unknown frame type %d", b[0])
	}
	if len(b) < frameHead {
		return f, 0, FrameOverhead, nil
	}
	if max == 0 {
		max = HardFrameMax
	}
	channel := binary.BigEndian.Uint16(b[1:])
	size := binary.BigEndian.Uint32(b[3:])
	if size > max {
		return f, 0, 0, errorf(FrameError, "type %d, frame_too_large: %d, frame_max %d", b[0], size, max)
	}
	if b[0] == FrameHeartbeat {
		if channel != 0 {
			return f, 0, 0, errorf(UnexpectedFrame, "heartbeat on channel %d", channel)
		}
		if size != 0 {
			return f, 0, 0, errorf(FrameError, "heartbeat with a payload of %d bytes", size)
		}
	}
	total := frameHead + int(size) + 1
	if len(b) < total {
		return f, 0, total, nil
	}
	if b[total-1] != frameEnd {
		return f, 0, 0, errorf(FrameError, "type %d on channel %d: frame end is 0x%02x", b[0], channel, b[total-1])
	}
	return Frame{b[0], channel, b[frameHead : total-1 : total-1]}, total, 0, nil
}

func validFrameType(t byte) bool {
	return t == FrameMethod || t == FrameHeader || t == FrameBody || t == FrameHeartbeat
}

// AppendFrame appends a frame of the given type. It does not split: payload
// must fit the peer's frame_max.
func AppendFrame(dst []byte, typ byte, channel uint16, payload []byte) []byte {
	dst = appendFrameHead(dst, typ, channel, len(payload))
	dst = append(dst, payload...)
	return append(dst, frameEnd)
}

// AppendHeartbeat appends a heartbeat frame.
func AppendHeartbeat(dst []byte) []byte {
	return append(dst, FrameHeartbeat, 0, 0, 0, 0, 0, 0, frameEnd)
}

func appendFrameHead(dst []byte, typ byte, channel uint16, size int) []byte {
	return append(dst, typ, byte(channel>>8), byte(channel),
		byte(size>>24), byte(size>>16), byte(size>>8), byte(size))
}

// beginFrame starts a frame of yet unknown size; endFrame with the length dst
// had before completes it.
func beginFrame(dst []byte, typ byte, channel uint16) []byte {
	return appendFrameHead(dst, typ, channel, 0)
}

func endFrame(dst []byte, start int) []byte {
	binary.BigEndian.PutUint32(dst[start+3:], uint32(len(dst)-start-frameHead))
	return append(dst, frameEnd)
}
