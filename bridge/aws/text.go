package aws

import (
	"encoding/binary"
	"unicode/utf8"
	"unsafe"
)

// Eight bytes of a text are looked at at once: a top bit says that a byte is
// what is looked for. What is found above the first one may be wrong.
const (
	ones = 0x0101010101010101
	tops = 0x80 * ones
)

// unusual finds what is a control or no ASCII.
func unusual(x uint64) uint64 { return ((x-' '*ones)&^x | x) & tops }

// equal finds c, which is ASCII, among ASCII.
func equal(x uint64, c byte) uint64 { return (x ^ uint64(c)*ones - ones) &^ x & tops }

// PlainText is the length of what s begins with that JSON writes as it is:
// ASCII without controls, quotes and backslashes.
func PlainText(s string) int {
	b := unsafe.Slice(unsafe.StringData(s), len(s)) // only read
	n := 0
	for ; len(b)-n >= 8; n += 8 {
		x := binary.LittleEndian.Uint64(b[n:])
		if unusual(x)|equal(x, '"')|equal(x, '\\') != 0 {
			break
		}
	}
	for n < len(b) && b[n] >= ' ' && b[n] != '"' && b[n] != '\\' && b[n] < utf8.RuneSelf {
		n++
	}
	return n
}

// AppendXMLText appends s as character data the way the services write it:
// quotes and carriage returns are escaped, too.
func AppendXMLText(dst []byte, s string) []byte {
	last := 0
	for i := 0; i < len(s); i++ {
		var esc string
		switch s[i] {
		case '&':
			esc = "&amp;"
		case '<':
			esc = "&lt;"
		case '>':
			esc = "&gt;"
		case '"':
			esc = "&quot;"
		case '\r':
			esc = "&#xD;"
		default:
			continue
		}
		dst = append(append(dst, s[last:i]...), esc...)
		last = i + 1
	}
	return append(dst, s[last:]...)
}

const hexDigits = "0123456789abcdef"

// AppendJSONString appends s as a JSON string. What is no UTF-8 becomes
// U+FFFD.
func AppendJSONString(dst []byte, s string) []byte {
	dst = append(dst, '"')
	last := 0
	for i := PlainText(s); i < len(s); i += PlainText(s[i:]) {
		c := s[i]
		if c >= utf8.RuneSelf {
			r, n := utf8.DecodeRuneInString(s[i:])
			if r != utf8.RuneError || n > 1 {
				i += n
				continue
			}
			dst = append(append(dst, s[last:i]...), `\ufffd`...)
			i++
			last = i
			continue
		}
		dst = append(dst, s[last:i]...)
		switch c {
		case '"', '\\':
			dst = append(dst, '\\', c)
		case '\n':
			dst = append(dst, '\\', 'n')
		case '\r':
			dst = append(dst, '\\', 'r')
		case '\t':
			dst = append(dst, '\\', 't')
		default:
			dst = append(dst, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
		}
		i++
		last = i
	}
	dst = append(dst, s[last:]...)
	return append(dst, '"')
}

// LegalText reports whether s consists of what the services allow in message
// bodies and attribute values: UTF-8 of the characters of XML 1.0.
func LegalText(s string) bool {
	b := unsafe.Slice(unsafe.StringData(s), len(s)) // only read
	for i := 0; i < len(s); {
		if len(s)-i >= 8 && unusual(binary.LittleEndian.Uint64(b[i:])) == 0 {
			i += 8
			continue
		}
		c := s[i]
		if c < utf8.RuneSelf {
			if c < 0x20 && c != '\t' && c != '\n' && c != '\r' {
				return false
			}
			i++
			continue
		}
		r, n := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError && n == 1 || r == 0xfffe || r == 0xffff {
			return false
		}
		i += n
	}
	return true
}
