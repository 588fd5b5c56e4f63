package ha

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"

	"github.com/hermodmq/hermod/persistence/vfs"
)

func TestCodecRoundTrip(t *testing.T) {
	c := &codec{}
	c.segment.Store(7)
	logs := []*raft.Log{
		{Index: 1, Term: 2, Type: raft.LogCommand, Data: []byte("data"), AppendedAt: time.Unix(3, 4)},
		{Index: 2, Term: 2, Type: raft.LogConfiguration, Data: []byte("d"), Extensions: []byte("ext")},
		{Index: 3, Term: 3, Type: raft.LogNoop},
	}
	c.reset(logs)
	encoded := make([]bytes.Buffer, len(logs))
	for i, l := range logs {
		must(t, c.Encode(l, &encoded[i]))
	}
	for i, want := range logs {
		var got raft.Log
		must(t, c.Decode(encoded[i].Bytes(), &got))
		if got.Index != want.Index || got.Term != want.Term || got.Type != want.Type ||
			!bytes.Equal(got.Data, want.Data) || !bytes.Equal(got.Extensions, want.Extensions) ||
			!got.AppendedAt.Equal(want.AppendedAt) {
			t.Errorf("got %+v, want %+v", got, *want)
		}
	}
	var plain strings.Builder
	must(t, c.Encode(logs[0], &plain))
	if plain.String() != encoded[0].String() {
		t.Error("a writer that is no Buffer gets something else")
	}
}

func FuzzDecode(f *testing.F) {
	c := &codec{}
	var b bytes.Buffer
	must(f, c.Encode(&raft.Log{Index: 1, Data: []byte("data"), Extensions: []byte("ext")}, &b))
	f.Add(b.Bytes())
	f.Add(b.Bytes()[:20])
	f.Fuzz(func(t *testing.T, b []byte) {
		var l raft.Log
		if err := c.Decode(b, &l); err != nil && !errors.Is(err, ErrCorrupt) {
			t.Errorf("got %v", err)
		}
	})
}

// Whatever is in the tail, Start answers with a log or an error.
func FuzzTail(f *testing.F) {
	f.Add(uint32(40), []byte{1, 0, 0, 0, 255, 255, 255, 255})
	f.Add(uint32(0), []byte{0xff})
	f.Fuzz(func(t *testing.T, at uint32, patch []byte) {
		mem, segments, _ := filled(t, ConfirmFsync, 5, 100)
		edit(t, mem, segments[0], func(b []byte) { copy(b[int(at)%len(b):], patch) })
		opts, _ := testOptions(mem)
		r := newRecorder(0)
		l, err := tryOpen(opts, r)
		if err != nil && !errors.Is(err, ErrCorrupt) {
			t.Fatalf("got %v", err)
		}
		checkSequence(t, r.entries(t), 0)
		if err == nil {
			must(t, l.Close())
		}
	})
}

func TestTooLargeIsRefused(t *testing.T) {
	opts, _ := testOptions(vfs.NewMem())
	l := openLog(t, opts, newRecorder(0))
	if err := l.Propose(make([]byte, MaxEntrySize+1)); err != ErrTooLarge {
		t.Errorf("got %v", err)
	}
	must(t, l.Close())
}

func TestLoggerPassesWarnings(t *testing.T) {
	var out strings.Builder
	h := slog.NewTextHandler(&out, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}})
	var l hclog.Logger = &hlogger{slog: slog.New(h), name: "raft", single: true}
	l.Info("nothing")
	l.Debug("nothing")
	l.Warn("heartbeat timeout reached, starting election", "n", 1)
	l.With("a", 1).Named("sub").Warn("slow", "b", 2)
	l.Log(hclog.Error, "bad")
	if _, err := io.WriteString(l.StandardWriter(nil), "line\n"); err != nil {
		t.Error(err)
	}
	want := "level=WARN msg=\"raft.sub: slow\" a=1 b=2\nlevel=ERROR msg=\"raft: bad\"\nlevel=WARN msg=\"raft: line\"\n"
	if out.String() != want {
		t.Errorf("got\n%swant\n%s", out.String(), want)
	}
}
