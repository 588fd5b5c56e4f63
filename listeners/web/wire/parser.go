package wire

import (
	"bytes"
	"encoding/binary"
	"strconv"
	"strings"
	"unsafe"
)

// Limits bound a request.
type Limits struct {
	Head   int // bytes of request line and header; default 64 KiB
	Fields int // header lines; default 100
	Body   int // bytes; default 8 MiB
}

// WithDefaults fills in what is zero.
func (l Limits) WithDefaults() Limits {
	set := func(v *int, d int) {
		if *v <= 0 {
			*v = d
		}
	}
	set(&l.Head, 64<<10)
	set(&l.Fields, 100)
	set(&l.Body, 8<<20)
	return l
}

// Parser cuts requests out of a stream. The zero value with Limits set is
// ready. It is for one connection.
type Parser struct {
	Limits Limits

	request Request // the last one, unless its body came in chunks
	fields  Fields
	asked   bool // the request at hand wants 100 Continue and was told
	chunked *chunks
}

// chunks is a request whose body comes in chunks: both are ours.
type chunks struct {
	head    []byte
	body    []byte
	left    int // bytes of the chunk at hand
	crlf    bool
	trailer int // bytes of trailers; -1 before them
}

// Next looks for one whole request at the head of p. n is the number of bytes
// taken, more than 0 exactly if something was taken, which may be a part of a
// chunked body; r is nil until the request is whole. need is how many bytes,
// from the first not taken, the next call should have at least; 0 is any more.
// ask says that the client waits for [Continue]. The request is valid until p
// changes or Next is called again.
func (x *Parser) Next(p []byte) (r *Request, n, need int, ask bool, err error) {
	if x.chunked != nil {
		r, n, err = x.nextChunks(p)
		return r, n, 0, false, err
	}
	skip := 0
	for skip < len(p) && skip < 4 && (p[skip] == '\r' || p[skip] == '\n') { // RFC 9112 section 2.2
		skip++
	}
	head := p[skip:]
	end := bytes.Index(head, []byte("\r\n\r\n"))
	if end < 0 {
		if len(head) >= x.Limits.Head {
			return nil, 0, 0, false, refuse(431, "request header too large")
		}
		if err := early(head); err != nil {
			return nil, 0, 0, false, err
		}
		return nil, 0, 0, false, nil
	}
	if end > x.Limits.Head {
		return nil, 0, 0, false, refuse(431, "request header too large")
	}
	if bytes.HasPrefix(head, preface[:18]) {
		return nil, 0, 0, false, ErrHTTP2
	}
	r = &x.request
	*r = Request{}
	length, inChunks, expects, err := x.parseHead(r, head[:end+2])
	if err != nil {
		return nil, 0, 0, false, err
	}
	start := skip + end + 4
	if inChunks {
		// The request outlives p now: its head is copied.
		c := &chunks{head: bytes.Clone(head[:end+2]), trailer: -1}
		x.chunked = c
		_, n, err := x.nextChunksFirst(p[start:])
		r, ready := x.finishChunks(n.done)
		return r, start + n.taken, 0, expects && !ready && n.taken == 0, err
	}
	if length > x.Limits.Body {
		return nil, 0, 0, false, refuse(413, "request body too large")
	}
	if len(p) < start+length {
		ask = expects && len(p) == start && !x.asked
		x.asked = x.asked || ask
		return nil, 0, start + length, ask, nil
	}
	r.Body = p[start : start+length : start+length]
	x.asked = false
	return r, start + length, 0, false, nil
}

var preface = []byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")

// early refuses what cannot become a request, before it is whole.
func early(head []byte) error {
	for i, c := range head {
		if c == ' ' {
			return nil
		}
		if i >= 32 || !isToken[c] {
			return refuse(400, "malformed request line")
		}
	}
	return nil
}

// cutLine cuts p behind its first CRLF.
func cutLine(p []byte) (line, rest []byte) {
	if i := bytes.IndexByte(p, '\n'); i > 0 && p[i-1] == '\r' {
		return p[:i-1], p[i+1:]
	}
	line, rest, _ = bytes.Cut(p, []byte("\r\n")) // a lone line feed is in it
	return line, rest
}

func text(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// parseHead reads request line and header fields, each ended by CRLF.
func (x *Parser) parseHead(r *Request, head []byte) (length int, inChunks, expects bool, err error) {
	line, rest := cutLine(head)
	if err := r.parseLine(line); err != nil {
		return 0, false, false, err
	}
	x.fields = x.fields[:0]
	length = -1
	hosts := 0
	for len(rest) > 0 {
		line, rest = cutLine(rest)
		if len(x.fields) >= x.Limits.Fields {
			return 0, false, false, refuse(431, "too many header fields")
		}
		f, err := parseField(line)
		if err != nil {
			return 0, false, false, err
		}
		x.fields = append(x.fields, f)
		switch f.Name {
		case "host":
			hosts++
			if r.Host == "" {
				r.Host = f.Value
			}
		case "content-length":
			v, err := strconv.ParseUint(f.Value, 10, 31)
			if err != nil || f.Value[0] == '+' || length >= 0 && length != int(v) {
				if allDigits(f.Value) && length < 0 {
					return 0, false, false, refuse(413, "request body too large")
				}
				return 0, false, false, refuse(400, "bad content-length")
			}
			length = int(v)
		case "transfer-encoding":
			if inChunks || !strings.EqualFold(f.Value, "chunked") || r.Minor == 0 {
				return 0, false, false, refuse(501, "unsupported transfer-encoding")
			}
			inChunks = true
		case "expect":
			if !strings.EqualFold(f.Value, "100-continue") {
				return 0, false, false, refuse(417, "unsupported expectation")
			}
			expects = r.Minor > 0
		case "connection":
			r.connection(f.Value)
		case "upgrade":
			// Not supported: the request is served as it is (RFC 9110 section 7.8).
		}
	}
	if inChunks && length >= 0 {
		return 0, false, false, refuse(400, "both content-length and transfer-encoding")
	}
	if hosts > 1 || hosts == 0 && r.Minor > 0 {
		return 0, false, false, refuse(400, "one host field wanted")
	}
	r.Header = x.fields
	return max(length, 0), inChunks, expects, nil
}

func allDigits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s != ""
}

func (r *Request) connection(value string) {
	for word := range strings.SplitSeq(value, ",") {
		switch word = strings.TrimSpace(word); {
		case strings.EqualFold(word, "close"):
			r.KeepAlive = false
		case strings.EqualFold(word, "keep-alive"):
			r.KeepAlive = true
		}
	}
}

func (r *Request) parseLine(line []byte) error {
	method, rest, ok1 := bytes.Cut(line, []byte(" "))
	target, version, ok2 := bytes.Cut(rest, []byte(" "))
	if !ok1 || !ok2 || !token(text(method)) || len(method) > 32 || len(target) == 0 {
		return refuse(400, "malformed request line")
	}
	switch string(version) {
	case "HTTP/1.1":
		r.Minor, r.KeepAlive = 1, true
	case "HTTP/1.0":
	default:
		if bytes.HasPrefix(version, []byte("HTTP/")) {
			return refuse(505, "unsupported version of HTTP")
		}
		return refuse(400, "malformed request line")
	}
	for _, c := range target {
		if c <= ' ' || c >= 0x7f {
			return refuse(400, "illegal character in request target")
		}
	}
	r.Method = text(method)
	full := text(target)
	if full[0] != '/' && full != "*" { // absolute form, as proxies send it
		_, after, ok := strings.Cut(full, "://")
		if !ok {
			return refuse(400, "malformed request target")
		}
		i := strings.IndexAny(after, "/?")
		switch {
		case i < 0:
			full = "/"
		case after[i] == '?':
			full = "/" + after[i:]
		default:
			full = after[i:]
		}
	}
	r.Path, r.Query, _ = strings.Cut(full, "?")
	return nil
}

// parseField reads one header line and puts its name into lower case, in
// place. Folded lines (RFC 9112 section 5.2) are refused.
func parseField(line []byte) (Field, error) {
	i := bytes.IndexByte(line, ':')
	if i <= 0 || !token(text(line[:i])) {
		return Field{}, refuse(400, "malformed header field")
	}
	name, value := line[:i], line[i+1:]
	for j, c := range name {
		if c >= 'A' && c <= 'Z' {
			name[j] = c | 0x20
		}
	}
	for len(value) > 0 && blank(value[0]) {
		value = value[1:]
	}
	for len(value) > 0 && blank(value[len(value)-1]) {
		value = value[:len(value)-1]
	}
	if !legalValue(value) {
		return Field{}, refuse(400, "illegal character in header field")
	}
	return Field{text(name), text(value)}, nil
}

func blank(c byte) bool { return c == ' ' || c == '\t' }

// legalValue reports whether there are no controls in v but tabs.
func legalValue(v []byte) bool {
	const ones, tops = 0x0101010101010101, 0x8080808080808080
	for i := 0; i < len(v); {
		if len(v)-i >= 8 {
			// A top bit comes up where a byte is below a space or DEL, and perhaps above
			// such a byte.
			x := binary.LittleEndian.Uint64(v[i:])
			if ((x-' '*ones)|(x^0x7f*ones-ones))&^x&tops == 0 {
				i += 8
				continue
			}
		}
		if c := v[i]; c < ' ' && c != '\t' || c == 0x7f {
			return false
		}
		i++
	}
	return true
}
