package topic

import "testing"

func TestSlashes(t *testing.T) {
	for mqtt, key := range map[string]string{
		"": "", "a": "a", "a/b": "a.b", "a.b/c": "a/b.c", "/": ".", "//x/": "..x.", "+/x/#": "*.x.#", "*/x": "+.x",
		"spBv1.0/g/+": "spBv1/0.g.*", "größe/€": "größe.€",
	} {
		if got := string(Slashes(nil, mqtt)); got != key {
			t.Errorf("Slashes(%q) = %q, want %q", mqtt, got, key)
		}
		if got := string(Slashes([]byte("x"), []byte(key))); got != "x"+mqtt {
			t.Errorf("back from %q: got %q", key, got)
		}
	}
}

func FuzzSlashes(f *testing.F) {
	f.Add("a/b.c")
	f.Fuzz(func(t *testing.T, s string) {
		if got := string(Slashes(nil, Slashes(nil, s))); got != s {
			t.Errorf("%q came back as %q", s, got)
		}
	})
}
