package broker

import (
	"hash/fnv"
	"math"
	"strconv"
	"strings"
)

// consistentHash gives each key to one binding, so that few keys move when
// bindings come and go. The binding key is the binding's weight.
//
// Weighted rendezvous hashing: every binding draws a number from the hash of
// key and destination, scaled by its weight, and the highest wins. That needs
// no ring, does not depend on the order of binding and survives a restart.
type consistentHash struct {
	header   string // hash this header instead of the key
	property string // or this property
	all      bucket
}

func newConsistentHash(args Table) (router, error) {
	r := &consistentHash{}
	h, hasHeader := args.Get("hash-header")
	p, hasProperty := args.Get("hash-property")
	if hasHeader && hasProperty {
		return nil, errf(Precondition, "hash-header and hash-property are mutually exclusive")
	}
	if hasHeader {
		s, ok := h.(string)
		if !ok || s == "" {
			return nil, errf(Precondition, "Unsupported header: %s", erlangValue(h))
		}
		r.header = s
	}
	if hasProperty {
		s, _ := p.(string)
		switch s {
		case "correlation_id", "message_id", "timestamp":
			r.property = s
		default:
			return nil, errf(Precondition, "Unsupported property: %s", erlangValue(p))
		}
	}
	return r, nil
}

func (r *consistentHash) check(b *binding) error {
	weight, err := strconv.ParseInt(b.id.key, 10, 32)
	if err != nil {
		return errf(Precondition, "The binding key must be an integer: %s", erlangValue(b.id.key))
	}
	if weight < 1 {
		return errf(Precondition, "The binding key must be greater than 0")
	}
	b.weight = float64(weight)
	b.hash = hash64(b.id.dest)
	if b.id.toExchange {
		b.hash = mix(b.hash)
	}
	return nil
}

func (r *consistentHash) byKey() bool       { return r.header == "" && r.property == "" }
func (r *consistentHash) add(b *binding)    { r.all.add(b) }
func (r *consistentHash) remove(b *binding) { r.all.remove(b) }

func (r *consistentHash) match(rt *routing, key string) {
	if len(r.all.list) == 0 {
		return
	}
	h := hash64(r.subject(rt, key))
	var best *binding
	bestScore := math.Inf(-1)
	for _, b := range r.all.list {
		// 53 bits make a number in (0, 1); its logarithm is negative.
		draw := (float64(mix(h^b.hash)>>11) + 0.5) / (1 << 53)
		if score := b.weight / -math.Log(draw); score > bestScore {
			best, bestScore = b, score
		}
	}
	rt.take(best)
}

// subject is the text that is hashed.
func (r *consistentHash) subject(rt *routing, key string) string {
	switch {
	case r.header != "":
		v, ok := rt.headers().Get(r.header)
		if !ok {
			return ""
		}
		if s, ok := v.(string); ok {
			return s
		}
		return canonicalTable(Table{{Name: r.header, Value: v}})
	case r.property != "":
		p := rt.properties()
		switch {
		case p == nil:
			return ""
		case r.property == "correlation_id":
			return p.CorrelationID
		case r.property == "message_id":
			return p.MessageID
		}
		return strconv.FormatInt(p.Timestamp, 10)
	}
	return key
}

// modulusHash gives a key to the binding at its hash modulo their number.
type modulusHash struct {
	list []*binding // sorted by destination and key, so that a restart changes nothing
}

func (r *modulusHash) check(*binding) error { return nil }
func (r *modulusHash) byKey() bool          { return true }

func (r *modulusHash) find(b *binding) (int, bool) {
	lo, hi := 0, len(r.list)
	for lo < hi {
		mid := (lo + hi) / 2
		switch c := r.list[mid].id.compare(b.id); {
		case c == 0:
			return mid, true
		case c < 0:
			lo = mid + 1
		default:
			hi = mid
		}
	}
	return lo, false
}

func (r *modulusHash) add(b *binding) {
	i, _ := r.find(b)
	r.list = append(r.list, nil)
	copy(r.list[i+1:], r.list[i:])
	r.list[i] = b
}

func (r *modulusHash) remove(b *binding) {
	if i, ok := r.find(b); ok {
		r.list = append(r.list[:i], r.list[i+1:]...)
	}
}

func (r *modulusHash) match(rt *routing, key string) {
	if len(r.list) > 0 {
		rt.take(r.list[mix(hash64(key))%uint64(len(r.list))])
	}
}

func (id bindingID) compare(other bindingID) int {
	if c := strings.Compare(id.dest, other.dest); c != 0 {
		return c
	}
	if c := strings.Compare(id.key, other.key); c != 0 {
		return c
	}
	if c := strings.Compare(id.args, other.args); c != 0 {
		return c
	}
	switch {
	case id.toExchange == other.toExchange:
		return 0
	case id.toExchange:
		return 1
	}
	return -1
}

// hash64 is the same in every process: which queue a key goes to must survive
// a restart.
func hash64(s string) uint64 {
	h := fnv.New64a()
	h.Write([]byte(s))
	return h.Sum64()
}

// mix spreads the bits of x (the finaliser of SplitMix64).
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}
