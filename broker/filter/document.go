package filter

import (
	"strconv"
	"strings"
	"unsafe"
)

// Document is a parsed JSON value. Parse may be called again and again: it
// reuses what the document holds.
type Document struct {
	nodes  []node
	dotted bool // some node is a part
}

// node is a value; containers are followed by what they contain, up to end.
type node struct {
	name string // in an object
	text string
	num  float64
	end  int // index behind the value
	kind Kind
	yes  bool
	part bool // an object that only stands for the first part of a dotted name
}

// maxNodes bounds what one body makes us hold: 256 KiB of "[0,0,0..." stay
// below.
const maxNodes = 1 << 18

// Parse reads a body and reports whether it is one well-formed JSON value. The
// document aliases body, which must not change while it is used.
func (d *Document) Parse(body []byte) bool {
	clear(d.nodes)
	d.nodes, d.dotted = d.nodes[:0], false
	if len(body) == 0 {
		return false
	}
	// The strings of the document are parts of the body: both are immutable.
	p := parser{src: unsafe.String(&body[0], len(body)), d: d}
	p.space()
	if !p.value("", 0) {
		d.nodes = d.nodes[:0]
		return false
	}
	if p.space(); p.pos != len(p.src) {
		d.nodes = d.nodes[:0]
		return false
	}
	return true
}

// Release drops what the document refers to.
func (d *Document) Release() {
	if cap(d.nodes) > 1<<12 {
		d.nodes = nil
		return
	}
	clear(d.nodes)
	d.nodes = d.nodes[:0]
}

// field finds a field of the object at node i, -1 if there is none. Of two of
// one name the later one counts; parts of dotted names are not fields.
func (d *Document) field(i int, name string) int {
	found := -1
	if i < 0 {
		return found
	}
	for j := i + 1; j < d.nodes[i].end; j = d.nodes[j].end {
		if d.nodes[j].name == name && !d.nodes[j].part {
			found = j
		}
	}
	return found
}

// part finds the next part of that name in the object at node i, behind node
// after; -1 if there is none.
func (d *Document) part(i, after int, name string) int {
	if i < 0 {
		return -1
	}
	j := i + 1
	if after >= 0 {
		j = d.nodes[after].end
	}
	for ; j < d.nodes[i].end; j = d.nodes[j].end {
		if d.nodes[j].part && d.nodes[j].name == name {
			return j
		}
	}
	return -1
}

type parser struct {
	src string
	pos int
	d   *Document
}

func (p *parser) space() {
	for p.pos < len(p.src) {
		switch p.src[p.pos] {
		case ' ', '\t', '\n', '\r':
			p.pos++
		default:
			return
		}
	}
}

// value reads one value, whose first character is next.
func (p *parser) value(name string, depth int) bool {
	if p.pos == len(p.src) || depth > maxDepth || len(p.d.nodes) >= maxNodes {
		return false
	}
	i := len(p.d.nodes)
	p.d.nodes = append(p.d.nodes, node{name: name, end: i + 1})
	n := &p.d.nodes[i]
	switch c := p.src[p.pos]; {
	case c == '"':
		text, used, ok := unquote(p.src[p.pos+1:])
		p.pos += 1 + used
		n.kind, n.text = String, text
		return ok
	case c == '{' || c == '[':
		n.kind = object
		if c == '[' {
			n.kind = array
		}
		p.pos++
		if !p.entries(n.kind, depth) {
			return false
		}
		p.d.nodes[i].end = len(p.d.nodes)
		return true
	case c == '-' || c >= '0' && c <= '9':
		used := numberLen(p.src[p.pos:])
		n.kind = Number
		n.num, _ = strconv.ParseFloat(p.src[p.pos:p.pos+used], 64)
		p.pos += used
		return used > 0
	}
	return p.literal(n)
}

func (p *parser) literal(n *node) bool {
	for _, l := range [...]struct {
		text string
		kind Kind
		yes  bool
	}{{"true", Bool, true}, {"false", Bool, false}, {"null", Null, false}} {
		if len(p.src)-p.pos >= len(l.text) && p.src[p.pos:p.pos+len(l.text)] == l.text {
			n.kind, n.yes = l.kind, l.yes
			p.pos += len(l.text)
			return true
		}
	}
	return false
}

// entries reads what is in a container, up to and with its end.
func (p *parser) entries(kind Kind, depth int) bool {
	end := byte('}')
	if kind == array {
		end = ']'
	}
	for first := true; ; first = false {
		p.space()
		if p.pos == len(p.src) {
			return false
		}
		if c := p.src[p.pos]; c == end {
			p.pos++
			return true
		} else if !first {
			if c != ',' {
				return false
			}
			p.pos++
			p.space()
		}
		name := ""
		if kind == object {
			var ok bool
			if name, ok = p.name(); !ok {
				return false
			}
		}
		if !p.named(name, depth+1) {
			return false
		}
	}
}

// isPath bounds the parts that a name is taken apart into.
func isPath(name string) bool { return strings.Count(name, ".") <= maxDepth }

// named reads the value of a field. A name with dots is a path: "a.b" is the
// field b of an object a.
func (p *parser) named(name string, depth int) bool {
	first, rest, dotted := strings.Cut(name, ".")
	if !dotted || !isPath(name) {
		return p.value(name, depth)
	}
	i := len(p.d.nodes)
	for ; dotted; first, rest, dotted = strings.Cut(rest, ".") {
		if len(p.d.nodes) >= maxNodes {
			return false
		}
		p.d.nodes = append(p.d.nodes, node{name: first, kind: object, part: true})
	}
	p.d.dotted = true
	last := len(p.d.nodes)
	if !p.value(first, depth) {
		return false
	}
	for j := i; j < last; j++ {
		p.d.nodes[j].end = len(p.d.nodes)
	}
	return true
}

func (p *parser) name() (string, bool) {
	if p.pos == len(p.src) || p.src[p.pos] != '"' {
		return "", false
	}
	name, used, ok := unquote(p.src[p.pos+1:])
	p.pos += 1 + used
	p.space()
	if !ok || p.pos == len(p.src) || p.src[p.pos] != ':' {
		return "", false
	}
	p.pos++
	p.space()
	return name, true
}

// AppendElements appends the scalars of a document that is an array.
func (d *Document) AppendElements(dst []Value) []Value {
	if len(d.nodes) == 0 || d.nodes[0].kind != array {
		return dst
	}
	for i := 1; i < d.nodes[0].end; i = d.nodes[i].end {
		if n := &d.nodes[i]; n.kind != object && n.kind != array {
			dst = append(dst, Value{n.kind, n.text, n.num, n.yes})
		}
	}
	return dst
}
