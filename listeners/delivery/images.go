package delivery

import "github.com/hermodmq/hermod/broker"

// Image marks, as its Offset, the delivery of a topic's image: no queue and no
// window knows of it.
const Image = -2

// Shown are the images of topics that a new subscriber was shown. The same
// message may come from its queue, too; that is the case soon or never.
type Shown struct {
	list map[*broker.Message]struct{}
	end  int64 // Unix ms at which the rest is forgotten
}

// shownFor is how long, in ms, a message that was shown may still be on its way
// to the queue, behind the store.
const shownFor = 60_000

// Add notes that the subscriber was shown an image.
func (s *Shown) Add(m *broker.Message, now int64) {
	if s.list == nil {
		s.list = make(map[*broker.Message]struct{})
	}
	s.list[m] = struct{}{}
	s.end = now + shownFor
}

// Repeats reports whether the subscriber was shown m already.
func (s *Shown) Repeats(m *broker.Message, now int64) bool {
	if s.list == nil {
		return false
	}
	if now > s.end {
		s.list = nil
		return false
	}
	_, repeats := s.list[m]
	delete(s.list, m)
	return repeats
}
