package amqp

import "github.com/hermodmq/hermod/listeners/amqp/wire"

// verdict is what became of one publish of a confirming channel.
type verdict uint8

const (
	undecided verdict = iota
	taken
	refused
)

// confirms holds the verdicts of a channel's publishes from the lowest
// undecided one on, and turns them into as few frames as the order allows.
type confirms struct {
	on   bool
	last uint64    // number of the latest publish; numbers start at 1
	base uint64    // number of ring[base&mask]; all below it are decided and told
	ring []verdict // power of two long, holds base..last
	news []uint64  // decided but not told yet
}

// next gives the next publish its number.
func (c *confirms) next() uint64 {
	if c.base == 0 {
		c.base = 1
	}
	c.last++
	if c.last-c.base >= uint64(len(c.ring)) {
		c.grow()
	}
	c.ring[c.last&c.mask()] = undecided
	return c.last
}

func (c *confirms) mask() uint64 { return uint64(len(c.ring) - 1) }

func (c *confirms) grow() {
	ring := make([]verdict, max(64, 2*len(c.ring)))
	for n := c.base; n < c.last; n++ {
		ring[n&uint64(len(ring)-1)] = c.ring[n&c.mask()]
	}
	c.ring = ring
}

// decide records the verdict of a publish.
func (c *confirms) decide(number uint64, v verdict) {
	if number < c.base || number > c.last || c.ring[number&c.mask()] != undecided {
		return
	}
	c.ring[number&c.mask()] = v
	c.news = append(c.news, number)
}

// append writes what was decided since the last call: every refusal by
// itself, then one ack for all that lies below the lowest undecided publish,
// then the rest singly.
func (c *confirms) append(dst []byte, channel uint16) []byte {
	if len(c.news) == 0 {
		return dst
	}
	for c.base <= c.last && c.ring[c.base&c.mask()] != undecided {
		c.base++
	}
	// next has not been called since base moved, so the verdicts of all news
	// are still in the ring.
	highest, count := uint64(0), 0
	for _, n := range c.news {
		switch {
		case c.ring[n&c.mask()] == refused:
			dst = wire.AppendNack(dst, channel, n, false, false)
		case n < c.base:
			highest = max(highest, n)
			count++
		}
	}
	if count > 0 {
		dst = wire.AppendAck(dst, channel, highest, count > 1)
	}
	for _, n := range c.news {
		if n >= c.base && c.ring[n&c.mask()] == taken {
			dst = wire.AppendAck(dst, channel, n, false)
		}
	}
	c.news = c.news[:0]
	if cap(c.news) > confirmsKeep {
		c.news = nil
	}
	if len(c.ring) > confirmsKeep && c.base > c.last {
		c.ring = make([]verdict, 64)
	}
	return dst
}

// confirmsKeep is how many verdicts of memory a channel without undecided
// publishes keeps.
const confirmsKeep = 4096
