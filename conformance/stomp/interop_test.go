package stomp

import (
	"bytes"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// TestSTOMPToAMQP: what AMQP consumers see of a STOMP message (SEMANTICS
// section 3).
func TestSTOMPToAMQP(t *testing.T) {
	b := either(t)
	c := open(t, b, "1.2")
	ch, q := channel(t, b), unique(t)
	body := "a\x00b\n" + string([]byte{0xff, 0xfe})
	c.do("SEND", body, "destination:/queue/"+q, "content-length:6", "content-type:application/x", "content-encoding:none", "persistent:true",
		"priority:7", "expiration:3600000", "correlation-id:c", "reply-to:/queue/answers", "amqp-message-id:m", "type:t", "app-id:app",
		"user-id:guest", "timestamp:1700000000000", "custom:x", `emoji\c:😀`, "number:5", "JMSXGroupID:g")
	d := get(t, ch, q)
	if string(d.Body) != body {
		t.Errorf("body %q", d.Body)
	}
	if d.ContentType != "application/x" || d.ContentEncoding != "none" || d.DeliveryMode != amqp.Persistent || d.Priority != 7 ||
		d.Expiration != "3600000" || d.CorrelationId != "c" || d.ReplyTo != "answers" || d.MessageId != "m" || d.Type != "t" ||
		d.AppId != "app" || d.UserId != "guest" || !d.Timestamp.Equal(time.Unix(1700000000, 0)) {
		t.Errorf("properties %+v", d)
	}
	want := amqp.Table{"custom": "x", "emoji:": "😀", "number": "5", "JMSXGroupID": "g"}
	if len(d.Headers) != len(want) {
		t.Errorf("headers %v", d.Headers)
	}
	for k, v := range want {
		if d.Headers[k] != v {
			t.Errorf("header %s is %v, want %v", k, d.Headers[k], v)
		}
	}
	c.do("SEND", "transient", "destination:/queue/"+q)
	if d := get(t, ch, q); d.DeliveryMode == amqp.Persistent || string(d.Body) != "transient" {
		t.Errorf("transient message arrives with delivery mode %d", d.DeliveryMode)
	}
}

// TestSTOMPFromAMQP: what STOMP consumers see of an AMQP message.
func TestSTOMPFromAMQP(t *testing.T) {
	b := rabbit(t)
	for _, version := range []string{"1.0", "1.1", "1.2"} {
		c := open(t, b, version)
		ch, q := channel(t, b), unique(t)
		c.subscribe("/queue/" + q)
		body := bytes.Repeat([]byte("x\x00y"), 1000)
		if err := ch.Publish("", q, false, false, amqp.Publishing{
			ContentType: "application/x", ContentEncoding: "none", DeliveryMode: amqp.Persistent, Priority: 7, CorrelationId: "c",
			ReplyTo: "answers", Expiration: "3600000", MessageId: "m", Timestamp: time.Unix(1700000000, 0), Type: "t", AppId: "app",
			Headers: amqp.Table{
				"text": "a:b\nc", "int": int32(-5), "long": int64(1) << 40, "yes": true, "float": 1.5, "void": nil, "bytes": []byte("raw"),
				"binary": []byte{0xff, 0}, "list": []any{"a", int32(1)}, "table": amqp.Table{"k": "v"}, "content-length": "7", "subscription": "forged",
			},
			Body: body,
		}); err != nil {
			t.Fatal(err)
		}
		f := c.message(string(body))
		text := "a:b\nc"
		if version == "1.0" {
			text = "a:b c"
		}
		for k, v := range map[string]string{
			"content-type": "application/x", "content-encoding": "none", "persistent": "true", "priority": "7", "correlation-id": "c",
			"reply-to": "answers", "expiration": "3600000", "amqp-message-id": "m", "timestamp": "1700000000", "type": "t", "app-id": "app",
			"text": text, "int": "-5", "long": "1099511627776", "yes": "true", "float": "1.5", "void": "", "bytes": "raw", "binary": "/wA=",
			"list": `["a",1]`, "table": `{"k":"v"}`, "content-length": "3000", "subscription": "0", "destination": "/queue/" + q,
		} {
			if f.headers[k] != v {
				t.Errorf("%s: %s is %q, want %q", version, k, f.headers[k], v)
			}
		}
		// The sender's address for answers works as a destination.
		if _, err := ch.QueueDeclare("answers", false, true, false, false, nil); err != nil {
			t.Fatal(err)
		}
		c.do("SEND", "answer", "destination:"+f.headers["reply-to"])
		if d := get(t, ch, "answers"); string(d.Body) != "answer" {
			t.Errorf("answer %q", d.Body)
		}
	}
}

// TestSTOMPTopicsMeetAMQP: topics are routing keys of amq.topic.
func TestSTOMPTopicsMeetAMQP(t *testing.T) {
	b := either(t)
	ch, key, q := channel(t, b), unique(t), unique(t)
	if _, err := ch.QueueDeclare(q, false, false, true, false, nil); err != nil {
		t.Fatal(err)
	}
	if err := ch.QueueBind(q, key+".#", "amq.topic", false, nil); err != nil {
		t.Fatal(err)
	}
	c := open(t, b, "1.2")
	c.subscribe("/topic/" + key + ".*")
	c.do("SEND", "from stomp", "destination:/topic/"+key+".eu")
	c.message("from stomp")
	if d := get(t, ch, q); d.RoutingKey != key+".eu" || d.Exchange != "amq.topic" || string(d.Body) != "from stomp" {
		t.Errorf("got %q from %q by %q", d.Body, d.Exchange, d.RoutingKey)
	}
	if err := ch.Publish("amq.topic", key+".us", false, false, amqp.Publishing{Body: []byte("from amqp")}); err != nil {
		t.Fatal(err)
	}
	if f := c.message("from amqp"); f.headers["destination"] != "/topic/"+key+".us" {
		t.Errorf("got %s", f)
	}
}

// TestSTOMPReplyToAMQP: request and answer across the protocols, both ways.
func TestSTOMPReplyToAMQP(t *testing.T) {
	b := rabbit(t)
	ch, q := channel(t, b), unique(t)
	c := open(t, b, "1.2")
	c.do("SEND", "ping", "destination:/queue/"+q, "reply-to:/temp-queue/x", "correlation-id:7")
	d := get(t, ch, q)
	if err := ch.Publish("", d.ReplyTo, false, false, amqp.Publishing{CorrelationId: d.CorrelationId, Body: []byte("pong")}); err != nil {
		t.Fatal(err)
	}
	if f := c.message("pong"); f.headers["subscription"] != "/temp-queue/x" || f.headers["correlation-id"] != "7" {
		t.Errorf("got %s", f)
	}

	c.subscribe("/queue/" + q)
	answers, err := ch.Consume("amq.rabbitmq.reply-to", "", true, false, false, false, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := ch.Publish("", q, false, false, amqp.Publishing{ReplyTo: "amq.rabbitmq.reply-to", Body: []byte("ping")}); err != nil {
		t.Fatal(err)
	}
	f := c.message("ping")
	c.do("SEND", "pong", "destination:"+f.headers["reply-to"])
	select {
	case d := <-answers:
		if string(d.Body) != "pong" {
			t.Errorf("answer %q", d.Body)
		}
	case <-time.After(patience):
		t.Fatal("no answer")
	}
}

// TestSTOMPPersistenceForAMQP: a STOMP message that lasts is AMQP's after a
// kill.
func TestSTOMPPersistenceForAMQP(t *testing.T) {
	b := start(t, "rabbitmq")
	open(t, b, "1.2").do("SEND", "kept", "destination:/queue/q", "persistent:true", "k:v")
	b.Kill()
	if err := b.Restart(); err != nil {
		t.Fatal(err)
	}
	if d := get(t, channel(t, b), "q"); string(d.Body) != "kept" || d.Headers["k"] != "v" || d.DeliveryMode != amqp.Persistent {
		t.Errorf("got %q %v", d.Body, d.Headers)
	}
}
