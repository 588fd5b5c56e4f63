package amqpconf

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"
)

const (
	basicReturn = 60<<16 | 50
	basicNack   = 60<<16 | 120
	// messageSizeMax is the default limit of a body in bytes.
	messageSizeMax = 16 << 20
)

func TestAMQP60_Confirms(t *testing.T) {
	_, ch := open(t)
	q := durable(t, ch, nil)
	r := rawOpen(t, guest)
	r.channel(1)
	r.method(1, confirmSelect, new(args).octet(0))
	r.expect(1, confirmSelectOK)
	r.method(1, confirmSelect, new(args).octet(0)) // repeatable
	r.expect(1, confirmSelectOK)
	const n = 500
	props := []byte{0x10, 0, 2} // delivery-mode 2
	for range n {
		r.publish(1, "", q, contentHeader(1, props), []byte("m"))
	}
	seen := make([]bool, n+1)
	for count := 0; count < n; {
		p := r.expect(1, basicAck)
		tag, multiple := p.llong(), p.octet()&1 == 1
		if tag == 0 || tag > n || seen[tag] {
			t.Fatalf("ack of tag %d (multiple %v) out of range or repeated", tag, multiple)
		}
		first := tag
		if multiple {
			first = 1
		}
		for i := first; i <= tag; i++ {
			if !seen[i] {
				seen[i] = true
				count++
			}
		}
	}
	wantReady(t, ch, q, n)
	t.Run("AMQP-60 tags count per channel from 1", func(t *testing.T) {
		r.channel(2)
		r.method(2, confirmSelect, new(args).octet(0))
		r.expect(2, confirmSelectOK)
		r.publish(2, "", q, contentHeader(0, nil), nil)
		if tag := r.expect(2, basicAck).llong(); tag != 1 {
			t.Errorf("tag = %d, want 1", tag)
		}
	})
	t.Run("AMQP-60 unroutable is acked", func(t *testing.T) {
		conn := dial(t)
		if !confirm(t, confirming(t, conn), "amq.direct", unique(t, "nowhere"), text("m")) {
			t.Error("nacked")
		}
	})
}

func TestAMQP61_MandatoryReturnsThenAcks(t *testing.T) {
	r := rawOpen(t, guest)
	r.channel(1)
	r.method(1, confirmSelect, new(args).octet(0))
	r.expect(1, confirmSelectOK)
	r.method(1, basicPublish, new(args).short(0).shortstr("amq.direct").shortstr("nowhere").octet(1))
	header := contentHeader(3, new(args).short(0x8000).shortstr("text/plain").b)
	r.frame(frameHeader, 1, header)
	r.frame(frameBody, 1, []byte("abc"))
	c := r.expectContent(1, basicReturn)
	code, reason, x, key := c.args.short(), c.args.shortstr(), c.args.shortstr(), c.args.shortstr()
	if code != 312 || reason != "NO_ROUTE" || x != "amq.direct" || key != "nowhere" {
		t.Errorf("return = %d %q exchange %q key %q", code, reason, x, key)
	}
	if string(c.body) != "abc" || !bytes.Equal(c.header, header) {
		t.Errorf("returned header %x body %q", c.header, c.body)
	}
	if tag := r.expect(1, basicAck).llong(); tag != 1 {
		t.Errorf("ack of %d, want 1", tag)
	}
}

func TestAMQP62_Immediate(t *testing.T) {
	hard(t, 540, "NOT_IMPLEMENTED - immediate=true", func(ch *amqp.Channel) error {
		return ch.Publish("", "q", false, true, text("m"))
	})
}

func TestAMQP63_MissingExchange(t *testing.T) {
	soft(t, dial(t), 404, "NOT_FOUND - no exchange 'conf.none' in vhost '/'", func(ch *amqp.Channel) error {
		return ch.Publish("conf.none", "k", false, false, text("m"))
	})
}

func TestAMQP64_BodySizes(t *testing.T) {
	conn, ch := open(t)
	q := queue(t, ch, nil)
	t.Run("AMQP-64 empty body has no body frame", func(t *testing.T) {
		r := rawOpen(t, guest)
		r.channel(1)
		r.publish(1, "", q, contentHeader(0, nil), nil)
		d := get(t, ch, q, false)
		if len(d.Body) != 0 {
			t.Errorf("body = %q, want none", d.Body)
		}
		must(t, d.Nack(false, true))
		wantReady(t, ch, q, 1)
		r.method(1, basicGet, new(args).short(0).shortstr(q).octet(1))
		if c := r.expectContent(1, basicGetOK); len(c.bodyFrames) != 0 {
			t.Errorf("%d body frames, want none", len(c.bodyFrames))
		}
		r.channel(2) // nothing stray follows
	})
	t.Run("AMQP-64 one octet a frame", func(t *testing.T) {
		r := rawOpen(t, guest)
		r.channel(1)
		out := encodeFrame(frameMethod, 1, publishPayload("", q))
		out = append(out, encodeFrame(frameHeader, 1, contentHeader(5, nil))...)
		for _, b := range []byte("hello") {
			out = append(out, encodeFrame(frameBody, 1, []byte{b})...)
			out = append(out, encodeFrame(frameHeartbeat, 0, nil)...) // may come between
		}
		for _, b := range out { // and every octet alone
			r.write([]byte{b})
		}
		if d := get(t, ch, q, true); string(d.Body) != "hello" {
			t.Errorf("body = %q, want hello", d.Body)
		}
	})
	t.Run("AMQP-64 largest allowed", func(t *testing.T) {
		big := make([]byte, messageSizeMax)
		for i := range big {
			big[i] = byte(i >> 8)
		}
		if !confirm(t, confirming(t, conn), "", q, amqp.Publishing{Body: big}) {
			t.Fatal("nacked")
		}
		if d := get(t, ch, q, true); !bytes.Equal(d.Body, big) {
			t.Errorf("body of %d bytes differs", len(d.Body))
		}
	})
	t.Run("AMQP-64 one more", func(t *testing.T) {
		want := fmt.Sprintf("PRECONDITION_FAILED - message size %d is larger than configured max size %d", messageSizeMax+1, messageSizeMax)
		softOrDeviation(t, "AMQP-64 text", 406, want, func(ch *amqp.Channel) error {
			return ch.Publish("", q, false, false, amqp.Publishing{Body: make([]byte, messageSizeMax+1)})
		})
	})
}

// everyProperty encodes all 14 properties and a headers table with every
// field type of the RabbitMQ dialect, names sorted.
func everyProperty() []byte {
	num := func(kind string, v any) string {
		var b bytes.Buffer
		_ = binary.Write(&b, binary.BigEndian, v)
		return kind + b.String()
	}
	long := func(kind, s string) string { return kind + string(new(args).longstr(s).b) }
	inner := table("k", long("S", "v"), "n", num("I", int32(-7)))
	array := "t\x01" + num("l", int64(9)) + long("S", "in array") + "F" + string(inner)
	headers := table(
		"a-bool", "t\x00",
		"b-int8", num("b", int8(-8)),
		"c-uint8", num("B", uint8(200)),
		"d-int16", num("s", int16(-3000)),
		"e-uint16", num("u", uint16(60000)),
		"f-int32", num("I", int32(-100000)),
		"g-uint32", num("i", uint32(4000000000)),
		"h-int64", num("l", int64(-1)<<40),
		"i-float", num("f", float32(1.5)),
		"j-double", num("d", float64(-2.25)),
		"k-decimal", "D\x02"+num("", int32(12345)),
		"l-longstr", long("S", "text with \x00 and \xff"),
		"m-bytes", long("x", "\x00\x01\x02"),
		"n-array", long("A", array),
		"o-timestamp", num("T", uint64(1700000000)),
		"p-table", "F"+string(inner),
		"q-void", "V",
	)
	return new(args).short(0xfffc).
		shortstr("application/json").shortstr("gzip").raw(headers).octet(2).octet(7).
		shortstr("corr").shortstr("reply").shortstr("600000").shortstr("msg-1").llong(1700000001).
		shortstr("kind").shortstr("guest").shortstr("app").shortstr("cluster").b
}

func TestAMQP65_PropertiesRoundTrip(t *testing.T) {
	_, ch := open(t)
	q := queue(t, ch, nil)
	r := rawOpen(t, guest)
	r.channel(1)
	header := contentHeader(1, everyProperty())
	r.publish(1, "", q, header, []byte("m"))
	r.method(1, basicConsume, new(args).short(0).shortstr(q).shortstr("c").octet(2).raw(table()))
	r.expect(1, basicConsumeOK)
	if c := r.expectContent(1, basicDeliver); !bytes.Equal(c.header, header) {
		t.Errorf("content header changed:\n got %x\nwant %x", c.header, header)
	}
}

func TestAMQP66_UserID(t *testing.T) {
	conn, ch := open(t)
	q := queue(t, ch, nil)
	as := func(user string) amqp.Publishing { return amqp.Publishing{UserId: user, Body: []byte("m")} }
	sendTo(t, "", q, as("guest"))
	if d := get(t, ch, q, true); d.UserId != "guest" {
		t.Errorf("user_id = %q, want guest", d.UserId)
	}
	soft(t, conn, 406, "PRECONDITION_FAILED - user_id property set to 'somebody' but authenticated user was 'guest'", func(ch *amqp.Channel) error {
		return ch.Publish("", q, false, false, as("somebody"))
	})
	t.Run("AMQP-66 impersonator", func(t *testing.T) {
		a, user := operator(t), unique(t, "user")
		a.user(t, user, "impersonator")
		a.permit(t, "/", user, ".*", ".*", ".*")
		theirs := confirming(t, dialAs(t, user, user, "/"))
		if !confirm(t, theirs, "", q, as("somebody")) {
			t.Error("nacked")
		}
	})
}

func TestAMQP67_Transactions(t *testing.T) {
	conn, ch := open(t)
	q := queue(t, ch, nil)
	tx := channel(t, conn)
	must(t, tx.Tx())
	publish(t, tx, "", q, text("a"))
	publish(t, tx, "", q, text("b"))
	wantReady(t, tx, q, 0)
	must(t, tx.TxCommit())
	wantReady(t, ch, q, 2)
	publish(t, tx, "", q, text("rolled back"))
	must(t, tx.TxRollback())
	must(t, tx.TxCommit())
	wantReady(t, ch, q, 2)

	t.Run("AMQP-67 acks", func(t *testing.T) {
		first, ok, err := tx.Get(q, false)
		if err != nil || !ok {
			t.Fatal(ok, err)
		}
		must(t, first.Ack(false))
		must(t, tx.TxRollback())
		must(t, first.Ack(false)) // rolled back, so it can be acked again
		must(t, tx.TxCommit())
		second, ok, err := tx.Get(q, false)
		if err != nil || !ok || string(second.Body) != "b" {
			t.Fatalf("get = %q, %v, %v, want b", second.Body, ok, err)
		}
		must(t, second.Ack(false)) // never committed
		must(t, tx.Close())
		if d := get(t, ch, q, true); string(d.Body) != "b" || !d.Redelivered {
			t.Errorf("got %q, redelivered %v, want b, true", d.Body, d.Redelivered)
		}
		wantReady(t, ch, q, 0)
	})
	t.Run("AMQP-67 modes exclude each other", func(t *testing.T) {
		soft(t, conn, 406, "PRECONDITION_FAILED - cannot switch from tx to confirm mode", func(ch *amqp.Channel) error {
			must(t, ch.Tx())
			return ch.Confirm(false)
		})
		soft(t, conn, 406, "PRECONDITION_FAILED - cannot switch from confirm to tx mode", func(ch *amqp.Channel) error {
			must(t, ch.Confirm(false))
			return ch.Tx()
		})
		soft(t, conn, 406, "PRECONDITION_FAILED - channel is not transactional", (*amqp.Channel).TxCommit)
		soft(t, conn, 406, "PRECONDITION_FAILED - channel is not transactional", (*amqp.Channel).TxRollback)
	})
}

func TestAMQP68_PublishOrder(t *testing.T) {
	conn, ch := open(t)
	x := exchange(t, ch, "fanout", nil)
	qs := []string{queue(t, ch, nil), durable(t, ch, nil)}
	for _, q := range qs {
		bind(t, ch, q, "", x, nil)
	}
	const n = 2000
	pub := channel(t, conn)
	for i := range n {
		m := text(itoa(i))
		if i%3 == 0 {
			m.DeliveryMode = amqp.Persistent
		}
		must(t, pub.PublishWithContext(context.Background(), x, "", false, false, m))
	}
	for _, q := range qs {
		in, err := ch.Consume(q, "", true, false, false, false, nil)
		must(t, err)
		for i := range n {
			if d := recv(t, in); string(d.Body) != itoa(i) {
				t.Fatalf("%s: got %q at place %d", q, d.Body, i)
			}
		}
	}
}
