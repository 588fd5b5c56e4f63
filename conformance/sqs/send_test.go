package sqs

import (
	"bytes"
	"crypto/md5"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
)

func names2(list ...types.QueueAttributeName) []types.QueueAttributeName { return list }

func text(v string) types.MessageAttributeValue {
	return types.MessageAttributeValue{DataType: aws.String("String"), StringValue: &v}
}

func typed(kind, v string) types.MessageAttributeValue {
	return types.MessageAttributeValue{DataType: &kind, StringValue: &v}
}

func raw(kind string, v []byte) types.MessageAttributeValue {
	return types.MessageAttributeValue{DataType: &kind, BinaryValue: v}
}

func with(m map[string]types.MessageAttributeValue) func(*sqs.SendMessageInput) {
	return func(in *sqs.SendMessageInput) { in.MessageAttributes = m }
}

// SQS-12: digests that AWS computed.
func TestSQS12_GoldenDigests(t *testing.T) {
	w := open(t)
	url := w.queue()
	for want, m := range map[string]map[string]types.MessageAttributeValue{
		"befa18540a897f7d022bf07057754a03": {"test-key": text("test-value")},
		"2256c3b617e2b4b3ae4f2d455dcf54d0": {"test-key": text("test-value"), "test-key-alt": text("test-value-alt")},
		"d302007e9aa062660afc85fd0a482472": {"attr1": typed("Number", "99.12")},
		"8cbe4db156db8a94db8b801b7addb984": {"attr1": raw("Binary", []byte("traceparent\x1e00-774062d6c37081a5a0b9b5b88e30627c-2d2482211f6489da-01"))},
	} {
		out := w.send(url, "body", with(m))
		if aws.ToString(out.MD5OfMessageAttributes) != want || *out.MD5OfMessageBody != "841a2d689ad86bd1611447453c22c6fc" || len(*out.MessageId) != 36 {
			t.Errorf("%s: %s", want, aws.ToString(out.MD5OfMessageAttributes))
		}
	}
	out := w.send(url, "body")
	if out.MD5OfMessageAttributes != nil || out.SequenceNumber != nil {
		t.Errorf("%+v", out)
	}
}

// SQS-13: the characters of bodies.
func TestSQS13_Characters(t *testing.T) {
	w := open(t)
	url := w.queue()
	const text = "Invalid characters found. Valid unicode characters are #x9 | #xA | #xD | #x20 to #xD7FF | #xE000 to #xFFFD | #x10000 to #x10FFFF"
	for _, good := range []string{"\t\n\r", " ", "\ud7ff", "\ue000", "\ufffd", "\U00010000", "\U0010ffff", `"<>&'`} {
		w.send(url, good)
		if got := w.collect(url, 1); *got[0].Body != good {
			t.Errorf("%q came back as %q", good, *got[0].Body)
		} else if err := w.remove(url, got[0]); err != nil {
			t.Fatal(err)
		}
	}
	for _, bad := range []string{"\x00", "\x08", "\x0b", "\x1f", "\ufffe", "\uffff"} {
		_, err := w.trySend(url, "a"+bad)
		refused(t, err, "InvalidMessageContents", text)
		_, err = w.trySend(url, "a", with(map[string]types.MessageAttributeValue{"k": typed("String", bad)}))
		refused(t, err, "InvalidParameterValue", fmt.Sprintf("Invalid binary character '#x%x' was found in the message attribute 'k' value, "+
			"the set of allowed characters is #x9 | #xA | #xD | [#x20-#xD7FF] | [#xE000-#xFFFD] | [#x10000-#x10FFFF]", []rune(bad)[0]))
	}
	w.query("/", "Action", "SendMessage", "QueueUrl", url, "MessageBody", "a\x01").has(t, 400, "<Code>InvalidMessageContents</Code>")
	w.json("/", "SendMessage", `{"QueueUrl":"`+url+`","MessageBody":"\ud800"}`, nil).has(t, 400, "InvalidMessageContents")
}

// SQS-14: no body.
func TestSQS14_EmptyBody(t *testing.T) {
	w := open(t)
	url := w.queue()
	_, err := w.trySend(url, "")
	refused(t, err, "MissingParameter", "The request must contain the parameter MessageBody.")
	w.query("/", "Action", "SendMessage", "QueueUrl", url, "MessageBody", "").has(t, 400, "<Code>MissingParameter</Code>", "The request must contain the parameter MessageBody.")
}

// SQS-15: the largest message counts its attributes.
func TestSQS15_Size(t *testing.T) {
	w := open(t)
	url := w.queue()
	extra := map[string]types.MessageAttributeValue{"k": text("v")} // 8 bytes with its type
	w.send(url, strings.Repeat("x", 1<<20))
	w.send(url, strings.Repeat("x", 1<<20-8), with(extra))
	_, err := w.trySend(url, strings.Repeat("x", 1<<20+1))
	refused(t, err, "InvalidParameterValue", "One or more parameters are invalid. Reason: Message must be shorter than 1048576 bytes.")
	_, err = w.trySend(url, strings.Repeat("x", 1<<20-7), with(extra))
	refused(t, err, "InvalidParameterValue", "One or more parameters are invalid. Reason: Message must be shorter than 1048576 bytes.")
	if err := w.set(url, "MaximumMessageSize", "1024"); err != nil {
		t.Fatal(err)
	}
	w.send(url, strings.Repeat("x", 1024))
	_, err = w.trySend(url, strings.Repeat("x", 1025))
	refused(t, err, "InvalidParameterValue", "One or more parameters are invalid. Reason: Message must be shorter than 1024 bytes.")
}

// SQS-16: what attributes must be.
func TestSQS16_Attributes(t *testing.T) {
	w := open(t)
	url := w.queue()
	for name, v := range map[string]types.MessageAttributeValue{
		strings.Repeat("n", 257): text("v"), ".a": text("v"), "a.": text("v"), "a..b": text("v"), "AWS.x": text("v"), "amazon.x": text("v"), "a b": text("v"),
		"a!": text("v"), "a§": text("v"), "a\u00d7": text("v"), "a\U0001f600": text("v"), strings.Repeat("\u00e9", 257): text("v"),
		"type": typed("Text", "v"), "notype": typed("", "v"), "number": typed("Number", "x"), "mixed": raw("String", []byte("x")), "unset": typed("Binary", "x"),
	} {
		_, err := w.trySend(url, "b", with(map[string]types.MessageAttributeValue{name: v}))
		refused(t, err, "InvalidParameterValue", "")
	}
	_, err := w.trySend(url, "b", with(map[string]types.MessageAttributeValue{"ErrorDetails": text("")}))
	refused(t, err, "InvalidParameterValue", "Message (user) attribute 'ErrorDetails' must contain a non-empty value of type 'String'.")
	many := map[string]types.MessageAttributeValue{}
	for i := range 11 {
		many[fmt.Sprint("k", i)] = text("v")
	}
	_, err = w.trySend(url, "b", with(many))
	refused(t, err, "InvalidParameterValue", "Number of message attributes [11] exceeds the allowed maximum [10].")
	delete(many, "k10")
	many[strings.Repeat("n", 256)] = many["k9"]
	delete(many, "k9")
	w.send(url, "b", with(many))
	for _, name := range []string{"attr.1øßä", "Größe_2", "名前"} { // not what the documentation says
		w.purge(url)
		w.send(url, "b", with(map[string]types.MessageAttributeValue{name: text("v")}))
		if m := w.collect(url, 1)[0]; aws.ToString(m.MessageAttributes[name].StringValue) != "v" || *m.MD5OfMessageAttributes != digest(name, "String", "v") {
			t.Errorf("%q: %v", name, m.MessageAttributes)
		}
	}
}

// SQS-17, SQS-18: labels of types and bytes survive, in both protocols.
func TestSQS18_TypesSurvive(t *testing.T) {
	w := open(t)
	url := w.queue()
	m := map[string]types.MessageAttributeValue{
		"n": typed("Number.int", "7"), "b": raw("Binary.gzip", []byte{0, 1, 0xff}), "s": typed("String.x", "é"),
	}
	sent := w.send(url, "b", with(m))
	got := w.collect(url, 1)[0]
	if *got.MD5OfMessageAttributes != *sent.MD5OfMessageAttributes || len(got.MessageAttributes) != 3 {
		t.Fatalf("%v", got.MessageAttributes)
	}
	for name, want := range m {
		v := got.MessageAttributes[name]
		if *v.DataType != *want.DataType || aws.ToString(v.StringValue) != aws.ToString(want.StringValue) || !bytes.Equal(v.BinaryValue, want.BinaryValue) {
			t.Errorf("%s: %v", name, v)
		}
	}
	if err := w.remove(url, got); err != nil {
		t.Fatal(err)
	}
	w.query("/", "Action", "SendMessage", "QueueUrl", url, "MessageBody", "q", "MessageAttribute.1.Name", "b",
		"MessageAttribute.1.Value.DataType", "Binary", "MessageAttribute.1.Value.BinaryValue", "AAH/").has(t, 200, "<MD5OfMessageAttributes>")
	w.query("/", "Action", "ReceiveMessage", "QueueUrl", url, "WaitTimeSeconds", "1", "MessageAttributeName.1", "All", "VisibilityTimeout", "0").has(t, 200,
		"<MessageAttribute><Name>b</Name><Value><BinaryValue>AAH/</BinaryValue><DataType>Binary</DataType></Value></MessageAttribute>", "<Body>q</Body>")
	if v := w.collect(url, 1)[0].MessageAttributes["b"]; !bytes.Equal(v.BinaryValue, []byte{0, 1, 0xff}) {
		t.Errorf("%v", v)
	}
}

// SQS-19: the trace header, given or taken from the request.
func TestSQS19_Trace(t *testing.T) {
	w := open(t)
	url := w.queue()
	const trace = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1"
	out := w.send(url, "given", func(in *sqs.SendMessageInput) {
		in.MessageSystemAttributes = map[string]types.MessageSystemAttributeValue{"AWSTraceHeader": {DataType: aws.String("String"), StringValue: aws.String(trace)}}
	})
	if aws.ToString(out.MD5OfMessageSystemAttributes) != "5ae4d5d7636402d80f4eb6d213245a88" {
		t.Errorf("%s", aws.ToString(out.MD5OfMessageSystemAttributes))
	}
	w.json("/", "SendMessage", `{"QueueUrl":"`+url+`","MessageBody":"header"}`, map[string]string{"X-Amzn-Trace-Id": trace}).has(t, 200)
	for _, m := range w.collect(url, 2) {
		if m.Attributes["AWSTraceHeader"] != trace {
			t.Errorf("%s: %v", *m.Body, m.Attributes)
		}
	}
	_, err := w.trySend(url, "x", func(in *sqs.SendMessageInput) {
		in.MessageSystemAttributes = map[string]types.MessageSystemAttributeValue{"Other": {DataType: aws.String("String"), StringValue: aws.String("v")}}
	})
	refused(t, err, "InvalidParameterValue", "")
}

func entries(n int) []types.SendMessageBatchRequestEntry {
	list := make([]types.SendMessageBatchRequestEntry, n)
	for i := range list {
		list[i] = types.SendMessageBatchRequestEntry{Id: aws.String(fmt.Sprint("id", i)), MessageBody: aws.String(fmt.Sprint("m", i))}
	}
	return list
}

func (w *world) sendBatch(url string, list []types.SendMessageBatchRequestEntry) (*sqs.SendMessageBatchOutput, error) {
	return w.SendMessageBatch(ctx(), &sqs.SendMessageBatchInput{QueueUrl: &url, Entries: list})
}

// SQS-20: batches as a whole.
func TestSQS20_Batch(t *testing.T) {
	w := open(t)
	url := w.queue()
	out, err := w.sendBatch(url, entries(10))
	if err != nil || len(out.Successful) != 10 || len(out.Failed) != 0 {
		t.Fatalf("%v, %v", out, err)
	}
	for i, e := range out.Successful {
		sum := md5.Sum([]byte(fmt.Sprint("m", i)))
		if *e.Id != fmt.Sprint("id", i) || *e.MD5OfMessageBody != hex.EncodeToString(sum[:]) {
			t.Errorf("%d: %s", i, *e.Id)
		}
	}
	_, err = w.sendBatch(url, entries(11))
	refused(t, err, "AWS.SimpleQueueService.TooManyEntriesInBatchRequest", "Maximum number of entries per request are 10. You have sent 11.")
	_, err = w.sendBatch(url, []types.SendMessageBatchRequestEntry{})
	refused(t, err, "AWS.SimpleQueueService.EmptyBatchRequest", "There should be at least one SendMessageBatchRequestEntry in the request.")
	twice := entries(2)
	twice[1].Id = twice[0].Id
	_, err = w.sendBatch(url, twice)
	refused(t, err, "AWS.SimpleQueueService.BatchEntryIdsNotDistinct", "Id id0 repeated.")
	for _, id := range []string{"a b", "a.b", "é", strings.Repeat("x", 81)} {
		bad := entries(1)
		bad[0].Id = &id
		_, err = w.sendBatch(url, bad)
		refused(t, err, "AWS.SimpleQueueService.InvalidBatchEntryId",
			"A batch entry id can only contain alphanumeric characters, hyphens and underscores. It can be at most 80 letters long.")
	}
	long := entries(1)
	long[0].Id = aws.String(strings.Repeat("x", 80))
	if out, err := w.sendBatch(url, long); err != nil || len(out.Successful) != 1 {
		t.Errorf("%v", err)
	}
}

// SQS-21: batches that are too large.
func TestSQS21_BatchSize(t *testing.T) {
	w := open(t)
	url := w.queue()
	list := entries(2)
	list[0].MessageBody = aws.String(strings.Repeat("x", 1<<19))
	list[1].MessageBody = aws.String(strings.Repeat("x", 1<<19+1))
	_, err := w.sendBatch(url, list)
	refused(t, err, "AWS.SimpleQueueService.BatchRequestTooLong", "Batch requests cannot be longer than 1048576 bytes. You have sent 1048577 bytes.")
	if err := w.set(url, "MaximumMessageSize", "1024"); err != nil {
		t.Fatal(err)
	}
	list[0].MessageBody, list[1].MessageBody = aws.String("ok"), aws.String(strings.Repeat("x", 1025))
	out, err := w.sendBatch(url, list)
	if err != nil || len(out.Successful) != 1 {
		t.Fatalf("%v, %v", out, err)
	}
	failed(t, out.Failed, "id1", "InvalidParameterValue")
	if text := *out.Failed[0].Message; text != "One or more parameters cannot be validated. Reason: Message must be shorter than 1024 bytes." {
		t.Error(text)
	}
}

// SQS-22: one bad entry does not harm the others.
func TestSQS22_PartialBatch(t *testing.T) {
	w := open(t)
	url := w.queue()
	list := entries(3)
	list[1].MessageBody = aws.String("\x01")
	out, err := w.sendBatch(url, list)
	if err != nil || len(out.Successful) != 2 {
		t.Fatalf("%v, %v", out, err)
	}
	failed(t, out.Failed, "id1", "InvalidMessageContents")
	if got := bodies(w.collect(url, 2)); got != "m0 m2" {
		t.Errorf("%s", got)
	}
}

// SQS-34: delays of queue and message.
func TestSQS34_Delay(t *testing.T) {
	w := open(t)
	url := w.queue("DelaySeconds", "1")
	at := time.Now()
	w.send(url, "queue")
	w.send(url, "message", func(in *sqs.SendMessageInput) { in.DelaySeconds = 2 })
	got := w.attributes(url, "All")
	if got["ApproximateNumberOfMessagesDelayed"] != "2" || got["ApproximateNumberOfMessages"] != "0" {
		t.Errorf("%v", got)
	}
	for i, want := range []string{"queue", "message"} {
		m := w.collect(url, 1)[0]
		if took, least := time.Since(at), time.Duration(i+1)*time.Second; *m.Body != want || took < least-50*time.Millisecond {
			t.Errorf("%s after %v, want %s after %v", *m.Body, took, want, least)
		}
	}
	w.json("/", "SendMessage", `{"QueueUrl":"`+url+`","MessageBody":"now","DelaySeconds":0}`, nil).has(t, 200)
	if list := w.receive(url, 1); bodies(list) != "now" {
		t.Errorf("a delay of 0 does not override that of the queue: %q", bodies(list))
	}
	_, err := w.trySend(url, "x", func(in *sqs.SendMessageInput) { in.DelaySeconds = 901 })
	refused(t, err, "InvalidParameterValue", "Value 901 for parameter DelaySeconds is invalid. Reason: DelaySeconds must be >= 0 and <= 900.")
}

// SQS-36: messages end with their retention, also hidden and delayed ones.
func TestSQS36_Retention(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a minute")
	}
	t.Parallel()
	w := open(t)
	url := w.queue("MessageRetentionPeriod", "60")
	at := time.Now()
	w.send(url, "hidden")
	w.collect(url, 1, visible(100))
	w.send(url, "ready")
	pause(time.Until(at.Add(57 * time.Second)))
	if n := w.attributes(url, "All")["ApproximateNumberOfMessages"]; n != "1" {
		t.Errorf("%s before the end", n)
	}
	pause(time.Until(at.Add(62 * time.Second)))
	if list := w.receive(url, 10); len(list) != 0 {
		t.Errorf("%s after the end", bodies(list))
	}
	w.until("nothing is counted", func() bool { return w.attributes(url, "All")["ApproximateNumberOfMessages"] == "0" })
}

// SQS-48: groups on standard queues.
func TestSQS48_GroupOnStandard(t *testing.T) {
	w := open(t)
	url := w.queue()
	w.send(url, "a", group("g", ""))
	w.send(url, "b", group("g", ""))
	list := w.collect(url, 2)
	if list[0].Attributes["MessageGroupId"] != "g" {
		t.Errorf("%v", list[0].Attributes)
	}
	for _, id := range []string{"", "group 123", strings.Repeat("a", 129)} {
		_, err := w.trySend(url, "x", group(id, ""))
		refused(t, err, "InvalidParameterValue", "Value "+id+
			" for parameter MessageGroupId is invalid. Reason: MessageGroupId can only include alphanumeric and punctuation characters. 1 to 128 in length.")
	}
	_, err := w.trySend(url, "x", func(in *sqs.SendMessageInput) { in.MessageDeduplicationId = aws.String("d") })
	refused(t, err, "InvalidParameterValue", "")
}
