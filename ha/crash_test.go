package ha

import (
	"sync"
	"testing"

	"github.com/hermodmq/hermod/persistence/vfs"
)

// A crash test runs a life of a log on a MemFS and takes a copy of the disk at
// every operation that changes it: once as kill -9 would leave it, and some
// times as a power failure would. Each copy must start, hand over everything
// that was applied (with ConfirmFsync, or after kill -9) and nothing else, and
// take new entries.

// moment is a disk at which the log crashed.
type moment struct {
	disk       *vfs.MemFS
	power      bool // by power failure, not kill -9
	op         vfs.Op
	n          int
	checkpoint int // number of the last entry in the Applier's checkpoint, or -1
	index      uint64
	applied    int // entries applied
}

// life is a run of a log that is watched for moments.
type life struct {
	t       *testing.T
	mem     *vfs.MemFS
	seeds   int64
	keep    func(n int) bool // which operations to take moments at
	rec     *recorder
	first   int // number of the first entry that rec will see
	mu      sync.Mutex
	ops     int
	ckpt    int
	index   uint64
	moments []moment
}

func (l *life) Inject(op vfs.Op) vfs.Fault {
	switch op.Kind {
	case vfs.OpOpen, vfs.OpRead, vfs.OpReadDir, vfs.OpStat, vfs.OpLock:
		return vfs.Fault{}
	}
	l.rec.mu.Lock()
	applied := len(l.rec.got)
	l.rec.mu.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ops++
	if !l.keep(l.ops) {
		return vfs.Fault{}
	}
	m := moment{disk: l.mem.Clone(), op: op, n: l.ops, checkpoint: l.ckpt, index: l.index, applied: l.first + applied}
	l.moments = append(l.moments, m)
	for seed := range l.seeds {
		m.disk, m.power = l.mem.CrashClone(int64(l.ops)*100+seed), true
		l.moments = append(l.moments, m)
	}
	return vfs.Fault{}
}

// run starts a log whose checkpoint is that of the life, proposes entries up to
// number to, cutting now and then, and closes it.
func (l *life) run(confirm Confirm, to int) {
	t := l.t
	t.Helper()
	opts, _ := testOptions(vfs.Faulty(l.mem, l))
	opts.SegmentSize = minSegmentSize
	opts.Confirm = confirm
	l.rec = newRecorder(l.index)
	l.first = l.ckpt + 1
	log := openLog(t, opts, l.rec)
	checkSequence(t, l.rec.entries(t), l.first)
	for i := l.first + len(l.rec.entries(t)); i < to; i++ {
		must(t, log.Propose(payload(i, 100+i%7*700)))
		if i%20 != 19 {
			continue
		}
		l.rec.wait(t, i+1-l.first)
		l.mu.Lock()
		l.ckpt, l.index = i-3, l.rec.index(i-3-l.first)
		l.mu.Unlock()
		must(t, log.Cut(l.index, int64(i%3)*8000))
	}
	checkSequence(t, l.rec.wait(t, to-l.first), l.first)
	must(t, log.Close())
}

// check starts the log as the moment left it.
func (m moment) check(t *testing.T, confirm Confirm, proposed int) {
	opts, _ := testOptions(m.disk)
	opts.SegmentSize = minSegmentSize
	opts.Confirm = confirm
	r := newRecorder(m.index)
	log, err := tryOpen(opts, r)
	if err != nil {
		t.Errorf("operation %d (%+v, power %v): %v", m.n, m.op, m.power, err)
		return
	}
	got := r.entries(t)
	checkSequence(t, got, m.checkpoint+1)
	end := m.checkpoint + 1 + len(got)
	if end < m.applied && (confirm == ConfirmFsync || !m.power) || end > proposed {
		t.Errorf("operation %d (%+v, power %v): %d entries there, %d were applied, %d proposed",
			m.n, m.op, m.power, end, m.applied, proposed)
	}
	propose(t, log, end, end+30, 900)
	checkSequence(t, r.wait(t, len(got)+30), m.checkpoint+1)
	must(t, log.Close())
	again := newRecorder(m.index)
	log = openLog(t, opts, again)
	checkSequence(t, again.entries(t), m.checkpoint+1)
	if n := len(again.entries(t)); n != len(got)+30 {
		t.Errorf("operation %d: after one more restart %d entries, want %d", m.n, n, len(got)+30)
	}
	must(t, log.Close())
}

func TestCrashAtEveryOperation(t *testing.T) {
	for _, confirm := range []Confirm{ConfirmFsync, ConfirmOS} {
		t.Run(string(confirm), func(t *testing.T) {
			every := func(int) bool { return true }
			if testing.Short() {
				every = func(n int) bool { return n%17 == 0 }
			}
			l := &life{t: t, mem: vfs.NewMem(), seeds: 2, keep: every, ckpt: -1}
			l.run(confirm, 70)
			l.run(confirm, 150) // with recycled segments and old terms
			t.Logf("%d operations, %d crashes", l.ops, len(l.moments))
			for _, m := range l.moments {
				if m.check(t, confirm, 150); t.Failed() {
					return
				}
			}
		})
	}
}

// A second crash while the first is being repaired: a power failure that finds
// what kill -9 left unsynced, or the other way round.
func TestCrashInRecovery(t *testing.T) {
	stride := 2
	if testing.Short() {
		stride = 7
	}
	first := &life{t: t, mem: vfs.NewMem(), seeds: 1, keep: func(n int) bool { return n%stride == 0 }, ckpt: -1}
	first.run(ConfirmFsync, 60)
	crashes := 0
	for _, m := range first.moments {
		second := &life{t: t, mem: m.disk, seeds: 1, ckpt: m.checkpoint, index: m.index,
			keep: func(n int) bool { return n < 24 && n%3 == m.n%3 }}
		second.run(ConfirmFsync, 62)
		for _, again := range second.moments {
			// What the first life had applied counts until the second has more.
			again.applied = max(again.applied, m.applied)
			crashes++
			if again.check(t, ConfirmFsync, 62); t.Failed() {
				return
			}
		}
	}
	t.Logf("%d second lives, %d crashes in them", len(first.moments), crashes)
}
