package wire

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

// all feeds a stream in pieces of size step and returns what came out.
func all(stream string, step int) (out []string, err error) {
	x := Parser{Limits: Limits{Head: 512, Fields: 8, Body: 64}}
	x.Limits = x.Limits.WithDefaults()
	var buf []byte
	for len(stream) > 0 {
		k := min(step, len(stream))
		buf = append(buf, stream[:k]...)
		stream = stream[k:]
		for {
			r, n, _, ask, err := x.Next(buf)
			if err != nil {
				return out, err
			}
			if ask {
				out = append(out, "ask")
			}
			if r != nil {
				out = append(out, fmt.Sprintf("%s %s?%s %s %q %v", r.Method, r.Path, r.Query, r.Host, r.Body, r.KeepAlive))
			}
			buf = append([]byte(nil), buf[n:]...)
			if n == 0 || len(buf) == 0 {
				break
			}
		}
	}
	return out, nil
}

func TestRequests(t *testing.T) {
	for _, c := range []struct{ name, in, want string }{
		{"plain", "GET / HTTP/1.1\r\nHost: h\r\n\r\n", `GET /? h "" true`},
		{"query", "GET /a%20b?x=1 HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", `GET /a%20b?x=1 h "" false`},
		{"http/1.0", "GET / HTTP/1.0\r\n\r\n", `GET /?  "" false`},
		{"body", "POST / HTTP/1.1\r\nHOST:h\r\ncontent-length: 3\r\n\r\nabc", `POST /? h "abc" true`},
		{"absolute", "GET http://x:1/p?q HTTP/1.1\r\nHost: h\r\n\r\n", `GET /p?q h "" true`},
		{"chunked", "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n2\r\nde\r\n0\r\nT: v\r\n\r\n", `POST /? h "abcde" true`},
		{"pipelined", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\naGET /b HTTP/1.1\r\nHost: h\r\n\r\n", `POST /? h "a" true|GET /b? h "" true`},
		{"empty lines before", "\r\n\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n", `GET /? h "" true`},
	} {
		for _, step := range []int{1, 7, 1 << 20} {
			got, err := all(c.in, step)
			if err != nil || strings.Join(got, "|") != c.want {
				t.Errorf("%s in steps of %d: %q, %v; want %q", c.name, step, got, err, c.want)
			}
		}
	}
}

// Eight bytes at a time are judged as each of them is.
func TestHeaderValuesByEights(t *testing.T) {
	for c := range 256 {
		for next := range 256 {
			for at := range 10 {
				v := []byte("aaaaaaaaaaaa")
				v[at], v[at+1] = byte(c), byte(next)
				want := true
				for _, c := range v {
					want = want && (c >= ' ' || c == '\t') && c != 0x7f
				}
				if legalValue(v) != want {
					t.Fatalf("%q: %v", v, !want)
				}
			}
		}
	}
}

// Only CRLF ends a line.
func TestCutLine(t *testing.T) {
	for in, want := range map[string]string{
		"a\r\nb": "a|b", "\r\nb": "|b", "a\nb\r\nc": "a\nb|c", "\n\r\nc": "\n|c", "a\rb\r\n": "a\rb|", "a\n": "a\n|", "": "|", "a": "a|",
	} {
		if line, rest := cutLine([]byte(in)); string(line)+"|"+string(rest) != want {
			t.Errorf("%q: %q and %q", in, line, rest)
		}
	}
}

func TestContinueIsAskedOnce(t *testing.T) {
	got, err := all("POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nab", 1)
	if err != nil || strings.Join(got, "|") != `ask|POST /? h "ab" true` {
		t.Errorf("%q, %v", got, err)
	}
}

func TestRefusals(t *testing.T) {
	for _, c := range []struct {
		name, in string
		status   int
	}{
		{"garbage", "\x16\x03\x01hello", 400},
		{"no method end", strings.Repeat("A", 40), 400},
		{"no host", "GET / HTTP/1.1\r\n\r\n", 400},
		{"two hosts", "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400},
		{"space before colon", "GET / HTTP/1.1\r\nHost : a\r\n\r\n", 400},
		{"folded", "GET / HTTP/1.1\r\nHost: a\r\nX: b\r\n c\r\n\r\n", 400},
		{"control", "GET / HTTP/1.1\r\nHost: a\x00\r\n\r\n", 400},
		{"two lengths", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400},
		{"signed length", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\n", 400},
		{"smuggled", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400},
		{"gzip", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 501},
		{"too long", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 65\r\n\r\n", 413},
		{"far too long", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\n", 413},
		{"chunks too long", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n41\r\n", 413},
		{"bad chunk", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400},
		{"chunk without end", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\naXX", 400},
		{"head", "GET / HTTP/1.1\r\nHost: a\r\nX: " + strings.Repeat("x", 600), 431},
		{"fields", "GET / HTTP/1.1\r\nHost: a\r\n" + strings.Repeat("X: y\r\n", 9) + "\r\n", 431},
		{"version", "GET / HTTP/3.0\r\nHost: a\r\n\r\n", 505},
		{"expectation", "GET / HTTP/1.1\r\nHost: a\r\nExpect: miracles\r\n\r\n", 417},
	} {
		for _, step := range []int{1, 1 << 20} {
			_, err := all(c.in, step)
			var e *Error
			if !errors.As(err, &e) || e.Status != c.status {
				t.Errorf("%s in steps of %d: %v, want %d", c.name, step, err, c.status)
			}
		}
	}
}

func TestPreface(t *testing.T) {
	if _, err := all(string(preface), 1<<20); !errors.Is(err, ErrHTTP2) {
		t.Errorf("%v", err)
	}
}

func TestResponse(t *testing.T) {
	r := Response{Status: 200, Header: Fields{{"X", "y"}}, Body: []byte("abc")}
	got := string(r.Append(nil, time.Unix(0, 0), false, false))
	want := "HTTP/1.1 200 OK\r\nX: y\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\nContent-Length: 3\r\nConnection: close\r\n\r\nabc"
	if got != want {
		t.Errorf("%q", got)
	}
}

func FuzzNext(f *testing.F) {
	f.Add([]byte("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n0\r\n\r\n"), 3)
	f.Add([]byte("GET / HTTP/1.1\r\nHost: h\r\n\r\n"), 1)
	f.Fuzz(func(t *testing.T, in []byte, step int) {
		whole, err1 := all(string(in), 1<<20)
		parts, err2 := all(string(in), max(step, 1)%64+1)
		if (err1 == nil) != (err2 == nil) && len(in) < 32 {
			return // early refusals see what is not whole yet
		}
		if err1 == nil && err2 == nil && strings.ReplaceAll(strings.Join(whole, "|"), "ask|", "") != strings.ReplaceAll(strings.Join(parts, "|"), "ask|", "") {
			t.Errorf("whole %q, in parts %q", whole, parts)
		}
	})
}
