package perf

import (
	"fmt"
	"math/bits"
	"time"
)

// Buckets are powers of two cut into 64 equal parts, so that a value is off by
// at most 1/64.
const (
	subBits = 6
	buckets = (64 - subBits) << subBits
)

// histogram counts durations in nanoseconds. It is not safe for concurrent
// use: each worker has its own, merged at the end.
type histogram struct {
	counts [buckets]uint64
	n      uint64
	sum    int64
	max    int64
}

func bucketOf(v int64) int {
	if v < 1<<subBits {
		return int(v)
	}
	exp := bits.Len64(uint64(v)) - subBits - 1
	return exp<<subBits + int(v>>exp)
}

// bucketTop is the greatest value that falls into bucket i.
func bucketTop(i int) int64 {
	if i < 2<<subBits {
		return int64(i)
	}
	exp := i>>subBits - 1
	low := int64(i-exp<<subBits) << exp
	return low + 1<<exp - 1
}

// add counts n values of v; a negative one, from a clock that was set, as 0.
func (h *histogram) add(v int64, n uint64) {
	v = max(v, 0)
	h.counts[bucketOf(v)] += n
	h.n += n
	h.sum += v * int64(n)
	h.max = max(h.max, v)
}

func (h *histogram) merge(o *histogram) {
	for i, c := range o.counts {
		h.counts[i] += c
	}
	h.n += o.n
	h.sum += o.sum
	h.max = max(h.max, o.max)
}

// quantile returns the value below or at which the share q of all values lies.
func (h *histogram) quantile(q float64) int64 {
	if h.n == 0 {
		return 0
	}
	rank := max(uint64(q*float64(h.n)+0.5), 1)
	var seen uint64
	for i, c := range h.counts {
		seen += c
		if seen >= rank {
			return min(bucketTop(i), h.max)
		}
	}
	return h.max
}

// latencies is a histogram as it is reported, in microseconds.
type latencies struct {
	Count uint64  `json:"count"`
	Mean  float64 `json:"mean_us"`
	P50   float64 `json:"p50_us"`
	P95   float64 `json:"p95_us"`
	P99   float64 `json:"p99_us"`
	P999  float64 `json:"p999_us"`
	Max   float64 `json:"max_us"`
}

func (h *histogram) summary() *latencies {
	if h.n == 0 {
		return nil
	}
	us := func(ns int64) float64 { return float64(ns) / 1e3 }
	return &latencies{
		Count: h.n,
		Mean:  us(h.sum / int64(h.n)),
		P50:   us(h.quantile(0.5)),
		P95:   us(h.quantile(0.95)),
		P99:   us(h.quantile(0.99)),
		P999:  us(h.quantile(0.999)),
		Max:   us(h.max),
	}
}

func (l *latencies) String() string {
	d := func(us float64) time.Duration {
		return time.Duration(us * 1e3).Round(time.Microsecond)
	}
	return fmt.Sprintf("p50 %v  p95 %v  p99 %v  p99.9 %v  max %v", d(l.P50), d(l.P95), d(l.P99), d(l.P999), d(l.Max))
}
