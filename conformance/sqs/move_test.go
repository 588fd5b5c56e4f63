package sqs

import (
	"encoding/base64"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
)

// dead makes a queue with a dead-letter queue and puts n dead letters into
// that.
func (w *world) dead(n int) (url, deadURL string) {
	w.Helper()
	deadURL = w.queue()
	url = w.queue("RedrivePolicy", `{"deadLetterTargetArn":"`+w.arnOf(deadURL)+`","maxReceiveCount":1}`)
	for left := n; left > 0; left -= 10 {
		if _, err := w.sendBatch(url, entries(min(left, 10))); err != nil {
			w.Fatal(err)
		}
	}
	w.until("all are dead", func() bool {
		w.receive(url, 10, func(in *sqs.ReceiveMessageInput) { in.VisibilityTimeout = 1 })
		return w.attributes(deadURL, "All")["ApproximateNumberOfMessages"] == itoa(n)
	})
	return url, deadURL
}

func itoa(n int) string { return strconv.Itoa(n) }

func (w *world) task(arn string) types.ListMessageMoveTasksResultEntry {
	w.Helper()
	out, err := w.ListMessageMoveTasks(ctx(), &sqs.ListMessageMoveTasksInput{SourceArn: &arn})
	if err != nil {
		w.Fatal(err)
	}
	if len(out.Results) == 0 {
		w.Fatal("no task")
	}
	return out.Results[0]
}

// SQS-55: back to where they came from, or elsewhere.
func TestSQS55_Move(t *testing.T) {
	w := open(t)
	for _, elsewhere := range []bool{false, true} {
		url, deadURL := w.dead(12)
		source, target := w.arnOf(deadURL), url
		in := &sqs.StartMessageMoveTaskInput{SourceArn: &source}
		if elsewhere {
			target = w.queue()
			in.DestinationArn = aws.String(w.arnOf(target))
		}
		out, err := w.StartMessageMoveTask(ctx(), in)
		if err != nil || aws.ToString(out.TaskHandle) == "" {
			t.Fatal(err)
		}
		w.until("the task is complete", func() bool { return *w.task(source).Status == "COMPLETED" })
		if x := w.task(source); x.ApproximateNumberOfMessagesMoved != 12 || aws.ToInt64(x.ApproximateNumberOfMessagesToMove) != 12 || x.TaskHandle != nil {
			t.Errorf("%+v", x)
		}
		list := w.collect(target, 12)
		if list[0].Attributes["DeadLetterQueueSourceArn"] != "" || list[0].Attributes["ApproximateReceiveCount"] != "1" {
			t.Errorf("%v", list[0].Attributes)
		}
	}
}

// SQS-55: the rate, and a cancellation.
func TestSQS55_RateAndCancel(t *testing.T) {
	w := open(t)
	_, deadURL := w.dead(120) // more than move until a busy machine comes to the cancel
	source := w.arnOf(deadURL)
	at := time.Now()
	out, err := w.StartMessageMoveTask(ctx(), &sqs.StartMessageMoveTaskInput{SourceArn: &source, MaxNumberOfMessagesPerSecond: aws.Int32(10)})
	if err != nil {
		t.Fatal(err)
	}
	_, err = w.StartMessageMoveTask(ctx(), &sqs.StartMessageMoveTaskInput{SourceArn: &source})
	refused(t, err, "InvalidParameterValue", "There is already a task running. Only one active task is allowed for a source queue arn at a given time.")
	w.until("some are moved", func() bool { return w.task(source).ApproximateNumberOfMessagesMoved >= 20 })
	took := time.Since(at)
	if took < 1700*time.Millisecond {
		t.Errorf("20 messages at 10 a second took %v", took)
	}
	c, err := w.CancelMessageMoveTask(ctx(), &sqs.CancelMessageMoveTaskInput{TaskHandle: out.TaskHandle})
	most := int64(11*time.Since(at).Seconds()) + 2
	if err != nil || c.ApproximateNumberOfMessagesMoved < 20 || c.ApproximateNumberOfMessagesMoved > most {
		t.Errorf("%+v, %v; want 20 to %d moved", c, err, most)
	}
	w.until("the task is cancelled", func() bool { return *w.task(source).Status == "CANCELLED" })
	if n := w.attributes(deadURL, "All")["ApproximateNumberOfMessages"]; n == "0" {
		t.Error("everything moved")
	}
}

// SQS-55: messages move at the rate asked for, to a tenth, by the broker's own
// stamps. A machine that is busy with other things makes a move slower, never
// faster; then it is tried again.
func TestSQS55_Rate(t *testing.T) {
	w := open(t)
	const n, rate = 60, 20
	for try := 1; ; try++ {
		_, deadURL := w.dead(n)
		source, target := w.arnOf(deadURL), w.queue()
		if _, err := w.StartMessageMoveTask(ctx(), &sqs.StartMessageMoveTaskInput{
			SourceArn: &source, DestinationArn: aws.String(w.arnOf(target)), MaxNumberOfMessagesPerSecond: aws.Int32(rate),
		}); err != nil {
			t.Fatal(err)
		}
		w.until("the task is complete", func() bool { return *w.task(source).Status == "COMPLETED" })
		x := w.task(source)
		if aws.ToInt32(x.MaxNumberOfMessagesPerSecond) != rate {
			t.Errorf("%+v", x)
		}
		stamps := make([]int64, 0, n) // ms since the start
		for _, m := range w.collect(target, n) {
			at, err := strconv.ParseInt(m.Attributes["SentTimestamp"], 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			stamps = append(stamps, at-x.StartedTimestamp)
		}
		slices.Sort(stamps)
		for i, at := range stamps {
			if least := int64(i+1) * 1000 / rate * 9 / 10; at < least-20 {
				t.Fatalf("message %d moved after %d ms, at %d a second not before %d", i+1, at, rate, least)
			}
		}
		last := stamps[n-1]
		if last <= n*1000/rate*11/10 {
			return
		}
		if try == 8 {
			t.Fatalf("%d messages moved in %d ms at %d a second", n, last, rate)
		}
	}
}

// SQS-55: what is refused.
func TestSQS55_Errors(t *testing.T) {
	w := open(t)
	_, deadURL := w.dead(1)
	source, plain := w.arnOf(deadURL), w.arnOf(w.queue())
	start := func(source, target string) error {
		in := &sqs.StartMessageMoveTaskInput{SourceArn: &source}
		if target != "" {
			in.DestinationArn = &target
		}
		_, err := w.StartMessageMoveTask(ctx(), in)
		return err
	}
	refused(t, start(plain, ""), "InvalidParameterValue", "Source queue must be configured as a Dead Letter Queue.")
	refused(t, start(plain+"-none", ""), "ResourceNotFoundException", "The resource that you specified for the SourceArn parameter doesn't exist.")
	refused(t, start(source, plain+"-none"), "ResourceNotFoundException", "The resource that you specified for the DestinationArn parameter doesn't exist.")
	cancel := func(handle string) error {
		_, err := w.CancelMessageMoveTask(ctx(), &sqs.CancelMessageMoveTaskInput{TaskHandle: &handle})
		return err
	}
	refused(t, cancel("x"), "InvalidParameterValue", "Value for parameter TaskHandle is invalid.")
	refused(t, cancel(encode(`{"taskId":"x","sourceArn":"`+plain+`-none"}`)), "ResourceNotFoundException", "The resource that you specified for the SourceArn parameter doesn't exist.")
	refused(t, cancel(encode(`{"taskId":"x","sourceArn":"`+source+`"}`)), "ResourceNotFoundException", "Task does not exist.")
}

// SQS-56: a destination that goes.
func TestSQS56_DestinationGone(t *testing.T) {
	w := open(t)
	_, deadURL := w.dead(30)
	source, target := w.arnOf(deadURL), w.queue()
	if _, err := w.StartMessageMoveTask(ctx(), &sqs.StartMessageMoveTaskInput{
		SourceArn: &source, DestinationArn: aws.String(w.arnOf(target)), MaxNumberOfMessagesPerSecond: aws.Int32(5),
	}); err != nil {
		t.Fatal(err)
	}
	w.until("some are moved", func() bool { return w.task(source).ApproximateNumberOfMessagesMoved > 0 })
	if _, err := w.DeleteQueue(ctx(), &sqs.DeleteQueueInput{QueueUrl: &target}); err != nil {
		t.Fatal(err)
	}
	w.until("the task failed", func() bool { return *w.task(source).Status == "FAILED" })
	if x := w.task(source); aws.ToString(x.FailureReason) != noQueue {
		t.Errorf("%+v", x)
	}
}

// SQS-55: a task goes on after a kill, and loses nothing.
func TestSQS55_Restart(t *testing.T) {
	b := start(t)
	w := &world{t, client(t, "http://"+b.Addr("aws"), root), "http://" + b.Addr("aws")}
	url, deadURL := w.dead(30)
	source := w.arnOf(deadURL)
	if _, err := w.StartMessageMoveTask(ctx(), &sqs.StartMessageMoveTaskInput{SourceArn: &source, MaxNumberOfMessagesPerSecond: aws.Int32(10)}); err != nil {
		t.Fatal(err)
	}
	w.until("some are moved", func() bool { return w.task(source).ApproximateNumberOfMessagesMoved > 0 })
	b.Kill()
	if err := b.Restart(); err != nil {
		t.Fatal(err)
	}
	w.Client = client(t, "http://"+b.Addr("aws"), root)
	w.until("the task is complete", func() bool { return *w.task(source).Status == "COMPLETED" })
	if got := w.attributes(url, "All")["ApproximateNumberOfMessages"]; got != "30" {
		t.Errorf("%s messages arrived, want 30", got)
	}
}

func encode(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }
