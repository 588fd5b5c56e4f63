package topic

import (
	"bufio"
	"encoding/json"
	"math/rand/v2"
	"os"
	"testing"
)

// TestActiveMQVectors runs what a stock ActiveMQ broker answered.
func TestActiveMQVectors(t *testing.T) {
	f, err := os.Open("testdata/activemq-wildcards.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	n := 0
	for lines := bufio.NewScanner(f); lines.Scan(); n++ {
		var v struct {
			Pattern, Name string
			Match         bool
		}
		if err := json.Unmarshal(lines.Bytes(), &v); err != nil {
			t.Fatal(err)
		}
		if got := Match(ActiveMQ(v.Pattern), v.Name); got != v.Match {
			t.Errorf("%q against %q: %v", v.Pattern, v.Name, got)
		}
		var trie Trie[int]
		trie.Add(ActiveMQ(v.Pattern), 1)
		if got := len(trie.AppendMatches(nil, v.Name)) > 0; got != v.Match {
			t.Errorf("%q against %q in a trie: %v", v.Pattern, v.Name, got)
		}
	}
	if n != 21 {
		t.Errorf("%d vectors, want 21", n)
	}
}

func TestActiveMQ(t *testing.T) {
	for _, tt := range []struct {
		name, pattern string
		wild          bool
	}{
		{"a.b", "a.b", false}, {">", "#", true}, {"*", "*", true}, {"a.>", "a.#", true}, {"a.>.>", "a.#", true},
		{">.>", "#", true}, {"a.>.b", "a.>.b", false}, {"a.*.b", "a.*.b", true}, {"a*", "a*", false}, {"a>", "a>", false},
		{"", "", false}, {"a..>", "a..#", true},
	} {
		if got := ActiveMQ(tt.name); got != tt.pattern {
			t.Errorf("ActiveMQ(%q) = %q, want %q", tt.name, got, tt.pattern)
		}
		if got := Wild(tt.name); got != tt.wild {
			t.Errorf("Wild(%q) = %v", tt.name, got)
		}
	}
}

func TestMatchAgainstDefinition(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for range 20_000 {
		pattern := randomText(r, []string{"a", "b", "", "*", "#", "#"})
		key := randomText(r, []string{"a", "b", ""})
		if got, want := Match(pattern, key), matches(words(pattern), words(key)); got != want {
			t.Fatalf("%q against %q: got %v", pattern, key, got)
		}
	}
}

func TestMatchOneAllocatesNothing(t *testing.T) {
	if n := testing.AllocsPerRun(100, func() { Match("a.#.c.#", "a.b.b.c.d") }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
