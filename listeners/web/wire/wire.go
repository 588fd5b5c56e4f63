// Package wire is the codec of HTTP/1.1 messages as a server needs it
// (RFC 9112): requests are cut out of a byte stream without I/O, responses are
// appended to a buffer. What is ambiguous, and so could be read differently by
// a proxy in front, is refused.
package wire

import (
	"errors"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// Field is one header line. Names of requests are in lower case. It is a name
// of a plain struct, so that other packages can take fields as what they have
// without a copy and without knowing this one.
type Field = struct{ Name, Value string }

// Fields are header lines in order.
type Fields []Field

// Get returns the first value of a field, "" if there is none. name is in
// lower case.
func (f Fields) Get(name string) string {
	for i := range f {
		if f[i].Name == name {
			return f[i].Value
		}
	}
	return ""
}

// Request is one request. All strings and Body may alias the input and are
// valid as long as that is.
type Request struct {
	Method string
	Path   string // as sent, percent-encoded; "*" for OPTIONS *
	Query  string // behind the question mark, as sent
	Host   string
	Header Fields
	Body   []byte

	Minor     int  // HTTP/1.Minor; 0 for HTTP/2
	KeepAlive bool // the client wants to go on
}

// Response is one response.
type Response struct {
	Status int
	Header Fields // without Content-Length, Date and Connection
	Body   []byte

	// Owner, if there is one, lends Body: it is told when nobody reads that any
	// more. It may never be: an answer that is not sent is left to the collector.
	Owner interface{ Release() }
}

// Release tells the owner, if there is one, that Body is not read any more. It
// is called once at most, by whoever sent the response.
func (r *Response) Release() {
	if r.Owner != nil {
		r.Owner.Release()
	}
}

// Error is a request that cannot be served; the connection ends behind the
// response.
type Error struct {
	Status int
	Text   string
}

// Error implements error.
func (e *Error) Error() string { return "http: " + strconv.Itoa(e.Status) + " " + e.Text }

func refuse(status int, text string) error { return &Error{status, text} }

// ErrHTTP2 is returned for the client preface of HTTP/2.
var ErrHTTP2 = errors.New("http: HTTP/2 preface")

// reasons are the phrases of the statuses the AWS services use.
var reasons = map[int]string{
	100: "Continue", 200: "OK", 204: "No Content", 301: "Moved Permanently", 400: "Bad Request", 401: "Unauthorized", 403: "Forbidden",
	404: "Not Found", 405: "Method Not Allowed", 408: "Request Timeout", 411: "Length Required", 413: "Content Too Large", 414: "URI Too Long",
	417: "Expectation Failed", 429: "Too Many Requests", 431: "Request Header Fields Too Large", 500: "Internal Server Error",
	501: "Not Implemented", 503: "Service Unavailable", 505: "HTTP Version Not Supported",
}

// Continue is the interim response to Expect: 100-continue.
const Continue = "HTTP/1.1 100 Continue\r\n\r\n"

// Append appends the response to dst. headOnly leaves the body out, as the
// answer to HEAD does. now is put into the Date field.
func (r *Response) Append(dst []byte, now time.Time, keepAlive, headOnly bool) []byte {
	reason := reasons[r.Status]
	if reason == "" {
		reason = "Status"
	}
	dst = append(dst, "HTTP/1.1 "...)
	dst = strconv.AppendInt(dst, int64(r.Status), 10)
	dst = append(append(append(dst, ' '), reason...), "\r\n"...)
	for _, f := range r.Header {
		dst = append(append(append(append(dst, f.Name...), ": "...), f.Value...), "\r\n"...)
	}
	dst = append(append(append(dst, "Date: "...), date(now)...), "\r\n"...)
	if r.Status != 204 {
		dst = append(dst, "Content-Length: "...)
		dst = strconv.AppendInt(dst, int64(len(r.Body)), 10)
		dst = append(dst, "\r\n"...)
	}
	if !keepAlive {
		dst = append(dst, "Connection: close\r\n"...)
	}
	dst = append(dst, "\r\n"...)
	if headOnly || r.Status == 204 {
		return dst
	}
	return append(dst, r.Body...)
}

// dated is the text of one second.
type dated struct {
	second int64
	text   string
}

var lastDate atomic.Pointer[dated]

func date(now time.Time) string {
	if d := lastDate.Load(); d != nil && d.second == now.Unix() {
		return d.text
	}
	d := &dated{now.Unix(), now.UTC().Format("Mon, 02 Jan 2006 15:04:05 GMT")}
	lastDate.Store(d)
	return d.text
}

// token reports whether s is a token (RFC 9110 section 5.6.2).
func token(s string) bool {
	if s == "" {
		return false
	}
	for i := range len(s) {
		if !isToken[s[i]] {
			return false
		}
	}
	return true
}

var isToken = func() (t [256]bool) {
	for c := range 256 {
		b := byte(c)
		t[c] = b >= '0' && b <= '9' || b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z' || strings.IndexByte("!#$%&'*+-.^_`|~", b) >= 0
	}
	return t
}()
