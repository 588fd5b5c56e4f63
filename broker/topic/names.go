package topic

import (
	"slices"
	"sort"
	"strings"
)

// Names keeps values by the topic names of MQTT (levels between slashes) in an
// order in which every subtree is one run, so that a filter finds its matches by
// a few searches whatever else is there, and a search can stop and go on later.
// It is a list of sorted blocks: a name costs its text and one entry. The zero
// value is empty. It has no lock.
type Names[V any] struct {
	blocks [][]name[V] // none is empty
	count  int
}

type name[V any] struct {
	key   string // with NUL, which no topic contains, for /
	value V
}

// maxBlock is the size at which a block is split.
const maxBlock = 512

// Len is the number of names.
func (n *Names[V]) Len() int { return n.count }

// nameKey is the form in which names are ordered: a level's end sorts before
// whatever could go on.
func nameKey(topic string) string { return strings.ReplaceAll(topic, "/", "\x00") }

// seek returns the place of the first name that is not before key.
func (n *Names[V]) seek(key string) (block, at int) {
	block = sort.Search(len(n.blocks), func(i int) bool {
		b := n.blocks[i]
		return b[len(b)-1].key >= key
	})
	if block < len(n.blocks) {
		b := n.blocks[block]
		at = sort.Search(len(b), func(i int) bool { return b[i].key >= key })
	}
	return block, at
}

// Get returns the value of a name.
func (n *Names[V]) Get(topic string) (v V, ok bool) {
	key := nameKey(topic)
	if b, i := n.seek(key); b < len(n.blocks) && n.blocks[b][i].key == key {
		return n.blocks[b][i].value, true
	}
	return v, false
}

// Put sets the value of a name, of which it keeps no reference.
func (n *Names[V]) Put(topic string, v V) {
	key := strings.Clone(nameKey(topic))
	b, i := n.seek(key)
	if b == len(n.blocks) {
		if b == 0 {
			n.blocks = append(n.blocks, []name[V]{{key, v}})
			n.count++
			return
		}
		b--
		i = len(n.blocks[b])
	}
	if i < len(n.blocks[b]) && n.blocks[b][i].key == key {
		n.blocks[b][i].value = v
		return
	}
	n.blocks[b] = slices.Insert(n.blocks[b], i, name[V]{key, v})
	n.count++
	if list := n.blocks[b]; len(list) >= maxBlock {
		// Names often come in order: then the left half stays full.
		cut := len(list) / 2
		if i == len(list)-1 && b == len(n.blocks)-1 {
			cut = len(list) - 1
		}
		right := slices.Clone(list[cut:])
		clear(list[cut:])
		n.blocks[b] = list[:cut:cut]
		n.blocks = slices.Insert(n.blocks, b+1, right)
	}
}

// Delete removes a name.
func (n *Names[V]) Delete(topic string) {
	key := nameKey(topic)
	b, i := n.seek(key)
	if b == len(n.blocks) || n.blocks[b][i].key != key {
		return
	}
	n.count--
	if n.blocks[b] = slices.Delete(n.blocks[b], i, i+1); len(n.blocks[b]) == 0 {
		n.blocks = slices.Delete(n.blocks, b, b+1)
	}
}

// Search is where a walk over the names that match a filter has come. The zero
// value with a Filter starts at the beginning. Names that change between two
// steps of it are found in their new state or, if they are added behind the
// place it has come to, not at all.
type Search struct {
	Filter string // of MQTT: + is a level, a last # this level and all below; "" is everything
	next   string // where to go on
	done   bool
}

// Done says that nothing is left to find.
func (s *Search) Done() bool { return s.done }

// Step looks at no more than most names, calls f with each that matches, and
// returns how many it looked at. f must not change n; the topic it gets is its
// own.
func (n *Names[V]) Step(s *Search, most int, f func(topic string, v V)) int {
	filter := nameKey(s.Filter)
	looked := 0
	for b, i := n.seek(s.next); !s.done; looked++ {
		if b == len(n.blocks) {
			s.done = true
			break
		}
		e := &n.blocks[b][i]
		if looked == most {
			s.next = e.key
			break
		}
		ok, jump := filter == "", ""
		if !ok {
			ok, jump = compare(filter, e.key)
		}
		if ok {
			f(strings.ReplaceAll(e.key, "\x00", "/"), e.value)
		}
		switch {
		case jump == end:
			s.done = true
		case jump != "":
			b, i = n.seek(jump)
		default:
			if i++; i == len(n.blocks[b]) {
				b, i = b+1, 0
			}
		}
	}
	return looked
}

// end is a jump behind everything.
const end = "\xff"

// compare says whether a name matches a filter and where the next one that
// might match can be at the earliest: "" is the name's successor.
func compare(filter, key string) (ok bool, jump string) {
	if key != "" && key[0] == '$' && filter != "" && (filter[0] == '+' || filter[0] == '#') {
		return false, "%" // the character behind $ [MQTT-4.7.2-1]
	}
	plus := -1 // the end, in key, of the last level that + stands for
	at, fat := 0, 0
	for {
		want, fend := level(filter, fat)
		if want == "#" {
			return true, ""
		}
		have, kend := level(key, at)
		switch {
		case want == "+":
			plus = kend
		case have < want:
			return false, key[:at] + want
		case have > want:
			if plus < 0 {
				return false, end
			}
			return false, key[:plus] + "\x01"
		}
		lastWanted, lastThere := fend == len(filter), kend == len(key)
		switch {
		case lastWanted && lastThere:
			return true, ""
		case lastWanted: // below what the filter names
			return false, key[:kend] + "\x01"
		case lastThere:
			return filter[fend+1:] == "#", ""
		}
		at, fat = kend+1, fend+1
	}
}

// level is the level of s that starts at from, and its end.
func level(s string, from int) (string, int) {
	if i := strings.IndexByte(s[from:], 0); i >= 0 {
		return s[from : from+i], from + i
	}
	return s[from:], len(s)
}
