package selector

import (
	"bufio"
	"encoding/json"
	"os"
	"strings"
	"testing"
)

// sample is the message the vectors were measured with.
var sample = map[string]Value{
	"s": StringValue("red"), "i": IntValue(5), "l": IntValue(5), "b": IntValue(5), "sh": IntValue(5),
	"f": FloatValue(5), "d": FloatValue(5.5), "n5": StringValue("5"), "t": BoolValue(true), "fa": BoolValue(false),
	"us": StringValue("a_b"), "pc": StringValue("a%b"), "nl": StringValue("a\nb"), "empty": StringValue(""),
	"quote": StringValue("it's"), "$d": StringValue("x"), "_u": StringValue("x"),
	"JMSPriority": IntValue(7), "JMSType": StringValue("T1"), "JMSCorrelationID": StringValue("c1"),
	"JMSDeliveryMode": StringValue("PERSISTENT"), "JMSTimestamp": IntValue(1000),
	"JMSMessageID": StringValue("ID:x-1:1:1:1:1"), "JMSDestination": StringValue("queue://A.B"),
	"JMSRedelivered": BoolValue(true), "JMSXDeliveryCount": IntValue(2), "JMSXGroupID": StringValue("g"),
	"JMSXGroupSeq": IntValue(2), "JMSExpiration": IntValue(0),
}

func lookupSample(name string) Value { return sample[name] }

// deviations are the vectors that depend on the order in which Java promotes
// numbers; here numbers compare by value.
var deviations = map[string]string{
	"i = b":  "TRUE",
	"i = sh": "TRUE",
	"l = b":  "TRUE",
}

func TestVectors(t *testing.T) {
	file, err := os.Open("testdata/vectors.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	n := 0
	for lines := bufio.NewScanner(file); lines.Scan(); {
		var v struct {
			Selector *string
			Result   string
		}
		if err := json.Unmarshal(lines.Bytes(), &v); err != nil {
			t.Fatal(err)
		}
		if v.Selector == nil {
			continue // a destination pattern
		}
		n++
		want := v.Result
		if want == "RUNTIME_ERROR" {
			want = "FALSE" // what cannot be evaluated selects nothing
		}
		if d, ok := deviations[*v.Selector]; ok {
			want = d
		}
		if got := outcome(*v.Selector); got != want {
			t.Errorf("%q: %s, want %s", *v.Selector, got, want)
		}
	}
	if n < 150 {
		t.Errorf("only %d vectors", n)
	}
}

func outcome(text string) string {
	s, err := Compile(text, false)
	switch {
	case err != nil:
		return "INVALID"
	case s.Matches(lookupSample):
		return "TRUE"
	}
	return "FALSE"
}

// TestThreeValues is the truth table of SQL-92.
func TestThreeValues(t *testing.T) {
	const yes, no, unknown = "i = 5", "i = 6", "missing = 1"
	for text, want := range map[string]string{
		unknown + " AND " + no:                 "FALSE",
		"NOT (" + unknown + " AND " + no + ")": "TRUE",
		"NOT (" + no + " AND " + unknown + ")": "TRUE",
		unknown + " OR " + yes:                 "TRUE",
		yes + " OR " + unknown:                 "TRUE",
		"NOT (" + unknown + " OR " + no + ")":  "FALSE",
		"NOT NOT " + yes:                       "TRUE",
		"NOT i BETWEEN 6 AND 7":                "TRUE",
		"i NOT LIKE '5'":                       "TRUE",
		"(" + yes + ") IS NOT NULL":            "TRUE",
		"(" + unknown + ") IS NULL":            "TRUE",
	} {
		if got := outcome(text); got != want {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
}

func TestConvert(t *testing.T) {
	for text, want := range map[string]bool{
		"n5 > 3": true, "n5 = 5": true, "n5 = 5.0": true, "n5 < 3": false, "s > 3": false, "n5 + 1 = '51'": true, "n5 * 2 = 10": true,
		"n5 BETWEEN 4 AND 6": true, "missing > 3": false,
	} {
		s, err := Compile(text, true)
		if err != nil || s.Matches(lookupSample) != want {
			t.Errorf("%s: want %v (%v)", text, want, err)
		}
	}
}

func TestFunctions(t *testing.T) {
	for text, want := range map[string]string{
		"INLIST(MAKELIST('a','red'), s)":      "TRUE",
		"REPLACE(s, 'r', 'b') = 'bed'":        "TRUE",
		"REGEX('^b', s)":                      "FALSE",
		"REGEX('r', missing)":                 "FALSE",
		"REGEX('(', s)":                       "INVALID",
		"REGEX(s, s)":                         "INVALID",
		"NOSUCH(s)":                           "INVALID",
		"REPLACE(s)":                          "INVALID",
		"SPLIT(s)":                            "INVALID",
		"SPLIT(s, '[')":                       "INVALID",
		"REPLACE(s, '[', '')":                 "INVALID",
		"INLIST(s)":                           "INVALID",
		"INLIST(SPLIT(missing,','), s)":       "FALSE",
		"NOT INLIST(SPLIT('a,b',','),'z')":    "TRUE",
		"REPLACE(i, 'r', 'b') = 'bed'":        "FALSE",
		"INLIST(MAKELIST(i, t, d, 'x'), '5')": "TRUE",
	} {
		if got := outcome(text); got != want {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
}

// TestBounds: what would cost too much is refused.
func TestBounds(t *testing.T) {
	for name, text := range map[string]string{
		"length":    "s = '" + strings.Repeat("x", maxLength) + "'",
		"depth":     strings.Repeat("(", 2000) + "t" + strings.Repeat(")", 2000),
		"not":       strings.Repeat("NOT ", 1500) + "t",
		"minus":     "i = " + strings.Repeat("- ", 2000) + "1",
		"sum":       "i = 1" + strings.Repeat("+1", 2000),
		"arguments": "INLIST(MAKELIST(1" + strings.Repeat(",1", 2000) + "), s)",
	} {
		if got := outcome(text); got != "INVALID" {
			t.Errorf("%s: %s, want INVALID", name, got)
		}
	}
	if got := outcome("i = 5" + strings.Repeat(" AND i = 5", 700)); got != "TRUE" {
		t.Errorf("a long flat condition: %s", got)
	}
	slow, err := Compile("s LIKE '"+strings.Repeat("%a", 50)+"'", false)
	if err != nil {
		t.Fatal(err)
	}
	long := StringValue(strings.Repeat("a", 4000) + "b")
	if slow.Matches(func(string) Value { return long }) {
		t.Error("matched")
	}
}

func FuzzCompile(f *testing.F) {
	for _, s := range []string{"i = 5 AND s LIKE 'r%' ESCAPE '\\'", "x NOT IN ('a','b')", "-(1+2)*3 <> .5e3", "REGEX('a', s)", "a IS NOT NULL /* c */"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		s, err := Compile(text, true)
		if err == nil {
			s.Matches(lookupSample)
		}
	})
}

func BenchmarkMatches(b *testing.B) {
	s, err := Compile("i > 3 AND s LIKE 'r%' AND JMSPriority >= 4", true)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if !s.Matches(lookupSample) {
			b.Fatal("no match")
		}
	}
}
