package wire

import (
	"bytes"
	"strings"
	"testing"
)

// FuzzParser: no input makes the parser panic or depend on how the input was
// cut, and a frame that it reads can be written and read again.
func FuzzParser(f *testing.F) {
	for _, b := range dialogs(f) {
		f.Add(b, 3)
	}
	f.Add([]byte("SEND\ncontent-length:3\n\n\x00\x00\x00\x00"), 1)
	small := Limits{Line: 64, Headers: 8, HeaderBytes: 256, Body: 128}
	f.Fuzz(func(t *testing.T, b []byte, step int) {
		if step < 1 || len(b) > 1<<12 {
			return
		}
		whole, err := parseAll(t, b, max(len(b), 1), small)
		pieces, pieceErr := parseAll(t, b, step, small)
		if strings.Join(whole, "\n") != strings.Join(pieces, "\n") {
			t.Fatalf("whole %q, pieces %q", whole, pieces)
		}
		if (err == nil) != (pieceErr == nil) {
			t.Fatalf("whole %v, pieces %v", err, pieceErr)
		}
		p := Parser{Limits: small}
		for rest := bytes.Clone(b); ; {
			fr, n, _, err := p.Next(rest)
			if err != nil || n == 0 {
				return
			}
			if fr != nil {
				checkRewrite(t, fr)
			}
			rest = rest[n:]
		}
	})
}

func checkRewrite(t *testing.T, fr *Frame) {
	if fr.Decode(V12, false) != nil {
		return
	}
	out := AppendCommand(nil, string(fr.Word))
	var native []byte
	for _, h := range fr.Headers {
		native = AppendLine(native, string(h.Name), h.Value)
	}
	out = append(out, native...)
	if !fr.HasLength {
		out = AppendNumber(out, "content-length", int64(len(fr.Body)))
	}
	out = AppendBody(out, fr.Body)
	q := Parser{Limits: Limits{Line: 1 << 10, Headers: 100, HeaderBytes: 1 << 12, Body: 1 << 12}}
	again, n, _, err := q.Next(out)
	if err != nil || again == nil || n != len(out)-1 {
		t.Fatalf("rewritten as %q: %v", out, err)
	}
	if err := again.Decode(V12, false); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(again.Body, fr.Body) || len(again.Headers) < len(fr.Headers) {
		t.Fatalf("rewritten as %q", out)
	}
	for i, h := range fr.Headers {
		if !bytes.Equal(again.Headers[i].Name, h.Name) || !bytes.Equal(again.Headers[i].Value, h.Value) {
			t.Fatalf("header %q=%q became %q=%q", h.Name, h.Value, again.Headers[i].Name, again.Headers[i].Value)
		}
	}
	for rest := native; len(rest) > 0; {
		var ok bool
		if _, _, rest, ok = NextLine(rest); !ok {
			t.Fatalf("canonical lines %q do not parse", native)
		}
	}
}
