package sqs

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/sqs"
)

// SQS-71: the metrics that CloudWatch has of a queue, with its meanings.
func TestSQS71_Metrics(t *testing.T) {
	b := start(t, "listeners.metrics.address=127.0.0.1:0")
	at := "http://" + b.Addr("aws")
	w := &world{t, client(t, at, root), at}
	url := w.queueCalled("metered", nil)
	fifo := w.queueCalled("metered.fifo", map[string]string{"FifoQueue": "true"})
	for _, text := range []string{"1", "22", "333"} {
		w.send(url, text)
	}
	group, id := "g", "same"
	for range 2 {
		if _, err := w.SendMessage(ctx(), &sqs.SendMessageInput{QueueUrl: &fifo, MessageBody: &group, MessageGroupId: &group, MessageDeduplicationId: &id}); err != nil {
			t.Fatal(err)
		}
	}
	late := "later"
	if _, err := w.SendMessage(ctx(), &sqs.SendMessageInput{QueueUrl: &url, MessageBody: &late, DelaySeconds: 900}); err != nil {
		t.Fatal(err)
	}
	list := w.collect(url, 2)
	if _, err := w.DeleteMessage(ctx(), &sqs.DeleteMessageInput{QueueUrl: &url, ReceiptHandle: list[0].ReceiptHandle}); err != nil {
		t.Fatal(err)
	}
	empty := w.queueCalled("empty", nil)
	for range 3 {
		if out, err := w.ReceiveMessage(ctx(), &sqs.ReceiveMessageInput{QueueUrl: &empty}); err != nil || len(out.Messages) != 0 {
			t.Fatal(out, err)
		}
	}
	text := scrape(t, "http://"+b.Addr("metrics")+"/metrics/sqs")
	in := func(queue, name string, value int) {
		t.Helper()
		line := fmt.Sprintf("aws_sqs_%s{account_id=%q,queue_name=%q} %d\n", name, "000000000000", queue, value)
		if !strings.Contains(text, line) {
			t.Errorf("there is no %s", line)
		}
	}
	in("metered", "number_of_messages_sent_total", 4)
	in("metered", "sent_message_size_bytes_total", 11)
	in("metered", "number_of_messages_received_total", 2)
	in("metered", "number_of_messages_deleted_total", 1)
	in("metered", "approximate_number_of_messages_visible", 1)
	in("metered", "approximate_number_of_messages_not_visible", 1)
	in("metered", "approximate_number_of_messages_delayed", 1)
	in("metered.fifo", "number_of_messages_sent_total", 1)
	in("metered.fifo", "number_of_deduplicated_sent_messages_total", 1)
	in("empty", "number_of_empty_receives_total", 3)
	in("empty", "approximate_age_of_oldest_message_seconds", 0)
	if strings.Contains(text, `approximate_age_of_oldest_message_seconds{account_id="000000000000",queue_name="metered"} 0`+"\n") {
		t.Error("the oldest message has no age")
	}
	if t.Failed() {
		t.Log(text)
	}
}

func scrape(t *testing.T, url string) string {
	t.Helper()
	c := http.Client{Timeout: 10 * time.Second}
	resp, err := c.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s: %d %v", url, resp.StatusCode, err)
	}
	return string(text)
}
