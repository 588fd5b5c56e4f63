package broker_test

import (
	"reflect"
	"testing"

	"github.com/hermodmq/hermod/broker"
)

type committed func(t *broker.Turn)

func (f committed) Committed(t *broker.Turn) { f(t) }

func storeMessage(body string) *broker.Message {
	return &broker.Message{Body: []byte(body), TTL: broker.NoTTL, Received: 7}
}

// Sequence numbers of a lane start at 1, have no gaps and are known at commit.
func TestMemoryStoreNumbers(t *testing.T) {
	s := broker.NewMemoryStore().Manual()
	turn := &broker.Turn{Now: 1}
	var seqs []uint64
	for _, body := range []string{"a", "b", "c"} {
		b := &broker.Batch{Publishes: []broker.StorePublish{{
			Msg: storeMessage(body), Targets: []broker.StoreTarget{{Lane: 1}, {Lane: 2}},
		}}}
		b.Then = committed(func(*broker.Turn) {
			seqs = append(seqs, b.Publishes[0].Targets[0].Seq, b.Publishes[0].Targets[1].Seq)
		})
		s.Append(b)
	}
	if len(seqs) != 0 {
		t.Fatal("committed before it was told to")
	}
	s.Commit(turn, -1)
	want := []uint64{1, 1, 2, 2, 3, 3}
	for i := range want {
		if seqs[i] != want[i] {
			t.Fatalf("sequence numbers %v, want %v", seqs, want)
		}
	}
	s.Append(&broker.Batch{Settles: []broker.StoreSettle{{Lane: 1, First: 1, Count: 2}}, Counts: []broker.StoreCount{{Lane: 1, Seq: 3, Count: 9}}})
	s.Append(&broker.Batch{Trims: []broker.StoreTrim{{Lane: 2, Drop: true}}})
	s.Commit(turn, -1)
	r, err := s.Crash(0).Recover()
	if err != nil || len(r.Lanes) != 1 {
		t.Fatalf("recovered %+v, %v", r, err)
	}
	if got, want := r.Lanes[0], (broker.LaneState{Lane: 1, First: 3, Next: 4, Count: 1, Bytes: 1, FirstTime: 7}); !reflect.DeepEqual(got, want) {
		t.Errorf("lane %+v, want %+v", got, want)
	}
	if r.NextLane != 3 {
		t.Errorf("next lane %d, want 3", r.NextLane)
	}
}

func TestMemoryStoreReads(t *testing.T) {
	s := broker.NewMemoryStore().Manual()
	turn := &broker.Turn{Now: 1}
	for i := range 10 {
		expiry := int64(0)
		if i%2 == 1 {
			expiry = int64(i)
		}
		s.Append(&broker.Batch{Publishes: []broker.StorePublish{{
			Msg: storeMessage("0123456789"), Targets: []broker.StoreTarget{{Lane: 1, Expiry: expiry}},
		}}})
	}
	s.Append(&broker.Batch{Settles: []broker.StoreSettle{{Lane: 1, First: 3, Count: 1}}})
	for _, x := range []struct {
		r    broker.ReadRequest
		want []uint64
		next uint64
	}{
		{broker.ReadRequest{From: 1, Max: 3, MaxBytes: 1000}, []uint64{1, 2, 4}, 5},
		{broker.ReadRequest{From: 4, To: 5, Max: 30, MaxBytes: 1000}, []uint64{4, 5}, 6},
		{broker.ReadRequest{From: 1, Max: 30, MaxBytes: 1}, []uint64{1}, 2},
		{broker.ReadRequest{From: 1, Max: 30, MaxBytes: 1000, ExpiredBefore: 5}, []uint64{2, 4, 6}, 11},
		{broker.ReadRequest{From: 11, Max: 30, MaxBytes: 1000}, nil, 11},
	} {
		var got []uint64
		var next uint64
		x.r.Lane = 1
		x.r.Then = func(_ *broker.Turn, msgs []broker.Stored, n uint64, err error) {
			for _, m := range msgs {
				got = append(got, m.Seq)
			}
			next = n
		}
		s.Read(&x.r)
		s.Commit(turn, -1)
		if len(got) != len(x.want) || next != x.next {
			t.Errorf("%+v: got %v next %d, want %v next %d", x.r, got, next, x.want, x.next)
			continue
		}
		for i := range got {
			if got[i] != x.want[i] {
				t.Errorf("%+v: got %v, want %v", x.r, got, x.want)
			}
		}
	}
}

// Close waits for what was appended; relief comes when congestion ends.
func TestMemoryStoreRunsByItself(t *testing.T) {
	s := broker.NewMemoryStore()
	s.Congest(1)
	relief := make(chan bool, 2)
	s.OnRelief(func() { relief <- true })
	<-relief
	release, started := make(chan bool), make(chan bool)
	s.Append(&broker.Batch{Then: committed(func(*broker.Turn) { close(started); <-release })})
	<-started
	if !s.Congested() {
		t.Error("not congested with one batch under way")
	}
	s.OnRelief(func() { relief <- true })
	close(release)
	<-relief
	n := 0
	for range 100 {
		s.Append(&broker.Batch{Then: committed(func(*broker.Turn) { n++ })})
	}
	if err := s.Close(); err != nil || n != 100 {
		t.Errorf("%d of 100 batches were carried out at Close: %v", n, err)
	}
}
