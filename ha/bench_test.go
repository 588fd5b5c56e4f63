package ha

import (
	"fmt"
	"path"
	"slices"
	"testing"
	"time"

	"github.com/hermodmq/hermod/persistence"
	"github.com/hermodmq/hermod/persistence/vfs"
)

// signal is an Applier that only counts.
type signal struct{ applied chan int }

func (s signal) Applied() uint64                   { return 0 }
func (s signal) Apply(entries []persistence.Entry) { s.applied <- len(entries) }

func median(d []time.Duration) float64 {
	slices.Sort(d)
	return float64(d[len(d)/2].Nanoseconds()) / 1e3
}

// BenchmarkCommit is the latency of one entry from Propose to Apply with no
// other in flight, next to a bare write and fdatasync of the same size to a
// zeroed file, taken in turns on the same disk.
func BenchmarkCommit(b *testing.B) {
	for _, size := range []int{1 << 10, 64 << 10} {
		b.Run(fmt.Sprintf("%dKB", size>>10), func(b *testing.B) {
			dir := b.TempDir()
			opts, _ := testOptions(vfs.OS())
			opts.Dir, opts.SegmentSize = path.Join(dir, "log"), 0
			s := signal{make(chan int, 1)}
			l := openLog(b, opts, s)
			raw := zeroedFile(b, path.Join(dir, "raw"), 64<<20)
			data := make([]byte, size)
			var rawTimes, commitTimes []time.Duration
			var off int64
			b.SetBytes(int64(size))
			for b.Loop() {
				start := time.Now()
				if _, err := raw.WriteAt(data, off); err != nil {
					b.Fatal(err)
				}
				must(b, raw.Sync())
				off = (off + int64(size)) % (64 << 20)
				mid := time.Now()
				must(b, l.Propose(data))
				<-s.applied
				rawTimes = append(rawTimes, mid.Sub(start))
				commitTimes = append(commitTimes, time.Since(mid))
			}
			must(b, l.Close())
			r, c := median(rawTimes), median(commitTimes)
			b.ReportMetric(r, "raw-p50-µs")
			b.ReportMetric(c, "commit-p50-µs")
			b.ReportMetric(100*r/c, "%of-raw")
		})
	}
}

// zeroedFile returns a file of zeros whose blocks are allocated and written.
func zeroedFile(b *testing.B, name string, size int) vfs.File {
	f, err := vfs.OS().Create(name)
	must(b, err)
	_, err = f.Write(make([]byte, size))
	must(b, err)
	must(b, f.Sync())
	b.Cleanup(func() { _ = f.Close() })
	return f
}

// BenchmarkThroughput keeps as many entries in flight as raft takes.
func BenchmarkThroughput(b *testing.B) {
	for _, size := range []int{1 << 10, 64 << 10, 256 << 10} {
		b.Run(fmt.Sprintf("%dKB", size>>10), func(b *testing.B) {
			opts, _ := testOptions(vfs.OS())
			opts.Dir, opts.SegmentSize = path.Join(b.TempDir(), "log"), 0
			s := signal{make(chan int, 1<<20)}
			l := openLog(b, opts, s)
			data := make([]byte, size)
			b.SetBytes(int64(size))
			b.ReportAllocs()
			b.ResetTimer()
			for range b.N {
				must(b, l.Propose(data))
			}
			for n := 0; n < b.N; {
				n += <-s.applied
			}
			b.StopTimer()
			must(b, l.Close())
		})
	}
}

// BenchmarkStart is the time until a node may propose: on a log of nothing but
// elections, and on one with 256 MB to read and replay.
func BenchmarkStart(b *testing.B) {
	for _, entries := range []int{0, 1 << 10} {
		b.Run(fmt.Sprintf("%dx256KB", entries), func(b *testing.B) {
			opts, _ := testOptions(vfs.OS())
			opts.Dir, opts.SegmentSize = path.Join(b.TempDir(), "log"), 0
			l := openLog(b, opts, newRecorder(0))
			for range entries {
				must(b, l.Propose(make([]byte, 256<<10)))
			}
			must(b, l.Close())
			s := signal{make(chan int, 1<<20)}
			for b.Loop() {
				l := openLog(b, opts, s)
				b.StopTimer()
				must(b, l.Close())
				b.StartTimer()
			}
		})
	}
}
