package persistence_test

import (
	"bytes"
	"fmt"
	"testing"
	"time"

	"github.com/hermodmq/hermod/broker"
	"github.com/hermodmq/hermod/persistence"
	"github.com/hermodmq/hermod/persistence/logtest"
)

func benchStore(b testing.TB, dir string, disk *logtest.Disk) *persistence.Store {
	s, err := persistence.Open(persistence.Options{Dir: dir, Log: disk.Open(), Logger: quiet(), CheckpointInterval: time.Hour})
	if err != nil {
		b.Fatal(err)
	}
	if _, err := s.Recover(); err != nil {
		b.Fatal(err)
	}
	return s
}

// signal is a Committer that can be used again.
type signal chan struct{}

func (s signal) Committed(*broker.Turn) { s <- struct{}{} }

func benchMessage(size int) *broker.Message {
	return &broker.Message{
		Exchange: "amq.direct", RoutingKey: "orders", Native: []byte{0x10, 0, 2}, Body: bytes.Repeat([]byte("x"), size),
		Format: broker.FormatAMQP091, Persistent: true, TTL: broker.NoTTL, Received: 1_700_000_000_000,
	}
}

// fill publishes n messages in batches of ten over some lanes and waits for
// the last commit. With settle, what a batch publishes the next one settles.
func fill(s *persistence.Store, n, size, lanes int, settle bool) {
	const batch = 10
	msg := benchMessage(size)
	list := make([]broker.Batch, 1024) // more than can be in flight
	for i := range list {
		list[i].Publishes = make([]broker.StorePublish, batch)
		for j := range list[i].Publishes {
			list[i].Publishes[j] = broker.StorePublish{Msg: msg, Targets: make([]broker.StoreTarget, 1)}
		}
		list[i].Settles = make([]broker.StoreSettle, 1)
	}
	relief := make(chan struct{}, 1)
	for i := 0; i < n; i += batch {
		if s.Congested() {
			s.OnRelief(func() { relief <- struct{}{} })
			<-relief
		}
		b := &list[i/batch%len(list)]
		for j := range b.Publishes {
			b.Publishes[j].Targets[0] = broker.StoreTarget{Lane: broker.LaneID(1 + (i/batch)%lanes)}
		}
		b.Settles = b.Settles[:0]
		if round := uint64(i / batch / lanes); settle && round > 0 {
			b.Settles = append(b.Settles, broker.StoreSettle{Lane: broker.LaneID(1 + (i/batch)%lanes), First: 1 + (round-1)*batch, Count: batch})
		}
		s.Append(b)
	}
	done := make(signal, 1)
	s.Append(&broker.Batch{Then: done})
	<-done
}

// BenchmarkPassThrough publishes and settles: nothing reaches a segment.
func BenchmarkPassThrough(b *testing.B) {
	for _, size := range []int{100, 1024} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			s := benchStore(b, b.TempDir(), logtest.NewDisk(1))
			defer s.Close()
			b.ReportAllocs()
			b.SetBytes(int64(size))
			b.ResetTimer()
			fill(s, b.N, size, 16, true)
		})
	}
}

// BenchmarkBacklog publishes and settles nothing: everything is written twice.
func BenchmarkBacklog(b *testing.B) {
	s := benchStore(b, b.TempDir(), logtest.NewDisk(1))
	defer s.Close()
	b.ReportAllocs()
	b.SetBytes(1024)
	b.ResetTimer()
	fill(s, b.N, 1024, 16, false)
}

// BenchmarkDrain reads a backlog from segments.
func BenchmarkDrain(b *testing.B) {
	s := benchStore(b, b.TempDir(), logtest.NewDisk(1))
	defer s.Close()
	const n = 100_000
	fill(s, n, 1024, 1, false)
	if err := s.Checkpoint(); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	b.SetBytes(1024)
	b.ResetTimer()
	from := uint64(1)
	answer := make(chan int, 1)
	r := &broker.ReadRequest{Lane: 1, Max: 256, MaxBytes: 256 << 10}
	r.Then = func(_ *broker.Turn, msgs []broker.Stored, next uint64, err error) {
		if err != nil {
			b.Error(err)
		}
		from = next
		answer <- len(msgs)
	}
	for i := 0; i < b.N; {
		r.From = from
		s.Read(r)
		got := <-answer
		i += max(got, 1)
		if got == 0 {
			from = 1
		}
	}
}

// BenchmarkRecover opens a store of a million messages in many lanes.
func BenchmarkRecover(b *testing.B) {
	for _, lanes := range []int{100, 10_000} {
		b.Run(fmt.Sprint(lanes), func(b *testing.B) {
			dir, disk := b.TempDir(), logtest.NewDisk(1)
			s := benchStore(b, dir, disk)
			fill(s, 1_000_000, 100, lanes, false)
			if err := s.Close(); err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				s := benchStore(b, dir, disk)
				b.StopTimer()
				if err := s.Close(); err != nil {
					b.Fatal(err)
				}
				b.StartTimer()
			}
		})
	}
}
