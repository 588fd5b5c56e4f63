package ha

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/hermodmq/hermod/persistence/vfs"
)

// withWitness makes two full nodes, n1 and n2, and the witness n3. Nothing runs
// yet.
func withWitness(t *testing.T, change func(*Options)) (c *cluster, n1, n2, w *member) {
	c = newCluster(t, 3, func(o *Options) {
		o.Witness = o.NodeID == "n3"
		if change != nil {
			change(o)
		}
	})
	return c, c.nodes[0], c.nodes[1], c.nodes[2]
}

// lead makes n1 the leader of a whole cluster.
func (c *cluster) lead() {
	c.t.Helper()
	c.start()
	if c.leader() != c.nodes[0] {
		c.t.Fatal("the founder does not lead")
	}
	c.voters(3)
}

// extent is the first entry in the member's log and the log's size.
func (m *member) extent() (first uint64, size int64) {
	st := m.log.Status()
	return st.First, st.LogBytes
}

// The witness alone has, besides the dead leader, what was confirmed while the
// other full node was away: it is elected for as long as it takes to hand that
// over.
func TestTheMostUpToDateNodeIsTheWitness(t *testing.T) {
	c, n1, n2, w := withWitness(t, nil)
	c.lead()
	propose(t, n1.log, 0, 50, 1000)
	n2.got.wait(t, 50)
	n2.stop()
	propose(t, n1.log, 50, 2000, 1000)
	checkSequence(t, n1.got.wait(t, 2000), 0)
	n1.stop()
	// It comes back with what it has on disk.
	w.stop()
	w.start(c.addrs, nil)
	got := newRecorder(0)
	n2.start(c.addrs, got)
	if c.leader() != n2 {
		t.Fatal("the full node does not lead")
	}
	checkSequence(t, got.wait(t, 2000), 0)
	propose(t, n2.log, 2000, 2050, 1000)
	checkSequence(t, got.wait(t, 2050), 0)
	if st := w.log.Status(); st.Serving || st.Role == Leader || !st.Witness {
		t.Errorf("the witness says %+v", st.NodeStatus)
	}
	back := newRecorder(0)
	n1.start(c.addrs, back)
	checkSequence(t, back.wait(t, 2050), 0)
	c.voters(3)
}

func TestAWitnessForgetsWhatTheFullNodesHave(t *testing.T) {
	c, n1, n2, w := withWitness(t, nil)
	c.lead()
	const size = 16 << 10
	least := int64(witnessSlack * 64 << 10)
	most := int64((witnessSlack + 2*witnessStep) * 64 << 10)
	sent := 0
	for round := range 5 {
		propose(t, n1.log, sent, sent+100, size)
		sent += 100
		n1.got.wait(t, sent)
		n2.got.wait(t, sent)
		until(t, "a short log", func() bool { _, n := w.extent(); return n >= least && n <= most })
		if round == 2 {
			w.stop()
			w.start(c.addrs, nil)
			least = 0 // it no longer counts what it need not keep
			c.voters(3)
		}
	}
	if first, _ := w.extent(); first < 2 {
		t.Error("nothing was cut off the log")
	}
	// The full nodes keep theirs until a checkpoint.
	if first, _ := n1.extent(); first != 1 {
		t.Errorf("the leader's log begins with %d", first)
	}
}

// The log that the witness keeps for a node that is away has a bound. Behind it
// the leader goes on, and says what it is worth.
func TestAWitnessDoesNotKeepForEver(t *testing.T) {
	c, n1, n2, w := withWitness(t, func(o *Options) { o.WitnessLog = 1 << 20 })
	c.lead()
	const size = 16 << 10
	propose(t, n1.log, 0, 20, size)
	n2.got.wait(t, 20)
	n2.stop()
	propose(t, n1.log, 20, 50, size)
	until(t, "the loss of one node", func() bool { return n1.log.Status().Redundant == 2 })
	if first, _ := w.extent(); first != 1 {
		t.Errorf("the witness's log begins with %d while a node lacks it", first)
	}
	propose(t, n1.log, 50, 400, size)
	checkSequence(t, n1.got.wait(t, 400), 0)
	until(t, "a bounded log", func() bool { _, n := w.extent(); return n <= 1<<20 })
	until(t, "the witness counting no more", func() bool { return n1.log.Status().Redundant == 1 })

	// Nobody may serve without what the dead leader has.
	n1.stop()
	n2.start(c.addrs, newRecorder(0))
	until(t, "an election", func() bool { return w.log.Status().Role == Leader })
	select {
	case err := <-n2.started:
		t.Fatalf("a node serves that lacks confirmed entries (%v)", err)
	default:
	}
	got := newRecorder(0)
	n1.start(c.addrs, got)
	if c.leader() != n1 {
		t.Fatal("the node that has everything does not lead")
	}
	checkSequence(t, got.wait(t, 400), 0)
	propose(t, n1.log, 400, 410, size)
	checkSequence(t, n2.got.wait(t, 410), 0)
	c.voters(3)
}

func TestAWitnessOnAFullDiskKeepsLess(t *testing.T) {
	mem := vfs.NewMem()
	c, n1, n2, w := withWitness(t, func(o *Options) {
		if o.Witness {
			o.DiskLow = 1 << 40
		}
	})
	w.fs = mem
	mem.SetCapacity(1 << 30)
	c.lead()
	n2.stop()
	propose(t, n1.log, 0, 200, 16<<10)
	n1.got.wait(t, 200)
	until(t, "a short log", func() bool {
		_, n := w.extent()
		return n <= int64((witnessSlack+2*witnessStep)*64<<10) && w.log.snapshots.manifest().Index > 0
	})
}

// A new witness, or one that was away for too long, begins behind what the
// leader has cut off its log.
func TestAWitnessBeginsAnew(t *testing.T) {
	anew := make(chan struct{}, 10)
	c, n1, n2, w := withWitness(t, func(o *Options) {
		o.Seed = func(string) { anew <- struct{}{} }
	})
	n1.start(c.addrs[:1], newRecorder(0))
	c.leader()
	n2.start(c.addrs, newRecorder(0))
	c.voters(2)
	cut := func(n int) {
		t.Helper()
		for _, m := range []*member{n1, n2} {
			m.got.wait(t, n)
			at := m.got.index(n - 10)
			until(t, "the cut", func() bool { // raft declines while a change of members is under way
				must(t, m.log.Cut(at, 0))
				return m.log.Status().Cut == at
			})
		}
	}
	again := func() {
		t.Helper()
		select {
		case <-anew:
		case <-time.After(deadline):
			t.Fatalf("the witness does not begin anew: %+v; leader: %+v", w.log.Status(), n1.log.Status())
		}
		w.stop()
		w.start(c.addrs, nil)
	}
	propose(t, n1.log, 0, 300, 4000)
	cut(300)
	w.start(c.addrs, nil)
	again()
	c.voters(3)

	w.stop()
	propose(t, n1.log, 300, 600, 4000)
	cut(600)
	w.start(c.addrs, nil)
	again()
	c.voters(3)
	until(t, "a log that begins behind the cut", func() bool { first, _ := w.extent(); return first > n1.got.index(300) })
	n2.stop() // from here on it is the witness's vote that counts
	propose(t, n1.log, 600, 700, 1000)
	checkSequence(t, n1.got.wait(t, 700), 0)
}

// A crash while a witness empties its log leaves one that is emptied at the
// next start: never one that has forgotten what it had confirmed.
func TestBeginningAnewSurvivesCrashes(t *testing.T) {
	opts, _ := testOptions(nil)
	opts.Witness = true
	m := manifest{Index: 1000, Term: 3}
	for n, done := 1, false; !done; n++ {
		mem := vfs.NewMem()
		plain, _ := testOptions(mem)
		r := newRecorder(0)
		l := openLog(t, plain, r)
		propose(t, l, 0, 100, 4000)
		r.wait(t, 100)
		must(t, l.Close())
		must(t, writeRecord(mem, opts.Dir, anewName, m))

		broken := vfs.Faulty(mem, failAt(n))
		meta, err := openMeta(broken, opts.Dir)
		must(t, err)
		l = &Log{opts: opts, fs: broken}
		l.opts.FS = broken
		done = l.beginAnew(meta) == nil

		meta, err = openMeta(mem, opts.Dir)
		must(t, err)
		l = &Log{opts: opts, fs: mem}
		l.opts.FS = mem
		must(t, l.beginAnew(meta))
		s, err := openSnapshots(mem, opts.Dir)
		must(t, err)
		state, err := meta.Load(opts.Dir)
		must(t, err)
		if s.manifest().Index != m.Index || len(state.Segments) != 0 {
			t.Fatalf("after a crash at step %d the log begins behind %d and has %d segments", n, s.manifest().Index, len(state.Segments))
		}
		if found, err := readRecord(mem, opts.Dir, anewName, &m); found || err != nil {
			t.Fatalf("after a crash at step %d it would begin anew again (%v)", n, err)
		}
	}
}

// failAt fails the nth operation that changes the disk.
func failAt(n int) vfs.Injector {
	seen := 0
	return vfs.InjectorFunc(func(op vfs.Op) vfs.Fault {
		switch op.Kind {
		case vfs.OpCreate, vfs.OpWrite, vfs.OpSync, vfs.OpSyncDir, vfs.OpRename, vfs.OpRemove:
			if seen++; seen == n {
				return vfs.Fault{Err: errDisk}
			}
		}
		return vfs.Fault{}
	})
}

func TestAWitnessStaysOne(t *testing.T) {
	c, n1, _, w := withWitness(t, nil)
	c.lead()
	if err := n1.log.Transfer("n3"); !errors.Is(err, ErrWitness) {
		t.Errorf("Transfer to the witness = %v, want ErrWitness", err)
	}
	if err := w.log.ReceiveSeed(context.Background(), n1.addr, t.TempDir()); err == nil {
		t.Error("a node without state was a seed")
	}
	// With the last other full node gone, nobody could be helped by its log.
	must(t, w.log.Leave(context.Background(), "n2"))
	until(t, "a witness that counts for nothing", func() bool { return n1.log.Status().Redundant == 1 })
	w.stop()
	opts, _ := testOptions(w.fs)
	opts.NodeID = w.name
	if _, err := ForceAlone(opts); !errors.Is(err, ErrWitness) {
		t.Errorf("ForceAlone = %v, want ErrWitness", err)
	}
	var err error
	opts.Peers, err = ListenPeers(PeerOptions{Bind: w.addr, Secret: testSecret, Logger: quiet})
	must(t, err)
	defer opts.Peers.Close()
	if _, err := tryOpen(opts, newRecorder(0)); !errors.Is(err, ErrWitness) || !strings.Contains(err.Error(), "leave") {
		t.Errorf("Start as a full node = %v, want ErrWitness and what to do", err)
	}
}
