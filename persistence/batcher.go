package persistence

import (
	"fmt"
	"slices"
	"sync"

	"github.com/hermodmq/hermod/broker"
)

// pendingEntry is an entry that is being filled, waits for a slot, or is on
// its way through the log.
type pendingEntry struct {
	data    []byte // header room and records until it is proposed
	flags   uint8
	records uint32
	targets uint32 // of its publishes, and of the entries its batch began in
	number  uint64
	plain   bool // never encrypted: it carries the key
	size    int64
	waits   []wait
}

// wait is a batch whose Committer is told when the entry commits. first is the
// position of its first target among the entry's targets.
type wait struct {
	batch *broker.Batch
	first uint32
}

// batcher turns batches into entries. Whoever appends encodes straight into
// the entry that is being filled, under one short lock; the proposer takes
// what is there whenever fewer than Options.InFlight entries are on their way
// and, if that is no full entry, a PacedLog is ready to write it. That is the
// whole group commit: the longer a commit takes, the more the next entry holds,
// and no timer is needed.
type batcher struct {
	entrySize int
	inFlight  int

	mu       sync.Mutex
	work     sync.Cond // the proposer waits here
	idle     sync.Cond // drain waits here
	sleeping bool      // the proposer waits
	stopped  bool

	cur      *pendingEntry
	ready    []*pendingEntry // full ones
	proposed []*pendingEntry // in the log, oldest first
	number   uint64          // of the last proposed entry
	level    uint32          // that the log has reached: later kinds of records are not written

	free  []*pendingEntry
	spare []byte // a buffer the log did not need
}

func (q *batcher) init(o *Options) {
	q.entrySize, q.inFlight = o.EntrySize, o.InFlight
	q.work.L, q.idle.L = &q.mu, &q.mu
}

// append encodes b and returns the bytes it added.
func (q *batcher) append(b *broker.Batch) (int64, error) {
	size, err := sizeOf(b)
	if err != nil {
		return 0, err
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.stopped {
		return 0, nil
	}
	if q.cur != nil && len(q.cur.data)+size > q.entrySize {
		q.endEntry()
	}
	if q.cur == nil {
		q.cur = q.newEntry(min(size, PartSizeMax))
	}
	var added int64
	if size > PartSizeMax {
		added = q.encodeParts(b)
	} else {
		before := len(q.cur.data)
		q.encode(b)
		added = int64(len(q.cur.data) - before)
		q.cur.size += added
	}
	q.wake()
	return added, nil
}

// wake tells the proposer that there is something. q.mu is held.
func (q *batcher) wake() {
	if q.sleeping {
		q.sleeping = false
		q.work.Signal()
	}
}

// sizeOf estimates the encoded size, high enough for messages without notes.
func sizeOf(b *broker.Batch) (int, error) {
	size := 24*len(b.Settles) + 24*len(b.Counts) + 24*len(b.Trims) + leasesSize(b.Leases)
	for i := range b.Publishes {
		n := publishSize(&b.Publishes[i])
		if n > RecordSizeMax {
			return 0, fmt.Errorf("persistence: message of %d bytes", n)
		}
		size += n
	}
	for i := range b.Definitions {
		n := definitionSize(&b.Definitions[i])
		if n > RecordSizeMax {
			return 0, fmt.Errorf("persistence: definition of %d bytes", n)
		}
		size += n
	}
	return size, nil
}

func publishSize(p *broker.StorePublish) int {
	return 64 + len(p.Msg.Exchange) + p.Msg.Size() + 20*len(p.Targets)
}

func definitionSize(d *broker.Definition) int { return 32 + len(d.Kind) + len(d.Key) + len(d.Value) }

// leaseSize is the encoded size of a lease without its group, at most.
const leaseSize = 80

func leasesSize(list []broker.StoreLease) int {
	size := leaseSize * len(list)
	for i := range list {
		size += len(list[i].Group)
	}
	return size
}

func (q *batcher) encode(b *broker.Batch) {
	e := q.cur
	if b.Then != nil {
		e.waits = append(e.waits, wait{b, e.targets})
	}
	for i := range b.Publishes {
		e.data = appendPublish(e.data, &b.Publishes[i])
		e.targets += uint32(len(b.Publishes[i].Targets))
	}
	for i := range b.Settles {
		e.data = appendSettle(e.data, &b.Settles[i])
	}
	for i := range b.Counts {
		e.data = appendCount(e.data, &b.Counts[i])
	}
	leases := q.leases(b)
	for i := range leases {
		e.data = appendLease(e.data, &leases[i])
	}
	for i := range b.Trims {
		e.data = appendTrim(e.data, &b.Trims[i])
	}
	for i := range b.Definitions {
		e.data = appendDefinition(e.data, &b.Definitions[i])
	}
	e.records += uint32(len(b.Publishes) + len(b.Settles) + len(b.Counts) + len(leases) + len(b.Trims) + len(b.Definitions))
}

// encodeParts encodes a batch that is too long for one entry: all entries but
// the last say that there is more, and are applied with the last.
func (q *batcher) encodeParts(b *broker.Batch) int64 {
	if len(q.cur.data) > entryHeaderSize { // what is before it must not wait for it
		q.endEntry()
		q.cur = q.newEntry(PartSizeMax)
	}
	var total int64
	for i := range b.Publishes {
		p := &b.Publishes[i]
		total += q.makeRoom(publishSize(p))
		q.encode(&broker.Batch{Publishes: b.Publishes[i : i+1]})
		total += q.split()
	}
	for i := range b.Definitions {
		total += q.makeRoom(definitionSize(&b.Definitions[i]))
		q.encode(&broker.Batch{Definitions: b.Definitions[i : i+1]})
		total += q.split()
	}
	for s := range slices.Chunk(b.Settles, PartSizeMax/64) {
		total += q.makeRoom(24 * len(s))
		q.encode(&broker.Batch{Settles: s})
	}
	for c := range slices.Chunk(b.Counts, PartSizeMax/64) {
		total += q.makeRoom(24 * len(c))
		q.encode(&broker.Batch{Counts: c})
	}
	for l := range slices.Chunk(b.Leases, PartSizeMax/(64<<10+leaseSize)) {
		total += q.makeRoom(leasesSize(l))
		q.encode(&broker.Batch{Leases: l})
	}
	for t := range slices.Chunk(b.Trims, PartSizeMax/64) {
		total += q.makeRoom(24 * len(t))
		q.encode(&broker.Batch{Trims: t})
	}
	e := q.cur
	e.size = int64(len(e.data) - entryHeaderSize)
	if b.Then != nil {
		e.waits = append(e.waits, wait{b, 0})
	}
	q.endEntry()
	return total + e.size
}

// makeRoom ends the part that is being filled if size more bytes are too many.
func (q *batcher) makeRoom(size int) int64 {
	if n := len(q.cur.data); n == entryHeaderSize || n+size <= PartSizeMax {
		return 0
	}
	return q.endPart(entryMore)
}

// split divides a record that is longer than a part.
func (q *batcher) split() int64 {
	var total int64
	for len(q.cur.data) > PartSizeMax {
		rest := q.cur.data[PartSizeMax:]
		q.cur.data = q.cur.data[:PartSizeMax]
		total += q.endPart(entryMore | entrySplit)
		q.cur.data = append(q.cur.data, rest...)
	}
	return total
}

func (q *batcher) endPart(flags uint8) int64 {
	e := q.cur
	e.flags = flags
	e.size = int64(len(e.data) - entryHeaderSize)
	q.endEntry()
	q.cur = q.newEntry(PartSizeMax)
	q.cur.targets = e.targets
	return e.size
}

func (q *batcher) endEntry() {
	q.ready = append(q.ready, q.cur)
	q.cur = nil
}

func (q *batcher) newEntry(size int) *pendingEntry {
	var e *pendingEntry
	if n := len(q.free); n > 0 {
		e, q.free = q.free[n-1], q.free[:n-1]
	} else {
		e = &pendingEntry{}
	}
	size = max(q.entrySize, size+entryHeaderSize)
	if cap(q.spare) >= size {
		e.data, q.spare = q.spare[:entryHeaderSize], nil
	} else {
		e.data = make([]byte, entryHeaderSize, size)
	}
	return e
}

// partial waits until there is something to propose and reports whether it is
// no full entry.
func (q *batcher) partial() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.await()
	return !q.stopped && len(q.ready) == 0
}

// await waits for an entry and a slot. q.mu is held.
func (q *batcher) await() {
	for !q.stopped && (len(q.proposed) >= q.inFlight || len(q.ready) == 0 && q.cur == nil) {
		q.sleeping = true
		q.work.Wait()
	}
}

// next waits for an entry and a slot and moves the entry to those proposed.
// nil means that the batcher was stopped.
func (q *batcher) next() *pendingEntry {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.await()
	if q.stopped {
		return nil
	}
	var e *pendingEntry
	if len(q.ready) > 0 {
		e = q.ready[0]
		q.ready[0] = nil
		q.ready = q.ready[1:]
		if len(q.ready) == 0 {
			q.ready = nil
		}
	} else {
		e, q.cur = q.cur, nil
	}
	q.number++
	e.number = q.number
	q.proposed = append(q.proposed, e)
	return e
}

// seal makes the bytes to propose of e. A half-empty buffer is copied, so that
// the memory table never pins much more than it needs; the log and the memory
// table get the buffer itself when it is well filled.
func (q *batcher) seal(e *pendingEntry, epoch uint64, keys *keyring) []byte {
	h := entryHeader{flags: e.flags, records: e.records, epoch: epoch, number: e.number}
	data := e.data
	e.data = nil
	if e.plain {
		return sealEntry(data, h, nil)
	}
	if !keys.enabled() && len(data) > cap(data)/2 {
		return sealEntry(data, h, nil)
	}
	var out []byte
	if keys.enabled() {
		out = sealEntry(data, h, keys)
	} else {
		out = sealEntry(slices.Clone(data), h, nil)
	}
	if cap(data) <= 2*q.entrySize {
		q.mu.Lock()
		q.spare = data
		q.mu.Unlock()
	}
	return out
}

// committed takes the oldest proposed entry, which must have this number.
func (q *batcher) committed(number uint64) *pendingEntry {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.proposed) == 0 || q.proposed[0].number != number {
		return nil
	}
	e := q.proposed[0]
	n := copy(q.proposed, q.proposed[1:])
	q.proposed[n] = nil
	q.proposed = q.proposed[:n]
	if q.sleeping {
		q.sleeping = false
		q.work.Signal()
	}
	return e
}

// recycle takes e back when its committers were told.
func (q *batcher) recycle(e *pendingEntry) {
	clear(e.waits)
	*e = pendingEntry{waits: e.waits[:0]}
	q.mu.Lock()
	q.free = append(q.free, e)
	if q.empty() {
		q.idle.Broadcast()
	}
	q.mu.Unlock()
}

func (q *batcher) empty() bool { return q.cur == nil && len(q.ready) == 0 && len(q.proposed) == 0 }

// drain waits until everything appended has committed, or stop was called.
func (q *batcher) drain() {
	q.mu.Lock()
	defer q.mu.Unlock()
	for !q.stopped && !q.empty() {
		q.idle.Wait()
	}
}

func (q *batcher) stop() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.stopped = true
	q.work.Broadcast()
	q.idle.Broadcast()
}
