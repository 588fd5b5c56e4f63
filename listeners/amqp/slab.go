package amqp

import (
	"unsafe"

	"github.com/hermodmq/hermod/broker"
	"github.com/hermodmq/hermod/listeners/amqp/wire"
	"github.com/hermodmq/hermod/listeners/delivery"
)

// Messages that arrive together for the same place share an allocation. What
// one of them that outlives the others keeps in memory is bounded by these.
const (
	slabMessages = 16
	slabBytes    = 16 << 10
)

// slab makes the messages of one read. It lives no longer than that, so that
// an idle connection keeps nothing. Only messages with the exchange and routing
// key of the one before share an allocation: they go to the same queue as a
// rule, and leave it together.
type slab struct {
	raw      []byte           // a copy of input that is to be carried out
	messages []broker.Message // for those in raw
	last     *broker.Message
}

// cut reads the publish at the head of b into w and returns how many bytes it
// took, 0 if there is none. What w refers to stays if it is in raw.
func (s *slab) cut(w *wire.WholePublish, b []byte, channel uint16, frameMax uint32) int {
	if len(s.messages) > 0 {
		if n := w.Cut(s.raw, channel, frameMax); n > 0 && s.follows(&w.Publish) {
			return n
		}
	}
	s.drop()
	n := w.Cut(b, channel, frameMax)
	if n == 0 || !s.follows(&w.Publish) {
		return n
	}
	room := min(len(b), slabBytes)
	count := min(room/n, slabMessages)
	if count < 2 {
		return n
	}
	s.raw, s.messages = append([]byte(nil), b[:min(room, count*n)]...), make([]broker.Message, count)
	return w.Cut(s.raw, channel, frameMax)
}

// drop forgets what is copied ahead, because what follows is something else.
func (s *slab) drop() { s.raw, s.messages = nil, nil }

func (s *slab) follows(p *wire.PublishView) bool {
	return s.last != nil && s.last.RoutingKey == string(p.RoutingKey) && s.last.Exchange == string(p.Exchange)
}

// message makes a message of what cut has read from n bytes.
func (s *slab) message(w *wire.WholePublish, exchange string, n int) *broker.Message {
	key, native, body := w.Publish.RoutingKey, w.Header.Raw, w.Body
	if len(s.messages) > 0 {
		s.last, s.messages, s.raw = &s.messages[0], s.messages[1:], s.raw[n:]
	} else {
		m, buf := delivery.NewMessage(len(key) + len(native) + len(body))
		k := copy(buf, key)
		at := k + copy(buf[k:], native)
		copy(buf[at:], body)
		key, native, body = buf[:k], buf[k:at:at], buf[at:]
		s.last = m
	}
	m := s.last
	m.Exchange = exchange
	m.RoutingKey = unsafe.String(unsafe.SliceData(key), len(key))
	m.Native, m.Body = native, body
	return m
}
