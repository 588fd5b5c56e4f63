package stomp

import (
	"fmt"
	"strings"
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"
)

func TestSTOMP13Receipts(t *testing.T) {
	c := open(t, either(t), "1.2")
	q := "/queue/" + unique(t)
	c.do("SUBSCRIBE", "", "id:0", "destination:"+q, "ack:client-individual")
	c.do("BEGIN", "", "transaction:t")
	c.do("SEND", "in", "destination:"+q, "transaction:t")
	c.do("ABORT", "", "transaction:t")
	c.do("BEGIN", "", "transaction:t")
	c.do("COMMIT", "", "transaction:t")
	for _, id := range []string{"ACK", "NACK"} {
		c.send("SEND", "x", "destination:"+q)
		f := c.message("x")
		c.do(id, "", c.ackOf(f), "requeue:false")
	}
	c.do("UNSUBSCRIBE", "", "id:0")
	c.do("SEND", "x", "destination:"+q)
	c.do("SEND", "x", "destination:"+q, "persistent:true")
	c.do("DISCONNECT", "")
}

func TestSTOMP14ReceiptBeforeMessages(t *testing.T) {
	b := either(t)
	q := unique(t)
	c := open(t, b, "1.2")
	for range 50 {
		c.send("SEND", "x", "destination:/queue/"+q)
	}
	c.barrier()
	for range 5 {
		c := open(t, b, "1.2")
		c.send("SUBSCRIBE", "", "id:0", "destination:/queue/"+q, "ack:client", "prefetch-count:1", "receipt:r")
		c.receipt("r")
		c.message("x")
	}
}

func TestSTOMP19Prefetch(t *testing.T) {
	for _, header := range []string{"prefetch-count:1", "activemq.prefetchSize:1", "activemq.prefetchSize:0"} {
		for _, b := range []string{"rabbitmq", "activemq"} {
			c := open(t, sharedBroker(t, b), "1.2")
			q := unique(t)
			c.subscribe("/queue/"+q, "ack:client-individual", header)
			for i := range 3 {
				c.send("SEND", fmt.Sprint(i), "destination:/queue/"+q)
			}
			for i := range 3 {
				f := c.message(fmt.Sprint(i))
				c.barrier() // nothing more has come
				c.send("ACK", "", c.ackOf(f))
			}
		}
	}
	c := open(t, either(t), "1.2")
	q := unique(t)
	c.subscribe("/queue/"+q, "ack:client", "prefetch-count:0")
	for range 500 {
		c.send("SEND", "x", "destination:/queue/"+q)
	}
	for range 500 {
		c.message("x")
	}
}

func TestSTOMP20Unsubscribe(t *testing.T) {
	b := either(t)
	c := open(t, b, "1.2")
	q := unique(t)
	c.subscribe("/queue/" + q)
	c.send("SEND", "x", "destination:/queue/"+q)
	c.message("x")
	c.do("UNSUBSCRIBE", "", "id:0")
	c.do("SEND", "stays", "destination:/queue/"+q)
	ready(t, b, q, 1)
	c.send("UNSUBSCRIBE", "", "id:nope")
	f := c.failure("No subscription found")
	if f.body != "UNSUBSCRIBE must refer to an existing subscription.\nSubscription to \"id='nope'\" not found.\n" {
		t.Errorf("refused with %s", f)
	}

	old := open(t, b, "1.0")
	old.do("SUBSCRIBE", "", "destination:/queue/"+q)
	if f := old.message("stays"); f.headers["subscription"] != "" {
		t.Errorf("got %s", f)
	}
	old.do("UNSUBSCRIBE", "", "destination:/queue/"+q)
	old.send("UNSUBSCRIBE", "", "destination:/queue/"+q)
	old.failure("No subscription found")
}

func TestSTOMP20UnackedAfterUnsubscribe(t *testing.T) {
	// RabbitMQ's clients may still acknowledge; ActiveMQ's messages go back.
	for dialect, stays := range map[string]bool{"rabbitmq": true, "activemq": false} {
		b := sharedBroker(t, dialect)
		c := open(t, b, "1.2")
		q := unique(t)
		c.subscribe("/queue/"+q, "ack:client-individual")
		c.send("SEND", "x", "destination:/queue/"+q)
		f := c.message("x")
		c.do("UNSUBSCRIBE", "", "id:0")
		if stays {
			c.do("ACK", "", c.ackOf(f))
			ready(t, b, q, 0)
			continue
		}
		ready(t, b, q, 1)
		c.send("ACK", "", c.ackOf(f))
		c.failure("Invalid header")
	}
}

func TestSTOMP21DuplicateID(t *testing.T) {
	c := open(t, rabbit(t), "1.2")
	c.subscribe("/queue/" + unique(t))
	c.send("SUBSCRIBE", "", "id:0", "destination:/queue/"+unique(t))
	if f := c.failure("Duplicated subscription identifier"); f.body != "A subscription identified by '0' already exists." {
		t.Errorf("refused with %s", f)
	}
	c.closed()
	a := open(t, active(t), "1.2")
	a.send("SUBSCRIBE", "", "destination:/queue/"+unique(t))
	a.failure("Missing id")
	a.barrier()
}

func TestSTOMP26Selector(t *testing.T) {
	for _, dialect := range []string{"rabbitmq", "activemq"} {
		b := sharedBroker(t, dialect)
		c := open(t, b, "1.2")
		q := unique(t)
		c.subscribe("/queue/"+q, "selector:n > 3")
		c.send("SEND", "no", "destination:/queue/"+q, "n:2")
		c.send("SEND", "yes", "destination:/queue/"+q, "n:5")
		c.message("yes")
		ready(t, b, q, 1)
		// What one does not want another gets, the first in its order.
		c.send("SEND", "also", "destination:/queue/"+q, "n:10")
		c.message("also")
		c.do("SUBSCRIBE", "", "id:rest", "destination:/queue/"+q)
		if f := c.message("no"); f.headers["subscription"] != "rest" {
			t.Errorf("got %s", f)
		}
		c.send("SUBSCRIBE", "", "id:bad", "destination:/queue/"+q, "selector:n > ")
		c.failure("Invalid selector")

		topic := "/topic/" + unique(t)
		c.do("SUBSCRIBE", "", "id:t", "destination:"+topic, "selector:color = 'red' AND n BETWEEN 1 AND 3", "ack:client-individual")
		c.send("SEND", "no", "destination:"+topic, "color:blue", "n:2")
		c.send("SEND", "yes", "destination:"+topic, "color:red", "n:2")
		f := c.message("yes")
		c.do("ACK", "", c.ackOf(f))
	}
}

// TestSTOMP26Backlog: messages that nobody wants hold up none that somebody
// wants, however many they are, and typed AMQP headers compare too.
func TestSTOMP26Backlog(t *testing.T) {
	b := either(t)
	c := open(t, b, "1.2")
	q := unique(t)
	c.subscribe("/queue/"+q, "selector:wanted = 'yes' OR n = 7", "ack:client-individual", "prefetch-count:1")
	var many strings.Builder
	for range 5000 {
		many.WriteString(compose("SEND", "x", "destination:/queue/"+q, "wanted:no"))
	}
	c.raw(many.String())
	c.send("SEND", "one", "destination:/queue/"+q, "wanted:yes")
	f := c.message("one")
	ch := channel(t, b)
	if err := ch.Publish("", q, false, false, amqp.Publishing{Headers: amqp.Table{"n": int32(7)}, Body: []byte("two")}); err != nil {
		t.Fatal(err)
	}
	c.send("NACK", "", c.ackOf(f), "requeue:true")
	f = c.message("one")
	if f.headers["redelivered"] != "true" {
		t.Errorf("got %s", f)
	}
	c.send("ACK", "", c.ackOf(f))
	c.message("two")
	ready(t, b, q, 5000)
}

// TestSTOMP26Priority: a message without a priority has JMS's default.
func TestSTOMP26Priority(t *testing.T) {
	b := either(t)
	c := open(t, b, "1.2")
	q := unique(t)
	c.subscribe("/queue/"+q, "selector:JMSPriority = 4")
	c.send("SEND", "lowest", "destination:/queue/"+q, "priority:0")
	c.send("SEND", "ordinary", "destination:/queue/"+q)
	c.message("ordinary")
	ready(t, b, q, 1)
}

// TestSTOMP26Redelivered: a selector may ask for what was, or was not,
// delivered before.
func TestSTOMP26Redelivered(t *testing.T) {
	b := either(t)
	c, gone := open(t, b, "1.2"), open(t, b, "1.2")
	q := unique(t)
	gone.do("SUBSCRIBE", "", "id:first", "destination:/queue/"+q, "ack:client-individual", "prefetch-count:1")
	c.send("SEND", "again", "destination:/queue/"+q)
	c.send("SEND", "fresh", "destination:/queue/"+q)
	gone.message("again")
	gone.do("DISCONNECT", "")
	c.do("SUBSCRIBE", "", "id:fresh", "destination:/queue/"+q, "ack:client-individual", "selector:JMSXDeliveryCount = 1")
	c.message("fresh")
	c.do("SUBSCRIBE", "", "id:again", "destination:/queue/"+q, "ack:client-individual", "selector:JMSRedelivered AND JMSXDeliveryCount = 2")
	if f := c.message("again"); f.headers["redelivered"] != "true" || f.headers["subscription"] != "again" {
		t.Errorf("got %s", f)
	}
}

func TestSTOMP27DurableRabbitMQ(t *testing.T) {
	b := either(t)
	topic := "/topic/" + unique(t)
	durable := []string{"id:d", "destination:" + topic, "durable:true", "auto-delete:false"}
	c := open(t, b, "1.2")
	c.do("SUBSCRIBE", "", durable...)
	c.do("DISCONNECT", "")

	publisher := open(t, b, "1.2")
	publisher.do("SEND", "offline", "destination:"+topic, "persistent:true")
	c = open(t, b, "1.2")
	c.do("SUBSCRIBE", "", durable...)
	c.message("offline")
	c.do("UNSUBSCRIBE", "", durable...)
	publisher.do("SEND", "lost", "destination:"+topic)
	c.do("SUBSCRIBE", "", durable...)
	publisher.do("SEND", "new", "destination:"+topic)
	c.message("new")
	c.do("DISCONNECT", "")

	// It can be deleted without being used.
	c = open(t, b, "1.2")
	c.do("UNSUBSCRIBE", "", durable...)
	c.send("SUBSCRIBE", "", "destination:"+topic, "durable:true")
	c.failure("Missing id")
}

func TestSTOMP27DurableActiveMQ(t *testing.T) {
	for _, dialect := range []string{"activemq", "rabbitmq"} {
		b := sharedBroker(t, dialect)
		topic, client := "/topic/"+unique(t), "client-id:"+unique(t)
		c := open(t, b, "1.2", client)
		c.do("SUBSCRIBE", "", "id:0", "destination:"+topic, "activemq.subscriptionName:sub")
		c.send("UNSUBSCRIBE", "", "id:0", "activemq.subscriptionName:sub", "receipt:r")
		c.failure("Durable consumer is in use")
		other := open(t, b, "1.2", client)
		other.send("SUBSCRIBE", "", "id:0", "destination:"+topic, "activemq.subscriptionName:sub")
		other.failure("access_refused")
		c.do("DISCONNECT", "")

		publisher := open(t, b, "1.2")
		publisher.do("SEND", "offline", "destination:"+topic)
		other.do("SUBSCRIBE", "", "id:1", "destination:"+topic, "activemq.subscriptionName:sub")
		other.message("offline")
		other.do("UNSUBSCRIBE", "", "id:1")
		other.do("UNSUBSCRIBE", "", "id:1", "activemq.subscriptionName:sub")
		publisher.do("SEND", "lost", "destination:"+topic)
		other.do("SUBSCRIBE", "", "id:1", "destination:"+topic, "activemq.subscriptionName:sub")
		publisher.do("SEND", "new", "destination:"+topic)
		other.message("new")

		nobody := open(t, b, "1.2")
		nobody.send("SUBSCRIBE", "", "id:0", "destination:"+topic, "activemq.subscriptionName:sub")
		nobody.failure("Missing header")
	}
}

func TestSTOMP28TempQueue(t *testing.T) {
	b := rabbit(t)
	requests := "/queue/" + unique(t)
	server := open(t, b, "1.2")
	server.subscribe(requests)
	c := open(t, b, "1.2")
	c.send("SUBSCRIBE", "", "id:t", "destination:/temp-queue/foo")
	if f := c.failure("Invalid destination"); f.body != "'/temp-queue/foo' is not a valid destination for 'SUBSCRIBE'\n" {
		t.Errorf("refused with %s", f)
	}
	for range 2 {
		c.send("SEND", "ping", "destination:"+requests, "reply-to:/temp-queue/foo")
		f := server.message("ping")
		replyTo := f.headers["reply-to"]
		if !strings.HasPrefix(replyTo, "/reply-queue/") {
			t.Fatalf("request: %s", f)
		}
		server.do("SEND", "pong", "destination:"+replyTo, "correlation-id:1")
		if f := c.message("pong"); f.headers["subscription"] != "/temp-queue/foo" || f.headers["correlation-id"] != "1" {
			t.Errorf("reply: %s", f)
		}
	}

	b = active(t)
	server = open(t, b, "1.2")
	server.subscribe(requests)
	c = open(t, b, "1.2")
	c.do("SUBSCRIBE", "", "id:t", "destination:/temp-queue/foo", "ack:client")
	c.send("SEND", "ping", "destination:"+requests, "reply-to:/temp-queue/foo")
	f := server.message("ping")
	server.do("SEND", "pong", "destination:"+f.headers["reply-to"])
	if f = c.message("pong"); f.headers["subscription"] != "t" || f.headers["destination"] != "/temp-queue/foo" {
		t.Errorf("reply: %s", f)
	}
	c.do("SUBSCRIBE", "", "id:tt", "destination:/temp-topic/bar")
	c.send("SEND", "ping", "destination:"+requests, "reply-to:/temp-topic/bar")
	f = server.message("ping")
	server.do("SEND", "pong", "destination:"+f.headers["reply-to"])
	if f = c.message("pong"); f.headers["subscription"] != "tt" {
		t.Errorf("reply: %s", f)
	}
}

func TestSTOMP29Exchanges(t *testing.T) {
	b := either(t)
	c := open(t, b, "1.2")
	ch, name := channel(t, b), unique(t)
	if err := ch.ExchangeDeclare(name, "direct", false, true, false, false, nil); err != nil {
		t.Fatal(err)
	}
	c.subscribe("/exchange/" + name + "/k.1")
	c.send("SEND", "x", "destination:/exchange/"+name+"/k.1")
	if f := c.message("x"); f.headers["destination"] != "/exchange/"+name+"/k.1" {
		t.Errorf("got %s", f)
	}
	c.do("SUBSCRIBE", "", "id:f", "destination:/exchange/amq.fanout")
	c.send("SEND", "y", "destination:/exchange/amq.fanout")
	c.message("y")
	c.do("SUBSCRIBE", "", "id:k", "destination:/exchange/amq.topic/"+name+".*")
	c.send("SEND", "z", "destination:/exchange/amq.topic/"+name+".1")
	if f := c.message("z"); f.headers["destination"] != "/topic/"+name+".1" {
		t.Errorf("got %s", f)
	}

	c.send("SEND", "x", "destination:/exchange/nosuch/k", "receipt:r")
	if f := c.failure("not_found"); f.body != "NOT_FOUND - no exchange 'nosuch' in vhost '/'" {
		t.Errorf("refused with %s", f)
	}
	c.send("SUBSCRIBE", "", "id:n", "destination:/exchange/nosuch/k")
	c.failure("not_found")
	c.send("SUBSCRIBE", "", "id:n", "destination:/amq/queue/nosuch")
	if f := c.failure("not_found"); f.body != "NOT_FOUND - no queue 'nosuch' in vhost '/'" {
		t.Errorf("refused with %s", f)
	}
	c.do("SEND", "dropped", "destination:/amq/queue/nosuch")
	q := unique(t)
	if _, err := ch.QueueDeclare(q, false, false, false, false, nil); err != nil {
		t.Fatal(err)
	}
	c.do("SUBSCRIBE", "", "id:q", "destination:/amq/queue/"+q)
	c.send("SEND", "found", "destination:/amq/queue/"+q)
	c.message("found")
	// A subscription whose queue goes is told.
	if _, err := ch.QueueDelete(q, false, false, false); err != nil {
		t.Fatal(err)
	}
	c.failure("Server cancelled subscription")
	c.barrier()
}

func TestSTOMP30Wildcards(t *testing.T) {
	for dialect, patterns := range map[string]map[string][]string{
		"rabbitmq": {"%.*": {"a"}, "%.#": {"", "a", "a.b"}, "%.*.b": {"a.b"}, "%.>": nil},
		"activemq": {"%.*": {"a"}, "%.>": {"", "a", "a.b"}, "%.*.b": {"a.b"}, "%.>.>": {"", "a", "a.b"}, "%.>.b": nil},
	} {
		b := sharedBroker(t, dialect)
		for pattern, want := range patterns {
			base := unique(t)
			c := open(t, b, "1.2")
			c.subscribe("/topic/" + strings.Replace(pattern, "%", base, 1))
			for _, name := range []string{"", "a", "a.b"} {
				c.send("SEND", name, "destination:/topic/"+strings.TrimSuffix(base+"."+name, "."))
			}
			for _, body := range want {
				c.message(body)
			}
			c.barrier()
		}
	}
}

func TestSTOMP31QueueArguments(t *testing.T) {
	b := either(t)
	c := open(t, b, "1.2")
	name := unique(t)
	c.do("SUBSCRIBE", "", "id:0", "destination:/topic/"+name, "x-queue-name:"+name, "durable:false", "auto-delete:true", "ack:client", "prefetch-count:1",
		"x-message-ttl:3600000", "x-max-length:2", "x-dead-letter-exchange:", "x-dead-letter-routing-key:dead."+name, "x-priority:5")
	ch := channel(t, b)
	if _, err := ch.QueueDeclare(name, false, true, false, false, amqp.Table{
		"x-message-ttl": int64(3600000), "x-max-length": int64(2), "x-dead-letter-exchange": "", "x-dead-letter-routing-key": "dead." + name,
	}); err != nil {
		t.Errorf("the queue is not as described: %v", err)
	}
	if _, err := channel(t, b).QueueDeclare("dead."+name, true, false, false, false, nil); err != nil {
		t.Fatal(err)
	}
	c.send("SEND", "x", "destination:/topic/"+name)
	f := c.message("x")
	c.do("NACK", "", c.ackOf(f), "requeue:false")
	if d := get(t, channel(t, b), "dead."+name); string(d.Body) != "x" || d.Headers["x-first-death-reason"] != "rejected" {
		t.Errorf("dead letter: %q %v", d.Body, d.Headers)
	}
	c.do("UNSUBSCRIBE", "", "id:0")
	if _, err := channel(t, b).QueueDeclarePassive(name, false, true, false, false, nil); err == nil {
		t.Error("the auto-delete queue is still there")
	}

	mine := unique(t)
	c.do("SUBSCRIBE", "", "id:1", "destination:/queue/"+mine, "exclusive:true", "durable:false")
	other := open(t, b, "1.2")
	other.send("SUBSCRIBE", "", "id:1", "destination:/queue/"+mine)
	other.failure("resource_locked")
	other.send("SUBSCRIBE", "", "id:1", "destination:/queue/"+name, "x-message-ttl:soon")
	other.failure("Invalid header")
	other.do("SUBSCRIBE", "", "id:s", "destination:/queue/stream."+name, "x-queue-type:stream", "x-stream-offset:first", "ack:client", "prefetch-count:10")
	other.send("SEND", "kept", "destination:/queue/stream."+name)
	if f := other.message("kept"); f.headers["x-stream-offset"] != "0" {
		t.Errorf("stream: %s", f)
	}
}

func TestSTOMP32Browser(t *testing.T) {
	for _, dialect := range []string{"rabbitmq", "activemq"} {
		b := sharedBroker(t, dialect)
		c := open(t, b, "1.2")
		q := unique(t)
		for i := range 3 {
			c.do("SEND", fmt.Sprint(i), "destination:/queue/"+q, fmt.Sprintf("n:%d", i))
		}
		c.do("SUBSCRIBE", "", "id:b", "destination:/queue/"+q, "browser:true")
		for i := range 3 {
			c.message(fmt.Sprint(i))
		}
		if f := c.message(""); f.headers["browser"] != "end" || f.headers["subscription"] != "b" {
			t.Errorf("got %s", f)
		}
		c.do("SUBSCRIBE", "", "id:b2", "destination:/queue/"+q, "browser:true", "selector:n = 1")
		c.message("1")
		if f := c.message(""); f.headers["browser"] != "end" {
			t.Errorf("got %s", f)
		}
		ready(t, b, q, 3)
		c.subscribe("/queue/" + q)
		for i := range 3 {
			if f := c.message(fmt.Sprint(i)); f.headers["redelivered"] != "false" {
				t.Errorf("browsing shows: %s", f)
			}
		}
	}
	// However many there are, held by others or not, and nobody has to wait.
	c := open(t, either(t), "1.2")
	q := unique(t)
	var many strings.Builder
	for i := range 3000 {
		many.WriteString(compose("SEND", fmt.Sprint(i), "destination:/queue/"+q, "persistent:true"))
	}
	c.raw(many.String())
	c.barrier()
	holder := open(t, either(t), "1.2")
	holder.subscribe("/queue/"+q, "ack:client-individual", "prefetch-count:1")
	holder.message("0")
	c.do("SUBSCRIBE", "", "id:many", "destination:/queue/"+q, "browser:true")
	for i := range 3000 {
		c.message(fmt.Sprint(i))
	}
	if f := c.message(""); f.headers["browser"] != "end" {
		t.Errorf("got %s", f)
	}
	ready(t, either(t), q, 2999)
	c.send("SUBSCRIBE", "", "id:many", "destination:/queue/"+q, "browser:true")
	c.failure("Duplicated subscription identifier")
	c.closed()
	c = open(t, either(t), "1.2")
	c.do("SUBSCRIBE", "", "id:b", "destination:/queue/nosuch."+q)
	c.do("UNSUBSCRIBE", "", "id:b")
	c.do("SUBSCRIBE", "", "id:b", "destination:/queue/nosuch."+q, "browser:true")
	c.message("")
	c.do("UNSUBSCRIBE", "", "id:b")
	c.send("SUBSCRIBE", "", "id:b", "destination:/topic/x", "browser:true")
	c.failure("Invalid destination")
	c.send("SUBSCRIBE", "", "id:b", "destination:/queue/nosuch.browsed", "browser:true")
	c.failure("not_found")
}

func TestSTOMP33Groups(t *testing.T) {
	b := either(t)
	q := "/queue/" + unique(t)
	one, two := open(t, b, "1.2"), open(t, b, "1.2")
	one.subscribe(q, "ack:client-individual", "prefetch-count:100")
	two.subscribe(q, "ack:client-individual", "prefetch-count:100")
	sender := open(t, b, "1.2")
	for i := range 10 {
		sender.do("SEND", fmt.Sprint("g", i), "destination:"+q, "JMSXGroupID:g")
	}
	sender.do("SEND", "end", "destination:"+q)
	sender.do("SEND", "end", "destination:"+q)
	// All of the group went to one of them, in order.
	counts := map[*client]int{}
	for _, c := range []*client{one, two} {
		for n := 0; ; {
			f := c.expect("MESSAGE")
			if f.body == "end" {
				break
			}
			if f.body != fmt.Sprint("g", n) {
				t.Fatalf("got %s as number %d", f, n)
			}
			n++
			counts[c] = n
		}
	}
	if counts[one]+counts[two] != 10 || counts[one]*counts[two] != 0 {
		t.Errorf("one got %d of the group, the other %d", counts[one], counts[two])
	}
}
