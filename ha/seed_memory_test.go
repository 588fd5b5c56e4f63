package ha

import (
	"context"
	"path/filepath"
	"runtime"
	"runtime/metrics"
	"testing"
	"time"

	"github.com/hermodmq/hermod/broker"
)

// peak is by how much what the heap holds grew while f ran, as far as the
// collector has seen, which runs again and again.
func peak(f func()) (growth int64) {
	held := func() int64 {
		runtime.GC()
		sample := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
		metrics.Read(sample)
		return int64(sample[0].Value.Uint64())
	}
	before := held()
	most := before
	stop, stopped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stopped)
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for {
			most = max(most, held())
			select {
			case <-stop:
				return
			case <-tick.C:
			}
		}
	}()
	defer func() {
		close(stop)
		<-stopped
		growth = most - before
	}()
	f()
	return 0
}

// Snapshots are links and streams: neither taking one, sending it, receiving it
// nor starting with it takes memory in proportion to the messages. All sides are
// in this process.
func TestSeedingHoldsNoMessagesInMemory(t *testing.T) {
	const (
		backlog = 40 << 20
		bound   = backlog * 3 / 4 // a busy machine lets garbage and raft's own entries pile up
	)
	_, lead, away := newForgetfulTrio(t)
	away.stop()
	// Entries are small: raft, which offers the node the log meanwhile, holds
	// some dozen of them.
	body := make([]byte, 4<<10)
	for i := range backlog / len(body) / 16 {
		done := make(chan struct{})
		b := &broker.Batch{Then: told(done)}
		for range 16 {
			b.Publishes = append(b.Publishes, broker.StorePublish{
				Msg: &broker.Message{RoutingKey: "r", Body: body}, Targets: []broker.StoreTarget{{Lane: 1}}})
		}
		lead.store.Append(b)
		if i%16 != 0 {
			continue
		}
		select {
		case <-done:
		case <-time.After(deadline):
			t.Fatalf("a batch did not commit; the store stands at %+v", lead.store.Stats())
		}
	}
	must(t, lead.store.Checkpoint())
	commit(t, lead.store, 0, 100)
	must(t, lead.store.Checkpoint()) // the log up to the first one is gone

	check := func(what string, n int64) {
		t.Helper()
		t.Logf("%s: %d KiB", what, n>>10)
		if n > bound {
			t.Errorf("%s a backlog of %d MiB took %d MiB of memory", what, backlog>>20, n>>20)
		}
	}
	check("taking a snapshot of", peak(func() {
		snap, err := lead.store.Snapshot(filepath.Join(lead.dir, "by hand"))
		must(t, err)
		var size int64
		for _, f := range snap.Files {
			size += f.Size
		}
		if size < backlog {
			t.Errorf("the snapshot has %d MiB", size>>20)
		}
		must(t, snap.Release())
	}))
	away.stand()
	var from string
	select {
	case from = <-away.seeds:
	case <-time.After(deadline):
		t.Fatal("it is not told to be seeded")
	}
	check("sending and receiving", peak(func() {
		must(t, away.log.ReceiveSeed(context.Background(), from, filepath.Join(away.dir, "seed")))
	}))
	if st := away.log.Status(); st.SeedBytes < backlog {
		t.Errorf("%d MiB were received", st.SeedBytes>>20)
	}
	away.stop()
	check("starting with", peak(func() {
		away.stand()
		until(t, "a node that holds everything", func() bool { return lead.log.Status().Redundant == 3 })
	}))
}
