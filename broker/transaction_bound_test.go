package broker

import (
	"errors"
	"testing"
)

// A client that publishes in a transaction and never commits is refused before
// it has the broker's memory, routable or not; what it held is free again when
// the transaction or the session ends.
func TestOpenTransactionsAreBounded(t *testing.T) { // AMQP-67
	w := newTopoOn(t, NewMemoryStore(), func(o *Options) { o.MemoryLimit = 1 << 20 })
	m := &Message{RoutingKey: "q", Body: make([]byte, 4<<20), TTL: NoTTL}
	for _, routable := range []bool{true, false} {
		s := w.session()
		if routable {
			w.queue(s, "q")
		} else if _, err := s.DeleteQueue(w.turn, "q", false, false, nil); err != nil {
			t.Fatal(err)
		}
		s.Begin()
		fill := func() (n int) {
			for {
				_, err := s.Publish(w.turn, Publish{Msg: m})
				if e := (*Error)(nil); errors.As(err, &e) && e.Kind == Exhausted {
					return n
				} else if err != nil || n > 1000 {
					t.Fatalf("after %d messages: %v", n, err)
				}
				n++
			}
		}
		first := fill()
		if first == 0 || first > incompleteMinimum/len(m.Body) {
			t.Errorf("routable %v: %d messages were kept", routable, first)
		}
		s.Rollback(w.turn)
		if again := fill(); again != first {
			t.Errorf("routable %v: %d messages after the rollback, %d before", routable, again, first)
		}
		s.Close(w.turn)
		if left := w.b.incomplete.Load(); left != 0 {
			t.Errorf("routable %v: %d bytes are accounted for after the close", routable, left)
		}
	}
}
