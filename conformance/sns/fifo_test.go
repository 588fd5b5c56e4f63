package sns

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sns"
	"github.com/aws/aws-sdk-go-v2/service/sns/types"
)

func TestSNS25_FIFOParameters(t *testing.T) {
	w := open(t)
	arn := w.topic("FifoTopic", "true")
	_, err := w.Publish(ctx, &sns.PublishInput{TopicArn: &arn, Message: aws.String("x")})
	w.refused(err, "InvalidParameter", "Invalid parameter: The MessageGroupId parameter is required for FIFO topics")
	_, err = w.Publish(ctx, &sns.PublishInput{TopicArn: &arn, Message: aws.String("x"), MessageGroupId: aws.String("g")})
	w.refused(err, "InvalidParameter", "Invalid parameter: The topic should either have ContentBasedDeduplication enabled or MessageDeduplicationId provided explicitly")
	last := uint64(0)
	for i := range 5 {
		s := aws.ToString(w.publish(arn, "x", group("g", strconv.Itoa(i))).SequenceNumber)
		n, err := strconv.ParseUint(s, 10, 64)
		if err != nil || len(s) != 20 || n <= last {
			t.Errorf("sequence number %q after %d", s, last)
		}
		last = n
	}
	content := w.topic("FifoTopic", "true", "ContentBasedDeduplication", "true")
	w.publish(content, "x", group("g", ""))
	standard := w.topic()
	_, err = w.Publish(ctx, &sns.PublishInput{TopicArn: &standard, Message: aws.String("x"), MessageDeduplicationId: aws.String("d")})
	w.refused(err, "InvalidParameter", "Invalid parameter: MessageDeduplicationId Reason: The request includes MessageDeduplicationId parameter that is not valid for this topic type")
	_, err = w.PublishBatch(ctx, &sns.PublishBatchInput{TopicArn: &arn, PublishBatchRequestEntries: []types.PublishBatchRequestEntry{entry("1", "x")}})
	w.refused(err, "InvalidParameter", "Invalid parameter: The MessageGroupId parameter is required for FIFO topics")
}

func TestSNS26_FIFOToFIFO(t *testing.T) {
	w := open(t)
	arn, q, raw := w.topic("FifoTopic", "true"), w.queue("FifoQueue", "true"), w.queue("FifoQueue", "true")
	w.subscribe(arn, "sqs", q.arn)
	w.subscribe(arn, "sqs", raw.arn, "RawMessageDelivery", "true")
	for i := range 20 {
		w.publish(arn, strconv.Itoa(i), group("g", fmt.Sprint("d", i)))
	}
	for i := range 20 {
		m := w.receive(q)
		e := w.open(*m.Body)
		if e.Message != strconv.Itoa(i) || m.Attributes["MessageGroupId"] != "g" || m.Attributes["MessageDeduplicationId"] != fmt.Sprint("d", i) || m.Attributes["SequenceNumber"] == "" {
			t.Fatalf("%d: %s %v", i, *m.Body, m.Attributes)
		}
		if e.SequenceNumber == "" || strings.Contains(*m.Body, "Signature") || strings.Contains(*m.Body, "SigningCertURL") {
			t.Errorf("envelope %s", *m.Body)
		}
		if m := w.receive(raw); *m.Body != strconv.Itoa(i) || m.Attributes["MessageGroupId"] != "g" {
			t.Fatalf("%d: %s %v", i, *m.Body, m.Attributes)
		}
	}
}

func TestSNS27_FIFOAndStandard(t *testing.T) {
	w := open(t)
	fifo, standard := w.topic("FifoTopic", "true"), w.topic()
	q := w.queue()
	w.subscribe(fifo, "sqs", q.arn, "RawMessageDelivery", "true")
	w.publish(fifo, "x", group("g", "d"))
	if m := w.receive(q); *m.Body != "x" || m.Attributes["MessageGroupId"] != "" {
		t.Errorf("%s %v", *m.Body, m.Attributes)
	}
	_, err := w.trySubscribe(standard, "sqs", w.queue("FifoQueue", "true").arn)
	w.refused(err, "InvalidParameter", "Invalid parameter: Invalid parameter: Endpoint Reason: FIFO SQS Queues can not be subscribed to standard SNS topics")
}

func TestSNS28_Deduplication(t *testing.T) {
	w := open(t)
	arn, q := w.topic("FifoTopic", "true"), w.queue("FifoQueue", "true", "ContentBasedDeduplication", "true")
	w.subscribe(arn, "sqs", q.arn, "RawMessageDelivery", "true")
	one := w.publish(arn, "one", group("g", "d"))
	two := w.publish(arn, "two", group("other", "d"))
	if *one.MessageId != *two.MessageId || *one.SequenceNumber != *two.SequenceNumber {
		t.Errorf("%v %v", *one.MessageId, *two.MessageId)
	}
	if got := *w.receive(q).Body; got != "one" {
		t.Errorf("%q", got)
	}
	w.none(q)
	per := w.topic("FifoTopic", "true", "FifoThroughputScope", "MessageGroup")
	one, two = w.publish(per, "one", group("g", "d")), w.publish(per, "two", group("other", "d"))
	if *one.MessageId == *two.MessageId {
		t.Error("ids of two groups were taken for one")
	}
}

func TestSNS29_GroupOnStandardTopic(t *testing.T) {
	w := open(t)
	arn, q := w.topic(), w.queue()
	w.subscribe(arn, "sqs", q.arn)
	w.publish(arn, "x", group("tenant", ""))
	if m := w.receive(q); m.Attributes["MessageGroupId"] != "tenant" {
		t.Errorf("%v", m.Attributes)
	}
}

func TestSNS45_ArchiveAndReplay(t *testing.T) {
	w := open(t)
	arn := w.topic("FifoTopic", "true", "ContentBasedDeduplication", "true")
	policy := `{"MessageRetentionPeriod":"30"}`
	_, err := w.SetTopicAttributes(ctx, &sns.SetTopicAttributesInput{TopicArn: &arn, AttributeName: aws.String("ArchivePolicy"), AttributeValue: &policy})
	w.must(err)
	if w.attributes(arn)["BeginningArchiveTime"] == "" {
		t.Error("no BeginningArchiveTime")
	}
	began := time.Now().Add(-time.Minute).UTC().Format(time.RFC3339)
	ids := map[string]bool{}
	for i := range 10 {
		ids[*w.publish(arn, fmt.Sprint(i), group("g", "")).MessageId] = true
	}
	_, err = w.DeleteTopic(ctx, &sns.DeleteTopicInput{TopicArn: &arn})
	w.refused(err, "InvalidState", "Invalid state: Cannot delete a topic with an ArchivePolicy")
	q := w.queue("FifoQueue", "true")
	replay := `{"PointType":"Timestamp","StartingPoint":"` + began + `"}`
	sub := w.subscribe(arn, "sqs", q.arn, "ReplayPolicy", replay)
	for i := range 10 {
		e := w.envelope(q)
		if e.Message != fmt.Sprint(i) || !ids[e.MessageId] || e.MessageAttributes["Replayed"].Value != "true" {
			t.Errorf("%d: %+v", i, e)
		}
	}
	w.eventually("the replay ends", func() bool { return w.subscription(sub)["ReplayStatus"] == "Completed" })
	w.publish(arn, "new", group("g", ""))
	if e := w.envelope(q); e.Message != "new" || e.MessageAttributes["Replayed"].Value != "" {
		t.Errorf("%+v", e)
	}
	empty := "{}"
	_, err = w.SetTopicAttributes(ctx, &sns.SetTopicAttributesInput{TopicArn: &arn, AttributeName: aws.String("ArchivePolicy"), AttributeValue: &empty})
	w.must(err)
}

// eventually waits until f holds.
func (w *world) eventually(what string, f func() bool) {
	w.Helper()
	deadline := time.After(patience)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for !f() {
		select {
		case <-tick.C:
		case <-deadline:
			w.Fatalf("it never came that %s", what)
		}
	}
}
