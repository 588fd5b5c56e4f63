package broker

// delayLane holds the messages of a queue that no consumer may see yet
// (Notes.DeliverAt). Stored ones are in a lane of their own whose expiry is
// the time they become due, so that those of the near future can be found
// without reading the others.
type delayLane struct {
	id    LaneID
	heap  timedHeap[delayed]
	known map[uint64]bool // stored messages in heap, or on their way out of the lane
	moved []uint64        // those in known that left the lane while a look was under way
	last  uint64          // newest stored message
	cold  int             // stored ones that are not known
	sweep int64           // Unix ms of the next look at them
	busy  bool            // one is under way
	began int64           // Unix ms at which the last pass over them began
	from  uint64          // where it goes on; 0: a new one begins
	took  int64           // ms of the last whole pass
	floor uint64          // stored messages below were dropped
}

type delayed struct {
	entry
	level int
}

// delayAhead is how early, in ms, a delayed message is brought into memory;
// the lane is looked through twice as often. When memory is full it is
// delayScarce, unless passes over the lane take so long that they would not do
// anything else.
const (
	delayAhead  = 10_000
	delayScarce = 1000
	delayLoad   = 10 // ms between the beginnings of two passes for every ms one took
)

// ahead is delayAhead or what scarce memory makes of it.
func (q *Queue) ahead(took int64) int64 {
	if q.roomy() {
		return delayAhead
	}
	return min(max(delayScarce, 2*delayLoad*took), delayAhead)
}

func (d *delayLane) recover(state LaneState) {
	if state.Next == 0 {
		return
	}
	d.last = state.Next - 1
	d.cold = int(state.Count)
	d.sweep = 1
}

func (d *delayLane) len() int { return d.heap.len() + d.cold }

// next is when tick has something to do for the lane; 0 if never.
func (d *delayLane) next() int64 {
	at := d.heap.first()
	if d.cold > 0 && !d.busy && (at == 0 || d.sweep < at) {
		at = d.sweep
	}
	return at
}

func (d *delayLane) know(seq uint64) {
	if d.known == nil {
		d.known = make(map[uint64]bool)
	}
	d.known[seq] = true
}

// left notes that a stored message is not in the lane any more. A look that is
// under way may bring it all the same.
func (d *delayLane) left(seq uint64) {
	if d.busy {
		d.moved = append(d.moved, seq)
		return
	}
	delete(d.known, seq)
}

// rest ends a look.
func (d *delayLane) rest() {
	d.busy = false
	for _, seq := range d.moved {
		delete(d.known, seq)
	}
	d.moved = nil
}

// clear forgets everything but the lane's id, which publishers read without
// the queue's lock.
func (d *delayLane) clear() {
	d.heap, d.known, d.moved = timedHeap[delayed]{}, nil, nil
	d.last, d.cold, d.sweep, d.busy = 0, 0, 0, false
	d.began, d.from, d.took = 0, 0, 0
}

// postpone takes a new message that is not due yet.
func (q *Queue) postpone(t *Turn, m *Message, seq uint64, at int64) {
	if q.closed {
		return
	}
	q.stats.Published++
	d := &q.delay
	d.last = max(d.last, seq)
	if seq != 0 && !q.roomy() {
		if early := max(at-delayAhead, t.Now); d.cold == 0 || early < d.sweep {
			d.sweep = early
		}
		d.cold++
		q.schedule(d.sweep)
		return
	}
	e := entry{msg: m, seq: seq}
	if seq == 0 {
		e.sub = 1
	}
	q.holdBack(e, at)
}

// holdBack keeps an entry in memory until it is due.
func (q *Queue) holdBack(e entry, at int64) {
	if e.stored() {
		q.delay.know(e.seq)
	}
	q.memory += int64(e.memory())
	q.delay.heap.push(at, delayed{e, q.level(e.msg)})
	q.schedule(at)
}

// tickDelay moves what is due to the ready lanes and looks for what will be.
func (q *Queue) tickDelay(t *Turn) {
	d := &q.delay
	var due []delayed
	for d.heap.len() > 0 && d.heap.first() <= t.Now {
		x := d.heap.pop()
		q.memory -= int64(x.memory())
		due = append(due, x)
	}
	if len(due) > 0 {
		q.calls = append(q.calls, func(t *Turn) { q.ripen(t, due) })
	}
	if d.cold > 0 && !d.busy && d.sweep <= t.Now {
		d.busy = true
		if d.from == 0 {
			d.began, d.from = t.Now, 1
		}
		q.lookForDue(t, d.from)
	}
}

// lookForDue reads the messages that become due soon, from one sequence number
// on.
func (q *Queue) lookForDue(t *Turn, from uint64) {
	until := q.delay.began + q.ahead(q.delay.took)
	q.reads = append(q.reads, &ReadRequest{
		Lane: q.delay.id, From: from, To: q.delay.last, Max: sweepCount, MaxBytes: q.eng.load, ExpiredBefore: until,
		Then: func(t *Turn, msgs []Stored, next uint64, err error) { q.foundDue(t, from, msgs, next, err) },
	})
}

// foundDue takes the messages of one read and goes on with the next.
func (q *Queue) foundDue(t *Turn, from uint64, msgs []Stored, next uint64, err error) {
	q.mu.Lock()
	d := &q.delay
	if q.closed {
		q.mu.Unlock()
		return
	}
	if err != nil {
		q.readFailed(t, d.id, from, next, err)
	}
	for i := range msgs {
		if m := &msgs[i]; !d.known[m.Seq] && m.Seq >= d.floor {
			d.cold--
			q.holdBack(entry{msg: m.Msg, seq: m.Seq}, m.Expiry)
		}
	}
	// What cannot be read must not hide what is behind it.
	if (len(msgs) > 0 || err != nil) && next > from && next <= d.last && d.cold > 0 {
		if q.roomy() {
			q.lookForDue(t, next)
		} else { // what was found has to leave first
			d.rest()
			d.from, d.sweep = next, t.Now
			q.schedule(t.Now)
		}
		q.leave(t)
		return
	}
	d.rest()
	d.from = 0
	d.cold = max(d.cold, 0)
	d.took = t.Now - d.began
	d.sweep = max(t.Now, d.began+q.ahead(d.took)/2)
	if at := d.next(); at != 0 {
		q.schedule(at)
	}
	q.leave(t)
}

// ripen makes delayed messages ready: transient ones at once, stored ones by
// moving them from the delay lane to their own in one batch.
func (q *Queue) ripen(t *Turn, due []delayed) {
	if q.schedules {
		q.routeDue(t, due)
		return
	}
	for len(due) > 0 {
		n := min(len(due), planLimit)
		p := q.eng.newPlan(nil)
		q.mu.Lock()
		for _, d := range due[:n] {
			if d.stored() {
				p.batch.Settles = append(p.batch.Settles, StoreSettle{q.delay.id, d.seq, 1})
			}
			moved := d.origin()
			for _, x := range d.msg.occurrences(t.Now) {
				p.add(x.msg, q, put{level: d.level, stored: d.stored(), at: x.at, expiry: q.expiry(t, x.msg), moved: moved})
				moved = 0
			}
		}
		q.leave(t)
		p.run(t, false)
		due = due[n:]
	}
}

// origin is the entry's place in the delay lane, 0 if it is not stored.
func (x *delayed) origin() uint64 {
	if x.stored() {
		return x.seq
	}
	return 0
}
