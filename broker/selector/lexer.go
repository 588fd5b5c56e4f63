package selector

import (
	"strconv"
	"strings"
)

type tokenKind uint8

const (
	tokEnd tokenKind = iota
	tokName
	tokKeyword // text in capitals
	tokValue   // a literal
	tokSymbol
)

type token struct {
	kind  tokenKind
	text  string
	value Value
	at    int
}

var keywords = map[string]bool{
	"AND": true, "OR": true, "NOT": true, "BETWEEN": true, "LIKE": true, "ESCAPE": true, "IN": true,
	"IS": true, "NULL": true, "TRUE": true, "FALSE": true,
}

type lexer struct {
	in string
	at int
}

// next reads a token.
func (l *lexer) next() (token, error) {
	l.skip()
	start := l.at
	if l.at == len(l.in) {
		return token{at: start}, nil
	}
	c := l.in[l.at]
	switch {
	case letter(c):
		for l.at < len(l.in) && (letter(l.in[l.at]) || digit(l.in[l.at])) {
			l.at++
		}
		word := l.in[start:l.at]
		if upper := strings.ToUpper(word); len(word) <= 7 && keywords[upper] {
			return token{kind: tokKeyword, text: upper, at: start}, nil
		}
		return token{kind: tokName, text: word, at: start}, nil
	case digit(c) || c == '.' && l.at+1 < len(l.in) && digit(l.in[l.at+1]):
		return l.number()
	case c == '\'':
		return l.text()
	}
	for _, s := range []string{"<>", "<=", ">=", "=", "<", ">", "+", "-", "*", "/", "%", "(", ")", ","} {
		if strings.HasPrefix(l.in[l.at:], s) {
			l.at += len(s)
			return token{kind: tokSymbol, text: s, at: start}, nil
		}
	}
	return token{}, invalid(start, "unexpected character %q", c)
}

// skip passes over blanks and comments. A line comment counts only if its line
// ends, as in ActiveMQ's grammar.
func (l *lexer) skip() {
	for l.at < len(l.in) {
		rest := l.in[l.at:]
		switch {
		case strings.IndexByte(" \t\n\r\f", rest[0]) >= 0:
			l.at++
		case strings.HasPrefix(rest, "/*"):
			end := strings.Index(rest[2:], "*/")
			if end < 0 {
				return
			}
			l.at += end + 4
		case strings.HasPrefix(rest, "--"):
			end := strings.IndexAny(rest, "\r\n")
			if end < 0 {
				return
			}
			l.at += end + 1
		default:
			return
		}
	}
}

func letter(c byte) bool {
	return c == '_' || c == '$' || c|0x20 >= 'a' && c|0x20 <= 'z' || c >= 0x80
}
func digit(c byte) bool { return c >= '0' && c <= '9' }
func hexDigit(c byte) bool {
	return digit(c) || c|0x20 >= 'a' && c|0x20 <= 'f'
}

func (l *lexer) digits(ok func(byte) bool) {
	for l.at < len(l.in) && ok(l.in[l.at]) {
		l.at++
	}
}

// number reads decimal, octal (0...), hexadecimal (0x...) and floating-point
// literals; an integer may end in L.
func (l *lexer) number() (token, error) {
	start := l.at
	if strings.HasPrefix(strings.ToLower(l.in[start:min(start+2, len(l.in))]), "0x") {
		l.at += 2
		l.digits(hexDigit)
		return l.integer(start, l.in[start+2:l.at], 16)
	}
	l.digits(digit)
	float := false
	if l.at < len(l.in) && l.in[l.at] == '.' {
		float = true
		l.at++
		l.digits(digit)
	}
	if l.at < len(l.in) && l.in[l.at]|0x20 == 'e' {
		mark := l.at
		l.at++
		if l.at < len(l.in) && (l.in[l.at] == '+' || l.in[l.at] == '-') {
			l.at++
		}
		if l.at < len(l.in) && digit(l.in[l.at]) {
			float = true
			l.digits(digit)
		} else {
			l.at = mark
		}
	}
	text := l.in[start:l.at]
	if float {
		f, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return token{}, invalid(start, "number %s is out of range", text)
		}
		return token{kind: tokValue, value: FloatValue(f), at: start}, nil
	}
	if len(text) > 1 && text[0] == '0' {
		return l.integer(start, text[1:], 8)
	}
	return l.integer(start, text, 10)
}

func (l *lexer) integer(start int, digits string, base int) (token, error) {
	if l.at < len(l.in) && l.in[l.at]|0x20 == 'l' {
		l.at++
	}
	n, err := strconv.ParseUint(digits, base, 64)
	if err != nil || n > 1<<63 {
		return token{}, invalid(start, "number %s is malformed or out of range", l.in[start:l.at])
	}
	if n == 1<<63 { // only its negative is an integer
		return token{kind: tokValue, value: FloatValue(float64(n)), at: start}, nil
	}
	return token{kind: tokValue, value: IntValue(int64(n)), at: start}, nil
}

// text reads a string literal; a quote in it is written twice.
func (l *lexer) text() (token, error) {
	start := l.at
	var b strings.Builder
	for l.at++; ; {
		end := strings.IndexByte(l.in[l.at:], '\'')
		if end < 0 {
			return token{}, invalid(start, "string without end")
		}
		b.WriteString(l.in[l.at : l.at+end])
		l.at += end + 1
		if l.at == len(l.in) || l.in[l.at] != '\'' {
			return token{kind: tokValue, value: StringValue(b.String()), at: start}, nil
		}
		b.WriteByte('\'')
		l.at++
	}
}
