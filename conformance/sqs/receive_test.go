package sqs

import (
	"context"
	"crypto/md5"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
)

// SQS-23: how many messages come.
func TestSQS23_MaxNumber(t *testing.T) {
	w := open(t)
	url := w.queue()
	for range 2 {
		if _, err := w.sendBatch(url, entries(10)); err != nil {
			t.Fatal(err)
		}
	}
	out, err := w.ReceiveMessage(ctx(), &sqs.ReceiveMessageInput{QueueUrl: &url})
	if err != nil || len(out.Messages) != 1 {
		t.Errorf("%d by default, %v", len(out.Messages), err)
	}
	if n := len(w.receive(url, 10)); n != 10 {
		t.Errorf("%d of 10", n)
	}
	if n := len(w.receive(url, 10)); n != 9 {
		t.Errorf("%d of the remaining 9", n)
	}
	for _, n := range []string{"11", "-1", "0"} {
		a := w.json("/", "ReceiveMessage", `{"QueueUrl":"`+url+`","MaxNumberOfMessages":`+n+`}`, nil)
		a.has(t, 400, "Value "+n+" for parameter MaxNumberOfMessages is invalid. Reason: Must be between 1 and 10, if provided.")
	}
}

// SQS-24: waiting.
func TestSQS24_LongPoll(t *testing.T) {
	w := open(t)
	url := w.queue("ReceiveMessageWaitTimeSeconds", "20")
	for _, n := range []string{"-1", "21"} {
		w.json("/", "ReceiveMessage", `{"QueueUrl":"`+url+`","WaitTimeSeconds":`+n+`}`, nil).has(t, 400,
			"Value "+n+" for parameter WaitTimeSeconds is invalid. Reason: Must be >= 0 and <= 20, if provided.")
	}
	at := time.Now()
	w.json("/", "ReceiveMessage", `{"QueueUrl":"`+url+`","WaitTimeSeconds":0}`, nil).has(t, 200)
	if took := time.Since(at); took > 5*time.Second {
		t.Errorf("0 did not override the queue: %v", took)
	}
	at = time.Now()
	if list := w.receive(url, 1, wait(2)); len(list) != 0 || time.Since(at) < 1950*time.Millisecond || time.Since(at) > 10*time.Second {
		t.Errorf("%d messages after %v, want none after 2 s", len(list), time.Since(at))
	}
	type result struct {
		list []types.Message
		at   time.Time
	}
	done := make(chan result)
	go func() {
		list, _ := w.tryReceive(url, 10, wait(20))
		done <- result{list, time.Now()}
	}()
	pause(300 * time.Millisecond)
	w.send(url, "x")
	at = time.Now()
	if r := <-done; bodies(r.list) != "x" || r.at.Sub(at) > 5*time.Second {
		t.Errorf("%s after %v", bodies(r.list), r.at.Sub(at))
	}
}

// SQS-25: many polls at once, and pollers that leave.
func TestSQS25_PollersThatLeave(t *testing.T) {
	w := open(t)
	url := w.queue()
	for range 20 {
		c, cancel := context.WithCancel(ctx())
		var all sync.WaitGroup
		for range 25 {
			all.Go(func() { _, _ = w.ReceiveMessage(c, &sqs.ReceiveMessageInput{QueueUrl: &url, WaitTimeSeconds: 20}) })
		}
		pause(30 * time.Millisecond)
		cancel()
		all.Wait()
	}
	w.send(url, "x")
	at := time.Now()
	if list := w.collect(url, 1); bodies(list) != "x" || time.Since(at) > 5*time.Second {
		t.Errorf("%s after %v", bodies(list), time.Since(at))
	}
}

// SQS-26, SQS-33: system attributes by name, and their values.
func TestSQS33_SystemAttributes(t *testing.T) {
	w := open(t)
	url := w.queue()
	before := time.Now().UnixMilli()
	w.send(url, "x")
	first := w.glance(url).Attributes
	second := w.glance(url).Attributes
	if first["ApproximateReceiveCount"] != "1" || second["ApproximateReceiveCount"] != "2" {
		t.Errorf("counts %s, %s", first["ApproximateReceiveCount"], second["ApproximateReceiveCount"])
	}
	if first["ApproximateFirstReceiveTimestamp"] != second["ApproximateFirstReceiveTimestamp"] || first["SenderId"] == "" {
		t.Errorf("%v, %v", first, second)
	}
	if sent, _ := strconv.ParseInt(first["SentTimestamp"], 10, 64); sent < before-1000 || sent > before+20_000 {
		t.Errorf("sent at %d, now %d", sent, before)
	}
	only := w.glance(url, func(in *sqs.ReceiveMessageInput) {
		in.MessageSystemAttributeNames = []types.MessageSystemAttributeName{"SenderId"}
	}).Attributes
	if len(only) != 1 {
		t.Errorf("%v", only)
	}
	old := w.json("/", "ReceiveMessage", `{"QueueUrl":"`+url+`","AttributeNames":["ApproximateReceiveCount"],"VisibilityTimeout":0}`, nil)
	old.has(t, 200, `"Attributes":{"ApproximateReceiveCount":"4"}`)
	none := w.json("/", "ReceiveMessage", `{"QueueUrl":"`+url+`","VisibilityTimeout":0}`, nil)
	if strings.Contains(none.body, `"Attributes"`) {
		t.Errorf("%v", none)
	}
	_, err := w.tryReceive(url, 1, func(in *sqs.ReceiveMessageInput) {
		in.MessageSystemAttributeNames = []types.MessageSystemAttributeName{"Nonsense"}
	})
	refused(t, err, "InvalidAttributeName", "Unknown Attribute Nonsense.")
}

// SQS-27: filters of message attributes, and digests of what is shown.
func TestSQS27_AttributeFilters(t *testing.T) {
	w := open(t)
	url := w.queue()
	w.send(url, "x", with(map[string]types.MessageAttributeValue{"foo": text("1"), "foo.bar": text("2"), "foobar": text("3"), "other": text("4")}))
	for filter, want := range map[string]string{
		"All": "foo foo.bar foobar other", ".*": "foo foo.bar foobar other", "*": "foo foo.bar foobar other",
		"foo.*": "foo foo.bar foobar", "foo..*": "foo.bar", "fo.*,o.*": "foo foo.bar foobar other", "fo*": "", "foo": "foo", "foobar,other": "foobar other", "none": "", "": "",
	} {
		var list []string
		if filter != "" {
			list = strings.Split(filter, ",")
		}
		m := w.glance(url, func(in *sqs.ReceiveMessageInput) { in.MessageAttributeNames = list })
		var got []string
		for _, name := range []string{"foo", "foo.bar", "foobar", "other"} {
			if _, ok := m.MessageAttributes[name]; ok {
				got = append(got, name)
			}
		}
		if strings.Join(got, " ") != want || (m.MD5OfMessageAttributes == nil) != (want == "") {
			t.Errorf("%q: %q, digest %v", filter, got, aws.ToString(m.MD5OfMessageAttributes))
		}
		if filter == "foo" && *m.MD5OfMessageAttributes != digest("foo", "String", "1") {
			t.Errorf("the digest is not that of what is shown")
		}
	}
}

// digest is that of one attribute.
func digest(parts ...string) string {
	var b []byte
	for i, p := range parts {
		if i == 2 {
			b = append(b, 1)
		}
		b = append(b, 0, 0, 0, byte(len(p)))
		b = append(b, p...)
	}
	sum := md5.Sum(b)
	return hex.EncodeToString(sum[:])
}

// SQS-28: hidden for as long as it was asked for.
func TestSQS28_Visibility(t *testing.T) {
	w := open(t)
	url := w.queue("VisibilityTimeout", "1")
	w.send(url, "x")
	at := time.Now()
	w.collect(url, 1)
	if list := w.receive(url, 1); len(list) != 0 {
		t.Error("not hidden")
	}
	w.collect(url, 1, visible(2))
	if took := time.Since(at); took < 950*time.Millisecond {
		t.Errorf("back after %v", took)
	}
	at = time.Now()
	w.collect(url, 1)
	if took := time.Since(at); took < 1950*time.Millisecond {
		t.Errorf("back after %v, asked for 2 s", took)
	}
	w.until("visible again", func() bool { return w.attributes(url, "All")["ApproximateNumberOfMessages"] == "1" })
	w.json("/", "ReceiveMessage", `{"QueueUrl":"`+url+`","VisibilityTimeout":0}`, nil).has(t, 200, `"Body":"x"`)
	if list := w.receive(url, 1); bodies(list) != "x" {
		t.Error("hidden after a receive with 0")
	}
	w.json("/", "ReceiveMessage", `{"QueueUrl":"`+url+`","VisibilityTimeout":43201}`, nil).has(t, 400, "InvalidParameterValue")
}

// SQS-29: changes of visibility.
func TestSQS29_ChangeVisibility(t *testing.T) {
	w := open(t)
	url := w.queue()
	w.send(url, "x")
	m := w.collect(url, 1, visible(1))[0]
	if err := w.change(url, m, 3); err != nil {
		t.Fatal(err)
	}
	pause(1500 * time.Millisecond)
	if list := w.receive(url, 1); len(list) != 0 {
		t.Error("not extended")
	}
	if err := w.change(url, m, 0); err != nil {
		t.Fatal(err)
	}
	m = w.receive(url, 1)[0]
	refused(t, w.change(url, m, 43201), "InvalidParameterValue", "")
	if err := w.change(url, m, 43200); err != nil {
		t.Error(err)
	}
	pause(1200 * time.Millisecond)
	refused(t, w.change(url, m, 43200), "InvalidParameterValue",
		"Value 43200 for parameter VisibilityTimeout is invalid. Reason: Total VisibilityTimeout for the message is beyond the limit [43200 seconds]")
	if err := w.remove(url, m); err != nil {
		t.Fatal(err)
	}
	refused(t, w.change(url, m, 5), "InvalidParameterValue", "Value "+*m.ReceiptHandle+
		" for parameter ReceiptHandle is invalid. Reason: Message does not exist or is not available for visibility timeout change.")
	w.send(url, "y")
	m = w.collect(url, 1)[0]
	out, err := w.ChangeMessageVisibilityBatch(ctx(), &sqs.ChangeMessageVisibilityBatchInput{QueueUrl: &url, Entries: []types.ChangeMessageVisibilityBatchRequestEntry{
		{Id: aws.String("good"), ReceiptHandle: m.ReceiptHandle, VisibilityTimeout: 1},
		{Id: aws.String("bad"), ReceiptHandle: aws.String("garbage"), VisibilityTimeout: 1},
	}})
	if err != nil || len(out.Successful) != 1 || *out.Successful[0].Id != "good" {
		t.Fatalf("%v, %v", out, err)
	}
	failed(t, out.Failed, "bad", "ReceiptHandleIsInvalid")
}

// SQS-29: after its time is over, a message can still be hidden again.
func TestSQS29_LateChange(t *testing.T) {
	w := open(t)
	url := w.queue()
	w.send(url, "x")
	m := w.collect(url, 1, visible(1))[0]
	pause(1300 * time.Millisecond)
	if err := w.change(url, m, 2); err != nil {
		t.Fatal(err)
	}
	again := w.collect(url, 1)[0]
	if again.Attributes["ApproximateReceiveCount"] != "2" {
		t.Errorf("count %s", again.Attributes["ApproximateReceiveCount"])
	}
}

// SQS-30: deleting, also twice and late.
func TestSQS30_Delete(t *testing.T) {
	w := open(t)
	url := w.queue()
	w.send(url, "x")
	m := w.collect(url, 1, visible(1))[0]
	for range 2 {
		if err := w.remove(url, m); err != nil {
			t.Error(err)
		}
	}
	w.send(url, "late")
	m = w.collect(url, 1, visible(1))[0]
	pause(1300 * time.Millisecond)
	if err := w.remove(url, m); err != nil {
		t.Error(err)
	}
	w.send(url, "stale")
	m = w.glance(url)
	w.collect(url, 1, visible(100))
	if err := w.remove(url, m); err != nil {
		t.Error(err)
	}
	got := w.attributes(url, "All")
	if got["ApproximateNumberOfMessages"] != "0" || got["ApproximateNumberOfMessagesNotVisible"] != "0" {
		t.Errorf("%v", got)
	}
}

// SQS-30: ten at once.
func TestSQS30_DeleteBatch(t *testing.T) {
	w := open(t)
	url := w.queue()
	if _, err := w.sendBatch(url, entries(9)); err != nil {
		t.Fatal(err)
	}
	var list []types.DeleteMessageBatchRequestEntry
	for i, m := range w.collect(url, 9) {
		list = append(list, types.DeleteMessageBatchRequestEntry{Id: aws.String(fmt.Sprint("id", i)), ReceiptHandle: m.ReceiptHandle})
	}
	list = append(list, types.DeleteMessageBatchRequestEntry{Id: aws.String("bad"), ReceiptHandle: aws.String("garbage")})
	out, err := w.DeleteMessageBatch(ctx(), &sqs.DeleteMessageBatchInput{QueueUrl: &url, Entries: list})
	if err != nil || len(out.Successful) != 9 {
		t.Fatalf("%v, %v", out, err)
	}
	failed(t, out.Failed, "bad", "ReceiptHandleIsInvalid")
}

// SQS-31: handles that are none, or another queue's.
func TestSQS31_BadHandles(t *testing.T) {
	w := open(t)
	url, second := w.queue(), w.queue()
	w.send(second, "x")
	foreign := w.collect(second, 1)[0]
	for _, h := range []string{"garbage", *foreign.ReceiptHandle, (*foreign.ReceiptHandle)[4:], strings.Repeat("A", 80)} {
		text := `The input receipt handle "` + h + `" is not a valid receipt handle.`
		refused(t, w.remove(url, types.Message{ReceiptHandle: &h}), "ReceiptHandleIsInvalid", text)
		refused(t, w.change(url, types.Message{ReceiptHandle: &h}, 1), "ReceiptHandleIsInvalid", text)
	}
	w.query("/", "Action", "DeleteMessage", "QueueUrl", url, "ReceiptHandle", "garbage").has(t, 404, "<Code>ReceiptHandleIsInvalid</Code>")
	w.json("/", "DeleteMessage", `{"QueueUrl":"`+url+`","ReceiptHandle":"garbage"}`, nil).has(t, 400, "com.amazonaws.sqs#ReceiptHandleIsInvalid")
	w.json("/", "DeleteMessage", `{"QueueUrl":"`+url+`","ReceiptHandle":"garbage"}`, map[string]string{"x-amzn-query-mode": "true"}).has(t, 404, "ReceiptHandleIsInvalid")
}

// SQS-49: a tenant with a backlog does not hold up a quiet one, and goes on.
func TestSQS49_FairQueue(t *testing.T) {
	w := open(t)
	url := w.queue()
	for range 100 {
		list := entries(10)
		for i := range list {
			list[i].MessageGroupId = aws.String("noisy")
		}
		if _, err := w.sendBatch(url, list); err != nil {
			t.Fatal(err)
		}
	}
	for range 5 {
		w.collect(url, 10, visible(100))
	}
	w.send(url, "quiet", group("quiet", ""))
	list := w.receive(url, 2, visible(100))
	if got := bodies(list); !strings.Contains(got, "quiet") || len(list) != 2 {
		t.Errorf("%s", got)
	}
}

// SQS-51: a message is seen exactly as often as the policy says, then moves
// with all it has.
func TestSQS51_DeadLetter(t *testing.T) {
	w := open(t)
	deadURL := w.queue()
	url := w.queue("RedrivePolicy", `{"deadLetterTargetArn":"`+w.arnOf(deadURL)+`","maxReceiveCount":2}`)
	sent := w.send(url, "x", with(map[string]types.MessageAttributeValue{"k": text("v")}))
	first := w.glance(url)
	second := w.glance(url)
	if second.Attributes["ApproximateReceiveCount"] != "2" {
		t.Errorf("count %s", second.Attributes["ApproximateReceiveCount"])
	}
	if list := w.receive(url, 1); len(list) != 0 {
		t.Errorf("seen a third time")
	}
	m := w.collect(deadURL, 1)[0]
	if n := m.Attributes["ApproximateReceiveCount"]; n != "3" {
		t.Errorf("the count does not go on: %s", n)
	}
	if *m.MessageId != *sent.MessageId || *m.Body != "x" || *m.MessageAttributes["k"].StringValue != "v" ||
		m.Attributes["DeadLetterQueueSourceArn"] != w.arnOf(url) || m.Attributes["SentTimestamp"] != first.Attributes["SentTimestamp"] {
		t.Errorf("%+v", m)
	}
}

// SQS-51: a delete that comes after the last timeout still counts.
func TestSQS51_MovedBeforeTheAnswer(t *testing.T) {
	w := open(t)
	deadURL := w.queue()
	url := w.queue("RedrivePolicy", `{"deadLetterTargetArn":"`+w.arnOf(deadURL)+`","maxReceiveCount":1}`)
	for i := range 20 {
		w.send(url, fmt.Sprint(i))
		w.glance(url)
		if list := w.receive(url, 1); len(list) != 0 {
			t.Fatalf("%s came again", bodies(list))
		}
		list := w.receive(deadURL, 1)
		if bodies(list) != fmt.Sprint(i) {
			t.Fatalf("message %d is not in the dead-letter queue: %q", i, bodies(list))
		}
		if err := w.remove(deadURL, list[0]); err != nil {
			t.Fatal(err)
		}
	}
}

func TestSQS51_LateDeleteBeforeMove(t *testing.T) {
	w := open(t)
	deadURL := w.queue()
	url := w.queue("RedrivePolicy", `{"deadLetterTargetArn":"`+w.arnOf(deadURL)+`","maxReceiveCount":1}`)
	w.send(url, "x")
	m := w.glance(url)
	if err := w.remove(url, m); err != nil {
		t.Fatal(err)
	}
	if list := append(w.receive(url, 1), w.receive(deadURL, 1)...); len(list) != 0 {
		t.Errorf("%s", bodies(list))
	}
}

// SQS-57: the bound on messages in flight.
func TestSQS57_InFlight(t *testing.T) {
	b := start(t, "aws.in_flight=3")
	w := &world{t, client(t, "http://"+b.Addr("aws"), root), "http://" + b.Addr("aws")}
	url := w.queue()
	if _, err := w.sendBatch(url, entries(5)); err != nil {
		t.Fatal(err)
	}
	w.collect(url, 3)
	_, err := w.tryReceive(url, 1)
	refused(t, err, "OverLimit", "")
	if list := w.receive(url, 1, wait(1)); len(list) != 0 {
		t.Errorf("%s", bodies(list))
	}
	fifo := w.fifo()
	w.sendGroups(fifo, "a-1 b-1 c-1 d-1")
	w.collect(fifo, 3)
	if list := w.receive(fifo, 1); len(list) != 0 {
		t.Errorf("%s", bodies(list))
	}
}
