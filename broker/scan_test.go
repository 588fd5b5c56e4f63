package broker_test

import (
	"fmt"
	"testing"

	"github.com/hermodmq/hermod/broker"
	"github.com/hermodmq/hermod/broker/brokertest"
)

// TestScanBuriesAndGoesOn: messages that expired at the head of a queue, or
// anywhere, whose consumers are particular do not change the order of the others,
// also before the clock ticks.
func TestScanBuriesAndGoesOn(t *testing.T) {
	const n = 200
	for _, way := range []string{"groups", "filter", "hash"} {
		for name, expired := range map[string]func(i int) bool{
			"the first":    func(i int) bool { return i == 0 },
			"the first 3":  func(i int) bool { return i < 3 },
			"every second": func(i int) bool { return i%2 == 0 },
			"all but one":  func(i int) bool { return i != n/2 },
		} {
			br, turn := benchBroker(t, broker.NewMemoryStore().Manual())
			sink := &brokertest.Recorder{}
			s := br.VHost("/").OpenSession(nil, sink)
			if _, err := s.DeclareQueue(turn, broker.QueueDeclare{Name: "q"}, nil); err != nil {
				t.Fatal(err)
			}
			var want []string
			for i := range n {
				m := &broker.Message{RoutingKey: "q", Body: fmt.Append(nil, i), TTL: broker.NoTTL}
				if way == "groups" {
					m.Notes = &broker.Notes{GroupID: "g"}
				}
				if expired(i) {
					m.TTL = 10
				} else {
					want = append(want, string(m.Body))
				}
				if _, err := s.Publish(turn, broker.Publish{Msg: m}); err != nil {
					t.Fatal(err)
				}
			}
			later := &broker.Turn{Now: turn.Now + 100}
			o := broker.SubscribeOptions{Queue: "q", Tag: "c", Prefetch: n}
			switch way {
			case "filter":
				o.Filter = func(*broker.Message, broker.Past) bool { return true }
			case "hash":
				o.Spread, o.SpreadKey = broker.SpreadHash, func(*broker.Message) uint64 { return 1 }
			}
			if _, err := s.Subscribe(later, o); err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, e := range sink.Take() {
				got = append(got, string(e.Delivery.Msg.Body))
			}
			if fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("%s, %s expired: got %v, want %v", way, name, got, want)
			}
		}
	}
}

// BenchmarkScan is one message from publish to acknowledgement on a queue where
// 500 others come before it whose consumer takes no more, or that nobody wants.
func BenchmarkScan(b *testing.B) {
	for _, way := range []string{"groups", "filter", "hash"} {
		b.Run(way, func(b *testing.B) {
			br, t := benchBroker(b, broker.NewMemoryStore().Manual())
			v := br.VHost("/")
			idle, busy := new(ackSink), new(ackSink)
			full, s := v.OpenSession(nil, idle), v.OpenSession(nil, busy)
			if _, err := s.DeclareQueue(t, broker.QueueDeclare{Name: "q"}, nil); err != nil {
				b.Fatal(err)
			}
			message := func(group string) *broker.Message {
				m := &broker.Message{RoutingKey: "q", Body: []byte(group), TTL: broker.NoTTL}
				if way == "groups" {
					m.Notes = &broker.Notes{GroupID: group}
				}
				return m
			}
			options := func(tag string, prefetch int) broker.SubscribeOptions {
				o := broker.SubscribeOptions{Queue: "q", Tag: tag, Prefetch: prefetch}
				switch way {
				case "filter":
					o.Filter = func(m *broker.Message, _ broker.Past) bool { return string(m.Body) == tag }
				case "hash":
					o.Spread, o.SpreadKey = broker.SpreadHash, func(m *broker.Message) uint64 { return uint64(m.Body[0]) }
				}
				return o
			}
			publish := func(m *broker.Message) {
				if _, err := s.Publish(t, broker.Publish{Msg: m}); err != nil {
					b.Fatal(err)
				}
			}
			if _, err := full.Subscribe(t, options("a", 1)); err != nil {
				b.Fatal(err)
			}
			publish(message("a"))
			if _, err := s.Subscribe(t, options("b", 100)); err != nil {
				b.Fatal(err)
			}
			wanted := ""
			for c := byte('a'); c <= 'z' && wanted == ""; c++ { // of a group, or hash, that goes to the other one
				if c == 'a' && way != "hash" {
					continue
				}
				publish(message(string(c)))
				if len(busy.leases) > 0 {
					wanted = string(c)
				}
			}
			if wanted == "" {
				b.Fatal("the second consumer gets nothing")
			}
			for range 500 {
				publish(message("a"))
			}
			busy.flush(t, s)
			m := message(wanted)
			b.ReportAllocs()
			for b.Loop() {
				publish(m)
				if len(busy.leases) >= 32 {
					busy.flush(t, s)
				}
			}
			if len(busy.leases) == 0 && b.N%32 != 0 {
				b.Fatal("nothing comes")
			}
		})
	}
}
