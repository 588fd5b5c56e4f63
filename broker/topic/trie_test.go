package topic

import (
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// matches is the definition: words against words, without any cleverness.
func matches(pattern, key []string) bool {
	switch {
	case len(pattern) == 0:
		return len(key) == 0
	case pattern[0] == "#":
		return matches(pattern[1:], key) || len(key) > 0 && matches(pattern, key[1:])
	case len(key) == 0:
		return false
	}
	return (pattern[0] == "*" || pattern[0] == key[0]) && matches(pattern[1:], key[1:])
}

func words(s string) []string {
	if s == "" {
		return nil
	}
	return strings.Split(s, ".")
}

func found(t *Trie[string], key string) []string {
	list := t.AppendMatches(nil, key)
	slices.Sort(list)
	return slices.Compact(list)
}

// TestMatrix is the matching matrix of AMQP-29 for topic exchanges.
func TestMatrix(t *testing.T) {
	tests := []struct {
		pattern string
		yes, no []string
	}{
		{"", []string{""}, []string{"a", "."}},
		{"a", []string{"a"}, []string{"", "b", "a.a", "A", "a."}},
		{"*", []string{"a", "*", "#"}, []string{"", ".", "a.b"}},
		{"#", []string{"", "a", ".", "a.b.c", "..."}, nil},
		{"a.*", []string{"a.b", "a."}, []string{"a", "a.b.c", ".a"}},
		{"*.a", []string{"b.a", ".a"}, []string{"a", "b.b.a"}},
		{"a.#", []string{"a", "a.b", "a.b.c", "a."}, []string{"", "b", "ab"}},
		{"#.a", []string{"a", "b.a", ".a", "b.b.a"}, []string{"", "a.b"}},
		{"a.#.b", []string{"a.b", "a.x.b", "a.b.b", "a..b"}, []string{"a", "b", "a.b.c"}},
		{"#.a.#", []string{"a", "x.a", "a.x", "x.a.x", "a.a"}, []string{"", "b", "b.b"}},
		{"*.#", []string{"a", "a.b", "."}, []string{""}},
		{"#.*", []string{"a", "a.b", "."}, []string{""}},
		{"#.#", []string{"", "a", "a.b"}, nil},
		{"#.#.#.a", []string{"a", "b.a"}, []string{"", "a.b"}},
		{"*.*", []string{"a.b", "."}, []string{"a", "a.b.c"}},
		{"a..b", []string{"a..b"}, []string{"a.b", "a.x.b"}},
		{"a.*.b", []string{"a..b", "a.x.b"}, []string{"a.b"}},
		{".", []string{"."}, []string{"", "..", "a"}},
		{"..", []string{".."}, []string{"."}},
		{"a*", []string{"a*"}, []string{"ab"}},
		{"a.b#", []string{"a.b#"}, []string{"a.b", "a.bc"}},
		{"ü.*", []string{"ü.ö"}, []string{"u.o"}},
	}
	for _, tt := range tests {
		var trie Trie[string]
		trie.Add(tt.pattern, "x")
		for _, key := range tt.yes {
			if len(found(&trie, key)) != 1 {
				t.Errorf("%q does not match %q", tt.pattern, key)
			}
		}
		for _, key := range tt.no {
			if len(found(&trie, key)) != 0 {
				t.Errorf("%q matches %q", tt.pattern, key)
			}
		}
	}
}

func randomText(r *rand.Rand, alphabet []string) string {
	n := r.IntN(6)
	list := make([]string, n)
	for i := range list {
		list[i] = alphabet[r.IntN(len(alphabet))]
	}
	return strings.Join(list, ".")
}

// TestAgainstNaive adds, removes and matches at random and compares with the
// definition.
func TestAgainstNaive(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	patterns := []string{"a", "b", "c", "", "*", "#", "#"}
	keys := []string{"a", "b", "c", ""}
	for round := range 200 {
		var trie Trie[int]
		model := map[int]string{}
		for i := range 120 {
			switch r.IntN(4) {
			case 0, 1:
				p := randomText(r, patterns)
				model[i] = p
				if !trie.Add(p, i) || trie.Add(p, i) {
					t.Fatalf("round %d: Add(%q) does not tell new from old", round, p)
				}
			case 2:
				for v, p := range model {
					if !trie.Remove(p, v) || trie.Remove(p, v) {
						t.Fatalf("round %d: Remove(%q) does not tell there from gone", round, p)
					}
					delete(model, v)
					break
				}
			}
			key := randomText(r, keys)
			var want []int
			for v, p := range model {
				if matches(words(p), words(key)) {
					want = append(want, v)
				}
			}
			got := trie.AppendMatches(nil, key)
			slices.Sort(want)
			slices.Sort(got)
			got = slices.Compact(got)
			if !slices.Equal(got, want) {
				t.Fatalf("round %d: %q: got %v, want %v of %v", round, key, got, want, model)
			}
			if trie.Len() != len(model) {
				t.Fatalf("round %d: Len is %d, want %d", round, trie.Len(), len(model))
			}
		}
		for v, p := range model {
			trie.Remove(p, v)
		}
		if !trie.root.empty() {
			t.Fatalf("round %d: nodes are left after the last Remove", round)
		}
	}
}

func TestRemoveUnknown(t *testing.T) {
	var trie Trie[int]
	trie.Add("a.b", 1)
	for _, p := range []string{"", "a", "a.b.c", "a.*", "#", "x"} {
		if trie.Remove(p, 1) {
			t.Errorf("Remove(%q) found something", p)
		}
	}
	if trie.Remove("a.b", 2) {
		t.Error("Remove found another value")
	}
}

func TestLargeBucket(t *testing.T) {
	var trie Trie[int]
	const n = 20_000
	for i := range n {
		trie.Add("a.*", i)
	}
	for i := range n - 1 {
		if !trie.Remove("a.*", i) {
			t.Fatalf("value %d is gone", i)
		}
	}
	if got := trie.AppendMatches(nil, "a.x"); len(got) != 1 || got[0] != n-1 {
		t.Errorf("got %v", got)
	}
}

func TestMatchAllocatesNothing(t *testing.T) {
	var trie Trie[int]
	for i, p := range []string{"#", "a.#", "a.*.c", "*.b.*", "a.b.c", "#.c", "a.#.c"} {
		trie.Add(p, i)
	}
	dst := make([]int, 0, 64)
	n := testing.AllocsPerRun(100, func() { dst = trie.AppendMatches(dst[:0], "a.b.c") })
	if n != 0 {
		t.Errorf("%v allocations per match", n)
	}
	if len(dst) < 7 {
		t.Errorf("only %v matched", dst)
	}
}

func TestHashes(t *testing.T) {
	for p, want := range map[string]int{"": 0, "#": 1, "a.#.b.#": 2, "##": 0, "#.#.#": 3} {
		if got := Hashes(p); got != want {
			t.Errorf("Hashes(%q) = %d, want %d", p, got, want)
		}
	}
}

func FuzzMatch(f *testing.F) {
	f.Add("a.#.b", "a.x.b")
	f.Add("#.*.#", "..")
	f.Fuzz(func(t *testing.T, pattern, key string) {
		if len(pattern) > 24 || len(key) > 24 {
			return
		}
		var trie Trie[string]
		trie.Add(pattern, "x")
		got := len(trie.AppendMatches(nil, key)) > 0
		if want := matches(words(pattern), words(key)); got != want {
			t.Errorf("%q against %q: got %v", pattern, key, got)
		}
		if !trie.Remove(pattern, "x") || !trie.root.empty() {
			t.Errorf("%q cannot be removed", pattern)
		}
	})
}

func BenchmarkMatch(b *testing.B) {
	var trie Trie[int]
	for i := range 10_000 {
		trie.Add("sensor."+strconv.Itoa(i)+".*.temp", i)
	}
	trie.Add("#", -1)
	dst := make([]int, 0, 16)
	for b.Loop() {
		dst = trie.AppendMatches(dst[:0], "sensor.77.x.temp")
	}
}
