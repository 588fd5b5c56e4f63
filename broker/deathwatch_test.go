package broker_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/hermodmq/hermod/broker"
	"github.com/hermodmq/hermod/broker/brokertest"
)

// TestWatchDeaths: whoever watches hears of every message that a queue gives
// up, by which way ever, and of none any more once it stops.
func TestWatchDeaths(t *testing.T) {
	w, err := brokertest.NewWorld(nil)
	if err != nil {
		t.Fatal(err)
	}
	var told []string
	stop := w.VHost().WatchDeaths(func(_ *broker.Turn, d broker.Dead) {
		told = append(told, fmt.Sprintf("%s %s %s %v", d.Queue.Name(), d.Msg.Body, d.Reason, d.Kept))
	})
	other := w.VHost().WatchDeaths(func(*broker.Turn, broker.Dead) {})
	c, tx := w.Client("c", nil), w.Client("tx", nil)
	tx.Session.Begin()
	declare := func(name, dead string, args ...broker.Field) {
		d := broker.QueueDeclare{Name: name, Durable: true, DeadLetters: dead, Args: args}
		if _, err := c.Session.DeclareQueue(w.Turn, d, nil); err != nil {
			t.Fatal(err)
		}
	}
	declare("keeps", "dead")
	declare("drops", "")
	declare("short", "", broker.Field{Name: "x-max-length", Value: int64(1)})
	reject := func(c *brokertest.Client, queue string) {
		if err := c.Session.Get(w.Turn, queue, false, 1); err != nil {
			t.Fatal(err)
		}
		w.Commit()
		d := c.Open[len(c.Open)-1]
		c.Session.Settle(w.Turn, d.Queue, []broker.Lease{d.Lease}, broker.Rejected)
		w.Commit()
	}
	die := func() {
		for _, queue := range []string{"keeps", "drops"} {
			publish(t, w, c.Session, queue, "old", persistent, func(m *broker.Message) { m.TTL = 10 })
			w.Commit()
			w.Advance(20)
			w.Commit()
			publish(t, w, c.Session, queue, "bad", persistent)
			w.Commit()
			reject(c, queue)
			publish(t, w, c.Session, queue, "bad in a transaction", persistent)
			w.Commit()
			reject(tx, queue)
			tx.Session.Commit(w.Turn, func(*broker.Turn, error) {})
			w.Commit()
		}
		for _, body := range []string{"first", "second"} {
			publish(t, w, c.Session, "short", body, persistent)
			w.Commit()
		}
	}
	die()
	want := []string{
		"keeps old expired true", "keeps bad rejected true", "keeps bad in a transaction rejected true",
		"drops old expired false", "drops bad rejected false", "drops bad in a transaction rejected false",
		"short first maxlen false",
	}
	if !slices.Equal(told, want) {
		t.Errorf("told\n%q, want\n%q", told, want)
	}
	stop()
	told = nil
	if _, err := c.Session.PurgeQueue(w.Turn, "short", nil); err != nil {
		t.Fatal(err)
	}
	die()
	other()
	if len(told) > 0 {
		t.Errorf("told after the end: %q", told)
	}
}
