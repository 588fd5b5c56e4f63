package stomp

import (
	"fmt"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/hermodmq/hermod/conformance/harness"
)

func TestSTOMP12Destinations(t *testing.T) {
	b := rabbit(t)
	q := unique(t)
	c := open(t, b, "1.2")
	c.subscribe("/queue/" + q)
	c.send("SEND", "bare", "destination:"+q)
	if f := c.message("bare"); f.headers["destination"] != "/queue/"+q {
		t.Errorf("bare name: %s", f)
	}
	c.do("SUBSCRIBE", "", "id:t", "destination:/topic/"+q)
	c.send("SEND", "topic", "destination:/topic/"+q)
	if f := c.message("topic"); f.headers["destination"] != "/topic/"+q || f.headers["subscription"] != "t" {
		t.Errorf("topic: %s", f)
	}
	c.send("SEND", "both", "destination:/queue/"+q+",/topic/"+q, "k:v")
	for range 2 {
		if f := c.message("both"); f.headers["k"] != "v" {
			t.Errorf("composite: %s", f)
		}
	}
	c.send("SEND", "x", "receipt:e")
	c.failure("Missing destination")
	c.send("SEND", "x", "destination:/nosuch/x")
	c.failure("Unknown destination")
	c.send("SEND", "x", "destination:/queue/a/b")
	if f := c.failure("Invalid destination"); f.body != "'/a/b' is not a valid queue destination\n" {
		t.Errorf("slash: %s", f)
	}
	c.send("SUBSCRIBE", "", "id:r", "destination:/reply-queue/x")
	c.failure("Invalid destination")

	// A slash in a name is written %2F; other protocols see it as it is.
	slash := "a/" + q
	c.do("SUBSCRIBE", "", "id:s", "destination:/queue/a%2F"+q)
	if err := channel(t, b).Publish("", slash, false, false, amqp.Publishing{Body: []byte("slash")}); err != nil {
		t.Fatal(err)
	}
	if f := c.message("slash"); f.headers["destination"] != "/queue/a%2F"+q {
		t.Errorf("slash: %s", f)
	}

	a := open(t, active(t), "1.2")
	for _, name := range []string{"bare." + q, "/nosuch/" + q, "/queue//exchange/amq.topic/" + q} {
		a.do("SEND", "x", "destination:"+name)
	}
	a.subscribe("/queue//nosuch/" + q)
	a.message("x")
	a.do("SUBSCRIBE", "", "id:1", "destination:/queue/bare."+q)
	a.message("x")
	a.do("SUBSCRIBE", "", "id:2", "destination:queue://list."+q)
	open(t, active(t), "1.2").do("SEND", "y", "destination:/queue/list."+q+",/queue/other."+q)
	a.message("y")
}

// TestSTOMP12FoundQueue: a queue that is there is used as it is.
func TestSTOMP12FoundQueue(t *testing.T) {
	b := either(t)
	ch, q := channel(t, b), unique(t)
	if _, err := ch.QueueDeclare(q, false, false, false, false, amqp.Table{"x-max-length": int32(5)}); err != nil {
		t.Fatal(err)
	}
	c := open(t, b, "1.2")
	c.subscribe("/queue/" + q)
	c.send("SEND", "x", "destination:/queue/"+q)
	c.message("x")
}

func TestSTOMP25Properties(t *testing.T) {
	b := rabbit(t)
	c := open(t, b, "1.2")
	q := unique(t)
	c.subscribe("/queue/"+q, "ack:client-individual")
	headers := map[string]string{
		"content-type": "text/plain", "persistent": "true", "priority": "7", "correlation-id": "c1", "reply-to": "/queue/rep",
		"type": "T", "timestamp": "1700000000", "app-id": "app", "expiration": "60000", "custom": "x", "amqp-message-id": "m1",
	}
	send := []string{"destination:/queue/" + q, "receipt:r", "message-id:mine"}
	for k, v := range headers {
		send = append(send, k+":"+v)
	}
	c.send("SEND", "x", send...)
	f := c.next()
	if f.command == "RECEIPT" {
		f = c.next()
	} else {
		c.receipt("r")
	}
	for k, v := range headers {
		if f.headers[k] != v {
			t.Errorf("%s is %q, want %q", k, f.headers[k], v)
		}
	}
	for k, v := range map[string]string{"destination": "/queue/" + q, "subscription": "0", "redelivered": "false", "content-length": "1"} {
		if f.headers[k] != v {
			t.Errorf("%s is %q, want %q", k, f.headers[k], v)
		}
	}
	for _, k := range []string{"receipt", "transaction"} {
		if _, there := f.headers[k]; there {
			t.Errorf("%s is echoed", k)
		}
	}
	if f.headers["message-id"] == "mine" || f.headers["ack"] == "" {
		t.Errorf("got %s", f)
	}

	// Both ways of saying when a message expires.
	q = unique(t)
	c.do("SEND", "gone", "destination:/queue/"+q, "expiration:1")
	c.do("SEND", "gone", "destination:/queue/"+q, fmt.Sprintf("expires:%d", time.Now().UnixMilli()-1000))
	c.do("SEND", "stays", "destination:/queue/"+q, "expires:0")
	c.do("SEND", "stays", "destination:/queue/"+q, fmt.Sprintf("expires:%d", time.Now().UnixMilli()+3600_000))
	ready(t, b, q, 2)
	c.send("SEND", "x", "destination:/queue/"+q, "expiration:soon")
	c.failure("Invalid header")
	c.send("SEND", "x", "destination:/queue/"+q, "user-id:somebody")
	c.failure("precondition_failed")

	a := open(t, active(t), "1.2")
	a.subscribe("/queue/" + q)
	a.send("SEND", "x", "destination:/queue/"+q)
	f = a.message("x")
	if f.headers["expires"] != "0" || f.headers["priority"] != "4" || f.headers["timestamp"] == "" {
		t.Errorf("ActiveMQ: %s", f)
	}
	a.send("SEND", "y", "destination:/queue/"+q, "priority:7")
	if f = a.message("y"); f.headers["priority"] != "7" || strings.Count(f.raw, "priority:") != 1 {
		t.Errorf("ActiveMQ: %s", f)
	}
}

// TestSTOMP25PriorityQueue: priority orders a queue that has priorities.
func TestSTOMP25PriorityQueue(t *testing.T) {
	b := either(t)
	c := open(t, b, "1.2")
	q := unique(t)
	c.do("SUBSCRIBE", "", "id:0", "destination:/queue/"+q, "x-max-priority:9", "ack:client", "prefetch-count:1")
	c.send("SEND", "first", "destination:/queue/"+q)
	f := c.message("first")
	c.do("SEND", "low", "destination:/queue/"+q, "priority:1")
	c.do("SEND", "high", "destination:/queue/"+q, "priority:9")
	c.send("ACK", "", c.ackOf(f))
	f = c.message("high")
	c.send("ACK", "", c.ackOf(f))
	c.message("low")
}

func TestSTOMP36Delay(t *testing.T) {
	c := open(t, either(t), "1.2")
	q := unique(t)
	c.subscribe("/queue/" + q)
	c.do("SEND", "later", "destination:/queue/"+q, "AMQ_SCHEDULED_DELAY:300")
	c.do("SEND", "much later", "destination:/queue/"+q, "AMQ_SCHEDULED_DELAY:3600000")
	c.send("SEND", "now", "destination:/queue/"+q)
	c.message("now")
	c.message("later")
	// Twice more, 50 ms apart, and by a crontab entry, not before its time.
	c.do("SEND", "again", "destination:/queue/"+q, "AMQ_SCHEDULED_DELAY:10", "AMQ_SCHEDULED_PERIOD:50", "AMQ_SCHEDULED_REPEAT:2")
	for range 3 {
		c.message("again")
	}
	c.do("SEND", "next year", "destination:/queue/"+q, fmt.Sprintf("AMQ_SCHEDULED_CRON:0 0 1 %d *", time.Now().AddDate(0, -1, 0).Month()))
	c.send("SEND", "x", "destination:/queue/"+q, "AMQ_SCHEDULED_CRON:whenever")
	c.failure("Invalid header")
	c.barrier()
}

// TestSTOMP36DelayToTopic: a topic's scheduled message is for those who
// subscribe before it is due.
func TestSTOMP36DelayToTopic(t *testing.T) {
	c := open(t, either(t), "1.2")
	for delay := time.Second; ; delay *= 2 { // a busy machine may be late
		topic := "/topic/" + unique(t)
		due := time.Now().Add(delay)
		c.do("SEND", "later", "destination:"+topic, fmt.Sprintf("AMQ_SCHEDULED_DELAY:%d", delay.Milliseconds()), "persistent:true")
		c.subscribe(topic)
		if time.Now().Before(due) {
			c.message("later")
			c.barrier()
			return
		}
		c.do("UNSUBSCRIBE", "", "id:0")
	}
}

// TestSTOMP31Exclusive: an exclusive consumer gets everything while it is there.
func TestSTOMP31Exclusive(t *testing.T) {
	bothDialects(t, func(t *testing.T, b *harness.Broker) {
		q := unique(t)
		other, c, p := open(t, b, "1.2"), open(t, b, "1.2"), open(t, b, "1.2")
		other.subscribe("/queue/" + q)
		c.subscribe("/queue/"+q, "activemq.exclusive:true")
		for i := range 5 {
			p.do("SEND", fmt.Sprint(i), "destination:/queue/"+q)
			c.message(fmt.Sprint(i))
		}
		c.do("UNSUBSCRIBE", "", "id:0")
		p.do("SEND", "left", "destination:/queue/"+q)
		other.message("left")
	})
}
