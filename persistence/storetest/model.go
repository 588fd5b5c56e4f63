package storetest

import (
	"cmp"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/hermodmq/hermod/broker"
)

const (
	modelSeeds     = 12
	modelSeedsSlow = 1
	modelSteps     = 400
	markerKind     = "marker" // a definition in every batch that counts batches
)

// model is what the store should hold, as plainly as can be.
type model struct {
	lanes       map[broker.LaneID]*modelLane
	definitions map[string]string
	nextLane    broker.LaneID
	marker      int
}

type modelLane struct {
	next uint64
	msgs map[uint64]*modelMessage
}

type modelMessage struct {
	body   string
	expiry int64
	count  uint32
	lease  broker.StoreLease // without deadline: none
}

func newModel() *model {
	return &model{lanes: map[broker.LaneID]*modelLane{}, definitions: map[string]string{}, nextLane: 1}
}

func (m *model) clone() *model {
	c := &model{lanes: map[broker.LaneID]*modelLane{}, definitions: maps.Clone(m.definitions), nextLane: m.nextLane, marker: m.marker}
	for id, l := range m.lanes {
		n := &modelLane{next: l.next, msgs: map[uint64]*modelMessage{}}
		for seq, msg := range l.msgs {
			copied := *msg
			n.msgs[seq] = &copied
		}
		c.lanes[id] = n
	}
	return c
}

func (m *model) apply(b *broker.Batch) {
	for _, p := range b.Publishes {
		for _, t := range p.Targets {
			l := m.lanes[t.Lane]
			if l == nil {
				l = &modelLane{next: 1, msgs: map[uint64]*modelMessage{}}
				m.lanes[t.Lane] = l
				m.nextLane = max(m.nextLane, t.Lane+1)
			}
			l.msgs[l.next] = &modelMessage{body: string(p.Msg.Body), expiry: t.Expiry}
			l.next++
		}
	}
	for _, s := range b.Settles {
		for seq := s.First; seq < s.First+s.Count; seq++ {
			delete(m.lanes[s.Lane].msgs, seq)
		}
	}
	for _, c := range b.Counts {
		if msg := m.lanes[c.Lane].msgs[c.Seq]; msg != nil {
			msg.count, msg.lease = c.Count, broker.StoreLease{}
		}
	}
	for _, x := range b.Leases {
		if msg := m.lanes[x.Lane].msgs[x.Seq]; msg != nil {
			if msg.lease = x; x.Deadline == 0 {
				msg.lease = broker.StoreLease{}
			}
		}
	}
	for _, t := range b.Trims {
		if t.Drop {
			delete(m.lanes, t.Lane)
			continue
		}
		maps.DeleteFunc(m.lanes[t.Lane].msgs, func(seq uint64, _ *modelMessage) bool { return seq < t.Before })
	}
	for _, d := range b.Definitions {
		switch {
		case d.Kind == markerKind:
			m.marker, _ = parseMarker(d.Value)
		case d.Delete:
			delete(m.definitions, d.Kind+"/"+d.Key)
		default:
			m.definitions[d.Kind+"/"+d.Key] = string(d.Value)
		}
	}
}

func parseMarker(v []byte) (int, error) {
	var n int
	_, err := fmt.Sscan(string(v), &n)
	return n, err
}

// history drives a store and its model with random batches.
type history struct {
	*world
	rnd       *rand.Rand
	now       *model          // with everything appended
	base      *model          // as of the last restart
	since     []*broker.Batch // appended after base
	committed atomic.Int64    // highest marker that committed
	lanes     []broker.LaneID
	fresh     broker.LaneID
}

func testModel(w *world) {
	h := &history{world: w, now: newModel(), base: newModel(), fresh: 1}
	seeds := uint64(modelSeeds)
	if w.Slow {
		seeds = modelSeedsSlow
	}
	for seed := range seeds {
		h.rnd = rand.New(rand.NewPCG(seed, 1))
		for range modelSteps {
			h.step()
			if w.t.Failed() {
				w.t.Fatalf("seed %d", seed)
			}
		}
	}
}

func (h *history) step() {
	switch n := h.rnd.IntN(100); {
	case n < 80:
		h.append()
	case n < 88:
		h.barrier()
		h.readSome()
	case n < 95:
		h.checkpoint()
	case n < 97:
		h.barrier()
		h.checkAll()
	case n < 98 && h.Reopen != nil:
		h.barrier()
		h.restart()
		h.recovered()
	case h.Crash != nil:
		h.crash()
		h.recovered()
	}
}

// mark is the Committer of a batch.
type mark struct {
	h *history
	n int64
}

func (m mark) Committed(*broker.Turn) { m.h.committed.Store(m.n) }

func (h *history) append() {
	b := h.batch()
	n := h.now.marker + 1
	b.Definitions = append(b.Definitions, broker.Definition{Kind: markerKind, Value: []byte(fmt.Sprint(n))})
	b.Then = mark{h, int64(n)}
	h.now.apply(b)
	h.since = append(h.since, b)
	h.Store.Append(b)
}

// barrier waits until everything appended has committed.
func (h *history) barrier() {
	h.commit(&broker.Batch{})
}

// lane picks an existing lane, mostly.
func (h *history) pick() broker.LaneID {
	if len(h.lanes) == 0 || len(h.lanes) < 6 && h.rnd.IntN(20) == 0 {
		id := h.fresh
		h.fresh++
		h.lanes = append(h.lanes, id)
		return id
	}
	return h.lanes[h.rnd.IntN(len(h.lanes))]
}

func (h *history) batch() *broker.Batch {
	b := &broker.Batch{}
	for range h.rnd.IntN(6) {
		b.Publishes = append(b.Publishes, h.publish())
	}
	if h.rnd.IntN(10) == 0 {
		b.Definitions = append(b.Definitions, broker.Definition{
			Kind: "k", Key: fmt.Sprint(h.rnd.IntN(5)), Value: []byte(fmt.Sprint(h.rnd.Int())), Delete: h.rnd.IntN(3) == 0,
		})
	}
	// What a batch settles existed before it.
	for range h.rnd.IntN(3) {
		if s, ok := h.settlement(); ok {
			b.Settles = append(b.Settles, s)
		}
	}
	if len(h.lanes) > 0 && h.rnd.IntN(4) == 0 {
		id := h.lanes[h.rnd.IntN(len(h.lanes))]
		if l := h.now.lanes[id]; l != nil {
			b.Counts = append(b.Counts, broker.StoreCount{Lane: id, Seq: 1 + h.rnd.Uint64N(l.next), Count: 1 + h.rnd.Uint32N(9)})
		}
	}
	if len(h.lanes) > 0 && h.rnd.IntN(3) == 0 {
		b.Leases = h.leases()
	}
	h.maybeTrim(b)
	return b
}

// leases are some of one lane: begun, extended or ended.
func (h *history) leases() (list []broker.StoreLease) {
	id := h.lanes[h.rnd.IntN(len(h.lanes))]
	l := h.now.lanes[id]
	if l == nil {
		return nil
	}
	for range 1 + h.rnd.IntN(4) {
		x := broker.StoreLease{Lane: id, Seq: 1 + h.rnd.Uint64N(l.next)}
		if h.rnd.IntN(4) > 0 {
			x.Since = h.rnd.Int64N(2_000_000_000_000)
			x.Deadline = x.Since + 1 + h.rnd.Int64N(43_200_000)
			x.First = x.Since - h.rnd.Int64N(3)
			x.Expiry = h.rnd.Int64N(2) * (x.Since + h.rnd.Int64N(1_000_000))
			x.Nonce, x.Count, x.Size = h.rnd.Uint32(), h.rnd.Uint32N(9), h.rnd.Uint32()
			x.Unseen = h.rnd.IntN(9) == 0
			x.Group = strings.Repeat("g", h.rnd.IntN(3)*h.rnd.IntN(60))
		}
		list = append(list, x)
	}
	return list
}

func (h *history) publish() broker.StorePublish {
	size := h.rnd.IntN(300)
	switch h.rnd.IntN(60) {
	case 0:
		size = h.rnd.IntN(200_000)
	case 1, 2, 3, 4:
		size = 3000 + h.rnd.IntN(9000)
	}
	p := publish(fmt.Sprintf("%d:", h.rnd.Int())+strings.Repeat("x", size), h.pick())
	if h.rnd.IntN(5) == 0 || size > 300 && h.rnd.IntN(2) == 0 {
		if other := h.pick(); other != p.Targets[0].Lane {
			p.Targets = append(p.Targets, broker.StoreTarget{Lane: other})
		}
	}
	for i := range p.Targets {
		if h.rnd.IntN(4) == 0 {
			p.Targets[i].Expiry = 1 + h.rnd.Int64N(100_000)
		}
	}
	return p
}

func (h *history) settlement() (broker.StoreSettle, bool) {
	if len(h.lanes) == 0 {
		return broker.StoreSettle{}, false
	}
	id := h.lanes[h.rnd.IntN(len(h.lanes))]
	l := h.now.lanes[id]
	if l == nil || len(l.msgs) == 0 {
		return broker.StoreSettle{}, false
	}
	first := slices.Sorted(maps.Keys(l.msgs))[h.rnd.IntN(min(len(l.msgs), 40))]
	return broker.StoreSettle{Lane: id, First: first, Count: 1 + min(h.rnd.Uint64N(12), l.next-1-first)}, true
}

func (h *history) maybeTrim(b *broker.Batch) {
	if len(h.lanes) == 0 || h.rnd.IntN(60) != 0 {
		return
	}
	i := h.rnd.IntN(len(h.lanes))
	id := h.lanes[i]
	l := h.now.lanes[id]
	if l == nil {
		return
	}
	if h.rnd.IntN(3) > 0 {
		b.Trims = append(b.Trims, broker.StoreTrim{Lane: id, Before: 1 + h.rnd.Uint64N(l.next)})
		return
	}
	// Nothing else in this batch may name the lane.
	*b = broker.Batch{Trims: []broker.StoreTrim{{Lane: id, Drop: true}}}
	h.lanes = slices.Delete(h.lanes, i, i+1)
}

// recovered compares what the store holds after a restart with the model: at
// least what had committed, at most what was appended, and batches whole.
func (h *history) recovered() {
	h.t.Helper()
	survived := 0
	for _, d := range h.got.Definitions {
		if d.Kind == markerKind {
			survived, _ = parseMarker(d.Value)
		}
	}
	if int64(survived) < h.committed.Load() || survived > h.now.marker {
		h.t.Fatalf("batch %d survived, %d had committed, %d were appended", survived, h.committed.Load(), h.now.marker)
	}
	m := h.base
	for _, b := range h.since {
		if m.marker == survived {
			break
		}
		m.apply(b)
	}
	h.now, h.base, h.since = m, m.clone(), nil
	h.committed.Store(int64(survived))
	h.checkState()
	h.checkAll()
	h.lanes = slices.DeleteFunc(slices.Sorted(maps.Keys(m.lanes)), func(broker.LaneID) bool { return false })
	h.fresh = max(h.got.NextLane, 1)
}

// checkState compares the recovered summary.
func (h *history) checkState() {
	h.t.Helper()
	m := h.now
	if h.got.NextLane < m.nextLane {
		h.t.Errorf("next lane %d, want at least %d", h.got.NextLane, m.nextLane)
	}
	if len(h.got.Lanes) != len(m.lanes) {
		h.t.Errorf("%d lanes, want %d", len(h.got.Lanes), len(m.lanes))
	}
	for id, l := range m.lanes {
		want := broker.LaneState{Lane: id, First: l.next, Next: l.next}
		for seq, msg := range l.msgs {
			want.First = min(want.First, seq)
			want.Count++
			want.Bytes += uint64(len(msg.body))
			want.Timed = want.Timed || msg.expiry != 0
			want.FirstTime = 1_700_000_000_000
			if msg.lease.Deadline != 0 {
				want.Leases = append(want.Leases, msg.lease)
			}
		}
		slices.SortFunc(want.Leases, func(a, b broker.StoreLease) int { return cmp.Compare(a.Seq, b.Seq) })
		h.wantLane(want)
	}
	n := 0
	for _, d := range h.got.Definitions {
		if d.Kind == markerKind {
			continue
		}
		n++
		if v, ok := m.definitions[d.Kind+"/"+d.Key]; !ok || v != string(d.Value) {
			h.t.Errorf("definition %s/%s is %q, want %q", d.Kind, d.Key, d.Value, v)
		}
	}
	if n != len(m.definitions) {
		h.t.Errorf("%d definitions, want %d", n, len(m.definitions))
	}
}

// checkAll reads every lane to the end.
func (h *history) checkAll() {
	h.t.Helper()
	for id, l := range h.now.lanes {
		all := h.readAll(broker.ReadRequest{Lane: id, From: 1, Max: 1 + h.rnd.IntN(100), MaxBytes: 1 + h.rnd.IntN(100_000)})
		h.compare(id, all, slices.Sorted(maps.Keys(l.msgs)))
	}
}

// readSome reads a part of a lane, or its expired messages.
func (h *history) readSome() {
	h.t.Helper()
	id := h.pick()
	l := h.now.lanes[id]
	if l == nil {
		return
	}
	r := broker.ReadRequest{Lane: id, From: h.rnd.Uint64N(l.next + 1), Max: 1 + h.rnd.IntN(50), MaxBytes: 1 << 20}
	if h.rnd.IntN(2) == 0 {
		r.To = r.From + h.rnd.Uint64N(100)
	}
	if h.rnd.IntN(2) == 0 {
		r.ExpiredBefore = 1 + h.rnd.Int64N(100_000)
	}
	var want []uint64
	for _, seq := range slices.Sorted(maps.Keys(l.msgs)) {
		e := l.msgs[seq].expiry
		if seq >= r.From && (r.To == 0 || seq <= r.To) && (r.ExpiredBefore == 0 || e != 0 && e <= r.ExpiredBefore) {
			want = append(want, seq)
		}
	}
	h.compare(id, h.readAll(r), want)
}

func (h *history) compare(id broker.LaneID, got []broker.Stored, want []uint64) {
	h.t.Helper()
	seqs := make([]uint64, len(got))
	for i := range got {
		seqs[i] = got[i].Seq
	}
	if !slices.Equal(seqs, want) {
		h.t.Errorf("lane %d holds %v, want %v", id, seqs, want)
		return
	}
	for i := range got {
		msg := h.now.lanes[id].msgs[got[i].Seq]
		if string(got[i].Msg.Body) != msg.body || got[i].Expiry != msg.expiry || got[i].Count != msg.count {
			h.t.Errorf("lane %d message %d differs: count %d want %d", id, got[i].Seq, got[i].Count, msg.count)
		}
	}
}
