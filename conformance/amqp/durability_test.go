package amqpconf

import (
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/hermodmq/hermod/conformance/harness"
	amqp "github.com/rabbitmq/amqp091-go"
)

// crashable returns a broker and a way to kill it hard and start it again: a
// broker of our own, or the shared one with the command in BROKER_RESTART.
func crashable(t *testing.T) (b *target, crash func()) {
	t.Helper()
	if restart := os.Getenv("BROKER_RESTART"); restart != "" {
		return &shared, func() {
			t.Helper()
			if _, err := harness.Run(restart); err != nil {
				t.Fatal(err)
			}
			if out, err := os.ReadFile(os.Getenv("BROKER_PIDFILE")); err == nil {
				shared.pid, _ = strconv.Atoi(strings.TrimSpace(string(out)))
			}
		}
	}
	one := startOwn(t)
	return &one, func() {
		t.Helper()
		one.own.Kill()
		must(t, one.own.Restart())
		one.addr, one.pid = one.own.Addr("amqp"), one.own.PID()
	}
}

func TestAMQP57_Durability(t *testing.T) {
	b, crash := crashable(t)
	conn := b.dial(t, amqp.Config{})
	ch := confirming(t, conn)
	x, bound, quorum := unique(t, "x"), unique(t, "bound"), unique(t, "quorum")
	topic, transientQ, transientX := unique(t, "topic"), unique(t, "transient"), unique(t, "tx")
	must(t, ch.ExchangeDeclare(x, "direct", true, false, false, false, nil))
	must(t, ch.ExchangeDeclare(topic, "topic", true, false, false, false, nil))
	must(t, ch.ExchangeDeclare(transientX, "direct", false, false, false, false, nil))
	mustDeclare := func(name string, durable bool, args amqp.Table) {
		t.Helper()
		_, err := ch.QueueDeclare(name, durable, false, false, false, args)
		must(t, err)
	}
	args := amqp.Table{"x-max-priority": int32(3), "x-message-ttl": int32(600_000)}
	mustDeclare(bound, true, args)
	mustDeclare(quorum, true, typed("quorum"))
	mustDeclare(transientQ, false, nil)
	bind(t, ch, bound, "k", x, nil)
	must(t, ch.ExchangeBind(x, "#", topic, false, nil))
	for i := range 200 {
		confirm(t, ch, x, "k", persistent("kept "+itoa(i)))
		confirm(t, ch, x, "k", text("transient"))
	}
	confirm(t, ch, topic, "k", persistent("kept 200"))
	confirm(t, ch, "", quorum, persistent("q"))
	confirm(t, ch, "", transientQ, persistent("lost with its queue"))
	must(t, get(t, ch, bound, false).Ack(false)) // "kept 0", lazily persisted

	crash()

	conn = b.dial(t, amqp.Config{})
	ch = confirming(t, conn)
	mustDeclare(bound, true, args) // equivalent: arguments survived
	in, err := ch.Consume(bound, "", true, false, false, false, nil)
	must(t, err)
	first := recv(t, in)
	next := 1
	if string(first.Body) == "kept 0" {
		t.Log("the ack before the crash was not on disk: redelivered")
	} else if string(first.Body) != "kept 1" {
		t.Fatalf("first = %q, want kept 1 (or kept 0 again)", first.Body)
	} else {
		next = 2
	}
	for ; next <= 200; next++ {
		if d := recv(t, in); string(d.Body) != "kept "+itoa(next) || d.DeliveryMode != amqp.Persistent {
			t.Fatalf("got %q (mode %d), want kept %d", d.Body, d.DeliveryMode, next)
		}
	}
	silent(t, in)
	if _, ok := Deviations["AMQP-57 quorum"]; !ok || !reference() {
		if d := get(t, ch, quorum, true); string(d.Body) != "q" {
			t.Errorf("quorum queue holds %q, want q", d.Body)
		}
	}
	confirm(t, ch, topic, "k", text("bindings survived"))
	wantBodies(t, in, "bindings survived")
	soft(t, conn, 404, "", func(ch *amqp.Channel) error {
		_, err := ch.QueueDeclarePassive(transientQ, false, false, false, false, nil)
		return err
	})
	soft(t, conn, 404, "", func(ch *amqp.Channel) error {
		return ch.ExchangeDeclarePassive(transientX, "direct", false, false, false, false, nil)
	})
	for _, q := range []string{bound, quorum} {
		_, err := ch.QueueDelete(q, false, false, false)
		must(t, err)
	}
	must(t, ch.ExchangeDelete(x, false, false))
	must(t, ch.ExchangeDelete(topic, false, false))
}

// TestAMQP57_DeletionsSurvive: what was deleted, purged or acknowledged (and
// followed by a confirmed publish) does not come back.
func TestAMQP57_DeletionsSurvive(t *testing.T) {
	b, crash := crashable(t)
	conn := b.dial(t, amqp.Config{})
	ch := confirming(t, conn)
	deleted, purged := unique(t, "deleted"), unique(t, "purged")
	for _, q := range []string{deleted, purged} {
		_, err := ch.QueueDeclare(q, true, false, false, false, nil)
		must(t, err)
		confirm(t, ch, "", q, persistent("old"))
	}
	_, err := ch.QueueDelete(deleted, false, false, false)
	must(t, err)
	_, err = ch.QueuePurge(purged, false)
	must(t, err)
	confirm(t, ch, "", purged, persistent("new"))
	crash()
	conn = b.dial(t, amqp.Config{})
	ch = channel(t, conn)
	if d := get(t, ch, purged, true); string(d.Body) != "new" {
		skipDeviation(t, "AMQP-57 purge")
		t.Errorf("got %q, want new: the purge did not survive", d.Body)
	}
	_, err = ch.QueueDelete(purged, false, false, false)
	must(t, err)
	soft(t, conn, 404, "", func(ch *amqp.Channel) error {
		_, err := ch.QueueDeclarePassive(deleted, true, false, false, false, nil)
		return err
	})
}

// TestAMQP57_Drain: SIGTERM drains, keeps persistent messages and exits with
// status 0.
func TestAMQP57_Drain(t *testing.T) {
	b := startOwn(t)
	conn := b.dial(t, amqp.Config{})
	closed := conn.NotifyClose(make(chan *amqp.Error, 1))
	ch := confirming(t, conn)
	q := unique(t, "q")
	_, err := ch.QueueDeclare(q, true, false, false, false, nil)
	must(t, err)
	confirm(t, ch, "", q, persistent("kept"))
	must(t, b.own.Stop(30*time.Second))
	wantReply(t, outcome(t, closed, nil), 320, "~CONNECTION_FORCED - ")
	must(t, b.own.Restart())
	b.addr = b.own.Addr("amqp")
	ch = channel(t, b.dial(t, amqp.Config{}))
	if d := get(t, ch, q, true); string(d.Body) != "kept" {
		t.Errorf("got %q, want kept", d.Body)
	}
}
