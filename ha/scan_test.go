package ha

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"github.com/hashicorp/raft-wal/types"

	"github.com/hermodmq/hermod/persistence/vfs"
)

// TestSegmentsOutOfOrderAreRefused: a list of segments that does not lead from
// one entry to the next is no log.
func TestSegmentsOutOfOrderAreRefused(t *testing.T) {
	mem, _, _ := filled(t, ConfirmFsync, 300, 1000)
	for name, change := range map[string]func([]types.SegmentInfo) []types.SegmentInfo{
		"one is missing":       func(l []types.SegmentInfo) []types.SegmentInfo { return append(l[:1:1], l[2:]...) },
		"two change places":    func(l []types.SegmentInfo) []types.SegmentInfo { l[1], l[2] = l[2], l[1]; return l },
		"one is there twice":   func(l []types.SegmentInfo) []types.SegmentInfo { return append(l[:2:2], l[1:]...) },
		"one is not complete":  func(l []types.SegmentInfo) []types.SegmentInfo { l[1].SealTime = time.Time{}; return l },
		"one ends too early":   func(l []types.SegmentInfo) []types.SegmentInfo { l[0].MaxIndex--; return l },
		"one ends too late":    func(l []types.SegmentInfo) []types.SegmentInfo { l[1].MaxIndex++; l[2].BaseIndex++; return l },
		"one has another end":  func(l []types.SegmentInfo) []types.SegmentInfo { l[1].IndexStart += 8; return l },
		"one has another name": func(l []types.SegmentInfo) []types.SegmentInfo { l[1].ID += 100; return l },
		"the first is missing": func(l []types.SegmentInfo) []types.SegmentInfo { return l[1:] },
	} {
		t.Run(name, func(t *testing.T) {
			broken := mem.CrashClone(1)
			meta, err := openMeta(broken, "/log")
			must(t, err)
			state, err := meta.Load("/log")
			must(t, err)
			if len(state.Segments) < 4 {
				t.Fatalf("%d segments", len(state.Segments))
			}
			state.Segments = change(state.Segments)
			must(t, meta.CommitState(state))
			opts, _ := testOptions(broken)
			r := newRecorder(0)
			if _, err := tryOpen(opts, r); !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrGap) {
				t.Errorf("Start: got %v, want ErrCorrupt or ErrGap", err)
			}
			if n := len(r.entries(t)); n > 0 {
				t.Errorf("applied %d entries", n)
			}
		})
	}
}

// forged is a batch of one entry as raft-wal writes it, with any trailer.
func forged(typ raft.LogType, index, term, segment uint64, data string, change func(frame []byte)) []byte {
	c := &codec{}
	c.segment.Store(segment)
	var entry strings.Builder
	if err := c.Encode(&raft.Log{Index: index, Term: term, Type: typ, Data: []byte(data)}, &entry); err != nil {
		panic(err)
	}
	b := make([]byte, frameHeaderLen, 1024)
	b[0] = frameEntry
	binary.LittleEndian.PutUint32(b[4:], uint32(entry.Len()))
	b = append(b, entry.String()...)
	b = append(b, make([]byte, -len(b)&7)...)
	if change != nil {
		change(b)
	}
	sum := crc32.Checksum(b, castagnoli)
	b = append(b, frameCommit, 0, 0, 0)
	return binary.LittleEndian.AppendUint32(b, sum)
}

// TestForeignFramesEndTheLog: what stands behind the last entry is one of this
// log if it is of this segment, comes next and is of no earlier term. All else
// is what a file held before, or damage, and ends the log without a word or a
// large allocation.
func TestForeignFramesEndTheLog(t *testing.T) {
	const entries = 20
	mem, segments, r := filled(t, ConfirmFsync, entries, 1000)
	meta, err := openMeta(mem, "/log")
	must(t, err)
	state, err := meta.Load("/log")
	must(t, err)
	own := state.Segments[len(state.Segments)-1].ID
	next, term := r.index(-1)+1, r.term
	length := func(n uint32) func([]byte) {
		return func(b []byte) { binary.LittleEndian.PutUint32(b[4:], n) }
	}
	data := string(payload(entries, 100))
	for _, c := range []struct {
		name  string
		frame []byte
		taken bool
	}{
		{"the next entry", forged(raft.LogCommand, next, term, own, data, nil), true}, // or the others prove nothing
		{"another segment", forged(raft.LogCommand, next, term, own+1, data, nil), false},
		{"an earlier segment", forged(raft.LogCommand, next, term, own-1, data, nil), false},
		{"an entry twice", forged(raft.LogCommand, next-1, term, own, data, nil), false},
		{"an entry left out", forged(raft.LogCommand, next+1, term, own, data, nil), false},
		{"an earlier term", forged(raft.LogCommand, next, term-1, own, data, nil), false},
		{"longer than the file", forged(raft.LogCommand, next, term, own, data, length(1<<31)), false},
		{"as long as can be", forged(raft.LogCommand, next, term, own, data, length(1<<32-1)), false},
		{"shorter than its trailer", forged(raft.LogCommand, next, term, own, data, length(trailerLen-1)), false},
		{"empty", forged(raft.LogCommand, next, term, own, data, length(0)), false},
		{"of no kind", forged(raft.LogCommand, next, term, own, data, func(b []byte) { b[0] = 9 }), false},
		{"with flags", forged(raft.LogCommand, next, term, own, data, func(b []byte) { b[2] = 1 }), false},
		{"with extensions longer than itself", forged(raft.LogCommand, next, term, own, data, func(b []byte) {
			binary.LittleEndian.PutUint32(b[frameHeaderLen+len(data)+4:], 1<<30)
		}), false},
		{"with a trailer of another version", forged(raft.LogCommand, next, term, own, data, func(b []byte) {
			b[frameHeaderLen+len(data)+2]++
		}), false},
	} {
		t.Run(c.name, func(t *testing.T) {
			forgery := mem.CrashClone(1)
			edit(t, forgery, segments[len(segments)-1], func(b []byte) {
				end := find(t, b, entries-1)
				for ; b[end] != frameCommit || b[end+1]|b[end+2]|b[end+3] != 0 || end%8 != 0; end++ {
				}
				copy(b[end+frameHeaderLen:], c.frame)
			})
			opts, _ := testOptions(forgery)
			again := newRecorder(0)
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			l := openLog(t, opts, again)
			runtime.ReadMemStats(&after)
			got := again.entries(t)
			checkSequence(t, got, 0)
			want := entries
			if c.taken {
				want++
			}
			if len(got) != want {
				t.Errorf("%d entries, want %d", len(got), want)
			}
			if n := after.TotalAlloc - before.TotalAlloc; n > 64<<20 {
				t.Errorf("it took %d MiB of memory", n>>20)
			}
			propose(t, l, want, want+100, 1000)
			checkSequence(t, again.wait(t, want+100), 0)
			must(t, l.Close())
			final := newRecorder(0)
			l = openLog(t, opts, final)
			if n := len(final.entries(t)); n != want+100 {
				t.Errorf("%d entries after a restart, want %d", n, want+100)
			}
			must(t, l.Close())
		})
	}
}

// TestSparesOfOtherSizesAreRemoved: of what looks like a spare segment only
// what can be one is kept, and no more than there may be.
func TestSparesOfOtherSizesAreRemoved(t *testing.T) {
	mem, segments, _ := filled(t, ConfirmFsync, 100, 1000)
	opts, _ := testOptions(mem)
	size := opts.SegmentSize
	write := func(name string, b []byte) {
		f, err := mem.OpenFile(path.Join("/log", name), os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
		must(t, err)
		_, err = f.WriteAt(b, 0)
		must(t, err)
		must(t, f.Sync())
		must(t, f.Close())
	}
	var copied []byte // a spare has been a segment before
	edit(t, mem, segments[0], func(b []byte) { copied = append(copied, b...) })
	for i := range maxSpares + 3 {
		write(fmt.Sprint(sparePrefix, 100+i), copied)
	}
	wrong := map[string]int{
		sparePrefix + "200": size - 1, sparePrefix + "201": 2*size + 1, sparePrefix + "202": 0,
		sparePrefix + "203.new": size, sparePrefix + "x": size, sparePrefix: size,
	}
	for name, n := range wrong {
		write(name, make([]byte, n))
	}
	again := newRecorder(0)
	l := openLog(t, opts, again)
	checkSequence(t, again.wait(t, 100), 0)
	names, err := mem.ReadDir("/log")
	must(t, err)
	spares := 0
	for _, name := range names {
		if _, bad := wrong[name]; bad {
			t.Errorf("%s is still there", name)
		}
		if strings.HasPrefix(name, sparePrefix) {
			spares++
		}
	}
	if spares != maxSpares {
		t.Errorf("%d spares, want %d", spares, maxSpares)
	}
	propose(t, l, 100, 600, 1000) // through all of them
	checkSequence(t, again.wait(t, 600), 0)
	must(t, l.Close())
	final := newRecorder(0)
	l = openLog(t, opts, final)
	checkSequence(t, final.wait(t, 600), 0)
	must(t, l.Close())
}

// TestAFailedRotationIsFatal: with no spare to take, whatever fails while the
// log goes over to the next segment ends it, and a reopen finds all that was
// applied. raft-wal itself only logs it and would append to the full segment.
func TestAFailedRotationIsFatal(t *testing.T) {
	for _, c := range []struct {
		name    string
		kind    vfs.Kind
		pattern string
		nth     int
	}{
		{"creating the file", vfs.OpCreate, "*.wal", 1},
		{"allocating it", vfs.OpAllocate, "*.wal", 1},
		{"writing the record of it", vfs.OpWrite, metaName + ".new", 1},
		{"syncing the record of it", vfs.OpSync, metaName + ".new", 1},
		{"creating the record of it", vfs.OpCreate, metaName + ".new", 1},
		{"replacing the record", vfs.OpRename, metaName + ".new", 1},
		{"syncing the directory", vfs.OpSyncDir, "*", 1},
		{"syncing the directory of the new file", vfs.OpSyncDir, "*", 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			var later switched
			noSpares := vfs.InjectorFunc(func(op vfs.Op) vfs.Fault {
				if op.Kind == vfs.OpCreate && strings.HasPrefix(path.Base(op.Path), sparePrefix) {
					return vfs.Fault{Err: errDisk}
				}
				return vfs.Fault{}
			})
			failsWith(t, vfs.Every(noSpares, &later), func(*Log) { later.set(failFrom(c.kind, c.pattern, c.nth, errDisk)) }, errDisk)
		})
	}
}
