package broker

import (
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"sync"
)

// Bounds of prepared transactions: of one virtual host, and of an identifier.
const (
	maxPrepared   = 10_000
	maxPreparedID = 1 << 10
)

// preparedSet holds the prepared transactions of a virtual host. The zero value
// is empty.
type preparedSet struct {
	mu   sync.Mutex
	byID map[string]*prepared
}

// prepared is a transaction in the second phase of a two-phase commit: what it
// does is durable, and it is done when somebody says so, in this life of the
// broker or another. Immutable once it is in its set, but for messages.
//
// In the store it is a definition, which names queues and the messages it
// settles in them, and a lane of its own with the messages it publishes.
type prepared struct {
	vhost    *VHost
	id       string
	lane     LaneID // 0: it publishes nothing that is stored
	stored   int    // messages in the lane
	publish  []preparedPublish
	settle   []preparedSettle
	pictures []*Message // images of topics, unless there was a restart
	counted  int        // bytes accounted for with TakeIncomplete
	unread   bool       // the messages are still in the store
}

// preparedPublish is a message for some queues. msg is nil while unread.
type preparedPublish struct {
	msg    *Message
	queues []*Queue
	at     int64 // Unix ms before which nobody may see it; 0: now
	stored bool
}

// preparedSettle is a delivery that the transaction accepts.
type preparedSettle struct {
	queue *Queue
	lease Lease
}

// preparedValue is the stored form.
type preparedValue struct {
	Lane    LaneID                 `json:"lane,omitempty"`
	Publish []preparedPublishValue `json:"publish,omitempty"`
	Settle  []preparedSettleValue  `json:"settle,omitempty"`
}

// Queues are named by their first lanes, which are never used again.
type preparedPublishValue struct {
	Queues []LaneID `json:"queues"`
	At     int64    `json:"at,omitempty"`
}

type preparedSettleValue struct {
	Queue  LaneID `json:"queue"`
	Level  int    `json:"level,omitempty"`
	Seq    uint64 `json:"seq"`
	Size   uint32 `json:"size"`
	Expiry int64  `json:"expiry,omitempty"`
	Count  uint32 `json:"count,omitempty"`
}

// Prepare ends the session's transaction so that it can be committed or rolled
// back later under id, by any session and after a restart. done runs when that
// is durable. If the transaction does nothing, it is forgotten: idle is true and
// done is not called. Only accepted deliveries can be prepared. They stay with
// the session that holds them until it closes; nobody can settle them
// otherwise. Errors: NotAllowed (id is prepared already, or outcomes other than
// Accepted), Exhausted.
func (s *Session) Prepare(t *Turn, id string, done func(*Turn)) (idle bool, err error) {
	x := s.tx
	if x == nil || len(x.publishes)+len(x.settles) == 0 {
		if x != nil {
			s.vhost.images.keepAll(x.pictures)
		}
		s.endTransaction(nil)
		return true, nil
	}
	v := s.vhost
	for _, st := range x.settles {
		if st.outcome != Accepted {
			return false, errf(NotAllowed, "a prepared transaction can only accept deliveries")
		}
	}
	p := &prepared{vhost: v, id: id, pictures: x.pictures}
	if err := v.prepared.add(p); err != nil {
		return false, err
	}
	p.counted, x.counted = x.counted, 0
	s.endTransaction(nil)
	var val preparedValue
	b := &Batch{}
	for _, pub := range x.publishes {
		p.take(&val, b, pub)
	}
	for _, st := range x.settles {
		st.queue.prepare(t, s, p, st.leases, &val)
	}
	b.Definitions = []Definition{{Kind: kindPrepared, Key: vhostKey(v.name, id), Value: mustJSON(val)}}
	b.Then = after(done)
	s.broker.engine.store.Append(b)
	return false, nil
}

// take plans a publish: in the lane what has to survive, in memory the rest.
func (p *prepared) take(val *preparedValue, b *Batch, pub txPublish) {
	x := preparedPublish{msg: pub.msg, queues: pub.queues, at: pub.at}
	var queues []LaneID
	for _, q := range pub.queues {
		if q.stores(pub.msg) {
			queues = append(queues, q.base)
		}
	}
	if x.stored = len(queues) > 0; x.stored {
		if p.lane == 0 {
			p.lane = p.vhost.broker.newLane(1)
			val.Lane = p.lane
		}
		p.stored++
		val.Publish = append(val.Publish, preparedPublishValue{queues, pub.at})
		b.Publishes = append(b.Publishes, StorePublish{Msg: pub.msg, Targets: []StoreTarget{{Lane: p.lane}}})
	}
	p.publish = append(p.publish, x)
}

// prepare gives leases to a prepared transaction.
func (q *Queue) prepare(t *Turn, s *Session, x *prepared, leases []Lease, val *preparedValue) {
	q.mu.Lock()
	for _, lease := range leases {
		_, p := q.ledger.get(lease)
		if p == nil || p.hold != nil && p.hold.session != s || p.prepared != nil {
			continue
		}
		p.prepared, p.deadline = x, 0
		if p.kept {
			q.endKept(p)
			p.kept = false
		}
		x.settle = append(x.settle, preparedSettle{q, lease})
		if p.stored() && q.durable && q.stream == nil {
			val.Settle = append(val.Settle, preparedSettleValue{
				q.base, int(p.level), p.seq, uint32(p.body()), p.expiry, p.count,
			})
		}
	}
	q.leave(t)
}

func (set *preparedSet) add(p *prepared) error {
	set.mu.Lock()
	defer set.mu.Unlock()
	switch {
	case set.byID[p.id] != nil:
		return errf(NotAllowed, "transaction is prepared already")
	case len(set.byID) >= maxPrepared || len(p.id) > maxPreparedID:
		return errf(Exhausted, "too many prepared transactions in vhost '%s'", p.vhost.name)
	case set.byID == nil:
		set.byID = make(map[string]*prepared)
	}
	set.byID[p.id] = p
	return nil
}

// take removes a transaction: whoever got it decides about it.
func (set *preparedSet) take(id string) *prepared {
	set.mu.Lock()
	defer set.mu.Unlock()
	p := set.byID[id]
	delete(set.byID, id)
	return p
}

// Prepared lists the identifiers of the transactions that wait for their
// outcome, sorted.
func (v *VHost) Prepared() []string {
	v.prepared.mu.Lock()
	defer v.prepared.mu.Unlock()
	return slices.Sorted(maps.Keys(v.prepared.byID))
}

// IsPrepared reports whether a transaction waits for its outcome.
func (v *VHost) IsPrepared(id string) bool {
	v.prepared.mu.Lock()
	defer v.prepared.mu.Unlock()
	return v.prepared.byID[id] != nil
}

// CommitPrepared carries out a prepared transaction. done runs when that is
// durable, on a goroutine of the store; its error says that the messages could
// not be read back, and the transaction stays prepared. Error: NotFound.
func (v *VHost) CommitPrepared(t *Turn, id string, done func(*Turn, error)) error {
	p := v.prepared.take(id)
	if p == nil {
		return errf(NotFound, "no transaction is prepared under this name")
	}
	if p.unread {
		p.read(1, done)
		return nil
	}
	p.commit(t, done)
	return nil
}

// read brings the messages back from the store, from one sequence number on,
// and commits.
func (p *prepared) read(from uint64, done func(*Turn, error)) {
	e := &p.vhost.broker.engine
	e.store.Read(&ReadRequest{
		Lane: p.lane, From: from, Max: loadCount, MaxBytes: e.load,
		Then: func(t *Turn, msgs []Stored, next uint64, err error) {
			for i := range msgs {
				if j := int(msgs[i].Seq) - 1; j >= 0 && j < len(p.publish) {
					p.publish[j].msg = msgs[i].Msg
				}
			}
			switch {
			case err == nil && next <= uint64(p.stored) && next > from:
				p.read(next, done)
			case err != nil || slices.ContainsFunc(p.publish, func(x preparedPublish) bool { return x.msg == nil }):
				if err == nil {
					err = errors.New("messages of a prepared transaction are missing")
				}
				p.vhost.broker.log.Error("a prepared transaction cannot be committed", "vhost", p.vhost.name, "error", err)
				_ = p.vhost.prepared.add(p)
				done(t, err)
			default:
				p.commit(t, done)
			}
		},
	})
}

// commit does everything in one batch. What was promised is not refused now:
// limits of queues do not count.
func (p *prepared) commit(t *Turn, done func(*Turn, error)) {
	p.vhost.images.keepAll(p.pictures)
	plan := p.vhost.broker.engine.newPlan(nil)
	for _, pub := range p.publish {
		plan.message = nil // the same one twice is two publishes
		for _, q := range pub.queues {
			if !q.ended.Load() {
				plan.add(pub.msg, q, put{
					stored: q.stores(pub.msg), level: q.level(pub.msg), at: pub.at, expiry: q.expiry(t, pub.msg),
				})
			}
		}
	}
	for _, st := range p.settle {
		st.queue.commitLease(t, p, st.lease, plan)
	}
	p.forget(plan)
	plan.done = done
	plan.run(t, true)
}

// forget has a batch take the transaction out of the store.
func (p *prepared) forget(plan *plan) {
	plan.batch.Definitions = append(plan.batch.Definitions, Definition{
		Kind: kindPrepared, Key: vhostKey(p.vhost.name, p.id), Delete: true,
	})
	if p.lane != 0 {
		plan.batch.Trims = append(plan.batch.Trims, StoreTrim{Lane: p.lane, Drop: true})
	}
	p.vhost.broker.ReturnIncomplete(p.counted)
	p.counted = 0
}

func (q *Queue) commitLease(t *Turn, x *prepared, lease Lease, p *plan) {
	q.mu.Lock()
	if i, sl := q.ledger.get(lease); sl != nil && sl.prepared == x {
		gone := q.takeLease(i)
		q.release(&gone.entry)
		q.stats.Acknowledged++
		if gone.stored() && q.stream == nil {
			p.batch.Settles = append(p.batch.Settles, StoreSettle{q.base + LaneID(gone.level), gone.seq, 1})
		}
		q.serve(t)
	}
	q.leave(t)
}

// RollbackPrepared undoes a prepared transaction. Deliveries whose subscription
// is still there are unsettled again and stay with it; the others come back to
// their queues as failed. done runs when that is durable. Error: NotFound.
func (v *VHost) RollbackPrepared(t *Turn, id string, done func(*Turn, error)) error {
	p := v.prepared.take(id)
	if p == nil {
		return errf(NotFound, "no transaction is prepared under this name")
	}
	plan := v.broker.engine.newPlan(nil)
	p.forget(plan)
	plan.done = done
	plan.run(t, true)
	for _, st := range p.settle {
		st.queue.rollbackLease(t, p, st.lease)
	}
	return nil
}

func (q *Queue) rollbackLease(t *Turn, x *prepared, lease Lease) {
	q.mu.Lock()
	if i, p := q.ledger.get(lease); p != nil && p.prepared == x {
		p.prepared = nil
		if p.hold == nil || p.sub != nil && p.sub.closed {
			gone := q.takeLease(i)
			q.conclude(&gone, Failed)
			q.putBack()
			q.serve(t)
			q.notify()
		}
	}
	q.leave(t)
}

// prepared takes over what was prepared before the restart.
func (r *recovery) prepared() {
	defs := r.byKind[kindPrepared]
	if len(defs) == 0 {
		return
	}
	queues := make(map[LaneID]*Queue)
	for _, v := range r.broker.vhosts.all() {
		for q := range v.meta {
			queues[q.base] = q
		}
	}
	for _, d := range defs {
		var val preparedValue
		key, err := splitKey(d.Key, 2)
		if err == nil {
			err = json.Unmarshal(d.Value, &val)
		}
		if err != nil || r.broker.vhosts.get(key[0]) == nil {
			r.orphans.remove(d.Kind, d.Key)
			continue
		}
		p := &prepared{vhost: r.broker.vhosts.get(key[0]), id: key[1], lane: val.Lane, stored: len(val.Publish)}
		p.unread = p.stored > 0
		for _, pub := range val.Publish {
			x := preparedPublish{at: pub.At, stored: true}
			for _, base := range pub.Queues {
				if q := queues[base]; q != nil {
					x.queues = append(x.queues, q)
				}
			}
			p.publish = append(p.publish, x)
		}
		for _, st := range val.Settle {
			if q := queues[st.Queue]; q != nil {
				q.withhold(r.turn, p, st)
			}
		}
		_ = p.vhost.prepared.add(p)
	}
}

// withhold makes a stored message a lease of a transaction that was prepared
// before a restart.
func (q *Queue) withhold(t *Turn, x *prepared, st preparedSettleValue) {
	q.mu.Lock()
	defer q.leave(t)
	if q.stream != nil || st.Level < 0 || st.Level >= len(q.lanes) {
		return
	}
	lease, p := q.hide(&q.lanes[st.Level], entry{
		seq: st.Seq, thin: true, size: st.Size, expiry: st.Expiry, timed: st.Expiry != 0, count: st.Count,
	})
	if p == nil {
		return
	}
	p.prepared = x
	x.settle = append(x.settle, preparedSettle{q, lease})
}
