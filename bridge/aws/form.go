package aws

import (
	"slices"
	"strconv"
	"strings"
)

// maxParams bounds the parameters of a request.
const maxParams = 4096

// Param is one parameter.
type Param struct{ Name, Value string }

// Form is the parameters of a request of the Query protocol, sorted by name.
// Of parameters that repeat, the first counts.
type Form []Param

// ParseForm reads parameters as application/x-www-form-urlencoded from the
// query string and the body. It is nil, false if an escape is malformed or
// there are too many.
func ParseForm(query string, body string) (Form, bool) {
	n := 0
	for _, s := range []string{query, body} {
		n += strings.Count(s, "&") + 1
	}
	if n > maxParams+2 {
		return nil, false
	}
	f := make(Form, 0, n)
	for _, s := range []string{query, body} {
		for s != "" {
			var part string
			part, s, _ = strings.Cut(s, "&")
			if part == "" {
				continue
			}
			name, value, _ := strings.Cut(part, "=")
			name, ok1 := unescape(name)
			value, ok2 := unescape(value)
			if !ok1 || !ok2 {
				return nil, false
			}
			f = append(f, Param{name, value})
		}
	}
	slices.SortStableFunc(f, func(a, b Param) int { return strings.Compare(a.Name, b.Name) })
	return f, true
}

func unescape(s string) (string, bool) {
	if strings.IndexByte(s, '%') < 0 && strings.IndexByte(s, '+') < 0 {
		return s, true
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		switch c := s[i]; c {
		case '+':
			b = append(b, ' ')
		case '%':
			if i+2 >= len(s) {
				return "", false
			}
			hi, lo := unhex(s[i+1]), unhex(s[i+2])
			if hi > 15 || lo > 15 {
				return "", false
			}
			b = append(b, hi<<4|lo)
			i += 2
		default:
			b = append(b, c)
		}
	}
	return string(b), true
}

func unhex(c byte) byte {
	switch {
	case c >= '0' && c <= '9':
		return c - '0'
	case c >= 'a' && c <= 'f':
		return c - 'a' + 10
	case c >= 'A' && c <= 'F':
		return c - 'A' + 10
	}
	return 255
}

func (f Form) search(name string) int {
	i, _ := slices.BinarySearchFunc(f, name, func(p Param, n string) int { return strings.Compare(p.Name, n) })
	return i
}

// Lookup returns a parameter.
func (f Form) Lookup(name string) (string, bool) {
	if i := f.search(name); i < len(f) && f[i].Name == name {
		return f[i].Value, true
	}
	return "", false
}

// Get returns a parameter, "" if it is missing.
func (f Form) Get(name string) string {
	v, _ := f.Lookup(name)
	return v
}

// Has reports whether a parameter of that name or below it (name.x) is there.
func (f Form) Has(name string) bool {
	if _, ok := f.Lookup(name); ok {
		return true
	}
	i := f.search(name + ".")
	return i < len(f) && strings.HasPrefix(f[i].Name, name+".")
}

// Items returns the names of the elements of a list that are there, prefix.1,
// prefix.2 and so on, in the order of their numbers.
func (f Form) Items(prefix string) []string {
	prefix += "."
	var numbers []int
	last := -1
	for i := f.search(prefix); i < len(f) && strings.HasPrefix(f[i].Name, prefix); i++ {
		word, _, _ := strings.Cut(f[i].Name[len(prefix):], ".")
		n, err := strconv.Atoi(word)
		if err != nil || n < 0 || n == last {
			continue
		}
		last = n
		numbers = append(numbers, n)
	}
	slices.Sort(numbers)
	numbers = slices.Compact(numbers)
	names := make([]string, len(numbers))
	for i, n := range numbers {
		names[i] = prefix + strconv.Itoa(n)
	}
	return names
}

// List returns the values of a list of scalars: prefix.1, prefix.2 and so on,
// or the one called prefix.
func (f Form) List(prefix string) []string {
	var list []string
	for _, name := range f.Items(prefix) {
		if v, ok := f.Lookup(name); ok {
			list = append(list, v)
		}
	}
	if v, ok := f.Lookup(prefix); ok && list == nil {
		list = append(list, v)
	}
	return list
}

// Map returns the pairs of a map: prefix.N.key and prefix.N.value, with the
// words the service has for the two, in order.
func (f Form) Map(prefix, key, value string) []Param {
	var list []Param
	for _, name := range f.Items(prefix) {
		k, ok := f.Lookup(name + "." + key)
		if ok {
			list = append(list, Param{k, f.Get(name + "." + value)})
		}
	}
	return list
}
