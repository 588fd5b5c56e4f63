package amqpconf

import (
	"fmt"
	"strings"
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"
)

func TestAMQP21_ChannelOpenRules(t *testing.T) {
	t.Run("AMQP-21 second open", func(t *testing.T) {
		r := rawOpen(t, guest)
		r.channel(1)
		r.method(1, channelOpen, new(args).shortstr(""))
		wantClosing(t, r.expectClose(0), 504, "CHANNEL_ERROR - second 'channel.open' seen")
	})
	t.Run("AMQP-21 method before open", func(t *testing.T) {
		r := rawOpen(t, guest)
		r.method(1, basicQos, new(args).long(0).short(1).octet(0))
		wantClosing(t, r.expectClose(0), 504, "CHANNEL_ERROR - expected 'channel.open'")
	})
}

func passiveDeclare(q string) *args { return new(args).short(0).shortstr(q).octet(1).long(0) }

func TestAMQP22_SoftErrorClosesOneChannel(t *testing.T) {
	r := rawOpen(t, guest)
	r.channel(1)
	r.channel(2)
	r.method(1, queueDeclare, passiveDeclare("none"))
	c := r.expectClose(1)
	wantClosing(t, c, 404, "NOT_FOUND - no queue 'none' in vhost '/'")
	if c.class != 50 || c.method != 10 {
		t.Errorf("failing method = %d.%d, want 50.10", c.class, c.method)
	}
	r.method(1, channelCloseOK, nil)
	long := strings.Repeat("x", 255)
	r.method(2, queueDeclare, passiveDeclare(long))
	if c := r.expectClose(2); c.code != 404 || len(c.text) > 255 || !strings.HasPrefix(c.text, "NOT_FOUND - no queue 'xxx") {
		t.Errorf("closed with %d, %d bytes %q", c.code, len(c.text), c.text)
	}
	r.method(2, channelCloseOK, nil)
	r.channel(1)
}

func TestAMQP23_PipelineAfterSoftErrorIsIgnored(t *testing.T) {
	_, ch := open(t)
	q, ghost := queue(t, ch, nil), unique(t, "ghost")
	r := rawOpen(t, guest)
	r.channel(1)
	r.publish(1, unique(t, "nox"), "k", contentHeader(1, nil), []byte("a"))
	r.publish(1, "", q, contentHeader(1, nil), []byte("b"))
	r.method(1, queueDeclare, new(args).short(0).shortstr(ghost).octet(0).long(0))
	f := r.read()
	if f.id() != channelClose {
		t.Fatalf("got %s, want channel.close and nothing before it", describe(f))
	}
	r.publish(1, "", q, contentHeader(1, nil), []byte("c"))
	r.method(1, channelCloseOK, nil)
	r.channel(1)
	r.method(1, queueDeclare, passiveDeclare(ghost))
	wantClosing(t, r.expectClose(1), 404, "")
	wantReady(t, ch, q, 0)
}

func TestAMQP23_CrossingCloses(t *testing.T) {
	r := rawOpen(t, guest)
	r.channel(1)
	r.method(1, queueDeclare, passiveDeclare("none"))
	r.method(1, channelClose, new(args).short(200).shortstr("bye").short(0).short(0))
	r.expectClose(1)
	r.method(1, channelCloseOK, nil)
	r.expect(1, channelCloseOK)
	r.channel(1)
}

// holder is a channel with deliveries unacknowledged, tags 1 and up, by the
// consumer "holder".
type holder struct {
	*amqp.Channel
	in <-chan amqp.Delivery
}

// held sends the bodies to a new queue and has a consumer hold them.
func held(t *testing.T, bodies ...string) (holder, string) {
	t.Helper()
	_, ch := open(t)
	q := queue(t, ch, nil)
	send(t, q, bodies...)
	in := consumeTag(t, ch, q, "holder", nil)
	wantBodies(t, in, bodies...)
	return holder{ch, in}, q
}

func TestAMQP24_AckOfUnknownTag(t *testing.T) {
	for name, op := range map[string]func(*amqp.Channel) error{
		"ack":    func(ch *amqp.Channel) error { return ch.Ack(42, false) },
		"nack":   func(ch *amqp.Channel) error { return ch.Nack(42, false, true) },
		"reject": func(ch *amqp.Channel) error { return ch.Reject(42, true) },
		"many":   func(ch *amqp.Channel) error { return ch.Ack(42, true) },
	} {
		t.Run("AMQP-24 "+name, func(t *testing.T) {
			soft(t, dial(t), 406, "PRECONDITION_FAILED - unknown delivery tag 42", op)
		})
	}
}

func TestAMQP25_DoubleAck(t *testing.T) {
	ch, _ := held(t, "a")
	closed := ch.NotifyClose(make(chan *amqp.Error, 1))
	must(t, ch.Ack(1, false))
	must(t, ch.Ack(1, false))
	wantReply(t, outcome(t, closed, nil), 406, "PRECONDITION_FAILED - unknown delivery tag 1")
}

func TestAMQP26_AckMultiple(t *testing.T) {
	t.Run("AMQP-26 up to a tag", func(t *testing.T) {
		ch, q := held(t, "a", "b", "c")
		must(t, ch.Ack(2, true))
		must(t, ch.Close())
		_, other := open(t)
		wantReady(t, other, q, 1)
		if d := get(t, other, q, true); string(d.Body) != "c" {
			t.Errorf("left = %q, want c", d.Body)
		}
	})
	t.Run("AMQP-26 tag 0 means all", func(t *testing.T) {
		ch, q := held(t, "a", "b", "c")
		must(t, ch.Ack(0, true))
		must(t, ch.Close())
		_, other := open(t)
		empty(t, other, q)
	})
}

func TestAMQP27_ChannelCloseRequeuesInOrder(t *testing.T) {
	var bodies []string
	for i := range 20 {
		bodies = append(bodies, fmt.Sprintf("m%02d", i))
	}
	ch, q := held(t, bodies...)
	must(t, ch.Ack(3, false))
	must(t, ch.Close())
	send(t, q, "later")
	_, other := open(t)
	want := append(append(bodies[:2:2], bodies[3:]...), "later")
	for i, d := range wantBodies(t, consume(t, other, q, nil), want...) {
		if returned := i < len(want)-1; d.Redelivered != returned {
			t.Errorf("%q redelivered = %v, want %v", d.Body, d.Redelivered, returned)
		}
	}
}
