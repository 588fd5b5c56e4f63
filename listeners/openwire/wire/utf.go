package wire

import (
	"unicode/utf8"
)

// Java's modified UTF-8: NUL is C0 80, characters beyond the basic plane are
// two surrogates of three bytes each, and a surrogate can stand alone. A lone
// surrogate keeps its three bytes in a string of Go, where it is invalid
// UTF-8, and so survives the way through the broker.

// AppendUTF appends s in modified UTF-8. Invalid UTF-8 other than a lone
// surrogate becomes U+FFFD.
func AppendUTF(dst []byte, s string) []byte {
	if PlainUTF(s) {
		return append(dst, s...)
	}
	for i := 0; i < len(s); {
		c := s[i]
		switch {
		case c == 0:
			dst = append(dst, 0xC0, 0x80)
			i++
		case c < utf8.RuneSelf:
			dst = append(dst, c)
			i++
		case surrogateAt(s, i):
			dst = append(dst, s[i:i+3]...)
			i += 3
		default:
			r, n := utf8.DecodeRuneInString(s[i:])
			if r >= 0x10000 {
				r -= 0x10000
				dst = appendSurrogate(dst, 0xD800+r>>10)
				dst = appendSurrogate(dst, 0xDC00+r&0x3FF)
			} else {
				dst = utf8.AppendRune(dst, r)
			}
			i += n
		}
	}
	return dst
}

func appendSurrogate(dst []byte, r rune) []byte {
	return append(dst, 0xE0|byte(r>>12), 0x80|byte(r>>6)&0x3F, 0x80|byte(r)&0x3F)
}

// PlainUTF reports whether s is the same in UTF-8 and in modified UTF-8: valid,
// without NUL and without characters beyond the basic plane.
func PlainUTF[T ~string | ~[]byte](s T) bool {
	ascii := true
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c == 0 || c >= 0xF0 {
			return false
		}
		if c >= utf8.RuneSelf {
			ascii = false
		}
	}
	return ascii || utf8.ValidString(string(s))
}

// surrogateAt reports whether three bytes at i are a surrogate.
func surrogateAt[T ~string | ~[]byte](s T, i int) bool {
	return i+2 < len(s) && s[i] == 0xED && s[i+1] >= 0xA0 && s[i+1] <= 0xBF && s[i+2]&0xC0 == 0x80
}

func surrogate[T ~string | ~[]byte](s T, i int) rune {
	return 0xD000 | rune(s[i+1]&0x3F)<<6 | rune(s[i+2]&0x3F)
}

// DecodeUTF reads modified UTF-8. It is lenient where clients in other
// languages are: NUL and characters of four bytes are taken as they are.
func DecodeUTF(b []byte) (string, error) {
	if PlainUTF(b) {
		return string(b), nil
	}
	out, err := AppendDecodedUTF(make([]byte, 0, len(b)), b)
	return string(out), err
}

// AppendDecodedUTF appends what DecodeUTF reads.
func AppendDecodedUTF(dst, b []byte) ([]byte, error) {
	for i := 0; i < len(b); {
		c := b[i]
		switch {
		case c < utf8.RuneSelf:
			dst = append(dst, c)
			i++
		case c == 0xC0 && i+1 < len(b) && b[i+1] == 0x80:
			dst = append(dst, 0)
			i += 2
		case surrogateAt(b, i):
			hi := surrogate(b, i)
			if hi < 0xDC00 && surrogateAt(b, i+3) && surrogate(b, i+3) >= 0xDC00 {
				lo := surrogate(b, i+3)
				dst = utf8.AppendRune(dst, 0x10000+(hi-0xD800)<<10+(lo-0xDC00))
				i += 6
				break
			}
			dst = append(dst, b[i:i+3]...)
			i += 3
		default:
			r, n := utf8.DecodeRune(b[i:])
			if r == utf8.RuneError && n <= 1 {
				return dst, ErrUTF
			}
			dst = append(dst, b[i:i+n]...)
			i += n
		}
	}
	return dst, nil
}

// cutUTF is the length of the longest prefix of b, which is modified UTF-8,
// that has at most limit bytes and does not end within a character.
func cutUTF(b []byte, limit int) int {
	n := min(limit, len(b))
	for n > 0 && n < len(b) && b[n]&0xC0 == 0x80 {
		n--
	}
	if n >= 3 && n < len(b) && surrogateAt(b, n-3) && surrogate(b, n-3) < 0xDC00 {
		n -= 3 // do not tear a pair apart
	}
	return n
}

// magic opens WireFormatInfo.
var magic = [8]byte{'A', 'c', 't', 'i', 'v', 'e', 'M', 'Q'}
