package stomp

import (
	"fmt"
	"testing"
)

func TestSTOMP16Modes(t *testing.T) {
	b := either(t)
	// auto: settled by being sent.
	c := open(t, b, "1.2")
	q := unique(t)
	c.subscribe("/queue/" + q)
	c.send("SEND", "x", "destination:/queue/"+q)
	if f := c.message("x"); f.headers["ack"] != "" {
		t.Errorf("ack:auto: %s", f)
	}
	c.hang()
	ready(t, b, q, 0)

	// client: one ACK for all before it; what is left comes back.
	c = open(t, b, "1.2")
	c.subscribe("/queue/"+q, "ack:client")
	var last *frame
	for i := range 5 {
		c.send("SEND", fmt.Sprint(i), "destination:/queue/"+q)
		if f := c.message(fmt.Sprint(i)); i == 2 {
			last = f
		}
	}
	c.do("ACK", "", c.ackOf(last))
	c.hang()
	ready(t, b, q, 2)

	// client-individual: one ACK for one.
	c = open(t, b, "1.2")
	c.subscribe("/queue/"+q, "ack:client-individual")
	f := c.message("3")
	if f.headers["redelivered"] != "true" {
		t.Errorf("after a disconnect: %s", f)
	}
	last = c.message("4")
	c.do("ACK", "", c.ackOf(last))
	c.hang()
	ready(t, b, q, 1)
	c = open(t, b, "1.2")
	c.send("SUBSCRIBE", "", "id:0", "destination:/queue/"+q, "ack:sometimes")
	c.failure("Invalid header")
}

// TestSTOMP16Scope: how far a cumulative ACK reaches is a matter of dialect.
func TestSTOMP16Scope(t *testing.T) {
	for dialect, left := range map[string]int{"rabbitmq": 0, "activemq": 1} {
		b := sharedBroker(t, dialect)
		c := open(t, b, "1.2")
		one, two := unique(t), unique(t)
		c.do("SUBSCRIBE", "", "id:1", "destination:/queue/"+one, "ack:client")
		c.do("SUBSCRIBE", "", "id:2", "destination:/queue/"+two, "ack:client")
		c.send("SEND", "a", "destination:/queue/"+one)
		c.message("a")
		c.send("SEND", "b", "destination:/queue/"+two)
		f := c.message("b")
		c.do("ACK", "", c.ackOf(f))
		c.hang()
		ready(t, b, two, 0)
		ready(t, b, one, left)
	}
}

func TestSTOMP17Headers(t *testing.T) {
	b := either(t)
	for _, version := range []string{"1.0", "1.1", "1.2"} {
		c := open(t, b, version)
		q := unique(t)
		subscription := []string{"destination:/queue/" + q, "ack:client"}
		if version != "1.0" {
			subscription = append(subscription, "id:a")
		}
		c.do("SUBSCRIBE", "", subscription...)
		c.send("SEND", "x", "destination:/queue/"+q)
		f := c.message("x")
		c.do("ACK", "", c.ackOf(f), "subscription:a")
		header := "message-id"
		if version == "1.2" {
			header = "id"
		}
		c.send("ACK", "", c.ackOf(f), "subscription:a")
		if e := c.failure("Invalid header"); e.body != fmt.Sprintf("\"ACK\" must include a valid %q header\n", header) {
			t.Errorf("%s: second ACK refused with %s", version, e)
		}
		for _, bad := range []string{"bogus", "T_a@@session-x@@1", "T_a@@@@1", "@@@@"} {
			c.send("ACK", "", header+":"+bad)
			c.failure("Invalid header")
		}
		c.send("ACK", "")
		c.failure("Missing header")
		c.hang()
		ready(t, b, q, 0)
	}
}

func TestSTOMP18Nack(t *testing.T) {
	// RabbitMQ: again by default.
	b := rabbit(t)
	c := open(t, b, "1.2")
	q := unique(t)
	c.subscribe("/queue/"+q, "ack:client-individual", "x-dead-letter-exchange:", "x-dead-letter-routing-key:dead."+q)
	c.do("SEND", "", "destination:/queue/dead."+q)
	c.send("SEND", "x", "destination:/queue/"+q)
	f := c.message("x")
	for _, requeue := range []string{"", "requeue:true"} {
		headers := []string{c.ackOf(f)}
		if requeue != "" {
			headers = append(headers, requeue)
		}
		c.send("NACK", "", headers...)
		if f = c.message("x"); f.headers["redelivered"] != "true" {
			t.Errorf("after NACK: %s", f)
		}
	}
	c.do("NACK", "", c.ackOf(f), "requeue:false")
	ready(t, b, "dead."+q, 2)
	old := open(t, b, "1.0")
	old.send("NACK", "", "message-id:1")
	old.failure("Bad command")

	// ActiveMQ: never by default; the message is kept aside.
	b = active(t)
	c = open(t, b, "1.2")
	c.subscribe("/queue/"+q, "ack:client-individual")
	c.send("SEND", "poison "+q, "destination:/queue/"+q)
	f = c.message("poison " + q)
	c.do("NACK", "", c.ackOf(f))
	dlq := open(t, b, "1.2")
	dlq.subscribe("/queue/ActiveMQ.DLQ", "ack:client-individual")
	f = dlq.expect("MESSAGE")
	for f.body != "poison "+q { // of other tests
		f = dlq.expect("MESSAGE")
	}
	if f.headers["x-first-death-queue"] != q {
		t.Errorf("dead letter: %s", f)
	}
	c.send("SEND", "again", "destination:/queue/"+q)
	f = c.message("again")
	c.send("NACK", "", c.ackOf(f), "requeue:true")
	c.message("again")
}

func TestSTOMP22Transactions(t *testing.T) {
	b := either(t)
	c := open(t, b, "1.2")
	in, out := unique(t), unique(t)
	c.subscribe("/queue/"+in, "ack:client-individual")
	c.send("SEND", "work", "destination:/queue/"+in)
	f := c.message("work")

	// ABORT: nothing happened.
	c.do("BEGIN", "", "transaction:t")
	c.do("SEND", "result", "destination:/queue/"+out, "transaction:t")
	c.do("ACK", "", c.ackOf(f), "transaction:t")
	c.send("ACK", "", c.ackOf(f))
	c.failure("Invalid header") // it is taken
	c.do("ABORT", "", "transaction:t")
	// COMMIT of several at once: all of the one, nothing of the other.
	c.do("BEGIN", "", "transaction:a")
	c.do("BEGIN", "", "transaction:b")
	c.do("SEND", "a1", "destination:/queue/"+out, "transaction:a", "persistent:true")
	c.do("SEND", "b1", "destination:/queue/"+out, "transaction:b")
	c.do("SEND", "plain", "destination:/queue/"+out)
	c.do("SEND", "a2", "destination:/queue/"+out, "transaction:a")
	c.do("ACK", "", c.ackOf(f), "transaction:a")
	ready(t, b, out, 1)
	c.do("COMMIT", "", "transaction:a")
	c.do("SUBSCRIBE", "", "id:out", "destination:/queue/"+out)
	for _, body := range []string{"plain", "a1", "a2"} {
		if f := c.message(body); f.headers["transaction"] != "" {
			t.Errorf("got %s", f)
		}
	}
	for _, command := range []string{"COMMIT", "ABORT"} {
		c.send(command, "", "transaction:a")
		if f := c.failure("Bad transaction"); f.body != "Invalid transaction identifier: \"a\"\n" {
			t.Errorf("%s: %s", command, f)
		}
	}
	c.send("SEND", "x", "destination:/queue/"+out, "transaction:nope")
	c.failure("Bad transaction")
	c.send("BEGIN", "", "transaction:b")
	c.failure("Bad transaction")
	// A disconnect aborts.
	c.hang()
	ready(t, b, in, 0)
	ready(t, b, out, 0)

	// What cannot be carried out as a whole is not carried out at all.
	c = open(t, b, "1.2")
	c.do("BEGIN", "", "transaction:t")
	c.do("SEND", "x", "destination:/queue/"+out, "transaction:t")
	c.do("SEND", "x", "destination:/exchange/nosuch/k", "transaction:t")
	c.send("COMMIT", "", "transaction:t", "receipt:r")
	c.failure("not_found")
	ready(t, b, out, 0)
	// Without the transaction the session goes on as before.
	c.do("SEND", "after", "destination:/queue/"+out)
	ready(t, b, out, 1)
}

func TestSTOMP22Limits(t *testing.T) {
	c := open(t, either(t), "1.2")
	for i := range 256 {
		c.send("BEGIN", "", fmt.Sprintf("transaction:%d", i))
	}
	c.send("BEGIN", "", "transaction:more")
	c.failure("Too many transactions")
	for range 10000 {
		c.send("ACK", "", "id:x", "transaction:0")
	}
	for range 10000 {
		c.failure("Invalid header")
	}
}
