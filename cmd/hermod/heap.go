package main

import (
	"os"
	"runtime/debug"
)

// A broker whose queues run empty has a live heap of a few megabytes, which
// the collector would go through hundreds of times a second: by default it
// runs whenever the heap has doubled, from 4 MiB on. With this ballast and
// percentage it runs when the heap has grown to 1.5 times what is live plus 32
// MiB. The ballast is address space only: nothing ever touches it, so that it
// takes no memory, and it holds no pointers, so that nobody scans it.
const (
	heapBallast = 64 << 20
	heapPercent = 50
)

// tuneHeap sets the pace of the garbage collector, unless the environment
// does. The caller keeps the ballast alive as long as it serves.
func tuneHeap() (ballast []byte) {
	if os.Getenv("GOGC") != "" {
		return nil
	}
	debug.SetGCPercent(heapPercent)
	return make([]byte, heapBallast)
}
