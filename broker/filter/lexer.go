package filter

import (
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

type token uint8

const (
	tokenEnd token = iota
	tokenObject
	tokenObjectEnd
	tokenArray
	tokenArrayEnd
	tokenField
	tokenString
	tokenNumber
	tokenTrue
	tokenFalse
	tokenNull
)

// lexer reads the tokens of a policy. The positions in error texts are part of
// what clients compare, so it consumes input as SNS's tokenizer does: a string
// value is consumed up to its opening quote until somebody asks for its text,
// and with a field's name goes the beginning of its value (all of a number or
// literal).
type lexer struct {
	src string
	pos int // next byte

	token token
	text  string  // of tokenField, tokenString (after load), tokenNumber
	num   float64 // of tokenNumber
	name  string  // the latest field's name

	ready   token // the value after a field, begun with it
	pending bool  // token is a string whose text is not read yet
	stack   []token
	comma   bool // the container has had an entry
}

// maxDepth bounds nesting of policies and documents.
const maxDepth = 100

// syntaxError is text that is not JSON.
type syntaxError struct{ msg string }

func (e *syntaxError) Error() string { return e.msg }

// next moves to the next token.
func (l *lexer) next() (token, error) {
	if l.pending {
		if err := l.load(); err != nil {
			return 0, err
		}
	}
	if l.ready != tokenEnd {
		l.token, l.ready = l.ready, tokenEnd
		l.pending = l.token == tokenString
		return l.token, nil
	}
	l.space()
	inside := tokenEnd
	if n := len(l.stack); n > 0 {
		inside = l.stack[n-1]
	}
	if l.pos == len(l.src) {
		if inside == tokenEnd {
			l.token = tokenEnd
			return tokenEnd, nil
		}
		return 0, l.unexpectedEnd()
	}
	c := l.src[l.pos]
	switch {
	case inside == tokenObject && c == '}', inside == tokenArray && c == ']':
		l.pos++
		l.stack = l.stack[:len(l.stack)-1]
		l.comma = true
		l.token = tokenObjectEnd
		if c == ']' {
			l.token = tokenArrayEnd
		}
		return l.token, nil
	case inside == tokenEnd && l.comma:
		return 0, l.unexpected("expected end of input")
	}
	if inside != tokenEnd && l.comma {
		if c != ',' {
			what := "Object"
			if inside == tokenArray {
				what = "Array"
			}
			return 0, l.unexpected("was expecting comma to separate " + what + " entries")
		}
		l.pos++
		l.space()
	}
	if inside == tokenObject {
		return l.field()
	}
	t, err := l.value()
	l.token, l.pending = t, t == tokenString
	return t, err
}

// field reads a name, the colon and the beginning of the value.
func (l *lexer) field() (token, error) {
	if l.pos == len(l.src) {
		return 0, l.unexpectedEnd()
	}
	if l.src[l.pos] != '"' {
		return 0, l.unexpected("was expecting double-quote to start field name")
	}
	l.pos++
	name, err := l.quoted()
	if err != nil {
		return 0, err
	}
	l.space()
	if l.pos == len(l.src) {
		return 0, l.unexpectedEnd()
	}
	if l.src[l.pos] != ':' {
		return 0, l.unexpected("was expecting a colon to separate field name and value")
	}
	l.pos++
	l.space()
	if l.ready, err = l.value(); err != nil {
		return 0, err
	}
	l.name = name
	l.token = tokenField
	return tokenField, nil
}

// value reads a value, or the beginning of it. A container is entered.
func (l *lexer) value() (token, error) {
	if l.pos == len(l.src) {
		return 0, l.unexpectedEnd()
	}
	l.comma = true
	switch c := l.src[l.pos]; {
	case c == '{' || c == '[':
		if len(l.stack) >= maxDepth {
			return 0, &syntaxError{"Document nesting depth exceeds the maximum allowed"}
		}
		t := tokenObject
		if c == '[' {
			t = tokenArray
		}
		l.pos++
		l.stack = append(l.stack, t)
		l.comma = false
		return t, nil
	case c == '"':
		l.pos++
		return tokenString, nil
	case c == '-' || c >= '0' && c <= '9':
		return tokenNumber, l.number()
	}
	return l.word()
}

func (l *lexer) number() error {
	n := numberLen(l.src[l.pos:])
	if n == 0 {
		return l.unexpected("expected a valid value (JSON String, Number, Array, Object or token 'null', 'true' or 'false')")
	}
	l.text = l.src[l.pos : l.pos+n]
	l.pos += n
	l.num, _ = strconv.ParseFloat(l.text, 64)
	return nil
}

// numberLen is the length of the JSON number that s begins with, 0 if none.
func numberLen[S string | []byte](s S) int {
	i := 0
	digits := func() bool {
		start := i
		for i < len(s) && s[i] >= '0' && s[i] <= '9' {
			i++
		}
		return i > start
	}
	if i < len(s) && s[i] == '-' {
		i++
	}
	start := i
	if !digits() || s[start] == '0' && i > start+1 {
		return 0
	}
	if i < len(s) && s[i] == '.' {
		i++
		if !digits() {
			return 0
		}
	}
	if i < len(s) && (s[i] == 'e' || s[i] == 'E') {
		i++
		if i < len(s) && (s[i] == '+' || s[i] == '-') {
			i++
		}
		if !digits() {
			return 0
		}
	}
	return i
}

const expectedValue = "(JSON String, Number, Array, Object or token 'null', 'true' or 'false')"

// word reads a literal.
func (l *lexer) word() (token, error) {
	end := l.pos
	for end < len(l.src) {
		r, n := utf8.DecodeRuneInString(l.src[end:])
		if r != '_' && r != '$' && !unicode.IsLetter(r) && !(end > l.pos && unicode.IsDigit(r)) {
			break
		}
		end += n
	}
	word := l.src[l.pos:end]
	if word == "" {
		return 0, l.unexpected("expected a valid value " + expectedValue)
	}
	l.pos = end
	switch word {
	case "true":
		return tokenTrue, nil
	case "false":
		return tokenFalse, nil
	case "null":
		return tokenNull, nil
	}
	if len(word) > 256 {
		word = word[:256]
	}
	return 0, &syntaxError{"Unrecognized token '" + word + "': was expecting " + expectedValue + l.redacted(l.pos)}
}

// load reads the text of a string value.
func (l *lexer) load() error {
	if !l.pending {
		return nil
	}
	l.pending = false
	s, err := l.quoted()
	l.text = s
	return err
}

// quoted reads the rest of a string whose opening quote is consumed.
func (l *lexer) quoted() (string, error) {
	s, n, ok := unquote(l.src[l.pos:])
	if !ok {
		l.pos = len(l.src)
		return "", &syntaxError{"Unexpected end-of-input: was expecting closing quote for a string value" + l.redacted(l.pos)}
	}
	l.pos += n
	return s, nil
}

// unquote reads a JSON string up to and with its closing quote. What has no
// escapes is not copied. ok is false if the string is not well-formed.
func unquote(src string) (s string, n int, ok bool) {
	for n < len(src) {
		switch c := src[n]; {
		case c == '"':
			return src[:n], n + 1, true
		case c < ' ':
			return "", 0, false
		case c == '\\':
			return unescape(src, n)
		}
		n++
	}
	return "", 0, false
}

func unescape(src string, n int) (string, int, bool) {
	b := append(make([]byte, 0, n+16), src[:n]...)
	for n < len(src) {
		c := src[n]
		switch {
		case c == '"':
			return string(b), n + 1, true
		case c < ' ':
			return "", 0, false
		case c != '\\':
			b = append(b, c)
			n++
			continue
		}
		if n+1 >= len(src) {
			return "", 0, false
		}
		n += 2
		switch e := src[n-1]; e {
		case '"', '\\', '/':
			b = append(b, e)
		case 'b':
			b = append(b, '\b')
		case 'f':
			b = append(b, '\f')
		case 'n':
			b = append(b, '\n')
		case 'r':
			b = append(b, '\r')
		case 't':
			b = append(b, '\t')
		case 'u':
			r := hex4(src[n:])
			if r < 0 {
				return "", 0, false
			}
			n += 4
			if utf16.IsSurrogate(r) {
				low := rune(-1)
				if strings.HasPrefix(src[n:], `\u`) {
					low = hex4(src[n+2:])
				}
				if pair := utf16.DecodeRune(r, low); low >= 0 && pair != utf8.RuneError {
					r, n = pair, n+6
				} else {
					r = utf8.RuneError
				}
			}
			b = utf8.AppendRune(b, r)
		default:
			return "", 0, false
		}
	}
	return "", 0, false
}

func hex4(s string) rune {
	if len(s) < 4 {
		return -1
	}
	v, err := strconv.ParseUint(s[:4], 16, 16)
	if err != nil {
		return -1
	}
	return rune(v)
}

func (l *lexer) space() {
	for l.pos < len(l.src) {
		switch l.src[l.pos] {
		case ' ', '\t', '\n', '\r':
			l.pos++
		default:
			return
		}
	}
}

func (l *lexer) unexpected(why string) error {
	r, _ := utf8.DecodeRuneInString(l.src[l.pos:])
	return &syntaxError{fmt.Sprintf("Unexpected character ('%c' (code %d)): %s%s", r, r, why, l.redacted(l.pos))}
}

func (l *lexer) unexpectedEnd() error {
	what := "a value"
	if n := len(l.stack); n > 0 {
		what = "close marker for Object"
		if l.stack[n-1] == tokenArray {
			what = "close marker for Array"
		}
	}
	return &syntaxError{"Unexpected end-of-input: expected " + what + l.redacted(len(l.src))}
}

// place is a byte offset as line and column, both from 1.
func (l *lexer) place(pos int) string {
	head := l.src[:pos]
	line := 1 + strings.Count(head, "\n")
	column := 1 + utf8.RuneCountInString(head[strings.LastIndexByte(head, '\n')+1:])
	return fmt.Sprintf("line: %d, column: %d]", line, column)
}

// redacted tells the place of a syntax error.
func (l *lexer) redacted(pos int) string {
	return "\n at [Source: REDACTED (`StreamReadFeature.INCLUDE_SOURCE_IN_LOCATION` disabled); " + l.place(pos)
}

// here tells the place that was read up to, with the source.
func (l *lexer) here() string {
	src := l.src
	if len(src) > 500 {
		src = src[:500] + fmt.Sprintf("\"[truncated %d chars]", len(l.src)-500)
	} else {
		src += `"`
	}
	return "\n at [Source: (String)\"" + src + "; " + l.place(l.pos)
}
