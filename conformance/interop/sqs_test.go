package interop

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

func init() { settings = append(settings, "listeners.aws.address=127.0.0.1:0") }

// sqsMessage is a message as ReceiveMessage shows it.
type sqsMessage struct {
	MessageId, ReceiptHandle, Body string
	Attributes                     map[string]string
	MessageAttributes              map[string]struct {
		DataType, StringValue string
		BinaryValue           []byte
	}
}

// awsCall makes an unsigned call of AWS JSON, which the broker takes from this
// machine.
func awsCall(t testing.TB, action string, in map[string]any, out any) {
	t.Helper()
	raw, err := json.Marshal(in)
	must(t, err)
	req, err := http.NewRequest("POST", "http://"+shared.Addr("aws")+"/", bytes.NewReader(raw))
	must(t, err)
	req.Header.Set("Content-Type", "application/x-amz-json-1.0")
	req.Header.Set("X-Amz-Target", "AmazonSQS."+action)
	resp, err := http.DefaultClient.Do(req)
	must(t, err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	must(t, err)
	if resp.StatusCode != 200 {
		t.Fatalf("%s: %d %s", action, resp.StatusCode, text)
	}
	if out != nil {
		must(t, json.Unmarshal(text, out))
	}
}

func sqsCreate(t testing.TB, name string, attributes map[string]string) {
	t.Helper()
	awsCall(t, "CreateQueue", map[string]any{"QueueName": name, "Attributes": attributes}, nil)
}

// sqsReceive takes up to n messages, waiting for the first; visibility is in
// seconds.
func sqsReceive(t testing.TB, queue string, n, visibility, wait int) []sqsMessage {
	t.Helper()
	var out struct{ Messages []sqsMessage }
	awsCall(t, "ReceiveMessage", map[string]any{"QueueUrl": queue, "MaxNumberOfMessages": n, "VisibilityTimeout": visibility, "WaitTimeSeconds": wait,
		"MessageSystemAttributeNames": []string{"All"}, "MessageAttributeNames": []string{"All"}}, &out)
	return out.Messages
}

func sqsDelete(t testing.TB, queue string, m sqsMessage) {
	t.Helper()
	awsCall(t, "DeleteMessage", map[string]any{"QueueUrl": queue, "ReceiptHandle": m.ReceiptHandle}, nil)
}

// sqsName is a name that SQS allows.
func sqsName(t testing.TB) string {
	return strings.NewReplacer(".", "-", "→", "-", "/", "-").Replace(unique(t))
}

// SQS-70: what every other protocol sends comes out of ReceiveMessage, with its
// headers as attributes; bytes come as base64.
func TestToSQS(t *testing.T) {
	for _, from := range adapters {
		if !from.Reaches(Address{Queue: "n"}) {
			continue
		}
		t.Run(from.Name(), func(t *testing.T) {
			name := sqsName(t)
			sqsCreate(t, name, nil)
			out := connect(t, from)
			must(t, out.Send(Address{Queue: name}, Message{Body: []byte("größe 😀"), Persistent: true, CorrelationID: "c", Headers: map[string]any{"k": "v", "n": int64(7)}}))
			list := sqsReceive(t, name, 1, 30, 10)
			if len(list) != 1 || list[0].Body != "größe 😀" {
				t.Fatalf("%+v", list)
			}
			m := list[0]
			if a := m.MessageAttributes["k"]; a.DataType != "String" || a.StringValue != "v" {
				t.Errorf("%+v", m.MessageAttributes)
			}
			want := "Number.long"
			if fmt.Sprintf("%T", from.Says(Message{Headers: map[string]any{"n": int64(7)}}).Headers["n"]) == "string" {
				want = "String"
			}
			if a := m.MessageAttributes["n"]; a.DataType != want || a.StringValue != "7" {
				t.Errorf("n is %+v, want %s", a, want)
			}
			if a := m.MessageAttributes["JMS_SQSCorrelationID"]; a.StringValue != "c" {
				t.Errorf("%+v", m.MessageAttributes)
			}
			if m.Attributes["ApproximateReceiveCount"] != "1" || len(m.MessageId) != 36 {
				t.Errorf("%+v", m)
			}
			sqsDelete(t, name, m)
			must(t, out.Send(Address{Queue: name}, Message{Body: []byte{0xff, 0, 1}, Persistent: true}))
			m = sqsReceive(t, name, 1, 30, 10)[0]
			if m.Body != "/wAB" || m.MessageAttributes["Hermod.Encoding"].StringValue != "base64" {
				t.Errorf("%+v", m)
			}
		})
	}
}

// SQS-70: what SQS sends reaches every other protocol as text, attributes as
// headers with their types; base64 that says so becomes bytes.
func TestFromSQS(t *testing.T) {
	for _, to := range adapters {
		if !to.Reaches(Address{Queue: "n"}) {
			continue
		}
		t.Run(to.Name(), func(t *testing.T) {
			name := sqsName(t)
			in := listen(t, connect(t, to), Address{Queue: name})
			awsCall(t, "SendMessage", map[string]any{"QueueUrl": name, "MessageBody": "größe 😀", "MessageAttributes": map[string]any{
				"k": map[string]string{"DataType": "String", "StringValue": "v"}, "n": map[string]string{"DataType": "Number.long", "StringValue": "7"},
			}}, nil)
			m := next(t, in)
			want := to.Shows(Message{Headers: map[string]any{"k": "v", "n": int64(7)}}).Headers
			if string(m.Body) != "größe 😀" || fmt.Sprint(m.Headers["k"]) != fmt.Sprint(want["k"]) || fmt.Sprintf("%T%v", m.Headers["n"], m.Headers["n"]) != fmt.Sprintf("%T%v", want["n"], want["n"]) {
				t.Errorf("%q %v, want %v", m.Body, m.Headers, want)
			}
			if !m.Persistent || len(strings.TrimPrefix(m.MessageID, "ID:")) != 36 {
				t.Errorf("%+v", m)
			}
			awsCall(t, "SendMessage", map[string]any{"QueueUrl": name, "MessageBody": "/wAB", "MessageAttributes": map[string]any{
				"Hermod.Encoding": map[string]string{"DataType": "String", "StringValue": "base64"},
			}}, nil)
			if m := next(t, in); !bytes.Equal(m.Body, []byte{0xff, 0, 1}) {
				t.Errorf("%q", m.Body)
			}
		})
	}
}

// SQS-70: the rule of groups binds an AMQP consumer of a FIFO queue, and SQS
// waits for what AMQP holds.
func TestSQSGroupsBindAMQP(t *testing.T) {
	name := sqsName(t) + ".fifo"
	sqsCreate(t, name, map[string]string{"FifoQueue": "true"})
	for _, m := range []string{"1-a", "1-b", "2-a"} {
		awsCall(t, "SendMessage", map[string]any{"QueueUrl": name, "MessageBody": m, "MessageGroupId": m[:1], "MessageDeduplicationId": m}, nil)
	}
	ch := channel(t)
	must(t, ch.Qos(10, 0, false))
	in, err := ch.Consume(name, "", false, false, false, false, nil)
	must(t, err)
	held := map[string]amqp.Delivery{}
	for range 2 {
		d := <-in
		held[string(d.Body)] = d
		if g := d.Headers["JMSXGroupID"]; g != string(d.Body[:1]) {
			t.Errorf("group %v of %s", g, d.Body)
		}
	}
	if len(held) != 2 || held["1-a"].Acknowledger == nil || held["2-a"].Acknowledger == nil {
		t.Fatalf("%v", held)
	}
	if list := sqsReceive(t, name, 10, 30, 1); len(list) != 0 {
		t.Errorf("SQS got %s although its group is out", list[0].Body)
	}
	select {
	case d := <-in:
		t.Errorf("AMQP got %s although its group is out", d.Body)
	case <-time.After(200 * time.Millisecond):
	}
	must(t, ch.Cancel(held["1-a"].ConsumerTag, false))
	must(t, held["1-a"].Ack(false))
	list := sqsReceive(t, name, 10, 30, 10)
	if len(list) != 1 || list[0].Body != "1-b" || list[0].Attributes["MessageGroupId"] != "1" {
		t.Errorf("%+v", list)
	}
}

// SQS-70: how often a message was tried counts across protocols, and dead
// letters cross them.
func TestSQSCountsAndDeadLettersCross(t *testing.T) {
	name := sqsName(t)
	sqsCreate(t, name+"-dead", nil)
	sqsCreate(t, name, map[string]string{"RedrivePolicy": `{"deadLetterTargetArn":"arn:aws:sqs:us-east-1:000000000000:` + name + `-dead","maxReceiveCount":3}`})
	ch := channel(t)
	must(t, ch.PublishWithContext(t.Context(), "", name, false, false, amqp.Publishing{Body: []byte("x"), DeliveryMode: 2, Headers: amqp.Table{"k": "v"}}))
	first := sqsReceive(t, name, 1, 0, 10)[0]
	second := sqsReceive(t, name, 1, 1, 10)[0]
	if first.MessageId != second.MessageId || second.Attributes["ApproximateReceiveCount"] != "2" {
		t.Errorf("%+v, %+v", first, second)
	}
	d, ok, err := amqp.Delivery{}, false, error(nil)
	for end := time.Now().Add(patience); !ok && err == nil && time.Now().Before(end); <-time.After(20 * time.Millisecond) {
		d, ok, err = ch.Get(name, false)
	}
	if err != nil || !ok || !d.Redelivered {
		t.Fatalf("%v %v %+v", ok, err, d)
	}
	must(t, d.Reject(false)) // at once, whatever the count
	dead := sqsReceive(t, name+"-dead", 1, 0, 10)
	if len(dead) != 1 || dead[0].Body != "x" || !strings.HasSuffix(dead[0].Attributes["DeadLetterQueueSourceArn"], ":"+name) || dead[0].MessageAttributes["k"].StringValue != "v" {
		t.Fatalf("%+v", dead)
	}
	d, ok, err = ch.Get(name+"-dead", true)
	if err != nil || !ok || d.Headers["x-death"] == nil {
		t.Errorf("%v %v %+v", ok, err, d.Headers)
	}
}

// SQS-70: delays and attributes of counters are the same queue's everywhere.
func TestSQSDelaysAndCounters(t *testing.T) {
	name := sqsName(t)
	sqsCreate(t, name, nil)
	awsCall(t, "SendMessage", map[string]any{"QueueUrl": name, "MessageBody": "late", "DelaySeconds": 1}, nil)
	ch := channel(t)
	if _, ok, err := ch.Get(name, true); ok || err != nil {
		t.Fatalf("before its time: %v", err)
	}
	began := time.Now()
	in, err := ch.Consume(name, "", true, false, false, false, nil)
	must(t, err)
	if d := <-in; string(d.Body) != "late" || time.Since(began) < 800*time.Millisecond {
		t.Errorf("%s after %v", d.Body, time.Since(began))
	}
	must(t, ch.Close())
	ch = channel(t)
	awsCall(t, "SendMessage", map[string]any{"QueueUrl": name, "MessageBody": "held"}, nil)
	d, ok, err := ch.Get(name, false)
	if err != nil || !ok {
		t.Fatal(err)
	}
	counts := func() map[string]string {
		var out struct{ Attributes map[string]string }
		awsCall(t, "GetQueueAttributes", map[string]any{"QueueUrl": name, "AttributeNames": []string{"All"}}, &out)
		return out.Attributes
	}
	if a := counts(); a["ApproximateNumberOfMessagesNotVisible"] != "1" || a["ApproximateNumberOfMessages"] != "0" {
		t.Errorf("%v", a)
	}
	must(t, d.Nack(false, true))
	m := sqsReceive(t, name, 1, 30, 10)[0]
	q, err := ch.QueueDeclarePassive(name, true, false, false, false, nil)
	if err != nil || q.Messages != 0 {
		t.Errorf("%+v %v", q, err)
	}
	sqsDelete(t, name, m)
	if a := counts(); a["ApproximateNumberOfMessagesNotVisible"] != "0" {
		t.Errorf("%v", a)
	}
}
