package wire

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
)

var wide = Limits{Line: 1 << 10, Headers: 100, HeaderBytes: 1 << 16, Body: 1 << 20}

// describe is a frame in a form that compares.
func describe(f *Frame) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s", f.Word)
	for _, h := range f.Headers {
		fmt.Fprintf(&b, " %q=%q", h.Name, h.Value)
	}
	fmt.Fprintf(&b, " | %q %v", f.Body, f.HasLength)
	return b.String()
}

// parseAll gives b to a parser in pieces of size step, as a connection would.
func parseAll(t testing.TB, b []byte, step int, limits Limits) ([]string, error) {
	t.Helper()
	p := Parser{Limits: limits}
	var list []string
	from, need := 0, 0
	for end := min(step, len(b)); ; end = min(end+step, len(b)) {
		for {
			f, n, more, err := p.Next(b[from:end])
			if err != nil {
				return list, err
			}
			if more != 0 && n == 0 && more <= end-from {
				t.Fatalf("need %d of %d", more, end-from)
			}
			need = more
			if f != nil {
				list = append(list, describe(f))
			}
			if n == 0 {
				break
			}
			from += n
		}
		if end == len(b) {
			if from < len(b) && need != 0 && need <= len(b)-from {
				t.Fatalf("need %d with %d there", need, len(b)-from)
			}
			return list, nil
		}
	}
}

// dialogs are what clients and two other servers said to each other.
func dialogs(t testing.TB) map[string][]byte {
	t.Helper()
	text, err := os.ReadFile("testdata/dialogs.hex")
	if err != nil {
		t.Fatal(err)
	}
	all := map[string][]byte{}
	for i, line := range strings.Split(strings.TrimSpace(string(text)), "\n") {
		f := strings.Fields(line)
		b, err := hex.DecodeString(f[len(f)-1])
		if err != nil {
			t.Fatal(err)
		}
		all[fmt.Sprintf("%d %s", i, strings.Join(f[:len(f)-1], " "))] = b
	}
	return all
}

// TestDialogs covers STOMP-6: frames parse the same however they are cut.
func TestDialogs(t *testing.T) {
	for name, b := range dialogs(t) {
		whole, err := parseAll(t, b, len(b), wide)
		if err != nil || len(whole) == 0 {
			t.Errorf("%s: %d frames, %v", name, len(whole), err)
		}
		for _, step := range []int{1, 2, 3, 7} {
			pieces, err := parseAll(t, b, step, wide)
			if err != nil || strings.Join(pieces, "\n") != strings.Join(whole, "\n") {
				t.Errorf("%s in pieces of %d: %q, want %q (%v)", name, step, pieces, whole, err)
			}
		}
	}
}

// TestPrefixes: every prefix of a frame asks for more, and the parser goes on
// from there.
func TestPrefixes(t *testing.T) {
	for name, b := range dialogs(t) {
		for len(b) > 0 {
			p := Parser{Limits: wide}
			f, n, _, err := p.Next(b)
			if err != nil || n == 0 {
				t.Fatalf("%s: %v", name, err)
			}
			if f != nil {
				want := describe(f)
				q := Parser{Limits: wide}
				for i := range n {
					if f, got, need, err := q.Next(b[:i]); f != nil || got != 0 || err != nil || need > n {
						t.Fatalf("%s: prefix of %d of %d: %v %d %d %v", name, i, n, f, got, need, err)
					}
				}
				if f, got, _, err := q.Next(b); err != nil || got != n || describe(f) != want {
					t.Fatalf("%s: after all prefixes: %d %v", name, got, err)
				}
			}
			b = b[n:]
		}
	}
}

func TestFrames(t *testing.T) {
	for _, c := range []struct{ name, in, want string }{
		{"STOMP-7 line ends", "\r\n\n\x00\nSEND\r\na:b\r\n\r\nx\x00\r\n\n", `SEND "a"="b" | "x" false`},
		{"STOMP-9 repeated header", "SEND\na:1\na:2\n\n\x00", `SEND "a"="1" "a"="2" | "" false`},
		{"STOMP-10 NULs in the body", "SEND\ncontent-length:3\n\n\x00\x00\x00\x00", `SEND "content-length"="3" | "\x00\x00\x00" true`},
		{"STOMP-10 empty body", "SEND\ncontent-length:0\n\n\x00", `SEND "content-length"="0" | "" true`},
		{"blanks around content-length", "SEND\ncontent-length: 1 \n\nx\x00", `SEND "content-length"=" 1 " | "x" true`},
		{"colon in a value", "SEND\na:b:c\n\n\x00", `SEND "a"="b:c" | "" false`},
		{"empty value", "SEND\na:\n\n\x00", `SEND "a"="" | "" false`},
		{"unknown command", "BOGUS\n\n\x00", `BOGUS | "" false`},
	} {
		got, err := parseAll(t, []byte(c.in), len(c.in), wide)
		if err != nil || strings.Join(got, ";") != c.want {
			t.Errorf("%s: %q %v, want %q", c.name, got, err, c.want)
		}
	}
}

// TestRefusals covers STOMP-10 and STOMP-11: what is no frame, or too much,
// is refused as soon as it can be seen.
func TestRefusals(t *testing.T) {
	small := Limits{Line: 16, Headers: 2, HeaderBytes: 64, Body: 8}
	for _, c := range []struct {
		name, in string
		want     error
	}{
		{"command", strings.Repeat("A", 65), ErrCommandLength},
		{"line", "SEND\n" + strings.Repeat("a", 18), ErrLineLength},
		{"headers", "SEND\na:1\nb:2\nc:3\n", ErrHeaderCount},
		{"body with length", "SEND\ncontent-length:9\n\n", ErrBodyLength},
		{"body without length", "SEND\n\n123456789", ErrBodyLength},
		{"length beyond numbers", "SEND\ncontent-length:99999999999999999999\n\n", ErrLineLength},
		{"negative length", "SEND\ncontent-length:-1\n\n", ErrContentLength},
		{"length is no number", "SEND\ncontent-length:x\n\n", ErrContentLength},
		{"wrong length", "SEND\ncontent-length:2\n\nabc\x00", ErrNotTerminated},
		{"no colon", "SEND\nabc\n", ErrNoColon},
		{"no name", "SEND\n:abc\n", ErrNoName},
		{"NUL in the command", "SEND\x00", ErrNul},
		{"NUL in a header", "SEND\na:\x00\n", ErrNul},
	} {
		if _, err := parseAll(t, []byte(c.in), 1, small); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
	many := Limits{Line: 1 << 10, Headers: 1 << 10, HeaderBytes: 64, Body: 8}
	if _, err := parseAll(t, []byte("SEND\n"+strings.Repeat("a:b\n", 20)), 1, many); !errors.Is(err, ErrHeaderBytes) {
		t.Errorf("header bytes: %v", err)
	}
}

// TestDecode covers STOMP-8.
func TestDecode(t *testing.T) {
	for _, c := range []struct {
		version Version
		trim    bool
		in      string
		want    string
		bad     bool
	}{
		{V12, false, `a\cb\nc\\d\r`, "a:b\nc\\d\r", false},
		{V11, false, `a\cb\nc\\d`, "a:b\nc\\d", false},
		{V11, false, `a\r`, "", true},
		{V12, false, `a\t`, "", true},
		{V12, false, `a\`, "", true},
		{V12, false, ` a `, " a ", false},
		{V10, false, ` a\cb `, `a\cb `, false},
		{V10, true, ` a\tb `, `a\tb`, false},
	} {
		f := Frame{Headers: []Header{{Name: []byte("n"), Value: []byte(c.in)}}}
		err := f.Decode(c.version, c.trim)
		if (err != nil) != c.bad || !c.bad && string(f.Headers[0].Value) != c.want {
			t.Errorf("%s %q: %q %v, want %q", c.version, c.in, f.Headers[0].Value, err, c.want)
		}
	}
}

// TestEscapesComeBack: what is written is what is read, and no value can end
// its line in any version.
func TestEscapesComeBack(t *testing.T) {
	nasty := "a:b\nc\rd\\e\x00f\\ng"
	for v, want := range map[Version]string{
		V10: "a:b c d\\e f\\ng", V11: "a:b\nc d\\e f\\ng", V12: "a:b\nc\rd\\e f\\ng",
	} {
		canonical := AppendLine(nil, nasty, nasty)
		name, value, rest, ok := NextLine(canonical)
		if !ok || len(rest) != 0 {
			t.Fatalf("canonical form %q does not parse", canonical)
		}
		direct := AppendHeader(nil, v, nasty, nasty)
		if again := AppendLineFor(nil, v, name, value); !bytes.Equal(again, direct) {
			t.Errorf("%s: by way of the canonical form %q, directly %q", v, again, direct)
		}
		in := append(append([]byte("SEND\n"), direct...), "\n\x00"...)
		p := Parser{Limits: wide}
		f, _, _, err := p.Next(in)
		if err != nil || len(f.Headers) != 1 {
			t.Fatalf("%s: %q: %v", v, in, err)
		}
		if err := f.Decode(v, false); err != nil {
			t.Fatal(err)
		}
		if got := string(f.Headers[0].Value); got != want {
			t.Errorf("%s: %q, want %q", v, got, want)
		}
	}
	if got := AppendUnescaped(nil, []byte(`a\cb\nc\\d\r`)); string(got) != "a:b\nc\\d\r" {
		t.Errorf("unescaped %q", got)
	}
}

func TestGet(t *testing.T) {
	p := Parser{Limits: wide}
	f, _, _, err := p.Next([]byte("ACK\nid:1\nid:2\nempty:\n\n\x00"))
	if err != nil || f.Command != Ack || string(f.Get("id")) != "1" || f.Get("nope") != nil {
		t.Errorf("%v %v", f, err)
	}
	if v, ok := f.Lookup("empty"); !ok || len(v) != 0 {
		t.Errorf("empty header: %q %v", v, ok)
	}
}
