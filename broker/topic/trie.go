// Package topic matches routing keys against binding patterns.
//
// A key and a pattern are sequences of words separated by dots. In a pattern
// the word * stands for exactly one word and # for zero or more. Empty words
// are words: "a..b" has three. The empty string has none.
package topic

import "strings"

// Trie holds values under patterns. It is not safe for concurrent use with
// Add or Remove; concurrent Match calls are fine.
type Trie[T comparable] struct {
	root node[T]
	size int
}

// node is what patterns with the same beginning share.
type node[T comparable] struct {
	words  map[string]*node[T]
	star   *node[T]
	hash   *node[T]
	isHash bool // reached by a #
	values set[T]
}

func (n *node[T]) empty() bool {
	return len(n.words) == 0 && n.star == nil && n.hash == nil && len(n.values.list) == 0
}

// Len is the number of (pattern, value) pairs.
func (t *Trie[T]) Len() int { return t.size }

// Add puts v under pattern and reports whether it was not there before.
// Patterns that differ only in # words repeated in a row ("#.#" and "#") are
// one pattern.
func (t *Trie[T]) Add(pattern string, v T) bool {
	n := &t.root
	for rest, more := pattern, pattern != ""; more; {
		var word string
		word, rest, more = strings.Cut(rest, ".")
		n = n.descend(word)
	}
	if !n.values.add(v) {
		return false
	}
	t.size++
	return true
}

// descend returns the child for word, making it if need be. A # after a # is
// the same node, which spares matching pointless backtracking.
func (n *node[T]) descend(word string) *node[T] {
	switch word {
	case "*":
		if n.star == nil {
			n.star = &node[T]{}
		}
		return n.star
	case "#":
		if n.isHash {
			return n
		}
		if n.hash == nil {
			n.hash = &node[T]{isHash: true}
		}
		return n.hash
	}
	child := n.words[word]
	if child == nil {
		child = &node[T]{}
		if n.words == nil {
			n.words = make(map[string]*node[T])
		}
		n.words[strings.Clone(word)] = child
	}
	return child
}

// Remove takes v from under pattern and reports whether it was there. Nodes
// that hold nothing any more are dropped.
func (t *Trie[T]) Remove(pattern string, v T) bool {
	if !t.root.remove(pattern, pattern != "", v) {
		return false
	}
	t.size--
	return true
}

func (n *node[T]) remove(rest string, more bool, v T) bool {
	if !more {
		return n.values.remove(v)
	}
	word, rest, more := strings.Cut(rest, ".")
	if word == "#" && n.isHash {
		return n.remove(rest, more, v)
	}
	child := n.child(word)
	if child == nil || !child.remove(rest, more, v) {
		return false
	}
	if child.empty() {
		n.drop(word)
	}
	return true
}

func (n *node[T]) child(word string) *node[T] {
	switch word {
	case "*":
		return n.star
	case "#":
		return n.hash
	}
	return n.words[word]
}

func (n *node[T]) drop(word string) {
	switch word {
	case "*":
		n.star = nil
	case "#":
		n.hash = nil
	default:
		delete(n.words, word)
	}
}

// AppendMatches appends the values of all patterns that match key. A value may
// appear more than once: under several patterns, or under one whose # words
// can take up the key in several ways. It allocates only to grow dst.
func (t *Trie[T]) AppendMatches(dst []T, key string) []T {
	return t.root.match(dst, key, key != "")
}

func (n *node[T]) match(dst []T, rest string, more bool) []T {
	if n.hash != nil {
		dst = n.hash.matchTails(dst, rest, more)
	}
	if !more {
		return append(dst, n.values.list...)
	}
	word, rest, more := strings.Cut(rest, ".")
	if child := n.words[word]; child != nil {
		dst = child.match(dst, rest, more)
	}
	if n.star != nil {
		dst = n.star.match(dst, rest, more)
	}
	return dst
}

// matchTails lets the # that led to n take zero, one, two ... words.
func (n *node[T]) matchTails(dst []T, rest string, more bool) []T {
	dst = append(dst, n.values.list...)
	if len(n.words) == 0 && n.star == nil {
		return dst
	}
	for more {
		dst = n.matchBelow(dst, rest)
		_, rest, more = strings.Cut(rest, ".")
	}
	return dst
}

// matchBelow matches rest, which has at least one word, below n only.
func (n *node[T]) matchBelow(dst []T, rest string) []T {
	word, rest, more := strings.Cut(rest, ".")
	if child := n.words[word]; child != nil {
		dst = child.match(dst, rest, more)
	}
	if n.star != nil {
		dst = n.star.match(dst, rest, more)
	}
	return dst
}

// Hashes counts the # words of a pattern. Each one beyond the first multiplies
// the work of a match by the length of the key, so callers bound it.
func Hashes(pattern string) int {
	count := 0
	for rest, more := pattern, pattern != ""; more; {
		var word string
		word, rest, more = strings.Cut(rest, ".")
		if word == "#" {
			count++
		}
	}
	return count
}
