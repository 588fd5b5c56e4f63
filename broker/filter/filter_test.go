package filter

import (
	"fmt"
	"strings"
	"testing"
)

// TestErrors are the texts that Amazon SNS answers with (SNS-41). The column
// is that of its tokenizer.
func TestErrors(t *testing.T) {
	for _, c := range []struct {
		policy, message string
		column          int
	}{
		{`{"key":{"not-an-operator":"value"}}`, "\"not-an-operator\" must be an object or an array", 28},
		{`{"key":{"suffix":"value","prefix":"value"}}`, "\"suffix\" must be an object or an array", 19},
		{`{"key":{"suffix":"value"}}`, "\"suffix\" must be an object or an array", 19},
		{`{"key":[{"numeric":[">=",1,">",2]}]}`, "Bad numeric range operator: >", 31},
		{`{"key":[{"numeric":[">",20,"test"]}]}`, "Bad numeric range operator: test", 34},
		{`{"key":[{"numeric":[">",20,30]}]}`, "Bad value in numeric range: 30", 30},
		{`{"key":[{"numeric":[">",3,"<",1]}]}`, "Bottom must be less than top", 33},
		{`{"key":[]}`, "Empty arrays are not allowed", 10},
		{`{"key":[{"numeric":[1,"<="]}]}`, "Invalid member in numeric match: 1", 22},
		{`{"key":[{"numeric":[]}]}`, "Invalid member in numeric match: ]", 22},
		{`{"key":[["value"]]}`, "Match value must be String, number, true, false, or null", 10},
		{`{"key":[{"suffix":"value","prefix":"value2"}]}`, "Only one key allowed in match expression", 37},
		{`{"key":[{"numeric":["<",100,">",10]}]}`, "Too many elements in numeric expression", 30},
		{`{"key":[{"numeric":[">",20,"<",30,"<",50]}]}`, "Too many terms in numeric range expression", 36},
		{`{"key":[{"wrong-operator":true}]}`, "Unrecognized match type wrong-operator", 31},
		{`{"key":[{"numeric":["operator"]}]}`, "Unrecognized numeric range operator: operator", 32},
		{`{"key":[{"anything-but":{"exists":false}}]}`, "Unsupported anything-but pattern: exists", 40},
		{`{"key":[{"anything-but":{"wrong-operator":null}}]}`, "Unsupported anything-but pattern: wrong-operator", 47},
		{`{"key":[{"numeric":[">",20,"<","30"]}]}`, "Value of < must be numeric", 33},
		{`{"key":[{"numeric":[">",20,"<="]}]}`, "Value of <= must be numeric", 33},
		{`{"key":[{"numeric":[">","20","<","30"]}]}`, "Value of > must be numeric", 26},
		{`{"key":[{"numeric":[">="]}]}`, "Value of >= must be numeric", 26},
		{`{"key":[{"numeric":["=","000"]}]}`, "Value of equals must be numeric", 26},
		{`{"key":[{"exists":"no"}]}`, "exists match pattern must be either true or false.", 20},
		{`{"key":[{"exists":null}]}`, "exists match pattern must be either true or false.", 23},
		{`{"key":[{"anything-but":{"prefix":false}}]}`, "prefix match pattern must be a string", 40},
		{`{"key":[{"cidr":["bad-filter"]}]}`, "prefix match pattern must be a string", 18},
		{`{"key":[{"suffix":100}]}`, "suffix match pattern must be a string", 22},
		{`{"key":[{"suffix":["test","test2"]}]}`, "suffix match pattern must be a string", 20},
		{`{"key":[{"suffix":[]}]}`, "suffix match pattern must be a string", 20},
		{`{"key":[{"suffix":null}]}`, "suffix match pattern must be a string", 23},
		{`{"key_a":"value_one"}`, "\"key_a\" must be an object or an array", 11},
	} {
		want := fmt.Sprintf("%s\n at [Source: (String)\"%s\"; line: 1, column: %d]", c.message, c.policy, c.column)
		_, err := Compile(c.policy, Attributes)
		if err == nil || err.Error() != want {
			t.Errorf("%s:\n got %v\nwant %v", c.policy, err, want)
		}
	}
}

func TestErrorsWithoutPlace(t *testing.T) {
	const redacted = "\n at [Source: REDACTED (`StreamReadFeature.INCLUDE_SOURCE_IN_LOCATION` disabled); line: 1, column: "
	many := func(n int) string { return strings.TrimSuffix(strings.Repeat(`"v",`, n), ",") }
	for _, c := range []struct {
		policy  string
		scope   Scope
		message string
	}{
		{`invalid`, Attributes, "failed to parse JSON. Unrecognized token 'invalid': was expecting (JSON String, Number, Array, Object or token 'null', 'true' or 'false')" + redacted + "8]"},
		{`{invalid`, Attributes, "failed to parse JSON. Unexpected character ('i' (code 105)): was expecting double-quote to start field name" + redacted + "2]"},
		{`{"key":[{"cidr":"10.0.0.1"}]}`, Attributes, "Malformed CIDR, one '/' required"},
		{`{"key":[{"cidr":"bad-filter/24"}]}`, Attributes, "Nonstandard IP address: bad-filter"},
		{`{"key":[{"cidr":"bad-filter/x"}]}`, Attributes, "Malformed CIDR, mask bits must be an integer"},
		{`{"key":[{"cidr":"xx.11.xx/8"}]}`, Attributes, "Nonstandard IP address: xx.11.xx"},
		{`{"key":[{"cidr":"xxxx:db8:1234:1a00::/64"}]}`, Attributes, "Nonstandard IP address: xxxx:db8:1234:1a00::"},
		{`{"a":["v"],"b":["v"],"c":["v"],"d":["v"],"e":["v"],"f":["v"]}`, Attributes, "Filter policy can not have more than 5 keys"},
		{`{"a":[` + many(151) + `]}`, Attributes, "Filter policy is too complex"},
		{`{"a":[` + many(10) + `],"b":[` + many(16) + `]}`, Attributes, "Filter policy is too complex"},
		{`{"a":{"b":{"c":[` + many(26) + `]}},"d":{"e":["x"]}}`, Body, "Filter policy is too complex"},
		{`{"a":{"b":["v"]}}`, Attributes, ErrNested.Error()},
		{`{"a":[{"wildcard":"a**b"}]}`, Attributes, "Consecutive wildcard characters at pos 1"},
		{`{"a":[{"wildcard":"a\\b"}]}`, Attributes, "Invalid escape character at pos 1"},
	} {
		_, err := Compile(c.policy, c.scope)
		if err == nil || err.Error() != c.message {
			t.Errorf("%s:\n got %v\nwant %v", c.policy, err, c.message)
		}
	}
	for _, good := range []string{
		`{"a":[` + many(150) + `]}`, `{"a":{"b":{"c":[` + many(25) + `]}},"d":{"e":["x"]}}`, `{}`,
	} {
		if _, err := Compile(good, Body); err != nil {
			t.Errorf("%.40s: %v", good, err)
		}
	}
}

// attributes are what a test message has.
type attributes map[string][]Value

func (a attributes) AppendAttribute(dst []Value, name string) ([]Value, bool) {
	values, ok := a[name]
	return append(dst, values...), ok
}

func text(s string) []Value { return []Value{{Kind: String, Text: s}} }
func number(n float64) []Value {
	return []Value{{Kind: Number, Num: n}}
}

// TestAttributes covers every operator on attributes (SNS-39).
func TestAttributes(t *testing.T) {
	abc := []Value{{Kind: String, Text: "a"}, {Kind: Number, Num: 7}, {Kind: Bool, True: true}, {Kind: Null}}
	for _, c := range []struct {
		policy string
		with   attributes
		want   bool
	}{
		{`{"k":["x"]}`, attributes{"k": text("x")}, true},
		{`{"k":["x"]}`, attributes{"k": text("X")}, false},
		{`{"k":["x"]}`, attributes{"other": text("x")}, false},
		{`{"k":["x","y"]}`, attributes{"k": text("y")}, true},
		{`{"k":[100]}`, attributes{"k": number(100)}, true},
		{`{"k":[100.0]}`, attributes{"k": number(100)}, true},
		{`{"k":[100]}`, attributes{"k": text("100")}, false},
		{`{"k":["100"]}`, attributes{"k": number(100)}, false},
		{`{"a":["x"],"b":[1]}`, attributes{"a": text("x"), "b": number(1)}, true},
		{`{"a":["x"],"b":[1]}`, attributes{"a": text("x")}, false},
		{`{"k":[{"prefix":"ab"}]}`, attributes{"k": text("abc")}, true},
		{`{"k":[{"prefix":"ab"}]}`, attributes{"k": text("bc")}, false},
		{`{"k":[{"suffix":"bc"}]}`, attributes{"k": text("abc")}, true},
		{`{"k":[{"suffix":"bc"}]}`, attributes{"k": text("ab")}, false},
		{`{"k":[{"equals-ignore-case":"ABC"}]}`, attributes{"k": text("aBc")}, true},
		{`{"k":[{"equals-ignore-case":"ABC"}]}`, attributes{"k": text("ab")}, false},
		{`{"k":[{"wildcard":"*.eu.*"}]}`, attributes{"k": text("prices.eu.x")}, true},
		{`{"k":[{"wildcard":"a*c*e"}]}`, attributes{"k": text("abcdce")}, true},
		{`{"k":[{"wildcard":"a*c"}]}`, attributes{"k": text("ab")}, false},
		{`{"k":[{"wildcard":"a\\*c"}]}`, attributes{"k": text("a*c")}, true},
		{`{"k":[{"wildcard":"a\\*c"}]}`, attributes{"k": text("abc")}, false},
		{`{"k":[{"wildcard":"*"}]}`, attributes{"k": text("")}, true},
		{`{"k":[{"anything-but":"x"}]}`, attributes{"k": text("y")}, true},
		{`{"k":[{"anything-but":"x"}]}`, attributes{"k": text("x")}, false},
		{`{"k":[{"anything-but":["x","y"]}]}`, attributes{"k": text("y")}, false},
		{`{"k":[{"anything-but":[1,2]}]}`, attributes{"k": number(3)}, true},
		{`{"k":[{"anything-but":2}]}`, attributes{"k": number(2)}, false},
		{`{"k":[{"anything-but":"x"}]}`, attributes{}, false},
		{`{"k":[{"anything-but":{"prefix":"ab"}}]}`, attributes{"k": text("abc")}, false},
		{`{"k":[{"anything-but":{"prefix":"ab"}}]}`, attributes{"k": text("xbc")}, true},
		{`{"k":[{"anything-but":{"prefix":["ab","xb"]}}]}`, attributes{"k": text("xbc")}, false},
		{`{"k":[{"anything-but":{"suffix":"bc"}}]}`, attributes{"k": text("abc")}, false},
		{`{"k":[{"anything-but":{"wildcard":"a*"}}]}`, attributes{"k": text("abc")}, false},
		{`{"k":[{"anything-but":{"equals-ignore-case":["ABC"]}}]}`, attributes{"k": text("abc")}, false},
		{`{"k":[{"numeric":["=",5]}]}`, attributes{"k": number(5)}, true},
		{`{"k":[{"numeric":[">",5]}]}`, attributes{"k": number(5)}, false},
		{`{"k":[{"numeric":[">=",5]}]}`, attributes{"k": number(5)}, true},
		{`{"k":[{"numeric":["<",5]}]}`, attributes{"k": number(4.99)}, true},
		{`{"k":[{"numeric":["<=",5]}]}`, attributes{"k": number(5.01)}, false},
		{`{"k":[{"numeric":[">",0,"<=",150]}]}`, attributes{"k": number(150)}, true},
		{`{"k":[{"numeric":[">",0,"<",150]}]}`, attributes{"k": number(150)}, false},
		{`{"k":[{"numeric":[">",0,"<",150]}]}`, attributes{"k": text("7")}, false},
		{`{"k":[{"exists":true}]}`, attributes{"k": text("")}, true},
		{`{"k":[{"exists":true}]}`, attributes{}, false},
		{`{"k":[{"exists":false}]}`, attributes{"k": text("")}, false},
		{`{"k":[{"exists":false}]}`, attributes{}, true},
		{`{"k":["x",{"exists":false}]}`, attributes{}, true},
		{`{"k":[{"cidr":"10.0.0.0/24"}]}`, attributes{"k": text("10.0.0.255")}, true},
		{`{"k":[{"cidr":"10.0.0.0/24"}]}`, attributes{"k": text("10.1.1.0")}, false},
		{`{"k":[{"cidr":"2001:db8::/32"}]}`, attributes{"k": text("2001:db8::1")}, true},
		{`{"k":[{"cidr":"10.0.0.0/24"}]}`, attributes{"k": text("nonsense")}, false},
		{`{"k":["a"]}`, attributes{"k": abc}, true},
		{`{"k":[7]}`, attributes{"k": abc}, true},
		{`{"k":[true]}`, attributes{"k": abc}, true},
		{`{"k":[null]}`, attributes{"k": abc}, true},
		{`{"k":["z"]}`, attributes{"k": abc}, false},
		{`{"k":[{"anything-but":"a"}]}`, attributes{"k": abc}, true},
		{`{"k":["z"]}`, attributes{"k": nil}, false},
		{`{"$or":[{"a":["x"]},{"b":["x"]}]}`, attributes{"b": text("x")}, true},
		{`{"$or":[{"a":["x"]},{"b":["x"]}]}`, attributes{"b": text("y")}, false},
		{`{"c":[1],"$or":[{"a":["x"]},{"b":["x"]}]}`, attributes{"a": text("x")}, false},
		{`{"$or":["a"]}`, attributes{"$or": text("a")}, true},
		{`{"$or":[{"prefix":"a"},{"prefix":"b"}]}`, attributes{"$or": text("bc")}, true},
		{`{}`, attributes{}, true},
	} {
		p, err := Compile(c.policy, Attributes)
		if err != nil {
			t.Errorf("%s: %v", c.policy, err)
			continue
		}
		if got := p.MatchAttributes(c.with, nil); got != c.want {
			t.Errorf("%s on %v: %v", c.policy, c.with, got)
		}
	}
}

// TestBody covers nesting, arrays and $or (SNS-40).
func TestBody(t *testing.T) {
	for _, c := range []struct {
		policy, body string
		want         bool
	}{
		{`{"a":["x"]}`, `{"a":"x"}`, true},
		{`{"a":["x"]}`, `{"a":["y","x"]}`, true},
		{`{"a":["x"]}`, `{"a":[["x"]]}`, true},
		{`{"a":["x"]}`, `{"a":[]}`, false},
		{`{"a":["x"]}`, `{"a":{"x":"x"}}`, false},
		{`{"a":["x"]}`, `not json`, false},
		{`{"a":["x"]}`, `"x"`, false},
		{`{"a":["x"]}`, `{"a":"x"} trailing`, false},
		{`{"a":["x"]}`, `{"a":"x",}`, false},
		{`{"a":["ü"]}`, `{"a":"\u00fc"}`, true},
		{`{"a":["😀"]}`, `{"\u0061":"\ud83d\ude00"}`, true},
		{`{"a":[1]}`, `{"a":1.0}`, true},
		{`{"a":[3e2]}`, `{"a":300}`, true},
		{`{"a":[true]}`, `{"a":true}`, true},
		{`{"a":[null]}`, `{"a":null}`, true},
		{`{"a":[null]}`, `{}`, false},
		{`{"a":{"b":["x"]}}`, `{"a":{"b":"x"}}`, true},
		{`{"a":{"b":["x"]}}`, `{"a":{"c":"x"}}`, false},
		{`{"a":{"b":["x"]}}`, `{"a":[{"b":"y"},{"b":"x"}]}`, true},
		{`{"a":{"b":["x"],"c":[1]}}`, `{"a":[{"b":"x","c":2},{"b":"y","c":1}]}`, false},
		{`{"a":{"b":[{"exists":false}]}}`, `{"a":{"c":1}}`, true},
		{`{"a":{"b":[{"exists":false}]}}`, `{}`, true},
		{`{"a":{"b":[{"exists":true}]}}`, `{"a":{"b":null}}`, true},
		{`{"a":{"b":[{"exists":true}]}}`, `{"a":{"b":{"c":1}}}`, false},
		{`{"a":[{"anything-but":["x"]}]}`, `{"a":["x","y"]}`, true},
		{`{"a":[{"anything-but":["x"]}]}`, `{}`, false},
		{`{"a":{"$or":[{"b":["x"]},{"c":["x"]}]}}`, `{"a":{"c":"x"}}`, true},
		{`{"$or":[{"a":{"b":[1]}},{"c":[2]}],"d":[3]}`, `{"a":{"b":1},"d":3}`, true},
		{`{"$or":[{"a":{"b":[1]}},{"c":[2]}],"d":[3]}`, `{"a":{"b":2},"d":3}`, false},
		{`{"a":["y"]}`, `{"a":"x","a":"y"}`, true},
		{`{"a.b":["x"]}`, `{"a":{"b":"x"}}`, true},
		{`{"a.b":["x"]}`, `{"a.b":"x"}`, true},
		{`{"a.b":["x"]}`, `{"a.b":"y"}`, false},
		{`{"a.b":["x"]}`, `{"a":"x","b":"x"}`, false},
		{`{"a.b.c":["x"]}`, `{"a.b":{"c":"x"}}`, true},
		{`{"a.b.c":["x"]}`, `{"a":{"b.c":"x"}}`, true},
		{`{"a.b.c":["x"]}`, `{"a":[{"b":"x"},{"b.c":["y","x"]}]}`, true},
		{`{"a":{"b":["x"]}}`, `{"a.b":"x"}`, true},
		{`{"a":{"b":["x"]}}`, `{"a":{"c":1},"a.b":"x"}`, true},
		{`{"a":{"b":["x"]}}`, `{"a.c":1,"a.b":"x","a.d":2}`, true},
		{`{"a":{"c":[1]}}`, `{"a":{"c":1},"a.b":"x"}`, true},
		{`{"a":{"b":[{"exists":false}]}}`, `{"a.b":"x"}`, false},
		{`{"a":[{"exists":false}]}`, `{"a.b":"x"}`, true},
		{`{"a.b":{"c":["x"],"d":[1]}}`, `{"a":{"b":{"c":"x","d":1}}}`, true},
		{`{"$or":[{"a.b":["x"]},{"c":["x"]}]}`, `{"a":{"b":"x"}}`, true},
		{`{"a..b":["x"]}`, `{"a..b":"x"}`, true},
		{`{".":["x"]}`, `{".":"x"}`, true},
	} {
		p, err := Compile(c.policy, Body)
		if err != nil {
			t.Errorf("%s: %v", c.policy, err)
			continue
		}
		var d Document
		d.Parse([]byte(c.body))
		if got := p.MatchBody(&d); got != c.want {
			t.Errorf("%s on %s: %v", c.policy, c.body, got)
		}
	}
}

// TestLongNames: names with more dots than anybody nests are names.
func TestLongNames(t *testing.T) {
	name := strings.Repeat("a.", 100_000)
	p, err := Compile(`{"`+name+`":["x"]}`, Body)
	if err != nil {
		t.Fatal(err)
	}
	for body, want := range map[string]bool{`{"` + name + `":"x"}`: true, `{"` + name + `":"y"}`: false, `{"a":{"a":"x"}}`: false} {
		var d Document
		if !d.Parse([]byte(body)) || p.MatchBody(&d) != want {
			t.Errorf("%.40s: not %v", body, want)
		}
	}
}

func TestDocumentIsStrict(t *testing.T) {
	for _, bad := range []string{
		``, ` `, `{`, `{"a"`, `{"a":`, `{"a":1`, `[1,]`, `[,1]`, `{,}`, `01`, `1.`, `-`, `+1`, `"\x"`, "\"\n\"", `tru`, `nul`, `"a`,
		`{"a":1 "b":2}`, `[1 2]`, strings.Repeat("[", 200) + strings.Repeat("]", 200),
	} {
		if new(Document).Parse([]byte(bad)) {
			t.Errorf("%q passed", bad)
		}
	}
	for _, good := range []string{`null`, `[]`, `{}`, ` [ 1 , -0.5e+3 , "a\"\\\/\b\f\n\r\t\u20ac" ] `, `"😀"`, `0`} {
		if !new(Document).Parse([]byte(good)) {
			t.Errorf("%q refused", good)
		}
	}
}

// FuzzPolicy looks for panics, and for policies whose meaning depends on how
// often they are asked.
func FuzzPolicy(f *testing.F) {
	f.Add(`{"a":[{"numeric":[">",0,"<=",1e3]}]}`, `{"a":[1,{"b":"x"}]}`)
	f.Add(`{"$or":[{"a":{"b":[{"anything-but":{"prefix":["x"]}}]}},{"c":[{"exists":false}]}]}`, `{"a":{"b":"y"}}`)
	f.Add(`{"k":[{"wildcard":"a*\\*"},{"cidr":"10.0.0.0/8"},null,true]}`, `{"k":"10.1.1.1"}`)
	f.Add(`{"a.b":{"c..d":["x"]},"a":{"e":[1]}}`, `{"a":{"b.c":{"":{"d":"x"}}},"a.e":1}`)
	f.Fuzz(func(t *testing.T, policy, body string) {
		p, err := Compile(policy, Body)
		if err != nil {
			return
		}
		var d Document
		d.Parse([]byte(body))
		first := p.MatchBody(&d)
		if again := p.MatchBody(&d); again != first {
			t.Error("two answers")
		}
		p.MatchAttributes(attributes{"k": text(body)}, nil)
	})
}

func BenchmarkBody(b *testing.B) {
	body := []byte(`{"id":4711,"customer":{"name":"Frigg","tier":"gold","tags":["a","b","c"]},"price":{"amount":12.5,"currency":"EUR"},"note":"` +
		strings.Repeat("x", 800) + `"}`)
	for _, n := range []int{1, 10, 200} {
		policies := make([]*Policy, n)
		for i := range policies {
			p, err := Compile(fmt.Sprintf(`{"customer":{"tier":["gold","tier-%d"]},"price":{"amount":[{"numeric":[">",%d]}]}}`, i, i), Body)
			if err != nil {
				b.Fatal(err)
			}
			policies[i] = p
		}
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			b.ReportAllocs()
			var d Document
			for b.Loop() {
				d.Parse(body)
				for _, p := range policies {
					p.MatchBody(&d)
				}
			}
		})
	}
}
