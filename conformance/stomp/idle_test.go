package stomp

import (
	"syscall"
	"testing"

	"github.com/hermodmq/hermod/conformance/harness"
)

// TestSTOMP43Idle: many idle connections with heart-beats cost bounded memory
// and no threads, though each is promised a heart-beat every ten seconds.
// They are 10,000 where the limit of open files allows it.
func TestSTOMP43Idle(t *testing.T) {
	many := int64(10_000)
	var files syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files); err != nil {
		t.Fatal(err)
	}
	if files.Cur < 11_000 {
		many = int64(files.Cur) / 2
		t.Logf("at most %d files may be open: %d connections", files.Cur, many)
	}
	b := start(t, "rabbitmq")
	before, err := harness.Sample(b.PID())
	if err != nil {
		t.Fatal(err)
	}
	clients := make([]*client, many)
	for i := range clients {
		clients[i] = open(t, b, "1.2", "heart-beat:0,10000")
	}
	after, err := harness.Sample(b.PID())
	if err != nil {
		t.Fatal(err)
	}
	each := (after.RSS - before.RSS) / many
	t.Logf("%d connections: resident memory each %d bytes, %d threads", many, each, after.Threads)
	if each > 32<<10 {
		t.Errorf("resident memory each is %d bytes", each)
	}
	if after.Threads > before.Threads+32 {
		t.Errorf("%d threads, %d before", after.Threads, before.Threads)
	}
	clients[0].barrier()
	clients[many-1].barrier()
}
