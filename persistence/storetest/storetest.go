// Package storetest is the contract suite of broker.Store: every
// implementation passes it unchanged.
package storetest

import (
	"bytes"
	"fmt"
	"reflect"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/hermodmq/hermod/broker"
)

// patience is how long the suite waits for something that must happen.
const patience = time.Minute

// Opened is a store under test, opened and not yet recovered.
type Opened struct {
	Store broker.Store

	// Reopen is called after Store.Close and opens the store again; nil for a
	// store that forgets.
	Reopen func() broker.Store

	// Crash ends the store as a power failure would and opens it again; nil
	// for a store that forgets.
	Crash func() broker.Store

	// Slow says that Reopen and Crash take long, so that the random histories
	// are fewer.
	Slow bool

	// Hold stops commits until the function it returns is called; nil if the
	// store has no such thing.
	Hold func() (release func())
}

// checkpointer is what a store may have besides broker.Store.
type checkpointer interface{ Checkpoint() error }

// Run runs the suite. open makes an empty store.
func Run(t *testing.T, open func(t *testing.T) Opened) {
	for _, c := range []struct {
		name string
		run  func(w *world)
	}{
		{"an empty store recovers empty", testEmpty},
		{"sequence numbers follow the commit order without gaps", testSequence},
		{"committers are told in order and never inside Append", testCommitOrder},
		{"a message goes to several lanes in one batch", testFanOut},
		{"reads keep to their bounds", testReadBounds},
		{"reads find only expired messages", testReadExpired},
		{"reads of a lane answer in order", testReadOrder},
		{"settled messages are gone", testSettle},
		{"a trim removes a prefix and a drop the lane", testTrim},
		{"delivery counts are kept until settlement", testCounts},
		{"leases are kept until their message comes back or is settled", testLeases},
		{"definitions are put, replaced and deleted", testDefinitions},
		{"a batch of any size is atomic", testBigBatch},
		{"a large message comes back", testLargeMessage},
		{"concurrent appenders get distinct numbers", testConcurrent},
		{"reads race with settlements and checkpoints", testReadRace},
		{"congestion is relieved", testCongestion},
		{"everything survives a clean stop", testReopen},
		{"what was committed survives a crash", testCrash},
		{"a stuck message holds nothing up", testStuck},
		{"random histories match a model", testModel},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld(t, open(t))
			defer w.close()
			c.run(w)
		})
	}
}

// world drives one store.
type world struct {
	t *testing.T
	Opened
	got *broker.Recovered
}

func newWorld(t *testing.T, o Opened) *world {
	w := &world{t: t, Opened: o}
	w.recover()
	return w
}

func (w *world) recover() {
	w.t.Helper()
	got, err := w.Store.Recover()
	if err != nil {
		w.t.Fatalf("Recover: %v", err)
	}
	w.got = got
}

func (w *world) close() {
	if err := w.Store.Close(); err != nil {
		w.t.Errorf("Close: %v", err)
	}
}

// restart closes and opens the store, or skips the test.
func (w *world) restart() {
	w.t.Helper()
	if w.Reopen == nil {
		w.t.SkipNow()
	}
	if err := w.Store.Close(); err != nil {
		w.t.Fatalf("Close: %v", err)
	}
	w.Store = w.Reopen()
	w.recover()
}

// crash pulls the plug, or skips the test.
func (w *world) crash() {
	w.t.Helper()
	if w.Crash == nil {
		w.t.SkipNow()
	}
	w.Store = w.Crash()
	w.recover()
}

func (w *world) checkpoint() {
	w.t.Helper()
	if c, ok := w.Store.(checkpointer); ok {
		if err := c.Checkpoint(); err != nil {
			w.t.Fatalf("Checkpoint: %v", err)
		}
	}
}

// done is a Committer that closes a channel.
type done chan struct{}

func (d done) Committed(*broker.Turn) { close(d) }

// await waits for c with a deadline.
func await(t *testing.T, c <-chan struct{}, what string) {
	t.Helper()
	select {
	case <-c:
	case <-time.After(patience):
		t.Fatalf("%s did not happen", what)
	}
}

// commit appends b and waits for its commit.
func (w *world) commit(b *broker.Batch) {
	w.t.Helper()
	d := make(done)
	b.Then = d
	w.Store.Append(b)
	await(w.t, d, "commit")
}

// message makes a message with a recognisable body.
func message(body string) *broker.Message {
	return &broker.Message{
		Exchange: "amq.direct", RoutingKey: "key", Native: []byte{0, 1}, Body: []byte(body),
		Format: broker.FormatAMQP091, Persistent: true, TTL: broker.NoTTL, Received: 1_700_000_000_000,
	}
}

func publish(body string, lanes ...broker.LaneID) broker.StorePublish {
	p := broker.StorePublish{Msg: message(body)}
	for _, l := range lanes {
		p.Targets = append(p.Targets, broker.StoreTarget{Lane: l})
	}
	return p
}

// publishN commits n messages "prefix-0"... to a lane in batches of 100.
func (w *world) publishN(lane broker.LaneID, prefix string, n int) {
	w.t.Helper()
	for i := 0; i < n; {
		b := &broker.Batch{}
		for ; i < n && len(b.Publishes) < 100; i++ {
			b.Publishes = append(b.Publishes, publish(fmt.Sprintf("%s-%d", prefix, i), lane))
		}
		w.commit(b)
	}
}

func (w *world) settle(lane broker.LaneID, first, count uint64) {
	w.t.Helper()
	w.commit(&broker.Batch{Settles: []broker.StoreSettle{{Lane: lane, First: first, Count: count}}})
}

// page is the answer to a read.
type page struct {
	msgs []broker.Stored
	next uint64
	err  error
}

// read runs r and waits for its answer.
func (w *world) read(r broker.ReadRequest) page {
	w.t.Helper()
	var p page
	c := make(chan struct{})
	r.Then = func(_ *broker.Turn, msgs []broker.Stored, next uint64, err error) {
		p = page{slices.Clone(msgs), next, err}
		close(c)
	}
	w.Store.Read(&r)
	await(w.t, c, "read")
	return p
}

// readAll reads a lane to its end in pages of max.
func (w *world) readAll(r broker.ReadRequest) []broker.Stored {
	w.t.Helper()
	var all []broker.Stored
	for {
		p := w.read(r)
		if p.err != nil {
			w.t.Fatalf("read lane %d from %d: %v", r.Lane, r.From, p.err)
		}
		all = append(all, p.msgs...)
		if len(p.msgs) == 0 {
			return all
		}
		if last := p.msgs[len(p.msgs)-1].Seq; p.next <= last {
			w.t.Fatalf("read goes on at %d after message %d", p.next, last)
		}
		r.From = p.next
	}
}

// wantBodies checks bodies and order of what a lane holds.
func (w *world) wantBodies(lane broker.LaneID, want ...string) {
	w.t.Helper()
	var got []string
	for _, m := range w.readAll(broker.ReadRequest{Lane: lane, From: 1, Max: 3, MaxBytes: 1 << 20}) {
		got = append(got, string(m.Msg.Body))
	}
	if !slices.Equal(got, want) {
		w.t.Errorf("lane %d holds %q, want %q", lane, got, want)
	}
}

// lane returns the recovered state of a lane.
func (w *world) lane(id broker.LaneID) *broker.LaneState {
	for i := range w.got.Lanes {
		if w.got.Lanes[i].Lane == id {
			return &w.got.Lanes[i]
		}
	}
	return nil
}

func (w *world) wantLane(want broker.LaneState) {
	w.t.Helper()
	got := w.lane(want.Lane)
	if got == nil {
		w.t.Errorf("lane %d is gone", want.Lane)
		return
	}
	g := *got
	if g.FirstTime == 0 {
		want.FirstTime = 0 // unknown is allowed
	}
	if !reflect.DeepEqual(g, want) {
		w.t.Errorf("lane state\n got %+v\nwant %+v", g, want)
	}
}

func testEmpty(w *world) {
	if len(w.got.Definitions) != 0 || len(w.got.Lanes) != 0 || w.got.NextLane != 1 {
		w.t.Errorf("recovered %+v", w.got)
	}
	if p := w.read(broker.ReadRequest{Lane: 7, From: 1, Max: 10, MaxBytes: 1000}); len(p.msgs) != 0 || p.err != nil {
		w.t.Errorf("read of an unknown lane: %+v", p)
	}
}

func testSequence(w *world) {
	for i := range 10 {
		b := &broker.Batch{Publishes: []broker.StorePublish{publish(fmt.Sprint(i), 1), publish("other", 2)}}
		w.commit(b)
		if got := b.Publishes[0].Targets[0].Seq; got != uint64(i+1) {
			t := w.t
			t.Errorf("message %d has number %d", i, got)
		}
	}
	w.wantBodies(1, "0", "1", "2", "3", "4", "5", "6", "7", "8", "9")
}

// orderCommitter checks that it is told in order.
type orderCommitter struct {
	mu     *sync.Mutex
	at     int
	order  *[]int
	inside *bool
	broke  *bool
	last   chan struct{}
}

func (c *orderCommitter) Committed(*broker.Turn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	*c.order = append(*c.order, c.at)
	if *c.inside {
		*c.broke = true
	}
	if c.last != nil {
		close(c.last)
	}
}

func testCommitOrder(w *world) {
	const n = 500
	var mu sync.Mutex
	var order []int
	last := make(chan struct{})
	var broke bool
	for i := range n {
		// A store that called Committed inside Append would deadlock here or
		// be seen to do so.
		inside := false
		c := &orderCommitter{mu: &mu, at: i, order: &order, inside: &inside, broke: &broke}
		if i == n-1 {
			c.last = last
		}
		w.Store.Append(&broker.Batch{Publishes: []broker.StorePublish{publish("x", 1)}, Then: c})
	}
	await(w.t, last, "last commit")
	mu.Lock()
	defer mu.Unlock()
	if len(order) != n || !slices.IsSorted(order) || broke {
		w.t.Errorf("%d commits, sorted %v", len(order), slices.IsSorted(order))
	}
}

func testFanOut(w *world) {
	w.commit(&broker.Batch{Publishes: []broker.StorePublish{publish("solo", 2), publish("many", 1, 2, 3)}})
	w.checkpoint()
	w.wantBodies(1, "many")
	w.wantBodies(2, "solo", "many")
	w.settle(1, 1, 1)
	w.wantBodies(1)
	w.wantBodies(3, "many")
}

func testReadBounds(w *world) {
	w.publishN(1, "m", 1000)
	for range 2 {
		p := w.read(broker.ReadRequest{Lane: 1, From: 10, To: 20, Max: 100, MaxBytes: 1 << 20})
		if len(p.msgs) != 11 || p.msgs[0].Seq != 10 || p.msgs[10].Seq != 20 || p.next != 21 {
			w.t.Errorf("10 to 20: %d messages, next %d", len(p.msgs), p.next)
		}
		p = w.read(broker.ReadRequest{Lane: 1, From: 990, Max: 5, MaxBytes: 1 << 20})
		if len(p.msgs) != 5 || p.next != 995 {
			w.t.Errorf("5 from 990: %d messages, next %d", len(p.msgs), p.next)
		}
		p = w.read(broker.ReadRequest{Lane: 1, From: 1, Max: 5, MaxBytes: 1})
		if len(p.msgs) != 1 || p.next != 2 {
			w.t.Errorf("1 byte: %d messages, next %d", len(p.msgs), p.next)
		}
		p = w.read(broker.ReadRequest{Lane: 1, From: 998, Max: 100, MaxBytes: 1 << 20})
		if len(p.msgs) != 3 || p.next != 1001 {
			w.t.Errorf("from 998: %d messages, next %d", len(p.msgs), p.next)
		}
		p = w.read(broker.ReadRequest{Lane: 1, From: 5000, Max: 100, MaxBytes: 1 << 20})
		if len(p.msgs) != 0 {
			w.t.Errorf("from 5000: %d messages", len(p.msgs))
		}
		w.checkpoint() // the second round reads what was written down
	}
}

func testReadExpired(w *world) {
	b := &broker.Batch{}
	for i := range 300 {
		p := publish(fmt.Sprint(i), 1)
		if i%3 == 0 {
			p.Targets[0].Expiry = 1_700_000_000_000 + int64(i)*1000
		}
		b.Publishes = append(b.Publishes, p)
	}
	w.commit(b)
	for range 2 {
		msgs := w.readAll(broker.ReadRequest{Lane: 1, From: 1, Max: 7, MaxBytes: 1 << 20, ExpiredBefore: 1_700_000_150_000})
		if len(msgs) != 51 {
			w.t.Fatalf("%d expired messages, want 51", len(msgs))
		}
		for i, m := range msgs {
			if string(m.Msg.Body) != fmt.Sprint(3*i) || m.Expiry != 1_700_000_000_000+int64(i)*3000 {
				w.t.Errorf("expired message %d: %q at %d", i, m.Msg.Body, m.Expiry)
			}
		}
		w.checkpoint()
	}
}

func testReadOrder(w *world) {
	w.publishN(1, "m", 200)
	var mu sync.Mutex
	var order []int
	var wg sync.WaitGroup
	for i := range 100 {
		wg.Add(1)
		w.Store.Read(&broker.ReadRequest{Lane: 1, From: uint64(i), Max: 1 + i%50, MaxBytes: 1 << 20, Then: func(*broker.Turn, []broker.Stored, uint64, error) {
			mu.Lock()
			order = append(order, i)
			mu.Unlock()
			wg.Done()
		}})
	}
	c := make(chan struct{})
	go func() { wg.Wait(); close(c) }()
	await(w.t, c, "all reads")
	if !slices.IsSorted(order) {
		w.t.Errorf("answers in order %v", order)
	}
}

func testSettle(w *world) {
	w.publishN(1, "m", 10)
	w.settle(1, 3, 2)
	w.wantBodies(1, "m-0", "m-1", "m-4", "m-5", "m-6", "m-7", "m-8", "m-9")
	w.checkpoint()
	w.settle(1, 1, 1)
	w.settle(1, 8, 3)
	w.wantBodies(1, "m-1", "m-4", "m-5", "m-6")
	w.settle(1, 1, 10)
	w.wantBodies(1)
	w.publishN(1, "n", 1)
	w.wantBodies(1, "n-0")
	w.restart()
	w.wantBodies(1, "n-0")
	w.wantLane(broker.LaneState{Lane: 1, First: 11, Next: 12, Count: 1, Bytes: 3, FirstTime: 1_700_000_000_000})
}

func testTrim(w *world) {
	w.publishN(1, "m", 10)
	w.publishN(2, "n", 10)
	w.checkpoint()
	w.publishN(1, "m", 2)
	w.commit(&broker.Batch{Trims: []broker.StoreTrim{{Lane: 1, Before: 11}, {Lane: 2, Drop: true}}})
	w.wantBodies(1, "m-0", "m-1")
	w.wantBodies(2)
	w.restart()
	w.wantBodies(1, "m-0", "m-1")
	if w.lane(2) != nil {
		w.t.Errorf("the dropped lane is still there: %+v", w.lane(2))
	}
	if w.got.NextLane != 3 {
		w.t.Errorf("next lane %d, want 3", w.got.NextLane)
	}
}

func testCounts(w *world) {
	w.publishN(1, "m", 4)
	w.commit(&broker.Batch{Counts: []broker.StoreCount{{Lane: 1, Seq: 2, Count: 1}, {Lane: 1, Seq: 3, Count: 7}}})
	w.commit(&broker.Batch{Counts: []broker.StoreCount{{Lane: 1, Seq: 2, Count: 2}}})
	check := func() {
		w.t.Helper()
		var got []uint32
		for _, m := range w.readAll(broker.ReadRequest{Lane: 1, From: 1, Max: 10, MaxBytes: 1 << 20}) {
			got = append(got, m.Count)
		}
		if !slices.Equal(got, []uint32{0, 2, 7, 0}) {
			w.t.Errorf("counts %v", got)
		}
	}
	check()
	w.checkpoint()
	check()
	w.restart()
	check()
	w.crash()
	check()
}

func testLeases(w *world) {
	w.publishN(1, "m", 6)
	w.publishN(2, "n", 2)
	lease := func(lane broker.LaneID, seq uint64, group string) broker.StoreLease {
		return broker.StoreLease{
			Lane: lane, Seq: seq, Since: 1_700_000_000_123, Deadline: 1_700_000_600_123, First: 1_700_000_000_000, Nonce: 1<<32 - 1, Count: 3, Size: 77, Group: group,
		}
	}
	extended, hidden := lease(1, 5, "orders"), lease(1, 6, "")
	extended.Deadline += 1000
	hidden.Unseen, hidden.Expiry, hidden.First, hidden.Since = true, 1, 0, 5
	w.commit(&broker.Batch{Leases: []broker.StoreLease{
		lease(1, 1, ""), lease(1, 2, "a"), lease(1, 3, "a"), lease(1, 4, ""), lease(1, 5, "orders"), hidden, lease(1, 99, ""), lease(2, 2, "b"), lease(3, 1, ""),
	}})
	w.commit(&broker.Batch{
		Counts: []broker.StoreCount{{Lane: 1, Seq: 1, Count: 4}, {Lane: 1, Seq: 4, Count: 4}},
		Leases: []broker.StoreLease{{Lane: 1, Seq: 2}, lease(1, 4, ""), extended}, // after the counts
	})
	w.commit(&broker.Batch{Settles: []broker.StoreSettle{{Lane: 1, First: 3, Count: 1}}})
	w.checkpoint()
	w.commit(&broker.Batch{Settles: []broker.StoreSettle{{Lane: 2, First: 2, Count: 1}}})
	check := func() {
		w.t.Helper()
		if got, want := w.lane(1).Leases, []broker.StoreLease{lease(1, 4, ""), extended, hidden}; !slices.Equal(got, want) {
			w.t.Errorf("leases %+v, want %+v", got, want)
		}
		if got := w.lane(2).Leases; len(got) != 0 {
			w.t.Errorf("leases %+v of a message that was settled", got)
		}
	}
	w.restart()
	check()
	w.checkpoint()
	w.crash()
	check()
}

func definition(kind, key, value string) broker.Definition {
	return broker.Definition{Kind: kind, Key: key, Value: []byte(value)}
}

// wantDefinitions compares the recovered definitions, in order of kind and key.
func (w *world) wantDefinitions(want ...broker.Definition) {
	w.t.Helper()
	got := slices.Clone(w.got.Definitions)
	slices.SortFunc(got, func(a, b broker.Definition) int {
		return bytes.Compare([]byte(a.Kind+"\x00"+a.Key), []byte(b.Kind+"\x00"+b.Key))
	})
	same := slices.EqualFunc(got, want, func(a, b broker.Definition) bool {
		return a.Kind == b.Kind && a.Key == b.Key && bytes.Equal(a.Value, b.Value)
	})
	if !same {
		w.t.Errorf("definitions %v, want %v", got, want)
	}
}

func testDefinitions(w *world) {
	long := string(bytes.Repeat([]byte("k"), 60<<10))
	w.commit(&broker.Batch{Definitions: []broker.Definition{
		definition("exchange", "a", "1"), definition("queue", "a", "2"), definition("queue", "b", "3"), definition("queue", long, "4"),
	}})
	w.commit(&broker.Batch{Definitions: []broker.Definition{definition("queue", "a", "22"), {Kind: "queue", Key: "b", Delete: true}}})
	w.restart()
	w.wantDefinitions(definition("exchange", "a", "1"), definition("queue", "a", "22"), definition("queue", long, "4"))
	w.commit(&broker.Batch{Definitions: []broker.Definition{definition("queue", "b", "33"), {Kind: "queue", Key: long, Delete: true}}})
	w.crash()
	w.wantDefinitions(definition("exchange", "a", "1"), definition("queue", "a", "22"), definition("queue", "b", "33"))
}

func testBigBatch(w *world) {
	b := &broker.Batch{Definitions: []broker.Definition{definition("queue", "q", "1")}}
	body := string(bytes.Repeat([]byte("b"), 1<<20))
	for range 20 {
		b.Publishes = append(b.Publishes, publish(body, 1, 2))
	}
	w.commit(&broker.Batch{Publishes: []broker.StorePublish{publish("before", 1)}})
	w.commit(b)
	w.commit(&broker.Batch{Publishes: []broker.StorePublish{publish("after", 1)}})
	if got := b.Publishes[19].Targets; got[0].Seq != 21 || got[1].Seq != 20 {
		w.t.Errorf("the last message of the batch has numbers %+v", got)
	}
	w.crash()
	w.wantLane(broker.LaneState{Lane: 1, First: 1, Next: 23, Count: 22, Bytes: 20<<20 + 11, FirstTime: 1_700_000_000_000})
	w.wantDefinitions(definition("queue", "q", "1"))
}

func testLargeMessage(w *world) {
	body := bytes.Repeat([]byte("0123456789abcdef"), 1<<20) // 16 MiB
	w.commit(&broker.Batch{Publishes: []broker.StorePublish{publish("small", 1), publish(string(body), 1), publish("tail", 1)}})
	for range 2 {
		msgs := w.readAll(broker.ReadRequest{Lane: 1, From: 1, Max: 10, MaxBytes: 1000})
		if len(msgs) != 3 || !bytes.Equal(msgs[1].Msg.Body, body) || string(msgs[2].Msg.Body) != "tail" {
			w.t.Errorf("%d messages", len(msgs))
		}
		w.crash()
	}
	w.checkpoint()
	if p := w.read(broker.ReadRequest{Lane: 1, From: 2, Max: 1, MaxBytes: 1}); len(p.msgs) != 1 || !bytes.Equal(p.msgs[0].Msg.Body, body) {
		w.t.Errorf("after a checkpoint: %d messages", len(p.msgs))
	}
}

func testConcurrent(w *world) {
	const appenders, each = 8, 200
	var wg sync.WaitGroup
	seqs := make([][]uint64, appenders)
	for a := range appenders {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for range each {
				d := make(done)
				b := &broker.Batch{Publishes: []broker.StorePublish{publish("x", 1)}, Then: d}
				w.Store.Append(b)
				<-d
				seqs[a] = append(seqs[a], b.Publishes[0].Targets[0].Seq)
			}
		}()
	}
	c := make(chan struct{})
	go func() { wg.Wait(); close(c) }()
	await(w.t, c, "all commits")
	var all []uint64
	for a := range seqs {
		if !slices.IsSorted(seqs[a]) {
			w.t.Errorf("appender %d got numbers out of order", a)
		}
		all = append(all, seqs[a]...)
	}
	slices.Sort(all)
	for i, s := range all {
		if s != uint64(i+1) {
			w.t.Fatalf("number %d at position %d", s, i)
		}
	}
}

// testReadRace settles and checkpoints while a reader walks: it must see every
// message that stays, and never one settled before it asked.
func testReadRace(w *world) {
	const n = 4000
	w.publishN(1, "m", n)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Add(1)
	go func() {
		defer wg.Done()
		for i := 0; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			if c, ok := w.Store.(checkpointer); ok {
				if err := c.Checkpoint(); err != nil {
					w.t.Errorf("Checkpoint: %v", err)
					return
				}
			}
			b := &broker.Batch{Publishes: []broker.StorePublish{publish("noise", 2)}}
			d := make(done)
			b.Then = d
			w.Store.Append(b)
			<-d
		}
	}()
	for round := uint64(0); round < 9; round++ { // each round settles one in ten
		for first := round + 1; first <= n; first += 10 {
			w.Store.Append(&broker.Batch{Settles: []broker.StoreSettle{{Lane: 1, First: first, Count: 1}}})
		}
		w.settle(1, n+10, 1) // no such message: settles nothing, but waits for the others
		msgs := w.readAll(broker.ReadRequest{Lane: 1, From: 1, Max: 333, MaxBytes: 1 << 20})
		if want := n / 10 * int(9-round); len(msgs) != want {
			w.t.Fatalf("round %d: %d messages, want %d", round, len(msgs), want)
		}
		for _, m := range msgs {
			if (m.Seq-1)%10 <= round || string(m.Msg.Body) != fmt.Sprintf("m-%d", m.Seq-1) {
				w.t.Fatalf("round %d: message %d holds %q", round, m.Seq, m.Msg.Body)
			}
		}
	}
	close(stop)
	wg.Wait()
}

func testCongestion(w *world) {
	if w.Hold == nil {
		w.t.SkipNow()
	}
	release := w.Hold()
	body := string(bytes.Repeat([]byte("c"), 100<<10))
	for i := 0; !w.Store.Congested(); i++ {
		if i == 10000 {
			w.t.Fatal("a gigabyte in flight and no congestion")
		}
		w.Store.Append(&broker.Batch{Publishes: []broker.StorePublish{publish(body, 1)}})
	}
	relieved := make(chan struct{})
	w.Store.OnRelief(func() { close(relieved) })
	select {
	case <-relieved:
		w.t.Fatal("relieved while everything is in flight")
	default:
	}
	release()
	await(w.t, relieved, "relief")
	if w.Store.Congested() {
		w.t.Error("still congested")
	}
	again := make(chan struct{})
	w.Store.OnRelief(func() { close(again) })
	await(w.t, again, "relief without congestion")
}

func testReopen(w *world) {
	w.publishN(1, "m", 500)
	w.settle(1, 1, 100)
	w.settle(1, 200, 50)
	b := &broker.Batch{Publishes: []broker.StorePublish{publish("timed", 3)}}
	b.Publishes[0].Targets[0].Expiry = 1_800_000_000_000
	w.commit(b)
	check := func() {
		w.t.Helper()
		st := *w.lane(1)
		if st.First != 101 || st.Next != 501 || st.Count != 350 || st.Timed {
			w.t.Errorf("lane 1: %+v", st)
		}
		w.wantLane(broker.LaneState{Lane: 3, First: 1, Next: 2, Count: 1, Bytes: 5, FirstTime: 1_700_000_000_000, Timed: true})
		if w.got.NextLane != 4 {
			w.t.Errorf("next lane %d, want 4", w.got.NextLane)
		}
		msgs := w.readAll(broker.ReadRequest{Lane: 1, From: 1, Max: 64, MaxBytes: 1 << 20})
		if len(msgs) != 350 || msgs[0].Seq != 101 || msgs[99].Seq != 250 {
			w.t.Errorf("%d messages", len(msgs))
		}
	}
	w.restart()
	check()
	w.restart()
	check()
}

func testCrash(w *world) {
	w.publishN(1, "m", 300)
	w.checkpoint()
	w.settle(1, 1, 10)
	w.publishN(1, "n", 300)
	w.settle(1, 290, 20)
	for range 3 {
		w.crash()
		st := w.lane(1)
		if st == nil || st.First != 11 || st.Next != 601 || st.Count != 570 {
			w.t.Fatalf("lane 1: %+v", st)
		}
		msgs := w.readAll(broker.ReadRequest{Lane: 1, From: 1, Max: 64, MaxBytes: 1 << 20})
		if len(msgs) != 570 || string(msgs[569].Msg.Body) != "n-299" {
			w.t.Errorf("%d messages", len(msgs))
		}
	}
	b := &broker.Batch{Publishes: []broker.StorePublish{publish("next", 1)}}
	w.commit(b)
	if got := b.Publishes[0].Targets[0].Seq; got != 601 {
		w.t.Errorf("after recovery the next number is %d, want 601", got)
	}
}

func testStuck(w *world) {
	w.publishN(1, "stuck", 1)
	for i := range 20 {
		w.publishN(1, "m", 500)
		w.settle(1, uint64(2+500*i), 500)
		w.checkpoint()
	}
	w.wantBodies(1, "stuck-0")
	w.crash()
	w.wantBodies(1, "stuck-0")
	w.wantLane(broker.LaneState{Lane: 1, First: 1, Next: 10002, Count: 1, Bytes: 7, FirstTime: 1_700_000_000_000})
}
