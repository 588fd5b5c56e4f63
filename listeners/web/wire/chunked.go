package wire

import (
	"bytes"
	"strconv"
)

// Bounds of the framing of chunks, in bytes.
const (
	maxChunkLine = 256
	maxTrailer   = 4 << 10
)

type chunkStep struct {
	taken int
	done  bool
}

func (x *Parser) nextChunksFirst(p []byte) (*Request, chunkStep, error) {
	n, done, err := x.chunked.take(p, x.Limits.Body)
	return nil, chunkStep{n, done}, err
}

// nextChunks goes on with a chunked body.
func (x *Parser) nextChunks(p []byte) (*Request, int, error) {
	n, done, err := x.chunked.take(p, x.Limits.Body)
	if err != nil {
		return nil, n, err
	}
	r, _ := x.finishChunks(done)
	return r, n, nil
}

// finishChunks makes the request when its last chunk has come.
func (x *Parser) finishChunks(done bool) (*Request, bool) {
	if !done {
		return nil, false
	}
	c := x.chunked
	x.chunked = nil
	r := new(Request)
	if _, _, _, err := x.parseHead(r, c.head); err != nil {
		return nil, false // it was parsed before
	}
	r.Body = c.body
	return r, true
}

// Pending is the number of bytes of an unfinished chunked request that the
// parser holds.
func (x *Parser) Pending() int {
	if x.chunked == nil {
		return 0
	}
	return len(x.chunked.head) + cap(x.chunked.body)
}

// take consumes what it can of p. done says that the body is whole.
func (c *chunks) take(p []byte, limit int) (n int, done bool, err error) {
	for n < len(p) {
		switch {
		case c.trailer >= 0:
			used, end, err := c.trailers(p[n:])
			n += used
			if end || err != nil || used == 0 {
				return n, end, err
			}
		case c.left > 0:
			k := min(c.left, len(p)-n)
			c.body = append(c.body, p[n:n+k]...)
			c.left -= k
			n += k
			c.crlf = c.left == 0
		case c.crlf:
			if len(p)-n < 2 {
				return n, false, nil
			}
			if p[n] != '\r' || p[n+1] != '\n' {
				return n, false, refuse(400, "malformed chunk")
			}
			n += 2
			c.crlf = false
		default:
			used, err := c.size(p[n:], limit)
			if used == 0 || err != nil {
				return n, false, err
			}
			n += used
		}
	}
	return n, false, nil
}

// size reads the line before a chunk; extensions are ignored.
func (c *chunks) size(p []byte, limit int) (int, error) {
	i := bytes.Index(p, []byte("\r\n"))
	if i < 0 {
		if len(p) > maxChunkLine {
			return 0, refuse(400, "malformed chunk size")
		}
		return 0, nil
	}
	word, _, _ := bytes.Cut(p[:i], []byte(";"))
	word = bytes.TrimRight(word, " \t")
	v, err := strconv.ParseUint(text(word), 16, 31)
	if err != nil || i > maxChunkLine {
		return 0, refuse(400, "malformed chunk size")
	}
	if len(c.body)+int(v) > limit {
		return 0, refuse(413, "request body too large")
	}
	c.left = int(v)
	if v == 0 {
		c.trailer = 0
	}
	return i + 2, nil
}

// trailers skips the trailer section up to the empty line.
func (c *chunks) trailers(p []byte) (n int, end bool, err error) {
	i := bytes.Index(p, []byte("\r\n"))
	if i < 0 {
		if len(p) > maxTrailer {
			return 0, false, refuse(431, "trailers too large")
		}
		return 0, false, nil
	}
	c.trailer += i + 2
	if c.trailer > maxTrailer {
		return 0, false, refuse(431, "trailers too large")
	}
	return i + 2, i == 0, nil
}
