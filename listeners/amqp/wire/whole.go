package wire

import "encoding/binary"

// WholePublish is a basic.publish whose method, content header and body lie
// one behind the other in a buffer, the body in one frame or empty. All of it
// aliases the buffer.
type WholePublish struct {
	Publish    PublishView
	Header     Header
	Properties RawProperties
	Body       []byte
}

// Cut reads the publish at the head of b, on the given channel and with frames
// of up to max bytes as NextFrame counts them, and returns how many bytes it
// took. 0 means that it is not there as a whole or that something about it is
// not in order: going through it frame by frame tells what.
func (w *WholePublish) Cut(b []byte, channel uint16, max uint32) (n int) {
	const methodMin = FrameOverhead + 9
	if len(b) < methodMin || b[0] != FrameMethod || MethodID(binary.BigEndian.Uint32(b[frameHead:])) != IDBasicPublish {
		return 0
	}
	method, n, _, err := NextFrame(b, max)
	if err != nil || n == 0 || method.Channel != channel {
		return 0
	}
	header, k, _, err := NextFrame(b[n:], max)
	if err != nil || k == 0 || header.Type != FrameHeader || header.Channel != channel {
		return 0
	}
	n += k
	if w.Publish.Decode(method.Payload) != nil {
		return 0
	}
	if w.Header, err = DecodeHeader(header.Payload, &w.Properties); err != nil {
		return 0
	}
	w.Body = nil
	if w.Header.BodySize == 0 {
		return n
	}
	body, k, _, err := NextFrame(b[n:], max)
	if err != nil || k == 0 || body.Type != FrameBody || body.Channel != channel || uint64(len(body.Payload)) != w.Header.BodySize {
		return 0
	}
	w.Body = body.Payload
	return n + k
}
