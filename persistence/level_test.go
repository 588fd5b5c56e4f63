package persistence_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/hermodmq/hermod/broker"
	"github.com/hermodmq/hermod/persistence"
	"github.com/hermodmq/hermod/persistence/logtest"
)

// sharedLog is a Log whose other readers know what agree is called with.
type sharedLog struct {
	*logtest.Log
	agree func(level uint32)
}

func (l *sharedLog) OnAgreed(f func(level uint32)) { l.agree = f }

// share makes logs of r shared ones and returns where the present one is.
func (r *rig) share() **sharedLog {
	present := new(*sharedLog)
	r.logOf = func(l *logtest.Log) persistence.Log {
		*present = &sharedLog{Log: l}
		return *present
	}
	return present
}

// everything is a batch with every kind of record.
func everything(lane broker.LaneID) *broker.Batch {
	b := put(lane, "a", "b", "c")
	b.Settles = []broker.StoreSettle{{Lane: lane, First: 1, Count: 1}}
	b.Counts = []broker.StoreCount{{Lane: lane, Seq: 2, Count: 1}}
	b.Leases = []broker.StoreLease{{Lane: lane, Seq: 3, Deadline: 1 << 41, Since: 1 << 40}}
	b.Trims = []broker.StoreTrim{{Lane: lane + 1, Before: 1}}
	b.Definitions = []broker.Definition{{Kind: "queue", Key: "q", Value: []byte("v")}}
	return b
}

func (r *rig) kinds() (kinds []byte) {
	for _, e := range r.disk.Entries() {
		kinds = append(kinds, persistence.KindsOf(e.Data)...)
	}
	return kinds
}

func (r *rig) leases(got *broker.Recovered) (seqs []uint64) {
	for _, l := range got.Lanes {
		for _, x := range l.Leases {
			seqs = append(seqs, x.Seq)
		}
	}
	return seqs
}

// TestNoKindIsWrittenBeforeItsLevel: whatever a batch has, an entry holds no
// kind of record that a reader of the log might not know.
func TestNoKindIsWrittenBeforeItsLevel(t *testing.T) {
	for level := persistence.LevelBase; level <= persistence.FormatLevel; level++ {
		r := newRig(t, true, small)
		log := r.share()
		s := r.open()
		recoverStore(t, s)
		(*log).agree(level)
		commit(t, s, everything(1))
		if got := s.Level(); got != level {
			t.Errorf("level %d, want %d", got, level)
		}
		kinds := r.kinds()
		if len(kinds) < 6 {
			t.Fatalf("only the kinds %v were written", kinds)
		}
		for _, k := range kinds {
			if persistence.LevelOf(k) > level {
				t.Errorf("kind %d, of level %d, in a log of level %d", k, persistence.LevelOf(k), level)
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestLeasesAreRecordsOnceTheLevelIsReached: below it they are not stored, and
// whoever waits for them is answered all the same.
func TestLeasesAreRecordsOnceTheLevelIsReached(t *testing.T) {
	lease := func(seq uint64) *broker.Batch {
		return &broker.Batch{Leases: []broker.StoreLease{{Lane: 1, Seq: seq, Deadline: 1 << 41, Since: 1 << 40}}}
	}
	r := newRig(t, true, small)
	log := r.share()
	s := r.open()
	recoverStore(t, s)
	commit(t, s, put(1, "a", "b", "c"))
	commit(t, s, lease(1)) // a batch of nothing but what may not be written
	(*log).agree(persistence.LevelLeases)
	commit(t, s, lease(2))
	if kinds := r.kinds(); slices.Index(kinds, 8) < 0 || slices.Index(kinds, 7) < slices.Index(kinds, 8) {
		t.Errorf("kinds %v: the level does not come first", kinds)
	}
	s = r.crash()
	if got := r.leases(recoverStore(t, s)); !slices.Equal(got, []uint64{2}) {
		t.Errorf("leases of %v, want 2", got)
	}
	if got := s.Level(); got != persistence.LevelLeases {
		t.Errorf("level %d after a crash", got)
	}
	commit(t, s, lease(3)) // nobody has agreed on anything in this life
	s = r.crash()
	if got := r.leases(recoverStore(t, s)); !slices.Equal(got, []uint64{2, 3}) {
		t.Errorf("leases of %v, want 2 and 3", got)
	}
}

// TestALogOfItsOwnHasTheProgramsLevel: a single node asks nobody.
func TestALogOfItsOwnHasTheProgramsLevel(t *testing.T) {
	r := newRig(t, true, small)
	s := r.open()
	recoverStore(t, s)
	commit(t, s, put(1, "a"))
	if got := s.Level(); got != persistence.FormatLevel {
		t.Errorf("level %d", got)
	}
}

// TestALevelNeverGoesDown: it is recorded once, and survives checkpoints, the
// loss of the log before them, and of the metadata.
func TestALevelNeverGoesDown(t *testing.T) {
	r := newRig(t, false, small)
	log := r.share()
	s := r.open()
	recoverStore(t, s)
	for _, level := range []uint32{1, 0, 1, 99} { // more than the program knows: as much as it does
		(*log).agree(level)
	}
	commit(t, s, put(1, "a"))
	if n := strings.Count(string(r.kinds()), "\x08"); n != 1 {
		t.Errorf("%d records of levels", n)
	}
	check := func(what string) {
		t.Helper()
		if got := s.Level(); got != persistence.FormatLevel {
			t.Errorf("level %d %s", got, what)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	r.disk = logtest.NewDisk(2) // the checkpoint is all there is
	s = r.open()
	check("when opened")
	recoverStore(t, s)
	check("when recovered")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(r.opts.Dir, "meta.db")); err != nil {
		t.Fatal(err)
	}
	if _, err := persistence.Rebuild(r.journal()); err != nil {
		t.Fatal(err)
	}
	s = r.open()
	recoverStore(t, s)
	check("when rebuilt")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestALevelThatIsNotKnownIsRefused: by a program that finds it in the folder,
// and by one that finds it in the log.
func TestALevelThatIsNotKnownIsRefused(t *testing.T) {
	const next = persistence.FormatLevel + 1
	refused := func(t *testing.T, err error) {
		t.Helper()
		if !errors.Is(err, persistence.ErrFormat) || !strings.Contains(err.Error(), "newer program") {
			t.Errorf("refused with: %v", err)
		}
	}
	t.Run("folder", func(t *testing.T) {
		r := newRig(t, true, small)
		r.opts.SetKnows(next)
		s := r.open()
		recoverStore(t, s)
		if err := s.Checkpoint(); err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		o := r.opts
		o.SetKnows(0)
		o.FS, o.Log = r.mem, r.disk.Open()
		_, err := persistence.Open(o)
		refused(t, err)
		s = r.open() // it has changed nothing
		recoverStore(t, s)
		if got := s.Level(); got != next {
			t.Errorf("level %d", got)
		}
	})
	t.Run("log", func(t *testing.T) {
		r := newRig(t, true, small)
		s := r.open()
		recoverStore(t, s)
		commit(t, s, put(1, "a"))
		r.dead.Store(true)
		r.disk.Crash()
		s.Abandon()
		r.disk.Replace(persistence.EntryOf(1, persistence.LevelRecord(next)))
		s = r.open()
		_, err := s.Recover()
		refused(t, err)
		_ = s.Close()
	})
}
