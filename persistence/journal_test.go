package persistence_test

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hermodmq/hermod/broker"
	"github.com/hermodmq/hermod/persistence"
)

// journalRig has a store with three lanes, settled messages and definitions,
// closed cleanly.
func journalRig(t *testing.T, key []byte) *rig {
	r := newRig(t, false, small)
	r.opts.MasterKey = key
	s := r.open()
	recoverStore(t, s)
	for step := range 4 {
		script(t, s, step)
		if err := s.Checkpoint(); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	return r
}

func (r *rig) journal() persistence.JournalOptions {
	return persistence.JournalOptions{Dir: r.opts.Dir, MasterKey: r.opts.MasterKey}
}

func TestVerifyFindsDamage(t *testing.T) {
	for name, key := range map[string][]byte{"plain": nil, "encrypted": make([]byte, 32)} {
		t.Run(name, func(t *testing.T) {
			r := journalRig(t, key)
			report, err := persistence.Verify(r.journal())
			if err != nil || len(report.Damage) != 0 || report.Messages == 0 {
				t.Fatalf("%+v, %v", report, err)
			}
			o := r.journal()
			o.MasterKey = nil
			if report, err := persistence.Verify(o); err != nil || len(report.Damage) != 0 {
				t.Errorf("without a key: %+v, %v", report, err)
			}
			files, err := filepath.Glob(filepath.Join(r.opts.Dir, "*.seg"))
			if err != nil || len(files) == 0 {
				t.Fatal(files, err)
			}
			data, err := os.ReadFile(files[0])
			if err != nil {
				t.Fatal(err)
			}
			data[200] ^= 8
			if err := os.WriteFile(files[0], data, 0o600); err != nil {
				t.Fatal(err)
			}
			report, err = persistence.Verify(r.journal())
			if err != nil || len(report.Damage) != 1 || report.Damage[0].File != filepath.Base(files[0]) || report.Damage[0].Lane == 0 {
				t.Errorf("%+v, %v", report, err)
			}
		})
	}
}

func TestDumpShowsRowsAndBlocks(t *testing.T) {
	r := journalRig(t, nil)
	var out bytes.Buffer
	if err := persistence.Dump(r.journal(), &out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"state applied", "lane 1 head", `definition "queue" "0"`, "segment 0000000", "  block at"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
}

// TestRebuild loses the metadata and expects every message that was unsettled,
// and the definitions.
func TestRebuild(t *testing.T) {
	for name, key := range map[string][]byte{"plain": nil, "encrypted": make([]byte, 32)} {
		for loss, destroy := range map[string]func(string) error{
			"removed": os.Remove,
			"garbage": func(name string) error { return os.WriteFile(name, make([]byte, 64<<10), 0o600) },
		} {
			t.Run(name+" "+loss, func(t *testing.T) {
				r := journalRig(t, key)
				s := r.open()
				got := recoverStore(t, s)
				want := map[string]bool{}
				for _, l := range got.Lanes {
					list, err := bodies(t, s, l.Lane)
					if err != nil {
						t.Fatal(err)
					}
					for _, m := range list {
						want[fmt.Sprint(l.Lane, m)] = true
					}
				}
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
				if err := destroy(filepath.Join(r.opts.Dir, "meta.db")); err != nil {
					t.Fatal(err)
				}
				o := r.opts
				o.Log = r.disk.Open()
				if _, err := persistence.Open(o); err == nil {
					t.Fatal("Open did not notice")
				} else if loss == "removed" && !errors.Is(err, persistence.ErrMetadataLost) {
					t.Errorf("Open: %v", err)
				}
				report, err := persistence.Rebuild(r.journal())
				if err != nil {
					t.Fatalf("%+v, %v", report, err)
				}
				s = r.open()
				again := recoverStore(t, s)
				if len(again.Definitions) != len(got.Definitions) || again.NextLane < got.NextLane {
					t.Errorf("definitions %v, next lane %d", again.Definitions, again.NextLane)
				}
				seen := map[string]int{}
				for _, l := range again.Lanes {
					list, err := bodies(t, s, l.Lane)
					if err != nil {
						t.Fatal(err)
					}
					for _, m := range list {
						seen[fmt.Sprint(l.Lane, m)]++
					}
				}
				for m := range want {
					if seen[m] != 1 {
						t.Errorf("message %.20s came back %d times", m, seen[m])
					}
				}
				commit(t, s, put(1, "life goes on"))
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
				s = r.open()
				defer s.Close()
				recoverStore(t, s)
			})
		}
	}
}

// TestRebuildIgnoresSettlementsInTheLog replays a log whose sequence numbers
// are no longer those of the lanes.
func TestRebuildIgnoresSettlementsInTheLog(t *testing.T) {
	r := newRig(t, false, small)
	s := r.open()
	recoverStore(t, s)
	commit(t, s, put(1, "a", "b", "c"))
	commit(t, s, settle(1, 1, 3)) // never reaches a segment: the numbers 1 to 3 are forgotten
	commit(t, s, put(2, "x"))
	if err := s.Checkpoint(); err != nil {
		t.Fatal(err)
	}
	commit(t, s, put(1, "d", "e"))
	commit(t, s, settle(1, 4, 1))
	s = func() *persistence.Store {
		r.dead.Store(true)
		r.disk.Crash()
		s.Abandon()
		if err := os.Remove(filepath.Join(r.opts.Dir, "meta.db")); err != nil {
			t.Fatal(err)
		}
		if _, err := persistence.Rebuild(r.journal()); err != nil {
			t.Fatal(err)
		}
		return r.open()
	}()
	recoverStore(t, s)
	if list, err := bodies(t, s, 1); err != nil || fmt.Sprint(list) != "[1:d 2:e]" {
		t.Errorf("%v, %v", list, err)
	}
	commit(t, s, settle(1, 1, 1)) // from now on settlements count
	s = r.crash()
	defer s.Close()
	recoverStore(t, s)
	if list, err := bodies(t, s, 1); err != nil || fmt.Sprint(list) != "[2:e]" {
		t.Errorf("%v, %v", list, err)
	}
}

// TestRebuildAfterCompaction puts segments back that a compaction replaced, as
// a crash before their removal would leave them.
func TestRebuildAfterCompaction(t *testing.T) {
	r := newRig(t, false, small)
	s := r.open()
	recoverStore(t, s)
	old := map[string][]byte{}
	filler := strings.Repeat("f", 500)
	for i := range 12 {
		b := &broker.Batch{}
		for j := range 20 {
			b.Publishes = append(b.Publishes, put(1, fmt.Sprintf("%d.%d%s", i, j, filler)).Publishes...)
		}
		commit(t, s, b)
		if err := s.Checkpoint(); err != nil {
			t.Fatal(err)
		}
		files, _ := filepath.Glob(filepath.Join(r.opts.Dir, "*.seg"))
		for _, f := range files {
			data, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			old[f] = data
		}
		commit(t, s, settle(1, b.Publishes[3].Targets[0].Seq, 14))
	}
	want, err := bodies(t, s, 1)
	if err != nil {
		t.Fatal(err)
	}
	if s.Stats().Compactions == 0 {
		t.Error("nothing was compacted")
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for f, data := range old {
		if _, err := os.Stat(f); err == nil {
			continue
		}
		if err := os.WriteFile(f, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Remove(filepath.Join(r.opts.Dir, "meta.db")); err != nil {
		t.Fatal(err)
	}
	if _, err := persistence.Rebuild(r.journal()); err != nil {
		t.Fatal(err)
	}
	s = r.open()
	defer s.Close()
	recoverStore(t, s)
	list, err := bodies(t, s, 1)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[string]int{}
	for _, m := range list {
		seen[m]++
	}
	for m, n := range seen {
		if n != 1 {
			t.Errorf("message %.10s came back %d times", m, n)
		}
	}
	for _, m := range want {
		if seen[m] != 1 {
			t.Errorf("message %.10s is lost", m)
		}
	}
}
