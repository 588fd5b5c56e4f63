package perf

import "io"

// input is what was read from a connection and not yet parsed: b[r:w].
type input struct {
	b    []byte
	r, w int
}

func newInput(size int) input { return input{b: make([]byte, size)} }

// unparsed is what a parser looks at; took says how much of that it used.
func (in *input) unparsed() []byte { return in.b[in.r:in.w] }

func (in *input) took(n int) { in.r += n }

// fill reads once, after making room for need unparsed bytes in all.
func (in *input) fill(r io.Reader, need int) error {
	in.w = copy(in.b, in.b[in.r:in.w])
	in.r = 0
	in.grow(need)
	if in.w == len(in.b) {
		in.grow(in.w + 1)
	}
	n, err := r.Read(in.b[in.w:])
	in.w += n
	if n > 0 {
		return nil
	}
	return err
}

// grow makes room for size unparsed bytes in all, and for as much again if
// there is none.
func (in *input) grow(size int) {
	if size > len(in.b) {
		in.b = append(in.b, make([]byte, max(size, 2*len(in.b))-len(in.b))...)
	}
}
