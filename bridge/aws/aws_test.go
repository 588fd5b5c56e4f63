package aws

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

// The example of the Signature Version 4 documentation.
func TestVerifyDocumented(t *testing.T) {
	now := time.Date(2015, 8, 30, 12, 36, 0, 0, time.UTC)
	v := NewVerifier(func(key string) (string, bool) {
		return "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY", key == "AKIDEXAMPLE"
	})
	request := func(change func(h []Header, r *Signed) []Header) *Signed {
		h := []Header{
			{"host", "iam.amazonaws.com"},
			{"content-type", "application/x-www-form-urlencoded; charset=utf-8"},
			{"x-amz-date", "20150830T123600Z"},
			{"authorization", "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/iam/aws4_request, " +
				"SignedHeaders=content-type;host;x-amz-date, " +
				"Signature=5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7"},
		}
		r := &Signed{Method: "GET", Path: "/", Query: "Action=ListUsers&Version=2010-05-08"}
		if change != nil {
			h = change(h, r)
		}
		r.Headers = h
		return r
	}
	for _, c := range []struct {
		name   string
		now    time.Time
		change func(h []Header, r *Signed) []Header
		want   *Error
		text   string
	}{
		{name: "good", now: now},
		{name: "14 minutes late", now: now.Add(14 * time.Minute)},
		{name: "16 minutes late", now: now.Add(16 * time.Minute), want: ErrSignature, text: "Signature expired: 20150830T123600Z is now earlier than 20150830T123700Z (20150830T125200Z - 15 min.)"},
		{name: "16 minutes early", now: now.Add(-16 * time.Minute), want: ErrSignature, text: "Signature not yet current"},
		{name: "another body", now: now, change: func(h []Header, r *Signed) []Header { r.Body = []byte("x"); return h }, want: ErrSignature},
		{name: "another query", now: now, change: func(h []Header, r *Signed) []Header { r.Query += "&a=b"; return h }, want: ErrSignature},
		{name: "another header", now: now, change: func(h []Header, r *Signed) []Header { h[0].Value = "x"; return h }, want: ErrSignature},
		{name: "no credentials", now: now, change: func(h []Header, r *Signed) []Header { return h[:3] }, want: ErrMissingToken},
		{name: "both", now: now, change: func(h []Header, r *Signed) []Header { r.Query += "&X-Amz-Signature=1"; return h }, want: ErrBothSignatures},
		{name: "unknown key", now: now, change: func(h []Header, r *Signed) []Header {
			h[3].Value = strings.Replace(h[3].Value, "AKIDEXAMPLE", "AKIDOTHER", 1)
			return h
		}, want: ErrUnknownKey},
		{name: "no signature", now: now, change: func(h []Header, r *Signed) []Header {
			h[3].Value, _, _ = strings.Cut(h[3].Value, ", Signature")
			return h
		}, want: &Error{Code: "IncompleteSignature"}, text: "Authorization header requires 'Signature' parameter."},
	} {
		got, err := v.Verify(request(c.change), c.now)
		if c.want == nil {
			if err != nil || got.Key != "AKIDEXAMPLE" || got.Service != "iam" {
				t.Errorf("%s: %+v, %v", c.name, got, err)
			}
			continue
		}
		if err == nil || err.Code != c.want.Code || !strings.Contains(err.Message, c.text) {
			t.Errorf("%s: %v, want %v %s", c.name, err, c.want, c.text)
		}
	}
}

func TestCanonical(t *testing.T) {
	for _, c := range []struct{ path, want string }{
		{"/", "/"}, {"", "/"}, {"//", "/"}, {"/./example", "/example"}, {"/a/../b", "/b"}, {"/..", "/"}, {"/a b/", "/a%20b/"}, {"/a%20b", "/a%2520b"}, {"/ሴ", "/%E1%88%B4"},
	} {
		if got := string(appendPath(nil, c.path)); got != c.want {
			t.Errorf("path %q: %q, want %q", c.path, got, c.want)
		}
	}
	for _, c := range []struct{ query, want string }{
		{"b=2&a=1", "a=1&b=2"}, {"a=2&a=1", "a=1&a=2"}, {"a", "a="}, {"a=b%20c", "a=b%20c"}, {"a=b+c", "a=b%20c"}, {"A=1&a=2", "A=1&a=2"},
	} {
		if got := string(appendQuery(nil, c.query, false, false)); got != c.want {
			t.Errorf("query %q: %q, want %q", c.query, got, c.want)
		}
	}
	if got := string(appendTrimmed(nil, `  a   "b  c" `)); got != `a "b c"` {
		t.Errorf("trimmed: %q", got)
	}
}

func TestForm(t *testing.T) {
	f, ok := ParseForm("Action=A&x=%41+b", "Attribute.2.Name=two&Attribute.2.Value=2&Attribute.1.Name=one&Attribute.1.Value=1&Tag.10=j&Tag.9=i&Tag.1=a")
	if !ok || f.Get("Action") != "A" || f.Get("x") != "A b" {
		t.Fatalf("%v", f)
	}
	if got := f.Map("Attribute", "Name", "Value"); len(got) != 2 || got[0] != (Param{"one", "1"}) || got[1] != (Param{"two", "2"}) {
		t.Errorf("map: %v", got)
	}
	if got := strings.Join(f.List("Tag"), ""); got != "aij" {
		t.Errorf("list: %v", got)
	}
	if !f.Has("Attribute") || !f.Has("Tag.1") || f.Has("Attr") {
		t.Error("Has")
	}
	for _, bad := range []string{"a=%4", "a=%zz", strings.Repeat("a&", maxParams+10)} {
		if _, ok := ParseForm(bad, ""); ok {
			t.Errorf("accepted %.20q", bad)
		}
	}
}

func TestErrorShapes(t *testing.T) {
	e := &Error{Status: 400, Code: "AWS.X", Shape: "com.amazonaws.sqs#X", Message: "a \"b\"\r", QueryMessage: "q<"}
	if got := string(e.AppendJSON(nil)); got != `{"__type":"com.amazonaws.sqs#X","message":"a \"b\"\r"}` {
		t.Error(got)
	}
	want := `<?xml version="1.0"?><ErrorResponse xmlns="ns"><Error><Type>Sender</Type><Code>AWS.X</Code><Message>q&lt;</Message><Detail/></Error><RequestId>id</RequestId></ErrorResponse>`
	if got := string(e.AppendXML(nil, "ns", "id", "<Detail/>")); got != want {
		t.Error(got)
	}
	if got := string(e.AppendXML(nil, "ns", "id", "")); got != strings.Replace(want, "<Detail/>", "", 1) {
		t.Error(got)
	}
	if !errors.As(error(e), &e) || e.ShapeName() != "X" {
		t.Error("shape")
	}
}

func TestLegalText(t *testing.T) {
	for s, want := range map[string]bool{
		"a\t\n\r": true, "\x00": false, "\x1f": false, "\u0020\ud7ff\ue000\ufffd": true, "\ufffe": false, "\uffff": false, "\U00010000\U0010ffff": true, "\xff": false,
	} {
		if LegalText(s) != want {
			t.Errorf("%q: %v", s, !want)
		}
	}
}

// What is looked at eight bytes at a time is what is looked at byte by byte, at
// every place and next to everything else.
func TestTextByEights(t *testing.T) {
	plain := func(s string) (n int) {
		for n < len(s) && s[n] >= ' ' && s[n] != '"' && s[n] != '\\' && s[n] < 0x80 {
			n++
		}
		return n
	}
	legal := func(s string) bool {
		for _, c := range []byte(s) {
			if c < ' ' && c != '\t' && c != '\n' && c != '\r' || c >= 0x80 {
				return false
			}
		}
		return true
	}
	for c := range 256 {
		for next := range 256 {
			for at := range 17 {
				b := []byte("aaaaaaaaaaaaaaaaaaa")
				b[at], b[at+1] = byte(c), byte(next)
				s := string(b)
				if got, want := PlainText(s), plain(s); got != want {
					t.Fatalf("%q: %d, want %d", s, got, want)
				}
				ascii := c < 0x80 && next < 0x80
				if (ascii || !utf8.ValidString(s)) && LegalText(s) != legal(s) {
					t.Fatalf("%q: %v", s, LegalText(s))
				}
				if ascii {
					var back string
					if err := json.Unmarshal(AppendJSONString(nil, s), &back); err != nil || back != s {
						t.Fatalf("%q came back as %q, %v", s, back, err)
					}
				}
			}
		}
	}
}

func FuzzVerify(f *testing.F) {
	v := NewVerifier(func(string) (string, bool) { return "s", true })
	f.Add("/", "X-Amz-Signature=1&a=%", "AWS4-HMAC-SHA256 Credential=a/b/c/d/aws4_request, SignedHeaders=host, Signature=x")
	f.Fuzz(func(t *testing.T, path, query, auth string) {
		h := []Header{{"authorization", auth}, {"x-amz-date", "20150830T123600Z"}}
		if auth == "" {
			h = nil
		}
		r := &Signed{Method: "GET", Path: path, Query: query, Headers: h}
		if _, err := v.Verify(r, time.Unix(1440938160, 0)); err == nil {
			t.Error("a made-up signature passed")
		}
	})
}

// What the signer signs, the verifier takes.
func TestSign(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	s := Signer{Key: "K", Secret: "S", Region: "r", Service: "sqs"}
	list := []Header{{"host", "h"}, {"x-amz-date", now.Format(dateForm)}}
	auth := s.Sign("POST", "/a b", "x=%20y&a", list, []byte("body"), now)
	all := append(list, Header{"authorization", auth})
	r := &Signed{Method: "POST", Path: "/a b", Query: "x=%20y&a", Body: []byte("body"), Headers: all}
	v := NewVerifier(func(key string) (string, bool) { return "S", key == "K" })
	if _, err := v.Verify(r, now); err != nil {
		t.Error(err)
	}
	r.Body = []byte("bodY")
	if _, err := v.Verify(r, now); err != ErrSignature {
		t.Error(err)
	}
}
