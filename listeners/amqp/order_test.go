package amqp

import (
	"testing"

	"github.com/hermodmq/hermod/listeners/amqp/wire"
)

// A persistent message becomes visible at commit, but a client that publishes
// without confirms and then asks about the queue must find it there.
func TestMethodsThatLookIntoAQueueSeeWhatTheChannelPublished(t *testing.T) { // AMQP-56, AMQP-76
	w := newWorld(t, Options{})
	c := w.channel()
	c.send(1, &wire.QueueDeclare{Queue: "d", Durable: true})
	expect[*wire.QueueDeclareOk](c, 1)
	persistent := wire.Properties{DeliveryMode: 2}

	w.held = true
	c.publishWith("", "d", false, persistent, "one")
	c.publishWith("", "d", false, persistent, "two")
	c.send(1, &wire.QueueDeclare{Queue: "d", Passive: true})
	c.send(1, &wire.BasicGet{Queue: "d", NoAck: true})
	c.send(1, &wire.QueuePurge{Queue: "d"})
	w.m.Turn()
	if out := c.peer.Output(); len(out) != 0 {
		t.Fatalf("answered before the messages were visible: %x", out)
	}
	w.held = false
	if ok := expect[*wire.QueueDeclareOk](c, 1); ok.MessageCount != 2 {
		t.Errorf("queue.declare-ok counts %d messages, want 2", ok.MessageCount)
	}
	expect[*wire.BasicGetOk](c, 1)
	if m := c.content(1); m.body != "one" {
		t.Errorf("got %q, want one", m.body)
	}
	if ok := expect[*wire.QueuePurgeOk](c, 1); ok.MessageCount != 1 {
		t.Errorf("queue.purge-ok counts %d messages, want 1", ok.MessageCount)
	}
}

func TestReturnsOfATransactionComeWithItsCommit(t *testing.T) { // AMQP-61, AMQP-67
	w := newWorld(t, Options{})
	c := w.channel()
	c.send(1, &wire.TxSelect{})
	expect[*wire.TxSelectOk](c, 1)

	c.publishWith("", "nowhere", true, wire.Properties{}, "rolled back")
	c.send(1, &wire.TxRollback{})
	expect[*wire.TxRollbackOk](c, 1)

	c.publishWith("", "nowhere", true, wire.Properties{}, "committed")
	c.send(1, &wire.TxCommit{})
	expect[*wire.BasicReturn](c, 1)
	if m := c.content(1); m.body != "committed" {
		t.Errorf("returned %q, want the message of the committed transaction", m.body)
	}
	expect[*wire.TxCommitOk](c, 1)
}
