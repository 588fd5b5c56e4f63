package filter

import (
	"net/netip"
	"strings"
)

type operator uint8

const (
	opString operator = iota
	opNumber
	opBool
	opNull
	opPrefix
	opSuffix
	opFold
	opWildcard
	opCIDR
	opRange
	opExists
	opNot
)

// matcher is one of the values of a key.
type matcher struct {
	op       operator
	text     string
	low      float64 // opNumber: the value
	high     float64
	open     bool // opRange: low is excluded; opBool, opExists: the value
	openHigh bool
	net      netip.Prefix
	list     []matcher // opNot: none may match
}

// Kind is the type of a value.
type Kind uint8

// The kinds. Absent stands for what is not there or no scalar.
const (
	Absent Kind = iota
	String
	Number
	Bool
	Null
	object
	array
)

// Value is a scalar of a message.
type Value struct {
	Kind Kind
	Text string  // String
	Num  float64 // Number
	True bool    // Bool
}

// matches says whether m accepts v, which is there.
func (m *matcher) matches(v Value) bool {
	switch m.op {
	case opString:
		return v.Kind == String && v.Text == m.text
	case opNumber:
		return v.Kind == Number && v.Num == m.low
	case opBool:
		return v.Kind == Bool && v.True == m.open
	case opNull:
		return v.Kind == Null
	case opPrefix:
		return v.Kind == String && strings.HasPrefix(v.Text, m.text)
	case opSuffix:
		return v.Kind == String && strings.HasSuffix(v.Text, m.text)
	case opFold:
		return v.Kind == String && strings.EqualFold(v.Text, m.text)
	case opWildcard:
		return v.Kind == String && wild(m.text, v.Text)
	case opCIDR:
		if v.Kind != String {
			return false
		}
		addr, err := netip.ParseAddr(v.Text)
		return err == nil && m.net.Contains(addr)
	case opRange:
		return v.Kind == Number && m.inRange(v.Num)
	case opExists:
		return m.open
	case opNot:
		for i := range m.list {
			if m.list[i].matches(v) {
				return false
			}
		}
		return v.Kind != Absent
	}
	return false
}

func (m *matcher) inRange(n float64) bool {
	if n < m.low || m.open && n == m.low {
		return false
	}
	return n < m.high || !m.openHigh && n == m.high
}

// wild matches a pattern in which * stands for any text. A backslash makes the
// next character literal. It runs in time proportional to the product of the
// lengths at worst, without recursion.
func wild(pattern, s string) bool {
	p, i := 0, 0
	star, mark := -1, 0
	for i < len(s) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, mark = p, i
			p++
			continue
		case p < len(pattern):
			c, n := pattern[p], 1
			if c == '\\' && p+1 < len(pattern) {
				c, n = pattern[p+1], 2
			}
			if c == s[i] {
				p += n
				i++
				continue
			}
		}
		if star < 0 {
			return false
		}
		mark++
		p, i = star+1, mark
	}
	for p < len(pattern) && pattern[p] == '*' {
		p++
	}
	return p == len(pattern)
}

// absent says whether a leaf accepts that there is nothing.
func (k *key) absent() bool {
	for i := range k.leaf {
		if k.leaf[i].op == opExists && !k.leaf[i].open {
			return true
		}
	}
	return false
}

// accepts says whether any of the leaf's values accepts v.
func (k *key) accepts(v Value) bool {
	for i := range k.leaf {
		if k.leaf[i].matches(v) {
			return true
		}
	}
	return false
}

// AttributeSet is what a policy about attributes asks.
type AttributeSet interface {
	// AppendAttribute appends the values of an attribute: one, or the elements
	// of a list; nothing if there is no such attribute.
	AppendAttribute(dst []Value, name string) (values []Value, there bool)
}

// MatchAttributes says whether the attributes satisfy a policy of scope
// Attributes. scratch may be nil; it is what saves allocations.
func (p *Policy) MatchAttributes(set AttributeSet, scratch []Value) bool {
	return p.root.matchAttributes(set, scratch)
}

func (b *branch) matchAttributes(set AttributeSet, scratch []Value) bool {
	for i := range b.keys {
		k := &b.keys[i]
		values, there := set.AppendAttribute(scratch[:0], k.name)
		if !there {
			if !k.absent() {
				return false
			}
			continue
		}
		if !k.any(values) {
			return false
		}
	}
	for _, or := range b.ors {
		if !anyAttributes(or, set, scratch) {
			return false
		}
	}
	return true
}

func (k *key) any(values []Value) bool {
	for _, v := range values {
		if k.accepts(v) {
			return true
		}
	}
	return false
}

func anyAttributes(or []branch, set AttributeSet, scratch []Value) bool {
	for i := range or {
		if or[i].matchAttributes(set, scratch) {
			return true
		}
	}
	return false
}

// MatchBody says whether a body satisfies a policy of scope Body. What is no
// JSON object satisfies none.
func (p *Policy) MatchBody(d *Document) bool {
	return len(d.nodes) > 0 && d.nodes[0].kind == object && p.root.matchObject(d, 0)
}

// matchObject matches against the object at node i; a negative i is an object
// that is not there.
func (b *branch) matchObject(d *Document, i int) bool {
	for j := range b.keys {
		if !b.keys[j].matchField(d, i) {
			return false
		}
	}
	for _, or := range b.ors {
		matched := false
		for j := range or {
			if or[j].matchObject(d, i) {
				matched = true
				break
			}
		}
		if !matched {
			return false
		}
	}
	return true
}

// matchField matches a key of the object at node i.
func (k *key) matchField(d *Document, i int) bool {
	at := d.field(i, k.name)
	if !d.dotted {
		return k.matchAt(d, at)
	}
	found := at >= 0
	if found && k.matchAt(d, at) {
		return true
	}
	for at = d.part(i, -1, k.name); at >= 0; at = d.part(i, at, k.name) {
		if found = true; k.matchAt(d, at) {
			return true
		}
	}
	return !found && k.matchAt(d, -1)
}

// matchAt matches what the key leads to.
func (k *key) matchAt(d *Document, i int) bool {
	if k.below != nil {
		return k.below.matchNested(d, i)
	}
	return k.matchLeaf(d, i)
}

// matchNested matches against what a key leads to: an object, or any object of
// an array.
func (b *branch) matchNested(d *Document, i int) bool {
	if i >= 0 && d.nodes[i].kind == array {
		for j := i + 1; j < d.nodes[i].end; j = d.nodes[j].end {
			if b.matchNested(d, j) {
				return true
			}
		}
		return d.nodes[i].end == i+1 && b.matchObject(d, -1)
	}
	if i >= 0 && d.nodes[i].kind != object {
		i = -1
	}
	return b.matchObject(d, i)
}

// matchLeaf matches the value at node i, or any element of an array. An object
// is nothing that a leaf could accept.
func (k *key) matchLeaf(d *Document, i int) bool {
	if i < 0 {
		return k.absent()
	}
	n := &d.nodes[i]
	switch n.kind {
	case object:
		return k.absent()
	case array:
		if n.end == i+1 {
			return k.absent()
		}
		for j := i + 1; j < n.end; j = d.nodes[j].end {
			if d.nodes[j].kind != object && k.matchLeaf(d, j) {
				return true
			}
		}
		return false
	}
	return k.accepts(Value{n.kind, n.text, n.num, n.yes})
}
