package ha

import (
	"testing"

	"github.com/hashicorp/raft"

	"github.com/hermodmq/hermod/persistence/vfs"
)

// TestSealedSegmentsCanBeRead: raft reads old entries for nodes that lag, and
// the oldest one every ten seconds.
func TestSealedSegmentsCanBeRead(t *testing.T) {
	opts, _ := testOptions(vfs.NewMem())
	r := newRecorder(0)
	l := openLog(t, opts, r)
	const n = 400
	propose(t, l, 0, n, 1000)
	r.wait(t, n)
	first, err := l.store.FirstIndex()
	must(t, err)
	last, err := l.store.LastIndex()
	must(t, err)
	for i := first; i <= last; i++ {
		var e raft.Log
		must(t, l.store.WAL.GetLog(i, &e))
		if e.Index != i {
			t.Fatalf("entry %d of %d to %d is entry %d", i, first, last, e.Index)
		}
	}
	must(t, l.Close())
}
