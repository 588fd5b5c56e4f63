package topic

import "strings"

// Match reports whether key matches pattern. It allocates nothing and takes at
// most len(pattern) times len(key) steps.
func Match(pattern, key string) bool {
	p, k := cursorAt(pattern), cursorAt(key)
	var afterHash, retry cursor
	hashed := false
	for {
		switch {
		case p.more && p.word() == "#":
			p = p.next()
			afterHash, retry, hashed = p, k, true
			continue
		case !p.more && !k.more:
			return true
		case p.more && k.more && (p.word() == "*" || p.word() == k.word()):
			p, k = p.next(), k.next()
			continue
		}
		// The last # takes one word more, if there is one.
		if !hashed || !retry.more {
			return false
		}
		retry = retry.next()
		p, k = afterHash, retry
	}
}

// cursor is what is left of a sequence of words.
type cursor struct {
	rest string
	more bool // rest has a word, which may be empty
}

func cursorAt(s string) cursor { return cursor{s, s != ""} }

func (c cursor) word() string {
	word, _, _ := strings.Cut(c.rest, ".")
	return word
}

func (c cursor) next() cursor {
	_, rest, more := strings.Cut(c.rest, ".")
	return cursor{rest, more}
}
