package perf

import (
	"context"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/pflag"
)

// diskOptions are the flags of `perf disk`.
type diskOptions struct {
	dir      string
	duration time.Duration
	json     bool

	fileBytes int64 // size of the preallocated file, and where an appended one starts anew
}

func (o *diskOptions) register(f *pflag.FlagSet) {
	o.fileBytes = 256 << 20
	f.StringVar(&o.dir, "dir", ".", "folder on the disk to measure; a file of up to 256 MiB is made there and removed")
	f.DurationVar(&o.duration, "duration", 3*time.Second, "how long each of the four measurements takes")
	f.BoolVar(&o.json, "json", false, "print JSON")
}

func (o *diskOptions) asJSON() bool { return o.json }

func (o *diskOptions) validate() error {
	if o.duration <= 0 {
		return fmt.Errorf("--duration %v: not positive", o.duration)
	}
	info, err := os.Stat(o.dir)
	if err != nil {
		return fmt.Errorf("--dir: %w", err)
	}
	if !info.IsDir() {
		return fmt.Errorf("--dir %s: not a folder", o.dir)
	}
	return nil
}

// diskResult is what `perf disk` reports.
type diskResult struct {
	Dir   string     `json:"dir"`
	Cases []diskCase `json:"cases"`
}

// diskCase is one kind of write, each made durable before the next.
type diskCase struct {
	File    string     `json:"file"` // "preallocated" or "appended"
	Bytes   int        `json:"write_bytes"`
	Rate    float64    `json:"writes_per_second"`
	Latency *latencies `json:"latency"`
}

func (r *diskResult) writeText(w io.Writer) {
	fmt.Fprintf(w, "write + fdatasync in %s\n", r.Dir)
	for _, c := range r.Cases {
		fmt.Fprintf(w, "%-12s %2d KiB  %.0f/s  %v\n", c.File, c.Bytes>>10, c.Rate, c.Latency)
	}
}

func runDisk(ctx context.Context, o *diskOptions) (report, error) {
	r := &diskResult{Dir: o.dir}
	for _, size := range []int{4 << 10, 64 << 10} {
		for _, prealloc := range []bool{true, false} {
			c, err := diskWrites(ctx, o, size, prealloc)
			if err != nil {
				return nil, err
			}
			r.Cases = append(r.Cases, *c)
		}
	}
	return r, nil
}

func diskWrites(ctx context.Context, o *diskOptions, size int, prealloc bool) (*diskCase, error) {
	f, err := os.CreateTemp(o.dir, "hermod-perf-*.tmp")
	if err != nil {
		return nil, err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	c := &diskCase{File: "appended", Bytes: size}
	if prealloc {
		c.File = "preallocated"
		if err := fillFile(f, o.fileBytes); err != nil {
			return nil, err
		}
	}
	var h histogram
	block := make([]byte, size)
	start := time.Now()
	for off := int64(0); h.n == 0 || time.Since(start) < o.duration; off += int64(size) {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if off+int64(size) > o.fileBytes {
			off = 0
			if !prealloc {
				if err := f.Truncate(0); err != nil {
					return nil, err
				}
			}
		}
		block[0]++
		before := time.Now()
		if _, err := f.WriteAt(block, off); err != nil {
			return nil, err
		}
		if err := dataSync(f); err != nil {
			return nil, err
		}
		h.add(time.Since(before).Nanoseconds(), 1)
	}
	c.Rate = float64(h.n) / time.Since(start).Seconds()
	c.Latency = h.summary()
	return c, nil
}

// fillFile writes the file full, so that later writes change no metadata: space
// that is only allocated still has to be marked as written.
func fillFile(f *os.File, size int64) error {
	block := make([]byte, 1<<20)
	for off := int64(0); off < size; off += int64(len(block)) {
		if _, err := f.WriteAt(block, off); err != nil {
			return err
		}
	}
	return f.Sync()
}
