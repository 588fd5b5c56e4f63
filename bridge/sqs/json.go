package sqs

import (
	"bytes"
	"strconv"
	"unicode/utf8"
	"unsafe"

	"github.com/hermodmq/hermod/bridge/aws"
)

// decoder reads one JSON text front to back. bad latches the first violation.
// Strings alias the input where they need no unescaping.
type decoder struct {
	b   []byte
	i   int
	bad bool
}

// maxDepth bounds nesting of what is skipped.
const maxDepth = 32

func (d *decoder) fail() { d.bad = true }

func (d *decoder) space() {
	for d.i < len(d.b) {
		switch d.b[d.i] {
		case ' ', '\t', '\n', '\r':
			d.i++
		default:
			return
		}
	}
}

// peek is the next byte that is no space; 0 at the end.
func (d *decoder) peek() byte {
	d.space()
	if d.bad || d.i >= len(d.b) {
		return 0
	}
	return d.b[d.i]
}

func (d *decoder) expect(c byte) bool {
	if d.peek() != c {
		d.fail()
		return false
	}
	d.i++
	return true
}

// object calls f with every key; f reads the value. null is an empty object.
func (d *decoder) object(f func(key string)) {
	if d.null() || !d.expect('{') {
		return
	}
	if d.peek() == '}' {
		d.i++
		return
	}
	for !d.bad {
		key := d.text()
		if !d.expect(':') {
			return
		}
		f(key)
		switch d.peek() {
		case ',':
			d.i++
		case '}':
			d.i++
			return
		default:
			d.fail()
		}
	}
}

// array calls f for every element.
func (d *decoder) array(f func()) {
	if d.null() || !d.expect('[') {
		return
	}
	if d.peek() == ']' {
		d.i++
		return
	}
	for !d.bad {
		f()
		switch d.peek() {
		case ',':
			d.i++
		case ']':
			d.i++
			return
		default:
			d.fail()
		}
	}
}

func (d *decoder) null() bool {
	if d.peek() == 'n' && bytes.HasPrefix(d.b[d.i:], []byte("null")) {
		d.i += 4
		return true
	}
	return false
}

// text reads a string.
func (d *decoder) text() string {
	if !d.expect('"') {
		return ""
	}
	rest := d.b[d.i:]
	for n := aws.PlainText(unsafe.String(unsafe.SliceData(rest), len(rest))); n < len(rest); n++ {
		c := rest[n]
		if c == '"' {
			d.i += n + 1
			return unsafe.String(unsafe.SliceData(rest), n)
		}
		if c == '\\' {
			return d.escaped(n)
		}
		if c < 0x20 {
			break
		}
	}
	d.fail()
	return ""
}

// escaped reads a string whose first n bytes are plain.
func (d *decoder) escaped(n int) string {
	out := append(make([]byte, 0, n+64), d.b[d.i:d.i+n]...)
	for i := d.i + n; i < len(d.b); i++ {
		c := d.b[i]
		switch {
		case c == '"':
			d.i = i + 1
			return unsafe.String(unsafe.SliceData(out), len(out))
		case c < 0x20:
			d.fail()
			return ""
		case c != '\\':
			out = append(out, c)
			continue
		}
		i++
		if i >= len(d.b) {
			break
		}
		switch c := d.b[i]; c {
		case '"', '\\', '/':
			out = append(out, c)
		case 'b':
			out = append(out, '\b')
		case 'f':
			out = append(out, '\f')
		case 'n':
			out = append(out, '\n')
		case 'r':
			out = append(out, '\r')
		case 't':
			out = append(out, '\t')
		case 'u':
			r, ok := hex4(d.b[i+1:])
			if !ok {
				d.fail()
				return ""
			}
			i += 4
			if r >= 0xd800 && r < 0xdc00 && bytes.HasPrefix(d.b[i+1:], []byte(`\u`)) {
				if low, ok := hex4(d.b[i+3:]); ok && low >= 0xdc00 && low < 0xe000 {
					r = 0x10000 + (r-0xd800)<<10 + low - 0xdc00
					i += 6
				}
			}
			if r >= 0xd800 && r < 0xe000 {
				out = append(out, 0xed, 0xa0, 0x80) // half a pair: no legal text comes of it
			} else {
				out = utf8.AppendRune(out, r)
			}
		default:
			d.fail()
			return ""
		}
	}
	d.fail()
	return ""
}

func hex4(b []byte) (rune, bool) {
	if len(b) < 4 {
		return 0, false
	}
	n, err := strconv.ParseUint(string(b[:4]), 16, 32)
	return rune(n), err == nil
}

// scalar reads a string, a number or a truth value as text.
func (d *decoder) scalar() string {
	switch c := d.peek(); {
	case c == '"':
		return d.text()
	case c == 'n' && d.null():
		return ""
	}
	start := d.i
	for d.i < len(d.b) {
		switch c := d.b[d.i]; {
		case c >= '0' && c <= '9', c >= 'a' && c <= 'z', c == '-', c == '+', c == '.', c == 'E':
			d.i++
			continue
		}
		break
	}
	if start == d.i {
		d.fail()
		return ""
	}
	return string(d.b[start:d.i])
}

// skip passes over a value.
func (d *decoder) skip(depth int) {
	if depth > maxDepth {
		d.fail()
		return
	}
	switch d.peek() {
	case '{':
		d.object(func(string) { d.skip(depth + 1) })
	case '[':
		d.array(func() { d.skip(depth + 1) })
	default:
		d.scalar()
	}
}

// end reports whether the text was well-formed and nothing follows.
func (d *decoder) end() bool { return d.peek() == 0 && !d.bad && d.i == len(d.b) }
