package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// serveWitness is the story of a witness: it votes and keeps the end of the
// log until a signal. It has neither store nor core nor listeners for clients.
func (n *node) serveWitness(signals chan os.Signal) error {
	if err := inOrder(n.putStoreAside, n.openLog, n.openMetrics, n.openAdmin, n.openRelays); err != nil {
		return err
	}
	fmt.Printf("hermod %s standby ready\n", version)
	ended := make(chan error, 1)
	go func() { ended <- n.raft.Attend() }()
	select {
	case err := <-ended:
		return err
	case <-signals:
	}
	n.cluster.ending.Store(true)
	n.stopping(signals)
	for _, stop := range n.stop {
		_ = stop() // the process ends
	}
	return n.raft.Close()
}

// putStoreAside keeps what a full node held before it was made a witness, in
// case that was a mistake.
func (n *node) putStoreAside() error {
	store, aside := filepath.Join(n.config.DataDir, storeFolder), filepath.Join(n.config.DataDir, asideFolder)
	if _, err := os.Stat(store); errors.Is(err, os.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	if _, err := os.Stat(aside); err == nil {
		return fmt.Errorf("both %s and %s exist: remove one", store, aside)
	}
	n.log.Warn("this node is a witness now: its store is set aside and can be removed once the cluster is whole", "store", aside)
	return os.Rename(store, aside)
}
