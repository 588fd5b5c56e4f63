package interop

import (
	"fmt"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/hermodmq/hermod/conformance/harness"
	"github.com/hermodmq/hermod/listeners/openwire/wire"
)

// everyQueue runs f for every protocol that has queues.
func everyQueue(t *testing.T, f func(t *testing.T, a Adapter, name string)) {
	for _, a := range adapters {
		if a.Reaches(Address{Queue: "n"}) {
			t.Run(a.Name(), func(t *testing.T) { f(t, a, sqsName(t)) })
		}
	}
}

// attribute is one of a message to send.
func attribute(kind, value string) map[string]string {
	return map[string]string{"DataType": kind, "StringValue": value}
}

// SQS-70: the fields that SQS has no word for come as the attributes of the JMS
// library, types of headers as labels.
func TestFieldsToSQS(t *testing.T) {
	everyQueue(t, func(t *testing.T, from Adapter, name string) {
		sqsCreate(t, name, nil)
		m := Message{Body: []byte(`{"a":1}`), ContentType: "application/json", CorrelationID: "corr-😀", Type: "kind", ReplyTo: Address{Queue: "answers"},
			Persistent: true, Headers: map[string]any{"text": "x", "long": int64(1) << 40, "float": 1.5, "yes": true}}
		must(t, connect(t, from).Send(Address{Queue: name}, m))
		got := sqsReceive(t, name, 1, 30, 10)
		if len(got) != 1 || got[0].Body != `{"a":1}` {
			t.Fatalf("%+v", got)
		}
		want := map[string]string{"Content-Type": "String application/json", "JMS_SQSCorrelationID": "String corr-😀", "JMSType": "String kind",
			"JMS_SQSReplyToQueueName": "String answers"}
		for header, v := range from.Says(m).Headers {
			switch v := v.(type) {
			case string:
				want[header] = "String " + v
			case int64:
				want[header] = fmt.Sprint("Number.long ", v)
			case float64:
				want[header] = fmt.Sprint("Number.double ", v)
			case bool:
				want[header] = "Number.Boolean 1"
			}
		}
		for attr, w := range want {
			if a := got[0].MessageAttributes[attr]; a.DataType+" "+a.StringValue != w {
				t.Errorf("attribute %s is %q, want %q", attr, a.DataType+" "+a.StringValue, w)
			}
		}
	})
}

// SQS-70: and back.
func TestFieldsFromSQS(t *testing.T) {
	everyQueue(t, func(t *testing.T, to Adapter, name string) {
		in := listen(t, connect(t, to), Address{Queue: name})
		awsCall(t, "SendMessage", map[string]any{"QueueUrl": name, "MessageBody": `{"a":1}`, "MessageAttributes": map[string]any{
			"Content-Type": attribute("String", "application/json"), "JMS_SQSCorrelationID": attribute("String", "corr-😀"),
			"JMSType": attribute("String", "kind"), "JMS_SQSReplyToQueueName": attribute("String", "answers"),
			"double": attribute("Number.double", "1.5"), "yes": attribute("Number.Boolean", "1"), "text": attribute("String", "x"),
			"binary": map[string]any{"DataType": "Binary", "BinaryValue": []byte{0xff, 0}},
		}}, nil)
		m := next(t, in)
		want := to.Shows(Message{Headers: map[string]any{"double": 1.5, "yes": true, "text": "x", "binary": []byte{0xff, 0}}})
		if string(m.Body) != `{"a":1}` || m.ContentType != "application/json" || m.CorrelationID != "corr-😀" || m.Type != "kind" || m.ReplyTo.Queue != "answers" {
			t.Errorf("%+v", m)
		}
		for header, w := range want.Headers {
			if g := m.Headers[header]; fmt.Sprintf("%T %v", g, g) != fmt.Sprintf("%T %v", w, w) {
				t.Errorf("header %s is %T %v, want %T %v", header, g, g, w, w)
			}
		}
	})
}

// SQS-70: what has expired is not received, whoever sent it.
func TestExpiryToSQS(t *testing.T) {
	everyQueue(t, func(t *testing.T, from Adapter, name string) {
		sqsCreate(t, name, nil)
		out := connect(t, from)
		must(t, out.Send(Address{Queue: name}, Message{Body: []byte("gone"), TTL: 50 * time.Millisecond, Persistent: true}))
		<-time.After(100 * time.Millisecond) // the time to live itself
		must(t, out.Send(Address{Queue: name}, Message{Body: []byte("kept"), TTL: time.Hour, Persistent: true}))
		if list := sqsReceive(t, name, 1, 30, 10); len(list) != 1 || list[0].Body != "kept" {
			t.Errorf("%+v", list)
		}
	})
}

// SQS-70: a request by any protocol is answered over SQS at the queue it names,
// and a request over SQS by any protocol.
func TestRequestReplyWithSQS(t *testing.T) {
	everyQueue(t, func(t *testing.T, a Adapter, name string) {
		replies := name + "-replies"
		c := connect(t, a)
		answers := listen(t, c, Address{Queue: replies})
		sqsCreate(t, name, nil)
		must(t, c.Send(Address{Queue: name}, Message{Body: []byte("ping"), ReplyTo: Address{Queue: replies}, CorrelationID: "7", Persistent: true}))
		r := sqsReceive(t, name, 1, 30, 10)[0]
		awsCall(t, "SendMessage", map[string]any{"QueueUrl": r.MessageAttributes["JMS_SQSReplyToQueueName"].StringValue, "MessageBody": "pong",
			"MessageAttributes": map[string]any{"JMS_SQSCorrelationID": attribute("String", r.MessageAttributes["JMS_SQSCorrelationID"].StringValue)}}, nil)
		if m := next(t, answers); string(m.Body) != "pong" || m.CorrelationID != "7" {
			t.Errorf("%+v", m)
		}
		requests := listen(t, c, Address{Queue: name + "-requests"})
		sqsCreate(t, name+"-answers", nil)
		awsCall(t, "SendMessage", map[string]any{"QueueUrl": name + "-requests", "MessageBody": "ping", "MessageAttributes": map[string]any{
			"JMS_SQSCorrelationID": attribute("String", "8"), "JMS_SQSReplyToQueueName": attribute("String", name+"-answers"),
		}}, nil)
		m := next(t, requests)
		must(t, c.Send(m.ReplyTo, Message{Body: []byte("pong"), CorrelationID: m.CorrelationID, Persistent: true}))
		if list := sqsReceive(t, name+"-answers", 1, 30, 10); len(list) != 1 || list[0].Body != "pong" || list[0].MessageAttributes["JMS_SQSCorrelationID"].StringValue != "8" {
			t.Errorf("%+v", list)
		}
	})
}

// SQS-70, SNS-51: what one side had confirmed is there for the other after the
// broker was killed: to SQS, from SQS, and from SNS by way of a topic.
func TestPersistenceWithAWS(t *testing.T) {
	b, err := harness.Start(harness.Options{DataDir: t.TempDir(), Set: settings})
	must(t, err)
	t.Cleanup(b.Kill)
	old := shared
	shared = b
	defer func() { shared = old }()
	topic := snsCall(t, "CreateTopic", "Name", "lasting").TopicArn
	sqsCreate(t, "by-sns", nil)
	snsCall(t, "Subscribe", "TopicArn", topic, "Protocol", "sqs", "Endpoint", "arn:aws:sqs:us-east-1:000000000000:by-sns",
		"Attributes.entry.1.key", "RawMessageDelivery", "Attributes.entry.1.value", "true")
	snsCall(t, "Publish", "TopicArn", topic, "Message", "kept by SNS")
	for _, a := range adapters {
		if !a.Reaches(Address{Queue: "n"}) {
			continue
		}
		for _, name := range []string{"to-", "from-"} {
			sqsCreate(t, name+a.Name(), nil)
		}
		out := connect(t, a)
		must(t, out.Send(Address{Queue: "to-" + a.Name()}, Message{Body: []byte("transient")}))
		must(t, out.Send(Address{Queue: "to-" + a.Name()}, Message{Body: []byte("kept"), Persistent: true, Headers: map[string]any{"k": "v"}}))
		awsCall(t, "SendMessage", map[string]any{"QueueUrl": "from-" + a.Name(), "MessageBody": "kept", "MessageAttributes": map[string]any{"k": attribute("String", "v")}}, nil)
	}
	b.Kill()
	must(t, b.Restart())
	for _, a := range adapters {
		if !a.Reaches(Address{Queue: "n"}) {
			continue
		}
		if list := sqsReceive(t, "to-"+a.Name(), 10, 30, 10); len(list) != 1 || list[0].Body != "kept" || list[0].MessageAttributes["k"].StringValue != "v" {
			t.Errorf("%s to SQS: %+v", a.Name(), list)
		}
		if m := next(t, listen(t, connect(t, a), Address{Queue: "from-" + a.Name()})); string(m.Body) != "kept" || !m.Persistent || m.Headers["k"] != "v" {
			t.Errorf("SQS to %s: %+v", a.Name(), m)
		}
	}
	if list := sqsReceive(t, "by-sns", 10, 30, 10); len(list) != 1 || list[0].Body != "kept by SNS" {
		t.Errorf("by SNS: %+v", list)
	}
}

// TestMoreHeadersThanSQSShows: SQS shows ten attributes, and none that it could
// not carry; the message keeps them all for others.
func TestMoreHeadersThanSQSShows(t *testing.T) {
	everyQueue(t, func(t *testing.T, from Adapter, name string) {
		sqsCreate(t, name, nil)
		m := Message{Body: []byte("x"), Persistent: true, Headers: map[string]any{"bad name": "v"}}
		for i := range 20 {
			m.Headers[fmt.Sprintf("h%02d", i)] = "v"
		}
		must(t, connect(t, from).Send(Address{Queue: name}, m))
		list := sqsReceive(t, name, 1, 0, 10)
		if len(list) != 1 || len(list[0].MessageAttributes) > 10 || len(list[0].MessageAttributes) < 8 {
			t.Fatalf("%+v", list)
		}
		if _, shown := list[0].MessageAttributes["bad name"]; shown {
			t.Errorf("%+v", list[0].MessageAttributes)
		}
		if got := next(t, listen(t, connect(t, from), Address{Queue: name})); len(got.Headers) < 21 {
			t.Errorf("%d headers are left", len(got.Headers))
		}
	})
}

// TestPriorityIsNothingToFIFO: a FIFO queue keeps its order whatever priority
// other protocols give its messages.
func TestPriorityIsNothingToFIFO(t *testing.T) {
	everyQueue(t, func(t *testing.T, from Adapter, name string) {
		name += ".fifo"
		sqsCreate(t, name, map[string]string{"FifoQueue": "true", "ContentBasedDeduplication": "true"})
		out := connect(t, from)
		for i, p := range []uint8{1, 9, 5} {
			must(t, out.Send(Address{Queue: name}, Message{Body: []byte(fmt.Sprint(i)), Priority: p, Persistent: true, Headers: map[string]any{"JMSXGroupID": "g"}}))
		}
		var got []string
		for _, m := range sqsReceive(t, name, 10, 30, 10) {
			got = append(got, m.Body)
			sqsDelete(t, name, m)
		}
		if strings.Join(got, " ") != "0 1 2" {
			t.Errorf("got %v", got)
		}
	})
}

// TestSQSListsNoExclusiveQueues: what belongs to one AMQP connection is not
// listed, and not found.
func TestSQSListsNoExclusiveQueues(t *testing.T) {
	ch := channel(t)
	own, common := sqsName(t), sqsName(t)
	_, err := ch.QueueDeclare(own, false, false, true, false, nil)
	must(t, err)
	_, err = ch.QueueDeclare(common, true, false, false, false, nil)
	must(t, err)
	var out struct{ QueueUrls []string }
	awsCall(t, "ListQueues", map[string]any{}, &out)
	all := strings.Join(out.QueueUrls, " ") + " "
	if strings.Contains(all, "/"+own+" ") || !strings.Contains(all, "/"+common+" ") {
		t.Errorf("%s: own %s, common %s", all, own, common)
	}
}

// TestSelectorsLeaveTheRestToSQS: what a JMS selector passes over stays for SQS,
// which takes what is next.
func TestSelectorsLeaveTheRestToSQS(t *testing.T) {
	name := sqsName(t)
	sqsCreate(t, name, nil)
	c := connect(t, byName(t, "OpenWire")).(*openwireClient)
	k := &openwireConsumer{destination: openwireDestination(Address{Queue: name}), out: make(chan Message, 16)}
	id := wire.ConsumerID{ConnectionID: c.id, SessionID: 1, Value: 1}
	c.mu.Lock()
	c.consumers[id] = k
	c.mu.Unlock()
	must(t, c.call(&wire.ConsumerInfo{ConsumerID: id, Destination: k.destination, PrefetchSize: 10, Selector: "n > 3"}))
	ch := channel(t)
	for n := range int32(6) {
		must(t, ch.PublishWithContext(t.Context(), "", name, false, false, amqp.Publishing{Body: []byte(fmt.Sprint(n)), Headers: amqp.Table{"n": n}, DeliveryMode: 2}))
	}
	for _, want := range []string{"4", "5"} {
		if m := next(t, k.out); string(m.Body) != want {
			t.Errorf("JMS got %q, want %s", m.Body, want)
		}
	}
	var got []string
	for len(got) < 4 {
		list := sqsReceive(t, name, 10, 30, 10)
		if len(list) == 0 {
			break
		}
		for _, m := range list {
			got = append(got, m.Body)
		}
	}
	if strings.Join(got, " ") != "0 1 2 3" {
		t.Errorf("SQS got %v", got)
	}
}
