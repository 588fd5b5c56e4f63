package persistence_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/hermodmq/hermod/broker"
	"github.com/hermodmq/hermod/persistence"
	"github.com/hermodmq/hermod/persistence/logtest"
	"github.com/hermodmq/hermod/persistence/vfs"
)

const patience = 30 * time.Second

// commit appends b and waits.
func commit(t *testing.T, s *persistence.Store, b *broker.Batch) {
	t.Helper()
	done := make(signal, 1)
	b.Then = done
	s.Append(b)
	select {
	case <-done:
	case <-time.After(patience):
		t.Fatal("no commit")
	}
}

func put(lane broker.LaneID, bodies ...string) *broker.Batch {
	b := &broker.Batch{}
	for _, body := range bodies {
		m := benchMessage(0)
		m.Body = []byte(body)
		b.Publishes = append(b.Publishes, broker.StorePublish{Msg: m, Targets: []broker.StoreTarget{{Lane: lane}}})
	}
	return b
}

func settle(lane broker.LaneID, first, count uint64) *broker.Batch {
	return &broker.Batch{Settles: []broker.StoreSettle{{Lane: lane, First: first, Count: count}}}
}

// bodies reads a lane to its end; the error of the first read that has one
// ends it.
func bodies(t *testing.T, s *persistence.Store, lane broker.LaneID) (list []string, err error) {
	t.Helper()
	for from := uint64(1); ; {
		n := 0
		done := make(chan struct{})
		s.Read(&broker.ReadRequest{Lane: lane, From: from, Max: 100, MaxBytes: 1 << 20, Then: func(_ *broker.Turn, msgs []broker.Stored, next uint64, e error) {
			for _, m := range msgs {
				list = append(list, fmt.Sprintf("%d:%s", m.Seq, m.Msg.Body))
			}
			n, from, err = len(msgs), next, e
			close(done)
		}})
		select {
		case <-done:
		case <-time.After(patience):
			t.Fatal("no answer to a read")
		}
		if err != nil || n == 0 {
			return list, err
		}
	}
}

func recoverStore(t *testing.T, s *persistence.Store) *broker.Recovered {
	t.Helper()
	got, err := s.Recover()
	if err != nil {
		t.Fatalf("Recover: %v", err)
	}
	return got
}

// contents is everything a store holds, as text.
func contents(t *testing.T, s *persistence.Store, got *broker.Recovered) string {
	t.Helper()
	var b strings.Builder
	for _, d := range got.Definitions {
		fmt.Fprintf(&b, "%s %s=%s\n", d.Kind, d.Key, d.Value)
	}
	for _, l := range got.Lanes {
		fmt.Fprintf(&b, "lane %d first %d next %d count %d bytes %d\n", l.Lane, l.First, l.Next, l.Count, l.Bytes)
		list, err := bodies(t, s, l.Lane)
		if err != nil {
			t.Errorf("lane %d: %v", l.Lane, err)
		}
		fmt.Fprintln(&b, list)
	}
	return b.String()
}

// script is a history whose every step commits before the next.
func script(t *testing.T, s *persistence.Store, step int) {
	t.Helper()
	for i := range 12 {
		lane := broker.LaneID(1 + i%3)
		commit(t, s, put(lane, fmt.Sprintf("%d-%d", step, i), strings.Repeat("x", 300*i)))
	}
	commit(t, s, settle(1, uint64(1+4*step), 6))
	commit(t, s, settle(2, uint64(3+8*step), 1))
	commit(t, s, &broker.Batch{
		Definitions: []broker.Definition{{Kind: "queue", Key: fmt.Sprint(step % 3), Value: []byte(fmt.Sprint(step))}},
		Counts:      []broker.StoreCount{{Lane: 3, Seq: uint64(1 + step), Count: 3}},
	})
	if step == 4 {
		commit(t, s, &broker.Batch{Trims: []broker.StoreTrim{{Lane: 2, Drop: true}}})
	}
}

// TestCrashAtEverySync cuts the power before each sync of a history with
// checkpoints and compactions, in several ways, and expects everything that
// had committed.
func TestCrashAtEverySync(t *testing.T) {
	r := newRig(t, true, small)
	points := &vfs.SyncPoints{}
	type moment struct {
		mem  *vfs.MemFS
		disk *logtest.Disk
		want *string
		at   int
	}
	var moments []moment
	var want *string // contents at the present step; filled in when it is known
	points.At = func(n int) {
		if want == nil {
			return
		}
		for seed := range int64(3) {
			moments = append(moments, moment{r.mem.CrashClone(seed), r.disk.Clone(uint64(seed)), want, n})
		}
	}
	r.wrap = func(fs vfs.FS) vfs.FS { return vfs.Faulty(fs, points) }
	s := r.open()
	recoverStore(t, s)
	for step := range 8 {
		script(t, s, step)
		// What a store without the crash would recover is the expectation.
		want = new(string)
		*want = recoveredElsewhere(t, r)
		if err := s.Checkpoint(); err != nil {
			t.Fatal(err)
		}
		want = nil
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if len(moments) < 60 {
		t.Errorf("only %d crashes", len(moments))
	}
	for _, m := range moments {
		c := newRig(t, true, small)
		c.mem, c.disk = m.mem, m.disk
		s := c.open()
		if got := contents(t, s, recoverStore(t, s)); got != *m.want {
			t.Fatalf("after a crash at sync %d:\n%s\nwant\n%s", m.at, got, *m.want)
		}
		if st := s.Stats(); st.Lost != 0 || st.CorruptBlocks != 0 {
			t.Errorf("after a crash at sync %d: %+v", m.at, st)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
}

// recoveredElsewhere opens a copy of r's present state by its log alone.
func recoveredElsewhere(t *testing.T, r *rig) string {
	t.Helper()
	c := newRig(t, true, small)
	c.mem, c.disk = r.mem.CrashClone(99), r.disk.Clone(99)
	s := c.open()
	defer s.Close()
	return contents(t, s, recoverStore(t, s))
}

// failing opens a store whose file system fails as inj says and returns the
// store and what Fatal hears.
func failing(t *testing.T, r *rig, inj vfs.Injector) (*persistence.Store, chan error) {
	fatal := make(chan error, 1)
	r.opts.Fatal = func(err error) {
		select {
		case fatal <- err:
		default:
		}
	}
	r.wrap = func(fs vfs.FS) vfs.FS { return vfs.Faulty(fs, inj) }
	s := r.open()
	recoverStore(t, s)
	return s, fatal
}

func TestDiskFailuresEndTheProcessAndLoseNothing(t *testing.T) {
	for name, inj := range map[string]func() vfs.Injector{
		"failed sync of a segment":    func() vfs.Injector { return vfs.FailNth(vfs.OpSync, "*.seg", 1, syscall.EIO) },
		"short write of a segment":    func() vfs.Injector { return vfs.ShortWriteNth(vfs.OpWrite, "*.seg", 1, 100, syscall.EIO) },
		"failed creation":             func() vfs.Injector { return vfs.FailNth(vfs.OpCreate, "*.seg", 1, syscall.EMFILE) },
		"failed sync of the metadata": func() vfs.Injector { return vfs.FailNth(vfs.OpSync, "meta.plain.new", 2, syscall.EIO) },
		"failed rename":               func() vfs.Injector { return vfs.FailNth(vfs.OpRename, "meta.plain.new", 2, syscall.EIO) },
		"no space":                    func() vfs.Injector { return vfs.NoSpaceAfter(5000) },
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, true, small)
			s, fatal := failing(t, r, inj())
			script(t, s, 0)
			if err := s.Checkpoint(); err == nil {
				t.Fatal("the checkpoint succeeded")
			}
			select {
			case <-fatal:
			default:
				t.Fatal("Fatal was not called")
			}
			s.Append(put(1, "too late")) // must not panic or be told
			if err := s.Close(); !errors.Is(err, persistence.ErrClosed) {
				t.Errorf("Close: %v", err)
			}

			r.wrap, r.opts.Fatal = nil, nil
			want := recoveredElsewhere(t, r)
			r.disk.Crash()
			s = r.open()
			defer s.Close()
			if got := contents(t, s, recoverStore(t, s)); got != want {
				t.Errorf("after the failure:\n%s\nwant\n%s", got, want)
			}
		})
	}
}

func TestFailedProposalIsNeverReported(t *testing.T) {
	r := newRig(t, true, small)
	s, fatal := failing(t, r, vfs.Every())
	r.log.FailNext()
	told := make(signal, 1)
	b := put(1, "unknown")
	b.Then = told
	s.Append(b)
	select {
	case err := <-fatal:
		if !errors.Is(err, logtest.ErrStopped) {
			t.Errorf("Fatal: %v", err)
		}
	case <-time.After(patience):
		t.Fatal("Fatal was not called")
	}
	select {
	case <-told:
		t.Error("the batch was reported as committed")
	default:
	}
	if err := s.Close(); !errors.Is(err, persistence.ErrClosed) {
		t.Errorf("Close: %v", err)
	}
}

func TestHangingDiskEndsTheProcess(t *testing.T) {
	r := newRig(t, true, func(o *persistence.Options) {
		small(o)
		o.DiskPoll, o.StallWarn, o.StallFatal = time.Millisecond, time.Millisecond, 20*time.Millisecond
	})
	hang := vfs.HangSyncs("*.seg")
	s, fatal := failing(t, r, hang)
	script(t, s, 0)
	hang.Arm()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = s.Checkpoint()
	}()
	select {
	case err := <-fatal:
		if !strings.Contains(err.Error(), "has not returned") {
			t.Errorf("Fatal: %v", err)
		}
	case <-time.After(patience):
		t.Fatal("the watchdog did not bark")
	}
	hang.Release()
	<-ended
	_ = s.Close()
}

func TestLowDiskSpaceRaisesAnAlarm(t *testing.T) {
	alarms := make(chan bool, 4)
	r := newRig(t, true, func(o *persistence.Options) {
		small(o)
		o.DiskPoll, o.DiskLow = time.Millisecond, 1<<20
		o.OnAlarm = func(on bool, _ uint64) { alarms <- on }
	})
	r.mem.SetCapacity(1 << 19)
	s := r.open()
	recoverStore(t, s)
	defer s.Close()
	wait := func(want bool) {
		t.Helper()
		select {
		case on := <-alarms:
			if on != want {
				t.Errorf("alarm %v, want %v", on, want)
			}
		case <-time.After(patience):
			t.Fatal("no alarm")
		}
	}
	wait(true)
	commit(t, s, put(1, "a")) // settlements and checkpoints go on
	commit(t, s, settle(1, 1, 1))
	if err := s.Checkpoint(); err != nil {
		t.Error(err)
	}
	r.mem.SetCapacity(1 << 30)
	wait(false)
}

func TestCorruptBlockIsReported(t *testing.T) {
	r := newRig(t, true, small)
	s := r.open()
	recoverStore(t, s)
	for i := range 40 {
		commit(t, s, put(1, fmt.Sprint(i)+strings.Repeat("y", 1000)))
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	r.wrap = func(fs vfs.FS) vfs.FS { return vfs.Faulty(fs, vfs.FlipBit("*.seg", 10_000, 1)) }
	s = r.open()
	defer s.Close()
	recoverStore(t, s)
	list, err := bodies(t, s, 1)
	var corrupt *persistence.CorruptionError
	if !errors.As(err, &corrupt) {
		t.Fatalf("read %d messages, error %v", len(list), err)
	}
	if corrupt.Lane != 1 || corrupt.First != uint64(len(list)+1) || corrupt.Last < corrupt.First || corrupt.Offset > 10_000 {
		t.Errorf("%+v after %d messages", corrupt, len(list))
	}
	if s.Stats().CorruptBlocks == 0 {
		t.Error("not counted")
	}
	// Who settles the named messages gets at what is behind them.
	commit(t, s, settle(1, corrupt.First, corrupt.Last-corrupt.First+1))
	list, err = bodies(t, s, 1)
	if want := 40 - int(corrupt.Last-corrupt.First+1); err != nil || len(list) != want {
		t.Errorf("%d messages, want %d, error %v", len(list), want, err)
	}
}

func TestCorruptFooterIsRefusedOrQuarantined(t *testing.T) {
	r := newRig(t, false, small)
	s := r.open()
	recoverStore(t, s)
	commit(t, s, put(1, "lost", "lost too"))
	if err := s.Checkpoint(); err != nil {
		t.Fatal(err)
	}
	commit(t, s, put(1, "kept"))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(r.opts.Dir, "0000000001.seg")
	data, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	data[len(data)-20] ^= 1
	if err := os.WriteFile(name, data, 0o600); err != nil {
		t.Fatal(err)
	}
	o := r.opts
	o.Log = r.disk.Open()
	var corrupt *persistence.CorruptionError
	if _, err := persistence.Open(o); !errors.As(err, &corrupt) || corrupt.File != "0000000001.seg" {
		t.Fatalf("Open: %v", err)
	}
	r.opts.Quarantine, r.lossy = true, true
	s = r.open()
	defer s.Close()
	got := recoverStore(t, s)
	if len(got.Lanes) != 1 || got.Lanes[0].Count != 1 || got.Lanes[0].First != 3 {
		t.Errorf("recovered %+v", got.Lanes)
	}
	if st := s.Stats(); st.Lost != 2 || st.CorruptSegments != 1 {
		t.Errorf("stats %+v", st)
	}
	if _, err := os.Stat(name + ".corrupt"); err != nil {
		t.Error(err)
	}
	list, err := bodies(t, s, 1)
	if err != nil || len(list) != 1 || list[0] != "3:kept" {
		t.Errorf("%v, %v", list, err)
	}
}

func TestCorruptEntryIsRefused(t *testing.T) {
	r := newRig(t, true, small)
	s := r.open()
	recoverStore(t, s)
	commit(t, s, put(1, strings.Repeat("z", 1000)))
	r.dead.Store(true)
	r.disk.Crash()
	s.Abandon()
	index := r.disk.Corrupt()
	s = r.open()
	_, err := s.Recover()
	var corrupt *persistence.CorruptionError
	if !errors.As(err, &corrupt) || corrupt.File != "log" || corrupt.Offset != int64(index) {
		t.Errorf("Recover: %v", err)
	}
	_ = s.Close()
}

func TestUnknownVersionsAreRefused(t *testing.T) {
	for name, entry := range map[string][]byte{
		"entry version":  persistence.EntryOf(2, nil),
		"record kind":    persistence.EntryOf(1, []byte{99, 1, 0, 0, 0, 0}),
		"record version": persistence.EntryOf(1, []byte{2, 9, 0, 0, 0, 0}),
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, true, small)
			s := r.open()
			recoverStore(t, s)
			commit(t, s, put(1, "a"))
			r.dead.Store(true)
			r.disk.Crash()
			s.Abandon()
			r.disk.Replace(entry)
			s = r.open()
			if _, err := s.Recover(); !errors.Is(err, persistence.ErrFormat) {
				t.Errorf("Recover: %v", err)
			}
			_ = s.Close()
		})
	}
}

func TestEncryptionHidesEverything(t *testing.T) {
	r := newRig(t, false, small)
	r.opts.MasterKey = bytes.Repeat([]byte{7}, 32)
	s := r.open()
	recoverStore(t, s)
	var seen [][]byte
	for i := range 20 {
		b := put(1, fmt.Sprintf("secret-%d", i))
		b.Definitions = []broker.Definition{{Kind: "queue", Key: "secret-name", Value: []byte("secret-value")}}
		commit(t, s, b)
	}
	for _, e := range r.disk.Entries() {
		seen = append(seen, e.Data)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	err := filepath.Walk(r.opts.Dir, func(name string, info os.FileInfo, err error) error {
		if err != nil || info.IsDir() {
			return err
		}
		data, err := os.ReadFile(name)
		seen = append(seen, data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for i, data := range seen {
		if bytes.Contains(data, []byte("secret")) {
			t.Errorf("piece %d of %d shows plain text", i, len(seen))
		}
	}

	o := r.opts
	o.Log = r.disk.Open()
	o.MasterKey = bytes.Repeat([]byte{8}, 32)
	if _, err := persistence.Open(o); !errors.Is(err, persistence.ErrWrongKey) {
		t.Errorf("with a wrong key: %v", err)
	}
	o.MasterKey = nil
	if _, err := persistence.Open(o); !errors.Is(err, persistence.ErrKeyRequired) {
		t.Errorf("without a key: %v", err)
	}
	s = r.open()
	defer s.Close()
	got := recoverStore(t, s)
	list, err := bodies(t, s, 1)
	if err != nil || len(list) != 20 || list[19] != "20:secret-19" {
		t.Errorf("%v, %v", list, err)
	}
	if len(got.Definitions) != 1 || string(got.Definitions[0].Value) != "secret-value" {
		t.Errorf("definitions %v", got.Definitions)
	}
}

func TestEncryptionCanBeTurnedOnLater(t *testing.T) {
	r := newRig(t, false, small)
	s := r.open()
	recoverStore(t, s)
	b := put(1, "plain")
	b.Definitions = []broker.Definition{{Kind: "queue", Key: "a", Value: []byte("1")}, {Kind: "queue", Key: "b", Value: []byte("1")}}
	commit(t, s, b)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	r.opts.MasterKey = bytes.Repeat([]byte{7}, 32)
	for range 2 {
		s = r.open()
		recoverStore(t, s)
		b = put(1, "sealed")
		b.Definitions = []broker.Definition{{Kind: "queue", Key: "a", Value: []byte("2")}}
		commit(t, s, b)
		s = r.crash()
		got := recoverStore(t, s)
		if len(got.Definitions) != 2 || string(got.Definitions[0].Value) != "2" || string(got.Definitions[1].Value) != "1" {
			t.Errorf("definitions %v", got.Definitions)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	s = r.open()
	defer s.Close()
	recoverStore(t, s)
	if list, err := bodies(t, s, 1); err != nil || len(list) != 3 {
		t.Errorf("%v, %v", list, err)
	}
}

// TestSparseSegmentsAreCompacted leaves one message in a hundred unsettled.
func TestSparseSegmentsAreCompacted(t *testing.T) {
	r := newRig(t, true, small)
	s := r.open()
	recoverStore(t, s)
	const rounds, each = 30, 100
	filler := strings.Repeat("f", 1000)
	for i := range rounds {
		b := &broker.Batch{}
		for j := range each {
			b.Publishes = append(b.Publishes, put(broker.LaneID(1+j%3), fmt.Sprintf("%d.%d %s", i, j, filler)).Publishes...)
		}
		commit(t, s, b)
		if err := s.Checkpoint(); err != nil {
			t.Fatal(err)
		}
		for lane := broker.LaneID(1); lane <= 3; lane++ {
			first, n := b.Publishes[lane-1].Targets[0].Seq, uint64(each/3)
			commit(t, s, settle(lane, first+1, n-1))
		}
	}
	for range 4 {
		commit(t, s, settle(9, 1, 1)) // moves the index, so that there is something to do
		if err := s.Checkpoint(); err != nil {
			t.Fatal(err)
		}
	}
	st := s.Stats()
	if st.Compactions == 0 || st.SegmentBytes > 3*st.LiveBytes+256<<10 {
		t.Errorf("stats %+v", st)
	}
	want := recoveredElsewhere(t, r)
	s = r.crash()
	defer s.Close()
	if got := contents(t, s, recoverStore(t, s)); got != want {
		t.Errorf("after compaction\n%s\nwant\n%s", got, want)
	}
}

// TestBellsRingOncePerGroup counts how often wake-ups are flushed.
func TestBellsRingOncePerGroup(t *testing.T) {
	var mu sync.Mutex
	made, flushed := 0, 0
	r := newRig(t, true, func(o *persistence.Options) {
		small(o)
		o.NewBells = func() any { made++; return made }
		o.FlushBells = func(b any) {
			mu.Lock()
			defer mu.Unlock()
			if b == 1 { // the commit goroutine's
				flushed++
			}
		}
	})
	s := r.open()
	recoverStore(t, s)
	defer s.Close()
	r.log.Hold()
	for range 50 {
		s.Append(put(1, "x"))
	}
	mu.Lock()
	before := flushed
	mu.Unlock()
	r.log.Release()
	commit(t, s, put(1, "last"))
	mu.Lock()
	defer mu.Unlock()
	if rings := flushed - before; rings > 9 {
		t.Errorf("%d rings for 51 batches", rings)
	}
}

// TestFullMemoryTableHoldsPublishers keeps a flush from ending.
func TestFullMemoryTableHoldsPublishers(t *testing.T) {
	r := newRig(t, true, func(o *persistence.Options) {
		small(o)
		o.InFlightBytes = 1 << 40
	})
	hang := vfs.HangSyncs("*.seg")
	s, _ := failing(t, r, hang)
	defer s.Close()
	hang.Arm()
	body := strings.Repeat("m", 10_000)
	for i := 0; !s.Congested(); i++ {
		if i == 1000 {
			t.Fatal("ten memory tables full and no congestion")
		}
		commit(t, s, put(1, body))
	}
	<-hang.Hung()
	if st := s.Stats(); st.MemtableBytes > 4*r.opts.MemtableSize {
		t.Errorf("%d bytes in memory", st.MemtableBytes)
	}
	commit(t, s, settle(1, 1, 1)) // settlements go on
	relieved := make(chan struct{})
	s.OnRelief(func() { close(relieved) })
	hang.Release()
	select {
	case <-relieved:
	case <-time.After(patience):
		t.Fatal("no relief")
	}
}

// vault is a KeyWrapper that keeps keys to itself.
type vault struct{ keys map[string][]byte }

func (v *vault) Wrap(id uint32, key []byte) ([]byte, error) {
	name := fmt.Sprintf("key %d", id)
	v.keys[name] = bytes.Clone(key)
	return []byte(name), nil
}

func (v *vault) Unwrap(_ uint32, wrapped []byte) ([]byte, error) {
	if key := v.keys[string(wrapped)]; key != nil {
		return bytes.Clone(key), nil
	}
	return nil, persistence.ErrWrongKey
}

func TestKeysCanBeKeptElsewhere(t *testing.T) {
	r := newRig(t, false, small)
	v := &vault{keys: map[string][]byte{}}
	r.opts.KeyWrapper = v
	s := r.open()
	recoverStore(t, s)
	commit(t, s, put(1, "secret"))
	s = r.crash()
	recoverStore(t, s)
	if list, err := bodies(t, s, 1); err != nil || len(list) != 1 {
		t.Errorf("%v, %v", list, err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	o := r.opts
	o.Log, o.KeyWrapper = r.disk.Open(), &vault{}
	if _, err := persistence.Open(o); !errors.Is(err, persistence.ErrWrongKey) {
		t.Errorf("with another vault: %v", err)
	}
}

// TestLargeFanOutIsWrittenOnce gives large messages to many lanes, drains the
// lane that has the bytes and expects the others to keep theirs.
func TestLargeFanOutIsWrittenOnce(t *testing.T) {
	for name, key := range map[string][]byte{"plain": nil, "encrypted": make([]byte, 32)} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, false, func(o *persistence.Options) { small(o); o.SegmentSize = 1 << 20; o.MasterKey = key })
			s := r.open()
			recoverStore(t, s)
			const lanes, messages, size = 20, 60, 20_000
			for i := range messages {
				b := put(1, fmt.Sprintf("%d %s", i, strings.Repeat("f", size)))
				for lane := broker.LaneID(2); lane <= lanes; lane++ {
					b.Publishes[0].Targets = append(b.Publishes[0].Targets, broker.StoreTarget{Lane: lane})
				}
				commit(t, s, b)
			}
			if err := s.Checkpoint(); err != nil {
				t.Fatal(err)
			}
			if st := s.Stats(); st.SegmentBytesWritten > 2*messages*size {
				t.Errorf("%d bytes written for %d: %+v", st.SegmentBytesWritten, messages*size, st)
			}
			for lane := broker.LaneID(1); lane < lanes; lane += 2 {
				commit(t, s, settle(lane, 1, messages/2+uint64(lane)))
				if err := s.Checkpoint(); err != nil {
					t.Fatal(err)
				}
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			if report, err := persistence.Verify(r.journal()); err != nil || len(report.Damage) > 0 {
				t.Errorf("%+v, %v", report, err)
			}
			s = r.open()
			defer s.Close()
			recoverStore(t, s)
			for lane := broker.LaneID(1); lane <= lanes; lane++ {
				first := 0
				if lane%2 == 1 {
					first = messages/2 + int(lane)
				}
				list, err := bodies(t, s, lane)
				if err != nil || len(list) != messages-first {
					t.Fatalf("lane %d: %d messages, want %d, %v", lane, len(list), messages-first, err)
				}
				for i, m := range list {
					if want := fmt.Sprintf("%d:%d %s", first+i+1, first+i, strings.Repeat("f", size)); m != want {
						t.Fatalf("lane %d message %d is %.20s", lane, first+i+1, m)
					}
				}
			}
		})
	}
}
