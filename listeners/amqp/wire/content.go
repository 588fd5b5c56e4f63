package wire

import "slices"

// BodyMax returns how many body bytes one frame can carry under a negotiated
// frame_max, which counts the frame's own 8 bytes. 0, for no limit, is taken
// as HardFrameMax.
func BodyMax(frameMax uint32) int {
	switch {
	case frameMax == 0:
		return HardFrameMax - FrameOverhead
	case frameMax < FrameMinSize:
		return FrameMinSize - FrameOverhead
	}
	return int(frameMax) - FrameOverhead
}

// ContentSize returns the number of bytes AppendContent appends.
func ContentSize(raw, body []byte, frameMax uint32) int {
	limit := BodyMax(frameMax)
	frames := (len(body) + limit - 1) / limit
	return FrameOverhead + headerFixed + len(raw) + len(body) + frames*FrameOverhead
}

// AppendContent appends a content header with the given raw property list and
// the body, split into frames of at most frameMax bytes. An empty body has no
// frame.
func AppendContent(dst []byte, channel uint16, raw, body []byte, frameMax uint32) []byte {
	dst = AppendHeader(dst, channel, uint64(len(body)), raw)
	return AppendBody(dst, channel, body, frameMax)
}

// AppendBody appends the body frames alone.
func AppendBody(dst []byte, channel uint16, body []byte, frameMax uint32) []byte {
	limit := BodyMax(frameMax)
	for len(body) > 0 {
		n := min(len(body), limit)
		dst = AppendFrame(dst, FrameBody, channel, body[:n])
		body = body[n:]
	}
	return dst
}

// Sizes of the arguments of the methods below without their texts.
const (
	deliverFixed = FrameOverhead + 4 + 1 + 8 + 1 + 1 + 1
	getOkFixed   = FrameOverhead + 4 + 8 + 1 + 1 + 1 + 4
	returnFixed  = FrameOverhead + 4 + 2 + 1 + 1 + 1
	publishFixed = FrameOverhead + 4 + 2 + 1 + 1 + 1
)

// AppendDeliver appends a basic.deliver with its content. raw is the property
// list as Header.Raw has it.
func AppendDeliver(dst []byte, channel uint16, consumerTag string, deliveryTag uint64, redelivered bool,
	exchange, routingKey string, raw, body []byte, frameMax uint32) []byte {
	dst = slices.Grow(dst, deliverFixed+len(consumerTag)+len(exchange)+len(routingKey)+ContentSize(raw, body, frameMax))
	dst = AppendDeliverMethod(dst, channel, consumerTag, deliveryTag, redelivered, exchange, routingKey)
	return AppendContent(dst, channel, raw, body, frameMax)
}

// AppendDeliverMethod appends the method frame of a basic.deliver alone.
func AppendDeliverMethod(dst []byte, channel uint16, consumerTag string, deliveryTag uint64, redelivered bool,
	exchange, routingKey string) []byte {
	start := len(dst)
	dst = beginFrame(dst, FrameMethod, channel)
	dst = appendLong(dst, uint32(IDBasicDeliver))
	dst = appendShortstr(dst, consumerTag)
	dst = appendLonglong(dst, deliveryTag)
	dst = append(dst, bit(redelivered, 0))
	dst = appendShortstr(dst, exchange)
	dst = appendShortstr(dst, routingKey)
	return endFrame(dst, start)
}

// AppendGetOk appends a basic.get-ok with its content. messageCount is what is
// left in the queue.
func AppendGetOk(dst []byte, channel uint16, deliveryTag uint64, redelivered bool,
	exchange, routingKey string, messageCount uint32, raw, body []byte, frameMax uint32) []byte {
	dst = slices.Grow(dst, getOkFixed+len(exchange)+len(routingKey)+ContentSize(raw, body, frameMax))
	start := len(dst)
	dst = beginFrame(dst, FrameMethod, channel)
	dst = appendLong(dst, uint32(IDBasicGetOk))
	dst = appendLonglong(dst, deliveryTag)
	dst = append(dst, bit(redelivered, 0))
	dst = appendShortstr(dst, exchange)
	dst = appendShortstr(dst, routingKey)
	dst = appendLong(dst, messageCount)
	dst = endFrame(dst, start)
	return AppendContent(dst, channel, raw, body, frameMax)
}

// AppendReturn appends a basic.return with its content.
func AppendReturn(dst []byte, channel uint16, replyCode uint16, replyText, exchange, routingKey string,
	raw, body []byte, frameMax uint32) []byte {
	dst = slices.Grow(dst, returnFixed+len(replyText)+len(exchange)+len(routingKey)+ContentSize(raw, body, frameMax))
	start := len(dst)
	dst = beginFrame(dst, FrameMethod, channel)
	dst = appendLong(dst, uint32(IDBasicReturn))
	dst = appendShort(dst, replyCode)
	dst = appendShortstr(dst, replyText)
	dst = appendShortstr(dst, exchange)
	dst = appendShortstr(dst, routingKey)
	dst = endFrame(dst, start)
	return AppendContent(dst, channel, raw, body, frameMax)
}

// AppendPublish appends a basic.publish with its content, as a client sends it.
func AppendPublish(dst []byte, channel uint16, exchange, routingKey string, mandatory bool,
	raw, body []byte, frameMax uint32) []byte {
	dst = slices.Grow(dst, publishFixed+len(exchange)+len(routingKey)+ContentSize(raw, body, frameMax))
	start := len(dst)
	dst = beginFrame(dst, FrameMethod, channel)
	dst = appendLong(dst, uint32(IDBasicPublish))
	dst = append(dst, 0, 0) // reserved-1
	dst = appendShortstr(dst, exchange)
	dst = appendShortstr(dst, routingKey)
	dst = append(dst, bit(mandatory, 0))
	dst = endFrame(dst, start)
	return AppendContent(dst, channel, raw, body, frameMax)
}

// AppendAck appends a basic.ack frame.
func AppendAck(dst []byte, channel uint16, deliveryTag uint64, multiple bool) []byte {
	return appendSettle(dst, channel, IDBasicAck, deliveryTag, bit(multiple, 0))
}

// AppendNack appends a basic.nack frame.
func AppendNack(dst []byte, channel uint16, deliveryTag uint64, multiple, requeue bool) []byte {
	return appendSettle(dst, channel, IDBasicNack, deliveryTag, bit(multiple, 0)|bit(requeue, 1))
}

func appendSettle(dst []byte, channel uint16, id MethodID, deliveryTag uint64, bits byte) []byte {
	dst = appendFrameHead(dst, FrameMethod, channel, 13)
	dst = appendLong(dst, uint32(id))
	dst = appendLonglong(dst, deliveryTag)
	return append(dst, bits, frameEnd)
}
