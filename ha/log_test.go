package ha

import (
	"errors"
	"fmt"
	"path"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/hermodmq/hermod/persistence"
	"github.com/hermodmq/hermod/persistence/vfs"
)

func TestAppliesInTheOrderProposed(t *testing.T) {
	for _, confirm := range []Confirm{ConfirmFsync, ConfirmOS} {
		t.Run(string(confirm), func(t *testing.T) {
			opts, _ := testOptions(vfs.NewMem())
			opts.Confirm = confirm
			r := newRecorder(0)
			l := openLog(t, opts, r)
			propose(t, l, 0, 500, 1000)
			checkSequence(t, r.wait(t, 500), 0)
			must(t, l.Close())
			if err := l.Propose(nil); err != ErrClosed {
				t.Errorf("Propose after Close: got %v", err)
			}
		})
	}
}

func TestOnTheOperatingSystem(t *testing.T) {
	opts, _ := testOptions(vfs.OS())
	opts.Dir = path.Join(t.TempDir(), "a", "log")
	r := newRecorder(0)
	l := openLog(t, opts, r)
	propose(t, l, 0, 300, 1000)
	r.wait(t, 300)
	must(t, l.Cut(r.index(250), 0))
	must(t, l.Close())
	again := newRecorder(r.index(250))
	l = openLog(t, opts, again)
	checkSequence(t, again.entries(t), 251)
	must(t, l.Close())
}

func TestRestartReplaysWhatFollowsTheCheckpoint(t *testing.T) {
	mem := vfs.NewMem()
	opts, _ := testOptions(mem)
	r := newRecorder(0)
	l := openLog(t, opts, r)
	propose(t, l, 0, 300, 1000)
	r.wait(t, 300)
	before := l.Size()
	cut := r.index(199)
	must(t, l.Cut(cut, 0))
	if after := l.Size(); after > before/3+2*markEvery || after < before/3-2*markEvery {
		t.Errorf("size %d before the cut of two thirds, %d after", before, after)
	}
	must(t, l.Close())

	// The checkpoint where the cut was, then later than it.
	for _, applied := range []int{199, 250, 299} {
		again := newRecorder(r.index(applied))
		l := openLog(t, opts, again)
		got := again.entries(t) // Start has applied all
		if len(got) != 299-applied {
			t.Errorf("checkpoint %d: replayed %d entries, want %d", applied, len(got), 299-applied)
		}
		checkSequence(t, got, applied+1)
		must(t, l.Close())
	}

	_, err := tryOpen(opts, newRecorder(cut-1))
	if !errors.Is(err, ErrGap) {
		t.Errorf("checkpoint before the log's begin: got %v, want ErrGap", err)
	}
	_, err = tryOpen(opts, newRecorder(10000))
	if !errors.Is(err, ErrGap) {
		t.Errorf("checkpoint after the log's end: got %v, want ErrGap", err)
	}
}

func countSegments(t testing.TB, fsys vfs.FS) (segments, spares int) {
	names, err := fsys.ReadDir("/log")
	must(t, err)
	for _, name := range names {
		if strings.HasSuffix(name, ".wal") {
			segments++
		} else if strings.HasPrefix(name, sparePrefix) {
			spares++
		}
	}
	return segments, spares
}

func TestCutFreesSegmentsAndKeepsTheTail(t *testing.T) {
	mem := vfs.NewMem()
	opts, _ := testOptions(mem)
	r := newRecorder(0)
	l := openLog(t, opts, r)
	next := 0
	for range 5 {
		propose(t, l, next, next+200, 4000) // 12 segments
		next += 200
		r.wait(t, next)
		must(t, l.Cut(r.index(next-1), 0))
		if segments, spares := countSegments(t, mem); segments > 3 || spares > maxSpares+1 {
			t.Fatalf("after the cut of everything: %d segments, %d spares", segments, spares)
		}
	}
	propose(t, l, next, next+200, 4000)
	next += 200
	r.wait(t, next)
	must(t, l.Cut(r.index(next-1), 300<<10))
	first, err := l.store.FirstIndex()
	must(t, err)
	// A segment takes the whole of the write that fills it, up to 16 entries.
	if segments, _ := countSegments(t, mem); segments > 8 {
		t.Errorf("%d segments of 64 KiB after a cut that keeps 300 KiB", segments)
	}
	if kept := int(r.index(next-1)-first) + 1; kept*4000 < 290<<10 || kept*4000 > 300<<10+2*markEvery {
		t.Errorf("%d entries of 4,000 bytes after a cut that keeps 300 KiB", kept)
	}
	if l.Size() != 0 {
		t.Errorf("size %d after a cut of everything", l.Size())
	}
	must(t, l.Cut(3, 0))
	if err := l.Cut(1<<40, 0); err == nil {
		t.Error("cut beyond the end")
	}
	propose(t, l, next, next+10, 4000)
	r.wait(t, next+10)
	must(t, l.Close())
	again := newRecorder(r.index(next - 1))
	l = openLog(t, opts, again)
	checkSequence(t, again.entries(t), next)
	must(t, l.Close())
}

func TestManyRestarts(t *testing.T) {
	mem := vfs.NewMem()
	opts, _ := testOptions(mem)
	restarts := 1000
	if testing.Short() {
		restarts = 50
	}
	applied, next := uint64(0), 0
	goroutines := runtime.NumGoroutine()
	for i := range restarts {
		r := newRecorder(applied)
		l := openLog(t, opts, r)
		replayed := len(r.entries(t))
		checkSequence(t, r.entries(t), next-replayed)
		propose(t, l, next, next+3, 500)
		next += 3
		r.wait(t, replayed+3)
		if i%7 == 0 { // the last of the three stays in the log
			applied = r.index(-2)
			must(t, l.Cut(applied, 0))
		}
		must(t, l.Close())
	}
	for start := time.Now(); runtime.NumGoroutine() > goroutines; runtime.Gosched() {
		if time.Since(start) > deadline {
			t.Fatalf("%d goroutines before, %d after", goroutines, runtime.NumGoroutine())
		}
	}
}

func TestRefusesSecondOpenAndForeignNode(t *testing.T) {
	opts, _ := testOptions(vfs.NewMem())
	l := openLog(t, opts, newRecorder(0))
	if _, err := Open(opts); err == nil {
		t.Error("opened twice")
	}
	if err := l.Start(newRecorder(0)); err != ErrClosed {
		t.Errorf("second Start: got %v", err)
	}
	must(t, l.Close())
	must(t, l.Close())
	opts.NodeID = "n2"
	if _, err := tryOpen(opts, newRecorder(0)); !errors.Is(err, ErrGap) {
		t.Errorf("another node's log: got %v", err)
	}
}

func TestOptionsAreChecked(t *testing.T) {
	for _, opts := range []Options{
		{NodeID: "n1"},
		{Dir: "/log"},
		{Dir: "/log", NodeID: "n1", Confirm: "maybe"},
		{Dir: "/log", NodeID: "n1", SegmentSize: 1},
		{Dir: "/log", NodeID: "n1", SegmentSize: 2 << 30},
	} {
		opts.FS = vfs.NewMem()
		if _, err := Open(opts); err == nil {
			t.Errorf("accepted %+v", opts)
		}
	}
}

// firstOnly signals the first Apply and then blocks.
type firstOnly struct {
	entered, release chan struct{}
}

func (f firstOnly) Applied() uint64 { return 0 }

func (f firstOnly) Apply([]persistence.Entry) {
	select {
	case f.entered <- struct{}{}:
	default:
	}
	<-f.release
}

func TestReplayWaitsForTheApplier(t *testing.T) {
	opts, _ := testOptions(vfs.NewMem())
	r := newRecorder(0)
	l := openLog(t, opts, r)
	propose(t, l, 0, 300, 1000)
	r.wait(t, 300)
	must(t, l.Close())

	slow := firstOnly{make(chan struct{}, 1), make(chan struct{})}
	l, err := Open(opts)
	must(t, err)
	started := make(chan error, 1)
	go func() { started <- l.Start(slow) }()
	<-slow.entered
	l.gate.mu.Lock()
	read := l.gate.read
	l.gate.mu.Unlock()
	if read > 300/2 {
		t.Errorf("raft has read up to %d while the first entries are being applied", read)
	}
	close(slow.release)
	must(t, <-started)
	must(t, l.Close())
}

func TestEntriesOfAllSizes(t *testing.T) {
	opts, _ := testOptions(vfs.NewMem())
	r := newRecorder(0)
	l := openLog(t, opts, r)
	var want []string
	for i, size := range []int{0, 1, 7, 8, 9, 511, 4096, 65528, 65536, 300000, 1} {
		want = append(want, strings.Repeat(fmt.Sprint(i%10), size))
		must(t, l.Propose([]byte(want[i])))
	}
	for _, rec := range []*recorder{r, newRecorder(0)} {
		if rec != r {
			must(t, l.Close())
			l = openLog(t, opts, rec)
		}
		for i, got := range rec.wait(t, len(want)) {
			if got != want[i] {
				t.Errorf("entry %d: got %d bytes %.10q, want %d", i, len(got), got, len(want[i]))
			}
		}
	}
	must(t, l.Close())
}

// Raft runs before its constructor returns to a goroutine that others keep
// waiting: what it applies meanwhile reaches the Applier like everything else.
func TestASlowStartLosesNothing(t *testing.T) {
	opts, _ := testOptions(vfs.NewMem())
	r := newRecorder(0)
	l := openLog(t, opts, r)
	propose(t, l, 0, 100, 100)
	r.wait(t, 100)
	must(t, l.Close())
	opts.onRaft = func(r *raft.Raft) {
		until(t, "the log to be applied", func() bool { return r.AppliedIndex() > 100 && r.AppliedIndex() == r.LastIndex() })
	}
	again := newRecorder(0)
	l = openLog(t, opts, again)
	got := again.entries(t)
	if len(got) != 100 {
		t.Errorf("%d entries replayed, want 100", len(got))
	}
	checkSequence(t, got, 0)
	must(t, l.Close())
}
