package sns

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sns"
)

// Everything is there after a hard kill: topics, subscriptions and their
// attributes, the deduplication window, sequence numbers that go on rising,
// notifications that an endpoint did not take, with their attempts, and the
// archive.
func TestSNS_HardKill(t *testing.T) {
	b, w := start(t)
	r := newReceiver(t)
	down := func(int) int { return 503 }
	r.answer.Store(&down)

	topic, q := w.topic("DisplayName", "shown"), w.queue()
	w.subscribe(topic, "sqs", q.arn, "FilterPolicy", `{"k":["v"]}`)
	sub := w.confirmed(topic, r, "DeliveryPolicy", `{"healthyRetryPolicy":{"minDelayTarget":3,"maxDelayTarget":3,"numRetries":50}}`)
	fifo, fq := w.topic("FifoTopic", "true", "ArchivePolicy", `{"MessageRetentionPeriod":"7"}`), w.queue("FifoQueue", "true")
	w.subscribe(fifo, "sqs", fq.arn, "RawMessageDelivery", "true")
	before := w.publish(fifo, "first", group("g", "d"))
	pending := w.publish(topic, "pending")
	r.next(w) // the first attempt

	b.Kill()
	w.must(b.Restart())
	up := func(int) int { return 200 }
	r.answer.Store(&up)

	if e := w.open(r.next(w).body); e.MessageId != *pending.MessageId {
		t.Errorf("after the restart came %+v", e)
	}
	if a := w.attributes(topic); a["DisplayName"] != "shown" || a["SubscriptionsConfirmed"] != "2" {
		t.Errorf("%v", a)
	}
	if a := w.subscription(sub); a["PendingConfirmation"] != "false" {
		t.Errorf("%v", a)
	}
	again := w.publish(fifo, "duplicate", group("g", "d"))
	if *again.MessageId != *before.MessageId {
		t.Error("the deduplication window is lost")
	}
	next := w.publish(fifo, "second", group("g", "e"))
	if a, b := seq(*before.SequenceNumber), seq(*next.SequenceNumber); b <= a {
		t.Errorf("sequence numbers %d, then %d", a, b)
	}
	if one, two := *w.receive(fq).Body, *w.receive(fq).Body; one != "first" || two != "second" {
		t.Errorf("%q, %q", one, two)
	}
	w.none(fq)
	w.publish(topic, "filtered")
	w.none(q)

	replay := w.queue("FifoQueue", "true")
	began := time.Now().Add(-time.Hour).UTC().Format(time.RFC3339)
	w.subscribe(fifo, "sqs", replay.arn, "RawMessageDelivery", "true", "ReplayPolicy", `{"PointType":"Timestamp","StartingPoint":"`+began+`"}`)
	if one, two := *w.receive(replay).Body, *w.receive(replay).Body; one != "first" || two != "second" {
		t.Errorf("the archive has %q, %q", one, two)
	}
}

func seq(s string) uint64 {
	n, _ := strconv.ParseUint(s, 10, 64)
	return n
}

// A notification's attempts count over a restart: the policy does not begin
// anew.
func TestSNS_AttemptsSurviveRestart(t *testing.T) {
	b, w := start(t)
	r := newReceiver(t)
	down := func(int) int { return 503 }
	r.answer.Store(&down)
	topic, dead := w.topic(), w.queue()
	w.confirmed(topic, r, "RedrivePolicy", `{"deadLetterTargetArn":"`+dead.arn+`"}`,
		"DeliveryPolicy", `{"healthyRetryPolicy":{"minDelayTarget":2,"maxDelayTarget":2,"numRetries":4,"numNoDelayRetries":3}}`)
	w.publish(topic, "x")
	for range 4 {
		r.next(w)
	}
	// The fact of the fourth attempt is stored at once, but not waited for.
	w.publish(w.topic(), "a commit behind it")
	b.Kill()
	w.must(b.Restart())
	w.receive(dead)
	if n := r.count.Load(); n > 6 {
		t.Errorf("%d attempts", n)
	}
}

// TestSNS44_OneBodyForManySubscriptions: a thousand subscriptions share what is
// stored of a message.
func TestSNS44_OneBodyForManySubscriptions(t *testing.T) {
	b, w := start(t)
	topic := w.topic()
	const subscriptions, messages, size = 1000, 20, 100_000
	for i := range subscriptions {
		w.subscribe(topic, "lambda", fmt.Sprintf("arn:aws:lambda:us-east-1:000000000000:function:f%d", i))
	}
	body := make([]byte, size)
	for i := range body {
		body[i] = 'a' + byte(i%26)
	}
	before := diskUse(t, b.DataDir())
	for range messages {
		w.publish(topic, string(body))
	}
	grown := diskUse(t, b.DataDir()) - before
	t.Logf("%d messages of %d bytes to %d subscriptions took %d bytes", messages, size, subscriptions, grown)
	if grown > 100*messages*size { // a thousand copies would be more; attempts that fail leave a little each
		t.Errorf("%d bytes on disk", grown)
	}
	r, err := w.GetTopicAttributes(ctx, &sns.GetTopicAttributesInput{TopicArn: aws.String(topic)})
	w.must(err)
	if r.Attributes["SubscriptionsConfirmed"] != fmt.Sprint(subscriptions) {
		t.Errorf("%v", r.Attributes)
	}
}

// diskUse is what the files of a folder take on disk.
func diskUse(t *testing.T, dir string) (n int64) {
	t.Helper()
	err := filepath.Walk(dir, func(_ string, info os.FileInfo, err error) error {
		if err == nil && info.Mode().IsRegular() {
			n += blocks(info)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}
