package ha

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/hermodmq/hermod/persistence/vfs"
)

var errDisk = errors.New("disk on fire")

func waitError(t testing.TB, fatal chan error, want error) {
	t.Helper()
	select {
	case err := <-fatal:
		if !errors.Is(err, want) {
			t.Fatalf("fatal error: got %v, want %v", err, want)
		}
	case <-time.After(deadline):
		t.Fatal("no fatal error")
	}
}

// proposeUntilRefused proposes until the log refuses, and returns how often it
// did not.
func proposeUntilRefused(t testing.TB, l *Log, from, size int) (n int, err error) {
	t.Helper()
	for n = 0; n < 50000; n++ {
		if err := l.Propose(payload(from+n, size)); err != nil {
			return n, err
		}
	}
	t.Fatal("the log goes on after a failure")
	return 0, nil
}

// fails runs a log on a disk that develops the fault, and expects a fatal error,
// refusal of everything else, and that a reopen finds all that was applied.
func fails(t *testing.T, inj vfs.Injector, arm func(), want error) {
	t.Helper()
	failsWith(t, inj, func(l *Log) {
		for ready := false; !ready; runtime.Gosched() { // a fault that concerns a spare needs one
			l.segments.mu.Lock()
			ready = len(l.segments.spares) > 0
			l.segments.mu.Unlock()
		}
		arm()
	}, want)
}

func failsWith(t *testing.T, inj vfs.Injector, arm func(*Log), want error) {
	t.Helper()
	mem := vfs.NewMem()
	opts, fatal := testOptions(vfs.Faulty(mem, inj))
	r := newRecorder(0)
	l := openLog(t, opts, r)
	propose(t, l, 0, 5, 1000)
	r.wait(t, 5)
	arm(l)
	n, err := proposeUntilRefused(t, l, 5, 1000)
	if !errors.Is(err, want) && !errors.Is(err, ErrLeadershipLost) {
		t.Errorf("Propose: got %v, want %v", err, want)
	}
	waitError(t, fatal, want)
	if err := l.Cut(r.index(0), 0); !errors.Is(err, want) {
		t.Errorf("Cut: got %v, want %v", err, want)
	}
	if err := l.Close(); !errors.Is(err, want) {
		t.Errorf("Close: got %v, want %v", err, want)
	}
	applied := r.entries(t)
	checkSequence(t, applied, 0)

	opts, _ = testOptions(mem)
	again := newRecorder(0)
	l = openLog(t, opts, again)
	got := again.entries(t)
	checkSequence(t, got, 0)
	if len(got) < len(applied) || len(got) > 5+n+1 {
		t.Errorf("reopen found %d entries; applied were %d, proposed %d", len(got), len(applied), 5+n+1)
	}
	propose(t, l, len(got), len(got)+50, 1000)
	checkSequence(t, again.wait(t, len(got)+50), 0)
	must(t, l.Close())
}

func TestFailingDiskIsFatal(t *testing.T) {
	for _, c := range []struct {
		name    string
		kind    vfs.Kind
		pattern string
		nth     int
	}{
		{"first sync", vfs.OpSync, "*.wal", 1},
		{"later sync", vfs.OpSync, "*.wal", 30},
		{"write", vfs.OpWrite, "*.wal", 20},
		{"sync of the directory", vfs.OpSyncDir, "*", 1},
		{"rename of a spare", vfs.OpRename, sparePrefix + "*", 1},
		{"record of the rotation", vfs.OpSync, metaName + ".new", 1},
		{"replacing the record", vfs.OpRename, metaName + ".new", 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			var later switched
			fails(t, &later, func() { later.set(failFrom(c.kind, c.pattern, c.nth, errDisk)) }, errDisk)
		})
	}
}

// failFrom fails the nth operation of the kind and all after it: a single
// failure may meet a spare in the making, which does without.
func failFrom(kind vfs.Kind, pattern string, n int, err error) vfs.Injector {
	var seen atomic.Int32
	return vfs.InjectorFunc(func(op vfs.Op) vfs.Fault {
		if ok, _ := path.Match(pattern, path.Base(op.Path)); !ok || op.Kind != kind || int(seen.Add(1)) < n {
			return vfs.Fault{}
		}
		return vfs.Fault{Err: err}
	})
}

// switched is an Injector that does nothing until set.
type switched struct {
	mu  sync.Mutex
	inj vfs.Injector
}

func (s *switched) set(inj vfs.Injector) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.inj = inj
}

func (s *switched) Inject(op vfs.Op) vfs.Fault {
	s.mu.Lock()
	inj := s.inj
	s.mu.Unlock()
	if inj == nil {
		return vfs.Fault{}
	}
	return inj.Inject(op)
}

func TestShortWriteIsFatal(t *testing.T) {
	var later switched
	fails(t, &later, func() { later.set(vfs.ShortWriteNth(vfs.OpWrite, "*.wal", 7, 500, errDisk)) }, errDisk)
}

func TestFullDiskIsFatalAndReopens(t *testing.T) {
	for _, left := range []int64{0, 100, 5000, 70_000, 200_000} {
		var later switched
		fails(t, &later, func() { later.set(vfs.NoSpaceAfter(left)) }, syscall.ENOSPC)
	}
}

func TestHungSyncIsFatal(t *testing.T) {
	hang := vfs.HangSyncs("*.wal")
	opts, fatal := testOptions(vfs.Faulty(vfs.NewMem(), hang))
	opts.StallAlarm, opts.StallFatal = time.Millisecond, 20*time.Millisecond
	r := newRecorder(0)
	l := openLog(t, opts, r)
	hang.Arm()
	must(t, l.Propose(payload(0, 10)))
	<-hang.Hung()
	waitError(t, fatal, ErrStalled)
	if err := l.Propose(payload(1, 10)); !errors.Is(err, ErrStalled) {
		t.Errorf("Propose: got %v", err)
	}
	hang.Release()
	if err := l.Close(); !errors.Is(err, ErrStalled) {
		t.Errorf("Close: got %v", err)
	}
}

func TestFailureInStart(t *testing.T) {
	for n := 1; n <= 6; n++ {
		mem := vfs.NewMem()
		opts, _ := testOptions(vfs.Faulty(mem, vfs.FailNth(vfs.OpSync, "[^s]*", n, errDisk)))
		if _, err := tryOpen(opts, newRecorder(0)); !errors.Is(err, errDisk) {
			t.Errorf("sync %d fails: Start returned %v", n, err)
		}
		opts, _ = testOptions(mem)
		r := newRecorder(0)
		l := openLog(t, opts, r)
		propose(t, l, 0, 1, 10)
		r.wait(t, 1)
		must(t, l.Close())
	}
}

// filled returns a file system with a log of n entries, its segments in order,
// and what was applied.
func filled(t *testing.T, confirm Confirm, n, size int) (*vfs.MemFS, []string, *recorder) {
	t.Helper()
	mem := vfs.NewMem()
	opts, _ := testOptions(mem)
	opts.Confirm = confirm
	r := newRecorder(0)
	l := openLog(t, opts, r)
	for i := range n { // one by one: each its own batch
		propose(t, l, i, i+1, size)
		r.wait(t, i+1)
	}
	must(t, l.Close())
	names, err := mem.ReadDir("/log")
	must(t, err)
	var segments []string
	for _, name := range names {
		if strings.HasSuffix(name, ".wal") {
			segments = append(segments, path.Join("/log", name))
		}
	}
	return mem, segments, r
}

// edit changes a file.
func edit(t *testing.T, fsys vfs.FS, name string, change func(b []byte)) {
	t.Helper()
	f, err := fsys.OpenFile(name, os.O_RDWR, 0)
	must(t, err)
	size, err := f.Size()
	must(t, err)
	b := make([]byte, size)
	_, err = f.ReadAt(b, 0)
	must(t, err)
	change(b)
	_, err = f.WriteAt(b, 0)
	must(t, err)
	must(t, f.Sync())
	must(t, f.Close())
}

// find returns where the ith payload is in b.
func find(t *testing.T, b []byte, i int) int {
	t.Helper()
	at := strings.Index(string(b), string(payload(i, 6)))
	if at < 0 {
		t.Fatalf("entry %d is not in this segment", i)
	}
	return at
}

func TestDamageInTheMiddleIsRefused(t *testing.T) {
	flip := func(i, offset int) func(*testing.T, []byte) {
		return func(t *testing.T, b []byte) { b[find(t, b, i)+offset] ^= 4 }
	}
	for _, c := range []struct {
		name    string
		segment int // from the end
		damage  func(t *testing.T, b []byte)
	}{
		{"data in the tail", 1, flip(95, 3)},
		{"frame header in the tail", 1, flip(95, -8)},
		{"length in the tail", 1, flip(95, -4)},
		{"page of the tail lost", 1, func(t *testing.T, b []byte) { clear(b[find(t, b, 90)-8:][:3000]) }},
		{"file header of the tail", 1, func(t *testing.T, b []byte) { b[9] ^= 1 }},
		{"data in a sealed segment", 2, func(t *testing.T, b []byte) { b[20000] ^= 1 }},
		{"file header of a sealed segment", 2, func(t *testing.T, b []byte) { b[17] ^= 1 }},
	} {
		t.Run(c.name, func(t *testing.T) {
			mem, segments, _ := filled(t, ConfirmFsync, 100, 1000)
			edit(t, mem, segments[len(segments)-c.segment], func(b []byte) { c.damage(t, b) })
			opts, _ := testOptions(mem)
			r := newRecorder(0)
			if _, err := tryOpen(opts, r); !errors.Is(err, ErrCorrupt) {
				t.Errorf("Start: got %v, want ErrCorrupt", err)
			}
			if n := len(r.entries(t)); n > 0 {
				t.Errorf("applied %d entries of a corrupt log", n)
			}
		})
	}
}

func TestDamageOfRecordsAndLostFilesAreRefused(t *testing.T) {
	mem, segments, _ := filled(t, ConfirmFsync, 200, 1000)
	for _, name := range []string{"/log/meta", segments[0]} {
		broken := mem.CrashClone(1)
		edit(t, broken, name, func(b []byte) { b[len(b)/2] ^= 1 })
		opts, _ := testOptions(broken)
		if _, err := tryOpen(opts, newRecorder(0)); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s changed: got %v, want ErrCorrupt", name, err)
		}
	}
	broken := mem.CrashClone(1)
	must(t, broken.Remove(segments[1]))
	opts, _ := testOptions(broken)
	if _, err := tryOpen(opts, newRecorder(0)); !errors.Is(err, ErrCorrupt) || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("segment lost: got %v, want ErrCorrupt", err)
	}
}

func TestTornTailIsCut(t *testing.T) {
	for name, tear := range map[string]func(t *testing.T, b []byte){
		"data":   func(t *testing.T, b []byte) { b[find(t, b, 99)+500] ^= 1 },
		"header": func(t *testing.T, b []byte) { clear(b[find(t, b, 99)-8:][:16]) },
		"length": func(t *testing.T, b []byte) { b[find(t, b, 99)-3] = 0xff },
		"end":    func(t *testing.T, b []byte) { clear(b[find(t, b, 99)+900:]) },
	} {
		t.Run(name, func(t *testing.T) {
			mem, segments, r := filled(t, ConfirmFsync, 100, 1000)
			edit(t, mem, segments[len(segments)-1], func(b []byte) { tear(t, b) })
			opts, _ := testOptions(mem)
			var said bytes.Buffer
			opts.Logger = slog.New(slog.NewTextHandler(&said, nil))
			again := newRecorder(0)
			l := openLog(t, opts, again)
			got := again.entries(t)
			checkSequence(t, got, 0)
			if !strings.Contains(said.String(), "not whole and is cut") {
				t.Errorf("the cut is not in the log: %s", said.String())
			}
			if len(got) != 99 {
				t.Errorf("%d entries left, want 99", len(got))
			}
			propose(t, l, 99, 150, 1000)
			checkSequence(t, again.wait(t, 150), 0)
			must(t, l.Close())
			last := r.index(-1)
			if _, err := tryOpen(opts, newRecorder(last+1000)); !errors.Is(err, ErrGap) {
				t.Errorf("a checkpoint behind the cut log: got %v, want ErrGap", err)
			}
		})
	}
}

// After a power failure with ConfirmOS the log may lack a middle part, and may
// end before the checkpoint.
func TestConfirmOSAfterPowerFailure(t *testing.T) {
	mem, segments, r := filled(t, ConfirmOS, 100, 1000)
	edit(t, mem, segments[len(segments)-1], func(b []byte) { clear(b[find(t, b, 90)-8:][:3000]) })
	for _, applied := range []int{-1, 50, 97} {
		for _, confirm := range []Confirm{ConfirmFsync, ConfirmOS} {
			opts, _ := testOptions(mem.CrashClone(1))
			opts.Confirm = confirm
			again := newRecorder(0)
			next := 90
			if applied >= 0 {
				again = newRecorder(r.index(applied))
				next = max(next, applied+1)
			}
			l := openLog(t, opts, again)
			replayed := again.entries(t)
			checkSequence(t, replayed, applied+1)
			if len(replayed) != next-applied-1 {
				t.Fatalf("checkpoint at %d: replayed %d entries, want %d", applied, len(replayed), next-applied-1)
			}
			propose(t, l, next, next+200, 1000)
			checkSequence(t, again.wait(t, len(replayed)+200), applied+1)
			must(t, l.Close())

			final := newRecorder(again.applied)
			l = openLog(t, opts, final)
			checkSequence(t, final.entries(t), applied+1)
			if got := len(final.entries(t)); got != len(replayed)+200 {
				t.Errorf("after another restart: %d entries, want %d", got, len(replayed)+200)
			}
			must(t, l.Close())
		}
	}
}

// What message data looks like must not matter: data that imitates frames of
// the very segment does not end up as entries.
func TestRemainsOfATornBatchAreNotEntries(t *testing.T) {
	mem, segments, _ := filled(t, ConfirmFsync, 3, 1000)
	edit(t, mem, segments[0], func(b []byte) {
		at := find(t, b, 2) - 8
		old := append([]byte(nil), b[at:]...)
		clear(b[at : at+8])    // the last batch is torn,
		copy(b[at+2048:], old) // and this would be it again
		binary.LittleEndian.PutUint32(b[at+2048-8:], frameCommit)
	})
	opts, _ := testOptions(mem)
	r := newRecorder(0)
	l := openLog(t, opts, r)
	if got := r.entries(t); len(got) != 2 {
		t.Errorf("got %d entries, want 2", len(got))
	}
	must(t, l.Close())
}
