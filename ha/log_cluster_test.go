package ha

import (
	"net"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/hermodmq/hermod/persistence/vfs"
)

// tcpStream is a raft.StreamLayer on plain TCP.
type tcpStream struct{ net.Listener }

func (tcpStream) Dial(address raft.ServerAddress, timeout time.Duration) (net.Conn, error) {
	return net.DialTimeout("tcp", string(address), timeout)
}

// A node with a Stream is a cluster of one until others are added.
func TestStartsWithAStream(t *testing.T) {
	mem := vfs.NewMem()
	applied := 0
	for range 2 {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		must(t, err)
		opts, _ := testOptions(mem)
		opts.Stream = tcpStream{listener}
		r := newRecorder(0)
		l := openLog(t, opts, r)
		propose(t, l, applied, applied+20, 100)
		applied += 20
		checkSequence(t, r.wait(t, applied), 0)
		must(t, l.Close())
	}
}
