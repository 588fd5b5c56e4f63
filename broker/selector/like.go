package selector

import "unicode/utf8"

// pattern is a compiled LIKE pattern, matched in time proportional to pattern
// times text at worst, without recursion.
type pattern []part

type part struct {
	char rune
	one  bool // _
	any  bool // %
}

// compilePattern reads a LIKE pattern. An escape character counts only before
// %, _ and itself.
func compilePattern(text string, escape rune, has bool) pattern {
	var p pattern
	chars := []rune(text)
	for i := 0; i < len(chars); i++ {
		c := chars[i]
		if has && c == escape && i+1 < len(chars) && (chars[i+1] == '%' || chars[i+1] == '_' || chars[i+1] == escape) {
			i++
			p = append(p, part{char: chars[i]})
			continue
		}
		switch {
		case c == '%':
			if n := len(p); n == 0 || !p[n-1].any {
				p = append(p, part{any: true})
			}
		case c == '_':
			p = append(p, part{one: true})
		default:
			p = append(p, part{char: c})
		}
	}
	return p
}

func (p pattern) match(s string) bool {
	i, at := 0, 0
	star, mark := -1, 0 // the last %, and where in s what it covers ends
	for at < len(s) {
		r, n := utf8.DecodeRuneInString(s[at:])
		switch {
		case i < len(p) && p[i].any:
			star, mark = i, at
			i++
		case i < len(p) && (p[i].one || p[i].char == r):
			i++
			at += n
		case star >= 0:
			_, n := utf8.DecodeRuneInString(s[mark:])
			mark += n
			i, at = star+1, mark
		default:
			return false
		}
	}
	for i < len(p) && p[i].any {
		i++
	}
	return i == len(p)
}
