package vfs

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"slices"
	"testing"
)

// The contract: what OS and MemFS do alike. dir is an empty directory.
func TestContract(t *testing.T) {
	systems := map[string]func(t *testing.T) (FS, string){
		"OS":     func(t *testing.T) (FS, string) { return OS(), t.TempDir() },
		"Mem":    func(t *testing.T) (FS, string) { return memWithDir(t), "/data" },
		"Faulty": func(t *testing.T) (FS, string) { return Faulty(memWithDir(t), Every()), "/data" },
	}
	cases := map[string]func(t *testing.T, fsys FS, dir string){
		"files":       contractFiles,
		"positions":   contractPositions,
		"append":      contractAppend,
		"sizes":       contractSizes,
		"directories": contractDirectories,
		"rename":      contractRename,
		"errors":      contractErrors,
		"lock":        contractLock,
	}
	for system, open := range systems {
		for name, check := range cases {
			t.Run(system+"/"+name, func(t *testing.T) {
				fsys, dir := open(t)
				check(t, fsys, dir)
			})
		}
	}
}

func memWithDir(t *testing.T) *MemFS {
	m := NewMem()
	must(t, m.MkdirAll("/data", 0o700))
	return m
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func get[T any](t *testing.T) func(v T, err error) T {
	return func(v T, err error) T {
		t.Helper()
		must(t, err)
		return v
	}
}

func wantErr(t *testing.T, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s: got error %v, want %v", what, err, want)
	}
}

func content(t *testing.T, fsys FS, name string) string {
	t.Helper()
	f := get[File](t)(fsys.Open(name))
	defer f.Close()
	return string(get[[]byte](t)(io.ReadAll(f)))
}

func put(t *testing.T, fsys FS, name, data string) {
	t.Helper()
	f := get[File](t)(fsys.Create(name))
	get[int](t)(f.Write([]byte(data)))
	must(t, f.Sync())
	must(t, f.Close())
}

func contractFiles(t *testing.T, fsys FS, dir string) {
	name := dir + "/a"
	f := get[File](t)(fsys.Create(name))
	get[int](t)(f.WriteAt([]byte("world"), 5000))
	get[int](t)(f.WriteAt([]byte("hello"), 0))
	must(t, f.Sync())
	b := make([]byte, 5)
	get[int](t)(f.ReadAt(b, 5000))
	if string(b) != "world" {
		t.Errorf("ReadAt: got %q", b)
	}
	n, err := f.ReadAt(b, 5003)
	if n != 2 || err != io.EOF {
		t.Errorf("ReadAt over the end: got %d, %v, want 2, EOF", n, err)
	}
	get[int](t)(f.ReadAt(b, 3))
	if !bytes.Equal(b, []byte("lo\x00\x00\x00")) {
		t.Errorf("a hole: got %q, want zeros", b)
	}
	must(t, f.Close())
	wantErr(t, "Sync after Close", f.Sync(), fs.ErrClosed)
	wantErr(t, "Close after Close", f.Close(), fs.ErrClosed)

	r := get[File](t)(fsys.Open(name))
	defer r.Close()
	if _, err := r.WriteAt(b, 0); err == nil {
		t.Error("a file opened for reading was written to")
	}
	must(t, get[File](t)(fsys.OpenFile(name, os.O_RDWR|os.O_TRUNC, 0)).Close())
	if size := get[int64](t)(r.Size()); size != 0 {
		t.Errorf("after O_TRUNC: size %d", size)
	}
}

func contractPositions(t *testing.T, fsys FS, dir string) {
	f := get[File](t)(fsys.Create(dir + "/a"))
	defer f.Close()
	get[int](t)(f.Write([]byte("one")))
	get[int](t)(f.WriteAt([]byte("XXXXXXXXXX"), 0))
	get[int](t)(f.Write([]byte("two")))
	if got := content(t, fsys, dir+"/a"); got != "XXXtwoXXXX" {
		t.Errorf("got %q", got)
	}
	if n, err := f.Read(make([]byte, 9)); n != 4 || err != nil {
		t.Errorf("Read after Write: got %d, %v, want the 4 bytes left", n, err)
	}
	if n, err := f.Read(make([]byte, 9)); n != 0 || err != io.EOF {
		t.Errorf("Read at the end: got %d, %v, want EOF", n, err)
	}
}

func contractAppend(t *testing.T, fsys FS, dir string) {
	put(t, fsys, dir+"/a", "one")
	f := get[File](t)(fsys.OpenFile(dir+"/a", os.O_WRONLY|os.O_APPEND, 0))
	defer f.Close()
	get[int](t)(f.Write([]byte("two")))
	if got := content(t, fsys, dir+"/a"); got != "onetwo" {
		t.Errorf("got %q", got)
	}
	if _, err := f.WriteAt([]byte("x"), 0); err == nil {
		t.Error("WriteAt of an appending file succeeded")
	}
}

func contractSizes(t *testing.T, fsys FS, dir string) {
	f := get[File](t)(fsys.Create(dir + "/a"))
	defer f.Close()
	size := func(want int64) {
		t.Helper()
		if got := get[int64](t)(f.Size()); got != want {
			t.Errorf("size: got %d, want %d", got, want)
		}
		if got := get[fs.FileInfo](t)(fsys.Stat(dir + "/a")).Size(); got != want {
			t.Errorf("Stat size: got %d, want %d", got, want)
		}
	}
	must(t, f.Allocate(10000))
	size(10000)
	must(t, f.Allocate(5000))
	size(10000)
	get[int](t)(f.WriteAt(bytes.Repeat([]byte("x"), 10000), 0))
	must(t, f.Truncate(4100))
	must(t, f.Truncate(9000))
	size(9000)
	b := make([]byte, 9000)
	get[int](t)(f.ReadAt(b, 0))
	want := append(bytes.Repeat([]byte("x"), 4100), make([]byte, 4900)...)
	if !bytes.Equal(b, want) {
		t.Error("bytes cut off by Truncate came back")
	}
	if get[uint64](t)(fsys.FreeBytes(dir)) == 0 {
		t.Error("no free bytes")
	}
}

func contractDirectories(t *testing.T, fsys FS, dir string) {
	must(t, fsys.MkdirAll(dir+"/x/y", 0o700))
	must(t, fsys.MkdirAll(dir+"/x/y", 0o700))
	for _, name := range []string{"b", "a", "c"} {
		put(t, fsys, dir+"/x/"+name, name)
	}
	if got := get[[]string](t)(fsys.ReadDir(dir + "/x")); !slices.Equal(got, []string{"a", "b", "c", "y"}) {
		t.Errorf("ReadDir: got %v", got)
	}
	if info := get[fs.FileInfo](t)(fsys.Stat(dir + "/x")); !info.IsDir() || info.Name() != "x" {
		t.Errorf("Stat of a directory: got %v", info)
	}
	must(t, fsys.SyncDir(dir+"/x"))
	if err := fsys.Remove(dir + "/x"); err == nil {
		t.Error("removed a directory that is not empty")
	}
	must(t, fsys.Remove(dir+"/x/y"))
	must(t, fsys.Remove(dir+"/x/b"))
	if got := get[[]string](t)(fsys.ReadDir(dir + "/x")); !slices.Equal(got, []string{"a", "c"}) {
		t.Errorf("ReadDir: got %v", got)
	}
	if err := fsys.MkdirAll(dir+"/x/a/z", 0o700); err == nil {
		t.Error("made a directory below a file")
	}
}

func contractRename(t *testing.T, fsys FS, dir string) {
	put(t, fsys, dir+"/a", "new")
	put(t, fsys, dir+"/b", "old")
	old := get[File](t)(fsys.Open(dir + "/b"))
	defer old.Close()
	must(t, fsys.Rename(dir+"/a", dir+"/b"))
	must(t, fsys.Rename(dir+"/b", dir+"/b"))
	if got := content(t, fsys, dir+"/b"); got != "new" {
		t.Errorf("after Rename: got %q", got)
	}
	if got := string(get[[]byte](t)(io.ReadAll(old))); got != "old" {
		t.Errorf("open file after Rename over it: got %q", got)
	}
	_, err := fsys.Stat(dir + "/a")
	wantErr(t, "Stat of the old name", err, fs.ErrNotExist)
}

func contractErrors(t *testing.T, fsys FS, dir string) {
	put(t, fsys, dir+"/a", "")
	_, err := fsys.Create(dir + "/a")
	wantErr(t, "Create", err, fs.ErrExist)
	_, err = fsys.Open(dir + "/none")
	wantErr(t, "Open", err, fs.ErrNotExist)
	_, err = fsys.OpenFile(dir+"/none", os.O_RDWR, 0)
	wantErr(t, "OpenFile", err, fs.ErrNotExist)
	_, err = fsys.Create(dir + "/none/a")
	wantErr(t, "Create in no directory", err, fs.ErrNotExist)
	_, err = fsys.Stat(dir + "/none")
	wantErr(t, "Stat", err, fs.ErrNotExist)
	_, err = fsys.ReadDir(dir + "/none")
	wantErr(t, "ReadDir", err, fs.ErrNotExist)
	_, err = fsys.FreeBytes(dir + "/none")
	wantErr(t, "FreeBytes", err, fs.ErrNotExist)
	wantErr(t, "SyncDir", fsys.SyncDir(dir+"/none"), fs.ErrNotExist)
	wantErr(t, "Remove", fsys.Remove(dir+"/none"), fs.ErrNotExist)
	wantErr(t, "Rename", fsys.Rename(dir+"/none", dir+"/b"), fs.ErrNotExist)
}

func contractLock(t *testing.T, fsys FS, dir string) {
	lock := get[io.Closer](t)(fsys.Lock(dir + "/lock"))
	if _, err := fsys.Lock(dir + "/lock"); err == nil {
		t.Fatal("locked twice")
	}
	must(t, lock.Close())
	if err := lock.Close(); err == nil {
		t.Error("unlocked twice")
	}
	must(t, get[io.Closer](t)(fsys.Lock(dir+"/lock")).Close())
}
