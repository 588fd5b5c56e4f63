package cluster

import (
	"bufio"
	"encoding/binary"
	"io"
	"net"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// packets is an MQTT 3.1.1 connection packet by packet: it shows what a session
// remembers of exchanges that were cut short, which libraries hide.
type packets struct {
	t    *testing.T
	conn net.Conn
	in   *bufio.Reader
}

// Packets of section 2.2.1 that only these tests use.
const (
	packetPuback    = 0x40
	packetSubscribe = 0x82
	packetSuback    = 0x90
	flagQoS1        = 0x02
	flagQoS2        = 0x04
	kindPublish     = 0x30
)

// session connects a client that keeps its session; there says whether the node
// must know it.
func (w *world) session(t *testing.T, node int, client string, there bool) *packets {
	t.Helper()
	conn, err := w.dialAny(w.addresses(portMQTT, node)[0])
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	c := &packets{t, conn, bufio.NewReader(conn)}
	body := append(str("MQTT"), 4, 0xc0, 0, 0) // user name and password, no keep alive
	c.send(packetConnect, body, str(client), str("guest"), str("guest"))
	answer := c.expect(packetConnack)
	if answer[1] != 0 || (answer[0] == 1) != there {
		t.Errorf("%s: CONNACK %x, session to be there: %v", client, answer, there)
	}
	return c
}

// str is a string as section 1.5.3 writes it.
func str(s string) []byte {
	return append(binary.BigEndian.AppendUint16(nil, uint16(len(s))), s...)
}

func id(n uint16) []byte { return binary.BigEndian.AppendUint16(nil, n) }

func (c *packets) send(kind byte, parts ...[]byte) {
	c.t.Helper()
	var body []byte
	for _, p := range parts {
		body = append(body, p...)
	}
	if len(body) > 127 {
		c.t.Fatal("a packet of this test is short")
	}
	_ = c.conn.SetDeadline(time.Now().Add(answerTimeout))
	if _, err := c.conn.Write(append([]byte{kind, byte(len(body))}, body...)); err != nil {
		c.t.Fatal(err)
	}
}

// next reads one packet.
func (c *packets) next() (kind byte, body []byte) {
	c.t.Helper()
	_ = c.conn.SetDeadline(time.Now().Add(answerTimeout))
	head := make([]byte, 2)
	_, err := io.ReadFull(c.in, head)
	if err == nil {
		body = make([]byte, head[1])
		_, err = io.ReadFull(c.in, body)
	}
	if err != nil {
		c.t.Fatalf("MQTT: no packet: %v", err)
	}
	return head[0], body
}

// expect reads one packet, which must be of a kind.
func (c *packets) expect(kind byte) []byte {
	c.t.Helper()
	got, body := c.next()
	if got != kind {
		c.t.Fatalf("MQTT: packet %#x %q, want %#x", got, body, kind)
	}
	return body
}

// message reads one PUBLISH with these flags and returns its packet identifier.
func (c *packets) message(flags byte, topic, payload string) []byte {
	c.t.Helper()
	body := c.expect(kindPublish | flags)
	if want := string(str(topic)); len(body) < len(want)+2 || string(body[:len(want)]) != want || string(body[len(want)+2:]) != payload {
		c.t.Fatalf("MQTT: message %q, want %q on %s", body, payload, topic)
	}
	n := len(str(topic))
	return body[n : n+2]
}

// halfReceived: a QoS 2 message that the node has received and not released
// (4.3.3 between PUBREC and PUBREL) is not taken for a new one by its
// successor.
func (w *world) halfReceived(t *testing.T, node int) func(*testing.T, int) {
	const client, topic, queue = "survive-half", "survive/half", "survive.half"
	ch, cut, err := w.channel(w.addresses(portAMQP, node)[0])
	if err != nil {
		t.Fatal(err)
	}
	defer cut()
	if _, err := ch.QueueDeclare(queue, true, false, false, false, nil); err != nil {
		t.Fatal(err)
	}
	if err := ch.QueueBind(queue, "survive.half", "amq.topic", false, nil); err != nil {
		t.Fatal(err)
	}
	c := w.session(t, node, client, false)
	c.send(kindPublish|flagQoS2, str(topic), id(1), []byte("once"))
	c.expect(packetPubrec)
	return func(t *testing.T, node int) {
		c := w.session(t, node, client, true)
		c.send(kindPublish|flagQoS2|flagDUP, str(topic), id(1), []byte("once")) // as if PUBREC had not arrived
		c.expect(packetPubrec)
		c.send(packetPubrel, id(1))
		c.expect(packetPubcomp)
		c.send(kindPublish|flagQoS2, str(topic), id(1), []byte("another")) // the identifier is free again
		c.expect(packetPubrec)
		c.send(packetPubrel, id(1))
		c.expect(packetPubcomp)
		w.jms(t, node, "").expect(t, "half received", queue, "once", "another")
	}
}

// halfDelivered: what a subscriber has of a session that was cut short: one QoS
// 2 message received and not completed, one not even received, one of QoS 1
// not acknowledged, and one that came while it was away.
func (w *world) halfDelivered(t *testing.T, node int) func(*testing.T, int) {
	const client, topic = "survive-session", "survive/session"
	c := w.session(t, node, client, false)
	c.send(packetSubscribe, id(9), str(topic+"/+"), []byte{2})
	c.expect(packetSuback)
	publisher := w.session(t, node, client+"-publisher", false)
	publish := func(t *testing.T, p *packets, qos byte, name string) {
		t.Helper()
		p.send(kindPublish|qos<<1, str(topic+"/"+name), id(1), []byte(name))
		if qos == 1 {
			p.expect(packetPuback)
			return
		}
		p.expect(packetPubrec)
		p.send(packetPubrel, id(1))
		p.expect(packetPubcomp)
	}
	publish(t, publisher, 2, "received")
	received := c.message(flagQoS2, topic+"/received", "received")
	c.send(packetPubrec, received)
	if released := c.expect(packetPubrel); string(released) != string(received) {
		t.Fatalf("PUBREL for %x, not %x", released, received)
	}
	publish(t, publisher, 2, "sent")
	sent := c.message(flagQoS2, topic+"/sent", "sent")
	publish(t, publisher, 1, "unacknowledged")
	c.message(flagQoS1, topic+"/unacknowledged", "unacknowledged")
	_ = c.conn.Close()
	publish(t, publisher, 1, "away")
	return func(t *testing.T, node int) {
		c := w.session(t, node, client, true)
		// The order of what is sent again is that of before; where PUBREL stands
		// among the messages is not laid down.
		released := false
		read := func() (kind byte, body []byte) {
			if kind, body = c.next(); kind == packetPubrel && !released {
				released = true
				if string(body) != string(received) {
					t.Errorf("PUBREL for %x, not %x", body, received)
				}
				c.send(packetPubcomp, body)
				kind, body = c.next()
			}
			return kind, body
		}
		for _, want := range []struct {
			flags byte
			name  string
			id    []byte
		}{
			{flagQoS2 | flagDUP, "sent", sent},
			{flagQoS1, "unacknowledged", nil}, // docs/mqtt.md: with a new identifier
			{flagQoS1, "away", nil},
		} {
			kind, body := read()
			head := string(str(topic + "/" + want.name))
			if want.id == nil {
				kind &^= flagDUP // as the node knows that it was sent before, or not
			}
			if kind != kindPublish|want.flags || len(body) < len(head)+2 || string(body[:len(head)]) != head {
				t.Fatalf("packet %#x %q, want %s with flags %#x", kind, body, want.name, want.flags)
			}
			got := body[len(head) : len(head)+2]
			if want.id != nil && string(got) != string(want.id) {
				t.Errorf("%s comes again as %x, it was %x", want.name, got, want.id)
			}
			if want.flags&flagQoS1 != 0 {
				c.send(packetPuback, got)
				continue
			}
			c.send(packetPubrec, got)
		}
		for range 2 {
			if kind, body := read(); kind == packetPubrel {
				c.send(packetPubcomp, body)
				break
			}
		}
		if !released {
			t.Error("the message that had been received was not released")
		}
	}
}

// delayedSQS: DelaySeconds of a queue goes on counting on the successor.
func (w *world) delayedSQS(t *testing.T, node int) func(*testing.T, int) {
	const queue, delay = "survive-delay", 8 * time.Second
	c := w.sqs(w.addresses(portAWS, node)[0])
	defer c.Close()
	if err := c.call("CreateQueue", map[string]any{"QueueName": queue}, nil); err != nil {
		t.Fatal(err)
	}
	due := time.Now().Add(delay)
	if err := c.call("SendMessage", map[string]any{"QueueUrl": queue, "MessageBody": "late", "DelaySeconds": int(delay.Seconds())}, nil); err != nil {
		t.Fatal(err)
	}
	return func(t *testing.T, node int) {
		c := w.sqs(w.addresses(portAWS, node)[0])
		defer c.Close()
		for limit := due.Add(answerTimeout); ; {
			messages, err := c.receive(queue)
			if err != nil {
				t.Fatal(err)
			}
			if len(messages) == 0 {
				if time.Now().After(limit) {
					t.Fatal("the delayed message does not come")
				}
				continue
			}
			if early := time.Until(due); early > 2*time.Millisecond || messages[0].Body != "late" {
				t.Errorf("%q came %v early", messages[0].Body, early)
			}
			return
		}
	}
}

// settled: what was acknowledged before does not come back: an acknowledgement
// whose effect was seen (the queue is empty for everybody) is one that the
// successor knows.
func (w *world) settled(t *testing.T, node int) func(*testing.T, int) {
	const queue = "survive.settled"
	ch, cut, err := w.channel(w.addresses(portAMQP, node)[0])
	if err != nil {
		t.Fatal(err)
	}
	defer cut()
	if _, err := ch.QueueDeclare(queue, true, false, false, false, nil); err != nil {
		t.Fatal(err)
	}
	if err := ch.Tx(); err != nil {
		t.Fatal(err)
	}
	for _, body := range []string{"settled", "returned", "kept"} {
		if err := ch.Publish("", queue, false, false, amqp.Publishing{DeliveryMode: amqp.Persistent, Body: []byte(body)}); err != nil {
			t.Fatal(err)
		}
	}
	if err := ch.TxCommit(); err != nil {
		t.Fatal(err)
	}
	for _, body := range []string{"settled", "returned"} {
		d, ok, err := ch.Get(queue, false)
		if err != nil || !ok || string(d.Body) != body {
			t.Fatalf("get: %q %v %v", d.Body, ok, err)
		}
		if body == "settled" {
			if err := d.Ack(false); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := ch.TxCommit(); err != nil {
		t.Fatal(err)
	}
	return func(t *testing.T, node int) {
		w.jms(t, node, "").expect(t, "settled", queue, "returned", "kept")
	}
}
