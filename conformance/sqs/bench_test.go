package sqs

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/sqs"
	"github.com/aws/aws-sdk-go-v2/service/sqs/types"
)

// SQS-69: BenchmarkRound sends, receives and deletes messages of 1 KB with 8 clients of
// the stock SDK, one a request and ten a request, and reports what each message
// costs the broker in CPU time: of Hermod, or of the process SQS_PID behind
// SQS_ENDPOINT.
func BenchmarkRound(b *testing.B) {
	for _, batch := range []int{1, 10} {
		b.Run(fmt.Sprint(batch), func(b *testing.B) { round(b, batch) })
	}
}

func round(b *testing.B, batch int) {
	const clients = 8
	w := open(b)
	pid := os.Getenv("SQS_PID")
	if shared.broker != nil {
		pid = strconv.Itoa(shared.broker.PID())
	}
	body := strings.Repeat("x", 1024)
	urls := make([]string, clients)
	for i := range urls {
		urls[i] = w.queue()
	}
	before := cpu(b, pid)
	b.ResetTimer()
	var all sync.WaitGroup
	for i, url := range urls {
		all.Go(func() {
			for n := i * batch; n < b.N; n += clients * batch {
				if err := once(w, url, body, batch); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "messages/s")
	b.ReportMetric((cpu(b, pid)-before)*1e6/float64(b.N), "broker-us/message")
}

// once sends, receives and deletes batch messages.
func once(w *world, url, body string, batch int) error {
	if batch == 1 {
		if _, err := w.SendMessage(ctx(), &sqs.SendMessageInput{QueueUrl: &url, MessageBody: &body}); err != nil {
			return err
		}
		list, err := w.ReceiveMessage(ctx(), &sqs.ReceiveMessageInput{QueueUrl: &url, WaitTimeSeconds: 5})
		if err != nil {
			return err
		}
		for _, m := range list.Messages {
			if err := w.remove(url, m); err != nil {
				return err
			}
		}
		return nil
	}
	in := &sqs.SendMessageBatchInput{QueueUrl: &url}
	for i := range batch {
		id := fmt.Sprint(i)
		in.Entries = append(in.Entries, types.SendMessageBatchRequestEntry{Id: &id, MessageBody: &body})
	}
	if _, err := w.SendMessageBatch(ctx(), in); err != nil {
		return err
	}
	list, err := w.ReceiveMessage(ctx(), &sqs.ReceiveMessageInput{QueueUrl: &url, WaitTimeSeconds: 5, MaxNumberOfMessages: int32(batch)})
	if err != nil || len(list.Messages) == 0 {
		return err
	}
	gone := &sqs.DeleteMessageBatchInput{QueueUrl: &url}
	for i, m := range list.Messages {
		id := fmt.Sprint(i)
		gone.Entries = append(gone.Entries, types.DeleteMessageBatchRequestEntry{Id: &id, ReceiptHandle: m.ReceiptHandle})
	}
	_, err = w.DeleteMessageBatch(ctx(), gone)
	return err
}

// cpu is the CPU time of a process so far, in seconds.
func cpu(b *testing.B, pid string) float64 {
	if pid == "" {
		return 0
	}
	raw, err := os.ReadFile("/proc/" + pid + "/stat")
	if err != nil {
		b.Fatal(err)
	}
	f := strings.Fields(string(raw[strings.LastIndexByte(string(raw), ')')+1:]))
	user, _ := strconv.ParseFloat(f[11], 64)
	system, _ := strconv.ParseFloat(f[12], 64)
	return (user + system) / 100
}
