package topic_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/hermodmq/hermod/broker/topic"
)

// matches is the rule of MQTT 5, section 4.7, level by level.
func matches(filter, name string) bool {
	f, n := strings.Split(filter, "/"), strings.Split(name, "/")
	if strings.HasPrefix(name, "$") && (f[0] == "+" || f[0] == "#") {
		return false
	}
	for i, want := range f {
		switch {
		case want == "#":
			return true
		case i == len(n):
			return false
		case want != "+" && want != n[i]:
			return false
		}
	}
	return len(f) == len(n)
}

func matchesParent(filter, name string) bool {
	return matches(filter, name) || strings.HasSuffix(filter, "/#") && matches(strings.TrimSuffix(filter, "/#"), name)
}

func TestNamesAgainstModel(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	words := []string{"", "a", "b", "ab", "b\x01", "$s", "ß", "+", "#"}
	text := func(n int) string {
		levels := make([]string, 1+rng.IntN(4))
		for i := range levels {
			levels[i] = words[rng.IntN(n)]
		}
		return strings.Join(levels, "/")
	}
	var names topic.Names[int]
	model := map[string]int{}
	for round := range 3000 {
		name := text(7) + fmt.Sprint("/", rng.IntN(30))
		if rng.IntN(3) == 0 {
			name = text(7)
		}
		if name == "" {
			continue
		}
		if rng.IntN(3) == 0 {
			delete(model, name)
			names.Delete(name)
		} else {
			model[name] = round
			names.Put(name, round)
		}
		want, have := model[name]
		if v, ok := names.Get(name); ok != have || v != want {
			t.Fatalf("Get(%q) = %d, %v", name, v, ok)
		}
	}
	if names.Len() != len(model) {
		t.Fatalf("%d names, want %d", names.Len(), len(model))
	}
	for range 2000 {
		filter := text(9)
		if i := strings.Index(filter, "#"); i >= 0 {
			filter = filter[:i+1]
		}
		if filter == "" {
			continue
		}
		var want, got []string
		for name := range model {
			if matchesParent(filter, name) {
				want = append(want, name)
			}
		}
		s := topic.Search{Filter: filter}
		for most := 1 + rng.IntN(50); !s.Done(); {
			names.Step(&s, most, func(name string, v int) {
				if v != model[name] {
					t.Errorf("%q has %d, want %d", name, v, model[name])
				}
				got = append(got, name)
			})
		}
		slices.Sort(want)
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Fatalf("%q finds\n%q, want\n%q", filter, got, want)
		}
	}
}

// TestNamesLooksAtLittle: a filter costs what it finds, not what there is.
func TestNamesLooksAtLittle(t *testing.T) {
	var names topic.Names[int]
	for i := range 100_000 {
		names.Put(fmt.Sprintf("plant/%d/sensor/%d/temp", i%1000, i/1000), i)
	}
	for filter, most := range map[string]int{
		"plant/7/sensor/+/temp":  210,
		"plant/7/#":              210,
		"plant/+/sensor/50/temp": 4100,
		"other/#":                2,
		"+/7/sensor/50/temp":     5,
		"plant/7/sensor/50/temp": 5,
	} {
		s, found := topic.Search{Filter: filter}, 0
		looked := names.Step(&s, 1<<30, func(string, int) { found++ })
		if !s.Done() || found == 0 && filter != "other/#" || looked > most {
			t.Errorf("%s: found %d, looked at %d, want no more than %d", filter, found, looked, most)
		}
	}
}

func BenchmarkNamesPut(b *testing.B) {
	var names topic.Names[int]
	list := make([]string, 1<<20)
	for i := range list {
		list[i] = fmt.Sprintf("plant/%d/sensor/%d/temp", rand.IntN(1000), rand.IntN(1<<20))
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		names.Put(list[i&(1<<20-1)], i)
	}
}

func BenchmarkNamesFind(b *testing.B) {
	var names topic.Names[int]
	for i := range 1 << 20 {
		names.Put(fmt.Sprintf("plant/%d/sensor/%d/temp", i%1000, i/1000), i)
	}
	for b.Loop() {
		s := topic.Search{Filter: "plant/+/sensor/500/temp"}
		names.Step(&s, 1<<30, func(string, int) {})
	}
}
