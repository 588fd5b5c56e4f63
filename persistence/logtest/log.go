// Package logtest has an in-memory persistence.Log for tests, with what a disk
// does to one: what was not yet committed at a crash survives by chance.
package logtest

import (
	"errors"
	"math/rand/v2"
	"slices"
	"sync"

	"github.com/hermodmq/hermod/persistence"
)

// ErrStopped is what Propose returns after a crash, Close or FailNext.
var ErrStopped = errors.New("logtest: the log takes no entries")

// Disk is what outlives a process: the committed entries. Its methods are safe
// for concurrent use.
type Disk struct {
	mu      sync.Mutex
	rnd     *rand.Rand
	entries []persistence.Entry
	last    uint64 // index of the last entry ever
	size    int64  // bytes since the last Cut
	cut     uint64
	open    *Log
}

// NewDisk returns an empty disk. seed decides what crashes keep and where the
// log leaves gaps.
func NewDisk(seed uint64) *Disk {
	return &Disk{rnd: rand.New(rand.NewPCG(seed, seed))}
}

// Open returns the log of the disk, as a new process would see it.
func (d *Disk) Open() *Log {
	l := &Log{disk: d, done: make(chan struct{})}
	l.work.L = &l.mu
	d.mu.Lock()
	d.open = l
	d.mu.Unlock()
	return l
}

// Crash ends the open log at once. Entries that were proposed and not yet
// committed survive up to a random one; no Apply runs when Crash has returned.
func (d *Disk) Crash() {
	d.mu.Lock()
	l := d.open
	d.open = nil
	d.mu.Unlock()
	if l == nil {
		return
	}
	pending := l.stop()
	if len(pending) > 0 {
		d.commit(pending[:d.rnd.IntN(len(pending)+1)])
	}
}

// Clone returns a disk that holds what d holds now, as if the power went off:
// what is proposed and not committed is not on it.
func (d *Disk) Clone(seed uint64) *Disk {
	c := NewDisk(seed)
	d.mu.Lock()
	defer d.mu.Unlock()
	c.entries, c.last, c.size, c.cut = slices.Clone(d.entries), d.last, d.size, d.cut
	return c
}

// Entries returns the committed entries.
func (d *Disk) Entries() []persistence.Entry {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.entries)
}

// Corrupt flips a bit in the middle of the last entry and returns its index.
func (d *Disk) Corrupt() uint64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	e := &d.entries[len(d.entries)-1]
	e.Data = slices.Clone(e.Data)
	e.Data[len(e.Data)/2] ^= 4
	return e.Index
}

// Replace puts data in the place of the last entry's and returns its index.
func (d *Disk) Replace(data []byte) uint64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	e := &d.entries[len(d.entries)-1]
	e.Data = data
	return e.Index
}

// Cuts returns the index of the last Cut.
func (d *Disk) Cuts() uint64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.cut
}

// commit gives proposals their indexes.
func (d *Disk) commit(list [][]byte) []persistence.Entry {
	d.mu.Lock()
	defer d.mu.Unlock()
	first := len(d.entries)
	for _, data := range list {
		d.last += 1 + uint64(d.rnd.IntN(2)) // a log has entries of its own
		d.entries = append(d.entries, persistence.Entry{Index: d.last, Term: 1, Data: data})
		d.size += int64(len(data))
	}
	return slices.Clone(d.entries[first:])
}

// Log implements persistence.Log over a Disk.
type Log struct {
	disk *Disk

	mu      sync.Mutex
	work    sync.Cond
	pending [][]byte
	held    bool
	stopped bool
	fail    bool
	started bool
	done    chan struct{}
}

var _ persistence.Log = (*Log)(nil)

// Start implements persistence.Log.
func (l *Log) Start(a persistence.Applier) error {
	applied := a.Applied()
	l.disk.mu.Lock()
	l.disk.last = max(l.disk.last, applied)
	var replay []persistence.Entry
	for _, e := range l.disk.entries {
		if e.Index > applied {
			replay = append(replay, e)
		}
	}
	l.disk.mu.Unlock()
	for chunk := range slices.Chunk(replay, 16) {
		a.Apply(chunk)
	}
	l.started = true
	go l.run(a)
	return nil
}

func (l *Log) run(a persistence.Applier) {
	defer close(l.done)
	for {
		l.mu.Lock()
		for !l.stopped && (len(l.pending) == 0 || l.held) {
			l.work.Wait()
		}
		if l.stopped {
			l.mu.Unlock()
			return
		}
		list := l.pending
		l.pending = nil
		l.mu.Unlock()
		a.Apply(l.disk.commit(list))
	}
}

// Propose implements persistence.Log.
func (l *Log) Propose(data []byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.stopped || l.fail {
		return ErrStopped
	}
	l.pending = append(l.pending, data)
	l.work.Signal()
	return nil
}

// Hold stops commits until Release; proposals are taken meanwhile.
func (l *Log) Hold() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.held = true
}

// Release ends Hold.
func (l *Log) Release() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.held = false
	l.work.Signal()
}

// FailNext makes all further proposals fail.
func (l *Log) FailNext() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fail = true
}

// Cut implements persistence.Log.
func (l *Log) Cut(index uint64, keepBytes int64) error {
	l.mu.Lock()
	stopped := l.stopped
	l.mu.Unlock()
	if stopped { // a crashed process cuts nothing
		return ErrStopped
	}
	d := l.disk
	d.mu.Lock()
	defer d.mu.Unlock()
	i := 0
	for i < len(d.entries) && d.entries[i].Index <= index {
		i++
	}
	for ; i > 0 && keepBytes > 0; i-- {
		keepBytes -= int64(len(d.entries[i-1].Data))
	}
	d.entries = slices.Clone(d.entries[i:])
	d.size = 0
	for _, e := range d.entries {
		if e.Index > index {
			d.size += int64(len(e.Data))
		}
	}
	d.cut = max(d.cut, index)
	return nil
}

// Size implements persistence.Log.
func (l *Log) Size() int64 {
	l.disk.mu.Lock()
	defer l.disk.mu.Unlock()
	return l.disk.size
}

// stop ends the apply goroutine and returns what was not committed.
func (l *Log) stop() [][]byte {
	l.mu.Lock()
	l.stopped = true
	pending := l.pending
	l.pending = nil
	l.work.Signal()
	started := l.started
	l.mu.Unlock()
	if started {
		<-l.done
	}
	return pending
}

// Close implements persistence.Log.
func (l *Log) Close() error {
	l.stop()
	return nil
}
