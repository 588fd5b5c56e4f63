package lossy

import (
	"bytes"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

func mount(t *testing.T) (*FS, string) {
	t.Helper()
	dir := t.TempDir()
	f, err := Mount(filepath.Join(dir, "top"), filepath.Join(dir, "below"))
	if err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	})
	return f, f.dir
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func cut(t *testing.T, f *FS) Loss {
	t.Helper()
	lost, err := f.Cut(rand.New(rand.NewPCG(1, 1)), 1)
	must(t, err)
	return lost
}

func create(t *testing.T, name, content string, sync bool) *os.File {
	t.Helper()
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	must(t, err)
	_, err = f.WriteString(content)
	must(t, err)
	if sync {
		must(t, f.Sync())
	}
	return f
}

func syncDir(t *testing.T, dir string) {
	t.Helper()
	d, err := os.Open(dir)
	must(t, err)
	must(t, d.Sync())
	must(t, d.Close())
}

func check(t *testing.T, name, want string) {
	t.Helper()
	got, err := os.ReadFile(name)
	if err != nil || string(got) != want {
		t.Errorf("%s: %q %v, want %q", filepath.Base(name), got, err, want)
	}
}

func gone(t *testing.T, name string) {
	t.Helper()
	if _, err := os.Lstat(name); !os.IsNotExist(err) {
		t.Errorf("%s is there (%v)", filepath.Base(name), err)
	}
}

func TestOnlySyncedBytesStay(t *testing.T) {
	f, dir := mount(t)
	name := filepath.Join(dir, "a")
	a := create(t, name, "synced", true)
	syncDir(t, dir)
	_, err := a.WriteAt([]byte("SYN"), 0)
	must(t, err)
	_, err = a.WriteAt(bytes.Repeat([]byte("x"), 3*pageSize), 3)
	must(t, err)
	check(t, name, "SYN"+string(bytes.Repeat([]byte("x"), 3*pageSize)))
	must(t, a.Close())
	if lost := cut(t, f); lost.Pages == 0 {
		t.Error("nothing was lost")
	}
	check(t, name, "synced")
}

func TestReservedSpaceAndTruncation(t *testing.T) {
	f, dir := mount(t)
	name := filepath.Join(dir, "a")
	a := create(t, name, "synced", false)
	must(t, syscall.Fallocate(int(a.Fd()), 0, 0, 4*pageSize))
	must(t, a.Sync())
	syncDir(t, dir)
	_, err := a.WriteAt([]byte("later"), 2*pageSize)
	must(t, err)
	must(t, a.Truncate(3))
	must(t, a.Close())
	cut(t, f)
	check(t, name, "synced"+string(make([]byte, 4*pageSize-6)))
}

func TestNamesStayWhenTheFolderIsSynced(t *testing.T) {
	f, dir := mount(t)
	in := func(name string) string { return filepath.Join(dir, name) }
	for _, name := range []string{"kept", "removed", "old", "replaced"} {
		must(t, create(t, in(name), name, true).Close())
	}
	must(t, os.Mkdir(in("sub"), 0o700))
	syncDir(t, dir)
	must(t, create(t, in("new"), "new", true).Close())
	must(t, create(t, in("sub/new"), "new", true).Close())
	must(t, os.Remove(in("removed")))
	must(t, os.Rename(in("old"), in("replaced")))
	check(t, in("replaced"), "old")
	must(t, os.Link(in("kept"), in("linked")))
	must(t, os.Mkdir(in("empty"), 0o700))
	cut(t, f)
	for _, name := range []string{"kept", "removed", "old", "replaced"} {
		check(t, in(name), name)
	}
	for _, name := range []string{"new", "sub/new", "linked", "empty"} {
		gone(t, in(name))
	}

	must(t, create(t, in("sub/new"), "new", true).Close())
	syncDir(t, in("sub"))
	must(t, os.Remove(in("removed")))
	must(t, os.Rename(in("old"), in("replaced")))
	syncDir(t, dir)
	cut(t, f)
	check(t, in("sub/new"), "new")
	check(t, in("replaced"), "old")
	gone(t, in("removed"))
	gone(t, in("old"))
}

// A new file's name can stay without its bytes, and the other way round.
func TestNamesAndBytesAreApart(t *testing.T) {
	f, dir := mount(t)
	a := create(t, filepath.Join(dir, "a"), "bytes", false)
	syncDir(t, dir)
	b := create(t, filepath.Join(dir, "b"), "bytes", true)
	must(t, a.Close())
	must(t, b.Close())
	cut(t, f)
	check(t, filepath.Join(dir, "a"), "")
	gone(t, filepath.Join(dir, "b"))
}

func TestByChanceSomePagesStay(t *testing.T) {
	f, dir := mount(t)
	name := filepath.Join(dir, "a")
	a := create(t, name, string(make([]byte, 64*pageSize)), true)
	syncDir(t, dir)
	_, err := a.WriteAt(bytes.Repeat([]byte("x"), 64*pageSize), 0)
	must(t, err)
	must(t, a.Close())
	lost, err := f.Cut(rand.New(rand.NewPCG(1, 1)), 0.5)
	must(t, err)
	got, err := os.ReadFile(name)
	must(t, err)
	kept := bytes.Count(got, []byte("x"))
	if lost.Pages == 0 || kept == 0 || kept != (64-lost.Pages)*pageSize {
		t.Errorf("%d pages lost, %d bytes kept", lost.Pages, kept)
	}
}

func TestSocketsWork(t *testing.T) {
	_, dir := mount(t)
	ln, err := net.Listen("unix", filepath.Join(dir, "s"))
	must(t, err)
	defer func() { _ = ln.Close() }()
	c, err := net.Dial("unix", filepath.Join(dir, "s"))
	must(t, err)
	must(t, c.Close())
}
