package ha

import (
	"fmt"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hermodmq/hermod/persistence"
	"github.com/hermodmq/hermod/persistence/vfs"
)

// deadline bounds every wait of a test; none is expected to come near it.
const deadline = time.Minute

// recorder is an Applier that remembers what it was given.
type recorder struct {
	mu      sync.Mutex
	cond    *sync.Cond
	applied uint64 // what Applied returns: the checkpoint
	last    uint64
	term    uint64
	got     []string
	indexes []uint64
	block   chan struct{} // Apply waits for it, if not nil
	wrong   error
	level   atomic.Uint32 // what Level returns
}

func newRecorder(applied uint64) *recorder {
	r := &recorder{applied: applied, last: applied}
	r.cond = sync.NewCond(&r.mu)
	return r
}

func (r *recorder) Apply(entries []persistence.Entry) {
	if r.block != nil {
		<-r.block
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range entries {
		if e.Index <= r.last || e.Term < r.term {
			r.wrong = fmt.Errorf("entry %d of term %d after %d of %d", e.Index, e.Term, r.last, r.term)
		}
		r.last, r.term = e.Index, e.Term
		r.got = append(r.got, string(e.Data))
		r.indexes = append(r.indexes, e.Index)
	}
	r.cond.Broadcast()
}

func (r *recorder) Applied() uint64 { return r.applied }
func (r *recorder) Level() uint32   { return r.level.Load() }

// wait returns when n entries have been applied, and all of them.
func (r *recorder) wait(t testing.TB, n int) []string {
	t.Helper()
	timer := time.AfterFunc(deadline, func() { r.cond.Broadcast() })
	defer timer.Stop()
	start := time.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	for len(r.got) < n {
		if time.Since(start) >= deadline {
			t.Fatalf("applied %d entries, want %d", len(r.got), n)
		}
		r.cond.Wait()
	}
	if r.wrong != nil {
		t.Fatal(r.wrong)
	}
	return append([]string(nil), r.got...)
}

func (r *recorder) entries(t testing.TB) []string { return r.wait(t, 0) }

var quiet = slog.New(slog.NewTextHandler(io.Discard, nil))

// testOptions are those of a log at /log on fsys, whose fatal error goes to the
// channel.
func testOptions(fsys vfs.FS) (Options, chan error) {
	fatal := make(chan error, 1)
	return Options{
		Dir: "/log", FS: fsys, NodeID: "n1", Logger: quiet, SegmentSize: 64 << 10,
		Fatal: func(err error) { fatal <- err },
	}, fatal
}

// openLog opens and starts a log; a fatal error fails the test.
func openLog(t testing.TB, opts Options, a persistence.Applier) *Log {
	t.Helper()
	l, err := tryOpen(opts, a)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func tryOpen(opts Options, a persistence.Applier) (*Log, error) {
	l, err := Open(opts)
	if err != nil {
		return nil, err
	}
	if err := l.Start(a); err != nil {
		_ = l.Close() // the error of Start is the one that matters
		return nil, err
	}
	return l, nil
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// payload is the ith entry that tests propose: its number, filled up.
func payload(i, size int) []byte {
	return fmt.Appendf(make([]byte, 0, size+20), "%06d%*s", i, max(size-6, 0), "")
}

func propose(t testing.TB, l *Log, from, to, size int) {
	t.Helper()
	for i := from; i < to; i++ {
		must(t, l.Propose(payload(i, size)))
	}
}

// checkSequence fails unless got are the payloads from, from+1, ...
func checkSequence(t testing.TB, got []string, from int) {
	t.Helper()
	for i, s := range got {
		if want := fmt.Sprintf("%06d", from+i); len(s) < 6 || s[:6] != want {
			t.Fatalf("entry %d: got %.12q, want %s", i, s, want)
		}
	}
}

// index is the log index of the ith entry applied, from the end if negative.
func (r *recorder) index(i int) uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	if i < 0 {
		i += len(r.indexes)
	}
	return r.indexes[i]
}
