package broker_test

import (
	"reflect"
	"slices"
	"testing"

	"github.com/hermodmq/hermod/broker"
)

// AMQP-72: a dead-letter routing key replaces all keys of the message: the CC
// header goes like BCC. Without one, CC stays.
func TestDeadLetterKeyDropsCC(t *testing.T) {
	for _, key := range []string{"", "dead"} {
		t.Run("key="+key, func(t *testing.T) {
			w := newWorld(t)
			dead := declare(t, w, "dead", true)
			args := []broker.Field{{Name: "x-dead-letter-exchange", Value: ""}}
			want := []string{"BCC"}
			if key != "" {
				args = append(args, broker.Field{Name: "x-dead-letter-routing-key", Value: key})
				want = []string{"BCC", "CC"}
			}
			q := declare(t, w, "q", true, args...)
			c := w.Client("c", nil)
			publish(t, w, c.Session, "q", "m", persistent, func(m *broker.Message) {
				m.Notes = &broker.Notes{KeepKeys: []string{"dead"}, DropHeaders: []string{"BCC"}}
			})
			w.Store.Commit(w.Turn, -1)
			for _, d := range q.Receive(w.Turn, broker.ReceiveOptions{Max: 1}, nil) {
				c.Session.Settle(w.Turn, q, []broker.Lease{d.Lease}, broker.Rejected)
			}
			w.Store.Commit(w.Turn, -1)
			got := dead.Receive(w.Turn, broker.ReceiveOptions{Max: 1}, nil)
			if len(got) != 1 {
				t.Fatalf("no dead letter: %+v", q.Stats())
			}
			if n := got[0].Msg.Notes; !slices.Equal(n.DropHeaders, want) || (key == "") != (len(n.KeepKeys) == 1) {
				t.Errorf("drops %q, keeps %q", n.DropHeaders, n.KeepKeys)
			}
		})
	}
}

// A message survives its stored form; one of version 1 is read, too.
func TestStoredMessage(t *testing.T) {
	d := broker.Death{Queue: "q", Exchange: "x", Reason: broker.DeathExpired, Count: 1, Time: 5, RoutingKeys: []string{"k"}, OriginalExpiration: -1,
		Cause: "because"}
	m := &broker.Message{
		Exchange: "x", RoutingKey: "k", Native: []byte("n"), Body: []byte("b"), Format: broker.FormatSTOMP, Persistent: true,
		TTL: 7, Received: 9, Notes: &broker.Notes{
			Deaths: []broker.Death{d}, FirstDeath: &d, DropHeaders: []string{"BCC", "CC"}, GroupID: "g", StripTTL: true,
			GroupClose: true, Schedule: &broker.Schedule{Cron: "* * * * *", Delay: 1, Period: 2, Repeat: -1}, Occurrence: 4,
		},
	}
	got, err := broker.DecodeMessage(m.AppendBinary(nil))
	if err != nil || !reflect.DeepEqual(got, m) {
		t.Errorf("got %+v, %v", got, err)
	}
	old := []byte{
		1, 4, 1, 0, 2, 1, 'x', 1, 'k',
		0, 0, 0, 0, 3, 'B', 'C', 'C', 0, 0, 0, 0, 0, 0,
		0, 1, 'b',
	}
	got, err = broker.DecodeMessage(old)
	if err != nil || !slices.Equal(got.Notes.DropHeaders, []string{"BCC"}) || string(got.Body) != "b" {
		t.Errorf("version 1: %+v, %v", got, err)
	}
	old[13] = 0 // no header: the rest moves up
	if got, err = broker.DecodeMessage(slices.Delete(old, 14, 17)); err != nil || got.Notes.DropHeaders != nil {
		t.Errorf("version 1 without a header: %+v, %v", got, err)
	}
	for _, version := range []byte{0, 4} {
		if _, err := broker.DecodeMessage([]byte{version, 0, 0, 0, 0, 0, 0, 0, 0}); err == nil {
			t.Errorf("version %d was read", version)
		}
	}
}
