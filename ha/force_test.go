package ha

import (
	"errors"
	"slices"
	"testing"

	"github.com/hermodmq/hermod/persistence/vfs"
)

// stoppedCluster is one of three nodes that have so many entries and do not run.
func stoppedCluster(t *testing.T, entries int) *cluster {
	t.Helper()
	c := newCluster(t, 3, nil)
	c.start()
	l := c.leader()
	c.voters(3)
	propose(t, l.log, 0, entries, 100)
	for _, m := range c.nodes {
		m.got.wait(t, entries)
	}
	for _, m := range c.nodes {
		m.stop()
	}
	return c
}

// The last node that is left goes on alone, and the others come back as new
// ones.
func TestTheLastNodeIsForcedToGoOn(t *testing.T) {
	c := stoppedCluster(t, 50)
	last := c.nodes[2]
	opts, _ := testOptions(last.fs)
	opts.NodeID = "n7"
	if _, err := ForceAlone(opts); !errors.Is(err, ErrNoMember) {
		t.Errorf("ForceAlone for a stranger: %v", err)
	}
	opts.NodeID = last.name
	f, err := ForceAlone(opts)
	must(t, err)
	slices.Sort(f.Dropped)
	if !f.Voter || !slices.Equal(f.Dropped, []string{"n1", "n2"}) {
		t.Errorf("%+v", f)
	}

	last.start(c.addrs, newRecorder(0))
	if c.leader() != last {
		t.Fatal("another node leads")
	}
	propose(t, last.log, 50, 60, 100)
	checkSequence(t, last.got.wait(t, 60), 0)
	for _, m := range c.nodes[:2] {
		m.fs = vfs.NewMem()
		m.start(c.addrs, newRecorder(0))
	}
	c.voters(3)
	for _, m := range c.nodes {
		checkSequence(t, m.got.wait(t, 60), 0)
	}
}

// An old member that comes back as it was does not depose the new cluster.
func TestAnOldMemberDoesNotDisturbTheForced(t *testing.T) {
	c := stoppedCluster(t, 20)
	last := c.nodes[1]
	opts, _ := testOptions(last.fs)
	opts.NodeID = last.name
	_, err := ForceAlone(opts)
	must(t, err)
	last.start(c.addrs, newRecorder(0))
	if c.leader() != last {
		t.Fatal("another node leads")
	}
	old := c.nodes[0]
	old.start(c.addrs, newRecorder(0))
	until(t, "an election of the old member", func() bool { return old.log.Status().Role == Candidate })
	propose(t, last.log, 20, 30, 100)
	checkSequence(t, last.got.wait(t, 30), 0)
	if st := last.log.Status(); st.Role != Leader || len(st.Nodes) != 1 {
		t.Errorf("%+v", st)
	}
}
