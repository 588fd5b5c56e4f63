package perf

import (
	"math"
	"testing"
)

func TestBucketsAreOrderedAndTight(t *testing.T) {
	for i := range buckets {
		top := bucketTop(i)
		if got := bucketOf(top); got != i {
			t.Fatalf("bucket %d tops at %d, which is in bucket %d", i, top, got)
		}
		if top == math.MaxInt64 {
			break
		}
		if got := bucketOf(top + 1); got != i+1 {
			t.Fatalf("%d is in bucket %d, want %d", top+1, got, i+1)
		}
	}
	for _, v := range []int64{0, 1, 63, 64, 127, 128, 1e3, 1e6, 123456789, 1e12, math.MaxInt64} {
		top := bucketTop(bucketOf(v))
		if top < v || float64(top-v) > float64(v)/64 {
			t.Errorf("%d is reported as %d", v, top)
		}
	}
}

func TestQuantiles(t *testing.T) {
	var h histogram
	for v := int64(1); v <= 1000; v++ {
		h.add(v*1000, 1)
	}
	tests := []struct {
		q    float64
		want int64
	}{
		{0, 1000}, {0.5, 500e3}, {0.95, 950e3}, {0.99, 990e3}, {0.999, 999e3}, {1, 1000e3},
	}
	for _, tt := range tests {
		got := h.quantile(tt.q)
		if got < tt.want || float64(got-tt.want) > float64(tt.want)/64 {
			t.Errorf("quantile %v is %d, want %d", tt.q, got, tt.want)
		}
	}
	if got := h.quantile(1); got != h.max {
		t.Errorf("quantile 1 is %d, above the greatest value %d", got, h.max)
	}
}

func TestHistogramMergeAndOddValues(t *testing.T) {
	var a, b histogram
	if a.summary() != nil || a.quantile(0.5) != 0 {
		t.Error("an empty histogram has values")
	}
	a.add(-5, 1)
	b.add(2000, 3)
	a.merge(&b)
	if a.n != 4 || a.max != 2000 || a.sum != 6000 {
		t.Errorf("merged: n %d, max %d, sum %d", a.n, a.max, a.sum)
	}
	s := a.summary()
	if s.Count != 4 || s.Mean != 1.5 || s.Max != 2 || s.P50 != 2 {
		t.Errorf("summary %+v", *s)
	}
	const want = "p50 2µs  p95 2µs  p99 2µs  p99.9 2µs  max 2µs"
	if got := s.String(); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
