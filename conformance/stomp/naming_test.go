package stomp

import (
	"fmt"
	"sort"
	"strings"
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/hermodmq/hermod/conformance/harness"
)

// bothDialects runs a test against a listener of each dialect.
func bothDialects(t *testing.T, f func(t *testing.T, b *harness.Broker)) {
	for _, dialect := range []string{"rabbitmq", "activemq"} {
		t.Run(dialect, func(t *testing.T) { f(t, sharedBroker(t, dialect)) })
	}
}

// bodiesOf reads n messages and returns their bodies, sorted.
func (c *client) bodiesOf(n int) string {
	c.t.Helper()
	list := make([]string, n)
	for i := range list {
		list[i] = c.expect("MESSAGE").body
	}
	sort.Strings(list)
	return strings.Join(list, " ")
}

// TestSTOMP12Composite: a list to send to gets one copy each, a list to
// subscribe to is one subscription with one prefetch.
func TestSTOMP12Composite(t *testing.T) {
	bothDialects(t, func(t *testing.T, b *harness.Broker) {
		n := unique(t)
		q, q2, topic := "/queue/"+n+".a", "/queue/"+n+".b", "/topic/"+n
		list := q + "," + q2 + "," + topic
		c, p := open(t, b, "1.2"), open(t, b, "1.2")
		c.subscribe(list, "ack:client-individual", "prefetch-count:2")
		p.do("SEND", "all", "destination:"+list, "persistent:true", "k:v")
		seen := map[string]bool{}
		for range 2 {
			f := c.message("all")
			if f.headers["k"] != "v" || f.headers["subscription"] != "0" {
				t.Errorf("got %s", f)
			}
			seen[f.headers["destination"]] = true
			c.send("ACK", "", c.ackOf(f))
		}
		f := c.message("all")
		if seen[f.headers["destination"]] = true; !seen[q] || !seen[q2] || !seen[topic] {
			t.Errorf("came to %v", seen)
		}
		c.send("ACK", "", c.ackOf(f))
		// One prefetch for all of them.
		for i := range 3 {
			p.do("SEND", fmt.Sprint(i), "destination:"+list)
		}
		var held []*frame
		for range 2 {
			held = append(held, c.expect("MESSAGE"))
		}
		c.barrier()
		for range 7 {
			c.send("ACK", "", c.ackOf(held[0]))
			held = append(held[1:], c.expect("MESSAGE"))
		}
		for _, f := range held {
			c.send("ACK", "", c.ackOf(f))
		}
		c.do("UNSUBSCRIBE", "", "id:0")
		p.do("SEND", "later", "destination:"+q)
		c.barrier()
		ready(t, b, n+".a", 1)

		// A selector holds for all parts; on queues the others stay.
		c.subscribe(q2+","+topic, "selector:n > 1", "id:0")
		for _, n := range []string{"1", "2"} {
			p.do("SEND", n, "destination:"+q2+","+topic, "n:"+n)
		}
		if got := c.bodiesOf(2); got != "2 2" {
			t.Errorf("selected %q", got)
		}
		c.barrier()
		ready(t, b, n+".b", 1)

		// A refused part refuses all.
		p.send("SEND", "x", "destination:"+q+",/exchange/nosuch/k", "receipt:r")
		if f := p.expect("ERROR"); f.headers["receipt-id"] != "r" {
			t.Errorf("got %s", f)
		}
		p.send("SUBSCRIBE", "", "id:9", "destination:"+q+",/amq/queue/nosuch")
		p.expect("ERROR")
		p.barrier()
		ready(t, b, n+".a", 1)

		// In a transaction a list waits for the commit.
		p.do("BEGIN", "", "transaction:t")
		p.do("SEND", "tx", "destination:"+q+",/queue/"+n+".new", "transaction:t")
		ready(t, b, n+".a", 1)
		p.do("COMMIT", "", "transaction:t")
		ready(t, b, n+".a", 2)
		ready(t, b, n+".new", 1)
	})
}

// TestSTOMP12VirtualTopics: what is sent to a virtual topic reaches its queues,
// whoever sends it and whoever made them.
func TestSTOMP12VirtualTopics(t *testing.T) {
	bothDialects(t, func(t *testing.T, b *harness.Broker) {
		n := unique(t)
		topic := "VirtualTopic." + n
		members := []*client{open(t, b, "1.2"), open(t, b, "1.2")}
		for _, c := range members {
			c.subscribe("/queue/Consumer.A."+topic, "ack:client", "prefetch-count:1")
		}
		other, plain, p := open(t, b, "1.2"), open(t, b, "1.2"), open(t, b, "1.2")
		other.subscribe("/queue/Consumer.B." + topic)
		plain.subscribe("/topic/" + topic)
		for i := range 2 {
			p.do("SEND", fmt.Sprint(i), "destination:/topic/"+topic, "persistent:true")
		}
		var got []string
		for _, c := range members {
			f := c.expect("MESSAGE")
			got = append(got, f.body)
			want, origin := "/topic/"+topic, ""
			if b == active(t) {
				want, origin = "/queue/Consumer.A."+topic, "/topic/"+topic
			}
			if f.headers["destination"] != want || f.headers["original-destination"] != origin {
				t.Errorf("got %s", f)
			}
			c.send("ACK", "", c.ackOf(f))
		}
		if sort.Strings(got); strings.Join(got, " ") != "0 1" {
			t.Errorf("the members of a group share %v", got)
		}
		for _, c := range []*client{other, plain} {
			if got := c.bodiesOf(2); got != "0 1" {
				t.Errorf("got %q", got)
			}
		}
		// AMQP makes and feeds them, too, and the queue keeps what comes while nobody reads.
		ch := channel(t, b)
		if _, err := ch.QueueDeclare("Consumer.C."+topic, true, false, false, false, nil); err != nil {
			t.Fatal(err)
		}
		if err := ch.Publish("amq.topic", topic, false, false, amqp.Publishing{Body: []byte("amqp")}); err != nil {
			t.Fatal(err)
		}
		other.message("amqp")
		ready(t, b, "Consumer.C."+topic, 1)
	})
}

// TestSTOMP30QueueWildcards: a subscription to A.> reads the queues there are
// and those that are made later; SEND to it reaches all there are.
func TestSTOMP30QueueWildcards(t *testing.T) {
	b := active(t)
	n := unique(t)
	ch := channel(t, b)
	c, p := open(t, b, "1.2"), open(t, b, "1.2")
	p.do("SEND", "1", "destination:/queue/"+n+".a")
	// The inbox of a durable subscription is nobody's queue, whatever its name.
	d := open(t, b, "1.2", "client-id:x")
	d.do("SUBSCRIBE", "", "id:d", "destination:/topic/"+n+".t", "activemq.subscriptionName:"+strings.ReplaceAll(n, ".", "-"), "ack:client")
	c.do("SUBSCRIBE", "", "id:1", "destination:/queue/nosuch."+n+".*", "ack:client-individual")
	c.subscribe("/queue/"+n+".>", "ack:client-individual")
	if f := c.message("1"); f.headers["destination"] != "/queue/"+n+".a" {
		t.Errorf("got %s", f)
	}
	p.do("SEND", "2", "destination:/queue/"+n+".b.c")
	if f := c.message("2"); f.headers["destination"] != "/queue/"+n+".b.c" || f.headers["subscription"] != "0" {
		t.Errorf("got %s", f)
	}
	if _, err := ch.QueueDeclare(n+".amqp", false, false, false, false, nil); err != nil {
		t.Fatal(err)
	}
	p.do("SEND", "3", "destination:/queue/"+n+".*")
	if got := c.bodiesOf(2); got != "3 3" { // .a and .amqp
		t.Errorf("got %q", got)
	}
	p.do("SEND", "topic", "destination:/topic/"+n+".t")
	d.message("topic")
	// A queue that goes and comes back is left and read again without a word.
	if _, err := ch.QueueDelete(n+".b.c", false, false, false); err != nil {
		t.Fatal(err)
	}
	p.do("SEND", "4", "destination:/queue/"+n+".b.c")
	c.message("4")
	c.do("UNSUBSCRIBE", "", "id:0")
	p.do("SEND", "5", "destination:/queue/"+n+".new")
	ready(t, b, n+".new", 1)
	ready(t, b, n+".a", 2) // what was not acknowledged is back
	c.barrier()

	// RabbitMQ's clients mean the queue of that name.
	r := open(t, rabbit(t), "1.2")
	r.subscribe("/queue/" + n + ".*")
	r.do("SEND", "x", "destination:/queue/"+n+".a")
	r.send("SEND", "y", "destination:/queue/"+n+".*")
	r.message("y")
}
