package vfs

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"sync"
	"syscall"
	"testing"
)

const seeds = 200

func TestCrashKeepsWhatWasSynced(t *testing.T) {
	m := memWithDir(t)
	put(t, m, "/data/a", "hello") // put syncs
	must(t, m.SyncDir("/data"))
	for seed := range int64(seeds) {
		if got := content(t, m.CrashClone(seed), "/data/a"); got != "hello" {
			t.Fatalf("seed %d: got %q", seed, got)
		}
	}
}

// Of an overwrite that was not synced, each page is old, new or torn by the
// sector, and all three happen.
func TestCrashUnsyncedPages(t *testing.T) {
	m := memWithDir(t)
	f := get[File](t)(m.Create("/data/a"))
	get[int](t)(f.Write(bytes.Repeat([]byte{1}, 2*pageSize)))
	must(t, f.Sync())
	must(t, m.SyncDir("/data"))
	get[int](t)(f.WriteAt(bytes.Repeat([]byte{2}, 2*pageSize), 0))
	var lost, kept, torn, apart int
	for seed := range int64(seeds) {
		b := []byte(content(t, m.CrashClone(seed), "/data/a"))
		if len(b) != 2*pageSize {
			t.Fatalf("seed %d: size %d", seed, len(b))
		}
		for s := 0; s < len(b); s += sectorSize {
			if n := bytes.Count(b[s:s+sectorSize], []byte{2}); n != 0 && n != sectorSize {
				t.Fatalf("seed %d: a torn sector", seed)
			}
		}
		switch n := bytes.Count(b[:pageSize], []byte{2}); n {
		case 0:
			lost++
		case pageSize:
			kept++
		default:
			torn++
		}
		if b[0] == 1 && b[pageSize] == 2 {
			apart++
		}
	}
	if lost == 0 || kept == 0 || torn == 0 || apart == 0 {
		t.Errorf("lost %d, kept %d, torn %d, second page without the first %d: want each at times", lost, kept, torn, apart)
	}
	if got := content(t, m, "/data/a"); got != string(bytes.Repeat([]byte{2}, 2*pageSize)) {
		t.Error("the clone disturbed the original")
	}
}

func TestCrashSameSeedSameOutcome(t *testing.T) {
	m := memWithDir(t)
	for _, name := range []string{"a", "b", "c", "d"} {
		put(t, m, "/data/"+name, name)
		f := get[File](t)(m.OpenFile("/data/"+name, os.O_RDWR, 0))
		get[int](t)(f.Write(bytes.Repeat([]byte("x"), 9*sectorSize)))
	}
	dump := func(m *MemFS) string {
		var out string
		for _, name := range get[[]string](t)(m.ReadDir("/data")) {
			out += name + content(t, m, "/data/"+name)
		}
		return out
	}
	first, second := dump(m.CrashClone(7)), dump(m.CrashClone(7))
	if first != second {
		t.Error("one seed, two outcomes")
	}
}

// Names survive for certain only once the directory is synced, and a rename is
// never seen half done.
func TestCrashUnsyncedNames(t *testing.T) {
	m := memWithDir(t)
	put(t, m, "/data/manifest", "old")
	must(t, m.SyncDir("/data"))
	put(t, m, "/data/tmp", "new")
	must(t, m.Rename("/data/tmp", "/data/manifest"))
	seen := map[string]int{}
	for seed := range int64(seeds) {
		c := m.CrashClone(seed)
		got := content(t, c, "/data/manifest")
		if _, err := c.Stat("/data/tmp"); err == nil {
			got += "+tmp"
			if got == "new+tmp" {
				t.Fatalf("seed %d: the rename left both names", seed)
			}
		}
		seen[got]++
	}
	if seen["old"] == 0 || seen["old+tmp"] == 0 || seen["new"] == 0 || len(seen) != 3 {
		t.Errorf("outcomes: %v", seen)
	}
	must(t, m.SyncDir("/data"))
	for seed := range int64(seeds) {
		if got := content(t, m.CrashClone(seed), "/data/manifest"); got != "new" {
			t.Fatalf("seed %d: after SyncDir: got %q", seed, got)
		}
	}
}

func TestCrashUnsyncedRemove(t *testing.T) {
	m := memWithDir(t)
	put(t, m, "/data/a", "x")
	must(t, m.SyncDir("/data"))
	must(t, m.Remove("/data/a"))
	var gone, back int
	for seed := range int64(seeds) {
		if _, err := m.CrashClone(seed).Stat("/data/a"); errors.Is(err, fs.ErrNotExist) {
			gone++
		} else {
			back++
		}
	}
	if gone == 0 || back == 0 {
		t.Errorf("gone %d, back %d: want each at times", gone, back)
	}
}

func TestCrashUnsyncedSize(t *testing.T) {
	m := memWithDir(t)
	put(t, m, "/data/a", "0123456789")
	must(t, m.SyncDir("/data"))
	f := get[File](t)(m.OpenFile("/data/a", os.O_RDWR, 0))
	must(t, f.Truncate(3))
	seen := map[int]int{}
	for seed := range int64(seeds) {
		seen[len(content(t, m.CrashClone(seed), "/data/a"))]++
	}
	if seen[3] == 0 || seen[10] == 0 || len(seen) != 2 {
		t.Errorf("sizes: %v", seen)
	}
}

func TestCrashReleasesLocks(t *testing.T) {
	m := memWithDir(t)
	if _, err := m.Lock("/data/lock"); err != nil {
		t.Fatal(err)
	}
	if _, err := m.CrashClone(1).Lock("/data/lock"); err != nil {
		t.Errorf("lock of a dead process: %v", err)
	}
}

var errDisk = errors.New("disk on fire")

func TestFailNth(t *testing.T) {
	m := Faulty(memWithDir(t), Every(
		FailNth(OpSync, "a*", 2, errDisk),
		ShortWriteNth(OpWrite, "b", 1, 3, errDisk)))
	a := get[File](t)(m.Create("/data/a1"))
	must(t, a.Sync())
	wantErr(t, "second sync", a.Sync(), errDisk)
	must(t, a.Sync())
	b := get[File](t)(m.Create("/data/b"))
	n, err := b.Write([]byte("hello"))
	if n != 3 || err != errDisk {
		t.Errorf("short write: got %d, %v", n, err)
	}
	if got := content(t, m, "/data/b"); got != "hel" {
		t.Errorf("after the short write: %q", got)
	}
}

func TestNoSpace(t *testing.T) {
	space := NoSpaceAfter(10)
	m := Faulty(memWithDir(t), space)
	f := get[File](t)(m.Create("/data/a"))
	get[int](t)(f.Write([]byte("1234567")))
	n, err := f.Write([]byte("12345"))
	if n != 3 || !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("got %d, %v, want 3 bytes and ENOSPC", n, err)
	}
	wantErr(t, "Allocate", f.Allocate(100), syscall.ENOSPC)
	space.Free(100)
	must(t, f.Allocate(100))
	get[int](t)(f.Write([]byte("12345")))
}

func TestFlipBit(t *testing.T) {
	mem := memWithDir(t)
	put(t, mem, "/data/a", "abc")
	f := get[File](t)(Faulty(mem, FlipBit("a", 1, 1)).Open("/data/a"))
	b := make([]byte, 3)
	get[int](t)(f.ReadAt(b, 0))
	if string(b) != "acc" {
		t.Errorf("got %q, want the b's lowest bit flipped", b)
	}
}

func TestHangSyncs(t *testing.T) {
	hang := HangSyncs("a")
	m := Faulty(memWithDir(t), hang)
	f := get[File](t)(m.Create("/data/a"))
	must(t, f.Sync())
	hang.Arm()
	done := make(chan error, 1)
	go func() { done <- f.Sync() }()
	<-hang.Hung()
	select {
	case <-done:
		t.Fatal("the sync did not hang")
	default:
	}
	hang.Release()
	must(t, <-done)
	must(t, f.Sync())
}

func TestSyncPoints(t *testing.T) {
	mem := memWithDir(t)
	var clones []*MemFS
	points := &SyncPoints{At: func(int) { clones = append(clones, mem.CrashClone(1)) }}
	m := Faulty(mem, points)
	put(t, m, "/data/a", "x")
	must(t, m.SyncDir("/data"))
	if points.Count() != 2 || len(clones) != 2 {
		t.Fatalf("got %d points, %d clones, want 2", points.Count(), len(clones))
	}
}

func TestMemConcurrentUse(t *testing.T) {
	m := memWithDir(t)
	var wg sync.WaitGroup
	f := get[File](t)(m.Create("/data/a"))
	for i := range 8 {
		wg.Go(func() {
			for j := range 100 {
				_, _ = f.WriteAt([]byte("x"), int64(i*1000+j))
				_, _ = f.ReadAt(make([]byte, 10), int64(j))
				_ = f.Sync()
				m.CrashClone(int64(j))
			}
		})
	}
	wg.Wait()
}

// A killed process leaves all it wrote, unsynced as it was.
func TestCloneKeepsEverythingUnsynced(t *testing.T) {
	m := memWithDir(t)
	put(t, m, "/data/a", "synced")
	must(t, m.SyncDir("/data"))
	f := get[File](t)(m.OpenFile("/data/a", os.O_RDWR, 0))
	get[int](t)(f.Write([]byte("cached")))
	put(t, m, "/data/b", "")
	clone := m.Clone()
	get[int](t)(f.WriteAt([]byte("later!"), 0))
	must(t, f.Sync())
	if got := content(t, clone, "/data/a"); got != "cached" {
		t.Errorf("the clone has %q", got)
	}
	seen := map[string]int{}
	for seed := range int64(seeds) {
		c := clone.CrashClone(seed)
		if names := get[[]string](t)(c.ReadDir("/data")); len(names) == 1 {
			seen["b lost"]++
		}
		seen[content(t, c, "/data/a")]++
	}
	if seen["synced"] == 0 || seen["cached"] == 0 || seen["b lost"] == 0 || seen["later!"] > 0 {
		t.Errorf("after a power failure of the clone: %v", seen)
	}
	g := get[File](t)(clone.OpenFile("/data/a", os.O_RDWR, 0))
	get[int](t)(g.Write([]byte("CLONED")))
	if got := content(t, m, "/data/a"); got != "later!" {
		t.Errorf("writing to the clone changed the original to %q", got)
	}
}
