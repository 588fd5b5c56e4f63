package wire

import "bytes"

// Limits bound what one frame may take. All are in bytes, Headers excepted,
// and must be positive.
type Limits struct {
	Line        int // command or header line
	Headers     int // number of header lines
	HeaderBytes int // command and headers together
	Body        int
}

// maxCommand bounds the command word; the longest that exists has 11 letters.
const maxCommand = 64

// Parser cuts frames off the head of a connection's input. The zero value with
// Limits set is ready. Limits may be changed between frames.
type Parser struct {
	Limits Limits

	frame Frame
	spans []span

	// Of the frame at the head of the input as far as it was looked at.
	stage  stage
	line   int // where the line that is being read begins
	looked int // up to here there is no end of the line, or of the body
	word   span
	length int // content-length; -1: none
	body   int // where the body begins
}

type stage uint8

const (
	inCommand stage = iota
	inHeaders
	inBody
)

// span is a header line: name is [start, colon), value is (colon, end).
type span struct{ start, colon, end int }

// Next looks for a frame at the head of b. n is how many bytes were taken:
// those of the frame, or of line ends and NULs between frames (heart-beats), in
// which case f is nil. If b holds neither, n is 0 and need how many bytes the
// frame will have at least, 0 if that is not known yet; the next call must then
// begin with the same bytes. An error is an [*Error].
func (p *Parser) Next(b []byte) (f *Frame, n, need int, err error) {
	if p.stage == inCommand && p.looked == 0 {
		if n = blank(b); n > 0 || len(b) == 0 {
			return nil, n, 0, nil
		}
		p.length, p.spans = -1, p.spans[:0]
	}
	for p.stage != inBody {
		more, err := p.nextLine(b)
		if err != nil {
			return nil, 0, 0, err
		}
		if more {
			return nil, 0, 0, nil
		}
	}
	end, need, err := p.bodyEnd(b)
	if err != nil || end < 0 {
		return nil, 0, need, err
	}
	return p.complete(b, end), end + 1, 0, nil
}

// blank counts the bytes between frames at the head of b: line ends, and NULs
// as some clients send them.
func blank(b []byte) int {
	for i, c := range b {
		switch c {
		case '\n', 0, '\r':
		default:
			return i
		}
	}
	return len(b)
}

// nextLine reads the line at p.line; more is true if it is not complete.
func (p *Parser) nextLine(b []byte) (more bool, err error) {
	from := max(p.looked, p.line)
	at := bytes.IndexByte(b[from:], '\n')
	end := from + at
	if at < 0 {
		end = len(b)
	}
	limit, tooLong := p.Limits.Line, ErrLineLength
	if p.stage == inCommand {
		limit, tooLong = min(limit, maxCommand), ErrCommandLength
	}
	switch {
	case bytes.IndexByte(b[from:end], 0) >= 0:
		return false, ErrNul
	case end-p.line > limit+1: // a CR is free
		return false, tooLong
	case end > p.Limits.HeaderBytes:
		return false, ErrHeaderBytes
	}
	p.looked = end
	if at < 0 {
		return true, nil
	}
	p.looked++
	start := p.line
	p.line = p.looked
	if end > start && b[end-1] == '\r' {
		end--
	}
	return false, p.takeLine(b, start, end)
}

// takeLine files the line b[start:end].
func (p *Parser) takeLine(b []byte, start, end int) error {
	switch {
	case p.stage == inCommand:
		p.word = span{start: start, end: end}
		p.stage = inHeaders
	case start == end:
		p.stage = inBody
		p.body = p.line
		return p.readLength(b)
	case len(p.spans) >= p.Limits.Headers:
		return ErrHeaderCount
	default:
		colon := bytes.IndexByte(b[start:end], ':')
		if colon < 0 {
			return ErrNoColon
		}
		if colon == 0 {
			return ErrNoName
		}
		p.spans = append(p.spans, span{start, start + colon, end})
	}
	return nil
}

// readLength looks for content-length among the headers; the first counts.
func (p *Parser) readLength(b []byte) error {
	for _, s := range p.spans {
		if string(b[s.start:s.colon]) != "content-length" {
			continue
		}
		n, ok := Number(bytes.Trim(b[s.colon+1:s.end], " \t"))
		if !ok {
			return ErrContentLength
		}
		if n > int64(p.Limits.Body) {
			return ErrBodyLength
		}
		p.length = int(n)
		return nil
	}
	return nil
}

// bodyEnd finds the NUL that ends the frame; end is -1 if it is not there yet.
func (p *Parser) bodyEnd(b []byte) (end, need int, err error) {
	if p.length >= 0 {
		end = p.body + p.length
		if len(b) <= end {
			return -1, end + 1, nil
		}
		if b[end] != 0 {
			return -1, 0, ErrNotTerminated
		}
		return end, 0, nil
	}
	from := max(p.looked, p.body)
	at := bytes.IndexByte(b[from:], 0)
	if at >= 0 {
		end = from + at
	} else {
		p.looked, end = len(b), len(b)
	}
	if end-p.body > p.Limits.Body {
		return -1, 0, ErrBodyLength
	}
	if at < 0 {
		return -1, 0, nil
	}
	return end, 0, nil
}

// maxKeptHeaders is how many headers of room a parser keeps.
const maxKeptHeaders = 64

// complete makes the frame and readies the parser for the next.
func (p *Parser) complete(b []byte, end int) *Frame {
	f := &p.frame
	headers := f.Headers[:0]
	if cap(headers) > maxKeptHeaders {
		headers = nil
	}
	for _, s := range p.spans {
		headers = append(headers, Header{Name: b[s.start:s.colon:s.colon], Value: b[s.colon+1 : s.end : s.end]})
	}
	word := b[p.word.start:p.word.end]
	*f = Frame{Command: commandOf(word), Word: word, Headers: headers, Body: b[p.body:end:end], HasLength: p.length >= 0}
	if cap(p.spans) > maxKeptHeaders {
		p.spans = nil
	}
	p.stage, p.line, p.looked, p.body = inCommand, 0, 0, 0
	return f
}

// Number reads a decimal number without sign, of up to 18 digits.
func Number(b []byte) (n int64, ok bool) {
	if len(b) == 0 || len(b) > 18 {
		return 0, false
	}
	for _, c := range b {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + int64(c-'0')
	}
	return n, true
}
