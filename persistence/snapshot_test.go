package persistence_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/hermodmq/hermod/broker"
	"github.com/hermodmq/hermod/persistence"
	"github.com/hermodmq/hermod/persistence/logtest"
)

// fillLane commits n messages of a lane and a definition.
func fillLane(t *testing.T, s *persistence.Store, n int) {
	t.Helper()
	done := make(chan struct{})
	b := &broker.Batch{Then: closer(done)}
	for i := range n {
		b.Publishes = append(b.Publishes, broker.StorePublish{
			Msg:     &broker.Message{Exchange: "x", RoutingKey: fmt.Sprint(i), Body: make([]byte, 1000)},
			Targets: []broker.StoreTarget{{Lane: 7}},
		})
	}
	b.Definitions = []broker.Definition{{Kind: "k", Key: "a", Value: []byte("v")}}
	s.Append(b)
	<-done
}

type closer chan struct{}

func (c closer) Committed(*broker.Turn) { close(c) }

// checkFilled opens a store on dir and expects what fillLane has put there.
func checkFilled(t *testing.T, dir string, n int, key []byte) {
	t.Helper()
	s, err := persistence.Open(persistence.Options{Dir: dir, Log: logtest.NewDisk(1).Open(), Logger: quiet(), MasterKey: key})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Abandon()
	got, err := s.Recover()
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Lanes) != 1 || got.Lanes[0].Count != uint64(n) {
		t.Errorf("lanes = %+v, want %d messages", got.Lanes, n)
	}
	if len(got.Definitions) != 1 || string(got.Definitions[0].Value) != "v" {
		t.Errorf("definitions = %+v", got.Definitions)
	}
}

// A snapshot stays whole while the store settles everything and compacts.
func TestASnapshotStaysWhateverTheStoreDoes(t *testing.T) {
	for name, key := range map[string][]byte{"plain": nil, "encrypted": make([]byte, 32)} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, false, func(o *persistence.Options) { small(o); o.MasterKey = key })
			s := r.open()
			r.log.Hold() // a store writes entries of its own: its format level, its key
			if _, err := s.Recover(); err != nil {
				t.Fatal(err)
			}
			if _, err := s.Snapshot(filepath.Join(r.opts.Dir, "none")); !errors.Is(err, persistence.ErrNoSnapshot) {
				t.Errorf("Snapshot of nothing = %v, want ErrNoSnapshot", err)
			}
			r.log.Release()
			fillLane(t, s, 500)
			snap, err := s.Snapshot(filepath.Join(t.TempDir(), "snap"))
			if err != nil {
				t.Fatal(err)
			}
			done := make(chan struct{})
			s.Append(&broker.Batch{Trims: []broker.StoreTrim{{Lane: 7, Drop: true}}, Then: closer(done)})
			<-done
			if err := s.Checkpoint(); err != nil {
				t.Fatal(err)
			}
			if snap.Index == 0 || len(snap.Files) < 2 {
				t.Errorf("snapshot = %+v", snap)
			}
			checkFilled(t, snap.Dir, 500, key)
			if err := snap.Release(); err != nil {
				t.Fatal(err)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func TestABackupIsVerifiedAndRestored(t *testing.T) {
	r := newRig(t, false, small)
	s := r.open()
	if _, err := s.Recover(); err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	fillLane(t, s, 300)
	dir := filepath.Join(t.TempDir(), "backup")
	report, err := s.Backup(r.opts.Dir, dir)
	if err != nil {
		t.Fatal(err)
	}
	if report.Messages != 300 || report.Index == 0 {
		t.Errorf("report = %+v, want 300 messages", report)
	}
	if _, err := s.Backup(r.opts.Dir, dir); err == nil {
		t.Error("a backup over another one was made")
	}
	restored := filepath.Join(t.TempDir(), "restored")
	if _, err := persistence.RestoreBackup(dir, restored); err != nil {
		t.Fatal(err)
	}
	checkFilled(t, restored, 300, nil)

	names, err := filepath.Glob(filepath.Join(dir, "*.seg"))
	if err != nil || len(names) == 0 {
		t.Fatalf("segments of the backup: %v, %v", names, err)
	}
	raw, err := os.ReadFile(names[0])
	if err != nil {
		t.Fatal(err)
	}
	raw[len(raw)/2] ^= 1
	if err := os.WriteFile(names[0], raw, 0o600); err != nil {
		t.Fatal(err)
	}
	var corrupt *persistence.CorruptionError
	if _, err := persistence.RestoreBackup(dir, filepath.Join(t.TempDir(), "x")); !errors.As(err, &corrupt) {
		t.Errorf("restoring a damaged backup = %v, want a CorruptionError", err)
	}
}
