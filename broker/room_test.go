package broker_test

import (
	"testing"

	"github.com/hermodmq/hermod/broker"
	"github.com/hermodmq/hermod/broker/brokertest"
)

// TestAwaitRoom: who was refused is told once when there is room again.
func TestAwaitRoom(t *testing.T) {
	w, err := brokertest.NewWorld(nil)
	if err != nil {
		t.Fatal(err)
	}
	c := w.Client("c", nil)
	_, err = c.Session.DeclareQueue(w.Turn, broker.QueueDeclare{Name: "q", Args: broker.Table{
		{Name: "x-max-length", Value: int64(1)}, {Name: "x-overflow", Value: "reject-publish"},
	}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	publish := func() broker.PublishResult {
		r, err := c.Session.Publish(w.Turn, broker.Publish{Msg: w.Message("q", "x")})
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	publish()
	if !publish().Rejected {
		t.Fatal("the queue is not full")
	}
	told := 0
	q := w.VHost().Queue("q")
	q.AwaitRoom(w.Turn, func(*broker.Turn) { told++ })
	if told != 0 {
		t.Fatal("there is no room yet")
	}
	if err := c.Session.Get(w.Turn, "q", true, 1); err != nil {
		t.Fatal(err)
	}
	if told != 1 || publish().Rejected {
		t.Fatalf("told %d times", told)
	}
	q.AwaitRoom(w.Turn, func(*broker.Turn) { told++ })
	if _, err := c.Session.DeleteQueue(w.Turn, "q", false, false, nil); err != nil || told != 2 {
		t.Fatalf("told %d times of a queue that is gone: %v", told, err)
	}
}
